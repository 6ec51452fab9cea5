//! The delivery rules without sockets.

use super::*;

const ACI: &str = "11111111-2222-4333-8444-555555555555";

struct Run {
    queue: Queue,
    delivery: Delivery,
}

impl Run {
    fn new(messages: usize) -> Self {
        let mut run = Self { queue: Queue::default(), delivery: Delivery::new(false) };
        for _ in 0..messages {
            run.store(Envelope::new());
        }
        run
    }

    fn store(&mut self, envelope: Envelope) {
        let guid = uuid::Uuid::parse_str(ACI).unwrap();
        self.queue.push(Entry { guid, envelope, client_ms: 100_000, server_ms: 0, deliveries: 0 });
    }

    fn next(&mut self) -> Option<Step> {
        self.delivery.next(&mut self.queue, 100_000, Instant::now())
    }

    /// The request id and sequence number of the next step, which must be a message.
    fn message(&mut self) -> (u64, u64) {
        match self.next() {
            Some(Step::Message { seq, request_id }) => (request_id, seq),
            other => panic!("expected a message, got {other:?}"),
        }
    }

    fn respond(&mut self, request_id: u64, status: u32) {
        let sent = self.delivery.respond(request_id, status).unwrap();
        if (200..300).contains(&status) {
            self.queue.remove(sent.seq);
        }
    }
}

#[test]
fn the_first_pass_picks_up_what_arrives_while_it_runs() {
    let mut run = Run::new(1);
    let (first, _) = run.message();
    run.store(Envelope::new());
    let (second, _) = run.message();
    assert_eq!(run.next(), None);
    run.respond(second, 200);
    assert_eq!(run.next(), None);
    run.respond(first, 200);
    assert_eq!(run.next(), Some(Step::QueueEmpty));
    assert_eq!(run.next(), None);
}

#[test]
fn a_later_pass_waits_for_2xx_on_everything_sent() {
    let mut run = Run::new(0);
    assert_eq!(run.next(), Some(Step::QueueEmpty));
    run.store(Envelope::new());
    let (id, _) = run.message();
    assert_eq!(run.next(), None);
    run.store(Envelope::new());
    assert_eq!(run.next(), None);
    run.respond(id, 299);
    let (id, seq) = run.message();
    assert_eq!((seq, run.next()), (1, None));
    run.respond(id, 300);
    run.store(Envelope::new());
    assert_eq!(run.next(), None);
    assert_eq!((run.delivery.unacknowledged(), run.delivery.unanswered()), (1, 0));
}

#[test]
fn the_window_is_counted_from_the_oldest_unanswered_message() {
    let mut run = Run::new(WINDOW + 2);
    let ids: Vec<u64> = (0..WINDOW).map(|_| run.message().0).collect();
    assert_eq!(run.next(), None);
    run.respond(ids[1], 200);
    assert_eq!(run.next(), None);
    // A refusal moves the window as well as an ack does.
    run.respond(ids[0], 500);
    run.message();
    run.message();
    assert_eq!(run.next(), None);
}

#[test]
fn an_ephemeral_message_lives_for_10_seconds() {
    let mut run = Run::new(0);
    for client_ms in [89_999, 90_000, 200_000] {
        run.store(Envelope::new().ephemeral());
        run.queue.entries.values_mut().last().unwrap().client_ms = client_ms;
    }
    assert_eq!(run.message().1, 1);
    assert_eq!(run.message().1, 2);
    assert_eq!((run.delivery.ephemeral_dropped, run.queue.len()), (1, 2));
}

#[test]
fn request_ids_fit_63_bits() {
    assert!((0..1000).all(|_| random_request_id() <= i64::MAX as u64));
}
