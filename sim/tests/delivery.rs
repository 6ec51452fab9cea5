//! Queue, acknowledgements, `queue/empty`, the window and the stall rule.

mod support;

use sim::signal::{Envelope, Mode, kind};
use smol::block_on;
use support::*;

const OTHER: &str = "99999999-2222-4333-8444-555555555555";

#[test]
fn an_empty_queue_is_announced_at_once_and_once() {
    let (pki, server) = server();
    block_on(async {
        let mut client = Client::connect(&pki, &server).await;
        client.queue_empty().await;
        server.send(ACI, 2, Envelope::new());
        let (id, _) = client.message().await;
        client.ack(id).await;
        client.nothing().await;
    });
    assert_eq!(server.counters(ACI, 2).queue_empty, 1);
}

#[test]
fn a_backlog_comes_in_order_before_queue_empty() {
    let (pki, server) = server();
    let guids = server.send_burst(ACI, 2, 3, Envelope::new());
    block_on(async {
        let mut client = Client::connect(&pki, &server).await;
        let mut ids = Vec::new();
        for guid in &guids {
            let (id, request) = client.message().await;
            assert_eq!(envelope(&request).server_guid.as_deref(), Some(guid.as_bytes().as_slice()));
            ids.push(id);
        }
        client.ack(ids[2]).await;
        client.ack(ids[0]).await;
        client.nothing().await;
        client.ack(ids[1]).await;
        client.queue_empty().await;
    });
    assert_eq!(server.queue_len(ACI, 2), 0);
    assert_eq!(server.counters(ACI, 2).acked, 3);
}

#[test]
fn at_most_256_messages_wait_for_a_response_counted_from_the_oldest() {
    let (pki, server) = server();
    server.send_burst(ACI, 2, 1000, Envelope::new());
    block_on(async {
        let mut client = Client::connect(&pki, &server).await;
        let mut ids = Vec::new();
        for _ in 0..256 {
            ids.push(client.message().await.0);
        }
        client.nothing().await;
        // The oldest one still waits, so the window does not move.
        for id in &ids[1..] {
            client.ack(*id).await;
        }
        client.nothing().await;
        client.ack(ids[0]).await;
        for _ in 256..1000 {
            let (id, _) = client.message().await;
            client.ack(id).await;
        }
        client.queue_empty().await;
    });
    assert!(server.wait_acks(ACI, 2, 1000, LONG));
    assert_eq!(server.counters(ACI, 2).duplicates, 0);
}

#[test]
fn one_non_2xx_answer_stalls_the_connection_but_not_queue_empty() {
    let (pki, server) = server();
    server.send_burst(ACI, 2, 2, Envelope::new());
    block_on(async {
        let mut client = Client::connect(&pki, &server).await;
        let (first, _) = client.message().await;
        let (second, request) = client.message().await;
        client.ack(first).await;
        client.respond(second, 500).await;
        client.queue_empty().await;
        server.send(ACI, 2, Envelope::new());
        client.nothing().await;
        // A late second answer to the same request changes nothing.
        client.ack(second).await;
        client.nothing().await;
        client.keepalive(1).await;
        assert_eq!(client.response().await.status, Some(200));
        assert_eq!((server.queue_len(ACI, 2), server.unacked(ACI, 2)), (2, 1));
        drop(client);
        assert!(server.wait_disconnected(ACI, 2, LONG));

        let mut client = Client::connect(&pki, &server).await;
        let (_, again) = client.message().await;
        assert_eq!(again.body, request.body);
        client.message().await;
    });
    let counters = server.counters(ACI, 2);
    assert_eq!((counters.non_2xx, counters.duplicates), (1, 1));
    assert_eq!(server.records().stray_responses, 1);
}

#[test]
fn a_forgotten_ack_holds_back_new_messages_for_ever() {
    let (pki, server) = server();
    block_on(async {
        let mut client = Client::connect(&pki, &server).await;
        client.queue_empty().await;
        server.send(ACI, 2, Envelope::new());
        let (late, _) = client.message().await;
        server.send_burst(ACI, 2, 2, Envelope::new());
        client.nothing().await;
        client.respond(late, 204).await;
        client.message().await;
        client.message().await;
        drop(client);
        assert!(server.wait_disconnected(ACI, 2, LONG));
    });
    assert_eq!(server.counters(ACI, 2).unanswered, 2);
    assert_eq!(server.queue_len(ACI, 2), 2);
}

#[test]
fn unacked_messages_come_again_with_the_same_guid_and_timestamp() {
    let (pki, server) = server();
    server.send(ACI, 2, Envelope::new().server_timestamp(1_700_000_000_123));
    block_on(async {
        let mut client = Client::connect(&pki, &server).await;
        let (first_id, first) = client.message().await;
        drop(client);
        assert!(server.wait_disconnected(ACI, 2, LONG));
        server.set_mode(Mode::ClockOffset(5000));
        let mut client = Client::connect(&pki, &server).await;
        let (second_id, second) = client.message().await;
        assert_eq!(first.body, second.body);
        assert_eq!(envelope(&second).server_timestamp, Some(1_700_000_000_123));
        assert_ne!(first_id, second_id);
        assert_ne!(first.headers, second.headers);
    });
}

#[test]
fn a_lost_ack_leads_to_a_duplicate() {
    let (pki, server) = server();
    let guid = server.send(ACI, 2, Envelope::new());
    server.set_mode_for(ACI, 2, Mode::LoseAcks(1));
    block_on(async {
        let mut client = Client::connect(&pki, &server).await;
        let (id, _) = client.message().await;
        client.ack(id).await;
        assert_eq!(client.got().await, Got::Eof);
        let mut client = Client::connect(&pki, &server).await;
        let (id, _) = client.message().await;
        client.ack(id).await;
        client.queue_empty().await;
    });
    assert!(server.wait_acked(ACI, 2, guid, LONG));
    assert_eq!((server.records().lost_acks, server.counters(ACI, 2).duplicates), (1, 1));
}

#[test]
fn old_ephemeral_messages_are_skipped_and_the_flag_is_never_sent() {
    let (pki, server) = server();
    let now = server.with_state(|s| s.now_ms());
    server.send(ACI, 2, Envelope::new().ephemeral().client_timestamp(now - 11_000));
    server.send(ACI, 2, Envelope::new().ephemeral().urgent(false));
    block_on(async {
        let mut client = Client::connect(&pki, &server).await;
        let (id, request) = client.message().await;
        let envelope = envelope(&request);
        assert_eq!((envelope.ephemeral, envelope.urgent), (None, Some(false)));
        client.ack(id).await;
        client.queue_empty().await;
    });
    assert_eq!(server.queue_len(ACI, 2), 0);
}

#[test]
fn stories_are_deleted_unless_the_header_is_exactly_true() {
    for (line, wanted) in [("X-Other: 1", false), ("X-Signal-Receive-Stories: True", false)]
        .into_iter()
        .chain([("X-Signal-Receive-Stories: true", true)])
    {
        let (pki, server) = server();
        server.send(ACI, 2, Envelope::new().story().urgent(false));
        block_on(async {
            let mut client = Client::connect_with(&pki, &server, &[auth(), line.to_owned()]).await;
            if wanted {
                let (id, request) = client.message().await;
                assert_eq!(envelope(&request).story, Some(true));
                client.ack(id).await;
            }
            client.queue_empty().await;
        });
        assert_eq!(server.queue_len(ACI, 2), 0, "{line}");
        assert_eq!(server.counters(ACI, 2).delivered, u64::from(wanted), "{line}");
    }
}

#[test]
fn receipts_go_to_senders_who_are_known_and_not_oneself() {
    let (pki, server) = server();
    let identified = server.send(ACI, 2, Envelope::new().kind(kind::CIPHERTEXT).source(OTHER, 1));
    server.send(ACI, 2, Envelope::new().kind(kind::SERVER_DELIVERY_RECEIPT).source(OTHER, 1));
    server.send(ACI, 2, Envelope::new().kind(kind::CIPHERTEXT).source(ACI, 1));
    server.send(ACI, 2, Envelope::new());
    block_on(async {
        let mut client = Client::connect(&pki, &server).await;
        for _ in 0..4 {
            let (id, _) = client.message().await;
            client.ack(id).await;
        }
        client.queue_empty().await;
    });
    let receipts = server.records().receipts;
    assert_eq!(receipts.iter().map(|r| (r.guid, r.to.to_string())).collect::<Vec<_>>(), [(identified, OTHER.into())]);
}

#[test]
fn the_ack_record_tells_status_message_and_times() {
    let (pki, server) = server();
    let guid = server.send(ACI, 2, Envelope::new());
    block_on(async {
        let mut client = Client::connect(&pki, &server).await;
        let (id, _) = client.message().await;
        client.ack(id).await;
        client.queue_empty().await;
        let acks = server.records().acked(ACI, 2);
        assert_eq!((acks[0].guid, acks[0].request_id, acks[0].status), (guid, id, 200));
        assert_eq!(acks[0].message, "OK");
        assert!(acks[0].at >= acks[0].delivered_at);
    });
}

#[test]
fn odd_bodies_reach_the_client_as_they_are() {
    let (pki, server) = server();
    server.send(ACI, 2, Envelope::new().raw_body(*b"\xff\xff\xff"));
    server.send(ACI, 2, Envelope::new().missing_body());
    server.send(ACI, 2, Envelope::new().kind(42));
    block_on(async {
        let mut client = Client::connect(&pki, &server).await;
        assert_eq!(client.message().await.1.body.as_deref(), Some(b"\xff\xff\xff".as_slice()));
        assert_eq!(client.message().await.1.body, None);
        assert_eq!(envelope(&client.message().await.1).r#type, Some(42));
    });
}

#[test]
fn devices_have_separate_queues() {
    let (pki, server) = server();
    server.add_device(ACI, 3, "three");
    server.send(ACI, 3, Envelope::new());
    block_on(async {
        let mut client = Client::connect(&pki, &server).await;
        client.queue_empty().await;
        client.nothing().await;
    });
    assert_eq!((server.queue_len(ACI, 2), server.queue_len(ACI, 3)), (0, 1));
}

#[test]
fn a_restart_on_the_same_port_keeps_accounts_and_queues() {
    let (pki, server) = server();
    let guid = server.send(ACI, 2, Envelope::new());
    let addr = server.addr();
    block_on(async {
        let mut old = Client::connect(&pki, &server).await;
        old.message().await;
        let queues = server.stop();
        assert_eq!(old.got().await, Got::Eof);
        let server = sim::signal::SignalServer::start_with(&pki, addr, queues).unwrap();
        let mut client = Client::connect(&pki, &server).await;
        let (id, request) = client.message().await;
        assert_eq!(envelope(&request).server_guid.as_deref(), Some(guid.as_bytes().as_slice()));
        client.ack(id).await;
        client.queue_empty().await;
        assert_eq!(server.counters(ACI, 2).duplicates, 1);
    });
}
