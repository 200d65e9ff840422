//! A proxy in this process whose only route says what a test wants, in the words of the snapshot: for laws of the
//! policies themselves, whichever dialect may say them.
//!
//! One listener `in`, one service `x`, whose versions `v1` and `v2` get 100 and 0 of the requests.
// Compiled into several tests, few of which use all of it; `pub` marks what tests call.
#![allow(dead_code, unreachable_pub, clippy::expect_used)]

use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;

use tempfile::TempDir;
use weir::snapshot::{
    Action, Forward, Fraction, Mirror, RetryPolicy, Route, RoutePolicy, Snapshot, VersionTarget,
};

use super::engine::{Engine, linked};
use super::world::client::Client;
use super::world::{Http, one_service, split_rule, until};

/// A proxy that serves.
pub struct Policed {
    pub engine: Engine,
    folder: TempDir,
}

impl Policed {
    /// `settings` of the service, each `key: value`, with `more` of the weir.yaml behind them; `policy` of the route.
    pub fn start(
        settings: &[&str],
        endpoints: &[(&str, &str)],
        more: &str,
        policy: impl FnOnce(&mut Forward, &mut RoutePolicy),
    ) -> Policed {
        let folder = tempfile::tempdir().expect("a folder");
        let log = folder.path().join("access.log");
        let yaml = format!(
            "{}{more}access_log: {{path: \"{}\", format: \"%RESPONSE_CODE% %RESPONSE_FLAGS% \
             %RESPONSE_CODE_DETAILS% %UPSTREAM_REQUEST_ATTEMPT_COUNT%\\n\"}}\n",
            one_service(settings, endpoints),
            log.display()
        );
        let snapshot = linked(&yaml, &split_rule(&[("v1", 100), ("v2", 0)]));
        let snapshot = edited(snapshot, policy);
        let engine = Engine::start(1, &yaml, "");
        engine.publish(snapshot);
        Policed { engine, folder }
    }

    /// Requests to endpoints of version `v1` that speak `up`, made again as `retry` says.
    pub fn retrying(up: Http, endpoints: &[&str], retry: RetryPolicy) -> Policed {
        let endpoints: Vec<_> = endpoints.iter().map(|at| (*at, "v1")).collect();
        let protocol = format!("protocol: {}", up.protocol());
        Policed::start(&[&protocol], &endpoints, "", |_, policy| policy.retry = Some(retry))
    }

    pub fn addr(&self) -> SocketAddr {
        self.engine.address("in")
    }

    /// A caller's connection.
    pub async fn caller(&self, down: Http) -> Client {
        Client::connect(down, self.addr()).await
    }

    /// The lines of the access log, once there are `count`: status, flags, details, attempts.
    pub async fn log(&self, count: usize) -> Vec<String> {
        let path = self.folder.path().join("access.log");
        until(&format!("{count} lines in the access log"), || {
            let text = fs::read_to_string(&path).unwrap_or_default();
            let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
            let lines: Vec<String> = whole.map(|line| line.trim_end().to_owned()).collect();
            (lines.len() >= count).then_some(lines)
        })
        .await
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

/// A copy to version `v2` of every request.
pub fn mirror(forward: &Forward) -> Mirror {
    let target: VersionTarget = forward.versions[1].clone();
    Mirror { target, fraction: Fraction::ALWAYS }
}

fn edited(snapshot: Arc<Snapshot>, policy: impl FnOnce(&mut Forward, &mut RoutePolicy)) -> Arc<Snapshot> {
    let mut snapshot = Arc::unwrap_or_clone(snapshot);
    let mut policy = Some(policy);
    for config in snapshot.route_configs.values_mut() {
        for host in &mut Arc::make_mut(config).virtual_hosts {
            for route in &mut host.routes {
                let route: &mut Route = Arc::make_mut(route);
                let of_rule = route.name.starts_with("split");
                let Action::Forward(forward) = &mut route.action else { continue };
                if let Some(edit) = policy.take_if(|_| of_rule) {
                    let mut said = RoutePolicy::default();
                    edit(forward, &mut said);
                    route.policy = Some(Arc::new(said));
                }
            }
        }
    }
    assert!(policy.is_none(), "the rule is there");
    Arc::new(snapshot)
}
