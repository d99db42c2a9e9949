//! The outbox in memory, of fixed size.

use core::fmt;

use super::letters::Letters;
use super::outbox::{Durability, LogOutbox};
use super::segments::Segments;
use super::storage::Storage;

/// An outbox in memory: `N` segments of `BYTES` bytes for what waits, and two for dead letters. One of the `N` stays
/// free for dropping superseded reports. A report may have `BYTES` less 304, and less 16 for each of its jobs.
pub type RamOutbox<const N: usize, const BYTES: usize> =
    LogOutbox<RamStorage<N, BYTES>, RamStorage<2, BYTES>, N>;

impl<const N: usize, const BYTES: usize> RamOutbox<N, BYTES> {
    /// An empty one.
    pub const fn new() -> Self {
        Self::over(
            Segments::empty(RamStorage::new(1), 1),
            Letters::over(Segments::empty(RamStorage::new(0), 0)),
            Durability::Each,
        )
    }
}

impl<const N: usize, const BYTES: usize> Default for RamOutbox<N, BYTES> {
    fn default() -> Self {
        Self::new()
    }
}

/// `N` segments of `BYTES` bytes in memory.
#[derive(Clone, Debug)]
pub struct RamStorage<const N: usize, const BYTES: usize> {
    ids: [Option<u32>; N],
    bytes: [[u8; BYTES]; N],
    spare: usize,
}

/// There is no such room in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoRoom;

impl fmt::Display for NoRoom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the report does not fit into a segment in memory")
    }
}

impl<const N: usize, const BYTES: usize> RamStorage<N, BYTES> {
    const fn new(spare: usize) -> Self {
        RamStorage {
            ids: [None; N],
            bytes: [[0; BYTES]; N],
            spare,
        }
    }

    fn part(&mut self, id: u32, offset: usize, len: usize) -> Option<&mut [u8]> {
        let end = offset.checked_add(len)?;
        let slot = self.ids.iter().position(|slot| *slot == Some(id))?;
        self.bytes.get_mut(slot)?.get_mut(offset..end)
    }
}

impl<const N: usize, const BYTES: usize> Storage for RamStorage<N, BYTES> {
    type Error = NoRoom;

    fn list(&mut self, each: &mut dyn FnMut(u32, usize)) -> Result<(), NoRoom> {
        self.ids.iter().flatten().for_each(|id| each(*id, BYTES));
        Ok(())
    }

    fn limits(&self) -> (usize, usize) {
        (BYTES, BYTES.saturating_mul(N.saturating_sub(self.spare)))
    }

    fn create(&mut self, id: u32, len: usize) -> Result<(), NoRoom> {
        let mut slots = self.ids.iter_mut().zip(&mut self.bytes);
        match slots.find(|(slot, _)| slot.is_none()) {
            Some((slot, bytes)) if len <= BYTES => {
                *slot = Some(id);
                bytes.fill(0);
                Ok(())
            }
            _ => Err(NoRoom),
        }
    }

    fn read(&mut self, id: u32, offset: usize, buffer: &mut [u8]) -> Result<(), NoRoom> {
        let part = self.part(id, offset, buffer.len()).ok_or(NoRoom)?;
        buffer
            .iter_mut()
            .zip(part)
            .for_each(|(to, from)| *to = *from);
        Ok(())
    }

    fn write(&mut self, id: u32, offset: usize, bytes: &[u8]) -> Result<(), NoRoom> {
        let part = self.part(id, offset, bytes.len()).ok_or(NoRoom)?;
        part.iter_mut()
            .zip(bytes)
            .for_each(|(to, from)| *to = *from);
        Ok(())
    }

    fn sync(&mut self, _: u32) -> Result<(), NoRoom> {
        Ok(())
    }

    fn discard(&mut self, id: u32) -> Result<(), NoRoom> {
        for slot in &mut self.ids {
            if *slot == Some(id) {
                *slot = None;
            }
        }
        Ok(())
    }
}
