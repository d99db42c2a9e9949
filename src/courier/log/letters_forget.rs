//! The dead letters, in a log: some of them are forgotten.

use super::super::outbox::{Forget, OutboxError, Ticket, WhenLettersFull};
use super::compact::Window;
use super::letters::{Found, Letters};
use super::record::{Counter, FORGET_UP_TO, Kind};
use super::segments::{Place, header_of};
use super::storage::Storage;

impl<S: Storage, const MAX: usize> Letters<S, MAX> {
    /// Forgets letters, durably; after an error none of them.
    pub(super) fn forget(&mut self, which: Forget) -> Result<(), OutboxError<S::Error>> {
        self.rewrite_unsynced()?;
        // What else is not durable must not fail behind the record that forgets: that would be there, and the next one would not count what it does.
        self.sync()?;
        let (ticket, up_to) = match which {
            Forget::One(ticket) => (ticket, false),
            Forget::UpTo(ticket) => (ticket, true),
        };
        if self.look_up(ticket)?.is_none() {
            return Ok(());
        }
        // That may move letters.
        let full = !self.segments.has_room(self.record_len(0))
            && self
                .make_room(self.reserve(), WhenLettersFull::Hold)
                .is_err();
        let Some(found) = self.look_up(ticket)? else {
            return Ok(());
        };
        let number = found.header.count;
        // The same of the oldest, but that it takes no range.
        let up_to = up_to || self.is_oldest(number);
        if !up_to {
            self.check_room_to_forget(number)?;
        }
        let mut forgotten = 0u64;
        let mut freed = heapless::Vec::<(u32, usize), MAX>::new();
        let mut goes = |found: &Found, size: usize| {
            forgotten = forgotten.saturating_add(1);
            match freed.iter_mut().find(|(id, _)| *id == found.place.id) {
                Some((_, bytes)) => *bytes = bytes.saturating_add(size),
                // As many as there are segments.
                None => _ = freed.push((found.place.id, size)),
            }
        };
        goes(&found, self.record_len(found.header.len));
        self.segments.read_failed = false;
        if up_to {
            let mut at = self.segments.start();
            while let Some(next) = self.next_from(at)
                && next.header.count < number
            {
                at = self.segments.after(next.place, &next.header);
                goes(&next, self.record_len(next.header.len));
            }
            // Those that cannot be read are forgotten, too, and must be counted.
            self.segments.check_patience(&mut self.forget_patience)?;
        }
        let mut has_unread = self.segments.read_failed;
        let total = self.state.get(Counter::FORGOTTEN).saturating_add(forgotten);
        let detail = if up_to { FORGET_UP_TO } else { 0 };
        let header = header_of(Kind::Forgotten, detail, number, total);
        if !full {
            let place = self.segments.end_of_log();
            let written = self.segments.append(header, &[], &[]);
            // What is there in spite of an error is there after a restart, too.
            if !self.segments.is_there(place) {
                written?;
            }
            self.sync()?;
        }
        // What is left out must be forgotten before, and stays if that fails.
        let before = full.then(|| (self.state, self.index.clone(), self.forgotten.clone()));
        self.state.set(Counter::FORGOTTEN, total);
        self.forget_in_memory(number, up_to);
        if let Some(before) = before {
            if let Err(error) = self.leave_out(found.place.id, up_to) {
                (self.state, self.index, self.forgotten) = before;
                return Err(error);
            }
            has_unread |= self.segments.read_failed;
        }
        self.count = self.count.saturating_sub(forgotten);
        for (id, bytes) in freed {
            let place = Place { id, offset: 0 };
            self.segments.count_live(place, bytes, false);
        }
        if has_unread {
            // Some were given up.
            self.count_letters();
            self.count_dropped();
        }
        self.reclaim();
        Ok(())
    }

    /// An error if this letter cannot be forgotten, for want of memory to remember it.
    pub(super) fn may_forget(&mut self, ticket: Ticket) -> Result<(), OutboxError<S::Error>> {
        if cfg!(feature = "alloc") {
            return Ok(());
        }
        let Some(found) = self.look_up(ticket)? else {
            return Ok(());
        };
        let number = found.header.count;
        match self.is_oldest(number) {
            true => Ok(()),
            false => self.check_room_to_forget(number),
        }
    }

    /// Whether it is known that no letter stands before this one. With a heap nobody needs to know.
    fn is_oldest(&mut self, number: u64) -> bool {
        if cfg!(feature = "alloc") {
            return false;
        }
        self.segments.read_failed = false;
        let oldest = self.next_from(self.segments.start());
        oldest.is_some_and(|oldest| oldest.header.count >= number) && !self.segments.read_failed
    }

    fn check_room_to_forget(&self, number: u64) -> Result<(), OutboxError<S::Error>> {
        match cfg!(feature = "alloc") || self.forgotten.takes(number) {
            true => Ok(()),
            false => Err(OutboxError::LettersFull),
        }
    }

    /// Without room to say that letters are forgotten, they are left out of their segment, or what is written anew says it.
    fn leave_out(&mut self, id: u32, up_to: bool) -> Result<(), OutboxError<S::Error>> {
        let last = self.segments.list.len().saturating_sub(1);
        let own = self.segments.list.iter().position(|s| s.id == id);
        let first = if up_to { last } else { own.unwrap_or(last) };
        if !self.segments.may_replace() {
            return Err(OutboxError::LettersFull);
        }
        let is_lossy = self.copy_patience.is_spent();
        let compacted = self.compact(Window { first, count: 1 }, is_lossy);
        self.copy_patience.told(compacted)
    }
}
