//! The run: start, faults by plan, settling, proof.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use fastrand::Rng;

use crate::daemon::{Complaints, Daemon};
use crate::http;
use crate::inject::Injector;
use crate::jobs::Jobs;
use crate::plan::{Fault, Plan, Size, What};
use crate::report::{Outcome, Progress};
use crate::resources::{self, Limits, Phases, Rest, Sample};
use crate::world::World;

mod settle;

const TICK: Duration = Duration::from_millis(10);
const LOOK: Duration = Duration::from_secs(1);
const TELL: Duration = Duration::from_secs(10);
/// After a start, until all are connected and the program has taken the memory it works with. At most a tenth of the run.
const WARM_UP: Duration = Duration::from_secs(60);
/// How long the start may take.
const START: Duration = Duration::from_secs(60);

/// All that is under way.
struct Run {
    size: Size,
    world: World,
    jobs: Jobs,
    injector: Injector,
    rng: Rng,
    daemon: Option<Daemon>,
    complaints: Complaints,
    frozen: bool,
    life: u32,
    began: Instant,
    looked: Instant,
    told: Instant,
    samples: Vec<Sample>,
    faults: BTreeMap<&'static str, u64>,
    nudged: usize,
    slowest_stop: Duration,
}

/// Runs it all in `dir`, which is empty and remains.
pub(crate) fn run(seed: u64, size: Size, dir: &Path) -> Result<Outcome> {
    let plan = Plan::draw(seed, size);
    let now = Instant::now();
    let mut run = Run {
        size,
        world: World::start(dir, size.accounts, size.origins)?,
        jobs: Jobs::new(),
        injector: Injector::default(),
        rng: Rng::with_seed(seed),
        daemon: None,
        complaints: Complaints::default(),
        frozen: false,
        life: 0,
        began: now,
        looked: now,
        told: now,
        samples: Vec::new(),
        faults: BTreeMap::new(),
        nudged: 0,
        slowest_stop: Duration::ZERO,
    };
    let start = run.start()?;
    run.carry_out(&plan)?;
    let phases = run.phases();
    let settled = run.settle()?;
    let end = run.rest_after(start);
    run.finish(start, end, phases, settled)
}

impl Run {
    /// The daemon, all registrations, all sockets, and a moment of rest.
    fn start(&mut self) -> Result<Option<Rest>> {
        self.start_daemon()?;
        for n in (1..self.size.accounts).step_by(2) {
            self.jobs.register(n, self.world.phones[n].place.clone(), n % 4 == 1);
        }
        let deadline = Instant::now() + START;
        while self.jobs.left() > 0 || !(0..self.size.accounts).all(|n| self.world.connected(n)) {
            if Instant::now() > deadline {
                bail!("the start took more than {START:?}: {} registrations are left", self.jobs.left());
            }
            self.tick()?;
        }
        Ok(self.rest())
    }

    fn carry_out(&mut self, plan: &Plan) -> Result<()> {
        self.began = Instant::now();
        self.samples.clear();
        let mut later: Vec<usize> = Vec::new();
        for (at, what) in &plan.events {
            while self.began.elapsed() < *at {
                self.tick()?;
                let mut left = Vec::new();
                for number in std::mem::take(&mut later) {
                    if !self.end(number, plan)? {
                        left.push(number);
                    }
                }
                later = left;
            }
            match what {
                What::Message(n, message) => self.world.send(*n, *message),
                What::Begin(number) => self.begin(*number, plan)?,
                What::End(number) => {
                    if !self.end(*number, plan)? {
                        later.push(*number);
                    }
                }
            }
        }
        while self.began.elapsed() < self.size.length {
            self.tick()?;
        }
        let deadline = Instant::now() + START;
        while !later.is_empty() && Instant::now() < deadline {
            let number = later.remove(0);
            if !self.end(number, plan)? {
                later.push(number);
                self.tick()?;
            }
        }
        Ok(())
    }

    fn begin(&mut self, number: usize, plan: &Plan) -> Result<()> {
        let planned = &plan.faults[number];
        *self.faults.entry(planned.fault.name()).or_default() += 1;
        let web = self.web();
        match &planned.fault {
            Fault::Killed => {
                if let Some(daemon) = self.daemon.take() {
                    daemon.kill();
                }
            }
            Fault::Terminated => self.terminate(),
            Fault::Frozen => self.freeze(true),
            Fault::Junk(count) => {
                if let Some(web) = web {
                    self.jobs.junk(&self.world, web, *count);
                }
            }
            Fault::WrongPassword(n) => {
                let phone = &self.world.phones[*n];
                if let Some(web) = web.filter(|_| phone.linked && phone.stored && !self.jobs.is_busy(*n)) {
                    self.jobs.wrong_password(&self.world, web, *n);
                }
            }
            Fault::SlowClients(count) => {
                let (count, how_long) = (*count, planned.until - planned.from);
                if let Some(web) = web {
                    std::thread::spawn(move || http::dawdle(web, count, how_long));
                }
            }
            Fault::GarbageRequests(count) => {
                let (count, mut rng) = (*count, self.rng.fork());
                if let Some(web) = web {
                    std::thread::spawn(move || http::garbage(web, count, &mut rng));
                }
            }
            fault => self.injector.begin(number, fault, &mut self.world, &mut self.jobs)?,
        }
        Ok(())
    }

    /// False when it must be tried again later.
    fn end(&mut self, number: usize, plan: &Plan) -> Result<bool> {
        match &plan.faults[number].fault {
            Fault::Killed | Fault::Terminated if self.daemon.is_none() => self.start_daemon()?,
            Fault::Frozen => self.freeze(false),
            fault => return self.injector.end(number, fault, &mut self.world, &mut self.jobs),
        }
        Ok(true)
    }

    /// A moment passes: answers come in, and every second everything is looked at.
    fn tick(&mut self) -> Result<()> {
        std::thread::sleep(TICK);
        let web = self.web().filter(|_| !self.frozen);
        self.jobs.turn(&mut self.world, web);
        if let Some(daemon) = &mut self.daemon {
            if let Some(how) = daemon.ended() {
                bail!("the daemon ended by itself: {how}");
            }
            if daemon.is_late() {
                bail!("the daemon did not start to listen");
            }
        }
        if self.looked.elapsed() >= LOOK {
            self.looked = Instant::now();
            self.world.fold();
            self.samples.extend(self.sample());
        }
        if self.told.elapsed() >= TELL {
            self.told = Instant::now();
            Progress {
                at: self.began.elapsed(),
                faults: self.faults.values().sum(),
                counts: self.world.check.counts(),
                owed: self.world.check.owed(),
                sample: self.samples.last().copied(),
            }
            .tell();
        }
        Ok(())
    }

    fn sample(&self) -> Option<Sample> {
        let daemon = self.daemon.as_ref().filter(|_| !self.frozen)?;
        Sample::take(daemon.pid(), self.life, self.began.elapsed())
    }

    /// Waits for a moment in which nothing happens, but not for ever: what does not end may be what leaks.
    fn rest(&mut self) -> Option<Rest> {
        let deadline = Instant::now() + Duration::from_secs(15);
        let mut quiet_since = Instant::now();
        // Workers for look-ups go after half a second, connections to the web server linger for one.
        while Instant::now() < deadline && quiet_since.elapsed() < Duration::from_secs(4) {
            self.tick().ok()?;
            if self.world.open_pushes() > 0 || self.jobs.left() > 0 {
                quiet_since = Instant::now();
            }
        }
        let sockets = self.world.sockets();
        self.sample().map(|sample| Rest { sample, sockets })
    }

    /// The same at the end: connections to push servers may still wait for a next push, for 45 s.
    fn rest_after(&mut self, start: Option<Rest>) -> Option<Rest> {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let end = self.rest();
            let more = end.zip(start).is_some_and(|(end, start)| end.holds_more_than(&start));
            if !more || Instant::now() > deadline {
                return end;
            }
        }
    }

    fn phases(&self) -> Option<Phases> {
        resources::phases(&self.samples, WARM_UP.min(self.size.length / 10))
    }

    // The daemon.

    fn web(&mut self) -> Option<SocketAddr> {
        self.daemon.as_mut().and_then(Daemon::web)
    }

    fn start_daemon(&mut self) -> Result<()> {
        self.life += 1;
        self.daemon = Some(Daemon::start(&self.world.setup, &self.complaints)?);
        Ok(())
    }

    fn freeze(&mut self, frozen: bool) {
        self.frozen = frozen;
        if let Some(daemon) = &self.daemon {
            daemon.freeze(frozen);
        }
    }

    fn terminate(&mut self) {
        let panics = self.web().and_then(|web| http::metric(web, "mollysocket_panics_total"));
        if panics.is_some_and(|n| n > 0) {
            self.world.check.problem(format!("mollysocket_panics_total is {}", panics.unwrap_or_default()));
        }
        match self.daemon.take().map(Daemon::terminate) {
            None => {}
            Some(Ok(took)) => self.slowest_stop = self.slowest_stop.max(took),
            Some(Err(problem)) => self.world.check.problem(problem),
        }
    }

    fn finish(
        mut self,
        start: Option<Rest>,
        end: Option<Rest>,
        phases: Option<Phases>,
        settled: Duration,
    ) -> Result<Outcome> {
        let web = self.web();
        if web.and_then(|web| http::metric(web, "mollysocket_panics_total")) != Some(0) {
            self.world.check.problem("mollysocket_panics_total is not 0, or cannot be read".into());
        }
        self.terminate();
        self.world.fold();
        self.check_rows()?;
        for line in self.complaints.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            self.world.check.problem(format!("the daemon's log says: {line}"));
        }
        let counts = self.world.check.counts();
        let mut problems = self.world.check.finish();
        problems.extend(resources::problems(&self.samples, phases, start, end, Limits::default()));
        Ok(Outcome {
            length: self.size.length,
            accounts: self.size.accounts,
            origins: self.size.origins,
            faults: self.faults,
            counts,
            lives: self.life,
            registrations: (self.jobs.done, self.jobs.tries),
            nudged: self.nudged,
            settled,
            slowest_stop: self.slowest_stop,
            phases,
            start,
            end,
            most_threads: self.samples.iter().map(|s| s.threads).max().unwrap_or(0),
            most_descriptors: self.samples.iter().map(|s| s.descriptors).max().unwrap_or(0),
            problems,
        })
    }
}
