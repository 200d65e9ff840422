//! A routing drawn by chance, and how it is written for Envoy and, as VirtualServices, for Weir.
//!
//! Law: both texts are written from one value; neither is derived from the other.

use std::net::SocketAddr;

use serde_json::{Map, Value, json};

/// One server each.
pub(super) const VERSIONS: [&str; 6] = ["v1", "v2", "v3", "v4", "v5", "v6"];
pub(super) const METHODS: [&str; 3] = ["GET", "POST", "DELETE"];
const PREFIXES: [&str; 7] = ["/", "/a", "/a/", "/b/", "/c", "/v1", "/zz"];
const EXACTS: [&str; 6] = ["/", "/a", "/a/b", "/b/c", "/c/", "/v1/models/m:predict"];
const REGEXES: [&str; 5] = ["/a/.*", "/v[0-9]+/models/.*", "/(a|b)", "/.*/c", "/[a-c]/?"];
const VALUES: [&str; 4] = ["alice", "bob", "b", "alice,bob"];
const VALUE_REGEXES: [&str; 3] = ["ali.*", "a.*|b", ".+"];

/// Evenly drawn numbers (splitmix64); the same each time.
pub(super) struct Chance(pub(super) u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    pub(super) fn of<'l, T: ?Sized>(&mut self, list: &[&'l T]) -> &'l T {
        list[self.below(list.len() as u64) as usize]
    }

    /// One time of `times`.
    fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }
}

#[derive(Clone, Debug)]
enum Text {
    Exact(&'static str),
    Prefix(&'static str),
    Regex(&'static str),
    Present,
}

impl Text {
    fn drawn(chance: &mut Chance) -> Text {
        match chance.below(5) {
            0 => Text::Prefix(chance.of(&["al", "b", "ali"])),
            1 => Text::Regex(chance.of(&VALUE_REGEXES)),
            2 => Text::Present,
            _ => Text::Exact(chance.of(&VALUES)),
        }
    }

    fn istio(&self) -> Value {
        match self {
            Text::Exact(text) => json!({"exact": text}),
            Text::Prefix(text) => json!({"prefix": text}),
            Text::Regex(text) => json!({"regex": text}),
            Text::Present => json!({}),
        }
    }

    fn envoy(&self) -> Value {
        match self {
            Text::Exact(text) => json!({"string_match": {"exact": text}}),
            Text::Prefix(text) => json!({"string_match": {"prefix": text}}),
            Text::Regex(text) => json!({"string_match": {"safe_regex": {"regex": text}}}),
            Text::Present => json!({"present_match": true}),
        }
    }
}

#[derive(Clone, Debug)]
enum Path {
    Any,
    Exact(&'static str, bool),
    Prefix(&'static str, bool),
    Regex(&'static str),
}

#[derive(Clone, Debug)]
enum Action {
    /// Version and weight; a path and a host in place of the request's.
    Forward {
        shares: Vec<(usize, u32)>,
        path: Option<&'static str>,
        host: Option<&'static str>,
    },
    Redirect {
        path: Option<&'static str>,
        host: Option<&'static str>,
        status: u16,
    },
    Direct(u16),
}

#[derive(Clone, Debug)]
struct Rule {
    path: Path,
    method: Option<Text>,
    headers: Vec<(&'static str, Text)>,
    without: Vec<(&'static str, Text)>,
    query: Vec<(&'static str, Text)>,
    action: Action,
}

/// The routing of one host.
#[derive(Debug)]
pub(super) struct Drawn {
    pub(super) host: String,
    rules: Vec<Rule>,
}

impl Drawn {
    pub(super) fn new(number: usize, chance: &mut Chance) -> Drawn {
        let count = 1 + chance.below(6);
        let rules = (0..count).map(|_| rule(chance)).collect();
        Drawn { host: format!("h{number}.example"), rules }
    }

    /// A route for a parameter, one for a header, one for the rest, and one for a rewrite.
    pub(super) fn of_differences() -> Drawn {
        let rule = |path,
                    headers: &[(&'static str, &'static str)],
                    query: &[(&'static str, &'static str)],
                    action| {
            let exact = |all: &[(&'static str, &'static str)]| {
                all.iter().map(|(name, value)| (*name, Text::Exact(value))).collect()
            };
            Rule {
                path,
                method: None,
                headers: exact(headers),
                without: Vec::new(),
                query: exact(query),
                action,
            }
        };
        let rewrite = Action::Forward { shares: vec![(0, 100)], path: Some("/new/"), host: None };
        let rules = vec![
            rule(Path::Any, &[], &[("q", "a")], Action::Direct(403)),
            rule(Path::Any, &[("x-user", "bob")], &[], Action::Direct(410)),
            rule(Path::Prefix("/a", false), &[], &[], rewrite),
            rule(Path::Any, &[], &[], Action::Direct(503)),
        ];
        Drawn { host: "differences.example".to_owned(), rules }
    }

    /// Whether the route of this number has several shares with weight.
    pub(super) fn splits(&self, route: &str) -> bool {
        let rule = route.parse::<usize>().ok().and_then(|number| self.rules.get(number));
        match rule.map(|rule| &rule.action) {
            Some(Action::Forward { shares, .. }) => {
                shares.iter().filter(|(_, weight)| *weight > 0).count() > 1
            }
            _ => false,
        }
    }

    pub(super) fn shown(&self) -> String {
        let rules: Vec<String> = self.rules.iter().map(|rule| format!("{rule:?}")).collect();
        rules.join("\n  ")
    }
}

fn rule(chance: &mut Chance) -> Rule {
    let path = match chance.below(6) {
        0 => Path::Any,
        1 => Path::Exact(chance.of(&EXACTS), chance.once_in(4)),
        2 => Path::Regex(chance.of(&REGEXES)),
        _ => Path::Prefix(chance.of(&PREFIXES), chance.once_in(4)),
    };
    let method = chance.once_in(3).then(|| match chance.below(2) {
        0 => Text::Exact(chance.of(&METHODS)),
        _ => Text::Regex("GET|DEL.*"),
    });
    let mut some = |names: [&'static str; 2], times: u64| -> Vec<(&'static str, Text)> {
        let mut drawn = Vec::new();
        for name in names {
            if chance.once_in(times) {
                drawn.push((name, Text::drawn(chance)));
            }
        }
        drawn
    };
    let headers = some(["x-user", "x-team"], 4);
    let without = some(["x-user", "x-team"], 8);
    let query = some(["q", "r"], 8);
    let action = action(&path, chance);
    Rule { path, method, headers, without, query, action }
}

fn action(path: &Path, chance: &mut Chance) -> Action {
    let host = |chance: &mut Chance| chance.once_in(3).then_some("other.example");
    match chance.below(8) {
        0 => {
            let status = [301, 302, 303, 307, 308][chance.below(5) as usize];
            let (new, host) = (chance.once_in(2).then_some("/new"), host(chance));
            // Something has to be another.
            let host = host.or(new.is_none().then_some("other.example"));
            Action::Redirect { path: new, host, status }
        }
        1 => Action::Direct([403, 410, 503][chance.below(3) as usize]),
        _ => {
            let first = chance.below(VERSIONS.len() as u64) as usize;
            let shares = match chance.below(3) {
                0 => vec![(first, 1 + chance.below(99) as u32), ((first + 1) % VERSIONS.len(), 1)],
                1 => vec![(first, 100), ((first + 1) % VERSIONS.len(), 0)],
                _ => vec![(first, 100)],
            };
            // With the same end as what it stands for: Envoy doubles or swallows a slash, Weir does not.
            let with = match path {
                Path::Prefix(text, _) if text.ends_with('/') => "/new/",
                Path::Any => "/new/",
                _ => "/new",
            };
            Action::Forward { shares, path: chance.once_in(4).then_some(with), host: host(chance) }
        }
    }
}

/// weir.yaml, and VirtualServices with their DestinationRule.
pub(super) fn for_weir(drawn: &[Drawn], upstreams: &[SocketAddr]) -> (String, String) {
    let mut yaml = String::from(
        "listeners: [{name: in, address: \"127.0.0.1:0\"}]\nservices:\n- name: x\n  protocol: http1\n  endpoints:\n",
    );
    for (version, address) in VERSIONS.iter().zip(upstreams) {
        yaml += &format!("  - {{address: \"{address}\", labels: {{version: {version}}}}}\n");
    }
    let subsets: Vec<Value> =
        VERSIONS.iter().map(|version| json!({"name": version, "labels": {"version": version}})).collect();
    let mut objects = vec![json!({
        "apiVersion": "networking.istio.io/v1", "kind": "DestinationRule", "metadata": {"name": "x"},
        "spec": {"host": "x", "subsets": subsets},
    })];
    for (number, one) in drawn.iter().enumerate() {
        let http: Vec<Value> = one.rules.iter().enumerate().map(|(place, rule)| istio(place, rule)).collect();
        objects.push(json!({
            "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
            "metadata": {"name": format!("drawn-{number}")}, "spec": {"hosts": [one.host], "http": http},
        }));
    }
    let rules: Vec<String> = objects.iter().map(Value::to_string).collect();
    (yaml, rules.join("\n---\n"))
}

fn istio(place: usize, rule: &Rule) -> Value {
    let mut matches = Map::new();
    let uri = match rule.path {
        Path::Any => None,
        Path::Exact(text, ignore) => Some((json!({"exact": text}), ignore)),
        Path::Prefix(text, ignore) => Some((json!({"prefix": text}), ignore)),
        Path::Regex(text) => Some((json!({"regex": text}), false)),
    };
    if let Some((uri, ignore)) = uri {
        matches.insert("uri".into(), uri);
        if ignore {
            matches.insert("ignoreUriCase".into(), true.into());
        }
    }
    if let Some(method) = &rule.method {
        matches.insert("method".into(), method.istio());
    }
    for (key, all) in
        [("headers", &rule.headers), ("withoutHeaders", &rule.without), ("queryParams", &rule.query)]
    {
        let all: Map<String, Value> =
            all.iter().map(|(name, text)| ((*name).to_owned(), text.istio())).collect();
        if !all.is_empty() {
            matches.insert(key.into(), all.into());
        }
    }
    let mut http = json!({"headers": {"response": {"set": {"x-route": place.to_string()}}}});
    if !matches.is_empty() {
        http["match"] = json!([matches]);
    }
    match &rule.action {
        Action::Forward { shares, path, host } => {
            let share = |(version, weight): &(usize, u32)| json!({"destination": {"host": "x", "subset": VERSIONS[*version]}, "weight": weight});
            http["route"] = shares.iter().map(share).collect();
            if path.is_some() || host.is_some() {
                http["rewrite"] = said([("uri", path), ("authority", host)]);
            }
        }
        Action::Redirect { path, host, status } => {
            http["redirect"] = said([("uri", path), ("authority", host)]);
            http["redirect"]["redirectCode"] = json!(status);
        }
        Action::Direct(status) => http["directResponse"] = json!({"status": status}),
    }
    http
}

fn said(all: [(&str, &Option<&str>); 2]) -> Value {
    all.into_iter().filter_map(|(key, value)| Some((key.to_owned(), Value::from((*value)?)))).collect()
}

/// A bootstrap with one cluster for each version.
pub(super) fn for_envoy(drawn: &[Drawn], upstreams: &[SocketAddr]) -> String {
    let hosts: Vec<Value> = drawn
        .iter()
        .map(|one| {
            let routes: Vec<Value> =
                one.rules.iter().enumerate().map(|(place, rule)| route(place, rule)).collect();
            json!({"name": one.host, "domains": [one.host], "routes": routes})
        })
        .collect();
    let clusters: Vec<Value> = VERSIONS
        .iter()
        .zip(upstreams)
        .map(|(version, address)| {
            let address = json!({"address": address.ip().to_string(), "port_value": address.port()});
            let endpoint = json!({"endpoint": {"address": {"socket_address": address}}});
            json!({
                "name": version, "type": "STATIC",
                "load_assignment": {"cluster_name": version, "endpoints": [{"lb_endpoints": [endpoint]}]},
            })
        })
        .collect();
    let package = "type.googleapis.com/envoy.extensions.filters";
    let manager = json!({
        "@type": format!("{package}.network.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": "predict",
        "normalize_path": true,
        "merge_slashes": true,
        "path_with_escaped_slashes_action": "REJECT_REQUEST",
        "http_filters": [{
            "name": "envoy.filters.http.router",
            "typed_config": {"@type": format!("{package}.http.router.v3.Router")},
        }],
        "route_config": {"virtual_hosts": hosts},
    });
    let chain = json!({"filters": [{
        "name": "envoy.filters.network.http_connection_manager", "typed_config": manager,
    }]});
    let any = json!({"socket_address": {"address": "127.0.0.1", "port_value": 0}});
    let listener = json!({"name": "predict", "address": any, "filter_chains": [chain]});
    json!({"admin": {"address": any}, "static_resources": {"listeners": [listener], "clusters": clusters}})
        .to_string()
}

fn route(place: usize, rule: &Rule) -> Value {
    let mut matches = match rule.path {
        Path::Any => json!({"prefix": "/"}),
        Path::Exact(text, ignore) => json!({"path": text, "case_sensitive": !ignore}),
        Path::Prefix(text, ignore) => json!({"prefix": text, "case_sensitive": !ignore}),
        Path::Regex(text) => json!({"safe_regex": {"regex": text}}),
    };
    let named = |name: &str, text: &Text| {
        let mut all = text.envoy();
        all["name"] = name.into();
        all
    };
    // An empty condition on a method is one that every request satisfies.
    let method = rule.method.iter().map(|text| named(":method", text));
    let without = rule.without.iter().map(|(name, text)| {
        let mut all = named(name, text);
        all["invert_match"] = true.into();
        // Without it an absent field does not satisfy an inverted condition.
        if !matches!(text, Text::Present) {
            all["treat_missing_header_as_empty"] = true.into();
        }
        all
    });
    let headers = rule.headers.iter().map(|(name, text)| named(name, text));
    matches["headers"] = method.chain(headers).chain(without).collect();
    matches["query_parameters"] = rule.query.iter().map(|(name, text)| named(name, text)).collect();
    let told = json!({"header": {"key": "x-route", "value": place.to_string()}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"});
    let mut route = json!({"match": matches, "response_headers_to_add": [told]});
    match &rule.action {
        Action::Forward { shares, path, host } => {
            let share =
                |(version, weight): &(usize, u32)| json!({"name": VERSIONS[*version], "weight": weight});
            let clusters: Vec<Value> = shares.iter().map(share).collect();
            let mut action = json!({"weighted_clusters": {"clusters": clusters}, "timeout": "0s"});
            if let Some(path) = path {
                action["prefix_rewrite"] = json!(path);
            }
            if let Some(host) = host {
                action["host_rewrite_literal"] = json!(host);
            }
            route["route"] = action;
        }
        Action::Redirect { path, host, status } => {
            let words =
                ["MOVED_PERMANENTLY", "FOUND", "SEE_OTHER", "TEMPORARY_REDIRECT", "PERMANENT_REDIRECT"];
            let place = [301, 302, 303, 307, 308].iter().position(|one| one == status).unwrap_or_default();
            let mut action = json!({"response_code": words[place]});
            if let Some(path) = path {
                action["path_redirect"] = json!(path);
            }
            if let Some(host) = host {
                action["host_redirect"] = json!(host);
            }
            route["redirect"] = action;
        }
        Action::Direct(status) => route["direct_response"] = json!({"status": status}),
    }
    route
}
