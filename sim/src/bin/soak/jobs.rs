//! What phones and strangers ask of the web server. Each request runs on a thread of its own; a phone asks again until
//! it is told ok.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use crate::http::{self, Registration};
use crate::world::{DEVICE, Place, World};

/// Between two tries.
const AGAIN: Duration = Duration::from_millis(1500);
/// Requests at the same time.
const AT_ONCE: usize = 16;

/// A registration that must succeed in the end.
#[derive(Debug)]
struct Job {
    account: usize,
    place: Place,
    ping: bool,
    next: Instant,
    under_way: bool,
}

enum Answer {
    Phone(usize, Result<String, String>),
    WrongPassword(usize, Result<String, String>),
    Junk(String, Result<String, String>),
}

/// All that is asked and not yet answered.
pub(crate) struct Jobs {
    jobs: Vec<Job>,
    answers: Receiver<Answer>,
    sender: Sender<Answer>,
    running: usize,
    /// Accounts nobody has that were taken while Signal could not be asked.
    pub(crate) junk: HashSet<String>,
    pub(crate) tries: u64,
    pub(crate) done: u64,
}

impl Jobs {
    pub(crate) fn new() -> Self {
        let (sender, answers) = channel();
        Self { jobs: Vec::new(), answers, sender, running: 0, junk: HashSet::new(), tries: 0, done: 0 }
    }

    /// The phone registers with this endpoint.
    pub(crate) fn register(&mut self, account: usize, place: Place, ping: bool) {
        self.jobs.push(Job { account, place, ping, next: Instant::now(), under_way: false });
    }

    pub(crate) fn is_busy(&self, account: usize) -> bool {
        self.jobs.iter().any(|job| job.account == account)
    }

    pub(crate) fn left(&self) -> usize {
        self.jobs.len() + self.running
    }

    pub(crate) fn wrong_password(&mut self, world: &World, web: SocketAddr, account: usize) {
        let place = world.phones[account].place.clone();
        let registration =
            Registration { password: "not+the+password".into(), ..world.registration(account, &place, false) };
        self.ask(web, registration, move |answer| Answer::WrongPassword(account, answer));
    }

    pub(crate) fn junk(&mut self, world: &World, web: SocketAddr, count: usize) {
        for _ in 0..count {
            let n = fastrand::u64(..);
            let uuid = sim::signal::Guid::from_u64_pair(n, fastrand::u64(..)).to_string();
            let registration = Registration {
                uuid: uuid.clone(),
                device: DEVICE,
                password: "junk".into(),
                endpoint: world.junk_endpoint(fastrand::usize(..1000), n),
                ping: fastrand::bool(),
            };
            self.ask(web, registration, move |answer| Answer::Junk(uuid, answer));
        }
    }

    /// Starts what is due, takes answers in. Without a daemon everything waits.
    pub(crate) fn turn(&mut self, world: &mut World, web: Option<SocketAddr>) {
        while let Ok(answer) = self.answers.try_recv() {
            self.running -= 1;
            self.answered(world, answer);
        }
        let Some(web) = web else { return };
        let now = Instant::now();
        let mut first = HashSet::new();
        for at in 0..self.jobs.len() {
            let job = &mut self.jobs[at];
            // One after the other for each account, in order.
            let turn = first.insert(job.account);
            if !turn || job.under_way || job.next > now || self.running >= AT_ONCE {
                continue;
            }
            job.under_way = true;
            let account = job.account;
            let registration = world.registration(account, &job.place, job.ping);
            self.tries += 1;
            self.ask(web, registration, move |answer| Answer::Phone(account, answer));
        }
    }

    fn answered(&mut self, world: &mut World, answer: Answer) {
        match answer {
            Answer::Phone(account, answer) => {
                let Some(at) = self.jobs.iter().position(|job| job.account == account && job.under_way) else { return };
                if answer.as_deref() == Ok("ok") {
                    let job = self.jobs.remove(at);
                    world.moved(account, job.place);
                    world.phones[account].stored = true;
                    self.done += 1;
                } else {
                    self.jobs[at].under_way = false;
                    self.jobs[at].next = Instant::now() + AGAIN;
                }
            }
            Answer::WrongPassword(account, answer) => {
                if let Ok(word) = answer
                    && word != "internal_error"
                {
                    world.check.problem(format!("account {account}: a wrong password was answered {word}"));
                }
            }
            Answer::Junk(uuid, answer) => match answer.as_deref() {
                Ok("forbidden" | "internal_error") | Err(_) => {}
                // Signal could not be asked; the session finds out.
                Ok("ok") => {
                    self.junk.insert(uuid);
                }
                Ok(word) => world.check.problem(format!("a junk registration was answered {word}")),
            },
        }
    }

    fn ask<F>(&mut self, web: SocketAddr, registration: Registration, wrap: F)
    where
        F: FnOnce(Result<String, String>) -> Answer + Send + 'static,
    {
        self.running += 1;
        let sender = self.sender.clone();
        std::thread::spawn(move || {
            let answer = http::register(web, &registration);
            // Nobody listens once the run is over.
            let _ = sender.send(wrap(answer));
        });
    }
}
