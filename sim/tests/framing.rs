//! Binary messages, validation and close codes for bad ones, fragments.

mod support;

use async_tungstenite::tungstenite::Message;
use futures_lite::{AsyncReadExt, AsyncWriteExt, StreamExt};
use prost::Message as _;
use sim::signal::{Envelope, Mode, kind};
use sim::wire::{Request, Response, WebSocketMessage};
use smol::block_on;
use support::*;

fn timestamp(request: &Request) -> u64 {
    assert_eq!(request.headers.len(), 1);
    request.headers[0].strip_prefix("X-Signal-Timestamp:").unwrap().parse().unwrap()
}

#[test]
fn requests_have_random_ids_a_bare_timestamp_header_and_binary_service_ids() {
    let (pki, server) = server();
    let now = server.with_state(|s| s.now_ms());
    let guid = server.send(ACI, 2, Envelope::new().kind(kind::CIPHERTEXT).source(ACI, 1));
    server.send(ACI, 2, Envelope::new().no_urgent_tag());
    server.send(ACI, 2, Envelope::new().urgent(false));
    block_on(async {
        let mut client = Client::connect(&pki, &server).await;
        let (first, request) = client.message().await;
        assert_eq!(request.verb.as_deref(), Some("PUT"));
        assert!((now..now + 60_000).contains(&timestamp(&request)));
        let aci = uuid::Uuid::parse_str(ACI).unwrap().as_bytes().to_vec();
        let envelope = envelope(&request);
        assert_eq!((envelope.r#type, envelope.urgent), (Some(kind::CIPHERTEXT), Some(true)));
        assert_eq!((envelope.source_service_id, envelope.source_device), (Some(aci.clone()), Some(1)));
        assert_eq!(envelope.destination_service_id, Some(aci));
        assert_eq!(envelope.server_guid.as_deref(), Some(guid.as_bytes().as_slice()));
        let (second, request) = client.message().await;
        assert_eq!(support::envelope(&request).urgent, None);
        assert_eq!(support::envelope(&request).source_service_id, None);
        let (third, request) = client.message().await;
        assert_eq!(support::envelope(&request).urgent, Some(false));
        assert!(first.abs_diff(second) > 1 && second.abs_diff(third) > 1);
        assert!([first, second, third].iter().all(|id| *id <= i64::MAX as u64));
        for id in [first, second, third] {
            client.ack(id).await;
        }
        let Got::QueueEmpty(request) = client.got().await else { panic!("no queue/empty") };
        assert!(timestamp(&request) >= now);
        assert_eq!(request.body, None);
    });
}

#[test]
fn bad_messages_are_closed_with_1007() {
    let response = |id, status, message: Option<&str>| {
        let message = message.map(str::to_owned);
        WebSocketMessage::response(Response { id, status, message, ..Default::default() })
    };
    let request = |verb: Option<&str>, path: Option<&str>| {
        let (verb, path) = (verb.map(str::to_owned), path.map(str::to_owned));
        WebSocketMessage::request(Request { verb, path, id: Some(1), ..Default::default() })
    };
    let typed = |kind| WebSocketMessage { r#type: kind, ..request(Some("GET"), Some("/v1/keepalive")) };
    let bad = [
        b"\xff\xff\xff".to_vec(),
        Vec::new(),
        response(None, Some(200), Some("OK")).encode_to_vec(),
        response(Some(1), None, Some("OK")).encode_to_vec(),
        response(Some(1), Some(200), None).encode_to_vec(),
        request(None, Some("/v1/keepalive")).encode_to_vec(),
        request(Some("GET"), None).encode_to_vec(),
        typed(None).encode_to_vec(),
        typed(Some(0)).encode_to_vec(),
        typed(Some(2)).encode_to_vec(),
        typed(Some(9)).encode_to_vec(),
    ];
    let (pki, server) = server();
    for bytes in bad {
        block_on(async {
            let mut client = Client::connect(&pki, &server).await;
            client.queue_empty().await;
            client.send_raw(bytes).await;
            client.closed(1007, "Badly formatted").await;
        });
    }
}

#[test]
fn an_ack_needs_its_message_but_it_may_be_empty() {
    let (pki, server) = server();
    server.send(ACI, 2, Envelope::new());
    block_on(async {
        let mut client = Client::connect(&pki, &server).await;
        let (id, _) = client.message().await;
        let message = Some(String::new());
        let response = Response { id: Some(id), status: Some(200), message, ..Default::default() };
        client.send(WebSocketMessage::response(response)).await;
        client.queue_empty().await;
    });
    assert_eq!(server.counters(ACI, 2).acked, 1);
}

#[test]
fn unknown_response_ids_and_text_are_ignored() {
    let (pki, server) = server();
    block_on(async {
        let mut client = Client::connect(&pki, &server).await;
        client.queue_empty().await;
        client.ack(4711).await;
        client.ws.send(Message::text("hello")).await.unwrap();
        client.keepalive(2).await;
        assert_eq!(client.response().await.id, Some(2));
    });
    let records = server.records();
    assert_eq!((records.stray_responses, records.texts), (1, 1));
}

#[test]
fn more_than_512_kib_is_closed_with_1009() {
    let (pki, server) = server();
    let keepalive = |body: usize| {
        let (verb, path) = (Some("GET".to_owned()), Some("/v1/keepalive".to_owned()));
        let body = Some(vec![0; body]);
        WebSocketMessage::request(Request { verb, path, body, id: Some(1), headers: Vec::new() }).encode_to_vec()
    };
    let overhead = keepalive(500_000).len() - 500_000;
    block_on(async {
        let mut client = Client::connect(&pki, &server).await;
        client.queue_empty().await;
        client.send_raw(keepalive(512 * 1024 - overhead)).await;
        assert_eq!(client.response().await.status, Some(200));
        client.send_raw(keepalive(512 * 1024 - overhead + 1)).await;
        client.closed(1009, "Binary message too large: 524,289 > 524,288").await;
    });
}

#[test]
fn an_unmasked_frame_is_closed_with_1002() {
    let (pki, server) = server();
    block_on(async {
        let (_, mut tls) = upgrade(&pki, &server, "/v1/websocket/", &[]).await.unwrap();
        tls.write_all(&[0x82, 1, 0]).await.unwrap();
        let mut frame = [0; 4];
        tls.read_exact(&mut frame).await.unwrap();
        assert_eq!((frame[0], &frame[2..]), (0x88, 1002u16.to_be_bytes().as_slice()));
    });
}

/// The sizes of the frames of one message, read from the raw stream.
async fn frame_sizes(tls: &mut Tls) -> Vec<usize> {
    let mut sizes = Vec::new();
    loop {
        let mut head = [0; 2];
        tls.read_exact(&mut head).await.unwrap();
        let mut length = usize::from(head[1]);
        let extra = [0, 2, 8][(length > 125) as usize + (length > 126) as usize];
        if extra > 0 {
            let mut bytes = [0; 8];
            tls.read_exact(&mut bytes[8 - extra..]).await.unwrap();
            length = u64::from_be_bytes(bytes) as usize;
        }
        assert_eq!(head[0] & 0x0f, if sizes.is_empty() { 2 } else { 0 });
        tls.read_exact(&mut vec![0; length]).await.unwrap();
        sizes.push(length);
        if head[0] & 0x80 != 0 {
            return sizes;
        }
    }
}

#[test]
fn messages_above_64_kib_come_in_fragments() {
    let (pki, server) = server();
    server.send(ACI, 2, Envelope::new().content_size(96 * 1024));
    server.send(ACI, 2, Envelope::new().content_size(1000));
    block_on(async {
        let (_, mut tls) = upgrade(&pki, &server, "/v1/websocket/", &[auth()]).await.unwrap();
        let sizes = frame_sizes(&mut tls).await;
        assert_eq!((sizes.len(), sizes[0]), (2, 64 * 1024));
        assert_eq!(frame_sizes(&mut tls).await.len(), 1);
        server.set_mode(Mode::FragmentSize(100));
        server.send_fragmented(ACI, 2, vec![7; 10], 10);
        assert_eq!(frame_sizes(&mut tls).await, [1; 10]);
        server.send_binary(ACI, 2, vec![7; 250]);
        assert_eq!(frame_sizes(&mut tls).await, [100, 100, 50]);
    });
}

#[test]
fn a_fragmented_message_is_reassembled_to_the_same_bytes() {
    let (pki, server) = server();
    server.send(ACI, 2, Envelope::new().content_size(96 * 1024));
    block_on(async {
        let mut client = Client::connect(&pki, &server).await;
        let (id, request) = client.message().await;
        assert_eq!(envelope(&request).content.unwrap().len(), 96 * 1024);
        client.ack(id).await;
        client.queue_empty().await;
    });
}

#[test]
fn unknown_paths_get_404_and_requests_without_id_get_nothing() {
    let (pki, server) = server();
    block_on(async {
        let mut client = Client::connect(&pki, &server).await;
        client.queue_empty().await;
        client.request("GET", "/v1/unknown", None).await;
        client.request("GET", "/v1/keepalive", None).await;
        client.request("PUT", "/v1/keepalive", Some(8)).await;
        client.request("GET", "/v1/unknown", Some(9)).await;
        for id in [8, 9] {
            let response = client.response().await;
            assert_eq!((response.id, response.status), (Some(id), Some(404)));
        }
        client.request("GET", "not a uri", Some(10)).await;
        assert!(matches!(client.got().await, Got::Close(1011, _)));
    });
}

#[test]
fn any_request_text_and_ping_can_be_injected() {
    let (pki, server) = server();
    assert_eq!(server.send_request(ACI, 2, "PUT", "/v9/new", None), None);
    block_on(async {
        let mut client = Client::connect(&pki, &server).await;
        client.queue_empty().await;
        let id = server.send_request(ACI, 2, "PUT", "/v9/new", Some(b"x".to_vec())).unwrap();
        let Got::Request(request) = client.got().await else { panic!("no request") };
        assert_eq!((request.id, request.path.as_deref()), (Some(id), Some("/v9/new")));
        client.respond(id, 404).await;
        assert!(server.wait_until(LONG, |s| s.records().raw_responses == [(id, 404)]));
        assert!(server.send_text(ACI, 2, "text"));
        assert_eq!(client.got().await, Got::Text("text".into()));
        assert!(server.send_ping(ACI, 2));
        assert_eq!(client.got().await, Got::Ping);
        assert!(server.send_binary(ACI, 2, b"\xff\xfe".to_vec()));
        assert_eq!(client.got().await, Got::Junk(b"\xff\xfe".to_vec()));
        // A Close frame without code.
        assert!(server.send_wire(ACI, 2, [0x88, 0]));
        assert_eq!(client.got().await, Got::Close(1005, String::new()));
    });
}

#[test]
fn pings_are_answered() {
    let (pki, server) = server();
    block_on(async {
        let mut client = Client::connect(&pki, &server).await;
        client.queue_empty().await;
        client.ws.send(Message::Ping(Vec::new().into())).await.unwrap();
        assert_eq!(client.ws.next().await.unwrap().unwrap(), Message::Pong(Vec::new().into()));
    });
    assert_eq!(server.records().pings, 1);
}

#[test]
fn a_flood_goes_on_and_reads_nothing_until_the_client_goes() {
    let (pki, server) = server();
    block_on(async {
        let mut client = Client::connect(&pki, &server).await;
        client.queue_empty().await;
        assert!(server.flood(ACI, 2, [0x8a, 0].repeat(1000)));
        client.keepalive(1).await;
        for _ in 0..100_000 {
            assert_eq!(client.ws.next().await.unwrap().unwrap(), Message::Pong(Vec::new().into()));
        }
        assert!(server.records().keepalives.is_empty());
    });
    assert!(server.wait_disconnected(ACI, 2, LONG));
}
