//! Header blocks of answers (RFC 7541), read for the two fields that decide; `encoder` writes those of requests.

use std::collections::VecDeque;

use crate::huffman;

/// A block that no decoder could read: the connection is of no more use.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Malformed;

/// The table size that a peer may use unless told otherwise.
pub(crate) const TABLE_BYTES: usize = 4096;
pub(crate) const ENTRY_OVERHEAD_BYTES: usize = 32;
/// Of an answer, the head and the trailers, and as many again for others that alternate with them.
const MAX_REMEMBERED: usize = 4;

/// RFC 7541, appendix A.
#[rustfmt::skip]
pub(crate) const STATIC: [(&str, &str); 61] = [
    (":authority", ""), (":method", "GET"), (":method", "POST"), (":path", "/"), (":path", "/index.html"),
    (":scheme", "http"), (":scheme", "https"), (":status", "200"), (":status", "204"), (":status", "206"),
    (":status", "304"), (":status", "400"), (":status", "404"), (":status", "500"), ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"), ("accept-language", ""), ("accept-ranges", ""), ("accept", ""),
    ("access-control-allow-origin", ""), ("age", ""), ("allow", ""), ("authorization", ""), ("cache-control", ""),
    ("content-disposition", ""), ("content-encoding", ""), ("content-language", ""), ("content-length", ""),
    ("content-location", ""), ("content-range", ""), ("content-type", ""), ("cookie", ""), ("date", ""),
    ("etag", ""), ("expect", ""), ("expires", ""), ("from", ""), ("host", ""), ("if-match", ""),
    ("if-modified-since", ""), ("if-none-match", ""), ("if-range", ""), ("if-unmodified-since", ""),
    ("last-modified", ""), ("link", ""), ("location", ""), ("max-forwards", ""), ("proxy-authenticate", ""),
    ("proxy-authorization", ""), ("range", ""), ("referer", ""), ("refresh", ""), ("retry-after", ""),
    ("server", ""), ("set-cookie", ""), ("strict-transport-security", ""), ("transfer-encoding", ""),
    ("user-agent", ""), ("vary", ""), ("via", ""), ("www-authenticate", ""),
];

/// What an answer's blocks say that counts here.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Fields {
    pub(crate) status: Option<u16>,
    pub(crate) grpc_status: Option<u32>,
}

/// Reads the blocks of one connection.
#[derive(Default)]
pub(crate) struct Decoder {
    /// The newest first.
    table: VecDeque<(Vec<u8>, Vec<u8>)>,
    table_bytes: usize,
    max_bytes: Option<usize>,
    /// Blocks that said this and left the table alone. They say it again as long as the table is the same: on a
    /// connection in its stride that is every block, and reading one is a comparison.
    remembered: Vec<(Vec<u8>, Fields)>,
}

impl Decoder {
    pub(crate) fn read(&mut self, block: &[u8]) -> Result<Fields, Malformed> {
        if let Some((_, fields)) = self.remembered.iter().find(|(known, _)| known == block) {
            return Ok(*fields);
        }
        let mut fields = Fields::default();
        let mut changed = false;
        let mut rest = block;
        while let Some(&kind) = rest.first() {
            if kind & 0x80 != 0 {
                let index = take_integer(&mut rest, 7)?;
                let (name, value) = self.entry(index)?;
                fields.note(name, value);
            } else if kind & 0xe0 == 0x20 {
                let size = take_integer(&mut rest, 5)?;
                if size > TABLE_BYTES {
                    return Err(Malformed);
                }
                self.max_bytes = Some(size);
                self.make_room(0);
                changed = true;
            } else {
                let keeps = kind & 0x40 != 0;
                let index = take_integer(&mut rest, if keeps { 6 } else { 4 })?;
                let name = if index == 0 { take_string(&mut rest)? } else { self.entry(index)?.0.to_vec() };
                let value = take_string(&mut rest)?;
                fields.note(&name, &value);
                if keeps {
                    self.keep(name, value);
                    changed = true;
                }
            }
        }
        if changed {
            self.remembered.clear();
        } else if self.remembered.len() < MAX_REMEMBERED {
            self.remembered.push((block.to_vec(), fields));
        }
        Ok(fields)
    }

    fn entry(&self, index: usize) -> Result<(&[u8], &[u8]), Malformed> {
        let at = index.checked_sub(1).ok_or(Malformed)?;
        if let Some((name, value)) = STATIC.get(at) {
            return Ok((name.as_bytes(), value.as_bytes()));
        }
        let (name, value) = self.table.get(at - STATIC.len()).ok_or(Malformed)?;
        Ok((name, value))
    }

    fn keep(&mut self, name: Vec<u8>, value: Vec<u8>) {
        let bytes = name.len() + value.len() + ENTRY_OVERHEAD_BYTES;
        self.make_room(bytes);
        // One that is larger than the table empties it (RFC 7541, 4.4).
        if bytes <= self.max_bytes.unwrap_or(TABLE_BYTES) {
            self.table_bytes += bytes;
            self.table.push_front((name, value));
        }
    }

    fn make_room(&mut self, bytes: usize) {
        while self.table_bytes + bytes > self.max_bytes.unwrap_or(TABLE_BYTES) {
            let Some((name, value)) = self.table.pop_back() else { return };
            self.table_bytes -= name.len() + value.len() + ENTRY_OVERHEAD_BYTES;
        }
    }
}

impl Fields {
    fn note(&mut self, name: &[u8], value: &[u8]) {
        let number = || str::from_utf8(value).ok()?.parse().ok();
        match name {
            b":status" => self.status = number().and_then(|status| u16::try_from(status).ok()),
            // One that is no number is not zero, which is all that is asked.
            b"grpc-status" => self.grpc_status = Some(number().unwrap_or(u32::MAX)),
            _ => {}
        }
    }
}

fn take_integer(rest: &mut &[u8], bits: u32) -> Result<usize, Malformed> {
    let (&first, mut left) = rest.split_first().ok_or(Malformed)?;
    let most = (1 << bits) - 1;
    let mut value = usize::from(first) & most;
    if value == most {
        for shift in [0, 7, 14, 21] {
            let (&byte, after) = left.split_first().ok_or(Malformed)?;
            left = after;
            value += usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                *rest = left;
                return Ok(value);
            }
        }
        return Err(Malformed);
    }
    *rest = left;
    Ok(value)
}

fn take_string(rest: &mut &[u8]) -> Result<Vec<u8>, Malformed> {
    let coded = rest.first().is_some_and(|byte| byte & 0x80 != 0);
    let length = take_integer(rest, 7)?;
    let (text, left) = rest.split_at_checked(length).ok_or(Malformed)?;
    *rest = left;
    if !coded {
        return Ok(text.to_vec());
    }
    let mut out = Vec::new();
    huffman::decode(text, &mut out)?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(status: Option<u16>, grpc_status: Option<u32>) -> Fields {
        Fields { status, grpc_status }
    }

    #[test]
    fn an_answer_is_read_from_a_table_that_it_filled() {
        let mut decoder = Decoder::default();
        assert_eq!(decoder.read(b"\x88\x5f\x10application/grpc"), Ok(fields(Some(200), None)));
        assert_eq!(decoder.read(b"\x40\x0bgrpc-status\x010"), Ok(fields(None, Some(0))));
        assert_eq!(decoder.read(b"\x88\xbf"), Ok(fields(Some(200), None)));
        assert_eq!(decoder.read(b"\xbe"), Ok(fields(None, Some(0))));
        // The same bytes mean something else once the table has changed.
        assert_eq!(decoder.read(b"\x7e\x0214"), Ok(fields(None, Some(14))));
        assert_eq!(decoder.read(b"\xbe"), Ok(fields(None, Some(14))));
        assert_eq!(decoder.read(b"\xbf"), Ok(fields(None, Some(0))));
    }

    #[test]
    fn the_specifications_evictions_happen() {
        // RFC 7541, C.6, with its table of 256 bytes.
        let mut decoder = Decoder::default();
        let first = b"\x3f\xe1\x01\x48\x82\x64\x02\x58\x85\xae\xc3\x77\x1a\x4b\x61\x96\xd0\x7a\xbe\x94\x10\x54\xd4\x44\
            \xa8\x20\x05\x95\x04\x0b\x81\x66\xe0\x82\xa6\x2d\x1b\xff\x6e\x91\x9d\x29\xad\x17\x18\x63\xc7\x8f\x0b\x97\xc8\
            \xe9\xae\x82\xae\x43\xd3";
        assert_eq!(decoder.read(first), Ok(fields(Some(302), None)));
        assert_eq!(decoder.table_bytes, 222);
        assert_eq!(decoder.read(b"\x48\x83\x64\x0e\xff\xc1\xc0\xbf"), Ok(fields(Some(307), None)));
        assert_eq!((decoder.table.len(), decoder.table_bytes), (4, 222), "`:status 302` had to go");
        assert_eq!(decoder.table.back().map(|(name, _)| name.as_slice()), Some(b"cache-control".as_slice()));
    }

    #[test]
    fn a_block_that_ends_too_early_is_malformed() {
        for block in
            [&b"\x40\x0bgrpc"[..], b"\xff", b"\xff\x80\x80\x80\x80\x01", b"\x80", b"\xfe", b"\x48\x83\x64"]
        {
            assert_eq!(Decoder::default().read(block), Err(Malformed), "{block:?}");
        }
    }
}
