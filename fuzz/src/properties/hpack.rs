//! Header blocks of HTTP/2: they say what a reader finds that knows nothing of HTTP and recalls nothing; and what Weir
//! writes, Weir reads, whatever the table's size.

use http::header::TE;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use weir::message::http2::head::{Decoder, Fault};
use weir::message::http2::hpack::Encoder;

use super::input::Input;

/// Above all that a few short blocks can unfold to.
const MAX_LIST: usize = 4 << 20;
const TABLE: usize = 4_096;

type Text = (Vec<u8>, Vec<u8>);

/// See the module.
pub fn check(data: &[u8]) {
    let mut input = Input::new(data);
    match input.below(5) {
        0 => written_is_read(input),
        1 | 2 => read(input, request),
        3 => read(input, response),
        _ => read(input, trailers),
    }
}

/// What a block was read as: all of it in words, and its fields.
type Read = Result<(String, HeaderMap), Fault>;

fn request(decoder: &mut Decoder, block: &[u8], max_list: usize) -> Read {
    decoder.request(block, max_list).map(|head| (format!("{head:?}"), head.parts.headers))
}

fn response(decoder: &mut Decoder, block: &[u8], max_list: usize) -> Read {
    decoder.response(block, max_list).map(|head| (format!("{head:?}"), head.parts.headers))
}

fn trailers(decoder: &mut Decoder, block: &[u8], max_list: usize) -> Read {
    decoder.response_trailers(block, max_list).map(|fields| (format!("{fields:?}"), fields))
}

fn read(mut input: Input<'_>, how: fn(&mut Decoder, &[u8], usize) -> Read) {
    let (mut recalls, mut forgets) = (Decoder::new(TABLE), Decoder::new(TABLE));
    let mut model = Model::default();
    let mut last: &[u8] = &[];
    for round in 0..8 {
        // Blocks come again and again, as those of one connection do.
        let block = if input.flag() { last } else { input.bytes(120) };
        last = block;
        let read = how(&mut recalls, block, MAX_LIST);
        // Another bound, and nothing is recalled.
        assert_eq!(how(&mut forgets, block, MAX_LIST + 1 + round), read, "{block:x?}");
        let plain = model.read(block);
        match (&plain, &read) {
            (Plain::Broken, read) => assert!(matches!(read, Err(Fault::Block(_))), "{block:x?}: {read:?}"),
            (Plain::Fields(fields), Ok((_, headers))) => same(fields, headers),
            (Plain::Fields(_), Err(Fault::Field(_) | Fault::Message(_))) => {}
            (Plain::Fields(_), Err(fault)) => panic!("{block:x?}: {fault:?}"),
            // What is in Huffman's code is none of the model's.
            (Plain::Coded, _) => return,
        }
        if matches!(plain, Plain::Broken) {
            return;
        }
    }
}

fn same(fields: &[Text], headers: &HeaderMap) {
    let regular = |(name, _): &&Text| !name.starts_with(b":") && name != b"cookie";
    let mut expected: Vec<Text> = fields.iter().filter(regular).cloned().collect();
    let mut found: Vec<Text> = headers
        .iter()
        .filter(|(name, _)| *name != "cookie")
        .map(|(name, value)| (name.as_str().as_bytes().to_vec(), value.as_bytes().to_vec()))
        .collect();
    // Values of one name stay in their order; the others may go before or behind them.
    expected.sort_by(|one, other| one.0.cmp(&other.0));
    found.sort_by(|one, other| one.0.cmp(&other.0));
    assert_eq!(found, expected);
    let crumbs: Vec<&[u8]> =
        fields.iter().filter(|(name, _)| name == b"cookie").map(|(_, value)| &value[..]).collect();
    let cookies: Vec<&[u8]> = headers.get_all("cookie").iter().map(HeaderValue::as_bytes).collect();
    assert!(cookies == crumbs || cookies == [crumbs.join(&b"; "[..])], "{cookies:?} of {crumbs:?}");
}

/// RFC 7541, as plainly as can be, without Huffman's code.
#[derive(Default)]
struct Model {
    /// The newest first.
    table: Vec<Text>,
    size: Option<usize>,
}

enum Plain {
    Fields(Vec<Text>),
    Coded,
    Broken,
}

/// Why the model stops.
enum Stop {
    Coded,
    Broken,
}

impl Model {
    fn read(&mut self, block: &[u8]) -> Plain {
        let mut fields = Vec::new();
        let mut rest = block;
        while !rest.is_empty() {
            match self.one(&mut rest, fields.is_empty()) {
                Ok(Some(field)) => fields.push(field),
                Ok(None) => {}
                Err(Stop::Coded) => return Plain::Coded,
                Err(Stop::Broken) => return Plain::Broken,
            }
        }
        Plain::Fields(fields)
    }

    fn one(&mut self, rest: &mut &[u8], begins: bool) -> Result<Option<Text>, Stop> {
        let first = rest[0];
        if first & 0x80 != 0 {
            let index = number(rest, 7)?;
            return self.get(index).map(Some);
        }
        if first & 0xe0 == 0x20 {
            let size = number(rest, 5)?;
            if !begins || size > TABLE {
                return Err(Stop::Broken);
            }
            self.size = Some(size);
            self.shrink();
            return Ok(None);
        }
        let is_kept = first & 0x40 != 0;
        let index = number(rest, if is_kept { 6 } else { 4 })?;
        // A string is looked at before the name of an index that is not there: both break the block.
        let name = if index == 0 { string(rest)? } else { self.get(index)?.0 };
        let field = (name, string(rest)?);
        if is_kept {
            self.table.insert(0, field.clone());
            self.shrink();
        }
        Ok(Some(field))
    }

    fn get(&self, index: usize) -> Result<Text, Stop> {
        let place = index.checked_sub(1).ok_or(Stop::Broken)?;
        let text = |(name, value): &(&str, &str)| (name.as_bytes().to_vec(), value.as_bytes().to_vec());
        match STATIC.get(place) {
            Some(field) => Ok(text(field)),
            None => self.table.get(place - STATIC.len()).cloned().ok_or(Stop::Broken),
        }
    }

    fn shrink(&mut self) {
        let size = self.size.unwrap_or(TABLE);
        let sum =
            |table: &[Text]| table.iter().map(|(name, value)| name.len() + value.len() + 32).sum::<usize>();
        while sum(&self.table) > size {
            self.table.pop();
        }
    }
}

fn number(rest: &mut &[u8], bits: u32) -> Result<usize, Stop> {
    let (&first, mut behind) = rest.split_first().ok_or(Stop::Broken)?;
    let most = (1_usize << bits) - 1;
    let mut value = usize::from(first) & most;
    if value == most {
        let end = behind.iter().position(|&byte| byte < 0x80).ok_or(Stop::Broken)?;
        if end > 3 {
            return Err(Stop::Broken); // longer than any number that has a meaning
        }
        for (place, &byte) in behind[..=end].iter().enumerate() {
            value += usize::from(byte & 0x7f) << (7 * place);
        }
        behind = &behind[end + 1..];
    }
    *rest = behind;
    Ok(value)
}

fn string(rest: &mut &[u8]) -> Result<Vec<u8>, Stop> {
    let is_coded = rest.first().is_some_and(|first| first & 0x80 != 0);
    let length = number(rest, 7)?;
    let (text, behind) = rest.split_at_checked(length).ok_or(Stop::Broken)?;
    *rest = behind;
    if is_coded { Err(Stop::Coded) } else { Ok(text.to_vec()) }
}

fn written_is_read(mut input: Input<'_>) {
    let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new(TABLE));
    let names =
        ["grpc-status", "x-a", "x-b", "te", "content-type", "authorization", "connection", "x-request-id"];
    for _ in 0..8 {
        if input.below(4) == 1 {
            encoder.set_max_table_size(input.pick(&[0, 40, 100, 300, 4_096, 65_536]));
        }
        let mut fields = HeaderMap::new();
        for _ in 0..input.below(6) {
            let letters: Vec<u8> = input.bytes(6).iter().map(|byte| b'a' + byte % 26).collect();
            let name = HeaderName::from_bytes(if letters.is_empty() {
                input.pick(&names).as_bytes()
            } else {
                &letters
            });
            let value = HeaderValue::from_bytes(input.bytes(40));
            if let (Ok(name), Ok(value)) = (name, value) {
                fields.append(name, value);
            }
        }
        let method = input.pick(&[Method::GET.as_str(), "POST", "BREW"]);
        let method = Method::from_bytes(method.as_bytes()).expect("a token");
        let uri: Uri =
            input.pick(&["http://x/", "https://y:80/a?b", "http://x/a.B/C", "/a"]).parse().expect("a URI");
        let mut block = Vec::new();
        encoder.request(&method, &uri, &fields, &mut block);
        let read = decoder.request(&block, MAX_LIST);
        let Ok(head) = read else { panic!("{block:x?} of {method} {uri} {fields:?} is read as {read:?}") };
        assert_eq!((&head.parts.method, &head.parts.uri), (&method, &uri));
        fields.remove("connection");
        if fields.get_all("te").iter().any(|te| te != "trailers") {
            let kept: Vec<HeaderValue> =
                fields.get_all("te").iter().filter(|te| *te == "trailers").cloned().collect();
            fields.remove("te");
            fields.extend(kept.into_iter().map(|te| (TE, te)));
        }
        assert_eq!(head.parts.headers, fields, "{block:x?}");
    }
}

/// RFC 7541 appendix A.
const STATIC: [(&str, &str); 61] = [
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
];
