//! Brings a fault about, and takes it away.

use std::collections::HashMap;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Result;
use sim::push::{Answer, Behaviour};
use sim::signal::{Handshake, Keepalive, Mode, SignalServer};

use crate::jobs::Jobs;
use crate::plan::{Fault, PushFault, Refusal, SocketEnd};
use crate::world::{DEVICE, Place, World};

/// What faults have left behind for their ends.
#[derive(Default)]
pub(crate) struct Injector {
    /// Endpoints that fail, by fault.
    places: HashMap<usize, Place>,
    /// Rows that are out of the database, by fault.
    removed: HashMap<usize, usize>,
    /// When a push server was last one that takes no requests.
    pub(crate) unreachable: HashMap<usize, Instant>,
}

impl Injector {
    /// A fault begins. Those of the program itself and of the web server are not for here.
    pub(crate) fn begin(&mut self, number: usize, fault: &Fault, world: &mut World, jobs: &mut Jobs) -> Result<()> {
        match fault {
            Fault::SignalRestart => world.stop_signal(),
            Fault::Origin(origin, push) => begin_origin(world, *origin, *push),
            Fault::Endpoint(n, push) => {
                if let Some(answer) = answer(*push) {
                    self.fail_endpoint(number, *n, answer, world);
                }
            }
            Fault::Gone(n, status) | Fault::GoneForGood(n, status) | Fault::Rejected(n, status) => {
                self.fail_endpoint(number, *n, Answer::status(*status), world);
            }
            Fault::NewEndpoint(n) if world.phones[*n].stored => {
                let place = world.new_place(*n);
                jobs.register(*n, place, false);
            }
            Fault::SameAgain(n, ping) if world.phones[*n].stored && !jobs.is_busy(*n) => {
                jobs.register(*n, world.phones[*n].place.clone(), *ping);
            }
            Fault::Removed(n) if !jobs.is_busy(*n) && world.phones[*n].linked => {
                world.remove(*n)?;
                self.removed.insert(number, *n);
            }
            Fault::Edited(n) if !jobs.is_busy(*n) && world.phones[*n].linked => {
                let place = world.new_place(*n);
                world.moved(*n, place);
                world.put(*n)?;
            }
            Fault::Unlink(n) | Fault::UnlinkForGood(n) => world.unlink(*n),
            Fault::Silent(n) => {
                world.phones[*n].silent = Some(None);
                on_device(world, fault);
            }
            _ => on_device(world, fault),
        }
        Ok(())
    }

    /// A fault ends. False when it cannot yet.
    pub(crate) fn end(&mut self, number: usize, fault: &Fault, world: &mut World, jobs: &mut Jobs) -> Result<bool> {
        match fault {
            Fault::SignalRestart => return Ok(world.start_signal()),
            Fault::SignalRefuses(_) => {
                if let Some(signal) = world.signal() {
                    signal.set_mode(Mode::Handshake(Handshake::Accept));
                }
            }
            Fault::Origin(origin, push) => {
                if matches!(push, PushFault::Refused | PushFault::TlsSilent) {
                    self.unreachable.insert(*origin, Instant::now());
                }
                end_origin(world, *origin, *push);
            }
            Fault::Endpoint(..) => self.heal_endpoint(number, world),
            Fault::Gone(n, _) => {
                self.heal_endpoint(number, world);
                jobs.register(*n, world.phones[*n].place.clone(), false);
            }
            // The old endpoint stays as bad as it is.
            Fault::GoneForGood(n, _) | Fault::Rejected(n, _) => {
                let place = world.new_place(*n);
                jobs.register(*n, place, false);
            }
            Fault::Removed(_) => {
                if let Some(n) = self.removed.remove(&number) {
                    world.put(n)?;
                }
            }
            Fault::Unlink(n) => {
                if world.signal().is_none() {
                    return Ok(false);
                }
                world.phones[*n].password.push('+');
                world.link(*n);
                jobs.register(*n, world.phones[*n].place.clone(), false);
            }
            Fault::Handshakes(n, _) | Fault::KeepaliveHole(n) | Fault::Silent(n) | Fault::LostAcks(n, _) => {
                let Some(signal) = world.signal() else { return Ok(false) };
                let phone = &world.phones[*n];
                if phone.linked {
                    signal.clear_modes_for(&phone.uuid, DEVICE);
                }
                if matches!(fault, Fault::Silent(_)) {
                    world.phones[*n].silent = Some(Some(Instant::now()));
                }
            }
            _ => {}
        }
        Ok(true)
    }

    fn fail_endpoint(&mut self, number: usize, n: usize, answer: Answer, world: &World) {
        let place = world.phones[n].place.clone();
        world.pushes[place.origin].set_default_for(&place.path, answer);
        self.places.insert(number, place);
    }

    fn heal_endpoint(&mut self, number: usize, world: &World) {
        if let Some(place) = self.places.remove(&number) {
            world.pushes[place.origin].unset_default_for(&place.path);
        }
    }
}

/// Faults that Signal makes. Nothing happens while Signal is away, or to a device that is not linked.
fn on_device(world: &World, fault: &Fault) {
    let Some(signal) = world.signal() else { return };
    let uuid = |n: &usize| world.phones[*n].linked.then_some(world.phones[*n].uuid.as_str());
    match fault {
        Fault::SignalCutAll => signal.cut_all(),
        Fault::SignalRefuses(refusal) => {
            signal.set_mode(Mode::Handshake(handshake(*refusal)));
            for phone in world.phones.iter().step_by(5).filter(|p| p.linked) {
                signal.cut(&phone.uuid, DEVICE);
            }
        }
        Fault::Socket(n, end) => {
            if let Some(uuid) = uuid(n) {
                end_socket(signal, uuid, *end);
            }
        }
        Fault::Handshakes(n, refusal) => {
            if let Some(uuid) = uuid(n) {
                signal.set_mode_for(uuid, DEVICE, Mode::Handshake(handshake(*refusal)));
                signal.cut(uuid, DEVICE);
            }
        }
        Fault::OldClient(n) => {
            if let Some(uuid) = uuid(n) {
                signal.for_next_of(uuid, DEVICE, 1, Handshake::status(499));
                signal.cut(uuid, DEVICE);
            }
        }
        Fault::KeepaliveHole(n) => set(signal, uuid(n), Mode::Keepalive(Keepalive::BlackHole)),
        Fault::Silent(n) => set(signal, uuid(n), Mode::Silent(true)),
        Fault::LostAcks(n, count) => set(signal, uuid(n), Mode::LoseAcks(*count)),
        Fault::OddFrames(n) => {
            if let Some(uuid) = uuid(n) {
                signal.send_request(uuid, DEVICE, "GET", "/v1/unknown", None);
                signal.send_request(uuid, DEVICE, "PUT", "/api/v1/unknown", Some(vec![0; 300]));
                signal.send_text(uuid, DEVICE, "text");
                signal.send_ping(uuid, DEVICE);
                signal.send_binary(uuid, DEVICE, vec![0xff; 7]);
            }
        }
        _ => {}
    }
}

fn set(signal: &SignalServer, uuid: Option<&str>, mode: Mode) {
    if let Some(uuid) = uuid {
        signal.set_mode_for(uuid, DEVICE, mode);
    }
}

fn end_socket(signal: &SignalServer, uuid: &str, end: SocketEnd) {
    match end {
        SocketEnd::Cut => drop(signal.cut(uuid, DEVICE)),
        SocketEnd::Reset => drop(signal.reset(uuid, DEVICE)),
        SocketEnd::Reauthenticate => signal.disconnect(uuid, DEVICE),
        SocketEnd::Displaced => drop(signal.close(uuid, DEVICE, 4409, "Connected elsewhere")),
        SocketEnd::Code(code) => drop(signal.close(uuid, DEVICE, code, "")),
    }
}

fn handshake(refusal: Refusal) -> Handshake {
    match refusal {
        Refusal::Status(code) => Handshake::proxy_status(code),
        Refusal::Seconds(seconds) => Handshake::retry_after(429, seconds.to_string()),
        Refusal::Date(seconds) => Handshake::retry_after(503, date(seconds)),
        Refusal::TlsThenSilent => Handshake::TlsThenSilent,
        Refusal::TcpThenSilent => Handshake::AcceptTcpOnly,
        Refusal::Refused => Handshake::RefuseTcp,
    }
}

fn date(seconds: u64) -> String {
    httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(seconds))
}

fn begin_origin(world: &World, origin: usize, fault: PushFault) {
    let server = &world.pushes[origin];
    match fault {
        PushFault::Refused => server.refuse(true),
        PushFault::TlsSilent => server.set_tls_silent(true),
        PushFault::CutAll => server.cut_all(),
        _ => server.set_default(answer(fault).unwrap_or_default()),
    }
}

fn end_origin(world: &World, origin: usize, fault: PushFault) {
    let server = &world.pushes[origin];
    match fault {
        PushFault::Refused => server.refuse(false),
        PushFault::TlsSilent => server.set_tls_silent(false),
        PushFault::CutAll => server.cut_all(),
        // Both are what real servers answer.
        _ => server.set_default(if origin.is_multiple_of(2) { Answer::created() } else { Answer::ok() }),
    }
}

fn answer(fault: PushFault) -> Option<Answer> {
    Some(match fault {
        PushFault::Status(status) => Answer::status(status),
        PushFault::Seconds(status, seconds) => Answer::retry_after(status, &seconds.to_string()),
        PushFault::Date(status, seconds) => Answer::retry_after(status, &date(seconds)),
        PushFault::Redirect => Answer::redirect(302, "/push/redirected"),
        PushFault::Slow(delay) => Answer::created().delay(delay),
        PushFault::Hang => Answer::hang(),
        PushFault::HangAfterHead => Answer::behave(Behaviour::HangAfterHead),
        PushFault::DripHead => Answer::behave(Behaviour::DripHead(1, Duration::from_millis(500))),
        PushFault::DripBody => {
            Answer::created().body("0123456789abcdef").behaviour(Behaviour::DripBody(1, Duration::from_secs(1)))
        }
        PushFault::Cut => Answer::behave(Behaviour::CutBeforeAnswer),
        PushFault::Reset => Answer::behave(Behaviour::ResetBeforeAnswer),
        PushFault::CutMidHead => Answer::behave(Behaviour::CutMidHead),
        PushFault::Garbage => Answer::behave(Behaviour::Garbage),
        PushFault::EndlessBody => Answer::behave(Behaviour::EndlessBody),
        PushFault::EndlessHead => Answer::behave(Behaviour::EndlessHeader),
        PushFault::Refused | PushFault::TlsSilent | PushFault::CutAll => return None,
    })
}
