//! `qrcode`: the link for the phone, as a code and as text.

use std::fs;
use std::io::Write;
use std::path::Path;

use super::args::{QrCodeAirgapped, QrCodeUrl};
use super::outbound::vapid;
use super::output::ColorChoice;
use super::{Answer, CliError};
use crate::config::{Config, public_url};
use crate::link::{Link, qr_plain, qr_svg, qr_terminal};

/// How the code is shown.
enum Form<'a> {
    Terminal(ColorChoice),
    Svg(&'a Path),
}

impl<'a> Form<'a> {
    fn of(plain: bool, color: ColorChoice, svg: Option<&'a Path>) -> Self {
        match svg {
            Some(file) => Self::Svg(file),
            None if plain => Self::Terminal(ColorChoice::Plain),
            None => Self::Terminal(color),
        }
    }
}

/// `qrcode url URL`.
pub(super) fn url(
    config: &Config,
    args: &QrCodeUrl,
    color: ColorChoice,
    out: &mut impl Write,
) -> Result<Answer, CliError> {
    let url = public_url(&args.url).map_err(|problem| CliError::Usage(format!("URL {problem}")))?;
    show(config, &Link::Webserver(url), &Form::of(args.plain, color, args.svg.as_deref()), out)
}

/// `qrcode airgapped`.
pub(super) fn airgapped(
    config: &Config,
    args: &QrCodeAirgapped,
    color: ColorChoice,
    out: &mut impl Write,
) -> Result<Answer, CliError> {
    show(config, &Link::Airgapped, &Form::of(args.plain, color, args.svg.as_deref()), out)
}

fn show(config: &Config, link: &Link, form: &Form<'_>, out: &mut impl Write) -> Result<Answer, CliError> {
    let text = link.to_text(vapid(config)?.public());
    match form {
        Form::Terminal(ColorChoice::Ansi) => writeln!(out, "{}", qr_terminal(&text)?)?,
        Form::Terminal(ColorChoice::Plain) => writeln!(out, "{}", qr_plain(&text)?)?,
        // Nothing but the picture, for whatever reads it.
        Form::Svg(file) if file.as_os_str() == "-" => {
            writeln!(out, "{}", qr_svg(&text)?)?;
            return Ok(Answer::Yes);
        }
        Form::Svg(file) => {
            let cannot = |error| CliError::failed(format_args!("{} cannot be written: {error}", file.display()));
            fs::write(file, qr_svg(&text)?).map_err(cannot)?;
            writeln!(out, "written: {}", file.display())?;
        }
    }
    // Last, so that it is under the code.
    writeln!(out, "{text}")?;
    Ok(Answer::Yes)
}
