//! The specification, without a thought for speed.

use super::*;

pub(super) fn find<'c>(config: &'c RouteConfig, head: &Head<'_>, draw: u64) -> Option<&'c Arc<Route>> {
    let rank = |domain: &Domain| match domain {
        Domain::Exact(name) => (**name == *head.host).then_some((3, 0)),
        Domain::Suffix(end) => {
            (head.host.len() > end.len() && head.host.ends_with(&**end)).then_some((2, end.len()))
        }
        Domain::Prefix(start) => {
            (head.host.len() > start.len() && head.host.starts_with(&**start)).then_some((1, start.len()))
        }
        Domain::Any => Some((0, 0)),
    };
    let ranked = config
        .virtual_hosts
        .iter()
        .filter_map(|host| Some((host.domains.iter().filter_map(rank).max()?, host)));
    let (_, host) = ranked.max_by_key(|(rank, _)| *rank)?;
    let before =
        host.after.as_ref().map(|name| config.virtual_hosts.iter().find(|one| one.name == *name).unwrap());
    let mut routes = before.into_iter().flat_map(|host| &host.routes).chain(&host.routes);
    routes.find(|route| holds(&route.matches, head, draw))
}

fn holds(matches: &RouteMatch, head: &Head<'_>, draw: u64) -> bool {
    let path = match &matches.path {
        PathMatch::Prefix(prefix) => head.path.find(&**prefix) == Some(0),
        PathMatch::Exact(exact) => *head.path == **exact,
        PathMatch::Regex(pattern) => pattern.is_match(head.path.as_bytes()),
        PathMatch::Segments(segments) => {
            let wanted: Vec<&str> = segments.split('/').collect();
            let path: Vec<&str> = head.path.split('/').collect();
            path.starts_with(&wanted)
        }
        PathMatch::PrefixIgnoreCase(prefix) => head.path.to_lowercase().starts_with(&**prefix),
        PathMatch::ExactIgnoreCase(exact) => head.path.to_lowercase() == **exact,
    };
    let source = matches.source.as_ref().is_none_or(|source| {
        head.caller.is_some_and(|caller| {
            source.service.as_ref().is_none_or(|service| *service == caller.service)
                && source.namespace.as_ref().is_none_or(|namespace| *namespace == caller.namespace)
                && source.labels.iter().all(|pair| caller.labels.iter().any(|has| has == pair))
        })
    });
    let fraction =
        matches.runtime_fraction.is_none_or(|f| draw % u64::from(f.denominator) < u64::from(f.numerator));
    let more = matches.more.as_ref().is_none_or(|more| {
        more.without.iter().all(|header| !header_holds(header, head))
            && more.query.iter().all(|query| query_holds(query, head))
            && more.port.is_none_or(|port| head.local.is_some_and(|local| local.port() == port))
            && more.protocol.is_none_or(|protocol| {
                let value = head.headers.get("content-type").map(|value| value.as_bytes());
                let grpc = *head.method == Method::POST && value == Some(b"application/grpc");
                grpc == (protocol == Protocol::Grpc)
            })
    });
    let headers = matches.headers.iter().all(|header| header_holds(header, head));
    path && source && fraction && more && headers
}

fn query_holds(query: &QueryMatch, head: &Head<'_>) -> bool {
    let pairs = head.query.into_iter().flat_map(|query| query.split('&'));
    let mut pairs = pairs.filter_map(|pair| pair.split_once('='));
    pairs.find(|(name, _)| *name == &*query.name).is_some_and(|(_, value)| string_holds(&query.value, value))
}

fn header_holds(header: &HeaderMatch, head: &Head<'_>) -> bool {
    let values: Vec<String> = match &header.name {
        HeaderName::Method => vec![head.method.to_string()],
        HeaderName::Authority => vec![head.authority.to_owned()],
        HeaderName::Scheme => vec![head.scheme.to_owned()],
        HeaderName::Header(name) => {
            head.headers.get_all(&name.0).iter().map(|value| value.to_str().unwrap().to_owned()).collect()
        }
    };
    let value = values.join(",");
    !values.is_empty() && string_holds(&header.value, &value)
}

fn string_holds(condition: &StringMatch, value: &str) -> bool {
    match condition {
        StringMatch::Exact(exact) => *value == **exact,
        StringMatch::Prefix(prefix) => value.starts_with(&**prefix),
        StringMatch::Regex(pattern) => pattern.is_match(value.as_bytes()),
        StringMatch::Present => true,
    }
}
