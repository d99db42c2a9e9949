//! Works on blocks of 64 bytes: one mask of the special ones among them, from which the rest follows without another look.

use super::masks::{BLOCK, block_mask, high_mask, is_any_special, long_mask, mask_of};
use super::string::{StringEnd, escape, is_special};

/// A block is read with so many bytes after it, which copies of constant size may touch.
const SLACK: usize = 32;
/// What a block may become, and what copies of constant size may touch after that.
const ROOM: usize = BLOCK * 6 + SLACK;

type Source = [u8; BLOCK + SLACK];

/// How many bytes at the front of `bytes` stand in a JSON string as they are.
pub(super) fn plain_run(bytes: &[u8]) -> usize {
    let (blocks, tail) = bytes.as_chunks::<BLOCK>();
    let mut at = 0usize;
    for block in blocks {
        let mask = block_mask(block);
        if mask != 0 {
            return at.wrapping_add(mask.trailing_zeros() as usize);
        }
        at = at.wrapping_add(BLOCK);
    }
    let special = |&b: &u8| is_special(b);
    at.wrapping_add(tail.iter().position(special).unwrap_or(tail.len()))
}

/// Finds the end of the string whose content begins at `at`; `None` if anything is wrong with it, but for its UTF-8.
#[inline]
pub(crate) fn string_end(text: &[u8], at: usize) -> Option<StringEnd> {
    let found = first_special::<32>(text, at).or_else(|| first_special::<BLOCK>(text, at));
    match found {
        Some((b'"', end)) if end.is_ascii => Some(end),
        _ => long_string_end(text.get(at..)?),
    }
}

/// The first special byte among the next `N`, and what stands in front of it.
#[inline]
fn first_special<const N: usize>(text: &[u8], at: usize) -> Option<(u8, StringEnd)> {
    let rest = text.get(at..)?;
    // Near the end of the text, what stands before is read too, and left out.
    let (bytes, before) = match rest.first_chunk::<N>() {
        Some(bytes) => (bytes, 0),
        None => (text.last_chunk::<N>()?, N.wrapping_sub(rest.len())),
    };
    let mask = mask_of(bytes).wrapping_shr(before as u32);
    if mask == 0 {
        return None;
    }
    let len = mask.trailing_zeros();
    let high = high_mask(bytes).wrapping_shr(before as u32);
    let end = StringEnd {
        len: len as usize,
        is_ascii: high.trailing_zeros() >= len,
        ..StringEnd::default()
    };
    Some((*rest.get(end.len)?, end))
}

#[inline(never)]
fn long_string_end(bytes: &[u8]) -> Option<StringEnd> {
    let mut end = StringEnd::default();
    let mut is_escaped = false;
    let mut tail = [0; BLOCK];
    loop {
        let rest = bytes.get(end.len..)?;
        let block = match rest.first_chunk() {
            Some(block) => block,
            // After the end stand zeros, which are special.
            None => {
                tail.get_mut(..rest.len())?.copy_from_slice(rest);
                &tail
            }
        };
        let mut mask = block_mask(block) & !u64::from(is_escaped);
        let high = high_mask(block);
        is_escaped = false;
        while mask != 0 {
            let at = mask.trailing_zeros();
            match *block.get(at as usize)? {
                b'"' => {
                    end.is_ascii &= high.trailing_zeros() > at;
                    end.len = end.len.wrapping_add(at as usize);
                    return Some(end);
                }
                b'\\' => {
                    end.note_escape(rest.get(at as usize..)?)?;
                    is_escaped = at == 63;
                    mask &= !(1 << at | 2 << at);
                }
                _ => return None,
            }
        }
        end.is_ascii &= high == 0;
        end.len = end.len.wrapping_add(BLOCK);
    }
}

/// By how many bytes `text` grows by its escapes.
pub(super) fn growth(text: &[u8]) -> usize {
    let (blocks, tail) = text.as_chunks::<BLOCK>();
    let mut growth = 0usize;
    for block in blocks {
        let mask = block_mask(block);
        if mask != 0 {
            growth = growth.wrapping_add(mask.count_ones() as usize);
            let long = long_mask(block).count_ones() as usize;
            growth = growth.wrapping_add(long.wrapping_mul(4));
        }
    }
    tail.iter()
        .filter(|byte| is_special(**byte))
        .fold(growth, |growth, byte| {
            growth.wrapping_add(escape(*byte).1).wrapping_sub(1)
        })
}

/// Writes `text` with its quotes to the front of `to`, and says how long that is; `None` if it does not fit.
///
/// Nothing is called here but at the end, so that a short text costs no registers.
pub(super) fn fill(text: &[u8], to: &mut [u8]) -> Option<usize> {
    let (quote, inside) = to.split_first_mut()?;
    *quote = b'"';
    match text.len() {
        ..8 => fill_word(text, inside),
        8..16 => fill_halves::<8>(text, inside),
        16..32 => fill_halves::<16>(text, inside),
        32..=BLOCK => fill_halves::<32>(text, inside),
        _ => fill_blocks(text, inside),
    }
}

/// Writes the quote after `len` bytes.
#[inline]
fn close(inside: &mut [u8], len: usize) -> Option<usize> {
    *inside.get_mut(len)? = b'"';
    Some(len.wrapping_add(2))
}

#[inline]
fn fill_word(text: &[u8], to: &mut [u8]) -> Option<usize> {
    let len = text.len();
    let word = match (text.first_chunk::<4>(), text.last_chunk::<4>()) {
        (Some(first), Some(last)) => {
            let shift = len.wrapping_sub(4).wrapping_mul(8) as u32;
            u64::from(u32::from_le_bytes(*first))
                | u64::from(u32::from_le_bytes(*last)).wrapping_shl(shift)
        }
        _ => text
            .iter()
            .rev()
            .fold(0, |word, byte| word << 8 | u64::from(*byte)),
    };
    // After the text stand zeros, which are special.
    let mask = mask_of(&word.to_le_bytes()) & !(u64::MAX << (len & 7));
    match to.first_chunk_mut() {
        Some(front) if mask == 0 => *front = word.to_le_bytes(),
        _ => return expand_word(word, len, mask, to),
    }
    close(to, len)
}

#[inline(never)]
fn expand_word(word: u64, len: usize, mask: u64, to: &mut [u8]) -> Option<usize> {
    let mut source = [0; BLOCK + SLACK];
    *source.first_chunk_mut()? = word.to_le_bytes();
    let written = expand_anywhere(&source, 0, len, mask, to)?;
    close(to, written)
}

/// A text of `N` to 2 `N` bytes: two pieces of constant size, which overlap.
#[inline]
fn fill_halves<const N: usize>(text: &[u8], to: &mut [u8]) -> Option<usize> {
    let len = text.len();
    let (first, last) = (text.first_chunk::<N>()?, text.last_chunk::<N>()?);
    if is_any_special(first, last) {
        return expand_halves(first, last, len, to);
    }
    let inside = to.get_mut(..len)?;
    *inside.first_chunk_mut()? = *first;
    *inside.last_chunk_mut()? = *last;
    close(to, len)
}

#[inline(never)]
fn expand_halves<const N: usize>(
    first: &[u8; N],
    last: &[u8; N],
    len: usize,
    to: &mut [u8],
) -> Option<usize> {
    let shift = len.wrapping_sub(N);
    let mut source = [0; BLOCK + SLACK];
    *source.first_chunk_mut()? = *first;
    *source.get_mut(shift..)?.first_chunk_mut()? = *last;
    let mask = mask_of(first) | mask_of(last) << (shift & 63);
    let written = expand_anywhere(&source, 0, len, mask, to)?;
    close(to, written)
}

/// A text of more than one block.
#[inline(never)]
fn fill_blocks(text: &[u8], to: &mut [u8]) -> Option<usize> {
    let mut rest = text;
    let mut at = 0usize;
    while rest.len() > BLOCK {
        #[cfg(feature = "simd")]
        {
            // One byte at least is left for the last block.
            let (_, most) = rest.split_last()?;
            let (read, written) = edge_report_simd::escape(most, to.get_mut(at..)?);
            at = at.wrapping_add(written);
            rest = rest.get(read..)?;
            if rest.len() <= BLOCK {
                break;
            }
        }
        let block = rest.first_chunk()?;
        let free = to.get_mut(at..)?;
        let mask = block_mask(block);
        let written = if mask == 0
            && let Some(free) = free.first_chunk_mut()
        {
            *free = *block;
            BLOCK
        } else if let (Some(source), Some(free)) = (rest.first_chunk(), free.first_chunk_mut()) {
            expand(source, 0, BLOCK, mask, free)?
        } else {
            expand_last(block, 0, BLOCK, mask, free)?
        };
        at = at.wrapping_add(written);
        rest = rest.get(BLOCK..)?;
    }
    // The last block, without what is written already.
    let block = text.last_chunk()?;
    let from = BLOCK.wrapping_sub(rest.len());
    let mask = block_mask(block) & u64::MAX << (from & 63);
    let written = expand_last(block, from, BLOCK, mask, to.get_mut(at..)?)?;
    close(to, at.wrapping_add(written))
}

/// Like [`expand_anywhere`], of a block with nothing after it.
#[inline(never)]
fn expand_last(
    block: &[u8; BLOCK],
    from: usize,
    end: usize,
    mask: u64,
    to: &mut [u8],
) -> Option<usize> {
    let mut source = [0; BLOCK + SLACK];
    *source.first_chunk_mut()? = *block;
    expand_anywhere(&source, from, end, mask, to)
}

/// Writes the bytes `from..end` of `source`, where the special ones are those of `mask`; also where there is just enough room.
#[inline]
fn expand_anywhere(
    source: &Source,
    from: usize,
    end: usize,
    mask: u64,
    to: &mut [u8],
) -> Option<usize> {
    if let Some(to) = to.first_chunk_mut() {
        return expand(source, from, end, mask, to);
    }
    expand_tightly(source, from, end, mask, to)
}

#[cold]
#[inline(never)]
fn expand_tightly(
    source: &Source,
    from: usize,
    end: usize,
    mask: u64,
    to: &mut [u8],
) -> Option<usize> {
    let mut spare = [0; ROOM];
    let len = expand(source, from, end, mask, &mut spare)?;
    to.get_mut(..len)?.copy_from_slice(spare.get(..len)?);
    Some(len)
}

/// Copies what stands between the special bytes, and puts an escape in the place of each.
#[inline]
fn expand(
    source: &Source,
    mut from: usize,
    end: usize,
    mut mask: u64,
    to: &mut [u8; ROOM],
) -> Option<usize> {
    let mut at = 0usize;
    while mask != 0 {
        let special = mask.trailing_zeros() as usize;
        mask &= mask.wrapping_sub(1);
        let run = special.wrapping_sub(from);
        copy_run(source, from, run, to, at)?;
        at = at.wrapping_add(run);
        let escape = *ESCAPES.get(usize::from(*source.get(special)?))?;
        *to.get_mut(at..)?.first_chunk_mut()? = escape.to_le_bytes();
        at = at.wrapping_add((escape >> 56) as usize);
        from = special.wrapping_add(1);
    }
    let run = end.wrapping_sub(from);
    copy_run(source, from, run, to, at)?;
    Some(at.wrapping_add(run))
}

/// Copies `run` bytes at least.
#[inline]
fn copy_run(
    source: &Source,
    from: usize,
    run: usize,
    to: &mut [u8; ROOM],
    at: usize,
) -> Option<()> {
    let piece = source.get(from..)?.first_chunk::<32>()?;
    *to.get_mut(at..)?.first_chunk_mut()? = *piece;
    if run > 32 {
        let piece = source.get(from.wrapping_add(32)..)?.first_chunk::<32>()?;
        *to.get_mut(at.wrapping_add(32)..)?.first_chunk_mut()? = *piece;
    }
    Some(())
}

/// The escape of each special byte, the first byte lowest, and its length in the highest. Of all bytes, so that no index is beyond it.
#[expect(clippy::indexing_slicing, reason = "at compile time")]
static ESCAPES: [u64; 256] = {
    let mut table = [0; 256];
    let mut byte = 0u8;
    while byte <= b'\\' {
        let ([a, b, c, d, e, f], len) = escape(byte);
        table[byte as usize] = u64::from_le_bytes([a, b, c, d, e, f, 0, len as u8]);
        byte += 1;
    }
    table
};
