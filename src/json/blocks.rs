//! Looks for special bytes in blocks of 64 by vectors, and writes a block from the mask of its special bytes, without looking again.

use wide::u8x16;

use super::string::{escape, is_special};

const BLOCK: usize = 64;
/// A block is read with so many bytes behind it, which copies of constant size may touch.
const BEHIND: usize = 32;
/// What a block may become, and what copies of constant size may touch behind that.
const ROOM: usize = BLOCK * 6 + BEHIND;

type Source = [u8; BLOCK + BEHIND];

/// How many bytes at the front of `bytes` stand in a JSON string as they are.
pub(super) fn plain_run(bytes: &[u8]) -> usize {
    let (blocks, tail) = bytes.as_chunks::<BLOCK>();
    let mut at = 0usize;
    for block in blocks {
        let mask = special_mask(block);
        if mask != 0 {
            return at.wrapping_add(mask.trailing_zeros() as usize);
        }
        at = at.wrapping_add(BLOCK);
    }
    let special = |&b: &u8| is_special(b);
    at.wrapping_add(tail.iter().position(special).unwrap_or(tail.len()))
}

/// By how many bytes `text` grows by its escapes.
pub(super) fn growth(text: &[u8]) -> usize {
    let (blocks, tail) = text.as_chunks::<BLOCK>();
    let long = |byte: &&u8| is_special(**byte) && escape(**byte).1 > 2;
    let mut growth = 0usize;
    for block in blocks {
        let mask = special_mask(block);
        growth = growth.wrapping_add(mask.count_ones() as usize);
        if mask & control_mask(block) != 0 {
            growth = growth.wrapping_add(block.iter().filter(long).count().wrapping_mul(4));
        }
    }
    let short = tail.iter().filter(|byte| is_special(**byte)).count();
    let long = tail.iter().filter(long).count().wrapping_mul(4);
    growth.wrapping_add(short).wrapping_add(long)
}

/// Writes `text` with its quotes to the front of `to`, and says how long that is; `None` if it does not fit.
pub(super) fn fill(text: &[u8], to: &mut [u8]) -> Option<usize> {
    let (quote, inside) = to.split_first_mut()?;
    *quote = b'"';
    let len = match fill_short(text, inside) {
        Some(len) => len,
        None => fill_blocks(text, inside)?,
    };
    *inside.get_mut(len)? = b'"';
    Some(len.wrapping_add(2))
}

/// A text of up to 32 bytes without special ones: two copies of constant size, which overlap.
#[inline]
fn fill_short(text: &[u8], to: &mut [u8]) -> Option<usize> {
    let len = text.len();
    if len > 32 {
        return None;
    }
    if let (Some(first), Some(last)) = (text.first_chunk::<16>(), text.last_chunk::<16>()) {
        if special(first) | special(last) != 0 {
            return None;
        }
        let to = to.get_mut(..len)?;
        *to.first_chunk_mut()? = *first;
        *to.last_chunk_mut()? = *last;
    } else if let (Some(first), Some(last)) = (text.first_chunk::<8>(), text.last_chunk::<8>()) {
        let both =
            u128::from(u64::from_le_bytes(*first)) | u128::from(u64::from_le_bytes(*last)) << 64;
        if special(&both.to_le_bytes()) != 0 {
            return None;
        }
        let to = to.get_mut(..len)?;
        *to.first_chunk_mut()? = *first;
        *to.last_chunk_mut()? = *last;
    } else {
        for (from, to) in text.iter().zip(to.get_mut(..len)?) {
            if is_special(*from) {
                return None;
            }
            *to = *from;
        }
    }
    Some(len)
}

fn fill_blocks(text: &[u8], to: &mut [u8]) -> Option<usize> {
    let mut rest = text;
    let mut at = 0usize;
    while let Some(source) = rest.first_chunk() {
        at = at.wrapping_add(fill_block(source, BLOCK, to.get_mut(at..)?)?);
        rest = rest.get(BLOCK..)?;
    }
    let mut last = [0; BLOCK + BLOCK + BEHIND];
    last.get_mut(..rest.len())?.copy_from_slice(rest);
    let mut from = 0usize;
    while from < rest.len() {
        let len = rest.len().wrapping_sub(from).min(BLOCK);
        let source = last.get(from..)?.first_chunk()?;
        at = at.wrapping_add(fill_block(source, len, to.get_mut(at..)?)?);
        from = from.wrapping_add(BLOCK);
    }
    Some(at)
}

/// Writes the first `len` bytes of `source`.
#[inline]
fn fill_block(source: &Source, len: usize, to: &mut [u8]) -> Option<usize> {
    let block = source.first_chunk::<BLOCK>()?;
    let mut mask = special_mask(block);
    if len < BLOCK {
        mask &= !(u64::MAX << (len & 63));
    }
    if mask == 0 {
        match to.first_chunk_mut::<BLOCK>() {
            Some(to) => *to = *block,
            None => to.get_mut(..len)?.copy_from_slice(block.get(..len)?),
        }
        return Some(len);
    }
    match to.first_chunk_mut::<ROOM>() {
        Some(to) => expand(source, len, mask, to),
        None => {
            let mut spare = [0; ROOM];
            let len = expand(source, len, mask, &mut spare)?;
            to.get_mut(..len)?.copy_from_slice(spare.get(..len)?);
            Some(len)
        }
    }
}

/// Copies what stands between the special bytes, and puts an escape in the place of each.
#[inline]
fn expand(source: &Source, len: usize, mut mask: u64, to: &mut [u8; ROOM]) -> Option<usize> {
    let mut from = 0usize;
    let mut at = 0usize;
    while mask != 0 {
        let special = mask.trailing_zeros() as usize;
        mask &= mask.wrapping_sub(1);
        let run = special.wrapping_sub(from);
        copy_run(source, from, run, to, at)?;
        at = at.wrapping_add(run);
        let entry = ESCAPES.get(usize::from(*source.get(special)?))?;
        *to.get_mut(at..)?.first_chunk_mut()? = *entry;
        at = at.wrapping_add(usize::from(entry[7]));
        from = special.wrapping_add(1);
    }
    let run = len.wrapping_sub(from);
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

/// The escape of each special byte, and its length in the last byte.
static ESCAPES: [[u8; 8]; 93] = {
    let mut table = [[0; 8]; 93];
    let mut byte = 0;
    while byte < table.len() {
        let ([a, b, c, d, e, f], len) = escape(byte as u8);
        table[byte] = [a, b, c, d, e, f, 0, len as u8];
        byte += 1;
    }
    table
};

/// One bit for each special byte, the lowest for the first.
#[inline]
fn special_mask(block: &[u8; BLOCK]) -> u64 {
    let (lanes, _) = block.as_chunks::<16>();
    let mut mask = 0;
    for lane in lanes.iter().rev() {
        mask = mask << 16 | u64::from(special(lane));
    }
    mask
}

#[inline]
fn special(lane: &[u8; 16]) -> u32 {
    let bytes = u8x16::new(*lane);
    let control = bytes.min(u8x16::splat(0x1f)).simd_eq(bytes);
    let quote = bytes.simd_eq(u8x16::splat(b'"'));
    let backslash = bytes.simd_eq(u8x16::splat(b'\\'));
    (control | quote | backslash).to_bitmask()
}

/// One bit for each byte below 0x20.
#[inline]
fn control_mask(block: &[u8; BLOCK]) -> u64 {
    let (lanes, _) = block.as_chunks::<16>();
    let mut mask = 0;
    for lane in lanes.iter().rev() {
        let bytes = u8x16::new(*lane);
        let control = bytes.min(u8x16::splat(0x1f)).simd_eq(bytes);
        mask = mask << 16 | u64::from(control.to_bitmask());
    }
    mask
}
