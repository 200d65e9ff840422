//! Routings drawn by chance.
//!
//! Law: the same seed draws the same. What is drawn is what the dialect can say; what the two proxies do differently on
//! purpose is not drawn.

use super::drawn::{
    ALL, Action, Conditions, Dialect, Drawn, NOBODY, Object, Path, Precedence, Replaced, Rule, Text, VERSIONS,
};

pub(super) const METHODS: [&str; 3] = ["GET", "POST", "DELETE"];
pub(super) const SERVICES: [&str; 3] = ["a.Predict", "a.PredictLong", "b.Model"];
pub(super) const CALLS: [&str; 3] = ["Get", "GetAll", "Run"];
const PREFIXES: [&str; 7] = ["/", "/a", "/a/", "/b/", "/c", "/v1", "/zz"];
const EXACTS: [&str; 6] = ["/", "/a", "/a/b", "/b/c", "/c/", "/v1/models/m:predict"];
const REGEXES: [&str; 5] = ["/a/.*", "/v[0-9]+/models/.*", "/(a|b)", "/.*/c", "/[a-c]/?"];
const SERVICE_REGEXES: [&str; 2] = ["a\\.Predict(Long)?", ".*Model"];
const CALL_REGEXES: [&str; 2] = ["Get.*", "G.t|Run"];
/// What leaves every path one that starts with a slash.
const REWRITES: [(&str, &str); 4] =
    [("^/(a|b)", r"/new/\1"), ("/([^/]*)$", r"/last/\1"), ("[0-9]+", "n"), ("(m)(o)?", r"_\2\1\0_")];
const VALUES: [&str; 4] = ["alice", "bob", "b", "alice,bob"];
const VALUE_PREFIXES: [&str; 3] = ["al", "b", "ali"];
const VALUE_REGEXES: [&str; 3] = ["ali.*", "a.*|b", ".+"];
const AUTHORITIES: [&str; 4] = ["h", "x.", "H", "s"];
const AUTHORITY_REGEXES: [&str; 3] = ["[a-z].*", ".*:[0-9]+", ".*\\.example"];
const LETTERS: [&str; 4] = ["a", "b", "c", "d"];
/// Domains that several routings have parts of.
const GROUPS: usize = 7;
/// An HTTPRoute has no more rules.
const MOST_RULES: usize = 16;

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

    pub(super) fn of<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len() as u64) as usize]
    }

    /// One time of `times`.
    pub(super) fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }
}

impl Drawn {
    pub(super) fn new(number: usize, chance: &mut Chance) -> Drawn {
        use Dialect::{Gateway, RouteRule, VirtualService};
        let dialect = chance.of(&[RouteRule, RouteRule, VirtualService, VirtualService, Gateway, Gateway]);
        // A RouteRule is about a service.
        let service = dialect == RouteRule || chance.once_in(4);
        let calls = if chance.once_in(2) { 1 + chance.below(8) as usize } else { 0 };
        // Many are looked for by an index, few one after the other; a GRPCRoute may stand alone.
        let plain = match calls {
            1.. if dialect == Gateway && chance.once_in(3) => 0,
            _ if chance.once_in(4) => 10 + chance.below(20) as usize,
            _ => 1 + chance.below(6) as usize,
        };
        let mut drawn = Drawn {
            number,
            dialect,
            service,
            hosts: Vec::new(),
            rules: Vec::new(),
            objects: objects(number, plain, chance),
            contested: plain > 0 && dialect != RouteRule && chance.once_in(3),
        };
        drawn.hosts = drawn.hosts();
        for place in 0..calls + plain {
            let mut rule = drawn.rule(place, place < calls, chance);
            // Often the last of either kind is for what no other takes.
            if (place + 1 == calls || place + 1 == calls + plain) && chance.once_in(2) {
                rule.for_all();
            }
            drawn.rules.push(rule);
        }
        drawn
    }

    fn hosts(&self) -> Vec<String> {
        let (number, (part, group)) = (self.number, self.part());
        if self.service {
            return ["", ".default", ".default.svc", ".default.svc.cluster.local"]
                .map(|end| format!("s{number}{end}"))
                .into();
        }
        // A star for all of a group, or one for a part of it, or one host of that part.
        let of_group = match number {
            0..GROUPS => format!("*.g{group}.example"),
            _ if number.is_multiple_of(2) => format!("*.d{part}.g{group}.example"),
            _ => format!("x.d{part}.g{group}.example"),
        };
        vec![format!("h{number}.example"), of_group]
    }

    /// The part of a group that it has with its neighbour, and the group.
    fn part(&self) -> (usize, usize) {
        let part = self.number & !1;
        (part, if self.number < GROUPS { self.number } else { part % GROUPS })
    }

    /// A host of a request: one of its own mostly, in another spelling, with a port, or one that others may have.
    pub(super) fn host(&self, chance: &mut Chance) -> String {
        let (number, (part, group)) = (self.number, self.part());
        let own = |form: &str| {
            let first = if self.service { form } else { "example" };
            let initial = if self.service { "s" } else { "h" };
            if first.is_empty() { format!("{initial}{number}") } else { format!("{initial}{number}.{first}") }
        };
        match chance.below(if self.service { 24 } else { 12 }) {
            0 => format!("x.d{part}.g{group}.example"),
            1 => format!("y.d{part}.g{group}.example:80"),
            2 => format!("z.y.D{part}.g{group}.example"),
            3 => format!("d{part}.g{group}.example"),
            4 => format!("g{group}.example"),
            5 => own("Default").to_uppercase(),
            6 => own("default.svc") + ":8080",
            7 => own("default.svc.cluster.local"),
            _ => own(""),
        }
    }

    fn rule(&self, place: usize, calls: bool, chance: &mut Chance) -> Rule {
        let mut alternatives = vec![self.conditions(calls, chance)];
        if self.dialect != Dialect::RouteRule && chance.once_in(4) {
            let other = self.conditions(calls, chance);
            // Those of a VirtualService are rewritten alike: with the same path.
            let path = match self.dialect {
                Dialect::VirtualService if !calls => alternatives[0].path.clone(),
                _ => other.path.clone(),
            };
            alternatives.push(Conditions { path, ..other });
        }
        let action = match calls {
            true => self.action_of_calls(chance),
            false => self.action(place, &alternatives, chance),
        };
        let number = chance.of(&[-1, 0, 0, 1, 2]);
        let name = format!("{}-{}-{place}", chance.of(&LETTERS), self.number);
        let precedence = Precedence { number, namespace: chance.of(&["default", "another"]), name };
        let object = place % self.objects.len();
        Rule { alternatives, action, calls, precedence, object }
    }

    fn conditions(&self, calls: bool, chance: &mut Chance) -> Conditions {
        let dialect = if calls { Dialect::Gateway } else { self.dialect };
        let headers = some(["x-user", "x-team"], if calls { 2 } else { 4 }, dialect, chance);
        if calls {
            return Conditions { path: called(chance), headers, ..Conditions::default() };
        }
        let newest = dialect == Dialect::VirtualService;
        let istio = dialect != Dialect::Gateway;
        let method = chance.once_in(3).then(|| match chance.below(5) {
            0 if istio => Text::Prefix("DEL"),
            3 | 4 if istio => Text::Regex("GET|DEL.*"),
            _ => Text::Exact(chance.of(&METHODS)),
        });
        let authority = chance.once_in(8).then(|| match chance.below(2) {
            0 if istio => Text::Prefix(chance.of(&AUTHORITIES)),
            _ => Text::Regex(chance.of(&AUTHORITY_REGEXES)),
        });
        let scheme = (istio && chance.once_in(10)).then(|| match chance.below(3) {
            0 => Text::Exact("https"),
            1 => Text::Prefix("http"),
            _ => Text::Exact("http"),
        });
        let without = if newest { some(["x-user", "x-team"], 8, dialect, chance) } else { Vec::new() };
        let has_query = dialect != Dialect::RouteRule;
        let query = if has_query { some(["q", "r"], 8, dialect, chance) } else { Vec::new() };
        let path = path(dialect, chance);
        let caller = istio && chance.once_in(8);
        Conditions { path, scheme, authority, method, headers, without, query, caller }
    }

    fn action(&self, place: usize, alternatives: &[Conditions], chance: &mut Chance) -> Action {
        match chance.below(8) {
            0 => self.redirect(place, alternatives, chance),
            1 if self.dialect == Dialect::VirtualService => Action::Direct(chance.of(&[403, 410, 503])),
            1 if self.dialect == Dialect::Gateway => Action::Direct(500),
            _ => {
                let path = chance.once_in(4).then(|| self.replaced("/new", alternatives, chance));
                let host = chance.once_in(3).then_some("other.example");
                let (shares, own) = self.shares(chance);
                Action::Forward { shares, own, path, host }
            }
        }
    }

    fn action_of_calls(&self, chance: &mut Chance) -> Action {
        if chance.once_in(8) {
            return Action::Direct(503);
        }
        let (shares, own) = self.shares(chance);
        Action::Forward { shares, own, path: None, host: None }
    }

    fn shares(&self, chance: &mut Chance) -> (Vec<(usize, u32)>, bool) {
        let first = chance.below(VERSIONS.len() as u64) as usize;
        let second = (first + 1) % VERSIONS.len();
        let shares = match chance.below(10) {
            0..3 => {
                let weight = 1 + chance.below(99) as u32;
                // Those of RouteRules sum to 100; those of others to anything.
                vec![(first, weight), (second, if chance.once_in(2) { 100 - weight } else { 1 })]
            }
            3..5 => vec![(first, 100), (second, 0)],
            5 => vec![(ALL, 100)],
            6 => vec![(NOBODY, 100)],
            _ => vec![(first, 100)],
        };
        (self.summed(shares), self.service && chance.once_in(2))
    }

    fn summed(&self, mut shares: Vec<(usize, u32)>) -> Vec<(usize, u32)> {
        if let [(_, weight), (_, other)] = &mut shares[..]
            && self.dialect == Dialect::RouteRule
        {
            *other = 100 - *weight;
        }
        shares.retain(|(version, weight)| *version < VERSIONS.len() || *weight > 0);
        shares
    }

    fn redirect(&self, place: usize, alternatives: &[Conditions], chance: &mut Chance) -> Action {
        let status = chance.of(&[301, 302, 303, 307, 308]);
        let host = chance.once_in(3).then(|| "other.example".to_owned());
        match self.dialect {
            // What it answers has no field of one's own choice: where it leads says which it is.
            Dialect::RouteRule => {
                let path = Some(Replaced::Whole(format!("/to/{}/{place}", self.number)));
                Action::Redirect { scheme: None, host, port: None, path, status: 301 }
            }
            dialect => {
                let path = chance.once_in(2).then(|| match dialect {
                    Dialect::Gateway => self.replaced("/new", alternatives, chance),
                    _ => Replaced::Whole("/new".into()),
                });
                // Something has to be another.
                let host = host.or(path.is_none().then(|| "other.example".to_owned()));
                let scheme = (host.is_some() && chance.once_in(3)).then_some("https");
                let port = chance.once_in(4).then_some(8443);
                Action::Redirect { scheme, host, port, path, status }
            }
        }
    }

    /// With the same end as what it stands for: Envoy doubles or swallows a slash, Weir does not.
    fn replaced(&self, with: &str, alternatives: &[Conditions], chance: &mut Chance) -> Replaced {
        if self.dialect == Dialect::VirtualService && chance.once_in(3) {
            let (expression, instead) = chance.of(&REWRITES);
            return Replaced::Expression(expression, instead);
        }
        match (&alternatives[0].path, self.dialect) {
            (Path::Segments(_), Dialect::Gateway) if alternatives.len() == 1 && !chance.once_in(3) => {
                Replaced::Matched(with.into())
            }
            (_, Dialect::Gateway) => Replaced::Whole(with.into()),
            (Path::Prefix(text, _), _) if text.ends_with('/') => Replaced::Matched(format!("{with}/")),
            (Path::Any, _) => Replaced::Matched(format!("{with}/")),
            _ => Replaced::Matched(with.into()),
        }
    }
}

impl Rule {
    /// Without any condition; what it does stands on none.
    fn for_all(&mut self) {
        self.alternatives = vec![Conditions::default()];
        match &mut self.action {
            Action::Forward { path, .. } if !matches!(path, Some(Replaced::Expression(..))) => *path = None,
            Action::Redirect { path: Some(path @ Replaced::Matched(_)), .. } => {
                *path = Replaced::Whole("/new".into());
            }
            _ => {}
        }
    }
}

/// As many HTTPRoutes as the rules need, or more.
fn objects(number: usize, rules: usize, chance: &mut Chance) -> Vec<Object> {
    let most = if rules >= MOST_RULES { 3 } else { 1 + chance.below(2) as usize };
    let object = |place| {
        let name = format!("{}-{number}-{place}", chance.of(&LETTERS));
        Object { created: chance.once_in(2).then(|| 1 + chance.below(3) as u32), name }
    };
    (0..most).map(object).collect()
}

/// Conditions on some of two.
fn some(
    names: [&'static str; 2],
    times: u64,
    dialect: Dialect,
    chance: &mut Chance,
) -> Vec<(&'static str, Text)> {
    let mut drawn = Vec::new();
    for name in names {
        if chance.once_in(times) {
            drawn.push((name, text(dialect, chance)));
        }
    }
    drawn
}

fn text(dialect: Dialect, chance: &mut Chance) -> Text {
    match chance.below(5) {
        0 if dialect != Dialect::Gateway => Text::Prefix(chance.of(&VALUE_PREFIXES)),
        1 => Text::Regex(chance.of(&VALUE_REGEXES)),
        2 if dialect == Dialect::VirtualService => Text::Present,
        _ => Text::Exact(chance.of(&VALUES)),
    }
}

fn path(dialect: Dialect, chance: &mut Chance) -> Path {
    let cased = |chance: &mut Chance| dialect == Dialect::VirtualService && chance.once_in(4);
    match chance.below(6) {
        0 => Path::Any,
        1 => Path::Exact(chance.of(&EXACTS), cased(chance)),
        2 => Path::Regex(chance.of(&REGEXES)),
        _ if dialect == Dialect::Gateway => match chance.of(&PREFIXES) {
            "/" => Path::Any,
            prefix => Path::Segments(prefix),
        },
        _ => Path::Prefix(chance.of(&PREFIXES), cased(chance)),
    }
}

fn called(chance: &mut Chance) -> Path {
    let service = chance.once_in(2).then(|| chance.of(&SERVICES));
    match chance.below(9) {
        0 | 8 => Path::Any,
        1 => Path::CallRegex(Some(chance.of(&SERVICE_REGEXES)), Some(chance.of(&CALL_REGEXES))),
        2 => Path::CallRegex(Some(chance.of(&SERVICE_REGEXES)), None),
        3 => Path::CallRegex(None, Some(chance.of(&CALL_REGEXES))),
        4 => Path::Call(Some(chance.of(&SERVICES)), None),
        _ => Path::Call(service, Some(chance.of(&CALLS))),
    }
}
