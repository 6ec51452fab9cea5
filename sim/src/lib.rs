//! Simulators for the two servers MollySocket talks to: Signal's chat server and a UnifiedPush server.
//!
//! Both listen on loopback, each on its own thread, and stop when their handle is dropped. All control
//! methods are plain synchronous calls, so that synchronous tests, asynchronous tests and demo programs
//! can use them alike. The crate shares no code with `mollysocket`: it is an independent check of it.
//!
//! ```no_run
//! use std::time::Duration;
//! use sim::{pki::Pki, push::PushServer, signal::{Envelope, SignalServer}};
//!
//! let pki = Pki::new();
//! let signal = SignalServer::start(&pki);
//! let push = PushServer::start(&pki);
//! let aci = "11111111-2222-4333-8444-555555555555";
//! signal.add_device(aci, 2, "password");
//! // ... start the client with `signal.url()`, `push.endpoint("up1")` and `pki.ca_pem()` ...
//! assert!(signal.wait_connected(aci, 2, Duration::from_secs(5)));
//! let guid = signal.send(aci, 2, Envelope::new());
//! assert!(push.wait_requests(1, Duration::from_secs(5)));
//! assert!(signal.wait_acked(aci, 2, guid, Duration::from_secs(5)));
//! ```
#![forbid(unsafe_code)]
#![warn(missing_docs, unreachable_pub)]

pub mod dial;
mod host;
mod http;
pub mod pki;
pub mod push;
pub mod signal;
pub mod wire;
