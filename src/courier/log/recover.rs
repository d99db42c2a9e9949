//! What a log says after a restart: how far reports are settled, and which of them wait.

use super::outbox::{LogError, LogOutbox, MARK};
use super::record::{Kind, LEDGER, RecordHeader, SegmentFront, later, ledger_from};
use super::segments::Place;
use super::storage::Storage;

impl<L, D, const MAX: usize> LogOutbox<L, D, MAX>
where
    L: Storage,
    D: Storage<Error = L::Error>,
{
    pub(super) fn recover(&mut self) -> Result<(), LogError<L::Error>> {
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
                self.next_seq = self.next_seq.max(header.seq.saturating_add(1));
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
        for segment in 0..self.live.list.len() {
            if let SegmentFront::Header(header) = self.live.read_front_at(segment)? {
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
}
