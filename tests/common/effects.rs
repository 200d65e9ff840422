//! What settings of clusters do, seen from both ends of a proxy that read them from a file: one scene for each, whichever
//! dialect says it.
//!
//! Law: a scene knows nothing of dialects. It is told the rules, and what they should come to.
// Compiled into several tests, few of which use all of it; `pub` marks what tests call.
#![allow(dead_code, unreachable_pub, clippy::expect_used)]

use std::rc::Rc;

use http::{Request, Response};
use hyper::body::Incoming;
use tokio::sync::Notify;
use tokio::task::spawn_local;

use super::clusters::{EJECTED, caller, scraped};
use super::engine::{Engine, eventually};
use super::world::client::get;
use super::world::raw::RawUpstream;
use super::world::upstream::{Upstream, full};
use super::world::{Http, one_service, soon, until};

const PENDING: &str = "envoy_cluster_upstream_rq_pending_active";

/// A proxy by `rules` for the service `x` with these endpoints, all of version `v1`, spoken to by `up`.
pub fn serve(up: Http, endpoints: &[&str], rules: &str) -> Engine {
    let endpoints: Vec<_> = endpoints.iter().map(|&at| (at, "v1")).collect();
    Engine::start(1, &one_service(&[&format!("protocol: {}", up.protocol())], &endpoints), rules)
}

/// A request that nobody waits for, by a connection of its own.
pub fn begin(down: Http, engine: &Engine, path: &'static str) {
    let at = engine.address("in");
    spawn_local(async move {
        drop(super::world::client::Client::connect(down, at).await.begin(get(path)).await);
    });
}

/// The next request is refused, as there are too many.
async fn overflows(down: Http, engine: &Engine, what: &str) {
    let answer = caller(down, engine).await.get("/m").await;
    let told = (answer.status.as_u16(), answer.header("x-envoy-overloaded"));
    assert_eq!(told, (503, Some("true")), "{what}: {answer:?}");
    assert!(answer.text().ends_with("reset reason: overflow"), "{what}: {answer:?}");
}

/// So many requests are under way at a time, and the next is refused.
pub async fn requests_at_a_time(rules: &str, most: usize) {
    for (down, up) in Http::matrix() {
        let held = Upstream::holding().await;
        let engine = serve(up, &[&held.at()], rules);
        for begun in 1..=most {
            begin(down, &engine, "/m");
            held.wait_begun(begun).await;
        }
        overflows(down, &engine, &format!("{down:?} {up:?} {rules}")).await;
        assert_eq!(held.begun(), most, "{down:?} {up:?} {rules}");
    }
}

/// So many connections are open at a time, one for each request by HTTP/1.1. Of the requests behind them `waiting` wait;
/// where `refused`, the next one may not.
pub async fn connections_at_a_time(rules: &str, most: usize, waiting: usize, refused: bool) {
    for down in Http::BOTH {
        let held = Upstream::holding().await;
        let engine = serve(Http::One, &[&held.at()], rules);
        for begun in 1..=most {
            begin(down, &engine, "/m");
            held.wait_begun(begun).await;
        }
        for _ in 0..waiting {
            begin(down, &engine, "/m");
        }
        eventually("they wait", || engine.metric(PENDING) == waiting as f64).await;
        if refused {
            overflows(down, &engine, &format!("{down:?} {rules}")).await;
        }
        assert_eq!((held.connections(), held.begun()), (most, most), "{down:?} {rules}");
    }
}

/// A connection takes so many requests, and not one more; `None`: any number.
pub async fn requests_of_a_connection(rules: &str, most: Option<usize>) {
    for (down, up) in Http::matrix() {
        let upstream = Upstream::start("v1").await;
        let engine = serve(up, &[&upstream.at()], rules);
        let mut client = caller(down, &engine).await;
        for _ in 0..6 {
            assert_eq!(client.get("/m").await.text(), "v1");
        }
        let connections: Vec<_> = upstream.seen().iter().map(|seen| seen.connection).collect();
        let wanted: Vec<_> = (0..6).map(|request| most.map_or(0, |most| request / most)).collect();
        assert_eq!(connections, wanted, "{down:?} {up:?} {rules}");
    }
}

/// While a retry of the first caller is under way, the second caller's request makes `made` retries of both in all, and
/// `refused` that may not be.
pub async fn retries_at_a_time(rules: &str, made: f64, refused: f64) {
    for (down, up) in Http::matrix() {
        let kept = Rc::new(Notify::new());
        let upstream = RawUpstream::refusing_but_the_second(up, &kept).await;
        let engine = serve(up, &[&upstream.at()], rules);
        begin(down, &engine, "/m");
        soon("a retry is under way", kept.notified()).await;
        assert_eq!(caller(down, &engine).await.get("/m").await.status, 503, "{down:?} {up:?} {rules}");
        let counted = ["rq_retry", "rq_retry_overflow"]
            .map(|what| engine.metric(&format!("envoy_cluster_upstream_{what}")));
        assert_eq!(counted, [made, refused], "{down:?} {up:?} {rules}");
    }
}

/// An endpoint that says `status` to everything is asked so often before it is left alone: of 40 requests that would be
/// shared out evenly with another; `None`: it is never left alone.
pub async fn failures_in_a_row(rules: &str, status: u16, asked: Option<usize>) {
    for (down, up) in Http::matrix() {
        let (bad, good) = (Upstream::failing(status).await, Upstream::start("good").await);
        let engine = serve(up, &[&bad.at(), &good.at()], rules);
        let mut client = caller(down, &engine).await;
        for _ in 0..40 {
            client.get("/m").await;
        }
        assert_eq!(bad.seen().len(), asked.unwrap_or(20), "{down:?} {up:?} {status} {rules}");
        assert_eq!(scraped(&engine, EJECTED), f64::from(u8::from(asked.is_some())), "{rules}");
    }
}

/// Of four endpoints that all fail, so many are left alone.
pub async fn left_alone_of_four(rules: &str, most: f64) {
    for (down, up) in Http::matrix() {
        let bad = [(); 4].map(|()| Upstream::failing(500));
        let bad = futures_util::future::join_all(bad).await;
        let at: Vec<_> = bad.iter().map(Upstream::at).collect();
        let at: Vec<_> = at.iter().map(String::as_str).collect();
        let engine = serve(up, &at, rules);
        let mut client = caller(down, &engine).await;
        for _ in 0..80 {
            client.get("/m").await;
        }
        assert_eq!(scraped(&engine, EJECTED), most, "{down:?} {up:?} {rules}");
    }
}

/// Whoever was thrown out comes back where both times are `short`: that of his ejection, and that between two looks at
/// it. `rules` is told both.
pub async fn comes_back_when_both_times_are_over(rules: impl Fn(&str, &str) -> String, short: &str) {
    for (down, up) in Http::matrix() {
        let mut all = Vec::new();
        // The others begin before, so that their looks come before those of the last.
        for (ejection, look) in [("1h", short), (short, "1h"), (short, short)] {
            let (bad, good) = (Upstream::failing(500).await, Upstream::start("good").await);
            let engine = serve(up, &[&bad.at(), &good.at()], &rules(ejection, look));
            let mut client = caller(down, &engine).await;
            client.get_until("it is thrown out", |_| scraped(&engine, EJECTED) == 1.0).await;
            all.push((engine, client, bad, good));
        }
        let (engine, client, bad, _good) = all.last_mut().expect("an engine");
        eventually("it comes back", || scraped(engine, EJECTED) == 0.0).await;
        let before = bad.seen().len();
        for _ in 0..2 {
            client.get("/m").await;
        }
        assert_eq!(bad.seen().len(), before + 1, "{down:?} {up:?}: it has its turn again");
        for (engine, ..) in &all[..2] {
            assert_eq!(scraped(engine, EJECTED), 1.0, "{down:?} {up:?}: one of its times is not over");
        }
    }
}

/// An upstream that keeps `/held`, and tells its name to all others.
async fn keeping(name: &'static str) -> Upstream {
    Upstream::handling(move |request: Request<Incoming>| async move {
        if request.uri().path() == "/held" {
            std::future::pending::<()>().await;
        }
        Response::new(full(name))
    })
    .await
}

/// How endpoints are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    InTurn,
    LeastLoaded,
    Drawn,
}

/// How one of two endpoints, of which one is busy, is chosen for each of 100 requests. One that is drawn gets a fifth of
/// them or less once in a thousand million runs.
pub async fn choice(down: Http, up: Http, rules: &str) -> Choice {
    let both = [keeping("a").await, keeping("b").await];
    let engine = serve(up, &[&both[0].at(), &both[1].at()], rules);
    begin(down, &engine, "/held");
    let busy = until("one is busy", || both.iter().position(|one| one.begun() == 1)).await;
    let mut client = caller(down, &engine).await;
    let mut met = Vec::new();
    for _ in 0..100 {
        met.push(client.get("/m").await.text() == ["a", "b"][busy]);
    }
    if met.windows(2).all(|two| two[0] != two[1]) {
        Choice::InTurn
    } else if met.iter().filter(|&&busy| busy).count() <= 20 {
        Choice::LeastLoaded
    } else {
        Choice::Drawn
    }
}
