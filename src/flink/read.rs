//! What all readers of Flink's responses share: objects and lists walked over the scanner, and why a response cannot be read.

use core::fmt;

use crate::code::Code;
use crate::json::{Error, Number, Scanner, Text, Token};

/// Why a response cannot be read, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadError {
    code: Code,
    member: &'static str,
    offset: usize,
}

impl ReadError {
    /// What is wrong.
    pub const fn code(&self) -> Code {
        self.code
    }

    /// Of which member of the response; empty where the text as a whole is no JSON.
    pub const fn member(&self) -> &'static str {
        self.member
    }

    /// Byte offset into the body.
    pub const fn offset(&self) -> usize {
        self.offset
    }
}

impl fmt::Display for ReadError {
    /// `jid: required, and missing (byte 12)`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.member.is_empty() {
            write!(f, "{}: ", self.member)?;
        }
        write!(f, "{} (byte {})", self.code, self.offset)
    }
}

impl core::error::Error for ReadError {}

/// A value, or its first token.
#[derive(Clone, Copy)]
pub(super) enum Value<'a> {
    Object,
    List,
    Text(Text<'a>),
    Number(Number<'a>),
    Bool(bool),
    /// `null`, or a string with wrong content.
    Other,
}

impl<'a> Value<'a> {
    pub(super) fn text(self) -> Option<Text<'a>> {
        match self {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// An integer, also one in quotes.
    #[inline(never)]
    pub(super) fn integer(self) -> Option<i64> {
        match self {
            Value::Number(number) => number.to_i64(),
            Value::Text(text) => text.plain()?.parse().ok(),
            _ => None,
        }
    }
}

/// Takes a member: its key, and its value or the first token of that.
type Each<'e, 'a> = dyn FnMut(&mut Reader<'a>, Text<'a>, Value<'a>) -> Result<(), ReadError> + 'e;

/// Walks over one response.
#[derive(Clone, Debug)]
pub(super) struct Reader<'a> {
    scanner: Scanner<'a>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(body: &'a [u8]) -> Self {
        Reader {
            scanner: Scanner::new(body),
        }
    }

    /// A response that is an object: `each` is given its members. Nothing may follow it.
    #[inline(never)]
    pub(super) fn whole_object(mut self, each: &mut Each<'_, 'a>) -> Result<(), ReadError> {
        match self.value()? {
            Value::Object => self.members(each)?,
            _ => return Err(self.wrong(Code::NotAnObject, "")),
        }
        self.end()
    }

    pub(super) fn end(mut self) -> Result<(), ReadError> {
        self.scanner.next_token().map_err(not_json)?;
        Ok(())
    }

    /// The members of the object that was just opened, up to its end. What `each` does not read of a value is passed over.
    #[inline(never)]
    pub(super) fn members(&mut self, each: &mut Each<'_, 'a>) -> Result<(), ReadError> {
        let inside = self.scanner.depth();
        loop {
            match self.token()? {
                Some(Token::Key(key)) => {
                    let value = self.value()?;
                    each(self, key, value)?;
                    self.leave(inside)?;
                }
                // A key with wrong content: nobody asks for it.
                None => {
                    self.value()?;
                    self.leave(inside)?;
                }
                Some(_) => return Ok(()),
            }
        }
    }

    /// The next item of the list that was just opened; `None` at its end.
    #[inline(never)]
    pub(super) fn item(&mut self, inside: u32) -> Result<Option<Value<'a>>, ReadError> {
        self.leave(inside)?;
        Ok(match self.token()? {
            Some(Token::ArrayEnd) => None,
            token => Some(value_of(token)),
        })
    }

    /// The next value.
    #[inline(never)]
    pub(super) fn value(&mut self) -> Result<Value<'a>, ReadError> {
        self.token().map(value_of)
    }

    /// `None` is a string with wrong content: it spoils no response.
    #[inline(never)] // large, and called from many places
    fn token(&mut self) -> Result<Option<Token<'a>>, ReadError> {
        match self.scanner.next_token() {
            Ok(Some(token)) => Ok(Some(token)),
            Ok(None) => Err(self.wrong(Code::JsonUnexpectedEnd, "")),
            Err(error) if error.is_in_string() => Ok(None),
            Err(error) => Err(not_json(error)),
        }
    }

    /// Reads on until only `depth` objects and lists are open.
    #[inline(never)]
    pub(super) fn leave(&mut self, depth: u32) -> Result<(), ReadError> {
        while self.scanner.depth() > depth {
            self.token()?;
        }
        Ok(())
    }

    /// Reads to the end of the object or list that was just opened, and says whether all strings in it are sound.
    pub(super) fn leave_soundly(&mut self) -> Result<bool, ReadError> {
        let outside = self.scanner.depth().saturating_sub(1);
        let mut is_sound = true;
        while self.scanner.depth() > outside {
            is_sound &= self.token()?.is_some();
        }
        Ok(is_sound)
    }

    /// How many objects and lists are open.
    pub(super) fn depth(&self) -> u32 {
        self.scanner.depth()
    }

    /// Where the last token stands, and up to where the text is read.
    pub(super) fn place(&self) -> (usize, usize) {
        (self.scanner.token_offset(), self.scanner.offset())
    }

    /// An error at the token that was read last.
    pub(super) fn wrong(&self, code: Code, member: &'static str) -> ReadError {
        ReadError {
            code,
            member,
            offset: self.scanner.token_offset(),
        }
    }
}

/// The items of a list, once more: it was read before without an error.
#[derive(Clone, Debug)]
pub(super) struct Items<'a> {
    reader: Reader<'a>,
    inside: u32,
}

impl<'a> Items<'a> {
    /// Of the list that was just opened.
    pub(super) fn of(reader: &Reader<'a>) -> Self {
        Items {
            reader: reader.clone(),
            inside: reader.depth(),
        }
    }

    /// Of no list.
    pub(super) fn none() -> Self {
        Items::of(&Reader::new(b""))
    }

    /// The next item, as `read` reads it.
    pub(super) fn next<T>(
        &mut self,
        read: impl FnOnce(&mut Reader<'a>, Value<'a>) -> Result<T, ReadError>,
    ) -> Option<T> {
        let item = self.reader.item(self.inside).ok()??;
        read(&mut self.reader, item).ok()
    }
}

fn value_of(token: Option<Token<'_>>) -> Value<'_> {
    match token {
        Some(Token::ObjectStart) => Value::Object,
        Some(Token::ArrayStart) => Value::List,
        Some(Token::String(text)) => Value::Text(text),
        Some(Token::Number(number)) => Value::Number(number),
        Some(Token::Bool(value)) => Value::Bool(value),
        _ => Value::Other,
    }
}

fn not_json(error: Error) -> ReadError {
    ReadError {
        code: error.code(),
        member: "",
        offset: error.offset(),
    }
}
