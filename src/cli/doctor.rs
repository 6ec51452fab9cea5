//! `doctor`: a line per check as it is done, JSON, or a report without names.

use std::io::{self, Write};

use serde_json::json;

use super::args::Doctor as Args;
use super::outbound::Outbound;
use super::output::ColorChoice;
use super::{Answer, CliError, Start};
use crate::account::AccountId;
use crate::config::Config;
use crate::doctor::{Check, Doctor, Severity};
use crate::printable::{printable, printable_json};

/// `doctor`.
pub(super) fn run(
    start: &Start<'_>,
    args: &Args,
    color: ColorChoice,
    out: &mut impl Write,
) -> Result<Answer, CliError> {
    let only = args.uuid.as_deref().map(AccountId::parse).transpose()?;
    let mut checks = Vec::new();
    let mut written = Ok(());
    let show = !args.json && !args.report;
    let mut tell = |check: Check| {
        if show && written.is_ok() {
            written = print(&check, color, out);
        }
        checks.push(check);
    };
    let config = Config::load(start.config.as_deref(), start.env);
    match &config {
        Ok(config) => {
            let executor = Outbound::executor();
            let mut doctor = Doctor::new(config, only, &mut tell);
            if args.report {
                doctor = doctor.for_everybody();
            }
            smol::block_on(executor.run(doctor.examine(executor.clone())));
        }
        Err(error) => tell(Check::failure(
            "configuration",
            if args.report { "it cannot be used; doctor without --report says why".into() } else { error.to_string() },
            "correct it; config-sample.toml shows every key. Nothing else can be checked until then",
        )),
    }
    written?;
    let count = |verdict| checks.iter().filter(|check: &&Check| check.verdict == verdict).count();
    let (failures, warnings) = (count(Severity::Failure), count(Severity::Warning));
    if args.json {
        let all = json!({
            "version": env!("CARGO_PKG_VERSION"), "checks": checks, "failures": failures, "warnings": warnings,
        });
        writeln!(out, "{:#}", printable_json(all))?;
    } else if args.report {
        report(&checks, out)?;
    } else {
        writeln!(out, "\n{}", summary(failures, warnings))?;
    }
    // Exit code 2, as every command has it.
    config?;
    Ok(if failures == 0 { Answer::Yes } else { Answer::No })
}

fn print(check: &Check, color: ColorChoice, out: &mut impl Write) -> io::Result<()> {
    let label = check.verdict.label();
    let colour = match check.verdict {
        Severity::Ok => "32",
        Severity::Note => "2",
        Severity::Warning => "33",
        Severity::Failure => "1;31",
    };
    let padding = " ".repeat(7 - label.len().min(7));
    match color {
        ColorChoice::Ansi => write!(out, "\x1b[{colour}m{label}\x1b[0m{padding}")?,
        ColorChoice::Plain => write!(out, "{label}{padding}")?,
    }
    writeln!(out, "  {}: {}", check.name, printable(&check.what))?;
    if !check.remedy.is_empty() {
        writeln!(out, "         to do: {}", printable(&check.remedy))?;
    }
    // A step may take a while; what is done is shown.
    out.flush()
}

fn summary(failures: usize, warnings: usize) -> String {
    let plural = |n: usize, noun: &str| format!("{n} {noun}{}", if n == 1 { "" } else { "s" });
    match (failures, warnings) {
        (0, 0) => "No fault found.".to_owned(),
        _ => format!("{}, {}.", plural(failures, "failure"), plural(warnings, "warning")),
    }
}

/// Markdown.
fn report(checks: &[Check], out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "```text")?;
    let (system, machine) = (std::env::consts::OS, std::env::consts::ARCH);
    writeln!(out, "MollySocket {} on {system} {machine}", env!("CARGO_PKG_VERSION"))?;
    for check in checks {
        let mut line = format!("{}: {}: {}", check.verdict.label(), check.name, check.what);
        if !check.remedy.is_empty() {
            line.push_str(&format!(" | {}", check.remedy));
        }
        writeln!(out, "{}", printable(&line))?;
    }
    writeln!(out, "```")
}
