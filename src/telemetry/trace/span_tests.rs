//! What spans say.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use http::{HeaderMap, Method};
use proptest::prelude::*;

use super::*;
use crate::telemetry::Recorder;
use crate::telemetry::families::SpanMeter;
use crate::telemetry::record::RequestRecord;
use crate::telemetry::trace::record::MOST;
use crate::telemetry::trace::{AttemptEnd, Rate, Text, Trace, Tracer, Where, span_queue};
use crate::words::Flag;
use std::time::SystemTime;

fn trace(method: Method, path: &str) -> Box<Trace> {
    let (queue, _source) = span_queue(SpanMeter::new(&Recorder::new(1)));
    let mut draw = 0;
    let mut begin = || {
        draw += 1;
        draw
    };
    let tracer = Tracer { rate: Rate::new(1, 1), queue };
    let mut trace = tracer.begin(&mut HeaderMap::new(), &mut begin).expect("it is recorded");
    trace.head = Some(Head {
        method: Text::of(method.as_str()),
        scheme: "http",
        path: Text::of(path),
        authority: Text::of("inception.kubeflow:8500"),
        user_agent: Text::of("grpc-go/1.72.0"),
        forwarded_for: None,
    });
    trace
}

fn attempt(trace: &mut Trace, number: u64, endpoint: &str, end: AttemptEnd) {
    let attempt = Attempt {
        span: SpanId::random(100 + number),
        started: Instant::now(),
        ended: None,
        endpoint: endpoint.into(),
        authority: Text::of("[::1]:80"),
        path: None,
        http2: true,
        status: 0,
        grpc_status: GrpcOutcome::Absent,
        error: None,
    };
    trace.begin_attempt(attempt, &mut HeaderMap::new());
    trace.note(end);
}

fn record(protocol: Protocol, status: u16) -> RequestRecord {
    let mut record = RequestRecord::new(Instant::now(), SystemTime::UNIX_EPOCH, HttpVersion::Http2, protocol);
    record.status = status;
    record.route = Some("canary.kubeflow#0".into());
    record.cluster = Some("inception-v1".into());
    record.downstream_remote = Some("10.0.0.7:4711".parse().expect("an address"));
    record
}

fn sent() -> Where {
    Where { version: Some("v1".into()), service: Some("inception.kubeflow.svc.cluster.local".into()) }
}

/// The attributes as text.
fn said(span: &Span<'_>) -> BTreeMap<&'static str, String> {
    let text = |value: &Value<'_>| match value {
        Value::Text(text) => text.clone().into_owned(),
        Value::Number(number) => number.to_string(),
    };
    let said: BTreeMap<_, _> = span.attributes.iter().map(|(name, value)| (*name, text(value))).collect();
    assert_eq!(said.len(), span.attributes.len(), "each name once");
    said
}

fn lines(span: &Span<'_>) -> Vec<String> {
    said(span).into_iter().map(|(name, value)| format!("{name}={value}")).collect()
}

#[test]
fn a_call_that_was_retried_is_a_span_for_itself_and_one_for_each_attempt() {
    let mut trace = trace(Method::POST, "/tensorflow.serving.PredictionService/Predict");
    attempt(
        &mut trace,
        0,
        "10.0.0.1:9000",
        AttemptEnd::Failed("upstream_reset_before_response_started{x}", GrpcStatus::Unavailable),
    );
    attempt(&mut trace, 1, "/run/model.sock", AttemptEnd::Answered(200, GrpcOutcome::Absent));
    let mut record = record(Protocol::Grpc, 200);
    record.grpc_status = GrpcOutcome::Known(GrpcStatus::Ok);
    record.finish(Instant::now());
    let finished = trace.finish(&record, sent());
    let spans = spans_of(&finished);
    let [server, first, second] = &spans[..] else { panic!("{spans:?}") };
    assert_eq!(
        lines(server),
        [
            "client.address=10.0.0.7",
            "http.request.method=POST",
            "http.response.status_code=200",
            "network.peer.address=10.0.0.7",
            "network.peer.port=4711",
            "network.protocol.version=2",
            "rpc.method=tensorflow.serving.PredictionService/Predict",
            "rpc.response.status_code=OK",
            "rpc.system.name=grpc",
            "server.address=inception.kubeflow",
            "server.port=8500",
            "url.path=/tensorflow.serving.PredictionService/Predict",
            "url.scheme=http",
            "user_agent.original=grpc-go/1.72.0",
            "weir.cluster=inception-v1",
            "weir.retries=1",
            "weir.route=canary.kubeflow#0",
            "weir.service=inception.kubeflow.svc.cluster.local",
            "weir.version=v1",
        ]
    );
    assert_eq!(
        lines(first),
        [
            "error.type=upstream_reset_before_response_started{x}",
            "http.request.method=POST",
            "network.peer.address=10.0.0.1",
            "network.peer.port=9000",
            "network.protocol.version=2",
            "rpc.method=tensorflow.serving.PredictionService/Predict",
            "rpc.response.status_code=UNAVAILABLE",
            "rpc.system.name=grpc",
            "server.address=::1",
            "server.port=80",
            "weir.cluster=inception-v1",
            "weir.version=v1",
        ]
    );
    let of_second = said(second);
    assert_eq!(
        (&*of_second["http.request.resend_count"], &*of_second["network.peer.address"]),
        ("1", "/run/model.sock")
    );
    assert_eq!(of_second["rpc.response.status_code"], "OK");
    assert!(server.error.is_none() && first.error.is_some() && second.error.is_none());
    for client in [first, second] {
        assert_eq!((client.kind, client.parent), (Kind::Client, Some(server.context.span)));
        assert!(client.context.trace == server.context.trace && client.context.is_sampled());
        assert!(server.start_ns <= client.start_ns && client.start_ns <= client.end_ns);
        assert_eq!(client.parent_is_remote, Some(false));
    }
    assert_eq!((server.kind, server.parent, server.parent_is_remote), (Kind::Server, None, None));
    assert!(first.end_ns <= second.start_ns, "one attempt is over before the next begins");
    for span in &spans {
        assert_eq!(span.name, "tensorflow.serving.PredictionService/Predict");
    }
}

/// The name, and what is said of the method.
fn named(method: &str, path: &str, mut record: RequestRecord) -> (String, Vec<String>) {
    record.finish(Instant::now());
    let trace = trace(Method::from_bytes(method.as_bytes()).expect("a method"), path);
    let finished = trace.finish(&record, sent());
    let span = &spans_of(&finished)[0];
    let of_method = lines(span).into_iter().filter(|line| line.contains("method")).collect();
    (span.name.clone().into_owned(), of_method)
}

#[test]
fn a_name_holds_no_path_and_no_method_that_nobody_knows() {
    let (name, said) = named("POST", "/v1/models/a:predict", record(Protocol::Http, 200));
    assert_eq!(
        (name.as_str(), &said[..]),
        ("POST canary.kubeflow#0", &["http.request.method=POST".to_owned()][..])
    );
    let (name, said) = named("BREW", "/", record(Protocol::Http, 200));
    assert_eq!(name, "HTTP canary.kubeflow#0");
    assert_eq!(said, ["http.request.method=_OTHER", "http.request.method_original=BREW"]);
    let unrouted = RequestRecord { route: None, ..record(Protocol::Http, 404) };
    assert_eq!(named("GET", "/x", unrouted).0, "GET");
    let unknown = GrpcOutcome::Known(GrpcStatus::Unimplemented);
    let unimplemented = RequestRecord { grpc_status: unknown, ..record(Protocol::Grpc, 200) };
    let (name, said) = named("POST", "/s.S/Guess", unimplemented);
    assert_eq!(name, "grpc canary.kubeflow#0");
    assert_eq!(said, ["http.request.method=POST", "rpc.method=_OTHER", "rpc.method_original=s.S/Guess"]);
    for path in ["/s.S", "/s.S/M/x", "/s.S/", "//M", "/s.S/M%20", &format!("/s.S/{}", "m".repeat(300))] {
        assert_eq!(named("POST", path, record(Protocol::Grpc, 200)).0, "grpc canary.kubeflow#0", "{path}");
    }
}

/// What is wrong with the request's span, and the words of its status.
fn error(record: RequestRecord) -> Option<(String, &'static str)> {
    let finished = trace(Method::POST, "/s.S/M").finish(&record, sent());
    let span = &spans_of(&finished)[0];
    span.error.map(|error| (said(span)["error.type"].clone(), error))
}

#[test]
fn an_error_of_a_requests_span_is_not_the_callers_own() {
    let http = |status, flags: Option<Flag>, details| {
        let mut record = RequestRecord { details, ..record(Protocol::Http, status) };
        flags.into_iter().for_each(|flag| record.flags.raise(flag));
        error(record)
    };
    assert_eq!(http(200, None, VIA_UPSTREAM), None);
    assert_eq!(http(404, Some(Flag::NoRoute), "route_not_found"), None);
    assert_eq!(http(500, None, VIA_UPSTREAM), Some(("500".into(), "")), "the status says it all");
    let none = Some(Flag::NoHealthyUpstream);
    assert_eq!(http(503, none, "no_healthy_upstream"), Some(("503".into(), "no_healthy_upstream")));
    let cut = Some(Flag::UpstreamConnectionTermination);
    assert_eq!(http(200, cut, "cut_short"), Some(("cut_short".into(), "cut_short")));
    assert_eq!(http(0, Some(Flag::DownstreamConnectionTermination), "left"), None);
    let grpc = |status| {
        error(RequestRecord { grpc_status: GrpcOutcome::Known(status), ..record(Protocol::Grpc, 200) })
    };
    for status in GrpcStatus::ALL {
        let of_server = matches!(status.code(), 2 | 4 | 12..=15);
        assert_eq!(grpc(status).is_some(), of_server, "{status:?}");
    }
    assert_eq!(grpc(GrpcStatus::Unavailable), Some(("UNAVAILABLE".into(), "")));
    for missing in [GrpcOutcome::Absent, GrpcOutcome::Unknown(99)] {
        let record = RequestRecord { grpc_status: missing, ..record(Protocol::Grpc, 200) };
        assert_eq!(error(record), Some(("UNKNOWN".into(), "")), "{missing:?}");
    }
}

fn of_grpc() -> impl Strategy<Value = GrpcOutcome> {
    prop_oneof![
        Just(GrpcOutcome::Absent),
        prop::sample::select(&GrpcStatus::ALL[..]).prop_map(GrpcOutcome::Known),
        any::<i16>().prop_map(GrpcOutcome::Unknown),
    ]
}

fn of_protocol() -> impl Strategy<Value = Protocol> {
    prop_oneof![Just(Protocol::Http), Just(Protocol::Grpc)]
}

proptest! {
    #[test]
    fn a_requests_span_is_an_error_where_the_metrics_count_one_of_the_servers_and_nowhere_else(
        protocol in of_protocol(),
        status in prop_oneof![Just(0), 100_u16..1_000],
        grpc_status in of_grpc(),
        flags in prop::collection::vec(prop::sample::select(&Flag::ALL[..]), 0..3),
        details in prop_oneof![Just(VIA_UPSTREAM), Just("cut")],
    ) {
        let mut record = RequestRecord { grpc_status, details, ..record(protocol, status) };
        flags.into_iter().for_each(|flag| record.flags.raise(flag));
        let outcome = record.outcome();
        let finished = trace(Method::POST, "/s.S/M").finish(&record, sent());
        let span = &spans_of(&finished)[0];
        prop_assert_eq!(span.error.is_some(), outcome == Outcome::ServerError, "{:?}", outcome);
        prop_assert_eq!(said(span).contains_key("error.type"), span.error.is_some());
    }

    #[test]
    fn an_answer_that_is_an_error_to_the_caller_is_one_to_who_asked_for_it(
        protocol in of_protocol(), status in 100_u16..1_000, in_head in of_grpc(), behind in of_grpc(),
    ) {
        let mut trace = trace(Method::POST, "/s.S/M");
        attempt(&mut trace, 0, "10.0.0.1:80", AttemptEnd::Answered(status, in_head));
        let grpc_status = if in_head == GrpcOutcome::Absent { behind } else { in_head };
        let finished = trace.finish(&RequestRecord { grpc_status, ..record(protocol, status) }, sent());
        let spans = spans_of(&finished);
        prop_assert!(spans[0].error.is_none() || spans[1].error.is_some(), "{spans:#?}");
    }
}

#[test]
fn an_attempt_says_what_it_asks_for_and_not_what_the_caller_did() {
    let mut trace = trace(Method::GET, "/as/asked");
    let head = trace.head.as_mut().expect("a head");
    head.authority = Text::of("name:password@shop.example");
    head.forwarded_for = "203.0.113.9".parse().ok();
    attempt(&mut trace, 0, "[::ffff:10.0.0.1]:9000", AttemptEnd::Answered(200, GrpcOutcome::Absent));
    trace.attempts[0].authority = Text::of("model");
    trace.attempts[0].path = Some(Text::of("/rewritten"));
    let finished = trace.finish(&record(Protocol::Http, 200), sent());
    let spans = spans_of(&finished);
    let (server, client) = (said(&spans[0]), said(&spans[1]));
    assert_eq!((&*server["url.path"], &*server["server.address"]), ("/as/asked", "shop.example"));
    assert!(!server.contains_key("server.port"), "its caller names none");
    assert_eq!((&*server["client.address"], &*server["network.peer.address"]), ("203.0.113.9", "10.0.0.7"));
    assert_eq!((&*client["url.full"], &*client["server.port"]), ("http://model/rewritten", "80"));
    assert_eq!(client["network.peer.address"], "10.0.0.1");
}

#[test]
fn an_attempt_whose_answer_is_not_passed_on_is_over_and_says_nothing_of_what_the_caller_gets() {
    let mut trace = trace(Method::POST, "/s.S/M");
    attempt(&mut trace, 0, "10.0.0.1:80", AttemptEnd::Answered(503, GrpcOutcome::Absent));
    trace.note(AttemptEnd::GivenUp);
    let mut record = RequestRecord { details: "no_healthy_upstream", ..record(Protocol::Grpc, 200) };
    record.grpc_status = GrpcOutcome::Known(GrpcStatus::Unavailable);
    record.flags.raise(Flag::NoHealthyUpstream);
    record.duration = Duration::from_secs(3_600);
    let finished = trace.finish(&record, sent());
    let spans = spans_of(&finished);
    let client = said(&spans[1]);
    assert_eq!((&*client["error.type"], client.get("rpc.response.status_code")), ("503", None));
    assert!(spans[1].end_ns < spans[0].end_ns, "it does not last until the caller has its answer");
}

#[test]
fn whatever_an_attempt_is_answered_but_success_is_an_error_to_who_asked() {
    let of = |protocol, end, status: u16, grpc_status, flag: Option<Flag>, details| {
        let mut trace = trace(Method::POST, "/s.S/M");
        attempt(&mut trace, 0, "10.0.0.1:80", end);
        let mut record = RequestRecord { grpc_status, details, ..record(protocol, status) };
        flag.into_iter().for_each(|flag| record.flags.raise(flag));
        let finished = trace.finish(&record, sent());
        let spans = spans_of(&finished);
        spans[1].error.map(|_| said(&spans[1])["error.type"].clone())
    };
    let (none, via) = (GrpcOutcome::Absent, VIA_UPSTREAM);
    let answered = |status| AttemptEnd::Answered(status, GrpcOutcome::Absent);
    assert_eq!(of(Protocol::Http, answered(200), 200, none, None, via), None);
    assert_eq!(of(Protocol::Http, answered(404), 404, none, None, via).as_deref(), Some("404"));
    let exhausted = Some(Flag::UpstreamRetryLimitExceeded);
    assert_eq!(of(Protocol::Http, answered(503), 503, none, exhausted, via).as_deref(), Some("503"));
    let not_found = GrpcOutcome::Known(GrpcStatus::NotFound);
    assert_eq!(of(Protocol::Grpc, answered(200), 200, not_found, None, via).as_deref(), Some("NOT_FOUND"));
    let cut = Some(Flag::UpstreamConnectionTermination);
    assert_eq!(of(Protocol::Http, answered(200), 200, none, cut, "cut").as_deref(), Some("cut"));
    let left = Some(Flag::DownstreamConnectionTermination);
    assert_eq!(of(Protocol::Http, answered(200), 0, none, left, "left"), None, "it did nothing wrong");
    let failed = AttemptEnd::Failed("response_timeout", GrpcStatus::Unavailable);
    assert_eq!(
        of(Protocol::Http, failed, 504, none, None, "response_timeout").as_deref(),
        Some("response_timeout")
    );
}

#[test]
fn flags_and_details_are_said_and_long_texts_are_not_whole() {
    let mut record = RequestRecord { details: "response_timeout", ..record(Protocol::Http, 504) };
    record.flags.raise(Flag::UpstreamRequestTimeout);
    record.flags.raise(Flag::UpstreamRetryLimitExceeded);
    record.duration = Duration::from_millis(1_500);
    let finished = trace(Method::GET, &format!("/{}é", "a".repeat(MOST - 2))).finish(&record, sent());
    let span = &spans_of(&finished)[0];
    let said = said(span);
    assert_eq!((&*said["weir.details"], said["weir.flags"].len()), ("response_timeout", "UT,URX".len()));
    assert_eq!(said["url.path"].len(), MOST - 1, "a letter of two bytes is not halved");
    assert_eq!(span.end_ns - span.start_ns, 1_500_000_000);
}
