//! What goes back to JavaScript, as JSON text.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt::Display;

use edge_report::Code;
use edge_report::json::{Sink, Text};

/// JSON text as it grows. Commas come by themselves.
pub(crate) struct Answer {
    text: Vec<u8>,
}

#[cfg_attr(
    feature = "spool",
    expect(dead_code, reason = "the other module needs all of it")
)]
impl Answer {
    /// Begins with `{` or `[`.
    pub(crate) fn begin(bracket: u8) -> Self {
        Answer {
            text: Vec::from([bracket]),
        }
    }

    /// An object with an error's code.
    pub(crate) fn error(code: Code) -> Self {
        let mut answer = Self::begin(b'{');
        answer.number("code", code.number());
        answer
    }

    /// A whole number, as a member or, without a name, as an element.
    pub(crate) fn number<'n>(
        &mut self,
        name: impl Into<Option<&'n str>>,
        value: impl TryInto<i64>,
    ) {
        self.name(name.into());
        // What does not fit is as good as endless.
        let _ = self.text.put_integer(value.try_into().unwrap_or(i64::MAX));
    }

    pub(crate) fn text<'n>(&mut self, name: impl Into<Option<&'n str>>, value: &str) {
        self.name(name.into());
        let _ = self.text.put_string(value);
    }

    pub(crate) fn shown<'n>(&mut self, name: impl Into<Option<&'n str>>, value: &impl Display) {
        self.text(name, &value.to_string());
    }

    pub(crate) fn json_text(&mut self, name: &str, value: Option<Text<'_>>) {
        if let Some(value) = value {
            self.shown(name, &value);
        }
    }

    pub(crate) fn flag(&mut self, name: &str, value: bool) {
        self.name(Some(name));
        self.text
            .extend_from_slice(if value { b"true" } else { b"false" });
    }

    /// A list or object inside.
    pub(crate) fn open<'n>(&mut self, name: impl Into<Option<&'n str>>, bracket: u8) {
        self.name(name.into());
        self.text.push(bracket);
    }

    pub(crate) fn close(&mut self, bracket: u8) {
        self.text.push(bracket);
    }

    pub(crate) fn end(mut self, bracket: u8) -> String {
        self.text.push(bracket);
        String::from_utf8(self.text).unwrap_or_default()
    }

    fn name(&mut self, name: Option<&str>) {
        if !matches!(self.text.last(), Some(b'{' | b'[')) {
            self.text.push(b',');
        }
        if let Some(name) = name {
            let _ = self.text.put_string(name);
            self.text.push(b':');
        }
    }
}
