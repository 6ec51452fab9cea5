//! MollySocket keeps the linked device of a Signal account online and wakes the phone over UnifiedPush.
//!
//! ```text
//! Signal --envelope--> session --wake--> notifier --POST--> push server --> phone --fetch--> Signal
//! ```
//!
//! Data flows one way: `config` → `daemon` → `supervisor` → `signal/session` → `notifier` → `push`. Only `store`
//! touches SQLite, only `net` opens outbound sockets, only `cli` prints.

pub mod account;
pub mod account_state;
pub mod alerts;
pub mod backoff;
mod bounded;
pub mod cli;
pub mod config;
pub mod daemon;
mod descriptors;
pub mod doctor;
pub mod link;
pub mod logging;
pub mod metrics;
pub mod net;
pub mod notifier;
pub mod overview;
pub mod paced;
mod pass_writes;
mod printable;
mod private_file;
pub mod push;
mod rate;
pub mod retry_after;
mod runtime;
pub mod signal;
pub mod status;
pub mod store;
pub mod supervisor;
pub mod systemd;
pub mod timings;
pub mod vapid;
pub mod wakeup;
pub mod web;
