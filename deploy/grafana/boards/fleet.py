"""Weir Fleet: every service, the worst first. Where to look, not what is wrong: each name leads to its own page."""

from .model import BAD, COLUMNS, GOOD, INTERVAL, WARNING, Board, Column, Lines, Query, Row, Stat, Table, Variable
from . import rollout
from .rollout import ERRORS, SHARE, SUCCESS

OURS = 'namespace=~"$namespace",service=~"$service",version=~"$version"'
NAMED = "namespace, service"
EACH = "namespace, service, rule, version"
# Long enough that one request more or less says little.
WINDOW = "5m"
TO_ROLLOUT = "/d/weir-rollout?var-datasource=${datasource}&var-namespace=${__data.fields.Namespace}" \
    "&var-service=${__data.fields.Service}&${__url_time_range}"


def rate(metric, labels, by, window=WINDOW):
    return f"sum by ({by}) (rate({metric}{{{labels}}}[{window}]))"


def part(outcome, by, window=WINDOW):
    return rollout.part(outcome, by, OURS, window)


def p99(by, window=WINDOW):
    buckets = rate("weir_request_duration_seconds_bucket", f'{OURS},outcome="success"', f"{by}, le", window)
    return f"histogram_quantile(0.99, {buckets})"


def off_the_weight(by_rule="namespace, service, rule"):
    """Share less weight, for each version of each rule; both are of the whole rule."""
    rules = 'namespace=~"$namespace",service=~"$service"'
    chosen = rate("weir_split_choices_total", OURS, EACH)
    all_chosen = rate("weir_split_choices_total", rules, by_rule)
    weight = f"avg by ({EACH}) (weir_split_weight{{{OURS}}})"
    all_weights = f"sum by ({by_rule}) (avg by ({EACH}) (weir_split_weight{{{rules}}}))"
    join = f"on ({by_rule}) group_left"
    return f"abs({chosen} / {join} {all_chosen} - {weight} / {join} {all_weights})"


def summary():
    def count(title, about, expr, steps=None, unit="none", **more):
        # Nothing found is none.
        return Stat(title, about, [Query(f"{expr} or vector(0)", title.lower())], unit, width=4,
                    steps=steps or [(None, "text")], **more)

    alarm = [(None, GOOD), (1, BAD)]
    here = 'namespace=~"$namespace"'
    return Row("Summary", [
        count("Services", "Services that any proxy splits requests for.",
              f"count(count by ({NAMED}) (weir_split_choices_total{{{OURS}}}))", line=False),
        count("Proxies", "Processes that are scraped.", f"count(weir_build_info{{{here}}})", line=False),
        count("Requests", "Callers' requests a second, each counted once.", f"sum(rate(weir_requests_total{{{OURS}}}[{INTERVAL}]))",
              unit="reqps"),
        count("Server errors", "Requests a second that failed by the servers' fault.",
              f"sum(rate(weir_requests_total{{{OURS},outcome=\"server_error\"}}[{INTERVAL}]))", unit="reqps"),
        count("Proxies that refuse", "Processes whose files hold what they refused: the configuration before it is in force.",
              f"count(weir_config_last_reload_success{{{here}}} == 0)", alarm, line=False),
        # An empty alternative takes what is of no service: a proxy's files, its buffers.
        count("Alerts", "Of Weir's rules, those that fire for these services, and for the proxies of these namespaces.",
              f'count(ALERTS{{alertname=~"Weir.*",alertstate="firing",{here},service=~"$service|"}})', alarm, line=False),
    ])


def services():
    link = {"service": TO_ROLLOUT}
    return Row("Services, worst first", [
        Table(
            title="Services",
            about="The last five minutes. Success is what did not fail by the servers' fault; callers that left are not "
            "counted. Latency is that of successes. A click on a service shows its versions.",
            labels={"namespace": "Namespace", "service": "Service"},
            columns=[
                Column("Server errors", part("server_error", NAMED), "percentunit", 2, ERRORS),
                Column("Client errors", part("client_error", NAMED), "percentunit", 2, ERRORS),
                Column("Success", rollout.not_failed(NAMED, OURS, WINDOW), "percentunit", 2, SUCCESS),
                Column("Requests/s", rate("weir_requests_total", OURS, NAMED), "reqps", 2),
                Column("p99", p99(NAMED), "s", 1),
                Column("Off the weight", f"max by ({NAMED}) ({off_the_weight()})", "percentunit", 1, SHARE),
                Column("Versions", f"count by ({NAMED}) (count by ({NAMED}, version) (weir_requests_total{{{OURS}}}))",
                       "none", 0),
            ],
            worst_first="Server errors",
            links=link,
            height=9,
        ),
        Table(
            title="Versions",
            about="The same for each version of each rule.",
            labels={"namespace": "Namespace", "service": "Service", "rule": "Rule", "version": "Version"},
            columns=[
                Column("Server errors", part("server_error", EACH), "percentunit", 2, ERRORS),
                Column("Client errors", part("client_error", EACH), "percentunit", 2, ERRORS),
                Column("Requests/s", rate("weir_requests_total", OURS, EACH), "reqps", 2),
                Column("p99", p99(EACH), "s", 1),
                Column("Off the weight", off_the_weight(), "percentunit", 1, SHARE),
            ],
            worst_first="Server errors",
            links=link,
            height=9,
        ),
    ])


def history():
    def worst(title, about, expr, unit, decimals=2):
        return Lines(title, about, [Query(f"topk(10, {expr})", "{{service}} {{version}}")], unit, minimum=0, width=12,
                     decimals=decimals)

    each = "namespace, service, version"
    return Row("The ten worst over time", [
        worst("Server errors", "In parts of a version's requests.", part("server_error", each, INTERVAL), "percentunit"),
        worst("Client errors", "In parts of a version's requests. Rising on one version alone, they are a broken signature.",
              part("client_error", each, INTERVAL), "percentunit"),
        worst("p99", "Of successes.", p99(each, INTERVAL), "s", 1),
        Lines("Requests", "The ten busiest versions.",
              [Query(f"topk(10, {rate('weir_requests_total', OURS, each, INTERVAL)})", "{{service}} {{version}}")], "reqps",
              minimum=0, width=12),
    ])


def proxies():
    here = 'namespace=~"$namespace"'
    spent = f"max by (namespace, pod, instance) (weir_buffered_bytes{{{here}}} / weir_buffer_budget_bytes{{{here}}})"
    of_each = "namespace, pod, instance"
    return Row("Proxies, worst first", [
        Table(
            title="Proxies",
            about="Every process. Streams given up and failed hops are of the last five minutes.",
            labels={"namespace": "Namespace", "pod": "Pod", "instance": "Instance"},
            columns=[
                Column("Files", f"min by ({of_each}) (weir_config_last_reload_success{{{here}}})", "none", 0,
                       [(None, BAD), (1, GOOD)], {0: "refused", 1: "accepted"}),
                Column("Streams given up", f"sum by ({of_each}) (increase(weir_buffer_resets_total{{{here}}}[5m]))", "none", 0,
                       [(None, GOOD), (1, BAD)]),
                Column("Failed hops", f"sum by ({of_each}) (increase(weir_hop_errors_total{{{here}}}[5m]))", "none", 0,
                       [(None, GOOD), (1, WARNING)]),
                Column("Buffers", spent, "percentunit", 1, [(None, GOOD), (0.8, WARNING), (0.95, BAD)]),
                Column("CPU", f"sum by ({of_each}) (rate(process_cpu_seconds_total{{{here}}}[5m]))", "none", 3),
                Column("Memory", f"max by ({of_each}) (process_resident_memory_bytes{{{here}}})", "bytes", 1),
            ],
            worst_first="Streams given up",
            links={"instance": "/d/weir-sidecar?var-datasource=${datasource}&var-namespace=${__data.fields.Namespace}"
                   "&var-instance=${__data.fields.Instance}&${__url_time_range}"},
            height=9,
            width=COLUMNS,
        ),
    ])


def board():
    at = "weir_requests_total{namespace=~\"$namespace\"%s}"
    return Board(
        uid="weir-fleet",
        title="Weir Fleet",
        about="Every service, the worst first.",
        variables=[
            Variable("namespace", "Namespace", "weir_requests_total"),
            Variable("service", "Service", at % ""),
            Variable("version", "Version", at % ',service=~"$service"'),
        ],
        rows=[summary(), services(), history(), proxies()],
    )
