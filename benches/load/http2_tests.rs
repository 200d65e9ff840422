//! The caller's HTTP/2 against frames written by hand.

use std::io::Read;
use std::os::unix::net::UnixStream;

use crate::http2::{Http2, Template};
use crate::outbox::Outbox;
use crate::tally::{Ended, Fault};

const HEAD: &[u8] = b"\x88\x5f\x10application/grpc";
const TRAILERS: &[u8] = b"\x00\x0bgrpc-status\x010";
const MESSAGE: &[u8] = b"\0\0\0\0\x03abc";

struct Caller {
    http2: Http2,
    outbox: Outbox,
    template: Template,
    ended: Vec<Ended>,
}

/// One frame that the caller sent.
#[derive(Debug, PartialEq)]
struct Sent {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

impl Caller {
    fn new(body_bytes: usize) -> Caller {
        let mut outbox = Outbox::default();
        let http2 = Http2::new(4, &mut outbox);
        let template = Template::new("/a/b", "test", &[], vec![7; body_bytes]);
        let mut caller = Caller { http2, outbox, template, ended: Vec::new() };
        let greeting = caller.written();
        assert!(greeting.starts_with(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"));
        caller
    }

    fn start(&mut self, due: u64) {
        self.http2.start(due, &self.template, &mut self.outbox);
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        self.http2.take(bytes, &self.template, &mut self.outbox, &mut self.ended)
    }

    fn written(&mut self) -> Vec<u8> {
        let (ours, mut theirs) = UnixStream::pair().expect("a pair of sockets");
        let mut bytes = vec![0; self.outbox.len()];
        assert!(self.outbox.write(&ours, &self.template.body).expect("a write"));
        theirs.read_exact(&mut bytes).expect("what was written");
        bytes
    }

    fn sent(&mut self) -> Vec<Sent> {
        let (bytes, mut frames) = (self.written(), Vec::new());
        let mut rest = bytes.as_slice();
        while let Some(([a, b, c, kind, flags, stream @ ..], behind)) = rest.split_first_chunk::<9>() {
            let (payload, after) = behind.split_at(u32::from_be_bytes([0, *a, *b, *c]) as usize);
            let stream = u32::from_be_bytes(*stream);
            frames.push(Sent { kind: *kind, flags: *flags, stream, payload: payload.to_vec() });
            rest = after;
        }
        frames
    }

    fn data_sent(&mut self) -> Vec<(u32, usize)> {
        self.sent()
            .iter()
            .filter(|frame| frame.kind == 0)
            .map(|frame| (frame.stream, frame.payload.len()))
            .collect()
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend_from_slice(&[kind, flags]);
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

fn answer(stream: u32, message: &[u8], trailers: &[u8]) -> Vec<u8> {
    [frame(1, 4, stream, HEAD), frame(0, 0, stream, message), frame(1, 5, stream, trailers)].concat()
}

fn ended(due: u64, fault: Option<Fault>) -> Ended {
    Ended { due, fault, status: Some(200), grpc_status: Some(0), body_bytes: MESSAGE.len() as u64 }
}

#[test]
fn an_answer_is_the_same_however_it_is_cut() {
    let bytes = answer(1, MESSAGE, TRAILERS);
    for cut in 0..=bytes.len() {
        let mut caller = Caller::new(10);
        caller.start(42);
        let (before, after) = bytes.split_at(cut);
        assert_eq!((caller.take(before), caller.take(after)), (Ok(()), Ok(())), "cut at {cut}");
        assert_eq!(caller.ended, [ended(42, None)], "cut at {cut}");
    }
}

#[test]
fn an_answer_counts_when_its_message_is_whole_and_its_status_is_zero() {
    let cases: [(&[u8], &[u8], Option<Fault>); 4] = [
        (MESSAGE, TRAILERS, None),
        (MESSAGE, b"\x00\x0bgrpc-status\x0214", Some(Fault::GrpcStatus)),
        (MESSAGE, b"\x00\x01x\x01y", Some(Fault::GrpcStatus)),
        (b"\0\0\0\0\x04abc", TRAILERS, Some(Fault::Body)),
    ];
    for (message, trailers, fault) in cases {
        let mut caller = Caller::new(10);
        caller.start(1);
        assert_eq!(caller.take(&answer(1, message, trailers)), Ok(()));
        assert_eq!(caller.ended.iter().map(|one| one.fault).collect::<Vec<_>>(), [fault], "{trailers:?}");
    }
}

#[test]
fn blocks_may_be_padded_and_come_in_several_frames() {
    let mut caller = Caller::new(10);
    caller.start(1);
    let padded = [&[2][..], HEAD, &[0, 0]].concat();
    let bytes = [
        frame(1, 0xc, 1, &padded),
        frame(0, 8, 1, &[&[1][..], MESSAGE, &[0]].concat()),
        frame(1, 1, 1, &TRAILERS[..4]),
        frame(9, 4, 1, &TRAILERS[4..]),
    ];
    assert_eq!(caller.take(&bytes.concat()), Ok(()));
    assert_eq!(caller.ended, [ended(1, None)]);
}

#[test]
fn a_body_goes_up_as_both_windows_allow() {
    let mut caller = Caller::new(100_000);
    caller.start(1);
    let sizes: Vec<usize> = caller.data_sent().iter().map(|(_, bytes)| *bytes).collect();
    assert_eq!(sizes, [16_384, 16_384, 16_384, 16_383], "the first window of 65,535");
    caller.take(&frame(8, 0, 0, &20_000_u32.to_be_bytes())).expect("no fault");
    assert_eq!(caller.data_sent(), [], "the stream's own is used up");
    // INITIAL_WINDOW_SIZE concerns streams under way as well.
    caller.take(&frame(4, 0, 0, &[0, 4, 0, 1, 0, 0])).expect("no fault");
    assert_eq!(caller.data_sent(), [(1, 1)], "65,536 in all");
    caller.take(&frame(8, 0, 1, &1_000_000_u32.to_be_bytes())).expect("no fault");
    assert_eq!(caller.data_sent(), [(1, 16_384), (1, 3_615)], "all that the connection's leaves");
    caller.take(&frame(8, 0, 0, &1_000_000_u32.to_be_bytes())).expect("no fault");
    let last = caller.sent();
    assert_eq!(
        last.iter().map(|frame| (frame.payload.len(), frame.flags)).collect::<Vec<_>>(),
        [(14_465, 1)]
    );
}

#[test]
fn bodies_share_a_connections_window() {
    let mut caller = Caller::new(60_000);
    caller.start(1);
    caller.start(2);
    let sent: usize = caller.data_sent().iter().map(|(_, bytes)| bytes).sum();
    assert_eq!(sent, 65_535);
    caller.take(&frame(8, 0, 0, &1_000_000_u32.to_be_bytes())).expect("no fault");
    let rest: usize = caller.data_sent().iter().map(|(_, bytes)| bytes).sum();
    assert_eq!(sent + rest, 120_000);
}

#[test]
fn the_protocols_own_questions_are_answered() {
    let mut caller = Caller::new(10);
    caller.take(&[frame(4, 0, 0, &[]), frame(6, 0, 0, b"12345678")].concat()).expect("no fault");
    let sent = caller.sent();
    assert_eq!(sent[0], Sent { kind: 4, flags: 1, stream: 0, payload: vec![] });
    assert_eq!(sent[1], Sent { kind: 6, flags: 1, stream: 0, payload: b"12345678".to_vec() });
}

#[test]
fn the_second_head_is_an_index_for_each_field_unless_the_peer_wants_no_table() {
    let mut caller = Caller::new(10);
    let mut head = || {
        caller.start(1);
        caller.sent().swap_remove(0).payload
    };
    let (first, second) = (head(), head());
    assert!(first.len() > second.len() && second.len() == 4, "{second:?}");
    caller.take(&frame(4, 0, 0, &[0, 1, 0, 0, 0, 0])).expect("no fault");
    caller.sent();
    let mut head = || {
        caller.start(1);
        caller.sent().swap_remove(0).payload
    };
    let (told, plain) = (head(), head());
    assert_eq!(told, [&[0x20], plain.as_slice()].concat(), "it is told once that the table is empty");
}

#[test]
fn a_peer_that_goes_away_takes_no_more_and_finishes_what_it_has() {
    let mut caller = Caller::new(10);
    caller.start(1);
    caller.start(2);
    assert!(caller.http2.has_room());
    caller.take(&frame(7, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 0])).expect("no fault");
    assert_eq!(caller.ended, [Ended { fault: Some(Fault::Closed), ..Ended::failed(2, Fault::Closed) }]);
    assert!(!caller.http2.has_room());
    assert_eq!(caller.http2.under_way(), 1);
    caller.take(&answer(1, MESSAGE, TRAILERS)).expect("no fault");
    assert_eq!(caller.ended[1], ended(1, None));
}

#[test]
fn a_peers_limit_of_streams_is_kept() {
    let mut caller = Caller::new(10);
    caller.take(&frame(4, 0, 0, &[0, 3, 0, 0, 0, 2])).expect("no fault");
    caller.start(1);
    assert!(caller.http2.has_room());
    caller.start(2);
    assert!(!caller.http2.has_room());
}

#[test]
fn answers_longer_than_the_windows_get_new_ones() {
    let mut caller = Caller::new(10);
    caller.start(1);
    caller.sent();
    caller.take(&frame(1, 4, 1, HEAD)).expect("no fault");
    let mut given = [0_u64; 2];
    for _ in 0..1_000 {
        caller.take(&frame(0, 0, 1, &[0; 16_384])).expect("no fault");
        for update in caller.sent() {
            assert_eq!((update.kind, update.payload.len()), (8, 4));
            let more = u32::from_be_bytes([
                update.payload[0],
                update.payload[1],
                update.payload[2],
                update.payload[3],
            ]);
            given[update.stream as usize] += u64::from(more);
        }
    }
    let [connection, stream] = given.map(|given| 1_000 * 16_384 - given);
    assert!(connection <= 8 * 1024 * 1024 + 16_384, "{connection} bytes without new window");
    assert!(stream <= 512 * 1024 + 16_384, "{stream} bytes without new window");
}

#[test]
fn frames_that_break_the_protocol_are_a_fault() {
    let cases = [
        frame(0, 0, 1, &[0; 16_385]),
        [frame(1, 0, 1, HEAD), frame(0, 0, 1, b"x")].concat(),
        frame(9, 4, 1, HEAD),
        frame(5, 4, 1, &[0, 0, 0, 2]),
        frame(1, 4, 1, &[0xff]),
        frame(0, 8, 1, &[9, 0]),
        frame(8, 0, 0, &[1]),
    ];
    for case in cases {
        let mut caller = Caller::new(10);
        caller.start(1);
        assert_eq!(caller.take(&case), Err(Fault::Body), "{:?}", &case[..9]);
    }
}
