//! How a connection ends, and what is said then.

use std::time::Duration;

use async_tungstenite::tungstenite::{self, Message, protocol::CloseFrame, protocol::frame::coding::CloseCode};
use futures_lite::StreamExt;
use futures_util::{Sink, Stream};

use super::flush;
use crate::account_state::StopReason;
use crate::printable::printable;
use crate::runtime::timeout;
use crate::timings::Timings;

/// How a connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Disconnect {
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
    Stopped(StopReason),
}

/// How long a peer may take to answer our Close frame.
pub const FAREWELL: Duration = Duration::from_secs(1);

/// Says goodbye where the peer can still hear it, and waits a moment for its answer: closing a socket with unread data
/// in it resets the connection, and the peer would lose the Close frame, and acks before it.
pub(super) async fn farewell<S>(socket: &mut S, disconnect: &Disconnect, timings: &Timings)
where
    S: Stream<Item = Result<Message, tungstenite::Error>> + Sink<Message, Error = tungstenite::Error> + Unpin,
{
    let code = match disconnect {
        Disconnect::Stopped(_) | Disconnect::Renewed | Disconnect::Silent => CloseCode::Normal,
        Disconnect::TooLarge => CloseCode::Size,
        Disconnect::Protocol(_) => CloseCode::Protocol,
        Disconnect::Closed(..) | Disconnect::Lost(_) | Disconnect::KeepaliveTimeout | Disconnect::WriteTimeout => {
            return;
        }
    };
    let close = Message::Close(Some(CloseFrame { code, reason: "".into() }));
    let patience = timings.write.min(FAREWELL);
    if flush(socket, vec![close], patience).await.is_ok() {
        let answered = async { while let Some(Ok(_)) = socket.next().await {} };
        timeout(patience, answered).await;
    }
}

pub(super) fn closed(frame: Option<CloseFrame>) -> Disconnect {
    // 1005 stands for a Close frame without a code (RFC 6455 section 7.4.1).
    frame.map_or_else(
        || Disconnect::Closed(1005, String::new()),
        |f| Disconnect::Closed(u16::from(f.code), printable(&f.reason)),
    )
}

pub(super) fn lost(error: &tungstenite::Error) -> Disconnect {
    match error {
        tungstenite::Error::Capacity(_) => Disconnect::TooLarge,
        tungstenite::Error::Protocol(tungstenite::error::ProtocolError::ResetWithoutClosingHandshake) => {
            Disconnect::Lost("the connection ended without a Close frame".into())
        }
        tungstenite::Error::Protocol(what) => Disconnect::Protocol(what.to_string()),
        // The TLS library has a long text for it that nobody needs.
        tungstenite::Error::Io(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            Disconnect::Lost("it ended without a goodbye".into())
        }
        tungstenite::Error::Io(error) => Disconnect::Lost(error.to_string()),
        other => Disconnect::Lost(other.to_string()),
    }
}
