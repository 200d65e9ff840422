//! A proxy whose routes say more than versions and weights, without a dialect: a configuration is linked, and then a
//! test says what it means in the snapshot's own words.
//!
//! Law: what a test proves here holds for every dialect that compiles to the same snapshot.
// Compiled into several tests, few of which use all of it; `pub` marks what tests call.
#![allow(dead_code, unreachable_pub, clippy::expect_used)]

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use tempfile::NamedTempFile;
use weir::snapshot::{
    Action, Forward, Fraction, HeaderEdit, HeaderEdits, Mirror, RetryPolicy, Route, RoutePolicy, Snapshot,
    TargetPolicy, VersionTarget,
};

use super::engine::{Engine, linked};
use super::world::client::Client;
use super::world::upstream::Upstream;
use super::world::{Http, logged, one_service, rule, split_rule, until};

/// A line of the log: status, flags, details, attempts.
const FORMAT: &str =
    "%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %UPSTREAM_REQUEST_ATTEMPT_COUNT%";

/// See the module.
pub struct Policed {
    pub engine: Engine,
    log: NamedTempFile,
}

impl Policed {
    /// Serves `yaml` (as [`one_service`] makes it) and `rules`; `say` is told each route. The log tells versions too.
    pub fn start(yaml: &str, rules: &str, say: impl Fn(&mut Route)) -> Policed {
        Policed::serving(yaml, rules, |snapshot| routes(snapshot).for_each(say))
    }

    /// The same; `say` is told all that was linked.
    pub fn serving(yaml: &str, rules: &str, say: impl FnOnce(&mut Snapshot)) -> Policed {
        Policed::logging(&format!("{FORMAT} %WEIR_VERSION%"), yaml, rules, say)
    }

    fn logging(format: &str, yaml: &str, rules: &str, say: impl FnOnce(&mut Snapshot)) -> Policed {
        let log = NamedTempFile::new().expect("a file");
        let main =
            format!("{yaml}\naccess_log: {{path: \"{}\", format: \"{format}\\n\"}}\n", log.path().display());
        let mut snapshot = Arc::unwrap_or_clone(linked(&main, rules));
        say(&mut snapshot);
        Policed { engine: Engine::serving(1, Arc::new(snapshot)), log }
    }

    /// The service `x` with `settings`, each `key: value`, and `more` of the weir.yaml behind it; its versions `v1` and
    /// `v2` get 100 and 0 of the requests. `say` is told the only route and its policy.
    pub fn split(
        settings: &[&str],
        endpoints: &[(&str, &str)],
        more: &str,
        say: impl FnOnce(&mut Forward, &mut RoutePolicy),
    ) -> Policed {
        let yaml = one_service(settings, endpoints) + more;
        let rules = split_rule(&[("v1", 100), ("v2", 0)]);
        Policed::logging(FORMAT, &yaml, &rules, |snapshot| {
            let route = routes(snapshot).find(|route| route.name.starts_with("split")).expect("the rule");
            let mut said = RoutePolicy::default();
            say(forward(route), &mut said);
            route.policy = Some(Arc::new(said));
        })
    }

    /// Requests to endpoints of version `v1` that speak `up`, made again as `retry` says.
    pub fn retrying(up: Http, endpoints: &[&str], retry: RetryPolicy) -> Policed {
        let endpoints: Vec<_> = endpoints.iter().map(|at| (*at, "v1")).collect();
        let protocol = format!("protocol: {}", up.protocol());
        Policed::split(&[&protocol], &endpoints, "", |_, policy| policy.retry = Some(retry))
    }

    /// One upstream that is spoken to by `up`; `say` is told the policy of its only route.
    pub fn one(up: Http, upstream: &Upstream, say: impl Fn(&mut RoutePolicy)) -> Policed {
        let yaml = one_service(&[&format!("protocol: {}", up.protocol())], &[(&upstream.at(), "v1")]);
        let rules = split_rule(&[("v1", 100)]);
        Policed::start(&yaml, &rules, |route| say(policy(route)))
    }

    /// The same for requests whose path starts with `prefix`; what does not is plain.
    pub fn under(prefix: &str, up: Http, upstream: &Upstream, say: impl Fn(&mut RoutePolicy)) -> Policed {
        let yaml = one_service(&[&format!("protocol: {}", up.protocol())], &[(&upstream.at(), "v1")]);
        let matches = format!("{{request: {{headers: {{uri: {{prefix: \"{prefix}\"}}}}}}}}");
        let rules = rule("under", 2, &matches, &[("v1", 100)]) + "---\n" + &split_rule(&[("v1", 100)]);
        Policed::start(&yaml, &rules, |route| {
            if !route.matches.is_catch_all() {
                say(policy(route));
            }
        })
    }

    /// Where the listener `in` listens.
    pub fn addr(&self) -> SocketAddr {
        self.engine.address("in")
    }

    /// Where its access log is.
    pub fn log_path(&self) -> &Path {
        self.log.path()
    }

    /// A caller's connection.
    pub async fn caller(&self, down: Http) -> Client {
        Client::connect(down, self.addr()).await
    }

    /// The lines of the access log, once there are `count`: status, flags, details, attempts, and version if it tells.
    pub async fn log(&self, count: usize) -> Vec<String> {
        logged(self.log.path(), count).await
    }

    /// The last line of the access log, once there are `count`.
    pub async fn last_log(&self, count: usize) -> String {
        let mut lines = self.log(count).await;
        assert_eq!(lines.len(), count, "{lines:?}");
        lines.pop().unwrap_or_default()
    }

    /// The sum of all series that begin with `series`.
    pub fn metric(&self, series: &str) -> f64 {
        self.engine.metric(series)
    }

    /// The copies of which `result` came.
    pub fn copies(&self, result: &str) -> f64 {
        let page = self.engine.shared.recorder.render(weir::telemetry::Page::Metrics);
        let of_family = |line: &&str| line.starts_with("weir_mirror_requests_total{");
        let label = format!("result=\"{result}\"");
        let matching = page.lines().filter(of_family).filter(|line| line.contains(&label));
        let values: Vec<f64> = matching
            .map(|line| line.rsplit_once(' ').expect("a value").1.parse().expect("a number"))
            .collect();
        assert!(!values.is_empty(), "there is no such series");
        values.iter().sum()
    }

    /// Waits until `count` copies came to `result`.
    pub async fn copied(&self, result: &str, count: f64) {
        until(&format!("{count} copies {result}"), || (self.copies(result) == count).then_some(())).await;
    }
}

/// All routes that were linked.
pub fn routes(snapshot: &mut Snapshot) -> impl Iterator<Item = &mut Route> {
    let configs = snapshot.route_configs.values_mut();
    let hosts = configs.flat_map(|config| &mut Arc::make_mut(config).virtual_hosts);
    hosts.flat_map(|host| &mut host.routes).map(Arc::make_mut)
}

/// A copy to version `v2` of every request.
pub fn mirror(forward: &Forward) -> Mirror {
    Mirror { target: forward.versions[1].clone(), fraction: Fraction::ALWAYS }
}

fn forward(route: &mut Route) -> &mut Forward {
    match &mut route.action {
        Action::Forward(forward) => forward,
        other => panic!("{other:?}"),
    }
}

/// The versions of a route that forwards.
pub fn versions(route: &mut Route) -> &mut [VersionTarget] {
    &mut forward(route).versions
}

/// What is said of a route.
pub fn policy(route: &mut Route) -> &mut RoutePolicy {
    Arc::make_mut(route.policy.get_or_insert_default())
}

/// What is said of one share of a route.
pub fn share<'a>(route: &'a mut Route, version: &str) -> &'a mut TargetPolicy {
    let mut versions = versions(route).iter_mut();
    let target = versions.find(|target| target.version.as_deref() == Some(version)).expect("the version");
    Arc::make_mut(target.policy.get_or_insert_default())
}

/// Edits: names to remove, fields to set, fields to add.
pub fn edits(
    remove: &[&'static str],
    set: &[(&'static str, &str)],
    add: &[(&'static str, &str)],
) -> HeaderEdits {
    let name = |name| weir::snapshot::route::OrdName(http::HeaderName::from_static(name));
    let edit = |&(field, value): &(&'static str, &str)| HeaderEdit { name: name(field), value: value.into() };
    HeaderEdits {
        remove: remove.iter().map(|&field| name(field)).collect(),
        set: set.iter().map(edit).collect(),
        add: add.iter().map(edit).collect(),
    }
}
