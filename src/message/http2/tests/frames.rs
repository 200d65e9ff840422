//! Bytes at the core, however they are cut.

use bytes::BytesMut;

use crate::message::http2::core::{Core, Role, Settings};
use crate::message::http2::error::{By, Error};
use crate::message::http2::frame::{self, FrameHead, Reason, flag, kind};
use crate::message::http2::receive::FRAMES_A_TURN;

fn bytes_of(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let head = FrameHead { length: payload.len() as u32, kind, flags, stream };
    [&head.bytes()[..], payload].concat()
}

fn settings() -> Vec<u8> {
    bytes_of(kind::SETTINGS, 0, 0, &[])
}

/// POST http://x/
const HEAD: &[u8] = b"\x83\x86\x84\x01\x01x";

fn head(stream: u32, flags: u8) -> Vec<u8> {
    bytes_of(kind::HEADERS, flag::END_HEADERS | flags, stream, HEAD)
}

fn server() -> Core {
    Core::new(Role::Server, Settings::default())
}

fn fed(core: &mut Core, bytes: &[u8]) -> Result<(), Error> {
    core.receive(&mut BytesMut::from(bytes))
}

fn body_of(core: &mut Core, stream: u32) -> Vec<u8> {
    let place = core.streams.find(stream).expect("the stream");
    let mut body = Vec::new();
    while let Some(piece) = core.streams[place].pop() {
        body.extend_from_slice(&piece);
    }
    body
}

#[test]
fn a_body_is_the_same_however_its_bytes_are_cut() {
    let body: Vec<u8> = (0..16_000).map(|at| (at * 7) as u8).collect();
    let padded = [&[100_u8][..], &body[..9_000], &[0; 100]].concat();
    let all = [
        settings(),
        head(1, 0),
        bytes_of(kind::DATA, 0, 1, &body[..10]),
        bytes_of(kind::DATA, 0, 1, &body),
        bytes_of(kind::DATA, flag::PADDED, 1, &padded),
        bytes_of(kind::DATA, flag::END_STREAM, 1, &body[..5_000]),
        bytes_of(kind::PING, 0, 0, &[0; 8]),
    ]
    .concat();
    let expected = [&body[..10], &body, &body[..9_000], &body[..5_000]].concat();
    for cut in (1..all.len()).step_by(97).chain([all.len()]) {
        let mut core = server();
        let mut read = BytesMut::new();
        for piece in all.chunks(cut) {
            read.extend_from_slice(piece);
            core.receive(&mut read).expect("all of it is in order");
        }
        assert!(read.is_empty(), "{cut}");
        assert!(body_of(&mut core, 1) == expected, "{cut}");
        let place = core.streams.find(1).expect("it is not answered");
        assert!(core.streams[place].is_drained(), "{cut}");
    }
}

#[test]
fn a_turn_takes_so_many_frames_and_the_next_goes_on() {
    let mut core = server();
    fed(&mut core, &settings()).expect("settings");
    core.frames = 0;
    let mut read =
        BytesMut::from(&bytes_of(kind::PING, 0, 0, &[0; 8]).repeat(FRAMES_A_TURN as usize * 2)[..]);
    let half = read.len() / 2;
    for left in [half, 0] {
        core.receive(&mut read).expect("pings");
        assert_eq!(read.len(), left);
        core.frames = 0;
    }
}

#[test]
fn a_head_is_unfinished_from_its_first_frame_to_its_last() {
    let mut core = server();
    let open = |core: &Core| core.block.is_some() || core.half_a_head;
    let mut read = BytesMut::new();
    for (bytes, expected) in [
        (settings(), false),
        (bytes_of(kind::HEADERS, 0, 1, &HEAD[..2]), true),
        (bytes_of(kind::CONTINUATION, 0, 1, &HEAD[2..3]), true),
        (bytes_of(kind::CONTINUATION, flag::END_HEADERS, 1, &HEAD[3..]), false),
        (head(3, 0)[..10].to_vec(), true),
        (head(3, 0)[10..].to_vec(), false),
        (bytes_of(kind::DATA, 0, 3, b"body")[..11].to_vec(), false),
    ] {
        read.extend_from_slice(&bytes);
        core.receive(&mut read).expect("in order");
        assert_eq!(open(&core), expected, "{bytes:x?}");
    }
    assert_eq!(core.heads, 2);
}

#[test]
fn what_waits_to_be_written_is_bounded_and_goes_on_when_there_is_room() {
    use std::task::{Context, Waker};
    let mut core = Core::new(Role::Client, Settings::default());
    let window = frame::MOST_WINDOW - frame::DEFAULT_WINDOW;
    let peers = bytes_of(kind::SETTINGS, 0, 0, &[&[0, 4][..], &frame::MOST_WINDOW.to_be_bytes()].concat());
    let more = bytes_of(kind::WINDOW_UPDATE, 0, 0, &window.to_be_bytes());
    fed(&mut core, &[peers, more].concat()).expect("in order");
    let uri = "http://x/".parse().expect("a URI");
    let place = core.send_request(&http::Method::POST, &uri, &http::HeaderMap::new(), false).expect("open");
    core.streams[place].handles = 1;
    let mut body = bytes::Bytes::from(vec![1; 1 << 20]);
    let cx = Context::from_waker(Waker::noop());
    let mut rounds = 0;
    while !body.is_empty() {
        while core.poll_send(place, &cx, &mut body, true).is_ready() && !body.is_empty() {}
        assert!(core.out.len() <= core.settings.out_full + (20 << 10), "{}", core.out.len());
        core.out.advance(core.out.len());
        core.grant();
        rounds += 1;
        assert!(rounds <= 64, "{} bytes left", body.len());
    }
    assert!(core.streams[place].send.is_over());
    assert_eq!(core.granted, 0);
}

/// CVE-2023-44487, and what the peer makes us reset.
#[test]
fn resets_without_end_are_too_much() {
    let calm = Err(Error::GoAway(Reason::ENHANCE_YOUR_CALM, By::Engine));
    let mut core = server();
    fed(&mut core, &settings()).expect("settings");
    let reset = |id: u32| bytes_of(kind::RST_STREAM, 0, id, &8_u32.to_be_bytes());
    let results: Vec<_> =
        (0..21).map(|n| fed(&mut core, &[head(2 * n + 1, 0), reset(2 * n + 1)].concat())).collect();
    assert!(results[..20].iter().all(Result::is_ok));
    assert_eq!(results[20], calm);

    let mut core = server();
    fed(&mut core, &settings()).expect("settings");
    let mut last = Ok(());
    for n in 0..1_025_u32 {
        assert_eq!(last, Ok(()), "{n}");
        core.frames = 0;
        let itself = [&(2 * n + 1).to_be_bytes()[..], &[0], HEAD].concat();
        let flags = flag::END_HEADERS | flag::PRIORITY;
        last = fed(&mut core, &bytes_of(kind::HEADERS, flags, 2 * n + 1, &itself));
    }
    assert_eq!(last, calm);
}

/// What a stream was let in for and does not need is not kept from the others.
#[test]
fn streams_that_send_little_and_stay_hold_up_nobody() {
    use std::task::{Context, Waker};
    let cx = Context::from_waker(Waker::noop());
    let mut core = Core::new(Role::Client, Settings::default());
    fed(&mut core, &settings()).expect("settings");
    let uri = "http://x/".parse().expect("a URI");
    let open = |core: &mut Core| {
        let place =
            core.send_request(&http::Method::POST, &uri, &http::HeaderMap::new(), false).expect("open");
        core.streams[place].handles = 1;
        place
    };
    let (large, last) = (open(&mut core), open(&mut core));
    let little: Vec<usize> = (0..8).map(|_| open(&mut core)).collect();
    let send = |core: &mut Core, place, n| {
        let mut body = bytes::Bytes::from(vec![1; n]);
        while core.poll_send(place, &cx, &mut body, false).is_ready() && !body.is_empty() {}
        core.out.advance(core.out.len());
        core.grant();
        n - body.len()
    };
    assert_eq!(send(&mut core, large, 100_000), 65_535, "the connection's window");
    for &place in &little {
        assert_eq!(send(&mut core, place, 10), 0);
    }
    let more =
        [large as u32 * 2 + 1, 0].map(|id| bytes_of(kind::WINDOW_UPDATE, 0, id, &65_535_u32.to_be_bytes()));
    fed(&mut core, &more.concat()).expect("in order");
    for &place in &little {
        assert_eq!(send(&mut core, place, 10), 10);
    }
    assert_eq!(send(&mut core, large, 16), 16, "it stood in line, too");
    assert_eq!(send(&mut core, last, 1_000), 1_000);
    assert_eq!(core.granted, 0);
}

/// The length that is still to come is told before a frame is whole, and right.
#[test]
fn a_length_counts_what_has_not_arrived_of_a_frame() {
    let head = bytes_of(kind::HEADERS, flag::END_HEADERS, 1, b"\x83\x86\x84\x01\x01x\x0f\x0d\x045000");
    let data = bytes_of(kind::DATA, flag::END_STREAM, 1, &[7; 5_000]);
    let all = [settings(), head, data].concat();
    for cut in 70..all.len() {
        let core = std::rc::Rc::new(std::cell::RefCell::new(server()));
        let mut read = BytesMut::from(&all[..cut]);
        core.borrow_mut().receive(&mut read).expect("in order");
        let place = core.borrow_mut().to_accept.pop_front().expect("a request");
        let body =
            crate::message::http2::RecvStream(crate::message::http2::handles::Handle::counted(core, place));
        assert_eq!(body.remaining(), Some(5_000), "{cut}");
    }
}

/// What some streams leave unread must not keep from the others what they have read.
#[test]
fn the_connections_window_is_given_back_by_what_is_left_of_it() {
    let window = 200_000;
    let mut core = Core::new(Role::Server, Settings { connection_window: window, ..Settings::default() });
    fed(&mut core, &settings()).expect("settings");
    let piece = vec![0; 15_000];
    for (id, frames) in [(1, 4), (3, 4), (5, 3)] {
        fed(&mut core, &head(id, 0)).expect("a head");
        for _ in 0..frames {
            fed(&mut core, &bytes_of(kind::DATA, 0, id, &piece)).expect("within the windows");
        }
    }
    assert_eq!(core.recv_window, 35_000);
    core.give_back(15_000);
    assert_eq!(core.recv_window, 35_000);
    core.give_back(15_000);
    assert_eq!(core.recv_window, 65_000, "less than half of all, and all that there is");
}

/// RFC 9113 section 6.8: frames on streams that came too late are ignored.
#[test]
fn a_server_that_leaves_ignores_what_comes_on_streams_above_its_last() {
    let mut core = server();
    fed(&mut core, &[settings(), head(1, 0)].concat()).expect("in order");
    core.leave();
    let late = [
        bytes_of(kind::PING, flag::ACK, 0, b"leaving!"),
        head(3, 0),
        bytes_of(kind::WINDOW_UPDATE, 0, 3, &[0, 0, 0, 1]),
        bytes_of(kind::DATA, 0, 3, b"body"),
        bytes_of(kind::RST_STREAM, 0, 3, &[0, 0, 0, 8]),
    ];
    assert_eq!(fed(&mut core, &late.concat()), Ok(()));
    assert_eq!((core.open, core.to_accept.len()), (1, 1));
}

/// Some servers send one before their trailers; more than that on a stream says nothing.
#[test]
fn empty_data_is_free_once_a_stream_and_bounded_beyond() {
    let mut core = server();
    fed(&mut core, &settings()).expect("settings");
    let empty = bytes_of(kind::DATA, 0, 1, &[]);
    for n in 0..200 {
        core.frames = 0;
        let id = 2 * n + 1;
        let reset = bytes_of(kind::RST_STREAM, 0, id, &[0, 0, 0, 8]);
        let one = [head(id, 0), bytes_of(kind::DATA, 0, id, &[]), reset].concat();
        assert_eq!(fed(&mut core, &one), Ok(()), "{n}");
        core.unseen_resets = 0;
    }
    core.frames = 0;
    let mut core = server();
    let flood = [settings(), head(1, 0), empty.repeat(102)].concat();
    assert_eq!(fed(&mut core, &flood), Err(Error::GoAway(Reason::ENHANCE_YOUR_CALM, By::Engine)));
}
