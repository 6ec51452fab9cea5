//! Phones that register.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::world::{DEVICE, World, password, uuid};

/// Phones at the same time.
const PHONES: usize = 32;
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(15);

/// What came of registrations.
#[derive(Debug)]
pub(crate) struct Registered {
    /// Answered with `ok`: account and the endpoint it is at now.
    pub(crate) accepted: Vec<(usize, String)>,
    /// Other answers, and none.
    pub(crate) failed: usize,
    pub(crate) took: Duration,
}

/// Every account moves to another endpoint, for at most `length`, as many at a time as there are phones.
pub(crate) fn move_endpoints(world: &World, web: SocketAddr, length: Duration) -> Registered {
    let next = AtomicUsize::new(0);
    let start = Instant::now();
    let phone = || {
        let (mut accepted, mut failed) = (Vec::new(), 0);
        while start.elapsed() < length {
            let n = next.fetch_add(1, Ordering::Relaxed);
            if n >= world.accounts {
                break;
            }
            let endpoint = world.endpoint(n, "r");
            if register(web, n, &endpoint).is_ok_and(|status| status == "ok") {
                accepted.push((n, endpoint));
            } else {
                failed += 1;
            }
        }
        (accepted, failed)
    };
    std::thread::scope(|scope| {
        let phones: Vec<_> = (0..PHONES).map(|_| scope.spawn(phone)).collect();
        let mut all = Registered { accepted: Vec::new(), failed: 0, took: Duration::ZERO };
        for phone in phones {
            if let Ok((accepted, failed)) = phone.join() {
                all.accepted.extend(accepted);
                all.failed += failed;
            }
        }
        all.took = start.elapsed();
        all
    })
}

/// The status word of the answer.
fn register(web: SocketAddr, n: usize, endpoint: &str) -> io::Result<String> {
    let body = serde_json::json!({
        "uuid": uuid(n), "device_id": DEVICE, "password": password(n), "endpoint": endpoint,
    })
    .to_string();
    // Each phone has an address of its own, else they would share one client's allowance.
    let head = format!(
        "POST / HTTP/1.1\r\nHost: {web}\r\nX-Forwarded-For: 10.{}.{}.{}\r\nUser-Agent: Signal-Android/8.19.2 Android/36\r\n\
         Content-Type: application/json; charset=utf-8\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        n >> 16 & 0xff,
        n >> 8 & 0xff,
        n & 0xff,
        body.len()
    );
    let mut stream = TcpStream::connect_timeout(&web, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all((head + &body).as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body).unwrap_or_default();
    let answer: serde_json::Value = serde_json::from_str(body)?;
    Ok(answer["mollysocket"]["status"].as_str().unwrap_or_default().to_owned())
}
