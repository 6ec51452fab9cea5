//! Variables that Kubernetes makes in every pod for each Service of the namespace (Kubernetes documentation, "Accessing
//! the Service", environment variables). For a Service whose name begins with `molly` they look like ours.

use super::Env;

/// What keeps them away, to be read after what is wrong.
pub(super) const REMEDY: &str =
    "Kubernetes makes such variables for a Service: `enableServiceLinks: false` in the pod's spec keeps them away";

/// The Service a variable looks to be made for, as the beginning of its name.
pub(super) fn service<'a>(name: &'a str, value: &str) -> Option<&'a str> {
    if let Some((service, rest)) = name.split_once("_SERVICE_")
        && (matches!(rest, "HOST" | "PORT") || rest.starts_with("PORT_"))
    {
        return Some(service);
    }
    // `_PORT` itself, whose value is like tcp://10.0.0.1:80, and `_PORT_80_TCP` with its ends.
    let (service, rest) = name.split_once("_PORT")?;
    let address = rest.is_empty() && ["tcp://", "udp://", "sctp://"].iter().any(|scheme| value.starts_with(scheme));
    let number = rest.strip_prefix('_').and_then(|rest| rest.split_once('_')).map_or("", |(number, _)| number);
    (address || !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit())).then_some(service)
}

/// Whether a variable is made by Kubernetes beyond doubt: the address of its Service is there, too.
pub(super) fn is_link(name: &str, value: &str, env: &Env) -> bool {
    let there = |service: &str, end: &str| env.contains_key(&format!("{service}_SERVICE_{end}"));
    service(name, value).is_some_and(|service| there(service, "HOST") && there(service, "PORT"))
}
