//! The outbox in memory against a plain queue, to the byte: any order of calls, in an array, a slice and a growing `Vec`.
#![cfg(feature = "alloc")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a panic is how a test fails"
)]

use std::collections::VecDeque;

use edge_report::MonoTime;
use edge_report::courier::{
    Fate, JobKey, JobKeys, Ledger, LogError, Outbox, RamOutbox, Reason, Scratch, Ticket,
};
use proptest::collection::vec;
use proptest::prelude::*;

const CAPACITY: usize = 1000;

#[derive(Clone, Debug)]
enum Op {
    Append(Vec<(i64, bool)>, usize),
    Settle(Fate),
    /// Up to the letter of this place.
    Forget(usize),
}

#[derive(Clone, Debug, PartialEq)]
struct Entry {
    seq: u64,
    keys: Vec<(i64, bool)>,
    bytes: Vec<u8>,
}

impl Entry {
    fn size(&self) -> usize {
        14 + 9 * self.keys.len() + self.bytes.len()
    }
}

#[derive(Default)]
struct Model {
    waiting: VecDeque<Entry>,
    letters: VecDeque<(Entry, Reason)>,
    ledger: Ledger,
    letters_dropped: u64,
}

impl Model {
    fn letters_size(&self) -> usize {
        let each = |(entry, _): &(Entry, Reason)| 14 + entry.bytes.len();
        self.letters.iter().map(each).sum()
    }

    fn free(&self) -> usize {
        let waiting: usize = self.waiting.iter().map(Entry::size).sum();
        CAPACITY - self.letters_size() - waiting
    }

    /// Whether newer reports say more of each job of the one at `index`.
    fn is_superseded(&self, index: usize, to_come: &Entry) -> bool {
        let entry = &self.waiting[index];
        let newer = || self.waiting.iter().skip(index + 1).chain([to_come]);
        let says_more = |(id, is_final): &(i64, bool)| {
            let keys = newer().flat_map(|entry| &entry.keys);
            keys.clone()
                .any(|(other, last)| other == id && (*last || !is_final))
        };
        index > 0 && !entry.keys.is_empty() && entry.keys.iter().all(says_more)
    }

    fn append(&mut self, entry: Entry) -> Result<u64, &'static str> {
        let size = entry.size();
        if size > CAPACITY / 2 {
            return Err("too large");
        }
        if size > self.free() {
            let superseded: Vec<usize> = (0..self.waiting.len())
                .filter(|index| self.is_superseded(*index, &entry))
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
            self.ledger.superseded += dropped as u64;
        }
        self.ledger.submitted += 1;
        self.waiting.push_back(entry);
        Ok(self.ledger.submitted)
    }

    fn settle(&mut self, fate: Fate) {
        let Some(entry) = self.waiting.pop_front() else {
            return;
        };
        match fate {
            Fate::Delivered => self.ledger.delivered += 1,
            Fate::Refused(_) => self.ledger.refused += 1,
            Fate::Expired(_) => self.ledger.expired += 1,
        }
        if let Fate::Refused(reason) | Fate::Expired(reason) = fate {
            self.letters.push_back((entry, reason));
            while self.letters.len() > 1 && self.letters_size() > CAPACITY / 4 {
                self.letters.pop_front();
                self.letters_dropped += 1;
            }
        }
    }
}

fn run<M: Scratch>(memory: M, ops: &[Op]) {
    let mut outbox = RamOutbox::new(memory, CAPACITY);
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
                let said = outbox.append(&jobs, &bytes, MonoTime(0));
                let said = said.map(|ticket| ticket.0).map_err(|error| match error {
                    LogError::Full => "full",
                    LogError::TooLarge => "too large",
                    _ => "something else",
                });
                let seq = model.ledger.submitted + 1;
                let keys = keys.clone();
                assert_eq!(said, model.append(Entry { seq, keys, bytes }));
            }
            Op::Settle(fate) => {
                outbox.settle_front(*fate, &[]).unwrap();
                model.settle(*fate);
            }
            Op::Forget(place) => {
                let until = model.letters.get(*place).map_or(u64::MAX, |l| l.0.seq);
                outbox.forget_dead_letters(Ticket(until)).unwrap();
                model.letters.retain(|(entry, _)| entry.seq > until);
            }
        }
        compare(&mut outbox, &model);
    }
    // What waits comes out as it went in.
    while !model.waiting.is_empty() {
        outbox.settle_front(Fate::Delivered, &[]).unwrap();
        model.settle(Fate::Delivered);
        compare(&mut outbox, &model);
    }
}

fn compare<M: Scratch>(outbox: &mut RamOutbox<M>, model: &Model) {
    assert_eq!(outbox.ledger(), model.ledger);
    assert_eq!(outbox.waiting(), model.waiting.len() as u64);
    assert_eq!(outbox.letters_dropped(), model.letters_dropped);
    let mut buffer = [0; CAPACITY];
    let front = outbox.front().unwrap().map(|front| {
        assert!(outbox.read_front(&mut buffer).unwrap());
        (front.ticket.0, buffer[..front.len].to_vec())
    });
    let expected = model.waiting.front();
    assert_eq!(front, expected.map(|e| (e.seq, e.bytes.clone())));
    let mut after = None;
    for (entry, reason) in &model.letters {
        let letter = outbox.dead_letter(after).unwrap().unwrap();
        assert!(outbox.read_dead_letter(letter.ticket, &mut buffer).unwrap());
        assert_eq!((letter.ticket.0, letter.reason), (entry.seq, *reason));
        assert_eq!(buffer[..letter.len], entry.bytes);
        after = Some(letter.ticket);
    }
    assert_eq!(outbox.dead_letter(after).unwrap(), None);
}

fn op() -> impl Strategy<Value = Op> {
    let keys = vec((1..6i64, proptest::bool::weighted(0.2)), 0..4);
    let len = prop_oneof![8 => 0..150usize, 1 => 150..600usize];
    let reason = || (400..500u16).prop_map(Reason::Status);
    let fate = prop_oneof![
        3 => Just(Fate::Delivered),
        2 => reason().prop_map(Fate::Refused),
        1 => reason().prop_map(Fate::Expired),
    ];
    prop_oneof![
        10 => (keys, len).prop_map(|(keys, len)| Op::Append(keys, len)),
        4 => fate.prop_map(Op::Settle),
        1 => (0..4usize).prop_map(Op::Forget),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn like_a_plain_queue(ops in vec(op(), 1..120)) {
        run([0xa5; CAPACITY], &ops);
        run(&mut [0xa5; CAPACITY + 1][..], &ops);
        run(Vec::new(), &ops);
    }
}
