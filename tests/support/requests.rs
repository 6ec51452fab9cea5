//! HTTP requests to the daemon, by hand, so that each byte is known.
#![allow(dead_code, clippy::unwrap_used, missing_docs, unreachable_pub)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::PATIENCE;

/// Registers as Molly does. The status word of the answer.
pub fn register(web: SocketAddr, uuid: &str, device: u64, password: &str, endpoint: &str, ping: bool) -> String {
    let body = serde_json::json!({
        "uuid": uuid, "device_id": device, "password": password, "endpoint": endpoint, "ping": ping
    });
    let (status, answer) = post(web, &body.to_string());
    assert_eq!(status, 200, "{answer}");
    let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
    answer["mollysocket"]["status"].as_str().unwrap().to_owned()
}

/// `POST /` as Molly sends it.
pub fn post(web: SocketAddr, body: &str) -> (u16, String) {
    let head = format!(
        "POST / HTTP/1.1\r\nHost: localhost\r\nUser-Agent: Signal-Android/8.19.2 Android/36\r\n\
         Content-Type: application/json; charset=utf-8\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    http(web, &format!("{head}{body}"))
}

pub fn get(web: SocketAddr, path: &str, headers: &str) -> (u16, String) {
    http(web, &format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{headers}Connection: close\r\n\r\n"))
}

/// Sends bytes, reads to the end. Status and body.
pub fn http(web: SocketAddr, request: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(web).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((answer.as_str(), ""));
    let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
    (status, body.to_owned())
}
