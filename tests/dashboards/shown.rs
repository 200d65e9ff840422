//! The percentiles that dashboards show, ours and Istio's: of which traffic, by which labels, on which panel.

use super::book::Book;
use super::meaning::Meaning;
use super::percentile::Percentile;

const OURS: &str = "weir_request_duration_seconds";
const TODAYS: &str = "istio_request_duration_milliseconds";
const SUCCESSES: (&str, &[&str]) = ("outcome", &["success"]);
const OF_SERVICE: (&str, &[&str]) = ("service", &[super::world::HOST]);
const HOST_OF: (&str, &[&str]) = ("destination_service", &[super::world::HOST]);
const SOURCE: (&str, &[&str]) = ("reporter", &["source"]);
const DESTINATION: (&str, &[&str]) = ("reporter", &["destination"]);
const BOTH: (&str, &[&str]) = ("reporter", &["source", "destination"]);
const THREE: [f64; 3] = [0.5, 0.9, 0.99];
const FOUR: [f64; 4] = [0.5, 0.9, 0.95, 0.99];

/// The meanings of a board's percentiles.
struct Says<'a> {
    book: &'a Book,
    board: &'static str,
    meanings: Vec<Meaning>,
    /// What this run does not tell apart.
    blurred: Vec<String>,
    /// The next are of too few requests each.
    few: bool,
}

type Of<'a> = &'a [(&'static str, &'static [&'static str])];

/// Traffic: its metric, the values that labels must have, and the labels by which it is told.
#[derive(Clone, Copy)]
struct Seen<'a>(&'static str, Of<'a>, &'a [&'static str]);

impl<'a> Says<'a> {
    fn new(book: &'a Book, board: &'static str) -> Says<'a> {
        Says { book, board, meanings: Vec::new(), blurred: Vec::new(), few: false }
    }

    fn put(&mut self, panel: &str, number: usize, part: f64, seen: Seen<'_>) {
        // Our boards show what the metrics count.
        self.scaled(panel, number, part, seen, 1.0);
    }

    fn scaled(&mut self, panel: &str, number: usize, part: f64, seen: Seen<'_>, scale: f64) {
        let (board, Seen(metric, of, by)) = (self.board, seen);
        let percentile = Percentile { board, panel, number, part, metric, of, by, scale, apart: !self.few };
        let (meaning, blurred) = percentile.means(self.book);
        self.meanings.push(meaning);
        self.blurred.extend(blurred);
    }

    /// A panel of Istio's: its quantiles are queries of their own.
    fn quantiles(&mut self, panel: &str, parts: &[f64], seen: Seen<'_>, scale: f64) {
        for &part in parts {
            self.scaled(&format!("{panel}, {part}"), 0, part, seen, scale);
        }
    }

    fn end(self) -> (Vec<Meaning>, Vec<String>) {
        (self.meanings, self.blurred)
    }
}

/// Those of our dashboards.
pub(crate) fn ours(book: &Book) -> (Vec<Meaning>, Vec<String>) {
    let mut rollout = Says::new(book, "Weir Rollout");
    let of: Of<'_> = &[OF_SERVICE, SUCCESSES];
    // The first p99 is that of all versions.
    rollout.put("p99", 0, 0.99, Seen(OURS, of, &[]));
    for (panel, number, part) in [("p50", 0, 0.5), ("p90", 0, 0.9), ("p99", 1, 0.99)] {
        rollout.put(panel, number, part, Seen(OURS, of, &["version"]));
    }
    rollout.few = true;
    for (number, part) in [(6, 0.5), (7, 0.9), (8, 0.99)] {
        rollout.put("Versions", number, part, Seen(OURS, of, &["rule", "version"]));
    }
    let of_values = Seen("weir_dimension_request_duration_seconds", &[OF_SERVICE], &["value", "version"]);
    rollout.put("p99 by value", 0, 0.99, of_values);
    let of: Of<'_> = &[SOURCE, HOST_OF];
    for (panel, metric) in
        [("Request bodies", "istio_request_bytes"), ("Response bodies", "istio_response_bytes")]
    {
        for (number, part) in [(0, 0.5), (1, 0.99)] {
            rollout.put(panel, number, part, Seen(metric, of, &["destination_version"]));
        }
    }
    let mut fleet = Says::new(book, "Weir Fleet");
    fleet.put("p99", 0, 0.99, Seen(OURS, &[SUCCESSES], &["namespace", "service", "version"]));
    fleet.put("Services", 5, 0.99, Seen(OURS, &[OF_SERVICE, SUCCESSES], &["namespace", "service"]));
    fleet.few = true;
    fleet.put("Versions", 3, 0.99, Seen(OURS, &[SUCCESSES], &["namespace", "service", "rule", "version"]));
    let mut sidecar = Says::new(book, "Weir Sidecar");
    let listeners: Of<'_> = &[("envoy_http_conn_manager_prefix", &["predict", "delivery"])];
    let by = ["envoy_http_conn_manager_prefix"];
    sidecar.put("p99 by listener", 0, 0.99, Seen("envoy_http_downstream_rq_time", listeners, &by));
    sidecar.few = true;
    let clusters: Of<'_> = &[(
        "envoy_cluster_name",
        &[
            "out.half-plus-two.models.svc.cluster.local|grpc|version=v1",
            "out.half-plus-two.models.svc.cluster.local|http|version=v1",
            "out.half-plus-two.models.svc.cluster.local|grpc|version=v2",
            "out.half-plus-two.models.svc.cluster.local|http|version=v2",
        ],
    )];
    sidecar.put("p99", 0, 0.99, Seen("envoy_cluster_upstream_rq_time", clusters, &["envoy_cluster_name"]));
    all([rollout, fleet, sidecar])
}

/// Those of Istio's.
pub(crate) fn of_istio(book: &Book) -> (Vec<Meaning>, Vec<String>) {
    let mut old = Says::new(book, "Istio Dashboard");
    let by = ["source_service", "source_version", "destination_version"];
    let of: Of<'_> = &[HOST_OF];
    old.quantiles("Response Time by Source and Version", &FOUR, Seen("istio_request_duration", of, &by), 1.0);
    // The panel cuts the domain off.
    for meaning in &mut old.meanings {
        let shows = std::mem::take(&mut meaning.shows).into_iter();
        let cut = |(name, value): (String, String)| (name, value.replace(".svc.cluster.local", ""));
        meaning.shows = shows.map(|(labels, value)| (labels.into_iter().map(cut).collect(), value)).collect();
    }
    let mut service = Says::new(book, "Istio Service Dashboard");
    service.quantiles("Client Request Duration", &THREE, Seen(TODAYS, &[BOTH, HOST_OF], &[]), 1e-3);
    service.quantiles("Server Request Duration", &THREE, Seen(TODAYS, &[DESTINATION, HOST_OF], &[]), 1e-3);
    let by = ["source_workload", "source_workload_namespace"];
    service.quantiles(
        "Incoming Request Duration By Source",
        &FOUR,
        Seen(TODAYS, &[BOTH, HOST_OF], &by),
        1e-3,
    );
    let (panel, of) = ("Incoming Request Duration By Service Workload", [DESTINATION, HOST_OF]);
    let by = ["destination_workload", "destination_workload_namespace"];
    service.quantiles(panel, &FOUR, Seen(TODAYS, &of, &by), 1e-3);
    let mut server = Says::new(book, "Istio Workload Dashboard");
    let of: Of<'_> = &[BOTH, ("destination_workload", &["half-plus-two-v1"])];
    server.quantiles("Request Duration", &THREE, Seen(TODAYS, of, &[]), 1e-3);
    let by = ["source_workload", "source_workload_namespace"];
    server.quantiles("Incoming Request Duration By Source", &FOUR, Seen(TODAYS, of, &by), 1e-3);
    let mut caller = Says::new(book, "Istio Workload Dashboard, of a caller");
    let (panel, by) = ("Outgoing Request Duration By Destination", ["destination_service"]);
    let of: Of<'_> = &[SOURCE, HOST_OF, ("source_workload", &["frontend-v7"])];
    caller.quantiles(panel, &FOUR, Seen(TODAYS, of, &by), 1e-3);
    let mut mesh = Says::new(book, "Istio Mesh Dashboard");
    let by = ["destination_workload", "destination_workload_namespace"];
    mesh.quantiles("HTTP/gRPC Workloads, latency", &THREE, Seen(TODAYS, &[SOURCE], &by), 1.0);
    // The panel joins both into a third.
    for meaning in &mut mesh.meanings {
        let shows = std::mem::take(&mut meaning.shows).into_iter();
        meaning.shows = shows
            .map(|(mut labels, value)| {
                let joined = by.map(|name| labels[name].clone()).join(".");
                labels.insert("destination_workload_var".to_owned(), joined);
                (labels, value)
            })
            .collect();
    }
    all([old, service, server, caller, mesh])
}

fn all<const N: usize>(boards: [Says<'_>; N]) -> (Vec<Meaning>, Vec<String>) {
    let (meanings, blurred): (Vec<_>, Vec<_>) = boards.map(Says::end).into_iter().unzip();
    (meanings.concat(), blurred.concat())
}
