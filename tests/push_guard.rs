//! Whom a push may reach, how it is sure of it, and how many are under way.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "support/pushing.rs"]
mod pushing;

use std::cell::Cell;
use std::time::{Duration, Instant};

use base64::Engine as _;
use mollysocket::account::Endpoint;
use mollysocket::net::Checked;
use mollysocket::push::{Outcome, PushKind};
use mollysocket::timings::Limits;
use pushing::{LOOPBACK, Options, SHORT, SLACK, endpoint, origin};
use rcgen::IsCa;
use sim::pki::{Pki, server_config};
use sim::push::{Answer, PushServer};

#[test]
fn private_addresses_are_refused_without_a_connection() {
    let pki = Pki::new();
    let server = PushServer::start(&pki);
    let plain = PushServer::start_plain();
    let port = server.addr().port();
    let direct = |host: &str| format!("http://{host}:{}/x", plain.addr().port());
    let sender = Options::new(Some(&pki), "*").build();
    for host in [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f.1",
        "0177.0.0.1",
        "0.0.0.0",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::127.0.0.1]",
        "localhost",
    ] {
        let delivery = sender.wake(&direct(host));
        assert_eq!(delivery.outcome, Outcome::Failed, "{host}");
        assert!(delivery.reason.contains("only public"), "{host}: {}", delivery.reason);
    }
    let name = format!("https://push.example:{port}/x");
    for private in
        ["127.0.0.1", "10.0.0.1", "::ffff:127.0.0.1", "169.254.169.254", "fd00::1 192.168.1.1", "64:ff9b::7f00:1"]
    {
        let sender = Options::new(Some(&pki), "*").resolving(&[private]).build();
        assert_eq!(sender.wake(&name).outcome, Outcome::Failed, "{private}");
        let refusal = sender.check(&name).unwrap_err();
        let address = private.split(' ').next().unwrap();
        let line = format!("allowed_endpoints = [\"https://push.example:{port}\"");
        assert!(refusal.contains(address) && refusal.contains(&line), "{refusal}");
    }
    assert_eq!((server.connections(), plain.connections()), (0, 0));
}

#[test]
fn a_name_that_turns_private_after_its_registration_is_refused() {
    let pki = Pki::new();
    let server = PushServer::start_tls(Some(pki.server_config(&["push.example"])), LOOPBACK.into()).unwrap();
    let name = format!("https://push.example:{}/x", server.addr().port());
    let sender = Options::new(Some(&pki), "*").resolving(&["8.8.8.8", "127.0.0.1"]).build();
    sender.check(&name).unwrap();
    let delivery = sender.wake(&name);
    assert_eq!(delivery.outcome, Outcome::Failed);
    assert!(delivery.reason.contains("127.0.0.1"), "{}", delivery.reason);
    assert_eq!(server.connections(), 0);
}

#[test]
fn registrations_are_checked_by_list_then_by_address() {
    let verdict = |allowed: &str, answers: Option<&[&str]>, to: &str| {
        let mut options = Options::new(None, allowed);
        options.timings.check_endpoint = SHORT;
        if let Some(answers) = answers {
            options = options.resolving(answers);
        }
        options.build().check(to)
    };
    // Named: anywhere, and not even looked up.
    assert!(verdict("http://10.0.0.1:8080", None, "http://10.0.0.1:8080/x").is_ok());
    assert!(verdict("https://push.example", Some(&[]), "https://push.example/x").is_ok());
    // A mixed answer has a public address to use; a slow one decides nothing.
    assert_eq!(verdict("*", Some(&["127.0.0.1 8.8.8.8"]), "https://push.example/x"), Ok(Checked::Fine));
    let unknown =
        |answers: &[&str]| matches!(verdict("*", Some(answers), "https://push.example/x"), Ok(Checked::Unknown(_)));
    assert!(unknown(&[]), "a slow look-up decides nothing");
    assert!(unknown(&[""]), "nor does a failed one: names fail for a while");
    let refused = verdict("https://push.example", None, "https://other.example/SECRET").unwrap_err();
    assert!(refused.contains("allowed_endpoints") && refused.contains("https://other.example"), "{refused}");
    assert!(!refused.contains("SECRET"), "{refused}");
}

#[test]
fn the_answer_of_a_dns_filter_is_told_as_one_and_never_connected_to() {
    // A service of this machine, which is what 0.0.0.0 leads to.
    let server = PushServer::start_plain();
    let name = format!("http://push.example:{}/x", server.addr().port());
    for answer in ["0.0.0.0", "::", "0.0.0.0 ::", "::ffff:0.0.0.0", "64:ff9b::"] {
        for allowed in ["*", "http://push.example"] {
            let allowed = if allowed == "*" { allowed } else { name.as_str() };
            let sender = Options::new(None, allowed).resolving(&[answer]).build();
            let delivery = sender.wake(&name);
            assert_eq!(delivery.outcome, Outcome::Failed, "{answer}");
            assert!(delivery.reason.contains("DNS filter blocks push.example"), "{}", delivery.reason);
            assert!(delivery.reason.contains("resolver of this machine"), "{}", delivery.reason);
            let blocked = match allowed {
                "*" => sender.check(&name).unwrap_err(),
                _ => smol::block_on(sender.executor.run(sender.net.dns_filter(&endpoint(&name)))).unwrap(),
            };
            assert!(blocked.contains("DNS filter") && !blocked.contains("allowed_endpoints"), "{blocked}");
        }
    }
    // Some filters, and lines in /etc/hosts, lead to this machine; so does a name of a push server here.
    let refusal = Options::new(None, "*").resolving(&["127.0.0.1"]).build().check(&name).unwrap_err();
    assert!(refusal.contains("DNS filter") && refusal.contains("allowed_endpoints"), "{refusal}");
    assert_eq!(server.connections(), 0);
}

#[test]
fn an_international_name_is_asked_for_signed_for_and_sent_in_ascii() {
    let server = PushServer::start_plain();
    let port = server.addr().port();
    let ascii = format!("http://xn--bcher-kva.example:{port}");
    let allowed = format!("http://b\u{fc}cher.example:{port}");
    let sender = Options::new(None, &allowed).resolving(&["127.0.0.1"]).build();
    assert_eq!(sender.wake(&format!("{allowed}/up%7e'?x")).outcome, Outcome::Accepted);
    let request = &server.requests()[0];
    assert_eq!(request.target, "/up%7e'?x");
    assert_eq!(request.header("host"), Some(ascii.trim_start_matches("http://")));
    let token = request.header("authorization").unwrap().split(['.', ',']).nth(1).unwrap().to_owned();
    let claims = String::from_utf8(base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(token).unwrap()).unwrap();
    assert!(claims.contains(&format!("\"aud\":\"{ascii}\"")), "{claims}");
}

#[test]
fn an_endpoint_that_is_not_allowed_any_more_gets_no_request() {
    let server = PushServer::start_plain();
    let sender = Options::new(None, "https://push.example").build();
    let delivery = sender.wake(&server.endpoint("SECRET"));
    assert_eq!((delivery.outcome, server.connections()), (Outcome::Failed, 0));
    assert!(
        delivery.reason.contains("allowed_endpoints") && !delivery.reason.contains("SECRET"),
        "{}",
        delivery.reason
    );
}

/// What `openssl req -x509` makes, with the basic constraints its configuration asks for.
fn self_signed(names: &[&str], is_ca: IsCa, years: std::ops::Range<i32>) -> (String, String) {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let mut params = rcgen::CertificateParams::new(names).unwrap();
    params.is_ca = is_ca;
    params.not_before = rcgen::date_time_ymd(years.start, 1, 1);
    params.not_after = rcgen::date_time_ymd(years.end, 1, 1);
    let key = rcgen::KeyPair::generate().unwrap();
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

#[test]
fn a_self_signed_certificate_that_is_named_is_trusted_for_its_own_names_and_dates() {
    let kinds = || [IsCa::NoCa, IsCa::ExplicitNoCa, IsCa::Ca(rcgen::BasicConstraints::Unconstrained)];
    let names = ["localhost", "127.0.0.1"];
    // The words of other TLS libraries tell less.
    let rustls = cfg!(not(feature = "native-tls"));
    for is_ca in kinds() {
        let pair = self_signed(&names, is_ca, 2020..4000);
        let server = PushServer::start_tls(Some(server_config(&pair)), LOOPBACK.into()).unwrap();
        let trusting = |pem: Option<&String>| {
            let mut options = Options::new(None, &origin(&server));
            options.ca_pem = pem.cloned();
            options.build()
        };
        let delivery = trusting(Some(&pair.0)).wake(&server.endpoint("x"));
        assert_eq!(delivery.outcome, Outcome::Accepted, "{is_ca:?}: {}", delivery.reason);
        // One like it, but not the one that was named.
        let (other, _) = self_signed(&names, is_ca, 2020..4000);
        let delivery = trusting(Some(&other)).wake(&server.endpoint("x"));
        assert_eq!(delivery.outcome, Outcome::Failed, "{is_ca:?}");
        let told = delivery.reason.contains("self-signed") && delivery.reason.contains("ca.pem (push_ca_file)");
        assert!(told || !rustls, "{is_ca:?}: {}", delivery.reason);
        let delivery = trusting(None).wake(&server.endpoint("x"));
        // A machine without any root, as the sandbox of a build is one, has nothing to compare it with.
        let what = ["self-signed", "from an authority that this machine does not know"];
        let told =
            what.iter().any(|what| delivery.reason.contains(what)) && delivery.reason.contains("in push_ca_file");
        assert!(delivery.outcome == Outcome::Failed && (told || !rustls), "{is_ca:?}: {}", delivery.reason);
        assert_eq!(server.requests().len(), 1);
    }
    for is_ca in kinds() {
        for (names, years, says) in [
            (&["push.example"][..], 2020..4000, "not for this name but for \"push.example\""),
            (&[], 2020..4000, "not for this name (only subjectAltName counts"),
            (&names, 2020..2021, "has expired"),
            (&names, 3000..4000, "not valid yet"),
        ] {
            let pair = self_signed(names, is_ca, years);
            let server = PushServer::start_tls(Some(server_config(&pair)), LOOPBACK.into()).unwrap();
            let mut options = Options::new(None, &origin(&server));
            options.ca_pem = Some(pair.0);
            let delivery = options.build().wake(&server.endpoint("x"));
            assert_eq!(delivery.outcome, Outcome::Failed);
            assert!(delivery.reason.contains(says) || !rustls, "{}", delivery.reason);
            assert!(delivery.reason.contains("certificate"), "{}", delivery.reason);
            assert_eq!(server.requests().len(), 0);
        }
    }
}

#[test]
fn certificates_are_checked() {
    let (trusted, other) = (Pki::new(), Pki::new());
    for (config, case) in [
        (other.server_config(&[]), "an authority that neither this machine nor"),
        (trusted.server_config(&["push.example"]), "not for this name but for \"push.example\""),
        (trusted.expired_server_config(&[]), "has expired"),
    ] {
        let server = PushServer::start_tls(Some(config), LOOPBACK.into()).unwrap();
        let sender = Options::new(Some(&trusted), &origin(&server)).build();
        let delivery = sender.wake(&server.endpoint("x"));
        assert_eq!((delivery.outcome, server.requests().len()), (Outcome::Failed, 0), "{case}");
        assert!(delivery.reason.contains("TLS") && delivery.reason.contains("certificate"), "{}", delivery.reason);
        // The words of other TLS libraries tell neither the names nor one unknown authority from another.
        assert!(cfg!(feature = "native-tls") || delivery.reason.contains(case), "{}", delivery.reason);
    }
    // The system does not know the test's authority.
    let server = PushServer::start(&trusted);
    let sender = Options::new(None, &origin(&server)).build();
    assert_eq!((sender.wake(&server.endpoint("x")).outcome, server.requests().len()), (Outcome::Failed, 0));
    // TLS with a server that speaks none.
    let plain = PushServer::start_plain();
    let secure = plain.endpoint("x").replace("http:", "https:");
    let sender = Options::new(Some(&trusted), &endpoint(&secure).origin()).short().build();
    assert_eq!((sender.wake(&secure).outcome, plain.requests().len()), (Outcome::Failed, 0));
}

#[test]
fn pushes_in_flight_are_bounded_in_all_and_for_each_origin() {
    let servers = [PushServer::start_plain(), PushServer::start_plain(), PushServer::start_plain()];
    let mut options = Options::new(None, &origin(&servers[0]));
    options.allowed.extend(servers[1..].iter().map(origin));
    options.limits = Limits { pushes: 2, pushes_per_origin: 2, ..Limits::default() };
    let sender = options.build();
    let most = Cell::new(0);
    for server in &servers {
        server.set_default(Answer::created().delay(Duration::from_millis(60)));
    }
    let sends = servers.iter().flat_map(|server| (0..6).map(|n| endpoint(&server.endpoint(&format!("up{n}")))));
    let endpoints: Vec<Endpoint> = sends.collect();
    let done = futures_util::future::join_all(endpoints.iter().map(|to| sender.pusher.send(to, PushKind::Wake)));
    let in_flight = |server: &PushServer| {
        let mut n = 0;
        server.wait_until(Duration::ZERO, |state| {
            n = state.in_flight();
            true
        });
        n
    };
    let watch = async {
        loop {
            most.set(servers.iter().map(in_flight).sum::<usize>().max(most.get()));
            smol::Timer::after(Duration::from_millis(2)).await;
        }
    };
    let deliveries = smol::block_on(sender.executor.run(smol::future::or(done, watch)));
    assert!(deliveries.iter().all(|delivery| delivery.outcome == Outcome::Accepted));
    for server in &servers {
        assert_eq!(server.requests().len(), 6);
    }
    // A server counts a request a moment longer than we do.
    assert!((2..=3).contains(&most.get()), "{most:?}");
}

#[test]
fn a_slow_origin_holds_up_nobody_else() {
    let (slow, quick) = (PushServer::start_plain(), PushServer::start_plain());
    let mut options = Options::new(None, &origin(&slow));
    options.allowed.push(origin(&quick));
    options.limits = Limits { pushes: 4, pushes_per_origin: 2, ..Limits::default() };
    let sender = options.build();
    slow.set_default(Answer::hang());
    let stuck: Vec<Endpoint> = (0..20).map(|n| endpoint(&slow.endpoint(&format!("up{n}")))).collect();
    let stuck = futures_util::future::join_all(stuck.iter().map(|to| sender.pusher.send(to, PushKind::Wake)));
    let to = endpoint(&quick.endpoint("x"));
    let quick = async {
        smol::Timer::after(Duration::from_millis(50)).await;
        let start = Instant::now();
        assert_eq!(sender.pusher.send(&to, PushKind::Wake).await.outcome, Outcome::Accepted);
        assert!(start.elapsed() < SLACK);
        Vec::new()
    };
    smol::block_on(sender.executor.run(smol::future::or(quick, stuck)));
}

#[test]
fn one_origin_gets_its_share_of_the_permits_and_no_more() {
    let server = PushServer::start_plain();
    let mut options = Options::new(None, &origin(&server));
    options.limits = Limits { pushes: 64, pushes_per_origin: 2, ..Limits::default() };
    let sender = options.build();
    server.set_default(Answer::created().delay(Duration::from_millis(60)));
    let endpoints: Vec<Endpoint> = (0..8).map(|n| endpoint(&server.endpoint(&format!("up{n}")))).collect();
    let sends = futures_util::future::join_all(endpoints.iter().map(|to| sender.pusher.send(to, PushKind::Wake)));
    smol::block_on(sender.executor.run(sends));
    assert_eq!(server.requests().len(), 8);
    assert!((2..=3).contains(&server.max_in_flight()), "{}", server.max_in_flight());
}
