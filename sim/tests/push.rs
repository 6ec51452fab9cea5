//! The push server: recording, scripts, and every way to answer badly.

mod support;

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use futures_lite::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, FutureExt};
use sim::pki::Pki;
use sim::push::{Answer, Behaviour, PushServer};
use smol::net::TcpStream;
use smol::{Timer, block_on};
use support::{LONG, SHORT, read_answer, tls};

async fn tcp(server: &PushServer) -> TcpStream {
    TcpStream::connect(server.addr()).await.unwrap()
}

async fn send(stream: &mut (impl AsyncWrite + Unpin), token: &str) {
    let request = format!("POST /push/{token}?up=1 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nhi");
    stream.write_all(request.as_bytes()).await.unwrap();
}

/// The status and body of the next answer.
async fn receive(stream: &mut (impl AsyncRead + Unpin)) -> std::io::Result<(u16, Vec<u8>)> {
    let answer = read_answer(stream).await?;
    let length = answer.header("content-length").map_or(0, |v| v.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    Ok((answer.status, body))
}

async fn post(server: &PushServer, token: &str) -> u16 {
    let mut tcp = tcp(server).await;
    send(&mut tcp, token).await;
    receive(&mut tcp).await.unwrap().0
}

async fn within<T>(time: Duration, future: impl Future<Output = T>) -> Option<T> {
    let timer = async {
        Timer::after(time).await;
        None
    };
    async { Some(future.await) }.or(timer).await
}

#[test]
fn requests_are_recorded_whole() {
    let pki = Pki::new();
    let server = PushServer::start(&pki);
    assert!(server.endpoint("up1").starts_with("https://localhost:"));
    block_on(async {
        let mut tls = tls(&pki, server.addr().port()).await.unwrap();
        let head = b"POST /push/up1?up=1 HTTP/1.1\r\nHost: localhost\r\nTTL: 60\r\nUrgency: high\r\n";
        tls.write_all(head).await.unwrap();
        tls.write_all(b"Transfer-Encoding: chunked\r\n\r\n5\r\n{\"urg\r\n9\r\nent\":true\r\n").await.unwrap();
        tls.write_all(b"1\r\n}\r\n0\r\n\r\n").await.unwrap();
        let answer = read_answer(&mut tls).await.unwrap();
        assert_eq!(answer.status, 201);
        assert!(answer.header("Location").is_some() && answer.header("TTL").is_some());
        // The connection is kept.
        send(&mut tls, "up2").await;
        assert_eq!(receive(&mut tls).await.unwrap().0, 201);
    });
    let requests = server.requests();
    assert_eq!((requests[0].method.as_str(), requests[0].target.as_str()), ("POST", "/push/up1?up=1"));
    assert_eq!((requests[0].header("ttl"), requests[0].text().as_str()), (Some("60"), "{\"urgent\":true}"));
    assert_eq!(requests[0].sni.as_deref(), Some("localhost"));
    assert_eq!((requests[1].connection, server.connections()), (0, 1));
    assert_eq!(server.requests_for("/push/up2").len(), 1);
}

#[test]
fn answers_follow_the_script_then_the_default() {
    let server = PushServer::start_plain();
    server.script([Answer::status(503), Answer::retry_after(429, "7")]);
    server.script_for("/push/a", [Answer::status(410)]);
    server.set_default(Answer::ok());
    server.set_default_for("/push/c", Answer::status(404));
    block_on(async {
        for (token, status) in [("a", 410), ("a", 503), ("b", 429), ("a", 200), ("c", 404), ("c", 404)] {
            assert_eq!(post(&server, token).await, status, "{token}");
        }
    });
    assert!(server.wait_requests(6, LONG));
    server.clear();
    assert!(!server.wait_requests(1, Duration::ZERO));
    assert_eq!(server.connections(), 6);
}

#[test]
fn header_fields_of_an_answer_are_sent() {
    let server = PushServer::start_plain();
    server.script([Answer::retry_after(429, "7"), Answer::redirect(307, "http://169.254.169.254/")]);
    block_on(async {
        for (name, value) in [("Retry-After", "7"), ("Location", "http://169.254.169.254/")] {
            let mut tcp = tcp(&server).await;
            send(&mut tcp, "a").await;
            assert_eq!(read_answer(&mut tcp).await.unwrap().header(name), Some(value));
        }
    });
}

#[test]
fn an_answer_can_be_late_or_never_come() {
    let server = PushServer::start_plain();
    let delay = Duration::from_millis(150);
    server.script([Answer::created().delay(delay), Answer::hang(), Answer::behave(Behaviour::HangAfterHead)]);
    block_on(async {
        let start = Instant::now();
        assert_eq!(post(&server, "a").await, 201);
        assert!(start.elapsed() >= delay);

        let mut hung = tcp(&server).await;
        send(&mut hung, "a").await;
        assert!(within(SHORT, receive(&mut hung)).await.is_none());

        let mut head = tcp(&server).await;
        send(&mut head, "a").await;
        assert_eq!(read_answer(&mut head).await.unwrap().status, 201);
        assert!(within(SHORT, head.read(&mut [0])).await.is_none());
        assert!(server.wait_until(LONG, |s| s.in_flight() == 2));
    });
    // The clients are gone.
    assert!(server.wait_until(LONG, |s| s.in_flight() == 0 && s.open() == 0));
    assert_eq!(server.max_in_flight(), 2);
}

#[test]
fn head_and_body_can_drip() {
    let server = PushServer::start_plain();
    let every = Duration::from_millis(10);
    server.script([
        Answer::status(200).behaviour(Behaviour::DripHead(8, every)),
        Answer::status(200).body("0123456789").behaviour(Behaviour::DripBody(1, every)),
    ]);
    block_on(async {
        for (body, least) in [("", 3), ("0123456789", 9)] {
            let start = Instant::now();
            let mut tcp = tcp(&server).await;
            send(&mut tcp, "a").await;
            assert_eq!(receive(&mut tcp).await.unwrap(), (200, body.as_bytes().to_vec()));
            assert!(start.elapsed() >= every * least);
        }
    });
}

#[test]
fn an_answer_can_be_cut_anywhere() {
    let server = PushServer::start_plain();
    server.script([
        Answer::behave(Behaviour::CutBeforeAnswer),
        Answer::behave(Behaviour::CutMidHead),
        Answer::ok().behaviour(Behaviour::CutMidBody),
        Answer::behave(Behaviour::ResetBeforeAnswer),
    ]);
    block_on(async {
        let mut sizes = Vec::new();
        for _ in 0..3 {
            let mut tcp = tcp(&server).await;
            send(&mut tcp, "a").await;
            let mut all = Vec::new();
            tcp.read_to_end(&mut all).await.unwrap();
            sizes.push((all.len(), all.windows(4).any(|w| w == b"\r\n\r\n")));
        }
        assert_eq!(sizes[0], (0, false));
        assert!(sizes[1].0 > 0 && !sizes[1].1 && sizes[2].1);
        let mut tcp = tcp(&server).await;
        send(&mut tcp, "a").await;
        assert_eq!(tcp.read(&mut [0]).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    });
}

#[test]
fn an_answer_can_be_endless() {
    let server = PushServer::start_plain();
    server.script([Answer::behave(Behaviour::EndlessBody), Answer::behave(Behaviour::EndlessHeader)]);
    block_on(async {
        for ends_head in [true, false] {
            let mut tcp = tcp(&server).await;
            send(&mut tcp, "a").await;
            let mut much = vec![0; 1024 * 1024];
            tcp.read_exact(&mut much).await.unwrap();
            assert_eq!(much.windows(4).any(|w| w == b"\r\n\r\n"), ends_head);
        }
    });
    assert!(server.wait_until(LONG, |s| s.open() == 0));
}

#[test]
fn garbage_is_not_http() {
    let server = PushServer::start_plain();
    server.script([Answer::behave(Behaviour::Garbage)]);
    block_on(async {
        let mut tcp = tcp(&server).await;
        send(&mut tcp, "a").await;
        assert!(read_answer(&mut tcp).await.is_err());
    });
}

#[test]
fn tls_ends_with_or_without_close_notify() {
    let pki = Pki::new();
    let server = PushServer::start(&pki);
    server.script([
        Answer::ok().behaviour(Behaviour::CloseAfter),
        Answer::ok().behaviour(Behaviour::TlsCloseWithoutNotify),
    ]);
    block_on(async {
        for notify in [true, false] {
            let mut tls = tls(&pki, server.addr().port()).await.unwrap();
            send(&mut tls, "a").await;
            let mut all = Vec::new();
            let end = tls.read_to_end(&mut all).await;
            assert_eq!(end.map_err(|e| e.kind()).err(), (!notify).then_some(ErrorKind::UnexpectedEof));
            assert!(all.starts_with(b"HTTP/1.1 200 OK\r\n"));
        }
    });
}

#[test]
fn connections_can_be_refused_stalled_and_cut() {
    let pki = Pki::new();
    let server = PushServer::start(&pki);
    block_on(async {
        let mut open = tls(&pki, server.addr().port()).await.unwrap();
        send(&mut open, "a").await;
        receive(&mut open).await.unwrap();
        server.refuse(true);
        let error = TcpStream::connect(server.addr()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        server.refuse(false);
        assert_eq!(server.open_connections(), 1);
        server.cut_all();
        assert!(open.read(&mut [0]).await.is_err());

        server.set_tls_silent(true);
        assert!(within(SHORT, tls(&pki, server.addr().port())).await.is_none());
        server.set_tls_silent(false);
        assert!(tls(&Pki::new(), server.addr().port()).await.is_err());
        assert!(server.wait_until(LONG, |s| s.open() == 0));
        assert_eq!(server.tls_failures(), 1);
    });
}

#[test]
fn it_restarts_on_the_same_port() {
    let server = PushServer::start_plain();
    let addr = server.addr();
    assert_eq!(block_on(post(&server, "a")), 201);
    drop(server);
    let server = PushServer::start_at(None, addr).unwrap();
    assert_eq!((block_on(post(&server, "a")), server.addr()), (201, addr));
}
