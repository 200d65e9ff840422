//! Objects of the three dialects about the service `x`, around what a test has to say, and a proxy that serves by them.
//!
//! Law: a test writes the field that it is about, and nothing of the frame that the dialect wants around it.
// Compiled into several tests, few of which use all of it; `pub` marks what tests call.
#![allow(dead_code, unreachable_pub, clippy::expect_used)]

use http::{Request, Response};

use super::engine::Engine;
use super::world::client::{Answer, Client, get};
use super::world::upstream::{BoxBody, Upstream, empty};
use super::world::{Http, one_service};

/// A RouteRule with `spec` as further keys, in YAML's flow style.
pub fn route_rule(spec: &str) -> String {
    format!(
        "---\napiVersion: config.istio.io/v1alpha2\nkind: RouteRule\nmetadata: {{name: r}}\n\
         spec: {{destination: {{name: x}}, {spec}}}\n"
    )
}

/// A VirtualService with `rules` in `http`, in YAML's flow style, and the subsets `v1` and `v2`.
pub fn virtual_service(rules: &str) -> String {
    format!(
        "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: x}}\n\
         spec: {{hosts: [x], http: [{rules}]}}\n{}",
        destination_rule("")
    )
}

/// A DestinationRule with the subsets `v1` and `v2`, and `more` keys in YAML's flow style.
pub fn destination_rule(more: &str) -> String {
    let subsets = "subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]";
    format!(
        "---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: x}}\n\
         spec: {{host: x, {subsets}, {more}}}\n"
    )
}

/// A DestinationRule without subsets, and with this traffic policy in YAML's flow style.
pub fn traffic_policy(policy: &str) -> String {
    format!(
        "---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: x}}\n\
         spec: {{host: x, trafficPolicy: {{{policy}}}}}\n"
    )
}

/// A DestinationPolicy with `spec` as further keys, in YAML's flow style.
pub fn destination_policy(spec: &str) -> String {
    format!(
        "---\napiVersion: config.istio.io/v1alpha2\nkind: DestinationPolicy\nmetadata: {{name: p}}\n\
         spec: {{destination: {{name: x}}, {spec}}}\n"
    )
}

/// A share of a VirtualService that is all of one subset.
pub fn to(subset: &str) -> String {
    format!("route: [{{destination: {{host: x, subset: {subset}}}}}]")
}

/// An HTTPRoute or a GRPCRoute with `rules`, in YAML's flow style.
pub fn gateway_route(kind: &str, rules: &str) -> String {
    format!(
        "---\napiVersion: gateway.networking.k8s.io/v1\nkind: {kind}\nmetadata: {{name: r}}\n\
         spec: {{parentRefs: [{{group: \"\", kind: Service, name: x}}], rules: [{rules}]}}\n"
    )
}

/// The service in two versions behind a proxy.
pub struct Served {
    pub engine: Engine,
    pub v1: Upstream,
    pub v2: Upstream,
}

impl Served {
    /// Upstreams that answer by their names, spoken to by `up`.
    pub async fn under(up: Http, rules: &str) -> Served {
        Served::with(up, Upstream::start("v1").await, rules).await
    }

    /// The same with another `v1`.
    pub async fn with(up: Http, v1: Upstream, rules: &str) -> Served {
        let v2 = Upstream::start("v2").await;
        let endpoints = [(&*v1.at(), "v1"), (&*v2.at(), "v2")];
        let yaml = one_service(&[&format!("protocol: {}", up.protocol())], &endpoints);
        let yaml = yaml + "internal_cidrs: [127.0.0.2/32]\n";
        Served { engine: Engine::start(1, &yaml, rules), v1, v2 }
    }

    /// A caller's connection.
    pub async fn caller(&self, down: Http) -> Client {
        Client::connect(down, self.engine.address("in")).await
    }

    /// That of a caller whose `x-envoy-` fields count.
    pub async fn internal(&self, down: Http) -> Client {
        Client::connect_from(down, Some([127, 0, 0, 2].into()), self.engine.address("in")).await
    }

    /// One request on a connection of its own.
    pub async fn send(&self, down: Http, request: Request<BoxBody>) -> Answer {
        self.caller(down).await.send(request).await
    }
}

/// Every request for `target` of `x.default:8080` gets this redirect by `rules`, and none goes upstream.
pub async fn redirects(rules: &str, target: &str, code: u16, location: &str) {
    let served = Served::under(Http::One, rules).await;
    for down in Http::BOTH {
        let answer = served.send(down, with(get(target), &[("host", "x.default:8080")])).await;
        let got = (answer.status.as_u16(), answer.header("location"));
        assert_eq!(got, (code, Some(location)), "{rules} {down:?}");
    }
    assert_eq!(served.v1.begun() + served.v2.begun(), 0);
}

/// How many copies `rules` make of 400 requests by each HTTP, all of which `v1` answers.
pub async fn copies_of_800(rules: &str) -> f64 {
    let served = Served::under(Http::One, rules).await;
    for down in Http::BOTH {
        let mut caller = served.caller(down).await;
        for _ in 0..400 {
            assert_eq!(caller.get("/").await.upstream(), "v1");
        }
    }
    served.engine.metric("weir_mirror_requests_total")
}

/// Fields for tests of edits: one to be set anew, one to be added to, one to be removed.
pub const EDITED: [(&str, &str); 3] = [("x-set", "v1"), ("x-add", "v1"), ("x-gone", "v1")];

/// An upstream whose answers have the fields [`EDITED`].
pub async fn telling() -> Upstream {
    Upstream::remembering(|seen| {
        let mut answer = Response::builder();
        for (name, value) in EDITED {
            answer = answer.header(name, value);
        }
        if seen.head.headers.contains_key("te") {
            answer = answer.header("content-type", "application/grpc").header("grpc-status", "0");
        }
        answer.body(empty()).expect("an answer")
    })
    .await
}

/// All values of a field.
pub fn all(headers: &http::HeaderMap, name: &str) -> Vec<String> {
    headers.get_all(name).iter().map(|value| value.to_str().expect("text").to_owned()).collect()
}

/// `request` with these fields.
pub fn with(mut request: Request<BoxBody>, fields: &[(&'static str, &str)]) -> Request<BoxBody> {
    for (name, value) in fields {
        request.headers_mut().append(*name, value.parse().expect("a value"));
    }
    request
}
