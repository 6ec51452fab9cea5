//! The listener with an application of the test's own, over real sockets.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_lite::{AsyncReadExt, AsyncWriteExt, FutureExt};
use smol::net::{TcpListener, TcpStream};
use smol::{Task, block_on};

use super::*;
use crate::config::Network;
use crate::metrics::Gauges;
use crate::timings::Rate;

mod crowds;

const PATIENCE: Duration = Duration::from_secs(10);

fn bounds() -> Bounds {
    Bounds {
        connections: 4,
        connections_per_client: 4,
        requests: Rate { burst: 1000, every: Duration::from_secs(1) },
        clients: 100,
        trusted: Network::LOOPBACK.to_vec(),
        prefix: String::new(),
        head_bytes: 8 * 1024,
        body_bytes: 100,
        head: Duration::from_millis(300),
        request: Duration::from_millis(600),
        shutdown: Duration::from_millis(400),
    }
}

/// Echoes bodies, panics, hangs or takes its time.
fn app() -> tide::Server<()> {
    let mut app = tide::new();
    app.at("/").get(|_| async { Ok("hello") }).post(|mut r: tide::Request<()>| async move {
        let body = r.body_string().await?;
        Ok(format!("[{body}]"))
    });
    app.at("/panic").get(|_| async { if true { panic!("on purpose") } else { Ok("") } });
    app.at("/hang").get(|_| async {
        Timer::never().await;
        Ok("")
    });
    app.at("/slow").get(|_| async {
        Timer::after(Duration::from_millis(200)).await;
        Ok("done")
    });
    app.at("/headers").get(|r: tide::Request<()>| async move {
        let agent = r.header("User-Agent").map_or("none", |v| v.last().as_str()).to_owned();
        Ok(format!("{agent}; {:?}", r.ext::<Client>().map(Client::to_string)))
    });
    app
}

struct Server {
    addr: SocketAddr,
    metrics: Arc<Metrics>,
    /// Dropped to stop.
    running: channel::Sender<()>,
    task: Task<()>,
}

fn with_server(bounds: Bounds, test: impl AsyncFnOnce(Server)) {
    let executor = Arc::new(Executor::new());
    block_on(executor.clone().run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let metrics = Arc::new(Metrics::default());
        let (running, stopped) = channel::bounded::<()>(1);
        let stop = async move {
            let _ = stopped.recv().await;
        };
        let task = executor.spawn(serve(app(), listener, bounds, metrics.clone(), executor.clone(), stop));
        let late = async {
            Timer::after(PATIENCE).await;
            panic!("the test hangs");
        };
        test(Server { addr, metrics, running, task }).or(late).await;
    }));
}

async fn answer(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes).await;
    String::from_utf8_lossy(&bytes).into_owned()
}

async fn talk(addr: SocketAddr, request: impl AsRef<[u8]>) -> String {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    let _ = stream.write_all(request.as_ref()).await;
    answer(&mut stream).await
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or("none")
}

#[test]
fn requests_are_answered_and_the_connection_closed() {
    with_server(bounds(), async |server| {
        let hello = talk(server.addr, "GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
        assert_eq!(status(&hello), "200");
        assert!(hello.ends_with("\r\n\r\nhello") && hello.to_lowercase().contains("connection: close"), "{hello}");
        assert!(!hello.to_lowercase().contains("\r\nserver:"), "{hello}");
        let head = talk(server.addr, "HEAD / HTTP/1.1\r\nHost: h\r\n\r\n").await;
        assert!(head.ends_with("\r\n\r\n") && head.to_lowercase().contains("content-length: 5"), "{head}");
        let old = talk(server.addr, "GET / HTTP/1.0\r\n\r\n").await;
        assert_eq!(status(&old), "200");
        let fixed = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc";
        assert!(talk(server.addr, fixed).await.ends_with("[abc]"));
        let chunked = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n";
        assert!(talk(server.addr, chunked).await.ends_with("[abc]"));
    });
}

#[test]
fn a_head_in_pieces_and_expect_continue_work() {
    with_server(bounds(), async |server| {
        let mut stream = TcpStream::connect(server.addr).await.unwrap();
        for piece in ["PO", "ST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 3\r", "\n\r", "\n"] {
            stream.write_all(piece.as_bytes()).await.unwrap();
            Timer::after(Duration::from_millis(20)).await;
        }
        let mut first = [0; 25];
        stream.read_exact(&mut first).await.unwrap();
        assert_eq!(&first, b"HTTP/1.1 100 Continue\r\n\r\n");
        stream.write_all(b"abc").await.unwrap();
        assert!(answer(&mut stream).await.ends_with("[abc]"));
    });
}

#[test]
fn what_could_smuggle_a_second_request_is_refused() {
    with_server(bounds(), async |server| {
        let second = "GET /second HTTP/1.1\r\nHost: h\r\n\r\n";
        for (lines, want) in [
            ("Content-Length: 4\r\nTransfer-Encoding: chunked", "400"),
            ("Transfer-Encoding: chunked\r\nContent-Length: 4", "400"),
            ("Content-Length: 4\r\nContent-Length: 5", "400"),
            ("Transfer-Encoding: gzip, chunked", "501"),
            ("Transfer-Encoding:\u{b}chunked", "400"),
            ("X: y\nContent-Length: 4", "400"),
        ] {
            let got =
                talk(server.addr, format!("POST / HTTP/1.1\r\nHost: h\r\n{lines}\r\n\r\n0\r\n\r\n{second}")).await;
            assert_eq!(status(&got), want, "{lines:?}: {got}");
            assert_eq!(got.matches("HTTP/1.1").count(), 1, "{lines:?}: one answer only");
        }
        for chunk in ["2\nab\n0\n\n", "zz\r\n", "-1\r\n", "ffffffffffffffffff\r\n", "2\r\nabXX0\r\n\r\n"] {
            let text = format!("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}");
            let got = talk(server.addr, text).await;
            assert!(["400", "413"].contains(&status(&got)), "{chunk:?}: {got}");
        }
        let pipelined = talk(server.addr, format!("GET / HTTP/1.1\r\nHost: h\r\n\r\n{second}")).await;
        assert!(pipelined.ends_with("hello"), "the second is never looked at: {pipelined}");
    });
}

#[test]
fn other_protocols_are_closed_at_once_without_an_answer() {
    with_server(Bounds { head: PATIENCE * 2, ..bounds() }, async |server| {
        let v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c";
        let hello = [0x16, 3, 1, 2, 0, 1, 0];
        for start in [&hello[..], b"PROXY TCP4 1.1.1.1 2.2.2.2 1 2\r\n", b"PROXY TCP6", b"PROXY UNKNOWN\r\n", v2] {
            let started = Instant::now();
            for pieces in [1, 2, start.len()] {
                let mut stream = TcpStream::connect(server.addr).await.unwrap();
                stream.set_nodelay(true).unwrap();
                for piece in start.chunks(start.len().div_ceil(pieces)) {
                    let _ = stream.write_all(piece).await;
                    Timer::after(Duration::from_millis(2)).await;
                }
                assert_eq!(answer(&mut stream).await, "", "{start:?}");
            }
            assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
        }
        assert_eq!(status(&talk(server.addr, "PROXY / HTTP/1.1\r\nHost: h\r\n\r\n").await), "405");
        assert_eq!(status(&talk(server.addr, "\r\n\r\n\0\r\nX\r\n\r\n").await), "400");
    });
}

#[test]
fn heads_and_bodies_beyond_the_limits_are_cut_with_an_answer() {
    with_server(bounds(), async |server| {
        let long = format!("GET / HTTP/1.1\r\nHost: h\r\nX: {}\r\n\r\n", "a".repeat(8 * 1024));
        assert_eq!(status(&talk(server.addr, long).await), "431");
        // No line feed in sight: refused from the limit on, not at the end.
        assert_eq!(status(&talk(server.addr, vec![b'a'; 200 * 1024]).await), "431");
        let many = format!("GET / HTTP/1.1\r\nHost: h\r\n{}\r\n", "X: y\r\n".repeat(500));
        assert_eq!(status(&talk(server.addr, many).await), "431");
        let just = format!("GET / HTTP/1.1\r\nHost: h\r\nX: {}\r\n\r\n", "a".repeat(8 * 1024 - 32));
        assert_eq!(status(&talk(server.addr, just).await), "200");
        let post =
            |length: u64, body: &str| format!("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n{body}");
        assert_eq!(status(&talk(server.addr, post(100, &"b".repeat(100))).await), "200");
        assert_eq!(status(&talk(server.addr, post(101, &"b".repeat(101))).await), "413");
        assert_eq!(status(&talk(server.addr, post(200_000, &"b".repeat(200_000))).await), "413");
        assert_eq!(status(&talk(server.addr, post(1u64 << 40, "")).await), "413");
        let chunks = format!(
            "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n{}0\r\n\r\n",
            "10\r\n0123456789abcdef\r\n".repeat(1000)
        );
        assert_eq!(status(&talk(server.addr, chunks).await), "413");
    });
}

#[test]
fn a_client_that_is_still_sending_gets_to_read_its_answer() {
    with_server(bounds(), async |server| {
        let post = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 20000\r\n\r\n".to_owned();
        for (start, want) in [(post, "413"), ("a".repeat(8192), "431")] {
            let mut stream = TcpStream::connect(server.addr).await.unwrap();
            stream.write_all(start.as_bytes()).await.unwrap();
            for _ in 0..5 {
                Timer::after(Duration::from_millis(30)).await;
                // Fails once the connection is reset, and most clients would then look no further.
                stream.write_all(&[b'b'; 1000]).await.unwrap();
            }
            assert_eq!(status(&answer(&mut stream).await), want);
        }
    });
}

#[test]
fn slow_clients_are_ended_at_each_stage() {
    with_server(bounds(), async |server| {
        let started = Instant::now();
        let silent = talk(server.addr, "").await;
        assert_eq!((silent.as_str(), started.elapsed() >= bounds().head), ("", true), "nothing said, nothing answered");
        assert_eq!(status(&talk(server.addr, "GET / HT").await), "408");
        let half = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\na";
        assert_eq!(status(&talk(server.addr, half).await), "408");
        assert_eq!(status(&talk(server.addr, "GET /hang HTTP/1.1\r\nHost: h\r\n\r\n").await), "503");
        let mut dripping = TcpStream::connect(server.addr).await.unwrap();
        let drip = async {
            for byte in std::iter::repeat_n(b'a', 1000) {
                if dripping.write_all(&[byte]).await.is_err() {
                    break;
                }
                Timer::after(Duration::from_millis(10)).await;
            }
        };
        let started = Instant::now();
        drip.await;
        assert!(started.elapsed() < Duration::from_secs(3), "each byte does not renew the deadline");
    });
}

/// As `talk`, and closes the sending side after the request.
async fn talk_and_close(addr: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    answer(&mut stream).await
}

#[test]
fn a_client_that_closes_its_sending_side_gets_its_answer_and_no_more_time_than_others() {
    with_server(bounds(), async |server| {
        let slow = talk_and_close(server.addr, "GET /slow HTTP/1.1\r\nHost: h\r\n\r\n").await;
        assert!(status(&slow) == "200" && slow.ends_with("done"), "{slow}");
        let fixed = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc";
        assert!(talk_and_close(server.addr, fixed).await.ends_with("[abc]"));
        // What is not complete by then never will be: there is nothing to wait for.
        let started = Instant::now();
        assert_eq!(talk_and_close(server.addr, "GET / HT").await, "");
        let cut = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\na";
        assert_eq!(status(&talk_and_close(server.addr, cut).await), "400");
        assert!(started.elapsed() < bounds().head, "{:?}", started.elapsed());
        let hang = "GET /hang HTTP/1.1\r\nHost: h\r\n\r\n";
        assert_eq!(status(&talk_and_close(server.addr, hang).await), "503");
        // Those who may be gone give way to newcomers while they are served.
        let mut gone = Vec::new();
        for _ in 0..bounds().connections {
            let mut stream = TcpStream::connect(server.addr).await.unwrap();
            stream.write_all(hang.as_bytes()).await.unwrap();
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            gone.push(stream);
        }
        Timer::after(Duration::from_millis(50)).await;
        let started = Instant::now();
        assert_eq!(status(&talk(server.addr, "GET / HTTP/1.1\r\nHost: h\r\n\r\n").await), "200");
        assert!(started.elapsed() < bounds().request / 2, "{:?}", started.elapsed());
    });
}

#[test]
fn a_panic_costs_one_request_and_is_counted() {
    with_server(bounds(), async |server| {
        for _ in 0..3 {
            assert_eq!(status(&talk(server.addr, "GET /panic HTTP/1.1\r\nHost: h\r\n\r\n").await), "500");
        }
        assert_eq!(status(&talk(server.addr, "GET / HTTP/1.1\r\nHost: h\r\n\r\n").await), "200");
        assert!(server.metrics.render(&Gauges::default()).contains("\nmollysocket_panics_total 3\n"));
    });
}

#[test]
fn odd_headers_methods_and_targets_never_panic() {
    with_server(bounds(), async |server| {
        let mut raw = b"GET /headers HTTP/1.1\r\nHost: h\r\nUser-Agent: caf\xc3\xa9\r\nX: \xff\xfe\r\n\r\n".to_vec();
        let got = talk(server.addr, &raw).await;
        assert!(got.ends_with("none; Some(\"somebody behind 127.0.0.1\")"), "{got}");
        raw.clear();
        for (line, want) in [
            ("get / HTTP/1.1", "405"),
            ("BREW / HTTP/1.1", "405"),
            ("DELETE / HTTP/1.1", "405"),
            ("OPTIONS * HTTP/1.1", "404"),
            ("GET /%2e%2e/ HTTP/1.1", "404"),
            ("GET /./ HTTP/1.1", "404"),
            ("GET //evil.example/ HTTP/1.1", "404"),
            ("GET /%ff%00 HTTP/1.1", "404"),
            ("GET http://other.example/ HTTP/1.1", "200"),
            ("GET /?a[]=%zz&'&=%00&airgapped=%ff HTTP/1.1", "200"),
            ("GET /?\"<> HTTP/1.1", "400"),
            ("PRI * HTTP/2.0", "505"),
            ("nonsense", "400"),
            ("GET /", "400"),
            ("GET  / HTTP/1.1", "400"),
            ("GET / x HTTP/1.1", "400"),
            ("GET /\u{e9} HTTP/1.1", "400"),
            (" / HTTP/1.1", "400"),
        ] {
            let got = talk(server.addr, format!("{line}\r\nHost: h\r\n\r\n")).await;
            assert_eq!(status(&got), want, "{line}: {got}");
            let ours = ["content-security-policy: ", "x-content-type-options: "].iter().all(|name| got.contains(name));
            assert!(ours && got.matches("content-length: ").count() == 1, "{line}: {got}");
        }
        assert!(server.metrics.render(&Gauges::default()).contains("\nmollysocket_panics_total 0\n"));
    });
}

#[test]
fn stopping_finishes_what_is_in_flight_and_nothing_else() {
    with_server(bounds(), async |server| {
        let Server { addr, running, task, .. } = server;
        let mut idle = TcpStream::connect(addr).await.unwrap();
        let mut slow = TcpStream::connect(addr).await.unwrap();
        slow.write_all(b"GET /slow HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
        let mut hung = TcpStream::connect(addr).await.unwrap();
        hung.write_all(b"GET /hang HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
        Timer::after(Duration::from_millis(50)).await;
        let started = Instant::now();
        drop(running);
        assert!(answer(&mut slow).await.ends_with("done"));
        assert_eq!(answer(&mut idle).await, "");
        assert!(started.elapsed() < Duration::from_millis(290), "idle connections do not wait for their deadline");
        task.await;
        let waited = started.elapsed();
        assert!(waited >= Duration::from_millis(400) && waited < Duration::from_secs(2), "{waited:?}");
        assert_eq!(answer(&mut hung).await, "", "cut after the grace period");
        assert!(TcpStream::connect(addr).await.is_err(), "nobody listens any more");
    });
}

#[test]
fn a_failing_accept_pauses_instead_of_spinning() {
    struct OutOfDescriptors(Arc<AtomicUsize>);
    impl Accept for OutOfDescriptors {
        type Stream = TcpStream;
        async fn accept(&self) -> io::Result<(TcpStream, Option<IpAddr>)> {
            self.0.fetch_add(1, Ordering::Relaxed);
            Err(io::Error::from_raw_os_error(24))
        }
    }
    let tries = Arc::new(AtomicUsize::new(0));
    let executor = Arc::new(Executor::new());
    block_on(executor.run(async {
        let stop = async {
            Timer::after(Duration::from_millis(350)).await;
        };
        let listener = OutOfDescriptors(tries.clone());
        serve(app(), listener, bounds(), Arc::default(), executor.clone(), stop).await;
    }));
    let tries = tries.load(Ordering::Relaxed);
    // A busy machine tries less often.
    assert!((1..=4).contains(&tries), "{tries}");
}

#[cfg(unix)]
#[test]
fn a_unix_socket_is_served_alike() {
    use smol::net::unix::{UnixListener, UnixStream};
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("web.sock");
    let executor = Arc::new(Executor::new());
    block_on(executor.run(async {
        let listener = UnixListener::bind(&path).unwrap();
        let server =
            executor.spawn(serve(app(), listener, bounds(), Arc::default(), executor.clone(), std::future::pending()));
        let mut stream = UnixStream::connect(&path).await.unwrap();
        stream.write_all(b"GET /headers HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        assert!(text.ends_with("none; Some(\"somebody at the Unix socket\")"), "{text}");
        drop(server);
    }));
}
