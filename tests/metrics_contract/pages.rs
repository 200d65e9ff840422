//! What a proxy under traffic shows is what its families promise, line by line, and every family is shown.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use http::{Request, Response};
use hyper::body::Incoming;
use weir::telemetry::{Family, families};

use crate::common::metrics::{Sample, Scrape};
use crate::common::names::Names;
use crate::common::world::client::{Client, get, grpc, grpc_call, request};
use crate::common::world::upstream::{BoxBody, Upstream, empty, full};
use crate::common::world::{Http, SOON, World, run};

const RULES: &str = "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: x}
spec:
  hosts: [x]
  http:
  - name: broken
    match: [{uri: {prefix: /broken}}]
    fault: {abort: {httpStatus: 500, percentage: {value: 100}}}
    route: [{destination: {host: x, subset: v1}}]
  - name: split
    route:
    - {destination: {host: x, subset: v1}, weight: 50}
    - {destination: {host: x, subset: v2}, weight: 50}
    mirror: {host: x, subset: v1}
    retries: {attempts: 1, retryOn: 5xx}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: x}
spec:
  host: x
  trafficPolicy: {outlierDetection: {consecutive5xxErrors: 100}}
  subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]
";

/// Answers with the status that the path's last part is, or with the gRPC status that it is.
async fn answer(request: Request<Incoming>) -> Response<BoxBody> {
    let path = request.uri().path().to_owned();
    let last = path.rsplit('/').next().unwrap_or_default();
    let answer = Response::builder();
    match request.headers().get("content-type").is_some_and(|kind| kind == "application/grpc") {
        true => answer.header("content-type", "application/grpc").header("grpc-status", last).body(empty()),
        false => answer.status(last.parse().unwrap_or(200_u16)).body(full("body")),
    }
    .expect("a response")
}

/// A proxy that has some of everything.
async fn world() -> (World, Upstream) {
    let upstream = Upstream::handling(answer).await;
    let at = upstream.at();
    let names = Names::default();
    names.say("models.test", &[upstream.addr().ip()]);
    let port = upstream.addr().port();
    let yaml = format!(
        "node: {{workload: inception-v1, cluster: tests}}\n\
         tracing: {{endpoint: '127.0.0.1:1'}}\n\
         metrics: {{dimensions: [{{name: tenant, header: x-tenant, values: [acme, globex]}}]}}\n\
         callers: [{{cidr: 127.0.0.2/32, service: frontend.web, labels: {{app: frontend, version: v3}}}}]\n\
         listeners:\n- {{name: in, address: '127.0.0.1:0', service: x}}\n\
         - {{name: all, address: '127.0.0.3:0'}}\n\
         - {{name: deliver, address: '127.0.0.4:0', service: x, mode: deliver, allow: any}}\n\
         services:\n\
         - name: x\n  endpoints:\n\
         \x20 - {{address: '{at}', labels: {{version: v1}}, local: true}}\n\
         \x20 - {{address: 'models.test:{port}', labels: {{version: v2}}}}\n"
    );
    (World::with_resolver(&yaml, &[("x.yaml", RULES)], names.resolver()).await, upstream)
}

/// Requests that end in every way, from callers who are known and not, with what nobody configured in every place.
async fn traffic(world: &World) {
    for (http, from) in [(Http::One, "127.0.0.1"), (Http::Two, "127.0.0.2")] {
        let from = Some(from.parse().expect("an address"));
        let mut client = Client::connect_from(http, from, world.addr("in")).await;
        for status in ["200", "200", "404", "503", "503", "599", "302"] {
            for tenant in ["acme", "sent-by-a-caller"] {
                let request = request(http::Method::GET, &format!("/sent-by-a-caller/{status}"));
                let request = request.header("x-tenant", tenant).header("user-agent", "sent-by-a-caller");
                client.send(request.body(empty()).expect("a request")).await;
            }
        }
        client.get("/broken").await;
        let mut client = Client::connect_from(Http::Two, from, world.addr("in")).await;
        for status in ["0", "0", "3", "14", "14", "99"] {
            client.send(grpc_call(&format!("/sent-by-a-caller/{status}"), b"message")).await;
        }
        client.send(grpc("/no/0").header("x-tenant", "globex").body(empty()).expect("a request")).await;
        let mut lost = Client::connect_from(http, from, world.addr("all")).await;
        let unknown = Request::get("/").header("host", "sent-by-a-caller.example");
        lost.send(unknown.body(empty()).expect("a request")).await;
        let mut other = Client::connect_from(http, from, world.addr("deliver")).await;
        other.send(get("/200")).await;
    }
}

async fn page(world: &World, path: &str) -> String {
    Client::connect(Http::One, world.admin()).await.get(path).await.text().to_owned()
}

/// The family of a line, and of a histogram's line the part that it is.
fn family_of<'f>(name: &str, all: &BTreeMap<&str, &'f Family>) -> Option<&'f Family> {
    let part = |end: &str| all.get(name.strip_suffix(end)?).filter(|family| family.buckets.is_some());
    all.get(name)
        .filter(|family| family.buckets.is_none())
        .copied()
        .or_else(|| ["_bucket", "_sum", "_count"].into_iter().find_map(part).copied())
}

/// What is wrong with a line.
fn wrong(sample: &Sample, all: &BTreeMap<&str, &Family>) -> Option<String> {
    let Some(family) = family_of(&sample.name, all) else { return Some("it is of no family".into()) };
    let mut shown = sample.labels.clone();
    let le = shown.remove("le");
    if le.is_some() != sample.name.ends_with("_bucket") {
        return Some("`le` is a bucket's".into());
    }
    for label in family.labels? {
        let Some(value) = shown.remove(label.name) else { return Some(format!("it has no {}", label.name)) };
        if !label.values.hold(&value) {
            return Some(format!("{} cannot be `{value}`", label.name));
        }
        if label.values.are_configured() && value.contains("sent-by-a-caller") {
            return Some(format!("{} is a caller's", label.name));
        }
    }
    (!shown.is_empty()).then(|| format!("nobody promised {shown:?}"))
}

/// Types and help texts are the families', and each line keeps what its family promises. Returns the families shown.
fn judge(page: &str, all: &BTreeMap<&str, &Family>, with_help: bool) -> BTreeSet<String> {
    for line in page.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, kind) = line.split_once(' ').expect("a kind");
        let family = all.get(name).unwrap_or_else(|| panic!("{name} is not in the contract"));
        assert_eq!(family.kind.as_str(), kind, "{name}");
        assert!(with_help || family.envoy, "{name} is not for Envoy's page");
        let help = format!("# HELP {name} {}", family.help);
        assert_eq!(page.lines().any(|line| line == help), with_help, "{help}");
    }
    let scrape = Scrape::read(page);
    let wrong: Vec<String> =
        scrape.0.iter().filter_map(|sample| Some(format!("{sample:?}: {}", wrong(sample, all)?))).collect();
    assert!(wrong.is_empty(), "{} lines, such as {:#?}", wrong.len(), wrong.first());
    let families = scrape.0.iter().filter_map(|sample| family_of(&sample.name, all));
    families.map(|family| family.name.to_owned()).collect()
}

#[test]
fn every_line_of_a_proxy_under_traffic_keeps_the_contract_and_every_family_is_shown() {
    run(async || {
        let (world, _upstream) = world().await;
        traffic(&world).await;
        let families = families::all();
        let all: BTreeMap<&str, &Family> = families.iter().map(|family| (family.name, *family)).collect();
        // What is counted when an answer's body has ended may be a moment behind it.
        let start = Instant::now();
        let missing = loop {
            let seen = judge(&page(&world, "/metrics").await, &all, true);
            let missing: Vec<&str> = all.keys().copied().filter(|name| !seen.contains(*name)).collect();
            if missing.is_empty() || start.elapsed() > SOON {
                break missing;
            }
            tokio::time::sleep(Duration::from_millis(20)).await; // between two looks
        };
        assert!(missing.is_empty(), "promised and not shown: {missing:#?}");
        let shown = judge(&page(&world, "/stats/prometheus").await, &all, false);
        let envoys: BTreeSet<String> =
            families.iter().filter(|family| family.envoy).map(|family| family.name.to_owned()).collect();
        assert_eq!(shown, envoys, "Envoy's page has what is for it");
    });
}

#[test]
fn a_line_that_breaks_the_contract_is_found() {
    let families = families::all();
    let all: BTreeMap<&str, &Family> = families.iter().map(|family| (family.name, *family)).collect();
    let judged = |line: &str| wrong(&Scrape::read(line).0[0], &all);
    let good = "weir_split_choices_total{service=\"x\",rule=\"r\",version=\"v1\"} 1";
    assert_eq!(judged(good), None);
    for bad in [
        "weir_nothing_total 1",
        "weir_split_choices_total{service=\"x\",rule=\"r\"} 1",
        "weir_split_choices_total{service=\"x\",rule=\"r\",version=\"v1\",path=\"/\"} 1",
        "weir_split_choices_total{service=\"x\",rule=\"r\",version=\"\"} 1",
        "weir_split_choices_total{service=\"sent-by-a-caller\",rule=\"r\",version=\"v1\"} 1",
        "weir_split_choices_total_count{service=\"x\",rule=\"r\",version=\"v1\"} 1",
        "weir_config_reloads_total{result=\"maybe\"} 1",
        "envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name=\"c\"} 1",
    ] {
        assert!(judged(bad).is_some(), "{bad}");
    }
}
