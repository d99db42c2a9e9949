//! On what an outbox stands, and what is left of it after a restart.

use std::convert::Infallible;
use std::fmt::{Debug, Display};

use edge_report::MonoTime;
use edge_report::courier::{
    Durability, Fate, LogError, LogOutbox, Outbox, RamOutbox, Reason, Scratch,
};

use crate::courier_common::device::{
    Device, DeviceError, Image, Power, Side, keep_unsynced, lose_some, lose_unsynced,
};

/// How a courier comes to its end.
#[derive(Clone, Copy, Debug)]
pub(crate) enum End {
    /// It is dropped; the storage keeps all of it.
    Drop,
    /// The power fails; nothing that was not synced survives.
    PowerLosesAll,
    /// The power fails; of each sector some of the unsynced writes arrived.
    PowerLosesSome(u64),
}

/// A dead letter as it was found.
pub(crate) type FoundLetter = (u64, Reason, Vec<u8>);

/// What waits, and the dead letters.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) waiting: Vec<(u64, Vec<u8>)>,
    pub(crate) letters: Vec<FoundLetter>,
    /// How many are known to be lost.
    pub(crate) holes: u64,
}

pub(crate) trait Ground {
    type Fault: Debug + Display;
    type Outbox: Outbox<Error = LogError<Self::Fault>>;
    type Memory: Scratch;

    fn durability(&self) -> Durability;
    fn memory(&self) -> Self::Memory;
    fn open(&self) -> Result<Self::Outbox, String>;

    /// Opens it again after an end, and tells what is there, by looking at a copy. `None` if the outbox is one in memory
    /// which only its courier left.
    fn restart(
        &mut self,
        outbox: Self::Outbox,
        end: End,
    ) -> Result<(Self::Outbox, Option<Found>), String>;

    /// Whether all would survive a power cut.
    fn is_synced(&self) -> bool;

    /// How often something was written to what waits.
    fn writes(&self) -> u64;
}

/// A log on devices that lose power.
pub(crate) struct Board {
    pub(crate) power: Power,
    pub(crate) limits: [(usize, usize); 2],
    pub(crate) durability: Durability,
}

const MAX: usize = 8;
pub(crate) type Log = LogOutbox<Device, Device, MAX>;

impl Board {
    pub(crate) fn new(blank: u8, limits: [(usize, usize); 2], durability: Durability) -> Self {
        Board {
            power: Power::on([Image::new(blank), Image::new(blank)], limits),
            limits,
            durability,
        }
    }

    fn open_on(&self, power: &Power) -> Result<Log, String> {
        let (live, dead) = power.devices();
        Log::open(live, dead, self.durability).map_err(|error| format!("does not open: {error}"))
    }
}

impl Ground for Board {
    type Fault = DeviceError;
    type Outbox = Log;
    type Memory = Vec<u8>;

    fn durability(&self) -> Durability {
        self.durability
    }

    fn memory(&self) -> Vec<u8> {
        Vec::new()
    }

    fn open(&self) -> Result<Log, String> {
        self.open_on(&self.power)
    }

    fn restart(&mut self, outbox: Log, end: End) -> Result<(Log, Option<Found>), String> {
        drop(outbox);
        let images = self.power.images();
        let left = match end {
            End::Drop => keep_unsynced(&images),
            End::PowerLosesAll => lose_unsynced(&images),
            End::PowerLosesSome(seed) => lose_some(&images, seed),
        };
        let copy = Power::on(left.clone(), self.limits);
        let found = look(self.open_on(&copy)?).map_err(|error| error.to_string())?;
        self.power = Power::on(left, self.limits);
        Ok((self.open()?, Some(found)))
    }

    fn is_synced(&self) -> bool {
        self.power.is_synced(Side::Live)
    }

    fn writes(&self) -> u64 {
        self.power.counters().writes[Side::Live as usize]
    }
}

/// Reads all letters, and takes all that waits.
fn look(mut log: Log) -> Result<Found, LogError<DeviceError>> {
    let mut found = Found::default();
    let mut last = None;
    while let Some(letter) = log.dead_letter(last)? {
        let mut bytes = vec![0; letter.len];
        if log.read_dead_letter(letter.ticket, &mut bytes)? {
            found.letters.push((letter.ticket.0, letter.reason, bytes));
        }
        last = Some(letter.ticket);
    }
    let corrupt = log.ledger().corrupt;
    while let Some(front) = log.front()? {
        let mut bytes = vec![0; front.len];
        if log.read_front(&mut bytes)? {
            log.settle_front(Fate::Delivered, &bytes)?;
            found.waiting.push((front.ticket.0, bytes));
        }
    }
    found.holes = log.ledger().corrupt - corrupt;
    log.tick(MonoTime(0))?;
    Ok(found)
}

/// Memory of so many bytes: it outlives the courier, not the process.
pub(crate) struct Ram(pub(crate) usize);

impl Ground for Ram {
    type Fault = Infallible;
    type Outbox = RamOutbox<Vec<u8>>;
    type Memory = [u8; 1024];

    fn durability(&self) -> Durability {
        Durability::Each
    }

    fn memory(&self) -> [u8; 1024] {
        [0; 1024]
    }

    fn open(&self) -> Result<Self::Outbox, String> {
        Ok(RamOutbox::new(Vec::new(), self.0))
    }

    fn restart(
        &mut self,
        outbox: Self::Outbox,
        _: End,
    ) -> Result<(Self::Outbox, Option<Found>), String> {
        Ok((outbox, None))
    }

    fn is_synced(&self) -> bool {
        true
    }

    fn writes(&self) -> u64 {
        0
    }
}
