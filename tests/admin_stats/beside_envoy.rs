//! The same pages of the real Envoy and of Weir, after the same requests.
//!
//! Law: what both have reads alike: status, content type, names, keys, forms. What differs on purpose is said here.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::net::SocketAddr;

use http::StatusCode;
use serde_json::Value;

use super::common::parts::part;
use super::envoy::{Envoy, bootstrap, cluster};
use super::*;

/// Envoy beside Weir.
struct Both {
    envoy: Envoy,
    world: World,
    _upstream: Upstream,
}

/// Which one.
#[derive(Clone, Copy)]
enum Of {
    Envoy,
    Weir,
}

impl Both {
    /// `None` without Envoy.
    async fn start() -> Option<Both> {
        let program = part("envoy")?;
        let upstream = upstream().await;
        let world = world(&upstream).await;
        let routes = "virtual_hosts: [{name: all, domains: [\"*\"], routes: [{match: {prefix: /}, route: {cluster: x}}]}]";
        let more = "outlier_detection: {}, circuit_breakers: {thresholds: [{track_remaining: true}]}";
        let clusters = [cluster("x", Some(upstream.addr()), more)];
        let text = bootstrap("", &["fault.v3.HTTPFault"], routes, &clusters)
            + "\nstats_flush_interval: 0.1s\n\
                node: {id: one, cluster: all, metadata: {NAMESPACE: default}}\n";
        let envoy = Envoy::with(&program, |_| text.replace("stat_prefix: predict", "stat_prefix: in"));
        Some(Both { envoy, world, _upstream: upstream })
    }

    fn admin(&self, of: Of) -> SocketAddr {
        match of {
            Of::Envoy => self.envoy.admin,
            Of::Weir => self.world.admin(),
        }
    }

    async fn get(&self, of: Of, path: &str) -> Answer {
        page(self.admin(of), path).await
    }

    /// The page, with the same name for the cluster of either.
    async fn text(&self, of: Of, path: &str) -> String {
        let text = self.get(of, path).await.text().to_owned();
        match of {
            Of::Envoy => text.replace("cluster.x.", "cluster.X.").replace("=\"x\"", "=\"X\""),
            Of::Weir => text.replace(CLUSTER.trim_start_matches("cluster."), "X"),
        }
    }

    async fn ask(&self, paths: &[&str]) {
        ask(self.envoy.address, paths).await;
        ask(self.world.addr("in"), paths).await;
    }

    /// The same of both pages, once what has ended is counted on both.
    async fn alike<T: PartialEq + Debug>(&self, path: &str, of: impl Fn(&str) -> T) -> T {
        let start = Instant::now();
        loop {
            let envoy = of(&self.text(Of::Envoy, path).await);
            let weir = of(&self.text(Of::Weir, path).await);
            if envoy == weir {
                return weir;
            }
            assert!(start.elapsed() < SOON, "{path}: {weir:#?}, not {envoy:#?}");
            tokio::time::sleep(Duration::from_millis(20)).await; // between two looks
        }
    }
}

fn names(text: &str) -> BTreeSet<&str> {
    text.lines().filter_map(|line| line.split_once(": ")).map(|(name, _)| name).collect()
}

/// A line without its numbers.
fn form(line: &str) -> String {
    let mut form = String::new();
    let (name, values) = line.split_once(": ").unwrap_or((line, ""));
    let is_number = |c: char| c.is_ascii_digit() || ".-+e".contains(c);
    for part in values.replace("nan", "0").split_inclusive(['(', ',', ')', ' ']) {
        // Of `P99.9(` and `B1.8e+06(` the number is a part of the form.
        let is_title = part.ends_with('(');
        form += &if is_title { part.to_owned() } else { part.replace(is_number, "") };
    }
    format!("{name}: {form}")
}

/// The paths of all keys; those of a list's entries all alike.
fn keys(value: &Value, at: &str, into: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                let at = format!("{at}.{key}");
                keys(value, &at, into);
                into.insert(at);
            }
        }
        Value::Array(entries) => entries.iter().for_each(|entry| keys(entry, at, into)),
        // Numbers of 64 bits are strings in some places.
        scalar => {
            let kind = match scalar {
                Value::String(_) => "string",
                Value::Bool(_) => "bool",
                _ => "number or null",
            };
            into.insert(format!("{at} {kind}"));
        }
    }
}

fn keys_of(text: &str) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    keys(&serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}")), "", &mut all);
    all
}

#[test]
fn the_same_paths_have_the_same_status_and_type() {
    run(async || {
        let Some(both) = Both::start().await else { return };
        // Method, path, and what Weir answers where it is not the same.
        let cases: [(Method, &str, Option<u16>); 37] = [
            (Method::GET, "/", None),
            (Method::GET, "/help", None),
            (Method::GET, "/nowhere", None),
            (Method::GET, "/ready", None),
            (Method::GET, "/server_info", None),
            (Method::GET, "/memory", None),
            (Method::GET, "/listeners", None),
            (Method::GET, "/listeners?format=json", None),
            (Method::GET, "/clusters", None),
            (Method::GET, "/clusters?format=json", None),
            (Method::GET, "/clusters?filter=x", None),
            (Method::GET, "/clusters?filter=(", None),
            (Method::GET, "/stats", None),
            (Method::GET, "/stats?usedonly", None),
            (Method::GET, "/stats?format=text", None),
            (Method::GET, "/stats?format=json", None),
            (Method::GET, "/stats?format=xml", None),
            (Method::GET, "/stats?filter=(", None),
            (Method::GET, "/stats?invert_filter", None),
            (Method::GET, "/stats?type=Gauges", None),
            (Method::GET, "/stats?type=counters", None),
            (Method::GET, "/stats?histogram_buckets=disjoint", None),
            (Method::GET, "/stats?histogram_buckets=loud", None),
            (Method::GET, "/stats/prometheus?histogram_buckets=detailed", None),
            // Envoy passes over what it does not know.
            (Method::GET, "/stats?loud", Some(400)),
            (Method::GET, "/logging", None),
            (Method::POST, "/logging", None),
            (Method::POST, "/logging?level=loud", None),
            (Method::POST, "/logging?level=info&paths=a:info", None),
            (Method::GET, "/reset_counters", None),
            (Method::POST, "/reset_counters", None),
            (Method::GET, "/certs", None),
            (Method::GET, "/hot_restart_version", None),
            (Method::GET, "/init_dump", None),
            (Method::GET, "/runtime", None),
            (Method::GET, "/reopen_logs", None),
            (Method::POST, "/reopen_logs", None),
        ];
        for (method, path, differs) in cases {
            let ask = async |of| {
                let request = request(method.clone(), path).body(empty()).expect("a request");
                Client::connect(Http::One, both.admin(of)).await.send(request).await
            };
            let (envoy, weir) = (ask(Of::Envoy).await, ask(Of::Weir).await);
            let status = differs.and_then(|status| StatusCode::from_u16(status).ok()).unwrap_or(envoy.status);
            assert_eq!(weir.status, status, "{method} {path}: {}", weir.text());
            // The first page is for people in a browser, whom only Weir tells from programs.
            let fields = ["content-type", "cache-control", "x-content-type-options"];
            for field in fields.into_iter().filter(|_| path != "/" && differs.is_none()) {
                assert_eq!(weir.header(field), envoy.header(field), "{method} {path} {field}");
            }
        }
        let prometheus = both.get(Of::Weir, "/stats/prometheus").await;
        // Envoy does not name the format's version; Prometheus 3 asks for it.
        assert_eq!(prometheus.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    });
}

#[test]
fn every_name_under_envoys_scopes_is_one_of_envoys_and_the_counts_of_requests_are_the_same() {
    /// Under Envoy's scopes in Weir alone.
    const ONLY_WEIR: [&str; 0] = [];
    run(async || {
        let Some(both) = Both::start().await else { return };
        both.ask(&["/m", "/m", "/m", "/404", "/500"]).await;
        let (envoy, weir) = (both.text(Of::Envoy, "/stats").await, both.text(Of::Weir, "/stats").await);
        let of_envoy = names(&envoy);
        let scopes = ["cluster.", "cluster_manager.", "http.", "listener.", "listener_manager.", "server."];
        let shared: Vec<&str> = names(&weir)
            .into_iter()
            .filter(|name| scopes.iter().any(|scope| name.starts_with(scope)))
            .collect();
        let strange: Vec<_> = shared.iter().filter(|name| !of_envoy.contains(**name)).collect();
        assert_eq!(strange, ONLY_WEIR.iter().collect::<Vec<_>>());
        assert!(shared.len() > 90, "{shared:?}");

        for name in [
            "cluster.X.upstream_rq_total",
            "cluster.X.upstream_rq_completed",
            "cluster.X.upstream_rq_200",
            "cluster.X.upstream_rq_2xx",
            "cluster.X.upstream_rq_404",
            "cluster.X.upstream_rq_5xx",
            "cluster.X.upstream_rq_active",
            "cluster.X.upstream_cx_total",
            "cluster.X.membership_healthy",
            "http.in.downstream_rq_total",
            "http.in.downstream_rq_2xx",
            "http.in.downstream_rq_4xx",
            "http.in.rq_total",
            "listener.127.0.0.1_0.http.in.downstream_rq_5xx",
            "server.live",
            "listener_manager.total_listeners_active",
        ] {
            let start = format!("{name}: ");
            let value =
                |text: &str| text.lines().find_map(|line| line.strip_prefix(&start).map(str::to_owned));
            assert!(both.alike("/stats", value).await.is_some(), "no {name}");
        }
    });
}

#[test]
fn lines_of_histograms_have_the_same_form() {
    run(async || {
        let Some(both) = Both::start().await else { return };
        both.ask(&["/m", "/m", "/m"]).await;
        // Envoy shows what it saw when it has flushed.
        let start = Instant::now();
        while both.text(Of::Envoy, "/stats?filter=x.upstream_rq_time$").await.contains("No recorded values") {
            assert!(start.elapsed() < SOON, "no flush");
            tokio::time::sleep(Duration::from_millis(20)).await; // between two looks
        }
        for buckets in ["", "summary", "cumulative", "disjoint", "detailed"] {
            let path = format!("/stats?type=Histograms&histogram_buckets={buckets}");
            let [envoy, weir] = [both.text(Of::Envoy, &path).await, both.text(Of::Weir, &path).await];
            let of = |text: &str, name: &str| {
                let lines: Vec<&str> =
                    text.lines().skip_while(|line| !line.starts_with(&format!("{name}:"))).collect();
                let more = lines.iter().skip(1).take_while(|line| line.starts_with(' ')).count();
                // How many buckets are filled is chance.
                let told = |line: &&str| match line.split_once('=') {
                    Some((title @ "  summary", quantiles)) => Some(form(&format!("{title}: {quantiles}"))),
                    Some((title, _)) => Some(title.to_owned()),
                    None => Some(form(line)),
                };
                lines.iter().take(1 + more).filter_map(told).collect::<Vec<_>>()
            };
            for name in ["cluster.X.upstream_rq_time", "cluster.X.upstream_cx_connect_ms"] {
                let (envoy, weir) = (of(&envoy, name), of(&weir, name));
                assert!(!envoy.is_empty() && weir == envoy, "{buckets}: {weir:#?}, not {envoy:#?}");
            }
        }
        // Of those that never saw anything.
        for of in [Of::Envoy, Of::Weir] {
            let text = both.text(of, "/stats?type=Histograms").await;
            assert!(text.lines().any(|line| line.ends_with(": No recorded values")), "{text}");
        }
    });
}

#[test]
fn pages_of_json_have_the_same_keys() {
    run(async || {
        let Some(both) = Both::start().await else { return };
        both.ask(&["/m", "/404"]).await;
        for path in [
            "/memory",
            "/certs",
            "/init_dump",
            "/runtime",
            "/listeners?format=json",
            "/clusters?format=json",
            "/stats?format=json",
            "/stats?format=json&type=Counters",
            "/stats?format=json&filter=nothing",
            "/stats?format=json&type=Histograms&histogram_buckets=cumulative",
            "/stats?format=json&type=Histograms&histogram_buckets=disjoint",
            "/stats?format=json&type=Histograms&histogram_buckets=detailed",
        ] {
            both.alike(path, keys_of).await;
        }
        let top = async |of| {
            let info: Value = serde_json::from_str(both.get(of, "/server_info").await.text()).expect("JSON");
            let version = info["version"].as_str().map(|version| version.split('/').count());
            let uptime = info["uptime_current_epoch"].as_str().map(|uptime| uptime.ends_with('s'));
            (version, uptime, info["state"].clone())
        };
        assert_eq!(top(Of::Weir).await, top(Of::Envoy).await);
    });
}

#[test]
fn the_server_tells_of_itself_under_envoys_names_at_every_depth() {
    /// In Envoy alone, and why.
    const LEFT_OUT: [(&str, &[&str]); 4] = [
        (
            "there is no hot restart",
            &[
                "base_id",
                "base_id_path",
                "use_dynamic_base_id",
                "socket_path",
                "socket_mode",
                "skip_hot_restart_on_no_parent",
                "skip_hot_restart_parent_stats",
            ],
        ),
        (
            "there is no such field of an Envoy configuration to be let through",
            &[
                "allow_unknown_static_fields",
                "reject_unknown_dynamic_fields",
                "ignore_unknown_dynamic_fields",
                "skip_deprecated_logs",
            ],
        ),
        (
            "they switch what is in Envoy's program alone",
            &[
                "enable_mutex_tracing",
                "enable_fine_grain_logging",
                "enable_core_dump",
                "log_stacktrace_single_entry",
                "log_format_escaped",
            ],
        ),
        ("logs are written as lines come", &["file_flush_interval", "file_flush_min_size"]),
    ];
    /// The program does not know its commit.
    const REVISION: &str = ".node.user_agent_build_version.metadata.revision.sha";
    run(async || {
        let Some(both) = Both::start().await else { return };
        let told = async |of| {
            let mut info: Value =
                serde_json::from_str(both.get(of, "/server_info").await.text()).expect("JSON");
            let node = info["node"].as_object_mut().expect("a node");
            // What stands in these is of whoever tells it.
            for own in ["metadata", "extensions"] {
                *node.get_mut(own).unwrap_or_else(|| panic!("no {own}")) = Value::Null;
            }
            let mut all = BTreeSet::new();
            keys(&info, "", &mut all);
            all
        };
        let (weir, envoy) = (told(Of::Weir).await, told(Of::Envoy).await);
        assert_eq!(weir.difference(&envoy).collect::<Vec<_>>(), [""; 0], "other keys or types than Envoy's");
        let left_out = LEFT_OUT.iter().flat_map(|(_, names)| *names);
        let left_out =
            left_out.map(|name| format!(".command_line_options.{name}")).chain([REVISION.to_owned()]);
        let missing = envoy.difference(&weir).filter_map(|place| place.split(' ').next());
        assert_eq!(missing.map(str::to_owned).collect::<BTreeSet<_>>(), left_out.collect::<BTreeSet<_>>());
    });
}

#[test]
fn lines_of_clusters_and_listeners_have_the_same_keys_in_the_same_order() {
    run(async || {
        let Some(both) = Both::start().await else { return };
        both.ask(&["/m"]).await;
        let keys = async |of: Of| {
            let text = both.get(of, "/clusters").await.text().to_owned();
            let name = match of {
                Of::Envoy => "x::",
                Of::Weir => "out.x.default.svc.cluster.local|version=v1::",
            };
            let lines = text.lines().filter_map(|line| line.strip_prefix(name));
            let keys = lines.filter_map(|line| line.rsplit_once("::")).map(|(key, _)| {
                key.split("::")
                    .map(|part| if part.contains(':') { "HOST" } else { part })
                    .collect::<Vec<_>>()
                    .join("::")
            });
            keys.collect::<Vec<_>>()
        };
        let mut weir = keys(Of::Weir).await;
        let ours = weir.split_off(weir.len() - 2);
        assert_eq!(ours, ["HOST::version", "HOST::local"]);
        // This one's endpoints are watched in Envoy alone.
        let envoy: Vec<_> =
            keys(Of::Envoy).await.into_iter().filter(|key| !key.starts_with("outlier::")).collect();
        assert_eq!(weir, envoy);
        let listeners = both.get(Of::Weir, "/listeners").await;
        assert!(listeners.text().starts_with("in::127.0.0.1:"), "{}", listeners.text());
    });
}

#[test]
fn used_only_filters_and_a_reset_choose_the_same() {
    run(async || {
        let Some(both) = Both::start().await else { return };
        both.ask(&["/m", "/404"]).await;
        let asked = "^cluster.*(upstream_rq_(2|4|5|total|timeout|(active|retry)$)|upstream_cx_(total|overflow|active)$)";
        let asked = format!("filter={}&type", asked.replace('|', "%7C").replace('^', "%5E"));
        let told = |text: &str| -> BTreeSet<String> {
            // Who called is told apart in Envoy alone.
            text.lines().filter(|line| !line.contains("external")).map(str::to_owned).collect()
        };
        for path in [format!("/stats?usedonly&{asked}"), format!("/stats?{asked}")] {
            assert!(both.alike(&path, told).await.len() > 5, "{path}");
        }
        let path = "/stats/prometheus?usedonly&filter=upstream_rq_(2%7C4)";
        let series = |text: &str| told(text).into_iter().filter(|line| !line.is_empty()).collect::<Vec<_>>();
        assert_eq!(both.alike(path, series).await.len(), 6, "two families of two series");

        for of in [Of::Envoy, Of::Weir] {
            assert_eq!(post(both.admin(of), "/reset_counters").await.text(), "OK\n");
        }
        let after = both.alike(&format!("/stats?usedonly&{asked}"), told).await;
        assert!(after.contains("cluster.X.upstream_rq_total: 0"), "{after:?}");
    });
}
