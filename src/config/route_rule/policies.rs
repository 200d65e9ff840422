//! What a RouteRule says of its requests beside their match and their versions.
//!
//! Law: the checks of Istio 0.7.1's validator, and the defaults of its translator to Envoy. Values can be sent: names are
//! names of fields, paths start with a slash.

use std::sync::Arc;
use std::time::Duration;

use super::service_ref::service_ref;
use super::{CUSTOM, faults};
use crate::config::decode::Field;
use crate::config::draft::{MirrorDraft, PolicyDraft, Select, ShareDraft};
use crate::config::networking::{editable, header_value, is_authority, origin, split_port};
use crate::config::paths;
use crate::config::table::{Keys, Table, filled, maybe};
use crate::snapshot::edit::HeaderEdit;
use crate::snapshot::policy::{Cors, UnmatchedPreflights};
use crate::snapshot::retry::{RetryCondition, RetryPolicy};
use crate::snapshot::route::OrdName;
use crate::snapshot::{Fraction, HeaderEdits, PathRewrite, Redirect, RedirectPort, Rewrite, RoutePolicy};

/// Envoy's header for a time limit, which is honoured without being named.
const TIMEOUT_HEADER: &str = "x-envoy-upstream-rq-timeout-ms";
/// The same for retries.
const RETRIES_HEADER: &str = "x-envoy-max-retries";

/// Everything of the rule that is a policy; `Some(None)` when there is nothing.
#[allow(clippy::option_option)] // the outer one is the fault
pub(super) fn policies(table: &Table<'_>) -> Option<Option<Arc<PolicyDraft>>> {
    let retry = maybe(table, "httpReqRetries", retries);
    let fault = maybe(table, "httpFault", faults::fault);
    let mirror = maybe(table, "mirror", mirror);
    let cors = maybe(table, "corsPolicy", cors);
    let append = maybe(table, "appendHeaders", append);
    let rewrite = maybe(table, "rewrite", rewrite);
    let policy = RoutePolicy {
        retry: retry?.flatten(),
        fault: fault?.flatten(),
        cors: cors?,
        request_headers: append?.unwrap_or_default(),
        rewrite: rewrite?,
        ..RoutePolicy::default()
    };
    let draft = PolicyDraft { policy, mirrors: mirror?.into_iter().collect() };
    Some((draft != PolicyDraft::default()).then(|| Arc::new(draft)))
}

/// `httpReqTimeout:`; `Some(None)`: it says nothing.
#[allow(clippy::option_option)]
pub(super) fn timeout(field: &Field<'_>) -> Option<Option<Duration>> {
    const KEYS: Keys = Keys { known: &["simpleTimeout"], later: &[], never: &[CUSTOM], proto: true };
    let table = Table::new(field, &KEYS)?;
    maybe(&table, "simpleTimeout", |field| {
        let table = Table::new(field, &Keys { proto: true, ..Keys::of(&["timeout", "overrideHeaderName"]) })?;
        let header = override_header(&table, TIMEOUT_HEADER);
        let timeout = table.require("timeout").and_then(|field| field.whole_ms());
        header.and(timeout)
    })
}

/// `httpReqRetries:`; no attempts are none.
#[allow(clippy::option_option)]
fn retries(field: &Field<'_>) -> Option<Option<RetryPolicy>> {
    const KEYS: Keys = Keys { known: &["simpleRetry"], later: &[], never: &[CUSTOM], proto: true };
    const SIMPLE: Keys =
        Keys { proto: true, ..Keys::of(&["attempts", "perTryTimeout", "overrideHeaderName"]) };
    let table = Table::new(field, &KEYS)?;
    let Some(simple) = table.get("simpleRetry") else { return Some(None) };
    let table = Table::new(&simple, &SIMPLE)?;
    let header = override_header(&table, RETRIES_HEADER);
    let attempts =
        table.get("attempts").map_or(Some(0), |field| field.integer_as("retries", 0..=i32::MAX.into()));
    let per_try = table.require("perTryTimeout").and_then(|field| field.whole_ms());
    let (attempts, per_try) = (header.and(attempts)?, per_try?);
    use RetryCondition::{ConnectFailure, RefusedStream, ServerError};
    Some((attempts > 0).then(|| RetryPolicy {
        on: [ServerError, ConnectFailure, RefusedStream].into_iter().collect(),
        retries: attempts as u32,
        per_try_timeout: Some(per_try),
        ..RetryPolicy::default()
    }))
}

/// Istio passed the name on to nobody; Envoy's own header counts in any case, so that its name may stand here.
fn override_header(table: &Table<'_>, own: &str) -> Option<()> {
    let Some((field, text)) = filled(table, "overrideHeaderName") else { return Some(()) };
    if text.eq_ignore_ascii_case(own) {
        return Some(());
    }
    field.fault_with("not-supported", format!("`{text}` is not read: Istio never did either"), own);
    None
}

/// `mirror:`, of every request.
fn mirror(field: &Field<'_>) -> Option<MirrorDraft> {
    let service = service_ref(field)?;
    let share = ShareDraft {
        place: service.place,
        destination: Some(service.host),
        select: Select::Labels(service.labels),
        port: None,
        weight: 100,
        policy: None,
    };
    Some(MirrorDraft { share, fraction: Fraction::ALWAYS })
}

/// `corsPolicy:`
fn cors(field: &Field<'_>) -> Option<Cors> {
    const KEYS: Keys = Keys {
        proto: true,
        ..Keys::of(&[
            "allowOrigin",
            "allowMethods",
            "allowHeaders",
            "exposeHeaders",
            "maxAge",
            "allowCredentials",
        ])
    };
    let table = Table::new(field, &KEYS)?;
    let origins = maybe(&table, "allowOrigin", |field| {
        let all: Vec<_> = field.items()?.iter().map(|one| one.filled().map(origin)).collect();
        all.into_iter().collect::<Option<Vec<_>>>()
    });
    let methods = joined(&table, "allowMethods", |field, text| {
        const METHODS: [&str; 9] =
            ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "CONNECT", "OPTIONS", "TRACE"];
        if !METHODS.contains(&text) {
            field.fault_with("cors", format!("`{text}` is no method"), METHODS.join(", "));
            return None;
        }
        Some(())
    });
    let headers = joined(&table, "allowHeaders", |field, text| header_name(field, text).map(drop));
    let expose = joined(&table, "exposeHeaders", |field, text| header_name(field, text).map(drop));
    let max_age = maybe(&table, "maxAge", Field::whole_seconds);
    let credentials = maybe(&table, "allowCredentials", |field| field.boolean());
    let origins = origins?.unwrap_or_default();
    if origins.is_empty() {
        field.warn_with("never-acts", "no origin is let in", "`allowOrigin`");
    }
    Some(Cors {
        origins,
        methods: methods?,
        headers: headers?,
        expose: expose?,
        max_age: max_age?,
        credentials: credentials?.unwrap_or(false),
        unmatched_preflights: UnmatchedPreflights::Forward,
    })
}

/// A list as it is sent; nothing for an empty one.
#[allow(clippy::option_option)]
fn joined(
    table: &Table<'_>,
    key: &'static str,
    check: fn(&Field<'_>, &str) -> Option<()>,
) -> Option<Option<Arc<str>>> {
    let all = maybe(table, key, |field| {
        let text = |field: &Field<'_>| {
            let text = field.text()?;
            check(field, text).map(|()| text.to_owned())
        };
        let all: Vec<_> = field.items()?.iter().map(text).collect();
        all.into_iter().collect::<Option<Vec<_>>>()
    })?;
    Some(all.filter(|all| !all.is_empty()).map(|all| all.join(",").into()))
}

/// Lower case, as Istio asked.
fn header_name(field: &Field<'_>, name: &str) -> Option<OrdName> {
    let lower = name.to_ascii_lowercase() == name;
    let read = http::HeaderName::from_bytes(name.as_bytes()).ok().filter(|_| lower);
    if read.is_none() {
        let reason = format!("`{name}` is no header name in lower case");
        field.fault_with("header-name", reason, "lower-case letters, digits and hyphens");
    }
    read.map(OrdName)
}

/// `appendHeaders:`, sorted by name: in Istio their order was any.
fn append(field: &Field<'_>) -> Option<HeaderEdits> {
    let mut whole = true;
    let mut add = Vec::new();
    for (name, field) in field.pairs()? {
        let own = match name {
            "host" => {
                field.fault_with("header-name", "the host is no field to append to", "`rewrite.authority`");
                None
            }
            _ => header_name(&field, name).filter(|name| editable(&field, name).is_some()),
        };
        match (own, header_value(&field)) {
            (Some(name), Some(value)) => add.push(HeaderEdit { name, value }),
            _ => whole = false,
        }
    }
    add.sort_by(|a: &HeaderEdit, b| a.name.cmp(&b.name));
    whole.then(|| HeaderEdits { add, ..HeaderEdits::default() })
}

/// `rewrite:`
fn rewrite(field: &Field<'_>) -> Option<Rewrite> {
    let (path, host) = uri_and_authority(field, "rewrite")?;
    let path = path.map(|text| PathRewrite::Prefix(text.into()));
    Some(Rewrite { path, host: host.map(Into::into) })
}

/// `redirect:`: 301, as Istio's Envoy had it, whatever the documents said.
pub(super) fn redirect(field: &Field<'_>) -> Option<Redirect> {
    let (path, authority) = uri_and_authority(field, "redirect")?;
    let (host, port) = authority.map(split_port).unzip();
    Some(Redirect {
        scheme: None,
        host: host.map(Into::into),
        port: port.flatten().map_or(RedirectPort::Request, RedirectPort::Number),
        // A query of its own stands for the request's.
        strip_query: path.is_some_and(|path| path.contains('?')),
        path: path.map(|path| PathRewrite::Full(path.into())),
        status: 301,
    })
}

/// A path and a host.
type UriAndAuthority<'n> = (Option<&'n str>, Option<&'n str>);

/// `uri:` and `authority:`, one of which must be there.
fn uri_and_authority<'n>(field: &Field<'n>, code: &'static str) -> Option<UriAndAuthority<'n>> {
    let table = Table::new(field, &Keys { proto: true, ..Keys::of(&["uri", "authority"]) })?;
    let (uri, authority) = (filled(&table, "uri"), filled(&table, "authority"));
    let mut good = true;
    if uri.is_none() && authority.is_none() {
        field.fault_with(code, "it says nothing", "uri, authority or both");
        good = false;
    }
    if let Some((field, text)) = &uri {
        good &= paths::check_replacement(field, code, text, code == "redirect").is_some();
    }
    if let Some((field, text)) = authority.as_ref().filter(|(_, text)| !is_authority(text)) {
        field.fault_with(code, format!("`{text}` is no host"), "such as models.example.com:8500");
        good = false;
    }
    good.then(|| (uri.map(|(_, text)| text), authority.map(|(_, text)| text)))
}
