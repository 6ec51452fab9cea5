//! From what people type to what argh reads. argh knows neither `-vv`, `--config=FILE` and prefixes of verbs nor options
//! of the program after a verb, and shows values in its complaints; here all of that is settled by one table.

use crate::config::nearest::hint;

/// A verb and what may follow it.
pub(super) struct Verb {
    /// Its words.
    path: &'static [&'static str],
    /// Names of its arguments; those in brackets may be left out, and one with dots may be repeated.
    arguments: &'static [&'static str],
    /// Its options.
    options: &'static [Choice],
}

/// An option of a verb.
#[derive(Clone, Copy)]
struct Choice {
    /// Every spelling, the one argh knows last.
    spellings: &'static [&'static str],
    /// Name of its value, if it takes one. The same for all verbs that have the option.
    value: Option<&'static str>,
}

impl Choice {
    fn usage(&self) -> String {
        let value = self.value.map_or_else(String::new, |value| format!(" {value}"));
        format!("[{}{value}]", self.spellings.join("|"))
    }
}

const fn verb(path: &'static [&'static str], arguments: &'static [&'static str], options: &'static [Choice]) -> Verb {
    Verb { path, arguments, options }
}

const fn switch(spellings: &'static [&'static str]) -> Choice {
    Choice { spellings, value: None }
}

const PLAIN: Choice = switch(&["--plain"]);
const SVG: Choice = Choice { spellings: &["--svg"], value: Some("FILE") };
const ANONYMIZED: Choice = switch(&["-a", "--anonymized"]);
const JSON: Choice = switch(&["--json"]);
const LIVE: Choice = switch(&["--live"]);
const REPORT: Choice = switch(&["--report"]);
const SECRETS: Choice = switch(&["--secrets"]);
const REPLACE: Choice = switch(&["--replace"]);
const OTHER_KEY: Choice = switch(&["--other-key"]);

/// Every verb.
pub(super) const VERBS: &[Verb] = &[
    verb(&["server"], &[], &[]),
    verb(&["vapid", "generate"], &[], &[]),
    verb(&["vapid", "test"], &["ENDPOINT"], &[]),
    verb(&["qrcode", "url"], &["URL"], &[PLAIN, SVG]),
    verb(&["qrcode", "airgapped"], &[], &[PLAIN, SVG]),
    verb(&["connection", "add"], &["UUID", "DEVICE", "PASSWORD", "ENDPOINT"], &[]),
    verb(&["connection", "list"], &[], &[ANONYMIZED, JSON]),
    verb(&["connection", "remove"], &["UUID"], &[]),
    verb(&["connection", "ping"], &["UUID"], &[]),
    verb(&["connection", "pause"], &["UUID"], &[]),
    verb(&["connection", "resume"], &["UUID"], &[]),
    verb(&["connection", "export"], &["[UUID...]"], &[SECRETS]),
    verb(&["connection", "import"], &[], &[REPLACE, OTHER_KEY]),
    verb(&["test", "endpoint"], &["ENDPOINT"], &[]),
    verb(&["test", "uuid"], &["UUID"], &[]),
    verb(&["status"], &[], &[JSON]),
    verb(&["health"], &[], &[LIVE]),
    verb(&["doctor"], &["[UUID]"], &[JSON, REPORT]),
    verb(&["check-config"], &["FILE"], &[]),
];

/// Words the reference implementation does not have. A beginning that it understood keeps its meaning.
const LATER: &[&str] = &["status", "health", "doctor", "check-config", "pause", "resume", "export", "import"];

/// Other names of words: what the reference implementation called them.
const ALIASES: &[(&str, &str)] = &[("qr-code", "qrcode")];

/// A command line that means nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct UsageError {
    /// One line. Never holds a value, which may be a password in the wrong place.
    pub(super) problem: String,
    /// How it is done; one line.
    pub(super) usage: String,
}

/// Rewrites `args` (without the program's name) so that argh reads them.
///
/// # Errors
/// Whatever is wrong with them: argh finds nothing to complain about in the result.
pub(super) fn normalise(args: &[String]) -> Result<Vec<String>, UsageError> {
    let mut line = Line::default();
    let mut rest = args.iter();
    while let Some(token) = rest.next() {
        if line.literal {
            line.word(token)?;
        } else if token == "--" {
            line.literal = true;
        } else if let Some(config) = config_option(token, line.arguments.is_empty()) {
            let file = match config {
                "" => rest.next().ok_or_else(|| line.error(format!("{token} needs a FILE")))?,
                file => file,
            };
            line.program.extend(["--config".into(), file.into()]);
        } else if let Some(count) = verbosity(token) {
            line.program.extend(std::iter::repeat_n("--verbose".into(), count));
        } else if matches!(token.as_str(), "-h" | "--help") {
            line.help = true;
        } else if matches!(token.as_str(), "-V" | "--version") {
            line.version = true;
        } else if let Some((option, value)) = line.valued(token) {
            let value = match value {
                Some(value) => value,
                None => rest.next().ok_or_else(|| line.error(format!("{option} needs a value")))?,
            };
            line.options.push((option.to_owned(), Some(value.to_owned())));
        } else if token.len() > 1 && token.starts_with('-') {
            line.option(token)?;
        } else {
            line.word(token)?;
        }
    }
    line.finish()
}

/// The file in `--config=FILE` or `-cFILE`, empty for `--config` and `-c` alone. Behind the first argument of a verb only
/// the plain forms count: a password may begin with `-c`.
fn config_option(token: &str, glued: bool) -> Option<&str> {
    match token {
        "-c" | "--config" => Some(""),
        _ => token.strip_prefix("--config=").or_else(|| {
            let file = token.strip_prefix("-c").filter(|_| glued)?;
            Some(file.strip_prefix('=').unwrap_or(file))
        }),
    }
}

/// How often `-v` is said in `-v`, `-vv`, …, `--verbose`.
fn verbosity(token: &str) -> Option<usize> {
    match token.strip_prefix('-')? {
        "-verbose" => Some(1),
        vs if !vs.is_empty() && vs.bytes().all(|b| b == b'v') => Some(vs.len()),
        _ => None,
    }
}

/// What was read so far.
#[derive(Default)]
struct Line {
    program: Vec<String>,
    path: Vec<&'static str>,
    /// As written, and the value of those that take one.
    options: Vec<(String, Option<String>)>,
    arguments: Vec<String>,
    literal: bool,
    help: bool,
    version: bool,
}

impl Line {
    /// The verbs that begin as this line does.
    fn verbs(&self) -> impl Iterator<Item = &'static Verb> + use<'_> {
        VERBS.iter().filter(|verb| verb.path.starts_with(&self.path))
    }

    /// The verb, once all its words were read.
    fn verb(&self) -> Option<&'static Verb> {
        self.verbs().find(|verb| verb.path.len() == self.path.len())
    }

    fn error(&self, problem: String) -> UsageError {
        let said = self.path.join(" ");
        let problem = if said.is_empty() { problem } else { format!("{said}: {problem}") };
        UsageError { problem, usage: self.usage() }
    }

    fn usage(&self) -> String {
        let mut parts = vec!["usage: mollysocket".to_owned()];
        parts.extend(self.path.iter().map(|&word| word.to_owned()));
        match self.verb() {
            Some(verb) => {
                parts.extend(verb.options.iter().map(Choice::usage));
                parts.extend(verb.arguments.iter().map(|&name| name.to_owned()));
            }
            None => parts.push(self.next_words().join("|")),
        }
        parts.join(" ")
    }

    /// The words that may come next in a verb.
    fn next_words(&self) -> Vec<&'static str> {
        let mut words: Vec<&str> = self.verbs().filter_map(|verb| verb.path.get(self.path.len()).copied()).collect();
        words.dedup();
        words
    }

    /// A word of the verb, or an argument.
    fn word(&mut self, token: &str) -> Result<(), UsageError> {
        if self.verb().is_some() {
            self.arguments.push(token.to_owned());
        } else if token == "help" {
            self.help = true;
        } else {
            self.path.push(self.infer(token)?);
        }
        Ok(())
    }

    /// The word of which `token` is the whole or an unambiguous beginning.
    fn infer(&self, token: &str) -> Result<&'static str, UsageError> {
        let words = self.next_words();
        let mut names: Vec<(&str, &str)> = words.iter().map(|&word| (word, word)).collect();
        names.extend(ALIASES.iter().filter(|(_, word)| words.contains(word)));
        if let Some((_, word)) = names.iter().find(|(name, _)| *name == token) {
            return Ok(word);
        }
        let mut matches: Vec<&'static str> = names
            .iter()
            .filter(|(name, _)| !token.is_empty() && name.starts_with(token))
            .map(|(_, word)| *word)
            .collect();
        matches.dedup();
        if matches.len() > 1 {
            let known: Vec<_> = matches.iter().copied().filter(|word| !LATER.contains(word)).collect();
            if known.len() == 1 {
                matches = known;
            }
        }
        match matches[..] {
            [word] => Ok(word),
            [] => {
                let hint = hint(token, names.iter().map(|(name, _)| *name));
                Err(self.error(format!("{} is no command{hint}", shown(token))))
            }
            _ => Err(self.error(format!("{} may mean {}", shown(token), matches.join(" or ")))),
        }
    }

    /// An option that takes a value, of the verb or of one that may follow, and the value of `--option=value`.
    fn valued<'a>(&self, token: &'a str) -> Option<(&'a str, Option<&'a str>)> {
        let (option, value) = match token.split_once('=') {
            Some((option, value)) => (option, Some(value)),
            None => (token, None),
        };
        let takes = |choice: &Choice| choice.value.is_some() && choice.spellings.contains(&option);
        self.verbs().any(|verb| verb.options.iter().any(takes)).then_some((option, value))
    }

    /// An option of the verb; or an argument that looks like one, if one is still missing. What may be left out are ids,
    /// which never look so.
    fn option(&mut self, token: &str) -> Result<(), UsageError> {
        let Some(verb) = self.verb() else {
            // Its verb may follow.
            self.options.push((token.to_owned(), None));
            return Ok(());
        };
        if verb.options.iter().any(|choice| choice.spellings.contains(&token)) {
            self.options.push((token.to_owned(), None));
        } else if verb.arguments.get(self.arguments.len()).is_some_and(|name| !name.starts_with('[')) {
            self.arguments.push(token.to_owned());
        } else {
            return Err(self.error(format!("{} is no option here", shown(token))));
        }
        Ok(())
    }

    fn finish(self) -> Result<Vec<String>, UsageError> {
        if self.version {
            return Ok(vec!["--version".into()]);
        }
        let mut out: Vec<String> = self.path.iter().map(|&word| word.to_owned()).collect();
        if self.help {
            out.push("--help".into());
            return Ok(out);
        }
        let Some(verb) = self.verb() else {
            return Err(self.error("a command is missing".into()));
        };
        for (option, value) in &self.options {
            let known = verb.options.iter().find(|choice| choice.spellings.contains(&option.as_str()));
            let long = known.and_then(|choice| choice.spellings.last());
            out.push(
                long.map(|&l| l.to_owned())
                    .ok_or_else(|| self.error(format!("{} is no option here", shown(option))))?,
            );
            out.extend(value.clone());
        }
        let (given, wanted) = (self.arguments.len(), verb.arguments.len());
        let needed = verb.arguments.iter().filter(|name| !name.starts_with('[')).count();
        // `cli/pasted` reads them.
        let on_stdin = verb.path == ["connection", "add"] && self.arguments == ["-"];
        if given < needed && !on_stdin {
            return Err(self.error(format!("missing {}", verb.arguments[given..needed].join(" "))));
        }
        let repeated = verb.arguments.last().is_some_and(|name| name.ends_with("...]"));
        if given > wanted && !repeated {
            let many = given - wanted;
            let noun = if many == 1 { "argument" } else { "arguments" };
            return Err(self.error(format!("{many} {noun} too many; quote values with spaces or &")));
        }
        if given > 0 {
            out.push("--".into());
        }
        Ok(self.program.into_iter().chain(out).chain(self.arguments).collect())
    }
}

/// A token in a message, if it can be nothing but a mistyped word; anything else may be a secret in the wrong place.
fn shown(token: &str) -> String {
    let harmless = token.len() <= 16 && token.bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
    if harmless && !token.is_empty() { format!("\"{token}\"") } else { "one of the words".into() }
}

/// A command line for every verb, with all its options and arguments.
#[cfg(test)]
pub(super) fn examples() -> impl Iterator<Item = Vec<String>> {
    VERBS.iter().map(|verb| {
        let options = verb.options.iter().flat_map(|choice| std::iter::once(choice.spellings[0]).chain(choice.value));
        verb.path.iter().copied().chain(options).chain(verb.arguments.iter().copied()).map(str::to_owned).collect()
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
