//! `/jobs/:jid/metrics`: which metrics there are; with `?get=`, their values.

use super::read::{Items, ReadError, Reader, Value};
use crate::code::Code;
use crate::json::{Scanner, Text, Token};

/// What `/jobs/:jid/metrics` says, checked to its end. The first response after a while is empty or old: Flink fetches metrics when somebody asks.
///
/// ```
/// use edge_report::flink::Metrics;
///
/// let body = br#"[{"id":"uptime","value":"2063"},{"id":"load","value":"NaN"},{"id":"lastCheckpointExternalPath","value":"n/a"}]"#;
/// let metrics = Metrics::read(body)?;
/// assert_eq!((metrics.number("uptime"), metrics.number("load")), (Some("2063"), None));
/// let list = Metrics::read(br#"[{"id":"uptime"}]"#)?;
/// let first = list.iter().next().expect("it has one");
/// assert!(first.id.is("uptime") && first.value.is_none());
/// # Ok::<(), edge_report::flink::ReadError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Metrics<'a> {
    items: Items<'a>,
}

impl<'a> Metrics<'a> {
    /// Reads it, with values or without.
    pub fn read(body: &'a [u8]) -> Result<Self, ReadError> {
        let mut reader = Reader::new(body);
        let Value::List = reader.value()? else {
            return Err(reader.wrong(Code::NotAnArray, ""));
        };
        let inside = reader.depth();
        let items = Items::of(&reader);
        while let Some(item) = reader.item(inside)? {
            Metric::read(&mut reader, item)?;
        }
        reader.end()?;
        Ok(Metrics { items })
    }

    /// The metrics, as they stand there.
    pub fn iter(&self) -> MetricsIter<'a> {
        MetricsIter {
            items: self.items.clone(),
        }
    }

    /// The value of one of them, if it is a number: as the JSON number that stands there.
    pub fn number(&self, id: &str) -> Option<&'a str> {
        self.iter().find(|metric| metric.id.is(id))?.number()
    }
}

impl<'a> IntoIterator for &Metrics<'a> {
    type Item = Metric<'a>;
    type IntoIter = MetricsIter<'a>;

    fn into_iter(self) -> MetricsIter<'a> {
        self.iter()
    }
}

/// The metrics of a response.
#[derive(Clone, Debug)]
pub struct MetricsIter<'a> {
    items: Items<'a>,
}

impl<'a> Iterator for MetricsIter<'a> {
    type Item = Metric<'a>;

    fn next(&mut self) -> Option<Metric<'a>> {
        self.items.next(Metric::read)
    }
}

/// One metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metric<'a> {
    /// Its name.
    pub id: Text<'a>,
    /// Its value, which Flink writes as a string.
    pub value: Option<Text<'a>>,
}

impl<'a> Metric<'a> {
    #[inline(never)]
    fn read(reader: &mut Reader<'a>, item: Value<'a>) -> Result<Self, ReadError> {
        let Value::Object = item else {
            return Err(reader.wrong(Code::NotAnObject, ""));
        };
        let no_id = reader.wrong(Code::Missing, "id");
        let (mut id, mut value) = (None, None);
        reader.members(&mut |_, key, member| {
            if key.is("id") {
                id = member.text();
            } else if key.is("value") {
                value = match member {
                    Value::Number(number) => Some(Text::from_raw(number.raw())),
                    other => other.text(),
                };
            }
            Ok(())
        })?;
        let id = id.ok_or(no_id)?;
        Ok(Metric { id, value })
    }

    /// The value, if it is a JSON number; `NaN`, infinities and texts are none.
    pub fn number(&self) -> Option<&'a str> {
        let text = self.value?.plain()?;
        let mut scanner = Scanner::new(text.as_bytes());
        let is_number = match scanner.next_token() {
            Ok(Some(Token::Number(number))) => number.raw().len() == text.len(),
            _ => false,
        };
        is_number.then_some(text)
    }
}
