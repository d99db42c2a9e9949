//! On what an outbox stands, and what is left of it after a restart.

use std::cell::RefCell;
use std::convert::Infallible;
use std::fmt::{Debug, Display};
use std::rc::Rc;

use edge_report::courier::{
    Counters, DeadLetter, Disposition, Durability, Forget, JobKeys, LogOutbox, Outbox, OutboxError,
    RamOutbox, Reason, Scratch, StorageLimits, Ticket, Waiting, WhenLettersFull,
};
use edge_report::{MonoTime, WallTime};

use crate::courier_common::device::{
    Device, DeviceError, Image, Power, Side, keep_unsynced, lose_some, lose_unsynced,
};

/// How a courier comes to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// It is closed, and then the power fails; nothing that was not synced survives.
    Closed,
    /// It is dropped; the storage keeps all of it.
    Drop,
    /// The power fails; nothing that was not synced survives.
    PowerLosesAll,
    /// The power fails; of each sector some of the unsynced writes arrived.
    PowerLosesSome(u64),
}

/// A dead letter as it was found.
pub(crate) type FoundLetter = (u64, Reason, Vec<u8>);

/// What waits, and the dead letters in the order of death.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Found {
    pub(crate) waiting: Vec<(u64, Vec<u8>)>,
    pub(crate) letters: Vec<FoundLetter>,
}

/// An outbox that the test looks into while a courier has it.
#[derive(Debug)]
pub(crate) struct Shared<O>(Rc<RefCell<O>>);

impl<O> Clone for Shared<O> {
    fn clone(&self) -> Self {
        Shared(self.0.clone())
    }
}

impl<O: Outbox> Shared<O> {
    pub(crate) fn new(outbox: O) -> Self {
        Shared(Rc::new(RefCell::new(outbox)))
    }

    /// The tickets of all that waits.
    pub(crate) fn waiting_tickets(&self) -> Result<Vec<u64>, OutboxError<O::Error>> {
        let mut outbox = self.0.borrow_mut();
        let mut tickets = Vec::new();
        let mut last = None;
        while let Some(waiting) = outbox.next(last)? {
            tickets.push(waiting.ticket.0);
            last = Some(waiting.ticket);
        }
        Ok(tickets)
    }

    pub(crate) fn letters(&self) -> Result<Vec<FoundLetter>, OutboxError<O::Error>> {
        let mut outbox = self.0.borrow_mut();
        let mut letters = Vec::new();
        let mut last = None;
        while let Some(letter) = outbox.dead_letter(last)? {
            let mut bytes = vec![0; letter.len];
            if outbox.read_dead_letter(letter.ticket, &mut bytes)? {
                letters.push((letter.ticket.0, letter.reason, bytes));
            }
            last = Some(letter.ticket);
        }
        Ok(letters)
    }

    /// All there is.
    pub(crate) fn look(&self) -> Result<Found, OutboxError<O::Error>> {
        let mut found = Found {
            letters: self.letters()?,
            ..Found::default()
        };
        let mut outbox = self.0.borrow_mut();
        let mut last = None;
        while let Some(waiting) = outbox.next(last)? {
            let mut bytes = vec![0; waiting.len];
            if outbox.read(waiting.ticket, &mut bytes)? {
                found.waiting.push((waiting.ticket.0, bytes));
            }
            last = Some(waiting.ticket);
        }
        Ok(found)
    }
}

macro_rules! shared {
    ($($name:ident($self:ident $(, $argument:ident: $type:ty)*) -> $result:ty;)*) => {
        $(fn $name(&mut $self, $($argument: $type),*) -> Result<$result, OutboxError<O::Error>> {
            $self.0.borrow_mut().$name($($argument),*)
        })*
    };
}

impl<O: Outbox> Outbox for Shared<O> {
    type Error = O::Error;

    shared! {
        append(self, jobs: &JobKeys, report: &[u8], now: MonoTime, wall: Option<WallTime>) -> Ticket;
        next(self, after: Option<Ticket>) -> Option<Waiting>;
        job_keys(self, ticket: Ticket) -> JobKeys;
        read(self, ticket: Ticket, buffer: &mut [u8]) -> bool;
        is_superseded(self, ticket: Ticket) -> bool;
        settle(self, ticket: Ticket, disposition: Disposition, report: &[u8], when_full: WhenLettersFull) -> ();
        flush(self) -> ();
        close(self) -> ();
        tick(self, now: MonoTime) -> ();
        dead_letter(self, after: Option<Ticket>) -> Option<DeadLetter>;
        find_dead_letter(self, ticket: Ticket) -> Option<DeadLetter>;
        read_dead_letter(self, ticket: Ticket, buffer: &mut [u8]) -> bool;
        forget_dead_letters(self, which: Forget) -> ();
    }

    fn room_ahead(&self) -> usize {
        self.0.borrow().room_ahead()
    }

    fn pin(&mut self, ticket: Option<Ticket>) {
        self.0.borrow_mut().pin(ticket);
    }

    fn waiting(&self) -> u64 {
        self.0.borrow().waiting()
    }

    fn counters(&self) -> Counters {
        self.0.borrow().counters()
    }
}

pub(crate) trait Backend {
    type Fault: Debug + Display;
    type Outbox: Outbox<Error = Self::Fault>;
    type Memory: Scratch;

    fn durability(&self) -> Durability;
    fn memory(&self) -> Self::Memory;
    fn open(&self) -> Result<Shared<Self::Outbox>, String>;

    /// Opens it again after an end, and tells what is there, by looking at a copy.
    fn restart(
        &mut self,
        outbox: &Shared<Self::Outbox>,
        end: End,
    ) -> Result<(Shared<Self::Outbox>, Found), String>;

    /// Whether all of what waits would survive a power cut.
    fn is_synced(&self) -> bool;

    /// Whether it would have at some time since this was asked.
    fn was_synced(&self) -> bool;

    /// How often something was written to what waits.
    fn writes(&self) -> u64;

    /// Memory outlives its courier unchanged. Where it is scarce a reason may lose its texts.
    fn is_memory(&self) -> bool;
}

/// A log on devices that lose power.
pub(crate) struct Board {
    power: Power,
    limits: [StorageLimits; 2],
    durability: Durability,
    /// Counts what is opened.
    entropy: std::cell::Cell<u64>,
}

const MAX: usize = 16;
pub(crate) type Log = LogOutbox<Device, Device, MAX>;

impl Board {
    pub(crate) fn new(limits: [StorageLimits; 2], durability: Durability) -> Self {
        let images = limits.map(|limits| Image::new(limits.blank));
        Board {
            power: Power::on(images, limits),
            limits,
            durability,
            entropy: std::cell::Cell::new(0x5eed),
        }
    }

    fn open_on(&self, power: &Power) -> Result<Shared<Log>, String> {
        let (live, dead) = power.devices();
        self.entropy.set(self.entropy.get() + 1);
        let log = Log::open(live, dead, self.durability, self.entropy.get());
        log.map(Shared::new)
            .map_err(|error| format!("does not open: {error}"))
    }
}

impl Backend for Board {
    type Fault = DeviceError;
    type Outbox = Log;
    type Memory = Vec<u8>;

    fn durability(&self) -> Durability {
        self.durability
    }

    fn memory(&self) -> Vec<u8> {
        Vec::new()
    }

    fn open(&self) -> Result<Shared<Log>, String> {
        self.open_on(&self.power)
    }

    fn restart(&mut self, _: &Shared<Log>, end: End) -> Result<(Shared<Log>, Found), String> {
        let images = self.power.images();
        let left = match end {
            End::Drop => keep_unsynced(&images),
            End::Closed | End::PowerLosesAll => lose_unsynced(&images),
            End::PowerLosesSome(seed) => lose_some(&images, seed),
        };
        let copy = Power::on(left.clone(), self.limits);
        let mut log = self.open_on(&copy)?;
        let found = log.look().map_err(|error| error.to_string())?;
        // One by one it gives the same.
        for (ticket, _) in &found.waiting {
            let front = log.next(None).map_err(|error| error.to_string())?;
            if front.map(|front| front.ticket.0) != Some(*ticket) {
                return Err(format!("the front is {front:?}, not {ticket}"));
            }
            log.settle(
                Ticket(*ticket),
                Disposition::Delivered,
                &[],
                WhenLettersFull::Hold,
            )
            .map_err(|error| error.to_string())?;
        }
        if log.waiting() != 0 {
            return Err(format!("drained, and {} wait", log.waiting()));
        }
        self.power = Power::on(left, self.limits);
        Ok((self.open()?, found))
    }

    fn is_synced(&self) -> bool {
        self.power.is_synced(Side::Live)
    }

    fn was_synced(&self) -> bool {
        self.power.was_synced(Side::Live)
    }

    fn writes(&self) -> u64 {
        self.power.accesses().writes[Side::Live as usize]
    }

    fn is_memory(&self) -> bool {
        false
    }
}

/// Memory of so many bytes: it outlives the courier, not the process.
pub(crate) struct Ram(pub(crate) usize);

impl Backend for Ram {
    type Fault = Infallible;
    type Outbox = RamOutbox<Vec<u8>>;
    type Memory = [u8; 1024];

    fn durability(&self) -> Durability {
        Durability::Each
    }

    fn memory(&self) -> [u8; 1024] {
        [0; 1024]
    }

    fn open(&self) -> Result<Shared<Self::Outbox>, String> {
        Ok(Shared::new(RamOutbox::new(Vec::new(), self.0)))
    }

    fn restart(
        &mut self,
        outbox: &Shared<Self::Outbox>,
        _: End,
    ) -> Result<(Shared<Self::Outbox>, Found), String> {
        let found = outbox.look().map_err(|error| error.to_string())?;
        Ok((outbox.clone(), found))
    }

    fn is_synced(&self) -> bool {
        true
    }

    fn was_synced(&self) -> bool {
        true
    }

    fn writes(&self) -> u64 {
        0
    }

    fn is_memory(&self) -> bool {
        true
    }
}
