//! Every field of RouteRule.

use crate::config::fields::FieldRow;

const CUSTOM: &str = "Istio's proxies had no use for it";
const L4: &str = "Istio never implemented it, and its validator refused it";
const OVERRIDE: &str = "Istio never read it";

/// In the order of the protocol's file.
pub(crate) const FIELDS: &[FieldRow] = &[
    FieldRow::supported("spec.destination.name", "name: inception", "a DNS label; or `service`"),
    FieldRow::supported("spec.destination.namespace", "namespace: kubeflow", "the rule's own by default"),
    FieldRow::supported("spec.destination.domain", "domain: svc.cluster.local", "must itself hold `svc.`"),
    FieldRow::supported(
        "spec.destination.service",
        "service: models.example.com",
        "a whole host; stands alone",
    ),
    FieldRow::refused("spec.destination.labels", "labels: {version: v1}", "a rule is about a whole service"),
    FieldRow::supported("spec.precedence", "precedence: 2", "any int32; ties by namespace, then name"),
    FieldRow::supported(
        "spec.match.source",
        "source: {name: frontend, labels: {version: v3}}",
        "decided for each request, by `callers` of weir.yaml",
    ),
    FieldRow::refused("spec.match.tcp", "tcp: {}", "Weir splits HTTP and gRPC; TCP goes past it"),
    FieldRow::refused("spec.match.udp", "udp: {}", L4),
    FieldRow::supported(
        "spec.match.request.headers",
        "headers: {x-user: {exact: jason}}",
        "exact, prefix or regex; lower case; values of one name joined by commas",
    ),
    FieldRow::supported(
        "spec.match.request.headers.uri",
        "uri: {regex: \"/v1/models/.*\"}",
        "a regex is one of the path; in Istio it never matched",
    ),
    FieldRow::supported("spec.match.request.headers.method", "method: {exact: POST}", ""),
    FieldRow::supported(
        "spec.match.request.headers.authority",
        "authority: {exact: models.example.com}",
        "as sent",
    ),
    FieldRow::supported("spec.match.request.headers.scheme", "scheme: {exact: http}", ""),
    FieldRow::supported(
        "spec.route[].destination",
        "destination: {name: other}",
        "another service, or the rule's own if it names none; its labels count where the entry has none",
    ),
    FieldRow::supported("spec.route[].labels", "labels: {version: v1}", "none: every endpoint"),
    FieldRow::supported("spec.route[].weight", "weight: 95", "sum 100; a lone entry needs none"),
    FieldRow::supported(
        "spec.redirect.uri",
        "uri: /v2/models",
        "301, as Istio's Envoy had it; stands without `route`",
    ),
    FieldRow::supported("spec.redirect.authority", "authority: models.example.com", "perhaps with a port"),
    FieldRow::supported(
        "spec.rewrite.uri",
        "uri: /v1/models/",
        "in place of what `uri` matches: all of it for exact and regex",
    ),
    FieldRow::supported("spec.rewrite.authority", "authority: models.example.com", "perhaps with a port"),
    FieldRow::supported(
        "spec.websocketUpgrade",
        "websocketUpgrade: true",
        "an HTTP/1.1 caller may switch to WebSocket",
    ),
    FieldRow::supported(
        "spec.httpReqTimeout.simpleTimeout.timeout",
        "timeout: 5s",
        "left out: no limit, as Istio did it, unless weir.yaml has one; not Istio's documented 15s",
    ),
    FieldRow::supported(
        "spec.httpReqTimeout.simpleTimeout.overrideHeaderName",
        "overrideHeaderName: x-envoy-upstream-rq-timeout-ms",
        "that name alone: it counts in any case",
    ),
    FieldRow::refused("spec.httpReqTimeout.custom", "custom: {}", CUSTOM),
    FieldRow::supported(
        "spec.httpReqRetries.simpleRetry.attempts",
        "attempts: 3",
        "after the first; 0: none beside Weir's own safe one; on 5xx, connect-failure, refused-stream",
    ),
    FieldRow::supported("spec.httpReqRetries.simpleRetry.perTryTimeout", "perTryTimeout: 2s", "required"),
    FieldRow::supported(
        "spec.httpReqRetries.simpleRetry.overrideHeaderName",
        "overrideHeaderName: x-envoy-max-retries",
        "that name alone: it counts in any case",
    ),
    FieldRow::refused("spec.httpReqRetries.custom", "custom: {}", CUSTOM),
    FieldRow::supported(
        "spec.httpFault.delay.percent",
        "percent: 0.5",
        "0 or none: no fault, as Istio did it; fractions count",
    ),
    FieldRow::supported("spec.httpFault.delay.fixedDelay", "fixedDelay: 5s", "required"),
    FieldRow::refused("spec.httpFault.delay.exponentialDelay", "exponentialDelay: 5s", L4),
    FieldRow::refused("spec.httpFault.delay.overrideHeaderName", "overrideHeaderName: x-delay", OVERRIDE),
    FieldRow::supported(
        "spec.httpFault.abort.percent",
        "percent: 0.5",
        "0 or none: no fault, as Istio did it; fractions count",
    ),
    FieldRow::supported("spec.httpFault.abort.httpStatus", "httpStatus: 503", "200 to 600; 0: no fault"),
    FieldRow::refused("spec.httpFault.abort.grpcStatus", "grpcStatus: UNAVAILABLE", L4),
    FieldRow::inert(
        "spec.httpFault.abort.http2Error",
        "http2Error: NO_ERROR",
        "no fault, as Istio did it; a warning",
    ),
    FieldRow::refused("spec.httpFault.abort.overrideHeaderName", "overrideHeaderName: x-abort", OVERRIDE),
    FieldRow::refused("spec.l4Fault", "l4Fault: {}", L4),
    FieldRow::supported(
        "spec.mirror",
        "mirror: {name: inception, labels: {version: v2}}",
        "a copy of every request",
    ),
    FieldRow::supported(
        "spec.corsPolicy.allowOrigin",
        "allowOrigin: [\"http://example.com\"]",
        "exact; `*`: every origin",
    ),
    FieldRow::supported("spec.corsPolicy.allowMethods", "allowMethods: [GET, POST]", ""),
    FieldRow::supported("spec.corsPolicy.allowHeaders", "allowHeaders: [x-user]", "lower case"),
    FieldRow::supported("spec.corsPolicy.exposeHeaders", "exposeHeaders: [x-model]", "lower case"),
    FieldRow::supported("spec.corsPolicy.maxAge", "maxAge: 24h", "whole seconds"),
    FieldRow::supported("spec.corsPolicy.allowCredentials", "allowCredentials: true", ""),
    FieldRow::supported(
        "spec.appendHeaders",
        "appendHeaders: {x-team: vision}",
        "lower case; behind what is there; `%%` is a percent, Envoy's operators are refused",
    ),
];
