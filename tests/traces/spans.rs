//! What spans say of requests that are answered, tried again, copied and handed on.

use http::{HeaderMap, HeaderValue, Method};

use crate::common::otlp::{Collector, Span, Via, traceparent};
use crate::common::world::client::{Client, grpc, request};
use crate::common::world::raw::{H2Request, Raw, RawUpstream};
use crate::common::world::upstream::{Upstream, empty, full, grpc_message};
use crate::common::world::{Http, World, free_port, one_service, run};

pub(crate) const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

/// Calls of `x` are made again when their status says UNAVAILABLE.
pub(crate) const RETRIED: &str = "apiVersion: networking.istio.io/v1\nkind: VirtualService\n\
    metadata: {name: retried, namespace: default}\nspec:\n  hosts: [x]\n  http:\n  - name: calls\n    \
    retries: {attempts: 2, retryOn: unavailable, backoff: 1ms}\n    route: [{destination: {host: x, subset: v1}}]\n---\n\
    apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: x, namespace: default}\n\
    spec: {host: x, subsets: [{name: v1, labels: {version: v1}}]}\n";

/// A server of calls that answers the first with UNAVAILABLE, behind the head, and notes each call's `traceparent`.
pub(crate) async fn unavailable_once() -> (RawUpstream, std::rc::Rc<std::cell::RefCell<Vec<String>>>) {
    let noted: std::rc::Rc<std::cell::RefCell<Vec<String>>> = std::rc::Rc::default();
    let notes = noted.clone();
    let upstream = RawUpstream::start_h2(move |request, number| {
        let parent = request.request.headers()["traceparent"].to_str().expect("text").to_owned();
        notes.borrow_mut().push(parent);
        answer(request, if number == 0 { "14" } else { "0" })
    })
    .await;
    (upstream, noted)
}

/// The end of a call with that status behind its head, or with none.
async fn answer(mut request: H2Request, status: &'static str) {
    request.body().await;
    let head = http::Response::builder().header("content-type", "application/grpc").body(()).expect("a head");
    let mut stream = request.respond.send_response(head, false).expect("a stream");
    if status.is_empty() {
        return stream.send_data(grpc_message(b"hello"), true).expect("sent");
    }
    if status == "0" {
        stream.send_data(grpc_message(b"hello"), false).expect("sent");
    }
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static(status));
    stream.send_trailers(trailers).expect("sent");
}

/// Calls `x` by gRPC through a proxy that tells `at`, within the caller's trace.
pub(crate) async fn call(world: &World) {
    let call = grpc("/tensorflow.serving.PredictionService/Predict").header("traceparent", PARENT);
    let call = call.header("tracestate", "a=1").body(full(grpc_message(b"hi"))).expect("a request");
    let answer = Client::connect(Http::Two, world.addr("in")).await.send(call).await;
    assert_eq!(answer.grpc_status(), Some("0"));
}

/// What the spans of [`call`] say, wherever they come from.
pub(crate) fn check_retried(spans: &[Span], noted: &[String], upstream: &str) {
    let [server, first, second] = spans else { panic!("{spans:#?}") };
    assert_eq!((server.is_server, first.is_server, second.is_server), (true, false, false));
    assert_eq!((server.parent.as_str(), &first.parent, &second.parent), (CALLER, &server.id, &server.id));
    assert!(spans.iter().all(|span| span.trace == TRACE && span.state == "a=1"));
    // Each attempt said itself to be the parent of what the model server does.
    let said: Vec<_> = noted.iter().map(|value| traceparent(value)).collect();
    assert_eq!(said, [(TRACE, &*first.id, "01"), (TRACE, &*second.id, "01")]);
    assert!(spans.iter().all(|span| span.name == "tensorflow.serving.PredictionService/Predict"));
    let of =
        |span: &Span, names: &[&str]| names.iter().map(|name| span.said(name).to_owned()).collect::<Vec<_>>();
    assert_eq!(
        of(
            server,
            &[
                "rpc.system.name",
                "rpc.response.status_code",
                "weir.route",
                "weir.version",
                "weir.retries",
                "weir.flags"
            ]
        ),
        ["grpc", "OK", "retried.default/calls", "v1", "1", ""]
    );
    let names = ["rpc.response.status_code", "error.type", "http.request.resend_count", "weir.version"];
    assert_eq!(of(first, &names), ["UNAVAILABLE", "UNAVAILABLE", "", "v1"]);
    assert_eq!(of(second, &names), ["OK", "", "1", "v1"]);
    let (address, port) = upstream.rsplit_once(':').expect("a port");
    for span in [first, second] {
        assert_eq!(of(span, &["network.peer.address", "network.peer.port"]), [address, port]);
    }
    assert_eq!(spans.iter().map(|span| span.is_error).collect::<Vec<_>>(), [false, true, false]);
    assert!(
        server.start <= first.start && first.end <= second.start && second.end <= server.end,
        "{spans:#?}"
    );
    let resource = &server.resource;
    assert_eq!(
        (resource["service.name"].as_str(), resource["service.namespace"].as_str()),
        ("edge", "default")
    );
}

#[test]
fn a_retried_call_is_one_span_for_the_caller_and_one_for_each_attempt() {
    run(async || {
        for via in Via::BOTH {
            let (upstream, noted) = unavailable_once().await;
            let collector = Collector::start().await;
            let tracing = via
                .tracing(&collector.at(), 0)
                .replace("sample_percent", "service_name: edge, sample_percent");
            let yaml = one_service(&["protocol: http2"], &[(&upstream.at(), "v1")]) + &tracing;
            let world = World::with_rules(&yaml, &[("x.yaml", RETRIED)]).await;
            call(&world).await;
            check_retried(&collector.wait(3).await, &noted.borrow(), &upstream.at());
        }
    });
}

#[test]
fn a_call_that_ends_without_a_status_of_grpc_has_failed_in_spans_as_in_metrics() {
    run(async || {
        for status in ["", "99"] {
            let upstream = RawUpstream::start_h2(move |request, _| answer(request, status)).await;
            let collector = Collector::start().await;
            let yaml = one_service(&["protocol: http2"], &[(&upstream.at(), "v1")]);
            let world = World::start(&(yaml + &Via::Grpc.tracing(&collector.at(), 100))).await;
            let call = grpc("/s.S/M").body(full(grpc_message(b"hi"))).expect("a request");
            let answer = Client::connect(Http::Two, world.addr("in")).await.send(call).await;
            assert_eq!((answer.status.as_u16(), answer.grpc_status().unwrap_or_default()), (200, status));
            for span in collector.wait(2).await {
                assert!(span.is_error, "{status:?}: {span:#?}");
                assert_eq!(
                    (span.said("error.type"), span.said("http.response.status_code")),
                    ("UNKNOWN", "200")
                );
            }
            assert_eq!(world.metric("weir_requests_total", &["outcome=\"server_error\""]).await, 1.0);
        }
    });
}

#[test]
fn a_span_says_who_the_caller_is_and_what_was_asked_of_whom() {
    const REWRITTEN: &str = "apiVersion: networking.istio.io/v1\nkind: VirtualService\n\
        metadata: {name: r, namespace: default}\nspec:\n  hosts: [x]\n  http:\n  - match: [{uri: {prefix: /old}}]\n    \
        rewrite: {uri: /new, authority: model}\n    route: [{destination: {host: x}}]\n";
    run(async || {
        let (v1, collector) = (Upstream::start("v1").await, Collector::start().await);
        let yaml = one_service(&["protocol: http1"], &[(&v1.at(), "v1")]);
        let tracing = Via::Http.tracing(&collector.at(), 100);
        let world = World::with_rules(&(yaml + &tracing), &[("r.yaml", REWRITTEN)]).await;
        let asked = request(Method::GET, "/old/./m?q").header("x-forwarded-for", "10.1.1.1, 203.0.113.9");
        let asked = asked.body(empty()).expect("a request");
        assert_eq!(Client::connect(Http::One, world.addr("in")).await.send(asked).await.status, 200);
        assert_eq!((v1.only().host(), v1.only().target()), ("model", "/new/m?q"));
        let spans = collector.wait(2).await;
        let [server, client] = &spans[..] else { panic!("{spans:#?}") };
        let said = ["url.path", "client.address", "network.peer.address"].map(|name| server.said(name));
        assert_eq!(said, ["/old/./m", "203.0.113.9", "127.0.0.1"]);
        let said = ["url.full", "server.address", "server.port"].map(|name| client.said(name));
        assert_eq!(said, ["http://model/new/m", "model", "80"]);
    });
}

#[test]
fn an_attempt_that_failed_says_why_and_one_that_weir_did_not_make_is_none() {
    run(async || {
        let (v1, collector) = (Upstream::start("v1").await, Collector::start().await);
        let refusing = format!("127.0.0.1:{}", free_port());
        let yaml = one_service(&["protocol: http1"], &[(&refusing, "v1"), (&v1.at(), "v1")]);
        let world = World::start(&(yaml + &Via::Http.tracing(&collector.at(), 100))).await;
        let mut client = Client::connect(Http::One, world.addr("in")).await;
        for _ in 0..2 {
            assert_eq!(client.get("/m?secret=1").await.status, 200);
        }
        // One of the two at least goes to the endpoint that refuses, and then to the other.
        let log = world.log(2).await;
        let attempts: Vec<&str> = log.iter().map(|line| line.split(' ').nth(3).expect("attempts")).collect();
        let retried = attempts.iter().filter(|attempts| **attempts == "2").count();
        assert!(retried > 0, "{log:?}");
        let told = 4 + retried;
        let spans = collector.wait(told).await;
        let failed: Vec<_> = spans.iter().filter(|span| span.is_error).collect();
        assert_eq!(failed.len(), retried, "{spans:#?}");
        for failed in failed {
            let why = "upstream_reset_before_response_started{remote_connection_failure}";
            let said = ["error.type", "http.response.status_code", "network.peer.port"]
                .map(|name| failed.said(name));
            assert_eq!(
                (failed.is_server, said),
                (false, [why, "", refusing.rsplit(':').next().expect("a port")])
            );
        }
        let retries = spans.iter().filter(|span| span.is_server).map(|span| span.said("weir.retries"));
        assert_eq!(retries.filter(|retries| *retries == "1").count(), retried, "{spans:#?}");
        for span in &spans {
            assert_eq!(span.name, "GET default-route");
            assert!(!span.attributes.values().any(|value| value.contains("secret")), "{span:#?}");
        }

        let lonely = World::start(&(one_service(&[], &[]) + &Via::Http.tracing(&collector.at(), 100))).await;
        assert_eq!(Client::connect(Http::One, lonely.addr("in")).await.get("/m").await.status, 503);
        let spans = collector.wait(told + 1).await;
        let alone = spans.last().expect("a span");
        assert!(alone.is_server && alone.is_error);
        assert_eq!((alone.said("weir.flags"), alone.said("weir.details")), ("UH", "no_healthy_upstream"));
        assert_eq!((alone.said("error.type"), alone.said("weir.retries")), ("503", "0"));
    });
}

#[test]
fn a_hop_to_another_pod_is_one_trace_through_both() {
    run(async || {
        let (model, collector) = (Upstream::start("model").await, Collector::start().await);
        let port = free_port();
        let there = format!(
            "listeners:\n- {{name: delivery, address: \"127.0.0.1:{port}\", service: x, mode: deliver, allow: any}}\nservices:\n\
             - name: x\n  endpoints:\n  - {{address: \"{}\", labels: {{version: v1}}, local: true}}\n",
            model.at()
        );
        let there = there + &Via::Grpc.tracing(&collector.at(), 0);
        let _there = World::start(&there).await;
        let here = one_service(&[], &[(&format!("127.0.0.1:{port}"), "v1")])
            + &Via::Http.tracing(&collector.at(), 100);
        let here = World::start(&here).await;
        let answer = Client::connect(Http::One, here.addr("in")).await.get("/m").await;
        assert_eq!(answer.status, 200);
        let spans = collector.wait(4).await;
        let [split, hop, delivery, ask] = &spans[..] else { panic!("{spans:#?}") };
        let chain = [split, hop, delivery, ask]
            .windows(2)
            .all(|pair| pair[1].parent == pair[0].id && pair[1].trace == pair[0].trace);
        assert!(chain && split.parent.is_empty(), "{spans:#?}");
        assert_eq!([split, hop, delivery, ask].map(|span| span.is_server), [true, false, true, false]);
        assert_eq!(traceparent(model.only().header("traceparent").expect("a trace")).1, ask.id);
    });
}

#[test]
fn a_copy_belongs_to_the_request_and_is_no_span_of_it() {
    const MIRRORED: &str = "apiVersion: config.istio.io/v1alpha2\nkind: RouteRule\nmetadata: {name: m, namespace: default}\n\
        spec: {destination: {name: x}, route: [{labels: {version: v1}}], mirror: {name: y}}\n";
    run(async || {
        let (v1, shadow) = (Upstream::start("v1").await, Upstream::start("shadow").await);
        let collector = Collector::start().await;
        let yaml = one_service(&["protocol: http1"], &[(&v1.at(), "v1")])
            + &format!("- name: y\n  protocol: http1\n  endpoints: [{{address: \"{}\"}}]\n", shadow.at())
            + &Via::Grpc.tracing(&collector.at(), 100);
        let world = World::with_rules(&yaml, &[("m.yaml", MIRRORED)]).await;
        let post = request(Method::POST, "/m").body(empty()).expect("a request");
        assert_eq!(Client::connect(Http::One, world.addr("in")).await.send(post).await.status, 200);
        shadow.wait_begun(1).await;
        let spans = collector.wait(2).await;
        let copied = shadow.only();
        let (trace, parent, flags) = traceparent(copied.header("traceparent").expect("a trace"));
        assert_eq!((trace, parent, flags), (&*spans[0].trace, &*spans[0].id, "01"));
        assert_eq!(traceparent(v1.only().header("traceparent").expect("a trace")).1, spans[1].id);
    });
}

#[test]
fn a_caller_that_leaves_ends_its_span_without_an_error() {
    run(async || {
        let (v1, collector) = (Upstream::holding().await, Collector::start().await);
        let yaml =
            one_service(&["protocol: http2"], &[(&v1.at(), "v1")]) + &Via::Grpc.tracing(&collector.at(), 100);
        let world = World::start(&yaml).await;
        let mut client = Client::connect(Http::Two, world.addr("in")).await;
        {
            let asking = client.begin(request(Method::GET, "/m").body(empty()).expect("a request"));
            let mut asking = std::pin::pin!(asking);
            tokio::select! {
                _ = &mut asking => panic!("nobody answers"),
                () = v1.wait_begun(1) => {}
            }
        }
        let spans = collector.wait(2).await;
        assert!(spans.iter().all(|span| !span.is_error), "{spans:#?}");
        assert_eq!(spans[0].said("weir.flags"), "DC");
    });
}

#[test]
fn a_request_that_breaks_off_is_no_error_of_who_was_asked() {
    run(async || {
        for up in [Http::One, Http::Two] {
            let (v1, collector) = (Upstream::holding().await, Collector::start().await);
            let yaml = one_service(&[&format!("protocol: {}", up.protocol())], &[(&v1.at(), "v1")]);
            let world = World::start(&(yaml + &Via::Grpc.tracing(&collector.at(), 100))).await;
            let mut raw = Raw::connect(world.addr("in")).await;
            raw.write("POST /m HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n").await;
            v1.wait_begun(1).await;
            raw.write("no length\r\n").await;
            assert!(raw.read_to_end().await.starts_with("HTTP/1.1 400 "));
            let mut raw = Raw::connect(world.addr("in")).await;
            raw.write("POST /m HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nabc").await;
            v1.wait_begun(2).await;
            drop(raw);
            let spans = collector.wait(4).await;
            assert!(spans.iter().all(|span| !span.is_error), "{up:?}: {spans:#?}");
        }
    });
}
