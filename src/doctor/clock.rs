//! Our clock against those of the servers.

use std::time::{Duration, SystemTime};

use super::{Check, Doctor};

/// Seconds a clock may be off without anybody noticing.
const HARMLESS: u64 = 60;

/// From here on tokens are refused and certificates seem to have expired soon.
const HARMFUL: u64 = 3600;

impl Doctor<'_> {
    /// Notes what `who` showed just now.
    pub(super) fn heard_clock(&mut self, who: impl Into<String>, theirs: Option<SystemTime>) {
        if let Some(theirs) = theirs {
            self.clocks.push((who.into(), ahead(theirs, SystemTime::now())));
        }
    }

    pub(super) fn clock(&mut self) {
        let check = judge(&self.clocks);
        self.add(check);
    }
}

/// How far `theirs` is ahead of `ours`, in seconds.
fn ahead(theirs: SystemTime, ours: SystemTime) -> i64 {
    let seconds = |time: Duration| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    match theirs.duration_since(ours) {
        Ok(ahead) => seconds(ahead),
        Err(behind) => -seconds(behind.duration()),
    }
}

/// It is our clock that is wrong only when nobody agrees with it.
fn judge(clocks: &[(String, i64)]) -> Check {
    const NAME: &str = "clock";
    let Some((who, offset)) = clocks.iter().min_by_key(|(_, offset)| offset.unsigned_abs()) else {
        return Check::note(NAME, "no server showed its clock");
    };
    let off = offset.unsigned_abs();
    if off <= HARMLESS {
        return Check::ok(NAME, format!("{off} s from that of {who}"));
    }
    let direction = if *offset > 0 { "behind" } else { "ahead of" };
    let rough = humantime::format_duration(Duration::from_secs(off));
    let what = format!("this machine's clock is {rough} {direction} that of {who}");
    let remedy = "set it, and let a time service keep it (timedatectl set-ntp true)";
    if off < HARMFUL { Check::warning(NAME, what, remedy) } else { Check::failure(NAME, what, remedy) }
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    #[test]
    fn our_clock_is_blamed_only_when_nobody_agrees_with_it() {
        for (offsets, expected) in [
            (&[][..], Verdict::Note),
            (&[0], Verdict::Ok),
            (&[-60, 9999], Verdict::Ok),
            (&[61, 9999], Verdict::Warning),
            (&[-61], Verdict::Warning),
            (&[3600, -9999], Verdict::Failure),
            (&[i64::MIN], Verdict::Failure),
        ] {
            let clocks: Vec<_> = offsets.iter().map(|&offset| ("them".to_owned(), offset)).collect();
            assert_eq!(judge(&clocks).verdict, expected, "{offsets:?}");
        }
        assert!(judge(&[("them".into(), 7200)]).what.contains("2h behind that of them"));
        assert!(judge(&[("them".into(), -7200)]).what.contains("2h ahead of that of them"));
    }
}
