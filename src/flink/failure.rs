//! `/jobs/:jid/exceptions`, and the errors of any other response: what failed, dug out of what Flink has wrapped around it.
//!
//! A Java stack trace has the outermost exception first. Each cause begins its own line with `Caused by: `, the deepest comes last:
//!
//! ```text
//! org.apache.flink.runtime.JobException: Recovery is suppressed by …     the wrapper, with some 3 KB of frames
//!         at org.apache.flink.…
//! Caused by: java.lang.RuntimeException: bad record                      the user's exception: the text begins here
//!         at EdgeJob$Boom.map(EdgeJob.java:29)
//! Caused by: java.lang.ArithmeticException: / by zero                    the deepest cause
//! ```
//!
//! Causes of suppressed exceptions are indented, and so do not count.

use super::overview::time_of;
use super::read::{ReadError, Reader, Value};
use crate::code::Code;
use crate::json::{Decoded, Sink, SliceSink, Text};

/// How many bytes of the cause are reported.
pub const MAX_CAUSE: usize = 256;

/// An exception, as its stack trace.
///
/// ```
/// use edge_report::flink::Failure;
///
/// let body = br#"{"exceptionHistory":{"entries":[{"exceptionName":"org.apache.flink.runtime.JobException","timestamp":1795401197594,"stacktrace":
///   "org.apache.flink.runtime.JobException: Recovery is suppressed by NoRestartBackoffTimeStrategy\n\tat org.apache.flink.A.b(A.java:1)\nCaused by: java.lang.IllegalStateException: out of range\n\tat EdgeJob.map(EdgeJob.java:17)\n"}]}}"#;
/// let failure = Failure::read(body)?.expect("it has one");
/// assert_eq!(failure.time, Some(1_795_401_197_594));
/// let mut buffer = [0; 64];
/// assert_eq!(failure.cause(&mut buffer), "java.lang.IllegalStateException: out of range");
/// assert_eq!(failure.exception(&mut buffer), "java.lang.IllegalStateException: out of range\n\tat EdgeJob.map(Ed");
/// # Ok::<(), edge_report::flink::ReadError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Failure<'a> {
    /// The whole stack trace.
    pub stack_trace: Text<'a>,
    /// When it happened: ms since 1970.
    pub time: Option<i64>,
}

impl<'a> Failure<'a> {
    /// Reads the response of `/jobs/:jid/exceptions` of any version: the newest failure in it; `None` if the job never failed.
    ///
    /// Up to 1.12 there is `root-exception`, up to 1.20 also `exceptionHistory`, and since 2.0 that alone. `all-exceptions`, of single tasks,
    /// counts only where the job itself has none.
    #[inline(never)]
    pub fn read(body: &'a [u8]) -> Result<Option<Self>, ReadError> {
        let (mut root, mut root_time) = (None, None);
        let (mut history, mut tasks): (Option<Failure<'_>>, Option<Failure<'_>>) = (None, None);
        let mut is_known = false;
        Reader::new(body).whole_object(&mut |reader, key, value| {
            if key.is("root-exception") {
                is_known = true;
                root = text_of(value);
            } else if key.is("timestamp") {
                root_time = time_of(value);
            } else if key.is("all-exceptions") {
                is_known = true;
                newest(reader, value, "exception", &mut tasks)?;
            } else if key.is("exceptionHistory")
                && let Value::Object = value
            {
                is_known = true;
                reader.members(&mut |reader, key, value| {
                    if key.is("entries") {
                        newest(reader, value, "stacktrace", &mut history)?;
                    }
                    Ok(())
                })?;
            }
            Ok(())
        })?;
        if !is_known {
            return Err(Reader::new(body).wrong(Code::Missing, "exceptionHistory"));
        }
        let root = root.map(|stack_trace| Failure {
            stack_trace,
            time: root_time,
        });
        Ok(match (root, history) {
            (Some(root), Some(history)) if history.time > root.time => Some(history),
            (Some(root), _) => Some(root),
            (None, history) => history.or(tasks),
        })
    }

    /// Reads the response to a request that failed, `{"errors":["…"]}`: the last that is said, which has the stack trace if there is one. So the reason of
    /// a submission that was refused is dug out like any other.
    ///
    /// ```
    /// use edge_report::flink::Failure;
    ///
    /// let body = br#"{"errors":["Internal server error.","<Exception on server side:\norg.apache.flink.client.program.ProgramInvocationException: The main method caused an error\n\tat A.b(A.java:1)\nCaused by: java.io.IOException: no such file\n\tat C.d(C.java:2)\n\nEnd of exception on server side>"]}"#;
    /// let mut buffer = [0; 64];
    /// assert_eq!(Failure::read_errors(body)?.expect("it has one").cause(&mut buffer), "java.io.IOException: no such file");
    /// # Ok::<(), edge_report::flink::ReadError>(())
    /// ```
    pub fn read_errors(body: &'a [u8]) -> Result<Option<Self>, ReadError> {
        let mut last = None;
        Reader::new(body).whole_object(&mut |reader, key, value| {
            if key.is("errors")
                && let Value::List = value
            {
                let inside = reader.depth();
                while let Some(item) = reader.item(inside)? {
                    last = text_of(item).or(last);
                }
            }
            Ok(())
        })?;
        Ok(last.map(|stack_trace| Failure {
            stack_trace,
            time: None,
        }))
    }

    /// The deepest cause as `Class: message`, at most [`MAX_CAUSE`] bytes of one line, cut between two characters where `buffer` ends.
    pub fn cause<'b>(&self, buffer: &'b mut [u8]) -> &'b str {
        let most = buffer.len().min(MAX_CAUSE);
        let line = dig(self.stack_trace).cause;
        let line = line.take_while(|&c| c != '\n' && c != '\r');
        fill(line, buffer.get_mut(..most).unwrap_or_default())
    }

    /// The stack trace without the wrappers in front, cut between two characters where `buffer` ends.
    pub fn exception<'b>(&self, buffer: &'b mut [u8]) -> &'b str {
        let Dug { user, len, .. } = dig(self.stack_trace);
        fill(user.take(len), buffer)
    }
}

/// A text that says something.
fn text_of(value: Value<'_>) -> Option<Text<'_>> {
    value.text().filter(|text| !text.is_empty())
}

/// The newest of a list; of two with the same time the first.
fn newest<'a>(
    reader: &mut Reader<'a>,
    value: Value<'a>,
    text_key: &str,
    newest: &mut Option<Failure<'a>>,
) -> Result<(), ReadError> {
    let Value::List = value else {
        return Ok(());
    };
    let inside = reader.depth();
    while let Some(item) = reader.item(inside)? {
        let Value::Object = item else {
            continue;
        };
        let (mut text, mut time) = (None, None);
        reader.members(&mut |_, key, value| {
            if key.is(text_key) {
                text = text_of(value);
            } else if key.is("timestamp") {
                time = time_of(value);
            }
            Ok(())
        })?;
        if let Some(stack_trace) = text
            && newest.is_none_or(|newest| newest.time < time)
        {
            *newest = Some(Failure { stack_trace, time });
        }
    }
    Ok(())
}

/// Places in a stack trace.
struct Dug<'a> {
    /// The deepest cause.
    cause: Decoded<'a>,
    /// The first exception that is no wrapper, and how many characters there are from it on.
    user: Decoded<'a>,
    len: usize,
}

const CAUSED_BY: &str = "Caused by: ";
/// Around the stack trace in `errors`.
const SERVER_SIDE: [&str; 2] = [
    "<Exception on server side:",
    "End of exception on server side>",
];
/// Exceptions of Flink's that only carry another one.
const WRAPPERS: [&str; 7] = [
    "org.apache.flink.runtime.JobException: Recovery is suppressed by ",
    "org.apache.flink.runtime.client.JobExecutionException",
    "org.apache.flink.runtime.client.JobInitializationException",
    "org.apache.flink.runtime.rest.handler.RestHandlerException",
    "org.apache.flink.client.program.ProgramInvocationException",
    "java.util.concurrent.CompletionException",
    "java.util.concurrent.ExecutionException",
];

/// One pass over the lines.
fn dig(stack_trace: Text<'_>) -> Dug<'_> {
    let mut rest = stack_trace.chars();
    if let Some(behind) = after(&rest, SERVER_SIDE[0]) {
        rest = behind;
        next_line(&mut rest);
    }
    let mut dug = Dug {
        cause: rest.clone(),
        user: rest.clone(),
        len: 0,
    };
    let mut is_wrapper = WRAPPERS
        .iter()
        .any(|wrapper| after(&rest, wrapper).is_some());
    loop {
        let read = next_line(&mut rest);
        dug.len = dug.len.saturating_add(read);
        if !rest.has_more() || after(&rest, SERVER_SIDE[1]).is_some() {
            return dug;
        }
        if let Some(cause) = after(&rest, CAUSED_BY) {
            if is_wrapper {
                is_wrapper = WRAPPERS
                    .iter()
                    .any(|wrapper| after(&cause, wrapper).is_some());
                dug.user = cause.clone();
                rest = cause.clone();
                dug.len = 0;
            }
            dug.cause = cause;
        }
    }
}

/// What follows `words`, if the text begins with them.
fn after<'a>(text: &Decoded<'a>, words: &str) -> Option<Decoded<'a>> {
    let mut text = text.clone();
    words
        .chars()
        .all(|c| text.next() == Some(c))
        .then_some(text)
}

/// Reads past the end of the line, and says how many characters that was.
fn next_line(text: &mut Decoded<'_>) -> usize {
    let mut read = 0usize;
    for c in text.by_ref() {
        read = read.saturating_add(1);
        if c == '\n' {
            break;
        }
    }
    read
}

/// As many characters as there is room for.
pub(super) fn fill(text: impl Iterator<Item = char>, buffer: &mut [u8]) -> &str {
    let mut sink = SliceSink::new(buffer);
    for c in text {
        if sink.put(c.encode_utf8(&mut [0; 4]).as_bytes()).is_err() {
            break;
        }
    }
    core::str::from_utf8(sink.into_written()).unwrap_or_default()
}
