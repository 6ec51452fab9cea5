//! The link phones scan: `mollysocket://link?…`, as text and as QR code.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use qrcode::{Color, EcLevel, QrCode};
use url::Url;

/// What is percent-encoded in the link: all but `[A-Za-z0-9._~-]`. Current phones read it with `android.net.Uri`, older
/// ones with `java.net.URI` and a split at every `=`; only this survives both.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Light modules around the code. ISO/IEC 18004 asks for four; scanners miss codes with fewer.
const QUIET_ZONE: usize = 4;

/// SGR 30;107: black on bright white, whatever the terminal's theme makes of its default colours.
const BLACK_ON_WHITE: &str = "\x1b[30;107m";

/// SGR 0: the terminal's own colours again.
const RESET: &str = "\x1b[0m";

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
    pub fn to_text(&self, vapid: &str) -> String {
        match self {
            Self::Webserver(url) => {
                let url = utf8_percent_encode(url.as_str(), ENCODED);
                format!("mollysocket://link?vapid={vapid}&url={url}&type=webserver")
            }
            Self::Airgapped => format!("mollysocket://link?vapid={vapid}&type=airgapped"),
        }
    }
}

/// QR code for terminals: black on white by explicit colours, so that dark themes do not invert it. Quiet zone of 4.
///
/// # Errors
/// When the text does not fit.
pub fn qr_terminal(text: &str) -> Result<String, TooLong> {
    let lines = Modules::of(text)?.half_blocks(Color::Dark);
    Ok(lines.iter().map(|line| format!("{BLACK_ON_WHITE}{line}{RESET}\n")).collect())
}

/// QR code without colours, for logs: dark modules are blank where the background is dark.
///
/// # Errors
/// When the text does not fit.
pub fn qr_plain(text: &str) -> Result<String, TooLong> {
    let lines = Modules::of(text)?.half_blocks(Color::Light);
    Ok(lines.iter().map(|line| format!("{line}\n")).collect())
}

/// QR code as SVG, dark on light, quiet zone of 4. Stands alone or inside HTML, and loads nothing.
///
/// # Errors
/// When the text does not fit.
pub fn qr_svg(text: &str) -> Result<String, TooLong> {
    let modules = Modules::of(text)?;
    let side = modules.side;
    let mut path = String::new();
    for y in 0..side {
        let mut x = 0;
        while x < side {
            let run = (x..side).take_while(|&x| modules.at(x, y) == Color::Dark).count();
            if run > 0 {
                path.push_str(&format!("M{x} {y}h{run}v1h-{run}z"));
            }
            x += run.max(1);
        }
    }
    Ok(format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {side} {side}\" role=\"img\" aria-label=\"QR code\" \
         shape-rendering=\"crispEdges\"><path fill=\"#fff\" d=\"M0 0h{side}v{side}h-{side}z\"/>\
         <path fill=\"#000\" d=\"{path}\"/></svg>"
    ))
}

/// The modules of a code with its quiet zone.
struct Modules {
    colors: Vec<Color>,
    width: usize,
    /// Width with the quiet zone.
    side: usize,
}

impl Modules {
    /// Level L: a screen is not a torn label, and larger modules scan from farther away.
    fn of(text: &str) -> Result<Self, TooLong> {
        let code = QrCode::with_error_correction_level(text, EcLevel::L).map_err(|_| TooLong)?;
        let width = code.width();
        Ok(Self { colors: code.into_colors(), width, side: width + 2 * QUIET_ZONE })
    }

    /// The module at column `x` and row `y`, counted from the outer corner of the quiet zone.
    fn at(&self, x: usize, y: usize) -> Color {
        let inside = |n: usize| n.checked_sub(QUIET_ZONE).filter(|&n| n < self.width);
        match (inside(x), inside(y)) {
            (Some(x), Some(y)) => self.colors[y * self.width + x],
            _ => Color::Light,
        }
    }

    /// Two rows of modules per line of text; modules of colour `ink` are drawn, the others are left blank.
    fn half_blocks(&self, ink: Color) -> Vec<String> {
        let draw = |x, y| match (self.at(x, y) == ink, self.at(x, y + 1) == ink) {
            (true, true) => '█',
            (true, false) => '▀',
            (false, true) => '▄',
            (false, false) => ' ',
        };
        (0..self.side).step_by(2).map(|y| (0..self.side).map(|x| draw(x, y)).collect()).collect()
    }
}
