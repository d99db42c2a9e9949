//! AVX2: eight bytes at a time are spread to make room for their backslashes, by a table of all the ways there are.

use core::arch::x86_64::*;

use crate::BLOCK;

/// The most that a block becomes, and what is written behind that.
const ROOM: usize = 2 * BLOCK + 16;

/// The letter of each escape of two bytes; 0 for the control characters below 0x10 that have none.
#[expect(clippy::indexing_slicing, reason = "at compile time")]
const LETTERS: [u8; 32] = {
    let mut table = [0; 32];
    let mut half = 0;
    while half < 32 {
        table[half + 0x08] = b'b';
        table[half + 0x09] = b't';
        table[half + 0x0a] = b'n';
        table[half + 0x0c] = b'f';
        table[half + 0x0d] = b'r';
        half += 16;
    }
    table
};

/// For each set of special bytes among eight: which byte goes where; one that is above 0x7f where a backslash goes.
#[expect(clippy::indexing_slicing, reason = "at compile time")]
static SPREAD: [[u8; 16]; 256] = {
    let mut table = [[0x80; 16]; 256];
    let mut special = 0;
    while special < 256 {
        let (mut byte, mut at) = (0, 0);
        while byte < 8 {
            at += special >> byte & 1;
            table[special][at] = byte as u8;
            at += 1;
            byte += 1;
        }
        special += 1;
    }
    table
};

#[target_feature(enable = "avx2,popcnt")]
pub(super) fn escape(text: &[u8], to: &mut [u8]) -> (usize, usize) {
    let (mut read, mut written) = (0usize, 0usize);
    let (blocks, _) = text.as_chunks::<BLOCK>();
    for block in blocks {
        let free = to.get_mut(written..).unwrap_or_default();
        let Some(free) = free.first_chunk_mut::<ROOM>() else {
            break;
        };
        let len = escape_block(block, free);
        if len == 0 {
            break;
        }
        read = read.wrapping_add(BLOCK);
        written = written.wrapping_add(len);
    }
    (read, written)
}

/// How long a block has become; 0 if it needs an escape of six bytes.
#[inline]
#[target_feature(enable = "avx2,popcnt")]
fn escape_block(block: &[u8; BLOCK], to: &mut [u8; ROOM]) -> usize {
    let (halves, _) = block.as_chunks::<32>();
    let mut special = 0u64;
    let mut any_long = 0;
    let mut letters = [[0u8; 32]; 2];
    for (half, letters) in halves.iter().zip(&mut letters).rev() {
        let bytes = load(half);
        let control = is_at_most(bytes, 0x1f);
        let quote = _mm256_cmpeq_epi8(bytes, _mm256_set1_epi8(b'"' as i8));
        let backslash = _mm256_cmpeq_epi8(bytes, _mm256_set1_epi8(b'\\' as i8));
        let found = _mm256_or_si256(control, _mm256_or_si256(quote, backslash));
        special = special << 32 | u64::from(_mm256_movemask_epi8(found) as u32);
        // Goes by the low four bits of each byte, which is right for those below 0x10.
        let letter = _mm256_shuffle_epi8(load(&LETTERS), bytes);
        let no_letter = _mm256_cmpeq_epi8(letter, _mm256_setzero_si256());
        let short = _mm256_andnot_si256(no_letter, is_at_most(bytes, 0x0f));
        any_long |= _mm256_movemask_epi8(_mm256_andnot_si256(short, control));
        store(_mm256_blendv_epi8(bytes, letter, control), letters);
    }
    if any_long != 0 {
        return 0;
    }
    if special == 0
        && let Some(to) = to.first_chunk_mut()
    {
        *to = *block;
        return BLOCK;
    }
    let mut at = 0usize;
    for eight in letters.as_flattened().as_chunks::<8>().0 {
        let set = special as u8;
        special >>= 8;
        let row = SPREAD.get(usize::from(set)).unwrap_or(&[0; 16]);
        let row = load_16(row);
        let bytes = _mm_cvtsi64_si128(i64::from_le_bytes(*eight));
        let is_backslash = _mm_cmpgt_epi8(_mm_setzero_si128(), row);
        let backslashes = _mm_and_si128(is_backslash, _mm_set1_epi8(b'\\' as i8));
        let free = to.get_mut(at..).unwrap_or_default();
        if let Some(free) = free.first_chunk_mut() {
            store_16(
                _mm_or_si128(_mm_shuffle_epi8(bytes, row), backslashes),
                free,
            );
        }
        at = at.wrapping_add(set.count_ones() as usize).wrapping_add(8);
    }
    at
}

#[inline]
#[target_feature(enable = "avx2")]
fn is_at_most(bytes: __m256i, most: i8) -> __m256i {
    _mm256_cmpeq_epi8(_mm256_min_epu8(bytes, _mm256_set1_epi8(most)), bytes)
}

#[inline]
#[target_feature(enable = "avx2")]
fn load(bytes: &[u8; 32]) -> __m256i {
    // SAFETY: the pointer is of 32 bytes that can be read; the load asks for no alignment.
    unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn store(bytes: __m256i, to: &mut [u8; 32]) {
    // SAFETY: the pointer is of 32 bytes that can be written; the store asks for no alignment.
    unsafe { _mm256_storeu_si256(to.as_mut_ptr().cast(), bytes) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn load_16(bytes: &[u8; 16]) -> __m128i {
    // SAFETY: the pointer is of 16 bytes that can be read; the load asks for no alignment.
    unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn store_16(bytes: __m128i, to: &mut [u8; 16]) {
    // SAFETY: the pointer is of 16 bytes that can be written; the store asks for no alignment.
    unsafe { _mm_storeu_si128(to.as_mut_ptr().cast(), bytes) }
}
