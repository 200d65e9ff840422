//! Heads on their way up and down: what is stripped, what is trusted, what is added, how both HTTPs say it.
// What stands outside a `#[test]` is a test's all the same.
#![allow(clippy::expect_used)]

mod common {
    pub(crate) mod world;
}

use common::world::client::{Client, get, post, request};
use common::world::raw::{Raw, RawUpstream};
use common::world::upstream::{Seen, Upstream, empty};
use common::world::{Http, World, one_service, run};
use http::Method;

/// A proxy before one upstream that is spoken to by `up`.
async fn world(up: Http, settings: &str) -> (World, Upstream) {
    let v1 = Upstream::start("v1").await;
    let yaml = one_service(&[&format!("protocol: {}", up.protocol())], &[(&v1.at(), "v1")]);
    let yaml = match settings.strip_prefix("listener ") {
        Some(setting) => yaml.replace("service: x}", &format!("service: x, {setting}}}")),
        None => yaml + settings,
    };
    (World::start(&yaml).await, v1)
}

/// Sends GET with `fields` and returns what the upstream saw of it.
async fn seen(down: Http, world: &World, upstream: &Upstream, fields: &[(&'static str, &str)]) -> Seen {
    let mut request = get("/");
    for (name, value) in fields {
        request.headers_mut().append(*name, value.parse().expect("a value"));
    }
    let answer = Client::connect(down, world.addr("in")).await.send(request).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    upstream.last()
}

#[test]
fn fields_that_belong_to_the_callers_connection_stay_there() {
    run(async || {
        for up in Http::BOTH {
            let (world, v1) = world(up, "").await;
            let mut raw = Raw::connect(world.addr("in")).await;
            raw.write(
                "GET / HTTP/1.1\r\nhost: x\r\nconnection: close, x-private, content-type\r\nx-private: 1\r\n\
                 keep-alive: timeout=5\r\nproxy-connection: close\r\nte: gzip, trailers;q=0.5\r\ncontent-type: a/b\r\n\
                 x-public: 1\r\n\r\n",
            )
            .await;
            assert!(raw.read_to_end().await.starts_with("HTTP/1.1 200 "), "and `close` is obeyed");
            let seen = v1.only();
            for name in ["connection", "x-private", "keep-alive", "proxy-connection", "transfer-encoding"] {
                assert_eq!(seen.header(name), None, "{up:?} {name}");
            }
            assert_eq!(seen.header("te"), Some("trailers"));
            assert_eq!((seen.header("x-public"), seen.header("content-type")), (Some("1"), Some("a/b")));
        }
    });
}

#[test]
fn te_trailers_reaches_the_upstream_and_any_other_te_does_not() {
    run(async || {
        for (down, up) in Http::matrix() {
            let (world, v1) = world(up, "").await;
            assert_eq!(seen(down, &world, &v1, &[("te", "trailers")]).await.header("te"), Some("trailers"));
            if down == Http::One {
                assert_eq!(seen(down, &world, &v1, &[("te", "gzip")]).await.header("te"), None);
            }
        }
    });
}

#[test]
fn fields_that_belong_to_the_upstreams_connection_stay_there() {
    run(async || {
        let upstream = RawUpstream::start(|mut raw, _| async move {
            while raw.read_head().await.is_some() {
                raw.write(
                    "HTTP/1.1 200 OK\r\nconnection: keep-alive, x-private\r\nx-private: 1\r\nkeep-alive: timeout=5\r\n\
                     upgrade: h2c\r\nx-public: 1\r\nproxy-connection: keep-alive\r\ncontent-length: 2\r\n\r\nok",
                )
                .await;
            }
            String::new()
        })
        .await;
        let world = World::start(&one_service(&["protocol: http1"], &[(&upstream.at(), "v1")])).await;
        for down in Http::BOTH {
            let mut client = Client::connect(down, world.addr("in")).await;
            for _ in 0..2 {
                let answer = client.get("/").await;
                for name in ["connection", "x-private", "keep-alive", "upgrade", "proxy-connection"] {
                    assert_eq!(answer.header(name), None, "{down:?} {name}");
                }
                assert_eq!((answer.header("x-public"), answer.text()), (Some("1"), "ok"));
            }
        }
        assert_eq!(upstream.connections(), 1, "it is kept alive all the same");
    });
}

#[test]
fn fields_of_envoy_count_only_from_internal_peers() {
    run(async || {
        let fields = [
            ("x-envoy-retry-on", "5xx"),
            ("x-envoy-anything", "1"),
            ("x-envoy-upstream-rq-timeout-ms", "7000"),
        ];
        for (down, up) in Http::matrix() {
            let (outside, v1) = world(up, "").await;
            let seen_outside = seen(down, &outside, &v1, &fields).await;
            assert!(!seen_outside.head.headers.keys().any(|name| name.as_str().starts_with("x-envoy-")));
            let (inside, v1) = world(up, "\ninternal_cidrs: [127.0.0.0/8]\n").await;
            let seen_inside = seen(down, &inside, &v1, &fields).await;
            assert_eq!(seen_inside.header("x-envoy-anything"), Some("1"));
            assert_eq!(seen_inside.header("x-envoy-expected-rq-timeout-ms"), Some("7000"));
        }
    });
}

#[test]
fn an_internal_caller_sets_the_timeout_of_its_request_and_others_cannot() {
    run(async || {
        let held = Upstream::holding().await;
        let yaml = one_service(&[], &[(&held.at(), "v1")]) + "\ninternal_cidrs: [127.0.0.2/32]\n";
        let world = World::start(&yaml).await;
        let asks = || {
            let mut request = get("/");
            request.headers_mut().insert("x-envoy-upstream-rq-timeout-ms", "50".parse().expect("a value"));
            request
        };
        let from = Some("127.0.0.2".parse().expect("an address"));
        for down in Http::BOTH {
            let mut client = Client::connect_from(down, from, world.addr("in")).await;
            assert_eq!(client.send(asks()).await.status, 504);
        }
        let mut other = Client::connect(Http::Two, world.addr("in")).await;
        let late = tokio::time::timeout(std::time::Duration::from_millis(300), other.begin(asks())).await;
        assert!(late.is_err(), "nobody answers the other: {late:?}");
    });
}

#[test]
fn a_request_without_an_id_gets_a_uuid_of_its_own_and_one_with_an_id_keeps_it() {
    run(async || {
        for (down, up) in Http::matrix() {
            let (world, v1) = world(up, "").await;
            let first = seen(down, &world, &v1, &[]).await;
            let second = seen(down, &world, &v1, &[]).await;
            let id = |seen: &Seen| seen.header("x-request-id").expect("an id").to_owned();
            assert_ne!(id(&first), id(&second));
            let parsed = uuid::Uuid::parse_str(&id(&first)).expect("a UUID");
            assert_eq!((parsed.get_version_num(), parsed.get_variant()), (4, uuid::Variant::RFC4122));
            assert_eq!(id(&seen(down, &world, &v1, &[("x-request-id", "mine")]).await), "mine");
        }
    });
}

#[test]
fn the_callers_own_address_fields_pass_unless_the_remote_address_is_used() {
    run(async || {
        let claims =
            [("x-forwarded-for", "1.2.3.4"), ("x-forwarded-proto", "https"), ("x-request-id", "mine")];
        for (down, up) in Http::matrix() {
            let (inner, v1) = world(up, "").await;
            let bare = seen(down, &inner, &v1, &[]).await;
            assert_eq!(
                (bare.header("x-forwarded-for"), bare.header("x-forwarded-proto")),
                (None, Some("http"))
            );
            let claimed = seen(down, &inner, &v1, &claims).await;
            assert_eq!(claimed.header("x-forwarded-for"), Some("1.2.3.4"));
            assert_eq!(claimed.header("x-forwarded-proto"), Some("https"));

            let (edge, v1) = world(up, "listener use_remote_address: true").await;
            assert_eq!(seen(down, &edge, &v1, &[]).await.header("x-forwarded-for"), Some("127.0.0.1"));
            let claimed = seen(down, &edge, &v1, &claims).await;
            assert_eq!(claimed.header("x-forwarded-for"), Some("1.2.3.4,127.0.0.1"));
            assert_eq!(claimed.header("x-forwarded-proto"), Some("http"));
            assert_ne!(claimed.header("x-request-id"), Some("mine"));
            let crumbs =
                seen(down, &edge, &v1, &[("x-forwarded-for", "1.1.1.1"), ("x-forwarded-for", "2.2.2.2")])
                    .await;
            assert_eq!(crumbs.header("x-forwarded-for"), Some("1.1.1.1,2.2.2.2,127.0.0.1"));
        }
    });
}

#[test]
fn every_proxied_answer_tells_how_long_the_upstream_took() {
    run(async || {
        for (down, up) in Http::matrix() {
            let (world, _v1) = world(up, "").await;
            let answer = Client::connect(down, world.addr("in")).await.get("/").await;
            let ms = answer.header("x-envoy-upstream-service-time").expect("the field");
            assert!(ms.parse::<u64>().is_ok_and(|ms| ms < 10_000), "{ms}");
            assert!(answer.header("date").is_some());
        }
    });
}

#[test]
fn the_authority_arrives_as_it_was_sent_whichever_http_is_spoken() {
    run(async || {
        for (down, up) in Http::matrix() {
            let (world, v1) = world(up, "").await;
            let seen = seen(down, &world, &v1, &[("host", "Models.example:8500")]).await;
            match up {
                Http::One => assert_eq!(seen.header("host"), Some("Models.example:8500"), "{down:?}"),
                Http::Two => {
                    let authority = seen.head.uri.authority().map(|authority| authority.as_str());
                    assert_eq!(authority, Some("Models.example:8500"), "{down:?}");
                    assert_eq!(seen.header("host"), None, "{down:?}");
                    assert_eq!(seen.head.uri.scheme_str(), Some("http"));
                }
            }
        }
    });
}

#[test]
fn the_authority_of_an_absolute_target_replaces_host() {
    run(async || {
        for up in Http::BOTH {
            let (world, v1) = world(up, "").await;
            let mut raw = Raw::connect(world.addr("in")).await;
            raw.write("GET http://other:99/p?q HTTP/1.1\r\nhost: x\r\n\r\n").await;
            assert_eq!(raw.read_answer().await.1, "v1");
            let seen = v1.only();
            assert_eq!(seen.target(), "/p?q");
            match up {
                Http::One => assert_eq!(seen.header("host"), Some("other:99")),
                Http::Two => assert_eq!(seen.head.uri.authority().expect("one").as_str(), "other:99"),
            }
        }
    });
}

#[test]
fn cookie_crumbs_of_http2_are_one_field_for_http1() {
    run(async || {
        let (world, v1) = world(Http::One, "").await;
        let seen =
            seen(Http::Two, &world, &v1, &[("cookie", "a=1"), ("cookie", "b=2"), ("cookie", "c=3")]).await;
        assert_eq!(seen.header("cookie"), Some("a=1; b=2; c=3"));
    });
}

#[test]
fn a_body_keeps_its_length_or_its_chunks() {
    run(async || {
        for (down, up) in Http::matrix() {
            let (world, v1) = world(up, "").await;
            Client::connect(down, world.addr("in")).await.send(post("/", "12345")).await;
            let seen = v1.only();
            assert_eq!(
                (seen.header("content-length"), &seen.body[..]),
                (Some("5"), &b"12345"[..]),
                "{down:?} {up:?}"
            );
            assert_eq!(seen.header("transfer-encoding"), None);
        }
        for up in Http::BOTH {
            let (world, v1) = world(up, "").await;
            let mut raw = Raw::connect(world.addr("in")).await;
            raw.write(
                "POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: Chunked\r\n\r\n3;ext=1\r\nabc\r\n0\r\n\r\n",
            )
            .await;
            assert!(raw.read_answer().await.0.starts_with("HTTP/1.1 200 "));
            let seen = v1.only();
            let chunked = (up == Http::One).then_some("chunked");
            assert_eq!((seen.header("transfer-encoding"), &seen.body[..]), (chunked, &b"abc"[..]));
            assert_eq!(seen.header("content-length"), None);
        }
    });
}

#[test]
fn an_answer_to_head_tells_the_length_of_what_get_would_bring() {
    run(async || {
        for (down, up) in Http::matrix() {
            let upstream = Upstream::remembering(|seen| {
                let body = if seen.head.method == Method::HEAD {
                    empty()
                } else {
                    common::world::upstream::full("hello")
                };
                http::Response::builder().header("content-length", "5").body(body).expect("a response")
            })
            .await;
            let yaml = one_service(&[&format!("protocol: {}", up.protocol())], &[(&upstream.at(), "v1")]);
            let world = World::start(&yaml).await;
            let mut client = Client::connect(down, world.addr("in")).await;
            let answer = client.send(request(Method::HEAD, "/").body(empty()).expect("a request")).await;
            assert_eq!((answer.header("content-length"), answer.text()), (Some("5"), ""), "{down:?} {up:?}");
            assert_eq!(client.get("/").await.text(), "hello", "{down:?} {up:?}");
            assert_eq!(upstream.connections(), 1);
            for line in world.log(2).await {
                assert!(line.starts_with("200 - "), "{down:?} {up:?}: {line}");
            }
        }
    });
}
