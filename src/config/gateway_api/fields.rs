//! Every field of HTTPRoute and of GRPCRoute. A sample holds what must stand beside the field; a filter's `type` goes by
//! its key.

use crate::config::fields::FieldRow;

const EXTENSION: &str = "Weir has no extensions of its own";
const EXPERIMENTAL: &str = "of the experimental channel";
const STICKY: &str = "of the experimental channel; the annotation `weir/sticky` does it";
const PORT: &str = "has to stand there; an endpoint's ports are those of weir.yaml";
const BACKEND: &str = "by annotation, else a declared service, else `<service>-<version>`; else 500";
const LITERAL: &str = "as written: no variables";

/// In the order of the API's types.
pub(crate) const HTTP_ROUTE: &[FieldRow] = &[
    FieldRow::supported(
        "spec.parentRefs[].group",
        "group: gateway.networking.k8s.io, name: g",
        "\"\" for a Service",
    ),
    FieldRow::supported(
        "spec.parentRefs[].kind",
        "kind: Service, group: \"\", name: m",
        "Gateway or Service",
    ),
    FieldRow::supported(
        "spec.parentRefs[].namespace",
        "namespace: web, name: g",
        "the route's own by default",
    ),
    FieldRow::supported(
        "spec.parentRefs[].name",
        "name: g",
        "a gateway is what `gateways` of a listener names",
    ),
    FieldRow::supported(
        "spec.parentRefs[].sectionName",
        "sectionName: predict, name: g",
        "the listener's name; of a Service refused",
    ),
    FieldRow::supported(
        "spec.parentRefs[].port",
        "port: 8500, name: g",
        "the listener's port; of a Service refused",
    ),
    FieldRow::supported(
        "spec.hostnames",
        "hostnames: [models.example.com, \"*.example.com\"]",
        "none: every host; of no meaning for a route of a Service",
    ),
    FieldRow::refused("spec.useDefaultGateways", "useDefaultGateways: All", EXPERIMENTAL),
    FieldRow::supported("spec.rules[].name", "name: canary", "part of the rule's name in metrics"),
    FieldRow::supported(
        "spec.rules[].matches[].path.type",
        "type: Exact, value: /a",
        "Exact, PathPrefix (by segments) or RegularExpression (the whole path; behind every prefix but `/`)",
    ),
    FieldRow::supported("spec.rules[].matches[].path.value", "value: /v1/models", "kept in its normal form"),
    FieldRow::supported(
        "spec.rules[].matches[].headers[].type",
        "type: RegularExpression, name: x-user, value: \"a.*\"",
        "an expression must match the whole value",
    ),
    FieldRow::supported(
        "spec.rules[].matches[].headers[].name",
        "name: x-user, value: a",
        "in any case; `host` is the authority",
    ),
    FieldRow::supported(
        "spec.rules[].matches[].headers[].value",
        "value: a, name: x-user",
        "values of one name joined by commas",
    ),
    FieldRow::supported(
        "spec.rules[].matches[].queryParams[].type",
        "type: RegularExpression, name: debug, value: \"[01]\"",
        "an expression must match the whole value",
    ),
    FieldRow::supported(
        "spec.rules[].matches[].queryParams[].name",
        "name: debug, value: \"1\"",
        "case counts",
    ),
    FieldRow::supported(
        "spec.rules[].matches[].queryParams[].value",
        "value: \"1\", name: debug",
        "of several with one name the first counts",
    ),
    FieldRow::supported("spec.rules[].matches[].method", "method: POST", ""),
    FieldRow::supported(
        "spec.rules[].filters[].type",
        "type: RequestHeaderModifier, requestHeaderModifier: {remove: [x-a]}",
        "the order of filters has no meaning",
    ),
    FieldRow::supported(
        "spec.rules[].filters[].requestHeaderModifier.set",
        "set: [{name: x-a, value: b}]",
        LITERAL,
    ),
    FieldRow::supported(
        "spec.rules[].filters[].requestHeaderModifier.add",
        "add: [{name: x-a, value: b}]",
        LITERAL,
    ),
    FieldRow::supported(
        "spec.rules[].filters[].requestHeaderModifier.remove",
        "remove: [x-a]",
        "never `host`, nor a connection's own",
    ),
    FieldRow::supported(
        "spec.rules[].filters[].responseHeaderModifier.set",
        "set: [{name: x-a, value: b}]",
        LITERAL,
    ),
    FieldRow::supported(
        "spec.rules[].filters[].responseHeaderModifier.add",
        "add: [{name: x-a, value: b}]",
        LITERAL,
    ),
    FieldRow::supported("spec.rules[].filters[].responseHeaderModifier.remove", "remove: [x-a]", ""),
    FieldRow::supported(
        "spec.rules[].filters[].requestMirror.backendRef",
        "backendRef: {name: m, port: 80}",
        BACKEND,
    ),
    FieldRow::supported(
        "spec.rules[].filters[].requestMirror.percent",
        "percent: 5, backendRef: {name: m, port: 80}",
        "0 to 100",
    ),
    FieldRow::supported(
        "spec.rules[].filters[].requestMirror.fraction",
        "fraction: {numerator: 1, denominator: 8}, backendRef: {name: m, port: 80}",
        "at most one",
    ),
    FieldRow::supported("spec.rules[].filters[].requestRedirect.scheme", "scheme: https", ""),
    FieldRow::supported(
        "spec.rules[].filters[].requestRedirect.hostname",
        "hostname: models.example.com",
        "",
    ),
    FieldRow::supported(
        "spec.rules[].filters[].requestRedirect.path",
        "path: {type: ReplaceFullPath, replaceFullPath: /new}",
        "ReplaceFullPath or ReplacePrefixMatch",
    ),
    FieldRow::supported(
        "spec.rules[].filters[].requestRedirect.port",
        "port: 8443",
        "unsaid: that of a scheme that is said, else the listener's; of a Service's route, the request's where the host stays",
    ),
    FieldRow::supported(
        "spec.rules[].filters[].requestRedirect.statusCode",
        "statusCode: 308",
        "301, 302, 303, 307, 308; 302 by default",
    ),
    FieldRow::supported("spec.rules[].filters[].urlRewrite.hostname", "hostname: models.internal", ""),
    FieldRow::supported(
        "spec.rules[].filters[].urlRewrite.path",
        "path: {type: ReplacePrefixMatch, replacePrefixMatch: /}",
        "ReplaceFullPath or ReplacePrefixMatch",
    ),
    FieldRow::supported(
        "spec.rules[].filters[].cors.allowOrigins",
        "allowOrigins: [\"https://*.example.com\"]",
        "`*`: every origin",
    ),
    FieldRow::supported(
        "spec.rules[].filters[].cors.allowCredentials",
        "allowCredentials: true, allowOrigins: [\"*\"]",
        "",
    ),
    FieldRow::supported(
        "spec.rules[].filters[].cors.allowMethods",
        "allowMethods: [GET, POST], allowOrigins: [\"*\"]",
        "",
    ),
    FieldRow::supported(
        "spec.rules[].filters[].cors.allowHeaders",
        "allowHeaders: [x-user], allowOrigins: [\"*\"]",
        "",
    ),
    FieldRow::supported(
        "spec.rules[].filters[].cors.exposeHeaders",
        "exposeHeaders: [x-model], allowOrigins: [\"*\"]",
        "",
    ),
    FieldRow::supported(
        "spec.rules[].filters[].cors.maxAge",
        "maxAge: 60, allowOrigins: [\"*\"]",
        "seconds; 5 by default",
    ),
    FieldRow::refused("spec.rules[].filters[].externalAuth", "externalAuth: {}", EXPERIMENTAL),
    FieldRow::refused(
        "spec.rules[].filters[].extensionRef",
        "extensionRef: {group: a, kind: B, name: c}",
        EXTENSION,
    ),
    FieldRow::supported("spec.rules[].backendRefs[].group", "group: \"\", name: m, port: 80", "\"\" alone"),
    FieldRow::supported(
        "spec.rules[].backendRefs[].kind",
        "kind: Service, name: m, port: 80",
        "Service alone",
    ),
    FieldRow::supported(
        "spec.rules[].backendRefs[].namespace",
        "namespace: web, name: m, port: 80",
        "the route's own by default; needs no ReferenceGrant",
    ),
    FieldRow::supported("spec.rules[].backendRefs[].name", "name: m, port: 80", BACKEND),
    FieldRow::inert("spec.rules[].backendRefs[].port", "port: 80, name: m", PORT),
    FieldRow::supported(
        "spec.rules[].backendRefs[].weight",
        "weight: 95, name: m, port: 80",
        "0 to 1,000,000; 1 by default; relative",
    ),
    FieldRow::supported(
        "spec.rules[].backendRefs[].filters[].requestHeaderModifier",
        "requestHeaderModifier: {remove: [x-a]}",
        "for this share alone",
    ),
    FieldRow::supported(
        "spec.rules[].backendRefs[].filters[].responseHeaderModifier",
        "responseHeaderModifier: {remove: [x-a]}",
        "for this share alone",
    ),
    FieldRow::supported(
        "spec.rules[].backendRefs[].filters[].requestMirror",
        "requestMirror: {backendRef: {name: m, port: 80}}",
        "for this share alone",
    ),
    FieldRow::supported(
        "spec.rules[].backendRefs[].filters[].urlRewrite",
        "urlRewrite: {hostname: models.internal}",
        "for this share alone; before the rule's",
    ),
    FieldRow::supported(
        "spec.rules[].backendRefs[].filters[].requestRedirect",
        "requestRedirect: {hostname: models.example.com}",
        "this share is sent elsewhere",
    ),
    FieldRow::supported(
        "spec.rules[].backendRefs[].filters[].cors",
        "cors: {allowOrigins: [\"*\"]}",
        "for this share alone; a preflight takes a share like any request",
    ),
    FieldRow::refused("spec.rules[].backendRefs[].filters[].externalAuth", "externalAuth: {}", EXPERIMENTAL),
    FieldRow::refused(
        "spec.rules[].backendRefs[].filters[].extensionRef",
        "extensionRef: {group: a, kind: B, name: c}",
        EXTENSION,
    ),
    FieldRow::supported("spec.rules[].timeouts.request", "request: 10s", "0s: none"),
    FieldRow::supported(
        "spec.rules[].timeouts.backendRequest",
        "backendRequest: 2s",
        "of each attempt, to the end of its answer's head",
    ),
    FieldRow::supported("spec.rules[].retry.codes", "codes: [500, 503]", "400 to 599"),
    FieldRow::supported(
        "spec.rules[].retry.attempts",
        "attempts: 2",
        "1 by default; also where no connection was had, the stream was refused, or `backendRequest` has passed",
    ),
    FieldRow::supported(
        "spec.rules[].retry.backoff",
        "backoff: 100ms",
        "drawn from 0 to (2^n - 1) times this, ten times at most; 25ms by default",
    ),
    FieldRow::refused("spec.rules[].sessionPersistence", "sessionPersistence: {type: Cookie}", STICKY),
];

/// In the order of the API's types.
pub(crate) const GRPC_ROUTE: &[FieldRow] = &[
    FieldRow::supported(
        "spec.parentRefs",
        "parentRefs: [{group: \"\", kind: Service, name: m}]",
        "as of an HTTPRoute",
    ),
    FieldRow::supported("spec.hostnames", "hostnames: [models.example.com]", "as of an HTTPRoute"),
    FieldRow::refused("spec.useDefaultGateways", "useDefaultGateways: All", EXPERIMENTAL),
    FieldRow::supported("spec.rules[].name", "name: canary", "part of the rule's name in metrics"),
    FieldRow::supported(
        "spec.rules[].matches[].method.type",
        "type: RegularExpression, service: \".*Prediction.*\"",
        "an expression must match the whole service or method; behind all names",
    ),
    FieldRow::supported(
        "spec.rules[].matches[].method.service",
        "service: tensorflow.serving.PredictionService",
        "with its package",
    ),
    FieldRow::supported("spec.rules[].matches[].method.method", "method: Predict", "alone: of any service"),
    FieldRow::supported(
        "spec.rules[].matches[].headers[].type",
        "type: RegularExpression, name: x-user, value: \"a.*\"",
        "an expression must match the whole value",
    ),
    FieldRow::supported(
        "spec.rules[].matches[].headers[].name",
        "name: x-user, value: a",
        "metadata; in any case",
    ),
    FieldRow::supported("spec.rules[].matches[].headers[].value", "value: a, name: x-user", ""),
    FieldRow::supported(
        "spec.rules[].filters[].type",
        "type: RequestHeaderModifier, requestHeaderModifier: {remove: [x-a]}",
        "the order of filters has no meaning",
    ),
    FieldRow::supported(
        "spec.rules[].filters[].requestHeaderModifier",
        "requestHeaderModifier: {set: [{name: x-a, value: b}]}",
        LITERAL,
    ),
    FieldRow::supported(
        "spec.rules[].filters[].responseHeaderModifier",
        "responseHeaderModifier: {add: [{name: x-a, value: b}]}",
        LITERAL,
    ),
    FieldRow::supported(
        "spec.rules[].filters[].requestMirror",
        "requestMirror: {backendRef: {name: m, port: 80}, percent: 5}",
        BACKEND,
    ),
    FieldRow::refused(
        "spec.rules[].filters[].extensionRef",
        "extensionRef: {group: a, kind: B, name: c}",
        EXTENSION,
    ),
    FieldRow::supported("spec.rules[].backendRefs[].group", "group: \"\", name: m, port: 80", "\"\" alone"),
    FieldRow::supported(
        "spec.rules[].backendRefs[].kind",
        "kind: Service, name: m, port: 80",
        "Service alone",
    ),
    FieldRow::supported(
        "spec.rules[].backendRefs[].namespace",
        "namespace: web, name: m, port: 80",
        "the route's own by default; needs no ReferenceGrant",
    ),
    FieldRow::supported("spec.rules[].backendRefs[].name", "name: m, port: 80", BACKEND),
    FieldRow::inert("spec.rules[].backendRefs[].port", "port: 80, name: m", PORT),
    FieldRow::supported(
        "spec.rules[].backendRefs[].weight",
        "weight: 95, name: m, port: 80",
        "0 to 1,000,000; 1 by default; relative",
    ),
    FieldRow::supported(
        "spec.rules[].backendRefs[].filters[].requestHeaderModifier",
        "requestHeaderModifier: {remove: [x-a]}",
        "for this share alone",
    ),
    FieldRow::supported(
        "spec.rules[].backendRefs[].filters[].responseHeaderModifier",
        "responseHeaderModifier: {remove: [x-a]}",
        "for this share alone",
    ),
    FieldRow::supported(
        "spec.rules[].backendRefs[].filters[].requestMirror",
        "requestMirror: {backendRef: {name: m, port: 80}}",
        "for this share alone",
    ),
    FieldRow::refused(
        "spec.rules[].backendRefs[].filters[].extensionRef",
        "extensionRef: {group: a, kind: B, name: c}",
        EXTENSION,
    ),
    FieldRow::refused("spec.rules[].sessionPersistence", "sessionPersistence: {type: Cookie}", STICKY),
];
