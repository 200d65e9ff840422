//! Frames as they should be and as they should not.

use super::*;

fn head(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> FrameHead {
    FrameHead { length: payload.len() as u32, kind, flags, stream }
}

/// Reads a payload by what its kind says, and shows it.
fn read(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Result<String, Violation> {
    let head = head(kind, flags, stream, payload);
    Ok(match kind {
        kind::DATA => format!("{:?}", data(head, payload)?),
        kind::HEADERS => {
            let read = headers(head, payload)?;
            format!("{:?}{}", read.fragment, if read.depends_on_itself { " of itself" } else { "" })
        }
        kind::PRIORITY => format!("{:?}", priority(head, payload)?),
        kind::RST_STREAM => format!("{:?}", rst_stream(head, payload)?),
        kind::SETTINGS => match settings(head, payload)? {
            Settings::Ack => "ack".to_owned(),
            Settings::Values(values) => format!("{:?}", values.collect::<Vec<_>>()),
        },
        kind::PING => format!("{:?}", ping(head, payload)?),
        kind::GOAWAY => {
            let read = goaway(head, payload)?;
            format!("{} {:?}", read.last_stream, read.reason)
        }
        kind::WINDOW_UPDATE => format!("{:?}", window_update(head, payload)?),
        _ => String::new(),
    })
}

/// RFC 9113 section 6.
#[test]
fn payloads_that_are_right_are_read() {
    let (padded, priority) = (flag::PADDED, flag::PRIORITY);
    for (kind, flags, stream, payload, expected) in [
        (kind::DATA, 0, 1, &b""[..], "0..0"),
        (kind::DATA, 0, 1, b"abc", "0..3"),
        (kind::DATA, padded, 1, b"\x02abc\0\0", "1..4"),
        (kind::DATA, padded, 1, b"\x03\0\0\0", "1..1"),
        (kind::DATA, padded, 1, b"\0", "1..1"),
        (kind::DATA, 0xf7, 1, b"abc", "0..3"),
        (kind::HEADERS, 0, 1, b"abc", "0..3"),
        (kind::HEADERS, padded, 1, b"\x01abc\0", "1..4"),
        (kind::HEADERS, priority, 1, b"\0\0\0\x03\x0fabc", "5..8"),
        (kind::HEADERS, padded | priority, 1, b"\x01\0\0\0\x03\x0fabc\0", "6..9"),
        (kind::HEADERS, priority, 1, b"\0\0\0\x01\x0f", "5..5 of itself"),
        (kind::HEADERS, priority, 1, b"\x80\0\0\x01\x0f", "5..5 of itself"),
        (kind::HEADERS, padded | priority, 1, b"\0\0\0\0\x01\x0fa", "6..7 of itself"),
        (kind::PRIORITY, 0, 7, b"\0\0\0\x03\x0f", "()"),
        (kind::RST_STREAM, 0, 1, b"\0\0\0\x08", "CANCEL"),
        (kind::RST_STREAM, 0, 1, b"\xff\0\0\0", "error code 0xff000000"),
        (kind::SETTINGS, flag::ACK, 0, b"", "ack"),
        (kind::SETTINGS, 0, 0, b"", "[]"),
        (kind::SETTINGS, 0, 0, b"\0\x01\0\0\0\0\xab\xcd\0\0\0\x07", "[(1, 0), (43981, 7)]"),
        (kind::SETTINGS, 0, 0, b"\0\x02\0\0\0\x01", "[(2, 1)]"),
        (kind::SETTINGS, 0, 0, b"\0\x04\x7f\xff\xff\xff", "[(4, 2147483647)]"),
        (kind::SETTINGS, 0, 0, b"\0\x05\0\xff\xff\xff", "[(5, 16777215)]"),
        (kind::SETTINGS, 0, 0, b"\0\x05\0\0\x40\0", "[(5, 16384)]"),
        (kind::PING, 0, 0, &[1; 8], "[1, 1, 1, 1, 1, 1, 1, 1]"),
        (kind::GOAWAY, 0, 0, b"\x80\0\0\x05\0\0\0\x0bwhy", "5 ENHANCE_YOUR_CALM"),
        (kind::WINDOW_UPDATE, 0, 0, b"\x7f\xff\xff\xff", "2147483647"),
        (kind::WINDOW_UPDATE, 0, 1, b"\x80\0\0\x01", "1"),
    ] {
        assert_eq!(
            read(kind, flags, stream, payload).as_deref(),
            Ok(expected),
            "{kind} {flags} {payload:x?}"
        );
    }
}

#[test]
fn payloads_that_are_wrong_end_the_connection() {
    let (padded, priority) = (flag::PADDED, flag::PRIORITY);
    for (name, kind, flags, stream, payload) in [
        ("DATA on stream 0", kind::DATA, 0, 0, &b"a"[..]),
        ("padding without its length", kind::DATA, padded, 1, b""),
        ("padding as long as the frame", kind::DATA, padded, 1, b"\x03ab"),
        ("HEADERS on stream 0", kind::HEADERS, 0, 0, b""),
        ("HEADERS too short for their priority", kind::HEADERS, priority, 1, b"\0\0\0\0"),
        ("HEADERS without their padding", kind::HEADERS, padded, 1, b""),
        ("HEADERS of padding", kind::HEADERS, padded, 1, b"\x02a"),
        ("HEADERS of priority and padding", kind::HEADERS, padded | priority, 1, b"\x01\0\0\0\0\0"),
        ("HEADERS of half a priority", kind::HEADERS, padded | priority, 1, b"\0\0\0\0\0"),
        ("PRIORITY on stream 0", kind::PRIORITY, 0, 0, b"\0\0\0\0\0"),
        ("PRIORITY of 4 bytes", kind::PRIORITY, 0, 1, b"\0\0\0\0"),
        ("PRIORITY of 6 bytes", kind::PRIORITY, 0, 1, b"\0\0\0\0\0\0"),
        ("RST_STREAM on stream 0", kind::RST_STREAM, 0, 0, b"\0\0\0\0"),
        ("RST_STREAM of 3 bytes", kind::RST_STREAM, 0, 1, b"\0\0\0"),
        ("RST_STREAM of 5 bytes", kind::RST_STREAM, 0, 1, b"\0\0\0\0\0"),
        ("SETTINGS on a stream", kind::SETTINGS, 0, 1, b""),
        ("SETTINGS of 5 bytes", kind::SETTINGS, 0, 0, b"\0\0\0\0\0"),
        ("an ACK with settings", kind::SETTINGS, flag::ACK, 0, b"\0\x03\0\0\0\x01"),
        ("ENABLE_PUSH of 2", kind::SETTINGS, 0, 0, b"\0\x02\0\0\0\x02"),
        ("INITIAL_WINDOW_SIZE of 2^31", kind::SETTINGS, 0, 0, b"\0\x04\x80\0\0\0"),
        ("MAX_FRAME_SIZE of 16,383", kind::SETTINGS, 0, 0, b"\0\x05\0\0\x3f\xff"),
        ("MAX_FRAME_SIZE of 2^24", kind::SETTINGS, 0, 0, b"\0\x05\x01\0\0\0"),
        ("a wrong setting behind a right one", kind::SETTINGS, 0, 0, b"\0\x01\0\0\0\0\0\x02\0\0\0\x02"),
        ("PING on a stream", kind::PING, 0, 1, &[0; 8]),
        ("PING of 7 bytes", kind::PING, 0, 0, &[0; 7]),
        ("PING of 9 bytes", kind::PING, 0, 0, &[0; 9]),
        ("GOAWAY on a stream", kind::GOAWAY, 0, 1, &[0; 8]),
        ("GOAWAY of 7 bytes", kind::GOAWAY, 0, 0, &[0; 7]),
        ("WINDOW_UPDATE of 0", kind::WINDOW_UPDATE, 0, 0, &[0; 4]),
        ("WINDOW_UPDATE of 0 beside the reserved bit", kind::WINDOW_UPDATE, 0, 1, b"\x80\0\0\0"),
        ("WINDOW_UPDATE of 3 bytes", kind::WINDOW_UPDATE, 0, 0, &[1; 3]),
        ("WINDOW_UPDATE of 5 bytes", kind::WINDOW_UPDATE, 0, 0, &[1; 5]),
    ] {
        let read = read(kind, flags, stream, payload);
        assert!(matches!(read, Err(Violation::Connection(Reason::PROTOCOL_ERROR, _))), "{name}: {read:?}");
    }
    let itself = read(kind::PRIORITY, 0, 3, b"\0\0\0\x03\x0f");
    assert!(matches!(itself, Err(Violation::Stream(Reason::PROTOCOL_ERROR, _))), "{itself:?}");
}

#[test]
fn a_head_is_nine_bytes_and_its_reserved_bit_nothing() {
    let bytes = [1, 2, 3, 4, 5, 0x86, 7, 8, 9];
    let head = FrameHead::parse(&bytes);
    assert_eq!(head, FrameHead { length: 0x01_0203, kind: 4, flags: 5, stream: 0x0607_0809 });
    assert_eq!(head.bytes(), [1, 2, 3, 4, 5, 6, 7, 8, 9]);
    assert!(head.has(flag::ACK) && head.has(flag::END_HEADERS) && !head.has(flag::PADDED));
}

/// The head of the first frame of `bytes`, its payload, and what is behind it.
fn first(bytes: &[u8]) -> (FrameHead, &[u8], &[u8]) {
    let (head, rest) = bytes.split_first_chunk().expect("a head");
    let head = FrameHead::parse(head);
    let (payload, rest) = rest.split_at(head.length as usize);
    (head, payload, rest)
}

#[test]
fn what_is_written_is_read() {
    let mut out = Vec::new();
    put_settings(&mut out, &[(setting::ENABLE_PUSH, 0), (setting::INITIAL_WINDOW_SIZE, 65_536)]);
    put_settings_ack(&mut out);
    put_ping(&mut out, flag::ACK, *b"12345678");
    put_window_update(&mut out, 3, 5);
    put_rst_stream(&mut out, 5, Reason::REFUSED_STREAM);
    put_goaway(&mut out, GoAway { last_stream: 7, reason: Reason::NO_ERROR }, b"bye");
    let mut rest = &out[..];
    for (stream, expected) in [
        (0, "[(2, 0), (4, 65536)]"),
        (0, "ack"),
        (0, "[49, 50, 51, 52, 53, 54, 55, 56]"),
        (3, "5"),
        (5, "REFUSED_STREAM"),
        (0, "7 NO_ERROR"),
    ] {
        let (head, payload, behind) = first(rest);
        assert_eq!(head.stream, stream);
        assert_eq!(read(head.kind, head.flags, stream, payload).as_deref(), Ok(expected));
        rest = behind;
    }
    assert!(rest.is_empty());
}

#[test]
fn a_block_goes_into_as_many_frames_as_it_needs() {
    for (length, pieces) in
        [(0, &[0][..]), (1, &[1]), (10, &[10]), (11, &[10, 1]), (20, &[10, 10]), (35, &[10, 10, 10, 5])]
    {
        for end_stream in [false, true] {
            let block: Vec<u8> = (0..length).collect();
            let mut out = b"before".to_vec();
            let start = begin_headers(&mut out);
            out.extend_from_slice(&block);
            end_headers(&mut out, start, 9, end_stream, 10);
            assert!(out.starts_with(b"before"));
            let (mut rest, mut read) = (&out[6..], Vec::new());
            for (at, &piece) in pieces.iter().enumerate() {
                let (head, payload, behind) = first(rest);
                assert_eq!((head.stream, payload.len()), (9, piece));
                assert_eq!(head.kind, if at == 0 { kind::HEADERS } else { kind::CONTINUATION });
                assert_eq!(head.has(flag::END_HEADERS), at == pieces.len() - 1);
                assert_eq!(head.has(flag::END_STREAM), at == 0 && end_stream);
                read.extend_from_slice(payload);
                rest = behind;
            }
            assert!(rest.is_empty());
            assert_eq!(read, block);
        }
    }
}

#[test]
fn reasons_have_the_names_of_the_standard() {
    assert_eq!(Reason::NO_ERROR.to_string(), "NO_ERROR");
    assert_eq!(Reason::HTTP_1_1_REQUIRED.to_string(), "HTTP_1_1_REQUIRED");
    assert_eq!(format!("{:?}", Reason(14)), "error code 0xe");
}
