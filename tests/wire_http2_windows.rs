//! HTTP/2 flow control and settings, as a caller sees them: windows are kept to the byte, whatever it does with them.

mod common {
    pub(crate) mod frames;
    pub(crate) mod world;
}

use common::frames::{
    Frame, Frames, Outcome, Then, block, code, data, flag, get, head, headers, kind, literal, open, reset,
    setting, settings, whole, window_update,
};
use common::world::upstream::{Upstream, full};
use common::world::{Http, World, one_service, rule, run};

const BODY: usize = 200_000;

/// An upstream whose answers have a body of [`BODY`] bytes.
async fn world(up: Http) -> (World, Upstream) {
    let upstream = Upstream::remembering(|_| {
        http::Response::new(full((0..BODY).map(|at| at as u8).collect::<Vec<u8>>()))
    })
    .await;
    let protocol = format!("protocol: {}", up.protocol());
    (World::start(&one_service(&[&protocol], &[(&upstream.at(), "v1")])).await, upstream)
}

/// Reads DATA of stream 1 until there is none for `count` bytes' worth, and checks that each byte is the right one.
async fn read_body(caller: &mut Frames, from: usize, count: usize) -> usize {
    let mut at = from;
    while at < from + count {
        let frame = caller.next().await.expect("a frame");
        assert_ne!(frame.kind, kind::RST_STREAM, "{frame:?}");
        if frame.kind == kind::DATA {
            assert!(frame.payload.iter().enumerate().all(|(i, byte)| *byte == (at + i) as u8), "at {at}");
            at += frame.payload.len();
        }
    }
    assert!(at <= from + count, "{at}: more than the window of {count}");
    at
}

/// Whether nothing more comes: a PING that is answered was read after all that was written before.
async fn is_quiet(caller: &mut Frames) {
    for _ in 0..3 {
        caller.write(common::frames::ping(*b"quiet???")).await;
        loop {
            let frame = caller.next().await.expect("a frame");
            assert_ne!(frame.kind, kind::DATA, "{} bytes beyond the window", frame.payload.len());
            if frame.kind == kind::PING {
                break;
            }
        }
    }
}

/// RFC 9113 section 6.9.1 and 6.9.2.
#[test]
fn an_answer_takes_just_what_the_streams_window_gives() {
    run(async || {
        for up in Http::BOTH {
            let (world, _upstream) = world(up).await;
            let mut caller =
                Frames::with_settings(world.addr("in"), &[(setting::INITIAL_WINDOW_SIZE, 0)]).await;
            caller.write(whole(1, &get("/"))).await;
            is_quiet(&mut caller).await;
            let mut at = 0;
            for step in [1, 1, 2, 100, 20_000] {
                caller.write(window_update(1, step)).await;
                at = read_body(&mut caller, at, step as usize).await;
                is_quiet(&mut caller).await;
            }
            // The connection's window of 65,535 is the bound now.
            caller.write(window_update(1, 1 << 20)).await;
            at = read_body(&mut caller, at, 65_535 - at).await;
            is_quiet(&mut caller).await;
            caller.write(window_update(0, 1 << 20)).await;
            assert_eq!(read_body(&mut caller, at, BODY - at).await, BODY, "{up:?}");
        }
    });
}

/// RFC 9113 section 6.9.2: a smaller SETTINGS_INITIAL_WINDOW_SIZE may make a window negative.
#[test]
fn a_window_that_has_become_negative_is_paid_back_first() {
    run(async || {
        for up in Http::BOTH {
            let (world, _upstream) = world(up).await;
            let mut caller =
                Frames::with_settings(world.addr("in"), &[(setting::INITIAL_WINDOW_SIZE, 1_000)]).await;
            caller.write(whole(1, &get("/"))).await;
            let at = read_body(&mut caller, 0, 1_000).await;
            caller.write(settings(&[(setting::INITIAL_WINDOW_SIZE, 400)])).await; // now -600
            caller.write(window_update(1, 600)).await; // now 0
            is_quiet(&mut caller).await;
            caller.write(window_update(1, 7)).await;
            let at = read_body(&mut caller, at, 7).await;
            is_quiet(&mut caller).await;
            caller.write(settings(&[(setting::INITIAL_WINDOW_SIZE, 500)])).await; // 100 more
            read_body(&mut caller, at, 100).await;
            is_quiet(&mut caller).await;
        }
    });
}

/// RFC 9113 section 5.2: a stream that nobody reads holds up no other one of its connection.
#[test]
fn a_stream_without_a_window_holds_up_no_other() {
    run(async || {
        let (world, _upstream) = world(Http::Two).await;
        let mut caller = Frames::with_settings(world.addr("in"), &[(setting::INITIAL_WINDOW_SIZE, 0)]).await;
        caller.write(window_update(0, 1 << 24)).await;
        caller.write((0..20).flat_map(|n| whole(2 * n + 1, &get("/"))).collect::<Vec<u8>>()).await;
        caller.write([whole(99, &get("/")), window_update(99, 1 << 20)].concat()).await;
        match caller.outcome(99).await {
            Outcome::Answer { status: 200, body, then: Then::End } => assert_eq!(body.len(), BODY),
            other => panic!("{other:?}"),
        }
    });
}

/// What is read of some streams is given back, although others, of which nothing is, take all that is left.
#[test]
fn streams_that_nobody_reads_do_not_keep_from_the_others_what_these_gave_back() {
    run(async || {
        // It says that it takes no byte of a body.
        let stuck = common::world::raw::RawUpstream::start(|mut raw, _| async move {
            raw.write(settings(&[(setting::INITIAL_WINDOW_SIZE, 0)])).await;
            std::future::pending::<()>().await;
            String::new()
        })
        .await;
        let good = Upstream::remembering(|_| http::Response::new(full("ok"))).await;
        let yaml = one_service(&["protocol: http2"], &[(&good.at(), "v1"), (&stuck.at(), "v2")]);
        let to_v2 = rule("r", 2, "{request: {headers: {x-to: {exact: v2}}}}", &[("v2", 100)]);
        let rules = format!("{to_v2}---\n{}", rule("all", 1, "", &[("v1", 100)]));
        let world = World::with_rules(&yaml, &[("r.yaml", &rules)]).await;
        let mut caller = Frames::connect(world.addr("in")).await;
        let mut window = Window(1 << 20);
        for id in [1, 3] {
            caller.write(open(id, &head("POST", "/", &[("x-to", "v2")]))).await;
            window.send(&mut caller, id, 16 << 10, 0).await; // a first piece is read, whatever becomes of it
        }
        // As much as makes no update due while most of the window is left.
        for n in 0..45 {
            let id = 5 + 2 * n;
            caller.write(open(id, &head("POST", "/", &[]))).await;
            window.send(&mut caller, id, 16_000, flag::END_STREAM).await;
            while !caller.next().await.is_some_and(|frame| {
                window.hears(&frame);
                frame.stream == id && frame.has(flag::END_STREAM)
            }) {}
        }
        for id in [1, 3] {
            for _ in 0..15 {
                let n = window.0.min(16 << 10);
                window.send(&mut caller, id, n, 0).await;
            }
        }
        // More than could be left without an update.
        while window.0 < 100_000 {
            window.hears(&caller.next().await.expect("a window"));
        }
        caller.write(open(199, &head("POST", "/", &[]))).await;
        window.send(&mut caller, 199, 16_000, flag::END_STREAM).await;
        assert!(matches!(caller.outcome(199).await, Outcome::Answer { status: 200, .. }));
    });
}

/// What the connection's window has left.
struct Window(usize);

impl Window {
    async fn send(&mut self, caller: &mut Frames, id: u32, n: usize, flags: u8) {
        self.0 -= n;
        caller.write(data(id, flags, &vec![7; n])).await;
    }

    fn hears(&mut self, frame: &Frame) {
        if frame.kind == kind::WINDOW_UPDATE && frame.stream == 0 {
            self.0 += u32::from_be_bytes(frame.payload[..4].try_into().expect("four bytes")) as usize;
        }
    }
}

/// RFC 9113 section 6.5.2: frames are as large as the caller takes, 16,384 bytes unless it says more.
#[test]
fn no_frame_is_larger_than_the_caller_takes() {
    run(async || {
        let (world, _upstream) = world(Http::One).await;
        for size in [16 << 10, 20_000] {
            let windows = [(setting::INITIAL_WINDOW_SIZE, 1 << 20), (setting::MAX_FRAME_SIZE, size)];
            let mut caller = Frames::with_settings(world.addr("in"), &windows).await;
            caller.write([window_update(0, 1 << 20), whole(1, &get("/"))].concat()).await;
            let mut left = BODY;
            while left > 0 {
                let frame = caller.next().await.expect("a frame");
                assert!(frame.payload.len() <= size as usize, "{} bytes of {size}", frame.payload.len());
                left -= if frame.kind == kind::DATA { frame.payload.len() } else { 0 };
            }
        }
    });
}

/// RFC 9113 section 6.9.1: what is sent beyond the window that was given is refused. Weir gives 256 KiB for a stream.
#[test]
fn a_caller_that_sends_beyond_the_window_is_cut_off() {
    run(async || {
        let upstream = common::world::raw::RawUpstream::start(|mut raw, _| async move {
            raw.read_head().await;
            std::future::pending::<()>().await; // reads no body
            String::new()
        })
        .await;
        let world = World::start(&one_service(&["protocol: http1"], &[(&upstream.at(), "v1")])).await;
        let mut caller = Frames::connect(world.addr("in")).await;
        caller.write(open(1, &head("POST", "/", &[]))).await;
        // What the sockets on the way to the upstream take is bounded; far less than this.
        for _ in 0..2_000 {
            if !caller.try_write(data(1, 0, &[0; 16 << 10])).await {
                break;
            }
            if let Some(Some(frame)) = caller.next_within(std::time::Duration::ZERO).await
                && matches!(frame.kind, kind::RST_STREAM | kind::GOAWAY)
            {
                assert_eq!(frame.code(), code::FLOW_CONTROL_ERROR);
                return;
            }
        }
        let outcome = caller.outcome(1).await;
        let told = [
            Outcome::Reset(code::FLOW_CONTROL_ERROR),
            Outcome::GoAway(code::FLOW_CONTROL_ERROR),
            Outcome::Closed,
        ];
        assert!(told.contains(&outcome), "{outcome:?}");
    });
}

/// RFC 9113 section 6.9: bodies beyond every window pass, as windows are given back while the upstream reads.
#[test]
fn an_upload_beyond_all_windows_passes() {
    run(async || {
        for up in Http::BOTH {
            let (world, upstream) = world(up).await;
            let mut caller = Frames::connect(world.addr("in")).await;
            caller.write(open(1, &head("POST", "/", &[]))).await;
            let (total, mut sent) = (3_usize << 20, 0);
            let (mut stream, mut connection) = (65_535_usize, 65_535_usize);
            // Weir's own settings and windows came with its preface, or come now.
            stream += (256 << 10) - 65_535;
            connection += (1 << 20) - 65_535;
            while sent < total {
                let piece = (16 << 10).min(stream).min(connection).min(total - sent);
                if piece == 0 {
                    let frame = caller.next().await.expect("a frame");
                    if frame.kind == kind::WINDOW_UPDATE {
                        let by = u32::from_be_bytes(frame.payload[..4].try_into().unwrap()) as usize;
                        *(if frame.stream == 0 { &mut connection } else { &mut stream }) += by;
                    }
                    continue;
                }
                sent += piece;
                (stream, connection) = (stream - piece, connection - piece);
                let end = if sent == total { flag::END_STREAM } else { 0 };
                caller.write(data(1, end, &vec![7; piece])).await;
            }
            caller.write([window_update(0, 1 << 20), window_update(1, 1 << 20)].concat()).await;
            assert!(matches!(caller.outcome(1).await, Outcome::Answer { status: 200, .. }));
            assert_eq!(upstream.only().body.len(), total, "{up:?}");
        }
    });
}

/// RFC 9110 section 6.5.1: of trailers, what frames, routes or authorises goes no further; the rest does.
#[test]
fn trailers_of_a_request_reach_the_upstream_without_what_they_must_not_say() {
    run(async || {
        for up in Http::BOTH {
            let (world, upstream) = world(up).await;
            let mut caller = Frames::connect(world.addr("in")).await;
            let trailers = block(&[
                ("x-checksum", "1"),
                ("content-length", "5"),
                ("host", "other"),
                ("authorization", "secret"),
                ("content-type", "text/html"),
                ("set-cookie", "a=b"),
                ("x-checksum", "2"),
            ]);
            let frames = [
                open(1, &head("POST", "/", &[("te", "trailers"), ("trailer", "x-checksum")])),
                data(1, 0, b"body"),
                headers(1, flag::WHOLE, &trailers),
            ];
            caller.write(frames.concat()).await;
            caller.write([window_update(0, 1 << 20), window_update(1, 1 << 20)].concat()).await;
            assert!(matches!(caller.outcome(1).await, Outcome::Answer { status: 200, .. }));
            let seen = upstream.only();
            let trailers = seen.trailers.expect("trailers");
            let values: Vec<_> = trailers.get_all("x-checksum").iter().collect();
            assert_eq!(
                (values.len(), trailers.len(), &seen.body[..]),
                (2, 2, &b"body"[..]),
                "{up:?}: {trailers:?}"
            );
            assert!(seen.head.headers.get("x-checksum").is_none(), "merged into the head");
        }
    });
}

/// RFC 9113 section 8.1: a caller that gives a stream up is heard at once, and its other streams go on.
#[test]
fn a_reset_of_one_stream_cancels_it_upstream_and_no_other() {
    run(async || {
        for up in Http::BOTH {
            let upstream = Upstream::holding().await;
            let protocol = format!("protocol: {}", up.protocol());
            let world = World::start(&one_service(&[&protocol], &[(&upstream.at(), "v1")])).await;
            let mut caller = Frames::connect(world.addr("in")).await;
            caller.write((0..5).flat_map(|n| whole(2 * n + 1, &get("/"))).collect::<Vec<u8>>()).await;
            upstream.wait_begun(5).await;
            caller.write([reset(1, code::CANCEL), reset(5, code::NO_ERROR), reset(9, 0xbad)].concat()).await;
            common::world::until("three are cancelled", || (upstream.cancelled() == 3).then_some(())).await;
            assert!(caller.is_alive().await);
            assert_eq!((upstream.cancelled(), upstream.begun()), (3, 5), "{up:?}");
        }
    });
}

/// RFC 7541 section 4.2: the caller's table has no room, so nothing is to be remembered of an answer.
#[test]
fn an_answer_is_encoded_for_the_table_that_the_caller_has() {
    run(async || {
        let (world, _upstream) = world(Http::Two).await;
        let mut caller = Frames::connect(world.addr("in")).await;
        caller.write([window_update(0, 1 << 24)].concat()).await;
        for id in [1, 3, 5] {
            caller
                .write(
                    [whole(id, &[get("/"), literal(b"x-a", b"1")].concat()), window_update(id, 1 << 20)]
                        .concat(),
                )
                .await;
            // The status is read by an index of the static table, or as a literal; by no other.
            assert!(matches!(caller.outcome(id).await, Outcome::Answer { status: 200, .. }));
        }
    });
}

/// RFC 9113 section 6.1: a frame may arrive in pieces. The length that goes on is the whole body's, however much of it
/// is there when the head goes on.
#[test]
fn a_body_that_arrives_in_pieces_goes_on_with_its_length() {
    run(async || {
        for up in Http::BOTH {
            for first in [0, 1, 100, 9_000, 15_999] {
                let (world, upstream) = world(up).await;
                let mut caller = Frames::connect(world.addr("in")).await;
                let body: Vec<u8> = (0..16_000).map(|at| at as u8).collect();
                let frame = data(1, flag::END_STREAM, &body);
                let (begin, rest) = frame.split_at(9 + first);
                let head = open(1, &head("POST", "/", &[("content-length", "16000")]));
                caller.write([&head[..], begin].concat()).await;
                upstream.wait_begun(1).await;
                caller.write(rest).await;
                caller.write([window_update(0, 1 << 20), window_update(1, 1 << 20)].concat()).await;
                assert!(matches!(caller.outcome(1).await, Outcome::Answer { status: 200, .. }));
                let seen = upstream.only();
                assert_eq!(seen.header("content-length"), Some("16000"), "{first} {up:?}");
                assert!(seen.body == body, "{first} {up:?}: {} bytes", seen.body.len());
            }
        }
    });
}
