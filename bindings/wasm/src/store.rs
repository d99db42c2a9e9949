//! Segments in growing memory, for the courier's outbox.

use alloc::vec::Vec;
use core::fmt;

use edge_report::courier::Storage;

/// At most so many segments, and so the least part of the capacity that one has.
pub(crate) const MOST: usize = 64;

/// Memory is taken as segments are made, and given back as they are discarded.
#[derive(Debug)]
pub(crate) struct Memory {
    segments: Vec<(u32, Vec<u8>)>,
    capacity: usize,
}

/// There is no memory left.
#[derive(Debug)]
pub(crate) struct NoMemory;

impl fmt::Display for NoMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no memory left")
    }
}

impl Memory {
    pub(crate) fn new(capacity: usize) -> Self {
        Memory {
            segments: Vec::new(),
            capacity,
        }
    }

    fn part(&mut self, id: u32, offset: usize, len: usize) -> Result<&mut [u8], NoMemory> {
        let segment = self.segments.iter_mut().find(|(other, _)| *other == id);
        let (_, bytes) = segment.ok_or(NoMemory)?;
        let end = offset.checked_add(len).ok_or(NoMemory)?;
        bytes.get_mut(offset..end).ok_or(NoMemory)
    }
}

impl Storage for Memory {
    type Error = NoMemory;

    fn list(&mut self, each: &mut dyn FnMut(u32, usize)) -> Result<(), NoMemory> {
        self.segments
            .iter()
            .for_each(|(id, bytes)| each(*id, bytes.len()));
        Ok(())
    }

    fn limits(&self) -> (usize, usize) {
        // Twice a 64th, since segments are not always full.
        ((self.capacity / (MOST / 2)) & !7, self.capacity)
    }

    fn create(&mut self, id: u32, len: usize) -> Result<(), NoMemory> {
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(len).map_err(|_| NoMemory)?;
        bytes.resize(len, 0);
        self.segments.push((id, bytes));
        Ok(())
    }

    fn read(&mut self, id: u32, offset: usize, buffer: &mut [u8]) -> Result<(), NoMemory> {
        let part = self.part(id, offset, buffer.len())?;
        buffer.copy_from_slice(part);
        Ok(())
    }

    fn write(&mut self, id: u32, offset: usize, bytes: &[u8]) -> Result<(), NoMemory> {
        self.part(id, offset, bytes.len())?.copy_from_slice(bytes);
        Ok(())
    }

    fn sync(&mut self, _: u32) -> Result<(), NoMemory> {
        Ok(())
    }

    fn discard(&mut self, id: u32) -> Result<(), NoMemory> {
        self.segments.retain(|(other, _)| *other != id);
        Ok(())
    }
}
