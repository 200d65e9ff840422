//! Whether a request head satisfies the conditions of a route, and which one fails first.
//!
//! Law: the search and the explanation ask this one function, so that they cannot disagree. An absent header never
//! matches; several values of one name are one value, joined by commas (RFC 9110 section 5.3, as Envoy joins them).

use std::borrow::Cow;
use std::fmt;

use super::Head;
use crate::snapshot::{Fraction, HeaderMatch, HeaderName, PathMatch, RouteMatch, SourceMatch, StringMatch};

/// The first condition that fails; prints as a reason in plain words.
#[derive(Debug)]
pub(super) enum Miss<'a> {
    Path(&'a PathMatch, &'a str),
    HeaderAbsent(&'a HeaderName),
    Header(&'a HeaderMatch, Cow<'a, [u8]>),
    CallerUnknown(&'a SourceMatch),
    CallerService(&'a SourceMatch, &'a str),
    CallerLabel(&'a str, &'a str, Option<&'a str>),
    Fraction(Fraction, u64),
}

/// The first of `matches`'s conditions that `head` does not satisfy; `None`: all hold. The cheap ones come first.
pub(super) fn first_miss<'a>(matches: &'a RouteMatch, head: &Head<'a>, draw: u64) -> Option<Miss<'a>> {
    path_miss(&matches.path, head.path)
        .or_else(|| matches.headers.iter().find_map(|header| header_miss(header, head)))
        .or_else(|| source_miss(matches.source.as_ref()?, head))
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
    let mut values = head.headers.get_all(name).iter().map(|value| value.as_bytes());
    let first = values.next()?;
    let mut joined = Cow::Borrowed(first);
    for value in values {
        let joined = joined.to_mut();
        joined.push(b',');
        joined.extend_from_slice(value);
    }
    Some(joined)
}

fn path_miss<'a>(condition: &'a PathMatch, path: &'a str) -> Option<Miss<'a>> {
    let holds = match condition {
        PathMatch::Exact(exact) => path == &**exact,
        PathMatch::Prefix(prefix) => path.starts_with(&**prefix),
        PathMatch::Regex(pattern) => pattern.is_match(path.as_bytes()),
    };
    (!holds).then_some(Miss::Path(condition, path))
}

fn header_miss<'a>(condition: &'a HeaderMatch, head: &Head<'a>) -> Option<Miss<'a>> {
    let Some(value) = value_of(&condition.name, head) else {
        return Some(Miss::HeaderAbsent(&condition.name));
    };
    let holds = match &condition.value {
        StringMatch::Exact(exact) => *value == *exact.as_bytes(),
        StringMatch::Prefix(prefix) => value.starts_with(prefix.as_bytes()),
        StringMatch::Regex(pattern) => pattern.is_match(&value),
    };
    (!holds).then_some(Miss::Header(condition, value))
}

fn source_miss<'a>(condition: &'a SourceMatch, head: &Head<'a>) -> Option<Miss<'a>> {
    let Some(caller) = head.caller else {
        return Some(Miss::CallerUnknown(condition));
    };
    if caller.service != condition.service {
        return Some(Miss::CallerService(condition, &caller.service));
    }
    let missing = |(key, value): (&'a std::sync::Arc<str>, &'a std::sync::Arc<str>)| {
        let has = caller.labels.get(key);
        (has != Some(value)).then(|| Miss::CallerLabel(key, value, has.map(|value| &**value)))
    };
    condition.labels.iter().find_map(missing)
}

fn fraction_miss<'a>(fraction: Fraction, draw: u64) -> Option<Miss<'a>> {
    let holds =
        draw.checked_rem(fraction.denominator.into()).is_some_and(|slot| slot < fraction.numerator.into());
    (!holds).then_some(Miss::Fraction(fraction, draw))
}

impl fmt::Display for Miss<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Miss::Path(PathMatch::Exact(exact), path) => write!(f, "path {path} is not {exact}"),
            Miss::Path(PathMatch::Prefix(prefix), path) => {
                write!(f, "path {path} does not start with {prefix}")
            }
            Miss::Path(PathMatch::Regex(pattern), path) => {
                write!(f, "path {path} does not match {} as a whole", pattern.as_str())
            }
            Miss::HeaderAbsent(name) => write!(f, "{} is absent", Named(name)),
            Miss::Header(condition, value) => {
                let (name, value) = (Named(&condition.name), String::from_utf8_lossy(value));
                match &condition.value {
                    StringMatch::Exact(exact) => write!(f, "{name} is {value:?}, not {exact:?}"),
                    StringMatch::Prefix(prefix) => {
                        write!(f, "{name} is {value:?}, which does not start with {prefix:?}")
                    }
                    StringMatch::Regex(pattern) => {
                        write!(f, "{name} is {value:?}, which does not match {} as a whole", pattern.as_str())
                    }
                }
            }
            Miss::CallerUnknown(source) => write!(f, "the caller is unknown, not {}", source.service),
            Miss::CallerService(source, service) => {
                write!(f, "the caller is {service}, not {}", source.service)
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

/// A header's name, as it is called in a reason.
struct Named<'a>(&'a HeaderName);

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
