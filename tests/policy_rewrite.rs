//! Rewrites of path and host: what the upstream gets, and what it is told of what was there.
// What stands outside a `#[test]` is a test's all the same.
#![allow(clippy::expect_used, clippy::unwrap_used)]

mod common {
    pub(crate) mod engine;
    pub(crate) mod policed;
    pub(crate) mod world;
}

use std::rc::Rc;

use common::policed::{Policed, policy, share};
use common::world::client::{Client, get, grpc_call, post};
use common::world::upstream::Upstream;
use common::world::{Http, one_service, run, split_rule};
use weir::snapshot::{PathRewrite, Rewrite, Substitution};

fn path(path: PathRewrite) -> Option<Rewrite> {
    Some(Rewrite { path: Some(path), host: None })
}

#[test]
fn a_prefix_is_replaced_and_the_query_and_the_original_go_along() {
    run(async || {
        for (down, up) in Http::matrix() {
            let v1 = Upstream::start("v1").await;
            let world = Policed::under("/old/", up, &v1, |policy| {
                policy.rewrite = path(PathRewrite::Prefix("/new/".into()));
            });
            let mut client = Client::connect(down, world.addr()).await;
            assert_eq!(client.get("/old/a//b?q=/old/").await.status, 200);
            let seen = v1.last();
            assert_eq!(seen.target(), "/new/a/b?q=/old/", "{down:?} {up:?}");
            assert_eq!(seen.header("x-envoy-original-path"), Some("/old/a/b?q=/old/"));
            assert_eq!(client.get("/other").await.status, 200);
            let seen = v1.last();
            assert_eq!((seen.target(), seen.header("x-envoy-original-path")), ("/other", None));
        }
    });
}

#[test]
fn a_grpc_call_reaches_the_method_that_it_was_rewritten_to() {
    run(async || {
        let v1 = Upstream::start("v1").await;
        let world = Policed::under("/old.Service/", Http::Two, &v1, |policy| {
            policy.rewrite = path(PathRewrite::Prefix("/new.Service/".into()));
        });
        let answer = Client::connect(Http::Two, world.addr())
            .await
            .send(grpc_call("/old.Service/Predict", b"1"))
            .await;
        assert_eq!(answer.grpc_status(), Some("0"), "{answer:?}");
        assert_eq!(v1.last().target(), "/new.Service/Predict");
    });
}

#[test]
fn an_expression_is_replaced_with_its_groups() {
    run(async || {
        for (down, up) in Http::matrix() {
            let v1 = Upstream::start("v1").await;
            let world = Policed::one(up, &v1, |policy| {
                let substitution =
                    Substitution::new("^/v1/([a-z]+)/(.*)$", r"/models/\1:\2").expect("compiles");
                policy.rewrite = path(PathRewrite::Regex(substitution));
            });
            let answer =
                Client::connect(down, world.addr()).await.send(post("/v1/half/predict?x", "1")).await;
            assert_eq!((answer.status.as_u16(), v1.last().target()), (200, "/models/half:predict?x"));
            assert_eq!(v1.last().body, "1");
        }
    });
}

#[test]
fn the_authority_is_replaced_whole_and_goes_along() {
    run(async || {
        for (down, up) in Http::matrix() {
            let v1 = Upstream::start("v1").await;
            let world = Policed::one(up, &v1, |policy| {
                policy.rewrite = Some(Rewrite { path: None, host: Some("inner.example:8501".into()) });
            });
            let mut request = get("/");
            request.headers_mut().insert("host", "x.default:80".parse().unwrap());
            assert_eq!(Client::connect(down, world.addr()).await.send(request).await.status, 200);
            let seen = v1.last();
            assert_eq!(seen.host(), "inner.example:8501", "{down:?} {up:?}");
            assert_eq!(seen.header("x-envoy-original-host"), Some("x.default:80"));
        }
    });
}

#[test]
fn a_shares_rewrite_wins_over_the_routes() {
    run(async || {
        let (v1, v2) = (Upstream::start("v1").await, Upstream::start("v2").await);
        let yaml = one_service(&[], &[(&v1.at(), "v1"), (&v2.at(), "v2")]);
        let world = Policed::start(&yaml, &split_rule(&[("v1", 50), ("v2", 50)]), |route| {
            share(route, "v1").rewrite = path(PathRewrite::Full("/share".into()));
            policy(route).rewrite = path(PathRewrite::Full("/route".into()));
        });
        let mut client = Client::connect(Http::Two, world.addr()).await;
        for _ in 0..20 {
            client.get("/").await;
        }
        assert!(!v1.seen().is_empty() && v1.seen().iter().all(|seen| seen.target() == "/share"));
        assert!(!v2.seen().is_empty() && v2.seen().iter().all(|seen| seen.target() == "/route"));
    });
}

#[test]
fn a_path_without_a_normal_form_is_never_sent_but_500() {
    run(async || {
        let v1 = Upstream::start("v1").await;
        let world = Policed::one(Http::One, &v1, |policy| {
            let substitution = Substitution::new("x", "%2F").expect("compiles");
            policy.rewrite = path(PathRewrite::Regex(substitution));
        });
        for (place, down) in Http::BOTH.into_iter().enumerate() {
            let mut client = Client::connect(down, world.addr()).await;
            let answer = client.get("/x").await;
            assert_eq!((answer.status.as_u16(), answer.text()), (500, ""));
            let line = world.last_log(2 * place + 1).await;
            assert!(line.starts_with("500 - path_rewrite_failed 0 "), "{line}");
            assert_eq!(client.get("/y").await.status, 200, "the connection serves on");
            world.log(2 * place + 2).await;
        }
        assert_eq!(v1.seen().len(), 2);
    });
}

#[test]
fn what_a_caller_says_of_an_original_path_is_not_believed() {
    run(async || {
        let v1 = Upstream::start("v1").await;
        let world = Policed::under("/a", Http::One, &v1, |policy| {
            policy.rewrite = path(PathRewrite::Full("/b".into()));
        });
        for (target, told) in [("/a", Some("/a")), ("/c", None)] {
            let mut request = get(target);
            request.headers_mut().insert("x-envoy-original-path", "/forged".parse().unwrap());
            Client::connect(Http::One, world.addr()).await.send(request).await;
            assert_eq!(v1.last().header("x-envoy-original-path"), told);
        }
    });
}

/// The hop of a request that was rewritten: `deliver` believes the split of a known peer, and no caller.
#[test]
fn the_original_path_and_host_survive_the_hop_to_another_pod() {
    run(async || {
        let model = Upstream::start("v1").await;
        let deliver = format!(
            "listeners:\n- {{name: in, address: \"127.0.0.1:0\", service: x, mode: deliver}}\n\
             services:\n- name: x\n  protocol: http1\n  endpoints:\n  \
             - {{address: \"{}\", local: true, labels: {{version: v1}}}}\n",
            model.at()
        );
        let other = Rc::new(Policed::start(&deliver, "", |_| {}));
        let yaml = one_service(&["protocol: http1"], &[(&other.addr().to_string(), "v1")]);
        let world = Policed::start(&yaml, &split_rule(&[("v1", 100)]), |route| {
            policy(route).rewrite = Some(Rewrite {
                path: Some(PathRewrite::Prefix("/inner/".into())),
                host: Some("inner.example".into()),
            });
        });
        assert_eq!(Client::connect(Http::One, world.addr()).await.get("/a?q").await.status, 200);
        let seen = model.last();
        assert_eq!((seen.target(), seen.header("host")), ("/inner/a?q", Some("inner.example")));
        assert_eq!(seen.header("x-envoy-original-path"), Some("/a?q"));
        assert!(seen.header("x-envoy-original-host").is_some());
        let mut forged = get("/a");
        forged.headers_mut().insert("x-envoy-original-path", "/forged".parse().unwrap());
        Client::connect(Http::One, other.addr()).await.send(forged).await;
        assert_eq!(model.last().header("x-envoy-original-path"), None, "it came from no Weir");
    });
}
