//! Cross-origin requests: who is let in, what a preflight is told, what is left to the upstream.
// What stands outside a `#[test]` is a test's all the same.
#![allow(clippy::expect_used, clippy::unwrap_used)]

mod common {
    pub(crate) mod engine;
    pub(crate) mod policed;
    pub(crate) mod world;
}

use std::time::Duration;

use common::policed::{Policed, edits};
use common::world::client::{Answer, Client, request};
use common::world::upstream::{Upstream, empty, full};
use common::world::{Http, run};
use http::{Method, Response};
use weir::snapshot::{Abort, AbortStatus, Cors, Fault, Fraction, Pattern, StringMatch, UnmatchedPreflights};

const ASKS: (&str, &str) = ("access-control-request-method", "PUT");

fn cors(origin: StringMatch) -> Cors {
    Cors {
        origins: vec![origin],
        methods: Some("GET,PUT".into()),
        headers: Some("x-a,x-b".into()),
        expose: Some("x-c".into()),
        max_age: Some(Duration::from_secs(600)),
        credentials: true,
        unmatched_preflights: UnmatchedPreflights::Forward,
    }
}

async fn ask(down: Http, world: &Policed, method: Method, fields: &[(&'static str, &str)]) -> Answer {
    let mut request = request(method, "/").body(empty()).unwrap();
    for (name, value) in fields {
        request.headers_mut().insert(*name, value.parse().unwrap());
    }
    Client::connect(down, world.addr()).await.send(request).await
}

fn allowed(answer: &Answer) -> Option<&str> {
    answer.header("access-control-allow-origin")
}

#[test]
fn a_preflight_is_answered_here_and_says_what_is_allowed() {
    run(async || {
        for (down, up) in Http::matrix() {
            let v1 = Upstream::start("v1").await;
            let world = Policed::one(up, &v1, |policy| {
                policy.cors = Some(cors(StringMatch::Exact("https://a.example".into())));
                policy.response_headers = edits(&[], &[("told", "yes")], &[]);
            });
            let answer = ask(down, &world, Method::OPTIONS, &[("origin", "https://a.example"), ASKS]).await;
            assert_eq!(
                (answer.status.as_u16(), answer.text(), allowed(&answer)),
                (200, "", Some("https://a.example"))
            );
            for (name, value) in [
                ("access-control-allow-methods", "GET,PUT"),
                ("access-control-allow-headers", "x-a,x-b"),
                ("access-control-allow-credentials", "true"),
                ("access-control-max-age", "600"),
            ] {
                assert_eq!(answer.header(name), Some(value));
            }
            assert_eq!(answer.header("access-control-expose-headers"), None);
            assert_eq!(answer.header("told"), None, "as Envoy, it is no answer of the route's");
            assert_eq!(v1.begun(), 0);
            assert_eq!(world.last_log(1).await, "200 - cors_response 0 -");
        }
    });
}

#[test]
fn any_other_request_of_the_origin_goes_on_and_its_answer_says_so() {
    run(async || {
        for (down, up) in Http::matrix() {
            let upstream = Upstream::handling(|_| async {
                let response = Response::builder().header("access-control-allow-origin", "*");
                response.header("access-control-expose-headers", "theirs").body(full("ok")).unwrap()
            })
            .await;
            let world = Policed::one(up, &upstream, |policy| {
                policy.cors =
                    Some(cors(StringMatch::Regex(Pattern::new("https://[a-z]+\\.example").unwrap())));
            });
            let origin = ("origin", "https://b.example");
            for (method, fields) in
                [(Method::GET, &[origin][..]), (Method::OPTIONS, &[origin]), (Method::PUT, &[origin, ASKS])]
            {
                let answer = ask(down, &world, method, fields).await;
                assert_eq!((answer.text(), allowed(&answer)), ("ok", Some("https://b.example")));
                assert_eq!(answer.header("access-control-allow-credentials"), Some("true"));
                assert_eq!(answer.header("access-control-expose-headers"), Some("x-c"));
                assert_eq!(answer.header("access-control-allow-methods"), None);
            }
        }
    });
}

#[test]
fn another_origin_and_none_are_left_to_the_upstream() {
    run(async || {
        for (down, up) in Http::matrix() {
            let v1 = Upstream::start("v1").await;
            let world = Policed::one(up, &v1, |policy| {
                policy.cors = Some(cors(StringMatch::Exact("https://a.example".into())));
            });
            for fields in [&[("origin", "https://evil.example"), ASKS][..], &[ASKS], &[]] {
                let answer = ask(down, &world, Method::OPTIONS, fields).await;
                assert_eq!((answer.upstream(), allowed(&answer)), ("v1", None));
            }
        }
    });
}

#[test]
fn a_preflight_of_another_origin_is_answered_with_nothing_if_that_is_said() {
    run(async || {
        for down in Http::BOTH {
            let v1 = Upstream::start("v1").await;
            let world = Policed::one(Http::One, &v1, |policy| {
                let unmatched_preflights = UnmatchedPreflights::Answer;
                policy.cors = Some(Cors {
                    unmatched_preflights,
                    ..cors(StringMatch::Exact("https://a.example".into()))
                });
            });
            let evil = ("origin", "https://evil.example");
            let answer = ask(down, &world, Method::OPTIONS, &[evil, ASKS]).await;
            let told = answer.headers.keys().any(|name| name.as_str().starts_with("access-control-"));
            assert_eq!((answer.status.as_u16(), told, v1.begun()), (200, false, 0));
            assert_eq!(ask(down, &world, Method::GET, &[evil]).await.upstream(), "v1");
        }
    });
}

#[test]
fn weirs_own_answers_may_be_read_by_the_origin_and_a_preflight_meets_no_fault() {
    run(async || {
        for down in Http::BOTH {
            let v1 = Upstream::start("v1").await;
            let world = Policed::one(Http::One, &v1, |policy| {
                policy.cors = Some(cors(StringMatch::Present));
                let abort = Abort { status: AbortStatus::Http(503), fraction: Fraction::ALWAYS };
                policy.fault = Some(Fault { delay: None, abort: Some(abort) });
            });
            let origin = ("origin", "null");
            let answer = ask(down, &world, Method::GET, &[origin]).await;
            assert_eq!((answer.status.as_u16(), allowed(&answer)), (503, Some("null")));
            let answer = ask(down, &world, Method::OPTIONS, &[origin, ASKS]).await;
            assert_eq!((answer.status.as_u16(), allowed(&answer)), (200, Some("null")));
        }
    });
}
