//! Frames of HTTP/2: what is read of a payload lies within it and has the values that its kind allows; what is written
//! is read; a block goes whole into whatever frames the peer takes.

use weir::message::http2::frame::{self, FrameHead, GoAway, HEAD_BYTES, Settings, flag, kind};

use super::input::Input;

/// See the module.
pub fn check(data: &[u8]) {
    let mut input = Input::new(data);
    if input.flag() {
        return block(&mut input);
    }
    let bytes: [u8; HEAD_BYTES] = std::array::from_fn(|_| input.byte());
    let payload = input.rest();
    let head = FrameHead { length: payload.len() as u32, ..FrameHead::parse(&bytes) };
    assert_eq!(FrameHead::parse(&head.bytes()), head);
    read(FrameHead { kind: head.kind % 10, ..head }, payload);
}

fn read(head: FrameHead, payload: &[u8]) {
    let mut out = Vec::new();
    let is_padded = head.has(flag::PADDED);
    let padding = if is_padded { 1 + usize::from(payload.first().copied().unwrap_or(0)) } else { 0 };
    match head.kind {
        kind::DATA => {
            if let Ok(data) = frame::data(head, payload) {
                assert_eq!(data.len() + padding, payload.len());
                assert_eq!(data.start, usize::from(is_padded));
                assert_ne!(head.stream, 0);
            }
        }
        kind::HEADERS => {
            if let Ok(headers) = frame::headers(head, payload) {
                let priority = if head.has(flag::PRIORITY) { 5 } else { 0 };
                assert_eq!(headers.fragment.len() + padding + priority, payload.len());
                assert_eq!(headers.fragment.start, usize::from(is_padded) + priority);
                assert_ne!(head.stream, 0);
            }
        }
        kind::PRIORITY => assert!(frame::priority(head, payload).is_err() || payload.len() == 5),
        kind::RST_STREAM => {
            if let Ok(reason) = frame::rst_stream(head, payload) {
                frame::put_rst_stream(&mut out, head.stream, reason);
                written(head, payload, &out, false);
            }
        }
        kind::SETTINGS => settings(head, payload),
        kind::PING => {
            if let Ok(bytes) = frame::ping(head, payload) {
                frame::put_ping(&mut out, head.flags, bytes);
                written(head, payload, &out, true);
            }
        }
        kind::GOAWAY => {
            if let Ok(GoAway { last_stream, reason }) = frame::goaway(head, payload) {
                assert!(last_stream <= frame::MOST_WINDOW);
                frame::put_goaway(&mut out, GoAway { last_stream, reason }, &payload[8..]);
                assert_eq!(out[HEAD_BYTES + 1..], payload[1..]);
            }
        }
        kind::WINDOW_UPDATE => {
            if let Ok(by) = frame::window_update(head, payload) {
                assert!((1..=frame::MOST_WINDOW).contains(&by));
                frame::put_window_update(&mut out, head.stream, by);
                assert_eq!(out[HEAD_BYTES + 1..], payload[1..]);
            }
        }
        _ => {}
    }
}

/// What was read, written again, is the frame; without its flags, unless they say something.
fn written(head: FrameHead, payload: &[u8], out: &[u8], with_flags: bool) {
    let flags = if with_flags { head.flags } else { 0 };
    assert_eq!(out, [&FrameHead { flags, ..head }.bytes(), payload].concat());
}

fn settings(head: FrameHead, payload: &[u8]) {
    match frame::settings(head, payload) {
        Ok(Settings::Ack) => assert!(payload.is_empty() && head.has(flag::ACK)),
        Ok(Settings::Values(values)) => {
            let values: Vec<(u16, u32)> = values.collect();
            for &(id, value) in &values {
                let is_right = match id {
                    frame::setting::ENABLE_PUSH => value < 2,
                    frame::setting::INITIAL_WINDOW_SIZE => value < 1 << 31,
                    frame::setting::MAX_FRAME_SIZE => (1 << 14..1 << 24).contains(&value),
                    _ => true,
                };
                assert!(is_right, "{id} {value}");
            }
            let mut out = Vec::new();
            frame::put_settings(&mut out, &values);
            assert_eq!(out[HEAD_BYTES..], *payload);
        }
        Err(_) => {}
    }
}

fn block(input: &mut Input<'_>) {
    let (end_stream, max_frame_size, stream) =
        (input.flag(), input.byte().max(1).into(), input.byte().into());
    let before = input.bytes(3);
    let block = input.bytes(255);
    let mut out = before.to_vec();
    let start = frame::begin_headers(&mut out);
    out.extend_from_slice(block);
    frame::end_headers(&mut out, start, stream, end_stream, max_frame_size);
    let mut rest = out.strip_prefix(before).expect("what was there stays");
    let mut read = Vec::new();
    for number in 0.. {
        let (head, behind) = rest.split_first_chunk().expect("a head");
        let head = FrameHead::parse(head);
        assert!(head.length <= max_frame_size);
        assert_eq!(head.stream, stream);
        assert_eq!(head.kind, if number == 0 { kind::HEADERS } else { kind::CONTINUATION });
        assert_eq!(head.has(flag::END_STREAM), number == 0 && end_stream);
        let (payload, behind) = behind.split_at(head.length as usize);
        read.extend_from_slice(payload);
        rest = behind;
        assert_eq!(head.has(flag::END_HEADERS), rest.is_empty());
        if rest.is_empty() {
            break;
        }
    }
    assert_eq!(read, block);
}
