//! The way of log lines to whoever reads them. A reader may stop reading (a full pipe, a stuck journal or log driver), and
//! whoever writes to it then stands still. So a thread of its own writes; the others leave their lines here and go on.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::runtime::lock;

/// Bytes that may wait while as many again are being written. Beyond it lines are left out, and counted.
const ROOM: usize = 128 * 1024;

/// The lines that wait. A handle; all clones are the same.
#[derive(Debug, Clone, Default)]
pub(super) struct Queue(Arc<SharedQueue>);

#[derive(Debug, Default)]
struct SharedQueue {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    text: Vec<u8>,
    left_out: u64,
    /// Something is being written at the moment.
    writing: bool,
}

impl Waiting {
    fn is_empty(&self) -> bool {
        self.text.is_empty() && self.left_out == 0
    }
}

impl Queue {
    /// Starts the thread that writes to `out` for the rest of the process's life.
    ///
    /// # Errors
    /// When there can be no more threads.
    pub(super) fn start(out: impl Write + Send + 'static) -> io::Result<Self> {
        let queue = Self::default();
        let writer = queue.clone();
        std::thread::Builder::new().name("log".into()).spawn(move || writer.write_to(out))?;
        Ok(queue)
    }

    /// Waits until all lines are written, as long as `patience` allows.
    pub(super) fn drain(&self, patience: Duration) {
        let busy = |waiting: &mut Waiting| waiting.writing || !waiting.is_empty();
        let _ = self.0.changed.wait_timeout_while(self.waiting(), patience, busy);
    }

    fn write_to(&self, mut out: impl Write) {
        let mut waiting = self.waiting();
        loop {
            waiting.writing = false;
            self.0.changed.notify_all();
            let empty = |waiting: &mut Waiting| waiting.is_empty();
            waiting = self.0.changed.wait_while(waiting, empty).unwrap_or_else(PoisonError::into_inner);
            let mut text = std::mem::take(&mut waiting.text);
            let left_out = std::mem::take(&mut waiting.left_out);
            waiting.writing = true;
            drop(waiting);
            if left_out > 0 {
                let line = format!("{left_out} lines were left out here: whoever reads the log did not keep up");
                text.extend(super::line_of(log::Level::Warn, module_path!(), &line).as_bytes());
            }
            // Without a reader there is nobody to tell.
            let _ = out.write_all(&text).and_then(|()| out.flush());
            waiting = self.waiting();
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        lock(&self.0.waiting)
    }
}

impl Queue {
    /// Takes whole lines and never blocks.
    pub(super) fn push(&self, line: &[u8]) {
        let mut waiting = self.waiting();
        // In order: nothing that is shorter passes what was left out.
        if waiting.left_out > 0 || waiting.text.len() + line.len() > ROOM {
            waiting.left_out += 1;
        } else {
            waiting.text.extend_from_slice(line);
        }
        self.0.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::time::Instant;

    use super::*;

    #[test]
    fn what_nobody_reads_is_counted_and_blocks_nobody() {
        let (reader, writer) = io::pipe().unwrap();
        let queue = Queue::start(writer).unwrap();
        const LINES: usize = 100_000;
        for n in 0..LINES {
            queue.push(format!("line {n} of many that nobody reads yet\n").as_bytes());
        }
        assert!(queue.waiting().text.len() <= ROOM, "memory is bounded");
        let started = Instant::now();
        queue.drain(Duration::from_millis(20));
        assert!(started.elapsed() < Duration::from_secs(5), "the end does not wait for ever");
        let mut told = 0;
        for line in BufReader::new(reader).lines() {
            let line = line.unwrap();
            match line.strip_prefix("line ").and_then(|rest| rest.split(' ').next()) {
                Some(number) => {
                    assert_eq!(number.parse(), Ok(told), "in order, and nothing is left out in silence");
                    told += 1;
                }
                None => told += line.split(' ').find_map(|word| word.parse::<usize>().ok()).unwrap(),
            }
            if told == LINES {
                return;
            }
        }
        panic!("only {told} lines are told of");
    }

    #[test]
    fn the_end_waits_for_the_last_line() {
        let (reader, writer) = io::pipe().unwrap();
        let queue = Queue::start(writer).unwrap();
        queue.push(b"last words\n");
        queue.drain(Duration::from_secs(20));
        assert!(!queue.waiting().writing && queue.waiting().is_empty());
        let mut line = String::new();
        BufReader::new(reader).read_line(&mut line).unwrap();
        assert_eq!(line, "last words\n");
    }
}
