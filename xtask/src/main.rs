//! Makes the man page and the completions of shells in `packaging/` from the definition of the command line, so that no
//! verb, option or text is written twice: `cargo run -p xtask`. A test says when they are out of date.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use argh::{CommandInfoWithArgs, FlagInfo, FlagInfoKind, Optionality};

mod bash;
mod fish;
mod man;
mod zsh;

fn main() -> io::Result<()> {
    for (file, text) in files() {
        fs::write(file, text)?;
    }
    Ok(())
}

/// A verb, or the beginning of several.
struct Place {
    /// Its words.
    path: Vec<String>,
    about: String,
    options: Vec<Flag>,
    /// Name, text, and whether it may be left out.
    arguments: Vec<(String, String, bool)>,
    /// Words that may follow, with their texts.
    next: Vec<(String, String)>,
}

impl Place {
    fn words(&self) -> String {
        self.path.join(" ")
    }
}

/// An option with all its spellings.
#[derive(Clone)]
struct Flag {
    short: Option<char>,
    long: String,
    /// What the name of its value is, if it takes one.
    value: Option<String>,
    about: String,
}

impl Flag {
    fn spellings(&self) -> Vec<String> {
        self.short.map(|short| format!("-{short}")).into_iter().chain([format!("--{}", self.long)]).collect()
    }
}

/// Every spelling of an option that takes a value, which the shells complete as a file.
fn valued(places: &[Place]) -> Vec<String> {
    let flags = places.iter().flat_map(|place| &place.options).filter(|flag| flag.value.is_some());
    let mut spellings = flags.flat_map(Flag::spellings).collect::<Vec<_>>();
    spellings.sort();
    spellings.dedup();
    spellings
}

/// The whole command line: the program first, then every verb and beginning of verbs in the order of `--help`.
fn places() -> Vec<Place> {
    let mut found = Vec::new();
    collect(&mollysocket::cli::command_line(), Vec::new(), &mut found);
    found
}

fn collect(command: &CommandInfoWithArgs, path: Vec<String>, found: &mut Vec<Place>) {
    found.push(Place {
        path: path.clone(),
        about: command.description.trim().to_owned(),
        options: command.flags.iter().filter(|flag| path.is_empty() || flag.long != "--help").map(flag).collect(),
        arguments: command
            .positionals
            .iter()
            .map(|argument| {
                let optional = argument.optionality != Optionality::Required;
                let dots = if argument.optionality == Optionality::Repeating { "..." } else { "" };
                (format!("{}{dots}", argument.name), argument.description.trim().to_owned(), optional)
            })
            .collect(),
        next: command
            .commands
            .iter()
            .map(|sub| (sub.name.to_owned(), sub.command.description.trim().to_owned()))
            .collect(),
    });
    for sub in &command.commands {
        let path = path.iter().cloned().chain([sub.name.to_owned()]).collect();
        collect(&sub.command, path, found);
    }
}

fn flag(flag: &FlagInfo<'_>) -> Flag {
    let long = flag.long.trim_start_matches('-').to_owned();
    Flag {
        // Known to the program before argh sees it.
        short: if long == "help" { Some('h') } else { flag.short },
        value: match flag.kind {
            FlagInfoKind::Option { arg_name } => Some(arg_name.to_owned()),
            FlagInfoKind::Switch => None,
        },
        about: flag.description.trim().to_owned(),
        long,
    }
}

/// The files and their texts.
fn files() -> [(PathBuf, String); 4] {
    let places = places();
    let packaging = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging");
    [
        (packaging.join("mollysocket.1"), man::page(&places)),
        (packaging.join("completions/mollysocket.bash"), bash::script(&places)),
        (packaging.join("completions/_mollysocket"), zsh::script(&places)),
        (packaging.join("completions/mollysocket.fish"), fish::script(&places)),
    ]
}

/// First line of every file, after its comment sign.
const MADE: &str = "Made from the command line's definition by `cargo run -p xtask`; do not edit.";

/// `text` with every character of `which` behind a backslash.
fn escaped(text: &str, which: &[char]) -> String {
    text.chars().fold(String::new(), |mut out, c| {
        let _ = write!(out, "{}{c}", if which.contains(&c) { "\\" } else { "" });
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_packaged_pages_are_up_to_date() {
        for (file, text) in files() {
            let there = fs::read_to_string(&file).expect("the file is in the repository");
            assert!(there == text, "{} is out of date: run `cargo run -p xtask`", file.display());
        }
    }

    #[test]
    fn every_verb_and_option_is_in_every_page() {
        let places = places();
        assert!(places.len() > 20);
        for (file, text) in files() {
            // fish names options without hyphens, roff has escaped ones.
            let there = |word: &String| text.contains(word) || text.contains(&word.replace('-', "\\-"));
            for place in &places {
                let mut words = place.path.iter().chain(place.next.iter().map(|(word, _)| word));
                assert!(words.all(there), "{}: {}", file.display(), place.words());
                for option in &place.options {
                    assert!(there(&option.long), "{}: {} --{}", file.display(), place.words(), option.long);
                }
            }
        }
    }
}
