//! Any bytes as the segments of an outbox: it opens, gives only what stands there whole, and goes on working.
#![no_main]

#[path = "../segments/mod.rs"]
mod segments;

use std::collections::BTreeSet;

use edge_report::MonoTime;
use edge_report::courier::{
    Counters, Disposition, Durability, JobKeys, LogOutbox, Outbox, OutboxError, Ticket,
    WhenLettersFull,
};
use libfuzzer_sys::fuzz_target;
use segments::{
    Disk, Images, MAX, Pieces, ROOM, has_front, is_newer, is_sane, letters_in, refusal, reports_in,
};

const NOW: MonoTime = MonoTime::from_ms(0);
type Log = LogOutbox<Disk, Disk, MAX>;

fuzz_target!(|input: &[u8]| {
    let mut pieces = Pieces::new(input);
    let choices = pieces.byte();
    let (images, is_log) = match choices & 2 {
        0 => {
            let images = pieces.damaged_log();
            // A segment without either header may have lost its place in the order.
            let is_log = images[0].values().all(|segment| has_front(segment));
            (images, is_log)
        }
        _ => (pieces.images(), false),
    };
    // Where the segments of an input are more than there may be, reports are dropped to make room.
    let is_log = is_log && images[0].values().map(Vec::len).sum::<usize>() <= ROOM;
    let is_sane = is_sane(&images);
    let disks = images.clone().map(Disk::new);
    let durability = match choices & 1 {
        0 => Durability::Each,
        _ => Durability::Batch { reports: 3, ms: 10 },
    };
    let open = || Log::open(disks[0].clone(), disks[1].clone(), durability, 7);
    let log = match open() {
        Ok(log) => log,
        Err(error) => return refused(error, &images, &disks),
    };
    let mut run = Run {
        log,
        reports: reports_in(&images),
        letters: letters_in(&images),
        submitted: Vec::new(),
        last: 0,
        choices,
        is_sane,
    };
    run.check();
    run.read_letters();
    run.deliver(usize::from(choices >> 5));
    for size in [40, 300, 40] {
        run.submit(size, is_sane);
    }
    run.check();
    run.log.flush().expect("the disk is well");
    let (counters, waiting) = (run.log.counters(), run.log.waiting());
    drop(run.log);

    run.log = open().expect("it opened before");
    run.check();
    if is_log {
        run.agrees(counters, waiting);
    }
    run.last = 0;
    run.deliver(usize::MAX);
    assert!(run.log.waiting() == 0 || !is_sane);
    run.check();
    if is_log {
        assert!(run.submitted.is_empty(), "{:?} never came", run.submitted);
        run.submit(50, true);
        assert_eq!(run.submitted.len(), 1, "an empty outbox takes no report");
    }
    // With a dead-letter log that is full there may be no room to say it twice.
    let closed = run.log.close();
    let (counters, waiting) = (run.log.counters(), run.log.waiting());
    drop(run.log);

    run.log = open().expect("it opened before");
    run.check();
    if is_log && closed.is_ok() {
        run.agrees(counters, waiting);
    }
    run.read_letters();
    run.last = 0;
    run.deliver(usize::MAX);
    assert!(!is_log || run.submitted.is_empty() || closed.is_err());
});

/// What is refused is not touched.
fn refused(error: OutboxError<segments::Missing>, images: &Images, disks: &[Disk; 2]) {
    let is_some = |is: fn(&[u8]) -> bool| images.iter().any(|image| image.values().any(|s| is(s)));
    match error {
        OutboxError::OtherVersion(_) => {
            assert!(is_some(is_newer));
            assert!((0..2).all(|side| disks[side].image() == images[side]));
        }
        OutboxError::TooManySegments => {
            assert!(images.iter().any(|image| image.len() > MAX));
        }
        error => panic!("{error}"),
    }
}

struct Run {
    log: Log,
    /// What may come: number and bytes.
    reports: BTreeSet<(u64, Vec<u8>)>,
    letters: BTreeSet<(u64, Vec<u8>)>,
    /// What must come.
    submitted: Vec<(u64, Vec<u8>)>,
    last: u64,
    choices: u8,
    /// No number of the input is so large that counting ends.
    is_sane: bool,
}

impl Run {
    /// The counters add up.
    fn check(&self) {
        let Counters {
            submitted,
            delivered,
            refused,
            superseded,
            expired,
            corrupt,
            ..
        } = self.log.counters();
        if self.is_sane {
            let settled = delivered + refused + superseded + expired + corrupt;
            let waiting = self.log.waiting();
            assert_eq!(submitted, settled + waiting, "{:?}", self.log.counters());
        }
    }

    /// After a restart it is as before. A full log has no room to say what is settled, so some may wait again, nor how many writes were cut.
    fn agrees(&self, before: Counters, waiting: u64) {
        let now = self.log.counters();
        let again = self.log.waiting().checked_sub(waiting);
        let mut expected = now;
        expected.submitted = before.submitted;
        expected.letters = before.letters;
        expected.letters_dropped = before.letters_dropped;
        assert_eq!(now, expected, "was {before:?}");
        let mut as_before = before;
        as_before.torn = now.torn;
        assert!(
            again.is_some() && (again == Some(0)) == (now == as_before),
            "{now:?}, was {before:?}"
        );
    }

    fn read_letters(&mut self) {
        let mut last = None;
        let mut count = 0;
        while let Some(letter) = self.log.dead_letter(last).expect("the disk is well") {
            let mut bytes = vec![0; letter.len];
            let ticket = letter.ticket;
            if (self.log.read_dead_letter(ticket, &mut bytes)).expect("the disk is well") {
                let found = (ticket.0, bytes);
                assert!(self.letters.contains(&found), "invented: {found:?}");
            }
            count += 1;
            assert!(count <= 4 * ROOM, "the listing has no end");
            last = Some(ticket);
        }
    }

    /// Settles so many of those that wait.
    fn deliver(&mut self, count: usize) {
        let mut left = self.log.waiting();
        for _ in 0..count {
            let Some(front) = self.log.next(None).expect("the disk is well") else {
                return;
            };
            left = match left.checked_sub(1) {
                Some(left) => left,
                // The last number of all can be given out again and again.
                None if !self.is_sane => return,
                None => panic!("more come than wait"),
            };
            let Ticket(number) = front.ticket;
            let mut bytes = vec![0; front.len];
            if !(self.log.read(front.ticket, &mut bytes)).expect("the disk is well") {
                continue;
            }
            assert!(
                number > self.last || !self.is_sane,
                "{number} comes after {}",
                self.last
            );
            self.last = number;
            let found = (number, bytes);
            assert!(self.reports.contains(&found), "invented: {found:?}");
            let disposition = match self.choices.rotate_left(number as u32) % 4 {
                0 => Disposition::Refused(refusal()),
                1 => Disposition::Expired(refusal()),
                _ => Disposition::Delivered,
            };
            let mut settle = |disposition| {
                (self.log).settle(
                    front.ticket,
                    disposition,
                    &found.1,
                    WhenLettersFull::DropOldest,
                )
            };
            match settle(disposition) {
                Ok(()) => {}
                Err(OutboxError::LettersFull | OutboxError::TooLarge) => {
                    settle(Disposition::Delivered).expect("the disk is well");
                }
                Err(error) => panic!("{error}"),
            }
            self.submitted.retain(|(ticket, _)| *ticket != number);
            self.letters.insert(found);
        }
    }

    fn submit(&mut self, size: usize, is_sane: bool) {
        let bytes = vec![b'{' + self.submitted.len() as u8; size];
        match self.log.append(&JobKeys::new(), &bytes, NOW, None) {
            Ok(Ticket(number)) => {
                assert!(number > self.last || !is_sane);
                self.reports.insert((number, bytes.clone()));
                self.submitted.push((number, bytes));
            }
            Err(OutboxError::Full) => assert!(self.log.waiting() > 0, "full and empty"),
            Err(error) => panic!("{error}"),
        }
    }
}
