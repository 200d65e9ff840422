//! From blocks to fields.

/// Reads the blocks of one connection, in their order.
#[derive(Debug)]
pub struct Decoder {
    limit: usize,
}

impl Decoder {
    /// `limit` is what our SETTINGS say: SETTINGS_HEADER_TABLE_SIZE, in bytes.
    pub fn new(limit: usize) -> Decoder {
        Decoder { limit }
    }
}
