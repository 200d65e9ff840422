//! What is written is what is read, whatever the table's size and whenever it changes.

use http::header::{HeaderName, HeaderValue};
use http::{HeaderMap, StatusCode};
use proptest::prelude::*;

use super::{BlockDecoder, Text, decode};
use crate::message::http2::head;
use crate::message::http2::hpack::Encoder;

/// Names that the tables know, that learn, that share slots, that never learn.
fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(vec![
            "content-type",
            "date",
            "user-agent",
            "grpc-status",
            "x-request-id",
            "authorization",
            "cookie",
            "content-length",
            "accept-encoding",
            "via",
            "x",
        ])
        .prop_map(str::to_owned),
        "[a-z][a-z0-9-]{0,12}",
    ]
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => prop::sample::select(vec!["0", "1", "", "application/grpc"]).prop_map(|value| value.into()),
        2 => "[ -~]{0,40}".prop_map(String::into_bytes),
        1 => prop::collection::vec(0x80_u8..=0xff, 0..20),
        1 => (0_usize..700).prop_map(|length| vec![b'v'; length]),
    ]
}

#[derive(Clone, Debug)]
enum Step {
    Block(u16, Vec<(String, Vec<u8>, bool)>),
    TableSize(u32),
}

fn step() -> impl Strategy<Value = Step> {
    let size = prop_oneof![Just(0), Just(4096), Just(65_536), 0_u32..300];
    let fields = prop::collection::vec((name(), value(), prop::bool::weighted(0.1)), 0..8);
    prop_oneof![
        5 => (100_u16..600, fields).prop_map(|(status, fields)| Step::Block(status, fields)),
        1 => size.prop_map(Step::TableSize),
    ]
}

fn is_of_connection(name: &str) -> bool {
    ["connection", "keep-alive", "proxy-connection", "upgrade", "transfer-encoding", "te"].contains(&name)
}

proptest! {
    #[test]
    fn what_is_written_is_read(steps in prop::collection::vec(step(), 1..40)) {
        let (mut encoder, mut decoder) = (Encoder::new(), BlockDecoder::new(4096));
        let mut limit = 4096;
        for step in steps {
            let (status, fields) = match step {
                Step::TableSize(size) => {
                    // A reader's limit is at least what it told last; the test of the encoder is that it keeps within.
                    limit = size as usize;
                    encoder.set_max_table_size(size);
                    continue;
                }
                Step::Block(status, fields) => (status, fields),
            };
            let mut map = HeaderMap::new();
            for (name, value, is_sensitive) in &fields {
                let mut value = HeaderValue::from_bytes(value).expect("no control bytes");
                value.set_sensitive(*is_sensitive);
                map.append(HeaderName::from_bytes(name.as_bytes()).expect("a token"), value);
            }
            let mut block = Vec::new();
            encoder.response(StatusCode::from_u16(status).expect("three digits"), &map, &mut block);
            let mut expected: Vec<Text> = vec![(b":status".to_vec(), status.to_string().into_bytes())];
            for (name, value) in &map {
                if !is_of_connection(name.as_str()) {
                    expected.push((name.as_str().as_bytes().to_vec(), value.as_bytes().to_vec()));
                }
            }
            prop_assert_eq!(decode(&mut decoder, &block), Ok(expected));
            let (_, size) = decoder.table();
            prop_assert!(size <= limit.min(4096), "{} bytes in a table of {}", size, limit);
        }
    }

    /// Whatever bytes come, the reader ends, its table keeps its size, and it never panics.
    #[test]
    fn any_bytes_are_read_or_refused(blocks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 1..6)) {
        let mut decoder = BlockDecoder::new(128);
        for block in blocks {
            let read = decode(&mut decoder, &block);
            let (fields, size) = decoder.table();
            prop_assert!(size <= 128);
            let listed: usize = fields.iter().map(|(name, value)| name.len() + value.len() + 32).sum();
            // A path's fragment is not kept, and counts all the same.
            let has_path = fields.iter().any(|(name, _)| name == b":path");
            prop_assert!(if has_path { listed <= size } else { listed == size }, "{} of {}", listed, size);
            if read.is_err() {
                break;
            }
        }
    }
}

fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
    fields
        .iter()
        .map(|&(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
        .collect()
}

fn trailers(encoder: &mut Encoder, fields: &HeaderMap) -> Vec<u8> {
    let mut block = Vec::new();
    encoder.trailers(fields, &mut block);
    block
}

#[test]
fn what_comes_again_costs_a_byte() {
    let mut encoder = Encoder::new();
    let fields = headers(&[("content-type", "application/grpc"), ("grpc-status", "0"), ("x-model", "v1")]);
    assert!(trailers(&mut encoder, &fields).len() > 40);
    for _ in 0..20 {
        assert_eq!(trailers(&mut encoder, &fields), [0xc0, 0xbf, 0xbe]);
    }
}

/// A name costs its index then, not its letters.
#[test]
fn a_name_whose_value_never_comes_again_is_learnt_no_more() {
    let (mut encoder, mut decoder) = (Encoder::new(), BlockDecoder::new(4096));
    for number in 0..50 {
        let mut fields = HeaderMap::new();
        let text = format!("{number:04}");
        fields.insert(HeaderName::from_static("x-span"), HeaderValue::from_str(&text).expect("digits"));
        let block = trailers(&mut encoder, &fields);
        assert_eq!(decode(&mut decoder, &block), Ok(vec![(b"x-span".to_vec(), text.into_bytes())]));
        assert!(number < 4 || block.len() == 7, "{block:x?}");
    }
    assert_eq!(decoder.table().0.len(), 4);
}

/// One caller of many on a connection, who sends another value each time, does not end it for the others.
#[test]
fn a_name_whose_values_were_different_is_learnt_again_when_they_are_not() {
    let (mut encoder, mut decoder) = (Encoder::new(), BlockDecoder::new(4096));
    let mut send = |value: &str| {
        let mut fields = HeaderMap::new();
        fields.insert(HeaderName::from_static("x-model"), HeaderValue::from_str(value).expect("a value"));
        let block = trailers(&mut encoder, &fields);
        assert_eq!(decode(&mut decoder, &block), Ok(vec![(b"x-model".to_vec(), value.as_bytes().to_vec())]));
        block.len()
    };
    for number in 0..10 {
        send(&format!("v{number}"));
    }
    assert!(send("v1") > 1 && send("v1") > 1);
    let lengths: Vec<usize> = (0..1_100).map(|_| send("v1")).collect();
    assert_eq!(lengths.last(), Some(&1));
    // And one that goes on to say something else each time costs the table an entry now and then.
    for number in 0..3_000 {
        send(&format!("n{number:04}"));
    }
    assert!(decoder.table().0.len() < 24);
}

#[test]
fn no_table_keeps_a_secret() {
    let mut sensitive = HeaderValue::from_static("key");
    sensitive.set_sensitive(true);
    let mut fields = headers(&[
        ("authorization", "Bearer x"),
        ("cookie", "a=b"),
        ("set-cookie", "a=b"),
        ("x-api-key", "a"),
        ("x-goog-api-key", "a"),
        ("x-amz-security-token", "a"),
        ("x-forwarded-access-token", "a"),
        ("x-session", "a"),
    ]);
    fields.insert("x-key", sensitive);
    let (mut encoder, mut decoder) = (Encoder::new(), BlockDecoder::new(4096));
    for _ in 0..3 {
        let block = trailers(&mut encoder, &fields);
        assert_eq!(decode(&mut decoder, &block).map(|fields| fields.len()), Ok(9));
        assert_eq!(decoder.table().0, []);
        // RFC 7541 section 6.2.3: whoever passes them on keeps them out of tables, too.
        let read = head::Decoder::new(4096).request_trailers(&block, 1 << 10).expect("trailers");
        assert!(read.values().all(HeaderValue::is_sensitive), "{read:?}");
    }
}

#[test]
fn what_belongs_to_a_connection_is_never_written() {
    let fields = headers(&[
        ("connection", "close"),
        ("keep-alive", "1"),
        ("proxy-connection", "close"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "h2c"),
        ("te", "gzip"),
    ]);
    assert!(trailers(&mut Encoder::new(), &fields).is_empty());
    assert_eq!(trailers(&mut Encoder::new(), &headers(&[("te", "trailers")])), b"\x40\x02te\x08trailers");
}

/// RFC 7541 section 4.2.
#[test]
fn a_change_of_the_table_is_told_once_with_the_next_block() {
    for (sizes, told) in [
        (&[][..], &[][..]),
        (&[4096], &[]),
        (&[65_536], &[]),
        (&[0], &[0x20]),
        (&[10], &[0x2a]),
        (&[10, 5], &[0x25]),
        (&[10, 20], &[0x2a, 0x34]),
        (&[0, 4096], &[0x20, 0x3f, 0xe1, 0x1f]),
        (&[0, 65_536], &[0x20, 0x3f, 0xe1, 0x1f]),
        (&[10, 5, 20, 7], &[0x25, 0x27]),
    ] {
        let mut encoder = Encoder::new();
        for &size in sizes {
            encoder.set_max_table_size(size);
        }
        let block = trailers(&mut encoder, &HeaderMap::new());
        assert_eq!(block, told, "{sizes:?}");
        assert!(trailers(&mut encoder, &HeaderMap::new()).is_empty(), "{sizes:?}");
    }
}
