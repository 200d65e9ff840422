//! RFC 7541 appendix C.

use super::{BlockDecoder, decode, texts};

/// A block in hexadecimal, what it says, and what the table holds behind it.
type Example<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a [(&'a str, &'a str)], usize);

fn bytes(hex: &str) -> Vec<u8> {
    let digit = |digit: u8| char::from(digit).to_digit(16).expect("a digit") as u8;
    hex.as_bytes().chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

fn check(table_size: usize, examples: &[Example<'_>]) {
    let mut decoder = BlockDecoder::new(table_size);
    for (block, fields, table, size) in examples {
        assert_eq!(decode(&mut decoder, &bytes(block)), Ok(texts(fields)), "{block}");
        assert_eq!(decoder.table(), (texts(table), *size), "{block}");
    }
}

const CUSTOM: (&str, &str) = ("custom-key", "custom-header");
const CUSTOM_VALUE: (&str, &str) = ("custom-key", "custom-value");
const AUTHORITY: (&str, &str) = (":authority", "www.example.com");
const NO_CACHE: (&str, &str) = ("cache-control", "no-cache");
const GET: (&str, &str) = (":method", "GET");
const HTTP: (&str, &str) = (":scheme", "http");
const SLASH: (&str, &str) = (":path", "/");

#[test]
fn single_fields_are_read_in_each_form() {
    check(4096, &[("400a637573746f6d2d6b65790d637573746f6d2d686561646572", &[CUSTOM], &[CUSTOM], 55)]);
    check(4096, &[("040c2f73616d706c652f70617468", &[(":path", "/sample/path")], &[], 0)]);
    check(4096, &[("100870617373776f726406736563726574", &[("password", "secret")], &[], 0)]);
    check(4096, &[("82", &[GET], &[], 0)]);
}

#[test]
fn requests_are_read_with_and_without_huffmans_code() {
    let plain = [
        "828684410f7777772e6578616d706c652e636f6d",
        "828684be58086e6f2d6361636865",
        "828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565",
    ];
    let coded = [
        "828684418cf1e3c2e5f23a6ba0ab90f4ff",
        "828684be5886a8eb10649cbf",
        "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf",
    ];
    for [first, second, third] in [plain, coded] {
        let https = (":scheme", "https");
        let index = (":path", "/index.html");
        check(
            4096,
            &[
                (first, &[GET, HTTP, SLASH, AUTHORITY], &[AUTHORITY], 57),
                (second, &[GET, HTTP, SLASH, AUTHORITY, NO_CACHE], &[NO_CACHE, AUTHORITY], 110),
                (
                    third,
                    &[GET, https, index, AUTHORITY, CUSTOM_VALUE],
                    &[CUSTOM_VALUE, NO_CACHE, AUTHORITY],
                    164,
                ),
            ],
        );
    }
}

#[test]
fn responses_are_read_while_the_table_forgets() {
    let plain = [
        "4803333032580770726976617465611d4d6f6e2c203231204f637420323031332032303a31333a323120474d546e1768747470\
         733a2f2f7777772e6578616d706c652e636f6d",
        "4803333037c1c0bf",
        "88c1611d4d6f6e2c203231204f637420323031332032303a31333a323220474d54c05a04677a69707738666f6f3d4153444a4b\
         48514b425a584f5157454f50495541585157454f49553b206d61782d6167653d333630303b2076657273696f6e3d31",
    ];
    let coded = [
        "488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e919d29ad171863c78f0b97c8e9ae82\
         ae43d3",
        "4883640effc1c0bf",
        "88c16196d07abe941054d444a8200595040b8166e084a62d1bffc05a839bd9ab77ad94e7821dd7f2e6c7b335dfdfcd5b3960d5\
         af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007",
    ];
    let private = ("cache-control", "private");
    let (date, later) =
        (("date", "Mon, 21 Oct 2013 20:13:21 GMT"), ("date", "Mon, 21 Oct 2013 20:13:22 GMT"));
    let location = ("location", "https://www.example.com");
    let gzip = ("content-encoding", "gzip");
    let cookie = ("set-cookie", "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1");
    let status = |code| (":status", code);
    for [first, second, third] in [plain, coded] {
        check(
            256,
            &[
                (
                    first,
                    &[status("302"), private, date, location],
                    &[location, date, private, status("302")],
                    222,
                ),
                (
                    second,
                    &[status("307"), private, date, location],
                    &[status("307"), location, date, private],
                    222,
                ),
                (
                    third,
                    &[status("200"), private, later, location, gzip, cookie],
                    &[cookie, gzip, later],
                    215,
                ),
            ],
        );
    }
}
