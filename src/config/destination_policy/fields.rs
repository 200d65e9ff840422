//! Every field of DestinationPolicy.

use crate::config::fields::FieldRow;

const BREAKER: &str = "0: Envoy's default";

/// In the order of the protocol's file.
pub(crate) const FIELDS: &[FieldRow] = &[
    FieldRow::supported(
        "spec.destination",
        "destination: {name: inception, labels: {version: v1}}",
        "required; labels: exactly those that a rule's share names",
    ),
    FieldRow::supported(
        "spec.source",
        "source: {name: frontend}",
        "holds where the proxy stands beside an endpoint of this service: one with `local: true`",
    ),
    FieldRow::supported("spec.loadBalancing.name", "name: LEAST_CONN", "ROUND_ROBIN, LEAST_CONN, RANDOM"),
    FieldRow::refused("spec.loadBalancing.custom", "custom: {}", "Istio's proxies had no use for it"),
    FieldRow::refused("spec.circuitBreaker.custom", "custom: {}", "Istio's proxies had no use for it"),
    FieldRow::supported("spec.circuitBreaker.simpleCb.maxConnections", "maxConnections: 100", BREAKER),
    FieldRow::supported(
        "spec.circuitBreaker.simpleCb.httpMaxPendingRequests",
        "httpMaxPendingRequests: 100",
        BREAKER,
    ),
    FieldRow::supported("spec.circuitBreaker.simpleCb.httpMaxRequests", "httpMaxRequests: 100", BREAKER),
    FieldRow::supported(
        "spec.circuitBreaker.simpleCb.sleepWindow",
        "sleepWindow: 30s",
        "required; under a second: 30s, as in Istio, with a warning",
    ),
    FieldRow::supported(
        "spec.circuitBreaker.simpleCb.httpConsecutiveErrors",
        "httpConsecutiveErrors: 5",
        BREAKER,
    ),
    FieldRow::supported(
        "spec.circuitBreaker.simpleCb.httpDetectionInterval",
        "httpDetectionInterval: 10s",
        "required; under a second: 10s, as in Istio, with a warning",
    ),
    FieldRow::supported(
        "spec.circuitBreaker.simpleCb.httpMaxRequestsPerConnection",
        "httpMaxRequestsPerConnection: 1",
        "0: any number",
    ),
    FieldRow::supported(
        "spec.circuitBreaker.simpleCb.httpMaxEjectionPercent",
        "httpMaxEjectionPercent: 50",
        "0: 10, Envoy's default",
    ),
    FieldRow::supported("spec.circuitBreaker.simpleCb.httpMaxRetries", "httpMaxRetries: 3", BREAKER),
];
