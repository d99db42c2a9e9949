//! The outbox in memory against a plain queue, to the byte: any order of calls, in an array, a slice and a growing `Vec`.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a panic is how a test fails"
)]

use std::collections::VecDeque;

use edge_report::courier::{
    Counters, Disposition, Forget, JobKey, JobKeys, Outbox, OutboxError, RamOutbox, Reason,
    Scratch, Ticket, WhenLettersFull,
};
use edge_report::{MonoTime, Outcome, WallTime};
use proptest::collection::vec;
use proptest::prelude::*;

const CAPACITY: usize = 1000;

#[derive(Clone, Debug)]
enum Op {
    Append(Vec<(i64, bool)>, usize),
    /// The one of this place, of those that wait; by this policy of letters.
    Settle(usize, Disposition, WhenLettersFull),
    /// The letter of this place, or all up to it.
    Forget(usize, bool),
    Pin(usize),
}

#[derive(Clone, Debug, PartialEq)]
struct Entry {
    seq: u64,
    keys: Vec<(i64, bool)>,
    bytes: Vec<u8>,
    time: Option<WallTime>,
}

impl Entry {
    fn size(&self) -> usize {
        22 + 9 * self.keys.len() + self.bytes.len()
    }
}

fn letter_size((entry, reason): &(Entry, Reason)) -> usize {
    let texts = reason.error_code().len() + reason.text().len();
    18 + texts + entry.bytes.len()
}

#[derive(Default)]
struct Model {
    waiting: VecDeque<Entry>,
    letters: VecDeque<(Entry, Reason)>,
    counters: Counters,
    pinned: u64,
}

impl Model {
    fn letters_size(&self) -> usize {
        self.letters.iter().map(letter_size).sum()
    }

    fn free(&self) -> usize {
        let waiting: usize = self.waiting.iter().map(Entry::size).sum();
        CAPACITY - self.letters_size() - waiting
    }

    /// Whether newer reports say more of each job of the one at `index`.
    fn is_superseded(&self, index: usize, to_come: Option<&Entry>) -> bool {
        let entry = &self.waiting[index];
        let newer = || self.waiting.iter().skip(index + 1).chain(to_come);
        let says_more = |(id, is_final): &(i64, bool)| {
            let keys = newer().flat_map(|entry| &entry.keys);
            keys.clone()
                .any(|(other, last)| other == id && (*last || !is_final))
        };
        !entry.keys.is_empty() && entry.keys.iter().all(says_more)
    }

    fn append(&mut self, entry: Entry) -> Result<u64, &'static str> {
        let size = entry.size();
        if size > CAPACITY / 2 {
            return Err("too large");
        }
        if size > self.free() {
            let superseded: Vec<usize> = (0..self.waiting.len())
                .filter(|index| self.waiting[*index].seq != self.pinned)
                .filter(|index| self.is_superseded(*index, Some(&entry)))
                .collect();
            let freed: usize = superseded.iter().map(|i| self.waiting[*i].size()).sum();
            if self.free() + freed < size {
                return Err("full");
            }
            let mut dropped = 0;
            for index in superseded {
                if self.free() < size.max(CAPACITY / 8) {
                    self.waiting.remove(index - dropped);
                    dropped += 1;
                }
            }
            self.counters.superseded += dropped as u64;
        }
        self.counters.submitted += 1;
        self.waiting.push_back(entry);
        Ok(self.counters.submitted)
    }

    fn settle(
        &mut self,
        place: usize,
        disposition: Disposition,
        when_full: WhenLettersFull,
    ) -> bool {
        if let Disposition::Refused(mut reason) | Disposition::Expired(mut reason) = disposition {
            let entry = self.waiting[place].clone();
            let share = CAPACITY / 4;
            let mut letter = (entry, reason);
            let size = letter_size(&letter);
            if when_full == WhenLettersFull::Hold
                && !self.letters.is_empty()
                && self.letters_size() + size > share
            {
                return false;
            }
            self.waiting.remove(place);
            while !self.letters.is_empty() && self.letters_size() + size > share {
                self.letters.pop_front();
                self.counters.letters_dropped += 1;
            }
            // Not so much that the same report would find no room.
            let most = self.free().min(CAPACITY / 2);
            if letter_size(&letter) > most {
                reason = reason.with_text("");
                letter.1 = reason;
            }
            if letter_size(&letter) > most {
                reason = reason.with_error_code("");
                letter.1 = reason;
            }
            self.letters.push_back(letter);
        } else {
            self.waiting.remove(place);
        }
        match disposition {
            Disposition::Delivered => self.counters.delivered += 1,
            Disposition::Refused(_) => self.counters.refused += 1,
            Disposition::Expired(_) => self.counters.expired += 1,
            Disposition::Superseded => self.counters.superseded += 1,
            Disposition::Corrupt => self.counters.corrupt += 1,
        }
        true
    }
}

fn run<M: Scratch>(memory: M, capacity: usize, ops: &[Op]) {
    let mut outbox = RamOutbox::new(memory, capacity);
    let mut model = Model::default();
    for (number, op) in ops.iter().enumerate() {
        match op {
            Op::Append(keys, len) => {
                let bytes = vec![number as u8; *len];
                let jobs = keys
                    .iter()
                    .map(|(job_id, is_final)| JobKey {
                        job_id: *job_id,
                        is_final: *is_final,
                    })
                    .collect::<JobKeys>();
                let time = number.is_multiple_of(2);
                let time = time.then_some(WallTime::from_unix_ms(number as i64));
                let said = outbox.append(&jobs, &bytes, MonoTime::from_ms(0), time);
                let said = said.map(|ticket| ticket.0).map_err(|error| match error {
                    OutboxError::Full => "full",
                    OutboxError::TooLarge => "too large",
                    _ => "something else",
                });
                let entry = Entry {
                    seq: model.counters.submitted + 1,
                    keys: keys.clone(),
                    bytes,
                    time,
                };
                assert_eq!(said, model.append(entry));
            }
            Op::Settle(place, disposition, when_full) => {
                if model.waiting.is_empty() {
                    outbox
                        .settle(Ticket(1), *disposition, &[], *when_full)
                        .unwrap();
                    continue;
                }
                let place = place % model.waiting.len();
                let Entry { seq, bytes, .. } = model.waiting[place].clone();
                let said = outbox.settle(Ticket(seq), *disposition, &bytes, *when_full);
                let done = model.settle(place, *disposition, *when_full);
                let wanted = if done {
                    Ok(())
                } else {
                    Err(OutboxError::LettersFull)
                };
                assert_eq!(said, wanted);
            }
            Op::Forget(place, is_one) => {
                let found = model.letters.get(*place).map(|letter| letter.0.seq);
                let ticket = Ticket(found.unwrap_or(u64::MAX));
                let which = if *is_one {
                    Forget::One(ticket)
                } else {
                    Forget::UpTo(ticket)
                };
                outbox.forget_dead_letters(which).unwrap();
                if found.is_some() && *is_one {
                    model.letters.remove(*place);
                } else if found.is_some() {
                    model.letters.drain(..=*place);
                }
            }
            Op::Pin(place) => {
                let pinned = model.waiting.get(*place).map(|entry| entry.seq);
                outbox.pin(pinned.map(Ticket));
                model.pinned = pinned.unwrap_or(0);
            }
        }
        compare(&mut outbox, &mut model);
    }
    // What waits comes out as it went in.
    while let Some(front) = model.waiting.front() {
        let ticket = Ticket(front.seq);
        let by = WhenLettersFull::DropOldest;
        outbox
            .settle(ticket, Disposition::Delivered, &[], by)
            .unwrap();
        model.settle(0, Disposition::Delivered, by);
        compare(&mut outbox, &mut model);
    }
}

fn compare<M: Scratch>(outbox: &mut RamOutbox<M>, model: &mut Model) {
    model.counters.letters = model.letters.len() as u64;
    assert_eq!(outbox.counters(), model.counters);
    assert_eq!(outbox.waiting(), model.waiting.len() as u64);
    let mut buffer = [0; CAPACITY];
    let mut after = None;
    for (place, entry) in model.waiting.iter().enumerate() {
        let waiting = outbox.next(after).unwrap().unwrap();
        assert_eq!(waiting.ticket.0, entry.seq);
        assert_eq!(waiting.submitted_at, entry.time);
        assert!(outbox.read(waiting.ticket, &mut buffer).unwrap());
        assert_eq!(buffer[..waiting.len], entry.bytes);
        let keys = outbox.job_keys(waiting.ticket).unwrap();
        let keys: Vec<_> = keys.iter().map(|key| (key.job_id, key.is_final)).collect();
        assert_eq!(keys, entry.keys);
        // Not always, since that makes an index.
        if model.counters.submitted.is_multiple_of(3) {
            let is_superseded = outbox.is_superseded(waiting.ticket).unwrap();
            assert_eq!(is_superseded, model.is_superseded(place, None));
        }
        after = Some(waiting.ticket);
    }
    assert_eq!(outbox.next(after).unwrap(), None);
    for gone in 1..=model.counters.submitted.min(3) {
        let waits = model.waiting.iter().any(|entry| entry.seq == gone);
        assert_eq!(outbox.read(Ticket(gone), &mut buffer).unwrap(), waits);
    }
    let mut after = None;
    for (entry, reason) in &model.letters {
        let letter = outbox.dead_letter(after).unwrap().unwrap();
        assert!(outbox.read_dead_letter(letter.ticket, &mut buffer).unwrap());
        assert_eq!((letter.ticket.0, letter.reason), (entry.seq, *reason));
        assert_eq!(buffer[..letter.len], entry.bytes);
        assert_eq!(
            outbox.find_dead_letter(letter.ticket).unwrap(),
            Some(letter)
        );
        after = Some(letter.ticket);
    }
    if after.is_some() {
        assert_eq!(outbox.dead_letter(after).unwrap(), None);
    }
}

fn op() -> impl Strategy<Value = Op> {
    let keys = vec((1..6i64, proptest::bool::weighted(0.2)), 0..4);
    let len = prop_oneof![8 => 0..150usize, 1 => 150..600usize];
    let reason = || {
        (400..500u16, 0..30usize, 0..130usize).prop_map(|(status, code, text)| {
            Reason::response(Outcome::Refused, status)
                .with_error_code(&"c".repeat(code))
                .with_text(&"t".repeat(text))
        })
    };
    let disposition = prop_oneof![
        4 => Just(Disposition::Delivered),
        2 => reason().prop_map(Disposition::Refused),
        1 => reason().prop_map(Disposition::Expired),
        1 => Just(Disposition::Superseded),
    ];
    // Mostly in order.
    let place = prop_oneof![4 => Just(0usize), 1 => 0..20usize];
    let when_full = prop_oneof![
        3 => Just(WhenLettersFull::DropOldest),
        1 => Just(WhenLettersFull::Hold),
    ];
    prop_oneof![
        10 => (keys, len).prop_map(|(keys, len)| Op::Append(keys, len)),
        5 => (place, disposition, when_full).prop_map(|(place, disposition, full)| Op::Settle(place, disposition, full)),
        1 => (0..4usize, proptest::bool::ANY).prop_map(|(place, is_one)| Op::Forget(place, is_one)),
        1 => (0..4usize).prop_map(Op::Pin),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn like_a_plain_queue(ops in vec(op(), 1..120)) {
        run([0xa5; CAPACITY], CAPACITY, &ops);
        // The memory sets the limit.
        run([0xa5; CAPACITY], CAPACITY * 4, &ops);
        run(&mut [0xa5; CAPACITY + 1][..], CAPACITY, &ops);
        #[cfg(feature = "alloc")]
        run(Vec::new(), CAPACITY, &ops);
    }
}

/// Whatever the dead letters are, where nothing waits there is room for the longest report.
#[test]
fn a_long_letter_leaves_room_for_its_report() {
    let longest = CAPACITY / 2 - 22;
    for len in longest - 300..=longest {
        let mut outbox = RamOutbox::new([0; CAPACITY], CAPACITY);
        let bytes = vec![b'x'; len];
        let reason = Reason::response(Outcome::Refused, 400)
            .with_error_code("DLI.0001")
            .with_text(&"t".repeat(Reason::MAX_TEXT));
        for full in [WhenLettersFull::Hold, WhenLettersFull::DropOldest] {
            let ticket = outbox.append(&JobKeys::new(), &bytes, MonoTime::from_ms(0), None);
            let ticket = ticket.unwrap_or_else(|error| panic!("{len} bytes: {error}"));
            let settled = outbox.settle(ticket, Disposition::Refused(reason), &bytes, full);
            settled.unwrap();
        }
        let letter = outbox.dead_letter(None).unwrap().unwrap();
        assert_eq!(letter.len, len);
        let has_room = 18 + "DLI.0001".len() + Reason::MAX_TEXT + len <= CAPACITY / 2;
        assert_eq!(letter.reason == reason, has_room, "{len} bytes");
    }
}
