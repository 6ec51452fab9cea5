//! The push side: whether each endpoint may be used, its server can be reached, and it accepts a push signed by us.

use super::clock::Whose;
use super::{Check, Clients, Doctor};
use crate::account::{Account, Endpoint};
use crate::config::Permission;
use crate::net::{AGENT, Checked, FetchedPage, GetError, Reach, Server, Stage, remedy};
use crate::push::{Outcome, PushKind, SHOWS};

/// The longest answer of a discovery that is read, in bytes.
const MOST: usize = 64 * 1024;

/// Listed push servers that are looked at.
const MOST_LISTED: usize = 10;

impl Doctor<'_> {
    pub(super) async fn endpoint(&mut self, clients: &Clients, account: &Account) {
        let id = self.shown.short(account.id());
        let name = |what: &str| format!("{id}: {what}");
        let (allowed, endpoint) = (&self.config.allowed_endpoints, &account.endpoint);
        let origin = endpoint.origin();
        match clients.net.check_endpoint(allowed, endpoint).await {
            Ok(Checked::Fine) => {
                let what = format!("{} may be used", self.shown.origin(&origin));
                self.add(Check::ok(name("endpoint"), what));
            }
            Ok(Checked::Unknown(why)) => {
                let why = self.shown.text(why);
                return self.add(Check::failure(name("endpoint"), why, remedy(Server::Push, Stage::Dns)));
            }
            Err(refusal) => {
                let (what, remedy) = (self.shown.text(refusal.what), self.shown.text(refusal.remedy));
                return self.add(Check::failure(name("endpoint"), what, remedy));
            }
        }
        let reach = match allowed.permits(endpoint) {
            Permission::Listed => Reach::Anywhere,
            _ => Reach::Public,
        };
        if self.reachable(clients, &origin, reach).await {
            self.push(clients, account).await;
        }
    }

    /// Sends one push. Named accounts get a test, which shows; others a wake-up, of which people notice nothing.
    async fn push(&mut self, clients: &Clients, account: &Account) {
        let name = format!("{}: push", self.shown.short(account.id()));
        let Some(pusher) = &clients.pusher else {
            return self.add(Check::note(name, "not checked, because there is no VAPID key"));
        };
        let kind = if self.only.is_some() { PushKind::Test } else { PushKind::Wake };
        let delivery = pusher.send(&account.endpoint, kind).await;
        let reason = match self.shown.report {
            true => format!("the push server's answer counts as {}", delivery.outcome.result().label()),
            false => delivery.reason,
        };
        if delivery.outcome != Outcome::Accepted {
            let limited = matches!(delivery.outcome, Outcome::Limited(_));
            let check = if limited { Check::warning } else { Check::failure };
            return self.add(check(name, reason, delivery.remedy));
        }
        if !delivery.remedy.is_empty() {
            return self.add(Check::warning(name, reason, delivery.remedy));
        }
        if account.endpoint_gone {
            let remedy = format!("mollysocket connection ping {}", self.shown.account(account.id()));
            let what = "the endpoint was gone and works again; the account is still suspended";
            return self.add(Check::failure(name, what, format!("resume it: {remedy}")));
        }
        let sent = match kind {
            PushKind::Test => format!("a test push, signed by our VAPID key, is accepted: {SHOWS}"),
            PushKind::Wake => "a wake-up, signed by our VAPID key, is accepted".to_owned(),
        };
        self.add(Check::ok(name, sent));
    }

    /// The push servers the allow list names, also those no account uses yet.
    pub(super) async fn listed_push_servers(&mut self, clients: &Clients) {
        let all = self.config.allowed_endpoints.origins().count();
        if all > MOST_LISTED {
            let what = format!("of the {all} in allowed_endpoints only the first {MOST_LISTED} are checked");
            self.add(Check::note("push servers", what));
        }
        let origins: Vec<&str> = self.config.allowed_endpoints.origins().take(MOST_LISTED).collect();
        for origin in origins {
            self.reachable(clients, origin, Reach::Anywhere).await;
        }
    }

    /// Whether a push server answers. Asked, and told of, once.
    async fn reachable(&mut self, clients: &Clients, origin: &str, reach: Reach) -> bool {
        if let Some(&known) = self.origins.get(origin) {
            return known;
        }
        let reachable = match Endpoint::parse(&format!("{origin}/discover")) {
            Ok(target) => {
                let page = clients.net.page(&target, AGENT, reach, MOST).await;
                self.judge(origin, page)
            }
            Err(_) => false,
        };
        self.origins.insert(origin.to_owned(), reachable);
        reachable
    }

    fn judge(&mut self, origin: &str, page: Result<FetchedPage, GetError>) -> bool {
        let shown = self.shown.origin(origin);
        let name = format!("push server {shown}");
        match page {
            Err(GetError::Dial(error)) => {
                let remedy = remedy(Server::Push, error.stage);
                let what = self.shown.dial(origin, error);
                self.add(Check::failure(name, what, remedy));
                false
            }
            // It may speak HTTP all the same when it is asked as phones are woken.
            Err(GetError::Http(error)) => {
                let what = self.shown.text(error);
                self.add(Check::warning(name, what, "check that the address and port are those of a push server"));
                true
            }
            Ok(page) => {
                if page.elsewhere {
                    self.heard_clock(Whose::Elsewhere, shown, page.date);
                }
                if is_ours(&page.body) {
                    let what = "this is a MollySocket, not a push server";
                    let remedy =
                        "allowed_endpoints must name push servers, like https://ntfy.sh, not MollySocket's own address";
                    self.add(Check::failure(name, what, remedy));
                    return false;
                }
                self.add(Check::ok(name, "it answers"));
                true
            }
        }
    }
}

/// Whether this is what Molly expects of a MollySocket, ours or the reference's.
pub(super) fn is_ours(body: &str) -> bool {
    let answer: Option<serde_json::Value> = serde_json::from_str(body).ok();
    answer.is_some_and(|answer| answer["mollysocket"]["version"].is_string())
}
