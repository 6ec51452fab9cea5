//! What the guard lets through, for the fuzz targets (`fuzz/README.md`). Built with `--cfg fuzzing` only.

use std::net::{IpAddr, SocketAddr};

use super::guard::Guard;

/// Of a resolver's answer, the addresses a push to `port` may be sent to, as they would be dialled. Empty when it is
/// refused. `own`: where our web server listens.
pub fn dialled(found: Vec<IpAddr>, port: u16, own: Option<SocketAddr>) -> Vec<IpAddr> {
    Guard { own }.public(found, port).unwrap_or_default()
}
