//! The phases of a measurement.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use sim::push::{Answer, Behaviour};

use crate::args::Args;
use crate::daemon::{Daemon, Pacing, Program};
use crate::figures::Figures;
use crate::latency::quantile;
use crate::process::sockets;
use crate::progress::Progress;
use crate::world::World;
use crate::{http, traffic};

/// How long Signal is away when it is restarted.
const AWAY: Duration = Duration::from_secs(3);
/// Accounts that get a message while nobody is connected.
const MISSED: usize = 100;
/// Most accounts that get a message at once.
const FLOOD: usize = 5000;
/// Messages of a burst.
const BURST: usize = 1000;
/// How long registrations are counted.
const REGISTERING: Duration = Duration::from_secs(5);

/// One measurement under way.
struct Run<'a> {
    args: &'a Args,
    program: &'a Program,
    progress: &'a Progress,
    world: World,
    figures: Figures,
}

/// Measures one daemon. What is not correct is in the figures, also that it could not be measured to the end: what was
/// measured until then counts.
pub(crate) fn run(args: &Args, program: &Program, dir: &Path, progress: &Progress) -> Figures {
    progress.step("the servers start");
    let mut figures = Figures::new(program, args.accounts);
    let world = match World::start(dir, args.accounts, args.origins, args.addresses) {
        Ok(world) => world,
        Err(error) => {
            figures.problems.push(format!("the servers do not start: {error:#}"));
            return figures;
        }
    };
    let mut run = Run { args, program, progress, world, figures };
    let ended = run.phases();
    progress.end();
    let Run { world, mut figures, .. } = run;
    figures.messages = world.check.messages();
    figures.problems = world.check.problems();
    if let Err(error) = ended {
        figures.problems.push(format!("it was not measured to the end: {error:#}"));
    }
    figures
}

impl Run<'_> {
    fn note(&mut self, key: &'static str, value: f64) {
        self.figures.note(key, value);
    }

    fn phases(&mut self) -> Result<()> {
        self.empty()?;
        self.world.fill_database()?;
        self.first_start()?;
        if self.program.can_be_unpaced() {
            self.unpaced()?;
        }
        self.paced()
    }

    /// What there is without accounts.
    fn empty(&mut self) -> Result<()> {
        self.progress.step("no accounts");
        if let Some(size) = self.program.size() {
            self.note("binary", mib(size));
        }
        let daemon = Daemon::start(self.program, &self.world.setup, Pacing::Default)?;
        std::thread::sleep(self.args.calm);
        self.note("rss_empty", mib(daemon.process().rss()?));
        self.note("ready_empty", ms(daemon.ready));
        daemon.stop()?;
        Ok(())
    }

    /// Rows of the reference are taken over once, so it does not count for other starts.
    fn first_start(&mut self) -> Result<()> {
        self.progress.step("first start");
        let daemon = Daemon::start(self.program, &self.world.setup, Pacing::Default)?;
        self.note("ready_first", ms(daemon.ready));
        daemon.stop()?;
        self.all_gone()
    }

    /// How fast it can be.
    fn unpaced(&mut self) -> Result<()> {
        let n = self.args.accounts as f64;
        let start = Instant::now();
        let daemon = Daemon::start(self.program, &self.world.setup, Pacing::Off)?;
        self.all_connected("connect, unpaced")?;
        self.note("connect_unpaced", start.elapsed().as_secs_f64());
        std::thread::sleep(self.args.calm);
        let process = daemon.process();
        self.note("cpu_connect", ms(process.cpu()?) / n);
        let before = process.rss()?;
        process.reset_peak()?;
        let cpu = process.cpu()?;
        self.world.restart_signal(AWAY)?;
        self.miss();
        let took = self.all_connected("reconnect, unpaced")?;
        self.note("reconnect_unpaced", took.as_secs_f64());
        std::thread::sleep(self.args.calm);
        self.note("cpu_reconnect", ms(process.cpu()? - cpu) / n);
        self.note("reconnect_peak_unpaced", process.peak()? as f64 / before as f64);
        let resumed = self.world.fold().tls_resumed;
        self.note("resumed", 100.0 * resumed as f64 / n);
        self.got()?;
        drop(daemon);
        self.all_gone()
    }

    /// How it is in use.
    fn paced(&mut self) -> Result<()> {
        let sockets_before = sockets();
        let start = Instant::now();
        let daemon = Daemon::start(self.program, &self.world.setup, Pacing::Default)?;
        self.note("ready", ms(daemon.ready));
        self.all_connected("connect")?;
        self.note("connect_paced", start.elapsed().as_secs_f64());
        std::thread::sleep(self.args.calm);
        self.at_rest(&daemon, sockets_before)?;
        self.reconnect(&daemon)?;
        self.traffic(&daemon)?;
        self.registrations(&daemon)?;
        self.note("threads", daemon.most_threads() as f64);
        self.progress.step("stop");
        let took = daemon.stop()?;
        self.note("stop", took.as_secs_f64());
        Ok(())
    }

    fn at_rest(&mut self, daemon: &Daemon, sockets_before: Option<u64>) -> Result<()> {
        let n = self.args.accounts as f64;
        let process = daemon.process();
        self.note("cpu_connect_paced", ms(process.cpu()?) / n);
        let rss = process.rss()?;
        let empty = self.figures.get("rss_empty").context("measured before")?;
        self.note("rss", mib(rss));
        self.note("rss_per_account", (mib(rss) - empty) * 1024.0 / n);
        if let (Some(before), Some(now)) = (sockets_before, sockets()) {
            // Both ends are on this machine.
            self.note("kernel_per_account", now.saturating_sub(before) as f64 / 1024.0 / n / 2.0);
        }

        self.progress.step("idle");
        self.world.fold();
        let (cpu, wake_ups) = (process.cpu()?, process.wake_ups()?);
        std::thread::sleep(self.args.idle);
        let used = process.cpu()? - cpu;
        let woken = process.wake_ups()?.saturating_sub(wake_ups);
        let seconds = self.args.idle.as_secs_f64().max(1.0);
        self.note("idle_cpu", 100.0 * used.as_secs_f64() / seconds);
        self.note("wake_ups", woken as f64 / seconds);
        let keepalives = self.world.fold().keepalives.len();
        self.note("keepalives", keepalives as f64 / seconds);
        Ok(())
    }

    fn traffic(&mut self, daemon: &Daemon) -> Result<()> {
        let world = &mut self.world;
        self.progress.step("messages, new connections");
        world.answer(&Answer::behave(Behaviour::CloseAfter));
        let cold = traffic::steady(world, self.args.traffic, 0)?;
        self.progress.step("messages, kept connections");
        world.answer(&Answer::created());
        let next = cold.len() % world.accounts;
        traffic::steady(world, Duration::from_secs(2), next)?;
        let connections = world.push_connections();
        let warm = traffic::steady(world, self.args.traffic, next)?;
        let connections = (world.push_connections() - connections) as f64 * 100.0 / warm.len().max(1) as f64;
        let quantiles = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("max", 1.0)];
        for (latencies, keys) in [
            (&warm, ["warm_p50", "warm_p90", "warm_p99", "warm_max"]),
            (&cold, ["cold_p50", "cold_p90", "cold_p99", "cold_max"]),
        ] {
            for ((_, part), key) in quantiles.iter().zip(keys) {
                self.figures.note(key, quantile(latencies, *part));
            }
        }
        self.note("warm_connections", connections);

        self.progress.step("a message to each");
        std::thread::sleep(self.args.calm);
        let many = self.args.accounts.min(FLOOD);
        let cpu = daemon.process().cpu()?;
        let took = traffic::flood(&mut self.world, many)?;
        self.note("cpu_push", ms(daemon.process().cpu()? - cpu) / many as f64);
        self.note("pushes_per_second", many as f64 / took.as_secs_f64());

        self.progress.step("a burst to one");
        std::thread::sleep(self.args.calm);
        let pushes = traffic::burst(&mut self.world, BURST)?;
        self.note("burst", pushes as f64);
        std::thread::sleep(self.args.calm);
        self.note("rss_after_traffic", mib(daemon.process().rss()?));
        Ok(())
    }

    fn reconnect(&mut self, daemon: &Daemon) -> Result<()> {
        self.progress.step("Signal restarts");
        std::thread::sleep(self.args.calm);
        let process = daemon.process();
        let before = process.rss()?;
        process.reset_peak()?;
        self.world.fold();
        self.world.restart_signal(AWAY)?;
        self.miss();
        let patience = self.args.patience;
        let first = self.world.wait("accounts connected", 1, patience, World::connected, |_| {})?;
        let all = first + self.all_connected("reconnect")?;
        self.note("first_reconnect", first.as_secs_f64());
        self.note("reconnect_paced", all.as_secs_f64());
        self.note("reconnect_peak", process.peak()? as f64 / before as f64);
        self.got()
    }

    /// Messages before anybody is back: these must not be missed.
    fn miss(&mut self) {
        for n in 0..MISSED.min(self.args.accounts) {
            self.world.send(n);
        }
    }

    /// Whether they were not.
    fn got(&mut self) -> Result<()> {
        ensure!(self.world.settle(self.args.patience), "messages sent during the outage were not acked");
        self.world.check.take_latencies();
        Ok(())
    }

    /// Waits until nothing is left of a daemon that ended.
    fn all_gone(&self) -> Result<()> {
        let gone = |world: &World| usize::from(world.connected() == 0);
        self.world.wait("daemon is gone", 1, self.args.patience, gone, |_| {})?;
        std::thread::sleep(self.args.calm);
        Ok(())
    }

    fn registrations(&mut self, daemon: &Daemon) -> Result<()> {
        self.progress.step("registrations");
        let done = http::move_endpoints(&self.world, daemon.web, REGISTERING);
        self.note("registrations", done.accepted.len() as f64 / done.took.as_secs_f64());
        let sql = rusqlite::Connection::open(&self.world.setup.db)?;
        let mut stored = sql.prepare("SELECT endpoint FROM connections WHERE uuid = ?1")?;
        for (n, endpoint) in &done.accepted {
            let row: String = stored.query_row([crate::world::uuid(*n)], |row| row.get(0))?;
            ensure!(row == *endpoint, "a registration that was answered with ok is not in the database");
        }
        ensure!(done.failed == 0, "{} registrations were not answered with ok", done.failed);
        Ok(())
    }

    /// How long it takes until all accounts are connected.
    fn all_connected(&self, what: &str) -> Result<Duration> {
        self.progress.step(what);
        let all = self.args.accounts;
        let tell = |n| self.progress.at(what, n, all);
        self.world.wait("accounts connected", all, self.args.patience, World::connected, tell)
    }
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
