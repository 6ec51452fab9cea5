//! Counts the instructions that the daemon's hot paths take, by callgrind, and compares them with the committed numbers:
//! a busy machine changes nothing about them. `tests/instructions` builds and runs it.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::{env, fs};

use anyhow::{Context, Result, ensure};
use argh::FromArgs;
use bench::table::Table;
use bench::{BODIES, Body};

/// First argument of the process that is looked at: `run NAME TIMES`.
const RUN: &str = "run";

/// Counts the instructions of the daemon's hot paths and fails when there are more than a tenth more than committed.
#[derive(FromArgs)]
struct Args {
    /// write the numbers to the table instead of comparing
    #[argh(switch)]
    write: bool,
    /// another table than bench/instructions.toml, such as one written before a change
    #[argh(option)]
    table: Option<PathBuf>,
    /// only those whose name holds one of these words
    #[argh(positional)]
    words: Vec<String>,
}

fn main() -> ExitCode {
    let args: Vec<String> = env::args().collect();
    if let [_, run, name, times] = &args[..]
        && run == RUN
    {
        return run_times(name, times);
    }
    match count(&argh::from_env()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("instructions: FAILED: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs a body so many times, for callgrind.
fn run_times(name: &str, times: &str) -> ExitCode {
    let (Some(body), Ok(times)) = (BODIES.iter().find(|body| body.name == name), times.parse::<u32>()) else {
        eprintln!("usage: bench {RUN} NAME TIMES");
        return ExitCode::from(2);
    };
    let mut once = (body.prepare)();
    (0..times).for_each(|_| once());
    ExitCode::SUCCESS
}

/// Whether all is as committed.
fn count(args: &Args) -> Result<bool> {
    let path = args.table.clone().unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("instructions.toml"));
    let chosen =
        |body: &&Body| args.words.is_empty() || args.words.iter().any(|word| body.name.contains(word.as_str()));
    let mut measured =
        Table { rustc: rustc()?, architecture: env::consts::ARCH.to_owned(), instructions: Default::default() };
    for body in BODIES.iter().filter(chosen) {
        measured.instructions.insert(body.name.to_owned(), instructions(body)?);
    }
    ensure!(!measured.instructions.is_empty(), "no body's name holds any of these words: {}", args.words.join(", "));
    if args.write {
        ensure!(args.words.is_empty(), "--write writes all of them: leave the words out");
        fs::write(&path, measured.to_text()).with_context(|| path.display().to_string())?;
        println!("{}", measured.to_text());
        return Ok(true);
    }
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let committed = Table::parse(&text).with_context(|| path.display().to_string())?;
    let found = committed.compare(&measured, &BODIES.map(|body| body.name));
    print!("{}", found.text);
    found.notes.iter().for_each(|note| println!("note: {note}"));
    found.complaints.iter().for_each(|complaint| println!("FAILED: {complaint}"));
    Ok(found.complaints.is_empty())
}

/// Instructions of one time: those of twice as many times less those of so many. So the start of the process and what is
/// prepared do not count, and all threads do.
fn instructions(body: &Body) -> Result<u64> {
    let (less, more) = (collected(body, body.times)?, collected(body, 2 * body.times)?);
    let difference = more.checked_sub(less).context("more times took fewer instructions")?;
    Ok(difference / u64::from(body.times))
}

/// Instructions of a whole process.
fn collected(body: &Body, times: u32) -> Result<u64> {
    let this = env::current_exe().context("this program's own file")?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(this)
        .args([RUN, body.name, &times.to_string()])
        .output()
        .context("valgrind (Debian: apt-get install valgrind)")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}: {said}", body.name);
    let line = said.lines().find_map(|line| line.split_once("Collected :"));
    let number = line.and_then(|(_, number)| number.trim().parse().ok());
    number.with_context(|| format!("callgrind says no number of instructions: {said}"))
}

/// Version of the compiler that is used in this directory.
fn rustc() -> Result<String> {
    let output = Command::new("rustc").arg("--version").output().context("rustc")?;
    let said = String::from_utf8(output.stdout).context("rustc --version")?;
    said.split_whitespace().nth(1).map(str::to_owned).context("rustc --version says no version")
}
