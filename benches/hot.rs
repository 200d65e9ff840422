//! What the parts of a request cost, alone: `cargo bench --bench hot`, or `cargo bench --bench hot -- router`.
//!
//! For telling one way of doing a part from another on one machine. What a request costs in all is
//! `benches/instructions` and `benches/compare`; these figures do not add up to it.

use std::fmt::Write as _;
use std::hint::black_box;
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, Version};
use weir::config::{Document, Environment, load};
use weir::message::http1::encode::{Connection, request_head, response_head};
use weir::message::http1::head::{take_request, take_response};
use weir::message::http1::{Framing, HeadBounds};
use weir::message::http2::head::Decoder;
use weir::message::http2::hpack::Encoder;
use weir::message::{hop_by_hop, host, path};
use weir::proxy::split::Split;
use weir::router::{Head, RouteTable};
use weir::snapshot::route::OrdName;
use weir::snapshot::{
    Action, Domain, Forward, HeaderMatch, HeaderName, Labels, PathMatch, Pattern, Route, RouteConfig,
    RouteMatch, StringMatch, VersionTarget, VirtualHost,
};

const REQUEST: &[u8] = b"POST /v1/models/bench:predict HTTP/1.1\r\n\
    host: bench.default.svc.cluster.local\r\ncontent-type: application/json\r\naccept: */*\r\n\
    user-agent: python-requests/2.34.2\r\naccept-encoding: gzip, deflate\r\nconnection: keep-alive\r\n\
    x-request-id: 5a1f0e1c-95a1-4c70-9f2c-0d2f4a8f2a11\r\ncontent-length: 600\r\n\r\n";
const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\
    date: Thu, 01 Jan 2026 00:00:00 GMT\r\ncontent-length: 60\r\n\r\n";
const BOUNDS: HeadBounds = HeadBounds { bytes: 64 * 1024, count: 100 };

criterion_group! {
    name = hot;
    config = Criterion::default().warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    targets = router, split, link, heads, header_blocks, normal_forms
}
criterion_main!(hot);

// ---- router --------------------------------------------------------------------------------------------------------

/// The last of so many rules of one service is the one that matches.
fn router(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("router");
    let kinds: [(&str, fn(usize) -> RouteMatch); 4] =
        [("exact path", exact), ("prefix", prefix), ("header", header), ("regex", regex)];
    for (kind, make) in kinds {
        for count in [1, 100, 10_000] {
            // A thousand regular expressions are more than anybody has: they are tried in turn.
            if kind == "regex" && count > 100 {
                continue;
            }
            let table = RouteTable::build(&config((0..count).map(make)));
            let (path, headers) = (format!("/v1/models/m{}/", count - 1), wanted_headers(count - 1));
            let head = Head {
                method: &Method::POST,
                path: &path,
                host: "bench.default.svc.cluster.local",
                authority: "bench",
                scheme: "http",
                headers: &headers,
                query: None,
                caller: None,
                local: None,
            };
            assert_eq!(table.find(&head, 0).map(|found| found.index), Some(count - 1), "{kind} of {count}");
            group.bench_function(BenchmarkId::new(kind, count), |bencher| {
                bencher.iter(|| table.find(black_box(&head), black_box(0)).map(|found| found.index));
            });
        }
    }
}

fn config(matches: impl Iterator<Item = RouteMatch>) -> RouteConfig {
    let forward = Forward {
        service: "bench".into(),
        versions: vec![VersionTarget {
            version: None,
            labels: Labels::new(),
            weight: 1,
            grpc_cluster: "grpc".into(),
            http_cluster: "http".into(),
            ..VersionTarget::default()
        }],
        ..Forward::default()
    };
    let routes = matches
        .map(|matches| {
            let route = Route {
                name: "rule.default".into(),
                origin: "rules.yaml:1".into(),
                matches,
                action: Action::Forward(forward.clone()),
                policy: None,
            };
            Arc::new(route)
        })
        .collect();
    let host = VirtualHost {
        name: "bench".into(),
        domains: vec![Domain::Exact("bench.default.svc.cluster.local".into())],
        after: None,
        routes,
    };
    RouteConfig { name: "bench".into(), virtual_hosts: vec![host] }
}

fn exact(i: usize) -> RouteMatch {
    RouteMatch { path: PathMatch::Exact(format!("/v1/models/m{i}/").into()), ..RouteMatch::any() }
}

fn prefix(i: usize) -> RouteMatch {
    RouteMatch { path: PathMatch::Prefix(format!("/v1/models/m{i}/").into()), ..RouteMatch::any() }
}

fn header(i: usize) -> RouteMatch {
    let name = HeaderName::Header(OrdName(http::HeaderName::from_static("x-user")));
    let value = StringMatch::Exact(format!("user-{i}").into());
    RouteMatch { headers: vec![HeaderMatch { name, value }], ..RouteMatch::any() }
}

fn regex(i: usize) -> RouteMatch {
    let pattern = Pattern::new(&format!("/v[0-9]+/models/m{i}/")).expect("a pattern that compiles");
    RouteMatch { path: PathMatch::Regex(pattern), ..RouteMatch::any() }
}

/// As many as requests have, and the one that rules ask for.
fn wanted_headers(i: usize) -> HeaderMap {
    let mut headers = headers_of(REQUEST);
    headers.insert("x-user", HeaderValue::from_str(&format!("user-{i}")).expect("a value"));
    headers
}

// ---- split ---------------------------------------------------------------------------------------------------------

fn split(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("split");
    for (name, weights) in [("95/5", vec![95, 5]), ("80/15/5", vec![80, 15, 5])] {
        let split = Split::new(weights, 7);
        group.bench_function(name, |bencher| bencher.iter(|| split.choose()));
    }
    // All workers draw from one counter.
    let split = Split::new(vec![95, 5], 7);
    group.bench_function("95/5, two threads at once", |bencher| {
        bencher.iter_custom(|count| {
            let barrier = Barrier::new(2);
            let draw = || {
                barrier.wait();
                let start = Instant::now();
                (0..count).for_each(|_| _ = black_box(split.choose()));
                start.elapsed()
            };
            std::thread::scope(|scope| {
                let other = scope.spawn(draw);
                let ours = draw();
                other.join().map_or(ours, |theirs| ours.max(theirs))
            })
        });
    });
}

// ---- link ----------------------------------------------------------------------------------------------------------

/// From the bytes of the files to a snapshot, as at each reload.
fn link(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("link");
    group.sample_size(10);
    for (services, rules) in [(1, 1), (10, 100), (1_000, 10_000)] {
        let (main, rule_file) = documents(services, rules);
        let environment = Environment::default();
        group.throughput(Throughput::Elements(rules as u64));
        group.bench_function(format!("{rules} rules over {services} services"), |bencher| {
            bencher.iter(|| {
                let loaded =
                    load(&main, std::slice::from_ref(&rule_file), &environment).expect("a configuration");
                assert_eq!(loaded.rules, rules);
                loaded
            });
        });
    }
}

fn documents(services: usize, rules: usize) -> (Document, Document) {
    let mut main = String::from(
        "listeners: [{name: predict, address: '127.0.0.1:0'}]\nrules: [rules.yaml]\nservices:\n",
    );
    for service in 0..services {
        let _ = writeln!(
            main,
            "- {{name: s{service}, endpoints: [{{http: '127.0.0.1:1', grpc: '127.0.0.1:2', labels: {{version: v1}}}}, \
             {{http: '127.0.0.1:3', grpc: '127.0.0.1:4', labels: {{version: v2}}}}]}}"
        );
    }
    let mut all = String::new();
    for rule in 0..rules {
        let (service, user) = (rule % services, rule / services);
        let _ = writeln!(
            all,
            "---\napiVersion: config.istio.io/v1alpha2\nkind: RouteRule\nmetadata: {{name: r{rule}, namespace: default}}\n\
             spec:\n  destination: {{name: s{service}}}\n  precedence: {}\n  match: {{request: {{headers: {{x-user: \
             {{exact: user-{user}}}}}}}}}\n  route:\n  - {{labels: {{version: v1}}, weight: 95}}\n  \
             - {{labels: {{version: v2}}, weight: 5}}",
            user + 1
        );
    }
    let document = |name: &str, text: String| Document { name: name.to_owned(), bytes: text.into_bytes() };
    (document("weir.yaml", main), document("rules.yaml", all))
}

// ---- heads ---------------------------------------------------------------------------------------------------------

fn heads(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("head");
    group.bench_function("read a request's", |bencher| {
        bencher.iter_batched(
            || BytesMut::from(REQUEST),
            |mut buffer| taken_request(&mut buffer),
            BatchSize::SmallInput,
        );
    });
    group.bench_function("read an answer's", |bencher| {
        bencher.iter_batched(
            || BytesMut::from(RESPONSE),
            |mut buffer| take_response(&mut buffer, BOUNDS, &mut 0, false).expect("a head"),
            BatchSize::SmallInput,
        );
    });
    let (asked, answered) = (headers_of(REQUEST), headers_of_answer());
    let mut out = BytesMut::with_capacity(4096);
    group.bench_function("write a request's", |bencher| {
        bencher.iter(|| {
            out.clear();
            request_head(&mut out, &Method::POST, "/v1/models/bench:predict", &asked, Framing::Length(600));
            out.len()
        });
    });
    group.bench_function("write an answer's", |bencher| {
        bencher.iter(|| {
            out.clear();
            let framing = Framing::Length(60);
            response_head(
                &mut out,
                Version::HTTP_11,
                StatusCode::OK,
                &answered,
                framing,
                Connection::Default,
            );
            out.len()
        });
    });
    group.bench_function("strip a request's of its hop", |bencher| {
        bencher.iter_batched(
            || asked.clone(),
            |mut headers| {
                hop_by_hop::strip(&mut headers);
                headers
            },
            BatchSize::SmallInput,
        );
    });
}

fn taken_request(buffer: &mut BytesMut) -> HeaderMap {
    take_request(buffer, BOUNDS, &mut 0).expect("a head").expect("all of it").parts.headers
}

fn headers_of(request: &[u8]) -> HeaderMap {
    taken_request(&mut BytesMut::from(request))
}

fn headers_of_answer() -> HeaderMap {
    let mut buffer = BytesMut::from(RESPONSE);
    take_response(&mut buffer, BOUNDS, &mut 0, false).expect("a head").expect("all of it").parts.headers
}

// ---- header blocks of HTTP/2 ---------------------------------------------------------------------------------------

/// More than the table holds, so that it has turned over many times.
const BLOCKS: u32 = 4096;
const MAX_LIST: usize = 64 * 1024;

fn header_blocks(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("header block");
    let uri = Uri::from_static("http://bench.default/tensorflow.serving.PredictionService/Predict");
    let varied: Vec<HeaderMap> = (0..BLOCKS).map(grpc_fields).collect();
    let encoded = |encoder: &mut Encoder, fields: &HeaderMap| {
        let mut block = Vec::with_capacity(512);
        encoder.request(&Method::POST, &uri, fields, &mut block);
        block
    };

    let mut encoder = Encoder::new();
    let first = encoded(&mut encoder, &varied[0]);
    let same: Vec<Vec<u8>> = (0..100).map(|_| encoded(&mut encoder, &varied[0])).collect();
    let mut decoder = Decoder::new(4096);
    for block in std::iter::once(&first).chain(&same) {
        decoder.request(block, MAX_LIST).expect("a head");
    }
    let last = same.last().expect("a hundred");
    group.bench_function("read a request's, the last again", |bencher| {
        bencher.iter(|| decoder.request(black_box(last), MAX_LIST).expect("a head"));
    });

    let mut encoder = Encoder::new();
    let blocks: Vec<Vec<u8>> = varied.iter().map(|fields| encoded(&mut encoder, fields)).collect();
    let (mut decoder, mut next) = (Decoder::new(4096), 0);
    group.bench_function("read a request's, two fields new", |bencher| {
        bencher.iter(|| {
            // They make sense in their order only.
            if next == blocks.len() {
                (decoder, next) = (Decoder::new(4096), 0);
            }
            next += 1;
            decoder.request(black_box(&blocks[next - 1]), MAX_LIST).expect("a head")
        });
    });

    for (name, fields) in [("the same", &varied[..1]), ("two fields new", &varied[..])] {
        let (mut encoder, mut out) = (Encoder::new(), Vec::with_capacity(512));
        let mut turns = fields.iter().cycle();
        group.bench_function(format!("write a request's, {name}"), |bencher| {
            bencher.iter(|| {
                out.clear();
                encoder.request(&Method::POST, &uri, turns.next().expect("a cycle"), &mut out);
                out.len()
            });
        });
    }
    let answered = headers_of_answer();
    let mut out = Vec::with_capacity(512);
    group.bench_function("write an answer's", |bencher| {
        bencher.iter(|| {
            out.clear();
            encoder.response(StatusCode::OK, &answered, &mut out);
            out.len()
        });
    });
}

/// As grpc-go sends them: another deadline and another trace in each request.
fn grpc_fields(i: u32) -> HeaderMap {
    let timeout = format!("499{:04}u", i * 7919 % 10_000);
    let trace = format!("00-{:032x}-{:016x}-01", u128::from(i) << 64 | 0x9e37_79b9, i);
    let fields = [
        ("content-type", "application/grpc"),
        ("user-agent", "grpc-go/1.72.0"),
        ("te", "trailers"),
        ("grpc-accept-encoding", "gzip"),
        ("grpc-timeout", timeout.as_str()),
        ("traceparent", trace.as_str()),
    ];
    fields
        .into_iter()
        .map(|(name, value)| (name.parse().expect("a name"), value.parse().expect("a value")))
        .collect()
}

// ---- normal forms --------------------------------------------------------------------------------------------------

fn normal_forms(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("normal form");
    for text in ["/v1/models/bench:predict", "/v1//models/./x/../b%65nch:predict"] {
        group.bench_function(format!("of the path {text}"), |bencher| {
            bencher.iter(|| path::normalise(black_box(text)).is_ok());
        });
    }
    for text in ["bench.default.svc.cluster.local", "Bench.Default:8080"] {
        group.bench_function(format!("of the host {text}"), |bencher| {
            bencher.iter(|| host::normalise(black_box(text)).is_ok());
        });
    }
}
