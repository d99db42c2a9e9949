//! `/jobs/:jid`: one job with its vertices and its plan; `/jobs/:jid/plan`: the plan alone.

use super::jid::Jid;
use super::overview::{jid_of, state_of, time_of};
use super::read::{ReadError, Reader, Value};
use super::state::{STATES, State};
use crate::code::Code;
use crate::json::Text;

/// What `/jobs/:jid` says, as far as reports need it.
///
/// ```
/// use edge_report::flink::{Details, State};
///
/// let body = br#"{"jid":"000000000000000000000000000003e9","name":"edge-stream","state":"FAILED","timestamps":{"RUNNING":0,"FAILED":1795400324681},
///   "vertices":[{"metrics":{"read-records":5,"read-records-complete":true,"write-records":7,"write-records-complete":false,"accumulated-busy-time":"NaN"}}],
///   "plan":{"nodes":[]}}"#;
/// let details = Details::read(body)?;
/// assert_eq!((details.state, details.timestamp(State::Running)), (State::Failed, None));
/// assert_eq!((details.read_records, details.write_records), (Some(5), None));
/// assert_eq!(details.plan, Some(r#"{"nodes":[]}"#));
/// # Ok::<(), edge_report::flink::ReadError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Details<'a> {
    /// Its id.
    pub jid: Jid,
    /// Its name; empty if there is none.
    pub name: Text<'a>,
    /// Its state, up to 3 s old.
    pub state: State,
    /// When it was submitted.
    pub start_time: Option<i64>,
    timestamps: [Option<i64>; STATES],
    /// The records that all vertices have read; `None` as long as Flink has not counted all of them.
    pub read_records: Option<i64>,
    /// The records that all vertices have written, likewise.
    pub write_records: Option<i64>,
    /// The plan, as the JSON text that stands there.
    pub plan: Option<&'a str>,
}

impl<'a> Details<'a> {
    /// Reads it. It must have id and state.
    #[inline(never)]
    pub fn read(body: &'a [u8]) -> Result<Self, ReadError> {
        let mut details = Details {
            jid: Jid::default(),
            name: Text::from_raw(""),
            state: State::Unknown,
            start_time: None,
            timestamps: [None; STATES],
            read_records: None,
            write_records: None,
            plan: None,
        };
        let (mut jid, mut state) = (None, None);
        Reader::new(body).whole_object(&mut |reader, key, value| {
            if key.is("jid") {
                jid = Some(jid_of(reader, value)?);
            } else if key.is("state") {
                state = Some(state_of(reader, value)?);
            } else if key.is("start-time") {
                details.start_time = time_of(value);
            } else if key.is("name") {
                details.name = value.text().unwrap_or(details.name);
            } else if key.is("plan") {
                details.plan = plan_of(body, reader, value)?;
            } else if key.is("timestamps")
                && let Value::Object = value
            {
                return details.read_timestamps(reader);
            } else if key.is("vertices")
                && let Value::List = value
            {
                return details.read_vertices(reader);
            }
            Ok(())
        })?;
        let missing = |member| Reader::new(body).wrong(Code::Missing, member);
        details.jid = jid.ok_or(missing("jid"))?;
        details.state = state.ok_or(missing("state"))?;
        Ok(details)
    }

    fn read_timestamps(&mut self, reader: &mut Reader<'a>) -> Result<(), ReadError> {
        reader.members(&mut |_, key, value| {
            let place = State::from_text(key) as usize;
            if let Some(timestamp) = self.timestamps.get_mut(place) {
                *timestamp = time_of(value);
            }
            Ok(())
        })
    }

    fn read_vertices(&mut self, reader: &mut Reader<'a>) -> Result<(), ReadError> {
        let (mut read, mut written) = (Records::default(), Records::default());
        let inside = reader.depth();
        while let Some(item) = reader.item(inside)? {
            let Value::Object = item else {
                continue;
            };
            let (mut of_read, mut of_written) = (Vertex::default(), Vertex::default());
            reader.members(&mut |reader, key, value| {
                let Value::Object = value else {
                    return Ok(());
                };
                if !key.is("metrics") {
                    return Ok(());
                }
                reader.members(&mut |_, key, value| {
                    if key.is("read-records") {
                        of_read.count = value.integer();
                    } else if key.is("read-records-complete") {
                        of_read.is_complete = matches!(value, Value::Bool(true));
                    } else if key.is("write-records") {
                        of_written.count = value.integer();
                    } else if key.is("write-records-complete") {
                        of_written.is_complete = matches!(value, Value::Bool(true));
                    }
                    Ok(())
                })
            })?;
            read.add(of_read);
            written.add(of_written);
        }
        self.read_records = read.sum();
        self.write_records = written.sum();
        Ok(())
    }

    /// When the job got into a state last; `None` if it never did.
    pub fn timestamp(&self, state: State) -> Option<i64> {
        self.timestamps.get(state as usize).copied().flatten()
    }

    pub(super) fn has_timestamps(&self) -> bool {
        self.timestamps.iter().any(Option::is_some)
    }

    /// Whether the job ever got as far as running.
    pub fn has_run(&self) -> bool {
        self.timestamp(State::Running).is_some()
    }
}

/// One count of one vertex.
#[derive(Clone, Copy, Default)]
struct Vertex {
    count: Option<i64>,
    is_complete: bool,
}

/// One count of all vertices.
#[derive(Default)]
struct Records {
    sum: i64,
    vertices: usize,
    is_incomplete: bool,
}

impl Records {
    fn add(&mut self, vertex: Vertex) {
        let count = vertex.count.filter(|&n| n >= 0 && vertex.is_complete);
        self.is_incomplete |= count.is_none();
        self.vertices = self.vertices.saturating_add(1);
        self.sum = self.sum.saturating_add(count.unwrap_or(0));
    }

    fn sum(&self) -> Option<i64> {
        (self.vertices > 0 && !self.is_incomplete).then_some(self.sum)
    }
}

/// The plan in the response of `/jobs/:jid/plan`, as the JSON text that stands there.
pub fn read_plan(body: &[u8]) -> Result<Option<&str>, ReadError> {
    let mut plan = None;
    Reader::new(body).whole_object(&mut |reader, key, value| {
        if key.is("plan") {
            plan = plan_of(body, reader, value)?;
        }
        Ok(())
    })?;
    Ok(plan)
}

/// The text of an object. One with a spoilt string in it is none.
fn plan_of<'a>(
    body: &'a [u8],
    reader: &mut Reader<'a>,
    value: Value<'a>,
) -> Result<Option<&'a str>, ReadError> {
    let Value::Object = value else {
        return Ok(None);
    };
    let (start, _) = reader.place();
    let is_sound = reader.leave_soundly()?;
    let (_, end) = reader.place();
    let text = body.get(start..end).filter(|_| is_sound);
    Ok(text.and_then(|text| core::str::from_utf8(text).ok()))
}
