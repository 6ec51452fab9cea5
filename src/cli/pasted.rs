//! `connection add -`: the account's line from standard input. Arguments of a process can be read by every user of the
//! machine, and a password is among them.

use std::io::{BufRead, IsTerminal as _, stdin};

use super::{CliError, note};

/// What `-` stands for after these words, as `argv` writes them.
const ADD: [&str; 4] = ["connection", "add", "--", "-"];

/// More than the longest line that means an account, in bytes.
const MOST: u64 = 8 * 1024;

/// Puts what stands on standard input in the place of `-`.
pub(super) fn fill_in(mut args: Vec<String>) -> Result<Vec<String>, CliError> {
    if args.ends_with(&ADD.map(str::to_owned)) {
        if stdin().is_terminal() {
            note("Paste the line that Molly copied, and press Enter:");
        }
        args.pop();
        args.extend(read(stdin().lock())?);
    }
    Ok(args)
}

/// The four words after `connection add`, which may be missing, in the first line that is not empty. Quotes around a word
/// are taken off: people put them there for a shell. A problem is told without the line.
fn read(input: impl BufRead) -> Result<[String; 4], CliError> {
    let wrong = || {
        let form = "connection add UUID DEVICE PASSWORD ENDPOINT";
        CliError::Usage(format!("standard input holds no line like the one Molly copies: {form}"))
    };
    let mut lines = input.take(MOST).lines().map_while(Result::ok);
    let line = lines.find(|line| !line.trim().is_empty()).ok_or_else(wrong)?;
    let words: Vec<&str> = line.split_whitespace().collect();
    let (before, account) = words.split_at(words.len().saturating_sub(4));
    let known = ["mollysocket", "connection", "add"];
    let account: [&str; 4] = account.try_into().map_err(|_| wrong())?;
    if known.ends_with(before) { Ok(account.map(|word| bare(word).to_owned())) } else { Err(wrong()) }
}

fn bare(word: &str) -> &str {
    let between = |quote| word.strip_prefix(quote)?.strip_suffix(quote);
    between('\'').or_else(|| between('"')).unwrap_or(word)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_line_is_read_as_molly_copies_it_and_as_people_paste_it() {
        for line in [
            "connection add u 2 p+/= https://h/x?up=1&y='\n",
            "mollysocket connection add u 2 p+/= https://h/x?up=1&y='\r\n",
            "\n  \n u  2\tp+/=   https://h/x?up=1&y='",
            "add u 2 p+/= \"https://h/x?up=1&y='\"\nnext line",
            "connection add 'u' 2 'p+/=' 'https://h/x?up=1&y=''",
        ] {
            assert_eq!(read(line.as_bytes()).unwrap(), ["u", "2", "p+/=", "https://h/x?up=1&y='"], "{line}");
        }
    }

    #[test]
    fn anything_else_is_refused_without_a_word_of_it() {
        let long = "SECRET ".repeat(100_000);
        for line in [
            "",
            "\n\n",
            "u 2 SECRET",
            "list u 2 SECRET e",
            "connection add u 2 SECRET e and more",
            "connection u 2 SECRET e",
            &long,
        ] {
            let CliError::Usage(told) = read(line.as_bytes()).unwrap_err() else { panic!("{line}") };
            assert!(told.contains("connection add UUID") && !told.contains("SECRET"), "{told}");
        }
        assert!(read(&b"u 2 \xff e"[..]).is_err());
    }
}
