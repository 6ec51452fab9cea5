//! Standard output: whether it shows colours, and that it may go away, as in `mollysocket connection list | head -1`.

use std::io::{self, ErrorKind, IsTerminal, Write};

use crate::config::Env;

/// Whether there are colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ColorChoice {
    /// By ANSI escape sequences.
    Ansi,
    /// Text alone.
    Plain,
}

impl ColorChoice {
    /// Colours on a terminal only, and not with `NO_COLOR` (<https://no-color.org>).
    pub(super) fn of(env: &Env, to: &impl IsTerminal) -> Self {
        let unwanted = env.get("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = env.get("TERM").is_some_and(|terminal| terminal == "dumb");
        if to.is_terminal() && !unwanted && !dumb { Self::Ansi } else { Self::Plain }
    }
}

/// Columns of the narrowest usual terminal.
const COLUMNS: usize = 80;

/// The text in lines of at most 80 columns where words allow it. What goes on is indented as its line began.
pub(super) fn wrapped(text: &str) -> String {
    let mut out = String::new();
    for line in text.lines() {
        let (indent, words) = line.split_at(line.len() - line.trim_start().len());
        out.push_str(indent);
        let mut column = indent.len();
        for (n, word) in words.split(' ').enumerate() {
            let width = word.chars().count();
            if n > 0 && column + 1 + width > COLUMNS {
                out.push('\n');
                out.push_str(indent);
                column = indent.len();
            } else if n > 0 {
                out.push(' ');
                column += 1;
            }
            out.push_str(word);
            column += width;
        }
        out.push('\n');
    }
    out
}

/// A writer whose reader may leave early: what it does not want to read is no error, and the verb goes on.
pub(super) struct IgnoreBrokenPipe<W> {
    inner: W,
    closed: bool,
}

impl<W: Write> IgnoreBrokenPipe<W> {
    pub(super) fn new(inner: W) -> Self {
        Self { inner, closed: false }
    }

    fn forgive<T>(&mut self, result: io::Result<T>, instead: T) -> io::Result<T> {
        match result {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                self.closed = true;
                Ok(instead)
            }
            other => other,
        }
    }
}

impl<W: Write> Write for IgnoreBrokenPipe<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.closed {
            return Ok(bytes.len());
        }
        let result = self.inner.write(bytes);
        self.forgive(result, bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.closed {
            return Ok(());
        }
        let result = self.inner.flush();
        self.forgive(result, ())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    struct Broken(ErrorKind);

    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Err(self.0.into())
        }
    }

    #[test]
    fn colours_are_for_terminals_whose_user_wants_them() {
        let env = |pairs: &[(&str, &str)]| pairs.iter().map(|&(k, v)| (k.to_owned(), v.to_owned())).collect::<Env>();
        let file = tempfile::tempfile().unwrap();
        assert_eq!(ColorChoice::of(&env(&[("TERM", "xterm")]), &file), ColorChoice::Plain);
        // The other end of a terminal is one as well.
        let Ok(terminal) = std::fs::File::options().read(true).write(true).open("/dev/ptmx") else { return };
        for (variables, expected) in [
            (&[][..], ColorChoice::Ansi),
            (&[("NO_COLOR", "")], ColorChoice::Ansi),
            (&[("NO_COLOR", "1")], ColorChoice::Plain),
            (&[("TERM", "dumb")], ColorChoice::Plain),
        ] {
            assert_eq!(ColorChoice::of(&env(variables), &terminal), expected, "{variables:?}");
        }
    }

    #[test]
    fn a_reader_that_left_is_no_error_and_a_full_disk_is() {
        let mut left = IgnoreBrokenPipe::new(Broken(ErrorKind::BrokenPipe));
        assert!(writeln!(left, "result").is_ok() && left.flush().is_ok());
        let mut full = IgnoreBrokenPipe::new(Broken(ErrorKind::StorageFull));
        assert!(writeln!(full, "result").is_err() && full.flush().is_err());
    }
}
