//! Keepalive, idle timeout, displacement, unlinking and the ways a connection ends.

mod support;

use std::time::{Duration, Instant};

use async_tungstenite::tungstenite::Message;
use async_tungstenite::tungstenite::protocol::CloseFrame;
use futures_lite::{AsyncReadExt, AsyncWriteExt, FutureExt, StreamExt};
use sim::signal::{Envelope, Keepalive, Mode};
use smol::{Timer, block_on};
use support::*;

const NO_MESSAGES: &str = "X-Signal-Disable-Messages: true";

#[test]
fn an_idle_socket_is_closed_with_1001() {
    let (pki, server) = server();
    server.set_mode(Mode::IdleTimeout(Duration::from_millis(150)));
    block_on(async {
        let mut client = Client::connect(&pki, &server).await;
        client.queue_empty().await;
        let start = Instant::now();
        client.closed(1001, "Connection Idle Timeout").await;
        assert!(start.elapsed() >= Duration::from_millis(140));
    });
}

#[test]
fn any_frame_puts_the_idle_timeout_off() {
    let (pki, server) = server();
    server.set_mode(Mode::IdleTimeout(Duration::from_millis(600)));
    block_on(async {
        let mut client = Client::connect(&pki, &server).await;
        client.queue_empty().await;
        for _ in 0..6 {
            Timer::after(Duration::from_millis(150)).await;
            client.ws.send(Message::Ping(Vec::new().into())).await.unwrap();
            assert_eq!(client.got().await, Got::Pong);
        }
    });
}

#[test]
fn keepalive_is_answered_with_the_timestamp() {
    let (pki, server) = server();
    block_on(async {
        let mut client = Client::connect(&pki, &server).await;
        client.queue_empty().await;
        client.keepalive(1).await;
        let response = client.response().await;
        assert_eq!((response.id, response.status, response.message.as_deref()), (Some(1), Some(200), Some("OK")));
        assert!(response.headers[0].starts_with("X-Signal-Timestamp:1"));
        assert_eq!((response.headers[1].as_str(), response.body), ("Content-Length:0", None));
    });
    assert_eq!(server.records().keepalives[0].device.map(|d| d.device), Some(2));
}

#[test]
fn keepalives_can_vanish_be_late_or_end_the_connection() {
    let (pki, server) = server();
    block_on(async {
        let mut client = Client::connect(&pki, &server).await;
        client.queue_empty().await;
        server.set_mode(Mode::Keepalive(Keepalive::BlackHole));
        client.keepalive(1).await;
        client.nothing().await;
        let delay = Duration::from_millis(150);
        server.set_mode(Mode::Keepalive(Keepalive::Delay(delay)));
        let start = Instant::now();
        client.keepalive(2).await;
        assert_eq!(client.response().await.id, Some(2));
        assert!(start.elapsed() >= delay);
        server.set_mode_for(ACI, 2, Mode::Keepalive(Keepalive::NotLocallyPresent));
        client.keepalive(3).await;
        client.closed(1000, "OK").await;
    });
    assert_eq!(server.records().keepalives.len(), 3);
}

#[test]
fn the_newest_message_socket_displaces_the_older_one_at_once() {
    let (pki, server) = server();
    server.add_device(ACI, 3, "three");
    server.send(ACI, 2, Envelope::new());
    block_on(async {
        let three = format!("Authorization: {}", basic(&format!("{ACI}.3"), "three"));
        let mut third = Client::connect_with(&pki, &server, &[three]).await;
        third.queue_empty().await;
        let mut old = Client::connect(&pki, &server).await;
        old.message().await;
        let mut new = Client::connect(&pki, &server).await;
        old.closed(4409, "Connected elsewhere").await;
        let (id, _) = new.message().await;
        new.ack(id).await;
        new.queue_empty().await;
        third.nothing().await;
        let counters = server.counters(ACI, 2);
        assert_eq!((counters.displaced, counters.open, counters.max_open, counters.unanswered), (1, 1, 2, 1));
    });
    assert_eq!(server.counters(ACI, 3).displaced, 0);
}

#[test]
fn reconnecting_in_order_never_counts_two_sockets() {
    let (pki, server) = server();
    block_on(async {
        for _ in 0..5 {
            let mut client = Client::connect(&pki, &server).await;
            client.queue_empty().await;
            client.ws.close(None).await.unwrap();
            while client.got().await != Got::Eof {}
        }
    });
    assert!(server.wait_disconnected(ACI, 2, LONG));
    let counters = server.counters(ACI, 2);
    assert_eq!((counters.connects, counters.max_open, counters.open, counters.displaced), (5, 1, 0, 0));
}

#[test]
fn a_race_can_displace_both() {
    let (pki, server) = server();
    server.set_mode(Mode::DisplaceBoth(1));
    block_on(async {
        let mut old = Client::connect(&pki, &server).await;
        old.queue_empty().await;
        let mut new = Client::connect(&pki, &server).await;
        old.closed(4409, "Connected elsewhere").await;
        new.closed(4409, "Connected elsewhere").await;
        let mut next = Client::connect(&pki, &server).await;
        next.queue_empty().await;
        next.nothing().await;
        assert_eq!(server.counters(ACI, 2).open, 1);
    });
}

#[test]
fn a_socket_without_messages_neither_displaces_nor_is_displaced() {
    let (pki, server) = server();
    server.send(ACI, 2, Envelope::new());
    block_on(async {
        let lines = [auth(), NO_MESSAGES.to_owned()];
        let mut probe = Client::connect_with(&pki, &server, &lines).await;
        let mut client = Client::connect(&pki, &server).await;
        let (id, _) = client.message().await;
        client.ack(id).await;
        client.queue_empty().await;
        let mut second = Client::connect_with(&pki, &server, &lines).await;
        // The device has a listener, so the keepalive of a socket without messages is answered.
        second.keepalive(1).await;
        assert_eq!(second.response().await.status, Some(200));
        client.nothing().await;
        probe.nothing().await;
        drop(client);
        assert!(server.wait_disconnected(ACI, 2, LONG));
        probe.keepalive(1).await;
        probe.closed(1000, "OK").await;
        let mut other = Client::connect_with(&pki, &server, &[auth(), "X-Signal-Disable-Messages: TRUE".into()]).await;
        other.queue_empty().await;
    });
    let counters = server.counters(ACI, 2);
    assert_eq!((counters.connects, counters.max_open, counters.displaced), (4, 1, 0));
}

#[test]
fn unlinking_closes_all_sockets_with_4401_and_empties_the_queue() {
    let (pki, server) = server();
    server.send(ACI, 2, Envelope::new());
    block_on(async {
        let mut client = Client::connect(&pki, &server).await;
        client.message().await;
        let mut probe = Client::connect_with(&pki, &server, &[auth(), NO_MESSAGES.to_owned()]).await;
        server.unlink(ACI, 2);
        client.closed(4401, "Reauthentication required").await;
        probe.closed(4401, "Reauthentication required").await;
        let authorization = basic(&format!("{ACI}.2"), PASSWORD);
        assert_eq!(status(&pki, &server, &authorization).await.status, 403);
        server.add_device(ACI, 2, PASSWORD);
        Client::connect(&pki, &server).await.queue_empty().await;
    });
}

#[test]
fn a_device_can_be_asked_to_authenticate_again() {
    let (pki, server) = server();
    block_on(async {
        let mut client = Client::connect(&pki, &server).await;
        client.queue_empty().await;
        server.disconnect(ACI, 2);
        client.closed(4401, "Reauthentication required").await;
        Client::connect(&pki, &server).await.queue_empty().await;
    });
}

#[test]
fn any_close_code_is_followed_by_the_end_without_waiting_for_the_reply() {
    let (pki, server) = server();
    block_on(async {
        for (code, reason) in [(1011, "Failed to retrieve messages"), (1000, "OK"), (4409, "Connected elsewhere")] {
            let (_, mut tls) = upgrade(&pki, &server, "/v1/websocket/", &[auth()]).await.unwrap();
            assert!(server.wait_connected(ACI, 2, LONG));
            assert!(server.close(ACI, 2, code, reason));
            // The raw client never answers the Close.
            let mut all = Vec::new();
            tls.read_to_end(&mut all).await.unwrap();
            let mut frame = vec![0x88, reason.len() as u8 + 2];
            frame.extend_from_slice(&code.to_be_bytes());
            frame.extend_from_slice(reason.as_bytes());
            assert!(all.ends_with(&frame), "{all:?}");
            assert!(server.wait_disconnected(ACI, 2, LONG));
        }
    });
    assert_eq!(server.records().server_closes.len(), 3);
}

#[test]
fn a_connection_can_end_without_a_close_frame() {
    let (pki, server) = server();
    block_on(async {
        for reset in [false, true] {
            let mut client = Client::connect(&pki, &server).await;
            client.queue_empty().await;
            assert!(if reset { server.reset(ACI, 2) } else { server.cut(ACI, 2) });
            let error = client.ws.next().await.unwrap().unwrap_err();
            assert_eq!(error.to_string().contains("reset by peer"), reset, "{error}");
        }
    });
    assert!(server.wait_disconnected(ACI, 2, LONG));
    assert!(!server.cut(ACI, 2));
    assert!(server.records().server_closes.is_empty());
}

#[test]
fn a_deploy_cuts_everybody() {
    let (pki, server) = server();
    block_on(async {
        let mut client = Client::connect(&pki, &server).await;
        client.queue_empty().await;
        let mut anonymous = Client::connect_with(&pki, &server, &[]).await;
        server.cut_all();
        assert_eq!(client.got().await, Got::Eof);
        assert_eq!(anonymous.got().await, Got::Eof);
    });
    assert!(server.wait_until(LONG, |s| s.open_sockets() == 0));
}

#[test]
fn the_clients_close_is_recorded_and_echoed() {
    let (pki, server) = server();
    block_on(async {
        let mut client = Client::connect(&pki, &server).await;
        client.queue_empty().await;
        let frame = CloseFrame { code: 1000.into(), reason: "bye".into() };
        client.ws.close(Some(frame)).await.unwrap();
        assert_eq!(client.got().await, Got::Close(1000, "bye".into()));
    });
    let closes = server.records().client_closes;
    assert_eq!((closes[0].code, closes[0].reason.as_str()), (Some(1000), "bye"));
}

#[test]
fn a_server_that_never_reads_blocks_the_writer() {
    let (pki, server) = server();
    block_on(async {
        let (_, mut tls) = upgrade(&pki, &server, "/v1/websocket/", &[auth()]).await.unwrap();
        server.set_mode_for(ACI, 2, Mode::NeverRead(true));
        let frame = vec![0; 16 * 1024];
        let endless = async {
            loop {
                tls.write_all(&frame).await.unwrap();
            }
        };
        // The writer makes progress at first; it is blocked when nothing moves for a while.
        let blocked = async {
            Timer::after(Duration::from_millis(500)).await;
        };
        endless.or(blocked).await;
        // The server can still end it.
        assert!(server.reset(ACI, 2));
        assert!(server.wait_disconnected(ACI, 2, LONG));
    });
}

#[test]
fn a_silent_path_delivers_nothing_until_it_heals() {
    let (pki, server) = server();
    block_on(async {
        let mut client = Client::connect(&pki, &server).await;
        client.queue_empty().await;
        server.set_mode_for(ACI, 2, Mode::Silent(true));
        server.send(ACI, 2, Envelope::new());
        client.keepalive(1).await;
        client.nothing().await;
        server.set_mode_for(ACI, 2, Mode::Silent(false));
        client.message().await;
        assert_eq!(client.response().await.id, Some(1));
    });
}

#[test]
fn a_blocked_write_can_be_cut() {
    let (pki, server) = server();
    server.send_burst(ACI, 2, 256, Envelope::new().content_size(96 * 1024));
    block_on(async {
        // This client never reads, so the server blocks in the middle of the backlog.
        let client = upgrade(&pki, &server, "/v1/websocket/", &[auth()]).await.unwrap();
        assert!(server.wait_connected(ACI, 2, LONG));
        assert!(server.cut(ACI, 2));
        assert!(server.wait_disconnected(ACI, 2, LONG));
        drop(client);
    });
    assert_eq!(server.queue_len(ACI, 2), 256);
}
