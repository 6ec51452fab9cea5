//! The command line (design, section 5). The only place that prints.

#![allow(clippy::print_stderr)]

use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

use argh::{ArgsInfo as _, FromArgs};
use log::{LevelFilter, Metadata, Record};

use self::args::{Args, ConnectionVerb, QrCodeVerb, TestVerb, VapidVerb, Verb};
use self::output::{ColorChoice, IgnoreBrokenPipe};
use crate::account::AccountError;
use crate::config::{Config, ConfigError, Env};
use crate::daemon::StartError;
use crate::link::TooLong;
use crate::logging;
use crate::net::NetError;
use crate::printable::printable;
use crate::store::StoreError;
use crate::systemd;
use crate::vapid::VapidError;

mod args;
mod argv;
mod connection;
mod doctor;
mod health;
mod outbound;
mod output;
mod pasted;
mod qrcode;
mod server;
mod status;
mod table;
mod tools;
mod transfer;

/// Why a verb ended early.
#[derive(Debug, thiserror::Error)]
enum CliError {
    /// An argument that means nothing.
    #[error("{0}")]
    Usage(String),
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// It could not be done.
    #[error("{0}")]
    Failed(String),
    /// The result could not be written.
    #[error("the result cannot be written: {0}")]
    Output(#[from] io::Error),
}

impl CliError {
    /// What was asked for could not be done; `why` says what to do.
    fn failed(why: impl Display) -> Self {
        Self::Failed(why.to_string())
    }

    /// A file the configuration names cannot be used.
    fn misconfigured(why: impl Display) -> Self {
        Self::Config(ConfigError(why.to_string()))
    }

    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Usage(_) | Self::Config(_) => ExitCode::from(2),
            Self::Failed(_) | Self::Output(_) => ExitCode::FAILURE,
        }
    }
}

impl From<StoreError> for CliError {
    fn from(error: StoreError) -> Self {
        let hint = if let StoreError::Missing(db) = &error { systemd::service_hint(db) } else { String::new() };
        Self::failed(format_args!("{error}{hint}"))
    }
}

impl From<VapidError> for CliError {
    fn from(error: VapidError) -> Self {
        match error {
            VapidError::Missing(ref file) => Self::failed(format_args!("{error}{}", systemd::service_hint(file))),
            _ => Self::misconfigured(error),
        }
    }
}

/// Only certificates can be wrong before anything is dialled.
impl From<NetError> for CliError {
    fn from(error: NetError) -> Self {
        Self::misconfigured(error)
    }
}

impl From<StartError> for CliError {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Configuration(_) => Self::misconfigured(error),
            StartError::Failed(_) => Self::failed(error),
        }
    }
}

impl From<TooLong> for CliError {
    fn from(error: TooLong) -> Self {
        Self::failed(error)
    }
}

/// An argument that describes an account and is malformed.
impl From<AccountError> for CliError {
    fn from(error: AccountError) -> Self {
        Self::Usage(error.to_string())
    }
}

/// How a verb that could answer answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    /// Done, or yes.
    Yes,
    /// No.
    No,
}

/// What the command line can say: verbs, options, arguments and their texts.
pub fn command_line() -> argh::CommandInfoWithArgs {
    Args::get_args_info()
}

/// Runs the program with these arguments (without the program's name) and variables.
pub fn main(args: Vec<String>, env: Env) -> ExitCode {
    let args = match argv::normalise(&args) {
        Ok(args) => args,
        Err(error) => {
            complain(&error.problem);
            note(&format!("{} (--help tells more)", error.usage));
            return ExitCode::from(2);
        }
    };
    let args = match pasted::fill_in(args) {
        Ok(args) => args,
        Err(error) => {
            complain(&error);
            return error.exit_code();
        }
    };
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let mut out = IgnoreBrokenPipe::new(io::stdout().lock());
    let result = match Args::from_args(&["mollysocket"], &args) {
        Ok(Args { version: true, .. }) => {
            writeln!(out, "mollysocket {}", env!("CARGO_PKG_VERSION")).map(|()| Answer::Yes).map_err(CliError::from)
        }
        Ok(Args { verb: Some(verb), config, verbose, .. }) => {
            set_up_logging(&env, &verb, verbose);
            run(verb, &Start { config, env: &env }, &mut out)
        }
        Ok(_) => Err(CliError::Usage("a command is missing".into())),
        Err(early) if early.status.is_ok() => {
            out.write_all(output::wrapped(&early.output).as_bytes()).map(|()| Answer::Yes).map_err(CliError::from)
        }
        Err(_) => Err(CliError::Usage("the command line cannot be understood; see mollysocket --help".into())),
    };
    let code = match result.and_then(|answer| Ok(out.flush().map(|()| answer)?)) {
        Ok(Answer::Yes) => ExitCode::SUCCESS,
        Ok(Answer::No) => ExitCode::FAILURE,
        Err(error) => {
            complain(&error);
            error.exit_code()
        }
    };
    log::logger().flush();
    code
}

/// What a verb needs to read the configuration.
struct Start<'a> {
    config: Option<std::path::PathBuf>,
    env: &'a Env,
}

impl Start<'_> {
    /// Reads the configuration and shows what the operator should know about it.
    fn read(&self) -> Result<Config, CliError> {
        let config = Config::load(self.config.as_deref(), self.env)?;
        config.warnings.iter().for_each(warn);
        Ok(config)
    }

    /// The same for verbs without a start report.
    fn config(&self) -> Result<Config, CliError> {
        let config = self.read()?;
        if let Some(file) = &config.file {
            log::info!("configuration file: {}", file.display());
        }
        Ok(config)
    }
}

fn run(verb: Verb, start: &Start<'_>, out: &mut impl Write) -> Result<Answer, CliError> {
    match verb {
        Verb::Server(args) => {
            let (config, mut env) = (start.config.clone(), start.env.clone());
            if args.port.as_ref().is_some_and(|port| port.parse::<u16>().is_err()) {
                return Err(CliError::Usage("--port needs a number up to 65535".into()));
            }
            // The command line wins over variables, also when the configuration is read again.
            let given = [("MOLLY_HOST", args.host), ("MOLLY_PORT", args.port)];
            env.extend(given.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
            let start = &Start { config: config.clone(), env: &env.clone() };
            let reread = move || Config::load(config.as_deref(), &env);
            server::run(start.env, start.read()?, reread)
        }
        Verb::Vapid(vapid) => match vapid.verb {
            // Works before there is any configuration: its output goes into one.
            VapidVerb::Generate(_) => tools::vapid_generate(out),
            VapidVerb::Test(args) => tools::vapid_test(&start.config()?, &args.endpoint, out),
        },
        Verb::QrCode(qrcode) => match qrcode.verb {
            QrCodeVerb::Url(args) => {
                qrcode::url(&start.config()?, &args, ColorChoice::of(start.env, &io::stdout()), out)
            }
            QrCodeVerb::Airgapped(args) => {
                qrcode::airgapped(&start.config()?, &args, ColorChoice::of(start.env, &io::stdout()), out)
            }
        },
        Verb::Connection(connection) => match connection.verb {
            ConnectionVerb::Add(args) => connection::add(&start.config()?, &args, out),
            ConnectionVerb::List(args) => connection::list(&start.config()?, &args, out),
            ConnectionVerb::Remove(args) => connection::remove(&start.config()?, &args.uuid, out),
            ConnectionVerb::Ping(args) => connection::ping(&start.config()?, &args.uuid, out),
            ConnectionVerb::Pause(args) => {
                connection::set_paused(&start.config()?, &args.uuid, connection::PauseChange::Pause, out)
            }
            ConnectionVerb::Resume(args) => {
                connection::set_paused(&start.config()?, &args.uuid, connection::PauseChange::Resume, out)
            }
            ConnectionVerb::Export(args) => transfer::export(&start.config()?, &args, out),
            ConnectionVerb::Import(args) => transfer::import(&start.config()?, &args, io::stdin().lock(), out),
        },
        Verb::Test(test) => match test.verb {
            TestVerb::Endpoint(args) => tools::test_endpoint(&start.config()?, &args.endpoint, out),
            TestVerb::Uuid(args) => tools::test_uuid(&start.config()?, &args.uuid, out),
        },
        Verb::Status(args) => status::run(&start.config()?, &args, ColorChoice::of(start.env, &io::stdout()), out),
        Verb::Doctor(args) => doctor::run(start, &args, ColorChoice::of(start.env, &io::stdout()), out),
        Verb::Health(args) => health::run(&start.config()?, &args, out),
        Verb::CheckConfig(_) if start.config.is_some() => {
            Err(CliError::Usage("check-config takes the file as its argument, without -c".into()))
        }
        Verb::CheckConfig(args) => tools::check_config(&args.file, out),
    }
}

fn set_up_logging(env: &Env, verb: &Verb, verbose: u8) {
    let default = if matches!(verb, Verb::Server(_)) { LevelFilter::Info } else { LevelFilter::Warn };
    match logging::init(env, default, logging::raised_by(verbose)) {
        Ok(problems) => problems.iter().for_each(warn),
        Err(error) => warn(&error),
    }
}

/// What went wrong, as one line on stderr.
fn complain(problem: &impl Display) {
    note(&format!("mollysocket: {}", printable(&problem.to_string())));
}

/// What may be wrong, likewise.
fn warn(problem: &impl Display) {
    note(&format!("mollysocket: warning: {}", printable(&problem.to_string())));
}

/// A line on stderr, by the way of the log where there is one: it may be that nobody reads. Without a stderr there is
/// nobody to tell.
fn note(line: &str) {
    let (logger, about) = (log::logger(), Metadata::builder().target(logging::PLAIN).build());
    if logger.enabled(&about) {
        logger.log(&Record::builder().metadata(about).args(format_args!("{line}")).build());
    } else {
        let _ = writeln!(io::stderr(), "{line}");
    }
}
