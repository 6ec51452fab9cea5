//! The committed numbers of instructions (`bench/instructions.toml`) and what a comparison with them says.
//!
//! Another compiler or processor makes other instructions of the same source: with those the ratios are only shown.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Deserialize;

/// A body may take this many times the committed number of instructions. What varies from run to run (seeds of hash
/// tables, which thread waits for which) stays within six per cent.
pub const TOLERANCE: f64 = 1.10;

/// Instructions of each body, and what they were counted with.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// Version of the compiler.
    pub rustc: String,
    /// Of the processor, as Rust names it.
    pub architecture: String,
    /// By name of the body.
    pub instructions: BTreeMap<String, u64>,
}

/// What a comparison says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comparison {
    /// For people: a line for each body that was measured.
    pub text: String,
    /// What is wrong; empty when all is well.
    pub complaints: Vec<String>,
    /// What is worth knowing.
    pub notes: Vec<String>,
}

impl Table {
    /// Reads the file's text.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, toml::de::Error> {
        toml::from_str(text)
    }

    /// The file's text.
    pub fn to_text(&self) -> String {
        let Self { rustc, architecture, .. } = self;
        let mut text = format!(
            "# Instructions that the daemon's hot paths take, counted by callgrind: made by `tests/instructions --write`.\n\
             rustc = \"{rustc}\"\narchitecture = \"{architecture}\"\n\n[instructions]\n"
        );
        for (name, count) in &self.instructions {
            let _ = writeln!(text, "{name} = {count}");
        }
        text
    }

    /// Compares what was `measured` now with this. `all`: the names of all bodies there are.
    pub fn compare(&self, measured: &Self, all: &[&str]) -> Comparison {
        let mut text = format!("{:<24} {:>12} {:>12} {:>6}\n", "body", "instructions", "committed", "ratio");
        let (mut complaints, mut notes) = (Vec::new(), Vec::new());
        for (name, &now) in &measured.instructions {
            let Some(&before) = self.instructions.get(name) else {
                let _ = writeln!(text, "{name:<24} {now:>12} {:>12} {:>6}", "-", "-");
                complaints.push(format!("{name} is not in the table: add it with --write"));
                continue;
            };
            let ratio = now as f64 / before as f64;
            let _ = writeln!(text, "{name:<24} {now:>12} {before:>12} {ratio:>6.2}");
            if ratio > TOLERANCE {
                complaints.push(format!("{name} takes {ratio:.2} times the committed number of instructions"));
            } else if ratio < TOLERANCE.recip() {
                notes.push(format!("{name} became leaner: commit that with --write"));
            }
        }
        for name in self.instructions.keys().filter(|name| !all.contains(&name.as_str())) {
            complaints.push(format!("{name} is in the table and nowhere else: remove it with --write"));
        }
        let with = |table: &Self| format!("rustc {} on {}", table.rustc, table.architecture);
        if with(self) != with(measured) {
            let why = format!("counted with {}, committed with {}", with(measured), with(self));
            notes = vec![format!("{why}: such ratios say little, so nothing fails for them")];
            complaints.clear();
        }
        Comparison { text, complaints, notes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(rustc: &str, counts: &[(&str, u64)]) -> Table {
        let instructions = counts.iter().map(|&(name, count)| (name.to_owned(), count)).collect();
        Table { rustc: rustc.to_owned(), architecture: "x86_64".to_owned(), instructions }
    }

    fn complaints(committed: &[(&str, u64)], measured: &[(&str, u64)]) -> Vec<String> {
        table("1.95.0", committed).compare(&table("1.95.0", measured), &["a", "b"]).complaints
    }

    #[test]
    fn more_than_a_tenth_above_the_committed_number_fails() {
        assert!(complaints(&[("a", 1000)], &[("a", 1100)]).is_empty());
        assert!(complaints(&[("a", 1000)], &[("a", 10)]).is_empty());
        assert_eq!(complaints(&[("a", 1000), ("b", 5)], &[("a", 1101), ("b", 5)]).len(), 1);
    }

    #[test]
    fn a_body_and_its_row_cannot_be_without_each_other() {
        assert!(complaints(&[("a", 1)], &[("a", 1), ("b", 1)])[0].starts_with("b is not in the table"));
        assert!(complaints(&[("a", 1), ("gone", 1)], &[("a", 1)])[0].starts_with("gone is in the table"));
        assert!(complaints(&[("a", 1), ("b", 1)], &[("a", 1)]).is_empty(), "b was not asked for");
    }

    #[test]
    fn with_another_compiler_nothing_fails_and_the_ratios_are_shown() {
        let found = table("1.95.0", &[("a", 1000)]).compare(&table("1.96.0", &[("a", 3000)]), &["a"]);
        assert!(found.complaints.is_empty() && found.text.contains("3.00"), "{found:?}");
        assert!(found.notes[0].contains("rustc 1.96.0") && found.notes[0].contains("rustc 1.95.0"), "{found:?}");
    }

    #[test]
    fn a_body_that_became_leaner_is_worth_a_note() {
        let found = table("1.95.0", &[("a", 1000)]).compare(&table("1.95.0", &[("a", 800)]), &["a"]);
        assert_eq!((found.complaints.len(), found.notes.len()), (0, 1));
    }

    #[test]
    fn what_is_written_is_read_again() {
        let table = table("1.95.0", &[("a-b", 7), ("c", 9)]);
        assert_eq!(Table::parse(&table.to_text()).expect("it is ours"), table);
    }

    #[test]
    fn the_committed_table_holds_every_body() {
        let table = Table::parse(include_str!("../instructions.toml")).expect("it can be read");
        let mut names: Vec<_> = crate::BODIES.iter().map(|body| body.name).collect();
        names.sort_unstable();
        assert_eq!(table.instructions.into_keys().collect::<Vec<_>>(), names);
    }
}
