//! What is measured, and what it should be.

use crate::daemon::Program;

/// Which way is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Better {
    Less,
    More,
    /// Neither: it explains other figures.
    Neither,
}

/// The kind of a figure.
#[derive(Debug)]
pub(crate) struct Kind {
    /// Its name in JSON.
    pub(crate) key: &'static str,
    /// For people.
    pub(crate) what: &'static str,
    pub(crate) unit: &'static str,
    /// What is asked for with 10,000 accounts on two cores.
    pub(crate) goal: Option<f64>,
    pub(crate) better: Better,
}

const fn less(key: &'static str, what: &'static str, unit: &'static str, goal: f64) -> Kind {
    Kind { key, what, unit, goal: Some(goal), better: Better::Less }
}

const fn more(key: &'static str, what: &'static str, unit: &'static str, goal: f64) -> Kind {
    Kind { key, what, unit, goal: Some(goal), better: Better::More }
}

const fn lower(key: &'static str, what: &'static str, unit: &'static str) -> Kind {
    Kind { key, what, unit, goal: None, better: Better::Less }
}

const fn higher(key: &'static str, what: &'static str, unit: &'static str) -> Kind {
    Kind { key, what, unit, goal: None, better: Better::More }
}

const fn info(key: &'static str, what: &'static str, unit: &'static str) -> Kind {
    Kind { key, what, unit, goal: None, better: Better::Neither }
}

/// All kinds, in the order of the table.
pub(crate) const KINDS: &[Kind] = &[
    less("binary", "size of the executable", "MiB", 6.0),
    less("rss_empty", "memory without accounts", "MiB", 10.0),
    less("rss", "memory with all connected and idle", "MiB", 180.0),
    less("rss_per_account", "memory per idle connection", "KiB", 17.0),
    lower("kernel_per_account", "kernel memory per socket (as root; rough)", "KiB"),
    less("threads", "threads, at most", "", 8.0),
    lower("rss_after_traffic", "memory after all the traffic below", "MiB"),
    lower("ready_first", "first start, takes the reference's rows over", "ms"),
    less("ready", "start until the web server answers, all rows there", "ms", 150.0),
    lower("ready_empty", "the same without rows", "ms"),
    lower("connect_paced", "start until all connected, paced", "s"),
    less("connect_unpaced", "start until all connected, unpaced", "s", 12.0),
    less("cpu_connect", "processor time per connect (unpaced)", "ms", 0.6),
    lower("cpu_connect_paced", "the same, paced", "ms"),
    less("idle_cpu", "processor while idle, of one core", "%", 2.0),
    lower("wake_ups", "wake-ups while idle (voluntary context switches)", "/s"),
    info("keepalives", "keepalives a second meanwhile", "/s"),
    less("warm_p50", "message to push request, connection there: p50", "ms", 1.0),
    lower("warm_p90", "p90", "ms"),
    less("warm_p99", "p99", "ms", 10.0),
    lower("warm_max", "max", "ms"),
    info("warm_connections", "new connections for 100 of these pushes", ""),
    lower("cold_p50", "message to push request, new connection: p50", "ms"),
    lower("cold_p90", "p90", "ms"),
    lower("cold_p99", "p99", "ms"),
    lower("cold_max", "max", "ms"),
    lower("cpu_push", "processor time per message with push and ack", "ms"),
    higher("pushes_per_second", "pushes a second, sustained", "/s"),
    lower("burst", "pushes for 1,000 messages to one account at once", ""),
    less("first_reconnect", "Signal is back after 3 s: first connection (paced)", "s", 8.0),
    less("reconnect_paced", "Signal is back: all connected (paced)", "s", 55.0),
    less("reconnect_unpaced", "Signal is back: all connected, unpaced", "s", 12.0),
    lower("cpu_reconnect", "processor time per reconnect, outage and unpaced", "ms"),
    info("resumed", "TLS sessions resumed then", "%"),
    less("reconnect_peak", "peak of memory while reconnecting (paced), of that idle", "×", 1.15),
    lower("reconnect_peak_unpaced", "the same, unpaced", "×"),
    more("registrations", "new endpoints of accounts a second, each on the disk", "/s", 500.0),
    lower("stop", "SIGTERM until it has ended", "s"),
];

/// Everything measured of one daemon.
#[derive(Debug)]
pub(crate) struct Figures {
    pub(crate) name: String,
    pub(crate) accounts: usize,
    /// How many measurements these are the medians of.
    pub(crate) runs: usize,
    values: Vec<(&'static str, f64)>,
    pub(crate) messages: usize,
    /// What was not correct.
    pub(crate) problems: Vec<String>,
}

impl Figures {
    pub(crate) fn new(program: &Program, accounts: usize) -> Self {
        Self { name: program.name.clone(), accounts, runs: 1, values: Vec::new(), messages: 0, problems: Vec::new() }
    }

    /// Notes a figure.
    pub(crate) fn note(&mut self, key: &'static str, value: f64) {
        debug_assert!(KINDS.iter().any(|kind| kind.key == key), "{key} has no kind");
        self.values.push((key, value));
    }

    pub(crate) fn get(&self, key: &str) -> Option<f64> {
        self.values.iter().find(|(name, _)| *name == key).map(|(_, value)| *value)
    }
}

/// The median of each figure; all messages and problems. `None` when there is nothing.
pub(crate) fn medians(all: Vec<Figures>) -> Option<Figures> {
    let values = |key| {
        let mut values: Vec<f64> = all.iter().filter_map(|figures| figures.get(key)).collect();
        values.sort_by(f64::total_cmp);
        // Of an even number the lower one in the middle: one that was measured.
        values.get(values.len().saturating_sub(1) / 2).map(|median| (key, *median))
    };
    let first = all.first()?;
    Some(Figures {
        name: first.name.clone(),
        accounts: first.accounts,
        runs: all.len(),
        values: KINDS.iter().filter_map(|kind| values(kind.key)).collect(),
        messages: all.iter().map(|figures| figures.messages).sum(),
        problems: all.iter().flat_map(|figures| figures.problems.clone()).collect(),
    })
}

impl Kind {
    /// Whether the goal is met. `None` without a goal.
    pub(crate) fn met(&self, value: f64) -> Option<bool> {
        let goal = self.goal?;
        Some(if self.better == Better::More { value >= goal } else { value <= goal })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_of_each_figure_and_no_problem_is_lost() {
        let program = Program::from_args(None, &[]).expect("this program");
        let run = |rss, threads, problem: Option<&str>| {
            let mut figures = Figures::new(&program, 10);
            figures.note("rss", rss);
            figures.note("threads", threads);
            figures.messages = 5;
            figures.problems.extend(problem.map(str::to_owned));
            figures
        };
        let all = vec![run(30.0, 1.0, None), run(10.0, 3.0, Some("lost")), run(20.0, 2.0, None)];
        let medians = medians(all).expect("three runs");
        assert_eq!((medians.get("rss"), medians.get("threads")), (Some(20.0), Some(2.0)));
        assert_eq!((medians.runs, medians.messages, medians.problems.len()), (3, 15, 1));
        assert_eq!(medians.get("ready"), None);
    }
}
