//! Division of 64-bit numbers, for which 32-bit machines need a function of 0.9 KB otherwise.

use crate::small::IS_ROOMY;

/// Quotient and remainder; both 0 if `by` is.
pub(crate) fn divide(value: u64, by: u16) -> (u64, u16) {
    if !IS_ROOMY {
        return by_hand(value, by);
    }
    let quotient = value.checked_div(by.into()).unwrap_or(0);
    let rest = value.checked_rem(by.into()).unwrap_or(0);
    (quotient, rest as u16)
}

/// In digits of 16 bits.
#[inline(never)]
fn by_hand(value: u64, by: u16) -> (u64, u16) {
    let by = u32::from(by);
    let (mut quotient, mut rest) = (0, 0u32);
    for shift in [48, 32, 16, 0] {
        let part = rest << 16 | u32::from((value >> shift) as u16);
        let digit = part.checked_div(by).unwrap_or(0);
        quotient = quotient << 16 | u64::from(digit);
        rest = part.checked_rem(by).unwrap_or(0);
    }
    (quotient, rest as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways() {
        let values = [
            0,
            1,
            999,
            1000,
            0xffff,
            0x1_0000,
            1_591_104_868_201,
            1 << 63,
        ];
        for value in values.into_iter().chain([u64::MAX, u64::MAX / 3]) {
            for by in [1, 2, 10, 1000, 43_200, u16::MAX] {
                let expected = (value / u64::from(by), (value % u64::from(by)) as u16);
                assert_eq!(divide(value, by), expected);
                assert_eq!(by_hand(value, by), expected);
            }
        }
    }
}
