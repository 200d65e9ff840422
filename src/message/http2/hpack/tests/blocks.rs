//! Blocks as nobody should send them.

use super::{BlockDecoder, decode, texts};

#[test]
fn a_block_that_cannot_be_decoded_is_refused() {
    for (name, section, block) in [
        ("index 0", "6.1", &b"\x80"[..]),
        ("an index behind the static table", "2.3.3", b"\xbe"),
        ("a name behind the static table", "2.3.3", b"\x7e\x01a"),
        ("a name behind the static table, not kept", "2.3.3", b"\x0f\x2f\x01a"),
        ("an index that is cut", "5.1", b"\xff"),
        ("an index that is cut behind its first byte", "5.1", b"\xff\x80"),
        ("an index of six bytes", "5.1", b"\xff\x80\x80\x80\x80\x01"),
        ("an index that does not end", "5.1", &[0xff; 64]),
        ("a length that overflows", "5.1", b"\0\x7f\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
        ("a name that is cut", "5.2", b"\0\x05x"),
        ("a literal without a name", "5.2", b"\0"),
        ("a literal without a value", "5.2", b"\0\x01x"),
        ("a value that is cut", "5.2", b"\0\x01x\x02a"),
        ("a length beyond the block", "5.2", b"\0\x01x\x7f\xff\xff\xff\x7f"),
        ("padding of zeros", "5.2", b"\0\x81\x18\x01a"),
        ("padding of a whole byte", "5.2", b"\0\x82\x1f\xff\x01a"),
        ("the end of the string", "5.2", b"\0\x84\xff\xff\xff\xff\x01a"),
        ("a value in a broken code", "5.2", b"\0\x01x\x81\xfe"),
        ("a table larger than allowed", "6.3", b"\x3f\xe2\x1f"),
        ("a table's size behind a field", "4.2", b"\x82\x20"),
        ("a table's size between fields", "4.2", b"\x82\x20\x82"),
    ] {
        let read = decode(&mut BlockDecoder::new(4096), block);
        assert!(read.is_err(), "{name} (RFC 7541 section {section}): {read:?}");
    }
}

#[test]
fn numbers_have_several_lengths_and_may_be_padded() {
    for (name, block) in
        [("one byte", &b"\0\x01x\x03abc"[..]), ("a length padded with zeros", b"\0\x01x\x03abc\x20")]
    {
        let mut decoder = BlockDecoder::new(4096);
        let read = decode(&mut decoder, block);
        assert_eq!(read.is_ok(), block.len() == 7, "{name}: {read:?}");
    }
    // 127, as its prefix and a zero, and as its prefix and four bytes of zero.
    for length in [&b"\x7f\0"[..], b"\x7f\x80\x80\x80\0"] {
        let block = [b"\0\x01x", length, &[b'a'; 127]].concat();
        let read = decode(&mut BlockDecoder::new(4096), &block).map(|fields| fields[0].1.len());
        assert_eq!(read, Ok(127), "{length:x?}");
    }
}

#[test]
fn a_table_changes_its_size_at_a_blocks_beginning_and_forgets() {
    let mut decoder = BlockDecoder::new(4096);
    let seed = b"\x40\x01a\x011\x40\x01b\x012";
    assert_eq!(decode(&mut decoder, seed), Ok(texts(&[("a", "1"), ("b", "2")])));
    // Twice, as section 4.2 has it: the least, then the last.
    assert_eq!(decode(&mut decoder, b"\x3f\x03\x3f\xe1\x1f\xbe"), Ok(texts(&[("b", "2")])));
    assert_eq!(decoder.table(), (texts(&[("b", "2")]), 34));
    assert_eq!(decode(&mut decoder, b"\x20\x82"), Ok(texts(&[(":method", "GET")])));
    assert_eq!(decoder.table(), (texts(&[]), 0));
    assert!(decode(&mut decoder, b"\xbe").is_err());
}

#[test]
fn an_entry_larger_than_the_table_empties_it() {
    let mut decoder = BlockDecoder::new(64);
    let _ = decode(&mut decoder, b"\x40\x01a\x011");
    let large = [&b"\x40\x01b\x20"[..], &[b'x'; 32]].concat();
    assert_eq!(decode(&mut decoder, &large).map(|fields| fields.len()), Ok(1));
    assert_eq!(decoder.table(), (texts(&[]), 0));
}

/// Section 4.4: the name is looked up before the table makes room.
#[test]
fn a_name_may_be_that_of_the_entry_which_goes() {
    let mut decoder = BlockDecoder::new(40);
    let _ = decode(&mut decoder, b"\x40\x04name\x01a");
    assert_eq!(decode(&mut decoder, b"\x7e\x01b"), Ok(texts(&[("name", "b")])));
    assert_eq!(decoder.table(), (texts(&[("name", "b")]), 37));
}

/// What no message may hold is a matter of its message; the next block may still name it.
#[test]
fn what_is_no_field_of_http_keeps_its_place_in_the_table() {
    let mut decoder = BlockDecoder::new(4096);
    for (name, value) in [("X-Upper", "1"), ("x", "a\0b"), (":unknown", "1"), (":path", ""), ("", "1")] {
        let block =
            [&[0x40, name.len() as u8], name.as_bytes(), &[value.len() as u8], value.as_bytes()].concat();
        assert_eq!(decode(&mut decoder, &block), Ok(texts(&[(name, value)])));
        assert_eq!(decode(&mut decoder, b"\xbe"), Ok(texts(&[(name, value)])));
        assert_eq!(decode(&mut decoder, b"\x0f\x2f\x012"), Ok(texts(&[(name, "2")])));
    }
}

#[test]
fn a_path_that_comes_again_is_read_as_the_first_time_whatever_came_between() {
    let mut decoder = BlockDecoder::new(4096);
    for (block, path) in [
        (&b"\x04\x02/a"[..], "/a"),
        (b"\x04\x02/a", "/a"),
        (b"\x14\x02/a", "/a"),
        (b"\x05\x02/a", "/a"),
        (b"\x04\x03/ab", "/ab"),
        (b"\x04\x02/a", "/a"),
        (b"\x04\x81\x60", "/"),
        (b"\x04\x02/b", "/b"),
        (b"\x44\x02/c", "/c"),
        (b"\x04\x02/b", "/b"),
    ] {
        let read = decode(&mut decoder, block);
        if path == "/" {
            assert!(read.is_err(), "{read:?}");
        } else {
            assert_eq!(read, Ok(texts(&[(":path", path)])), "{block:x?}");
        }
    }
}
