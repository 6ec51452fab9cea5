//! The loop around a session, over a socket in memory.

use std::sync::{Arc, Mutex};

use futures_lite::future;
use smol::channel::{self, Receiver, Sender};

use super::*;
use crate::notifier::PushEffect;

/// What the loop reads from and writes to.
struct Socket {
    incoming: Pin<Box<Receiver<Message>>>,
    sent: Arc<Mutex<Vec<Message>>>,
}

/// Signal's end of it.
struct Peer {
    outgoing: Sender<Message>,
    sent: Arc<Mutex<Vec<Message>>>,
}

impl Stream for Socket {
    type Item = Result<Message, tungstenite::Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.incoming.as_mut().poll_next(cx).map(|message| message.map(Ok))
    }
}

impl Sink<Message> for Socket {
    type Error = tungstenite::Error;

    fn poll_ready(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn start_send(self: Pin<&mut Self>, message: Message) -> Result<(), Self::Error> {
        self.sent.lock().unwrap().push(message);
        Ok(())
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }
}

impl Peer {
    /// Sends a frame and gives the loop time to take it in.
    async fn send(&self, message: Message) {
        self.outgoing.send(message).await.unwrap();
        Timer::after(ms(20)).await;
    }

    /// How many answers were sent, and whether a Close frame came after them.
    fn got(&self) -> (usize, bool) {
        let sent = self.sent.lock().unwrap();
        let answers = sent.iter().filter(|message| matches!(message, Message::Binary(_))).count();
        let normal = |frame: &CloseFrame| frame.code == CloseCode::Normal;
        (answers, matches!(sent.last(), Some(Message::Close(Some(frame))) if normal(frame)))
    }
}

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Nothing happens by itself.
fn calm() -> Timings {
    let long = Duration::from_secs(3600);
    Timings {
        keepalive: long,
        queue_empty: long,
        shutdown: long,
        write: ms(200),
        shared_wake_up: ms(1),
        ..Timings::default()
    }
}

/// Runs the loop beside `script`, which plays Signal and the rest of the program. What the loop said, and how long it
/// ran after the script.
fn play(timings: &Timings, script: impl AsyncFnOnce(&Peer, &AccountState)) -> (Disconnect, Duration, Duration) {
    let bench = Bench::new();
    let (outgoing, incoming) = channel::unbounded();
    let sent = Arc::default();
    let peer = Peer { outgoing, sent: Arc::clone(&sent) };
    let socket = Socket { incoming: Box::pin(incoming), sent };
    let mut rng = fastrand::Rng::with_seed(1);
    let acting = async {
        script(&peer, &bench.account_state).await;
        Instant::now()
    };
    let running =
        async { (run(socket, &bench.account_state, &bench.metrics, timings, &mut rng).await, Instant::now()) };
    let late = async {
        Timer::after(Duration::from_secs(30)).await;
        panic!("the session does not end");
    };
    let (((ended, connected), end), script_end) = smol::block_on(future::zip(running, acting).or(late));
    (ended, connected, end.saturating_duration_since(script_end))
}

/// Answers each keepalive at once, and has nothing else to say. Stops the account after ten.
struct Idle<'a> {
    answers: std::collections::VecDeque<Message>,
    asked: usize,
    account_state: &'a AccountState,
}

impl Stream for Idle<'_> {
    type Item = Result<Message, tungstenite::Error>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.answers.pop_front().map_or(Poll::Pending, |answer| Poll::Ready(Some(Ok(answer))))
    }
}

impl Sink<Message> for Idle<'_> {
    type Error = tungstenite::Error;

    fn poll_ready(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn start_send(mut self: Pin<&mut Self>, message: Message) -> Result<(), Self::Error> {
        let Message::Binary(bytes) = message else { return Ok(()) };
        let id = WebSocketMessage::decode(&bytes[..]).unwrap().request.unwrap().id.unwrap();
        self.answers.push_back(binary(wire::answer(id, 200, "OK")));
        self.asked += 1;
        if self.asked == 10 {
            self.account_state.stop();
        }
        Ok(())
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }
}

#[test]
fn an_idle_connection_wakes_for_its_keepalives_and_for_nothing_else() {
    let bench = Bench::new();
    let timings = Timings { keepalive: ms(60), keepalive_answer: ms(30), ..calm() };
    let socket = Idle { answers: [].into(), asked: 0, account_state: &bench.account_state };
    let mut rng = fastrand::Rng::with_seed(1);
    let mut session = Box::pin(run(socket, &bench.account_state, &bench.metrics, &timings, &mut rng));
    let mut polls = 0;
    let (ended, _) = smol::block_on(future::poll_fn(|cx| {
        polls += 1;
        session.as_mut().poll(cx)
    }));
    assert_eq!(ended, Disconnect::Stopped(StopReason::Requested));
    // One for each keepalive, as its answer is there at once; the first poll; those around the end.
    assert!(polls <= 10 + 4, "{polls} times");
}

fn urgent() -> Message {
    put_message(1, envelope(5, true), 9)
}

#[test]
fn an_account_that_stops_waits_for_the_push_on_its_way_and_sends_its_acks() {
    let (ended, connected, _) = play(&calm(), async |peer, account_state| {
        peer.send(urgent()).await;
        let (_, generation) = account_state.push_started(PushKind::Wake, Instant::now());
        account_state.stop();
        Timer::after(ms(100)).await;
        assert_eq!(peer.got(), (0, false), "neither acked nor closed before the push has ended");
        let accepted = Delivery { outcome: Outcome::Accepted, reason: String::new(), remedy: "" };
        let told = account_state.push_finished(
            PushKind::Wake,
            generation,
            &accepted,
            Instant::now(),
            &mut fastrand::Rng::with_seed(1),
        );
        assert!(matches!(told, Some(PushEffect::Accepted(_))));
        Timer::after(ms(100)).await;
        assert_eq!(peer.got(), (1, true), "the ack, then the Close frame");
    });
    assert_eq!(ended, Disconnect::Stopped(StopReason::Requested));
    assert!(connected >= ms(100), "since the first message: {connected:?}");
}

#[test]
fn an_account_that_stops_does_not_wait_for_what_is_only_owed() {
    let (ended, _, after) = play(&calm(), async |peer, account_state| {
        peer.send(urgent()).await;
        account_state.stop();
        Timer::after(ms(100)).await;
        assert_eq!(peer.got(), (0, true));
    });
    assert_eq!(ended, Disconnect::Stopped(StopReason::Requested));
    assert!(after < Duration::from_secs(5), "{after:?}");
}

#[test]
fn the_wait_for_a_push_has_an_end() {
    let timings = Timings { shutdown: ms(150), ..calm() };
    let (ended, _, after) = play(&timings, async |peer, account_state| {
        peer.send(urgent()).await;
        account_state.push_started(PushKind::Wake, Instant::now());
        account_state.stop();
    });
    assert_eq!(ended, Disconnect::Stopped(StopReason::Requested));
    assert!(after >= ms(140) && after < Duration::from_secs(5), "{after:?}");
}

#[test]
fn a_peer_that_never_pauses_lets_others_run() {
    let many = 10_000;
    let (ended, _, _) = play(&calm(), async |peer, account_state| {
        for _ in 0..many {
            peer.outgoing.send(Message::Ping(Vec::new().into())).await.unwrap();
        }
        // The loop starts with the first of these, and has no reason to wait.
        for _ in 0..10 {
            future::yield_now().await;
        }
        let left = peer.outgoing.len();
        assert!(left > many / 2, "only {left} of {many} are left before others had a turn");
        account_state.stop();
    });
    assert_eq!(ended, Disconnect::Stopped(StopReason::Requested));
}

#[test]
fn a_deadline_that_comes_nearer_is_kept() {
    let timings = Timings { queue_empty: ms(100), ..calm() };
    let (ended, _, after) = play(&timings, async |peer, _| {
        peer.send(request(1, "/api/v1/queue/empty", None, 9)).await;
        // Nothing is due for an hour; then a frame that cannot be answered asks for a new connection soon.
        peer.send(binary(vec![0xff; 9])).await;
    });
    assert_eq!(ended, Disconnect::Renewed);
    assert!(after < Duration::from_secs(5), "{after:?}");
}
