//! The command line (design, section 5). The only place that prints.

use std::process::ExitCode;

use crate::config::Env;

/// Runs the program with these arguments (without the program's name) and variables.
pub fn main(_args: Vec<String>, _env: Env) -> ExitCode {
    unimplemented!()
}
