//! Flink's job ids, and the reports' `job_id` that stands for one.

use core::fmt;

use crate::json::Text;

use super::options::{Options, OtherIds};

/// Flink's id of a job: 128 bits, written as 32 hex digits.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Jid([u8; 16]);

impl Jid {
    /// From its bytes, the most significant first.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Jid(bytes)
    }

    /// Its bytes, the most significant first.
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0
    }

    /// From exactly 32 hex digits.
    ///
    /// ```
    /// use edge_report::flink::Jid;
    ///
    /// let jid = Jid::from_hex("000000000000000000000000000183c6").expect("32 digits");
    /// assert_eq!(jid, Jid::of_job_id(99270));
    /// assert_eq!(Jid::from_hex("183c6"), None);
    /// ```
    pub fn from_hex(text: &str) -> Option<Self> {
        if text.len() != HEX {
            return None;
        }
        let mut value: u128 = 0;
        for byte in text.bytes() {
            value = value << 4 | u128::from(char::from(byte).to_digit(16)?);
        }
        Some(Jid(value.to_be_bytes()))
    }

    pub(super) fn from_text(text: Text<'_>) -> Option<Self> {
        Self::from_hex(text.plain()?)
    }

    /// The id to submit a job with, so that it is reported under this `job_id`: the integer in 32 hex digits. That of 0 or less is not converted back.
    pub const fn of_job_id(job_id: i64) -> Self {
        Jid((job_id as u128).to_be_bytes())
    }

    /// The 32 digits.
    pub fn to_hex(self) -> JidHex {
        let mut hex = [0; HEX];
        for (pair, byte) in hex.chunks_exact_mut(2).zip(self.to_bytes()) {
            if let [high, low] = pair {
                (*high, *low) = (digit(byte >> 4), digit(byte & 15));
            }
        }
        JidHex(hex)
    }
}

const HEX: usize = 32;

const fn digit(value: u8) -> u8 {
    value.wrapping_add(if value < 10 { b'0' } else { b'a' - 10 })
}

impl fmt::Display for Jid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.to_hex().as_str())
    }
}

impl fmt::Debug for Jid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A [`Jid`] as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JidHex([u8; HEX]);

impl JidHex {
    /// The text.
    pub fn as_str(&self) -> &str {
        core::str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// The `job_id` of a job, by the options: what is mapped by hand, else the integer that the id is, else a hash of it.
///
/// ```
/// use edge_report::flink::{Jid, MappedJob, Options, OtherIds, job_id};
///
/// let by_hand = [MappedJob { job: "edge-temperature", job_id: 7 }];
/// let options = Options::default().with_mapped(&by_hand);
/// assert_eq!(job_id(&options, Jid::of_job_id(99270), "edge-temperature"), Some(7));
/// assert_eq!(job_id(&options, Jid::of_job_id(99270), "any"), Some(99270));
/// let random = Jid::from_hex("86e800e9cadd207fdd53824a4d38f79c").expect("32 digits");
/// assert_eq!(job_id(&options, random, "any"), Some(2_508_777_619_210_884_037));
/// let small = options.with_other_ids(OtherIds::Hash31);
/// assert_eq!(job_id(&small, random, "any"), Some(584_120_307));
/// assert_eq!(job_id(&options.with_other_ids(OtherIds::None), random, "any"), None);
/// ```
pub fn job_id(options: &Options<'_>, jid: Jid, name: &str) -> Option<i64> {
    map(options, jid, |mapped| mapped == name)
}

/// The same, of a name that is still JSON.
pub(super) fn map(options: &Options<'_>, jid: Jid, is_name: impl Fn(&str) -> bool) -> Option<i64> {
    let mut mapped = options.mapped.iter();
    let is_this = |job: &str| Jid::from_hex(job) == Some(jid) || is_name(job);
    if let Some(by_hand) = mapped.find(|mapped| is_this(mapped.job)) {
        return Some(by_hand.job_id).filter(|&id| id > 0);
    }
    let (bits, most) = match options.other_ids {
        OtherIds::Hash31 => (31, i64::from(i32::MAX)),
        OtherIds::Hash63 | OtherIds::None => (63, i64::MAX),
    };
    if let Ok(id) = i64::try_from(u128::from_be_bytes(jid.0))
        && (1..=most).contains(&id)
    {
        return Some(id);
    }
    let hash = hash(&jid.to_bytes()).wrapping_shr(64u32.wrapping_sub(bits));
    match options.other_ids {
        OtherIds::None => None,
        // 0 is no id.
        _ => i64::try_from(hash.max(1)).ok(),
    }
}

/// FNV-1a, then the finish of splitmix64, so that the upper bits are as good as the lower. Reports have had ids by it: it stays as it is.
pub(super) fn hash(bytes: &[u8]) -> u64 {
    let fnv = bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash: u64, &byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
    let mixed = (fnv ^ fnv >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}
