//! Any bytes as the segments of an outbox: it opens, gives only what stands there whole, and goes on working.
#![no_main]

#[path = "../segments/mod.rs"]
mod segments;

use std::collections::BTreeSet;

use edge_report::MonoTime;
use edge_report::courier::{
    Durability, Fate, JobKeys, Ledger, LogError, LogOutbox, Outbox, Reason, Ticket,
};
use libfuzzer_sys::fuzz_target;
use segments::{Disk, Images, Pieces, ROOM, has_front, is_newer, is_orderly, letters_in, reports_in};

const MAX: usize = 8;
const NOW: MonoTime = MonoTime(0);
type Log = LogOutbox<Disk, Disk, MAX>;

fuzz_target!(|input: &[u8]| {
    let mut pieces = Pieces::new(input);
    let choices = pieces.byte();
    let (images, is_log) = match choices & 2 {
        0 => {
            let images = pieces.damaged_log();
            // A segment without either header has lost its place in the order.
            let is_log = images[0].values().all(|segment| has_front(segment));
            (images, is_log)
        }
        _ => {
            let images = pieces.images();
            let is_orderly = is_orderly(&images[0]);
            (images, is_orderly && pieces.is_sane())
        }
    };
    // Where the segments of an input are more than there may be, reports are dropped to make room.
    let is_log = is_log && images[0].values().map(Vec::len).sum::<usize>() <= ROOM;
    let disks = images.clone().map(Disk::new);
    let durability = match choices & 1 {
        0 => Durability::Each,
        _ => Durability::Batch { reports: 3, ms: 10 },
    };
    let open = || Log::open(disks[0].clone(), disks[1].clone(), durability);
    let log = match open() {
        Ok(log) => log,
        Err(error) => return refused(error, &images, &disks),
    };
    let mut run = Run {
        log,
        reports: reports_in(&images[0]),
        letters: letters_in(&images[1]),
        submitted: Vec::new(),
        last: 0,
        choices,
    };
    run.read_letters();
    let debt = run.debt();
    run.deliver(usize::from(choices >> 5));
    for size in [40, 300, 40] {
        run.submit(size);
    }
    if is_log {
        assert_eq!(run.debt(), debt);
    }
    run.log.flush().expect("the disk is well");
    let (ledger, waiting) = (run.log.ledger(), run.log.waiting());
    drop(run.log);

    run.log = open().expect("it opened before");
    if is_log {
        assert_eq!((run.log.ledger(), run.log.waiting()), (ledger, waiting));
    }
    run.last = 0;
    run.deliver(usize::MAX);
    assert_eq!(run.log.waiting(), 0);
    if is_log {
        assert_eq!(run.debt(), debt);
        assert!(run.submitted.is_empty(), "{:?} never came", run.submitted);
        run.submit(50);
        assert_eq!(run.submitted.len(), 1, "an empty outbox takes no report");
        run.log.flush().expect("the disk is well");
    }
    drop(run.log);

    run.log = open().expect("it opened before");
    run.read_letters();
    if !is_log {
        run.last = 0;
    }
    run.deliver(usize::MAX);
    assert!(!is_log || run.submitted.is_empty());
});

/// What is refused is not touched.
fn refused(error: LogError<&'static str>, images: &Images, disks: &[Disk; 2]) {
    let untouched = |side: usize| disks[side].image() == images[side];
    match error {
        LogError::NewerVersion(_) => {
            assert!(
                images
                    .iter()
                    .any(|image| image.values().any(|s| is_newer(s)))
            );
            // What a crash left over of the other log may be gone.
            assert!(untouched(1));
            assert!(untouched(0) || !images[0].values().any(|s| is_newer(s)));
        }
        LogError::TooManySegments => {
            assert!(images.iter().any(|image| image.len() > MAX));
            assert!(untouched(1));
        }
        error => panic!("{error}"),
    }
}

struct Run {
    log: Log,
    /// What may come: number and bytes.
    reports: BTreeSet<(u64, Vec<u8>)>,
    letters: BTreeSet<(u64, u16, Vec<u8>)>,
    /// What must come.
    submitted: Vec<(u64, Vec<u8>)>,
    last: u64,
    choices: u8,
}

impl Run {
    /// By how much the counters do not add up: by whatever the input said, and never by anything else.
    fn debt(&self) -> i128 {
        let Ledger {
            submitted,
            delivered,
            refused,
            superseded,
            expired,
            torn: _,
            corrupt,
        } = self.log.ledger();
        let settled = [
            delivered,
            refused,
            superseded,
            expired,
            corrupt,
            self.log.waiting(),
        ];
        i128::from(submitted) - settled.into_iter().map(i128::from).sum::<i128>()
    }

    fn read_letters(&mut self) {
        let mut last = None;
        while let Some(letter) = self.log.dead_letter(last).expect("the disk is well") {
            let mut bytes = vec![0; letter.len];
            let number = letter.ticket.0;
            if (self.log.read_dead_letter(letter.ticket, &mut bytes)).expect("the disk is well") {
                let found = (number, letter.reason.number(), bytes);
                assert!(self.letters.contains(&found), "invented: {found:?}");
            }
            assert!(last < Some(letter.ticket), "letters out of order");
            last = Some(letter.ticket);
        }
    }

    /// Settles so many of those that wait.
    fn deliver(&mut self, count: usize) {
        for _ in 0..count {
            let Some(front) = self.log.front().expect("the disk is well") else {
                return;
            };
            let mut bytes = vec![0; front.len];
            if !self.log.read_front(&mut bytes).expect("the disk is well") {
                continue;
            }
            let Ticket(number) = front.ticket;
            assert!(number > self.last, "{number} comes after {}", self.last);
            self.last = number;
            let fate = match self.choices.rotate_left(number as u32) % 4 {
                0 => Fate::Refused(Reason::Status(400)),
                1 => Fate::Expired(Reason::Status(503)),
                _ => Fate::Delivered,
            };
            self.log
                .settle_front(fate, &bytes)
                .expect("the disk is well");
            self.submitted.retain(|(ticket, _)| *ticket != number);
            if let Fate::Refused(reason) | Fate::Expired(reason) = fate {
                self.letters
                    .insert((number, reason.number(), bytes.clone()));
            }
            let found = (number, bytes);
            assert!(self.reports.contains(&found), "invented: {found:?}");
        }
    }

    fn submit(&mut self, size: usize) {
        let bytes = vec![b'{' + self.submitted.len() as u8; size];
        match self.log.append(&JobKeys::new(), &bytes, NOW) {
            Ok(Ticket(number)) => {
                assert!(number > self.last);
                self.reports.insert((number, bytes.clone()));
                self.submitted.push((number, bytes));
            }
            Err(LogError::Full) => assert!(self.log.waiting() > 0, "full and empty"),
            Err(error) => panic!("{error}"),
        }
    }
}
