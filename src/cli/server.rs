//! `server`: starts the daemon, reloads its allow lists on SIGHUP, and ends it on SIGTERM or SIGINT.

use std::io::stderr;
use std::thread;

use async_signal::{Signal, Signals};
use futures_lite::StreamExt as _;
use smol::channel::{self, Receiver, Sender};

use super::output::ColorChoice;
use super::{Answer, CliError, note, warn};
use crate::config::{Config, ConfigError, Env};
use crate::daemon::{Daemon, Hooks};
use crate::descriptors;
use crate::link::{Link, TooLong, qr_plain, qr_terminal};
use crate::printable::printable;
use crate::systemd::{self, Service};
use crate::timings::{Limits, Timings};

/// Runs until the first signal that means the end. The start report, and without a web server the code for the phone,
/// are shown whatever the log level. `reread` reads the configuration again.
pub(super) fn run(
    env: &Env,
    config: Config,
    reread: impl Fn() -> Result<Config, ConfigError> + 'static,
) -> Result<Answer, CliError> {
    // First of all, because it changes the process's variables and no other thread may look at them meanwhile.
    let inherited = systemd::listener(env)
        .map_err(|e| CliError::failed(format_args!("the sockets of the service manager cannot be used: {e}")))?;
    let (service, problem) = Service::from_env(env);
    if let Some(problem) = problem {
        warn(&problem);
    }
    let signals = watch_signals()?;
    let daemon = Daemon::with_listener(config, Timings::default(), Limits::default(), inherited)?;
    note(&daemon.report().lines().map(printable).collect::<Vec<_>>().join("\n"));
    // A start that fails needs none.
    descriptors::raise_limit();
    if !daemon.config().webserver {
        note(&airgapped(daemon.vapid_public(), ColorChoice::of(env, &stderr()))?);
    }
    let hooks = Hooks { service: service.into(), reloads: signals.reloads, reread: Box::new(reread) };
    daemon.run_as_service(&hooks, async move {
        // An error means that the thread is gone, which it never is before it has sent.
        let _ = signals.stop.recv().await;
    });
    Ok(Answer::Yes)
}

/// The code and the link for phones that do not reach this server.
fn airgapped(vapid: &str, color: ColorChoice) -> Result<String, TooLong> {
    let link = Link::Airgapped.to_text(vapid);
    // A journal keeps no colours.
    let code = if color == ColorChoice::Ansi { qr_terminal(&link) } else { qr_plain(&link) }?;
    Ok(format!("Scan this code in Molly, or open the link on the phone:\n\n{code}\n{link}"))
}

/// What the process is told by signals.
struct StopAndReload {
    /// The first SIGTERM or SIGINT.
    stop: Receiver<()>,
    /// Each SIGHUP; several in a row may be one.
    reloads: Receiver<()>,
}

/// Follows the signals; a second one that means the end ends the process at once. A thread of its own, because that one
/// must be seen even when the daemon's threads hang.
fn watch_signals() -> Result<StopAndReload, CliError> {
    let cannot = |error| CliError::failed(format_args!("signals cannot be watched: {error}"));
    let mut signals = Signals::new([Signal::Term, Signal::Int, Signal::Hup]).map_err(cannot)?;
    let (first, stop) = channel::bounded::<()>(1);
    let (reload, reloads) = channel::bounded::<()>(1);
    thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            futures_lite::future::block_on(async {
                end(&mut signals, &reload).await;
                // The daemon may have ended already.
                let _ = first.send(()).await;
                end(&mut signals, &reload).await;
            });
            std::process::exit(1);
        })
        .map_err(cannot)?;
    Ok(StopAndReload { stop, reloads })
}

/// Waits for a signal that means the end, and passes the others on. When they cannot be watched any more there is none,
/// rather than a stop nobody asked for.
async fn end(signals: &mut Signals, reload: &Sender<()>) {
    loop {
        match signals.next().await {
            Some(Ok(Signal::Hup)) => {
                // Full means that one is due anyway.
                let _ = reload.try_send(());
            }
            Some(Ok(_)) => return,
            Some(Err(error)) => {
                log::error!("signals cannot be watched any more: {error}");
                futures_lite::future::pending().await
            }
            None => futures_lite::future::pending().await,
        }
    }
}
