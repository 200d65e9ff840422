"""Weir Rollout: one service, its versions side by side. What a rollout is judged by."""

from .model import BAD, COLUMNS, GOOD, INTERVAL, WARNING, Board, Column, Heat, Lines, Query, Row, Stat, Table, Variable

# What is chosen at the top.
OURS = 'namespace=~"$namespace",service="$service",rule=~"$rule",version=~"$version"'
ISTIO = 'reporter="source",namespace=~"$namespace",destination_service="$service",destination_version=~"$version"'
# The clusters of the service: `out.<host>|<protocol>|version=<version>`.
# Between backticks a backslash is one: what Grafana escapes in a name stays as it is.
CLUSTERS = 'namespace=~"$namespace",envoy_cluster_name=~`out\\.${service:regex}([|@].*)?`'
# Some metrics have no label `rule`; a rule that is chosen does not concern them.
ALL_RULES = " Of all rules: these metrics do not tell them apart."
# Percentiles are those of successes: failures are often the quickest answers of all.
SUCCESSES = f'{OURS},outcome="success"'
# What callers say in one of the dimensions that weir.yaml names.
SAID = 'namespace=~"$namespace",service="$service",version=~"$version",dimension="$dimension"'
NO_DIMENSION = " Empty where `metrics.dimensions` of weir.yaml names none."
# The processes that split requests for the service.
PODS = 'and on (job, instance) weir_split_choices_total{namespace=~"$namespace",service="$service"}'

SHARE = [(None, GOOD), (0.02, WARNING), (0.05, BAD)]
SUCCESS = [(None, BAD), (0.99, WARNING), (0.999, GOOD)]
ERRORS = [(None, GOOD), (0.001, WARNING), (0.01, BAD)]


def rate(metric, labels, by, window=INTERVAL):
    return f"sum by ({by}) (rate({metric}{{{labels}}}[{window}]))"


def ratio(metric, part, whole, by, window=INTERVAL):
    return f"{rate(metric, part, by, window)} / {rate(metric, whole, by, window)}"


def part(name, by, labels=OURS, window=INTERVAL, metric="weir_requests_total"):
    """Requests with an outcome, of those that say something of their version: a caller that left says nothing."""
    return ratio(metric, f'{labels},outcome="{name}"', f'{labels},outcome!="cancelled"', by, window)


def not_failed(by, labels=OURS, window=INTERVAL, metric="weir_requests_total"):
    """Success: what did not fail by the servers' fault, as on /splits."""
    good = f'{labels},outcome!~"server_error|cancelled"'
    return ratio(metric, good, f'{labels},outcome!="cancelled"', by, window)


def quantile(q, metric, labels, by, window=INTERVAL):
    return f"histogram_quantile({q}, {rate(metric + '_bucket', labels, by + ', le', window)})"


def outcome(name):
    return f'{OURS},outcome="{name}"'


def by_version(expr):
    """Of clusters, the sum by their version."""
    return f'label_replace({expr}, "version", "$1", "envoy_cluster_name", ".*version=([^,@|]+).*")'


# Shares are of the whole rule, also where only some versions are looked at.
RULES = 'namespace=~"$namespace",service="$service",rule=~"$rule"'


def given(labels, window):
    """What each version of each rule got: what the split chose or, where it chooses no version, as without a rule, what was
    asked of each."""
    unknown = f'weir_split_choices_total{{{RULES},version="unknown"}}'
    choices = rate("weir_split_choices_total", labels, "rule, version", window)
    requests = rate("weir_requests_total", labels, "rule, version", window)
    return f"({choices} unless on (rule) {unknown} or {requests} and on (rule) {unknown})"


def observed(window):
    return f"{given(OURS, window)} / on (rule) group_left sum by (rule) {given(RULES, window)}"


def desired():
    # Each pod says the same but for the moments of a change: the mean.
    mine = f"avg by (rule, version) (weir_split_weight{{{OURS}}})"
    return f"{mine} / on (rule) group_left sum by (rule) (avg by (rule, version) (weir_split_weight{{{RULES}}}))"


def versions():
    both = "rule, version"

    def endpoints_of(state, worst):
        labels = f'namespace=~"$namespace",service="$service",version=~"$version",state="{state}"'
        return f"{worst} by (version) (weir_endpoints{{{labels}}})"

    return Table(
        title="Versions",
        about="Every version of each rule, over the last five minutes. Latency is that of successes. Endpoints are those "
        "that one proxy sees.",
        labels={"rule": "Rule", "version": "Version"},
        columns=[
            Column("Weight", desired(), "percentunit", 1),
            Column("Share", observed("5m"), "percentunit", 1),
            Column("Requests/s", rate("weir_requests_total", OURS, both, "5m"), "reqps", 2),
            Column("Success", not_failed(both, window="5m"), "percentunit", 2, SUCCESS),
            Column("Server errors", part("server_error", both, window="5m"), "percentunit", 2, ERRORS),
            Column("Client errors", part("client_error", both, window="5m"), "percentunit", 2, ERRORS),
            *(Column(f"p{name}", quantile(q, "weir_request_duration_seconds", SUCCESSES, both, "5m"), "s", 1)
              for name, q in ((50, 0.5), (90, 0.9), (99, 0.99))),
        ],
        height=7,
    ), Table(
        title="Endpoints",
        about="How many endpoints of each version are healthy, ejected by outlier detection or failed by a health check, each "
        "as the proxy sees them that sees it worst. A version without a healthy one answers 503 for its share." + ALL_RULES,
        labels={"version": "Version"},
        columns=[
            Column("Healthy", endpoints_of("healthy", "min"), "none", 0, [(None, BAD), (1, GOOD)]),
            Column("Ejected", endpoints_of("ejected", "max"), "none", 0, [(None, GOOD), (1, WARNING)]),
            Column("Failed checks", endpoints_of("failed_check", "max"), "none", 0, [(None, GOOD), (1, BAD)]),
        ],
        width=8,
        height=7,
    )


def glance():
    table, endpoints = versions()
    table.width = COLUMNS - endpoints.width
    everything = f"sum(rate(weir_requests_total{{{OURS}}}[{INTERVAL}]))"
    good = f"sum(rate(weir_requests_total{{{OURS},outcome!~\"server_error|cancelled\"}}[{INTERVAL}]))"
    judged = f"sum(rate(weir_requests_total{{{OURS},outcome!=\"cancelled\"}}[{INTERVAL}]))"
    return Row("At a glance", [
        Stat("Requests", "Callers' requests a second, each counted once, after its retries.",
             [Query(everything, "requests")], "reqps"),
        Stat("Success", "Requests that did not fail by the servers' fault. Client errors are shown apart; callers that left "
             "are not counted.", [Query(f"{good} / {judged}", "success")], "percentunit", decimals=2, maximum=1, steps=SUCCESS),
        Stat("p99", "Of successes.",
             [Query(f"histogram_quantile(0.99, sum by (le) (rate(weir_request_duration_seconds_bucket{{{SUCCESSES}}}"
                    f"[{INTERVAL}])))", "p99")], "s", decimals=1),
        Stat("Configurations in force", "How many different configurations the proxies of the service have in force for it: 1 where "
             "all split alike. For a while after a change there may be 2.",
             [Query('count(count_values("hash", weir_config_hash{namespace=~"$namespace",service="$service"}))',
                    "configurations")], "none", line=False, steps=[(None, GOOD), (2, WARNING)]),
        Stat("Verdict on the files", "Whether any proxy of the service has refused what its files hold.",
             [Query(f"min(weir_config_last_reload_success{{namespace=~\"$namespace\"}} {PODS})", "verdict")], "none",
             line=False, steps=[(None, BAD), (1, GOOD)], texts={0: "refused", 1: "accepted"}),
        Stat("Proxies", "How many split requests for this service.",
             [Query("count(count by (job, instance) (weir_split_choices_total{namespace=~\"$namespace\","
                    "service=\"$service\"}))", "proxies")], "none", line=False),
        table,
        endpoints,
    ])


def shares():
    return Row("Share", [
        Lines("Weight and share", "Dashed, what the rules say; solid, what the split chose. They differ while a weight "
              "changes, and where a sticky rule has few keys.",
              [Query(desired(), "{{rule}} {{version}} weight"), Query(observed(INTERVAL), "{{rule}} {{version}} share")],
              "percentunit", width=16, minimum=0, maximum=1, dashed=".* weight$"),
        Lines("Off the weight", "Share less weight: beside 0, in parts of the whole.",
              [Query(f"({observed(INTERVAL)}) - ({desired()})", "{{rule}} {{version}}")], "percentunit", decimals=1),
    ])


def traffic():
    return Row("Traffic", [
        Lines("Requests", "Callers' requests a second, each counted once.",
              [Query(rate("weir_requests_total", OURS, "version"), "{{version}}")], "reqps", minimum=0),
        Lines("Requests by protocol", "gRPC is POST with application/grpc; everything else is http.",
              [Query(rate("weir_requests_total", OURS, "version, protocol"), "{{version}} {{protocol}}")], "reqps",
              minimum=0),
        Lines("Choices of the split", "At the choice: retries and copies do not count.",
              [Query(rate("weir_split_choices_total", OURS, "version"), "{{version}}")], "reqps", minimum=0),
    ])


def success():
    return Row("Success", [
        Lines("Success rate", "Requests that did not fail by the servers' fault. Client errors are shown apart; callers that "
              "left are not counted.", [Query(not_failed("version"), "{{version}}")], "percentunit", maximum=1, decimals=2,
              calcs=("lastNotNull", "min")),
        Lines("Server errors", "5xx, gRPC statuses that blame the server, answers that were cut or never came; of all "
              "requests but those whose callers left.", [Query(part("server_error", "version"), "{{version}}")],
              "percentunit", minimum=0, decimals=2),
        Lines("Client errors", "4xx, and gRPC statuses such as INVALID_ARGUMENT; of all requests but those whose callers "
              "left. Rising on one version alone, they are a broken signature: callers send what the other version takes.",
              [Query(part("client_error", "version"), "{{version}}")], "percentunit", minimum=0, decimals=2),
        Lines("Requests by code", "What callers got. For gRPC, the HTTP code that TensorFlow Serving's table gives for the "
              "status." + ALL_RULES,
              [Query("sum by (destination_version, response_code) (rate(istio_request_count{namespace=~\"$namespace\","
                     f"destination_service=\"$service\",destination_version=~\"$version\"}}[{INTERVAL}]))",
                     "{{destination_version}} {{response_code}}")], "reqps", minimum=0),
        Lines("Requests by flag", "Why requests ended as they did, in Envoy's flags: UH no healthy endpoint, UF no "
              "connection, UC connection ended, UT no answer in time, UO too many at once, DC the caller left, …." + ALL_RULES,
              [Query(f"sum by (destination_version, response_flags) (rate(istio_requests_total{{{ISTIO},"
                     f"response_flags!=\"-\"}}[{INTERVAL}]))", "{{destination_version}} {{response_flags}}")], "reqps",
              minimum=0),
        Lines("Callers that left", "Before their answer was whole, or by gRPC CANCELLED.",
              [Query(rate("weir_requests_total", outcome("cancelled"), "version"), "{{version}}")], "reqps", minimum=0),
    ])


def latency():
    lines = [
        Lines(f"p{name}", "Of successes, from a request's head to the end of its answer, retries included.",
              [Query(quantile(q, "weir_request_duration_seconds", SUCCESSES, "version"), "{{version}}")], "s", minimum=0)
        for name, q in ((50, 0.5), (90, 0.9), (99, 0.99))
    ]
    heat = Heat("Latency of $version", "How long successes took: the brighter, the more.",
                [Query(f"sum by (le) (increase(weir_request_duration_seconds_bucket{{{SUCCESSES}}}[{INTERVAL}]))",
                       "{{le}}", format="heatmap")], "s", width=COLUMNS, repeat="version")
    return Row("Latency", lines), Row("Latency of each version", [heat], collapsed=True)


def dimensions():
    metric, by, name = "weir_dimension_requests_total", "value, version", "{{value}} {{version}}"

    def panel(title, about, expr, unit, **more):
        return Lines(title, about + ALL_RULES + NO_DIMENSION, [Query(expr, name)], unit, width=12, **more)

    return Row("Dimensions", [
        panel("Requests by value", "Callers' requests a second, by what they say in the chosen dimension: `other` is a value "
              "that is not listed, `none` a request without the field.", rate(metric, SAID, by), "reqps", minimum=0),
        panel("Success by value", "Requests that did not fail by the servers' fault. A version may serve one value well and "
              "fail another.", not_failed(by, SAID, metric=metric), "percentunit", maximum=1, decimals=2,
              calcs=("lastNotNull", "min")),
        panel("Client errors by value", "4xx, and gRPC statuses such as INVALID_ARGUMENT; of all requests but those whose "
              "callers left.", part("client_error", by, SAID, metric=metric), "percentunit", minimum=0, decimals=2),
        panel("p99 by value", "Of all requests, as this metric does not tell successes apart; from a request's head to the "
              "end of its answer, retries included.",
              quantile(0.99, "weir_dimension_request_duration_seconds", SAID, by), "s", minimum=0),
    ])


def sizes():
    def panel(title, metric, about):
        queries = [Query(quantile(q, metric, ISTIO, "destination_version"), f"{{{{destination_version}}}} p{name}")
                   for name, q in ((50, 0.5), (99, 0.99))]
        return Lines(title, about + ALL_RULES, queries, "decbytes", minimum=0, width=12)

    return Row("Sizes", [
        panel("Request bodies", "istio_request_bytes", "Bytes of a request's body. Buckets are Istio's, so a percentile is "
              "coarse."),
        panel("Response bodies", "istio_response_bytes", "Bytes of an answer's body. Buckets are Istio's, so a percentile "
              "is coarse."),
    ])


def second_tries():
    def retried(metric):
        return f"sum by (version) ({by_version(f'rate({metric}{{{CLUSTERS}}}[{INTERVAL}])')})"

    hops = 'namespace=~"$namespace",service="$service",version=~"$version"'
    return Row("Retries, copies, hops", [
        Lines("Retries", "Attempts after the first, and those of them that succeeded." + ALL_RULES,
              [Query(retried("envoy_cluster_upstream_rq_retry"), "{{version}} retries"),
               Query(retried("envoy_cluster_upstream_rq_retry_success"), "{{version}} successful")], "reqps", minimum=0),
        Lines("Copies", "Mirrored requests by where they go and what becomes of them. No caller waits for one.",
              [Query(rate("weir_mirror_requests_total", OURS, "version, result"), "{{version}} {{result}}")], "reqps",
              minimum=0),
        Lines("Hops to other pods", "Requests that another pod's Weir delivered, and those that reached no model server."
              + ALL_RULES,
              [Query(rate("weir_hop_requests_total", hops, "version"), "{{version}} delivered"),
               Query(rate("weir_hop_errors_total", hops, "version, reason") + " > 0", "{{version}} {{reason}}")], "reqps",
              minimum=0),
    ])


def configuration():
    here = 'namespace=~"$namespace"'
    return Row("Configuration", [
        Table(title="Proxies", about="What each proxy of the service has in force. Generations count from 1 in each process, so "
              "equal ones may differ: Configurations in force, above, tells.",
              labels={"pod": "Pod", "instance": "Instance"},
              columns=[
                  Column("Files", f"min by (pod, instance) (weir_config_last_reload_success{{{here}}} {PODS})", "none", 0,
                         [(None, BAD), (1, GOOD)], {0: "refused", 1: "accepted"}),
                  Column("Generation", f"max by (pod, instance) (weir_config_generation{{{here}}} {PODS})", "none", 0),
                  Column("In force for", "time() - max by (pod, instance) (weir_config_last_success_timestamp_seconds"
                         f"{{{here}}} {PODS})", "s", 0),
                  Column("Held for requests", f"max by (pod, instance) (weir_planes_alive{{{here}}} {PODS}) - 1", "none", 0),
              ], width=12, worst_first=""),
        Lines("Verdicts", "Configurations that were read anew, by result.",
              [Query(f"sum by (result) (increase(weir_config_reloads_total{{{here}}}[{INTERVAL}]) {PODS})", "{{result}}")],
              "none", width=12, minimum=0, decimals=0),
    ])


def resources():
    here = 'namespace=~"$namespace"'
    return Row("CPU and memory of the proxies", [
        Lines("CPU", "Of each proxy that splits for the service, in cores.",
              [Query(f"sum by (pod, instance) (rate(process_cpu_seconds_total{{{here}}}[{INTERVAL}]) {PODS})",
                     "{{pod}} {{instance}}")], "none", width=12, minimum=0, decimals=3),
        Lines("Memory", "Resident, of each proxy that splits for the service.",
              [Query(f"sum by (pod, instance) (process_resident_memory_bytes{{{here}}} {PODS})", "{{pod}} {{instance}}")],
              "bytes", width=12, minimum=0),
    ])


def board():
    at = "weir_requests_total{namespace=~\"$namespace\"%s}"
    service = ',service="$service"'
    return Board(
        uid="weir-rollout",
        title="Weir Rollout",
        about="One service: its versions side by side.",
        variables=[
            Variable("namespace", "Namespace", "weir_requests_total"),
            Variable("service", "Service", at % "", multi=False),
            Variable("rule", "Rule", at % service),
            Variable("version", "Version", at % f'{service},rule=~"$rule"'),
            # One at a time: each counts the same requests once more.
            Variable("dimension", "Dimension", 'weir_dimension_requests_total{namespace=~"$namespace"%s}' % service,
                     multi=False),
        ],
        rows=[glance(), shares(), traffic(), success(), *latency(), dimensions(), sizes(), second_tries(), configuration(),
              resources()],
        marks=f'sum(changes(weir_config_generation{{namespace=~"$namespace"}}[{INTERVAL}]) {PODS}) > 0',
    )
