//! The laws of the dotted names and of the pages that show them.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::exposition::Page;
use super::super::families::all;
use super::super::family::{Family, Labels};
use super::super::recorder::Recorder;
use super::*;

static COUNT: Family = Family::counter("weir_a_total", "Counts.").on_envoys_page();
static LEVEL: Family = Family::gauge("weir_b", "A level.").on_envoys_page();
static TIME: Family = Family::histogram("weir_c_ms", "A time.", &[1.0, 2.0, 4.0]).on_envoys_page();

fn name(family: &str, labels: &[(&str, &str)]) -> String {
    let mut name = String::new();
    Shape::of(family).write(Labels::new(labels).as_str(), &mut name);
    name
}

fn page(recorder: &Recorder, wanted: Wanted) -> String {
    recorder.stats(wanted, Form::Text, Buckets::Summary, Instant::now()).collect()
}

fn json_of(recorder: &Recorder, buckets: Buckets) -> Value {
    let page: String = recorder.stats(Wanted::default(), Form::Json, buckets, Instant::now()).collect();
    serde_json::from_str(&page).unwrap_or_else(|error| panic!("{error}: {page}"))
}

#[test]
fn names_are_those_that_envoy_takes_its_labels_from() {
    let cluster = ("envoy_cluster_name", "out.mnist.ns.svc.cluster.local|http|version=v1");
    let of_cluster = |family: &str, more: &[(&str, &str)]| {
        let labels: Vec<_> = more.iter().copied().chain([cluster]).collect();
        let name = name(family, &labels);
        name.strip_prefix(&format!("cluster.{}.", cluster.1)).unwrap_or_else(|| panic!("{name}")).to_owned()
    };
    for (family, rest) in [
        ("envoy_cluster_upstream_rq_total", "upstream_rq_total"),
        ("envoy_cluster_upstream_rq_retry_limit_exceeded", "upstream_rq_retry_limit_exceeded"),
        ("envoy_cluster_retry_upstream_rq_completed", "retry.upstream_rq_completed"),
        ("envoy_cluster_external_upstream_rq_completed", "external.upstream_rq_completed"),
        (
            "envoy_cluster_circuit_breakers_default_rq_pending_open",
            "circuit_breakers.default.rq_pending_open",
        ),
        ("envoy_cluster_outlier_detection_ejections_active", "outlier_detection.ejections_active"),
        ("envoy_cluster_health_check_attempt", "health_check.attempt"),
        ("envoy_cluster_membership_total", "membership_total"),
        ("envoy_cluster_retry_or_shadow_abandoned", "retry_or_shadow_abandoned"),
        ("envoy_cluster_lb_healthy_panic", "lb_healthy_panic"),
    ] {
        assert_eq!(of_cluster(family, &[]), rest);
    }
    let (class, code) = ([("envoy_response_code_class", "5")], [("envoy_response_code", "404")]);
    assert_eq!(of_cluster("envoy_cluster_upstream_rq_xx", &class), "upstream_rq_5xx");
    assert_eq!(of_cluster("envoy_cluster_retry_upstream_rq_xx", &class), "retry.upstream_rq_5xx");
    assert_eq!(of_cluster("envoy_cluster_external_upstream_rq_xx", &class), "external.upstream_rq_5xx");
    assert_eq!(of_cluster("envoy_cluster_external_upstream_rq", &code), "external.upstream_rq_404");
    assert_eq!(of_cluster("envoy_cluster_upstream_rq", &code), "upstream_rq_404");
    assert_eq!(of_cluster("envoy_cluster_retry_upstream_rq", &code), "retry.upstream_rq_404");

    let manager = ("envoy_http_conn_manager_prefix", "predict");
    let address = ("envoy_listener_address", "127.0.0.1_8500");
    assert_eq!(name("envoy_http_downstream_rq_xx", &[class[0], manager]), "http.predict.downstream_rq_5xx");
    assert_eq!(name("envoy_http_no_route", &[manager]), "http.predict.no_route");
    assert_eq!(name("envoy_http_fault_aborts_injected", &[manager]), "http.predict.fault.aborts_injected");
    let listener = "listener.127.0.0.1_8500";
    assert_eq!(
        name("envoy_listener_downstream_cx_total", &[address]),
        format!("{listener}.downstream_cx_total")
    );
    let both = [class[0], manager, address];
    let expected = format!("{listener}.http.predict.downstream_rq_5xx");
    assert_eq!(name("envoy_listener_http_downstream_rq_xx", &both), expected);
    assert_eq!(name("envoy_server_live", &[]), "server.live");
    assert_eq!(name("envoy_cluster_manager_active_clusters", &[]), "cluster_manager.active_clusters");
    assert_eq!(name("envoy_listener_manager_listener_added", &[]), "listener_manager.listener_added");
}

#[test]
fn names_of_istio_and_of_ours_have_a_pair_of_segments_for_each_label() {
    assert_eq!(
        name("istio_build", &[("component", "proxy"), ("tag", "1.2")]),
        "istiocustom.istio_build.component.proxy.tag.1.2"
    );
    // As in Envoy, nothing stands for nothing.
    assert_eq!(
        name("istio_requests_total", &[("grpc_response_status", ""), ("response_flags", "-")]),
        "istiocustom.istio_requests_total.grpc_response_status.response_flags.-"
    );
    assert_eq!(
        name("weir_split_weight", &[("service", "a.b.c"), ("version", "v1")]),
        "weir.split_weight.service.a.b.c.version.v1"
    );
    assert_eq!(name("process_cpu_seconds_total", &[]), "process.cpu_seconds_total");
}

#[test]
fn what_would_be_read_as_a_part_of_the_name_or_end_its_line_is_percent_encoded() {
    let cluster = |value| name("envoy_cluster_upstream_rq_total", &[("envoy_cluster_name", value)]);
    assert_eq!(cluster("a:b\n%\u{2028}é"), "cluster.a%3Ab%0A%25%E2%80%A8é.upstream_rq_total");
    assert_eq!(cluster("a.retry"), "cluster.a.%72etry.upstream_rq_total");
    assert_eq!(cluster("a.external"), "cluster.a.%65xternal.upstream_rq_total");
    assert_eq!(cluster("retry.a\"\\"), "cluster.retry.a\"\\.upstream_rq_total");
    let pair = |a, b| name("weir_x", &[("service", a), ("rule", b)]);
    assert_eq!(pair("a.rule.b", "c"), "weir.x.service.a.%72ule.b.rule.c");
    assert_eq!(pair("a", "b.rule.c"), "weir.x.service.a.rule.b.rule.c");
}

/// The labels of each family that there is, by the first segment of its names.
fn families() -> BTreeMap<String, Vec<(String, Vec<String>)>> {
    let mut families: BTreeMap<String, Vec<_>> = BTreeMap::new();
    for family in all() {
        let shape = Shape::of(family.name);
        let scope = shape.start().split('.').next().unwrap_or_default().to_owned();
        let labels = family.labels.expect("promised").iter().map(|label| label.name.to_owned()).collect();
        families.entry(scope).or_default().push((family.name.to_owned(), labels));
    }
    families
}

#[test]
fn the_names_of_every_family_say_all_of_its_labels() {
    for (family, labels) in families().into_values().flatten() {
        let values: Vec<String> = (0..labels.len()).map(|at| format!("{}", 501 + at)).collect();
        let pairs: Vec<(&str, &str)> =
            labels.iter().map(String::as_str).zip(values.iter().map(String::as_str)).collect();
        let name = name(&family, &pairs);
        assert!(values.iter().all(|value| name.contains(value.as_str())), "{family} {labels:?} {name}");
    }
}

/// Values of a label that are out to be read as something else; `next` is the label behind it, if there is one.
fn awkward(label: &str, next: Option<&str>) -> Vec<String> {
    match label {
        // Closed sets.
        "envoy_response_code" => vec!["200".to_owned(), "503".to_owned()],
        "envoy_response_code_class" => vec!["2".to_owned(), "5".to_owned()],
        _ => {
            let words = [next.unwrap_or("x"), "retry", "external", "http"];
            let around = words.iter().flat_map(|word| {
                [
                    word.to_string(),
                    format!("a.{word}"),
                    format!("{word}.a"),
                    format!("a.{word}.a"),
                    format!("a.{word}.{word}"),
                ]
            });
            let encoded = words.iter().map(|word| format!("a.%{:02X}{}", word.as_bytes()[0], &word[1..]));
            let plain = ["", ".", "a", "a.", ".a", "a.a", "a:a", "a%3Aa", "a\\a", "a\"a"].map(str::to_owned);
            around.chain(encoded).chain(plain).collect()
        }
    }
}

/// Every combination of awkward values of each two labels that follow each other, in every family, all others alike.
#[test]
fn no_value_makes_a_name_that_is_anothers() {
    for families in families().into_values() {
        let mut known: HashMap<String, (String, Labels)> = HashMap::new();
        for (family, labels) in families {
            let shape = Shape::of(&family);
            for first in 0..labels.len().max(1) {
                let values = |at: usize| {
                    labels.get(at).map_or(vec![String::new()], |label| {
                        awkward(label, labels.get(at + 1).map(String::as_str))
                    })
                };
                for (one, other) in values(first)
                    .iter()
                    .flat_map(|one| values(first + 1).into_iter().map(move |other| (one, other)))
                {
                    let pairs: Vec<(&str, &str)> = labels
                        .iter()
                        .enumerate()
                        .map(|(at, label)| {
                            let closed = if label.starts_with("envoy_response_code") { "4" } else { "a" };
                            let value = if at == first {
                                one
                            } else if at == first + 1 {
                                &*other
                            } else {
                                closed
                            };
                            (label.as_str(), value)
                        })
                        .collect();
                    let (labels, mut name) = (Labels::new(&pairs), String::new());
                    shape.write(labels.as_str(), &mut name);
                    assert!(!name.contains(|c: char| c == ':' || c.is_control()), "{name:?}");
                    let series = (family.clone(), labels);
                    if let Some(before) = known.insert(name.clone(), series.clone()) {
                        assert_eq!(before, series, "{name}");
                    }
                }
            }
        }
    }
}

/// A family, its labels, which of them has a value other than `a` together with the next one, and two pairs of values of
/// these. They have few words, so that many a pair is nearly the other.
type Pairs = (String, Vec<String>, usize, [(String, String); 2]);

fn pairs_of_values() -> impl Strategy<Value = Pairs> {
    let all = families().into_values().flatten();
    let all: Vec<_> = all.filter(|(_, labels)| labels.len() > 1 && labels[0].len() < 20).collect();
    let choice = proptest::sample::select(all).prop_flat_map(|family| (0..family.1.len() - 1, Just(family)));
    choice.prop_flat_map(|(first, (family, labels))| {
        let word = proptest::sample::select(vec!["a".to_owned(), labels[first + 1].clone()]);
        let value = proptest::collection::vec(word, 0..4).prop_map(|words| words.join("."));
        let pair = (value.clone(), value);
        (Just(family), Just(labels), Just(first), [pair.clone(), pair])
    })
}

fn any_value() -> impl Strategy<Value = String> {
    prop_oneof![any::<String>(), "[-a-c. :%\\\\\"\n#'*]{0,8}"]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn two_series_never_have_one_name((family, labels, first, values) in pairs_of_values()) {
        let named = |(one, other): &(String, String)| {
            let value = |at| if at == first { one } else if at == first + 1 { other } else { "a" };
            let pairs: Vec<_> = labels.iter().enumerate().map(|(at, label)| (label.as_str(), value(at))).collect();
            name(&family, &pairs)
        };
        let [one, other] = &values;
        prop_assert_eq!(named(one) == named(other), one == other, "{} {:?} {:?}", named(one), one, other);
    }
}

proptest! {
    #[test]
    fn a_name_is_one_word_on_one_line_and_another_value_is_another_name(
        one in any_value(),
        other in "(%25|%3A|%0A|[:%\n]){1,2}",
        another in "(%25|%3A|%0A|[:%\n]){1,2}",
    ) {
        let cluster = |value: &str| name("envoy_cluster_upstream_rq_total", &[("envoy_cluster_name", value)]);
        prop_assert!(!cluster(&one).contains(|c: char| c == ':' || c.is_control()), "{:?}", cluster(&one));
        prop_assert_eq!(cluster(&other) == cluster(&another), other == another, "{:?} {:?}", other, another);
    }

    #[test]
    fn names_are_in_order_whatever_the_labels(values in proptest::collection::btree_set(any_value(), 1..60)) {
        let recorder = Recorder::new(1);
        for value in &values {
            recorder.counter(&COUNT, &[("x", value.as_str())]);
            recorder.gauge(&LEVEL, &[("x", value.as_str())]);
        }
        let page = page(&recorder, Wanted::default());
        let names: Vec<&str> = page.lines().filter_map(|line| line.strip_suffix(": 0")).collect();
        prop_assert_eq!(names.len(), 2 * values.len());
        prop_assert!(names.is_sorted(), "{:?}", names);
    }
}

#[test]
fn a_page_of_text_has_counters_and_gauges_in_one_order_and_histograms_behind_them() {
    let recorder = Recorder::new(1);
    recorder.histogram(&TIME, &[("x", "seen")]).observe(1.5);
    recorder.histogram(&TIME, &[("x", "none")]);
    recorder.gauge(&LEVEL, &[("x", "2")]).set(0.5);
    recorder.counter(&COUNT, &[("x", "a-b")]).increment(3);
    recorder.counter(&COUNT, &[("x", "a")]);
    assert_eq!(
        page(&recorder, Wanted::default()),
        "weir.a_total.x.a: 0\nweir.a_total.x.a-b: 3\nweir.b.x.2: 0.5\nweir.c_ms.x.none: No recorded values\n\
         weir.c_ms.x.seen: P0(nan,1) P25(nan,1.25) P50(nan,1.5) P75(nan,1.75) P90(nan,1.9) P95(nan,1.95) \
         P99(nan,1.99) P99.5(nan,1.995) P99.9(nan,1.999) P100(nan,2)\n"
    );
    let with = |buckets| -> String {
        let wanted = Wanted { used_only: true, kind: Some(StatKind::Histograms), ..Wanted::default() };
        recorder.stats(wanted, Form::Text, buckets, Instant::now()).collect()
    };
    recorder.histogram(&TIME, &[("x", "seen")]).observe(9.0);
    assert_eq!(with(Buckets::Cumulative), "weir.c_ms.x.seen: B1(0,0) B2(0,1) B4(0,1)\n");
    recorder.histogram(&TIME, &[("x", "seen")]).observe(3.0);
    assert_eq!(with(Buckets::Disjoint), "weir.c_ms.x.seen: B1(0,0) B2(0,1) B4(0,1)\n");
    let detailed = with(Buckets::Detailed);
    let (start, summary) = detailed.split_at(detailed.find("\n  summary=P0(nan,1) P25").expect("a summary"));
    assert_eq!(start, "weir.c_ms.x.seen:\n  totals=1,1:1, 2,2:1, 4,0:1\n  intervals=");
    assert!(summary.ends_with(" P100(nan,4)\n"), "{summary}");
}

#[test]
fn json_has_the_keys_of_envoys_and_null_for_what_nobody_knows() {
    let recorder = Recorder::new(1);
    assert_eq!(json_of(&recorder, Buckets::Summary), json!({"stats": []}));
    recorder.counter(&COUNT, &[("x", "\"")]).increment(3);
    recorder.gauge(&LEVEL, &[]).set(f64::INFINITY);
    let scalars =
        [json!({"name": "weir.a_total.x.\"", "value": 3}), json!({"name": "weir.b", "value": null})];
    assert_eq!(json_of(&recorder, Buckets::Summary), json!({ "stats": scalars }));
    recorder.histogram(&TIME, &[]).observe(1.5);
    recorder.histogram(&TIME, &[("x", "1")]);
    let percents = json!([0.0, 25.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.5, 99.9, 100.0]);
    let ints = |value: &Value| value.as_array().map(|all| all.iter().map(Value::as_f64).collect::<Vec<_>>());
    let last = |buckets| json_of(&recorder, buckets)["stats"][2]["histograms"].clone();

    let summary = last(Buckets::Summary);
    assert_eq!(ints(&summary["supported_quantiles"]), ints(&percents));
    let [one, none] = [0, 1].map(|at| &summary["computed_quantiles"][at]);
    assert_eq!((&one["name"], &none["name"]), (&json!("weir.c_ms"), &json!("weir.c_ms.x.1")));
    assert_eq!(one["values"][1], json!({"cumulative": 1.25, "interval": null}));
    assert_eq!(none["values"].as_array().map(Vec::len), Some(10));
    assert_eq!(none["values"][9], json!({"cumulative": null, "interval": null}));

    let bucket = json!({"upper_bound": 4, "interval": 0, "cumulative": 1});
    assert_eq!(last(Buckets::Cumulative)[0]["buckets"][2], bucket);
    let bucket = json!({"upper_bound": 4, "interval": 0, "cumulative": 0});
    assert_eq!(last(Buckets::Disjoint)[0]["buckets"][2], bucket);

    let detailed = last(Buckets::Detailed);
    assert_eq!(ints(&detailed["supported_percentiles"]), ints(&percents));
    let one = &detailed["details"][0];
    assert_eq!(one["totals"], json!([{"lower_bound": 1, "width": 1, "count": 1}]));
    assert_eq!((&one["intervals"], one["percentiles"].as_array().map(Vec::len)), (&json!([]), Some(10)));
}

#[test]
fn what_was_ever_written_is_used_though_it_is_zero_now() {
    let recorder = Recorder::new(1);
    let used = || Wanted { used_only: true, ..Wanted::default() };
    let (count, level) = (recorder.counter(&COUNT, &[]), recorder.gauge(&LEVEL, &[]));
    let time = recorder.histogram(&TIME, &[]);
    assert_eq!(page(&recorder, used()), "");
    assert_eq!(page(&recorder, Wanted::default()).lines().count(), 3);
    level.increment(1.0);
    level.decrement(1.0);
    assert_eq!(page(&recorder, used()), "weir.b: 0\n");
    count.increment(1);
    time.observe(1.0);
    assert_eq!(page(&recorder, used()).lines().count(), 3);
    recorder.reset_counters();
    assert!(page(&recorder, used()).starts_with("weir.a_total: 0\n"), "as in Envoy");
}

#[test]
fn a_filter_is_found_anywhere_in_the_dotted_name_and_may_be_inverted() {
    let recorder = Recorder::new(1);
    for value in ["one", "two"] {
        recorder.counter(&COUNT, &[("x", value)]);
        recorder.gauge(&LEVEL, &[("x", value)]);
    }
    let of = |filter: &str, invert_filter| {
        let filter = Some(Regex::new(filter).expect("a filter"));
        page(&recorder, Wanted { filter, invert_filter, ..Wanted::default() })
    };
    assert_eq!(of(r"x\.two$", false), "weir.a_total.x.two: 0\nweir.b.x.two: 0\n");
    assert_eq!(of(r"a_total", true), "weir.b.x.one: 0\nweir.b.x.two: 0\n");
    assert_eq!(of("weir_b", false), "", "it is not Prometheus' name");
    let kinds = [
        (StatKind::Counters, 2),
        (StatKind::Gauges, 2),
        (StatKind::Histograms, 0),
        (StatKind::TextReadouts, 0),
    ];
    for (kind, lines) in kinds {
        let page = page(&recorder, Wanted { kind: Some(kind), ..Wanted::default() });
        assert_eq!(page.lines().count(), lines, "{kind:?}");
    }
}

#[test]
fn a_reset_lets_counters_begin_at_zero_here_and_go_on_for_prometheus() {
    let recorder = Recorder::new(1);
    let (count, level) = (recorder.counter(&COUNT, &[]), recorder.gauge(&LEVEL, &[]));
    let time = recorder.histogram(&TIME, &[]);
    count.increment(5);
    level.set(5.0);
    time.observe(1.0);
    let histogram = page(&recorder, Wanted { kind: Some(StatKind::Histograms), ..Wanted::default() });
    recorder.reset_counters();
    assert_eq!(page(&recorder, Wanted::default()), format!("weir.a_total: 0\nweir.b: 5\n{histogram}"));
    count.increment(2);
    assert!(page(&recorder, Wanted::default()).starts_with("weir.a_total: 2\n"));
    assert!(recorder.render(Page::Envoy).contains("\nweir_a_total{} 7\n"));
    recorder.reset_counters();
    assert!(page(&recorder, Wanted::default()).starts_with("weir.a_total: 0\n"));
}

#[test]
fn a_series_that_comes_back_after_it_has_left_knows_nothing_of_a_reset() {
    let (recorder, start) = (Recorder::new(1), Instant::now());
    recorder.counter(&COUNT, &[]).increment(5);
    recorder.reset_counters();
    for minutes in [0, 20] {
        recorder.expire(start + Duration::from_secs(minutes * 60));
    }
    assert_eq!(recorder.series(), 0);
    recorder.counter(&COUNT, &[]).increment(7);
    assert_eq!(page(&recorder, Wanted::default()), "weir.a_total: 7\n");
}

#[test]
fn an_interval_is_five_seconds_and_is_kept_only_while_somebody_looks() {
    let (recorder, start) = (Recorder::new(1), Instant::now());
    let after = |seconds| start + Duration::from_secs(seconds);
    let (time, late) = (recorder.histogram(&TIME, &[("x", "1")]), recorder.histogram(&TIME, &[("x", "2")]));
    let disjoint = |seconds| -> String {
        let wanted = Wanted { filter: Regex::new("x.1").ok(), ..Wanted::default() };
        recorder.stats(wanted, Form::Text, Buckets::Disjoint, after(seconds)).collect()
    };
    let seconds = |from: u64, to: u64| (from..to).for_each(|second| recorder.tick(after(second)));
    time.observe(1.0);
    seconds(0, 20);
    time.observe(1.0);
    assert_eq!(disjoint(20), "weir.c_ms.x.1: B1(0,2) B2(0,0) B4(0,0)\n", "nobody had looked");
    time.observe(3.0);
    late.observe(1.5);
    seconds(20, 25);
    assert_eq!(disjoint(25), "weir.c_ms.x.1: B1(0,2) B2(0,0) B4(0,1)\n", "it has not ended");
    seconds(25, 26);
    assert_eq!(disjoint(26), "weir.c_ms.x.1: B1(0,2) B2(0,0) B4(1,1)\n");
    let all: String = recorder.stats(Wanted::default(), Form::Text, Buckets::Disjoint, after(26)).collect();
    assert!(all.ends_with("weir.c_ms.x.2: B1(0,0) B2(1,1) B4(0,0)\n"), "{all}");
    let summary: String =
        recorder.stats(Wanted::default(), Form::Text, Buckets::Summary, after(26)).collect();
    assert!(summary.contains("weir.c_ms.x.1: P0(2,0) P25(2.5,"), "{summary}");
    seconds(26, 32);
    assert_eq!(disjoint(32), "weir.c_ms.x.1: B1(0,2) B2(0,0) B4(0,1)\n", "nothing in the last one");
    seconds(32, 100);
    time.observe(3.0);
    seconds(100, 110);
    assert_eq!(disjoint(110), "weir.c_ms.x.1: B1(0,2) B2(0,0) B4(0,2)\n", "nobody had looked for a minute");
}

#[test]
fn a_page_for_prometheus_has_what_is_wanted_and_no_type_without_a_series() {
    let (recorder, start) = (Recorder::new(1), Instant::now());
    recorder.counter(&COUNT, &[("x", "1")]).increment(1);
    recorder.counter(&COUNT, &[("x", "2")]);
    recorder.gauge(&LEVEL, &[]);
    let time = recorder.histogram(&TIME, &[("x", "1")]);
    let of = |wanted, summaries, seconds| -> String {
        recorder.pieces_of(Page::Envoy, wanted, summaries, start + Duration::from_secs(seconds)).collect()
    };
    let used = || Wanted { used_only: true, ..Wanted::default() };
    assert_eq!(of(used(), false, 0), "# TYPE weir_a_total counter\nweir_a_total{x=\"1\"} 1\n");
    assert_eq!(of(Wanted::default(), false, 0), recorder.render(Page::Envoy));
    let filter = Regex::new(r"a_total\.x\.2$").ok();
    let page = of(Wanted { filter, ..Wanted::default() }, false, 0);
    assert_eq!(page, "# TYPE weir_a_total counter\nweir_a_total{x=\"2\"} 0\n");

    time.observe(1.0);
    let histograms = || Wanted { kind: Some(StatKind::Histograms), ..Wanted::default() };
    let first = of(histograms(), true, 0);
    assert!(
        first.starts_with("# TYPE weir_c_ms summary\nweir_c_ms{x=\"1\",quantile=\"0\"} NaN\n"),
        "{first}"
    );
    time.observe(3.0);
    recorder.tick(start + Duration::from_secs(5));
    let second = of(histograms(), true, 6);
    for line in ["weir_c_ms{x=\"1\",quantile=\"0.5\"} 3", "weir_c_ms{x=\"1\",quantile=\"0.999\"} 3.998"] {
        assert!(second.lines().any(|known| known == line), "{line}\n{second}");
    }
    assert!(second.ends_with("weir_c_ms_sum{x=\"1\"} 4\nweir_c_ms_count{x=\"1\"} 2\n"), "{second}");
}

#[test]
fn a_large_page_is_made_in_pieces_of_whole_lines() {
    let recorder = Recorder::new(1);
    for number in 0..2_000 {
        recorder.histogram(&TIME, &[("x", &*number.to_string())]).observe(f64::from(number));
        recorder.counter(&COUNT, &[("x", &*number.to_string())]);
    }
    for form in [Form::Text, Form::Json] {
        let stats = recorder.stats(Wanted::default(), form, Buckets::Summary, Instant::now());
        let pieces: Vec<String> = stats.collect();
        assert!(pieces.len() > 5 && pieces.iter().all(|piece| piece.capacity() <= PIECE + PIECE_REST));
        let page = pieces.concat();
        if form == Form::Text {
            assert_eq!(page.lines().count(), 4_000);
        } else {
            let stats: Value = serde_json::from_str(&page).expect("JSON");
            assert_eq!(stats["stats"].as_array().map(Vec::len), Some(2_001));
        }
    }
}
