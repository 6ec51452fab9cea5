//! The body of a registration, as Molly posts it: `{uuid, device_id, password, endpoint, ping?}`.
//!
//! What is not of this form is a mistake of whoever wrote the client and answered 4xx. An account id or endpoint that
//! is a string but not a good one is the phone's business and answered with a status it can show.

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use crate::account::{AccountError, DeviceId, Secret};
use crate::supervisor::TestPush;

/// A registration whose form is right. Holds secrets: no `Debug`.
pub(crate) struct Body {
    /// Account id as sent; not checked.
    pub(crate) uuid: String,
    /// The linked device.
    pub(crate) device: DeviceId,
    /// Its password.
    pub(crate) password: Secret,
    /// Endpoint as sent; not checked.
    pub(crate) endpoint: String,
    /// Whether the phone asks for a test push (`ping`).
    pub(crate) test: TestPush,
}

/// Why a body is not a registration. Never repeats what was sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BodyError {
    /// Not JSON at all.
    #[error("the body is not valid JSON")]
    NotJson,
    /// JSON, but not an object; or it is anybody's guess which of two fields counts.
    #[error("the body must be a JSON object that has no field twice")]
    NotObject,
    /// A field is missing or has the wrong type.
    #[error("the field {0} must be {1}")]
    Field(&'static str, &'static str),
    /// A field has a value no device can have.
    #[error("{0}")]
    Value(#[from] AccountError),
}

impl BodyError {
    /// The HTTP status that answers it: 400 for what is not JSON, 422 for what means nothing.
    pub(crate) fn status(&self) -> u16 {
        match self {
            Self::NotJson => 400,
            Self::NotObject | Self::Field(..) | Self::Value(_) => 422,
        }
    }
}

/// The fields as found. Any values: what is wrong with one is not told from serde's words, which repeat it.
#[derive(Deserialize)]
struct Fields {
    uuid: Option<Value>,
    device_id: Option<Value>,
    password: Option<Value>,
    endpoint: Option<Value>,
    ping: Option<Value>,
}

impl Body {
    /// Reads a body. Unknown fields are ignored: future versions of Molly may send more.
    ///
    /// # Errors
    /// See [`BodyError`].
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, BodyError> {
        // serde would also take the fields in an array.
        if !bytes.trim_ascii_start().starts_with(b"{") {
            let is_json = serde_json::from_slice::<IgnoredAny>(bytes).is_ok();
            return Err(if is_json { BodyError::NotObject } else { BodyError::NotJson });
        }
        let fields: Fields = serde_json::from_slice(bytes)
            .map_err(|error| if error.is_data() { BodyError::NotObject } else { BodyError::NotJson })?;
        let uuid = text("uuid", fields.uuid)?;
        let device = fields.device_id.ok_or(BodyError::Field("device_id", "a number"))?;
        let device = DeviceId::new(device.as_u64().ok_or(AccountError::Device)?)?;
        let password = Secret::password(&text("password", fields.password)?)?;
        let endpoint = text("endpoint", fields.endpoint)?;
        let test = match fields.ping {
            None | Some(Value::Bool(false)) => TestPush::Skip,
            Some(Value::Bool(true)) => TestPush::Send,
            Some(_) => return Err(BodyError::Field("ping", "true or false")),
        };
        Ok(Self { uuid, device, password, endpoint, test })
    }
}

fn text(name: &'static str, value: Option<Value>) -> Result<String, BodyError> {
    match value {
        Some(Value::String(text)) => Ok(text),
        _ => Err(BodyError::Field(name, "a string")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"uuid":"u","device_id":2,"password":"p+/=","endpoint":"e"}"#;

    fn error(text: &str) -> BodyError {
        match Body::parse(text.as_bytes()) {
            Ok(_) => panic!("accepted: {text}"),
            Err(error) => error,
        }
    }

    /// [`GOOD`] with one field's value replaced.
    fn with(name: &str, value: &str) -> String {
        let mut fields: serde_json::Map<String, Value> = serde_json::from_str(GOOD).unwrap();
        fields.remove(name);
        let rest = serde_json::to_string(&fields).unwrap();
        format!("{},{name:?}:{value}}}", rest.strip_suffix('}').unwrap())
    }

    #[test]
    fn molly_s_body_is_read_with_or_without_ping_and_with_more() {
        for (more, test) in [
            ("", TestPush::Skip),
            (r#","ping":false"#, TestPush::Skip),
            (r#","ping":null"#, TestPush::Skip),
            (r#","ping":true"#, TestPush::Send),
            (r#","p256dh":"x","auth":{"a":[1,{"b":null}]},"auth":1"#, TestPush::Skip),
        ] {
            let text = format!("{}{more}}}", GOOD.strip_suffix('}').unwrap());
            let body = Body::parse(text.as_bytes()).ok().unwrap();
            assert_eq!((body.uuid.as_str(), body.endpoint.as_str()), ("u", "e"));
            assert_eq!((body.device.get(), body.password.expose(), body.test), (2, "p+/=", test), "{text}");
        }
    }

    #[test]
    fn what_is_not_json_is_told_from_what_means_nothing() {
        let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
        for text in ["", "{", "nonsense", "{\"uuid\":\"\\ud800\"}", &format!("{GOOD}x"), "{\"a\":1,}", "\u{feff}{}"] {
            assert_eq!(error(text), BodyError::NotJson, "{text}");
        }
        assert_eq!(error(&with("uuid", &deep)), BodyError::NotJson);
        assert_eq!(error(&with("device_id", "1e999")), BodyError::NotJson);
        assert_eq!(Body::parse(b"{\"uuid\":\"\xff\"}").err(), Some(BodyError::NotJson));
        for text in ["[]", "null", "1", "\"x\"", r#"["u",2,"p","e",true]"#, r#"["u",2,"p","e",true,0]"#] {
            assert_eq!(error(text), BodyError::NotObject, "{text}");
        }
        assert!(Body::parse(with("later", &deep).as_bytes()).is_ok(), "unknown fields are not looked into");
    }

    #[test]
    fn each_field_must_be_there_once() {
        for name in ["uuid", "device_id", "password", "endpoint"] {
            let mut fields: serde_json::Map<String, Value> = serde_json::from_str(GOOD).unwrap();
            fields.remove(name);
            let got = error(&serde_json::to_string(&fields).unwrap());
            assert!(matches!(got, BodyError::Field(field, _) if field == name), "{name}: {got}");
        }
        for (name, value) in [("uuid", "\"u\""), ("password", "\"x\""), ("ping", "true")] {
            let twice = format!("{},{name:?}:{value}}}", with(name, value).strip_suffix('}').unwrap());
            assert_eq!(error(&twice), BodyError::NotObject, "{twice}");
        }
    }

    #[test]
    fn wrong_types_and_values_are_refused_without_repeating_them() {
        for (name, value) in [
            ("uuid", "1"),
            ("uuid", "null"),
            ("device_id", "\"2\""),
            ("device_id", "-1"),
            ("device_id", "0"),
            ("device_id", "128"),
            ("device_id", "2.5"),
            ("device_id", "18446744073709551616"),
            ("device_id", "99999999999999999999999999"),
            ("device_id", "null"),
            ("password", "12345678"),
            ("password", "\"\""),
            ("password", "\"a\\u0000b\""),
            ("password", "[\"12345678\"]"),
            ("endpoint", "{}"),
            ("ping", "1"),
            ("ping", "\"true\""),
        ] {
            let got = error(&with(name, value));
            assert_eq!(got.status(), 422, "{name} {value}");
            assert!(!got.to_string().contains("12345678") && !got.to_string().contains('\n'), "{got}");
        }
        assert_eq!(error(&with("password", &format!("\"{}\"", "x".repeat(257)))).status(), 422);
    }
}
