//! What to do when a server cannot be reached, by the stage at which it failed.

use super::{DNS_FILTER, Stage};

/// What kind of server it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Server {
    /// Signal's.
    Signal,
    /// A push server.
    Push,
    /// Our own, as phones reach it.
    Public,
}

/// The remedy.
pub(crate) fn remedy(server: Server, stage: Stage) -> &'static str {
    match (stage, server) {
        (Stage::Dns, Server::Signal | Server::Public) => {
            "check the name, that no DNS filter (Pi-hole, AdGuard) blocks it, and that this machine can look names up \
             (/etc/resolv.conf, the container's DNS)"
        }
        (Stage::Dns, Server::Push) => {
            "check the name in the distributor app, that no DNS filter (Pi-hole, AdGuard) blocks it, and that this \
             machine can look names up"
        }
        (Stage::DnsFilter, _) => DNS_FILTER,
        (Stage::Guard, _) => "name the server in allowed_endpoints if it may be at a private address",
        (Stage::Tcp, Server::Signal) => "let outgoing connections to it through the firewall; check the network",
        (Stage::Tcp, Server::Push) => "check that the push server runs and that this machine reaches it",
        (Stage::Tcp, Server::Public) => {
            "check that the reverse proxy runs; if phones reach it, this machine only cannot reach its own public \
             address, which does no harm"
        }
        (Stage::Tls, Server::Signal) => {
            "something on the way opens TLS connections (a proxy, a virus scanner): exempt Signal's host from it; \
             check signal_ca_file and this machine's clock"
        }
        (Stage::Tls, Server::Push) => {
            "if its certificate is of an authority of your own set push_ca_file, else renew it; check this machine's \
             clock"
        }
        (Stage::Tls, Server::Public) => {
            "renew or repair the certificate of the reverse proxy: phones trust public authorities only"
        }
    }
}
