//! What a rule does beside choosing a version, in plain words: one line a policy.
//!
//! Law: whatever a route can hold is told; nothing is left out because it is rare.

use std::time::Duration;

use crate::snapshot::{
    AbortStatus, Cors, DirectResponse, Fault, Forward, Fraction, HashKey, HeaderEdits, HeaderMatch,
    HeaderName, Mirror, PathRewrite, Redirect, RedirectPort, RetryPolicy, Rewrite, Route, StringMatch,
    UnmatchedPreflights, VersionTarget,
};

/// Of all requests of a route.
pub(super) fn of_route(route: &Route) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(forward) = route.forward() {
        of_forward(forward, &mut lines);
    }
    let Some(policy) = route.policy.as_deref() else { return lines };
    if let Some(idle) = policy.timeouts.idle {
        lines.push(match idle.is_zero() {
            true => "never ends a stream for being idle".into(),
            false => format!("ends a stream that is idle for {}", time(idle)),
        });
    }
    if let Some(most) = policy.timeouts.grpc_max {
        lines.push(format!("grpc-timeout counts up to {}", time(most)));
    }
    lines.extend(policy.retry.as_ref().map(retry));
    lines.extend(policy.mirrors.iter().map(mirror));
    lines.extend(policy.fault.iter().flat_map(faults));
    lines.extend(policy.cors.as_ref().map(cors));
    edits("request", &policy.request_headers, &mut lines);
    edits("answer", &policy.response_headers, &mut lines);
    lines.extend(policy.rewrite.iter().flat_map(rewrites));
    lines.extend(policy.sticky.as_ref().map(|sticky| {
        let keys: Vec<String> = sticky.keys.iter().map(key).collect();
        format!("sticks to a version by {}, salt {:?}", keys.join(", else "), &*sticky.salt)
    }));
    lines.extend(policy.version_header.as_ref().map(|name| format!("tells the version in {}", name.0)));
    lines.extend(
        policy.cluster_not_found.map(|status| format!("answers {status} where a cluster is missing")),
    );
    lines
}

/// Of the requests of one share.
pub(super) fn of_share(target: &VersionTarget) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(policy) = target.policy.as_deref() {
        edits("request", &policy.request_headers, &mut lines);
        edits("answer", &policy.response_headers, &mut lines);
        lines.extend(policy.rewrite.iter().flat_map(rewrites));
        lines.extend(policy.mirrors.iter().map(mirror));
        lines.extend(policy.cors.as_ref().map(cors));
        lines.extend(policy.redirect.as_ref().map(|parts| format!("is answered: {}", redirect(parts))));
    }
    lines
}

/// A redirect, by its parts.
pub(super) fn redirect(redirect: &Redirect) -> String {
    let mut parts = vec![format!("{}, location", redirect.status)];
    parts.extend(redirect.scheme.as_ref().map(|scheme| format!("with scheme {scheme}")));
    parts.extend(redirect.host.as_ref().map(|host| format!("with host {host}")));
    parts.extend(match redirect.port {
        RedirectPort::Number(port) => Some(format!("with port {port}")),
        RedirectPort::Listener => Some("with the listener's port".to_owned()),
        RedirectPort::Request | RedirectPort::OfScheme => None,
    });
    parts.extend(redirect.path.as_ref().map(path));
    parts.extend(redirect.strip_query.then(|| "without the query".to_owned()));
    parts.join(" ")
}

/// An answer of the route's own.
pub(super) fn direct(response: &DirectResponse) -> String {
    match &response.body {
        Some(body) => format!("{} with {} bytes", response.status, body.len()),
        None => format!("{} without a body", response.status),
    }
}

fn of_forward(forward: &Forward, lines: &mut Vec<String>) {
    lines.extend(forward.timeout.map(|timeout| format!("times out after {}", time(timeout))));
    if forward.repeatable {
        lines.push("may send a POST again when the connection failed".into());
    }
    if !forward.upgrades.is_empty() {
        lines.push(format!("lets callers upgrade to {}", forward.upgrades.join(", ")));
    }
}

fn retry(policy: &RetryPolicy) -> String {
    let on: Vec<&str> = policy.on.iter().map(|condition| condition.as_str()).collect();
    let mut parts = vec![match policy.retries {
        0 => "never tries again".to_owned(),
        retries => format!("tries again up to {retries} times on {}", on.join(", ")),
    }];
    if !policy.status_codes.is_empty() {
        let codes: Vec<String> = policy.status_codes.iter().map(u16::to_string).collect();
        parts.push(format!("statuses {}", codes.join(", ")));
    }
    parts.extend(policy.headers.iter().map(|header| format!("answer's {}", condition(header))));
    parts.extend(policy.per_try_timeout.map(|timeout| format!("{} a try", time(timeout))));
    parts
        .extend(policy.per_try_idle_timeout.map(|timeout| format!("a try idle for {} fails", time(timeout))));
    if policy.retries > 0 {
        parts.push(format!("pauses from {} to {}", time(policy.back_off.base), time(policy.back_off.max)));
        parts.extend((!policy.elsewhere).then(|| "endpoints that were tried too".to_owned()));
    }
    parts.join("; ")
}

fn mirror(mirror: &Mirror) -> String {
    let Mirror { target, fraction } = mirror;
    format!("copies {} to {}", share(*fraction), target.http_cluster)
}

fn faults(fault: &Fault) -> Vec<String> {
    let delay = fault.delay.map(|one| format!("delays {} by {}", share(one.fraction), time(one.fixed)));
    let abort = fault.abort.map(|one| match one.status {
        AbortStatus::Http(status) => format!("aborts {} with {status}", share(one.fraction)),
        AbortStatus::Grpc(status) => {
            format!("aborts {} with gRPC status {}", share(one.fraction), status as u8)
        }
    });
    delay.into_iter().chain(abort).collect()
}

fn cors(cors: &Cors) -> String {
    let origins: Vec<String> = cors.origins.iter().map(value).collect();
    let mut parts = vec![format!("CORS for origins {}", origins.join(", "))];
    for (name, list) in [("methods", &cors.methods), ("headers", &cors.headers), ("exposes", &cors.expose)] {
        parts.extend(list.as_ref().map(|list| format!("{name} {list}")));
    }
    parts.extend(cors.max_age.map(|age| format!("for {}", time(age))));
    parts.extend(cors.credentials.then(|| "with credentials".to_owned()));
    if cors.unmatched_preflights == UnmatchedPreflights::Answer {
        parts.push("other preflights are answered here".into());
    }
    parts.join("; ")
}

fn edits(of: &str, edits: &HeaderEdits, lines: &mut Vec<String>) {
    lines.extend(edits.remove.iter().map(|name| format!("takes {} off the {of}", name.0)));
    lines.extend(edits.set.iter().map(|one| format!("sets {} of the {of} to {:?}", one.name.0, &*one.value)));
    lines.extend(edits.add.iter().map(|one| format!("adds {}: {:?} to the {of}", one.name.0, &*one.value)));
}

fn rewrites(rewrite: &Rewrite) -> Vec<String> {
    let host = rewrite.host.as_ref().map(|host| format!("rewrites the host to {host}"));
    rewrite.path.iter().map(|one| format!("rewrites the request {}", path(one))).chain(host).collect()
}

fn path(rewrite: &PathRewrite) -> String {
    match rewrite {
        PathRewrite::Prefix(with) => format!("with {with} in place of the matched path"),
        PathRewrite::Segments(with) => format!("with {with} in place of the matched segments"),
        PathRewrite::Full(with) => format!("with path {with}"),
        PathRewrite::Regex(substitution) => {
            format!("with {:?} in place of {}", substitution.with(), substitution.pattern())
        }
    }
}

fn key(key: &HashKey) -> String {
    match key {
        HashKey::Header(name) => format!("header {}", name.0),
        HashKey::Cookie(cookie) if cookie.set.is_some() => format!("cookie {} (set if absent)", cookie.name),
        HashKey::Cookie(cookie) => format!("cookie {}", cookie.name),
        HashKey::Query(name) => format!("query parameter {name}"),
        HashKey::SourceAddress => "the caller's address".into(),
    }
}

fn condition(header: &HeaderMatch) -> String {
    let name = match &header.name {
        HeaderName::Method => "method",
        HeaderName::Authority => "authority",
        HeaderName::Scheme => "scheme",
        HeaderName::Header(name) => name.0.as_str(),
    };
    format!("{name} {}", value(&header.value))
}

fn value(value: &StringMatch) -> String {
    match value {
        StringMatch::Exact(exact) => exact.to_string(),
        StringMatch::Prefix(prefix) => format!("{prefix}..."),
        StringMatch::Regex(pattern) => format!("/{}/", pattern.as_str()),
        StringMatch::Present => "of any value".into(),
    }
}

/// `all requests`, or `0.5 % of the requests`.
fn share(fraction: Fraction) -> String {
    let Fraction { numerator, denominator } = fraction;
    match numerator >= denominator {
        true => "all requests".into(),
        false => {
            let percent = f64::from(numerator) * 100.0 / f64::from(denominator);
            format!("{percent} % of the requests")
        }
    }
}

/// As it would be written: `250ms`, `1.5s`.
fn time(time: Duration) -> String {
    format!("{time:?}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::route::OrdName;
    use crate::snapshot::{
        Abort, BackOff, Cookie, Delay, HeaderEdit, RetryCondition, RoutePolicy, Sticky, Substitution,
        Timeouts,
    };

    fn name(text: &'static str) -> OrdName {
        OrdName(http::HeaderName::from_static(text))
    }

    fn edits() -> HeaderEdits {
        HeaderEdits {
            remove: vec![name("a")],
            set: vec![HeaderEdit { name: name("b"), value: "c d".into() }],
            add: vec![HeaderEdit { name: name("e"), value: "f".into() }],
        }
    }

    fn half() -> Fraction {
        Fraction::of_percent(0.5)
    }

    #[test]
    fn every_policy_of_a_route_is_told_in_a_line() {
        let on = [RetryCondition::ServerError, RetryCondition::Unavailable].into_iter().collect();
        let substitution = Substitution::new("/v([0-9])", r"/\1").expect("compiles");
        let policy = RoutePolicy {
            timeouts: Timeouts { idle: Some(Duration::ZERO), grpc_max: Some(Duration::from_secs(9)) },
            retry: Some(RetryPolicy {
                on,
                status_codes: vec![429],
                headers: vec![HeaderMatch {
                    name: HeaderName::Header(name("x")),
                    value: StringMatch::Prefix("y".into()),
                }],
                retries: 3,
                per_try_timeout: Some(Duration::from_millis(1500)),
                per_try_idle_timeout: Some(Duration::from_secs(1)),
                back_off: BackOff::default(),
                elsewhere: false,
            }),
            mirrors: vec![Mirror {
                target: VersionTarget { http_cluster: "out.x|http|version=v2".into(), ..Default::default() },
                fraction: half(),
            }],
            fault: Some(Fault {
                delay: Some(Delay { fixed: Duration::from_millis(250), fraction: Fraction::ALWAYS }),
                abort: Some(Abort { status: AbortStatus::Http(503), fraction: half() }),
            }),
            cors: Some(Cors {
                origins: vec![StringMatch::Exact("https://a".into()), StringMatch::Present],
                methods: Some("GET,POST".into()),
                headers: None,
                expose: Some("x-a".into()),
                max_age: Some(Duration::from_secs(60)),
                credentials: true,
                unmatched_preflights: UnmatchedPreflights::Answer,
            }),
            request_headers: edits(),
            response_headers: edits(),
            rewrite: Some(Rewrite { path: Some(PathRewrite::Regex(substitution)), host: Some("h".into()) }),
            sticky: Some(Sticky {
                keys: vec![
                    HashKey::Header(name("x-user")),
                    HashKey::Cookie(Cookie {
                        name: "id".into(),
                        set: Some(Duration::ZERO),
                        path: None,
                        attributes: None,
                    }),
                    HashKey::SourceAddress,
                ],
                salt: "canary".into(),
            }),
            version_header: Some(name("x-version")),
            cluster_not_found: Some(500),
        };
        let forward = Forward {
            timeout: Some(Duration::from_secs(3)),
            repeatable: true,
            upgrades: vec!["websocket".into()],
            ..Forward::default()
        };
        let route = Route {
            name: "r".into(),
            origin: "r.yaml:1".into(),
            matches: crate::snapshot::RouteMatch::any(),
            action: crate::snapshot::Action::Forward(forward),
            policy: Some(std::sync::Arc::new(policy)),
        };
        assert_eq!(
            of_route(&route),
            [
                "times out after 3s",
                "may send a POST again when the connection failed",
                "lets callers upgrade to websocket",
                "never ends a stream for being idle",
                "grpc-timeout counts up to 9s",
                "tries again up to 3 times on 5xx, unavailable; statuses 429; answer's x y...; 1.5s a try; \
                 a try idle for 1s fails; pauses from 25ms to 250ms; endpoints that were tried too",
                "copies 0.5 % of the requests to out.x|http|version=v2",
                "delays all requests by 250ms",
                "aborts 0.5 % of the requests with 503",
                "CORS for origins https://a, of any value; methods GET,POST; exposes x-a; for 60s; \
                 with credentials; other preflights are answered here",
                "takes a off the request",
                "sets b of the request to \"c d\"",
                "adds e: \"f\" to the request",
                "takes a off the answer",
                "sets b of the answer to \"c d\"",
                "adds e: \"f\" to the answer",
                "rewrites the request with \"/\\\\1\" in place of /v([0-9])",
                "rewrites the host to h",
                "sticks to a version by header x-user, else cookie id (set if absent), else the caller's \
                 address, salt \"canary\"",
                "tells the version in x-version",
                "answers 500 where a cluster is missing",
            ]
        );
    }

    #[test]
    fn an_answer_of_the_rules_own_is_told_by_its_parts() {
        let parts = Redirect {
            scheme: Some("https".into()),
            host: Some("a.example".into()),
            port: RedirectPort::Number(8443),
            path: Some(PathRewrite::Full("/new".into())),
            strip_query: true,
            status: 308,
        };
        assert_eq!(
            redirect(&parts),
            "308, location with scheme https with host a.example with port 8443 with path /new without the query"
        );
        let response = |body: Option<&str>| DirectResponse {
            status: 503,
            body: body.map(Into::into),
            content_type: None,
        };
        assert_eq!(direct(&response(Some("abc"))), "503 with 3 bytes");
        assert_eq!(direct(&response(None)), "503 without a body");
    }
}
