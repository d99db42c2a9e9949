//! The outbox over a log: what waits, the dead letters, and the ledger.

use core::fmt;

use super::super::outbox::{DeadLetter, Fate, Front, JobKey, JobKeys, Ledger, Outbox, Ticket};
use super::super::policy::Reason;
use super::merge;
use super::record::{
    KEY, Kind, LEDGER, REASON, RecordHeader, SEGMENT_HEADER, SegmentFront, SegmentHeader,
    key_bytes, later, ledger_bytes, ledger_from, record_len,
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

/// An outbox over two logs: one for what waits, one for the dead letters. `MAX` is the most segments of each.
///
/// When full, the reports whose every job has a newer entry are dropped, but for final states that only non-final ones follow.
#[derive(Debug)]
pub struct LogOutbox<L, D, const MAX: usize> {
    pub(super) live: Segments<L, MAX>,
    dead: Segments<D, MAX>,
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
    marked: (u64, Ledger),
    marks_unsynced: u32,
    unsynced: u32,
    unsynced_since: MonoTime,
    /// Dead letters up to this are forgotten.
    forgotten: u64,
    last_dead: u64,
}

impl<L, D, const MAX: usize> LogOutbox<L, D, MAX> {
    pub(super) const fn over(
        live: Segments<L, MAX>,
        dead: Segments<D, MAX>,
        durability: Durability,
    ) -> Self {
        LogOutbox {
            live,
            dead,
            durability,
            ledger: NO_LEDGER,
            next_seq: 1,
            cursor: 0,
            gone: 0,
            head: Place { id: 0, offset: 0 },
            doubt: None,
            marked: (0, NO_LEDGER),
            marks_unsynced: 0,
            unsynced: 0,
            unsynced_since: MonoTime(0),
            forgotten: 0,
            last_dead: 0,
        }
    }
}

const NO_LEDGER: Ledger = Ledger {
    submitted: 0,
    delivered: 0,
    refused: 0,
    superseded: 0,
    expired: 0,
    torn: 0,
    corrupt: 0,
};

impl<L, D, const MAX: usize> LogOutbox<L, D, MAX>
where
    L: Storage,
    D: Storage<Error = L::Error>,
{
    /// Opens the logs on two storages, whatever a crash has left there.
    pub fn open(live: L, dead: D, durability: Durability) -> Result<Self, LogError<L::Error>> {
        let mut this = Self::over(Segments::open(live)?, Segments::open(dead)?, durability);
        this.recover_live()?;
        this.recover_dead()?;
        // What a killed process wrote may not be durable yet. If it cannot be made so now, the next flush tries again.
        let _ = this.sync_live();
        let _ = this.dead.sync();
        Ok(this)
    }

    fn recover_live(&mut self) -> Result<(), LogError<L::Error>> {
        self.read_segment_headers()?;
        let mut at = self.live.start();
        self.head = at;
        let mut last_report = None;
        let mut tail = at;
        let mut torn = false;
        while let Some((place, header)) = self.live.next(at)? {
            at = place.plus(header.record_len());
            tail = at;
            torn = false;
            match header.kind {
                Kind::Report => {
                    // The numbers before it were all given out. Itself, only if it is whole.
                    self.next_seq = self.next_seq.max(header.seq);
                    last_report = Some((place, header));
                    torn = true;
                }
                Kind::Mark => self.recover_mark(place, &header)?,
                Kind::Gone => {
                    let last = self.gone_until(place)?;
                    self.next_seq = self.next_seq.max(last.saturating_add(1));
                }
                Kind::Dead | Kind::Commit => {}
            }
        }
        if let Some((place, header)) = last_report {
            if self.live.is_whole(place, &header)? {
                torn = false;
                self.next_seq = self.next_seq.max(seq_after(&header));
            }
        } else {
            torn = false;
        }
        self.next_seq = self.next_seq.max(self.cursor.saturating_add(1));
        self.count_gone()?;
        self.marked = (self.cursor, self.ledger);
        if torn || self.live.is_written_behind(tail) {
            self.ledger.torn = self.ledger.torn.saturating_add(1);
            self.write_mark();
            let _ = self.sync_live();
        }
        Ok(())
    }

    fn read_segment_headers(&mut self) -> Result<(), LogError<L::Error>> {
        let list = self.live.list.clone();
        for segment in &list {
            if let SegmentFront::Header(header) = self.live.read_front(segment)? {
                self.ledger = later(&self.ledger, &header.ledger);
                self.cursor = self.cursor.max(header.cursor);
                self.next_seq = self.next_seq.max(header.next_seq);
            }
        }
        Ok(())
    }

    fn recover_mark(
        &mut self,
        place: Place,
        header: &RecordHeader,
    ) -> Result<(), LogError<L::Error>> {
        let mut payload = [0; MARK];
        if header.len != MARK || !self.live.read_body(place, header, &mut payload)? {
            return Ok(());
        }
        self.cursor = self.cursor.max(header.seq);
        if let Some((ledger, rest)) = payload.split_first_chunk::<LEDGER>() {
            if let Some(ledger) = ledger_from(ledger) {
                self.ledger = later(&self.ledger, &ledger);
            }
            if let Some((next_seq, _)) = rest.split_first_chunk() {
                self.next_seq = self.next_seq.max(u64::from_le_bytes(*next_seq));
            }
        }
        Ok(())
    }

    /// Counts the superseded reports behind the cursor; each `Gone` record stands there twice.
    fn count_gone(&mut self) -> Result<(), LogError<L::Error>> {
        let mut counted = self.cursor;
        let mut at = self.live.start();
        while let Some((place, header)) = self.live.next(at)? {
            at = place.plus(header.record_len());
            if header.kind == Kind::Gone {
                let last = self.gone_until(place)?;
                let first = header.seq.max(counted.saturating_add(1));
                let count = last.saturating_add(1).saturating_sub(first);
                self.gone = self.gone.saturating_add(count);
                counted = counted.max(last);
            }
        }
        Ok(())
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

    fn recover_dead(&mut self) -> Result<(), LogError<L::Error>> {
        let list = self.dead.list.clone();
        for segment in &list {
            if let SegmentFront::Header(header) = self.dead.read_front(segment)? {
                self.forgotten = self.forgotten.max(header.cursor);
            }
        }
        let mut at = self.dead.start();
        while let Some((place, header)) = self.dead.next(at)? {
            at = place.plus(header.record_len());
            match header.kind {
                Kind::Dead => self.last_dead = self.last_dead.max(header.seq),
                Kind::Mark => self.forgotten = self.forgotten.max(header.seq),
                _ => {}
            }
        }
        Ok(())
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
    fn write_mark(&mut self) {
        if self.marked == (self.cursor, self.ledger) {
            return;
        }
        let with_reserve = MARK.saturating_add(RESERVE);
        if !self.live.has_room(with_reserve)
            && self.live.roll(self.segment_header(), with_reserve).is_err()
        {
            return;
        }
        self.append_mark();
    }

    /// Discards the segments before `id`; what says that their reports are settled comes first, for which each segment has a reserve.
    fn discard_before(&mut self, id: u32) {
        if self.live.list.first().is_none_or(|first| first.id == id) {
            return;
        }
        if self.marked != (self.cursor, self.ledger) && self.live.has_room(MARK) {
            self.append_mark();
        }
        self.live.discard_before(id);
    }

    fn append_mark(&mut self) {
        let mut payload = [0; MARK];
        if let Some((ledger, next_seq)) = payload.split_first_chunk_mut::<LEDGER>() {
            *ledger = ledger_bytes(&self.ledger);
            if let Some((next_seq, _)) = next_seq.split_first_chunk_mut() {
                *next_seq = self.next_seq.to_le_bytes();
            }
        }
        if self
            .live
            .append(Kind::Mark, self.cursor, &payload, &[])
            .is_ok()
        {
            self.marked = (self.cursor, self.ledger);
            self.marks_unsynced = self.marks_unsynced.saturating_add(1);
            if self.marks_unsynced >= MARKS_UNSYNCED {
                let _ = self.sync_live();
            }
        }
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

    fn sync_live(&mut self) -> Result<(), LogError<L::Error>> {
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
            match self.live.roll(self.segment_header(), payload) {
                Err(LogError::Full) if merge::merge(self)? => {}
                // Nothing waits, and there is room for one segment only: that of a log in memory.
                Err(LogError::Full) if self.waiting() == 0 && self.live.discard_oldest() => {}
                result => return result.map(|()| self.reclaim()),
            }
        }
    }

    /// Keeps a copy of a report that will not be sent; the oldest ones make room. Best effort: the ledger counts it anyway.
    fn bury(&mut self, seq: u64, reason: Reason, bytes: &[u8]) {
        if self.last_dead >= seq {
            // A crash came between this and the mark.
            return;
        }
        let payload = REASON.saturating_add(bytes.len());
        let header = SegmentHeader {
            cursor: self.forgotten,
            ..self.segment_header()
        };
        while !self.dead.has_room(payload) {
            match self.dead.roll(header, payload) {
                Ok(()) => break,
                Err(LogError::Full) if self.dead.discard_oldest() => {}
                Err(_) => return,
            }
        }
        let [low, high] = reason.number().to_le_bytes();
        let prefix = [low, high, 0, 0, 0, 0, 0, 0];
        if self.dead.append(Kind::Dead, seq, &prefix, bytes).is_ok() && self.dead.sync().is_ok() {
            self.last_dead = seq;
        }
    }

    fn front_record(&mut self) -> Result<Option<(Place, RecordHeader)>, LogError<L::Error>> {
        match self.front()? {
            Some(_) => self.live.next(self.head),
            None => Ok(None),
        }
    }

    fn find_dead(
        &mut self,
        wanted: impl Fn(u64) -> bool,
    ) -> Result<Option<(Place, RecordHeader)>, LogError<L::Error>> {
        let mut at = self.dead.start();
        while let Some((place, header)) = self.dead.next(at)? {
            at = place.plus(header.record_len());
            if header.kind == Kind::Dead && header.seq > self.forgotten && wanted(header.seq) {
                return Ok(Some((place, header)));
            }
        }
        Ok(None)
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
        if due {
            self.sync_live()?;
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
            self.discard_before(place.id);
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
        if !replaced {
            self.ledger.corrupt = self.ledger.corrupt.saturating_add(1);
            self.cursor = header.seq;
            self.write_mark();
        }
        self.head = behind;
        Ok(false)
    }

    fn settle_front(&mut self, fate: Fate, buffer: &[u8]) -> Result<(), Self::Error> {
        let Some((place, header)) = self.front_record()? else {
            return Ok(());
        };
        let counter = match fate {
            Fate::Delivered => &mut self.ledger.delivered,
            Fate::Refused(_) => &mut self.ledger.refused,
            Fate::Expired(_) => &mut self.ledger.expired,
        };
        *counter = counter.saturating_add(1);
        if let Fate::Refused(reason) | Fate::Expired(reason) = fate {
            self.bury(header.seq, reason, buffer);
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
        self.sync_live()?;
        self.dead.sync()
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
        let after = after.map_or(0, |ticket| ticket.0);
        let Some((place, header)) = self.find_dead(|seq| seq > after)? else {
            return Ok(None);
        };
        let mut reason = [0; 2];
        self.dead.read(place, 0, &mut reason)?;
        Ok(Some(DeadLetter {
            ticket: Ticket(header.seq),
            reason: Reason::from_number(u16::from_le_bytes(reason)),
            len: header.len.saturating_sub(REASON),
        }))
    }

    fn read_dead_letter(&mut self, ticket: Ticket, buffer: &mut [u8]) -> Result<bool, Self::Error> {
        match self.find_dead(|seq| seq == ticket.0)? {
            Some((place, header)) => self.dead.read_body(place, &header, buffer),
            None => Ok(false),
        }
    }

    fn forget_dead_letters(&mut self, ticket: Ticket) -> Result<(), Self::Error> {
        self.forgotten = self.forgotten.max(ticket.0.min(self.last_dead));
        let header = SegmentHeader {
            cursor: self.forgotten,
            ..self.segment_header()
        };
        if self.dead.list.is_empty() {
            return Ok(());
        }
        // The header of a new segment says it as well.
        if self.dead.has_room(0) {
            self.dead.append(Kind::Mark, self.forgotten, &[], &[])?;
        } else {
            match self.dead.roll(header, 0) {
                Err(LogError::Full) if self.dead.discard_oldest() => self.dead.roll(header, 0)?,
                result => result?,
            }
        }
        self.dead.sync()?;
        match self.find_dead(|_| true)? {
            Some((place, _)) => self.dead.discard_before(place.id),
            None => {
                let last = self.dead.list.last().map_or(0, |last| last.id);
                self.dead.discard_before(last);
            }
        }
        Ok(())
    }
}

fn seq_after(header: &RecordHeader) -> u64 {
    header.seq.saturating_add(1)
}

/// Whether newer entries for this job make this one dispensable.
pub(super) fn is_superseded(key: &JobKey, seq: u64, newest: u64, newest_final: u64) -> bool {
    newest > seq && (!key.is_final || newest_final > seq)
}

/// What the newest reports say of one job.
#[derive(Clone, Copy, Debug)]
pub(super) struct Latest {
    pub(super) job_id: i64,
    pub(super) newest: u64,
    pub(super) newest_final: u64,
}

/// How many bytes of keys stand in front of a report.
pub(super) const MAX_KEY_BYTES: usize = 16 * KEY;
