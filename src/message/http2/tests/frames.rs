//! Bytes at the core, however they are cut.

use bytes::BytesMut;

use crate::message::http2::core::{Core, OUT_FULL, Role, Settings};
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
        assert!(core.out.len() <= OUT_FULL + (20 << 10), "{}", core.out.len());
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
        let itself = [&(2 * n + 1).to_be_bytes()[..], &[0]].concat();
        last = fed(&mut core, &bytes_of(kind::PRIORITY, 0, 2 * n + 1, &itself));
    }
    assert_eq!(last, calm);
}
