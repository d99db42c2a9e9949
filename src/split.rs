//! Splitting text at an ASCII byte. The compiler cannot see that `str::find` and its kin never panic;
//! in these it can, so that no panic is linked.

/// The parts before and after the first `byte`.
pub(crate) fn split_once(text: &str, byte: u8) -> Option<(&str, &str)> {
    cut(text, text.bytes().position(|b| b == byte)?)
}

/// The parts before and after the last `byte`.
pub(crate) fn rsplit_once(text: &str, byte: u8) -> Option<(&str, &str)> {
    cut(text, text.bytes().rposition(|b| b == byte)?)
}

#[inline(never)]
fn cut(text: &str, at: usize) -> Option<(&str, &str)> {
    let (before, rest) = text.split_at_checked(at)?;
    Some((before, rest.get(1..)?))
}
