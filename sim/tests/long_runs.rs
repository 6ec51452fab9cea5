//! What a soak test needs: records taken out without a gap, and faults taken back.

mod support;

use std::time::Duration;

use futures_lite::{AsyncReadExt, AsyncWriteExt};
use sim::push::{Answer, Behaviour, PushServer, Step};
use sim::signal::{Envelope, Keepalive, Mode, SignalServer};
use smol::block_on;
use smol::net::TcpStream;
use support::{ACI, Client, LONG, server};

/// Sends a request. The first line of the answer, once its head is complete or the server has gone.
fn post(server: &PushServer, token: &str) -> String {
    block_on(async {
        let mut tcp = TcpStream::connect(server.addr()).await.unwrap();
        let head = "Host: localhost\r\nConnection: close\r\nContent-Length: 2";
        tcp.write_all(format!("POST /push/{token}?x HTTP/1.1\r\n{head}\r\n\r\nhi").as_bytes()).await.unwrap();
        let (mut answer, mut buffer) = (Vec::new(), [0; 512]);
        while !answer.ends_with(b"\r\n\r\n") {
            match tcp.read(&mut buffer).await {
                Ok(n) if n > 0 => answer.extend_from_slice(&buffer[..n]),
                _ => break,
            }
        }
        String::from_utf8_lossy(&answer).lines().next().unwrap_or_default().to_owned()
    })
}

#[test]
fn records_are_taken_out_once_and_a_stopped_server_hands_out_the_rest() {
    let (pki, server) = server();
    server.send_burst(ACI, 2, 2, Envelope::new());
    block_on(async {
        let mut client = Client::connect(&pki, &server).await;
        let ((first, _), (second, _)) = (client.message().await, client.message().await);
        client.ack(first).await;
        assert!(server.wait_acks(ACI, 2, 1, LONG));
        let records = server.take_records();
        assert_eq!((records.acks.len(), records.device(ACI, 2).acked), (1, 1));
        let left = server.records();
        assert_eq!((left.acks.len(), left.device(ACI, 2).open, left.device(ACI, 2).max_open), (0, 1, 1));
        client.ack(second).await;
        assert!(server.wait_acks(ACI, 2, 1, LONG));
    });
    let addr = server.addr();
    let (queues, records) = server.stop_with_records();
    assert_eq!(records.acks.len(), 1);
    let server = SignalServer::start_with(&pki, addr, queues).unwrap();
    assert_eq!((server.queue_len(ACI, 2), server.records().acks.len()), (0, 0));
}

#[test]
fn modes_of_a_device_can_be_taken_back() {
    let (pki, server) = server();
    server.set_mode_for(ACI, 2, Mode::Keepalive(Keepalive::BlackHole));
    server.set_mode_for(ACI, 2, Mode::LoseAcks(1));
    server.clear_modes_for(ACI, 2);
    let guid = server.send(ACI, 2, Envelope::new());
    block_on(async {
        let mut client = Client::connect(&pki, &server).await;
        let (id, _) = client.message().await;
        client.ack(id).await;
        client.queue_empty().await;
    });
    assert!(server.wait_acked(ACI, 2, guid, LONG));
    assert_eq!(server.records().lost_acks, 0);
}

#[test]
fn the_life_of_a_push_is_told_step_by_step() {
    let server = PushServer::start_plain();
    server.set_default_for("/push/up2", Answer::status(503));
    server.set_default_for("/push/up3", Answer::behave(Behaviour::CutMidHead));
    server.set_default_for("/push/up4", Answer::behave(Behaviour::DripHead(30, Duration::from_millis(1))));
    for token in ["up1", "up2", "up3", "up4"] {
        post(&server, token);
    }
    assert!(server.wait_until(LONG, |s| s.in_flight() == 0));
    let steps: Vec<_> = server.take_progress().into_iter().map(|p| (p.request, p.step)).collect();
    let received = |n: u64| (n, Step::Received { path: format!("/push/up{}", n + 1), body: b"hi".into() });
    let expected = [
        received(0),
        (0, Step::Answered(201)),
        (0, Step::Ended),
        received(1),
        (1, Step::Answered(503)),
        (1, Step::Ended),
        received(2),
        (2, Step::Ended),
        received(3),
        (3, Step::Answered(201)),
        (3, Step::Ended),
    ];
    assert_eq!(steps, expected);
    assert!(server.take_progress().is_empty() && server.requests().is_empty());
    server.unset_default_for("/push/up2");
    assert_eq!(post(&server, "up2"), "HTTP/1.1 201 Created");
}
