//! The man page and the completions of shells in `packaging/`, made from what argh reads: no verb, option or text is
//! written twice. This is no part of the program; the test below makes the files and says when they are out of date.

#![allow(clippy::unwrap_used)]

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use argh::{ArgsInfo as _, CommandInfoWithArgs, FlagInfo, FlagInfoKind, Optionality};

use super::args::Args;
use super::argv;

mod bash;
mod fish;
mod man;
mod zsh;

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

/// Every spelling of an option that takes a value; all of these values are files.
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
    collect(&Args::get_args_info(), Vec::new(), &mut found);
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

/// What the files are called below `packaging/`, and their texts.
fn files() -> [(&'static str, String); 4] {
    let places = places();
    [
        ("mollysocket.1", man::page(&places)),
        ("completions/mollysocket.bash", bash::script(&places)),
        ("completions/_mollysocket", zsh::script(&places)),
        ("completions/mollysocket.fish", fish::script(&places)),
    ]
}

/// First line of every completion, after a shell's comment sign.
const MADE: &str = "Made from the command line's definition by src/cli/manual.rs; do not edit.";

/// With `WRITE=1` in the environment this test writes the files.
#[test]
fn the_packaged_pages_are_up_to_date() {
    let packaging = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging");
    for (name, text) in files() {
        let file = packaging.join(name);
        if std::env::var_os("WRITE").is_some() {
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(&file, &text).unwrap();
        }
        assert_eq!(
            fs::read_to_string(&file).unwrap_or_default(),
            text,
            "packaging/{name} is out of date: run WRITE=1 cargo test --lib manual"
        );
    }
}

/// The table that reads the command line and the pages name the same verbs, options and arguments.
#[test]
fn every_verb_and_option_is_in_every_page() {
    let places = places();
    let mut verbs = 0;
    for example in argv::examples() {
        let place = places
            .iter()
            .filter(|place| place.next.is_empty())
            .find(|place| example.starts_with(&place.path))
            .unwrap_or_else(|| panic!("{example:?} is in no page"));
        let (mut options, mut arguments) = (0, Vec::new());
        let mut words = example[place.path.len()..].iter();
        while let Some(word) = words.next() {
            if !word.starts_with('-') {
                arguments.push(word);
                continue;
            }
            let known = place.options.iter().find(|flag| flag.spellings().contains(word));
            let known = known.unwrap_or_else(|| panic!("{example:?}: {word} is in no page"));
            if known.value.is_some() {
                assert_eq!(words.next(), known.value.as_ref(), "{example:?}");
            }
            options += 1;
        }
        assert_eq!(options, place.options.len(), "{example:?}");
        let shown =
            |(name, _, optional): &(String, String, bool)| if *optional { format!("[{name}]") } else { name.clone() };
        let names: Vec<String> = place.arguments.iter().map(shown).collect();
        assert!(arguments.iter().copied().eq(&names), "{example:?}: {names:?}");
        verbs += 1;
    }
    assert_eq!(verbs, places.iter().filter(|place| place.next.is_empty()).count());
    for (name, text) in files() {
        // fish names options without hyphens, roff has escaped ones.
        let there = |word: &String| text.contains(word) || text.contains(&word.replace('-', "\\-"));
        for place in &places {
            let mut words = place.path.iter().chain(place.next.iter().map(|(word, _)| word));
            assert!(words.all(there), "{name}: {}", place.words());
            for option in &place.options {
                assert!(there(&option.long), "{name}: {} --{}", place.words(), option.long);
            }
        }
    }
}

/// `text` with every character of `which` behind a backslash.
fn escaped(text: &str, which: &[char]) -> String {
    text.chars().fold(String::new(), |mut out, c| {
        let _ = write!(out, "{}{c}", if which.contains(&c) { "\\" } else { "" });
        out
    })
}
