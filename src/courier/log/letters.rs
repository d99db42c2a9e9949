//! The dead letters: a log of the reports that will not be sent. The oldest make room for the newest.

use super::outbox::LogError;
use super::record::{Kind, REASON, RecordHeader, SegmentFront, SegmentHeader};
use super::segments::{Place, Segments};
use super::storage::Storage;
use crate::courier::outbox::{DeadLetter, Ledger, Ticket};
use crate::courier::policy::Reason;

#[derive(Debug)]
pub(super) struct Letters<D, const MAX: usize> {
    segments: Segments<D, MAX>,
    /// Those up to this are forgotten.
    forgotten: u64,
    last: u64,
}

impl<D, const MAX: usize> Letters<D, MAX> {
    pub(super) const fn over(segments: Segments<D, MAX>) -> Self {
        Letters {
            segments,
            forgotten: 0,
            last: 0,
        }
    }
}

impl<D: Storage, const MAX: usize> Letters<D, MAX> {
    /// Finds the letters there are.
    pub(super) fn open(&mut self) -> Result<(), LogError<D::Error>> {
        self.segments.open()?;
        for segment in 0..self.segments.list.len() {
            if let SegmentFront::Header(header) = self.segments.read_front_at(segment)? {
                self.forgotten = self.forgotten.max(header.cursor);
            }
        }
        let mut at = self.segments.start();
        while let Some((place, header)) = self.segments.next(at)? {
            at = place.plus(header.record_len());
            match header.kind {
                Kind::Dead => self.last = self.last.max(header.seq),
                Kind::Mark => self.forgotten = self.forgotten.max(header.seq),
                _ => {}
            }
        }
        Ok(())
    }

    /// Keeps a copy of a report. What fails of it can be made up for by [`make_durable`](Self::make_durable).
    pub(super) fn bury(&mut self, seq: u64, reason: Reason, bytes: &[u8]) {
        // If it is there, a crash came between this and the mark.
        if self.last >= seq {
            return;
        }
        let [low, high] = reason.number().to_le_bytes();
        let prefix = [low, high, 0, 0, 0, 0, 0, 0];
        // Twice: a storage may throw away what it cannot sync.
        for _ in 0..2 {
            let is_there = |this: &mut Self| matches!(this.find(|n| n == seq), Ok(Some(_)));
            if !is_there(self) && self.append(Kind::Dead, seq, &prefix, bytes).is_err() {
                continue;
            }
            if self.make_durable().is_ok() && is_there(self) {
                break;
            }
        }
        self.last = seq;
    }

    /// Makes durable all that can be read.
    pub(super) fn make_durable(&mut self) -> Result<(), LogError<D::Error>> {
        if !self.is_suspect() && self.segments.sync().is_ok() {
            return Ok(());
        }
        // Into a new segment, since a second sync of the old one would prove nothing.
        let mut size = 0usize;
        self.each_suspect(None, |_, _, header| {
            size = size.saturating_add(header.record_len());
            Ok(())
        })?;
        self.make_room(size)?;
        let new = self.segments.end_of_log().id;
        let copied = self.each_suspect(Some(new), Segments::append_copy);
        match copied.and_then(|()| self.segments.sync()) {
            Ok(()) => self.segments.trust(),
            Err(error) => {
                self.segments.discard_newest();
                return Err(error);
            }
        }
        Ok(())
    }

    /// Gives the letters that may be gone after a power cut, as far as they stand before the segment `until`.
    fn each_suspect(
        &mut self,
        until: Option<u32>,
        mut each: impl FnMut(
            &mut Segments<D, MAX>,
            Place,
            &RecordHeader,
        ) -> Result<(), LogError<D::Error>>,
    ) -> Result<(), LogError<D::Error>> {
        let there = |place: &Place| self.segments.list.iter().any(|s| s.id == place.id);
        let suspect = self.segments.suspect().filter(there);
        let mut at = suspect.unwrap_or(self.segments.start());
        while let Some((place, header)) = self.segments.next(at)? {
            if Some(place.id) == until {
                break;
            }
            at = place.plus(header.record_len());
            if self.is_kept(place, &header)? {
                each(&mut self.segments, place, &header)?;
            }
        }
        Ok(())
    }

    /// Whether some letters may be gone after a power cut.
    pub(super) fn is_suspect(&self) -> bool {
        self.segments.suspect().is_some()
    }

    /// Takes them as they are.
    pub(super) fn trust(&mut self) {
        self.segments.trust();
    }

    /// The oldest letter behind `after`.
    pub(super) fn next(&mut self, after: u64) -> Result<Option<DeadLetter>, LogError<D::Error>> {
        let Some((place, header)) = self.find(|seq| seq > after)? else {
            return Ok(None);
        };
        let mut reason = [0; 2];
        self.segments.read(place, 0, &mut reason)?;
        Ok(Some(DeadLetter {
            ticket: Ticket(header.seq),
            reason: Reason::from_number(u16::from_le_bytes(reason)),
            len: header.len.saturating_sub(REASON),
        }))
    }

    pub(super) fn read(&mut self, seq: u64, buffer: &mut [u8]) -> Result<bool, LogError<D::Error>> {
        match self.find(|number| number == seq)? {
            Some((place, header)) => self.segments.read_body(place, &header, buffer),
            None => Ok(false),
        }
    }

    /// Forgets those up to `seq`; after an error none of them.
    pub(super) fn forget(&mut self, seq: u64) -> Result<(), LogError<D::Error>> {
        if self.segments.list.is_empty() {
            return Ok(());
        }
        let before = self.forgotten;
        self.forgotten = before.max(seq.min(self.last));
        let noted = self.append(Kind::Mark, self.forgotten, &[], &[]);
        noted.and_then(|()| self.make_durable()).inspect_err(|_| {
            self.forgotten = before;
        })?;
        let keep = match self.find(|_| true)? {
            Some((place, _)) => Some(place.id),
            None => self.segments.list.last().map(|last| last.id),
        };
        if let Some(id) = keep {
            self.segments.discard_before(id);
        }
        Ok(())
    }

    fn append(
        &mut self,
        kind: Kind,
        seq: u64,
        prefix: &[u8],
        body: &[u8],
    ) -> Result<(), LogError<D::Error>> {
        let payload = prefix.len().saturating_add(body.len());
        if !self.segments.has_room(payload) {
            self.make_room(payload)?;
        }
        self.segments.append(kind, seq, prefix, body)
    }

    /// A new segment, whose header says what is forgotten.
    fn make_room(&mut self, payload: usize) -> Result<(), LogError<D::Error>> {
        let header = SegmentHeader {
            from: 0,
            to: 0,
            next_seq: 0,
            cursor: self.forgotten,
            ledger: Ledger::default(),
        };
        loop {
            match self.segments.roll(header, payload) {
                Err(LogError::Full) if self.segments.discard_oldest()? => {}
                result => return result,
            }
        }
    }

    /// The first whole letter of those wanted: after a failed sync there may be a second copy.
    fn find(
        &mut self,
        wanted: impl Fn(u64) -> bool,
    ) -> Result<Option<(Place, RecordHeader)>, LogError<D::Error>> {
        let mut at = self.segments.start();
        while let Some((place, header)) = self.segments.next(at)? {
            at = place.plus(header.record_len());
            if wanted(header.seq) && self.is_kept(place, &header)? {
                return Ok(Some((place, header)));
            }
        }
        Ok(None)
    }

    fn is_kept(&mut self, place: Place, header: &RecordHeader) -> Result<bool, LogError<D::Error>> {
        Ok(header.kind == Kind::Dead
            && header.seq > self.forgotten
            && self.segments.is_whole(place, header)?)
    }
}
