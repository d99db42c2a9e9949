//! What a log says after a restart: which reports wait, and what became of the others.
//!
//! Everything that is read only adds up: of each counter the greatest value counts, the cursor is the greatest cursor, the ranges are the
//! union of all ranges. So the order of reading does not matter, and neither does what is read twice, from a segment and from the
//! one that stands for it.
//!
//! Then the reports that wait are counted. Each report's record says how many were submitted up to it. What was submitted, less what is
//! settled, should wait; what does not was lost by the storage, and counts as corrupt. So the counters add up by construction.
//!
//! The newest report was cut if its bytes are there and are not what its checksum says: nobody was told that it is stored, and no counter has
//! it. One whose bytes cannot be read may be whole, so it waits, and who reads it finds out. What a pass over the records found is thrown away if
//! some of them could not be read, and the pass is repeated: so an error that goes away leaves no trace.
//!
//! Tickets are never given out twice: unless the log was closed cleanly, the next one is the first that was not reserved.

use super::ahead::{RANGE, Range};
use super::live::{CLEAN, Live};
use super::record::{
    CHECKPOINT, Checkpoint, Counter, Kind, RecordHeader, SEGMENT_HEADER, SegmentFront, Settlement,
};
use super::segments::Place;
use super::storage::Storage;
use super::walk::until_read;

/// Reports whose letter was durable before a crash came, and that count as settled only from now on.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Finished {
    pub(super) all: u64,
    /// Of these were given up.
    pub(super) expired: u64,
}

/// A report of which it is not known yet whether its write was cut.
#[derive(Clone, Copy)]
struct Last {
    place: Place,
    header: RecordHeader,
}

impl<S: Storage, const MAX: usize> Live<S, MAX> {
    /// Takes up what the segments say.
    /// `knows_letters`: they may know of tickets that were given out.
    pub(super) fn recover(&mut self, knows_letters: bool) {
        self.segments.reopen();
        // Some of what is found may stand in segments that go before the last one.
        self.set_unnoted();
        let before = self.state;
        let mut read = self.read_all(&before);
        if self.segments.has_doubles && self.segments.leave_doubles() {
            self.segments.close();
            self.segments.reopen();
            read = self.read_all(&before);
        }
        let (is_clean, is_torn) = read;
        if is_clean && knows_letters {
            self.clean_at = Some(self.segments.end_of_log());
        } else {
            self.state.next_seq = self.state.next_seq.max(self.state.reserved);
            // What says less was written before a reservation that is lost.
            self.state.reserved = self.state.next_seq;
            self.state.add(Counter::Torn, u64::from(is_torn));
            self.has_cut = is_torn;
            // A unit that was cut while it was written may still read as blank.
            self.segments.skip_unit();
        }
        self.ahead.drop_until(self.state.cursor);
        self.noted = self.state;
        self.head = self.segments.start();
    }

    /// A letter of this report was durable before a crash came: then that is what became of it. `false` if it does not wait.
    pub(super) fn settle_by_letter(&mut self, seq: u64) -> bool {
        if self.find(seq).is_none() {
            return false;
        }
        self.settled_ahead(seq, seq);
        !self.may_wait(seq)
    }

    /// Counts what waits, and makes the counters add up.
    ///
    /// What was settled last may not have been written in order: a record may be there that says how many were settled, and some of
    /// those before it not. What they said is known anyway: `letters` is how many letters there were ever but those whose report waits, so many
    /// were refused or expired (of those that a letter settled now, `finished`, it is known for sure); the others were delivered.
    pub(super) fn balance(&mut self, letters: u64, finished: Finished) {
        let waits = until_read(self, Self::read_failed, Self::count_waiting);
        self.waiting = waits.count;
        let expected = self.state.get(Counter::Submitted);
        // So many at the least: what was superseded, or is counted as lost, is not there either.
        let explained = [Counter::Superseded, Counter::Corrupt].map(|c| self.state.get(c));
        let lost = explained.into_iter().fold(waits.lost, u64::saturating_sub);
        let mut missing = self.missing();
        let known = self
            .state
            .get(Counter::Refused)
            .saturating_add(self.state.get(Counter::Expired));
        let letters = letters.saturating_sub(known);
        let Finished { all, expired } = finished;
        for (counter, most, sure) in [
            (Counter::Expired, letters.min(expired), expired),
            (
                Counter::Refused,
                letters.saturating_sub(expired),
                all.saturating_sub(expired),
            ),
        ] {
            let more = most.min(missing.max(sure));
            self.state.add(counter, more);
            missing = missing.saturating_sub(more);
        }
        let passed = missing.saturating_sub(lost);
        // What a letter settled only now was settled by no record.
        let known = self.known.saturating_add(all);
        let delivered = known.saturating_sub(self.state.known()).min(passed);
        self.state.add(Counter::Delivered, delivered);
        self.state
            .add(Counter::Corrupt, missing.saturating_sub(delivered));
        // More than there should be: some wait again, since what said that they are settled is lost, or what could not be read once can be
        // read now.
        let found = self.state.settled().saturating_add(self.waiting);
        let mut excess = found.saturating_sub(expected);
        for counter in [Counter::Corrupt, Counter::Delivered] {
            let less = excess.min(self.state.get(counter));
            self.state
                .set(counter, self.state.get(counter).saturating_sub(less));
            excess = excess.saturating_sub(less);
        }
        self.state.add(Counter::Submitted, excess);
    }

    fn read_failed(&mut self) -> &mut bool {
        &mut self.segments.read_failed
    }

    /// How many reports neither wait nor are counted as settled.
    fn missing(&self) -> u64 {
        let found = self.state.settled().saturating_add(self.waiting);
        self.state.get(Counter::Submitted).saturating_sub(found)
    }

    fn read_fronts(&mut self) {
        for index in 0..self.segments.list.len() {
            let Some(segment) = self.segments.list.get(index).copied() else {
                break;
            };
            self.state.next_seq = self.state.next_seq.max(segment.first);
            if let Ok(SegmentFront::Header(header)) =
                self.segments.read_front(segment.id, segment.len)
            {
                self.state.join(&header.checkpoint);
            }
        }
    }

    fn read_all(&mut self, before: &Checkpoint) -> (bool, bool) {
        until_read(self, Self::read_failed, |this| {
            (this.state, this.known) = (*before, 0);
            this.ahead.drop_until(u64::MAX);
            this.read_fronts();
            this.read_records()
        })
    }

    /// Reads all records. Says whether the log was closed cleanly, and whether the last write was cut.
    fn read_records(&mut self) -> (bool, bool) {
        let mut last: Option<Last> = None;
        let mut newest = 0;
        self.segments.has_doubles = false;
        // What was reserved when the log was closed, if nothing was written since then.
        let mut closed = None;
        let mut tail = self.segments.start();
        let open = self.segments.end_of_log().id;
        let mut at = tail;
        while let Some((place, header)) = self.segments.next(at) {
            at = self.segments.after(place, &header);
            if place.id == open {
                tail = at;
            }
            closed = None;
            match header.kind {
                // A copy.
                Kind::Report if header.seq <= newest => self.segments.has_doubles = true,
                Kind::Report => {
                    newest = header.seq;
                    self.state.next_seq = self.state.next_seq.max(header.seq.saturating_add(1));
                    // One that was cut is followed by another with the same count.
                    if let Some(before) = last.replace(Last { place, header }) {
                        self.report_before(&before, header.count);
                    }
                }
                Kind::Checkpoint | Kind::Commit => {
                    let state = self.read_note(place, &header);
                    let closes = header.kind == Kind::Checkpoint && header.detail == CLEAN;
                    closed = state.filter(|_| closes).map(|state| state.reserved);
                }
                Kind::Settled => self.read_settled(&header),
                Kind::Letter | Kind::Forgotten | Kind::Other => {}
            }
        }
        if tail.id != open {
            tail = Place {
                id: open,
                offset: SEGMENT_HEADER,
            };
        }
        let mut is_torn = self.segments.is_open && self.segments.write_at > tail.offset;
        // Whoever goes on after that reserves tickets first.
        let is_clean = !is_torn && closed == Some(self.state.reserved);
        if let Some(last) = last {
            let failed = core::mem::take(&mut self.segments.read_failed);
            let is_whole = self.segments.is_whole(last.place, &last.header);
            // What cannot be read was not cut.
            let is_whole = is_whole || self.segments.read_failed;
            self.segments.read_failed |= failed;
            // A checkpoint after it counts what was known then, and what became of its bytes later is no cut.
            let is_whole = is_whole || last.header.count <= self.state.get(Counter::Submitted);
            let next = last.header.count.saturating_add(u64::from(is_whole));
            // Once noted it does not count again.
            is_torn |= !is_whole && self.may_wait(last.header.seq);
            self.report_before(&last, next);
        }
        (is_clean, is_torn)
    }

    /// A report, and the count of the one after it.
    fn report_before(&mut self, report: &Last, next: u64) {
        let Last { header, .. } = report;
        if next > header.count {
            self.state.raise(Counter::Submitted, header.count);
        } else {
            // Its write was cut: it was never submitted.
            self.settled_ahead(header.seq, header.seq);
        }
    }

    fn read_settled(&mut self, header: &RecordHeader) {
        let Some(settlement) = Settlement::from_detail(header.detail) else {
            return;
        };
        self.state.raise(settlement.counter, header.count);
        // The report itself may be lost.
        self.state.next_seq = self.state.next_seq.max(header.seq.saturating_add(1));
        self.known = self.known.max(header.known());
        if settlement.was_front {
            self.state.cursor = self.state.cursor.max(header.seq);
            self.ahead.drop_until(self.state.cursor);
        } else {
            self.settled_ahead(header.seq, header.seq);
        }
    }

    /// Reads a checkpoint and its ranges; `None` if it is damaged.
    fn read_note(&mut self, place: Place, header: &RecordHeader) -> Option<Checkpoint> {
        if header.len < CHECKPOINT || !self.segments.is_whole(place, header) {
            return None;
        }
        let mut state = [0; CHECKPOINT];
        self.segments.read(place, 0, &mut state).ok()?;
        let state = Checkpoint::decode(&state)?;
        self.state.join(&state);
        self.ahead.drop_until(self.state.cursor);
        let mut offset = CHECKPOINT;
        while offset.saturating_add(RANGE) <= header.len {
            let (mut first, mut last) = ([0; 8], [0; 8]);
            let read = self.segments.read(place, offset, &mut first);
            let read = read.and_then(|()| {
                self.segments
                    .read(place, offset.saturating_add(8), &mut last)
            });
            if read.is_ok() {
                self.settled_ahead(u64::from_le_bytes(first), u64::from_le_bytes(last));
            }
            offset = offset.saturating_add(RANGE);
        }
        Some(state)
    }

    fn settled_ahead(&mut self, first: u64, last: u64) {
        if last > self.state.cursor && first <= last {
            // Without room they are sent again.
            let range = Range {
                first,
                last,
                end: None,
            };
            let _ = self.ahead.insert(range);
        }
    }
}
