//! Callers that leave: the upstream hears of it within 200 ms, whichever way they leave and however far the request
//! is; everything that was held for it is given back, and the upstream is not blamed.
// What stands outside a `#[test]` is a test's all the same.
#![allow(clippy::expect_used)]

mod common {
    pub(crate) mod world;
}
mod wire_upstream;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use common::world::client::{Client, connect_from};
use common::world::raw::{Raw, RawUpstream};
use common::world::{Http, World, one_service, run, soon, until};
use tokio::task::{AbortHandle, spawn_local};
use wire_upstream::http1_server::Peer;
use wire_upstream::http2_server::{HEADERS, RST_STREAM, data, greet, headers, next_frame};

/// The bound of the specification.
const PROMPT: Duration = Duration::from_millis(200);
/// For each way, phase and upstream: 34 x 5 x 3 x 2 = 1,020.
const TIMES: usize = 34;
const CANCEL: u32 = 8;

/// How a caller leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Http1Close,
    Http1Reset,
    Http2Stream,
    Http2Close,
    Http2Reset,
}

const WAYS: [Way; 5] = [Way::Http1Close, Way::Http1Reset, Way::Http2Stream, Way::Http2Close, Way::Http2Reset];

/// How far the request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    BeforeHead,
    InUpload,
    InDownload,
}

const PHASES: [Phase; 3] = [Phase::BeforeHead, Phase::InUpload, Phase::InDownload];

/// What the upstream has seen.
#[derive(Default)]
struct Seen {
    begun: Cell<usize>,
    /// When it heard of the end of each request, and how.
    ended: RefCell<Vec<(Instant, String)>>,
}

impl Seen {
    fn end(&self, how: impl Into<String>) {
        self.ended.borrow_mut().push((Instant::now(), how.into()));
    }
}

/// Takes requests and never ends one; a GET of `/download` gets the beginning of an answer.
async fn upstream(http: Http, seen: Rc<Seen>) -> RawUpstream {
    RawUpstream::start(move |raw, _| {
        let (mut peer, seen) = (Peer::over(raw.into_stream()), seen.clone());
        async move {
            match http {
                Http::One => one_request(&mut peer, &seen).await,
                Http::Two => all_streams(&mut peer, &seen).await,
            }
            String::new()
        }
    })
    .await
}

async fn one_request(peer: &mut Peer, seen: &Seen) {
    let Some(head) = peer.until(b"\r\n\r\n").await else { return };
    seen.begun.set(seen.begun.get() + 1);
    if head.contains("/download") {
        let _ = peer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nbegun").await;
    }
    // A request that were completed instead of cut would be a request that nobody has made.
    let _ = peer.exactly(1_000).await;
    seen.end("closed");
}

async fn all_streams(peer: &mut Peer, seen: &Seen) {
    if greet(peer, &[]).await.is_none() {
        return;
    }
    while let Some(frame) = next_frame(peer).await {
        match frame.kind {
            HEADERS => {
                seen.begun.set(seen.begun.get() + 1);
                if PHASE.get() == Phase::InDownload {
                    let head = [(":status", "200"), ("content-length", "1000")];
                    let begun = data(frame.stream, "begun", false);
                    let _ = peer.write(&[headers(frame.stream, &head, false), begun].concat()).await;
                }
            }
            RST_STREAM => seen.end(format!("{:?}", frame.payload)),
            _ => {}
        }
    }
}

thread_local! {
    /// The phase of the request that comes next: HTTP/2 heads are not decoded.
    static PHASE: Cell<Phase> = const { Cell::new(Phase::BeforeHead) };
}

/// A request that has got as far as it should.
enum Underway {
    One(Raw),
    Two { request: Option<Request>, connection: AbortHandle },
}

/// What keeps an HTTP/2 stream open.
struct Request {
    _response: Option<h2::client::ResponseFuture>,
    _body: Option<h2::RecvStream>,
    upload: h2::SendStream<Bytes>,
}

/// A caller's HTTP/2 connection.
struct Http2 {
    sender: h2::client::SendRequest<Bytes>,
    connection: AbortHandle,
}

impl Http2 {
    async fn connect(world: &World, reset: bool) -> Http2 {
        let stream = connect_from(None, world.addr("in")).await;
        if reset {
            stream.set_zero_linger().expect("linger");
        }
        let (sender, connection) = h2::client::handshake(stream).await.expect("a handshake");
        let connection = spawn_local(async move { drop(connection.await) }).abort_handle();
        Http2 { sender, connection }
    }

    async fn begin(&self, phase: Phase) -> Request {
        let uri = "http://x.default.svc.cluster.local";
        let request = match phase {
            Phase::BeforeHead => http::Request::get(format!("{uri}/wait")),
            Phase::InUpload => http::Request::post(format!("{uri}/upload")).header("content-length", 1000),
            Phase::InDownload => http::Request::get(format!("{uri}/download")),
        };
        let request = request.body(()).expect("a request");
        let mut sender = soon("room for a stream", self.sender.clone().ready()).await.expect("ready");
        let (response, mut upload) =
            sender.send_request(request, phase != Phase::InUpload).expect("a stream");
        if phase == Phase::InUpload {
            upload.send_data(Bytes::from_static(b"begun"), false).expect("sent");
        }
        if phase != Phase::InDownload {
            return Request { _response: Some(response), _body: None, upload };
        }
        let mut body = soon("a head", response).await.expect("a head").into_body();
        soon("a piece", body.data()).await.expect("a piece").expect("whole");
        Request { _response: None, _body: Some(body), upload }
    }
}

async fn begin(world: &World, way: Way, phase: Phase) -> Underway {
    if matches!(way, Way::Http1Close | Way::Http1Reset) {
        let mut raw = Raw::connect(world.addr("in")).await;
        let host = "HTTP/1.1\r\nhost: x\r\n";
        match phase {
            Phase::BeforeHead => raw.write(format!("GET /wait {host}\r\n")).await,
            Phase::InUpload => {
                raw.write(format!("POST /upload {host}content-length: 1000\r\n\r\nbegun")).await;
            }
            Phase::InDownload => {
                raw.write(format!("GET /download {host}\r\n")).await;
                raw.read_until(b"begun").await.expect("a head and a piece");
            }
        }
        return Underway::One(raw);
    }
    let client = Http2::connect(world, way == Way::Http2Reset).await;
    let request = client.begin(phase).await;
    Underway::Two { request: Some(request), connection: client.connection }
}

impl Underway {
    /// Leaves. What is returned must live until the upstream has heard: it is not what is to be heard of.
    fn leave(self, way: Way) -> Option<AbortHandle> {
        match (self, way) {
            (Underway::One(raw), Way::Http1Reset) => {
                raw.into_stream().set_zero_linger().expect("linger");
                None
            }
            (Underway::One(raw), _) => {
                drop(raw);
                None
            }
            (Underway::Two { request, connection }, Way::Http2Stream) => {
                let mut request = request.expect("a request");
                request.upload.send_reset(h2::Reason::CANCEL);
                Some(connection)
            }
            (Underway::Two { request, connection }, _) => {
                connection.abort();
                // h2 would reset the stream as this goes; by now there is no connection to do it on.
                drop(request);
                None
            }
        }
    }
}

#[test]
fn a_thousand_callers_that_leave_are_heard_of_upstream_within_200_ms_and_leave_nothing_behind() {
    run(async || {
        let mut faults = Vec::new();
        for http in [Http::Two, Http::One] {
            let seen = Rc::<Seen>::default();
            let upstream = upstream(http, seen.clone()).await;
            // So few that what is not given back is soon missed.
            let breakers = "circuit_breakers: {requests: 4, pending: 4, connections: 4, retries: 1}";
            let settings = [&format!("protocol: {}", http.protocol()), breakers];
            let world = World::start(&one_service(&settings, &[(&upstream.at(), "v1")])).await;
            let mut expected = BTreeMap::new();
            let mut count = 0;
            for (way, phase) in WAYS.into_iter().flat_map(|way| PHASES.map(|phase| (way, phase))) {
                PHASE.set(phase);
                let mut slowest = Duration::ZERO;
                for _ in 0..TIMES {
                    let underway = begin(&world, way, phase).await;
                    until("the request upstream", || (seen.begun.get() > count).then_some(())).await;
                    let left = Instant::now();
                    let connection = underway.leave(way);
                    until("the upstream hears", || (seen.ended.borrow().len() > count).then_some(())).await;
                    let (heard, how) = seen.ended.borrow()[count].clone();
                    slowest = slowest.max(heard.saturating_duration_since(left));
                    if how != hears(http) {
                        faults.push(format!("{way:?} {phase:?} {http:?}: {how}"));
                    }
                    if let Some(connection) = connection {
                        connection.abort();
                    }
                    count += 1;
                }
                if slowest > PROMPT {
                    faults.push(format!("{way:?} {phase:?} {http:?}: {slowest:?}"));
                }
                let lines = world.log(count).await;
                let status = if phase == Phase::InDownload { 200 } else { 0 };
                let line = format!("{status} DC downstream_remote_disconnect 1 ");
                if let Some(other) = lines[count - TIMES..].iter().find(|other| !other.starts_with(&line)) {
                    faults.push(format!("{way:?} {phase:?} {http:?}: logged {other}"));
                }
                *expected.entry(status).or_insert(0) += TIMES;
            }
            assert!(faults.is_empty(), "{}", faults.join("\n"));
            nobody_is_blamed(&world, &expected).await;
            let connections = if http == Http::One { count } else { 1 };
            assert_eq!(upstream.connections(), connections, "{http:?}");
        }
    });
}

/// How an upstream hears that nobody waits.
fn hears(http: Http) -> String {
    match http {
        Http::One => "closed".into(),
        Http::Two => format!("{:?}", CANCEL.to_be_bytes()),
    }
}

/// The log tells who left, the gauges are back, and no counter says that the upstream failed.
async fn nobody_is_blamed(world: &World, expected: &BTreeMap<u16, usize>) {
    let count: usize = expected.values().sum();
    let mut told: BTreeMap<String, usize> = BTreeMap::new();
    for line in world.log(count).await {
        let words: Vec<&str> = line.split(' ').take(4).collect();
        *told.entry(words.join(" ")).or_default() += 1;
    }
    let expected: BTreeMap<String, usize> = expected
        .iter()
        .map(|(status, times)| (format!("{status} DC downstream_remote_disconnect 1"), *times))
        .collect();
    assert_eq!(told, expected, "what the log tells");
    for gauge in [
        "http_downstream_rq_active",
        "cluster_upstream_rq_active",
        "cluster_upstream_rq_pending_active",
        "cluster_circuit_breakers_default_rq_open",
        "cluster_circuit_breakers_default_rq_pending_open",
        "cluster_circuit_breakers_default_cx_open",
        "cluster_circuit_breakers_default_rq_retry_open",
        "cluster_upstream_rq_rx_reset",
        "cluster_upstream_rq_timeout",
        "cluster_upstream_rq_retry",
        "cluster_upstream_rq_pending_overflow",
        "cluster_upstream_rq_pending_failure_eject",
        "cluster_upstream_cx_connect_fail",
        "cluster_upstream_cx_overflow",
        "http_downstream_rq_tx_reset",
    ] {
        world.counts(gauge, 0.0).await;
    }
    world.counts("cluster_upstream_rq_total", count as f64).await;
    world.counts("cluster_upstream_rq_tx_reset", count as f64).await;
    world.counts("http_downstream_rq_rx_reset", count as f64).await;
    let clusters = Client::connect(Http::One, world.admin()).await.get("/clusters").await;
    assert!(clusters.text().contains("::rq_error::0\n"), "{}", clusters.text());
    assert!(clusters.text().contains("::rq_active::0\n"), "{}", clusters.text());
}

#[test]
fn a_connection_that_is_lost_with_a_hundred_streams_cancels_each_of_them_within_200_ms() {
    run(async || {
        for (http, reset) in Http::BOTH.into_iter().flat_map(|http| [(http, false), (http, true)]) {
            let seen = Rc::<Seen>::default();
            let upstream = upstream(http, seen.clone()).await;
            let settings = [&format!("protocol: {}", http.protocol())[..]];
            let world = World::start(&one_service(&settings, &[(&upstream.at(), "v1")])).await;
            PHASE.set(Phase::BeforeHead);
            let client = Http2::connect(&world, reset).await;
            let mut requests = Vec::new();
            for _ in 0..100 {
                requests.push(client.begin(Phase::BeforeHead).await);
            }
            until("all upstream", || (seen.begun.get() == 100).then_some(())).await;
            let left = Instant::now();
            client.connection.abort();
            until("all heard", || (seen.ended.borrow().len() == 100).then_some(())).await;
            let last = seen.ended.borrow().iter().map(|(heard, _)| *heard).max().expect("a hundred");
            let took = last.saturating_duration_since(left);
            assert!(took <= PROMPT, "{http:?}, reset: {reset}: {took:?}");
            drop(requests);
            nobody_is_blamed(&world, &BTreeMap::from([(0, 100)])).await;
        }
    });
}
