//! Every deadline, interval and limit of the program, each with its reason. Tests inject shorter ones.

use std::time::Duration;

const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// How long things may take, and how long to wait between them.
#[derive(Debug, Clone)]
pub struct Timings {
    /// One look-up of a host name. A resolver that takes longer has failed for us.
    pub dns: Duration,
    /// How long the addresses of a name are used again. Short, so that a move of the server is followed soon; the guard
    /// looks at them at each dial all the same.
    pub dns_keep: Duration,
    /// How long a name that could not be looked up is not asked for again.
    pub dns_keep_failure: Duration,
    /// How old the addresses of a name may be that are used when a look-up takes longer than `dns_patience`: a name
    /// server that hangs for some names must not silence the others, and few servers move within an hour.
    pub dns_keep_old: Duration,
    /// How long a look-up may take before older addresses are used. Many times what one needs, and little for a wake-up.
    pub dns_patience: Duration,
    /// One TCP connection attempt to one address.
    pub tcp: Duration,
    /// Head start of an address before the next one is tried beside it (RFC 8305 section 5 recommends 250 ms).
    pub happy_eyeballs: Duration,
    /// The TLS handshake.
    pub tls: Duration,
    /// From the upgrade request to Signal's answer.
    pub upgrade: Duration,
    /// The whole way from look-up to open WebSocket.
    pub connect: Duration,
    /// Between two keepalive requests. Signal drops a silent socket after 90 s.
    pub keepalive: Duration,
    /// Without an answer to a keepalive for this long the connection is dead.
    pub keepalive_answer: Duration,
    /// Signal announces the end of the queue once per connection. Without it, and with nothing left to ack, for this
    /// long, the socket is not authenticated or stalled.
    pub queue_empty: Duration,
    /// Deadlines of connections are put off to whole multiples of this, so that what comes due for thousands of accounts
    /// wakes the program once. Nothing beside the seconds they last; and what then comes at once, some 80 keepalives of
    /// 10,000 accounts, holds up a push by a few milliseconds at most.
    pub shared_wake_up: Duration,
    /// One write to the WebSocket. A peer that reads nothing for this long is gone.
    pub write: Duration,
    /// Age at which a healthy connection is renewed (75 % to 100 % of it). Signal unlinks devices that log in less
    /// often than every 45 days.
    pub renew: Duration,
    /// First back-off step to Signal.
    pub backoff_base: Duration,
    /// Longest back-off to Signal.
    pub backoff_cap: Duration,
    /// Longest back-off after 404: the address is wrong, which only a change of configuration cures.
    pub not_found_cap: Duration,
    /// A connection that lived this long resets the back-off.
    pub backoff_reset: Duration,
    /// Between the 403s of Signal that together unlink an account; there are two such waits.
    pub confirm: Duration,
    /// Between two 403s while a phone waits for its registration's answer.
    pub confirm_check: Duration,
    /// Longest wait for the reconnection after close 4401.
    pub reauthenticate: Duration,
    /// First wait after close 4409 (connected elsewhere).
    pub displaced_base: Duration,
    /// Longest wait after close 4409.
    pub displaced_cap: Duration,
    /// A connection that lived this long ends the displacement.
    pub displaced_reset: Duration,
    /// Between attempts when Signal refuses every configured User-Agent.
    pub refused: Duration,
    /// One push request in all: look-up, connection, TLS, request and head of the answer.
    pub push: Duration,
    /// How long a connection may have waited for the next push to the same origin. Short of the minute after which load
    /// balancers close idle connections.
    pub idle_ttl: Duration,
    /// Head of the answer on a connection that waited; at most a quarter of `push`, so that a fresh one has time enough.
    /// The server may have vanished without a word (a firewall forgot it, it lost power, we slept), and most answer within
    /// a tenth of this.
    pub reused_response_timeout: Duration,
    /// Quiet time after an accepted wake-up; later envelopes within it share one trailing wake-up.
    pub quiet_base: Duration,
    /// Longest quiet time.
    pub quiet_cap: Duration,
    /// Without a trailing wake-up for this long the quiet time starts at its base again.
    pub quiet_reset: Duration,
    /// First wait after a failed push.
    pub push_retry_base: Duration,
    /// Longest wait after a failed push.
    pub push_retry_cap: Duration,
    /// First wait after 429 or 503 without `Retry-After`.
    pub push_limited_base: Duration,
    /// First wait after 404 or 410.
    pub push_gone_base: Duration,
    /// Longest wait after 404 or 410.
    pub push_gone_cap: Duration,
    /// A push server must have said 404 or 410 for this long before the endpoint counts as gone.
    pub push_gone: Duration,
    /// First wait after 401 or 403.
    pub push_unauthorized_base: Duration,
    /// Longest wait after 401 or 403, and the longest `Retry-After` that is believed.
    pub push_slow_cap: Duration,
    /// Between attempts after an answer that means the request itself is wrong.
    pub push_rejected: Duration,
    /// Shortest `Retry-After` that is believed.
    pub retry_after_floor: Duration,
    /// Taken off the moment a wake-up was sent before older envelopes count as fetched: Signal's servers' clocks differ.
    pub fetched_margin: Duration,
    /// At most one write of `fetched_until` per account in this time. Each is an fsync, which wears SD cards; what a crash
    /// loses of it costs one wake-up.
    pub fetched_write: Duration,
    /// How often the database is asked whether another program changed it. Our own commands tell the server, so only an
    /// edit by hand waits for this, and a machine at rest is woken for it.
    pub store_poll: Duration,
    /// How soon a database that could not be read is tried again.
    pub store_retry: Duration,
    /// Asking Signal about credentials during a registration.
    pub check: Duration,
    /// Looking up an endpoint's host during a registration.
    pub check_endpoint: Duration,
    /// A registration's wait for its turn to ask Signal. Together with the two above less than `answer`.
    pub ask_turn: Duration,
    /// Every registration is answered within this, whatever hangs.
    pub answer: Duration,
    /// From the first byte of a request to the end of its head.
    pub web_head: Duration,
    /// One request in all.
    pub web_request: Duration,
    /// Trouble that may pass by itself (no connection, a push server that does not answer) counts as such this long;
    /// then somebody should look. Reconnections after an outage take a minute or two.
    pub attention: Duration,
    /// Reading the database for a status. Beyond it the database counts as failing.
    pub status: Duration,
    /// How often accounts are looked at for news.
    pub alert_poll: Duration,
    /// Between two alerts about one account.
    pub alert_pause: Duration,
    /// An account that was told of is well again when it has been for this long: one that is displaced connects for a
    /// moment each time it tries again.
    pub alert_settle: Duration,
    /// The alert command is killed after this.
    pub alert_command: Duration,
    /// Between two heartbeats.
    pub heartbeat: Duration,
    /// How often the accounts are counted for a service manager that has no watchdog; with one, at each sign of life.
    pub service_status: Duration,
    /// Ordered end of the program: close frames and pushes in flight.
    pub shutdown: Duration,
}

impl Default for Timings {
    fn default() -> Self {
        Self {
            dns: secs(5),
            dns_keep: secs(15),
            dns_keep_failure: secs(2),
            dns_keep_old: secs(3600),
            dns_patience: secs(1),
            tcp: secs(15),
            happy_eyeballs: Duration::from_millis(250),
            tls: secs(15),
            upgrade: secs(30),
            connect: secs(60),
            keepalive: secs(30),
            keepalive_answer: secs(15),
            queue_empty: secs(60),
            shared_wake_up: Duration::from_millis(250),
            write: secs(10),
            renew: secs(24 * 3600),
            backoff_base: secs(1),
            backoff_cap: secs(60),
            not_found_cap: secs(600),
            backoff_reset: secs(60),
            confirm: secs(30),
            confirm_check: secs(1),
            reauthenticate: secs(3),
            displaced_base: secs(60),
            displaced_cap: secs(3600),
            displaced_reset: secs(3600),
            refused: secs(3600),
            push: secs(10),
            idle_ttl: secs(45),
            reused_response_timeout: secs(2),
            quiet_base: secs(1),
            quiet_cap: secs(10),
            quiet_reset: secs(30),
            push_retry_base: secs(1),
            push_retry_cap: secs(300),
            push_limited_base: secs(5),
            push_gone_base: secs(60),
            push_gone_cap: secs(600),
            push_gone: secs(1800),
            push_unauthorized_base: secs(60),
            push_slow_cap: secs(3600),
            push_rejected: secs(3600),
            retry_after_floor: secs(1),
            fetched_margin: secs(3),
            fetched_write: secs(15 * 60),
            store_poll: secs(30),
            store_retry: secs(2),
            check: secs(5),
            check_endpoint: secs(2),
            ask_turn: secs(1),
            answer: secs(9),
            web_head: secs(10),
            web_request: secs(20),
            attention: secs(300),
            status: secs(1),
            alert_poll: secs(5),
            alert_pause: secs(300),
            alert_settle: secs(60),
            alert_command: secs(30),
            heartbeat: secs(60),
            service_status: secs(60),
            shutdown: secs(3),
        }
    }
}

/// How often something may happen: `burst` times at once, then once per `every`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// How often at once, after a long rest.
    pub burst: u32,
    /// Until one more is allowed.
    pub every: Duration,
}

/// How much of everything there may be.
#[derive(Debug, Clone)]
pub struct Limits {
    /// WebSocket messages from Signal. An envelope is about 97 KiB at most (protocol note, section 3).
    pub signal_message: usize,
    /// Connections to Signal being set up at the same time.
    pub handshakes: usize,
    /// New connections to Signal per second.
    pub connects_per_second: u32,
    /// Accounts that fail, without a success of any between, after which Signal's host counts as down.
    pub breaker_failures: usize,
    /// Attempts per second while Signal's host is down.
    pub breaker_probes_per_second: u32,
    /// Push requests in flight in all.
    pub pushes: usize,
    /// Push requests in flight to one origin, and one more of the accounts it limits.
    pub pushes_per_origin: usize,
    /// Connections that wait for the next push.
    pub pushes_idle: usize,
    /// Host names whose addresses are remembered.
    pub dns_names: usize,
    /// Connections to the web server. Beyond it, whoever has kept us waiting longest gives way.
    pub web_connections: usize,
    /// The same of one client: an IPv4 address or an IPv6 /64. More than any browser opens.
    pub web_connections_per_client: usize,
    /// Requests of one client, cheap ones included: a page costs about a millisecond.
    pub web_requests: Rate,
    /// Registrations of one client. A phone registers about once a day; the figures are those of ntfy, which phones
    /// behind one address have to live with anyway.
    pub web_registrations: Rate,
    /// Clients whose requests are remembered, about 64 bytes each. Beyond it those who asked least are forgotten.
    pub web_clients: usize,
    /// Registrations being worked on at the same time that do not show the stored credentials of a known account. Those
    /// that do are never put off.
    pub strangers_at_once: usize,
    /// Registrations of one account being worked on at the same time, and as many again that do not show its stored
    /// credentials. A phone sends one, and one more when a test push arrives; the rest is refused at once.
    pub registrations_per_account: usize,
    /// Questions to Signal about new accounts, and as many again about new credentials of known ones. Together half of
    /// `connects_per_second`: the rest is left to accounts that reconnect.
    pub asks: Rate,
    /// The same at the same time; together a quarter of `handshakes`. Signal's refusal is confirmed after a second, so
    /// junk alone comes to at most 32 attempts per second.
    pub asks_at_once: usize,
    /// New accounts stored although Signal could not be asked. An outage must not let junk fill the database.
    pub unconfirmed: Rate,
    /// Request line and headers, in bytes.
    pub web_head: usize,
    /// Request body, in bytes.
    pub web_body: usize,
    /// Head of a push server's answer, in bytes.
    pub push_head: usize,
    /// Alerts about all accounts together.
    pub alerts: Rate,
    /// Look-ups of push servers' names at the same time, each of which blocks a thread: a dead name server must not have
    /// more. Signal's is another one.
    pub lookups: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            signal_message: 1024 * 1024,
            handshakes: 64,
            connects_per_second: 200,
            breaker_failures: 5,
            breaker_probes_per_second: 4,
            pushes: 64,
            pushes_per_origin: 8,
            pushes_idle: 64,
            dns_names: 256,
            web_connections: 512,
            web_connections_per_client: 32,
            web_requests: Rate { burst: 300, every: Duration::from_millis(50) },
            web_registrations: Rate { burst: 60, every: secs(5) },
            web_clients: 10_000,
            strangers_at_once: 128,
            registrations_per_account: 4,
            asks: Rate { burst: 100, every: Duration::from_millis(20) },
            asks_at_once: 8,
            unconfirmed: Rate { burst: 50, every: secs(60) },
            web_head: 16 * 1024,
            web_body: 16 * 1024,
            push_head: 16 * 1024,
            alerts: Rate { burst: 10, every: secs(60) },
            lookups: 6,
        }
    }
}
