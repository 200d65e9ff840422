//! A battery of misbehaving upstreams: one row for each misbehaviour, asked for by every kind of caller.
//!
//! Laws: a row says what its upstream does once it has read a request, what the caller must see, and whether the
//! connection may serve again. A well-behaved request follows each row; bytes that say `evil` reach nobody. All rows
//! that fail are told at once, each with its name.
// Compiled into several tests, few of which use all of it; `pub` marks what they call.
#![allow(dead_code, unreachable_pub, clippy::expect_used)]

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, StatusCode};
use http_body::Frame;
use http_body_util::BodyExt;
use tempfile::TempDir;

use crate::common::world::client::{Client, grpc, request};
use crate::common::world::raw::RawUpstream;
use crate::common::world::upstream::{BoxBody, channel, empty, full, grpc_message};
use crate::common::world::{Http, World, lines_of, one_service};

/// How long one row may take for one caller: milliseconds, unless something hangs.
const ROW: Duration = Duration::from_secs(5);
/// After it no further row is tried: what went wrong so far must still be told.
const ALL_ROWS: Duration = Duration::from_secs(90);

/// What the body of an [`Upload::Open`] begins with.
pub const BEGUN: &[u8] = b"begun";

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    Http1,
    Http2,
    Grpc,
}

impl Caller {
    pub const ALL: [Caller; 3] = [Caller::Http1, Caller::Http2, Caller::Grpc];

    pub fn http(self) -> Http {
        if self == Caller::Http1 { Http::One } else { Http::Two }
    }
}

/// What an upstream does.
pub enum Step {
    /// Writes bytes, made for the request's stream (HTTP/2).
    Write(Box<dyn Fn(u32) -> Vec<u8>>),
    /// Reads what an [`Upload::Open`] has begun with (HTTP/1), so that a close is one in order: with bytes that were not
    /// read the system makes a reset of it.
    Begun,
    /// Waits until the caller has the answer's head.
    Head,
    /// Writes bytes one by one, each a packet of its own.
    Slowly(Vec<u8>),
    /// Writes the bytes again and again, until the proxy has gone.
    Endless(Box<dyn Fn(u32) -> Vec<u8>>),
    /// Waits for a PING's acknowledgement (HTTP/2).
    PingAck,
    /// Closes in order.
    Fin,
    /// Resets the TCP connection.
    Rst,
    /// Says nothing more, and reads until the proxy closes.
    Hold,
}

/// Bytes as they are.
pub fn write(bytes: impl AsRef<[u8]>) -> Step {
    let bytes = bytes.as_ref().to_vec();
    Step::Write(Box::new(move |_| bytes.clone()))
}

/// Bytes for the request's stream.
pub fn frames(make: impl Fn(u32) -> Vec<u8> + 'static) -> Step {
    Step::Write(Box::new(make))
}

/// Weir's own answers: status, body, flag and details stand in one place, docs/wire.md.
#[derive(Clone, Copy, Debug)]
pub enum Ours {
    Closed,
    Reset,
    Refused,
    Protocol,
    Connect,
    ConnectTimeout,
    Timeout,
    Idle,
}

impl Ours {
    /// Status, text, flag, details.
    fn row(self) -> (u16, String, &'static str, String) {
        let reset = |status, why: &str, flag| {
            let text = format!(
                "upstream connect error or disconnect/reset before headers. reset reason: {}",
                why.replace('_', " ")
            );
            (status, text, flag, format!("upstream_reset_before_response_started{{{why}}}"))
        };
        match self {
            Ours::Closed => reset(503, "connection_termination", "UC"),
            Ours::Reset => reset(503, "remote_reset", "UR"),
            Ours::Refused => reset(503, "remote_refused_stream_reset", "UR"),
            Ours::Protocol => reset(502, "protocol_error", "UPE"),
            Ours::Connect => reset(503, "remote_connection_failure", "UF"),
            Ours::ConnectTimeout => reset(503, "connection_timeout", "UF"),
            Ours::Timeout => (504, "upstream request timeout".into(), "UT", "response_timeout".into()),
            Ours::Idle => (504, "stream timeout".into(), "SI", "stream_idle_timeout".into()),
        }
    }
}

/// What a caller must see.
#[derive(Clone, Copy, Debug)]
pub enum Outcome {
    /// The upstream's answer, whole: status and body.
    Whole(u16, &'static str),
    /// Weir's answer.
    Ours(Ours),
    /// The upstream's status, then a visible cut, logged with one of these flags.
    Cut(u16, &'static [&'static str]),
}

/// Whether the next request may, must or must not take the same connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reuse {
    Must,
    May,
    Never,
}

/// What becomes of the request's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upload {
    /// The upstream reads it before it does anything.
    Read,
    /// It has begun and does not end before the answer; the upstream does not read it first.
    Open,
    /// More than all buffers hold; the upstream does not read it first.
    Large,
}

/// Large enough that it is still being written when an upstream that does not read it goes.
const LARGE: usize = 8 << 20;

/// One misbehaviour.
pub struct Row {
    pub name: String,
    /// Where it is written.
    pub rfc: &'static str,
    pub method: Method,
    pub steps: Rc<[Step]>,
    pub outcome: Outcome,
    pub reuse: Reuse,
    /// How often the request is sent.
    pub attempts: usize,
    pub upload: Upload,
}

impl Row {
    /// A POST that is sent once.
    pub fn new(
        name: impl Into<String>,
        rfc: &'static str,
        steps: impl Into<Rc<[Step]>>,
        outcome: Outcome,
        reuse: Reuse,
    ) -> Row {
        Row {
            name: name.into(),
            rfc,
            method: Method::POST,
            steps: steps.into(),
            outcome,
            reuse,
            attempts: 1,
            upload: Upload::Read,
        }
    }

    pub fn uploading(self, upload: Upload) -> Row {
        Row { upload, ..self }
    }

    pub fn by(self, method: Method) -> Row {
        Row { method, ..self }
    }

    pub fn attempts(self, attempts: usize) -> Row {
        Row { attempts, ..self }
    }
}

/// What the upstream is to do next, and what it was asked.
#[derive(Default)]
pub struct Book {
    current: RefCell<Option<(usize, Rc<[Step]>)>>,
    /// Whether the next request is taken by its head alone.
    early: Cell<bool>,
    /// The requests whose callers have the head of an answer.
    heads: RefCell<HashSet<usize>>,
    /// Request by number -> the connections it came by.
    sent: RefCell<HashMap<usize, Vec<usize>>>,
    /// The requests whose steps were done, or could not be done further.
    done: RefCell<HashSet<usize>>,
    /// The requests whose rows are over.
    over: RefCell<HashSet<usize>>,
    /// The connections that have ended.
    closed: RefCell<HashSet<usize>>,
}

impl Book {
    /// A request came by this connection; what to do.
    pub fn take(&self, connection: usize) -> Option<(usize, Rc<[Step]>)> {
        let (id, steps) = self.current.borrow().clone()?;
        self.sent.borrow_mut().entry(id).or_default().push(connection);
        Some((id, steps))
    }

    /// Whether the next request's body stays unread.
    pub fn is_early(&self) -> bool {
        self.early.get()
    }

    /// Waits until the caller of the request has a head.
    pub async fn head_seen(&self, id: usize) {
        while !self.heads.borrow().contains(&id) && !self.over.borrow().contains(&id) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Every step of the request was done.
    pub fn steps_done(&self, id: usize) {
        self.done.borrow_mut().insert(id);
    }

    /// Waits until the row of the request is over: what its upstream holds then is of no more use.
    pub async fn row_over(&self, id: usize) {
        while !self.over.borrow().contains(&id) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// The connection has ended.
    pub fn connection_closed(&self, number: usize) {
        self.closed.borrow_mut().insert(number);
    }

    fn connections_of(&self, id: usize) -> Vec<usize> {
        self.sent.borrow().get(&id).cloned().unwrap_or_default()
    }
}

/// What a caller saw.
enum Seen {
    /// No head came.
    NoHead(String),
    /// A head, some bytes, and how they ended: `None` is a clean end.
    Answer { status: StatusCode, headers: http::HeaderMap, body: Vec<u8>, cut: Option<String> },
}

/// Short enough to be read in a list.
impl std::fmt::Debug for Seen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Seen::NoHead(error) => write!(f, "no head ({error})"),
            Seen::Answer { status, body, cut, headers } => {
                let body = String::from_utf8_lossy(body);
                write!(f, "{} `{body:.200}`", status.as_u16())?;
                if let Some(status) = headers.get("grpc-status") {
                    write!(f, ", gRPC {status:?} {:?}", headers.get("grpc-message"))?;
                }
                cut.as_ref().map_or(Ok(()), |error| write!(f, ", cut ({error})"))
            }
        }
    }
}

/// A proxy before one misbehaving upstream.
pub struct Battery {
    pub world: World,
    pub book: Rc<Book>,
    upstream: RawUpstream,
    folder: TempDir,
    next_id: Cell<usize>,
    next_steps: Rc<[Step]>,
    /// What is waited for, for the report of a row that hangs.
    phase: Cell<&'static str>,
}

impl Battery {
    /// `settings` are the service's, `rest` stands at the end of weir.yaml; `next` is how the upstream answers a
    /// well-behaved request: `next`.
    pub async fn start(
        settings: &[&str],
        rest: &str,
        upstream: RawUpstream,
        book: Rc<Book>,
        next: Step,
    ) -> Battery {
        let folder = tempfile::tempdir().expect("a folder");
        let log = folder.path().join("log");
        let yaml = format!(
            "{}{rest}\naccess_log: {{path: \"{}\", format: \"%REQ(X-CASE)% %RESPONSE_CODE% %RESPONSE_FLAGS% \
             %RESPONSE_CODE_DETAILS% %UPSTREAM_REQUEST_ATTEMPT_COUNT%\\n\"}}\n",
            one_service(settings, &[(&upstream.at(), "v1")]),
            log.display()
        );
        let world = World::start(&yaml).await;
        Battery {
            world,
            book,
            upstream,
            folder,
            next_id: Cell::new(0),
            next_steps: [next].into(),
            phase: Cell::new(""),
        }
    }

    /// Tries each row with each caller, and tells every one that went wrong.
    pub async fn run(&self, rows: &[Row]) {
        let mut faults = Vec::new();
        let (mut tried, start) = (0, Instant::now());
        for row in rows {
            if start.elapsed() > ALL_ROWS {
                faults.push(format!("not tried, for want of time: {} and all below", row.name));
                break;
            }
            for caller in Caller::ALL {
                if caller == Caller::Grpc && row.method != Method::POST {
                    continue;
                }
                tried += 1;
                let verdict = match tokio::time::timeout(ROW, self.check(row, caller)).await {
                    Ok(verdict) => verdict,
                    Err(_) => Err(format!("waits for {} after {ROW:?}", self.phase.get())),
                };
                let ids = 0..self.next_id.get();
                self.book.over.borrow_mut().extend(ids);
                if let Err(fault) = verdict {
                    let Row { name, rfc, method, upload, .. } = row;
                    faults.push(format!("{name} [{rfc}] {method} by {caller:?}, {upload:?}: {fault}"));
                }
            }
        }
        assert!(faults.is_empty(), "{} of {tried} failed:\n{}", faults.len(), faults.join("\n"));
        self.all_is_back().await;
    }

    /// Nothing is in flight, and no connection stays open beyond its idle time.
    async fn all_is_back(&self) {
        self.world.counts("http_downstream_rq_active", 0.0).await;
        self.world.counts("cluster_upstream_rq_active", 0.0).await;
        self.world.counts("cluster_upstream_rq_pending_active", 0.0).await;
        self.world.counts("cluster_upstream_cx_active", 0.0).await;
    }

    async fn check(&self, row: &Row, caller: Caller) -> Result<(), String> {
        let mut client = Client::connect(caller.http(), self.world.addr("in")).await;
        let id = self.begin(row.steps.clone(), row.upload);
        let (mut request, mut upload) = (caller_request(caller, &row.method, id), None);
        match row.upload {
            Upload::Read => {}
            Upload::Open => {
                let (sender, body) = channel();
                sender.send(Frame::data(Bytes::from_static(BEGUN))).expect("the body is there");
                upload = Some(sender);
                *request.body_mut() = body;
            }
            Upload::Large => *request.body_mut() = full(vec![b'a'; LARGE]),
        }
        self.phase.set("the answer");
        let seen = self.ask(&mut client, request, id).await;
        self.phase.set("the log");
        let logged = self.logged(id).await;
        // What the caller still had to send ends here.
        drop(upload);
        let logged = logged?;
        judge(row, caller, &seen, &logged)?;
        let sent = self.book.connections_of(id);
        if sent.len() != row.attempts {
            return Err(format!("sent {} times, not {}; {logged:?}", sent.len(), row.attempts));
        }
        // What comes late is there before the next request is.
        let waits = matches!(row.steps.last(), Some(Step::Hold | Step::Endless(_)));
        self.wait("the steps", || waits || self.book.done.borrow().contains(&id)).await?;
        let used = sent.last().copied().expect("at least one");
        self.follow_up(row, caller, client, used).await?;
        let kept = row.reuse != Reuse::Never;
        self.phase.set("the connection's end");
        self.wait("the connection's end", || kept || self.book.closed.borrow().contains(&used)).await
    }

    async fn wait(&self, what: &str, check: impl Fn() -> bool) -> Result<(), String> {
        let start = Instant::now();
        while !check() {
            if start.elapsed() > ROW / 2 {
                return Err(format!("{what} did not come"));
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    }

    /// A well-behaved request gets its own answer, by the right connection.
    async fn follow_up(
        &self,
        row: &Row,
        caller: Caller,
        mut client: Client,
        used: usize,
    ) -> Result<(), String> {
        self.phase.set("the caller's connection");
        let closed = match &mut client {
            // hyper's client does not always see that it may go on when the answer came before its body's end.
            Client::One(_) if row.upload != Upload::Read => true,
            Client::One(sender) => sender.ready().await.is_err(),
            Client::Two(sender) => sender.ready().await.is_err(),
        };
        if closed {
            client = Client::connect(caller.http(), self.world.addr("in")).await;
        }
        let id = self.begin(self.next_steps.clone(), Upload::Read);
        self.phase.set("the next answer");
        let next = self.ask(&mut client, caller_request(Caller::Http1, &Method::GET, id), id).await;
        match &next {
            Seen::Answer { status, body, cut: None, .. } if *status == 200 && body == b"next" => {}
            other => return Err(format!("the next request got {other:?}, {:?}", self.logged(id).await)),
        }
        let by = self.book.connections_of(id);
        match (row.reuse, &by[..]) {
            (Reuse::Must, [only]) if *only == used => Ok(()),
            (Reuse::Never, [only]) if *only != used => Ok(()),
            (Reuse::May, [_]) => Ok(()),
            _ => Err(format!("the next request went by {by:?} after {used}; reuse: {:?}", row.reuse)),
        }
    }

    /// From now on the upstream does `steps`.
    fn begin(&self, steps: Rc<[Step]>, upload: Upload) -> usize {
        let id = self.next_id.get();
        self.book.early.set(upload != Upload::Read);
        self.next_id.set(id + 1);
        self.book.current.replace(Some((id, steps)));
        id
    }

    async fn ask(&self, client: &mut Client, request: http::Request<BoxBody>, id: usize) -> Seen {
        let response = match client.begin(request).await {
            Ok(response) => response,
            Err(error) => return Seen::NoHead(format!("{error:?}")),
        };
        self.book.heads.borrow_mut().insert(id);
        let (head, mut incoming) = response.into_parts();
        let (mut body, mut cut) = (Vec::new(), None);
        while let Some(frame) = incoming.frame().await {
            match frame {
                Ok(frame) => body.extend(frame.into_data().unwrap_or_default()),
                Err(error) => {
                    cut = Some(format!("{error:?}"));
                    break;
                }
            }
        }
        Seen::Answer { status: head.status, headers: head.headers, body, cut }
    }

    /// The line of the request: status, flags, details, attempts.
    async fn logged(&self, id: usize) -> Result<Vec<String>, String> {
        let start = Instant::now();
        let wanted = format!("{id} ");
        loop {
            let whole = lines_of(&self.folder.path().join("log"));
            if let Some(line) = whole.iter().find_map(|line| line.strip_prefix(&wanted)) {
                return Ok(line.split_whitespace().map(str::to_owned).collect());
            }
            if start.elapsed() > ROW / 2 {
                return Err("no line in the access log".into());
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// How many connections the upstream has had.
    pub fn connections(&self) -> usize {
        self.upstream.connections()
    }
}

fn caller_request(caller: Caller, method: &Method, id: usize) -> http::Request<BoxBody> {
    let (begun, body) = match caller {
        Caller::Grpc => (grpc("/s/m"), full(grpc_message(b"{}"))),
        _ if *method == Method::POST => (request(Method::POST, "/m"), full(Bytes::from_static(b"{}"))),
        _ => (request(method.clone(), "/m"), empty()),
    };
    begun.header("x-case", id.to_string()).body(body).expect("a request")
}

fn judge(row: &Row, caller: Caller, seen: &Seen, logged: &[String]) -> Result<(), String> {
    let wrong = || Err(format!("expected {:?}, saw {seen:?}, logged {logged:?}", row.outcome));
    let [code, flags, details, attempts] = logged else { return wrong() };
    if attempts.parse() != Ok(row.attempts) {
        return wrong();
    }
    // As Envoy: the flag of the last attempt, and that no further one was allowed.
    let flags = flags.strip_prefix("URX,").filter(|_| row.attempts > 1).unwrap_or(flags);
    let Seen::Answer { status, headers, body, cut } = seen else { return wrong() };
    if body.windows(4).any(|window| window == b"evil") {
        return wrong();
    }
    match row.outcome {
        Outcome::Whole(expected, text) => {
            let whole = *status == expected && body == text.as_bytes() && cut.is_none();
            let told = *code == expected.to_string() && flags == "-" && details == "via_upstream";
            if whole && told { Ok(()) } else { wrong() }
        }
        Outcome::Ours(ours) => {
            let (expected, text, flag, its_details) = ours.row();
            let text = match row.attempts {
                2.. => text.replace(" reset reason: ", " retried and the latest reset reason: "),
                _ => text,
            };
            let whole = cut.is_none() && flags == flag && *details == its_details;
            let of = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
            let answer = if caller == Caller::Grpc {
                *status == 200 && of("grpc-status") == Some("14") && of("grpc-message") == Some(&text)
            } else {
                let body_is_there = row.method == Method::HEAD || body == text.as_bytes();
                *status == expected && body_is_there && *code == expected.to_string()
            };
            if whole && answer { Ok(()) } else { wrong() }
        }
        Outcome::Cut(expected, one_of) => {
            let visible = *status == expected && cut.is_some();
            let told = *code == expected.to_string() && one_of.contains(&flags);
            if visible && told { Ok(()) } else { wrong() }
        }
    }
}
