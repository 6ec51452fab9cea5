//! The link phones scan: `mollysocket://link?…`, as text and as QR code.

use url::Url;

/// What the link tells the phone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Link {
    /// Register with the web server at this URL.
    Webserver(Url),
    /// Only the key; the account is added by `connection add`.
    Airgapped,
}

/// Why no QR code could be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the link is too long for a QR code; use a shorter public URL")]
pub struct TooLong;

impl Link {
    /// The link's text; `vapid` is the 87-character public key.
    pub fn to_text(&self, _vapid: &str) -> String {
        unimplemented!()
    }
}

/// QR code for terminals: black on white by explicit colours, so that dark themes do not invert it. Quiet zone of 4.
///
/// # Errors
/// When the text does not fit.
pub fn qr_terminal(_text: &str) -> Result<String, TooLong> {
    unimplemented!()
}

/// QR code without colours, for logs: dark modules are blank where the background is dark.
///
/// # Errors
/// When the text does not fit.
pub fn qr_plain(_text: &str) -> Result<String, TooLong> {
    unimplemented!()
}

/// QR code as SVG, dark on light, quiet zone of 4.
///
/// # Errors
/// When the text does not fit.
pub fn qr_svg(_text: &str) -> Result<String, TooLong> {
    unimplemented!()
}
