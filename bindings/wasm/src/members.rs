//! Objects of plain values, which come from JavaScript as JSON text.

use edge_report::json::{Scanner, Text, Token};

/// Gives each member of an object of plain values to `each`.
pub(crate) fn members<'j>(json: &'j str, mut each: impl FnMut(Text<'j>, Token<'j>)) {
    let mut scanner = Scanner::new(json.as_bytes());
    let mut key = None;
    while let Ok(Some(token)) = scanner.next_token() {
        match (key.take(), token) {
            (_, Token::Key(next)) => key = Some(next),
            (Some(key), value) => each(key, value),
            (None, _) => {}
        }
    }
}

/// A whole number that is not negative.
pub(crate) fn whole(value: Token<'_>) -> Option<u64> {
    match value {
        Token::Number(number) if number.is_integer() => number.raw().parse().ok(),
        _ => None,
    }
}
