//! Lists of strings, which come from JavaScript as JSON text.

use alloc::string::String;
use alloc::vec::Vec;

use edge_report::json::{Scanner, Text, Token};
use zeroize::Zeroizing;

/// Strings, wiped when dropped: keys may be among them.
pub(crate) struct Strings(Vec<Option<Zeroizing<String>>>);

impl Strings {
    /// Reads `["a", null, "b"]`.
    pub(crate) fn read(json: &str) -> Self {
        let mut strings = Vec::new();
        let mut scanner = Scanner::new(json.as_bytes());
        while let Ok(Some(token)) = scanner.next_token() {
            match token {
                Token::String(text) => strings.push(Some(decoded(text))),
                Token::Null => strings.push(None),
                _ => {}
            }
        }
        Strings(strings)
    }

    /// The string at a place; `None` for null.
    pub(crate) fn at(&self, index: usize) -> Option<&str> {
        let string = self.0.get(index)?.as_ref()?;
        Some(string.as_str())
    }

    /// All of them; null is empty.
    pub(crate) fn texts(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(text)
    }

    /// The strings in pairs.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        let pairs = self.0.as_chunks::<2>().0.iter();
        pairs.map(|[name, value]| (text(name), text(value)))
    }
}

fn text(string: &Option<Zeroizing<String>>) -> &str {
    string.as_ref().map_or("", |string| string.as_str())
}

fn decoded(text: Text<'_>) -> Zeroizing<String> {
    // Room enough at once, so that no part stays behind in memory.
    let mut bytes = Vec::with_capacity(text.raw().len());
    let _ = text.decode(&mut bytes);
    Zeroizing::new(String::from_utf8(bytes).unwrap_or_default())
}
