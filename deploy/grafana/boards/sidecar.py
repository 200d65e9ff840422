"""Weir Sidecar: one proxy or several from within: connections, clusters, health, limits, memory."""

from .model import BAD, GOOD, INTERVAL, WARNING, Board, Lines, Query, Row, Stat, Table, Column, Variable

HERE = 'namespace=~"$namespace",instance=~"$instance"'
# `out.<host>|<protocol>|version=<version>`, `in.<host>|<protocol>`. Between backticks a backslash is one: what Grafana
# escapes in a name stays as it is.
OF_SERVICE = f'{HERE},envoy_cluster_name=~`(in|out)\\.${{service:regex}}([|@].*)?`'
CLUSTER = f'{OF_SERVICE},envoy_cluster_name=~"$envoy_cluster_name"'
VERSION = f'{HERE},service=~"$service",version=~"$version"'
EACH = "{{pod}} {{instance}}"


def summed(metric, by, labels=HERE, function="rate"):
    return f"sum by ({by}) ({function}({metric}{{{labels}}}[{INTERVAL}]))"


def held(metric, by="pod, instance", labels=HERE):
    return f"sum by ({by}) ({metric}{{{labels}}})"


def lines(title, about, queries, unit="ops", **more):
    return Lines(title, about, queries, unit, minimum=0, **more)


def each(metric, labels=HERE):
    return Query(summed(metric, "pod, instance", labels), EACH)


def state():
    return Row("State", [
        Stat("State", "What the proxy is doing; of several, the least ready.", [Query(f"max(envoy_server_state{{{HERE}}})", "state")],
             "none", line=False, steps=[(None, GOOD), (1, WARNING), (2, BAD)],
             texts={0: "live", 1: "draining", 2: "no configuration yet", 3: "initializing"}),
        Stat("Files", "Whether one has refused what its files hold.",
             [Query(f"min(weir_config_last_reload_success{{{HERE}}})", "files")], "none", line=False,
             steps=[(None, BAD), (1, GOOD)], texts={0: "refused", 1: "accepted"}),
        Stat("Up for", "The youngest.", [Query(f"min(envoy_server_uptime{{{HERE}}})", "up for")], "s", line=False),
        Stat("Connections", "Of callers, open now.", [Query(f"sum(envoy_server_total_connections{{{HERE}}})", "connections")],
             "none"),
        Stat("In flight", "Requests of callers that have no whole answer yet.",
             [Query(f"sum(envoy_http_downstream_rq_active{{{HERE}}})", "in flight")], "none"),
        Stat("Workers", "Threads that serve.", [Query(f"sum(envoy_server_concurrency{{{HERE}}})", "workers")], "none", line=False),
        Table(title="Build and configuration", about="What runs, and what it has in force.",
              labels={"pod": "Pod", "instance": "Instance", "version": "Build"},
              columns=[
                  Column("Build info", f"max by (pod, instance, version) (weir_build_info{{{HERE}}})", "none", 0),
                  Column("Generation", f"max by (pod, instance) (weir_config_generation{{{HERE}}})", "none", 0),
                  Column("Configurations in memory", f"max by (pod, instance) (weir_planes_alive{{{HERE}}})", "none", 0),
                  Column("Listeners", f"max by (pod, instance) (envoy_listener_manager_total_listeners_active{{{HERE}}})",
                         "none", 0),
                  Column("Clusters", f"max by (pod, instance) (envoy_cluster_manager_active_clusters{{{HERE}}})", "none", 0),
              ], height=5),
    ])


def downstream():
    code = "envoy_http_conn_manager_prefix, envoy_response_code_class"
    return Row("Callers", [
        lines("Requests by class", "Of answers, for each listener.",
              [Query(summed("envoy_http_downstream_rq_xx", code),
                     "{{envoy_http_conn_manager_prefix}} {{envoy_response_code_class}}xx")], "reqps"),
        lines("Connections", "Open now, by listener.",
              [Query(held("envoy_http_downstream_cx_active", "envoy_http_conn_manager_prefix"),
                     "{{envoy_http_conn_manager_prefix}}")], "none"),
        lines("New connections", "By version of HTTP.",
              [Query(summed("envoy_http_downstream_cx_http1_total", "pod, instance"), EACH + " HTTP/1.1"),
               Query(summed("envoy_http_downstream_cx_http2_total", "pod, instance"), EACH + " HTTP/2")]),
        lines("p99 by listener", "From a request's head to the end of its answer. Buckets are Envoy's, so it is coarse.",
              [Query(f"histogram_quantile(0.99, {summed('envoy_http_downstream_rq_time_bucket', 'envoy_http_conn_manager_prefix, le')})",
                     "{{envoy_http_conn_manager_prefix}}")], "ms"),
        lines("Bytes", "From callers and to them.",
              [Query(summed("envoy_http_downstream_cx_rx_bytes_total", "pod, instance"), EACH + " received"),
               Query(summed("envoy_http_downstream_cx_tx_bytes_total", "pod, instance"), EACH + " sent")], "Bps"),
        lines("What went wrong", "Requests without a route or cluster, resets, and connections that broke the protocol.",
              [Query(summed(f"envoy_http_{name}", "envoy_http_conn_manager_prefix") + " > 0",
                     f"{{{{envoy_http_conn_manager_prefix}}}} {text}")
               for name, text in (("no_route", "no route"), ("no_cluster", "no cluster"),
                                  ("downstream_rq_rx_reset", "reset by callers"),
                                  ("downstream_rq_tx_reset", "cut after its head"),
                                  ("downstream_cx_protocol_error", "protocol errors"))]),
    ])


def upstream():
    by = "envoy_cluster_name"
    name = "{{envoy_cluster_name}}"

    def counted(*metrics):
        return [Query(summed(f"envoy_cluster_{metric}", by, CLUSTER) + " > 0", f"{name} {text}") for metric, text in metrics]

    return Row("Clusters", [
        lines("Requests by class", "Of what the clusters' endpoints answered, each attempt for itself.",
              [Query(summed("envoy_cluster_upstream_rq_xx", f"{by}, envoy_response_code_class", CLUSTER),
                     name + " {{envoy_response_code_class}}xx")], "reqps"),
        lines("p99", "From an attempt's start to the end of its answer. Buckets are Envoy's, so it is coarse.",
              [Query(f"histogram_quantile(0.99, {summed('envoy_cluster_upstream_rq_time_bucket', by + ', le', CLUSTER)})",
                     name)], "ms"),
        lines("In flight", "Requests that have no whole answer yet.",
              [Query(held("envoy_cluster_upstream_rq_active", by, CLUSTER), name)], "none"),
        lines("Connections", "Open now.", [Query(held("envoy_cluster_upstream_cx_active", by, CLUSTER), name)], "none"),
        lines("Connections that failed", "That could not be made, or not in time.",
              counted(("upstream_cx_connect_fail", "failed"), ("upstream_cx_connect_timeout", "too late"))),
        lines("Requests that failed", "Resets, timeouts, and what waited in vain.",
              counted(("upstream_rq_rx_reset", "reset by the endpoint"), ("upstream_rq_tx_reset", "given up"),
                      ("upstream_rq_timeout", "too late"), ("upstream_rq_pending_overflow", "too many wait"),
                      ("upstream_cx_none_healthy", "no healthy endpoint"))),
        lines("Retries", "Attempts after the first, those that succeeded, and those that were not allowed.",
              counted(("upstream_rq_retry", "retries"), ("upstream_rq_retry_success", "successful"),
                      ("upstream_rq_retry_overflow", "too many at once"),
                      ("upstream_rq_retry_limit_exceeded", "used up"))),
        lines("Retries by reason", "What allowed them.", [Query(summed("weir_retries_total", "reason", VERSION) + " > 0", "{{reason}}")]),
        lines("Breakers", "1 while a cluster has as many as it may at once.",
              [Query(f"max by ({by}) (envoy_cluster_circuit_breakers_default_{what}_open{{{CLUSTER}}}) > 0", f"{name} {what}")
               for what in ("cx", "rq_pending", "rq", "rq_retry")], "none"),
    ])


def health():
    by = "envoy_cluster_name"
    name = "{{envoy_cluster_name}}"
    return Row("Health of endpoints", [
        lines("Healthy and known", "Dashed, all endpoints of a cluster; solid, those that are healthy.",
              [Query(f"max by ({by}) (envoy_cluster_membership_total{{{CLUSTER}}})", name + " known"),
               Query(f"max by ({by}) (envoy_cluster_membership_healthy{{{CLUSTER}}})", name + " healthy")], "none",
              dashed=".* known$"),
        lines("Outlier detection", "Endpoints that are out now. Only clusters that have it are shown.",
              [Query(f"max by ({by}) (envoy_cluster_outlier_detection_ejections_active{{{CLUSTER}}})", name)], "none"),
        lines("Health checks", "Checks that failed. Only clusters that have some are shown.",
              [Query(summed("envoy_cluster_health_check_failure", by, CLUSTER), name)]),
    ])


def between_pods():
    return Row("Between pods", [
        lines("Hops delivered", "Requests that another pod's Weir answered.",
              [Query(summed("weir_hop_requests_total", "service, version", VERSION), "{{service}} {{version}}")], "reqps"),
        lines("Hops that failed", "Requests that reached no model server, by reason.",
              [Query(summed("weir_hop_errors_total", "version, reason", VERSION) + " > 0", "{{version}} {{reason}}")]),
        lines("Deliveries refused", "Requests from peers that may not deliver here.", [each("weir_delivery_refused_total")]),
    ])


def limits():
    return Row("Limits and buffers", [
        lines("Limits met", "By the limit's name in the configuration.",
              [Query(summed("weir_limit_exceeded_total", "limit") + " > 0", "{{limit}}")]),
        lines("Buffers", "Dashed, what may be held for all callers together; solid, what is.",
              [Query(f"max by (pod, instance) (weir_buffer_budget_bytes{{{HERE}}})", EACH + " budget"),
               Query(held("weir_buffered_bytes"), EACH)], "bytes", dashed=".* budget$"),
        lines("Streams given up", "For the buffer budget: the one longest without progress.", [each("weir_buffer_resets_total")]),
        lines("Bodies too long to send again", "Requests that could no longer be retried.", [each("weir_replay_exceeded_total")],
              width=6),
        lines("Access log lines lost", "The writer was behind, or its file failed.", [each("weir_access_log_dropped_total")],
              width=6),
        lines("Spans", "Those that the collector took, and those that were lost, by reason. Empty where weir.yaml has no "
              "`tracing`.",
              [Query(summed("weir_spans_exported_total", "pod, instance"), EACH + " exported"),
               Query(summed("weir_spans_dropped_total", "reason"), "lost: {{reason}}")], width=6),
        lines("Requests cut by a drain", "They outlived its deadline.", [each("weir_drain_cut_requests_total")],
              width=6),
    ])


def process():
    return Row("Process", [
        lines("CPU", "In cores.", [each("process_cpu_seconds_total")], "none", decimals=3),
        lines("Memory", "Resident.", [Query(held("process_resident_memory_bytes"), EACH)], "bytes"),
        lines("File descriptors", "Dashed, how many may be open; solid, how many are.",
              [Query(held("process_max_fds"), EACH + " allowed"), Query(held("process_open_fds"), EACH)], "none",
              dashed=".* allowed$"),
    ])


def board():
    here = 'namespace=~"$namespace"'
    return Board(
        uid="weir-sidecar",
        title="Weir Sidecar",
        about="One proxy or several from within.",
        variables=[
            Variable("namespace", "Namespace", "weir_build_info"),
            Variable("instance", "Instance", f"weir_build_info{{{here}}}"),
            Variable("service", "Service", f"weir_split_choices_total{{{HERE}}}"),
            Variable("version", "Version", f'weir_split_choices_total{{{HERE},service=~"$service"}}'),
            Variable("envoy_cluster_name", "Cluster", f"envoy_cluster_membership_total{{{OF_SERVICE}}}"),
        ],
        rows=[state(), downstream(), upstream(), health(), between_pods(), limits(), process()],
        marks=f"sum(changes(weir_config_generation{{{HERE}}}[{INTERVAL}])) > 0",
    )
