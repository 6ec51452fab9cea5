//! Tells the operator unasked: runs a command when an account needs attention and when it is well again, and visits a
//! URL each minute while the server does its work, so that whoever watches that URL notices when it does not
//! (docs/operations.md).

use std::sync::Arc;
use std::time::Instant;

use futures_lite::FutureExt as _;
use smol::Timer;

use crate::account::Endpoint;
use crate::config::{AlertCommand, Config};
use crate::net::{AGENT, Net, Reach};
use crate::overview::Observer;
use crate::timings::{Limits, Timings};

mod command;
mod watch;

use command::AlertOutcome;
use watch::AlertWatch;

/// What is told, and how.
pub struct Alerts {
    command: Option<AlertCommand>,
    heartbeat: Option<Endpoint>,
    observer: Arc<Observer>,
    net: Arc<Net>,
    timings: Timings,
    limits: Limits,
}

impl Alerts {
    /// As the configuration says; `None` when it wants neither.
    pub fn new(
        config: &Config,
        observer: Arc<Observer>,
        net: Arc<Net>,
        timings: Timings,
        limits: Limits,
    ) -> Option<Self> {
        let (command, heartbeat) = (config.alert_command.clone(), config.heartbeat_url.clone());
        let wanted = command.is_some() || heartbeat.is_some();
        wanted.then_some(Self { command, heartbeat, observer, net, timings, limits })
    }

    /// Never ends by itself.
    pub async fn run(self) {
        self.commands().or(self.heartbeats()).await
    }

    /// Runs the command for each account whose trouble began, changed or ended; one at a time.
    async fn commands(&self) {
        let Some(command) = &self.command else { return futures_lite::future::pending().await };
        let mut watch = AlertWatch::new(self.timings.alert_pause, self.timings.alert_settle, self.limits.alerts);
        loop {
            while let Some(alert) = watch.next_alert(&self.observer.accounts(), Instant::now()) {
                match command::run(command, &alert, self.timings.alert_command).await {
                    AlertOutcome::Delivered => watch.delivered(&alert),
                    AlertOutcome::Failed(why) => {
                        log::warn!("{}: the alert command failed: {why}", alert.account.short())
                    }
                }
            }
            Timer::after(self.timings.alert_poll).await;
        }
    }

    /// Visits the URL while the server does its work. The troubles of single accounts are told by the command: one phone
    /// that was given away must not silence the watch over all others.
    async fn heartbeats(&self) {
        let Some(url) = &self.heartbeat else { return futures_lite::future::pending().await };
        let mut failing = false;
        loop {
            if !self.observer.readiness().await.ready {
                // The first one after a trouble need not wait for its minute.
                Timer::after(self.timings.alert_poll).await;
                continue;
            }
            // The operator named it, so it may be anywhere, as a listed push server.
            let problem = match self.net.get(url, AGENT, Reach::Anywhere).await {
                Ok(page) if (200..300).contains(&page.status) => None,
                Ok(page) => Some(format!("{} answered {}", url.origin(), page.status)),
                Err(error) => Some(error.to_string()),
            };
            match (&problem, failing) {
                (Some(why), false) => log::warn!("the heartbeat failed and is tried each minute: {why}"),
                (Some(why), true) => log::debug!("the heartbeat failed again: {why}"),
                (None, true) => log::info!("the heartbeat works again"),
                (None, false) => {}
            }
            failing = problem.is_some();
            Timer::after(self.timings.heartbeat).await;
        }
    }
}
