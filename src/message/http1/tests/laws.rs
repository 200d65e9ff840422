//! Laws over all bytes: cuts do not matter, what is written reads back, nothing panics, and a second reader agrees.

use bytes::BytesMut;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version};
use proptest::prelude::*;

use super::super::encode::{self, Connection};
use super::super::head::{take_request, take_response};
use super::super::{Framing, HeadBounds, HeadError};
use super::{BOUNDS, Read, read, response};

/// Bounds that random bytes reach now and then.
const NARROW: HeadBounds = HeadBounds { bytes: 96, count: 4 };

/// What came of some bytes: nothing yet, an error, or a head with what it left.
type Taken = Option<Result<(String, Vec<u8>), HeadError>>;

/// Feeds `parts` until something comes of them; what comes later stays unread.
fn feed<T: std::fmt::Debug>(
    parts: &[&[u8]],
    mut take: impl FnMut(&mut BytesMut, &mut usize) -> Result<Option<T>, HeadError>,
) -> Taken {
    let mut buf = BytesMut::new();
    let mut scanned = 0;
    for (at, part) in parts.iter().enumerate() {
        buf.extend_from_slice(part);
        match take(&mut buf, &mut scanned) {
            Ok(None) => {}
            Ok(Some(head)) => {
                let rest = [&buf[..], &parts[at + 1..].concat()].concat();
                return Some(Ok((format!("{head:?}"), rest)));
            }
            Err(error) => return Some(Err(error)),
        }
    }
    None
}

fn cut<'a>(bytes: &'a [u8], cuts: &[prop::sample::Index]) -> Vec<&'a [u8]> {
    let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    places.sort_unstable();
    places.push(bytes.len());
    let mut start = 0;
    places.into_iter().map(|end| &bytes[std::mem::replace(&mut start, end)..end]).collect()
}

/// Pieces of which heads are made, well and badly.
fn head_bytes() -> impl Strategy<Value = Vec<u8>> {
    let pieces = prop::sample::select(vec![
        &b"GET / HTTP/1.1\r\n"[..],
        b"POST http://h/a?b HTTP/1.0\r\n",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.0 304\n",
        b"host: h\r\n",
        b"Host:g\r\n",
        b"a: b\r\n",
        b"content-length: 3\r\n",
        b"transfer-encoding: chunked\r\n",
        b"connection: close\r\n",
        b"expect: 100-continue\r\n",
        b"\r\n",
        b"\n",
        b"\r",
        b" ",
        b"\t",
        b":",
        b"\0",
        b"\x80",
        b"x",
        b"GET",
        b"/",
        b" HTTP/1.1",
        b"a: \xff\n",
        b" folded\r\n",
    ]);
    prop_oneof![
        4 => prop::collection::vec(pieces.clone(), 0..14).prop_map(|pieces| pieces.concat()),
        4 => prop::collection::vec(pieces, 0..10)
            .prop_map(|pieces| [&b"GET / HTTP/1.1\r\nhost: h\r\n"[..], &pieces.concat()].concat()),
        1 => prop::collection::vec(any::<u8>(), 0..64),
    ]
}

fn chunk_bytes() -> impl Strategy<Value = Vec<u8>> {
    let pieces = prop::sample::select(vec![
        &b"3\r\nabc\r\n"[..],
        b"1;x=y\r\nz\r\n",
        b"a\r\n0123456789\r\n",
        b"0\r\n\r\n",
        b"0\r\n",
        b"a: b\r\n",
        b"\r\n",
        b"\n",
        b"\r",
        b"0",
        b"1",
        b"f",
        b";",
        b" ",
        b"x",
        b"\0",
        b"\xff",
    ]);
    prop::collection::vec(pieces, 0..12).prop_map(|pieces| pieces.concat())
}

fn fields() -> impl Strategy<Value = HeaderMap> {
    let name = prop_oneof!["x-[a-z0-9_]{1,8}", Just("host".to_owned()), Just("accept".to_owned())];
    let value = prop_oneof![
        "[!-~]([ -~\t]{0,20}[!-~])?".prop_map(String::into_bytes),
        prop::collection::vec(0x80_u8.., 0..8),
    ];
    prop::collection::vec((name, value), 0..12).prop_map(|fields| {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            let name = HeaderName::from_bytes(name.as_bytes()).expect("a token");
            headers.append(name, HeaderValue::from_bytes(&value).expect("no control"));
        }
        headers
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn a_request_is_the_same_however_its_bytes_are_cut(
        bytes in head_bytes(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        for bounds in [BOUNDS, NARROW] {
            let take = |buf: &mut BytesMut, scanned: &mut usize| take_request(buf, bounds, scanned);
            let whole = feed(&[&bytes], take);
            prop_assert_eq!(&feed(&cut(&bytes, &cuts), take), &whole);
            prop_assert_eq!(&feed(&bytes.chunks(1).collect::<Vec<_>>(), take), &whole);
        }
    }

    #[test]
    fn an_answer_is_the_same_however_its_bytes_are_cut(
        bytes in head_bytes(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        to_head: bool,
    ) {
        for bounds in [BOUNDS, NARROW] {
            let take = |buf: &mut BytesMut, scanned: &mut usize| take_response(buf, bounds, scanned, to_head);
            let whole = feed(&[&bytes], take);
            prop_assert_eq!(&feed(&cut(&bytes, &cuts), take), &whole);
            prop_assert_eq!(&feed(&bytes.chunks(1).collect::<Vec<_>>(), take), &whole);
        }
    }

    #[test]
    fn a_body_is_the_same_however_its_bytes_are_cut(
        bytes in chunk_bytes(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        length in 0_u64..20,
    ) {
        for framing in [Framing::Chunked, Framing::Length(length), Framing::Empty, Framing::UntilClose] {
            let whole = read(framing, [&bytes[..]]);
            for other in [read(framing, cut(&bytes, &cuts)), read(framing, bytes.chunks(1))] {
                prop_assert_eq!(&other.data, &whole.data);
                prop_assert_eq!(&other.end, &whole.end);
                if matches!(whole.end, Some(Ok(_))) {
                    prop_assert_eq!(&other.rest, &whole.rest);
                }
            }
        }
    }

    #[test]
    fn what_is_encoded_as_a_request_reads_back(
        headers in fields(),
        method in prop::sample::select(vec![Method::GET, Method::POST, Method::HEAD, Method::OPTIONS]),
        target in "/[a-zA-Z0-9/%._~-]{0,20}(\\?[a-z=&?/]{0,10})?",
        framing in prop_oneof![
            Just(Framing::Empty), Just(Framing::Chunked), (0..i64::MAX as u64).prop_map(Framing::Length)
        ],
    ) {
        let mut headers = headers;
        headers.insert("host", HeaderValue::from_static("h:80"));
        let mut out = BytesMut::new();
        encode::request_head(&mut out, &method, &target, &headers, framing);
        let head = take_request(&mut out, BOUNDS, &mut 0).expect("well formed").expect("whole");
        let is_told = framing == Framing::Empty && method == Method::POST;
        prop_assert_eq!(head.framing, if is_told { Framing::Length(0) } else { framing });
        prop_assert_eq!((&head.parts.method, head.parts.version), (&method, Version::HTTP_11));
        prop_assert_eq!(head.parts.uri.to_string(), target);
        let mut read = head.parts.headers;
        read.remove("content-length");
        prop_assert_eq!(&read, &headers);
        prop_assert!(head.keep_alive && out.is_empty());
    }

    #[test]
    fn what_is_encoded_as_an_answer_reads_back(
        headers in fields(),
        status in 200_u16..=999,
        framing in prop_oneof![
            Just(Framing::UntilClose), Just(Framing::Chunked), (0..i64::MAX as u64).prop_map(Framing::Length)
        ],
        connection in prop::sample::select(vec![Connection::Default, Connection::KeepAlive, Connection::Close]),
    ) {
        prop_assume!(status != 204 && status != 304);
        let status = StatusCode::from_u16(status).expect("three digits");
        let mut out = BytesMut::new();
        encode::response_head(&mut out, Version::HTTP_11, status, &headers, framing, connection);
        let head = response(&out).expect("well formed");
        prop_assert_eq!((head.parts.status, head.framing), (status, framing));
        prop_assert_eq!(head.keep_alive, connection != Connection::Close && framing != Framing::UntilClose);
        let mut read = head.parts.headers;
        read.remove("connection");
        read.remove("content-length");
        prop_assert_eq!(read, headers);
    }

    #[test]
    fn what_is_encoded_as_chunks_reads_back(
        pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..300), 0..8),
        trailers in prop::option::of(fields()),
        rest in prop::collection::vec(any::<u8>(), 0..8),
    ) {
        let mut out = BytesMut::new();
        for piece in &pieces {
            encode::chunk_start(&mut out, piece.len());
            out.extend_from_slice(piece);
            out.extend_from_slice(encode::CHUNK_END);
        }
        encode::last_chunk(&mut out, trailers.as_ref());
        out.extend_from_slice(&rest);
        let trailers = trailers.filter(|trailers| !trailers.is_empty());
        let expected = Read { data: pieces.concat(), end: Some(Ok(trailers)), rest };
        prop_assert_eq!(read(Framing::Chunked, [&out[..]]), expected);
    }

    /// Whatever we read, httparse reads so, too: there is no head of which only we make sense.
    #[test]
    fn a_second_reader_agrees_with_every_request_that_is_taken(bytes in head_bytes()) {
        let mut buf = BytesMut::from(&bytes[..]);
        let Ok(Some(head)) = take_request(&mut buf, BOUNDS, &mut 0) else { return Ok(()) };
        let mut slots = [httparse::EMPTY_HEADER; 32];
        let mut other = httparse::Request::new(&mut slots);
        let end = other.parse(&bytes).expect("it is well formed").unwrap();
        prop_assert_eq!(&buf[..], &bytes[end..]);
        prop_assert_eq!(Some(head.parts.method.as_str()), other.method);
        prop_assert_eq!(Some(u8::from(head.parts.version == Version::HTTP_11)), other.version);
        let mut ours = head.parts.headers;
        ours.remove("content-length");
        prop_assert_eq!(ours, without_framing(other.headers));
    }

    #[test]
    fn a_second_reader_agrees_with_every_answer_that_is_taken(bytes in head_bytes()) {
        let mut buf = BytesMut::from(&bytes[..]);
        let Ok(Some(head)) = take_response(&mut buf, BOUNDS, &mut 0, false) else { return Ok(()) };
        let mut slots = [httparse::EMPTY_HEADER; 32];
        let mut other = httparse::Response::new(&mut slots);
        let end = other.parse(&bytes).expect("it is well formed").unwrap();
        prop_assert_eq!(&buf[..], &bytes[end..]);
        prop_assert_eq!(Some(head.parts.status.as_u16()), other.code);
        let mut ours = head.parts.headers;
        ours.remove("content-length");
        prop_assert_eq!(ours, without_framing(other.headers));
    }
}

fn without_framing(fields: &[httparse::Header<'_>]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for field in fields {
        let name = HeaderName::from_bytes(field.name.as_bytes()).expect("a token");
        if !matches!(name.as_str(), "content-length" | "transfer-encoding") {
            headers.append(name, HeaderValue::from_bytes(field.value).expect("no control"));
        }
    }
    headers
}
