//! Every field of DestinationRule.

use crate::config::fields::FieldRow;

/// In the order of the protocol's file.
pub(crate) const FIELDS: &[FieldRow] = &[
    FieldRow::supported("spec.host", "host: inception", "one service; a star is refused"),
    FieldRow::inert(
        "spec.exportTo[]",
        "exportTo: [\"*\"]",
        "`*` and `.`, which mean the same: a file is for the proxy that reads it; others are refused",
    ),
    FieldRow::refused(
        "spec.workloadSelector",
        "workloadSelector: {}",
        "a file is for the proxy that reads it",
    ),
    FieldRow::supported("spec.subsets[].name", "name: v1", "what routes call it"),
    FieldRow::supported("spec.subsets[].labels", "labels: {version: v1}", "none: every endpoint"),
    FieldRow::supported(
        "spec.subsets[].trafficPolicy",
        "trafficPolicy: {loadBalancer: {simple: RANDOM}}",
        "a group of settings stands for the rule's whole group",
    ),
    FieldRow::supported(
        "spec.trafficPolicy.loadBalancer.simple",
        "simple: LEAST_REQUEST",
        "ROUND_ROBIN, LEAST_REQUEST (also LEAST_CONN), RANDOM; PASSTHROUGH is refused",
    ),
    FieldRow::supported(
        "spec.trafficPolicy.loadBalancer.consistentHash.httpHeaderName",
        "httpHeaderName: x-user",
        "",
    ),
    FieldRow::supported(
        "spec.trafficPolicy.loadBalancer.consistentHash.httpCookie",
        "httpCookie: {name: user, path: /, ttl: 0s, attributes: [{name: SameSite, value: Lax}]}",
        "with `ttl` one is set for callers without it",
    ),
    FieldRow::supported(
        "spec.trafficPolicy.loadBalancer.consistentHash.useSourceIp",
        "useSourceIp: true",
        "",
    ),
    FieldRow::supported(
        "spec.trafficPolicy.loadBalancer.consistentHash.httpQueryParameterName",
        "httpQueryParameterName: user",
        "",
    ),
    FieldRow::supported(
        "spec.trafficPolicy.loadBalancer.consistentHash.ringHash.minimumRingSize",
        "minimumRingSize: 1024",
        "",
    ),
    FieldRow::supported(
        "spec.trafficPolicy.loadBalancer.consistentHash.maglev.tableSize",
        "tableSize: 65537",
        "a prime up to 5,000,011",
    ),
    FieldRow::supported(
        "spec.trafficPolicy.loadBalancer.consistentHash.minimumRingSize",
        "minimumRingSize: 1024",
        "the old form",
    ),
    FieldRow::supported(
        "spec.trafficPolicy.loadBalancer.warmup",
        "warmup: {duration: 30s, minimumPercent: 10, aggression: 1}",
        "with ROUND_ROBIN and LEAST_REQUEST",
    ),
    FieldRow::supported(
        "spec.trafficPolicy.loadBalancer.warmupDurationSecs",
        "warmupDurationSecs: 30s",
        "the old form",
    ),
    FieldRow::inert(
        "spec.trafficPolicy.loadBalancer.localityLbSetting.enabled",
        "enabled: false",
        "true, which is also what `localityLbSetting: {}` means, is refused: endpoints have no localities here",
    ),
    FieldRow::refused(
        "spec.trafficPolicy.loadBalancer.localityLbSetting.distribute[]",
        "distribute: [{from: a, to: {b: 100}}]",
        "beside `enabled: false` it has no effect, as in Istio: a warning",
    ),
    FieldRow::refused(
        "spec.trafficPolicy.loadBalancer.localityLbSetting.failover[]",
        "failover: [{from: a, to: b}]",
        "as `distribute`",
    ),
    FieldRow::refused(
        "spec.trafficPolicy.loadBalancer.localityLbSetting.failoverPriority[]",
        "failoverPriority: [topology.kubernetes.io/region]",
        "as `distribute`",
    ),
    FieldRow::supported(
        "spec.trafficPolicy.connectionPool.tcp.maxConnections",
        "maxConnections: 100",
        "0 is left out; left out 1024, Envoy's default, not Istio's endless one",
    ),
    FieldRow::supported(
        "spec.trafficPolicy.connectionPool.tcp.connectTimeout",
        "connectTimeout: 250ms",
        "left out: `limits.connect_timeout`",
    ),
    FieldRow::supported(
        "spec.trafficPolicy.connectionPool.tcp.tcpKeepalive",
        "tcpKeepalive: {probes: 3, time: 7200s, interval: 75s}",
        "whole seconds",
    ),
    FieldRow::supported(
        "spec.trafficPolicy.connectionPool.tcp.maxConnectionDuration",
        "maxConnectionDuration: 1h",
        "",
    ),
    FieldRow::refused(
        "spec.trafficPolicy.connectionPool.tcp.idleTimeout",
        "idleTimeout: 1h",
        "it is for connections of other protocols; `http.idleTimeout`",
    ),
    FieldRow::supported(
        "spec.trafficPolicy.connectionPool.http.http1MaxPendingRequests",
        "http1MaxPendingRequests: 100",
        "0 is left out; left out 1024",
    ),
    FieldRow::supported(
        "spec.trafficPolicy.connectionPool.http.http2MaxRequests",
        "http2MaxRequests: 100",
        "both HTTPs; 0 is left out; left out 1024",
    ),
    FieldRow::supported(
        "spec.trafficPolicy.connectionPool.http.maxRequestsPerConnection",
        "maxRequestsPerConnection: 10",
        "0: no limit",
    ),
    FieldRow::supported(
        "spec.trafficPolicy.connectionPool.http.maxRetries",
        "maxRetries: 10",
        "0 is left out; left out 3",
    ),
    FieldRow::supported(
        "spec.trafficPolicy.connectionPool.http.idleTimeout",
        "idleTimeout: 30s",
        "left out: `limits.upstream_idle`",
    ),
    FieldRow::supported(
        "spec.trafficPolicy.connectionPool.http.h2UpgradePolicy",
        "h2UpgradePolicy: UPGRADE",
        "UPGRADE: HTTP/2 with prior knowledge; otherwise as the service's `protocol` says",
    ),
    FieldRow::supported(
        "spec.trafficPolicy.connectionPool.http.useClientProtocol",
        "useClientProtocol: true",
        "what the caller speaks, whatever `h2UpgradePolicy` and the service's `protocol` say",
    ),
    FieldRow::supported(
        "spec.trafficPolicy.connectionPool.http.maxConcurrentStreams",
        "maxConcurrentStreams: 10",
        "",
    ),
    FieldRow::supported(
        "spec.trafficPolicy.outlierDetection.consecutive5xxErrors",
        "consecutive5xxErrors: 3",
        "5 by default; 0: none",
    ),
    FieldRow::supported(
        "spec.trafficPolicy.outlierDetection.consecutiveGatewayErrors",
        "consecutiveGatewayErrors: 3",
        "none by default",
    ),
    FieldRow::supported(
        "spec.trafficPolicy.outlierDetection.splitExternalLocalOriginErrors",
        "splitExternalLocalOriginErrors: true",
        "",
    ),
    FieldRow::supported(
        "spec.trafficPolicy.outlierDetection.consecutiveLocalOriginFailures",
        "consecutiveLocalOriginFailures: 3",
        "with `splitExternalLocalOriginErrors`",
    ),
    FieldRow::supported("spec.trafficPolicy.outlierDetection.interval", "interval: 5s", "10s by default"),
    FieldRow::supported(
        "spec.trafficPolicy.outlierDetection.baseEjectionTime",
        "baseEjectionTime: 30s",
        "30s by default",
    ),
    FieldRow::supported(
        "spec.trafficPolicy.outlierDetection.maxEjectionPercent",
        "maxEjectionPercent: 50",
        "10 by default, which is no endpoint of fewer than ten",
    ),
    FieldRow::supported(
        "spec.trafficPolicy.outlierDetection.minHealthPercent",
        "minHealthPercent: 50",
        "below it health is not looked at; 0 by default",
    ),
    FieldRow::refused(
        "spec.trafficPolicy.outlierDetection.consecutiveErrors",
        "consecutiveErrors: 5",
        "Istio has dropped it; `consecutive5xxErrors`, or `consecutiveGatewayErrors` for 502 to 504 alone",
    ),
    FieldRow::supported(
        "spec.trafficPolicy.portLevelSettings[]",
        "portLevelSettings: [{port: {number: 8501}, loadBalancer: {simple: RANDOM}}]",
        "of the endpoints; stands for all groups of settings",
    ),
    FieldRow::supported(
        "spec.trafficPolicy.retryBudget",
        "retryBudget: {percent: 20, minRetryConcurrency: 3}",
        "in place of `maxRetries`",
    ),
    FieldRow::inert(
        "spec.trafficPolicy.tls.mode",
        "mode: DISABLE",
        "other modes are refused until upstream TLS exists",
    ),
    FieldRow::refused(
        "spec.trafficPolicy.tls.clientCertificate",
        "clientCertificate: /cert.pem",
        "upstream TLS does not exist yet",
    ),
    FieldRow::refused(
        "spec.trafficPolicy.tls.privateKey",
        "privateKey: /key.pem",
        "upstream TLS does not exist yet",
    ),
    FieldRow::refused(
        "spec.trafficPolicy.tls.caCertificates",
        "caCertificates: /ca.pem",
        "upstream TLS does not exist yet",
    ),
    FieldRow::refused(
        "spec.trafficPolicy.tls.credentialName",
        "credentialName: cert",
        "upstream TLS does not exist yet",
    ),
    FieldRow::refused(
        "spec.trafficPolicy.tls.subjectAltNames[]",
        "subjectAltNames: [a]",
        "upstream TLS does not exist yet",
    ),
    FieldRow::refused("spec.trafficPolicy.tls.sni", "sni: a", "upstream TLS does not exist yet"),
    FieldRow::refused(
        "spec.trafficPolicy.tls.insecureSkipVerify",
        "insecureSkipVerify: true",
        "upstream TLS does not exist yet",
    ),
    FieldRow::refused("spec.trafficPolicy.tls.caCrl", "caCrl: /crl.pem", "upstream TLS does not exist yet"),
    FieldRow::refused("spec.trafficPolicy.tunnel", "tunnel: {}", "requests are routed here, not connections"),
    FieldRow::refused(
        "spec.trafficPolicy.proxyProtocol",
        "proxyProtocol: {}",
        "upstream connections carry nothing but HTTP",
    ),
];
