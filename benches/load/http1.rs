//! HTTP/1.1 as a caller speaks it: a request made once but for what varies, and answers framed by `content-length` (RFC 9112).

use std::cell::RefCell;

use memchr::memmem;

use crate::outbox::Outbox;
use crate::tally::Fault;
use crate::varied::{Numbers, Varied};

const MAX_HEAD_BYTES: usize = 64 * 1024;

/// A request: a head in which spots may vary, and its body.
pub(crate) struct Template {
    head: Varied,
    numbers: Numbers,
    /// Of a head that varies, in its latest form.
    written: RefCell<Vec<u8>>,
    /// Head and body, or only the body if the head varies: what is never copied.
    pub(crate) shared: Vec<u8>,
}

impl Template {
    pub(crate) fn new(
        method: &str,
        path: &str,
        host: &str,
        headers: &[(String, String)],
        body: &[u8],
    ) -> Template {
        let mut head = Varied::default();
        head.push(&format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\n"));
        for (name, value) in headers {
            head.push(&format!("{name}: "));
            head.push_pattern(value);
            head.push("\r\n");
        }
        if method != "GET" {
            head.push(&format!("content-length: {}\r\n", body.len()));
        }
        head.push("\r\n");
        let (numbers, mut shared) = (Numbers::default(), Vec::new());
        if head.is_fixed() {
            head.write(&numbers, &mut shared);
        }
        shared.extend_from_slice(body);
        Template { head, numbers, written: RefCell::default(), shared }
    }

    /// Queues it once.
    pub(crate) fn send(&self, outbox: &mut Outbox) {
        if !self.head.is_fixed() {
            let mut written = self.written.borrow_mut();
            written.clear();
            self.head.write(&self.numbers, &mut written);
            outbox.push(&written);
        }
        outbox.push_shared(0, self.shared.len());
    }
}

/// A whole answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body_bytes: u64,
    /// The connection is not to be used again.
    pub(crate) closes: bool,
}

/// Reads the answers of one connection, one request at a time.
#[derive(Default)]
pub(crate) struct Reader {
    /// A head whose end has not come.
    partial: Vec<u8>,
    /// The answer whose body is coming, and how much of it is missing.
    body: Option<(Answer, u64)>,
    /// The last head, and what it said: most are like the one before.
    last: (Vec<u8>, Option<Answer>),
}

impl Reader {
    /// Takes what arrived; the answer, if this ends it. Bytes behind an answer are nobody's: a fault.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> Result<Option<Answer>, Fault> {
        if self.body.is_some() {
            return self.take_body(bytes);
        }
        if self.partial.is_empty() {
            return self.take_head(bytes);
        }
        let mut whole = std::mem::take(&mut self.partial);
        whole.extend_from_slice(bytes);
        self.take_head(&whole)
    }

    fn take_head(&mut self, bytes: &[u8]) -> Result<Option<Answer>, Fault> {
        let mut rest = bytes;
        loop {
            let Some(end) = memmem::find(rest, b"\r\n\r\n") else {
                if rest.len() > MAX_HEAD_BYTES {
                    return Err(Fault::Body);
                }
                self.partial.extend_from_slice(rest);
                return Ok(None);
            };
            let (head, after) = rest.split_at(end + 4);
            let answer = match &self.last {
                (known, Some(answer)) if known == head => *answer,
                _ => {
                    let answer = parse(head)?;
                    self.last.0.clear();
                    self.last.0.extend_from_slice(head);
                    self.last.1 = Some(answer);
                    answer
                }
            };
            rest = after;
            if answer.status >= 200 {
                self.body = Some((answer, answer.body_bytes));
                return self.take_body(rest);
            }
        }
    }

    fn take_body(&mut self, bytes: &[u8]) -> Result<Option<Answer>, Fault> {
        let Some((answer, missing)) = &mut self.body else { return Err(Fault::Body) };
        *missing = missing.checked_sub(bytes.len() as u64).ok_or(Fault::Body)?;
        if *missing > 0 {
            return Ok(None);
        }
        let answer = *answer;
        self.body = None;
        Ok(Some(answer))
    }
}

/// Reads a head; one whose body has no length in front is refused, as its end could not be told from a cut.
fn parse(head: &[u8]) -> Result<Answer, Fault> {
    let status = match head {
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'0' | b'1', b' ', a, b, c, b' ' | b'\r', ..] => {
            str::from_utf8(&[*a, *b, *c]).ok().and_then(|digits| digits.parse::<u16>().ok())
        }
        _ => None,
    }
    .ok_or(Fault::Body)?;
    let (mut length, mut closes) = (None, head.get(7) == Some(&b'0'));
    for line in head.split(|byte| *byte == b'\n') {
        let Some(colon) = memchr::memchr(b':', line) else { continue };
        let (name, value) = line.split_at(colon);
        let value = value[1..].trim_ascii();
        if name.eq_ignore_ascii_case(b"content-length") {
            length = str::from_utf8(value).ok().and_then(|value| value.parse().ok());
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            return Err(Fault::Body);
        } else if name.eq_ignore_ascii_case(b"connection") {
            closes |= value.eq_ignore_ascii_case(b"close");
        }
    }
    let bodiless = status < 200 || status == 204 || status == 304;
    let body_bytes = if bodiless { 0 } else { length.ok_or(Fault::Body)? };
    Ok(Answer { status, body_bytes, closes })
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    use super::*;

    const REPLY: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length:  5 \r\n\r\nhello";

    fn answer(status: u16, body_bytes: u64, closes: bool) -> Answer {
        Answer { status, body_bytes, closes }
    }

    #[test]
    fn an_answer_is_the_same_however_it_is_cut() {
        for cut in 0..=REPLY.len() {
            let mut reader = Reader::default();
            let (before, after) = REPLY.split_at(cut);
            let first = reader.take(before).expect("no fault");
            let answers = [first, if first.is_none() { reader.take(after).expect("no fault") } else { None }];
            assert_eq!(
                answers.iter().flatten().collect::<Vec<_>>(),
                [&answer(200, 5, false)],
                "cut at {cut}"
            );
        }
    }

    #[test]
    fn a_reader_starts_afresh_behind_each_answer() {
        let mut reader = Reader::default();
        assert_eq!(reader.take(REPLY), Ok(Some(answer(200, 5, false))));
        assert_eq!(reader.take(REPLY), Ok(Some(answer(200, 5, false))));
        let closing = b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
        assert_eq!(reader.take(closing), Ok(Some(answer(503, 0, true))));
        let early = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n";
        assert_eq!(reader.take(early), Ok(Some(answer(204, 0, false))));
    }

    #[test]
    fn what_cannot_be_framed_is_a_fault() {
        let behind = [REPLY, b"!"].concat();
        let cases: [&[u8]; 6] = [
            &behind,
            b"HTTP/1.1 200 OK\r\n\r\n",
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
            b"HTTP/1.1 2x0 OK\r\ncontent-length: 0\r\n\r\n",
            b"HTTP/2 200\r\ncontent-length: 0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        ];
        for case in cases {
            assert_eq!(
                Reader::default().take(case),
                Err(Fault::Body),
                "{:?}",
                case.escape_ascii().to_string()
            );
        }
    }

    fn sent(template: &Template) -> String {
        let (ours, mut theirs) = UnixStream::pair().expect("a pair of sockets");
        let mut outbox = Outbox::default();
        template.send(&mut outbox);
        assert!(outbox.write(&ours, &template.shared).expect("a write"));
        drop(ours);
        let mut text = String::new();
        theirs.read_to_string(&mut text).expect("text");
        text
    }

    #[test]
    fn a_request_says_how_long_its_body_is() {
        let headers = [("content-type".to_owned(), "text/plain".to_owned())];
        assert_eq!(
            sent(&Template::new("POST", "/x", "h", &headers, b"abc")),
            "POST /x HTTP/1.1\r\nhost: h\r\ncontent-type: text/plain\r\ncontent-length: 3\r\n\r\nabc"
        );
    }

    #[test]
    fn a_head_that_varies_is_new_each_time_and_its_body_the_same() {
        let headers = [("x-request-id".to_owned(), "{8x}".to_owned())];
        let template = Template::new("POST", "/x", "h", &headers, b"{8x}");
        let (one, other) = (sent(&template), sent(&template));
        assert_ne!(one, other);
        for text in [one, other] {
            assert!(text.starts_with("POST /x HTTP/1.1\r\nhost: h\r\nx-request-id: "), "{text}");
            assert!(text.ends_with("\r\ncontent-length: 4\r\n\r\n{8x}"), "{text}");
        }
    }
}
