//! The last block of a kind, and what it said.
//!
//! Law: what is recalled is what reading the block again would give, and reading it again would not change the table.

use crate::message::http2::hpack::BlockDecoder;

/// Larger blocks are read each time.
const LARGE: usize = 1 << 10;

#[derive(Debug)]
pub(super) struct Last<T> {
    block: Vec<u8>,
    /// What else the reading rested on: the table, and the bound on the list.
    basis: (u64, usize),
    said: Option<Box<T>>,
}

impl<T> Default for Last<T> {
    fn default() -> Last<T> {
        Last { block: Vec::new(), basis: (0, 0), said: None }
    }
}

impl<T: Clone> Last<T> {
    /// What `block` says: as it is known, or by reading it.
    #[inline]
    pub(super) fn or_read<E>(
        &mut self,
        blocks: &mut BlockDecoder,
        block: &[u8],
        max_list: usize,
        read: impl FnOnce(&mut BlockDecoder) -> Result<T, E>,
    ) -> Result<T, E> {
        let basis = (blocks.changes(), max_list);
        let is_last = self.basis == basis && self.block == block;
        if let Some(said) = &self.said
            && is_last
        {
            return Ok(T::clone(said));
        }
        let read = read(blocks)?;
        self.said = None;
        if is_last {
            // It changed nothing the first time, so it did not now.
            self.said = Some(Box::new(read.clone()));
        } else if block.len() <= LARGE && blocks.changes() == basis.0 {
            self.block.clear();
            self.block.extend_from_slice(block);
            self.basis = basis;
        } else {
            self.block.clear();
        }
        Ok(read)
    }
}
