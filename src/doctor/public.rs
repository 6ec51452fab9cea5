//! Whether phones reach this server: `public_url`, through the proxy, from inside.

use percent_encoding::percent_decode_str;
use url::Url;

use super::push::is_ours;
use super::{Check, Clients, Doctor, Severity};
use crate::account::Endpoint;
use crate::net::{AGENT, FetchedPage, GetError, Reach, Server, Stage, remedy};

/// The longest page that is read, in bytes. Ours is some kilobytes, mostly QR code.
const MOST: usize = 512 * 1024;

const NAME: &str = "public_url";

/// What Molly calls itself, as far as proxies and we look at it.
const MOLLY: &str = "Signal-Android/8.19.2 Android/36";

impl Doctor<'_> {
    pub(super) async fn public_url(&mut self, clients: &Clients) {
        if !self.config.webserver {
            return self.add(Check::note(NAME, "not needed: there is no web server (webserver = false)"));
        }
        let Some(url) = self.config.public_url.clone() else {
            let what =
                "not set: the link takes the address from each request; the link page says when that looks wrong";
            return self.add(Check::note(NAME, what));
        };
        match self.fetch(clients, &below(&url, "discover"), AGENT).await {
            Err(error) => self.unreachable(&url, error),
            Ok(page) => match complaint(&page, &url) {
                Some((what, remedy)) => self.add(Check::failure(NAME, what, self.shown.text(remedy))),
                None => self.as_molly(clients, &url).await,
            },
        }
    }

    /// Some proxies treat programs by the names they give themselves.
    async fn as_molly(&mut self, clients: &Clients, url: &Url) {
        match self.fetch(clients, &below(url, "discover"), MOLLY).await {
            Err(error) => self.unreachable(url, error),
            Ok(page) => match complaint(&page, url) {
                Some((what, _)) => {
                    let what = format!("Molly's User-Agent ({MOLLY}) is treated unlike ours: {what}");
                    let remedy = "let the proxy, and any protection from robots there, pass it on as any other";
                    self.add(Check::failure(NAME, what, remedy));
                }
                None => self.link(clients, url).await,
            },
        }
    }

    /// As phones reach it: no authority of our own is trusted.
    async fn fetch(&self, clients: &Clients, url: &str, agent: &str) -> Result<FetchedPage, GetError> {
        let target = Endpoint::parse(url).map_err(|error| GetError::Http(error.to_string()))?;
        clients.public.page(&target, agent, Reach::Anywhere, MOST).await
    }

    fn unreachable(&mut self, url: &Url, error: GetError) {
        let check = match error {
            GetError::Dial(error) => {
                // Phones may see another address than this machine does.
                let verdict = if error.stage == Stage::Tcp { Severity::Warning } else { Severity::Failure };
                let remedy = remedy(Server::Public, error.stage);
                Check::new(NAME, verdict, self.shown.dial(url.as_str(), error), remedy)
            }
            GetError::Http(error) => {
                Check::failure(NAME, self.shown.text(error), "check that a web server listens there")
            }
        };
        self.add(check);
    }

    /// Whether the link on the page there is this server's.
    async fn link(&mut self, clients: &Clients, url: &Url) {
        // Registrations go to the very address in the link, and redirects are not followed.
        match self.fetch(clients, url.as_str(), MOLLY).await {
            Ok(page) if (300..400).contains(&page.status) => {
                let what = format!("it answers {}: a redirect, so no registration arrives", page.status);
                return self.add(Check::failure(NAME, what, self.shown.text(redirected(url))));
            }
            Ok(_) => {}
            Err(error) => return self.unreachable(url, error),
        }
        let page = match self.fetch(clients, url.as_str(), AGENT).await {
            Ok(page) => page,
            Err(error) => return self.unreachable(url, error),
        };
        let (key, address) = in_link(&page.body);
        if let (Some(theirs), Some(ours)) = (&key, &self.key)
            && theirs != ours
        {
            let what = "another MollySocket answers there: its link holds another VAPID key";
            let remedy = "let the proxy lead to this server, and give the server and this command the same key";
            return self.add(Check::failure(NAME, what, remedy));
        }
        match address {
            Some(address) if address != url.as_str() => {
                let what = "the link on the page there leads somewhere else";
                let remedy = "restart the server, so that it knows public_url; let the proxy lead to it";
                self.add(Check::failure(NAME, what, remedy));
            }
            Some(_) => self.add(Check::ok(NAME, "this server answers there, and the link on its page leads there")),
            None => {
                let what = "it answers what Molly expects, but shows no link page";
                let remedy = "let the proxy pass the path on as it is, or its beginning taken off";
                self.add(Check::warning(NAME, what, remedy));
            }
        }
    }
}

/// What to do about a redirect at the very address. Proxies add the slash that ends a directory.
fn redirected(url: &Url) -> String {
    let mut with_slash = url.clone();
    with_slash.set_path(&format!("{}/", url.path()));
    match url.path().ends_with('/') {
        true => "set public_url to the address it leads to, or take the redirect out of the proxy".into(),
        false => format!("set public_url = \"{with_slash}\", and scan the link again with Molly"),
    }
}

/// `discover` below the path of the server, as Molly makes it.
fn below(url: &Url, name: &str) -> String {
    let mut url = url.clone();
    url.set_query(None);
    format!("{}/{name}", url.as_str().trim_end_matches('/'))
}

/// What is wrong with the answer to `GET …/discover`, and what to do.
fn complaint(page: &FetchedPage, url: &Url) -> Option<(String, String)> {
    let answered = |what: &str| format!("it answers {}: {what}", page.status);
    match page.status {
        200 if is_ours(&page.body) => None,
        200 => Some((
            "something else than MollySocket answers there".into(),
            format!("let the proxy pass {} and all below it on to this server", url.path()),
        )),
        300..=399 => Some((
            answered("a redirect, which Molly does not follow when it registers"),
            "set public_url to the address it leads to, or take the redirect out of the proxy".into(),
        )),
        401 | 403 => Some((
            answered("the proxy wants a login"),
            "take it off for this path: Molly cannot log in; `allowed_uuids` says who may register".into(),
        )),
        404 => Some((
            answered("the proxy does not pass this path on, or with its beginning left on"),
            format!("let the proxy pass {} and all below it on, without that beginning", url.path()),
        )),
        502..=504 => Some((
            answered("the proxy does not reach this server"),
            "let it forward to the address in the server's start report (host and port), by http".into(),
        )),
        _ => Some((answered("not MollySocket's answer"), "look at the proxy's log".into())),
    }
}

/// The key and the address in the first link of a page. What is in it is percent-encoded, so it ends where anything else
/// begins.
fn in_link(page: &str) -> (Option<String>, Option<String>) {
    let Some((_, link)) = page.split_once("mollysocket://link?") else { return (None, None) };
    let link = link.replace("&amp;", "&");
    let value = |name: &str| {
        let (_, rest) = link.split_once(&format!("{name}="))?;
        let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || "._~-%".contains(c))).unwrap_or(rest.len());
        percent_decode_str(&rest[..end]).decode_utf8().ok().map(String::from)
    };
    (value("vapid"), value("url"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::link::Link;

    #[test]
    fn what_is_in_our_own_link_is_read_back() {
        let url = Url::parse("https://example.org:8443/a%20b/?x=1&y=2").unwrap();
        let link = Link::Webserver(url.clone()).to_text("KEY-_1").replace('&', "&amp;");
        let page = format!("<a href=\"{link}\">link</a>");
        assert_eq!(in_link(&page), (Some("KEY-_1".into()), Some(url.to_string())));
        assert_eq!(in_link("nothing here"), (None, None));
    }

    #[test]
    fn discovery_is_below_the_path() {
        for (url, expected) in [
            ("https://h/", "https://h/discover"),
            ("https://h/m", "https://h/m/discover"),
            ("https://h/m/?a=b", "https://h/m/discover"),
        ] {
            assert_eq!(below(&Url::parse(url).unwrap(), "discover"), expected);
        }
    }
}
