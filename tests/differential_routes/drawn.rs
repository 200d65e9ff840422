//! A routing, as it is meant.
//!
//! Law: it knows nothing of how anybody writes it; `drawing.rs` draws it, `order.rs` says which of its routes goes first.

/// One server each.
pub(super) const VERSIONS: [&str; 6] = ["v1", "v2", "v3", "v4", "v5", "v6"];
/// In place of a version's number: all of them.
pub(super) const ALL: usize = VERSIONS.len();
/// One that no server has.
pub(super) const NOBODY: usize = ALL + 1;

/// How plain requests are routed; gRPC calls may have a GRPCRoute beside it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Dialect {
    RouteRule,
    VirtualService,
    Gateway,
}

#[derive(Clone, Debug)]
pub(super) enum Text {
    Exact(&'static str),
    Prefix(&'static str),
    Regex(&'static str),
    Present,
}

#[derive(Clone, Debug, Default)]
pub(super) enum Path {
    #[default]
    Any,
    /// And whether case is nothing to it.
    Exact(&'static str, bool),
    Prefix(&'static str, bool),
    /// A prefix of whole segments.
    Segments(&'static str),
    Regex(&'static str),
    /// gRPC's service and method, one of which is said.
    Call(Option<&'static str>, Option<&'static str>),
    /// The same by expressions.
    CallRegex(Option<&'static str>, Option<&'static str>),
}

/// What takes the place of a path.
#[derive(Clone, Debug)]
pub(super) enum Replaced {
    /// Of what was matched: all of it for an exact path and for an expression.
    Matched(String),
    Whole(String),
    /// Of what an expression matches, wherever it does: the expression, and what stands there instead.
    Expression(&'static str, &'static str),
}

#[derive(Clone, Debug)]
pub(super) enum Action {
    /// Version and weight; a path and a host in place of the request's.
    Forward {
        shares: Vec<(usize, u32)>,
        /// Of the service that is asked for, where one is; else of `x`.
        own: bool,
        path: Option<Replaced>,
        host: Option<&'static str>,
    },
    Redirect {
        scheme: Option<&'static str>,
        host: Option<String>,
        port: Option<u16>,
        path: Option<Replaced>,
        status: u16,
    },
    Direct(u16),
}

/// What a request has to be, all of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Conditions {
    pub(super) path: Path,
    pub(super) scheme: Option<Text>,
    pub(super) authority: Option<Text>,
    pub(super) method: Option<Text>,
    pub(super) headers: Vec<(&'static str, Text)>,
    pub(super) without: Vec<(&'static str, Text)>,
    pub(super) query: Vec<(&'static str, Text)>,
    /// It comes from the workload that is known.
    pub(super) caller: bool,
}

/// What orders rules that are objects of their own.
#[derive(Clone, Debug)]
pub(super) struct Precedence {
    pub(super) number: i32,
    pub(super) namespace: &'static str,
    pub(super) name: String,
}

#[derive(Clone, Debug)]
pub(super) struct Rule {
    /// One of them is enough.
    pub(super) alternatives: Vec<Conditions>,
    pub(super) action: Action,
    /// For gRPC calls alone: a GRPCRoute's.
    pub(super) calls: bool,
    /// As a RouteRule has it.
    pub(super) precedence: Precedence,
    /// Which of the HTTPRoutes it stands in.
    pub(super) object: usize,
}

/// An HTTPRoute.
#[derive(Clone, Debug)]
pub(super) struct Object {
    /// The day of its creation, if it tells one.
    pub(super) created: Option<u32>,
    pub(super) name: String,
}

/// The routing of some hosts.
#[derive(Debug)]
pub(super) struct Drawn {
    pub(super) number: usize,
    pub(super) dialect: Dialect,
    /// Whether its hosts are the names of a service of its own.
    pub(super) service: bool,
    /// Exact ones, and stars.
    pub(super) hosts: Vec<String>,
    /// As they stand.
    pub(super) rules: Vec<Rule>,
    pub(super) objects: Vec<Object>,
    /// Whether somebody claims the hosts in vain.
    pub(super) contested: bool,
}

impl Drawn {
    /// One route for all, with shares of these weights.
    pub(super) fn of_shares(weights: &[u32]) -> Drawn {
        let shares = weights.iter().copied().enumerate().collect();
        let action = Action::Forward { shares, own: false, path: None, host: None };
        let precedence = Precedence { number: 0, namespace: "default", name: "shares".into() };
        let alternatives = vec![Conditions::default()];
        Drawn {
            number: 0,
            dialect: Dialect::VirtualService,
            service: false,
            hosts: vec!["shares.example".to_owned()],
            rules: vec![Rule { alternatives, action, calls: false, precedence, object: 0 }],
            objects: Vec::new(),
            contested: false,
        }
    }

    /// The service of its own.
    pub(super) fn own(&self) -> String {
        format!("s{}", self.number)
    }

    /// The service whose versions have a share.
    pub(super) fn target(&self, own: bool) -> String {
        if own { self.own() } else { "x".to_owned() }
    }

    /// What the answer of a route says in `x-route`.
    pub(super) fn told(&self, place: usize) -> String {
        format!("{}/{place}", self.number)
    }

    /// Whether it is one of its routes that says `route`.
    pub(super) fn says(&self, route: &str) -> bool {
        route.split('/').next() == Some(self.number.to_string().as_str())
    }

    /// Whether a rule has a backend that nobody knows.
    pub(super) fn leads_nowhere(&self, place: usize) -> bool {
        let nobody = |(version, _): &(usize, u32)| *version == NOBODY;
        matches!(&self.rules[place].action, Action::Forward { shares, .. } if shares.iter().any(nobody))
    }

    /// The rules for calls, or those for plain requests, each with its place.
    pub(super) fn rules(&self, calls: bool) -> impl Iterator<Item = (usize, &Rule)> {
        self.rules.iter().enumerate().filter(move |(_, rule)| rule.calls == calls)
    }

    /// The versions with weight of the route that says `route`, where there are several; of none: all of a service.
    pub(super) fn versions(all: &[Drawn], route: &str) -> Vec<&'static str> {
        if route.is_empty() {
            return VERSIONS.to_vec();
        }
        let rule = route.split_once('/').and_then(|(drawn, place)| {
            let drawn = all.get(drawn.parse::<usize>().ok()?)?;
            drawn.rules.get(place.parse::<usize>().ok()?)
        });
        let Some(Action::Forward { shares, .. }) = rule.map(|rule| &rule.action) else { return Vec::new() };
        let with_weight = shares.iter().filter(|(_, weight)| *weight > 0);
        let versions: Vec<_> = with_weight
            .flat_map(|(version, _)| VERSIONS.get(*version).map_or(&VERSIONS[..], std::slice::from_ref))
            .copied()
            .collect();
        if versions.len() > 1 { versions } else { Vec::new() }
    }

    pub(super) fn shown(&self) -> String {
        let rules: Vec<String> = self.rules.iter().map(|rule| format!("{rule:?}")).collect();
        format!("{:?} {:?} {:?}\n  {}", self.dialect, self.hosts, self.objects, rules.join("\n  "))
    }
}
