//! Writing frames.

use std::time::Duration;

use async_tungstenite::WebSocketStream;
use async_tungstenite::tungstenite::error::Error;
use async_tungstenite::tungstenite::protocol::frame::Frame;
use async_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use async_tungstenite::tungstenite::{Bytes, Message};
use futures_lite::{AsyncWriteExt, FutureExt, future};
use futures_util::SinkExt;
use smol::Timer;
use smol::net::TcpStream;

use super::session::Tls;
use super::state::Out;
use crate::host;

/// Writes and flushes all of it, up to the first Close.
pub(super) async fn write_all(
    ws: &mut WebSocketStream<Tls>,
    out: Vec<Out>,
    size: usize,
) -> Result<Option<(u16, String)>, Error> {
    let mut end = None;
    for out in out {
        match out {
            Out::Binary(bytes) if bytes.len() > size => fragments(ws, bytes, size).await?,
            Out::Binary(bytes) => ws.feed(Message::binary(bytes)).await?,
            Out::Fragments(bytes, n) => {
                let size = bytes.len().div_ceil(n.max(1)).max(1);
                fragments(ws, bytes, size).await?;
            }
            Out::Text(text) => ws.feed(Message::text(text)).await?,
            Out::Wire(bytes) => {
                ws.flush().await?;
                ws.get_mut().write_all(&bytes).await?;
                ws.get_mut().flush().await?;
            }
            Out::Endless(bytes) => {
                ws.flush().await?;
                loop {
                    ws.get_mut().write_all(&bytes).await?;
                    // A client that reads as fast must not keep the server's one thread from everybody else.
                    future::yield_now().await;
                }
            }
            Out::Ping => ws.feed(Message::Ping(Bytes::new())).await?,
            Out::Close(code, reason) => {
                end = Some((code, reason));
                break;
            }
        }
    }
    ws.flush().await?;
    Ok(end)
}

async fn fragments(ws: &mut WebSocketStream<Tls>, bytes: Vec<u8>, size: usize) -> Result<(), Error> {
    let bytes = Bytes::from(bytes);
    let mut start = 0;
    loop {
        let end = (start + size).min(bytes.len());
        let opcode = OpCode::Data(if start == 0 { Data::Binary } else { Data::Continue });
        ws.feed(Message::Frame(Frame::message(bytes.slice(start..end), opcode, end == bytes.len()))).await?;
        if end == bytes.len() {
            return Ok(());
        }
        start = end;
    }
}

/// Writes a Close frame and shuts the sending side at once, without waiting for the peer's Close.
///
/// The frame is written by hand: after a protocol error tungstenite may refuse to.
pub(super) async fn close(mut tls: Tls, tcp: TcpStream, code: u16, reason: &str) {
    let reason = &reason.as_bytes()[..reason.len().min(123)];
    let mut frame = vec![0x88, reason.len() as u8 + 2];
    frame.extend_from_slice(&code.to_be_bytes());
    frame.extend_from_slice(reason);
    let write = async {
        let _ = tls.write_all(&frame).await;
        let _ = tls.close().await;
    };
    let timeout = async {
        Timer::after(Duration::from_secs(5)).await;
    };
    write.or(timeout).await;
    host::linger(tcp).await;
}

/// Jetty writes sizes with thousands separators.
pub(super) fn thousands(n: usize) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
