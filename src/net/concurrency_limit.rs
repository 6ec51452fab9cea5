//! How many pushes are in flight: in all, and to one origin. One slow push server must not use up what the others need, nor
//! the accounts a push server limits what its other accounts need.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, Weak};

use smol::lock::{Semaphore, SemaphoreGuardArc};

use crate::runtime::lock;

/// Origins remembered before the idle ones are forgotten.
const SWEEP: usize = 256;

/// Which accounts a push belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Lane {
    /// Those whose push server does not limit them.
    Normal,
    /// Those it limits (429, 503): to each origin one after the other. They wait for each other, and nobody for them.
    Limited,
}

/// Hands out permits.
pub(super) struct ConcurrencyLimit {
    all: Arc<Semaphore>,
    per_origin: usize,
    /// Only origins with somebody in or waiting for a permit are alive here, so the map is bounded by the pushes.
    origins: Mutex<HashMap<(String, Lane), Weak<Semaphore>>>,
}

/// The right to have one push in flight, until it is dropped.
#[derive(Debug)]
pub struct Permit {
    _origin: SemaphoreGuardArc,
    _all: SemaphoreGuardArc,
}

impl ConcurrencyLimit {
    pub(super) fn new(all: usize, per_origin: usize) -> Self {
        Self { all: Arc::new(Semaphore::new(all.max(1))), per_origin: per_origin.max(1), origins: Mutex::default() }
    }

    /// Waits for a permit: first among those for the same origin, so that a queue for a slow one holds up nobody else.
    pub(super) async fn acquire(&self, origin: &str, lane: Lane) -> Permit {
        let origin = self.of(origin, lane).acquire_arc().await;
        Permit { _origin: origin, _all: self.all.acquire_arc().await }
    }

    fn of(&self, origin: &str, lane: Lane) -> Arc<Semaphore> {
        let mut origins = lock(&self.origins);
        let key = (origin.to_owned(), lane);
        if let Some(known) = origins.get(&key).and_then(Weak::upgrade) {
            return known;
        }
        if origins.len() >= SWEEP {
            origins.retain(|_, known| known.strong_count() > 0);
        }
        let most = match lane {
            Lane::Normal => self.per_origin,
            Lane::Limited => 1,
        };
        let new = Arc::new(Semaphore::new(most));
        origins.insert(key, Arc::downgrade(&new));
        new
    }
}
