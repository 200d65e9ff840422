//! A routing drawn by chance.
//!
//! Law: the same seed draws the same; what the two proxies do differently on purpose is not drawn.

/// One server each.
pub(super) const VERSIONS: [&str; 6] = ["v1", "v2", "v3", "v4", "v5", "v6"];
pub(super) const METHODS: [&str; 3] = ["GET", "POST", "DELETE"];
const PREFIXES: [&str; 7] = ["/", "/a", "/a/", "/b/", "/c", "/v1", "/zz"];
const EXACTS: [&str; 6] = ["/", "/a", "/a/b", "/b/c", "/c/", "/v1/models/m:predict"];
const REGEXES: [&str; 5] = ["/a/.*", "/v[0-9]+/models/.*", "/(a|b)", "/.*/c", "/[a-c]/?"];
const VALUES: [&str; 4] = ["alice", "bob", "b", "alice,bob"];
const VALUE_REGEXES: [&str; 3] = ["ali.*", "a.*|b", ".+"];
const AUTHORITIES: [&str; 3] = ["h", "x.", "H"];
const AUTHORITY_REGEXES: [&str; 3] = ["[a-z].*", ".*:[0-9]+", ".*\\.example"];
/// Domains that several routings have parts of.
const GROUPS: usize = 7;

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
pub(super) enum Text {
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
}

#[derive(Clone, Debug)]
pub(super) enum Path {
    Any,
    Exact(&'static str, bool),
    Prefix(&'static str, bool),
    Regex(&'static str),
}

#[derive(Clone, Debug)]
pub(super) enum Action {
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

/// What a request has to be, all of it.
#[derive(Clone, Debug)]
pub(super) struct Conditions {
    pub(super) path: Path,
    pub(super) scheme: Option<Text>,
    pub(super) authority: Option<Text>,
    pub(super) method: Option<Text>,
    pub(super) headers: Vec<(&'static str, Text)>,
    pub(super) without: Vec<(&'static str, Text)>,
    pub(super) query: Vec<(&'static str, Text)>,
}

#[derive(Clone, Debug)]
pub(super) struct Rule {
    /// One of them is enough.
    pub(super) alternatives: Vec<Conditions>,
    pub(super) action: Action,
}

/// The routing of some hosts.
#[derive(Debug)]
pub(super) struct Drawn {
    pub(super) number: usize,
    /// Exact ones, and stars.
    pub(super) hosts: Vec<String>,
    pub(super) rules: Vec<Rule>,
}

impl Drawn {
    pub(super) fn new(number: usize, chance: &mut Chance) -> Drawn {
        // Many are looked for by an index, few one after the other.
        let count = if chance.once_in(4) { 10 + chance.below(20) } else { 1 + chance.below(6) };
        let rules = (0..count).map(|_| rule(chance)).collect();
        let drawn = Drawn { number, hosts: vec![format!("h{number}.example")], rules };
        // A star for all of a group, or one for a part of it, or one host of that part.
        let (part, group) = drawn.part();
        let of_group = match number {
            0..GROUPS => format!("*.g{group}.example"),
            _ if number.is_multiple_of(2) => format!("*.d{part}.g{group}.example"),
            _ => format!("x.d{part}.g{group}.example"),
        };
        Drawn { hosts: [drawn.hosts, vec![of_group]].concat(), ..drawn }
    }

    /// The part of a group that it has with its neighbour, and the group.
    fn part(&self) -> (usize, usize) {
        let part = self.number & !1;
        (part, if self.number < GROUPS { self.number } else { part % GROUPS })
    }

    /// A host of a request: one of its own mostly, in another spelling, with a port, or one that others may have.
    pub(super) fn host(&self, chance: &mut Chance) -> String {
        let (number, (part, group)) = (self.number, self.part());
        match chance.below(12) {
            0 => format!("H{number}.Example"),
            1 => format!("h{number}.example:8080"),
            2 => format!("x.d{part}.g{group}.example"),
            3 => format!("y.d{part}.g{group}.example:80"),
            4 => format!("z.y.D{part}.g{group}.example"),
            5 => format!("d{part}.g{group}.example"),
            6 => format!("g{group}.example"),
            _ => format!("h{number}.example"),
        }
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
            let conditions = Conditions {
                path,
                scheme: None,
                authority: None,
                method: None,
                headers: exact(headers),
                without: Vec::new(),
                query: exact(query),
            };
            Rule { alternatives: vec![conditions], action }
        };
        let rewrite = Action::Forward { shares: vec![(0, 100)], path: Some("/new/"), host: None };
        let rules = vec![
            rule(Path::Any, &[], &[("q", "a")], Action::Direct(403)),
            rule(Path::Any, &[("x-user", "bob")], &[], Action::Direct(410)),
            rule(Path::Prefix("/a", false), &[], &[], rewrite),
            rule(Path::Any, &[], &[], Action::Direct(503)),
        ];
        Drawn { number: 0, hosts: vec!["differences.example".to_owned()], rules }
    }

    /// One route for all, with shares of these weights.
    pub(super) fn of_shares(weights: &[u32]) -> Drawn {
        let shares = weights.iter().copied().enumerate().collect();
        let conditions = Conditions {
            path: Path::Any,
            scheme: None,
            authority: None,
            method: None,
            headers: Vec::new(),
            without: Vec::new(),
            query: Vec::new(),
        };
        let action = Action::Forward { shares, path: None, host: None };
        let rules = vec![Rule { alternatives: vec![conditions], action }];
        Drawn { number: 0, hosts: vec!["shares.example".to_owned()], rules }
    }

    /// What the answer of a route says in `x-route`.
    pub(super) fn told(&self, place: usize) -> String {
        format!("{}/{place}", self.number)
    }

    /// Whether it is one of its routes that says `route`.
    pub(super) fn says(&self, route: &str) -> bool {
        route.split('/').next() == Some(self.number.to_string().as_str())
    }

    /// The versions with weight of the route that says `route`, where there are several.
    pub(super) fn shares(all: &[Drawn], route: &str) -> Vec<&'static str> {
        let rule = route.split_once('/').and_then(|(drawn, place)| {
            let drawn = all.get(drawn.parse::<usize>().ok()?)?;
            drawn.rules.get(place.parse::<usize>().ok()?)
        });
        let Some(Action::Forward { shares, .. }) = rule.map(|rule| &rule.action) else { return Vec::new() };
        let with_weight = shares.iter().filter(|(_, weight)| *weight > 0);
        let versions: Vec<_> = with_weight.map(|(version, _)| VERSIONS[*version]).collect();
        if versions.len() > 1 { versions } else { Vec::new() }
    }

    pub(super) fn shown(&self) -> String {
        let rules: Vec<String> = self.rules.iter().map(|rule| format!("{rule:?}")).collect();
        format!("{:?}\n  {}", self.hosts, rules.join("\n  "))
    }
}

fn rule(chance: &mut Chance) -> Rule {
    let mut alternatives = vec![conditions(chance)];
    if chance.once_in(4) {
        // Both are rewritten alike: with the same path.
        let path = alternatives[0].path.clone();
        alternatives.push(Conditions { path, ..conditions(chance) });
    }
    let action = action(&alternatives[0].path, chance);
    Rule { alternatives, action }
}

fn conditions(chance: &mut Chance) -> Conditions {
    let path = match chance.below(6) {
        0 => Path::Any,
        1 => Path::Exact(chance.of(&EXACTS), chance.once_in(4)),
        2 => Path::Regex(chance.of(&REGEXES)),
        _ => Path::Prefix(chance.of(&PREFIXES), chance.once_in(4)),
    };
    let scheme = chance.once_in(10).then(|| match chance.below(3) {
        0 => Text::Exact("https"),
        1 => Text::Prefix("http"),
        _ => Text::Exact("http"),
    });
    let authority = chance.once_in(8).then(|| match chance.below(2) {
        0 => Text::Prefix(chance.of(&AUTHORITIES)),
        _ => Text::Regex(chance.of(&AUTHORITY_REGEXES)),
    });
    let method = chance.once_in(3).then(|| match chance.below(5) {
        0 => Text::Prefix("DEL"),
        1 | 2 => Text::Exact(chance.of(&METHODS)),
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
    Conditions { path, scheme, authority, method, headers, without, query }
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
