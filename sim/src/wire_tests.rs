//! Golden bytes, made with protoc from both server protos.

use prost::Message as _;

use super::*;

const ENVELOPE: &str = "08062880d095ffbc3142043361626350fbd095ffbc317001a2011011111111222243338444555555555555\
                        aa0110aaaaaaaabbbb4ccc8dddeeeeeeeeeeee";
const MESSAGE: &str = "08011282010a03505554120f2f6170692f76312f6d6573736167651a3e08062880d095ffbc31420433616263\
                       50fbd095ffbc317001a2011011111111222243338444555555555555aa0110aaaaaaaabbbb4ccc8dddeeeeee\
                       eeeeee208180808080808080402a20582d5369676e616c2d54696d657374616d703a31373030303030303030323030";
const ACK: &str = "08021a110881808080808080804010c8011a024f4b";
const QUEUE_EMPTY: &str = "0801123e0a0350555412132f6170692f76312f71756575652f656d70747920072a20582d5369676e616c2d54\
                           696d657374616d703a31373030303030303030323030";
const KEEPALIVE: &str = "080112160a03474554120d2f76312f6b656570616c6976652001";
const KEEPALIVE_REPLY: &str = "08021a3d080110c8011a024f4b2a20582d5369676e616c2d54696d657374616d703a31373030303030303030\
                               3330302a10436f6e74656e742d4c656e6774683a30";

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()).collect()
}

fn both_ways<M: prost::Message + Default + PartialEq + std::fmt::Debug>(message: &M, golden: &str) {
    assert_eq!(message.encode_to_vec(), bytes(golden));
    assert_eq!(&M::decode(bytes(golden).as_slice()).unwrap(), message);
}

fn envelope() -> EnvelopeMessage {
    EnvelopeMessage {
        r#type: Some(6),
        client_timestamp: Some(1_700_000_000_000),
        content: Some(b"3abc".to_vec()),
        server_timestamp: Some(1_700_000_000_123),
        urgent: Some(true),
        destination_service_id: Some(bytes("11111111222243338444555555555555")),
        server_guid: Some(bytes("aaaaaaaabbbb4ccc8dddeeeeeeeeeeee")),
        ..Default::default()
    }
}

#[test]
fn envelope_has_the_golden_bytes() {
    both_ways(&envelope(), ENVELOPE);
}

#[test]
fn requests_of_the_server_have_the_golden_bytes() {
    let body = Some(envelope().encode_to_vec());
    both_ways(&put_message(4_611_686_018_427_387_905, body, 1_700_000_000_200), MESSAGE);
    both_ways(&put_queue_empty(7, 1_700_000_000_200), QUEUE_EMPTY);
}

#[test]
fn keepalive_has_the_golden_bytes() {
    let (verb, path) = (Some("GET".to_owned()), Some("/v1/keepalive".to_owned()));
    let request = Request { verb, path, id: Some(1), ..Default::default() };
    both_ways(&WebSocketMessage::request(request), KEEPALIVE);
    both_ways(&reply(1, 200, "OK", 1_700_000_000_300), KEEPALIVE_REPLY);
}

#[test]
fn ack_has_the_golden_bytes() {
    let id = Some(4_611_686_018_427_387_905);
    let response = Response { id, status: Some(200), message: Some("OK".to_owned()), ..Default::default() };
    both_ways(&WebSocketMessage::response(response), ACK);
}
