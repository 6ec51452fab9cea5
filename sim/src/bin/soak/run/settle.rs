//! After the last fault: everything must come right by itself, and soon.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use mollysocket::account::AccountId;

use super::Run;

/// The longest back-off to Signal is a minute, after which it takes another one until a device counts as unlinked; a
/// silent path is noticed 45 s after the last sign of life.
const PATIENCE: Duration = Duration::from_secs(150);
/// An account whose pushes have failed for longer may by design wait for as long again: its phone moves instead.
const LONG_FAILING: Duration = Duration::from_secs(60);

impl Run {
    /// Waits until nothing is owed any more. How long it took.
    pub(super) fn settle(&mut self) -> Result<Duration> {
        let since = Instant::now();
        self.nudge();
        while since.elapsed() < PATIENCE && !self.is_settled() {
            self.tick()?;
        }
        self.world.fold();
        let took = since.elapsed();
        for n in 0..self.size.accounts {
            let phone = &self.world.phones[n];
            if phone.linked && !self.world.connected(n) {
                self.world.check.problem(format!("account {n}: not connected {took:.0?} after the last fault"));
            }
        }
        if self.jobs.left() > 0 {
            let left = self.jobs.left();
            self.world.check.problem(format!("{left} registrations were never answered ok"));
        }
        Ok(took)
    }

    fn is_settled(&self) -> bool {
        let well =
            |n: usize| !self.world.phones[n].linked || (self.world.connected(n) && self.world.check.is_settled(n));
        self.jobs.left() == 0 && (0..self.size.accounts).all(well) && self.refusals_are_stored()
    }

    /// Whether every account whose device is not linked is forbidden: that takes a minute.
    fn refusals_are_stored(&self) -> bool {
        let linked = |id: AccountId| {
            self.world.phones.iter().any(|phone| phone.linked && AccountId::parse(&phone.uuid) == Ok(id))
        };
        smol::block_on(self.world.store.list())
            .is_ok_and(|listing| listing.accounts.iter().all(|row| row.forbidden || linked(row.id())))
    }

    /// The wait after failed pushes is about as long as they have failed: where that was long, another endpoint ends it
    /// (design, section 3). The plan makes this rare.
    fn nudge(&mut self) {
        for n in 0..self.size.accounts {
            let Some(since) = self.world.check.unwoken_since(n).filter(|since| since.elapsed() > LONG_FAILING) else {
                continue;
            };
            let origin = self.world.phones[n].place.origin;
            let unreachable = self.injector.unreachable.get(&origin).is_some_and(|at| *at > since);
            if (unreachable || self.world.check.failed_since(n, since)) && !self.jobs.is_busy(n) {
                let place = self.world.new_place(n);
                self.jobs.register(n, place, false);
                self.nudged += 1;
            }
        }
    }

    /// Every row is what was last acknowledged; only unlinked accounts are forbidden, and junk never lives.
    pub(super) fn check_rows(&mut self) -> Result<()> {
        let listing = smol::block_on(self.world.store.list()).context("the database cannot be read at the end")?;
        let mut problems: Vec<String> = listing.unreadable.iter().map(ToString::to_string).collect();
        for (n, phone) in self.world.phones.iter().enumerate() {
            let id = AccountId::parse(&phone.uuid)?;
            let Some(row) = listing.accounts.iter().find(|row| row.id() == id) else {
                problems.push(format!("account {n}: its row is gone"));
                continue;
            };
            if row.endpoint.as_str() != self.world.endpoint(&phone.place) {
                problems.push(format!("account {n}: the endpoint in the database is not the one registered last"));
            }
            if phone.linked && row.credentials.password.expose() != phone.password {
                problems.push(format!("account {n}: the password in the database is not the one registered last"));
            }
            if row.forbidden == phone.linked {
                problems.push(format!("account {n}: forbidden is {}, linked is {}", row.forbidden, phone.linked));
            }
            if phone.linked && row.endpoint_gone {
                problems.push(format!("account {n}: its endpoint still counts as gone"));
            }
        }
        let junk: Vec<_> = self.jobs.junk.iter().filter_map(|uuid| AccountId::parse(uuid).ok()).collect();
        let known = |id: AccountId| self.world.phones.iter().any(|p| AccountId::parse(&p.uuid) == Ok(id));
        for row in listing.accounts.iter().filter(|row| !known(row.id())) {
            if !junk.contains(&row.id()) {
                problems.push("a row of an account whose registration was never answered ok".into());
            } else if !row.forbidden {
                problems.push("a junk account is not forbidden".into());
            }
        }
        problems.into_iter().for_each(|problem| self.world.check.problem(problem));
        Ok(())
    }
}
