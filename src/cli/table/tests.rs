use super::*;

const NOW: u64 = 1_800_000_000;

fn at(seconds_ago: u64) -> std::time::SystemTime {
    std::time::UNIX_EPOCH + Duration::from_secs(NOW - seconds_ago)
}

fn side(state: &str, reason: &str, remedy: &str) -> SideView {
    SideView {
        state: state.into(),
        needs_attention: false,
        since: Some(Moment(at(11_000))),
        reason: reason.into(),
        remedy: remedy.into(),
        retry_at: None,
    }
}

fn account(signal: SideView, push: SideView) -> AccountView {
    AccountView {
        uuid: "0f2b1a3c-1111-4222-8333-444455556666".into(),
        device_id: 2,
        push_server: "https://push.example".into(),
        needs_attention: false,
        signal,
        push,
        owes_wakeup: false,
        last_envelope: Some(Moment(at(130))),
        last_push: Some(Moment(at(90_061))),
        last_push_latency_ms: Some(45),
        notice: None,
    }
}

fn overview(accounts: Vec<AccountView>) -> Overview {
    Overview {
        version: "2.0.0".into(),
        at: Moment(at(0)),
        healthy: true,
        server: Some(Server {
            pid: 7,
            since: Moment(at(400_000)),
            database: "/var/db.sqlite".into(),
            database_problem: None,
            web: None,
            signal_reachable: Some(true),
        }),
        accounts,
        unreadable: vec![],
        warnings: vec![],
    }
}

#[test]
fn a_row_says_since_when_and_when_last() {
    let text =
        render(&overview(vec![account(side("connected", "", ""), side("ok", "", ""))]), None, ColorChoice::Plain);
    assert!(
        text.starts_with("MollySocket 2.0.0: up 4d 15h, process 7, no web server\n1 account (1 connected)\n"),
        "{text}"
    );
    let row = text.lines().find(|line| line.starts_with("0f2b1a3c ")).unwrap();
    let words: Vec<&str> = row.split("  ").map(str::trim).filter(|word| !word.is_empty()).collect();
    assert_eq!(words, ["0f2b1a3c", "connected 3h", "ok 3h", "2m ago", "1d ago", "-"]);
    assert!(!text.contains('\x1b') && !text.contains("to do"), "{text}");
}

#[test]
fn the_longest_row_has_80_columns_at_most() {
    let old = |state: &str| SideView {
        since: Some(Moment(at(365 * 86_400))),
        retry_at: Some(Moment(at(0) + Duration::from_secs(364 * 86_400))),
        ..side(state, "", "")
    };
    let rows = ["endpoint_gone", "displaced", "connected"].map(|state| AccountView {
        last_envelope: Some(Moment(at(365 * 86_400))),
        last_push: Some(Moment(at(365 * 86_400))),
        ..account(old(state), old("unauthorized"))
    });
    let text = render(&overview(rows.to_vec()), None, ColorChoice::Plain);
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    assert!(text.contains("endpoint_gone 365d") && text.contains("in 364d"), "{text}");
}

#[test]
fn trouble_comes_with_its_reason_remedy_and_next_try() {
    let mut waiting = side("waiting", "no route", "check the network");
    waiting.retry_at = Some(Moment(at(0) + Duration::from_secs(59)));
    let text = render(&overview(vec![account(waiting, side("ok", "", ""))]), None, ColorChoice::Plain);
    assert!(text.contains("in 59s\n    Signal: no route\n    to do: check the network\n"), "{text}");
}

#[test]
fn columns_line_up_with_and_without_colours() {
    let accounts = vec![
        account(side("connected", "", ""), side("ok", "", "")),
        account(side("endpoint_gone", "", ""), side("unauthorized", "", "")),
    ];
    let plain = render(&overview(accounts.clone()), None, ColorChoice::Plain);
    let colours = render(&overview(accounts), None, ColorChoice::Ansi);
    let bare =
        colours.split('\x1b').enumerate().map(|(n, part)| if n == 0 { part } else { part.split_once('m').unwrap().1 });
    assert_eq!(bare.collect::<String>(), plain);
    assert!(colours.contains("\x1b[32mconnected") && colours.contains("\x1b[31mendpoint_gone"), "{colours}");
    let column = |word: &str| plain.lines().find_map(|line| line.find(word)).unwrap();
    assert_eq!(column("PUSH"), column("unauthorized"));
}

#[test]
fn times_have_two_units_at_most() {
    for (seconds, expected) in
        [(0, "0s"), (59, "59s"), (60, "1m 0s"), (3599, "59m 59s"), (3600, "1h 0m"), (86_400, "1d 0h")]
    {
        assert_eq!(rough(Duration::from_secs(seconds)), expected);
    }
}
