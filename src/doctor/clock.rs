//! Our clock against those of the servers.

use std::time::{Duration, SystemTime};

use super::{Check, Doctor};

/// Seconds a clock may be off without anybody noticing.
const HARMLESS: u64 = 60;

/// From here on tokens are refused and certificates seem to have expired soon.
const HARMFUL: u64 = 3600;

/// Whose clock it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whose {
    /// Signal's, by which tokens and certificates count.
    Signal,
    /// A server's that is not on this machine or its network: those may well have the same wrong clock.
    Elsewhere,
}

/// A clock that was heard.
#[derive(Debug)]
pub(super) struct Heard {
    whose: Whose,
    who: String,
    /// How far it is ahead of ours, in seconds.
    ahead: i64,
}

impl Doctor<'_> {
    /// Notes what `who` showed just now.
    pub(super) fn heard_clock(&mut self, whose: Whose, who: impl Into<String>, theirs: Option<SystemTime>) {
        if let Some(theirs) = theirs {
            self.clocks.push(Heard { whose, who: who.into(), ahead: ahead(theirs, SystemTime::now()) });
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

/// By Signal's clock when it was heard. Of the others, it is our clock that is wrong only when nobody agrees with it.
fn judge(clocks: &[Heard]) -> Check {
    const NAME: &str = "clock";
    let of =
        |whose| clocks.iter().filter(move |heard| heard.whose == whose).min_by_key(|heard| heard.ahead.unsigned_abs());
    let Some(Heard { who, ahead: offset, .. }) = of(Whose::Signal).or_else(|| of(Whose::Elsewhere)) else {
        return Check::note(NAME, "no server elsewhere showed its clock");
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
    use super::super::Severity;
    use super::*;

    fn heard(whose: Whose, ahead: i64) -> Heard {
        Heard { whose, who: "them".into(), ahead }
    }

    #[test]
    fn our_clock_is_judged_by_signals_and_else_blamed_only_when_nobody_agrees_with_it() {
        for (signal, others, expected) in [
            (&[][..], &[][..], Severity::Note),
            (&[], &[0], Severity::Ok),
            (&[], &[-60, 9999], Severity::Ok),
            (&[], &[61, 9999], Severity::Warning),
            (&[], &[-61], Severity::Warning),
            (&[], &[3600, -9999], Severity::Failure),
            (&[], &[i64::MIN], Severity::Failure),
            (&[7200], &[0, 1], Severity::Failure),
            (&[-61], &[0], Severity::Warning),
            (&[1], &[9999], Severity::Ok),
        ] {
            let signal_heard = signal.iter().map(|&ahead| heard(Whose::Signal, ahead));
            let clocks: Vec<_> =
                signal_heard.chain(others.iter().map(|&ahead| heard(Whose::Elsewhere, ahead))).collect();
            assert_eq!(judge(&clocks).verdict, expected, "{signal:?}, {others:?}");
        }
        assert!(judge(&[heard(Whose::Signal, 7200)]).what.contains("2h behind that of them"));
        assert!(judge(&[heard(Whose::Signal, -7200)]).what.contains("2h ahead of that of them"));
    }
}
