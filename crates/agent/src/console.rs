//! Lines for whoever reads them, and for nobody who waits for whoever does not.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::progress;

/// Bytes of lines that nobody has read yet.
const UNREAD: usize = 1 << 20;

/// Standard output and standard error. Each is written by a thread of its own, so that nobody who has something to say waits for a
/// reader.
pub(crate) struct Console {
    pub(crate) lines: Arc<Lines>,
    pub(crate) errors: Arc<Lines>,
    writers: [JoinHandle<()>; 2],
}

impl Console {
    pub(crate) fn new() -> Self {
        let (lines, errors) = (Arc::new(Lines::default()), Arc::new(Lines::default()));
        let writer = |lines: &Arc<Lines>, out: fn(&[u8]) -> io::Result<()>| {
            let lines = Arc::clone(lines);
            thread::spawn(move || lines.write_all(out))
        };
        let writers = [
            writer(&lines, |text| write_all(io::stdout().lock(), text)),
            writer(&errors, |text| write_all(io::stderr(), text)),
        ];
        Console {
            lines,
            errors,
            writers,
        }
    }

    /// Waits until all is read, or nobody listens any more.
    pub(crate) fn end(self) {
        for lines in [&self.lines, &self.errors] {
            lines.lock().ended = true;
            lines.changed.notify_all();
        }
        for writer in self.writers {
            let _ = writer.join();
        }
    }
}

/// Also to a pipe that does not block, as whoever started this may have made it: that it is full now does not mean that nobody reads.
fn write_all(mut out: impl Write, mut text: &[u8]) -> io::Result<()> {
    loop {
        let is_out = text.is_empty();
        let result = if is_out {
            out.flush()
        } else {
            let written = out.write(text);
            written.map(|n| text = text.get(n..).unwrap_or_default())
        };
        match result {
            Ok(()) if is_out => return Ok(()),
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                thread::sleep(Duration::from_millis(100));
            }
            Err(error) => return Err(error),
        }
    }
}

/// Lines that wait to be read: [`UNREAD`] bytes, or one that is longer.
#[derive(Default)]
pub(crate) struct Lines {
    queue: Mutex<Queue>,
    changed: Condvar,
}

#[derive(Default)]
struct Queue {
    lines: VecDeque<String>,
    bytes: usize,
    omitted: u64,
    ended: bool,
}

impl Queue {
    fn has_room(&self, len: usize) -> bool {
        self.bytes == 0 || self.bytes.saturating_add(len) <= UNREAD
    }

    fn push(&mut self, line: String) {
        if self.omitted > 0 {
            let omitted = std::mem::take(&mut self.omitted);
            self.push(format!("omitted {omitted}"));
        }
        self.bytes = self.bytes.saturating_add(line.len());
        self.lines.push_back(line);
    }
}

impl Lines {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until there is room for a line of one thread.
    pub(crate) fn reserve(&self, len: usize) {
        let mut queue = self.lock();
        while !queue.has_room(len) {
            let woken = self.changed.wait(queue);
            queue = woken.unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Says a line; it never waits.
    pub(crate) fn say(&self, line: String) {
        self.lock().push(line);
        self.changed.notify_all();
    }

    /// Says a line, if there is room for it.
    pub(crate) fn say_if_read(&self, line: String) {
        let mut queue = self.lock();
        if queue.has_room(line.len()) {
            queue.push(line);
        } else {
            queue.omitted = queue.omitted.saturating_add(1);
        }
        drop(queue);
        self.changed.notify_all();
    }

    /// Writes until the end. When nobody listens any more, what comes is dropped: reports are delivered all the same.
    fn write_all(&self, write: impl Fn(&[u8]) -> io::Result<()>) {
        loop {
            let mut queue = self.lock();
            while queue.lines.is_empty() && !queue.ended {
                let woken = self.changed.wait(queue);
                queue = woken.unwrap_or_else(PoisonError::into_inner);
            }
            if queue.omitted > 0 {
                let omitted = std::mem::take(&mut queue.omitted);
                queue.push(format!("omitted {omitted}"));
            }
            let lines = std::mem::take(&mut queue.lines);
            queue.bytes = 0;
            let ended = queue.ended;
            drop(queue);
            self.changed.notify_all();
            // In one piece, so that no other line gets into it.
            let mut text = String::new();
            for line in lines {
                text.push_str(&line.replace(char::is_control, " "));
                text.push('\n');
            }
            progress::clear();
            let _ = write(text.as_bytes());
            if ended && self.lock().lines.is_empty() {
                return;
            }
        }
    }
}
