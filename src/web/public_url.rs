//! How phones reach this server: the URL the link contains, and what makes it look wrong. Pure.

use url::{Host, Url};

/// What a request says about how it came here.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Hints<'a> {
    /// `Host`.
    pub(crate) host: Option<&'a str>,
    /// `X-Original-URL`: the path, or whole URL, the proxy was asked for.
    pub(crate) original_url: Option<&'a str>,
    /// `X-Forwarded-Prefix`: what the proxy took off the path.
    pub(crate) forwarded_prefix: Option<&'a str>,
    /// `X-Forwarded-Host`: only compared with `Host`.
    pub(crate) forwarded_host: Option<&'a str>,
}

/// The URL for the link. Its words are HTML.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    /// Parsed, hence safe to put in a link.
    pub(crate) url: Url,
    /// Whether it is the setting `public_url`.
    pub(crate) configured: bool,
    /// Where it comes from.
    pub(crate) source: String,
    /// Why it may not be what phones need.
    pub(crate) doubts: Vec<String>,
}

const NOT_HTTPS: &str = "The link is not an https link. Molly accepts only https.";
const PLAIN_PORT: &str = "The link names port 80, where servers do not speak https.";
const LOOPBACK: &str = "The link names this computer itself (a loopback address), where no phone can find it.";
const IP_ADDRESS: &str = "The link names an IP address. Molly needs https with a certificate the phone trusts, which \
    usually takes a host name.";
const LOCAL_NAME: &str = "The link names a host without a domain, which a phone can hardly find.";
const NO_HOST: &str = "There is no link, because the request has no <code>Host</code> header. (nginx' \
    <code>$http_host</code> is empty with HTTP/3; <code>$host</code> is not.)";
const BAD_HOST: &str = "There is no link, because the request's <code>Host</code> header is not a host name.";

fn other_host(host: &str) -> String {
    // The host of a parsed URL: it holds nothing that means something in HTML.
    format!(
        "The reverse proxy was asked for <strong>{host}</strong> (<code>X-Forwarded-Host</code>) but passes on another \
         <code>Host</code>: {PASS_ON_HOST}."
    )
}

/// How to have a proxy pass on the host it was asked for.
pub(crate) const PASS_ON_HOST: &str = "with nginx add <code>proxy_set_header Host $http_host;</code> \
    (<code>$host</code> with HTTP/3), with Apache <code>ProxyPreserveHost On</code>";

const ORIGINAL_URL: &str = "X-Original-URL";
const FORWARDED_PREFIX: &str = "X-Forwarded-Prefix";

/// The public URL: as configured, else `https://` + `Host` + the path before the proxy changed it, exactly as sent
/// (without a trailing slash if it had none).
///
/// # Errors
/// Why the headers do not make a URL, in HTML.
pub(crate) fn public_url(configured: Option<&Url>, hints: Hints<'_>) -> Result<Address, String> {
    if let Some(url) = configured {
        let doubts = if url.scheme() == "https" { Vec::new() } else { vec![NOT_HTTPS.to_owned()] };
        let source = "It is the setting <code>public_url</code>.".to_owned();
        return Ok(Address { url: url.clone(), configured: true, source, doubts });
    }
    let mut url = parse_host(hints.host.ok_or(NO_HOST)?).ok_or(BAD_HOST)?;
    let mut path_source = "no header named a path".to_owned();
    let header = hints
        .original_url
        .map(|value| (ORIGINAL_URL, original_path(value)))
        .or_else(|| hints.forwarded_prefix.map(|value| (FORWARDED_PREFIX, prefix_path(value))));
    if let Some((name, path)) = header {
        let Some(path) = path else {
            return Err(format!(
                "There is no link, because the request's <code>{name}</code> header is neither a path that begins with \
                 <code>/</code> nor a URL."
            ));
        };
        url.set_path(&path);
        path_source = format!("the path is from <code>{name}</code>");
    }
    let mut doubts: Vec<String> = host_doubt(&url).map(str::to_owned).into_iter().collect();
    if url.port() == Some(80) {
        doubts.push(PLAIN_PORT.to_owned());
    }
    if let Some(other) = hints.forwarded_host.and_then(parse_host).filter(|other| other.host() != url.host()) {
        doubts.push(other_host(other.host_str().unwrap_or_default()));
    }
    let source = format!("The host is from the <code>Host</code> header of your request; {path_source}.");
    Ok(Address { url, configured: false, source, doubts })
}

/// `path` without `prefix`, where it begins with it. Some proxies leave it on.
pub(crate) fn below<'a>(prefix: &str, path: &'a str) -> &'a str {
    match path.strip_prefix(prefix) {
        Some("") => "/",
        Some(rest) if rest.starts_with('/') => rest,
        _ => path,
    }
}

/// What to say of a path where there is nothing. It may be one of ours with a sub-path in front of it.
pub(crate) fn wrong_path(configured: Option<&Url>, path: &str) -> String {
    let path = path.trim_end_matches('/');
    let sub_path = ["/discover", "/metrics"].iter().find_map(|route| path.strip_suffix(route)).unwrap_or(path);
    let is_file = sub_path.rsplit('/').next().is_some_and(|name| name.contains('.'));
    if sub_path.is_empty() || sub_path.len() > 200 || is_file {
        return "there is nothing here".to_owned();
    }
    let setting = match configured {
        Some(url) => format!("correct public_url (it is {url})"),
        None => format!("set public_url = \"https://<public name>{sub_path}/\" (MOLLY_PUBLIC_URL)"),
    };
    format!(
        "there is nothing at {sub_path}. If a reverse proxy forwards that sub-path to this server, {setting} or let the \
         proxy remove the sub-path"
    )
}

/// `https://` + host and port, when they are nothing else (RFC 9110 section 7.2).
fn parse_host(text: &str) -> Option<Url> {
    let text = text.trim();
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b);
    if text.is_empty() || !text.bytes().all(plain) {
        return None;
    }
    let url = Url::parse(&format!("https://{text}/")).ok()?;
    (url.path() == "/" && url.port() != Some(0)).then_some(url)
}

/// The path of a path or of an absolute URL, without query and fragment.
fn original_path(value: &str) -> Option<String> {
    let value = value.trim();
    if let Ok(url) = Url::parse(value) {
        return (matches!(url.scheme(), "http" | "https") && url.has_host()).then(|| url.path().to_owned());
    }
    let end = value.find(['?', '#']).unwrap_or(value.len());
    clean(&value[..end])
}

/// Each proxy on the way may have taken off a part.
fn prefix_path(value: &str) -> Option<String> {
    clean(&value.split(',').map(str::trim).collect::<String>())
}

fn clean(path: &str) -> Option<String> {
    (path.starts_with('/') && !path.chars().any(char::is_control)).then(|| path.to_owned())
}

fn host_doubt(url: &Url) -> Option<&'static str> {
    match url.host()? {
        Host::Ipv4(ip) if ip.is_loopback() || ip.is_unspecified() => Some(LOOPBACK),
        Host::Ipv6(ip) if ip.is_loopback() || ip.is_unspecified() => Some(LOOPBACK),
        Host::Ipv4(_) | Host::Ipv6(_) => Some(IP_ADDRESS),
        Host::Domain(name) => {
            let name = name.trim_end_matches('.');
            if name == "localhost" || name.ends_with(".localhost") {
                Some(LOOPBACK)
            } else if name.contains('.') {
                None
            } else {
                Some(LOCAL_NAME)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(hints: Hints<'_>) -> String {
        public_url(None, hints).unwrap().url.to_string()
    }

    fn host(host: &str) -> Hints<'_> {
        Hints { host: Some(host), ..Hints::default() }
    }

    #[test]
    fn without_configuration_the_headers_tell() {
        for (hints, want) in [
            (host("molly.example"), "https://molly.example/"),
            (host("Molly.Example:443"), "https://molly.example/"),
            (host("molly.example:8443"), "https://molly.example:8443/"),
            (host("[2001:db8::1]:8443"), "https://[2001:db8::1]:8443/"),
            (Hints { original_url: Some("/molly"), ..host("h.example") }, "https://h.example/molly"),
            (Hints { original_url: Some("/molly/"), ..host("h.example") }, "https://h.example/molly/"),
            (Hints { original_url: Some("/a%2Fb/?airgapped#x"), ..host("h.example") }, "https://h.example/a%2Fb/"),
            (Hints { original_url: Some("http://in:1/m/?x"), ..host("h.example") }, "https://h.example/m/"),
            (Hints { forwarded_prefix: Some("/molly"), ..host("h.example") }, "https://h.example/molly"),
            (Hints { forwarded_prefix: Some("/a, /b"), ..host("h.example") }, "https://h.example/a/b"),
            (
                Hints { original_url: Some("/o"), forwarded_prefix: Some("/p"), ..host("h.example") },
                "https://h.example/o",
            ),
        ] {
            assert_eq!(url(hints), want, "{hints:?}");
        }
    }

    #[test]
    fn headers_never_change_more_than_their_part() {
        for evil in [
            "//evil.example/x",
            "/@evil.example",
            "/\\evil.example",
            "/\"><script>",
            "/../..",
            "/a b\u{e9}",
            "/?x",
            "/'",
        ] {
            let got = Url::parse(&url(Hints { original_url: Some(evil), ..host("h.example") })).unwrap();
            assert_eq!((got.host_str(), got.query(), got.fragment()), (Some("h.example"), None, None), "{evil}");
            assert!(got.as_str().bytes().all(|b| b.is_ascii_graphic() && !b"<>\"".contains(&b)), "{got}");
        }
    }

    #[test]
    fn what_is_no_host_makes_no_url() {
        for bad in ["", " ", "a b", "a/b", "a@b", "user:pw@h", "h?x", "h#x", "<script>", "h:x", "h:0", "h:99999", ":80"]
        {
            assert_eq!(public_url(None, host(bad)), Err(BAD_HOST.to_owned()), "{bad:?}");
        }
        for bad in ["a\\b", "[::1", "caf\u{e9}", "%41", "h'\"", "[]", "a:b:c", "1.2.3.4.5"] {
            assert_eq!(public_url(None, host(bad)), Err(BAD_HOST.to_owned()), "{bad:?}");
        }
        assert_eq!(public_url(None, Hints::default()), Err(NO_HOST.to_owned()));
        for bad in ["", "molly", "javascript:alert(1)", "data:text/html,x", "/a\u{7}"] {
            let hints = Hints { original_url: Some(bad), ..host("h.example") };
            assert!(public_url(None, hints).unwrap_err().contains(ORIGINAL_URL), "{bad:?}");
        }
        let hints = Hints { forwarded_prefix: Some("molly"), ..host("h.example") };
        assert!(public_url(None, hints).unwrap_err().contains(FORWARDED_PREFIX));
    }

    #[test]
    fn the_setting_wins_over_every_header() {
        let configured = Url::parse("https://set.example/m").unwrap();
        let hints = Hints { original_url: Some("/o"), forwarded_host: Some("x.example"), ..host("localhost") };
        let address = public_url(Some(&configured), hints).unwrap();
        assert_eq!((address.url, address.configured, address.doubts), (configured, true, vec![]));
        let plain = Url::parse("http://set.example/").unwrap();
        assert_eq!(public_url(Some(&plain), hints).unwrap().doubts, [NOT_HTTPS]);
    }

    #[test]
    fn suspicious_hosts_are_named() {
        for (name, doubts) in [
            ("molly.example", vec![]),
            ("localhost:8020", vec![LOOPBACK]),
            ("127.0.0.1:8020", vec![LOOPBACK]),
            ("0x7f.1", vec![LOOPBACK]),
            ("[::1]", vec![LOOPBACK]),
            ("0.0.0.0", vec![LOOPBACK]),
            ("a.localhost", vec![LOOPBACK]),
            ("192.168.1.2", vec![IP_ADDRESS]),
            ("203.0.113.5", vec![IP_ADDRESS]),
            ("mollysocket", vec![LOCAL_NAME]),
            ("molly.example:80", vec![PLAIN_PORT]),
        ] {
            assert_eq!(public_url(None, host(name)).unwrap().doubts, doubts, "{name}");
        }
        let hints = Hints { forwarded_host: Some("molly.example"), ..host("127.0.0.1:8020") };
        let doubts = public_url(None, hints).unwrap().doubts;
        assert_eq!(doubts, [LOOPBACK, &*other_host("molly.example")]);
        let same = Hints { forwarded_host: Some("molly.example:443"), ..host("molly.example") };
        assert!(public_url(None, same).unwrap().doubts.is_empty());
    }
}
