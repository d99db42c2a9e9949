//! A strict RFC 8259 pull scanner: no heap, no recursion.

use core::fmt;

use super::kernel::{plain_run, string_end};
use super::text::{Number, Text};
use crate::code::Code;

/// How many arrays and objects may be open at once.
pub const MAX_DEPTH: u32 = u128::BITS;

/// What some editors put in front of UTF-8, and RFC 8259 forbids.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// One step of a JSON text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token<'a> {
    /// `{`
    ObjectStart,
    /// `}`
    ObjectEnd,
    /// `[`
    ArrayStart,
    /// `]`
    ArrayEnd,
    /// A key; its value comes next. The same key may come again: that is for the caller to judge.
    Key(Text<'a>),
    /// A string.
    String(Text<'a>),
    /// A number.
    Number(Number<'a>),
    /// `true` or `false`.
    Bool(bool),
    /// `null`.
    Null,
}

/// Why a text is not JSON, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Error {
    code: Code,
    offset: usize,
}

impl Error {
    /// What is wrong: one of the `Json…` codes.
    pub const fn code(&self) -> Code {
        self.code
    }

    /// Byte offset into the text.
    pub const fn offset(&self) -> usize {
        self.offset
    }

    /// Whether only the content of one string is wrong. The scanner then stands after that string,
    /// and [`Scanner::next_token`] goes on as if it had been given out.
    pub fn is_in_string(&self) -> bool {
        matches!(
            self.code,
            Code::JsonBadEscape
                | Code::JsonLoneSurrogate
                | Code::JsonControlCharacter
                | Code::JsonNotUtf8
        )
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (byte {})", self.code, self.offset)
    }
}

impl core::error::Error for Error {}

/// What may come next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expect {
    Value,
    ValueOrArrayEnd,
    KeyOrObjectEnd,
    Colon,
    CommaOrEnd,
    Nothing,
}

/// Gives out the tokens of one JSON text, checking all of RFC 8259 on the way.
///
/// ```
/// use edge_report::json::{Scanner, Token};
///
/// let mut scanner = Scanner::new(br#"{"job_id": 99270}"#);
/// while let Some(token) = scanner.next_token()? {
///     if let Token::Number(number) = token {
///         assert_eq!(number.to_i64(), Some(99270));
///         assert_eq!(scanner.token_offset(), 11);
///     }
/// }
/// # Ok::<(), edge_report::json::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
    token_at: usize,
    expect: Expect,
    /// One bit a level, the lowest for the innermost: 1 for an object, 0 for an array.
    levels: u128,
    depth: u32,
    failed: Option<Error>,
}

impl<'a> Scanner<'a> {
    /// A scanner at the start of `text`.
    pub fn new(text: &'a [u8]) -> Self {
        Scanner {
            text,
            at: 0,
            token_at: 0,
            expect: Expect::Value,
            levels: 0,
            depth: 0,
            failed: None,
        }
    }

    /// Byte offset of the token given out last.
    pub fn token_offset(&self) -> usize {
        self.token_at
    }

    /// Byte offset up to which the text is read.
    pub fn offset(&self) -> usize {
        self.at
    }

    /// How many arrays and objects are open.
    pub fn depth(&self) -> u32 {
        self.depth
    }

    /// The next token; `None` at the end of a complete text.
    ///
    /// An error comes again at every further call, unless [`Error::is_in_string`].
    pub fn next_token(&mut self) -> Result<Option<Token<'a>>, Error> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let result = self.advance();
        if let Err(error) = result
            && !error.is_in_string()
        {
            self.failed = Some(error);
        }
        result
    }

    /// Reads past the value that begins with the next token.
    pub fn skip_value(&mut self) -> Result<(), Error> {
        let outside = self.depth;
        loop {
            if self.next_token()?.is_none() || (self.depth <= outside && self.value_is_complete()) {
                return Ok(());
            }
        }
    }

    /// Reads on until only `depth` arrays and objects are open.
    pub fn leave(&mut self, depth: u32) -> Result<(), Error> {
        while self.depth > depth {
            self.next_token()?;
        }
        Ok(())
    }

    fn value_is_complete(&self) -> bool {
        matches!(self.expect, Expect::CommaOrEnd | Expect::Nothing)
    }

    fn advance(&mut self) -> Result<Option<Token<'a>>, Error> {
        let mut byte = self.significant_byte();
        if self.expect == Expect::CommaOrEnd && byte == Some(b',') {
            self.at = self.at.wrapping_add(1);
            byte = self.significant_byte();
            if self.in_object() {
                return self.key(byte).map(Some);
            }
            self.expect = Expect::Value;
        } else if self.expect == Expect::Colon {
            if byte != Some(b':') {
                return Err(self.unexpected(byte));
            }
            self.at = self.at.wrapping_add(1);
            byte = self.significant_byte();
            self.expect = Expect::Value;
        }
        self.token_at = self.at;
        let Some(byte) = byte else {
            return match self.expect {
                Expect::Nothing => Ok(None),
                _ => Err(self.error(Code::JsonUnexpectedEnd)),
            };
        };
        let token = match (self.expect, byte) {
            (Expect::Nothing, _) => return Err(self.error(Code::JsonTrailingBytes)),
            (Expect::CommaOrEnd | Expect::KeyOrObjectEnd, b'}') if self.in_object() => {
                self.close();
                Token::ObjectEnd
            }
            (Expect::CommaOrEnd | Expect::ValueOrArrayEnd, b']') if !self.in_object() => {
                self.close();
                Token::ArrayEnd
            }
            (Expect::KeyOrObjectEnd, _) => self.key(Some(byte))?,
            (Expect::Value | Expect::ValueOrArrayEnd, _) => self.value(byte)?,
            _ => return Err(self.error(Code::JsonUnexpectedByte)),
        };
        Ok(Some(token))
    }

    fn value(&mut self, byte: u8) -> Result<Token<'a>, Error> {
        match byte {
            b'{' => {
                self.open(1)?;
                self.expect = Expect::KeyOrObjectEnd;
                Ok(Token::ObjectStart)
            }
            b'[' => {
                self.open(0)?;
                self.expect = Expect::ValueOrArrayEnd;
                Ok(Token::ArrayStart)
            }
            b'"' => {
                self.value_ended();
                self.string().map(Token::String)
            }
            b'-' | b'0'..=b'9' => {
                self.value_ended();
                self.number().map(Token::Number)
            }
            b't' => self.literal(b"true", Token::Bool(true)),
            b'f' => self.literal(b"false", Token::Bool(false)),
            b'n' => self.literal(b"null", Token::Null),
            _ if self.at == 0 && self.text.starts_with(BYTE_ORDER_MARK) => {
                Err(self.error(Code::JsonByteOrderMark))
            }
            _ => Err(self.error(Code::JsonUnexpectedByte)),
        }
    }

    fn key(&mut self, byte: Option<u8>) -> Result<Token<'a>, Error> {
        self.token_at = self.at;
        if byte != Some(b'"') {
            return Err(self.unexpected(byte));
        }
        self.expect = Expect::Colon;
        self.string().map(Token::Key)
    }

    fn open(&mut self, bit: u128) -> Result<(), Error> {
        if self.depth == MAX_DEPTH {
            return Err(self.error(Code::JsonTooDeep));
        }
        self.levels = self.levels << 1 | bit;
        self.depth = self.depth.wrapping_add(1);
        self.at = self.at.wrapping_add(1);
        Ok(())
    }

    fn close(&mut self) {
        self.levels >>= 1;
        self.depth = self.depth.wrapping_sub(1);
        self.at = self.at.wrapping_add(1);
        self.value_ended();
    }

    fn value_ended(&mut self) {
        self.expect = if self.depth == 0 {
            Expect::Nothing
        } else {
            Expect::CommaOrEnd
        };
    }

    fn in_object(&self) -> bool {
        self.depth > 0 && self.levels & 1 == 1
    }

    fn literal(&mut self, word: &[u8], token: Token<'a>) -> Result<Token<'a>, Error> {
        for &letter in word {
            if self.byte() != Some(letter) {
                return Err(self.unexpected(self.byte()));
            }
            self.at = self.at.wrapping_add(1);
        }
        self.value_ended();
        Ok(token)
    }

    fn number(&mut self) -> Result<Number<'a>, Error> {
        let start = self.at;
        if self.byte() == Some(b'-') {
            self.at = self.at.wrapping_add(1);
        }
        // A leading zero stands alone.
        if self.byte() == Some(b'0') {
            self.at = self.at.wrapping_add(1);
            if self.byte().is_some_and(|b| b.is_ascii_digit()) {
                return Err(self.error(Code::JsonBadNumber));
            }
        } else {
            self.digits()?;
        }
        let mut is_integer = true;
        if self.byte() == Some(b'.') {
            is_integer = false;
            self.at = self.at.wrapping_add(1);
            self.digits()?;
        }
        if matches!(self.byte(), Some(b'e' | b'E')) {
            is_integer = false;
            self.at = self.at.wrapping_add(1);
            if matches!(self.byte(), Some(b'+' | b'-')) {
                self.at = self.at.wrapping_add(1);
            }
            self.digits()?;
        }
        let raw = self.text.get(start..self.at).unwrap_or_default();
        Ok(Number::new(raw, is_integer))
    }

    /// One digit or more.
    fn digits(&mut self) -> Result<(), Error> {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let run = rest.iter().take_while(|b| b.is_ascii_digit()).count();
        self.at = self.at.wrapping_add(run);
        match (run, rest.is_empty()) {
            (0, true) => Err(self.error(Code::JsonUnexpectedEnd)),
            (0, false) => Err(self.error(Code::JsonBadNumber)),
            _ => Ok(()),
        }
    }

    /// The string that begins at the quote. When only its content is wrong, stands after it anyway.
    fn string(&mut self) -> Result<Text<'a>, Error> {
        self.at = self.at.wrapping_add(1);
        let start = self.at;
        // The short way, for a string with nothing wrong in it.
        let rest = self.text.get(start..).unwrap_or_default();
        if let Some(end) = string_end(self.text, start)
            && let Some(raw) = rest.get(..end.len)
            && let Ok(raw) = core::str::from_utf8(raw)
        {
            self.at = start.wrapping_add(end.len).wrapping_add(1);
            return Ok(Text::new(raw, end.has_escapes));
        }
        self.careful_string(start)
    }

    #[cold]
    fn careful_string(&mut self, start: usize) -> Result<Text<'a>, Error> {
        let mut wrong: Option<Error> = None;
        let mut escaped = false;
        loop {
            let rest = self.text.get(self.at..).unwrap_or_default();
            self.at = self.at.wrapping_add(plain_run(rest));
            match self.byte() {
                None | Some(b'"') => break,
                Some(b'\\') => {
                    escaped = true;
                    let offset = self.at;
                    if let Err(code) = self.escape() {
                        let cut = code == Code::JsonUnexpectedEnd;
                        wrong = wrong.or((!cut).then_some(Error { code, offset }));
                    }
                }
                Some(_) => {
                    wrong = wrong.or(Some(self.error(Code::JsonControlCharacter)));
                    self.at = self.at.wrapping_add(1);
                }
            }
        }
        let raw = self.text.get(start..self.at).unwrap_or_default();
        let utf8 = core::str::from_utf8(raw);
        // A character cut by the end of the text is an early end, not wrong content.
        if let Err(bad) = utf8
            && (bad.error_len().is_some() || self.byte().is_some())
        {
            let offset = start.wrapping_add(bad.valid_up_to());
            let code = Code::JsonNotUtf8;
            wrong = wrong
                .filter(|w| w.offset < offset)
                .or(Some(Error { code, offset }));
        }
        match (wrong, self.byte(), utf8) {
            (Some(wrong), Some(_), _) => {
                self.at = self.at.wrapping_add(1);
                Err(wrong)
            }
            // Wrong content first; that the string does not end either, the next call says.
            (Some(wrong), None, _) => {
                self.failed = Some(self.error(Code::JsonUnexpectedEnd));
                Err(wrong)
            }
            (None, Some(_), Ok(raw)) => {
                self.at = self.at.wrapping_add(1);
                Ok(Text::new(raw, escaped))
            }
            _ => Err(self.error(Code::JsonUnexpectedEnd)),
        }
    }

    /// Reads past the escape at the backslash. On a wrong one, past the backslash and what is certainly part of it.
    fn escape(&mut self) -> Result<(), Code> {
        self.at = self.at.wrapping_add(1);
        let byte = self.byte().ok_or(Code::JsonUnexpectedEnd)?;
        match byte {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => {
                self.at = self.at.wrapping_add(1);
                Ok(())
            }
            b'u' => {
                self.at = self.at.wrapping_add(1);
                match self.hex4()? {
                    0xd800..0xdc00 => self.low_surrogate(),
                    0xdc00..0xe000 => Err(Code::JsonLoneSurrogate),
                    _ => Ok(()),
                }
            }
            _ => Err(Code::JsonBadEscape),
        }
    }

    /// The second half that must follow the first one.
    fn low_surrogate(&mut self) -> Result<(), Code> {
        let before = self.at;
        let rest = self.text.get(before..).unwrap_or_default();
        if rest.starts_with(b"\\u") {
            self.at = before.wrapping_add(2);
            match self.hex4() {
                Ok(0xdc00..0xe000) => return Ok(()),
                Err(Code::JsonUnexpectedEnd) => return Err(Code::JsonUnexpectedEnd),
                // It may be a character of its own: read it again.
                _ => self.at = before,
            }
        } else if b"\\u".starts_with(rest) {
            self.at = self.text.len();
            return Err(Code::JsonUnexpectedEnd);
        }
        Err(Code::JsonLoneSurrogate)
    }

    fn hex4(&mut self) -> Result<u32, Code> {
        let mut value = 0u32;
        for _ in 0..4 {
            let byte = self.byte().ok_or(Code::JsonUnexpectedEnd)?;
            let digit = char::from(byte).to_digit(16).ok_or(Code::JsonBadEscape)?;
            value = value << 4 | digit;
            self.at = self.at.wrapping_add(1);
        }
        Ok(value)
    }

    fn significant_byte(&mut self) -> Option<u8> {
        loop {
            match self.byte() {
                Some(b' ' | b'\n' | b'\r' | b'\t') => self.at = self.at.wrapping_add(1),
                byte => return byte,
            }
        }
    }

    #[inline]
    fn byte(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn unexpected(&self, byte: Option<u8>) -> Error {
        self.error(match byte {
            None => Code::JsonUnexpectedEnd,
            Some(_) => Code::JsonUnexpectedByte,
        })
    }

    fn error(&self, code: Code) -> Error {
        Error {
            code,
            offset: self.at,
        }
    }
}
