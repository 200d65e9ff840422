//! The known traffic: every request that is sent, and what became of it as its caller saw it.
//!
//! Law: a fact is what the test itself did or was told; nothing here asks a proxy what it counted.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::slice::SliceIndex;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use http::Request;
use tokio::task::{JoinHandle, spawn_local};

use super::book::Book;
use super::world::{BROKEN, HOST, TOOK, World, message};
use crate::common::metrics::Scrape;
use crate::common::world::client::{Answer, Client, grpc, post, request};
use crate::common::world::raw::Raw;
use crate::common::world::upstream::{BoxBody, full};
use crate::common::world::{Http, until};

/// Bytes of a request's body: of REST, and of the message of a gRPC call.
pub(crate) const ASKS: [usize; 2] = [50, 500];
/// Connections of callers to each pod by each protocol.
pub(crate) const CONNECTIONS: usize = 4;

/// A request that ended.
#[derive(Clone, Debug)]
pub(crate) struct Fact {
    /// The pod that it came to, by its number.
    pub(crate) pod: usize,
    pub(crate) listener: &'static str,
    pub(crate) grpc: bool,
    pub(crate) host: &'static str,
    /// What it wished for.
    pub(crate) wish: Wish,
    /// Of the pod that answered, or the one that its rule gives everything.
    pub(crate) version: String,
    /// 0: the caller left.
    pub(crate) status: u16,
    pub(crate) grpc_status: Option<u8>,
    /// Seconds that it took at least, as its model server says, and at most, as its caller measured: [`saw`].
    pub(crate) seconds: [f64; 2],
    /// The same of one of its attempts.
    pub(crate) attempt: [f64; 2],
    /// Bytes of bodies.
    pub(crate) sent: usize,
    pub(crate) got: usize,
}

/// The rule that a request asks for, and what its model server is to do with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wish {
    pub(crate) rule: &'static str,
    pub(crate) act: Option<&'static str>,
}

const fn wish(rule: &'static str, act: Option<&'static str>) -> Wish {
    Wish { rule, act }
}

/// What every connection sends in a round. A tenth of `canary` fails, and another is refused.
const ROUND: [Wish; 18] = [
    wish("canary", None),
    wish("canary", None),
    wish("canary", None),
    wish("canary", Some("500")),
    wish("canary", None),
    wish("canary", None),
    wish("canary", None),
    wish("canary", Some("400")),
    wish("canary", None),
    wish("canary", None),
    wish("mirrored", None),
    wish("mirrored", None),
    wish("aborted", None),
    wish("lost", None),
    wish("gone", None),
    // By REST alone: a policy that goes by statuses sees 200 where a gRPC call fails in its trailers.
    wish("retried", None),
    wish("retried", Some("again")),
    wish("retried", Some("500")),
];

/// Callers whose connections stay, so that all of them can be counted.
pub(crate) struct Callers {
    /// By pod and protocol.
    connections: Vec<(usize, Http, Client)>,
    asked: Rc<Cell<usize>>,
    /// Requests that are held, and their callers.
    pub(crate) held: Vec<JoinHandle<()>>,
    any: Client,
    any_at: SocketAddr,
    /// Connections beside these.
    made: RefCell<Vec<Made>>,
}

/// A connection: pod, listener, whether by HTTP/2.
type Made = (usize, &'static str, bool);

impl Callers {
    pub(crate) async fn connect(world: &World) -> Callers {
        let mut connections = Vec::new();
        for (number, pod) in world.pods.iter().enumerate() {
            for http in Http::BOTH {
                for _ in 0..CONNECTIONS {
                    connections.push((number, http, Client::connect(http, pod.pod.predict).await));
                }
            }
        }
        let any = Client::connect(Http::One, world.any).await;
        Callers {
            connections,
            asked: Rc::default(),
            held: Vec::new(),
            any,
            any_at: world.any,
            made: RefCell::default(),
        }
    }

    /// Each connection sends so many rounds, all of them at once.
    pub(crate) async fn plain(&mut self, rounds: usize) -> Vec<Fact> {
        let asked = self.asked.clone();
        let each = self.connections.iter_mut().map(|(pod, http, client)| {
            let asked = asked.clone();
            async move {
                let mut facts = Vec::new();
                for wish in std::iter::repeat_n(ROUND, rounds).flatten() {
                    if wish.rule == "retried" && *http == Http::Two {
                        continue;
                    }
                    asked.set(asked.get() + 1);
                    facts.push(ask(client, *pod, *http, wish, asked.get()).await);
                }
                facts
            }
        });
        join_all(each).await.concat()
    }

    /// [`Callers::plain`] until each pod has had each status of each version by each protocol.
    pub(crate) async fn every_kind(&mut self) -> Vec<Fact> {
        const KINDS: usize = 2 * 2 * 2 * 3;
        let (mut facts, mut met) = (Vec::new(), BTreeSet::new());
        while met.len() < KINDS {
            facts.extend(self.plain(1).await);
            let canary = facts.iter().filter(|fact: &&Fact| fact.wish.rule == "canary");
            met = canary.map(|fact| (fact.pod, fact.grpc, fact.version.clone(), fact.wish.act)).collect();
            assert!(facts.len() < 10_000, "{met:?}");
        }
        facts
    }

    /// So many callers leave while `v1` has their requests.
    pub(crate) async fn leaving(&self, world: &World, times: usize) -> Vec<Fact> {
        let mut facts = Vec::new();
        for (http, upstream) in [(Http::One, &world.models[0].http), (Http::Two, &world.models[0].grpc)] {
            for _ in 0..times {
                let (begun, left) = (upstream.begun(), upstream.cancelled());
                let start = Instant::now();
                let mut client = Client::connect(http, world.pods[0].pod.predict).await;
                self.made.borrow_mut().push((0, "predict", http == Http::Two));
                let wish = wish("held", Some("hold"));
                let request = asking(http, wish, 0);
                let call = spawn_local(async move { drop(client.begin(request).await) });
                upstream.wait_begun(begun + 1).await;
                call.abort();
                until("the model server hears of it", || (upstream.cancelled() > left).then_some(())).await;
                let seconds = [0.0, saw(start)];
                facts.push(Fact {
                    pod: 0,
                    listener: "predict",
                    grpc: http == Http::Two,
                    host: HOST,
                    wish,
                    version: "v1".to_owned(),
                    status: 0,
                    grpc_status: None,
                    seconds,
                    attempt: seconds,
                    sent: sent(http),
                    got: 0,
                });
            }
        }
        facts
    }

    /// One request of pod a's by its host, for a rule of `broken`.
    async fn broken(&mut self, rule: &'static str) -> Fact {
        let start = Instant::now();
        let request = to_broken(rule);
        let response = self.any.begin(request).await.expect("a head");
        let status = response.status().as_u16();
        let read = crate::common::world::client::read(response).await;
        let got = read.as_ref().map_or(4, |answer| answer.body.len());
        if read.is_err() {
            // The proxy ends a connection whose answer was cut.
            self.made.borrow_mut().push((0, "any", false));
            self.any = Client::connect(Http::One, self.any_at).await;
        }
        // What these bounds of weir.yaml and of the rules are.
        let least = if matches!(rule, "late" | "deaf") { 0.05 } else { 0.0 };
        let seconds = [least, saw(start)];
        Fact {
            pod: 0,
            listener: "any",
            grpc: false,
            host: BROKEN,
            wish: wish(rule, None),
            version: rule.to_owned(),
            status,
            grpc_status: None,
            seconds,
            attempt: seconds,
            sent: 0,
            got,
        }
    }

    /// Requests that stay until the end: two for the one connection of `full`, one of `busy`, and a retry of `twice`.
    pub(crate) async fn hold(&mut self, world: &World) {
        for (rule, pending) in [("full", 0.0), ("full", 1.0), ("busy", 1.0), ("twice", 1.0)] {
            let mut client = Client::connect(Http::One, world.any).await;
            let request = to_broken(rule);
            self.held.push(spawn_local(async move { drop(client.begin(request).await) }));
            match rule {
                "busy" => world.broken.busy.wait_begun(1).await,
                "twice" => world.broken.retried.notified().await,
                _ => world.broken.full.wait_begun(1).await,
            }
            // The proxy's own page, as nobody else knows of what waits within it.
            until("the second waits for the connection", || {
                let page = Scrape::of(&[world.pods[0].pod.metrics]);
                let waits: f64 = page
                    .series("envoy_cluster_upstream_rq_pending_active", &[])
                    .map(|sample| sample.value)
                    .sum();
                (waits == pending).then_some(())
            })
            .await;
        }
    }

    /// So many of each of what goes wrong beside the plain traffic, all of it at pod a.
    pub(crate) async fn faults(&mut self, world: &World, times: usize) -> Vec<Fact> {
        let mut facts = self.leaving(world, times).await;
        for _ in 0..times {
            for rule in BREAKS {
                facts.push(self.broken(rule).await);
            }
            for what in ["garbage", "heads", "foreign"] {
                let fact = raw(world, what).await;
                self.made.borrow_mut().push((0, fact.listener, false));
                facts.push(fact);
            }
        }
        facts
    }

    /// How many connections were made beside those that stay.
    pub(crate) fn made(&self) -> usize {
        self.made.borrow().len()
    }

    /// Writes down those of them that are in `range`.
    pub(crate) fn connections(&self, range: impl SliceIndex<[Made], Output = [Made]>, book: &mut Book) {
        self.made.borrow()[range]
            .iter()
            .for_each(|&(pod, listener, two)| book.connection(pod, listener, two));
    }

    /// Asks `thrown` until both of its endpoints have had their turn; `before` they may have had it. The one that fails has
    /// no other.
    pub(crate) async fn throw_out(&mut self, before: &[Fact]) -> Vec<Fact> {
        let mut facts = Vec::new();
        for status in [500, 200] {
            let had =
                |facts: &[Fact]| facts.iter().any(|fact| fact.wish.rule == "thrown" && fact.status == status);
            while !had(before) && !had(&facts) {
                facts.push(self.broken("thrown").await);
                // It is drawn.
                assert!(facts.len() < 200, "nobody was thrown out");
            }
        }
        facts
    }
}

/// The rules of `broken` in turn, and a path that none of them takes.
const BREAKS: [&str; 11] =
    ["refused", "deaf", "late", "going", "cut", "undeclared", "nothing", "thrown", "full", "busy", "twice"];

pub(crate) fn to_broken(rule: &'static str) -> Request<BoxBody> {
    let request = request(http::Method::GET, "/m").header("host", BROKEN).header("x-rule", rule);
    request.body(crate::common::world::upstream::empty()).expect("a request")
}

fn sent(http: Http) -> usize {
    match http {
        Http::One => ASKS[0],
        Http::Two => message(ASKS[1]).len(),
    }
}

fn asking(http: Http, wish: Wish, id: usize) -> Request<BoxBody> {
    let mut asked = match http {
        Http::One => post("/v1/models/half_plus_two:predict", vec![b'x'; ASKS[0]]),
        Http::Two => {
            let call = grpc("/tensorflow.serving.PredictionService/Predict");
            call.body(full(message(ASKS[1]))).expect("a request")
        }
    };
    let mut put = |name: &'static str, value: String| {
        asked.headers_mut().insert(name, value.parse().expect("a value"));
    };
    put("x-rule", wish.rule.to_owned());
    put("x-id", id.to_string());
    if let Some(act) = wish.act {
        put("x-do", act.to_owned());
    }
    asked
}

/// One request, and what came of it.
async fn ask(client: &mut Client, pod: usize, http: Http, wish: Wish, id: usize) -> Fact {
    let request = asking(http, wish, id);
    let start = Instant::now();
    let answer = client.send(request).await;
    let most = saw(start);
    let told = answer.headers.get("x-upstream").map(|name| name.to_str().expect("text").to_owned());
    let alone = match wish.rule {
        "lost" => "v3",
        "gone" => "v4",
        "aborted" => "v1",
        _ => "nobody",
    };
    let took = answer.headers.get(TOOK).and_then(|took| took.to_str().ok()?.parse::<f64>().ok());
    let least = took.unwrap_or_default() / 1e3;
    let others = if wish.rule == "retried" && wish.act.is_some() { least } else { 0.0 };
    Fact {
        pod,
        listener: "predict",
        grpc: http == Http::Two,
        host: HOST,
        wish,
        version: told.unwrap_or_else(|| alone.to_owned()),
        status: answer.status.as_u16(),
        grpc_status: grpc_status(&answer),
        seconds: [least + others, most],
        attempt: [least, most - others],
        sent: sent(http),
        got: answer.body.len(),
    }
}

/// Seconds since `start`, and what a proxy may measure beyond what its caller sees: it notes an answer's end once that is
/// sent, and the kernel may let others run in between.
fn saw(start: Instant) -> f64 {
    (start.elapsed() + Duration::from_millis(10)).as_secs_f64()
}

fn grpc_status(answer: &Answer) -> Option<u8> {
    answer.grpc_status().map(|status| status.parse().expect("a number"))
}

/// What no library sends, or from where nobody should: each on a connection of its own, which the proxy ends.
async fn raw(world: &World, what: &'static str) -> Fact {
    let pod = world.pods[0].pod;
    let start = Instant::now();
    let (to, from) = match what {
        "foreign" => (pod.delivery, Some(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 9)))),
        _ => (pod.predict, None),
    };
    let mut raw = Raw::over(crate::common::world::client::connect_from(from, to).await);
    let fields = match what {
        "heads" => "x-a: b\r\n".repeat(60),
        _ => String::new(),
    };
    raw.write(match what {
        "garbage" => "no request\r\n\r\n".to_owned(),
        _ => format!("GET /m HTTP/1.1\r\nhost: {HOST}\r\n{fields}connection: close\r\n\r\n"),
    })
    .await;
    let answer = raw.read_to_end().await;
    let seconds = [0.0, saw(start)];
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    Fact {
        pod: 0,
        listener: if what == "foreign" { "delivery" } else { "predict" },
        grpc: false,
        host: HOST,
        wish: wish(what, None),
        version: String::new(),
        status: status.unwrap_or_else(|| panic!("{what}: {answer}")),
        grpc_status: None,
        seconds,
        attempt: seconds,
        sent: 0,
        got: 0,
    }
}

/// How long a batch may take before `irate()` over a minute forgets what was before it.
pub(crate) const SHORT: Duration = Duration::from_secs(40);
