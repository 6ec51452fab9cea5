//! Upgrade requests and their answers, TLS, and handshakes that go wrong on purpose.

mod support;

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use base64::Engine as _;
use futures_lite::{AsyncReadExt, AsyncWriteExt, FutureExt};
use sim::pki::Pki;
use sim::signal::{Envelope, Handshake, Mode, Queues, SignalServer, UaRule};
use smol::net::TcpStream;
use smol::{Timer, block_on};
use support::*;

const PATH: &str = "/v1/websocket/";

fn upgrade_status(pki: &Pki, server: &SignalServer, path: &str, lines: &[String]) -> Answer {
    block_on(upgrade(pki, server, path, lines)).unwrap().0
}

#[test]
fn the_path_needs_its_trailing_slash_and_the_query_is_ignored() {
    let (pki, server) = server();
    for (path, status) in [
        ("/v1/websocket/", 101),
        ("/v1/websocket/?login=a&password=b", 101),
        ("/v1/websocket", 404),
        ("/v1/websocket/provisioning/", 404),
        ("/", 404),
    ] {
        let answer = upgrade_status(&pki, &server, path, &[auth()]);
        assert_eq!(answer.status, status, "{path}");
        assert!(answer.header("x-signal-timestamp").is_some(), "{path}");
        assert_eq!(answer.header("content-type"), (status == 404).then_some("application/json"), "{path}");
    }
    assert_eq!(server.records().statuses(), [101, 101, 404, 404, 404]);
}

#[test]
fn only_the_services_own_answers_carry_the_timestamp() {
    let (pki, server) = server();
    for (code, has) in [(403, true), (404, true), (500, true), (499, false), (429, false), (503, false)] {
        server.for_next(1, Handshake::status(code));
        let answer = upgrade_status(&pki, &server, PATH, &[auth()]);
        assert_eq!((answer.status, answer.header("X-Signal-Timestamp").is_some()), (code, has));
    }
    server.for_next(1, Handshake::proxy_status(403));
    let answer = upgrade_status(&pki, &server, PATH, &[auth()]);
    assert_eq!((answer.status, answer.header("X-Signal-Timestamp")), (403, None));

    server.set_mode(Mode::TimestampHeader(false));
    assert_eq!(upgrade_status(&pki, &server, PATH, &[auth()]).header("X-Signal-Timestamp"), None);
    assert_eq!(upgrade_status(&pki, &server, PATH, &["Authorization: x".into()]).header("X-Signal-Timestamp"), None);
}

#[test]
fn the_timestamp_is_the_servers_clock_in_ms() {
    let (pki, server) = server();
    server.set_mode(Mode::ClockOffset(-3_600_000));
    let before = server.with_state(|s| s.now_ms());
    let answer = upgrade_status(&pki, &server, PATH, &[auth()]);
    let header: u64 = answer.header("X-Signal-Timestamp").unwrap().parse().unwrap();
    assert!((before..before + 10_000).contains(&header));
    let real = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as u64;
    assert!(header < real - 3_000_000);
}

#[test]
fn bad_credentials_are_all_answered_alike() {
    let (pki, server) = server();
    let encode = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
    let good = encode(&format!("{ACI}.2:{PASSWORD}"));
    let bad = [
        basic(&format!("{ACI}.2"), "wrong"),
        basic(&format!("{ACI}.3"), PASSWORD),
        // Without a device the login means device 1.
        basic(ACI, PASSWORD),
        basic("99999999-2222-4333-8444-555555555555.2", PASSWORD),
        basic("+4912345.2", PASSWORD),
        basic(&format!("{ACI}.0"), PASSWORD),
        basic(&format!("{ACI}.-2"), PASSWORD),
        basic(&format!("{ACI}.128"), PASSWORD),
        basic(&format!("{ACI}.2.2"), PASSWORD),
        basic(&format!("{ACI}.x"), PASSWORD),
        format!("Basic {}", encode("no colon")),
        format!("Basic  {good}"),
        format!("Bearer {good}"),
        "Basic !!!".to_owned(),
        "Basic".to_owned(),
    ];
    for authorization in bad {
        let answer = block_on(status(&pki, &server, &authorization));
        assert_eq!(answer.status, 403, "{authorization}");
        assert!(answer.header("X-Signal-Timestamp").is_some());
        assert!(answer.header("content-type").unwrap().starts_with("text/html"));
    }
    assert_eq!(server.records().connects, 0);
    assert_eq!(block_on(status(&pki, &server, &format!("bASIC {good}"))).status, 101);
}

#[test]
fn a_login_without_device_is_the_primary() {
    let (pki, server) = server();
    server.add_device(ACI, 1, "phone");
    assert_eq!(block_on(status(&pki, &server, &basic(ACI, "phone"))).status, 101);
    assert_eq!(server.counters(ACI, 1).connects, 1);
}

#[test]
fn without_authorization_the_socket_is_anonymous_and_silent() {
    let (pki, server) = server();
    server.send(ACI, 2, Envelope::new());
    block_on(async {
        let mut client = Client::connect_with(&pki, &server, &[]).await;
        client.keepalive(5).await;
        assert_eq!(client.response().await.status, Some(200));
        client.nothing().await;
    });
    assert_eq!((server.records().connects, server.counters(ACI, 2).connects), (1, 0));
    assert!(!server.wait_connected(ACI, 2, Duration::ZERO));
}

#[test]
fn a_changed_password_and_an_unlinked_device_are_refused() {
    let (pki, server) = server();
    server.change_password(ACI, 2, "new");
    assert_eq!(upgrade_status(&pki, &server, PATH, &[auth()]).status, 403);
    assert_eq!(block_on(status(&pki, &server, &basic(&format!("{ACI}.2"), "new"))).status, 101);
    server.unlink(ACI, 2);
    assert_eq!(block_on(status(&pki, &server, &basic(&format!("{ACI}.2"), "new"))).status, 403);
}

#[test]
fn the_user_agent_rule_answers_499_without_timestamp() {
    let (pki, server) = server();
    let with_agent = |agent: &str| {
        let answer = upgrade_status(&pki, &server, PATH, &[auth(), format!("User-Agent: {agent}")]);
        (answer.status, answer.header("X-Signal-Timestamp").is_some())
    };
    server.set_mode(Mode::Handshake(Handshake::UserAgent(UaRule::minimum("Android", (8, 0, 0)))));
    assert_eq!(with_agent("Signal-Android/7.9.9 Android/36"), (499, false));
    assert_eq!(with_agent("Signal-Android/8.0.0 Android/36"), (101, true));
    assert_eq!(with_agent("MollySocket/2.0"), (101, true));

    server.set_mode(Mode::Handshake(Handshake::UserAgent(UaRule::require_spqr())));
    assert_eq!(with_agent("MollySocket/2.0"), (101, true));
    server.set_spqr(ACI, 2, false);
    assert_eq!(with_agent("MollySocket/2.0"), (499, false));
    assert_eq!(with_agent("Signal-Android/1.0.0"), (101, true));
    assert_eq!(server.records().upgrades.last().unwrap().user_agent(), Some("Signal-Android/1.0.0"));
}

#[test]
fn retry_after_is_sent_as_given() {
    let (pki, server) = server();
    server.for_next(1, Handshake::retry_after(429, "17"));
    server.for_next(1, Handshake::retry_after(503, "soon"));
    let answer = upgrade_status(&pki, &server, PATH, &[auth()]);
    assert_eq!((answer.status, answer.header("Retry-After")), (429, Some("17")));
    assert_eq!(upgrade_status(&pki, &server, PATH, &[auth()]).header("retry-after"), Some("soon"));
    assert_eq!(upgrade_status(&pki, &server, PATH, &[auth()]).status, 101);
}

#[test]
fn modes_can_be_for_one_device_only() {
    let (pki, server) = server();
    server.add_device(ACI, 3, "three");
    server.set_mode_for(ACI, 2, Mode::Handshake(Handshake::status(500)));
    server.for_next_of(ACI, 3, 1, Handshake::status(403));
    let three = basic(&format!("{ACI}.3"), "three");
    assert_eq!(upgrade_status(&pki, &server, PATH, &[auth()]).status, 500);
    assert_eq!(block_on(status(&pki, &server, &three)).status, 403);
    assert_eq!(block_on(status(&pki, &server, &three)).status, 101);
    server.set_mode_for(ACI, 2, Mode::Handshake(Handshake::Accept));
    assert_eq!(upgrade_status(&pki, &server, PATH, &[auth()]).status, 101);
}

#[test]
fn requests_are_recorded_with_what_the_client_offered() {
    let (pki, server) = server();
    server.set_mode(Mode::Alert(Some("idle-primary-device".into())));
    let lines = [
        auth(),
        "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits".into(),
        "Origin: https://example.org".into(),
        "X-Signal-Agent: \"OWA\"".into(),
    ];
    let answer = upgrade_status(&pki, &server, "/v1/websocket/?x=1", &lines);
    assert_eq!(answer.header("X-Signal-Alert"), Some("idle-primary-device"));
    assert_eq!(answer.header("Sec-WebSocket-Extensions"), None);
    assert_eq!(answer.header("Sec-WebSocket-Accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    let records = server.records();
    let request = &records.upgrades[0];
    assert!(request.offered_deflate() && request.sent_origin());
    assert_eq!((request.method.as_str(), request.target.as_str()), ("GET", "/v1/websocket/?x=1"));
    assert_eq!(request.header("x-signal-agent"), Some("\"OWA\""));
    assert_eq!(request.sni.as_deref(), Some("localhost"));

    upgrade_status(&pki, &server, PATH, &[auth()]);
    let records = server.records();
    assert!(!records.upgrades[1].offered_deflate() && !records.upgrades[1].sent_origin());
}

#[test]
fn a_request_that_is_no_upgrade_is_refused() {
    let (pki, server) = server();
    let answer = block_on(async {
        let mut tls = tls(&pki, server.addr().port()).await.unwrap();
        tls.write_all(b"GET /v1/websocket/ HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
        read_answer(&mut tls).await.unwrap()
    });
    assert_eq!(answer.status, 400);
}

#[test]
fn a_server_under_another_authority_is_refused_by_the_client() {
    for (own, other) in [(Pki::new(), Pki::new()), (Pki::ed25519(), Pki::ed25519()), (Pki::new(), Pki::ed25519())] {
        let server = SignalServer::start(&own);
        assert!(block_on(tls(&other, server.addr().port())).is_err());
        assert!(server.wait_until(LONG, |s| s.records().tls_failures == 1));
        assert!(block_on(tls(&own, server.addr().port())).is_ok());
    }
}

#[test]
fn an_expired_or_misnamed_certificate_is_refused_by_the_client() {
    let pki = Pki::new();
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    for config in [pki.expired_server_config(&[]), pki.server_config(&["chat.example.org"])] {
        let server = SignalServer::start_tls(config, any, Queues::default()).unwrap();
        assert!(block_on(tls(&pki, server.addr().port())).is_err());
    }
}

#[test]
fn tcp_can_be_refused_and_allowed_again_on_the_same_port() {
    let (pki, server) = server();
    server.set_mode(Mode::Handshake(Handshake::RefuseTcp));
    let error = block_on(TcpStream::connect(server.addr())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    server.set_mode(Mode::Handshake(Handshake::Accept));
    assert_eq!(upgrade_status(&pki, &server, PATH, &[auth()]).status, 101);
    server.for_next(1, Handshake::RefuseTcp);
    assert!(block_on(tls(&pki, server.addr().port())).is_err());
    assert_eq!(upgrade_status(&pki, &server, PATH, &[auth()]).status, 101);
}

/// Whether the future is still pending after a while.
async fn stalls<T>(future: impl Future<Output = T>) -> bool {
    let stalled = async {
        Timer::after(SHORT).await;
        true
    };
    async {
        future.await;
        false
    }
    .or(stalled)
    .await
}

#[test]
fn tls_and_the_upgrade_can_stall() {
    let (pki, server) = server();
    let start = Instant::now();
    block_on(async {
        server.for_next(1, Handshake::AcceptTcpOnly);
        assert!(stalls(tls(&pki, server.addr().port())).await);
        server.for_next(1, Handshake::TlsThenSilent);
        assert!(stalls(upgrade(&pki, &server, PATH, &[auth()])).await);
    });
    assert!(start.elapsed() < LONG);
    assert_eq!(server.records().upgrades[0].status, None);
    assert_eq!(upgrade_status(&pki, &server, PATH, &[auth()]).status, 101);
}

#[test]
fn dropping_the_server_ends_stalled_handshakes_too() {
    let (pki, server) = server();
    block_on(async {
        server.for_next(1, Handshake::AcceptTcpOnly);
        let mut tcp = TcpStream::connect(server.addr()).await.unwrap();
        assert!(server.wait_until(LONG, |s| s.records().tcp_accepts == 1));
        drop(server);
        assert!(matches!(tcp.read(&mut [0; 1]).await, Ok(0) | Err(_)));
    });
    drop(pki);
}

#[test]
fn a_handshake_can_be_late_wrong_or_endless() {
    let (pki, server) = server();
    let delay = Duration::from_millis(150);
    server.for_next(1, Handshake::Late(delay));
    server.for_next(1, Handshake::WrongAccept);
    server.for_next(1, Handshake::EndlessHead);
    let start = Instant::now();
    let good = upgrade_status(&pki, &server, PATH, &[auth()]);
    assert!(start.elapsed() >= delay);
    let wrong = upgrade_status(&pki, &server, PATH, &[auth()]);
    assert_eq!((good.status, wrong.status), (101, 101));
    assert_ne!(good.header("Sec-WebSocket-Accept"), wrong.header("Sec-WebSocket-Accept"));
    block_on(async {
        let mut tls = tls(&pki, server.addr().port()).await.unwrap();
        tls.write_all(b"GET /v1/websocket/ HTTP/1.1\r\n\r\n").await.unwrap();
        let mut much = vec![0; 256 * 1024];
        tls.read_exact(&mut much).await.unwrap();
        assert!(much.starts_with(b"HTTP/1.1 101 ") && much.ends_with(b"aaaa"));
    });
}
