//! What happens when: drawn from the seed alone, so that a run can be repeated. Pure.

use std::time::Duration;

use fastrand::Rng;

mod draw;
mod kinds;

pub(crate) use kinds::{Fault, Message, PushFault, Refusal, SocketEnd};

/// Something that happens at a moment of the run.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum What {
    /// A message for an account.
    Message(usize, Message),
    /// The fault with this index starts.
    Begin(usize),
    /// The fault with this index ends.
    End(usize),
}

/// A fault and when it is there.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Planned {
    pub(crate) fault: Fault,
    pub(crate) from: Duration,
    pub(crate) until: Duration,
}

/// A whole run.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Plan {
    pub(crate) faults: Vec<Planned>,
    /// By time.
    pub(crate) events: Vec<(Duration, What)>,
}

/// How large a run is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    pub(crate) length: Duration,
    pub(crate) accounts: usize,
    pub(crate) origins: usize,
}

impl Plan {
    /// The plan of this seed.
    pub(crate) fn draw(seed: u64, size: Size) -> Self {
        let mut rng = Rng::with_seed(seed);
        let mut faults = Vec::new();
        draw::program(&mut rng.fork(), size, &mut faults);
        draw::signal(&mut rng.fork(), size, &mut faults);
        draw::origins(&mut rng.fork(), size, &mut faults);
        draw::accounts(&mut rng.fork(), size, &mut faults);
        draw::web(&mut rng.fork(), size, &mut faults);
        faults.sort_by_key(|f| f.from);
        let mut events: Vec<_> = draw::messages(&mut rng.fork(), size);
        for (n, fault) in faults.iter().enumerate() {
            events.push((fault.from, What::Begin(n)));
            events.push((fault.until.min(size.length), What::End(n)));
        }
        // Stable: a fault of no length begins before it ends.
        events.sort_by_key(|(at, _)| *at);
        Self { faults, events }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn size(secs: u64, accounts: usize) -> Size {
        Size { length: Duration::from_secs(secs), accounts, origins: 4 }
    }

    fn names(plan: &Plan) -> BTreeSet<&'static str> {
        plan.faults.iter().map(|f| f.fault.name()).collect()
    }

    #[test]
    fn a_seed_is_a_plan() {
        assert_eq!(Plan::draw(7, size(60, 50)), Plan::draw(7, size(60, 50)));
        assert_ne!(Plan::draw(7, size(60, 50)), Plan::draw(8, size(60, 50)));
    }

    #[test]
    fn every_kind_of_fault_occurs_in_ten_minutes_and_most_in_one() {
        for seed in 0..5 {
            let (long, short) = (names(&Plan::draw(seed, size(600, 500))), names(&Plan::draw(seed, size(60, 50))));
            assert_eq!(long.len(), Fault::KINDS, "{long:?}");
            assert!(short.len() * 10 >= Fault::KINDS * 9, "{} of {}: {short:?}", short.len(), Fault::KINDS);
        }
    }

    #[test]
    fn everything_ends_within_the_run_and_in_order() {
        let plan = Plan::draw(3, size(120, 100));
        assert!(plan.events.windows(2).all(|w| w[0].0 <= w[1].0));
        assert!(plan.events.last().is_some_and(|(at, _)| *at <= Duration::from_secs(120)));
        let begun = plan.events.iter().filter(|(_, w)| matches!(w, What::Begin(_))).count();
        let ended = plan.events.iter().filter(|(_, w)| matches!(w, What::End(_))).count();
        assert_eq!((begun, ended), (plan.faults.len(), plan.faults.len()));
    }

    #[test]
    fn no_account_has_two_faults_of_one_side_at_a_time() {
        let plan = Plan::draw(11, size(600, 60));
        for (n, a) in plan.faults.iter().enumerate() {
            for b in &plan.faults[n + 1..] {
                let same = a.fault.busy().iter().any(|need| b.fault.busy().contains(need));
                assert!(!same || a.until <= b.from || b.until <= a.from, "{a:?} and {b:?}");
            }
        }
    }
}
