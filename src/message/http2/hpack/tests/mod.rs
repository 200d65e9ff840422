//! What blocks say, and what is written, by the examples of the standard and by laws.

mod blocks;
mod examples;
mod laws;

use super::BlockDecoder;

type Text = (Vec<u8>, Vec<u8>);

/// The fields of a block.
fn decode(decoder: &mut BlockDecoder, block: &[u8]) -> Result<Vec<Text>, &'static str> {
    let mut fields = Vec::new();
    decoder.decode(block, |found| {
        fields.push(found.field().text());
        Ok::<(), &'static str>(())
    })?;
    Ok(fields)
}

fn texts(fields: &[(&str, &str)]) -> Vec<Text> {
    fields.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec())).collect()
}
