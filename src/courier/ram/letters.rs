//! The dead letters, at the front of the memory.

use super::RamOutbox;
use super::record::{LETTER, LetterRecord, Record, push_down, push_up, put};
use crate::courier::outbox::{Scratch, Ticket, WhenLettersFull};
use crate::courier::reason::Reason;

impl<M: Scratch, E> RamOutbox<M, E> {
    pub(super) fn letter_from(&mut self, at: usize) -> Option<LetterRecord> {
        let is_there = at < self.letters;
        let letter = is_there.then(|| LetterRecord::read(self.bytes(), at));
        letter.flatten()
    }

    pub(super) fn letter(&mut self, ticket: Ticket) -> Option<(usize, LetterRecord)> {
        let (found, place) = self.found_letter;
        let mut at = match found == ticket.0 {
            true => place,
            false => 0,
        };
        while let Some(letter) = self.letter_from(at) {
            if letter.seq == ticket.0 {
                self.found_letter = (letter.seq, at);
                return Some((at, letter));
            }
            at = at.saturating_add(letter.size());
        }
        None
    }

    /// Takes away the letters from one place until another.
    pub(super) fn take_letters_away(&mut self, from: usize, until: usize) {
        let mut at = from;
        let mut gone = 0u64;
        while at < until
            && let Some(letter) = self.letter_from(at)
        {
            gone = gone.saturating_add(1);
            at = at.saturating_add(letter.size());
        }
        let rest = self.letters.saturating_sub(at);
        push_down(self.bytes(), at, from, rest);
        self.letters = from.saturating_add(rest);
        self.found_letter = (0, 0);
        self.counters.letters = self.counters.letters.saturating_sub(gone);
    }

    /// Makes a letter of a report; `false` without room, and then nothing has changed.
    pub(super) fn bury(
        &mut self,
        (at, record): (usize, Record),
        reason: &Reason,
        report: &[u8],
        when_full: WhenLettersFull,
    ) -> bool {
        let share = self.capacity() / 4;
        let (error_code, text) = (reason.error_code.as_str(), reason.text.as_str());
        let mut letter = LetterRecord {
            seq: record.seq,
            len: report.len(),
            cause: reason.cause.number(),
            status: reason.status,
            error_code: u8::try_from(error_code.len()).unwrap_or(0),
            text: u8::try_from(text.len()).unwrap_or(0),
        };
        // How many make room.
        let mut until = 0;
        let too_many = |until: usize, size: usize, letters: usize| {
            until < letters && letters.saturating_sub(until).saturating_add(size) > share
        };
        while too_many(until, letter.size(), self.letters) {
            if when_full == WhenLettersFull::Hold {
                return false;
            }
            let oldest = self.letter_from(until);
            until = oldest.map_or(self.letters, |oldest| until.saturating_add(oldest.size()));
        }
        let live = self.live().saturating_sub(record.size());
        let taken = self.letters.saturating_sub(until).saturating_add(live);
        let free = self.capacity().saturating_sub(taken);
        // The other half is for a report as long as that of the letter.
        let most = free.min(self.capacity() / 2);
        if letter.size() > most {
            letter.text = 0;
        }
        if letter.size() > most {
            letter.error_code = 0;
        }
        let size = letter.size();
        if size > free || self.memory.room(taken.saturating_add(size)).is_none() {
            return false;
        }
        let before = self.counters.letters;
        if until > 0 {
            self.take_letters_away(0, until);
        }
        let dropped = before.saturating_sub(self.counters.letters);
        self.counters.letters_dropped = self.counters.letters_dropped.saturating_add(dropped);
        self.remove(at, record);
        if self.head.saturating_sub(self.letters) < size {
            self.compact(|_, _, _| true);
            // For some letters more, so that not each has to do this.
            let more = share.saturating_sub(self.letters);
            let more = more.min(self.capacity().saturating_sub(self.tail));
            let more = match self.memory.room(self.tail.saturating_add(more)) {
                Some(_) => more.max(size),
                None => size,
            };
            let (from, len) = (self.head, self.tail.saturating_sub(self.head));
            self.head = from.saturating_add(more);
            self.tail = self.tail.saturating_add(more);
            push_up(self.bytes(), from, len, more);
        }
        let at = self.letters;
        let bytes = self.bytes();
        let _ = letter.write(bytes, at);
        let mut to = at.saturating_add(LETTER);
        for (text, len) in [(error_code, letter.error_code), (text, letter.text)] {
            if len > 0 {
                to = put(bytes, to, text.as_bytes()).unwrap_or(to);
            }
        }
        let _ = put(bytes, to, report);
        self.letters = at.saturating_add(size);
        self.counters.letters = self.counters.letters.saturating_add(1);
        true
    }
}
