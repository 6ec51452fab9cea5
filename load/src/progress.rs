//! What the driver is doing, on stderr: a bar on a terminal, a line per step elsewhere.

use std::io::{IsTerminal, Write, stderr};

/// Width of the bar, in characters.
const WIDTH: usize = 30;

/// Shows steps.
pub(crate) struct Progress {
    name: String,
    terminal: bool,
}

impl Progress {
    pub(crate) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), terminal: stderr().is_terminal() }
    }

    /// A step begins.
    pub(crate) fn step(&self, what: &str) {
        if self.terminal {
            eprint!("\r\x1b[K{}: {what}", self.name);
        } else {
            eprintln!("{}: {what}", self.name);
        }
        let _ = stderr().flush();
    }

    /// So much of the step is done. Only on a terminal.
    pub(crate) fn at(&self, what: &str, done: usize, all: usize) {
        if self.terminal {
            let filled = (WIDTH * done).checked_div(all).unwrap_or(WIDTH).min(WIDTH);
            let (full, empty) = ("#".repeat(filled), ".".repeat(WIDTH - filled));
            eprint!("\r\x1b[K{}: [{full}{empty}] {done}/{all} {what}", self.name);
            let _ = stderr().flush();
        }
    }

    /// Leaves the line.
    pub(crate) fn end(&self) {
        if self.terminal {
            eprint!("\r\x1b[K");
        }
    }
}
