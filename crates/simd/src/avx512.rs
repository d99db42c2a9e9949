//! AVX-512 with VBMI2: each byte becomes a pair with room for a backslash, and what is not needed of the pairs is squeezed out.

use core::arch::x86_64::*;

use crate::BLOCK;

/// The most that a block becomes.
const ROOM: usize = 2 * BLOCK;

/// The letter of each escape of two bytes; 0 for the control characters that have none.
const LETTERS: [u8; BLOCK] = {
    let mut table = [0; BLOCK];
    table[0x08] = b'b';
    table[0x09] = b't';
    table[0x0a] = b'n';
    table[0x0c] = b'f';
    table[0x0d] = b'r';
    table[0x22] = b'"';
    table
};

#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,avx512vbmi2,bmi2,popcnt")]
pub(super) fn escape(text: &[u8], to: &mut [u8]) -> (usize, usize) {
    let letters = load(&LETTERS);
    let backslash = _mm512_set1_epi8(b'\\' as i8);
    let (mut read, mut written) = (0usize, 0usize);
    let (blocks, _) = text.as_chunks();
    for block in blocks {
        let free = to.get_mut(written..).unwrap_or_default();
        let Some(free) = free.first_chunk_mut::<ROOM>() else {
            break;
        };
        let bytes = load(block);
        // The quote, 0x22, becomes the byte next to the control characters, and those stay what they are.
        let turned = _mm512_xor_si512(bytes, _mm512_set1_epi8(0x02));
        let backslashes = _mm512_cmpeq_epi8_mask(bytes, backslash);
        let special = backslashes | _mm512_cmple_epu8_mask(turned, _mm512_set1_epi8(0x20));
        if special == 0 {
            store(bytes, free, 0);
            written = written.wrapping_add(BLOCK);
        } else {
            // Goes by the low six bits of each byte, which is right for those below 0x40.
            let letter = _mm512_permutexvar_epi8(bytes, letters);
            let others = special & !backslashes;
            if _mm512_mask_cmpeq_epi8_mask(others, letter, _mm512_setzero_si512()) != 0 {
                break;
            }
            let letter = _mm512_mask_mov_epi8(letter, backslashes, backslash);
            let (low, low_len) = escape_half(
                _mm512_castsi512_si256(bytes),
                _mm512_castsi512_si256(letter),
                special as u32,
            );
            let (high, high_len) = escape_half(
                _mm512_extracti64x4_epi64::<1>(bytes),
                _mm512_extracti64x4_epi64::<1>(letter),
                (special >> 32) as u32,
            );
            store(low, free, 0);
            store(high, free, low_len);
            written = written.wrapping_add(low_len).wrapping_add(high_len);
        }
        read = read.wrapping_add(BLOCK);
    }
    (read, written)
}

/// 32 bytes with the escapes of the special ones, and how many they are then.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,avx512vbmi2,bmi2,popcnt")]
fn escape_half(bytes: __m256i, letters: __m256i, special: u32) -> (__m512i, usize) {
    let escapes = _mm512_or_si512(
        _mm512_slli_epi16::<8>(_mm512_cvtepu8_epi16(letters)),
        _mm512_set1_epi16(b'\\' as i16),
    );
    let pairs = _mm512_mask_mov_epi16(_mm512_cvtepu8_epi16(bytes), special, escapes);
    let first_of_pairs = 0x5555_5555_5555_5555;
    let wanted = first_of_pairs | _pdep_u64(u64::from(special), !first_of_pairs);
    let len = (special.count_ones() as usize).wrapping_add(32);
    (_mm512_maskz_compress_epi8(wanted, pairs), len)
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load(bytes: &[u8; BLOCK]) -> __m512i {
    // SAFETY: the pointer is of 64 bytes that can be read; the load asks for no alignment.
    unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
}

/// Does nothing if there is no room, which there always is.
#[inline]
#[target_feature(enable = "avx512f")]
fn store(bytes: __m512i, to: &mut [u8; ROOM], at: usize) {
    let to = to.get_mut(at..).unwrap_or_default();
    if let Some(to) = to.first_chunk_mut::<BLOCK>() {
        // SAFETY: the pointer is of 64 bytes that can be written; the store asks for no alignment.
        unsafe { _mm512_storeu_si512(to.as_mut_ptr().cast(), bytes) }
    }
}
