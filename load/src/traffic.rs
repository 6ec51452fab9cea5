//! Messages at a steady rate, to each account seldom enough that each costs a wake-up of its own.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::world::World;

/// Messages a second in all, where there are enough accounts for it.
const RATE: f64 = 100.0;
/// Between two messages to one account. The quiet time after a wake-up is a second.
const REST: f64 = 3.0;
/// How long the last message may take to be acked.
const PATIENCE: Duration = Duration::from_secs(30);

/// Sends messages for `length` and waits until all are acked. How long each took to be a push request on the wire.
pub(crate) fn steady(world: &mut World, length: Duration, first: usize) -> Result<Vec<Duration>> {
    let rate = RATE.min(world.accounts as f64 / REST);
    let many = (length.as_secs_f64() * rate) as usize;
    world.fold();
    world.check.take_latencies();
    let start = Instant::now();
    for n in 0..many {
        let due = start + Duration::from_secs_f64(n as f64 / rate);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        world.send((first + n) % world.accounts);
    }
    if !world.settle(PATIENCE) {
        bail!("{} messages were not acked within {PATIENCE:?}", world.check.open());
    }
    Ok(world.check.take_latencies())
}

/// One message to each of `many` accounts at once. How long until all are acked.
pub(crate) fn flood(world: &mut World, many: usize) -> Result<Duration> {
    world.fold();
    world.check.take_latencies();
    let start = Instant::now();
    for n in 0..many {
        world.send(n);
    }
    if !world.settle(PATIENCE * 4) {
        bail!("{} messages were not acked within {:?}", world.check.open(), PATIENCE * 4);
    }
    let took = start.elapsed();
    world.check.take_latencies();
    Ok(took)
}

/// Many messages to one account at once. How many wake-ups they cost.
pub(crate) fn burst(world: &mut World, many: usize) -> Result<usize> {
    world.fold();
    world.check.take_latencies();
    let before = world.check.wakes();
    world.send_burst(0, many);
    if !world.settle(PATIENCE) {
        bail!("{} messages were not acked within {PATIENCE:?}", world.check.open());
    }
    world.check.take_latencies();
    Ok(world.check.wakes() - before)
}
