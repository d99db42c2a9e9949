//! The outbox in memory, of fixed size.

use core::fmt;

use super::letters::Letters;
use super::outbox::{Durability, LogOutbox};
use super::segments::Segments;
use super::storage::Storage;

/// An outbox in memory: `N` segments of `BYTES` bytes for what waits, and two for dead letters. One of the `N` stays
/// free for dropping superseded reports. A report may have `BYTES` less 304, and less 16 for each of its jobs.
pub type RamOutbox<const N: usize, const BYTES: usize> =
    LogOutbox<RamStorage<[[u8; BYTES]; N], N>, RamStorage<[[u8; BYTES]; 2], 2>, N>;

impl<const N: usize, const BYTES: usize> RamOutbox<N, BYTES> {
    /// An empty one.
    pub const fn new() -> Self {
        Self::over(
            Segments::empty(RamStorage::new([[0; BYTES]; N], BYTES, 1), 1),
            Letters::over(Segments::empty(
                RamStorage::new([[0; BYTES]; 2], BYTES, 0),
                0,
            )),
            Durability::Each,
        )
    }
}

impl<const N: usize, const BYTES: usize> Default for RamOutbox<N, BYTES> {
    fn default() -> Self {
        Self::new()
    }
}

/// Memory that segments are cut from: arrays, or a slice.
pub trait Memory {
    /// All of it.
    fn bytes(&mut self) -> &mut [u8];
    /// How many bytes it has.
    fn size(&self) -> usize;
}

impl<const N: usize, const BYTES: usize> Memory for [[u8; BYTES]; N] {
    fn bytes(&mut self) -> &mut [u8] {
        self.as_flattened_mut()
    }
    fn size(&self) -> usize {
        self.as_flattened().len()
    }
}

impl Memory for &mut [u8] {
    fn bytes(&mut self) -> &mut [u8] {
        self
    }
    fn size(&self) -> usize {
        self.len()
    }
}

/// At most `N` segments of equal length in memory.
#[derive(Clone, Debug)]
pub struct RamStorage<M, const N: usize> {
    ids: [Option<u32>; N],
    memory: M,
    segment_bytes: usize,
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

impl<M, const N: usize> RamStorage<M, N> {
    /// Cuts memory into segments of `segment_bytes`, a multiple of 8. A log for what waits needs one of them as `spare`: it
    /// stays free for dropping superseded reports.
    pub const fn new(memory: M, segment_bytes: usize, spare: usize) -> Self {
        RamStorage {
            ids: [None; N],
            memory,
            segment_bytes,
            spare,
        }
    }
}

impl<M: Memory, const N: usize> RamStorage<M, N> {
    fn slot(&mut self, index: usize) -> Option<&mut [u8]> {
        let start = index.checked_mul(self.segment_bytes)?;
        let end = start.checked_add(self.segment_bytes)?;
        self.memory.bytes().get_mut(start..end)
    }

    fn part(&mut self, id: u32, offset: usize, len: usize) -> Option<&mut [u8]> {
        let end = offset.checked_add(len)?;
        let index = self.ids.iter().position(|slot| *slot == Some(id))?;
        self.slot(index)?.get_mut(offset..end)
    }
}

impl<M: Memory, const N: usize> Storage for RamStorage<M, N> {
    type Error = NoRoom;

    fn list(&mut self, each: &mut dyn FnMut(u32, usize)) -> Result<(), NoRoom> {
        let len = self.segment_bytes;
        self.ids.iter().flatten().for_each(|id| each(*id, len));
        Ok(())
    }

    fn limits(&self) -> (usize, usize) {
        let count = self.memory.size().checked_div(self.segment_bytes);
        let usable = count.unwrap_or(0).min(N).saturating_sub(self.spare);
        (
            self.segment_bytes,
            self.segment_bytes.saturating_mul(usable),
        )
    }

    fn create(&mut self, id: u32, len: usize) -> Result<(), NoRoom> {
        let free = self.ids.iter().position(Option::is_none).ok_or(NoRoom)?;
        let bytes = self.slot(free).ok_or(NoRoom)?;
        if len > bytes.len() {
            return Err(NoRoom);
        }
        bytes.fill(0);
        if let Some(slot) = self.ids.get_mut(free) {
            *slot = Some(id);
        }
        Ok(())
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
