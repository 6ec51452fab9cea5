//! The kinds of messages and faults.

use std::time::Duration;

/// A message as the plan knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Message {
    /// Urgent, sealed sender.
    Urgent,
    /// Without the tag, which means urgent.
    Untagged,
    /// From a known sender.
    Identified,
    /// Urgent and as large as Signal allows.
    Large,
    /// Bytes that are no envelope.
    Unreadable,
    /// No body at all.
    Empty,
    /// Not urgent.
    Quiet,
    /// A sync message of the account's own phone.
    OwnEcho,
    /// So many urgent ones at once.
    Burst(usize),
    /// So many quiet ones with an urgent one behind them.
    QuietBurst(usize),
}

/// How Signal refuses handshakes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Such a status, without the timestamp header.
    Status(u16),
    /// 429 with seconds in `Retry-After`.
    Seconds(u64),
    /// 503 with a date in `Retry-After`, so many seconds ahead.
    Date(u64),
    /// TLS, then silence.
    TlsThenSilent,
    /// TCP, then silence. Not for one device.
    TcpThenSilent,
    /// TCP refused; for one device: reset.
    Refused,
}

/// How a socket of Signal ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SocketEnd {
    /// EOF.
    Cut,
    /// RST.
    Reset,
    /// Close 4401; the device stays linked.
    Reauthenticate,
    /// Close 4409.
    Displaced,
    /// Close with another code.
    Code(u16),
}

/// How a push server answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PushFault {
    /// Such a status.
    Status(u16),
    /// Such a status with seconds in `Retry-After`.
    Seconds(u16, u64),
    /// Such a status with a date in `Retry-After`, so many seconds ahead.
    Date(u16, u64),
    /// 302 to another path of the same server.
    Redirect,
    /// Accepts after this long.
    Slow(Duration),
    /// No answer.
    Hang,
    /// A head that accepts, and a body that never comes.
    HangAfterHead,
    /// The head byte by byte: too slow to ever end.
    DripHead,
    /// A head that accepts, and the body byte by byte.
    DripBody,
    /// EOF in place of an answer.
    Cut,
    /// RST in place of an answer.
    Reset,
    /// Half a head.
    CutMidHead,
    /// Not HTTP.
    Garbage,
    /// A head that accepts, and a body without end.
    EndlessBody,
    /// A head without end.
    EndlessHead,
    /// TCP refused. Only for a whole server; so below.
    Refused,
    /// TLS never answered.
    TlsSilent,
    /// Open connections cut.
    CutAll,
}

/// A fault. Accounts and push servers are numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Signal is away.
    SignalRestart,
    /// All sockets are cut.
    SignalCutAll,
    /// Handshakes fail for everybody, and a fifth of the sockets is cut.
    SignalRefuses(Refusal),
    /// One socket ends.
    Socket(usize, SocketEnd),
    /// One device's socket ends and its handshakes fail.
    Handshakes(usize, Refusal),
    /// 499 for the next User-Agent.
    OldClient(usize),
    /// Keepalives get no answer.
    KeepaliveHole(usize),
    /// Neither read nor written: a path that drops every packet.
    Silent(usize),
    /// So many acks are lost.
    LostAcks(usize, u32),
    /// Unknown requests, text, pings and bytes that are no message.
    OddFrames(usize),
    /// The device is unlinked, and linked again with another password at the end.
    Unlink(usize),
    /// The device is unlinked for good.
    UnlinkForGood(usize),
    /// A push server fails for all.
    Origin(usize, PushFault),
    /// A push server fails for one account's endpoint.
    Endpoint(usize, PushFault),
    /// 404 or 410; at the end the same endpoint works again and is registered again.
    Gone(usize, u16),
    /// 404 or 410; at the end another endpoint is registered.
    GoneForGood(usize, u16),
    /// An answer with a wait of minutes to an hour (400, 401, 403, 413), until another endpoint is registered.
    Rejected(usize, u16),
    /// Another endpoint is registered.
    NewEndpoint(usize),
    /// The same registration again, with or without the wish for a test push.
    SameAgain(usize, bool),
    /// Somebody registers the account with a password Signal refuses.
    WrongPassword(usize),
    /// Registrations of accounts nobody has.
    Junk(usize),
    /// Clients that send a byte now and then.
    SlowClients(usize),
    /// Requests that are none.
    GarbageRequests(usize),
    /// The row is removed beside the daemon, and added again at the end.
    Removed(usize),
    /// The endpoint is changed in the database beside the daemon.
    Edited(usize),
    /// kill -9; started again at the end.
    Killed,
    /// SIGTERM; started again at the end.
    Terminated,
    /// SIGSTOP; SIGCONT at the end.
    Frozen,
}

/// What a fault needs for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Busy {
    /// An account's device at Signal.
    Device(usize),
    /// An account's endpoint and row.
    Row(usize),
    /// A push server.
    Origin(usize),
    /// Signal.
    Signal,
    /// The daemon's process.
    Program,
}

impl Fault {
    /// How many names there are.
    #[cfg(test)]
    pub(crate) const KINDS: usize = 57;

    /// The row of the report.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::SignalRestart => "Signal: restart",
            Self::SignalCutAll => "Signal: all sockets cut",
            Self::SignalRefuses(refusal) => match refusal {
                Refusal::Status(403) => "Signal: 403 of a proxy, for all",
                Refusal::Status(_) => "Signal: 500/502, for all",
                Refusal::Seconds(_) | Refusal::Date(_) => "Signal: Retry-After, for all",
                Refusal::TlsThenSilent | Refusal::TcpThenSilent => "Signal: silent handshakes, for all",
                Refusal::Refused => "Signal: TCP refused, for all",
            },
            Self::Socket(_, end) => match end {
                SocketEnd::Cut => "device: socket cut",
                SocketEnd::Reset => "device: socket reset",
                SocketEnd::Reauthenticate => "device: close 4401, still linked",
                SocketEnd::Displaced => "device: close 4409",
                SocketEnd::Code(_) => "device: close 1000/1001/1011",
            },
            Self::Handshakes(_, refusal) => match refusal {
                Refusal::Status(403) => "device: 403 of a proxy",
                Refusal::Status(_) => "device: 500/502",
                Refusal::Seconds(_) | Refusal::Date(_) => "device: Retry-After",
                _ => "device: failing handshakes",
            },
            Self::OldClient(_) => "device: 499 once",
            Self::KeepaliveHole(_) => "device: keepalives unanswered",
            Self::Silent(_) => "device: silent path",
            Self::LostAcks(..) => "device: lost acks",
            Self::OddFrames(_) => "device: odd frames",
            Self::Unlink(_) => "device: unlinked, linked again",
            Self::UnlinkForGood(_) => "device: unlinked for good",
            Self::Origin(_, fault) | Self::Endpoint(_, fault) => match fault {
                PushFault::Status(507) => "push: 507",
                PushFault::Status(_) => "push: 500",
                PushFault::Seconds(..) => "push: 429/503, seconds",
                PushFault::Date(..) => "push: 429/503, date",
                PushFault::Redirect => "push: redirect",
                PushFault::Slow(_) => "push: slow answer",
                PushFault::Hang => "push: no answer",
                PushFault::HangAfterHead => "push: hang after the head",
                PushFault::DripHead => "push: dripping head",
                PushFault::DripBody => "push: dripping body",
                PushFault::Cut => "push: cut",
                PushFault::Reset => "push: reset",
                PushFault::CutMidHead => "push: cut in the head",
                PushFault::Garbage => "push: garbage",
                PushFault::EndlessBody => "push: endless body",
                PushFault::EndlessHead => "push: endless head",
                PushFault::Refused => "push: TCP refused",
                PushFault::TlsSilent => "push: TLS silent",
                PushFault::CutAll => "push: all connections cut",
            },
            Self::Gone(..) => "endpoint: gone, then back",
            Self::GoneForGood(..) => "endpoint: gone, another registered",
            Self::Rejected(_, 401 | 403) => "endpoint: 401/403, another registered",
            Self::Rejected(..) => "endpoint: 400/413, another registered",
            Self::NewEndpoint(_) => "phone: another endpoint",
            Self::SameAgain(..) => "phone: the same registration",
            Self::WrongPassword(_) => "web: registration, wrong password",
            Self::Junk(_) => "web: junk registrations",
            Self::SlowClients(_) => "web: slow clients",
            Self::GarbageRequests(_) => "web: garbage requests",
            Self::Removed(_) => "database: row removed and added",
            Self::Edited(_) => "database: endpoint edited",
            Self::Killed => "program: kill -9",
            Self::Terminated => "program: SIGTERM",
            Self::Frozen => "program: frozen",
        }
    }

    /// What no other fault may touch at the same time.
    pub(crate) fn busy(&self) -> Vec<Busy> {
        match self {
            Self::SignalRestart | Self::SignalCutAll | Self::SignalRefuses(_) => vec![Busy::Signal],
            Self::Socket(n, _)
            | Self::Handshakes(n, _)
            | Self::OldClient(n)
            | Self::KeepaliveHole(n)
            | Self::Silent(n)
            | Self::LostAcks(n, _)
            | Self::OddFrames(n) => vec![Busy::Device(*n)],
            Self::Unlink(n) | Self::UnlinkForGood(n) => vec![Busy::Device(*n), Busy::Row(*n)],
            Self::Endpoint(n, _)
            | Self::Gone(n, _)
            | Self::GoneForGood(n, _)
            | Self::Rejected(n, _)
            | Self::NewEndpoint(n)
            | Self::SameAgain(n, _)
            | Self::WrongPassword(n)
            | Self::Removed(n)
            | Self::Edited(n) => vec![Busy::Row(*n)],
            Self::Origin(n, _) => vec![Busy::Origin(*n)],
            Self::Killed | Self::Terminated | Self::Frozen => vec![Busy::Program],
            Self::Junk(_) | Self::SlowClients(_) | Self::GarbageRequests(_) => Vec::new(),
        }
    }
}
