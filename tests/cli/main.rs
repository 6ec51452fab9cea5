//! The command line through the real program: an empty environment, a directory of its own, nothing shared.

#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod connection;
mod looking;
mod migration;
mod secrets;
mod server;
mod transfer;
mod usage;
mod verdicts;
mod world;
