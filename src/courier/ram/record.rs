//! What lies in the memory: reports that wait, gaps among them, and dead letters.
//!
//! A record that waits is its sequence number (0: a gap), its length, the count of its job keys and when it was submitted, then its keys,
//! then its bytes. A letter is its sequence number, its length, the number of its reason's cause, the status and the lengths of two texts,
//! then these texts, then its bytes. Without texts it needs less than the report had, so a letter always finds room where its report was.

use crate::code::Code;
use crate::courier::newest::Newest;
use crate::courier::outbox::{JobKey, JobKeys};
use crate::courier::reason::{Cause, Reason, ShortText};
use crate::small::IS_ROOMY;

/// In front of each report.
pub(super) const HEADER: usize = 22;
/// In front of each letter.
pub(super) const LETTER: usize = 18;
/// A job key: its id, then whether it is final.
pub(super) const KEY: usize = 9;
/// No time was told.
pub(super) const NO_TIME: i64 = i64::MIN;

/// A report that waits, or a gap.
#[derive(Clone, Copy)]
pub(super) struct Record {
    pub(super) seq: u64,
    /// Of its bytes.
    pub(super) len: usize,
    /// How many jobs it has.
    pub(super) keys: u16,
    pub(super) submitted_at: i64,
}

impl Record {
    pub(super) fn read(bytes: &[u8], at: usize) -> Option<Self> {
        let (seq, rest) = bytes.get(at..)?.split_first_chunk()?;
        let (len, rest) = rest.split_first_chunk()?;
        let (keys, rest) = rest.split_first_chunk()?;
        let (submitted_at, _) = rest.split_first_chunk()?;
        Some(Record {
            seq: u64::from_le_bytes(*seq),
            len: u32::from_le_bytes(*len) as usize,
            keys: u16::from_le_bytes(*keys),
            submitted_at: i64::from_le_bytes(*submitted_at),
        })
    }

    pub(super) fn write(&self, bytes: &mut [u8], at: usize) -> Option<()> {
        let (seq, rest) = bytes.get_mut(at..)?.split_first_chunk_mut()?;
        let (len, rest) = rest.split_first_chunk_mut()?;
        let (keys, rest) = rest.split_first_chunk_mut()?;
        let (submitted_at, _) = rest.split_first_chunk_mut()?;
        *seq = self.seq.to_le_bytes();
        *len = u32::try_from(self.len).ok()?.to_le_bytes();
        *keys = self.keys.to_le_bytes();
        *submitted_at = self.submitted_at.to_le_bytes();
        Some(())
    }

    pub(super) const fn is_gap(&self) -> bool {
        self.seq == 0
    }

    const fn keys_size(&self) -> usize {
        KEY.saturating_mul(self.keys as usize)
    }

    /// What comes before its bytes.
    pub(super) const fn body(&self) -> usize {
        HEADER.saturating_add(self.keys_size())
    }

    pub(super) const fn size(&self) -> usize {
        self.body().saturating_add(self.len)
    }

    /// Its job keys, as they lie there.
    pub(super) fn keys<'m>(
        &self,
        bytes: &'m [u8],
        at: usize,
    ) -> impl Iterator<Item = JobKey> + use<'m> {
        let keys = part(bytes, at.saturating_add(HEADER), self.keys_size());
        let (keys, _) = keys.as_chunks::<KEY>();
        keys.iter().map(|[id @ .., is_final]| JobKey {
            job_id: i64::from_le_bytes(*id),
            is_final: *is_final != 0,
        })
    }

    #[inline(never)] // for the stack of a full outbox
    pub(super) fn note_in(&self, newest: &mut Newest, bytes: &[u8], at: usize) {
        newest.note(self.seq, &self.job_keys(bytes, at), |_| ());
    }

    #[inline(never)] // as above
    pub(super) fn forget_in(&self, newest: &mut Newest, bytes: &[u8], at: usize) {
        newest.forget(self.seq, &self.job_keys(bytes, at));
    }

    pub(super) fn job_keys(&self, bytes: &[u8], at: usize) -> JobKeys {
        let mut all = JobKeys::new();
        for key in self.keys(bytes, at) {
            // There are no more than fit.
            let _ = all.push(key);
        }
        all
    }
}

/// A dead letter.
#[derive(Clone, Copy)]
pub(super) struct LetterRecord {
    pub(super) seq: u64,
    pub(super) len: usize,
    pub(super) cause: u16,
    pub(super) status: u16,
    pub(super) error_code: u8,
    pub(super) text: u8,
}

impl LetterRecord {
    pub(super) fn read(bytes: &[u8], at: usize) -> Option<Self> {
        let (seq, rest) = bytes.get(at..)?.split_first_chunk()?;
        let (len, rest) = rest.split_first_chunk()?;
        let (cause, rest) = rest.split_first_chunk()?;
        let (status, rest) = rest.split_first_chunk()?;
        let ([error_code, text], _) = rest.split_first_chunk()?;
        Some(LetterRecord {
            seq: u64::from_le_bytes(*seq),
            len: u32::from_le_bytes(*len) as usize,
            cause: u16::from_le_bytes(*cause),
            status: u16::from_le_bytes(*status),
            error_code: *error_code,
            text: *text,
        })
    }

    pub(super) fn write(&self, bytes: &mut [u8], at: usize) -> Option<()> {
        let (seq, rest) = bytes.get_mut(at..)?.split_first_chunk_mut()?;
        let (len, rest) = rest.split_first_chunk_mut()?;
        let (cause, rest) = rest.split_first_chunk_mut()?;
        let (status, rest) = rest.split_first_chunk_mut()?;
        let (texts, _) = rest.split_first_chunk_mut()?;
        *seq = self.seq.to_le_bytes();
        *len = u32::try_from(self.len).ok()?.to_le_bytes();
        *cause = self.cause.to_le_bytes();
        *status = self.status.to_le_bytes();
        *texts = [self.error_code, self.text];
        Some(())
    }

    /// What comes before its bytes.
    pub(super) const fn body(&self) -> usize {
        let texts = (self.error_code as usize).saturating_add(self.text as usize);
        LETTER.saturating_add(texts)
    }

    pub(super) const fn size(&self) -> usize {
        self.body().saturating_add(self.len)
    }

    pub(super) fn reason(&self, bytes: &[u8], at: usize) -> Reason {
        let at = at.saturating_add(LETTER);
        let (error_code, text) = (usize::from(self.error_code), usize::from(self.text));
        let read = |at, len| core::str::from_utf8(part(bytes, at, len)).unwrap_or_default();
        Reason {
            cause: Cause::from_number(self.cause).unwrap_or(Cause::Failed(Code::Internal)),
            status: self.status,
            error_code: ShortText::new(read(at, error_code)),
            text: ShortText::new(read(at.saturating_add(error_code), text)),
        }
    }
}

pub(super) fn part(bytes: &[u8], at: usize, len: usize) -> &[u8] {
    let rest = bytes.get(at..).unwrap_or_default();
    rest.get(..len).unwrap_or_default()
}

pub(super) fn put(bytes: &mut [u8], at: usize, from: &[u8]) -> Option<usize> {
    let end = at.checked_add(from.len())?;
    bytes.get_mut(at..end)?.copy_from_slice(from);
    Some(end)
}

/// Moves `len` bytes down.
pub(super) fn push_down(bytes: &mut [u8], from: usize, to: usize, len: usize) {
    let end = from.saturating_add(len);
    let shift = from.saturating_sub(to);
    let Some(part) = bytes.get_mut(to..end) else {
        return;
    };
    if !IS_ROOMY {
        // `memmove` has 1.5 KB.
        for place in shift..part.len() {
            let byte = part.get(place).copied();
            if let (Some(byte), Some(to)) = (byte, part.get_mut(place.wrapping_sub(shift))) {
                *to = byte;
            }
        }
    } else if shift <= part.len() {
        part.copy_within(shift.., 0);
    }
}

/// Moves `len` bytes up by `shift`.
pub(super) fn push_up(bytes: &mut [u8], from: usize, len: usize, shift: usize) {
    let end = from.saturating_add(len).saturating_add(shift);
    let Some(part) = bytes.get_mut(from..end) else {
        return;
    };
    if !IS_ROOMY {
        for place in (0..len).rev() {
            let byte = part.get(place).copied();
            if let (Some(byte), Some(to)) = (byte, part.get_mut(place.wrapping_add(shift))) {
                *to = byte;
            }
        }
    } else if len <= part.len() {
        part.copy_within(..len, part.len().saturating_sub(len));
    }
}
