//! Runs the daemon for minutes under random faults, and proves that no wake-up is lost, none is acked early, and
//! nothing leaks.
//!
//! `cargo run --release -p sim --bin soak -- --minutes 10 --accounts 500 [--seed S] [--json FILE]`
//!
//! The daemon is a child process of the same executable. The seed, which is printed first, decides what happens when;
//! how it interleaves is up to the machine. Exits with 0 when everything is proved.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};

mod check;
mod daemon;
mod http;
mod inject;
mod jobs;
mod plan;
mod report;
mod resources;
mod run;
mod world;

use plan::Size;

const USAGE: &str = "usage: soak --minutes N --accounts M [--seed S] [--json FILE]";

struct Args {
    size: Size,
    seed: u64,
    json: Option<PathBuf>,
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.first().is_some_and(|a| a == daemon::AS_DAEMON) {
        return mollysocket::cli::main(args[1..].to_vec(), std::env::vars().collect());
    }
    let args = match parse(&args) {
        Ok(args) => args,
        Err(error) => {
            eprintln!("{error:#}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    println!("seed {}", args.seed);
    let dir = std::env::temp_dir().join(format!("mollysocket-soak-{}", std::process::id()));
    let passed = soak(&args, &dir).unwrap_or_else(|error| {
        println!("- {error:#}\nsoak: FAILED");
        false
    });
    if passed {
        let _ = std::fs::remove_dir_all(&dir);
        return ExitCode::SUCCESS;
    }
    println!("the daemon's log: {}", dir.join("daemon.log").display());
    ExitCode::FAILURE
}

fn soak(args: &Args, dir: &std::path::Path) -> Result<bool> {
    std::fs::create_dir(dir).context("no temporary directory")?;
    let outcome = run::run(args.seed, args.size, dir)?;
    outcome.tell(args.seed);
    if let Some(file) = &args.json {
        let text = serde_json::to_string_pretty(&outcome.json(args.seed))?;
        std::fs::write(file, text + "\n").with_context(|| format!("{} cannot be written", file.display()))?;
    }
    Ok(outcome.passed())
}

fn parse(args: &[String]) -> Result<Args> {
    let (mut minutes, mut accounts, mut seed, mut json) = (1.0, 50, None, None);
    for pair in args.chunks(2) {
        let [name, value] = pair else { bail!("{} needs a value", pair[0]) };
        let number = || value.parse::<u64>().with_context(|| format!("{name}: {value} is no number"));
        match name.as_str() {
            "--minutes" => minutes = value.parse::<f64>().with_context(|| format!("{name}: {value} is no number"))?,
            "--accounts" => accounts = usize::try_from(number()?)?,
            "--seed" => seed = Some(number()?),
            "--json" => json = Some(PathBuf::from(value)),
            _ => bail!("{name} is not known"),
        }
    }
    // Below that the memory of the program cannot be said to be flat.
    if !(1.0..=10_000.0).contains(&minutes) {
        bail!("--minutes must be at least 1");
    }
    if !(10..=5000).contains(&accounts) {
        bail!("--accounts must be 10 to 5000");
    }
    let length = Duration::from_secs_f64(minutes * 60.0);
    let origins = 4 + accounts / 200;
    Ok(Args { size: Size { length, accounts, origins }, seed: seed.unwrap_or_else(|| fastrand::u64(..1 << 32)), json })
}
