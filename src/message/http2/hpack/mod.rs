//! HPACK, header compression (RFC 7541): blocks to fields and back.
//!
//! Law: whatever a block holds, the table stays in step with the peer's, or the block is an error of the connection.
//! What a block may unfold to is for the reader of its fields to bound.

pub(crate) mod decoder;
mod encoder;
pub(crate) mod field;
mod huffman;
mod names;
#[cfg(test)]
mod tests;

pub(crate) use decoder::BlockDecoder;
pub use encoder::Encoder;
