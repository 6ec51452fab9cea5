//! The rules, as the connections see them.

use std::collections::VecDeque;
use std::net::IpAddr;

use super::*;
use crate::web::client::Client;

fn key(n: u8) -> Key {
    Client::Address(IpAddr::from([198, 51, 100, n])).key().unwrap()
}

fn told(one: &Admitted) -> Option<Full> {
    one.evicted.try_recv().ok()
}

fn admit(limit: &ConnectionLimit, client: Option<Key>) -> Admitted {
    limit.admit(client).unwrap().0
}

/// Which of them were told to go.
fn gone(all: &[Admitted]) -> Vec<usize> {
    all.iter().enumerate().filter(|(_, one)| told(one).is_some()).map(|(n, _)| n).collect()
}

#[test]
fn the_longest_waiting_gives_way_to_each_newcomer() {
    let limit = ConnectionLimit::new(3, 3);
    let mut all: Vec<Admitted> = (0..3).map(|n| admit(&limit, Some(key(n)))).collect();
    assert_eq!(gone(&all), [0; 0]);
    all.push(admit(&limit, Some(key(9))));
    assert_eq!(gone(&all), [0]);
    drop(all.remove(1));
    all.push(admit(&limit, None));
    assert_eq!(gone(&all), [0; 0], "free room is used first");
    all[1].working();
    all[1].waiting();
    all.push(admit(&limit, None));
    assert_eq!(gone(&all), [2], "who moved on is not the longest waiting any more");
}

#[test]
fn who_is_being_served_stays_and_the_newcomer_is_told() {
    let limit = ConnectionLimit::new(2, 2);
    let all = [admit(&limit, None), admit(&limit, None)];
    for one in &all {
        one.working();
    }
    assert_eq!(limit.admit(None).err(), Some(Full::All));
    all[1].waiting();
    let _third = admit(&limit, None);
    assert_eq!(gone(&all), [1]);
    assert_eq!(limit.admit(None).map(|_| ()), Ok(()));
}

#[test]
fn one_client_s_crowd_gives_way_before_anybody_else() {
    let limit = ConnectionLimit::new(10, 8);
    let mut all = vec![admit(&limit, Some(key(1))), admit(&limit, None)];
    all.extend((0..8).map(|_| admit(&limit, Some(key(2)))));
    for newcomer in 0..7 {
        all.push(admit(&limit, Some(key(100 + newcomer))));
    }
    assert_eq!(gone(&all), [2, 3, 4, 5, 6, 7, 8]);
    all.push(admit(&limit, None));
    assert_eq!(gone(&all), [0], "all even: the longest waiting");
}

#[test]
fn beyond_its_share_a_client_gives_way_to_itself() {
    let limit = ConnectionLimit::new(10, 2);
    let mut all = vec![admit(&limit, Some(key(1))), admit(&limit, Some(key(2))), admit(&limit, Some(key(2)))];
    let (newcomer, evicted) = limit.admit(Some(key(2))).unwrap();
    assert!(evicted.is_some());
    assert_eq!(told(&all[1]), Some(Full::Client));
    all[2].working();
    newcomer.working();
    assert_eq!(limit.admit(Some(key(2))).err(), Some(Full::Client), "both are being served");
    // Behind a proxy it shows only once the head is there.
    let late = admit(&limit, None);
    assert_eq!(late.belongs_to(key(2)), Err(Full::Client));
    all[2].waiting();
    assert_eq!(late.belongs_to(key(2)), Ok(()));
    assert_eq!(told(&all[2]), Some(Full::Client));
    assert_eq!(late.belongs_to(key(2)), Ok(()), "its own is not one too many");
    all.push(admit(&limit, Some(key(1))));
    assert_eq!(gone(&all), [0; 0], "others are not concerned");
}

#[test]
fn a_newcomer_can_wait_until_there_is_room() {
    let limit = ConnectionLimit::new(1, 1);
    let first = admit(&limit, None);
    let (_second, evicted) = limit.admit(None).unwrap();
    let mut gone = Box::pin(evicted.unwrap().gone());
    let poll = |gone: &mut _| smol::block_on(futures_lite::future::poll_once(gone));
    assert!(poll(&mut gone).is_none());
    drop(first);
    assert!(poll(&mut gone).is_some());
}

#[test]
fn shedding_frees_a_quarter_and_nobody_who_is_served() {
    let limit = ConnectionLimit::new(20, 20);
    let all: Vec<Admitted> = (0..10).map(|_| admit(&limit, None)).collect();
    all[0].working();
    limit.shed();
    assert_eq!(gone(&all), [1, 2, 3]);
    for one in &all {
        one.working();
    }
    limit.shed();
    assert_eq!(gone(&all), [0; 0]);
}

#[test]
fn the_table_holds_those_present_and_no_more() {
    let limit = ConnectionLimit::new(64, 4);
    let mut present = VecDeque::new();
    for n in 0..10_000_u32 {
        let one = admit(&limit, (n % 5 > 0).then(|| key(n as u8)));
        let _ = one.belongs_to(key((n / 7) as u8));
        if n % 3 == 0 {
            one.working();
        }
        present.push_back(one);
        present.truncate(100);
        let half = present.len() / 2;
        present.rotate_left(half);
        assert!(limit.table().open.len() <= 64);
    }
    drop(present);
    let table = limit.table();
    assert!(table.open.is_empty());
}
