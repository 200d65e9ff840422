//! Whether a request head satisfies the conditions of a route, and which one fails first.
//!
//! Law: the search and the explanation ask this one function, so that they cannot disagree. An absent header never
//! matches; several values of one name are one value, joined by commas (RFC 9110 section 5.3), cookies by `; `. Envoy looks at each by itself:
//! `docs/routing.md` tells of the difference.

use std::borrow::Cow;
use std::fmt;

use super::Head;
use crate::message::{grpc, query, values};
use crate::snapshot::{
    Fraction, HeaderMatch, HeaderName, MoreMatch, PathMatch, QueryMatch, RouteMatch, SourceMatch, StringMatch,
};
use crate::words::Protocol;

/// The first condition that fails; prints as a reason in plain words.
#[derive(Debug)]
pub(super) enum Miss<'a> {
    Path(&'a PathMatch, &'a str),
    HeaderAbsent(&'a HeaderName),
    Header(&'a HeaderMatch, Cow<'a, [u8]>),
    CallerUnknown(&'a SourceMatch),
    CallerService(&'a str, &'a str),
    CallerNamespace(&'a str, &'a str),
    CallerLabel(&'a str, &'a str, Option<&'a str>),
    Without(&'a HeaderMatch, Cow<'a, [u8]>),
    QueryAbsent(&'a QueryMatch),
    Query(&'a QueryMatch, Cow<'a, [u8]>),
    Port(u16, Option<u16>),
    Protocol(Protocol),
    Fraction(Fraction, u64),
}

/// The first of `matches`'s conditions that `head` does not satisfy; `None`: all hold. The cheap ones come first.
pub(super) fn first_miss<'a>(matches: &'a RouteMatch, head: &Head<'a>, draw: u64) -> Option<Miss<'a>> {
    path_miss(&matches.path, head.path)
        .or_else(|| matches.headers.iter().find_map(|header| header_miss(header, head)))
        .or_else(|| source_miss(matches.source.as_ref()?, head))
        .or_else(|| more_miss(matches.more.as_deref()?, head))
        .or_else(|| fraction_miss(matches.runtime_fraction?, draw))
}

/// The value of a header or pseudo header. Allocates only for a name that has several values.
pub(super) fn value_of<'a>(name: &HeaderName, head: &Head<'a>) -> Option<Cow<'a, [u8]>> {
    let name = match name {
        HeaderName::Method => return Some(Cow::Borrowed(head.method.as_str().as_bytes())),
        HeaderName::Authority => return Some(Cow::Borrowed(head.authority.as_bytes())),
        HeaderName::Scheme => return Some(Cow::Borrowed(head.scheme.as_bytes())),
        HeaderName::Header(name) => &name.0,
    };
    values::joined(head.headers, name)
}

fn path_miss<'a>(condition: &'a PathMatch, path: &'a str) -> Option<Miss<'a>> {
    let holds = match condition {
        PathMatch::Exact(exact) => path == &**exact,
        PathMatch::Prefix(prefix) => path.starts_with(&**prefix),
        PathMatch::Regex(pattern) => pattern.is_match(path.as_bytes()),
        PathMatch::Segments(segments) => {
            path.strip_prefix(&**segments).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        }
        PathMatch::PrefixIgnoreCase(prefix) => {
            path.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
        }
        PathMatch::ExactIgnoreCase(exact) => path.eq_ignore_ascii_case(exact),
    };
    (!holds).then_some(Miss::Path(condition, path))
}

fn header_miss<'a>(condition: &'a HeaderMatch, head: &Head<'a>) -> Option<Miss<'a>> {
    let Some(value) = value_of(&condition.name, head) else {
        return Some(Miss::HeaderAbsent(&condition.name));
    };
    (!condition.value.holds(&value)).then_some(Miss::Header(condition, value))
}

fn more_miss<'a>(condition: &'a MoreMatch, head: &Head<'a>) -> Option<Miss<'a>> {
    let port = head.local.map(|local| local.port());
    if let Some(wanted) = condition.port.filter(|&wanted| port != Some(wanted)) {
        return Some(Miss::Port(wanted, port));
    }
    // Looked at here alone, so that a route which does not ask pays nothing.
    let differs = |wanted: &Protocol| grpc::classify(head.method, head.headers) != *wanted;
    if let Some(wanted) = condition.protocol.filter(differs) {
        return Some(Miss::Protocol(wanted));
    }
    let without = |condition: &'a HeaderMatch| {
        let value = value_of(&condition.name, head)?;
        condition.value.holds(&value).then_some(Miss::Without(condition, value))
    };
    let query = |condition: &'a QueryMatch| match head
        .query
        .and_then(|query| query::parameter(query, &condition.name))
    {
        None => Some(Miss::QueryAbsent(condition)),
        Some(value) => (!condition.value.holds(&value)).then_some(Miss::Query(condition, value)),
    };
    condition.without.iter().find_map(without).or_else(|| condition.query.iter().find_map(query))
}

fn source_miss<'a>(condition: &'a SourceMatch, head: &Head<'a>) -> Option<Miss<'a>> {
    let Some(caller) = head.caller else {
        return Some(Miss::CallerUnknown(condition));
    };
    if let Some(service) = condition.service.as_ref().filter(|service| caller.service != **service) {
        return Some(Miss::CallerService(service, &caller.service));
    }
    if let Some(namespace) = condition.namespace.as_ref().filter(|wanted| caller.namespace != **wanted) {
        return Some(Miss::CallerNamespace(namespace, &caller.namespace));
    }
    let missing = |(key, value): (&'a std::sync::Arc<str>, &'a std::sync::Arc<str>)| {
        let has = caller.labels.get(key);
        (has != Some(value)).then(|| Miss::CallerLabel(key, value, has.map(|value| &**value)))
    };
    condition.labels.iter().find_map(missing)
}

fn fraction_miss<'a>(fraction: Fraction, draw: u64) -> Option<Miss<'a>> {
    (!fraction.holds(draw)).then_some(Miss::Fraction(fraction, draw))
}

impl fmt::Display for Miss<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Miss::Path(condition, path) => write!(f, "path {path} {}", NotThat(condition)),
            Miss::HeaderAbsent(name) => write!(f, "{} is absent", Named(name)),
            Miss::Header(condition, value) => told(f, &Named(&condition.name), value, &condition.value),
            Miss::Without(condition, value) => {
                let (name, value) = (Named(&condition.name), String::from_utf8_lossy(value));
                write!(f, "{name} is {value:?}, which the rule excludes")
            }
            Miss::QueryAbsent(condition) => write!(f, "query parameter {} is absent", condition.name),
            Miss::Query(condition, value) => {
                told(f, &format_args!("query parameter {}", condition.name), value, &condition.value)
            }
            Miss::Port(wanted, Some(port)) => write!(f, "the request came in by port {port}, not {wanted}"),
            Miss::Port(wanted, None) => write!(f, "the request came in by no port (wanted: {wanted})"),
            Miss::Protocol(Protocol::Grpc) => f.write_str("the request is not gRPC"),
            Miss::Protocol(Protocol::Http) => f.write_str("the request is gRPC"),
            Miss::CallerUnknown(source) => {
                f.write_str("the caller is unknown")?;
                match (&source.service, &source.namespace) {
                    (Some(service), _) => write!(f, ", not {service}"),
                    (None, Some(namespace)) => write!(f, ", not of namespace {namespace}"),
                    (None, None) => Ok(()),
                }
            }
            Miss::CallerService(wanted, service) => write!(f, "the caller is {service}, not {wanted}"),
            Miss::CallerNamespace(wanted, namespace) => {
                write!(f, "the caller is of namespace {namespace}, not {wanted}")
            }
            Miss::CallerLabel(key, wanted, None) => {
                write!(f, "the caller has no label {key} (wanted: {wanted})")
            }
            Miss::CallerLabel(key, wanted, Some(has)) => {
                write!(f, "the caller's label {key} is {has}, not {wanted}")
            }
            Miss::Fraction(Fraction { numerator, denominator }, draw) => {
                write!(f, "draw {draw} is not among {numerator} of {denominator}")
            }
        }
    }
}

/// A condition on the path, as a path that does not satisfy it is told of.
struct NotThat<'a>(&'a PathMatch);

impl fmt::Display for NotThat<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            PathMatch::Exact(exact) => write!(f, "is not {exact}"),
            PathMatch::ExactIgnoreCase(exact) => write!(f, "is not {exact}, whatever the case"),
            PathMatch::Prefix(prefix) => write!(f, "does not start with {prefix}"),
            PathMatch::PrefixIgnoreCase(prefix) => {
                write!(f, "does not start with {prefix}, whatever the case")
            }
            PathMatch::Segments(segments) => write!(f, "is neither {segments} nor below it"),
            PathMatch::Regex(pattern) => write!(f, "does not match {} as a whole", pattern.as_str()),
        }
    }
}

/// `name`'s `value` and the condition that does not hold for it.
fn told(
    f: &mut fmt::Formatter<'_>,
    name: &dyn fmt::Display,
    value: &[u8],
    condition: &StringMatch,
) -> fmt::Result {
    let value = String::from_utf8_lossy(value);
    match condition {
        StringMatch::Exact(exact) => write!(f, "{name} is {value:?}, not {exact:?}"),
        StringMatch::Prefix(prefix) => {
            write!(f, "{name} is {value:?}, which does not start with {prefix:?}")
        }
        StringMatch::Regex(pattern) => {
            write!(f, "{name} is {value:?}, which does not match {} as a whole", pattern.as_str())
        }
        StringMatch::Present => write!(f, "{name} is {value:?}"), // never missed
    }
}

/// A header's name, as it is called in a reason.
pub(super) struct Named<'a>(pub(super) &'a HeaderName);

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            HeaderName::Method => f.write_str("the method"),
            HeaderName::Authority => f.write_str("the authority"),
            HeaderName::Scheme => f.write_str("the scheme"),
            HeaderName::Header(name) => write!(f, "header {}", name.0),
        }
    }
}
