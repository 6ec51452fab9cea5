//! `qrcode`: the link for the phone, as a code and as text.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use super::args::{QrCodeAirgapped, QrCodeUrl};
use super::reach::vapid;
use super::{Answer, CliError};
use crate::config::{Config, public_url};
use crate::link::{Link, qr_plain, qr_png, qr_svg, qr_terminal};

/// How the code is shown.
struct Form<'a> {
    plain: bool,
    svg: Option<&'a PathBuf>,
    png: Option<&'a PathBuf>,
}

/// `qrcode url URL`.
pub(super) fn url(config: &Config, args: &QrCodeUrl, out: &mut impl Write) -> Result<Answer, CliError> {
    let url = public_url(&args.url).map_err(|problem| CliError::Usage(format!("URL {problem}")))?;
    let form = Form { plain: args.plain, svg: args.svg.as_ref(), png: args.png.as_ref() };
    show(config, &Link::Webserver(url), &form, out)
}

/// `qrcode airgapped`.
pub(super) fn airgapped(config: &Config, args: &QrCodeAirgapped, out: &mut impl Write) -> Result<Answer, CliError> {
    let form = Form { plain: args.plain, svg: args.svg.as_ref(), png: args.png.as_ref() };
    show(config, &Link::Airgapped, &form, out)
}

fn show(config: &Config, link: &Link, form: &Form<'_>, out: &mut impl Write) -> Result<Answer, CliError> {
    let text = link.to_text(vapid(config)?.public());
    if let Some(file) = form.svg {
        write(file, qr_svg(&text)?.as_bytes(), out)?;
    }
    if let Some(file) = form.png {
        write(file, &qr_png(&text)?, out)?;
    }
    if form.svg.is_none() && form.png.is_none() {
        let code = if form.plain { qr_plain(&text) } else { qr_terminal(&text) };
        writeln!(out, "{}", code?)?;
    }
    // Last, so that it is under the code.
    writeln!(out, "{text}")?;
    Ok(Answer::Yes)
}

fn write(file: &Path, bytes: &[u8], out: &mut impl Write) -> Result<(), CliError> {
    fs::write(file, bytes)
        .map_err(|error| CliError::failed(format_args!("{} cannot be written: {error}", file.display())))?;
    writeln!(out, "written: {}", file.display())?;
    Ok(())
}
