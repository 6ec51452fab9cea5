//! `server`: starts the daemon and ends it on SIGTERM or SIGINT.

use std::io::{IsTerminal, stderr};
use std::thread;

use async_signal::{Signal, Signals};
use futures_lite::StreamExt as _;

use super::{Answer, CliError, note};
use crate::config::Config;
use crate::daemon::Daemon;
use crate::link::{Link, TooLong, qr_plain, qr_terminal};
use crate::timings::{Limits, Timings};

/// Runs until the first signal. The start report, and without a web server the code for the phone, are shown whatever
/// the log level.
pub(super) fn run(config: Config) -> Result<Answer, CliError> {
    let stop = watch_signals()?;
    let daemon = Daemon::new(config, Timings::default(), Limits::default())?;
    note(daemon.report().trim_end());
    if !daemon.config().webserver {
        note(&airgapped(daemon.vapid_public())?);
    }
    daemon.run(stop);
    Ok(Answer::Yes)
}

/// The code and the link for phones that do not reach this server.
fn airgapped(vapid: &str) -> Result<String, TooLong> {
    let link = Link::Airgapped.to_text(vapid);
    // A journal keeps no colours.
    let code = if stderr().is_terminal() { qr_terminal(&link) } else { qr_plain(&link) }?;
    Ok(format!("Scan this code in Molly, or open the link on the phone:\n\n{code}\n{link}"))
}

/// Resolves at the first SIGTERM or SIGINT; a second one ends the process at once. A thread of its own, because the
/// second must be seen even when the daemon's threads hang.
fn watch_signals() -> Result<impl Future<Output = ()> + Send + 'static, CliError> {
    let cannot = |error| CliError::failed(format_args!("signals cannot be watched: {error}"));
    let mut signals = Signals::new([Signal::Term, Signal::Int]).map_err(cannot)?;
    let (first, seen) = smol::channel::bounded::<()>(1);
    thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            smol::block_on(async {
                next(&mut signals).await;
                // The daemon may have ended already.
                let _ = first.send(()).await;
                next(&mut signals).await;
            });
            std::process::exit(1);
        })
        .map_err(cannot)?;
    Ok(async move {
        // An error means that the thread is gone, which it never is before it has sent.
        let _ = seen.recv().await;
    })
}

/// The next signal. When they cannot be watched any more there is none, rather than a stop nobody asked for.
async fn next(signals: &mut Signals) {
    match signals.next().await {
        Some(Ok(_)) => {}
        Some(Err(error)) => {
            log::error!("signals cannot be watched any more: {error}");
            futures_lite::future::pending().await
        }
        None => futures_lite::future::pending().await,
    }
}
