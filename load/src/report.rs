//! The table and the JSON.

use serde_json::{Value, json};

use crate::figures::{Better, Figures, KINDS, Kind};
use crate::process::machine;

/// Prints the table: one daemon, or two side by side with their ratio.
pub(crate) fn print(first: &Figures, second: Option<&Figures>) {
    let medians = if first.runs > 1 { format!("; medians of {} runs", first.runs) } else { String::new() };
    println!("{} accounts{medians}; {}", first.accounts, machine());
    println!("A: {}{}", first.name, second.map_or_else(String::new, |s| format!("; B: {}", s.name)));
    let columns = if second.is_some() { "          A            B    A:B" } else { "      value" };
    println!("{:<66}{columns}   goal at 10,000", "");
    for kind in KINDS {
        let b = second.map(|s| s.get(kind.key));
        match first.get(kind.key) {
            Some(a) => println!("{}", row(kind, a, b).trim_end()),
            None if kind.key == "binary" => println!("{:<66}not there or old: cargo build --release", kind.what),
            None => {}
        }
    }
    for figures in [Some(first), second].into_iter().flatten() {
        for problem in &figures.problems {
            println!("NOT CORRECT ({}): {problem}", figures.name);
        }
        if figures.problems.is_empty() {
            println!("{}: all {} urgent messages woke and were acked only then", figures.name, figures.messages);
        }
    }
    let correct = [Some(first), second].into_iter().flatten().all(|figures| figures.problems.is_empty());
    println!("load: {}", if correct { "ok" } else { "FAILED" });
}

fn row(kind: &Kind, a: f64, b: Option<Option<f64>>) -> String {
    let value = |value: f64| format!("{} {:<4}", number(value), kind.unit);
    let other = match b {
        None => String::new(),
        Some(None) => format!("{:>13}{:>7}", "-", ""),
        Some(Some(b)) => format!("{:>13}{:>7}", value(b), if b > 0.0 { number(a / b) } else { String::new() }),
    };
    let goal = kind.goal.map_or_else(String::new, |goal| {
        let sign = if kind.better == Better::More { '≥' } else { '≤' };
        let met = if kind.met(a) == Some(true) { "met" } else { "NOT met" };
        format!("   {sign} {}: {met}", format!("{} {}", number(goal), kind.unit).trim_end())
    });
    format!("{:<66}{:>11}{other}{goal}", kind.what, value(a))
}

/// Three digits that count.
fn number(value: f64) -> String {
    match value.abs() {
        v if v.fract() == 0.0 && v < 1e6 => format!("{value}"),
        v if v < 0.1 => format!("{value:.3}"),
        v if v < 10.0 => format!("{value:.2}"),
        v if v < 100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

/// Everything, for machines.
pub(crate) fn json(first: &Figures, second: Option<&Figures>) -> Value {
    let one = |figures: &Figures| {
        let values: serde_json::Map<_, _> = KINDS
            .iter()
            .filter_map(|kind| {
                let value = figures.get(kind.key)?;
                let entry = json!({
                    "value": value, "unit": kind.unit, "what": kind.what, "goal": kind.goal, "met": kind.met(value),
                });
                Some((kind.key.to_owned(), entry))
            })
            .collect();
        json!({
            "daemon": figures.name, "messages": figures.messages, "problems": figures.problems, "figures": values,
        })
    };
    json!({
        "accounts": first.accounts, "runs": first.runs, "machine": machine(), "a": one(first), "b": second.map(one),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_say_whether_the_goal_is_met() {
        let of = |key: &str| KINDS.iter().find(|kind| kind.key == key).expect("it is there");
        assert!(row(of("rss"), 100.0, None).ends_with("≤ 180 MiB: met"));
        assert!(row(of("registrations"), 100.0, Some(Some(40.0))).contains("2.50"));
        assert!(row(of("registrations"), 100.0, None).ends_with("NOT met"));
    }
}
