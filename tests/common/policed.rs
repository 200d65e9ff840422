//! A proxy whose routes say more than versions and weights, without a dialect: a configuration is linked, and then a
//! test says what it means in the snapshot's own words.
//!
//! Law: what a test proves here holds for every dialect that compiles to the same snapshot.
// Compiled into several tests, few of which use all of it; `pub` marks what tests call.
#![allow(dead_code, unreachable_pub, clippy::expect_used)]

use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;

use tempfile::NamedTempFile;
use weir::snapshot::{
    HeaderEdit, HeaderEdits, Route, RouteConfig, RoutePolicy, Snapshot, TargetPolicy, VersionTarget,
};

use super::engine::{Engine, linked};
use super::world::upstream::Upstream;
use super::world::{Http, one_service, rule, split_rule, until};

/// A line of the log: status, flags, details, attempts, version.
const FORMAT: &str = "%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %UPSTREAM_REQUEST_ATTEMPT_COUNT% \
    %WEIR_VERSION%\\n";

/// See the module.
pub struct Policed {
    pub engine: Engine,
    log: NamedTempFile,
}

impl Policed {
    /// Serves `yaml` (as [`one_service`] makes it) and `rules`; `say` is told each route.
    pub fn start(yaml: &str, rules: &str, say: impl Fn(&mut Route)) -> Policed {
        Policed::serving(yaml, rules, |snapshot| {
            for config in snapshot.route_configs.values_mut() {
                let config: &mut RouteConfig = Arc::make_mut(config);
                let routes = config.virtual_hosts.iter_mut().flat_map(|host| &mut host.routes);
                routes.for_each(|route| say(Arc::make_mut(route)));
            }
        })
    }

    /// The same; `say` is told all that was linked.
    pub fn serving(yaml: &str, rules: &str, say: impl Fn(&mut Snapshot)) -> Policed {
        let log = NamedTempFile::new().expect("a file");
        let main =
            format!("{yaml}\naccess_log: {{path: \"{}\", format: \"{FORMAT}\"}}\n", log.path().display());
        let engine = Engine::start(1, &main, rules);
        let mut snapshot = (*linked(&main, rules)).clone();
        say(&mut snapshot);
        engine.publish(Arc::new(snapshot));
        Policed { engine, log }
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

    /// The lines of the access log, once there are `count`: status, flags, details, attempts, version.
    pub async fn log(&self, count: usize) -> Vec<String> {
        until(&format!("{count} lines in the access log"), || {
            let text = fs::read_to_string(self.log.path()).unwrap_or_default();
            let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
            let lines: Vec<String> = whole.map(|line| line.trim_end().to_owned()).collect();
            (lines.len() >= count).then_some(lines)
        })
        .await
    }

    /// The last line of the access log, once there are `count`.
    pub async fn last_log(&self, count: usize) -> String {
        let mut lines = self.log(count).await;
        assert_eq!(lines.len(), count, "{lines:?}");
        lines.pop().unwrap_or_default()
    }

    /// What this proxy counts of Envoy's family `family`, over all its series.
    pub fn metric(&self, family: &str) -> f64 {
        self.engine.metric(family)
    }
}

/// The versions of a route that forwards.
pub fn versions(route: &mut Route) -> &mut [VersionTarget] {
    match &mut route.action {
        weir::snapshot::Action::Forward(forward) => &mut forward.versions,
        other => panic!("{other:?}"),
    }
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
