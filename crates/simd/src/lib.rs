//! JSON escapes by AVX2 and AVX-512, where the machine has them: what edge-report's feature `simd` adds.
//!
//! A crate of its own, because vectors beyond the target's baseline need `unsafe`, which edge-report's core forbids. What is unsafe here:
//! loads and stores of whole arrays behind references, and calls behind a check that the machine has what they need.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;

const BLOCK: usize = 64;

/// Writes `text` to the front of `to` as it stands inside of a JSON string, block by block of 64 bytes, and says how
/// many bytes were read and written.
///
/// Ends early in front of a block that needs an escape of six bytes (`\u00xx`), when less than 144 bytes are free, and at once on a machine
/// that has neither AVX2 nor AVX-512 (VBMI2).
#[inline]
pub fn escape(text: &[u8], to: &mut [u8]) -> (usize, usize) {
    Level::best().map_or((0, 0), |level| level.escape(text, to))
}

/// What a machine can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

#[cfg(target_arch = "x86_64")]
impl Level {
    /// The best this machine has.
    #[inline]
    fn best() -> Option<Level> {
        [Level::Avx512, Level::Avx2]
            .into_iter()
            .find(|level| level.is_there())
    }

    #[inline]
    fn is_there(self) -> bool {
        match self {
            Level::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("popcnt"),
            Level::Avx512 => {
                is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512vbmi")
                    && is_x86_feature_detected!("avx512vbmi2")
                    && is_x86_feature_detected!("bmi2")
                    && is_x86_feature_detected!("popcnt")
            }
        }
    }

    #[inline]
    fn escape(self, text: &[u8], to: &mut [u8]) -> (usize, usize) {
        if !self.is_there() {
            return (0, 0);
        }
        match self {
            // SAFETY: the machine has what `is_there` asks for, which is what the function is compiled for.
            Level::Avx2 => unsafe { avx2::escape(text, to) },
            // SAFETY: as above.
            Level::Avx512 => unsafe { avx512::escape(text, to) },
        }
    }
}

#[cfg(not(target_arch = "x86_64"))]
impl Level {
    #[inline]
    fn best() -> Option<Level> {
        None
    }

    #[inline]
    fn escape(self, _: &[u8], _: &mut [u8]) -> (usize, usize) {
        match self {}
    }
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests;
