//! What is printed: a line now and then, and a table at the end.
#![allow(clippy::print_stdout)]

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::check::Counts;
use crate::resources::{Phases, Rest, Sample, mib};

/// How it goes.
pub(crate) struct Progress {
    pub(crate) at: Duration,
    pub(crate) faults: u64,
    pub(crate) counts: Counts,
    pub(crate) owed: usize,
    pub(crate) sample: Option<Sample>,
}

impl Progress {
    pub(crate) fn tell(&self) {
        let Counts { messages, acked, wakes, .. } = self.counts;
        let (rss, descriptors) = self.sample.map_or((0.0, 0), |s| (mib(s.rss), s.descriptors));
        println!(
            "{:>5} s  {:>4} faults  {messages:>7} messages  {wakes:>6} wake-ups  {acked:>7} acked  {:>6} owed  {rss:>6.1} MiB  \
             {descriptors:>5} fds",
            self.at.as_secs(),
            self.faults,
            self.owed,
        );
    }
}

/// What came out.
pub(crate) struct Outcome {
    pub(crate) length: Duration,
    pub(crate) accounts: usize,
    pub(crate) origins: usize,
    pub(crate) faults: BTreeMap<&'static str, u64>,
    pub(crate) counts: Counts,
    pub(crate) lives: u32,
    /// Answered ok, and tries.
    pub(crate) registrations: (u64, u64),
    pub(crate) nudged: usize,
    pub(crate) settled: Duration,
    pub(crate) slowest_stop: Duration,
    pub(crate) phases: Option<Phases>,
    pub(crate) start: Option<Rest>,
    pub(crate) end: Option<Rest>,
    pub(crate) most_threads: usize,
    pub(crate) most_descriptors: usize,
    pub(crate) problems: Vec<String>,
}

impl Outcome {
    /// Whether everything that was to be proved is proved.
    pub(crate) fn passed(&self) -> bool {
        self.problems.is_empty()
    }

    pub(crate) fn tell(&self, seed: u64) {
        println!("\n{:<40} {:>12}", "seed", seed);
        for (name, value) in self.rows() {
            println!("{name:<40} {value:>12}");
        }
        println!("\n{:<40} {:>12}", "fault", "times");
        for (name, times) in &self.faults {
            println!("{name:<40} {times:>12}");
        }
        println!();
        if self.passed() {
            println!("soak: passed");
        } else {
            self.problems.iter().for_each(|problem| println!("- {problem}"));
            println!("soak: FAILED");
        }
    }

    fn rows(&self) -> Vec<(&'static str, String)> {
        let rest = |rest: Option<Rest>, show: fn(Rest) -> String| rest.map_or("unknown".into(), show);
        let both = |show: fn(Rest) -> String| format!("{} → {}", rest(self.start, show), rest(self.end, show));
        let memory = self.phases.map(|p| format!("{:.1} → {:.1} MiB", mib(p.first), mib(p.last)));
        let slope = self.phases.map(|p| format!("{:+.1} MiB/h", p.slope() / f64::from(1 << 20)));
        let counts = &self.counts;
        vec![
            ("accounts, push servers", format!("{}, {}", self.accounts, self.origins)),
            ("length, settled after", format!("{:.0?}, {:.1?}", self.length, self.settled)),
            ("messages, of them urgent", format!("{}, {}", counts.messages, counts.urgent)),
            ("acked, dropped with their device", format!("{}, {}", counts.acked, counts.dropped)),
            ("wake-ups accepted, tests accepted", format!("{}, {}", counts.wakes, counts.tests)),
            ("pushes refused", counts.refused_pushes.to_string()),
            ("registrations ok, tries", format!("{}, {}", self.registrations.0, self.registrations.1)),
            ("faults", self.faults.values().sum::<u64>().to_string()),
            ("starts of the daemon, slowest stop", format!("{}, {:.1?}", self.lives, self.slowest_stop)),
            ("phones moved to end a long wait", self.nudged.to_string()),
            ("memory, first and last quarter", memory.unwrap_or("unknown".into())),
            ("slope", slope.unwrap_or("unknown".into())),
            ("descriptors at rest", both(|r| r.sample.descriptors.to_string())),
            ("of them sockets to Signal", both(|r| r.sockets.to_string())),
            ("threads at rest", both(|r| r.sample.threads.to_string())),
            ("most descriptors, most threads", format!("{}, {}", self.most_descriptors, self.most_threads)),
        ]
    }

    pub(crate) fn json(&self, seed: u64) -> Value {
        let rest = |rest: Option<Rest>| {
            rest.map(|r| {
                let Sample { rss, anonymous, descriptors, threads, .. } = r.sample;
                json!({ "rss": rss, "anonymous": anonymous, "descriptors": descriptors, "threads": threads, "sockets": r.sockets })
            })
        };
        let Counts { messages, urgent, acked, wakes, tests, refused_pushes, dropped } = self.counts;
        json!({
            "seed": seed,
            "passed": self.passed(),
            "problems": self.problems,
            "seconds": self.length.as_secs(),
            "accounts": self.accounts,
            "origins": self.origins,
            "settled_seconds": self.settled.as_secs_f64(),
            "messages": messages,
            "urgent": urgent,
            "acked": acked,
            "dropped": dropped,
            "wakes": wakes,
            "tests": tests,
            "refused_pushes": refused_pushes,
            "registrations": self.registrations.0,
            "starts": self.lives,
            "slowest_stop_seconds": self.slowest_stop.as_secs_f64(),
            "nudged": self.nudged,
            "memory": self.phases.map(|p| json!({
                "first": p.first, "last": p.last, "bytes_per_hour": p.slope(),
            })),
            "rest": { "start": rest(self.start), "end": rest(self.end) },
            "most": { "descriptors": self.most_descriptors, "threads": self.most_threads },
            "faults": self.faults,
        })
    }
}
