//! From what people type to what argh reads. argh knows neither `-vv`, `-aj`, `--config=FILE` and beginnings of commands nor
//! options of the program after a command, and shows values in its complaints. All of that is settled here, by argh's own
//! description of the commands.

use std::slice::Iter;

use argh::{ArgsInfo as _, CommandInfoWithArgs, FlagInfo, FlagInfoKind, Optionality, PositionalInfo, SubCommandInfo};

use super::args::Args;
use crate::config::nearest::hint;

/// Words the reference implementation does not have. A beginning that it understood keeps its meaning.
const LATER: &[&str] = &["status", "health", "doctor", "check-config", "pause", "resume", "export", "import"];

/// Other names of commands: the reference implementation's, and those of file tools.
const ALIASES: &[(&str, &str)] = &[("qr-code", "qrcode"), ("ls", "list"), ("rm", "remove"), ("delete", "remove")];

/// As every command has it.
const HELP: &FlagInfo<'static> = &FlagInfo {
    kind: FlagInfoKind::Switch,
    optionality: Optionality::Optional,
    long: "--help",
    short: Some('h'),
    description: "",
    hidden: false,
};

type Command = CommandInfoWithArgs;
type Flag = &'static FlagInfo<'static>;

/// A command line that means nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct UsageError {
    /// One line. Never holds a value, which may be a password in the wrong place.
    pub(super) problem: String,
    /// How it is done; one line.
    pub(super) usage: String,
}

/// Rewrites `args` (without the program's name) so that argh reads them. Of options that are given twice the last counts,
/// but each `-v`.
///
/// # Errors
/// Whatever is wrong with them: argh finds nothing to complain about in the result.
pub(super) fn normalise(args: &[String]) -> Result<Vec<String>, UsageError> {
    let program = Args::get_args_info();
    let mut line =
        Line { program: &program, command: &program, path: Vec::new(), options: Vec::new(), arguments: Vec::new() };
    let mut rest = args.iter();
    while let Some(token) = rest.next() {
        if token == "--" {
            rest.by_ref().try_for_each(|token| line.word(token))?;
        } else if token.len() > 1 && token.starts_with('-') {
            line.option(token, &mut rest)?;
        } else {
            line.word(token)?;
        }
    }
    line.finish()
}

/// What was read so far.
struct Line<'a> {
    program: &'a Command,
    /// What `path` leads to.
    command: &'a Command,
    path: Vec<&'static str>,
    /// Each with its value, if it takes one.
    options: Vec<(Flag, Option<String>)>,
    arguments: Vec<String>,
}

impl Line<'_> {
    fn error(&self, problem: String) -> UsageError {
        let said = self.path.join(" ");
        let problem = if said.is_empty() { problem } else { format!("{said}: {problem}") };
        let mut usage = vec!["usage: mollysocket".to_owned()];
        usage.extend(self.path.iter().map(|&word| word.to_owned()));
        if self.command.commands.is_empty() {
            usage.extend(self.command.flags.iter().filter(|flag| flag.long != HELP.long).map(flag_usage));
            usage.extend(self.command.positionals.iter().map(argument_usage));
        } else {
            usage.push(self.next_words().collect::<Vec<_>>().join("|"));
        }
        UsageError { problem, usage: usage.join(" ") }
    }

    /// The words that may come next in a command.
    fn next_words(&self) -> impl Iterator<Item = &'static str> + use<'_> {
        self.command.commands.iter().map(|next| next.name)
    }

    /// A word of the command, or an argument.
    fn word(&mut self, token: &str) -> Result<(), UsageError> {
        let complete = self.command.commands.is_empty();
        if token == "help" && (!complete || self.command.positionals.is_empty()) {
            self.options.push((HELP, None));
        } else if complete {
            self.arguments.push(token.to_owned());
        } else if token == "version" && self.path.is_empty() {
            self.options.extend(find(self.program, "--version").map(|flag| (flag, None)));
        } else {
            let word = self.infer(token)?;
            self.path.push(word);
            let next = self.command.commands.iter().find(|next| next.name == word);
            self.command = next.map_or(self.command, |next| &next.command);
        }
        Ok(())
    }

    /// The word of which `token` is the whole or an unambiguous beginning.
    fn infer(&self, token: &str) -> Result<&'static str, UsageError> {
        let mut names: Vec<(&str, &str)> = self.next_words().map(|word| (word, word)).collect();
        names.extend(ALIASES.iter().filter(|(_, word)| self.next_words().any(|next| next == *word)));
        if let Some((_, word)) = names.iter().find(|(name, _)| *name == token) {
            return Ok(word);
        }
        let begun = names.iter().filter(|(name, _)| !token.is_empty() && name.starts_with(token));
        let mut matches: Vec<&'static str> = begun.map(|(_, word)| *word).collect();
        matches.sort_unstable();
        matches.dedup();
        let known: Vec<_> = matches.iter().copied().filter(|word| !LATER.contains(word)).collect();
        match (&matches[..], &known[..]) {
            ([word], _) | (_, [word]) => Ok(word),
            ([], _) => {
                let within = |next: &&SubCommandInfo| next.command.commands.iter().any(|word| word.name == token);
                let hint = match self.command.commands.iter().find(within) {
                    Some(next) => format!("; did you mean {} {token}?", next.name),
                    None => hint(token, names.iter().map(|(name, _)| *name)),
                };
                Err(self.error(format!("unknown command{}{hint}", shown(token))))
            }
            _ => Err(self.error(format!("the command{} may mean {}", shown(token), matches.join(" or ")))),
        }
    }

    /// One or several options with their values; or an argument that looks like one, if one is still missing. What may be
    /// left out are ids, which never look so.
    fn option(&mut self, token: &str, rest: &mut Iter<'_, String>) -> Result<(), UsageError> {
        let missing = self.command.positionals.get(self.arguments.len());
        let missing = missing.is_some_and(|argument| argument.optionality == Optionality::Required);
        // A password may begin with `-c`.
        let may_be_password = missing && !self.arguments.is_empty();
        let Some(options) = self.split(token).filter(|all| !may_be_password || plain(token, all)) else {
            if missing {
                self.arguments.push(token.to_owned());
                return Ok(());
            }
            let known = self.command.flags.iter().map(|flag| flag.long);
            let hint = hint(token, known);
            return Err(self.error(format!("unknown option{}{hint}", shown(token))));
        };
        for (flag, value) in options {
            let value = match (&flag.kind, value) {
                (FlagInfoKind::Option { .. }, Some(value)) => Some(value.to_owned()),
                (FlagInfoKind::Option { arg_name }, None) => {
                    let next = rest.next();
                    Some(next.ok_or_else(|| self.error(format!("{} needs a {arg_name}", flag.long)))?.clone())
                }
                (FlagInfoKind::Switch, None | Some("true" | "yes" | "1")) => None,
                (FlagInfoKind::Switch, Some("false" | "no" | "0")) => continue,
                (FlagInfoKind::Switch, Some(_)) => return Err(self.error(format!("{} takes no value", flag.long))),
            };
            if flag.long != "--verbose" {
                self.options.retain(|(earlier, _)| earlier.long != flag.long);
            }
            self.options.push((flag, value));
        }
        Ok(())
    }

    /// The options in `--option`, `--option=value`, `-o`, `-abo`, `-ovalue` and `-o=value`, if there are such ones.
    fn split<'t>(&self, token: &'t str) -> Option<Vec<(Flag, Option<&'t str>)>> {
        let flag = |spelling: &str| {
            let ours = find(self.command, spelling);
            ours.or_else(|| self.program.flags.iter().find(|flag| is(flag, spelling)))
        };
        if token.starts_with("--") {
            let (name, value) = token.split_once('=').map_or((token, None), |(name, value)| (name, Some(value)));
            return Some(vec![(flag(name)?, value)]);
        }
        let mut options = Vec::new();
        let mut letters = token.chars();
        letters.next();
        while let Some(letter) = letters.next() {
            let flag = flag(&format!("-{letter}"))?;
            let glued = Some(letters.as_str()).filter(|glued| !glued.is_empty());
            match flag.kind {
                FlagInfoKind::Switch => options.push((flag, None)),
                FlagInfoKind::Option { .. } => {
                    options.push((flag, glued.map(|value| value.strip_prefix('=').unwrap_or(value))));
                    break;
                }
            }
        }
        Some(options)
    }

    fn finish(self) -> Result<Vec<String>, UsageError> {
        let has = |option: &str| self.options.iter().any(|(flag, _)| flag.long == option);
        if has("--version") {
            return Ok(vec!["--version".into()]);
        }
        let mut out: Vec<String> = self.path.iter().map(|&word| word.to_owned()).collect();
        if has(HELP.long) {
            out.push(HELP.long.into());
            return Ok(out);
        }
        if !self.command.commands.is_empty() {
            return Err(self.error("a command is missing".into()));
        }
        let mut program = Vec::new();
        for (flag, value) in &self.options {
            let to = match self.program.flags.iter().any(|known| is(known, flag.long)) {
                true => &mut program,
                false if self.command.flags.iter().any(|known| is(known, flag.long)) => &mut out,
                false => return Err(self.error(format!("unknown option{}", shown(flag.long)))),
            };
            to.push(flag.long.to_owned());
            to.extend(value.clone());
        }
        let wanted = self.command.positionals;
        let needed = wanted.iter().filter(|argument| argument.optionality == Optionality::Required).count();
        let repeated = wanted.last().is_some_and(|argument| argument.optionality == Optionality::Repeating);
        let given = self.arguments.len();
        // `cli/pasted` reads them.
        let on_stdin = self.path == ["connection", "add"] && self.arguments == ["-"];
        if given < needed && !on_stdin {
            let missing: Vec<&str> = wanted[given..needed].iter().map(|argument| argument.name).collect();
            return Err(self.error(format!("missing {}", missing.join(" "))));
        }
        if given > wanted.len() && !repeated {
            let many = given - wanted.len();
            let noun = if many == 1 { "argument" } else { "arguments" };
            return Err(self.error(format!("{many} {noun} too many; quote values with spaces or &")));
        }
        if given > 0 {
            out.push("--".into());
        }
        Ok(program.into_iter().chain(out).chain(self.arguments).collect())
    }
}

/// The option of this command, or of one that may follow, with this spelling. Those that have the same name are alike.
fn find(command: &Command, spelling: &str) -> Option<Flag> {
    let ours = [HELP].into_iter().chain(command.flags).find(|flag| is(flag, spelling));
    ours.or_else(|| command.commands.iter().find_map(|next| find(&next.command, spelling)))
}

fn is(flag: &FlagInfo<'_>, spelling: &str) -> bool {
    flag.long == spelling || flag.short.is_some_and(|short| spelling.chars().skip(1).eq([short]))
}

/// Whether the token is one option as it is listed, or `-vv`, and nothing glued together.
fn plain(token: &str, options: &[(Flag, Option<&str>)]) -> bool {
    token.starts_with("--") || token.len() == 2 || options.iter().all(|(flag, _)| flag.long == "--verbose")
}

fn flag_usage(flag: &FlagInfo<'_>) -> String {
    let short = flag.short.map_or_else(String::new, |short| format!("-{short}|"));
    match flag.kind {
        FlagInfoKind::Switch => format!("[{short}{}]", flag.long),
        FlagInfoKind::Option { arg_name } => format!("[{short}{} {arg_name}]", flag.long),
    }
}

fn argument_usage(argument: &PositionalInfo<'_>) -> String {
    match argument.optionality {
        Optionality::Required => argument.name.to_owned(),
        Optionality::Repeating => format!("[{}...]", argument.name),
        _ => format!("[{}]", argument.name),
    }
}

/// A token in a message, if it can be nothing but a mistyped word; anything else may be a secret in the wrong place.
fn shown(token: &str) -> String {
    let harmless = token.len() <= 16 && token.bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
    if harmless && !token.is_empty() { format!(" \"{token}\"") } else { String::new() }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
