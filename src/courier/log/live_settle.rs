//! The reports that wait, in a log: one of them is settled, and that is noted.

use super::super::outbox::OutboxError;
use super::ahead::Range;
use super::live::Live;
use super::record::{Counter, Kind, RecordHeader, Settlement};
use super::segments::{Place, header_of};
use super::storage::Storage;

/// How many settled reports may be forgotten by a power cut, and so be sent again.
const SETTLED_UNSYNCED: u32 = 64;

impl<S: Storage, const MAX: usize> Live<S, MAX> {
    /// A report that waits is settled; `false` if it does not wait.
    pub(super) fn settle(
        &mut self,
        seq: u64,
        counter: Counter,
    ) -> Result<bool, OutboxError<S::Error>> {
        if !self.waits(seq) {
            return Ok(false);
        }
        // What cannot be read now is not passed over for this.
        let front = self.next_record(None).ok();
        let was_front = front.is_some_and(|front| front.is_none_or(|(_, front)| front.seq >= seq));
        let found = front.flatten().filter(|(_, front)| front.seq == seq);
        let found = found.or_else(|| self.find(seq));
        let next = self.next_record(Some(seq));
        let is_known = next.is_ok();
        let next = next.unwrap_or(None);
        let until = match &next {
            Some((_, header)) => header.seq.saturating_sub(1),
            None if is_known => self.state.next_seq.saturating_sub(1),
            None => seq,
        };
        if was_front {
            self.pass_to(until);
            match next {
                Some((place, _)) => self.head = place,
                None if is_known => self.head = self.segments.end_of_log(),
                None => {}
            }
        } else {
            let range = Range {
                first: seq,
                last: until,
                end: next.map(|(place, _)| place),
            };
            if !self.ahead.insert(range) {
                return Err(OutboxError::Full);
            }
        }
        match found {
            Some((place, header)) => self.release(place, &header),
            // Its header cannot be read any more, and so its jobs are not known.
            None => self.is_lost = true,
        }
        self.waiting = self.waiting.saturating_sub(1);
        self.state.add(counter, 1);
        let settlement = Settlement { counter, was_front };
        self.write_settled(seq, settlement);
        self.reclaim();
        Ok(true)
    }

    /// The bytes of a report may be freed, and its jobs forget it.
    fn release(&mut self, place: Place, header: &RecordHeader) {
        let keys = self.segments.keys_at(place, header);
        // What is superseded is not counted any more.
        if !self.jobs.is_superseded(header.seq, &keys) {
            let size = self.segments.record_len(header.len);
            self.segments.count_live(place, size, false);
        }
        self.jobs.forget(header.seq, &keys);
        self.places.remove(header.seq);
    }

    /// Without room or with a failing storage that is left for later: a restart then sends some reports again.
    fn write_settled(&mut self, seq: u64, settlement: Settlement) {
        let was_noted = self.is_noted;
        self.is_noted = false;
        self.clean_at = None;
        // Dropped by the thousand, perhaps: what is written next says it.
        if settlement.counter == Counter::Superseded && settlement.was_front {
            return;
        }
        // Without what came before, a record of this one would count that as lost.
        let has_room = match was_noted {
            true => {
                let settled = self.segments.record_len(0);
                self.segments
                    .has_room(settled.saturating_add(self.reserve()))
            }
            false => self.has_room_beside_reserve(),
        };
        if !has_room {
            self.settle_without_room();
        } else if !was_noted {
            self.is_noted = self.write_checkpoint(0);
        } else {
            let header = RecordHeader {
                crc: self.state.known() as u32,
                ..header_of(
                    Kind::Settled,
                    settlement.detail(),
                    seq,
                    self.state.get(settlement.counter),
                )
            };
            self.is_noted = self.segments.append(header, &[], &[]).is_ok();
            if self.is_noted {
                self.noted = self.state;
            }
            self.settled_unsynced = self.settled_unsynced.saturating_add(1);
            if self.settled_unsynced >= SETTLED_UNSYNCED && self.segments.unsynced_from().is_none()
            {
                self.settled_unsynced = 0;
                // A failure is reported by the next submit or flush.
                let _ = self.segments.sync();
            }
        }
    }

    /// The header of a new segment says it all, of a short one at the least. If there can be none, now and then it is said with what is set
    /// aside, so that a full device and many kills do not send the same for ever.
    fn settle_without_room(&mut self) {
        self.unnoted = self.unnoted.saturating_add(1);
        if self.segments.unsynced_from().is_none()
            && (self.roll(0).is_ok() || self.roll_for_notes().is_ok())
        {
            self.unnoted = 0;
        }
        let note = self.segments.record_len(self.note().len());
        if self.unnoted >= SETTLED_UNSYNCED
            && self.segments.has_room(note.saturating_mul(2))
            && self.write_checkpoint(0)
        {
            (self.unnoted, self.is_noted) = (0, true);
            // A failure is reported by the next submit or flush.
            let _ = self.segments.sync();
        }
    }
}
