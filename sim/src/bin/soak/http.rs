//! Clients of the daemon's web server: phones, and worse.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use fastrand::Rng;

/// A registration is promised an answer within ten seconds.
const PATIENCE: Duration = Duration::from_secs(12);

/// What a phone posts.
#[derive(Debug, Clone)]
pub(crate) struct Registration {
    pub(crate) uuid: String,
    pub(crate) device: u8,
    pub(crate) password: String,
    pub(crate) endpoint: String,
    pub(crate) ping: bool,
}

/// Posts a registration. The status word of the answer, or why there is none.
pub(crate) fn register(web: SocketAddr, registration: &Registration) -> Result<String, String> {
    let Registration { uuid, device, password, endpoint, ping } = registration;
    let body = serde_json::json!({
        "uuid": uuid, "device_id": device, "password": password, "endpoint": endpoint, "ping": ping,
    });
    let body = body.to_string();
    // Each phone has an address of its own, else they would share one client's allowance.
    let [a, b, c] = [fastrand::u8(..), fastrand::u8(..), fastrand::u8(1..)];
    let head = format!(
        "POST / HTTP/1.1\r\nHost: {web}\r\nX-Forwarded-For: 10.{a}.{b}.{c}\r\nUser-Agent: Signal-Android/8.19.2 Android/36\r\n\
         Content-Type: application/json; charset=utf-8\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    let (status, body) = exchange(web, &format!("{head}{body}")).map_err(|e| e.to_string())?;
    if status != 200 {
        return Err(format!("status {status}"));
    }
    let answer: serde_json::Value = serde_json::from_str(&body).map_err(|e| e.to_string())?;
    let word = answer["mollysocket"]["status"].as_str().ok_or("an answer without a status")?;
    Ok(word.to_owned())
}

/// A value of the metrics page.
pub(crate) fn metric(web: SocketAddr, name: &str) -> Option<u64> {
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {web}\r\nConnection: close\r\n\r\n");
    let (_, page) = exchange(web, &request).ok()?;
    page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

fn exchange(web: SocketAddr, request: &str) -> io::Result<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&web, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
    let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).ok_or(io::ErrorKind::InvalidData)?;
    Ok((status, body.to_owned()))
}

/// So many clients that send a byte of a request every second, for so long.
pub(crate) fn dawdle(web: SocketAddr, clients: usize, how_long: Duration) {
    let request = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\nX-Padding: ";
    let mut sockets: Vec<_> = (0..clients).filter_map(|_| TcpStream::connect_timeout(&web, PATIENCE).ok()).collect();
    let end = Instant::now() + how_long;
    for byte in request.iter().cycle() {
        if Instant::now() >= end || sockets.is_empty() {
            return;
        }
        sockets.retain_mut(|socket| socket.write_all(&[*byte]).is_ok());
        std::thread::sleep(Duration::from_secs(1).min(end.saturating_duration_since(Instant::now())));
    }
}

/// Requests that are none, or not ours.
pub(crate) fn garbage(web: SocketAddr, requests: usize, rng: &mut Rng) {
    for _ in 0..requests {
        let request: Vec<u8> = match rng.u8(0..8) {
            0 => (0..rng.usize(1..4000)).map(|_| rng.u8(..)).collect(),
            1 => {
                b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".into()
            }
            2 => format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(20_000)).into_bytes(),
            3 => b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".into(),
            4 => b"POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 7\r\n\r\n{\"uuid\""
                .into(),
            5 => b"DELETE /../../etc/passwd HTTP/1.0\r\n\r\n".into(),
            6 => format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "X: y\r\n".repeat(3000)).into_bytes(),
            // Connects and goes.
            _ => Vec::new(),
        };
        let Ok(mut stream) = TcpStream::connect_timeout(&web, PATIENCE) else { return };
        let _ = stream.set_read_timeout(Some(Duration::from_millis(300)));
        let _ = stream.write_all(&request);
        let _ = stream.read(&mut [0; 512]);
    }
}
