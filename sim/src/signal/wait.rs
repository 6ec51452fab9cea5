//! Looking at the server, and waiting for what it sees.

use std::sync::PoisonError;
use std::time::{Duration, Instant};

use futures_lite::FutureExt;
use smol::Timer;

use super::{AckRecord, DeviceAddress, DeviceCounters, Guid, Records, SignalServer, State};

/// Looking and waiting.
impl SignalServer {
    /// Looks at the state under its lock.
    pub fn with_state<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.shared.lock())
    }

    /// A copy of everything recorded. For large runs prefer [`SignalServer::with_state`].
    pub fn records(&self) -> Records {
        self.with_state(|s| s.records.clone())
    }

    /// Counters of one device.
    pub fn counters(&self, aci: &str, device: u8) -> DeviceCounters {
        self.with_state(|s| s.records.device(aci, device))
    }

    /// Takes the records out: as [`SignalServer::records`] and [`SignalServer::clear_records`] in one step, so that
    /// nothing falls between two takes of a long run.
    pub fn take_records(&self) -> Records {
        self.shared.update(|s| s.records.take())
    }

    /// Forgets the records; open sockets stay counted.
    pub fn clear_records(&self) {
        self.shared.update(|s| s.records.clear());
    }

    /// Messages stored for a device.
    pub fn queue_len(&self, aci: &str, device: u8) -> usize {
        self.with_state(|s| s.queue_len(aci, device))
    }

    /// See [`State::unacked`].
    pub fn unacked(&self, aci: &str, device: u8) -> usize {
        self.with_state(|s| s.unacked(aci, device))
    }

    /// Waits until the condition holds. False after `timeout`.
    pub fn wait_until(&self, timeout: Duration, mut condition: impl FnMut(&State) -> bool) -> bool {
        let deadline = Instant::now() + timeout;
        let mut state = self.shared.lock();
        loop {
            if condition(&state) {
                return true;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state = self.shared.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// As `wait_until`, for asynchronous code that must not block its thread.
    pub async fn until(&self, timeout: Duration, mut condition: impl FnMut(&State) -> bool) -> bool {
        let held = async {
            loop {
                let changed = self.shared.changed_event.listen();
                if condition(&self.shared.lock()) {
                    return true;
                }
                changed.await;
            }
        };
        let timer = async {
            Timer::after(timeout).await;
            false
        };
        held.or(timer).await
    }

    /// Waits until the device has a message socket.
    pub fn wait_connected(&self, aci: &str, device: u8, timeout: Duration) -> bool {
        self.wait_until(timeout, |s| s.is_connected(aci, device))
    }

    /// Waits until the device has no message socket.
    pub fn wait_disconnected(&self, aci: &str, device: u8, timeout: Duration) -> bool {
        self.wait_until(timeout, |s| !s.is_connected(aci, device))
    }

    /// Waits until this message was acknowledged with 2xx.
    pub fn wait_acked(&self, aci: &str, device: u8, guid: Guid, timeout: Duration) -> bool {
        let address = DeviceAddress::new(aci, device);
        let is_ack = |a: &AckRecord| a.guid == guid && a.device == address && a.is_success();
        self.wait_until(timeout, |s| s.records.acks.iter().rev().any(is_ack))
    }

    /// Waits until the device has acknowledged n messages with 2xx.
    pub fn wait_acks(&self, aci: &str, device: u8, n: u64, timeout: Duration) -> bool {
        self.wait_until(timeout, |s| s.records.device(aci, device).acked >= n)
    }

    /// Waits until n upgrades succeeded.
    pub fn wait_connects(&self, n: u64, timeout: Duration) -> bool {
        self.wait_until(timeout, |s| s.records.connects >= n)
    }

    /// Waits until n upgrade requests came, answered or not.
    pub fn wait_upgrades(&self, n: usize, timeout: Duration) -> bool {
        self.wait_until(timeout, |s| s.records.upgrades.len() >= n)
    }

    /// Waits until n keepalives came.
    pub fn wait_keepalives(&self, n: usize, timeout: Duration) -> bool {
        self.wait_until(timeout, |s| s.records.keepalives.len() >= n)
    }
}
