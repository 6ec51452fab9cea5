//! Signal's side: its host, whether it serves this program, and whether it takes each account's login.

use std::net::IpAddr;
use std::time::{Duration, UNIX_EPOCH};

use super::clock::Whose;
use super::{Check, Clients, Doctor};
use crate::account::{Account, ServerTime};
use crate::net::{DNS_FILTER, NoTcp, Server, Stage, is_sent_here, remedy};
use crate::signal::connect::ConnectError;
use crate::signal::{Answered, Denial};
use crate::status::State;

impl Doctor<'_> {
    /// Whether Signal can be reached and serves this program.
    pub(super) async fn signal(&mut self, clients: &Clients) -> bool {
        let url = &self.config.signal_url;
        let (Some(host), port) = (url.host().map(|host| host.to_owned()), url.port_or_known_default().unwrap_or(443))
        else {
            return false;
        };
        let addresses = match clients.net.signal_addresses(&host, port).await {
            Ok(addresses) => addresses,
            Err(error) => {
                let remedy = remedy(Server::Signal, error.stage);
                let what = self.shown.dial(url.as_str(), error);
                self.add(Check::failure("Signal: name", what, remedy));
                return false;
            }
        };
        let name = self.shown.host(&host);
        let list: Vec<String> = addresses.iter().map(|address| self.shown.address(*address)).collect();
        let what = format!("{name} is at {}", list.join(", "));
        self.add(match is_sent_here(&host, &addresses) {
            true => Check::warning("Signal: name", format!("{what}, which is this machine"), DNS_FILTER),
            false => Check::ok("Signal: name", what),
        });
        let mut reached = Vec::new();
        for (family, ours) in [("IPv4", true), ("IPv6", false)] {
            let of: Vec<IpAddr> = addresses.iter().copied().filter(|address| address.is_ipv4() == ours).collect();
            if of.is_empty() {
                self.add(Check::note(format!("Signal: {family}"), format!("{name} has no address")));
                continue;
            }
            reached.push((family, clients.net.takes_tcp(&host, port, &of).await));
        }
        let any = reached.iter().any(|(_, result)| result.is_ok());
        for (family, result) in reached {
            let name = format!("Signal: {family}");
            let shown = &mut self.shown;
            let check = match result {
                Ok(()) => Check::ok(name, format!("port {port} takes connections")),
                // As on most machines with one family only. It costs nothing.
                Err(NoTcp { no_way: true, .. }) if any => {
                    Check::note(name, format!("this machine has no way out by {family}; the other one is used"))
                }
                // The other one is used beside it (RFC 8305): it only costs a moment.
                Err(NoTcp { error, .. }) if any => Check::warning(
                    name,
                    shown.dial(url.as_str(), error),
                    format!(
                        "repair {family} on this machine, or take its addresses and routes away; the other one is used"
                    ),
                ),
                Err(NoTcp { error, .. }) => {
                    let remedy = remedy(Server::Signal, error.stage);
                    Check::failure(name, shown.dial(url.as_str(), error), remedy)
                }
            };
            self.add(check);
        }
        any && self.serves(clients).await
    }

    /// TLS, the upgrade and the User-Agent, without a login.
    async fn serves(&mut self, clients: &Clients) -> bool {
        match clients.checker.examine(None).await {
            Ok(answered) => {
                self.add(Check::ok("Signal: TLS", self.trusted()));
                if answered.server_time.is_none() {
                    self.add(Check::warning("Signal: answer", format!("it is accepted, but {UNSTAMPED}"), PROXY));
                }
                let agents = &self.config.user_agents;
                let agent = agents.get(answered.agent).map_or("", String::as_str);
                let what = format!("{} is accepted", self.shown.text(agent));
                self.add(Check::ok("Signal: User-Agent", what));
                if answered.agent > 0 {
                    let what = format!("{} of {} in user_agents are refused (499)", answered.agent, agents.len());
                    self.add(Check::note("Signal: User-Agent", what));
                }
                self.signal_clock(&answered);
                true
            }
            Err(denial) => match from_signal(&denial) {
                // Who has no login may well be refused.
                Some(status) => {
                    self.add(Check::ok("Signal: TLS", self.trusted()));
                    let what = format!("Signal is there: {status} with its time stamp, for a question without a login");
                    self.add(match status {
                        500.. => Check::warning("Signal: answer", what, State::Waiting.remedy()),
                        _ => Check::ok("Signal: answer", what),
                    });
                    true
                }
                None => {
                    let (name, remedy) = why(&denial);
                    let what = self.told(denial);
                    self.add(Check::failure(name, what, remedy));
                    false
                }
            },
        }
    }

    fn trusted(&self) -> String {
        match &self.config.signal_ca_file {
            Some(file) => format!("the certificate is of an authority in {} (signal_ca_file)", self.shown.path(file)),
            None => "the certificate is of a pinned authority".to_owned(),
        }
    }

    /// What Signal, or something in its place, said.
    fn told(&mut self, denial: Denial) -> String {
        match denial {
            Denial::Failed(ConnectError::Dial(error)) => self.shown.dial(self.config.signal_url.as_str(), error),
            // What is not from Signal says so itself; before 499 nothing stamps (protocol note, section 2.2).
            Denial::Failed(ConnectError::Refused(ref r)) if !r.by_signal && !matches!(r.status, 403 | 499) => {
                format!("{denial}; {UNSTAMPED}")
            }
            Denial::Failed(ConnectError::Handshake(why)) => {
                format!("the WebSocket handshake failed: {}", self.shown.text(why))
            }
            _ => denial.to_string(),
        }
    }

    fn signal_clock(&mut self, answered: &Answered) {
        let time = answered.server_time.and_then(|ServerTime(ms)| UNIX_EPOCH.checked_add(Duration::from_millis(ms)));
        self.heard_clock(Whose::Signal, "Signal", time);
    }

    /// Everything about one account.
    pub(super) async fn account(&mut self, clients: &Clients, account: &Account, reachable: bool) {
        let short = self.shown.short(account.id());
        let name = |what: &str| format!("{short}: {what}");
        if !self.config.allowed_uuids.permits(account.id()) {
            let id = self.shown.account(account.id());
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
            self.login(clients, account).await;
        } else {
            self.add(Check::note(name("login"), "not checked, because Signal cannot be asked"));
        }
        self.endpoint(clients, account).await;
    }

    async fn login(&mut self, clients: &Clients, account: &Account) {
        let name = format!("{}: login", self.shown.short(account.id()));
        match clients.checker.examine(Some(&account.credentials)).await {
            Ok(answered) => {
                self.add(Check::ok(name.clone(), format!("device {} is accepted", account.credentials.device)));
                self.signal_clock(&answered);
                if let Some(notice) = answered.notice {
                    let what = format!("Signal's notice: {}", self.shown.text(notice.escape_default()));
                    let remedy =
                        "open Signal or Molly on the phone: Signal unlinks the devices of phones that are idle";
                    self.add(Check::warning(name, what, remedy));
                }
            }
            Err(denial) => {
                let (_, remedy) = why(&denial);
                let what = self.told(denial);
                self.add(Check::failure(name, what, remedy));
            }
        }
    }
}

/// What an answer without `X-Signal-Timestamp` means.
const UNSTAMPED: &str =
    "the answer lacks Signal's time stamp (X-Signal-Timestamp): a proxy, a firewall or a load balancer wrote it";

const PROXY: &str =
    "look for a proxy, a firewall or a captive portal between this machine and Signal; check signal_url";

/// The status of an answer that shows that Signal is there, whatever it says. Not 404: then the path is wrong.
fn from_signal(denial: &Denial) -> Option<u16> {
    match denial {
        Denial::Refused => Some(403),
        Denial::Failed(ConnectError::Refused(r)) if r.by_signal && r.status != 404 => Some(r.status),
        _ => None,
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
