//! A scene: one route, as Weir's dialects say it and as Envoy's configuration does, and the requests that it is tried
//! with.
//!
//! Law: both texts are written by hand from one intent. In each, `@UP` is the cluster that speaks the version of HTTP
//! that is tried upstream, and `@TYPE(x)` Envoy's `"@type"` of that name.

use super::common::world::Http;

/// See the module.
pub(super) struct Scene {
    pub(super) name: &'static str,
    weir: Dialect,
    envoy: &'static str,
    pub(super) asks: Vec<Ask>,
}

/// What says it to Weir: the fields of the object's one rule.
enum Dialect {
    VirtualService(&'static str),
    HttpRoute(&'static str),
}

/// A VirtualService's rule and Envoy's route. Without a route of their own, both go to `@UP` and have no timeout.
pub(super) fn scene(name: &'static str, weir: &'static str, envoy: &'static str, asks: Vec<Ask>) -> Scene {
    Scene { name, weir: Dialect::VirtualService(weir), envoy, asks }
}

/// The same with the rule of an HTTPRoute.
pub(super) fn http_route(
    name: &'static str,
    weir: &'static str,
    envoy: &'static str,
    asks: Vec<Ask>,
) -> Scene {
    Scene { name, weir: Dialect::HttpRoute(weir), envoy, asks }
}

impl Scene {
    /// The host under which it is met with this protocol upstream.
    pub(super) fn host(&self, up: Http) -> String {
        format!(
            "{}.{}.example",
            self.name.to_lowercase().replace([' ', ':'], "-").replace(',', ""),
            cluster(up)
        )
    }

    /// The objects, one for each version of HTTP upstream.
    pub(super) fn for_weir(&self) -> String {
        let object = |up: Http| {
            let (host, up) = (self.host(up), cluster(up));
            let (head, spec) = match &self.weir {
                Dialect::VirtualService(rule) => {
                    let decides = ["route:", "redirect:", "directResponse:"];
                    let route = match decides.iter().any(|key| stands_in(rule, key)) {
                        true => "",
                        false => "route: [{destination: {host: \"@UP\"}}], ",
                    };
                    let head = "networking.istio.io/v1, kind: VirtualService";
                    (head, format!("hosts: [{host}], http: [{{{route}{rule}}}]"))
                }
                Dialect::HttpRoute(rule) => {
                    let backend = match stands_in(rule, "backendRefs:") || rule.contains("RequestRedirect") {
                        true => "",
                        false => "backendRefs: [{name: \"@UP\", port: 80}], ",
                    };
                    let head = "gateway.networking.k8s.io/v1, kind: HTTPRoute";
                    (head, format!("hostnames: [{host}], rules: [{{{backend}{rule}}}]"))
                }
            };
            let spec = spec.replace("@UP", up);
            format!("---\n{{apiVersion: {head}, metadata: {{name: {}}}, spec: {{{spec}}}}}\n", host)
        };
        Http::BOTH.map(object).concat()
    }

    /// Its virtual hosts, between commas.
    pub(super) fn for_envoy(&self) -> String {
        let host = |up: Http| {
            let (host, up) = (self.host(up), cluster(up));
            let decides = ["route:", "redirect:", "direct_response:"];
            let action = match decides.iter().any(|key| stands_in(self.envoy, key)) {
                true => "",
                false => "route: {cluster: \"@UP\", timeout: 0s}, ",
            };
            let matches = if stands_in(self.envoy, "match:") { "" } else { "match: {prefix: /}, " };
            let route = format!("{matches}{action}{}", self.envoy).replace("@UP", up);
            let route = typed(&route);
            format!("{{name: {host}, domains: [{host}, \"{host}:*\"], routes: [{{{route}}}]}}")
        };
        Http::BOTH.map(host).join(", ")
    }
}

/// Whether a key stands among the fields themselves, not below one of them.
fn stands_in(text: &str, key: &str) -> bool {
    let mut depth = 0;
    for (at, letter) in text.char_indices() {
        match letter {
            '{' | '[' => depth += 1,
            '}' | ']' => depth -= 1,
            _ if depth == 0 && text[at..].starts_with(key) => return true,
            _ => {}
        }
    }
    false
}

/// Writes Envoy's long names out.
fn typed(text: &str) -> String {
    let mut out = String::new();
    let mut parts = text.split("@TYPE(");
    out += parts.next().unwrap_or_default();
    for part in parts {
        let (name, rest) = part.split_once(')').expect("a closed @TYPE");
        out += &format!("\"@type\": type.googleapis.com/envoy.extensions.filters.http.{name}");
        out += rest;
    }
    out
}

fn cluster(up: Http) -> &'static str {
    match up {
        Http::One => "one",
        Http::Two => "two",
    }
}

/// A request that a scene is tried with.
#[derive(Clone)]
pub(super) struct Ask {
    pub(super) kind: Kind,
    pub(super) method: &'static str,
    pub(super) path: &'static str,
    pub(super) fields: Vec<(&'static str, &'static str)>,
    pub(super) body: &'static str,
    /// The body does not end.
    pub(super) unfinished: bool,
    /// Behind the host's name.
    pub(super) port: &'static str,
    /// Upstreams of this version alone.
    pub(super) up: Option<Http>,
    /// How many copies the shadow gets.
    pub(super) copies: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Plain,
    /// A call with one message, over HTTP/2 from end to end.
    Grpc,
    /// HTTP/1.1 from end to end; behind 101 bytes are sent and come back.
    Upgrade,
}

pub(super) fn ask(method: &'static str, path: &'static str) -> Ask {
    Ask {
        kind: Kind::Plain,
        method,
        path,
        fields: Vec::new(),
        body: "",
        unfinished: false,
        port: "",
        up: None,
        copies: 0,
    }
}

pub(super) fn get(path: &'static str) -> Ask {
    ask("GET", path)
}

pub(super) fn post(path: &'static str, body: &'static str) -> Ask {
    Ask { body, ..ask("POST", path) }
}

/// A call of `/s.S/M`.
pub(super) fn call() -> Ask {
    let grpc = Ask { kind: Kind::Grpc, up: Some(Http::Two), ..post("/s.S/M", "hello") };
    grpc.field("content-type", "application/grpc").field("te", "trailers")
}

/// Wants to go on with another protocol.
pub(super) fn upgrade(path: &'static str, protocol: &'static str) -> Ask {
    let upgrade = Ask { kind: Kind::Upgrade, up: Some(Http::One), ..get(path) };
    upgrade.field("connection", "upgrade").field("upgrade", protocol)
}

/// The same, and `connection` does not say so.
pub(super) fn unnamed_upgrade(path: &'static str, protocol: &'static str) -> Ask {
    let upgrade = Ask { kind: Kind::Upgrade, up: Some(Http::One), ..get(path) };
    upgrade.field("upgrade", protocol)
}

impl Ask {
    pub(super) fn field(mut self, name: &'static str, value: &'static str) -> Ask {
        self.fields.push((name, value));
        self
    }

    /// What the upstream does, attempt by attempt.
    pub(super) fn does(self, deeds: &'static str) -> Ask {
        self.field(super::behind::DO, deeds)
    }

    /// What fields its answers have.
    pub(super) fn emits(self, fields: &'static str) -> Ask {
        self.field(super::behind::EMIT, fields)
    }

    pub(super) fn only(self, up: Http) -> Ask {
        Ask { up: Some(up), ..self }
    }

    pub(super) fn copied(self, copies: usize) -> Ask {
        Ask { copies, ..self }
    }

    pub(super) fn at_port(self, port: &'static str) -> Ask {
        Ask { port, ..self }
    }

    pub(super) fn unfinished(self) -> Ask {
        Ask { unfinished: true, ..self }
    }

    /// What tells it from the others of its scene.
    pub(super) fn name(&self) -> String {
        let mut name = if self.unfinished { "unfinished " } else { "" }.to_owned();
        name += &match self.kind {
            Kind::Grpc => "call".to_owned(),
            Kind::Plain | Kind::Upgrade => format!("{} {}{}", self.method, self.port, self.path),
        };
        for (field, value) in &self.fields {
            match *field {
                "content-type" | "te" if self.kind == Kind::Grpc => {}
                super::behind::DO => name += &format!(" -> {value}"),
                super::behind::EMIT => name += &format!(" with {value}"),
                field => name += &format!(" {field}={value}"),
            }
        }
        name
    }

    /// What the caller speaks and what the upstream does.
    pub(super) fn ways(&self) -> Vec<(Http, Http)> {
        let down: &[Http] = match self.kind {
            Kind::Grpc => &[Http::Two],
            Kind::Upgrade => &[Http::One],
            Kind::Plain => &Http::BOTH,
        };
        let ups: Vec<Http> = self.up.map_or_else(|| Http::BOTH.to_vec(), |up| vec![up]);
        down.iter().flat_map(|down| ups.iter().map(|up| (*down, *up))).collect()
    }
}
