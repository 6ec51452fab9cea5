//! Signal's side: its host, whether it serves this program, and whether it takes each account's login.

use std::net::IpAddr;
use std::time::{Duration, UNIX_EPOCH};

use super::clock::Whose;
use super::{Check, Doctor, Way};
use crate::account::{Account, ServerTime};
use crate::net::{DNS_FILTER, NoTcp, Server, Stage, is_sent_here, remedy};
use crate::signal::connect::ConnectError;
use crate::signal::{Answered, Denial};
use crate::status::State;

impl Doctor<'_> {
    /// Whether Signal can be reached and serves this program.
    pub(super) async fn signal(&mut self, way: &Way) -> bool {
        let url = &self.config.signal_url;
        let (Some(host), port) = (url.host().map(|host| host.to_owned()), url.port_or_known_default().unwrap_or(443))
        else {
            return false;
        };
        let addresses = match way.net.signal_addresses(&host, port).await {
            Ok(addresses) => addresses,
            Err(error) => {
                self.add(Check::failure("Signal: name", error.reason, remedy(Server::Signal, error.stage)));
                return false;
            }
        };
        let list: Vec<String> = addresses.iter().map(IpAddr::to_string).collect();
        let what = format!("{host} is at {}", list.join(", "));
        self.add(match is_sent_here(&host, &addresses) {
            true => Check::warning("Signal: name", format!("{what}, which is this machine"), DNS_FILTER),
            false => Check::ok("Signal: name", what),
        });
        let mut reached = Vec::new();
        for (family, ours) in [("IPv4", true), ("IPv6", false)] {
            let of: Vec<IpAddr> = addresses.iter().copied().filter(|address| address.is_ipv4() == ours).collect();
            if of.is_empty() {
                self.add(Check::note(format!("Signal: {family}"), format!("{host} has no address")));
                continue;
            }
            reached.push((family, way.net.takes_tcp(&host, port, &of).await));
        }
        let any = reached.iter().any(|(_, result)| result.is_ok());
        for (family, result) in reached {
            let name = format!("Signal: {family}");
            self.add(match result {
                Ok(()) => Check::ok(name, format!("port {port} takes connections")),
                // As on most machines with one family only. It costs nothing.
                Err(NoTcp { no_way: true, .. }) if any => {
                    Check::note(name, format!("this machine has no way out by {family}; the other one is used"))
                }
                // The other one is used beside it (RFC 8305): it only costs a moment.
                Err(NoTcp { error, .. }) if any => Check::warning(
                    name,
                    error.reason,
                    format!(
                        "repair {family} on this machine, or take its addresses and routes away; the other one is used"
                    ),
                ),
                Err(NoTcp { error, .. }) => Check::failure(name, error.reason, remedy(Server::Signal, error.stage)),
            });
        }
        any && self.serves(way).await
    }

    /// TLS, the upgrade and the User-Agent, without a login.
    async fn serves(&mut self, way: &Way) -> bool {
        match way.checker.examine(None).await {
            Ok(answered) => {
                self.add(Check::ok("Signal: TLS", "the certificate is of a pinned authority"));
                let agents = &self.config.user_agents;
                let agent = agents.get(answered.agent).map_or("", String::as_str);
                self.add(Check::ok("Signal: User-Agent", format!("{agent} is accepted")));
                if answered.agent > 0 {
                    let what = format!("{} of {} in user_agents are refused (499)", answered.agent, agents.len());
                    self.add(Check::note("Signal: User-Agent", what));
                }
                self.signal_clock(&answered);
                true
            }
            Err(denial) => {
                let (name, remedy) = self::why(&denial);
                self.add(Check::failure(name, denial.to_string(), remedy));
                false
            }
        }
    }

    fn signal_clock(&mut self, answered: &Answered) {
        let time = answered.server_time.and_then(|ServerTime(ms)| UNIX_EPOCH.checked_add(Duration::from_millis(ms)));
        self.heard_clock(Whose::Signal, "Signal", time);
    }

    /// Everything about one account.
    pub(super) async fn account(&mut self, way: &Way, account: &Account, reachable: bool) {
        let name = |what: &str| format!("account {}: {what}", account.id().short());
        if !self.config.allowed_uuids.permits(account.id()) {
            let id = account.id();
            self.add(Check::warning(
                name("allowed"),
                "it is not in allowed_uuids: it is served, but cannot register again",
                format!("add \"{id}\" to allowed_uuids, or remove it: mollysocket connection remove {id}"),
            ));
        }
        if account.paused {
            let what = "it is paused; `mollysocket connection resume` lets it go on";
            self.add(Check::note(name("paused"), what));
        }
        if account.forbidden {
            let what = "unlinked: Signal refused the login three times and it was given up";
            self.add(Check::failure(name("login"), what, State::Unlinked.remedy()));
        } else if reachable {
            self.login(way, account).await;
        } else {
            self.add(Check::note(name("login"), "not checked, because Signal cannot be asked"));
        }
        self.endpoint(way, account).await;
    }

    async fn login(&mut self, way: &Way, account: &Account) {
        let name = format!("account {}: login", account.id().short());
        match way.checker.examine(Some(&account.credentials)).await {
            Ok(answered) => {
                self.add(Check::ok(name.clone(), format!("device {} is accepted", account.credentials.device)));
                self.signal_clock(&answered);
                if let Some(notice) = answered.notice {
                    let what = format!("Signal's notice: {}", notice.escape_default());
                    let remedy =
                        "open Signal or Molly on the phone: Signal unlinks the devices of phones that are idle";
                    self.add(Check::warning(name, what, remedy));
                }
            }
            Err(denial) => {
                let (_, remedy) = why(&denial);
                self.add(Check::failure(name, denial.to_string(), remedy));
            }
        }
    }
}

/// Which check it concerns, and what to do.
fn why(denial: &Denial) -> (&'static str, &'static str) {
    let name = match denial {
        Denial::Failed(ConnectError::Dial(error)) if error.stage == Stage::Tls => "Signal: TLS",
        Denial::Failed(ConnectError::Refused(refusal)) if refusal.status == 499 => "Signal: User-Agent",
        _ => "Signal: answer",
    };
    (name, denial.remedy())
}
