//! Runs the operator's command with the alert as JSON on its standard input.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::time::Duration;

use futures_lite::AsyncWriteExt as _;
use rustix::process::{Pid, Signal, kill_process_group};
use smol::process::{Command, Stdio};

use super::watch::Alert;
use crate::config::AlertCommand;
use crate::runtime::timeout;

/// What is none of the command's business: our key, and the service manager's messages to us.
const OURS: [&str; 9] = [
    "MOLLY_VAPID_PRIVKEY",
    "MOLLY_HEARTBEAT_URL",
    "CREDENTIALS_DIRECTORY",
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
    "LISTEN_PID",
];

/// Whether the command took the alert.
#[derive(Debug)]
pub(super) enum AlertOutcome {
    /// It ended with 0.
    Delivered,
    /// It did not; the text says what happened.
    Failed(String),
}

/// The command and what it started. Killed when dropped: a script's own death would leave what it waits for behind.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(leader) = self.0 {
            // Whoever is gone already needs no signal.
            let _ = kill_process_group(leader, Signal::KILL);
        }
    }
}

/// Runs it to its end, at most for `limit`; then it is killed, and what it started.
pub(super) async fn run(command: &AlertCommand, alert: &Alert, limit: Duration) -> AlertOutcome {
    let work = async {
        match notify(command, alert).await {
            Ok(told) => told,
            Err(error) => AlertOutcome::Failed(format!("{}: {error}", command.program())),
        }
    };
    let late = || AlertOutcome::Failed(format!("{} did not end within {limit:?}", command.program()));
    timeout(limit, work).await.unwrap_or_else(late)
}

async fn notify(command: &AlertCommand, alert: &Alert) -> io::Result<AlertOutcome> {
    let text = serde_json::to_vec(alert).map_err(io::Error::other)?;
    let mut process = std::process::Command::new(command.program());
    process.args(command.arguments()).process_group(0);
    let mut process = Command::from(process);
    process.kill_on_drop(true);
    // What it says goes to our log's place; what it prints is nobody's.
    process.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::inherit());
    for name in OURS {
        process.env_remove(name);
    }
    let mut child = process.spawn()?;
    let mut group = Group(i32::try_from(child.id()).ok().and_then(Pid::from_raw));
    if let Some(mut stdin) = child.stdin.take() {
        // A command that does not want to know closes it.
        let _ = stdin.write_all(&text).await;
        let _ = stdin.close().await;
    }
    let status = child.status().await?;
    // It ended by itself; what it left running, it left on purpose.
    group.0 = None;
    Ok(if status.success() {
        AlertOutcome::Delivered
    } else {
        AlertOutcome::Failed(format!("{} ended with {status}", command.program()))
    })
}
