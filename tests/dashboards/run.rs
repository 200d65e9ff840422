//! The run: two pods, the known traffic, and every query of every dashboard beside what it must say.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Instant;

use tokio::task::spawn_blocking;

use super::boards::{Board, EACH, Values, Variable, shipped};
use super::book::{Book, PODS, scraped};
use super::compare::{Wrong, differences, differences_of_top};
use super::gate::Gate;
use super::istio;
use super::levels::{heat, levels};
use super::meaning::{self, Meaning, meanings};
use super::mix::MIXES;
use super::shown;
use super::state::{Kernel, Moments, now};
use super::traffic::{CONNECTIONS, Callers, Fact, SHORT};
use super::wait::until;
use super::world::{DIMENSION, HOST, World, all_rules, rules};
use crate::common::metrics::Scrape;
use crate::common::parts::part;
use crate::common::prometheus::Prometheus;

/// Rounds of each connection, and times that each fault is made.
const ROUNDS: usize = 6;
const TIMES: usize = 10;

/// What was asked, answered and expected.
pub(crate) struct Run {
    /// Ours, scraped each second; and the one for Istio's dashboards.
    asked: [Prometheus; 2],
    /// The least and the most that each of them may say.
    known: [[Prometheus; 2]; 2],
    /// When.
    at: [f64; 2],
    /// What the panels mean, of ours and of Istio's.
    meanings: [Vec<Meaning>; 2],
    /// Percentiles that cannot be told from others, as requests were late.
    pub(crate) blurred: Vec<String>,
}

/// The programs that this needs.
pub(crate) fn programs() -> Option<[PathBuf; 2]> {
    Some([part("prometheus")?, part("promtool")?])
}

fn targets(addresses: [&str; 2]) -> String {
    let each = addresses.iter().zip(PODS).map(|(address, pod)| {
        format!("  - {{targets: ['{address}'], labels: {{namespace: models, pod: {pod}}}}}\n")
    });
    format!(
        "global: {{scrape_interval: 1s, scrape_timeout: 1s}}\nscrape_configs:\n- job_name: weir\n  static_configs:\n{}",
        each.collect::<String>()
    )
}

fn kernels(world: &World) -> [Kernel; 2] {
    world.pods.each_ref().map(|pod| Kernel::of(pod.process()))
}

/// Waits until the pages count all of `facts`, and nothing is under way but what is held.
async fn counted(world: &World, facts: &[Fact]) {
    let of = |listener| facts.iter().filter(|fact| fact.listener == listener).count() as f64;
    let pages = world.pods.each_ref().map(|pod| pod.pod.metrics);
    until("everything is counted", || {
        let page = Scrape::of(&pages);
        let sum = |metric: &str, listener: &str| -> f64 {
            let labels = [("envoy_http_conn_manager_prefix", listener)];
            page.series(metric, &labels).map(|sample| sample.value).sum()
        };
        let copies = facts.iter().filter(|fact| fact.wish.rule == "mirrored").count() as f64;
        let sent: f64 =
            page.series("weir_mirror_requests_total", &[("result", "sent")]).map(|sample| sample.value).sum();
        (sum("envoy_http_downstream_rq_time_count", "predict") == of("predict")
            && sum("envoy_http_downstream_rq_time_count", "any") == of("any")
            && sum("envoy_http_downstream_rq_active", "delivery") == 0.0
            && sent == copies)
            .then_some(())
    })
    .await;
}

/// A file that is refused, and one that is taken, at both pods.
async fn reload(world: &World) {
    for (result, texts) in [
        ("refused", ["kind: Nonsense\n".to_owned(), "kind: Nonsense\n".to_owned()]),
        ("accepted", [all_rules([80, 20]) + "# anew\n", rules([80, 20]) + "# anew\n"]),
    ] {
        for (pod, text) in world.pods.iter().zip(texts) {
            pod.write_rules(&text);
        }
        let pages = world.pods.each_ref().map(|pod| pod.pod.metrics);
        until(result, || {
            let reloads = Scrape::of(&pages).count("weir_config_reloads_total", &[("result", result)]);
            (reloads == 2).then_some(())
        })
        .await;
    }
}

/// Until each pod was scraped twice more.
async fn scraped_again(prometheus: &Prometheus) {
    let count = || prometheus.by("count_over_time(up[10m])", "pod");
    let before = count();
    until("two scrapes more", || {
        let now = count();
        PODS.iter().all(|&pod| now[pod] >= before[pod] + 2.0).then_some(())
    })
    .await;
}

/// Until Prometheus has one more page of the gate's: it forgets one that took it longer than it waits.
async fn handed_out(prometheus: &Prometheus, gate: &Gate) {
    let (at, end) = (gate.at(), Instant::now() + SHORT * 4);
    let asked = |what: &str| {
        let found = prometheus.by(&format!("{what}_over_time(up{{instance=\"{at}\"}}[10m])"), "instance");
        found.get(&at).copied().unwrap_or_default()
    };
    let pages = asked("sum");
    while asked("sum") == pages {
        assert!(Instant::now() < end, "no page was quick enough");
        gate.once().await;
        let tries = asked("count");
        until("its try is over", || (asked("sum") > pages || asked("count") >= tries + 2.0).then_some(()))
            .await;
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    spawn_blocking(work).await.expect("it ends")
}

impl Run {
    pub(crate) async fn make(programs: [PathBuf; 2]) -> Run {
        let before = now();
        let world = World::start("", "", MIXES).await;
        let started = [before, now()];
        let mut callers = Callers::connect(&world).await;
        // Every series is born before anybody looks: a counter that begins with its first count is too late for a rate.
        callers.hold(&world).await;
        let mut born = callers.every_kind().await;
        born.extend(callers.faults(&world, 1).await);
        let more = callers.throw_out(&born).await;
        born.extend(more);
        counted(&world, &born).await;
        let made = callers.made();

        let checked = || world.broken.ill.seen().len();
        let mut asked = vec![checked()];
        let mut moments = vec![kernels(&world)];
        let pages = world.pods.each_ref().map(|pod| pod.pod.metrics);
        let gates = [Gate::before(pages[0]).await, Gate::before(pages[1]).await];
        let addresses = pages.map(|page| page.to_string());
        let (ours, program) = (targets([&addresses[0], &addresses[1]]), programs[0].clone());
        let at_gates = targets([&gates[0].at(), &gates[1].at()]);
        let ours =
            blocking(move || Prometheus::with_config(&program, tempfile::tempdir().unwrap(), &ours)).await;
        let gated = Prometheus::starting(&programs[0], tempfile::tempdir().unwrap(), &at_gates);
        asked.push(checked());
        moments.push(kernels(&world));

        let reloading = now();
        reload(&world).await;
        let reloaded = [reloading, now()];
        scraped_again(&ours).await;
        // Who asks for pages can be asked.
        for gate in &gates {
            gate.once().await;
        }
        let mut earlier = Vec::new();
        let (between, facts) = loop {
            for gate in &gates {
                handed_out(&gated, gate).await;
            }
            let (start, at) = (Instant::now(), now());
            let mut facts = callers.plain(ROUNDS).await;
            facts.extend(callers.faults(&world, TIMES).await);
            counted(&world, &[&born[..], &earlier, &facts].concat()).await;
            if start.elapsed() < SHORT {
                break (at, facts);
            }
            // So slow a machine gets another chance: windows of a minute must have both samples.
            earlier.extend(facts);
        };
        for gate in &gates {
            handed_out(&gated, gate).await;
        }
        let switch = now();
        scraped_again(&ours).await;
        asked.push(checked());
        moments.push(kernels(&world));
        scraped_again(&ours).await;
        asked.push(checked());
        moments.push(kernels(&world));

        let page = Scrape::of(&pages);
        let last = ours.one("min(timestamp(up))").expect("a scrape");
        let write = |known: bool| {
            let mut book = Book::new(&page);
            book.configured();
            book.held();
            born.iter().for_each(|fact| book.request(fact));
            callers.connections(..made, &mut book);
            if known {
                book.begin();
            }
            earlier.iter().for_each(|fact| book.request(fact));
            if !known {
                book.begin();
            }
            facts.iter().for_each(|fact| book.request(fact));
            callers.connections(made.., &mut book);
            book.reloaded(reloaded);
            book.connected(&world, CONNECTIONS);
            book.processes(started, last, &Moments::try_from(moments.clone()).expect("four"));
            book.checked(asked.clone().try_into().expect("four"));
            book
        };
        let programs: [&Path; 2] = [&programs[0], &programs[1]];
        let of_ours = scraped(&ours, [(&addresses[0], PODS[0]), (&addresses[1], PODS[1])]);
        let [at_a, at_b] = gates.each_ref().map(Gate::at);
        let of_gated = scraped(&gated, [(&at_a, PODS[0]), (&at_b, PODS[1])]);
        // The gate's last samples, which are two for each pod.
        let at_gate = of_gated.iter().flat_map(|pod| pod.times.last()).copied().fold(0.0, f64::max);
        let books = [write(true), write(false)];
        let (of_our_boards, blurred) = shown::ours(&books[0]);
        let (of_istios, blurred_there) = shown::of_istio(&books[1]);
        Run {
            asked: [ours, gated],
            known: [books[0].serve(programs, &of_ours, switch), books[1].serve(programs, &of_gated, between)],
            at: [last, at_gate],
            meanings: [
                [
                    meanings(&[earlier, facts].concat()),
                    of_our_boards,
                    levels(&books[0], last),
                    heat(&books[0]),
                ]
                .concat(),
                of_istios,
            ],
            blurred: [blurred, blurred_there].concat(),
        }
    }

    /// What is wrong with the answer to a query, of ours (0) or at the gate (1).
    fn faults(&self, which: usize, query: &str) -> Vec<String> {
        let (asked, known, at) = (&self.asked[which], &self.known[which], Some(self.at[which]));
        let answer = asked.ask(query, at);
        match query.strip_prefix("topk(10, ").and_then(|rest| rest.strip_suffix(')')) {
            Some(all) => differences_of_top(10, answer, known.each_ref().map(|known| known.ask(all, at))),
            None => differences(answer, known.each_ref().map(|known| known.ask(query, at))),
        }
    }

    /// Values of variables, each with what is chosen where one is.
    fn values<'v>(&self, which: usize, variables: impl Iterator<Item = (Variable, &'v str)>) -> Values {
        let mut values = Values::with("qrep", "source|destination");
        for (variable, chosen) in variables {
            values.choose(variable, &self.asked[which], &self.known[which][0], chosen);
        }
        values
    }
}

/// Every query of every dashboard that we ship.
pub(crate) fn of_ours(run: &Run) -> Vec<Wrong> {
    let mut wrong = Vec::new();
    for board in shipped() {
        let chosen = |variable: Variable| {
            let chosen = if variable.name == "dimension" { DIMENSION } else { HOST };
            (variable, chosen)
        };
        let values = run.values(0, board.variables().into_iter().map(chosen));
        let ask = |query: &str| run.asked[0].ask(&values.fill(query), Some(run.at[0])).into_iter().collect();
        let meant = run.meanings[0].iter().filter(|meaning| meaning.board == board.name);
        let meant: BTreeSet<_> = meant.map(|meaning| (meaning.panel.as_str(), meaning.number)).collect();
        let mut numbers: BTreeMap<&str, usize> = BTreeMap::new();
        for (panel, query) in &board.queries {
            let number = numbers.entry(panel).or_default();
            assert!(meant.contains(&(panel, *number)), "nobody says what {panel} means: {query}");
            *number += 1;
        }
        wrong.extend(meaning::wrong(&run.meanings[0], &board.name, &board.queries, ask));
        for (panel, query) in &board.queries {
            for filled in each(&board, panel, query, &values) {
                let faults = run.faults(0, &filled).into_iter();
                wrong.extend(faults.map(|fault| Wrong::new(&board.name, panel, &filled, &fault)));
            }
        }
    }
    wrong
}

/// A panel that is repeated is asked for each of its variable's values.
fn each(board: &Board, panel: &str, query: &str, values: &Values) -> Vec<String> {
    if panel != "Latency of $version" {
        return vec![values.fill(query)];
    }
    assert_eq!(board.name, "Weir Rollout");
    let each = ["v1", "v2"].map(|version| {
        let mut values = values.clone();
        values.set("version", version);
        values.fill(query)
    });
    each.into()
}

/// Every query of Istio's dashboards.
pub(crate) fn of_istio(run: &Run) -> Vec<Wrong> {
    let (mut wrong, mut empty) = (Vec::new(), 0);
    for board in istio::boards() {
        let variables = board.variables.iter().map(|(name, query)| {
            let chosen = board.chosen.get(name);
            let all = chosen.is_none().then(|| EACH.to_owned());
            (Variable::new(name, query, all), chosen.map_or("", String::as_str))
        });
        let values = run.values(1, variables);
        let queries: Vec<_> =
            board.panels.iter().map(|panel| (panel.name.clone(), panel.query.clone())).collect();
        let ask = |query: &str| run.asked[1].ask(&values.fill(query), Some(run.at[1])).into_iter().collect();
        wrong.extend(meaning::wrong(&run.meanings[1], &board.name, &queries, ask));
        for panel in &board.panels {
            let filled = values.fill(&panel.query);
            let faults = match &panel.empty_until {
                Some(reason) => {
                    empty += 1;
                    let found = run.asked[1].ask(&filled, Some(run.at[1]));
                    found
                        .into_iter()
                        .map(|found| format!("{found:?} from nowhere, in spite of {reason}"))
                        .collect()
                }
                // The gate shuts behind each page, and a second later what is no range is not there any more: for one pod
                // while the other is still asked. So a gauge is looked at where pages come each second.
                None => run.faults(usize::from(filled.contains('[')), &filled),
            };
            let faults = faults.into_iter();
            wrong.extend(faults.map(|fault| Wrong::new(&board.name, &panel.name, &filled, &fault)));
        }
    }
    assert!(empty > 0, "nothing is said to be empty");
    wrong
}
