//! Two pods, each a real `weir proxy` and a model server, and everything that can go wrong behind them.
//!
//! Law: whatever a request meets is chosen by the request itself (its rule, and what its model server shall do with it),
//! so a test knows what must be counted before it looks.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::Frame;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Notify;
use tokio::task::spawn_blocking;

use super::mix::Mix;
use crate::common::weir::{Pod, Weir, free_address};
use crate::common::world::Http;
use crate::common::world::raw::RawUpstream;
use crate::common::world::upstream::{BoxBody, Upstream, frames, full, grpc_message};

pub(crate) const SERVICE: &str = "half-plus-two";
pub(crate) const HOST: &str = "half-plus-two.models.svc.cluster.local";
/// A service whose every version fails in its own way; pod a alone knows it.
pub(crate) const BROKEN: &str = "broken.models.svc.cluster.local";
/// Bytes that make an answer's message, by version: `v1`, `v2`.
pub(crate) const ANSWERS: [usize; 2] = [300, 30_000];
/// Bytes that make the message of one that fails.
pub(crate) const FAILURE: usize = 20;
/// The dimension of both pods: the rule that a request wishes for, if it is one of these.
pub(crate) const DIMENSION: &str = "wish";
pub(crate) const LISTED: [&str; 2] = ["canary", "retried"];
/// How long most requests of `v1` and of `v2` take, at least.
pub(crate) const DELAYS: [Duration; 2] = [Duration::from_millis(15), Duration::from_millis(40)];
/// The field in which a model server tells how many milliseconds it took.
pub(crate) const TOOK: &str = "x-took";

/// One model server, on a port for each protocol.
pub(crate) struct Model {
    pub(crate) grpc: Upstream,
    pub(crate) http: Upstream,
    /// While it is set, a quarter of all requests fails, a quarter is refused, and all take four times as long.
    pub(crate) ill: Rc<Cell<bool>>,
}

/// See the module. It ends with this value.
pub(crate) struct World {
    pub(crate) pods: [Weir; 2],
    /// Pod a's listener that goes by hosts.
    pub(crate) any: SocketAddr,
    pub(crate) models: [Model; 2],
    /// The version `v5`, which gets copies of `mirrored` alone.
    pub(crate) shadow: Model,
    pub(crate) broken: Broken,
}

/// What stands behind [`BROKEN`], one for each version.
pub(crate) struct Broken {
    /// Answers late, and holds what it has.
    pub(crate) late: Upstream,
    /// Goes before it answers.
    pub(crate) going: RawUpstream,
    /// Cuts each answer.
    pub(crate) cut: RawUpstream,
    /// Holds its first request, for a cluster of one connection.
    pub(crate) full: Upstream,
    /// Holds its first request, for a cluster of one request.
    pub(crate) busy: Upstream,
    /// Holds the second request, which is a retry, and goes from all others.
    pub(crate) twice: RawUpstream,
    pub(crate) retried: Rc<Notify>,
    /// Fails always: outlier detection throws it out.
    pub(crate) bad: Upstream,
    pub(crate) good: Upstream,
    /// Fails its health checks.
    pub(crate) ill: Upstream,
    /// Takes no connection, and refuses none.
    pub(crate) deaf: Deaf,
}

/// A listener whose queue is full: the kernel answers nobody.
pub(crate) struct Deaf {
    at: SocketAddr,
    _listener: TcpListener,
    _queued: Vec<TcpStream>,
}

impl Deaf {
    async fn new() -> Deaf {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(free_address()).expect("a free address");
        let listener = socket.listen(1).expect("a listener");
        let at = listener.local_addr().expect("an address");
        let mut queued = Vec::new();
        // One more than the queue takes waits for its handshake in vain, and then nobody else is heard.
        while let Ok(Ok(stream)) =
            tokio::time::timeout(Duration::from_millis(300), TcpStream::connect(at)).await
        {
            queued.push(stream);
        }
        Deaf { at, _listener: listener, _queued: queued }
    }
}

/// A model server that answers with its name, so many bytes, and after so long.
async fn model(name: &'static str, bytes: usize, mix: Mix) -> Model {
    let ill = Rc::new(Cell::new(false));
    let [grpc, http] = [serving(name, bytes, mix, &ill).await, serving(name, bytes, mix, &ill).await];
    Model { grpc, http, ill }
}

async fn serving(name: &'static str, bytes: usize, mix: Mix, ill: &Rc<Cell<bool>>) -> Upstream {
    // How long each request that was heard of takes, by its number. What is tried twice takes no longer than most: twice
    // that is no time of the mix.
    let seen: Rc<RefCell<HashMap<String, Duration>>> = Rc::default();
    // How many of each kind came: of each, every time has its part.
    let kinds: Rc<RefCell<HashMap<String, usize>>> = Rc::default();
    let (ill, asked) = (ill.clone(), Rc::new(Cell::new(0)));
    Upstream::handling(move |request| {
        let (seen, kinds, ill, asked) = (seen.clone(), kinds.clone(), ill.get(), asked.clone());
        async move {
            let number = asked.replace(asked.get() + 1);
            let (head, body) = request.into_parts();
            let _ = body.collect().await;
            let field = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
            if field("x-do") == Some("hold") {
                std::future::pending::<()>().await;
            }
            let id = field("x-id").unwrap_or_default().to_owned();
            let first = !seen.borrow().contains_key(&id);
            let time = match seen.borrow_mut().entry(id) {
                Entry::Occupied(known) => *known.get(),
                Entry::Vacant(new) if field("x-rule") == Some("retried") && field("x-do").is_some() => {
                    *new.insert(mix.mostly())
                }
                Entry::Vacant(new) => {
                    let mut kinds = kinds.borrow_mut();
                    let kind = kinds.entry(field("x-do").unwrap_or_default().to_owned()).or_default();
                    *kind += 1;
                    *new.insert(mix.at(*kind))
                }
            } * if ill { 4 } else { 1 };
            // The time that a prediction takes.
            tokio::time::sleep(time).await;
            let status = match field("x-do") {
                Some("again") if !first => 200,
                Some("again") => 503,
                Some(status) => status.parse().expect("a status"),
                None if ill && number % 4 == 3 => 500,
                None if ill && number % 4 == 0 => 400,
                None => 200,
            };
            let failed = status >= 400;
            let mut answer = answer(&head.headers, name, status, if failed { FAILURE } else { bytes });
            answer.headers_mut().insert(TOOK, u64::try_from(time.as_millis()).expect("a time").into());
            answer
        }
    })
    .await
}

fn answer(asked: &HeaderMap, name: &'static str, status: u16, bytes: usize) -> Response<BoxBody> {
    let grpc = asked.get(CONTENT_TYPE).is_some_and(|kind| kind == "application/grpc");
    let response = Response::builder().header("x-upstream", name);
    let payload = vec![b'y'; bytes];
    if !grpc {
        return response.status(status).body(full(payload)).expect("a response");
    }
    // INVALID_ARGUMENT and INTERNAL are what TensorFlow Serving says with 400 and 500.
    let told = match status {
        200 => "0",
        400 => "3",
        _ => "13",
    };
    let trailers = HeaderMap::from_iter([(
        http::HeaderName::from_static("grpc-status"),
        HeaderValue::from_static(told),
    )]);
    let body = vec![Frame::data(grpc_message(&payload)), Frame::trailers(trailers)];
    response.header(CONTENT_TYPE, "application/grpc").body(frames(body)).expect("a response")
}

impl Broken {
    async fn new() -> Broken {
        let retried = Rc::new(Notify::new());
        let cut = RawUpstream::start(|mut raw, _| async move {
            let head = raw.read_head().await.unwrap_or_default();
            raw.write("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf").await;
            head
        });
        Broken {
            late: Upstream::holding().await,
            going: RawUpstream::going().await,
            cut: cut.await,
            full: Upstream::holding_the_first().await,
            busy: Upstream::holding_the_first().await,
            twice: RawUpstream::refusing_but_the_second(Http::One, &retried).await,
            retried,
            bad: Upstream::failing(500).await,
            good: Upstream::handling(|_: Request<Incoming>| async { Response::new(full("good")) }).await,
            ill: Upstream::failing(500).await,
            deaf: Deaf::new().await,
        }
    }

    /// The services `broken` and `checked` of weir.yaml.
    fn services(&self) -> String {
        let mut text = "- name: broken\n  namespace: models\n  protocol: http1\n  endpoints:\n".to_owned();
        let of = [
            ("refused", free_address().to_string()),
            ("deaf", self.deaf.at.to_string()),
            ("late", self.late.at()),
            ("going", self.going.at()),
            ("cut", self.cut.at()),
            ("full", self.full.at()),
            ("busy", self.busy.at()),
            ("twice", self.twice.at()),
            ("thrown", self.bad.at()),
            ("thrown", self.good.at()),
        ];
        for (version, at) in of {
            text += &format!("  - {{address: '{at}', labels: {{version: {version}}}}}\n");
        }
        text + &format!(
            "- name: checked\n  namespace: models\n  protocol: http1\n  health_check: {{http: {{path: /}}, \
             interval: 1s, no_traffic_interval: 1s, timeout: 10s, unhealthy_threshold: 1}}\n  endpoints: [{{address: '{}'}}]\n",
            self.ill.at()
        )
    }
}

/// How `broken` is split: each version by its own rule, and one that no DestinationRule knows.
const BROKEN_RULES: &str = "---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: broken, namespace: models}
spec:
  hosts: [broken]
  http:
  - {name: refused, match: [{headers: {x-rule: {exact: refused}}}], route: [{destination: {host: broken, subset: refused}}]}
  - {name: deaf, match: [{headers: {x-rule: {exact: deaf}}}], route: [{destination: {host: broken, subset: deaf}}]}
  - {name: late, match: [{headers: {x-rule: {exact: late}}}], timeout: 50ms, route: [{destination: {host: broken, subset: late}}]}
  - {name: going, match: [{headers: {x-rule: {exact: going}}}], route: [{destination: {host: broken, subset: going}}]}
  - {name: cut, match: [{headers: {x-rule: {exact: cut}}}], route: [{destination: {host: broken, subset: cut}}]}
  - {name: full, match: [{headers: {x-rule: {exact: full}}}], route: [{destination: {host: broken, subset: full}}]}
  - {name: busy, match: [{headers: {x-rule: {exact: busy}}}], route: [{destination: {host: broken, subset: busy}}]}
  - name: twice
    match: [{headers: {x-rule: {exact: twice}}}]
    retries: {attempts: 1, retryOn: 'reset'}
    route: [{destination: {host: broken, subset: twice}}]
  - {name: thrown, match: [{headers: {x-rule: {exact: thrown}}}], route: [{destination: {host: broken, subset: thrown}}]}
  - {name: undeclared, match: [{headers: {x-rule: {exact: undeclared}}}], route: [{destination: {host: broken, subset: undeclared}}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: broken, namespace: models}
spec:
  host: broken
  subsets:
  - {name: refused, labels: {version: refused}}
  - {name: deaf, labels: {version: deaf}, trafficPolicy: {connectionPool: {tcp: {connectTimeout: 50ms}}}}
  - {name: late, labels: {version: late}}
  - {name: going, labels: {version: going}}
  - {name: cut, labels: {version: cut}}
  - {name: full, labels: {version: full}, trafficPolicy: {connectionPool: {tcp: {maxConnections: 1}, http: {http1MaxPendingRequests: 1}}}}
  - {name: busy, labels: {version: busy}, trafficPolicy: {connectionPool: {http: {http2MaxRequests: 1}}}}
  - {name: twice, labels: {version: twice}, trafficPolicy: {connectionPool: {http: {maxRetries: 1}}}}
  - {name: thrown, labels: {version: thrown}, trafficPolicy: {outlierDetection: {consecutive5xxErrors: 1, interval: 1h, baseEjectionTime: 1h, maxEjectionPercent: 100}}}
";

/// The rules of `half-plus-two`: `canary` for everything, and others for requests whose `x-rule` names them.
pub(crate) fn rules(weights: [u32; 2]) -> String {
    let of = |name: &str, precedence: u32, shares: &[(&str, u32)], more: &str| {
        let matched = match precedence {
            0 => String::new(),
            _ => format!("  match: {{request: {{headers: {{x-rule: {{exact: {name}}}}}}}}}\n"),
        };
        let shares: Vec<String> = shares
            .iter()
            .map(|(version, weight)| format!("{{labels: {{version: {version}}}, weight: {weight}}}"))
            .collect();
        format!(
            "---\napiVersion: config.istio.io/v1alpha2\nkind: RouteRule\nmetadata: {{name: {name}, namespace: models}}\n\
             spec:\n  destination: {{name: half-plus-two}}\n  precedence: {precedence}\n{matched}{more}  route: [{}]\n",
            shares.join(", ")
        )
    };
    let halves = [("v1", 50), ("v2", 50)];
    let retries = "  httpReqRetries: {simpleRetry: {attempts: 1, perTryTimeout: 60s}}\n";
    let abort = "  httpFault: {abort: {percent: 100, httpStatus: 403}}\n";
    [
        of("canary", 0, &[("v1", weights[0]), ("v2", weights[1])], ""),
        of("retried", 1, &halves, retries),
        of("mirrored", 2, &halves, "  mirror: {name: half-plus-two, labels: {version: v5}}\n"),
        of("aborted", 3, &[("v1", 100)], abort),
        of("lost", 4, &[("v3", 100)], ""),
        of("gone", 5, &[("v4", 100)], ""),
        of("held", 6, &[("v1", 100)], ""),
    ]
    .concat()
}

/// The rules of pod a.
pub(crate) fn all_rules(weights: [u32; 2]) -> String {
    rules(weights) + BROKEN_RULES
}

impl World {
    /// With more `limits`, `key: value`, and more keys of pod a, and model servers that take so long.
    pub(crate) async fn start(limits: &str, more: &str, times: [impl Into<Mix>; 2]) -> World {
        let [first, second] = times.map(Into::into);
        let models = [model("v1", ANSWERS[0], first).await, model("v2", ANSWERS[1], second).await];
        let (shadow, broken) = (model("v5", ANSWERS[0], DELAYS[0].into()).await, Broken::new().await);
        let [a, b] = [Pod::new(), Pod::new()];
        let any = free_address();
        let pods = [
            (a, config(&a, 0, &models, &b, &shadow), Some(any)),
            (b, config(&b, 1, &models, &a, &shadow), None),
        ];
        let mut started = Vec::new();
        for (pod, text, any) in pods {
            let text = match any {
                Some(any) => {
                    format!("{more}{text}")
                        .replace("limits: {", &format!("limits: {{{limits}"))
                        .replace("services:\n", &format!("- {{name: any, address: '{any}'}}\nservices:\n"))
                        + &broken.services()
                }
                None => text,
            };
            let rules = if any.is_some() { all_rules([80, 20]) } else { rules([80, 20]) };
            // It blocks until the proxy is ready, and the model servers live on this thread.
            started.push(spawn_blocking(move || pod.start(&text, &rules)).await.expect("it starts"));
        }
        let pods = started.try_into().unwrap_or_else(|_| unreachable!("two were started"));
        World { pods, any, models, shadow, broken }
    }
}

/// The configuration of the pod with version number `own`.
fn config(pod: &Pod, own: usize, models: &[Model; 2], other: &Pod, shadow: &Model) -> String {
    let versions = ["v1", "v2"];
    let at = |model: &Model| format!("grpc: '{}', http: '{}'", model.grpc.at(), model.http.at());
    format!(
        "workers: 1\nnode: {{namespace: models, workload: 'half-plus-two-{v}', cluster: east}}\n\
         limits: {{upstream_idle: {{http1: 1h, http2: 1h}}, downstream_idle: 1h, connect_timeout: 1h, head_count: 50}}\n\
         metrics: {{dimensions: [{{name: {DIMENSION}, header: x-rule, values: [{}]}}]}}\n\
         # Of the spans, which nobody wants here, there are the series.\n\
         tracing: {{endpoint: 'http://{}', protocol: grpc, sample_percent: 0}}\n\
         callers: [{{cidr: 127.0.0.0/8, service: frontend.web, labels: {{app: frontend, version: v7}}}}]\n{}\
         services:\n- name: half-plus-two\n  namespace: models\n  circuit_breakers: {{retries: 100}}\n  endpoints:\n\
         \x20 - {{{}, labels: {{version: {v}}}, local: true}}\n\
         \x20 - {{address: '{}', labels: {{version: {}}}}}\n\
         \x20 - {{address: '{}', labels: {{version: v4}}}}\n\
         \x20 - {{{}, labels: {{version: v5}}}}\n",
        LISTED.join(", "),
        free_address(),
        pod.sidecar_listeners(SERVICE),
        at(&models[own]),
        other.delivery,
        versions[1 - own],
        free_address(),
        at(shadow),
        v = versions[own],
    )
}

/// A message of so many bytes, as gRPC frames it.
pub(crate) fn message(bytes: usize) -> Bytes {
    grpc_message(&vec![b'x'; bytes])
}
