//! How a connection ends, and what is said then.

use std::time::Duration;

use async_tungstenite::tungstenite::{self, Message, protocol::CloseFrame, protocol::frame::coding::CloseCode};
use futures_lite::StreamExt;
use futures_util::{Sink, Stream};

use super::flush;
use crate::account_state::Halt;
use crate::printable::printable;
use crate::runtime::timeout;
use crate::timings::Timings;

/// How a connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// Signal closed it with this code and text.
    Closed(u16, String),
    /// The stream ended without a Close frame, or broke; the text says how.
    Lost(String),
    /// A keepalive was not answered.
    KeepaliveTimeout,
    /// Signal never announced the end of the queue: not authenticated, or stalled.
    Silent,
    /// Signal did not read what we wrote.
    WriteTimeout,
    /// A message, or one frame of it, is larger than any of Signal's.
    TooLarge,
    /// The peer broke the protocol.
    Protocol(String),
    /// Old age; all was well.
    Renewed,
    /// We were told to end.
    Halted(Halt),
}

/// How long a peer may take to answer our Close frame.
pub const FAREWELL: Duration = Duration::from_secs(1);

/// Says goodbye where the peer can still hear it, and waits a moment for its answer: closing a socket with unread data
/// in it resets the connection, and the peer would lose the Close frame, and acks before it.
pub(super) async fn farewell<S>(socket: &mut S, ended: &Ended, timings: &Timings)
where
    S: Stream<Item = Result<Message, tungstenite::Error>> + Sink<Message, Error = tungstenite::Error> + Unpin,
{
    let code = match ended {
        Ended::Halted(_) | Ended::Renewed | Ended::Silent => CloseCode::Normal,
        Ended::TooLarge => CloseCode::Size,
        Ended::Protocol(_) => CloseCode::Protocol,
        Ended::Closed(..) | Ended::Lost(_) | Ended::KeepaliveTimeout | Ended::WriteTimeout => return,
    };
    let close = Message::Close(Some(CloseFrame { code, reason: "".into() }));
    let patience = timings.write.min(FAREWELL);
    if flush(socket, vec![close], patience).await.is_ok() {
        let answered = async { while let Some(Ok(_)) = socket.next().await {} };
        timeout(patience, answered).await;
    }
}

pub(super) fn closed(frame: Option<CloseFrame>) -> Ended {
    // 1005 stands for a Close frame without a code (RFC 6455 section 7.4.1).
    frame.map_or_else(|| Ended::Closed(1005, String::new()), |f| Ended::Closed(u16::from(f.code), printable(&f.reason)))
}

pub(super) fn lost(error: &tungstenite::Error) -> Ended {
    match error {
        tungstenite::Error::Capacity(_) => Ended::TooLarge,
        tungstenite::Error::Protocol(tungstenite::error::ProtocolError::ResetWithoutClosingHandshake) => {
            Ended::Lost("the connection ended without a Close frame".into())
        }
        tungstenite::Error::Protocol(what) => Ended::Protocol(what.to_string()),
        // The TLS library has a long text for it that nobody needs.
        tungstenite::Error::Io(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            Ended::Lost("it ended without a goodbye".into())
        }
        tungstenite::Error::Io(error) => Ended::Lost(error.to_string()),
        other => Ended::Lost(other.to_string()),
    }
}
