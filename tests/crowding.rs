//! One account that is flooded, and how fast the phones of others are woken meanwhile. The real program, with its real
//! timings.
#![allow(clippy::unwrap_used, clippy::print_stderr, missing_docs)]

#[path = "support/program.rs"]
mod program;
mod support;

use std::collections::HashMap;
use std::thread;
use std::time::{Duration, Instant};

use program::Program;
use prost::Message as _;
use sim::signal::{AckRecord, Envelope};
use sim::wire::EnvelopeMessage;
use support::{DEVICE, PATIENCE, Phone, World, address};

/// Others, and how often one of them gets a message. Each gets one in 2 s, which is longer than its quiet time, so that
/// each message is a wake-up of its own.
const OTHERS: u32 = 50;
const PAUSE: Duration = Duration::from_millis(40);
/// Quiet and flooded by turns, so that what else the machine does meets both.
const ROUNDS: usize = 3;
const ROUND: Duration = Duration::from_secs(3);

fn urgent() -> Envelope {
    Envelope::new().urgent(true)
}

/// Messages to the flooded phone: as many as can be sent, up to 10,000 a second, of those an earlier wake-up covers, and
/// among them, past Signal's own limit of unacked ones, a hundred a second that need one.
fn flood(world: &World, phone: &Phone) {
    let now = world.signal().with_state(|s| s.now_ms());
    if world.signal().queue_len(&phone.uuid, DEVICE) < 500 {
        world.signal().send_burst(&phone.uuid, DEVICE, 100, urgent().server_timestamp(now - 600_000));
    }
    let fresh = EnvelopeMessage { urgent: Some(true), server_timestamp: Some(now), ..Default::default() };
    world.signal().send_request(&phone.uuid, DEVICE, "PUT", "/api/v1/message", Some(fresh.encode_to_vec()));
}

/// From Signal's sending to the push server's receiving, in ms, sorted.
fn latencies(world: &World, acks: &[AckRecord], others: &[Phone]) -> Vec<f64> {
    let mut pushes = HashMap::<String, Vec<Instant>>::new();
    for request in world.push.requests() {
        pushes.entry(request.target).or_default().push(request.at);
    }
    let mut found: Vec<f64> = Vec::new();
    for phone in others {
        let mine = &pushes[&format!("/push/{}", phone.token)];
        for ack in acks.iter().filter(|ack| ack.device == address(phone)) {
            let push = mine.iter().find(|at| **at >= ack.delivered_at).unwrap();
            found.push((*push - ack.delivered_at).as_secs_f64() * 1000.0);
        }
    }
    found.sort_by(f64::total_cmp);
    found
}

fn percentile(sorted: &[f64], percent: usize) -> f64 {
    sorted[(sorted.len() - 1) * percent / 100]
}

#[test]
fn a_flood_to_one_account_costs_few_pushes_and_delays_no_other() {
    let world = World::new();
    let flooded = world.phone(1);
    let others: Vec<_> = (2..2 + OTHERS).map(|n| world.phone(n)).collect();
    world.store_phones(&others);
    world.store_phone(&flooded);
    let _program = Program::start(&world, &["server"]);
    let all = OTHERS as usize + 1;
    assert!(world.signal().wait_until(PATIENCE, |s| s.records().raw_responses.len() == all), "not all connected");
    // The wake-up that covers what is older.
    let first = world.signal().send(&flooded.uuid, DEVICE, urgent());
    assert!(world.signal().wait_acked(&flooded.uuid, DEVICE, first, PATIENCE));
    thread::sleep(Duration::from_secs(1));
    let mut turn = others.iter().cycle();
    let (mut quiet, mut crowded, mut rate) = (Vec::new(), Vec::new(), 0.0);
    let mut flooding = Duration::ZERO;
    let pushes_before = world.push.requests_for(&format!("/push/{}", flooded.token)).len();
    for round in 0..2 * ROUNDS {
        let crowding = round % 2 == 1;
        world.signal().take_records();
        let begun = Instant::now();
        let mut next = begun;
        while begun.elapsed() < ROUND {
            if crowding {
                flood(&world, &flooded);
            }
            if Instant::now() >= next {
                next += PAUSE;
                world.signal().send(&turn.next().unwrap().uuid, DEVICE, urgent());
            }
            thread::sleep(Duration::from_millis(10));
        }
        let took = begun.elapsed();
        world.signal().clear_queue(&flooded.uuid, DEVICE);
        let sent = (took.as_millis() / PAUSE.as_millis()) as usize / 2;
        let count = |acks: &[AckRecord]| acks.iter().filter(|ack| ack.device != address(&flooded)).count();
        assert!(world.signal().wait_until(PATIENCE, |s| count(&s.records().acks) >= sent), "others are not served");
        thread::sleep(Duration::from_millis(300));
        let records = world.signal().take_records();
        assert!(records.client_closes.is_empty() && records.server_closes.is_empty(), "a connection ended");
        if crowding {
            crowded.extend(latencies(&world, &records.acks, &others));
            let received = records.device(&flooded.uuid, DEVICE).acked as usize + records.raw_responses.len();
            rate += received as f64 / took.as_secs_f64() / ROUNDS as f64;
            flooding += took;
        } else {
            quiet.extend(latencies(&world, &records.acks, &others));
        }
    }
    quiet.sort_by(f64::total_cmp);
    crowded.sort_by(f64::total_cmp);
    let figures = |sorted: &[f64]| (percentile(sorted, 50), percentile(sorted, 99));
    let ((quiet_50, quiet_99), (crowded_50, crowded_99)) = (figures(&quiet), figures(&crowded));
    let pushes = world.push.requests_for(&format!("/push/{}", flooded.token)).len() - pushes_before;
    eprintln!(
        "{rate:.0} messages a second, {pushes} pushes in {flooding:?}; others p50 {quiet_50:.1} ms, p99 {quiet_99:.1} ms \
         without ({}), p50 {crowded_50:.1} ms, p99 {crowded_99:.1} ms with ({})",
        quiet.len(),
        crowded.len()
    );
    assert!(rate > 500.0, "no flood: {rate} a second");
    let most = (ROUND.as_secs() as usize + 2) * ROUNDS;
    assert!((ROUNDS..=most).contains(&pushes), "{pushes} pushes in {flooding:?}");
    assert!(crowded_50 < 5.0 * quiet_50 + 250.0, "p50: {quiet_50} ms, then {crowded_50} ms");
    // What the machine does besides shows here first, so this only sees others that wait for the flood to end.
    assert!(crowded_99 < 5.0 * quiet_99 + 2000.0, "p99: {quiet_99} ms, then {crowded_99} ms");
}
