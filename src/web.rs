//! The web server: what Molly and browsers ask for (design, section 6).

use std::sync::Arc;
use std::time::Instant;

use smol::Executor;
use smol::net::TcpListener;
use tide::{Request, Response};

use crate::config::{AllowedEndpoints, AllowedUuids, Config, Reloadable};
use crate::metrics::{self, Metrics};
use crate::net::Net;
use crate::push::Pusher;
use crate::signal::Checker;
use crate::store::Store;
use crate::supervisor::Supervisor;
use crate::timings::{Limits, Timings};
use crate::vapid::Vapid;

pub mod admin;
mod apply;
mod body;
mod client;
mod client_rate_limit;
mod connection;
mod connection_limit;
mod credential_check;
mod exchange;
#[cfg(fuzzing)]
pub mod fuzzing;

mod error_response;
mod head;
mod listener;
mod log_throttle;
mod page;
mod public_url;
mod register;
mod stream;

use apply::Registrar;
use body::Body;
use client::Client;
use client_rate_limit::ClientRateLimit;
use connection::Bounds;
use log_throttle::LogThrottle;
use register::RegistrationStatus;

/// Everything the routes need.
pub struct App {
    /// The configuration.
    pub config: Arc<Config>,
    /// Accounts that may register now.
    pub allowed_uuids: Reloadable<AllowedUuids>,
    /// Push servers that may be used now.
    pub allowed_endpoints: Reloadable<AllowedEndpoints>,
    /// Deadlines.
    pub timings: Timings,
    /// Limits.
    pub limits: Limits,
    /// The way out, for the guard.
    pub net: Arc<Net>,
    /// The database.
    pub store: Store,
    /// The running accounts.
    pub supervisor: Supervisor,
    /// Asks Signal about credentials.
    pub checker: Checker,
    /// For the one test push whose result decides an answer.
    pub pusher: Arc<Pusher>,
    /// For links.
    pub vapid: Arc<Vapid>,
    /// For `/metrics`.
    pub metrics: Arc<Metrics>,
}

/// Serves until `stop` resolves, then lets requests in flight finish within `timings.shutdown`.
/// Connection tasks run on `executor`.
pub async fn serve(
    app: Arc<App>,
    listener: TcpListener,
    executor: Arc<Executor<'static>>,
    stop: impl Future<Output = ()> + Send,
) {
    let prefix = app.config.public_url.as_ref().map_or("", |url| url.path());
    let bounds = Bounds {
        prefix: prefix.trim_end_matches('/').to_owned(),
        ..Bounds::new(&app.limits, &app.timings, app.config.trusted_proxies.clone())
    };
    let metrics = app.metrics.clone();
    let site = Site {
        registrations: Arc::new(ClientRateLimit::new(
            "registrations",
            app.limits.web_registrations,
            app.limits.web_clients,
        )),
        registrar: Registrar::new(app.clone(), executor.clone()),
        wrong_path: Arc::default(),
        app,
        policy: page::policy().into(),
    };
    listener::serve(routes(site), listener, bounds, metrics, executor, stop).await;
}

/// What the routes share.
#[derive(Clone)]
struct Site {
    app: Arc<App>,
    registrations: Arc<ClientRateLimit>,
    registrar: Registrar,
    wrong_path: Arc<LogThrottle>,
    /// The page's Content-Security-Policy.
    policy: Arc<str>,
}

fn routes(site: Site) -> tide::Server<Site> {
    let with_metrics = site.app.config.metrics;
    let mut server = tide::with_state(site);
    server.at("*").all(nothing_here);
    server.at("/").get(index).head(index).post(register).all(|_| not_allowed("GET, HEAD, POST"));
    // The reference answers both.
    for path in ["/discover", "/discover/"] {
        server.at(path).get(discover).head(discover).all(|_| not_allowed("GET, HEAD"));
    }
    if with_metrics {
        server.at("/metrics").get(show_metrics).head(show_metrics).all(|_| not_allowed("GET, HEAD"));
    }
    server
}

/// What Molly parses. The keys stay in this order: health checks look for the text `"mollysocket":{"version":`.
fn json(status: Option<RegistrationStatus>) -> tide::Result {
    let version = env!("CARGO_PKG_VERSION");
    let inner = match status {
        Some(status) => serde_json::json!({ "status": status.as_str(), "version": version }),
        None => serde_json::json!({ "version": version }),
    };
    Ok(answer(200, serde_json::json!({ "mollysocket": inner }).to_string(), "application/json"))
}

fn text(status: u16, line: impl std::fmt::Display) -> tide::Result {
    Ok(answer(status, format!("{line}\n"), "text/plain; charset=utf-8"))
}

fn answer(status: u16, body: String, content_type: &str) -> Response {
    let mut response = Response::builder(status).body(body).build();
    response.insert_header("Content-Type", content_type);
    response
}

async fn not_allowed(allowed: &'static str) -> tide::Result {
    let mut response = text(405, format_args!("only {allowed} here"))?;
    response.insert_header("Allow", allowed);
    Ok(response)
}

/// `GET /discover`: what Molly asks before it registers.
async fn discover(_: Request<Site>) -> tide::Result {
    json(None)
}

/// `GET /`: the same for Molly, the page for people.
async fn index(request: Request<Site>) -> tide::Result {
    if is_molly(&request) {
        return json(None);
    }
    let site = request.state();
    let vapid = site.app.vapid.public();
    let html = if request.url().query_pairs().any(|(name, _)| name == "airgapped") {
        page::airgapped(vapid)
    } else {
        let hints = public_url::Hints {
            host: header(&request, "Host"),
            original_url: header(&request, "X-Original-URL"),
            forwarded_prefix: header(&request, "X-Forwarded-Prefix"),
            forwarded_host: header(&request, "X-Forwarded-Host"),
        };
        page::webserver(public_url::public_url(site.app.config.public_url.as_ref(), hints), vapid)
    };
    let mut response = answer(200, html, "text/html; charset=utf-8");
    response.insert_header("Content-Security-Policy", &*site.policy);
    Ok(response)
}

/// `POST /`: a registration.
async fn register(mut request: Request<Site>) -> tide::Result {
    let media_type = header(&request, "Content-Type").and_then(|value| value.split(';').next()).unwrap_or_default();
    if !media_type.trim().eq_ignore_ascii_case("application/json") {
        return text(415, "the content type must be application/json");
    }
    let client = request.ext::<Client>().copied().unwrap_or(Client::NoForwardingHeader(None));
    if let Err(wait) = request.state().registrations.admit(client, Instant::now()) {
        let mut response = text(429, "too many registrations from one address")?;
        response.insert_header("Retry-After", error_response::retry_after(wait));
        return Ok(response);
    }
    let bytes = request.body_bytes().await?;
    match Body::parse(&bytes) {
        Ok(body) => json(Some(request.state().registrar.register(body, client).await)),
        Err(error) => {
            log::debug!("web: registration refused: {error}");
            text(error.status(), error)
        }
    }
}

/// `GET /metrics`, when the operator wants it here.
async fn show_metrics(request: Request<Site>) -> tide::Result {
    let app = &request.state().app;
    let page = app.metrics.render(&app.supervisor.gauges());
    Ok(answer(200, page, metrics::CONTENT_TYPE))
}

fn header<'a>(request: &'a Request<Site>, name: &str) -> Option<&'a str> {
    request.header(name).map(|values| values.last().as_str())
}

/// Every other path. What a proxy forwards with a sub-path in front of our paths is the operator's to correct, and Molly
/// shows no more than that there was an error.
async fn nothing_here(request: Request<Site>) -> tide::Result {
    let site = request.state();
    let words = public_url::wrong_path(site.app.config.public_url.as_ref(), request.url().path());
    if is_molly(&request) && site.wrong_path.due(Instant::now()) {
        log::warn!("web: a phone was answered 404: {words}");
    }
    text(404, words)
}

/// Whether Molly asks, not a browser.
fn is_molly(request: &Request<Site>) -> bool {
    header(request, "User-Agent").is_some_and(|agent| agent.contains("Signal-Android"))
}
