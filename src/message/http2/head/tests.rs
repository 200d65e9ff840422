//! What makes a message and what does not, and what the `h2` crate says of the same.

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, COOKIE, HeaderName, HeaderValue, TE};
use http::{HeaderMap, Method, Request, Response, StatusCode, Version};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

use super::{Decoder, Fault, RequestHead};
use crate::message::http2::frame::{self, FrameHead, HEAD_BYTES, PREFACE, flag, kind};
use crate::message::http2::hpack::Encoder;

const MAX_LIST: usize = 16 << 10;

/// A block of literals that no table keeps, without Huffman's code.
fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            match text.len() {
                short @ 0..127 => block.push(short as u8),
                long => block.extend([0x7f, 0x80 | ((long - 127) & 0x7f) as u8, ((long - 127) >> 7) as u8]),
            }
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}

const GET: [(&str, &str); 4] =
    [(":method", "GET"), (":scheme", "http"), (":authority", "x"), (":path", "/a?b")];

fn request(fields: &[(&str, &str)]) -> Result<RequestHead, Fault> {
    Decoder::new(4096).request(&block(fields), MAX_LIST)
}

fn with(more: &[(&'static str, &'static str)]) -> Result<RequestHead, Fault> {
    request(&[&GET[..], more].concat())
}

/// A GET in which one pseudo-header field has another value, or is missing.
fn changed(name: &str, value: Option<&str>) -> Result<RequestHead, Fault> {
    let fields = GET.iter().filter_map(|&(usual, text)| match value {
        _ if usual != name => Some((usual, text)),
        Some(value) => Some((usual, value)),
        None => None,
    });
    request(&fields.collect::<Vec<_>>())
}

#[test]
fn a_request_is_read_whole() {
    let head = with(&[("te", "trailers"), ("x-a", "1"), ("content-length", "12"), ("x-a", "2")]);
    let RequestHead { parts, content_length, flaw } = head.expect("well-formed");
    assert_eq!((parts.method, parts.version), (Method::GET, Version::HTTP_2));
    assert_eq!(parts.uri.to_string(), "http://x/a?b");
    assert_eq!((content_length, flaw), (Some(12), None));
    assert_eq!(parts.headers.get(TE), Some(&HeaderValue::from_static("trailers")));
    assert_eq!(parts.headers.get_all("x-a").iter().collect::<Vec<_>>(), ["1", "2"]);
    assert_eq!(parts.headers.len(), 4);
}

#[test]
fn forms_of_a_target_are_read_as_they_are() {
    let read = |fields: &[(&str, &str)]| request(fields).map(|head| head.parts.uri);
    let authority = read(&[(":method", "CONNECT"), (":authority", "x:80")]).expect("CONNECT");
    assert_eq!((authority.authority().map(|host| host.as_str()), authority.scheme()), (Some("x:80"), None));
    let options = [(":method", "OPTIONS"), (":scheme", "https"), (":authority", "x"), (":path", "*")];
    let options = read(&options).expect("OPTIONS");
    assert_eq!((options.path(), options.scheme_str()), ("*", Some("https")));
    let no_authority = changed(":authority", None).expect("well-formed").parts.uri;
    assert_eq!((no_authority.to_string(), no_authority.authority()), ("/a?b".to_owned(), None));
}

#[test]
fn a_cookie_in_crumbs_is_one() {
    let head =
        with(&[("cookie", "a=1"), ("x-a", "1"), ("cookie", "b=2"), ("cookie", "c")]).expect("well-formed");
    assert_eq!(head.parts.headers.get_all(COOKIE).iter().collect::<Vec<_>>(), ["a=1; b=2; c"]);
    let head = with(&[("cookie", "a=1")]).expect("well-formed");
    assert_eq!(head.parts.headers.get_all(COOKIE).iter().collect::<Vec<_>>(), ["a=1"]);
}

/// RFC 9113 sections 8.1 to 8.3, each row with its own.
#[test]
fn what_makes_no_request_is_told_how_far_it_reaches() {
    use Kind::{Field, Message};
    #[derive(Debug, PartialEq)]
    enum Kind {
        Field,
        Message,
    }
    let twice = |field| request(&[&[field], &GET[..]].concat());
    let behind = |field| request(&[&GET[..3], &[("x-a", "1")], &[field]].concat());
    let connect = (":method", "CONNECT");
    let rows = [
        ("no :method", "8.3.1", changed(":method", None), Message),
        ("no :scheme", "8.3.1", changed(":scheme", None), Message),
        ("no :path", "8.3.1", changed(":path", None), Message),
        ("nothing", "8.3.1", request(&[]), Message),
        ("fields alone", "8.3.1", request(&[("x-a", "1")]), Message),
        ("two :method", "8.3", twice((":method", "GET")), Message),
        ("two :scheme", "8.3", twice((":scheme", "http")), Message),
        ("two :authority", "8.3", twice((":authority", "x")), Message),
        ("two :path", "8.3", twice((":path", "/a")), Message),
        (":path behind a field", "8.3", behind((":path", "/a")), Message),
        (":status", "8.3", with(&[(":status", "200")]), Message),
        (":protocol", "RFC 8441 3", with(&[(":protocol", "websocket")]), Message),
        ("an unknown pseudo-header field", "8.3", with(&[(":foo", "1")]), Field),
        ("a colon as a name", "8.3", with(&[(":", "1")]), Field),
        ("an empty :method", "8.3.1", changed(":method", Some("")), Field),
        ("a :method that is no token", "8.3.1", changed(":method", Some("G T")), Field),
        ("an empty :path", "8.3.1", changed(":path", Some("")), Message),
        ("a :path that is none", "8.3.1", changed(":path", Some("a")), Message),
        ("a :path with a space", "8.3.1", changed(":path", Some("/a b")), Message),
        ("a :path with NUL", "8.3.1", changed(":path", Some("/a\0")), Message),
        ("an empty :authority", "8.3.1", changed(":authority", Some("")), Message),
        ("an :authority with a path", "8.3.1", changed(":authority", Some("x/a")), Message),
        ("a :scheme with a space", "8.3.1", changed(":scheme", Some("ht tp")), Message),
        ("CONNECT with all", "8.5", changed(":method", Some("CONNECT")), Message),
        ("CONNECT with :scheme", "8.5", request(&[connect, (":scheme", "http")]), Message),
        ("CONNECT with :path", "8.5", request(&[connect, (":path", "/")]), Message),
        ("a name in upper case", "8.2.1", with(&[("X-a", "1")]), Field),
        ("a name in upper case that is known", "8.2.1", with(&[("Accept", "1")]), Field),
        ("an empty name", "8.2.1", with(&[("", "1")]), Field),
        ("a name with a space", "8.2.1", with(&[("x a", "1")]), Field),
        ("a name with a colon", "8.2.1", with(&[("x:a", "1")]), Field),
        ("a name with DEL", "8.2.1", with(&[("x\x7f", "1")]), Field),
        ("a name outside ASCII", "8.2.1", with(&[("x\u{e9}", "1")]), Field),
        ("a value with NUL", "8.2.1", with(&[("x-a", "a\0b")]), Field),
        ("a value with LF", "8.2.1", with(&[("x-a", "a\nb")]), Field),
        ("a value with CR", "8.2.1", with(&[("x-a", "a\rb")]), Field),
        ("a value with DEL", "RFC 9110 5.5", with(&[("x-a", "a\x7fb")]), Field),
        ("connection", "8.2.2", with(&[("connection", "close")]), Message),
        ("keep-alive", "8.2.2", with(&[("keep-alive", "timeout=5")]), Message),
        ("proxy-connection", "8.2.2", with(&[("proxy-connection", "close")]), Message),
        ("transfer-encoding", "8.2.2", with(&[("transfer-encoding", "chunked")]), Message),
        ("upgrade", "8.2.2", with(&[("upgrade", "h2c")]), Message),
        ("te: gzip", "8.2.2", with(&[("te", "gzip")]), Message),
        ("te: trailers, gzip", "8.2.2", with(&[("te", "trailers, gzip")]), Message),
        ("a length with a sign", "RFC 9110 8.6", with(&[("content-length", "+1")]), Message),
        ("a length in letters", "RFC 9110 8.6", with(&[("content-length", "one")]), Message),
        ("a length that is a list", "RFC 9110 8.6", with(&[("content-length", "1, 1")]), Message),
        ("a length with a space", "RFC 9110 8.6", with(&[("content-length", "1 ")]), Message),
        (
            "a length of 20 digits",
            "RFC 9110 8.6",
            with(&[("content-length", "10000000000000000000")]),
            Message,
        ),
        ("two lengths", "RFC 9110 8.6", with(&[("content-length", "1"), ("content-length", "2")]), Message),
    ];
    for (name, section, read, expected) in rows {
        let kind = match read {
            Err(Fault::Field(_)) => Field,
            Err(Fault::Message(_)) => Message,
            other => panic!("{name} (section {section}): {other:?}"),
        };
        assert_eq!(kind, expected, "{name} (section {section})");
    }
    let outside = [&block(&GET[..3])[..], b"\0\x05:path\x02/\xff"].concat();
    assert!(matches!(Decoder::new(0).request(&outside, MAX_LIST), Err(Fault::Field(_))));
}

#[test]
fn what_is_odd_but_has_one_reading_is_a_request_with_its_flaw_told() {
    for (name, read, flaw) in [
        ("an unknown method", changed(":method", Some("BREW")), None),
        ("a method in lower case", changed(":method", Some("get")), None),
        ("no :authority", changed(":authority", None), None),
        ("CONNECT alone", request(&[(":method", "CONNECT")]), None),
        ("an empty value", with(&[("x-a", "")]), None),
        ("a value outside ASCII", with(&[("x-a", "\u{e9}")]), None),
        ("a value with a tab inside", with(&[("x-a", "a\tb")]), None),
        ("HTTP in upper case", changed(":scheme", Some("HTTP")), None),
        ("another scheme", changed(":scheme", Some("ftp")), Some("http2.invalid_scheme")),
        ("an empty scheme", changed(":scheme", Some("")), Some("http2.invalid_scheme")),
        ("an empty length", with(&[("content-length", "")]), Some("http2.unexpected_content_length")),
        (
            "the same length twice",
            with(&[("content-length", "1"), ("content-length", "1")]),
            Some("http2.unexpected_content_length"),
        ),
        ("a space before a value", with(&[("x-a", " a")]), Some("http2.invalid_header_value")),
        ("a tab behind a value", with(&[("x-a", "a\t")]), Some("http2.invalid_header_value")),
    ] {
        assert_eq!(read.map(|head| head.flaw), Ok(flaw), "{name}");
    }
}

/// RFC 9113 section 6.5.2: 32 bytes a field beside its name and value.
#[test]
fn a_list_above_the_bound_is_too_large_and_one_far_above_it_a_flood() {
    let size: usize = GET.iter().map(|(name, value)| name.len() + value.len() + 32).sum();
    for (more, expected) in [
        (0, None),
        (size + 1, None),
        (size, Some(Fault::TooLarge)),
        (size / 4 + 1, Some(Fault::TooLarge)),
        (size / 4 - 1, Some(Fault::Flood)),
    ] {
        let bound = if more == 0 { MAX_LIST } else { more };
        let read = Decoder::new(0).request(&block(&GET), bound);
        assert_eq!(read.err(), expected, "{bound}");
    }
    // What is malformed is told first, wherever it stands.
    let long = "a".repeat(2_000);
    let fields = [&GET[..], &[("x-a", &*long), ("connection", "close")]].concat();
    assert!(matches!(Decoder::new(0).request(&block(&fields), 2_000), Err(Fault::Message(_))));
}

#[test]
fn a_block_that_unfolds_ends_before_it_takes_memory() {
    let mut decoder = Decoder::new(4096);
    let seed = [&block(&GET)[..], b"\x40\x01a\x7f\x81\x1e", &[b'v'; 4_000 - 32]].concat();
    let seed = &seed[..block(&GET).len() + 6 + 3_968];
    assert!(decoder.request(seed, MAX_LIST).is_ok());
    let bomb = [&block(&GET)[..], &[0xbe; 16_000]].concat();
    assert_eq!(decoder.request(&bomb, MAX_LIST).err(), Some(Fault::Flood));
    assert_eq!(decoder.skip(&bomb, MAX_LIST), Err(Fault::Flood));
}

/// `HeaderMap` has an end, and panics there if it is not asked.
#[test]
fn more_fields_than_a_map_holds_are_too_large() {
    let names: Vec<String> = (0..40_000).map(|number| format!("x-{number}")).collect();
    let fields: Vec<(&str, &str)> = names.iter().map(|name| (&**name, "1")).collect();
    let fields = [&GET[..], &fields].concat();
    assert_eq!(Decoder::new(0).request(&block(&fields), 64 << 20).err(), Some(Fault::TooLarge));
}

#[test]
fn whatever_is_wrong_with_a_message_the_next_block_finds_the_table_in_step() {
    let learn = b"\x40\x03x-a\x011";
    for wrong in [
        &b"\0\x01X\x011"[..],
        b"\0\x0aconnection\x05close",
        b"\0\x04:foo\x011",
        b"\x83\x83",
        &block(&[("x-b", &"b".repeat(900))]),
    ] {
        let mut decoder = Decoder::new(4096);
        assert!(decoder.request(&[&block(&GET), wrong, &learn[..]].concat(), 600).is_err());
        let head = decoder.request(&[&block(&GET)[..], b"\xbe"].concat(), 600).expect("well-formed");
        assert_eq!(head.parts.headers.get("x-a"), Some(&HeaderValue::from_static("1")), "{wrong:x?}");
        assert_eq!(decoder.skip(b"\xbe", 600), Ok(()));
    }
}

#[test]
fn a_response_has_one_status_and_first() {
    let read = |fields: &[(&str, &str)]| Decoder::new(0).response(&block(fields), MAX_LIST);
    let ok = (":status", "200");
    for (name, fields, status) in [
        ("200", &[ok][..], Some(200)),
        ("100", &[(":status", "100")], Some(100)),
        ("103", &[(":status", "103")], Some(103)),
        ("999", &[(":status", "999")], Some(999)),
        ("a pseudo-header field of requests", &[ok, (":path", "/")], Some(200)),
        ("the same length twice", &[ok, ("content-length", "1"), ("content-length", "1")], Some(200)),
        ("101", &[(":status", "101")], None),
        ("none", &[("x-a", "1")], None),
        ("two", &[ok, ok], None),
        ("behind a field", &[("x-a", "1"), ok], None),
        ("empty", &[(":status", "")], None),
        ("letters", &[(":status", "abc")], None),
        ("99", &[(":status", "99")], None),
        ("099", &[(":status", "099")], None),
        ("1000", &[(":status", "1000")], None),
        ("an unknown pseudo-header field", &[ok, (":foo", "1")], None),
        ("a name in upper case", &[ok, ("X-a", "1")], None),
        ("a value with NUL", &[ok, ("x-a", "\0")], None),
        ("connection", &[ok, ("connection", "close")], None),
        ("a length in letters", &[ok, ("content-length", "four")], None),
        ("an empty length", &[ok, ("content-length", "")], None),
        ("two lengths", &[ok, ("content-length", "1"), ("content-length", "2")], None),
    ] {
        let read = read(fields);
        assert_eq!(read.as_ref().ok().map(|head| head.parts.status.as_u16()), status, "{name}: {read:?}");
        // One answer that is none does not end the connection that it shares.
        let reaches_far = matches!(read, Err(Fault::Block(_) | Fault::Flood | Fault::TooLarge));
        assert!(!reaches_far, "{name}: {read:?}");
    }
    let length = [ok, ("content-length", "7")];
    assert_eq!(read(&length).map(|head| head.content_length), Ok(Some(7)));
}

#[test]
fn trailers_are_fields_alone() {
    let mut decoder = Decoder::new(4096);
    let plain = block(&[("grpc-status", "0"), ("grpc-message", "")]);
    assert_eq!(decoder.request_trailers(&plain, MAX_LIST).map(|fields| fields.len()), Ok(2));
    assert_eq!(decoder.response_trailers(&plain, MAX_LIST).map(|fields| fields.len()), Ok(2));
    assert_eq!(decoder.request_trailers(&[], MAX_LIST).map(|fields| fields.len()), Ok(0));
    for pseudo in
        [&b"\x82"[..], b"\0\x05:path\x01/", b"\x40\x05:path\x01/", b"\xbe", b"\0\x84\xb9\x58\xd3\x3f\x01/"]
    {
        for block in [pseudo.to_vec(), [pseudo, b"\0\x01a\x011"].concat(), [b"\0\x01a\x011", pseudo].concat()]
        {
            let read = decoder.request_trailers(&block, MAX_LIST);
            assert!(matches!(read, Err(Fault::Message(_))), "{block:x?}: {read:?}");
            let read = decoder.response_trailers(&block, MAX_LIST).expect("a response's");
            assert_eq!(read.len(), usize::from(block.len() > pseudo.len()), "{block:x?}");
        }
    }
    let upper = block(&[("X-a", "1")]);
    assert!(matches!(decoder.request_trailers(&upper, MAX_LIST), Err(Fault::Field(_))));
    assert!(matches!(decoder.request_trailers(&plain, 40), Err(Fault::TooLarge)));
}

/// The h2 crate at the other end, with a whole connection's blocks in the order in which they are sent.
struct Peer {
    io: DuplexStream,
}

impl Peer {
    async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let mut bytes = Vec::new();
        frame::put_head(&mut bytes, kind, flags, stream, payload.len() as u32);
        bytes.extend_from_slice(payload);
        self.io.write_all(&bytes).await.expect("room");
    }

    async fn next(&mut self) -> (FrameHead, Vec<u8>) {
        let mut head = [0; HEAD_BYTES];
        self.io.read_exact(&mut head).await.expect("a frame");
        let head = FrameHead::parse(&head);
        let mut payload = vec![0; head.length as usize];
        self.io.read_exact(&mut payload).await.expect("its payload");
        (head, payload)
    }

    /// The next block.
    async fn block(&mut self) -> (FrameHead, Vec<u8>) {
        loop {
            let (head, payload) = self.next().await;
            if head.kind == kind::HEADERS {
                let headers = frame::headers(head, &payload).expect("right");
                assert!(head.has(flag::END_HEADERS));
                return (head, payload[headers.fragment].to_vec());
            }
        }
    }
}

/// Heads that differ a little from one to the next, as those of one connection do.
fn fields(round: usize) -> HeaderMap {
    let mut fields = HeaderMap::new();
    let mut add = |name: &'static str, value: &str| {
        fields.append(HeaderName::from_static(name), HeaderValue::from_str(value).expect("visible"));
    };
    add("content-type", "application/grpc+proto");
    add("user-agent", "a-caller/1.0 (with; some, \"odd\" ~characters^)");
    add("x-request-id", &format!("{round:032x}"));
    add("grpc-timeout", &format!("{}m", 1000 + round % 3));
    add("x-b", if round.is_multiple_of(4) { "" } else { "two words" });
    add("x-b", "again");
    add("authorization", "Bearer 0123456789abcdefghijklmnop");
    if round.is_multiple_of(5) {
        add("cookie", "a=b; c=d");
    }
    if round % 7 == 3 {
        add("x-large", &"l".repeat(700 + round));
    }
    fields
}

fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(test);
}

#[test]
fn what_the_h2_crates_client_writes_is_read_as_it_was_meant() {
    run(async {
        let (io, theirs) = duplex(1 << 20);
        let mut peer = Peer { io };
        peer.send(kind::SETTINGS, 0, 0, &[]).await;
        let (mut client, connection) = h2::client::handshake(theirs).await.expect("a client");
        let driver = tokio::spawn(connection);
        peer.io.read_exact(&mut [0; PREFACE.len()]).await.expect("a preface");
        let mut decoder = Decoder::new(4096);
        for round in 0..60 {
            client = client.ready().await.expect("ready");
            let uri = format!("http://host-{}.example/a.Service/Method{}?q=%20", round % 2, round % 3);
            let mut request =
                Request::builder().method(if round % 2 == 0 { "POST" } else { "PATCH" }).uri(&uri);
            *request.headers_mut().expect("right so far") = fields(round);
            let (_, mut stream) = client.send_request(request.body(()).expect("right"), false).expect("sent");
            let (head, block) = peer.block().await;
            assert!(!head.has(flag::END_STREAM));
            let read = decoder.request(&block, MAX_LIST).expect("well-formed");
            assert_eq!(read.parts.method, if round % 2 == 0 { "POST" } else { "PATCH" });
            assert_eq!((read.parts.uri.to_string(), read.flaw), (uri, None));
            assert_eq!(read.parts.headers, fields(round));
            let mut trailers = HeaderMap::new();
            trailers.insert("x-sum", HeaderValue::from(round));
            stream.send_trailers(trailers.clone()).expect("sent");
            let (head, block) = peer.block().await;
            assert!(head.has(flag::END_STREAM));
            assert_eq!(decoder.request_trailers(&block, MAX_LIST), Ok(trailers));
        }
        driver.abort();
    });
}

#[test]
fn what_is_written_is_read_by_the_h2_crates_server() {
    run(async {
        let (io, theirs) = duplex(1 << 20);
        let mut peer = Peer { io };
        peer.io.write_all(PREFACE).await.expect("room");
        peer.send(kind::SETTINGS, 0, 0, &[]).await;
        let mut server = h2::server::Builder::new().handshake::<_, Bytes>(theirs).await.expect("a server");
        let mut encoder = Encoder::new();
        let mut decoder = Decoder::new(4096);
        for round in 0..60 {
            // Its limit is 4,096 all the time; the sizes are what it is told of a smaller table.
            if round % 9 == 4 {
                encoder.set_max_table_size([0, 200, 4096][round % 3]);
            }
            let mut sent = Request::builder().uri(format!("http://host/Method{}", round % 3));
            *sent.headers_mut().expect("right so far") = fields(round);
            let (sent, ()) = sent.body(()).expect("right").into_parts();
            let (mut out, stream) = (Vec::new(), 2 * round as u32 + 1);
            let start = frame::begin_headers(&mut out);
            encoder.request(&sent.method, &sent.uri, &sent.headers, &mut out);
            frame::end_headers(&mut out, start, stream, true, 300);
            peer.io.write_all(&out).await.expect("room");
            let (read, mut respond) = server.accept().await.expect("open").expect("well-formed");
            assert_eq!((read.method(), read.uri()), (&sent.method, &sent.uri));
            assert_eq!(*read.headers(), sent.headers);

            let mut response = Response::builder().status(200 + round as u16 % 5);
            *response.headers_mut().expect("right so far") = fields(round + 1);
            let mut stream =
                respond.send_response(response.body(()).expect("right"), false).expect("can be sent");
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", HeaderValue::from(round % 17));
            stream.send_trailers(trailers.clone()).expect("can be sent");
            // Nothing moves on its connection but while it is polled.
            let reading = async {
                let (_, block) = peer.block().await;
                let head = decoder.response(&block, MAX_LIST).expect("well-formed");
                assert_eq!(head.parts.status, StatusCode::from_u16(200 + round as u16 % 5).expect("right"));
                assert_eq!(head.parts.headers, fields(round + 1));
                let (_, block) = peer.block().await;
                assert_eq!(decoder.response_trailers(&block, MAX_LIST), Ok(trailers));
            };
            tokio::select! {
                () = reading => {}
                other = server.accept() => panic!("nothing was sent, but {other:?}"),
            }
        }
    });
}

#[test]
fn a_length_comes_out_as_a_number_and_stays_a_field() {
    let head = with(&[("content-length", "0000000000000000042")]).expect("well-formed");
    assert_eq!(head.content_length, Some(42));
    assert!(head.parts.headers.contains_key(CONTENT_LENGTH));
}

/// What is recalled of a block rests on the table, on the bound, and on every byte.
#[test]
fn a_block_that_comes_again_says_what_the_table_makes_of_it_now() {
    let mut decoder = Decoder::new(4096);
    let learn = |value: &str| [&block(&GET)[..], b"\x40\x03x-a\x01", value.as_bytes()].concat();
    let recall = [&block(&GET)[..], b"\xbe"].concat();
    let said = |head: Result<RequestHead, Fault>| head.map(|head| head.parts.headers.get("x-a").cloned());
    for value in ["1", "2"] {
        let expected = Ok(Some(HeaderValue::from_static(value)));
        assert_eq!(said(decoder.request(&learn(value), MAX_LIST)), expected);
        for _ in 0..4 {
            assert_eq!(said(decoder.request(&recall, MAX_LIST)), expected);
        }
        assert_eq!(decoder.request(&recall, 100).err(), Some(Fault::TooLarge));
        assert_eq!(said(decoder.request(&recall, MAX_LIST)), expected);
    }
    // A size of the table is told with a block: the block is another one then.
    for _ in 0..3 {
        assert!(decoder.request(&[b"\x20", &recall[..]].concat(), MAX_LIST).is_err());
        assert!(decoder.request(&recall, MAX_LIST).is_err());
    }
    let mut decoder = Decoder::new(4096);
    assert!(decoder.request(&learn("1"), MAX_LIST).is_ok());
    for _ in 0..3 {
        assert_eq!(decoder.response_trailers(b"\xbe", MAX_LIST).map(|fields| fields.len()), Ok(1));
        assert_eq!(decoder.request_trailers(b"\xbe", MAX_LIST).map(|fields| fields.len()), Ok(1));
        assert!(decoder.request(b"\xbe", MAX_LIST).is_err(), "the same bytes make no request");
        assert!(decoder.request_trailers(b"\x82", MAX_LIST).is_err());
        assert_eq!(decoder.response_trailers(b"\x82", MAX_LIST).map(|fields| fields.len()), Ok(0));
    }
    assert_eq!(decoder.skip(b"\x20", MAX_LIST), Ok(()));
    assert!(decoder.request_trailers(b"\xbe", MAX_LIST).is_err(), "the table is empty");
}

/// What is done to one message is not done to the next.
#[test]
fn a_head_that_is_recalled_belongs_to_its_message() {
    let mut decoder = Decoder::new(4096);
    for _ in 0..4 {
        let mut head = decoder.request(&block(&GET), MAX_LIST).expect("well-formed");
        assert!(head.parts.headers.is_empty());
        head.parts.headers.insert("x-a", HeaderValue::from_static("1"));
        head.parts.extensions.insert(1_u8);
    }
}
