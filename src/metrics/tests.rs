use std::collections::{BTreeMap, BTreeSet};

use super::*;

/// One sample line: name, labels, value.
type Sample = (String, BTreeMap<String, String>, f64);

/// A strict reader of the text format, version 0.0.4: each family once, HELP and TYPE before its samples, samples only
/// of the family they stand under, no sample twice.
fn parse(text: &str) -> BTreeMap<String, (String, Vec<Sample>)> {
    assert!(text.ends_with('\n') && text.is_ascii());
    let mut families: BTreeMap<String, (String, Vec<Sample>)> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    let mut helped = String::new();
    let mut current = String::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap();
            assert!(!help.is_empty() && !help.contains('\\'), "{line}");
            helped = name.to_owned();
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert_eq!(name, helped, "TYPE follows HELP of the same family");
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert!(families.insert(name.to_owned(), (kind.to_owned(), Vec::new())).is_none(), "{name} twice");
            current = name.to_owned();
        } else {
            assert!(seen.insert(line.rsplit_once(' ').unwrap().0.to_owned()), "{line} twice");
            let (name, labels, value) = sample(line);
            let (kind, samples) = families.get_mut(&current).unwrap();
            let of_family = name == current
                || (kind == "histogram"
                    && ["_bucket", "_sum", "_count"].iter().any(|tail| name == format!("{current}{tail}")));
            assert!(of_family, "{name} stands under {current}");
            samples.push((name, labels, value));
        }
    }
    families
}

fn sample(line: &str) -> Sample {
    let (series, value) = line.rsplit_once(' ').unwrap();
    let value = value.parse::<f64>().unwrap();
    assert!(value >= 0.0 && value.is_finite(), "{line}");
    let (name, labels) = match series.split_once('{') {
        None => (series, BTreeMap::new()),
        Some((name, rest)) => {
            let inner = rest.strip_suffix('}').unwrap();
            let (label, quoted) = inner.split_once('=').unwrap();
            let text = quoted.strip_prefix('"').unwrap().strip_suffix('"').unwrap();
            assert!(!text.contains(['"', '\\', '\n']), "{line}");
            (name, BTreeMap::from([(label.to_owned(), text.to_owned())]))
        }
    };
    assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{line}");
    (name.to_owned(), labels, value)
}

fn value(families: &BTreeMap<String, (String, Vec<Sample>)>, name: &str, label: Option<(&str, &str)>) -> f64 {
    let want: BTreeMap<_, _> = label.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
    let mut found = families.values().flat_map(|(_, s)| s).filter(|(n, l, _)| n == name && *l == want);
    let only = found.next().unwrap_or_else(|| panic!("{name} {label:?} is missing")).2;
    assert!(found.next().is_none());
    only
}

fn gauges() -> Gauges {
    Gauges { states: vec![("connected", 3), ("waiting", 0)], connected: 3, forbidden: 2, owed: 1 }
}

#[test]
fn an_unused_page_is_valid_and_has_every_family() {
    let families = parse(&Metrics::default().render(&gauges()));
    for (name, kind) in [
        ("mollysocket_connections", "gauge"),
        ("mollysocket_forbiddens", "gauge"),
        ("mollysocket_reconnections", "counter"),
        ("mollysocket_messages", "counter"),
        ("mollysocket_pushs", "counter"),
        ("mollysocket_pushes_total", "counter"),
        ("mollysocket_wake_latency_seconds", "histogram"),
        ("mollysocket_owed_wakeups", "gauge"),
        ("mollysocket_accounts", "gauge"),
        ("mollysocket_keepalive_rtt_seconds", "histogram"),
        ("mollysocket_handshake_refusals_total", "counter"),
        ("mollysocket_panics_total", "counter"),
        ("mollysocket_malformed_total", "counter"),
        ("mollysocket_build_info", "gauge"),
    ] {
        assert_eq!(families.get(name).map(|f| f.0.as_str()), Some(kind), "{name}");
    }
    assert_eq!(families.len(), 14);
    assert_eq!(value(&families, "mollysocket_build_info", Some(("version", env!("CARGO_PKG_VERSION")))), 1.0);
    assert_eq!(value(&families, "mollysocket_accounts", Some(("state", "connected"))), 3.0);
    assert_eq!(value(&families, "mollysocket_accounts", Some(("state", "waiting"))), 0.0);
    assert_eq!(value(&families, "mollysocket_connections", None), 3.0);
    assert_eq!(value(&families, "mollysocket_forbiddens", None), 2.0);
    assert_eq!(value(&families, "mollysocket_owed_wakeups", None), 1.0);
}

#[test]
fn every_event_raises_its_own_counter_only() {
    let metrics = Metrics::default();
    metrics.reconnection();
    (0..2).for_each(|_| metrics.message());
    (0..3).for_each(|_| metrics.malformed());
    (0..4).for_each(|_| metrics.panic());
    let families = parse(&metrics.render(&gauges()));
    for (name, count) in [
        ("mollysocket_reconnections", 1.0),
        ("mollysocket_messages", 2.0),
        ("mollysocket_malformed_total", 3.0),
        ("mollysocket_panics_total", 4.0),
        ("mollysocket_pushs", 0.0),
    ] {
        assert_eq!(value(&families, name, None), count, "{name}");
    }
}

#[test]
fn only_accepted_pushes_count_under_the_reference_s_name() {
    let metrics = Metrics::default();
    for (times, result) in PushResult::ALL.into_iter().enumerate() {
        (0..=times).for_each(|_| metrics.push(result));
    }
    let families = parse(&metrics.render(&gauges()));
    assert_eq!(value(&families, "mollysocket_pushs", None), 1.0);
    for (times, label) in ["accepted", "gone", "unauthorized", "limited", "failed", "rejected"].into_iter().enumerate()
    {
        let count = value(&families, "mollysocket_pushes_total", Some(("result", label)));
        assert_eq!(count, (times + 1) as f64, "{label}");
    }
}

#[test]
fn refusals_have_a_bounded_set_of_labels() {
    let metrics = Metrics::default();
    (0..=u16::MAX).for_each(|status| metrics.refusal(status));
    let families = parse(&metrics.render(&gauges()));
    let (_, samples) = &families["mollysocket_handshake_refusals_total"];
    assert_eq!(samples.len(), REFUSALS.len() + 1);
    assert_eq!(value(&families, "mollysocket_handshake_refusals_total", Some(("status", "499"))), 1.0);
    let other = value(&families, "mollysocket_handshake_refusals_total", Some(("status", "other")));
    assert_eq!(other, f64::from(u16::MAX) + 1.0 - REFUSALS.len() as f64);
}

#[test]
fn histograms_are_cumulative_and_agree_with_their_sum() {
    let metrics = Metrics::default();
    for millis in [0, 5, 6, 1_000, 7_200_000] {
        metrics.wake_latency(Duration::from_millis(millis));
    }
    metrics.keepalive_rtt(Duration::from_millis(50));
    let families = parse(&metrics.render(&gauges()));
    let name = "mollysocket_wake_latency_seconds";
    for (bound, count) in [("0.005", 2.0), ("0.01", 3.0), ("1", 4.0), ("3600", 4.0), ("+Inf", 5.0)] {
        assert_eq!(value(&families, &format!("{name}_bucket"), Some(("le", bound))), count, "{bound}");
    }
    assert_eq!(value(&families, &format!("{name}_count"), None), 5.0);
    assert!((value(&families, &format!("{name}_sum"), None) - 7201.011).abs() < 1e-6);
    let (_, samples) = &families[name];
    let buckets: Vec<f64> = samples.iter().filter(|s| s.0.ends_with("_bucket")).map(|s| s.2).collect();
    assert!(buckets.is_sorted());
    assert_eq!(value(&families, "mollysocket_keepalive_rtt_seconds_count", None), 1.0);
}
