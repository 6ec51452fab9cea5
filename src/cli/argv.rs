//! From what people type to what argh reads. argh knows neither `-vv`, `--config=FILE` and prefixes of verbs nor options
//! of the program after a verb, and shows values in its complaints; here all of that is settled by what [`Args`] says of
//! itself.

use argh::{ArgsInfo as _, CommandInfoWithArgs, FlagInfo, FlagInfoKind, Optionality, PositionalInfo};

use super::args::Args;
use crate::config::nearest::hint;

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
    let program = Args::get_args_info();
    let mut line = Line::new(&program);
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
struct Line<'a> {
    /// The program, or the last word of the verb.
    at: &'a CommandInfoWithArgs,
    program: Vec<String>,
    path: Vec<&'static str>,
    /// As written, and the value of those that take one.
    options: Vec<(String, Option<String>)>,
    arguments: Vec<String>,
    literal: bool,
    help: bool,
    version: bool,
}

impl<'a> Line<'a> {
    fn new(at: &'a CommandInfoWithArgs) -> Self {
        Self {
            at,
            program: Vec::new(),
            path: Vec::new(),
            options: Vec::new(),
            arguments: Vec::new(),
            literal: false,
            help: false,
            version: false,
        }
    }

    /// The verb, once all its words were read.
    fn verb(&self) -> Option<&'a CommandInfoWithArgs> {
        self.at.commands.is_empty().then_some(self.at)
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
                parts.extend(options(verb).map(option_usage));
                parts.extend(verb.positionals.iter().map(argument_usage));
            }
            None => parts.push(self.next_words().join("|")),
        }
        parts.join(" ")
    }

    /// The words that may come next in a verb.
    fn next_words(&self) -> Vec<&'static str> {
        self.at.commands.iter().map(|next| next.name).collect()
    }

    /// A word of the verb, or an argument.
    fn word(&mut self, token: &str) -> Result<(), UsageError> {
        if self.verb().is_some() {
            self.arguments.push(token.to_owned());
        } else if token == "help" {
            self.help = true;
        } else {
            let word = self.infer(token)?;
            self.path.push(word);
            self.at = self.at.commands.iter().find(|next| next.name == word).map_or(self.at, |next| &next.command);
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
    fn valued<'b>(&self, token: &'b str) -> Option<(&'b str, Option<&'b str>)> {
        let (option, value) = match token.split_once('=') {
            Some((option, value)) => (option, Some(value)),
            None => (token, None),
        };
        takes_value(self.at, option).then_some((option, value))
    }

    /// An option of the verb; or an argument that looks like one, if one is still missing. What may be left out are ids,
    /// which never look so.
    fn option(&mut self, token: &str) -> Result<(), UsageError> {
        let Some(verb) = self.verb() else {
            // Its verb may follow.
            self.options.push((token.to_owned(), None));
            return Ok(());
        };
        if options(verb).any(|option| is_spelt(option, token)) {
            self.options.push((token.to_owned(), None));
        } else if verb.positionals.get(self.arguments.len()).is_some_and(is_required) {
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
            let known = options(verb).find(|known| is_spelt(known, option));
            let known = known.ok_or_else(|| self.error(format!("{} is no option here", shown(option))))?;
            out.push(known.long.to_owned());
            out.extend(value.clone());
        }
        let (given, wanted) = (self.arguments.len(), verb.positionals.len());
        let needed = verb.positionals.iter().filter(|argument| is_required(argument)).count();
        // `cli/pasted` reads them.
        let on_stdin = self.path == ["connection", "add"] && self.arguments == ["-"];
        if given < needed && !on_stdin {
            let missing: Vec<&str> = verb.positionals[given..needed].iter().map(|argument| argument.name).collect();
            return Err(self.error(format!("missing {}", missing.join(" "))));
        }
        let repeated = verb.positionals.last().is_some_and(|last| last.optionality == Optionality::Repeating);
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

/// The options of a verb; every one has `--help` besides.
fn options(verb: &CommandInfoWithArgs) -> impl Iterator<Item = &FlagInfo<'static>> {
    verb.flags.iter().filter(|flag| flag.long != "--help")
}

fn is_spelt(option: &FlagInfo<'_>, token: &str) -> bool {
    let short = token.strip_prefix('-').and_then(|short| short.parse().ok());
    token == option.long || short.is_some() && short == option.short
}

/// Whether `option` takes a value in this verb or in one that may follow.
fn takes_value(command: &CommandInfoWithArgs, option: &str) -> bool {
    let here = |known: &FlagInfo<'_>| matches!(known.kind, FlagInfoKind::Option { .. }) && is_spelt(known, option);
    options(command).any(here) || command.commands.iter().any(|next| takes_value(&next.command, option))
}

fn option_usage(option: &FlagInfo<'_>) -> String {
    let short = option.short.map_or_else(String::new, |short| format!("-{short}|"));
    let value = match option.kind {
        FlagInfoKind::Option { arg_name } => format!(" {arg_name}"),
        FlagInfoKind::Switch => String::new(),
    };
    format!("[{short}{}{value}]", option.long)
}

fn is_required(argument: &PositionalInfo<'_>) -> bool {
    argument.optionality == Optionality::Required
}

fn argument_usage(argument: &PositionalInfo<'_>) -> String {
    match argument.optionality {
        Optionality::Required => argument.name.to_owned(),
        Optionality::Optional => format!("[{}]", argument.name),
        Optionality::Repeating | Optionality::Greedy => format!("[{}...]", argument.name),
    }
}

/// A token in a message, if it can be nothing but a mistyped word; anything else may be a secret in the wrong place.
fn shown(token: &str) -> String {
    let harmless = token.len() <= 16 && token.bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
    if harmless && !token.is_empty() { format!("\"{token}\"") } else { "one of the words".into() }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
