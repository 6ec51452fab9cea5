//! What may change while the program runs: the two allow lists. Everything else needs a restart.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use super::Config;

/// A value that may be replaced while others use it. Clones share it.
pub struct Reloadable<T>(Arc<RwLock<Arc<T>>>);

impl<T> Reloadable<T> {
    /// The value of now.
    pub fn get(&self) -> Arc<T> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// From now on it is this one.
    pub fn set(&self, value: T) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(value);
    }
}

impl<T> From<T> for Reloadable<T> {
    fn from(value: T) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(value))))
    }
}

impl<T> Clone for Reloadable<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: fmt::Debug> fmt::Debug for Reloadable<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

impl Config {
    /// The keys that `new` changes and that count only after a restart.
    pub fn needing_restart(&self, new: &Self) -> Vec<&'static str> {
        let vapid = if self.vapid == new.vapid { None } else { Some("vapid_key_file or vapid_privkey") };
        [
            (self.host != new.host, "host"),
            (self.port != new.port, "port"),
            (self.webserver != new.webserver, "webserver"),
            (self.db != new.db, "db"),
            (self.vapid_contact != new.vapid_contact, "vapid_contact"),
            (self.public_url != new.public_url, "public_url"),
            (self.signal_url != new.signal_url, "signal_env or signal_url"),
            (self.signal_ca_file != new.signal_ca_file, "signal_ca_file"),
            (self.user_agents != new.user_agents, "user_agents"),
            (self.push_ca_file != new.push_ca_file, "push_ca_file"),
            (self.wake_for_own_sync != new.wake_for_own_sync, "wake_for_own_sync"),
            (self.max_accounts != new.max_accounts, "max_accounts"),
            (self.trusted_proxies != new.trusted_proxies, "trusted_proxies"),
            (self.metrics != new.metrics, "metrics"),
            (self.admin_socket != new.admin_socket, "admin_socket"),
            (self.alert_command != new.alert_command, "alert_command"),
            (self.heartbeat_url != new.heartbeat_url, "heartbeat_url"),
        ]
        .into_iter()
        .filter_map(|(changed, key)| changed.then_some(key))
        .chain(vapid)
        .collect()
    }
}
