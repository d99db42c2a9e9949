//! Which bytes are special, by vectors of 16: one bit for each byte, the lowest for the first.

use wide::u8x16;

pub(super) const BLOCK: usize = 64;

/// The special bytes.
#[inline]
pub(super) fn block_mask(block: &[u8; BLOCK]) -> u64 {
    let lanes = lanes(block).map(special);
    let [a, b, c, d] = lanes;
    match (a | b | c | d).to_bitmask() {
        0 => 0,
        _ => bits(lanes),
    }
}

/// The bytes whose escape is of six bytes.
pub(super) fn long_mask(block: &[u8; BLOCK]) -> u64 {
    bits(lanes(block).map(|bytes| {
        let is = |byte| bytes.simd_eq(u8x16::splat(byte));
        let short = is(0x08) | is(0x0c) | is(b'\n') | is(b'\r') | is(b'\t');
        control(bytes) & !short
    }))
}

/// The bytes that are not ASCII, of 16, 32 or 64.
#[inline]
pub(super) fn high_mask<const N: usize>(bytes: &[u8; N]) -> u64 {
    let mut mask = 0;
    for lane in bytes.as_chunks().0.iter().rev() {
        mask = mask << 16 | u64::from(u8x16::new(*lane).to_bitmask());
    }
    mask
}

/// The special bytes of 8, 16, 32 or 64.
#[inline]
pub(super) fn mask_of<const N: usize>(bytes: &[u8; N]) -> u64 {
    let (lanes, tail) = bytes.as_chunks();
    if let Some(word) = tail.first_chunk() {
        return u64::from(special(pair(word, &[b' '; 8])).to_bitmask());
    }
    let mut mask = 0;
    for lane in lanes.iter().rev() {
        mask = mask << 16 | u64::from(special(u8x16::new(*lane)).to_bitmask());
    }
    mask
}

/// Whether there is a special byte in either, of 8, 16 or 32.
#[inline]
pub(super) fn is_any_special<const N: usize>(first: &[u8; N], last: &[u8; N]) -> bool {
    let ((lanes, tail), (last_lanes, last_tail)) = (first.as_chunks(), last.as_chunks());
    if let (Some(first), Some(last)) = (tail.first_chunk(), last_tail.first_chunk()) {
        return special(pair(first, last)).to_bitmask() != 0;
    }
    let found = lanes
        .iter()
        .chain(last_lanes)
        .map(|lane| special(u8x16::new(*lane)));
    found.fold(u8x16::ZERO, |all, lane| all | lane).to_bitmask() != 0
}

#[inline]
fn pair(first: &[u8; 8], last: &[u8; 8]) -> u8x16 {
    let [first, last] = [first, last].map(|word| u128::from(u64::from_le_bytes(*word)));
    u8x16::new((first | last << 64).to_le_bytes())
}

#[inline]
fn lanes(block: &[u8; BLOCK]) -> [u8x16; 4] {
    let mut lanes = [u8x16::ZERO; 4];
    for (lane, bytes) in lanes.iter_mut().zip(block.as_chunks().0) {
        *lane = u8x16::new(*bytes);
    }
    lanes
}

#[inline]
fn bits(lanes: [u8x16; 4]) -> u64 {
    let [a, b, c, d] = lanes.map(|lane| u64::from(lane.to_bitmask()));
    a | b << 16 | c << 32 | d << 48
}

#[inline]
fn special(bytes: u8x16) -> u8x16 {
    // This turns the quote, 0x22, into the byte next to the control characters, and leaves those what they are.
    let turned = bytes ^ u8x16::splat(0x02);
    let backslash = bytes.simd_eq(u8x16::splat(b'\\'));
    turned.min(u8x16::splat(0x20)).simd_eq(turned) | backslash
}

#[inline]
fn control(bytes: u8x16) -> u8x16 {
    bytes.min(u8x16::splat(0x1f)).simd_eq(bytes)
}
