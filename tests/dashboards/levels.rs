//! What panels of counters and gauges mean, each by its metric, its labels and what is done with it: reckoned from what is
//! known of each series, without PromQL.

use super::book::{Band, Book};
use super::meaning::{Meaning, OF_RATES, OF_RATIOS, WINDOW};
use super::world::HOST;

/// What a panel does with all series of a group.
#[derive(Clone, Copy, Debug)]
enum Shows {
    /// So many a second, of all of them.
    Rate,
    /// So many in the window.
    Increase,
    Sum,
    Largest,
    Smallest,
    /// The largest, but for one.
    Others,
    /// How long ago the largest was.
    Age,
    /// Nothing, for each that has the metric: what is counted does not happen in this world.
    Nothing,
}
use Shows::{Age, Increase, Largest, Nothing, Others, Rate, Smallest, Sum};

type Row = (
    &'static str,
    usize,
    Shows,
    &'static str,
    &'static [(&'static str, &'static str)],
    &'static [&'static str],
);

const NO: &[(&str, &str)] = &[];
const POD: &[&str] = &["pod"];
const FLEET_POD: &[&str] = &["namespace", "pod"];
const CLUSTER: &[&str] = &["envoy_cluster_name"];
const LISTENER: &[&str] = &["envoy_http_conn_manager_prefix"];

const ROLLOUT: &[Row] = &[
    ("Endpoints", 0, Smallest, "weir_endpoints", &[("service", HOST), ("state", "healthy")], &["version"]),
    ("Endpoints", 1, Largest, "weir_endpoints", &[("service", HOST), ("state", "ejected")], &["version"]),
    (
        "Endpoints",
        2,
        Largest,
        "weir_endpoints",
        &[("service", HOST), ("state", "failed_check")],
        &["version"],
    ),
    ("Proxies", 1, Smallest, "weir_config_last_reload_success", NO, POD),
    ("Proxies", 2, Largest, "weir_config_generation", NO, POD),
    ("Proxies", 3, Age, "weir_config_last_success_timestamp_seconds", NO, POD),
    ("Proxies", 4, Others, "weir_planes_alive", NO, POD),
    ("Verdicts", 0, Increase, "weir_config_reloads_total", NO, &["result"]),
    ("CPU", 0, Rate, "process_cpu_seconds_total", NO, POD),
    ("Memory", 0, Sum, "process_resident_memory_bytes", NO, POD),
];

const FLEET: &[Row] = &[
    ("Proxies", 1, Smallest, "weir_config_last_reload_success", NO, FLEET_POD),
    ("Proxies that refuse", 0, Nothing, "weir_config_last_reload_success", NO, &[]),
    ("Alerts", 0, Nothing, "weir_build_info", NO, &[]),
    ("Proxies", 2, Nothing, "weir_build_info", NO, FLEET_POD),
    ("Proxies", 3, Increase, "weir_hop_errors_total", NO, FLEET_POD),
    ("Proxies", 5, Rate, "process_cpu_seconds_total", NO, FLEET_POD),
    ("Proxies", 6, Largest, "process_resident_memory_bytes", NO, FLEET_POD),
];

const SIDECAR: &[Row] = &[
    ("Up for", 0, Smallest, "envoy_server_uptime", NO, &[]),
    ("Connections", 0, Sum, "envoy_server_total_connections", NO, &[]),
    ("Build and configuration", 0, Largest, "weir_build_info", NO, &["pod", "version"]),
    ("Build and configuration", 1, Largest, "weir_config_generation", NO, POD),
    ("Build and configuration", 2, Largest, "weir_planes_alive", NO, POD),
    ("Build and configuration", 3, Largest, "envoy_listener_manager_total_listeners_active", NO, POD),
    ("Build and configuration", 4, Largest, "envoy_cluster_manager_active_clusters", NO, POD),
    ("Connections", 1, Sum, "envoy_http_downstream_cx_active", NO, LISTENER),
    ("New connections", 0, Rate, "envoy_http_downstream_cx_http1_total", NO, POD),
    ("New connections", 1, Rate, "envoy_http_downstream_cx_http2_total", NO, POD),
    ("Bytes", 0, Rate, "envoy_http_downstream_cx_rx_bytes_total", NO, POD),
    ("Bytes", 1, Rate, "envoy_http_downstream_cx_tx_bytes_total", NO, POD),
    (
        "Requests by class",
        1,
        Rate,
        "envoy_cluster_upstream_rq_xx",
        NO,
        &["envoy_cluster_name", "envoy_response_code_class"],
    ),
    ("In flight", 1, Sum, "envoy_cluster_upstream_rq_active", NO, CLUSTER),
    ("Connections", 2, Sum, "envoy_cluster_upstream_cx_active", NO, CLUSTER),
    ("Requests that failed", 0, Rate, "envoy_cluster_upstream_rq_rx_reset", NO, CLUSTER),
    ("Requests that failed", 1, Rate, "envoy_cluster_upstream_rq_tx_reset", NO, CLUSTER),
    ("Requests that failed", 4, Rate, "envoy_cluster_upstream_cx_none_healthy", NO, CLUSTER),
    ("Retries", 0, Rate, "envoy_cluster_upstream_rq_retry", NO, CLUSTER),
    ("Retries", 1, Rate, "envoy_cluster_upstream_rq_retry_success", NO, CLUSTER),
    ("Retries by reason", 0, Rate, "weir_retries_total", NO, &["reason"]),
    ("Healthy and known", 0, Largest, "envoy_cluster_membership_total", NO, CLUSTER),
    ("Healthy and known", 1, Largest, "envoy_cluster_membership_healthy", NO, CLUSTER),
    ("Health checks", 0, Rate, "envoy_cluster_health_check_failure", NO, CLUSTER),
    ("Hops delivered", 0, Rate, "weir_hop_requests_total", NO, &["service", "version"]),
    ("Hops that failed", 0, Rate, "weir_hop_errors_total", NO, &["version", "reason"]),
    ("Deliveries refused", 0, Rate, "weir_delivery_refused_total", NO, POD),
    ("Buffers", 0, Largest, "weir_buffer_budget_bytes", NO, POD),
    ("Buffers", 1, Sum, "weir_buffered_bytes", NO, POD),
    ("Streams given up", 0, Nothing, "weir_build_info", NO, POD),
    ("Bodies too long to send again", 0, Nothing, "weir_build_info", NO, POD),
    ("Access log lines lost", 0, Nothing, "weir_build_info", NO, POD),
    ("Spans", 0, Nothing, "weir_spans_exported_total", NO, POD),
    ("Spans", 1, Nothing, "weir_spans_dropped_total", NO, &["reason"]),
    ("Requests cut by a drain", 0, Nothing, "weir_build_info", NO, POD),
    ("CPU", 0, Rate, "process_cpu_seconds_total", NO, POD),
    ("Memory", 0, Sum, "process_resident_memory_bytes", NO, POD),
    ("File descriptors", 0, Sum, "process_max_fds", NO, POD),
    ("File descriptors", 1, Sum, "process_open_fds", NO, POD),
];

/// The meanings of these panels, at a moment.
pub(crate) fn levels(book: &Book, at: f64) -> Vec<Meaning> {
    let boards = [("Weir Rollout", ROLLOUT), ("Weir Fleet", FLEET), ("Weir Sidecar", SIDECAR)];
    let of_board = |(board, rows): (&'static str, &'static [Row])| {
        rows.iter().map(move |&(panel, number, shows, metric, of, by)| {
            let groups = book.levels(metric, of, by).into_iter();
            // A panel of what goes wrong leaves out what does not.
            let told = groups.map(|(labels, series)| (labels, value(shows, &series, at)));
            let told = told.filter(|(_, [_, most])| *most > 0.0 || !matches!(shows, Rate | Increase));
            let shows: std::collections::BTreeMap<_, _> = told.collect();
            assert!(!shows.is_empty(), "{board}: {panel}: nothing is known");
            Meaning { board, panel: panel.to_owned(), number, shows }
        })
    };
    boards.into_iter().flat_map(of_board).collect()
}

/// What is shown of series, of each of which is known what it was before the known traffic, and after it.
fn value(shows: Shows, series: &[[Band; 2]], at: f64) -> Band {
    let grown = |which: usize| series.iter().map(|[before, after]| after[which] - before[which]).sum::<f64>();
    let ends = |which: usize| series.iter().map(move |[_, after]| after[which]);
    let all = |which: usize| match shows {
        Rate => grown(which) / WINDOW,
        Increase => grown(which),
        Sum => ends(which).sum(),
        Largest => ends(which).fold(f64::NEG_INFINITY, f64::max),
        Others => ends(which).fold(f64::NEG_INFINITY, f64::max) - 1.0,
        // The newer, the less; clocks of a second.
        Age => at - ends(1 - which).fold(f64::NEG_INFINITY, f64::max) + if which == 0 { -1.0 } else { 1.0 },
        Nothing => 0.0,
        Smallest => ends(which).fold(f64::INFINITY, f64::min),
    };
    let tolerance = if matches!(shows, Rate | Increase) { OF_RATES } else { OF_RATIOS };
    [all(0) * (1.0 - tolerance), all(1) * (1.0 + tolerance)]
}

/// How many successes took no longer than each bound: the panel that is repeated, asked for all versions.
pub(crate) fn heat(book: &Book) -> Vec<Meaning> {
    let metric = "weir_request_duration_seconds";
    let seen = book.observed(metric, &[("service", &[HOST]), ("outcome", &["success"])], &[]);
    let seen: Vec<Band> = seen.into_values().flatten().collect();
    let within = |(bound, text): &(f64, String)| {
        let count = |which: usize| seen.iter().filter(|band| band[which] <= *bound).count() as f64;
        let labels = [("le".to_owned(), text.clone())].into();
        (labels, [count(1) * (1.0 - OF_RATES), count(0) * (1.0 + OF_RATES)])
    };
    let shows = book.named_bounds(metric).iter().map(within).collect();
    vec![Meaning { board: "Weir Rollout", panel: "Latency of $version".to_owned(), number: 0, shows }]
}
