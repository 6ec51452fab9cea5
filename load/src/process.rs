//! A process as the kernel sees it (proc(5)).

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};

/// Looks at `/proc/PID`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Process(pub(crate) u32);

impl Process {
    fn read(self, file: &str) -> Result<String> {
        fs::read_to_string(format!("/proc/{}/{file}", self.0)).context("the daemon is gone")
    }

    /// The resident set, bytes.
    pub(crate) fn rss(self) -> Result<u64> {
        field(&self.read("smaps_rollup")?, "Rss:").context("smaps_rollup has no Rss")
    }

    /// Forgets the peak of memory.
    pub(crate) fn reset_peak(self) -> Result<()> {
        fs::write(format!("/proc/{}/clear_refs", self.0), "5").context("the peak of memory cannot be reset")
    }

    /// The largest resident set since the peak was reset, bytes.
    pub(crate) fn peak(self) -> Result<u64> {
        field(&self.read("status")?, "VmHWM:").context("status has no VmHWM")
    }

    /// Processor time of all threads so far, user and system. The kernel counts in nanoseconds and tells hundredths.
    pub(crate) fn cpu(self) -> Result<Duration> {
        let stat = self.read("stat")?;
        // The name in parentheses may hold anything; utime and stime are the 12th and 13th field after it.
        let fields = stat.rsplit_once(')').context("stat is odd")?.1;
        let ticks = fields.split_whitespace().skip(11).take(2).map(|n| n.parse::<u64>().unwrap_or(0)).sum::<u64>();
        Ok(Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64))
    }

    /// How often its threads have gone to sleep, and so were woken: the voluntary context switches of all that are alive.
    pub(crate) fn wake_ups(self) -> Result<u64> {
        let mut sum = 0;
        for thread in fs::read_dir(format!("/proc/{}/task", self.0)).context("the daemon is gone")? {
            // A thread that ended meanwhile is left out.
            let status = fs::read_to_string(thread?.path().join("status")).unwrap_or_default();
            let count = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
            sum += count.and_then(|count| count.trim().parse::<u64>().ok()).unwrap_or(0);
        }
        Ok(sum)
    }

    pub(crate) fn threads(self) -> Result<usize> {
        Ok(fs::read_dir(format!("/proc/{}/task", self.0)).context("the daemon is gone")?.count())
    }
}

/// The kernel's objects of which an open socket has one each (TCP over IPv4, inode, file, directory entry, epoll entry).
const OBJECTS: [&str; 5] = ["TCP", "sock_inode_cache", "filp", "dentry", "eventpoll_epi"];

/// Kernel memory for such objects, of the whole machine, bytes. Other programs move it too. `None` unless we are root.
pub(crate) fn sockets() -> Option<u64> {
    let slabs = fs::read_to_string("/proc/slabinfo").ok()?;
    let of = |line: &str| {
        let mut fields = line.split_whitespace();
        let known = fields.next().is_some_and(|name| OBJECTS.contains(&name));
        let mut number = || fields.next()?.parse::<u64>().ok();
        // Active objects, all objects, size of one.
        let (active, _, size) = (number()?, number()?, number()?);
        known.then_some(active * size)
    };
    Some(slabs.lines().filter_map(of).sum())
}

/// How many connections to one address there can be. Linux' default where it cannot be read.
pub(crate) fn local_ports() -> usize {
    let text = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let mut ends = text.split_whitespace().filter_map(|end| end.parse::<usize>().ok());
    match (ends.next(), ends.next()) {
        (Some(first), Some(last)) => (last + 1).saturating_sub(first),
        _ => 28_232,
    }
}

/// A field in kB, as bytes.
fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

/// What the machine is, for the report.
pub(crate) fn machine() -> String {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|l| l.strip_prefix("model name")).unwrap_or(": unknown processor");
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let memory = fs::read_to_string("/proc/meminfo").ok().and_then(|t| field(&t, "MemTotal:")).unwrap_or(0) >> 20;
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{cores} × {}, {memory} MiB, Linux {}", model.trim_start_matches([' ', '\t', ':']), kernel.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_can_be_looked_at() {
        let me = Process(std::process::id());
        let rss = me.rss().expect("it is alive");
        assert!(rss > 1 << 20 && me.peak().expect("it is alive") >= rss / 2 && me.threads().expect("it is alive") > 0);
        let before = me.cpu().expect("it is alive");
        let since = std::time::Instant::now();
        while since.elapsed() < Duration::from_millis(300) {
            std::hint::spin_loop();
        }
        let used = me.cpu().expect("it is alive") - before;
        assert!((0.02..5.0).contains(&used.as_secs_f64()), "{used:?}");
        let before = me.wake_ups().expect("it is alive");
        std::thread::sleep(Duration::from_millis(1));
        assert!(me.wake_ups().expect("it is alive") > before);
        assert!(Process(u32::MAX).rss().is_err());
    }
}
