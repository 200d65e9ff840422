//! HTTP/2 frames that break the protocol: a stream error or a connection error, as RFC 9113 says, and nobody else is
//! harmed; what it tells servers to ignore is ignored.

mod common {
    pub(crate) mod frames;
    pub(crate) mod probes;
    pub(crate) mod world;
}

use common::frames::{
    Frames, Outcome, PREFACE, Then, code, continuation, data, flag, frame, frame_of_length, get, head,
    headers, kind, open, ping, priority, reset, setting, settings, whole, window_update,
};
use common::probes::{BROKEN, Expect, MALFORMED, OK, Probe, check, probe, world};
use common::world::{Http, run};

const FRAME_SIZE: Expect = Expect::GoAway(code::FRAME_SIZE_ERROR);

/// The head of a request on stream 1 whose body follows.
fn post() -> Vec<u8> {
    open(1, &head("POST", "/cut", &[]))
}

/// `frames` before a good request on stream 1.
fn before(frames: &[u8]) -> Vec<u8> {
    [frames, &whole(1, &get("/good"))].concat()
}

/// `frames` behind a good head on stream 1.
fn behind(frames: &[u8]) -> Vec<u8> {
    [&post(), frames].concat()
}

/// A good head on stream 1 whose block is in two pieces, with `frames` between them.
fn amid(frames: &[u8]) -> Vec<u8> {
    let block = get("/bad");
    let (one, two) = block.split_at(8);
    [&headers(1, flag::END_STREAM, one), frames, &continuation(1, flag::END_HEADERS, two)].concat()
}

/// Of a frame whose size its kind forbids Weir says PROTOCOL_ERROR, where section 4.2 says FRAME_SIZE_ERROR: either way
/// the connection ends.
fn sizes_of_frames() -> Vec<Probe> {
    let large = vec![0; (16 << 10) + 1];
    vec![
        probe("DATA above SETTINGS_MAX_FRAME_SIZE", "4.2", behind(&data(1, 0, &large)), FRAME_SIZE),
        probe("HEADERS above it", "4.2", headers(1, flag::WHOLE, &large), FRAME_SIZE),
        probe("an unknown frame above it", "4.2", frame(0xbe, 0, 1, &large), FRAME_SIZE),
        probe("DATA of just that size", "4.2", behind(&data(1, flag::END_STREAM, &large[1..])), OK),
        probe("SETTINGS of 5 bytes", "6.5", frame(kind::SETTINGS, 0, 0, &[0; 5]), BROKEN),
        probe(
            "an acknowledgement with settings",
            "6.5",
            frame(kind::SETTINGS, flag::ACK, 0, &[0, 3, 0, 0, 0, 1]),
            BROKEN,
        ),
        probe("PING of 7 bytes", "6.7", frame(kind::PING, 0, 0, &[0; 7]), BROKEN),
        probe("PING of 9 bytes", "6.7", frame(kind::PING, 0, 0, &[0; 9]), BROKEN),
        probe("RST_STREAM of 3 bytes", "6.4", behind(&frame(kind::RST_STREAM, 0, 1, &[0; 3])), BROKEN),
        probe("PRIORITY of 4 bytes", "6.3", behind(&frame(kind::PRIORITY, 0, 1, &[0; 4])), BROKEN),
        probe("WINDOW_UPDATE of 3 bytes", "6.9", frame(kind::WINDOW_UPDATE, 0, 0, &[0; 3]), BROKEN),
        probe("GOAWAY of 7 bytes", "6.8", frame(kind::GOAWAY, 0, 0, &[0; 7]), BROKEN),
    ]
}

fn streams() -> Vec<Probe> {
    let done = whole(1, &get("/good"));
    vec![
        probe("HEADERS on stream 0", "6.2", whole(0, &get("/bad")), BROKEN),
        probe("HEADERS on an even stream", "5.1.1", whole(2, &get("/bad")), BROKEN),
        probe(
            "a stream below one that was used",
            "5.1.1",
            [open(5, &head("POST", "/cut", &[])), whole(3, &get("/bad"))].concat(),
            BROKEN,
        ),
        // Weir says PROTOCOL_ERROR where section 5.1 says STREAM_CLOSED.
        probe(
            "a second head on a stream that has ended",
            "5.1",
            [done.clone(), whole(1, &get("/bad"))].concat(),
            BROKEN,
        ),
        probe("DATA on stream 0", "6.1", data(0, 0, b"x"), BROKEN),
        probe("DATA on an idle stream", "5.1", data(1, 0, b"x"), BROKEN),
        probe("DATA on an even stream", "5.1", data(2, 0, b"x"), BROKEN),
        probe("RST_STREAM on stream 0", "6.4", reset(0, code::CANCEL), BROKEN),
        probe("RST_STREAM on an idle stream", "6.4", reset(1, code::CANCEL), BROKEN),
        probe("RST_STREAM on an even stream", "5.1", reset(2, code::CANCEL), BROKEN),
        probe("WINDOW_UPDATE on an idle stream", "5.1", window_update(1, 1), BROKEN),
        probe("PRIORITY on stream 0", "6.3", priority(0, 3), BROKEN),
        probe("SETTINGS on a stream", "6.5", frame(kind::SETTINGS, 0, 1, &[]), BROKEN),
        probe("PING on a stream", "6.7", frame(kind::PING, 0, 1, &[0; 8]), BROKEN),
        probe("GOAWAY on a stream", "6.8", frame(kind::GOAWAY, 0, 1, &[0; 8]), BROKEN),
        probe("CONTINUATION on stream 0", "6.10", continuation(0, flag::END_HEADERS, &get("/bad")), BROKEN),
        probe(
            "PUSH_PROMISE by a client",
            "8.4",
            frame(kind::PUSH_PROMISE, flag::END_HEADERS, 1, &[&[0, 0, 0, 2][..], &get("/bad")].concat()),
            BROKEN,
        ),
        probe(
            "PUSH_PROMISE on an open stream",
            "8.4",
            behind(&frame(
                kind::PUSH_PROMISE,
                flag::END_HEADERS,
                1,
                &[&[0, 0, 0, 2][..], &get("/bad")].concat(),
            )),
            BROKEN,
        ),
        probe("streams may be left out", "5.1.1", whole(1, &get("/good")), OK),
        probe("PRIORITY on an idle stream", "5.1", before(&priority(7, 0)), OK),
    ]
}

fn blocks() -> Vec<Probe> {
    let padded = |pad: u8, rest: &[u8]| {
        frame(kind::HEADERS, flag::WHOLE | flag::PADDED, 1, &[&[pad][..], rest].concat())
    };
    let with_priority = |depends_on: u32, block: &[u8]| {
        let payload = [&depends_on.to_be_bytes()[..], &[15], block].concat();
        frame(kind::HEADERS, flag::WHOLE | flag::PRIORITY, 1, &payload)
    };
    let index = |bytes: &[u8]| whole(1, &[&get("/bad"), bytes].concat());
    let block = get("/good");
    let (one, two) = block.split_at(8);
    let pieces: Vec<u8> = [
        headers(1, flag::END_STREAM, one),
        continuation(1, 0, b""),
        continuation(1, 0, &two[..5]),
        continuation(1, flag::END_HEADERS, &two[5..]),
    ]
    .concat();
    vec![
        probe("a block in four frames", "6.10", pieces, OK),
        probe(
            "CONTINUATION without HEADERS",
            "6.10",
            continuation(1, flag::END_HEADERS, &get("/bad")),
            BROKEN,
        ),
        probe(
            "CONTINUATION behind a whole block",
            "6.10",
            behind(&continuation(1, flag::END_HEADERS, &[])),
            BROKEN,
        ),
        probe("DATA amid a block", "6.10", amid(&data(1, 0, b"x")), BROKEN),
        probe("HEADERS amid a block", "6.10", amid(&whole(3, &get("/bad"))), BROKEN),
        probe("PING amid a block", "6.10", amid(&ping([0; 8])), BROKEN),
        probe("PRIORITY amid a block", "6.10", amid(&priority(1, 0)), BROKEN),
        probe("an unknown frame amid a block", "5.5", amid(&frame(0xbe, 0, 1, b"x")), BROKEN),
        probe("CONTINUATION of another stream", "6.10", amid(&continuation(3, 0, &[])), BROKEN),
        probe("padding as long as the frame", "6.2", padded(255, &get("/bad")[..20]), BROKEN),
        probe(
            "padding without its length",
            "6.2",
            frame(kind::HEADERS, flag::WHOLE | flag::PADDED, 1, b""),
            BROKEN,
        ),
        probe("padding", "6.2", padded(3, &[&get("/good")[..], &[0; 3]].concat()), OK),
        probe(
            "HEADERS too short for their priority",
            "6.2",
            frame(kind::HEADERS, flag::WHOLE | flag::PRIORITY, 1, &[0; 4]),
            BROKEN,
        ),
        probe(
            "HEADERS that depend on themselves",
            "RFC 7540 5.3.1",
            with_priority(1, &get("/bad")),
            MALFORMED,
        ),
        probe("HEADERS with a priority", "6.2", with_priority(0, &get("/good")), OK),
        probe("index 0", "RFC 7541 6.1", index(&[0x80]), BROKEN),
        probe("an index beyond the tables", "RFC 7541 2.3.3", index(&[0xff, 0x20]), BROKEN),
        probe(
            "a literal with a name beyond the tables",
            "RFC 7541 2.3.3",
            index(&[0x7f, 0x20, 1, b'a']),
            BROKEN,
        ),
        probe("an index that does not end", "RFC 7541 5.1", index(&[0xff; 12]), BROKEN),
        probe("a literal that is cut", "RFC 7541 5.2", index(&[0, 5, b'x']), BROKEN),
        probe(
            "a Huffman code that is padded with zeros",
            "RFC 7541 5.2",
            index(&[0, 0x81, 0b0001_1000, 1, b'a']),
            BROKEN,
        ),
        probe(
            "Huffman's end of string",
            "RFC 7541 5.2",
            index(&[0, 0x84, 0xff, 0xff, 0xff, 0xff, 1, b'a']),
            BROKEN,
        ),
        probe(
            "a table larger than was allowed",
            "RFC 7541 6.3",
            whole(1, &[&[0x3f, 0xe2, 0x1f][..], &get("/bad")].concat()),
            BROKEN,
        ),
        probe("a table's new size behind a field", "RFC 7541 4.2", index(&[0x20]), BROKEN),
        probe("a table's new size", "RFC 7541 4.2", whole(1, &[&[0x20][..], &get("/good")].concat()), OK),
    ]
}

fn settings_and_windows() -> Vec<Probe> {
    let most = (1_u32 << 31) - 1;
    let set = |key, value| before(&settings(&[(key, value)]));
    vec![
        probe("SETTINGS_ENABLE_PUSH of 2", "6.5.2", set(setting::ENABLE_PUSH, 2), BROKEN),
        probe(
            "SETTINGS_INITIAL_WINDOW_SIZE above 2^31-1",
            "6.5.2",
            set(setting::INITIAL_WINDOW_SIZE, 1 << 31),
            BROKEN,
        ),
        probe(
            "SETTINGS_MAX_FRAME_SIZE below 16384",
            "6.5.2",
            set(setting::MAX_FRAME_SIZE, (16 << 10) - 1),
            BROKEN,
        ),
        probe("SETTINGS_MAX_FRAME_SIZE above 2^24-1", "6.5.2", set(setting::MAX_FRAME_SIZE, 1 << 24), BROKEN),
        probe("SETTINGS_MAX_CONCURRENT_STREAMS of 0", "6.5.2", set(setting::MAX_CONCURRENT_STREAMS, 0), OK),
        probe("an unknown setting", "6.5.2", set(0xabcd, 7), OK),
        probe(
            "a setting twice",
            "6.5.3",
            before(&settings(&[(setting::MAX_FRAME_SIZE, 1 << 20), (setting::MAX_FRAME_SIZE, 16 << 10)])),
            OK,
        ),
        probe(
            "an acknowledgement of nothing",
            "6.5.3",
            [frame(kind::SETTINGS, flag::ACK, 0, &[]), frame(kind::SETTINGS, flag::ACK, 0, &[])].concat(),
            BROKEN,
        ),
        probe("WINDOW_UPDATE of 0 on the connection", "6.9", window_update(0, 0), BROKEN),
        // The connection is given up (section 5.4.1 allows it).
        probe("WINDOW_UPDATE of 0 on a stream", "6.9", behind(&window_update(1, 0)), BROKEN),
        probe(
            "a connection's window beyond 2^31-1",
            "6.9.1",
            [window_update(0, most), window_update(0, 1)].concat(),
            Expect::GoAway(code::FLOW_CONTROL_ERROR),
        ),
        probe(
            "a stream's window beyond 2^31-1",
            "6.9.1",
            behind(&[window_update(1, most), window_update(1, 1)].concat()),
            Expect::Reset(code::FLOW_CONTROL_ERROR),
        ),
        probe(
            "SETTINGS that push a stream's window beyond it",
            "6.9.2",
            behind(
                &[window_update(1, most - 65_535), settings(&[(setting::INITIAL_WINDOW_SIZE, 65_536)])]
                    .concat(),
            ),
            Expect::GoAway(code::FLOW_CONTROL_ERROR),
        ),
        probe(
            "windows as large as may be",
            "6.9.1",
            before(
                &[settings(&[(setting::INITIAL_WINDOW_SIZE, most)]), window_update(0, most - 65_535)]
                    .concat(),
            ),
            OK,
        ),
        probe("WINDOW_UPDATE with the reserved bit", "6.9", before(&window_update(0, 1 | 1 << 31)), OK),
        probe("PRIORITY that depends on itself", "RFC 7540 5.3.1", behind(&priority(1, 1)), MALFORMED),
        probe("a PING that answers nothing", "6.7", before(&frame(kind::PING, flag::ACK, 0, &[7; 8])), OK),
        probe("an unknown frame", "5.5", before(&frame(0xbe, 0xff, 0, b"anything")), OK),
        probe(
            "an unknown frame on a stream that is not there",
            "5.5",
            before(&frame(0xbe, 0xff, 9, b"anything")),
            OK,
        ),
        probe("flags that mean nothing", "4.1", before(&frame(kind::PING, 0xfe, 0, &[7; 8])), OK),
        probe("the reserved bit of a stream", "4.1", before(&frame(kind::PING, 0, 1 << 31, &[7; 8])), OK),
        probe(
            "a whole head with flags that mean nothing",
            "4.1",
            headers(1, flag::WHOLE | 0x52, &get("/good")),
            OK,
        ),
    ]
}

fn bodies() -> Vec<Probe> {
    let sized = |length: &str| open(1, &head("POST", "/cut", &[("content-length", length)]));
    let padded = |pad: u8, rest: &[u8]| {
        frame(kind::DATA, flag::END_STREAM | flag::PADDED, 1, &[&[pad][..], rest].concat())
    };
    let trailers = |flags, fields: &[(&str, &str)]| {
        headers(1, flag::END_HEADERS | flags, &common::frames::block(fields))
    };
    let length = |length, frames: &[u8], expect| {
        probe("a body and its length", "8.1.1", [&sized(length), frames].concat(), expect)
    };
    vec![
        length("3", &data(1, flag::END_STREAM, b"ab"), MALFORMED),
        length("3", &data(1, flag::END_STREAM, b"abcd"), MALFORMED),
        length("3", &data(1, 0, b"abcd"), MALFORMED),
        length("3", &data(1, flag::END_STREAM, b""), MALFORMED),
        length("0", &data(1, flag::END_STREAM, b"a"), MALFORMED),
        length("3", &[data(1, 0, b"ab"), trailers(flag::END_STREAM, &[("x-t", "1")])].concat(), MALFORMED),
        length("3", &[data(1, 0, b"a"), data(1, 0, b""), data(1, flag::END_STREAM, b"bc")].concat(), OK),
        length("3", &[data(1, 0, b"abc"), trailers(flag::END_STREAM, &[("x-t", "1")])].concat(), OK),
        probe("a second head while the body comes", "8.1", behind(&whole(1, &get("/bad"))), MALFORMED),
        probe("DATA padded beyond its frame", "6.1", behind(&padded(5, b"abcd")), BROKEN),
        probe(
            "DATA padded without the length",
            "6.1",
            behind(&frame(kind::DATA, flag::PADDED, 1, b"")),
            BROKEN,
        ),
        probe("DATA of padding only", "6.1", behind(&padded(4, &[0; 4])), OK),
        probe(
            "DATA behind the end",
            "5.1",
            behind(&[data(1, flag::END_STREAM, b"a"), data(1, 0, b"b")].concat()),
            BROKEN,
        ),
        probe("trailers without END_STREAM", "8.1", behind(&trailers(0, &[("x-t", "1")])), MALFORMED),
        probe(
            "trailers with :method",
            "8.1",
            behind(&trailers(flag::END_STREAM, &[(":method", "GET")])),
            MALFORMED,
        ),
        probe(
            "trailers with :path",
            "8.1",
            behind(&trailers(flag::END_STREAM, &[("x-t", "1"), (":path", "/")])),
            MALFORMED,
        ),
        probe(
            "trailers with :status",
            "8.1",
            behind(&trailers(flag::END_STREAM, &[(":status", "200")])),
            MALFORMED,
        ),
        probe(
            "trailers with an indexed pseudo-header",
            "8.1",
            behind(&headers(1, flag::WHOLE, &[0x82])),
            MALFORMED,
        ),
        probe(
            "trailers with an unknown pseudo-header",
            "8.1",
            behind(&trailers(flag::END_STREAM, &[(":foo", "1")])),
            BROKEN,
        ),
        probe(
            "trailers with connection",
            "8.2.2",
            behind(&trailers(flag::END_STREAM, &[("connection", "close")])),
            MALFORMED,
        ),
        probe(
            "trailers with a name in upper case",
            "8.2.1",
            behind(&trailers(flag::END_STREAM, &[("X-T", "1")])),
            BROKEN,
        ),
        probe(
            "trailers behind trailers",
            "8.1",
            behind(
                &[trailers(flag::END_STREAM, &[("x-t", "1")]), trailers(flag::END_STREAM, &[("x-t", "2")])]
                    .concat(),
            ),
            BROKEN,
        ),
        probe("no trailers at all", "8.1", behind(&trailers(flag::END_STREAM, &[])), OK),
        probe(
            "trailers",
            "8.1",
            behind(&[data(1, 0, b"abc"), trailers(flag::END_STREAM, &[("x-t", "1")])].concat()),
            OK,
        ),
    ]
}

#[test]
fn a_frame_has_the_size_that_its_kind_has() {
    run(async || check(Http::One, sizes_of_frames()).await);
}

#[test]
fn a_frame_stands_on_a_stream_that_takes_it() {
    run(async || check(Http::Two, streams()).await);
}

#[test]
fn a_header_block_is_whole_and_can_be_decoded() {
    run(async || check(Http::One, blocks()).await);
}

#[test]
fn settings_and_windows_keep_their_bounds_and_the_unknown_is_ignored() {
    run(async || check(Http::Two, settings_and_windows()).await);
}

#[test]
fn a_body_is_as_long_as_its_head_says_and_ends_once() {
    run(async || {
        for up in Http::BOTH {
            check(up, bodies()).await;
        }
    });
}

/// RFC 9113 section 8.1.1: an upstream that has begun to read a message which turns out malformed sees it cut.
#[test]
fn a_body_that_turns_out_malformed_is_cut_upstream_never_ended() {
    use common::world::upstream::{Upstream, full};
    use http_body_util::BodyExt as _;
    run(async || {
        for up in Http::BOTH {
            let ends = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
            let told = ends.clone();
            let upstream = Upstream::handling(move |request| {
                let told = told.clone();
                async move {
                    let whole = request.into_body().collect().await.is_ok();
                    told.borrow_mut().push(whole);
                    http::Response::new(full("late"))
                }
            })
            .await;
            let protocol = format!("protocol: {}", up.protocol());
            let yaml = common::world::one_service(&[&protocol], &[(&upstream.at(), "v1")]);
            let world = common::world::World::start(&yaml).await;
            let endings: [(&str, Vec<u8>); 4] = [
                ("too long", data(1, 0, b"abcd")),
                ("too short", data(1, flag::END_STREAM, b"a")),
                (
                    "trailers that do not end it",
                    headers(1, flag::END_HEADERS, &common::frames::literal(b"x-t", b"1")),
                ),
                ("reset", reset(1, code::CANCEL)),
            ];
            for (number, (name, ending)) in endings.into_iter().enumerate() {
                let mut caller = Frames::connect(world.addr("in")).await;
                caller.write(open(1, &head("POST", "/", &[("content-length", "3")]))).await;
                upstream.wait_begun(number + 1).await;
                caller.write(ending).await;
                if name != "reset" {
                    assert_eq!(caller.outcome(1).await, Outcome::Reset(code::PROTOCOL_ERROR), "{name}");
                }
                common::world::until(&format!("{name}, {up:?}: the upstream is told"), || {
                    (ends.borrow().len() + upstream.cancelled() > number).then_some(())
                })
                .await;
            }
            assert!(ends.borrow().iter().all(|whole| !whole), "{up:?}: {ends:?}");
        }
    });
}

/// RFC 9113 section 5.1: what a caller still sends on a stream that was refused harms nobody.
#[test]
fn what_follows_on_a_refused_stream_is_ignored() {
    run(async || {
        let (world, upstream) = world(Http::Two).await;
        let mut caller = Frames::connect(world.addr("in")).await;
        caller.write(open(1, &head("POST", "/bad", &[("connection", "close")]))).await;
        assert_eq!(caller.outcome(1).await, Outcome::Reset(code::PROTOCOL_ERROR));
        caller
            .write([data(1, 0, b"abc"), window_update(1, 5), data(1, flag::END_STREAM, b"def")].concat())
            .await;
        caller.write(reset(1, code::CANCEL)).await;
        caller.write(whole(3, &get("/good"))).await;
        assert!(matches!(caller.outcome(3).await, Outcome::Answer { status: 200, then: Then::End, .. }));
        assert_eq!(upstream.only().target(), "/good");
    });
}

/// RFC 9113 section 3.4.
#[test]
fn a_connection_begins_with_the_preface_and_settings() {
    run(async || {
        let (world, upstream) = world(Http::One).await;
        let good = [PREFACE, &settings(&[]), &whole(1, &get("/good"))].concat();
        let table: [(&str, Vec<u8>); 4] = [
            ("a request before SETTINGS", [PREFACE, &whole(1, &get("/bad"))].concat()),
            ("PING before SETTINGS", [PREFACE, &ping([0; 8]), &settings(&[])].concat()),
            (
                "an acknowledgement before SETTINGS",
                [PREFACE, &frame(kind::SETTINGS, flag::ACK, 0, &[])].concat(),
            ),
            (
                "a frame that is none",
                [PREFACE, &frame_of_length(0xff_ffff, 0xff, 0xff, 1, &[0xff; 64])].concat(),
            ),
        ];
        let mut failures = Vec::new();
        for (name, bytes) in table {
            let mut caller = Frames::silent(world.addr("in")).await;
            caller.write(bytes).await;
            let code = caller.read_to_end().await;
            if !matches!(code, Some(code::PROTOCOL_ERROR | code::FRAME_SIZE_ERROR)) {
                failures.push(format!("{name}: {code:?}"));
            }
        }
        assert!(failures.is_empty(), "{failures:#?}");
        // Byte by byte is as good as all at once.
        let mut caller = Frames::silent(world.addr("in")).await;
        for byte in good {
            caller.write([byte]).await;
        }
        assert!(matches!(caller.outcome(1).await, Outcome::Answer { status: 200, .. }));
        assert_eq!(upstream.only().target(), "/good");
    });
}

/// RFC 9113 section 6.8: streams that were open when the caller said goodbye are answered.
#[test]
fn a_caller_that_says_goodbye_gets_what_it_asked_for() {
    run(async || {
        let (world, _upstream) = world(Http::Two).await;
        let mut caller = Frames::connect(world.addr("in")).await;
        let goodbye = frame(kind::GOAWAY, 0, 0, &[0; 8]);
        caller.write([whole(1, &get("/good")), goodbye].concat()).await;
        assert!(matches!(caller.outcome(1).await, Outcome::Answer { status: 200, then: Then::End, .. }));
        assert!(matches!(caller.read_to_end().await, None | Some(code::NO_ERROR)));
    });
}

/// RFC 9113 section 5.1.2: streams beyond the limit that SETTINGS tell are refused, and may be sent again.
#[test]
fn streams_beyond_the_limit_are_refused_and_the_others_served() {
    run(async || {
        let upstream = common::world::upstream::Upstream::holding().await;
        let yaml = common::world::one_service(&["protocol: http2"], &[(&upstream.at(), "v1")]);
        let world = common::world::World::start(&format!("{yaml}\nlimits: {{streams: 4}}\n")).await;
        let mut caller = Frames::connect(world.addr("in")).await;
        let streams: Vec<u8> = (0..4).flat_map(|i| whole(2 * i + 1, &get("/held"))).collect();
        caller.write(streams).await;
        upstream.wait_begun(4).await;
        caller.write(whole(9, &get("/bad"))).await;
        assert_eq!(caller.outcome(9).await, Outcome::Reset(code::REFUSED_STREAM));
        assert!(caller.is_alive().await);
        caller.write([reset(1, code::CANCEL), whole(11, &get("/held"))].concat()).await;
        upstream.wait_begun(5).await;
        assert_eq!(upstream.begun(), 5);
    });
}
