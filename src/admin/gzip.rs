//! Pages of metrics packed for scrapers that take it: the same few names stand in every line, so that gzip makes a
//! thirtieth of them.
//!
//! Law: a page is packed piece by piece as it is made, so that neither form of it is ever in memory as a whole; and as
//! the thread is everybody's, others have their turn between two pieces.

use std::cell::Cell;
use std::io::Write as _;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::HeaderMap;
use http::header::ACCEPT_ENCODING;

use crate::transport::endpoint::AnswerBody;

/// Pages that are packed at once: each takes about 300 KiB meanwhile. Further ones go out as they are.
const MAX_AT_ONCE: usize = 8;

thread_local! {
    static AT_ONCE: Cell<usize> = const { Cell::new(0) };
}

/// Whether who asks takes gzip: it is named, and not to be had for nothing (RFC 9110, 12.5.3).
pub(super) fn is_taken(headers: &HeaderMap) -> bool {
    let fields = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    let mut codings = fields.flat_map(|field| field.split(','));
    codings.any(|coding| {
        let (name, parameters) = coding.split_once(';').unwrap_or((coding, ""));
        let name = name.trim();
        (name.eq_ignore_ascii_case("gzip") || name.eq_ignore_ascii_case("x-gzip")) && !is_nought(parameters)
    })
}

/// Whether `q=0`, `q=0.000`.
fn is_nought(parameters: &str) -> bool {
    let parameter = |text: &str| {
        let (name, value) = text.split_once('=')?;
        name.trim().eq_ignore_ascii_case("q").then(|| value.trim().parse::<f32>().unwrap_or(0.0))
    };
    parameters.split(';').find_map(parameter).is_some_and(|quality| quality <= 0.0)
}

/// The same body packed; as it was where it is short, or where enough others are being packed.
pub(super) fn packed(body: AnswerBody) -> Result<AnswerBody, AnswerBody> {
    match body {
        AnswerBody::Pieces(pieces) => match Place::take() {
            Some(place) => {
                let encoder = GzEncoder::new(Vec::new(), Compression::fast());
                Ok(AnswerBody::Pieces(Box::new(Packed { pieces, encoder: Some(encoder), _place: place })))
            }
            None => Err(AnswerBody::Pieces(pieces)),
        },
        whole => Err(whole),
    }
}

/// One of the pages that are being packed.
struct Place;

impl Place {
    fn take() -> Option<Place> {
        let taken = AT_ONCE.get();
        (taken < MAX_AT_ONCE).then(|| {
            AT_ONCE.set(taken + 1);
            Place
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        AT_ONCE.set(AT_ONCE.get() - 1);
    }
}

struct Packed {
    pieces: Box<dyn Iterator<Item = Bytes>>,
    /// `None`: it has ended.
    encoder: Option<GzEncoder<Vec<u8>>>,
    _place: Place,
}

impl Iterator for Packed {
    type Item = Bytes;

    /// What came of one piece; mostly nothing, until enough has gathered.
    fn next(&mut self) -> Option<Bytes> {
        let Some(piece) = self.pieces.next() else {
            return self.encoder.take()?.finish().ok().map(Bytes::from);
        };
        let encoder = self.encoder.as_mut()?;
        // Into memory: that does not fail.
        encoder.write_all(&piece).ok()?;
        Some(std::mem::take(encoder.get_mut()).into())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use flate2::read::GzDecoder;
    use http::HeaderValue;

    use super::*;

    fn taken(fields: &[&'static str]) -> bool {
        let fields = fields.iter().map(|field| (ACCEPT_ENCODING, HeaderValue::from_static(field)));
        is_taken(&fields.collect())
    }

    #[test]
    fn gzip_is_taken_where_it_is_named_and_worth_something() {
        for fields in
            [&["gzip"][..], &["deflate, GZIP ;q=0.5"], &["br", "x-gzip"], &["gzip;q=1.000,identity"]]
        {
            assert!(taken(fields), "{fields:?}");
        }
        for fields in
            [&[][..], &["*"], &["identity"], &["gzip;q=0"], &["gzip; Q=0.000"], &["gzipped"], &["gzip;q=x"]]
        {
            assert!(!taken(fields), "{fields:?}");
        }
    }

    fn pieces(count: usize) -> AnswerBody {
        AnswerBody::Pieces(Box::new(
            (0..count).map(|number| format!("piece {number}\n").repeat(1_000).into()),
        ))
    }

    fn bytes(body: AnswerBody) -> Vec<u8> {
        let AnswerBody::Pieces(pieces) = body else { panic!("{body:?}") };
        pieces.flatten().collect()
    }

    #[test]
    fn what_is_packed_is_what_was_there() {
        for count in [0, 1, 300] {
            let packed = bytes(packed(pieces(count)).expect("it is packed"));
            let mut page = Vec::new();
            GzDecoder::new(&packed[..]).read_to_end(&mut page).expect("gzip");
            assert!(page == bytes(pieces(count)), "{count}");
            assert!(count < 2 || packed.len() < page.len() / 20, "{} of {}", packed.len(), page.len());
        }
    }

    #[test]
    fn of_more_pages_at_once_than_there_are_places_the_last_is_not_packed() {
        let mut open: Vec<_> = (0..MAX_AT_ONCE).map(|_| packed(pieces(1)).expect("a place")).collect();
        assert!(packed(pieces(1)).is_err());
        open.pop();
        assert!(packed(pieces(1)).is_ok(), "a page that has gone, whole or not, gives its place back");
        assert!(packed(AnswerBody::from("short")).is_err());
    }
}
