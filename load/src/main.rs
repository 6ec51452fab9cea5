//! Measures from outside what accounts cost a daemon: memory, processor time, latency. Proves on the way that it loses
//! nothing.
//!
//! `cargo run --release -p load -- --accounts 10000 [--daemon PATH] [--env K=V]… [--vs PATH] [--runs N] [--json FILE]`
//!
//! Signal and the push servers are simulated in this process; the daemon is a child process, by default this very program.
//! See docs/performance.md.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::process::ExitCode;

mod args;
mod check;
mod daemon;
mod figures;
mod http;
mod latency;
mod measure;
mod process;
mod progress;
mod report;
mod traffic;
mod world;

use anyhow::{Context, Result};
use rustix::process::{Resource, getrlimit, setrlimit};

use args::Args;
use daemon::Program;
use figures::Figures;
use progress::Progress;

fn main() -> ExitCode {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    if args.first().is_some_and(|first| first == daemon::AS_DAEMON) {
        return daemon::be_the_daemon(&args.split_off(1));
    }
    let args = match args::parse(&args) {
        Ok(args) => args,
        Err(exit) => return exit,
    };
    raise_limit();
    match run(&args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("load: FAILED: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Each account is a descriptor here too. Without it the run says what was not reached.
fn raise_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let _ = setrlimit(Resource::Nofile, limit);
}

/// Whether everything was correct. Figures that are not met are no failure.
fn run(args: &Args) -> Result<bool> {
    let mut programs = vec![Program::from_args(args.daemon.as_deref(), &args.env)?];
    if let Some(path) = &args.vs {
        programs.push(Program::from_args(Some(path), &args.vs_env)?);
    }
    // In turn, so that a machine that gets slower does so for both.
    let mut all: Vec<Vec<Figures>> = programs.iter().map(|_| Vec::new()).collect();
    for run in 0..args.runs {
        for (n, (program, figures)) in programs.iter().zip(&mut all).enumerate() {
            figures.push(measure(args, program, run * programs.len() + n)?);
        }
    }
    let mut medians = all.into_iter().filter_map(figures::medians);
    let first = medians.next().context("nothing was measured")?;
    let second = medians.next();
    report::print(&first, second.as_ref());
    if let Some(file) = &args.json {
        let text = serde_json::to_string_pretty(&report::json(&first, second.as_ref()))?;
        std::fs::write(file, text + "\n").with_context(|| format!("{} cannot be written", file.display()))?;
    }
    Ok([Some(&first), second.as_ref()].into_iter().flatten().all(|figures| figures.problems.is_empty()))
}

/// Measures one in a directory of its own, which stays when something was wrong: the daemon's log is in it.
fn measure(args: &Args, program: &Program, number: usize) -> Result<Figures> {
    let dir = std::env::temp_dir().join(format!("mollysocket-load-{}-{number}", std::process::id()));
    std::fs::create_dir(&dir).with_context(|| format!("{} cannot be made", dir.display()))?;
    let figures = measure::run(args, program, &dir, &Progress::new(&program.name));
    if figures.problems.is_empty() {
        let _ = std::fs::remove_dir_all(&dir);
    } else {
        eprintln!("load: what the daemon said is in {}", dir.join("daemon.log").display());
    }
    Ok(figures)
}
