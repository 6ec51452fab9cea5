//! The rules of the seats, as their owners see them.

use std::collections::VecDeque;
use std::net::IpAddr;

use super::*;
use crate::web::client::Client;

fn key(n: u8) -> Key {
    Client::Address(IpAddr::from([198, 51, 100, n])).key().unwrap()
}

fn told(seat: &Seat) -> Option<Full> {
    seat.must_leave.try_recv().ok()
}

fn take(seats: &Seats, client: Option<Key>) -> Seat {
    seats.take(client).unwrap().0
}

/// Which of them were told to leave.
fn gone(all: &[Seat]) -> Vec<usize> {
    all.iter().enumerate().filter(|(_, seat)| told(seat).is_some()).map(|(n, _)| n).collect()
}

#[test]
fn the_longest_waiting_gives_way_to_each_newcomer() {
    let seats = Seats::new(3, 3);
    let mut all: Vec<Seat> = (0..3).map(|n| take(&seats, Some(key(n)))).collect();
    assert_eq!(gone(&all), [0; 0]);
    all.push(take(&seats, Some(key(9))));
    assert_eq!(gone(&all), [0]);
    drop(all.remove(1));
    all.push(take(&seats, None));
    assert_eq!(gone(&all), [0; 0], "a free seat is used first");
    all[1].working();
    all[1].waiting();
    all.push(take(&seats, None));
    assert_eq!(gone(&all), [2], "who moved on is not the longest waiting any more");
}

#[test]
fn who_is_being_served_stays_and_the_newcomer_is_told() {
    let seats = Seats::new(2, 2);
    let all = [take(&seats, None), take(&seats, None)];
    for seat in &all {
        seat.working();
    }
    assert_eq!(seats.take(None).err(), Some(Full::All));
    all[1].waiting();
    let _third = take(&seats, None);
    assert_eq!(gone(&all), [1]);
    assert_eq!(seats.take(None).map(|_| ()), Ok(()));
}

#[test]
fn one_client_s_crowd_gives_way_before_anybody_else() {
    let seats = Seats::new(10, 8);
    let mut all = vec![take(&seats, Some(key(1))), take(&seats, None)];
    all.extend((0..8).map(|_| take(&seats, Some(key(2)))));
    for newcomer in 0..7 {
        all.push(take(&seats, Some(key(100 + newcomer))));
    }
    assert_eq!(gone(&all), [2, 3, 4, 5, 6, 7, 8]);
    all.push(take(&seats, None));
    assert_eq!(gone(&all), [0], "all even: the longest waiting");
}

#[test]
fn beyond_its_share_a_client_gives_way_to_itself() {
    let seats = Seats::new(10, 2);
    let mut all = vec![take(&seats, Some(key(1))), take(&seats, Some(key(2))), take(&seats, Some(key(2)))];
    let (newcomer, leaving) = seats.take(Some(key(2))).unwrap();
    assert!(leaving.is_some());
    assert_eq!(told(&all[1]), Some(Full::Client));
    all[2].working();
    newcomer.working();
    assert_eq!(seats.take(Some(key(2))).err(), Some(Full::Client), "both are being served");
    // Behind a proxy it shows only once the head is there.
    let late = take(&seats, None);
    assert_eq!(late.belongs_to(key(2)), Err(Full::Client));
    all[2].waiting();
    assert_eq!(late.belongs_to(key(2)), Ok(()));
    assert_eq!(told(&all[2]), Some(Full::Client));
    assert_eq!(late.belongs_to(key(2)), Ok(()), "its own seat is not one too many");
    all.push(take(&seats, Some(key(1))));
    assert_eq!(gone(&all), [0; 0], "others are not concerned");
}

#[test]
fn a_newcomer_can_wait_until_the_seat_is_free() {
    let seats = Seats::new(1, 1);
    let first = take(&seats, None);
    let (_second, leaving) = seats.take(None).unwrap();
    let mut gone = Box::pin(leaving.unwrap().gone());
    let poll = |gone: &mut _| smol::block_on(futures_lite::future::poll_once(gone));
    assert!(poll(&mut gone).is_none());
    drop(first);
    assert!(poll(&mut gone).is_some());
}

#[test]
fn shedding_frees_a_quarter_and_nobody_who_is_served() {
    let seats = Seats::new(20, 20);
    let all: Vec<Seat> = (0..10).map(|_| take(&seats, None)).collect();
    all[0].working();
    seats.shed();
    assert_eq!(gone(&all), [1, 2, 3]);
    for seat in &all {
        seat.working();
    }
    seats.shed();
    assert_eq!(gone(&all), [0; 0]);
}

#[test]
fn the_table_holds_those_present_and_no_more() {
    let seats = Seats::new(64, 4);
    let mut present = VecDeque::new();
    for n in 0..10_000_u32 {
        let seat = take(&seats, (n % 5 > 0).then(|| key(n as u8)));
        let _ = seat.belongs_to(key((n / 7) as u8));
        if n % 3 == 0 {
            seat.working();
        }
        present.push_back(seat);
        present.truncate(100);
        let half = present.len() / 2;
        present.rotate_left(half);
        assert!(seats.table().entries.len() <= 64);
    }
    drop(present);
    let table = seats.table();
    assert_eq!((table.entries.len(), table.crowds.len(), table.nameless.len()), (0, 0, 0));
}
