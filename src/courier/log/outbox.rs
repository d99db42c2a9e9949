//! The outbox over a log: what waits, the dead letters, and the ledger.

use core::fmt;

use super::super::outbox::{DeadLetter, Fate, Front, JobKeys, Ledger, Outbox, Ticket};
use super::letters::Letters;
use super::merge;
use super::record::{
    KEY, Kind, LEDGER, RecordHeader, SEGMENT_HEADER, SegmentHeader, key_bytes, ledger_bytes,
    record_len,
};
use super::segments::{Place, Segments};
use super::storage::Storage;
use crate::code::Code;
use crate::time::MonoTime;

/// When reports become durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// Each before its `submit` returns.
    #[default]
    Each,
    /// Together, when so many or the first of them so long ago were submitted. A power cut may cost them; a killed process does not.
    Batch {
        /// How many.
        reports: u32,
        /// How long, in milliseconds.
        ms: u64,
    },
}

/// Why the log failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogError<E> {
    /// Only reports that must be kept are left, and there is no room. Nothing was stored or dropped.
    Full,
    /// The report is larger than the whole log may be.
    TooLarge,
    /// The storage failed. After a failed `submit` the report may be stored all the same: submit it again with the same `message_id`.
    Device(E),
    /// The log was written in a newer format, with this number. It was not touched.
    NewerVersion(u16),
    /// There are more segments than this log can hold in mind.
    TooManySegments,
}

impl<E> LogError<E> {
    /// The stable code.
    pub const fn code(&self) -> Code {
        match self {
            LogError::Full => Code::OutboxFull,
            LogError::TooLarge => Code::OutboxTooSmall,
            LogError::Device(_) => Code::Storage,
            LogError::NewerVersion(_) => Code::NewerFormat,
            LogError::TooManySegments => Code::TooManySegments,
        }
    }
}

impl<E: fmt::Display> fmt::Display for LogError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LogError::Device(error) => error.fmt(f),
            LogError::NewerVersion(version) => write!(f, "{} (version {version})", self.code()),
            _ => self.code().fmt(f),
        }
    }
}

impl<E: fmt::Display + fmt::Debug> core::error::Error for LogError<E> {}

/// How many settled reports may be forgotten by a power cut, and so be sent again.
const MARKS_UNSYNCED: u32 = 64;
/// Payload of a mark: the ledger, then the sequence number that comes next.
pub(super) const MARK: usize = LEDGER + 8;
/// Left at the end of each segment for a mark, so that a full log can forget what is settled.
const RESERVE: usize = record_len(MARK);

/// An outbox over two logs: one for what waits, one for the dead letters. `MAX` is the most segments of each,
/// one more than a full log has: merging needs it.
///
/// When full, the reports whose every job has a newer entry are dropped, but for final states that only non-final ones follow.
#[derive(Debug)]
pub struct LogOutbox<L, D, const MAX: usize> {
    pub(super) live: Segments<L, MAX>,
    letters: Letters<D, MAX>,
    durability: Durability,
    /// Its `submitted` is not kept up: sequence numbers tell.
    pub(super) ledger: Ledger,
    pub(super) next_seq: u64,
    /// Everything up to this is settled.
    pub(super) cursor: u64,
    /// How many behind the cursor were superseded.
    pub(super) gone: u64,
    /// Where to look for the oldest report.
    pub(super) head: Place,
    /// A report whose write failed, before it is known whether it is there.
    doubt: Option<Place>,
    pub(super) marked: (u64, Ledger),
    marks_unsynced: u32,
    unsynced: u32,
    unsynced_since: MonoTime,
}

impl<L, D, const MAX: usize> LogOutbox<L, D, MAX> {
    pub(super) const fn over(
        live: Segments<L, MAX>,
        letters: Letters<D, MAX>,
        durability: Durability,
    ) -> Self {
        LogOutbox {
            live,
            letters,
            durability,
            ledger: Ledger::NONE,
            next_seq: 1,
            cursor: 0,
            gone: 0,
            head: Place { id: 0, offset: 0 },
            doubt: None,
            marked: (0, Ledger::NONE),
            marks_unsynced: 0,
            unsynced: 0,
            unsynced_since: MonoTime(0),
        }
    }
}

impl<L, D, const MAX: usize> LogOutbox<L, D, MAX>
where
    L: Storage,
    D: Storage<Error = L::Error>,
{
    /// Opens the logs on two storages, whatever a crash has left there.
    pub fn open(live: L, dead: D, durability: Durability) -> Result<Self, LogError<L::Error>> {
        let letters = Letters::over(Segments::empty(dead, 0));
        let mut this = Self::over(Segments::empty(live, 1), letters, durability);
        this.live.open()?;
        this.letters.open()?;
        this.recover()?;
        // What a killed process wrote may not be durable yet. If it cannot be made so now, the next flush tries again.
        let _ = this.sync_live();
        let _ = this.letters.make_durable();
        Ok(this)
    }

    /// The last sequence number of a `Gone` record; 0 if it is damaged.
    pub(super) fn gone_until(&mut self, place: Place) -> Result<u64, LogError<L::Error>> {
        let mut last = [0; 8];
        match self.live.next(place)? {
            Some((at, header)) if at == place && header.len == last.len() => {
                let whole = self.live.read_body(place, &header, &mut last)?;
                Ok(if whole { u64::from_le_bytes(last) } else { 0 })
            }
            _ => Ok(0),
        }
    }

    pub(super) fn segment_header(&self) -> SegmentHeader {
        SegmentHeader {
            from: 0,
            to: 0,
            next_seq: self.next_seq,
            cursor: self.cursor,
            ledger: self.ledger,
        }
    }

    /// Notes how far reports are settled. Without room or with a failing storage that is left for later: a restart
    /// then sends some reports again.
    pub(super) fn write_mark(&mut self) {
        // What it says of a dead letter must not last longer than the letter.
        if self.is_noted() || self.letters.make_durable().is_err() {
            return;
        }
        let with_reserve = MARK.saturating_add(RESERVE);
        if self.live.has_room(with_reserve) {
            self.append_mark();
        } else if self.live.suspect().is_none() {
            let _ = self.roll(with_reserve);
        }
    }

    /// Whether it is written how far reports are settled. What a failed sync was to make durable does not count.
    fn is_noted(&self) -> bool {
        self.marked == (self.cursor, self.ledger) && self.live.suspect().is_none()
    }

    /// Discards the segments before `id`; what says that their reports are settled comes first, for which each segment has a reserve.
    fn discard_before(&mut self, id: u32) {
        if self.live.list.first().is_none_or(|first| first.id == id) || self.letters.is_suspect() {
            return;
        }
        // One that was to take the place of the suspect segment may yet do so after a power cut.
        if self.live.suspect().is_some() && !self.live.discard_doomed() {
            return;
        }
        let append = |this: &mut Self| this.live.has_room(MARK) && this.append_mark();
        if self.is_noted() || append(self) || self.rewrite_last().is_ok() {
            self.live.discard_before(id);
        }
    }

    /// Writes a segment anew whose sync failed: a second sync of it would prove nothing.
    fn rewrite_suspect(&mut self) -> Result<(), LogError<L::Error>> {
        match self.live.suspect() {
            Some(_) => self.rewrite_last(),
            None => Ok(()),
        }
    }

    fn rewrite_last(&mut self) -> Result<(), LogError<L::Error>> {
        self.resolve_doubt()?;
        merge::rewrite_last(self)?;
        self.marked = (self.cursor, self.ledger);
        (self.unsynced, self.marks_unsynced) = (0, 0);
        Ok(())
    }

    /// Begins a new segment, whose header says how far reports are settled.
    fn roll(&mut self, payload: usize) -> Result<(), LogError<L::Error>> {
        self.rewrite_suspect()?;
        self.live.roll(self.segment_header(), payload)?;
        self.marked = (self.cursor, self.ledger);
        Ok(())
    }

    fn append_mark(&mut self) -> bool {
        let mut payload = [0; MARK];
        if let Some((ledger, next_seq)) = payload.split_first_chunk_mut::<LEDGER>() {
            *ledger = ledger_bytes(&self.ledger);
            if let Some((next_seq, _)) = next_seq.split_first_chunk_mut() {
                *next_seq = self.next_seq.to_le_bytes();
            }
        }
        let mark = self.live.append(Kind::Mark, self.cursor, &payload, &[]);
        if mark.is_ok() {
            self.marked = (self.cursor, self.ledger);
            self.marks_unsynced = self.marks_unsynced.saturating_add(1);
            if self.marks_unsynced >= MARKS_UNSYNCED {
                self.marks_unsynced = 0;
                // Told by the next submit or flush.
                let _ = self.live.sync();
            }
        }
        mark.is_ok()
    }

    /// Whether a report whose write failed is there all the same: only when that is known may its number be used again.
    fn resolve_doubt(&mut self) -> Result<(), LogError<L::Error>> {
        if let Some(place) = self.doubt {
            if self.live.is_there(place)? {
                self.next_seq = self.next_seq.saturating_add(1);
            }
            self.doubt = None;
        }
        Ok(())
    }

    pub(super) fn sync_live(&mut self) -> Result<(), LogError<L::Error>> {
        self.rewrite_suspect()?;
        self.live.sync()?;
        (self.unsynced, self.marks_unsynced) = (0, 0);
        Ok(())
    }

    /// Discards the segments that hold nothing that waits.
    fn reclaim(&mut self) {
        let keep = match self.waiting() {
            0 => self.live.list.last().map(|last| last.id),
            _ => Some(self.head.id),
        };
        self.live.discard_doomed();
        if let Some(id) = keep {
            self.discard_before(id);
            if self.waiting() == 0 {
                self.head = self.live.start();
            }
        }
    }

    /// Makes room for a record: a new segment, after dropping what is superseded if need be.
    fn make_room(&mut self, payload: usize) -> Result<(), LogError<L::Error>> {
        let (_, most) = self.live.storage.limits();
        if record_len(payload).saturating_add(SEGMENT_HEADER) > most {
            return Err(LogError::TooLarge);
        }
        // Passes over what is settled.
        self.front()?;
        self.reclaim();
        loop {
            match self.roll(payload) {
                Err(LogError::Full) if merge::merge(self)? => {}
                // The durability of letters yields to room for reports.
                Err(LogError::Full) if self.letters.is_suspect() => {
                    self.letters.trust();
                    self.front()?;
                    self.reclaim();
                }
                // Nothing waits, and there is room for one segment only: that of a log in memory.
                Err(LogError::Full)
                    if self.waiting() == 0
                        && self.live.discard_doomed()
                        && self.live.discard_oldest()? => {}
                result => return result.map(|()| self.reclaim()),
            }
        }
    }

    fn front_record(&mut self) -> Result<Option<(Place, RecordHeader)>, LogError<L::Error>> {
        match self.front()? {
            Some(_) => self.live.next(self.head),
            None => Ok(None),
        }
    }
}

impl<L, D, const MAX: usize> Outbox for LogOutbox<L, D, MAX>
where
    L: Storage,
    D: Storage<Error = L::Error>,
{
    type Error = LogError<L::Error>;

    fn append(
        &mut self,
        jobs: &JobKeys,
        report: &[u8],
        now: MonoTime,
    ) -> Result<Ticket, Self::Error> {
        let mut prefix = heapless::Vec::<u8, 256>::new();
        for key in jobs {
            // 16 keys of 16 bytes at the most.
            let _ = prefix.extend_from_slice(&key_bytes(key));
        }
        let payload = prefix.len().saturating_add(report.len());
        self.resolve_doubt()?;
        self.rewrite_suspect()?;
        let with_reserve = payload.saturating_add(RESERVE);
        if !self.live.has_room(with_reserve) {
            self.make_room(with_reserve)?;
        }
        let seq = self.next_seq;
        let place = self.live.end_of_log();
        if let Err(error) = self.live.append(Kind::Report, seq, &prefix, report) {
            self.doubt = Some(place);
            let _ = self.resolve_doubt();
            return Err(error);
        }
        self.next_seq = seq.saturating_add(1);
        let due = match self.durability {
            Durability::Each => true,
            Durability::Batch { reports, .. } => {
                if self.unsynced == 0 {
                    self.unsynced_since = now;
                }
                self.unsynced = self.unsynced.saturating_add(1);
                self.unsynced >= reports
            }
        };
        if due && let Err(error) = self.sync_live() {
            // It may be gone, even from what can be read.
            self.next_seq = seq;
            self.doubt = Some(place);
            let _ = self.resolve_doubt();
            return Err(error);
        }
        Ok(Ticket(seq))
    }

    fn front(&mut self) -> Result<Option<Front>, Self::Error> {
        while self.waiting() > 0 {
            let Some((place, header)) = self.live.next(self.head)? else {
                // None of them is there any more.
                self.ledger.corrupt = self.ledger.corrupt.saturating_add(self.waiting());
                (self.cursor, self.gone) = (self.next_seq.saturating_sub(1), 0);
                self.write_mark();
                break;
            };
            self.head = place;
            let next = self.cursor.saturating_add(1);
            match header.kind {
                // One at the end of numbers was cut short, or its write failed.
                Kind::Report if header.seq >= next && header.seq < self.next_seq => {
                    let lost = header.seq.saturating_sub(next);
                    self.ledger.corrupt = self.ledger.corrupt.saturating_add(lost);
                    self.cursor = header.seq.saturating_sub(1);
                    let len = header.len.saturating_sub(header.prefix());
                    return Ok(Some(Front {
                        ticket: Ticket(header.seq),
                        len,
                    }));
                }
                Kind::Gone => {
                    let last = self.gone_until(place)?;
                    if last >= next {
                        let first = header.seq.max(next);
                        let lost = first.saturating_sub(next);
                        let count = last.saturating_sub(first).saturating_add(1);
                        self.ledger.corrupt = self.ledger.corrupt.saturating_add(lost);
                        self.gone = self.gone.saturating_sub(count);
                        self.cursor = last;
                    }
                }
                _ => {}
            }
            self.head = place.plus(header.record_len());
        }
        Ok(None)
    }

    fn read_front(&mut self, buffer: &mut [u8]) -> Result<bool, Self::Error> {
        let Some((place, header)) = self.front_record()? else {
            return Ok(false);
        };
        if self.live.read_body(place, &header, buffer)? {
            return Ok(true);
        }
        // A write cut short is followed by another report of the same number: nothing is lost.
        let behind = place.plus(header.record_len());
        let mut at = behind;
        let mut replaced = false;
        while let Some((place, other)) = self.live.next(at)? {
            at = place.plus(other.record_len());
            if other.kind == Kind::Report {
                replaced = other.seq == header.seq;
                break;
            }
        }
        self.head = behind;
        if !replaced {
            self.ledger.corrupt = self.ledger.corrupt.saturating_add(1);
            self.cursor = header.seq;
            self.write_mark();
        }
        Ok(false)
    }

    fn settle_front(&mut self, fate: Fate, buffer: &[u8]) -> Result<(), Self::Error> {
        let Some((place, header)) = self.front_record()? else {
            return Ok(());
        };
        self.ledger.count(fate);
        if let Fate::Refused(reason) | Fate::Expired(reason) = fate {
            self.letters.bury(header.seq, reason, buffer);
        }
        self.cursor = header.seq;
        self.head = place.plus(header.record_len());
        self.write_mark();
        self.reclaim();
        Ok(())
    }

    fn waiting(&self) -> u64 {
        let behind = self.next_seq.saturating_sub(1).saturating_sub(self.cursor);
        behind.saturating_sub(self.gone)
    }

    fn ledger(&self) -> Ledger {
        Ledger {
            submitted: self.next_seq.saturating_sub(1),
            ..self.ledger
        }
    }

    fn flush(&mut self) -> Result<(), Self::Error> {
        self.write_mark();
        self.live.discard_doomed();
        self.sync_live()?;
        if !self.is_noted() && !self.letters.is_suspect() {
            // A full log has no room for a mark. If that fails, a restart sends some reports again.
            let _ = self.rewrite_last();
        }
        self.letters.make_durable()
    }

    fn tick(&mut self, now: MonoTime) -> Result<(), Self::Error> {
        if let Durability::Batch { ms, .. } = self.durability
            && self.unsynced > 0
            && now.since(self.unsynced_since) >= ms
        {
            self.sync_live()?;
        }
        Ok(())
    }

    fn dead_letter(&mut self, after: Option<Ticket>) -> Result<Option<DeadLetter>, Self::Error> {
        self.letters.next(after.map_or(0, |ticket| ticket.0))
    }

    fn read_dead_letter(&mut self, ticket: Ticket, buffer: &mut [u8]) -> Result<bool, Self::Error> {
        self.letters.read(ticket.0, buffer)
    }

    fn forget_dead_letters(&mut self, ticket: Ticket) -> Result<(), Self::Error> {
        self.letters.forget(ticket.0)
    }
}

/// How many bytes of keys stand in front of a report.
pub(super) const MAX_KEY_BYTES: usize = 16 * KEY;
