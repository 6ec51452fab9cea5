//! Log lines on stderr. Dependencies are heard only from INFO up: below it some print headers with credentials. What
//! strangers can cause is counted (`logging/quota`).

use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime};

use env_logger::{Builder, Logger};
use log::{Level, LevelFilter, Log, Metadata, Record};

use crate::config::Env;
use crate::printable::printable;
use crate::runtime::lock;

mod queue;
mod quota;

use queue::Queue;
use quota::Quota;

/// Our own records' targets begin with this.
const OURS: &str = env!("CARGO_PKG_NAME");

/// The lowest level at which other crates are heard, whatever `RUST_LOG` says. The WebSocket crate, for one, prints
/// whole requests at TRACE, with the `Authorization` header.
const OTHERS: Level = Level::Info;

/// Records of this target are written as they are, whatever the levels: what the command line says on stderr.
pub const PLAIN: &str = "mollysocket::plain";

/// Our own records that clients of the web server cause.
const WEB: &str = "mollysocket::web";

/// How long a flush waits for whoever reads the log.
const PATIENCE: Duration = Duration::from_secs(1);

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The process has a logger already.
    #[error("logging is already set up")]
    Twice,
    /// There can be no thread that writes the log.
    #[error("there is no log: no thread can be started to write it: {0}")]
    NoThread(#[from] std::io::Error),
}

/// Sets the process's logger up, which writes to stderr and blocks nobody. `RUST_LOG` says what is logged, `default` when it is not set, and `raised` adds
/// everything up to its level. Returns what is wrong with `RUST_LOG`, for people; the rest of it counts.
///
/// # Errors
/// When it was done before, or no thread can be started.
pub fn init(env: &Env, default: LevelFilter, raised: LevelFilter) -> Result<Vec<String>, LogError> {
    let spec = env.get("RUST_LOG").map_or("", String::as_str);
    let (spec, problems) = clean(spec);
    let logger = Guarded::new(Queue::start(std::io::stderr())?, &spec, default, raised);
    let max = logger.chosen.filter().max(logger.raised);
    log::set_boxed_logger(Box::new(logger)).map_err(|_| LogError::Twice)?;
    log::set_max_level(max);
    Ok(problems)
}

/// The level that `-v`, `-vv` and `-vvv` raise to.
pub fn raised_by(count: u8) -> LevelFilter {
    match count {
        0 => LevelFilter::Off,
        1 => LevelFilter::Info,
        2 => LevelFilter::Debug,
        _ => LevelFilter::Trace,
    }
}

/// The parts of `RUST_LOG` that mean something, and a line for each that does not. A word that is no level would
/// otherwise be taken for the name of a module.
fn clean(spec: &str) -> (String, Vec<String>) {
    let (directives, pattern) = spec.split_once('/').map_or((spec, None), |(d, p)| (d, Some(p)));
    let is_level = |word: &str| word.parse::<LevelFilter>().is_ok();
    let (good, bad): (Vec<&str>, Vec<&str>) =
        directives.split(',').map(str::trim).filter(|d| !d.is_empty()).partition(|directive| {
            match directive.split('=').map(str::trim).collect::<Vec<_>>()[..] {
                // Other crates are named with a level: `hyper=info`.
                [word] => is_level(word) || within(word, OURS),
                [_, level] => level.is_empty() || is_level(level),
                _ => false,
            }
        });
    let mut problems: Vec<String> = bad
        .iter()
        .map(|directive| {
            format!(
                "RUST_LOG: {directive:?} is not understood and does not count; write error, warn, info, debug, trace, off or \
                 module=level"
            )
        })
        .collect();
    let mut spec = good.join(",");
    match pattern {
        Some(pattern) if pattern.contains('/') => problems.push("RUST_LOG: more than one / is not understood".into()),
        Some(pattern) => spec.extend(["/", pattern]),
        None => {}
    }
    (spec, problems)
}

/// What is asked for, behind the rule for other crates.
struct Guarded {
    /// By `RUST_LOG`, or the default. Only asked; it writes nothing.
    chosen: Logger,
    /// By `-v`.
    raised: LevelFilter,
    /// Lines of the web server and of other crates.
    quota: Mutex<Quota>,
    /// Where lines are written to.
    queue: Queue,
}

impl Guarded {
    fn new(queue: Queue, spec: &str, default: LevelFilter, raised: LevelFilter) -> Self {
        // The default is what remains where the text names modules only, or nothing: a mistake in it must not silence the
        // rest.
        let chosen = Builder::new().filter_level(default).parse_filters(spec).build();
        Self { chosen, raised, quota: Mutex::default(), queue }
    }

    fn write(&self, record: &Record<'_>) {
        if record.level() <= self.raised || self.chosen.matches(record) {
            let line = line_of(record.level(), record.target(), &record.args().to_string());
            self.queue.push(line.as_bytes());
        }
    }
}

/// Whether `target` is `module` or within it.
fn within(target: &str, module: &str) -> bool {
    target.strip_prefix(module).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// Whether records of `target` at `level` may be shown at all.
fn harmless(metadata: &Metadata<'_>) -> bool {
    within(metadata.target(), OURS) || metadata.level() <= OTHERS
}

/// Whether strangers can cause such records as often as they like.
fn counted(target: &str) -> bool {
    within(target, WEB) || !within(target, OURS)
}

impl Log for Guarded {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let plain = metadata.target() == PLAIN;
        plain || harmless(metadata) && (metadata.level() <= self.raised || self.chosen.enabled(metadata))
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        if record.target() == PLAIN {
            self.queue.push(format!("{}\n", record.args()).as_bytes());
            return;
        }
        if !counted(record.target()) {
            return self.write(record);
        }
        let allowed = lock(&self.quota).allow(record.level(), Instant::now());
        match allowed {
            None => {}
            Some(0) => self.write(record),
            Some(left_out) => self.write(
                &Record::builder()
                    .metadata(record.metadata().clone())
                    .args(format_args!("{} ({left_out} lines like this were left out)", record.args()))
                    .build(),
            ),
        }
    }

    fn flush(&self) {
        self.queue.drain(PATIENCE);
    }
}

/// One record, one line, whatever its text says.
fn line_of(level: Level, target: &str, text: &str) -> String {
    let now = humantime::format_rfc3339_millis(SystemTime::now());
    format!("{now} {level:<5} {target}: {}\n", printable(text))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn logger(spec: &str, default: LevelFilter, raised: LevelFilter) -> Guarded {
        Guarded::new(Queue::default(), spec, default, raised)
    }

    fn shows(logger: &Guarded, target: &str, level: Level) -> bool {
        logger.enabled(&Metadata::builder().target(target).level(level).build())
    }

    #[test]
    fn other_crates_are_never_heard_below_info() {
        for spec in ["trace", "tungstenite=trace", "async_tungstenite=trace,mollysocket=trace", "debug"] {
            let logger = logger(spec, LevelFilter::Trace, LevelFilter::Trace);
            for target in ["tungstenite::handshake", "async_tungstenite", "mollysocketish", "hyper", ""] {
                assert!(!shows(&logger, target, Level::Debug), "{spec} {target}");
                assert!(!shows(&logger, target, Level::Trace), "{spec} {target}");
            }
            assert!(shows(&logger, "mollysocket::signal", Level::Trace));
            assert!(shows(&logger, "mollysocket", Level::Trace));
        }
        assert!(shows(&logger("trace", LevelFilter::Off, LevelFilter::Off), "hyper", Level::Info));
    }

    #[test]
    fn what_clients_can_cause_is_counted_and_nothing_else() {
        for (target, is) in [
            ("mollysocket::web", true),
            ("mollysocket::web::apply", true),
            ("hyper", true),
            ("mollysocket::webbing", false),
            ("mollysocket", false),
            ("mollysocket::account_state", false),
        ] {
            assert_eq!(counted(target), is, "{target}");
        }
        assert_eq!(WEB, format!("{OURS}::web"));
    }

    #[test]
    fn verbosity_only_raises() {
        let quiet = logger("", LevelFilter::Error, raised_by(0));
        assert!(shows(&quiet, "mollysocket", Level::Error) && !shows(&quiet, "mollysocket", Level::Warn));
        let raised = logger("mollysocket::web=trace", LevelFilter::Error, raised_by(2));
        assert!(shows(&raised, "mollysocket::web", Level::Trace), "not lowered");
        assert!(shows(&raised, "mollysocket::net", Level::Debug), "raised");
        assert!(!shows(&raised, "mollysocket::net", Level::Trace));
        assert!(shows(&logger("off", LevelFilter::Error, raised_by(1)), "mollysocket", Level::Info));
    }

    #[test]
    fn what_is_wrong_with_rust_log_is_said_and_the_rest_counts() {
        let ours = "mollysocket=debug,hyper=info,mollysocket::web";
        for good in ["", "info", "INFO", ours, "mollysocket::web=trace, warn", "info/regex"] {
            assert_eq!(clean(good).1, Vec::<String>::new(), "{good}");
        }
        for bad in
            ["warning", "verbose", "3", "\"info\"", "inof", "true", "mollysocket=loud", "warning,mollysocket::web=off"]
        {
            let (spec, problems) = clean(bad);
            assert_eq!(problems.len(), 1, "{bad}");
            let logger = logger(&spec, LevelFilter::Info, LevelFilter::Off);
            let heard = |level| shows(&logger, "mollysocket::account_state", level);
            assert!(heard(Level::Info) && !heard(Level::Debug), "{bad}: the default level");
        }
        assert!(!shows(&logger("off", LevelFilter::Info, LevelFilter::Off), "mollysocket", Level::Error));
        for (bad, rest) in [("inof", ""), ("mollysocket=loud,warn", "warn"), ("a=b=c", ""), ("info/a/b", "info")] {
            let (spec, problems) = clean(bad);
            assert_eq!((spec.as_str(), problems.len()), (rest, 1), "{bad}");
            assert!(problems[0].starts_with("RUST_LOG: "), "{problems:?}");
        }
    }

    #[test]
    fn a_record_cannot_forge_a_line() {
        let line = line_of(Level::Info, "target", "a\nb\x1b[31m\u{202e}\r\n");
        assert!(line.ends_with(" INFO  target: a b[31m  \n") && line.lines().count() == 1, "{line:?}");
    }

    #[test]
    fn a_second_logger_is_an_error_and_no_panic() {
        let env = Env::new();
        // Whichever test comes first, the second call cannot succeed.
        let _ = init(&env, LevelFilter::Off, LevelFilter::Off);
        assert!(matches!(init(&env, LevelFilter::Off, LevelFilter::Off), Err(LogError::Twice)));
    }
}
