//! What a connection has read and not yet handed on, and what it is to write.
//!
//! ureq has such buffers, but where a part of the input was consumed while a body goes out, as interim responses are, they may make the input
//! shorter than what is in it, and panic. These never change their sizes.

use std::fmt;
use std::vec::Vec;

use ureq::unversioned::transport::Buffers;

/// Both are made at their first use.
pub(super) struct FixedBuffers {
    sizes: (usize, usize),
    input: Vec<u8>,
    /// The part of the input that was read and not consumed.
    consumed: usize,
    filled: usize,
    output: Vec<u8>,
    /// Whether consuming got on.
    progress: bool,
}

impl FixedBuffers {
    pub(super) fn new(input: usize, output: usize) -> Self {
        FixedBuffers {
            sizes: (input, output),
            input: Vec::new(),
            consumed: 0,
            filled: 0,
            output: Vec::new(),
            progress: false,
        }
    }

    /// Moves what is left of the input to its start.
    fn make_room(&mut self) {
        self.input.resize(self.sizes.0, 0);
        self.output.resize(self.sizes.1, 0);
        if self.consumed > 0 {
            self.input.copy_within(self.consumed..self.filled, 0);
            self.filled = self.filled.saturating_sub(self.consumed);
            self.consumed = 0;
        }
    }
}

/// Without what is in them, which may be a token.
impl fmt::Debug for FixedBuffers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FixedBuffers")
            .field("sizes", &self.sizes)
            .finish_non_exhaustive()
    }
}

impl Buffers for FixedBuffers {
    fn output(&mut self) -> &mut [u8] {
        self.make_room();
        &mut self.output
    }

    fn input(&self) -> &[u8] {
        self.input
            .get(self.consumed..self.filled)
            .unwrap_or_default()
    }

    fn input_append_buf(&mut self) -> &mut [u8] {
        self.make_room();
        self.input.get_mut(self.filled..).unwrap_or_default()
    }

    fn tmp_and_output(&mut self) -> (&mut [u8], &mut [u8]) {
        self.make_room();
        let free = self.input.get_mut(self.filled..).unwrap_or_default();
        (free, &mut self.output)
    }

    fn input_appended(&mut self, amount: usize) {
        self.filled = self.filled.saturating_add(amount).min(self.input.len());
    }

    fn input_consume(&mut self, amount: usize) {
        self.progress = amount > 0;
        self.consumed = self.consumed.saturating_add(amount).min(self.filled);
    }

    fn can_use_input(&self) -> bool {
        !self.input().is_empty() && self.progress
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever was consumed when: what is left is what was read, and it never panics.
    #[test]
    fn any_order_keeps_what_was_read() {
        let mut buffers = FixedBuffers::new(20_000, 100);
        let (mut read, mut consumed) = (0u32, 0u32);
        for step in 0..10_000u32 {
            let room = buffers.input_append_buf();
            let amount = room.len().min(step.wrapping_mul(7919) as usize % 9000);
            for byte in &mut room[..amount] {
                *byte = read as u8;
                read = read.wrapping_add(1);
            }
            buffers.input_appended(amount);
            let there = buffers.input().len();
            buffers.input_consume(there.min(step.wrapping_mul(104_729) as usize % 8000));
            consumed = read.wrapping_sub(buffers.input().len() as u32);
            assert_eq!(buffers.tmp_and_output().1.len(), 100);
            let is_it = |(at, byte): (usize, &u8)| *byte == consumed.wrapping_add(at as u32) as u8;
            assert!(buffers.input().iter().enumerate().all(is_it));
        }
        assert!(consumed > 1_000_000);
    }
}
