//! Memory, descriptors and threads of the daemon, seen from outside, and whether they grow.

use std::fs;
use std::time::Duration;

/// One look at the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sample {
    /// Since the run began.
    pub(crate) at: Duration,
    /// Which life of the daemon.
    pub(crate) life: u32,
    /// Resident set, bytes.
    pub(crate) rss: u64,
    /// Memory that belongs to no file, bytes: what can leak.
    pub(crate) anonymous: u64,
    pub(crate) descriptors: usize,
    pub(crate) threads: usize,
}

impl Sample {
    /// Looks at a process. `None` when it is gone.
    pub(crate) fn take(pid: u32, life: u32, at: Duration) -> Option<Self> {
        let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
        let field = |name: &str| {
            let line = rollup.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
        };
        Some(Self {
            at,
            life,
            rss: field("Rss:")?,
            anonymous: field("Anonymous:")?,
            descriptors: fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count(),
            threads: fs::read_dir(format!("/proc/{pid}/task")).ok()?.count(),
        })
    }
}

/// What is not yet called a leak.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Growth between the two phases, bytes.
    pub(crate) growth: u64,
    /// The same as a fraction of the first phase.
    pub(crate) growth_part: f64,
    /// Descriptors at rest beyond those at the start's rest.
    pub(crate) descriptors: usize,
    /// Threads beyond those at rest: workers for look-ups.
    pub(crate) workers: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { growth: 3 << 20, growth_part: 0.12, descriptors: 3, workers: 8 }
    }
}

/// The daemon at rest: nothing sent, nothing failing.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rest {
    pub(crate) sample: Sample,
    /// Its sockets to Signal.
    pub(crate) sockets: usize,
}

impl Rest {
    fn own_descriptors(&self) -> usize {
        self.sample.descriptors.saturating_sub(self.sockets)
    }

    /// Whether it has more descriptors, besides its sockets to Signal, than may be by chance.
    pub(crate) fn holds_more_than(&self, start: &Self) -> bool {
        self.own_descriptors() > start.own_descriptors() + Limits::default().descriptors
    }
}

/// The two phases of the longest life that are compared.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Phases {
    pub(crate) first: u64,
    pub(crate) last: u64,
    /// Between the middles of the two.
    pub(crate) apart: Duration,
}

impl Phases {
    /// Bytes an hour.
    pub(crate) fn slope(&self) -> f64 {
        (self.last as f64 - self.first as f64) / self.apart.as_secs_f64().max(1.0) * 3600.0
    }
}

/// The first and the last quarter of the longest life after its warm-up, by their medians. `None` when no life was
/// long enough to say anything.
pub(crate) fn phases(samples: &[Sample], warm_up: Duration) -> Option<Phases> {
    let lives = samples.chunk_by(|a, b| a.life == b.life);
    let life =
        lives.max_by_key(|life| life.last().map(|s| s.at).zip(life.first().map(|s| s.at)).map(|(z, a)| z - a))?;
    let begin = life.first()?.at + warm_up;
    let steady: Vec<Sample> = life.iter().filter(|s| s.at >= begin).copied().collect();
    let quarter = steady.len() / 4;
    if quarter < 3 {
        return None;
    }
    let (first, last) = (&steady[..quarter], &steady[steady.len() - quarter..]);
    let median = |part: &[Sample]| {
        let mut values: Vec<u64> = part.iter().map(|s| s.anonymous).collect();
        values.sort_unstable();
        values[values.len() / 2]
    };
    Some(Phases { first: median(first), last: median(last), apart: last[quarter / 2].at - first[quarter / 2].at })
}

/// What grew.
pub(crate) fn problems(
    samples: &[Sample],
    phases: Option<Phases>,
    start: Option<Rest>,
    end: Option<Rest>,
    limits: Limits,
) -> Vec<String> {
    let mut found = Vec::new();
    match phases {
        None => found.push("no life of the daemon was long enough to see whether memory grows".into()),
        Some(p) => {
            let allowed = limits.growth.max((p.first as f64 * limits.growth_part) as u64);
            if p.last > p.first + allowed {
                let (from, to) = (mib(p.first), mib(p.last));
                found.push(format!("memory grew from {from:.1} to {to:.1} MiB in {:.0?}", p.apart));
            }
        }
    }
    let (Some(start), Some(end)) = (start, end) else {
        found.push("the daemon was never seen at rest".into());
        return found;
    };
    let (before, after) = (start.own_descriptors(), end.own_descriptors());
    if after > before + limits.descriptors {
        found.push(format!("{after} descriptors besides sockets to Signal at the end, {before} at the start"));
    }
    if end.sample.threads > start.sample.threads {
        found.push(format!("{} threads at rest at the end, {} at the start", end.sample.threads, start.sample.threads));
    }
    let most = samples.iter().map(|s| s.threads).max().unwrap_or(0);
    if most > start.sample.threads + limits.workers {
        found.push(format!("up to {most} threads, {} at rest", start.sample.threads));
    }
    found
}

/// Bytes as MiB.
pub(crate) fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(at: u64, anonymous: u64) -> Sample {
        let at = Duration::from_secs(at);
        Sample { at, life: 0, rss: anonymous, anonymous, descriptors: 120, threads: 6 }
    }

    fn rest(descriptors: usize, sockets: usize, threads: usize) -> Option<Rest> {
        Some(Rest { sample: Sample { descriptors, threads, ..sample(0, 0) }, sockets })
    }

    /// The last 100 of 120 samples of a run whose memory grows by so much a second.
    fn run(per_second: u64) -> Vec<Sample> {
        (0..120).map(|n| sample(n, (20 << 20) + n * per_second + n % 7 * 50_000)).collect()
    }

    fn judged(samples: &[Sample], start: Option<Rest>, end: Option<Rest>) -> Vec<String> {
        problems(samples, phases(samples, Duration::from_secs(20)), start, end, Limits::default())
    }

    #[test]
    fn flat_memory_passes_and_a_leak_does_not() {
        let at_rest = (rest(120, 100, 6), rest(118, 98, 6));
        assert_eq!(judged(&run(0), at_rest.0, at_rest.1), Vec::<String>::new());
        let leaking = judged(&run(60_000), at_rest.0, at_rest.1);
        assert!(leaking.len() == 1 && leaking[0].contains("memory grew"), "{leaking:?}");
    }

    #[test]
    fn a_restart_is_not_taken_for_growth() {
        let mut samples: Vec<_> = (0..50).map(|n| Sample { life: 1, ..sample(n, 1 << 20) }).collect();
        samples.extend((50..150).map(|n| Sample { life: 2, ..sample(n, 40 << 20) }));
        assert_eq!(judged(&samples, rest(20, 0, 6), rest(20, 0, 6)), Vec::<String>::new());
        assert!(phases(&samples, Duration::from_secs(20)).is_some_and(|p| p.first == 40 << 20));
    }

    #[test]
    fn a_run_too_short_to_tell_says_so() {
        let found = judged(&run(0)[..25], rest(1, 1, 1), rest(1, 1, 1));
        assert!(found[0].contains("long enough"), "{found:?}");
        assert!(judged(&run(0), None, rest(1, 1, 1))[0].contains("never seen at rest"));
    }

    #[test]
    fn leaked_descriptors_and_threads_are_found() {
        for (end, what) in [
            (rest(125, 100, 6), "25 descriptors"),
            // As many as at the start, but fewer of them lead to Signal.
            (rest(120, 90, 6), "30 descriptors"),
            (rest(120, 100, 7), "7 threads at rest"),
        ] {
            let found = judged(&run(0), rest(120, 100, 6), end);
            assert!(found.len() == 1 && found[0].contains(what), "{what}: {found:?}");
        }
        let mut busy = run(0);
        busy[60].threads = 15;
        let found = judged(&busy, rest(120, 100, 6), rest(120, 100, 6));
        assert!(found.len() == 1 && found[0].contains("up to 15 threads"), "{found:?}");
    }

    #[test]
    fn a_process_can_be_looked_at() {
        let sample = Sample::take(std::process::id(), 0, Duration::ZERO).expect("it is alive");
        assert!(sample.rss >= sample.anonymous && sample.anonymous > 0 && sample.descriptors > 2 && sample.threads > 0);
        assert_eq!(Sample::take(u32::MAX, 0, Duration::ZERO), None);
    }
}
