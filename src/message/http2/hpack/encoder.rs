//! From fields to blocks.

/// Writes the blocks of one connection, in their order.
#[derive(Debug)]
pub struct Encoder {
    limit: usize,
}

impl Encoder {
    /// For a peer that has not told its SETTINGS_HEADER_TABLE_SIZE.
    pub fn new() -> Encoder {
        Encoder { limit: 4096 }
    }

    /// The peer's SETTINGS_HEADER_TABLE_SIZE; of a larger table than 4,096 bytes no use is made.
    pub fn set_max_table_size(&mut self, size: u32) {
        self.limit = size as usize;
    }
}
