//! `access_log:` of `weir.yaml`: where requests are logged, which, and how.
//!
//! Law: what an operator is, and which there are, is for whoever prints the lines to say ([`Environment`]); a fault of one
//! is told where its text stands.

use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Number, Value as Json};

use super::settings::is_off;
use crate::config::decode::Field;
use crate::config::input::Environment;
use crate::config::names::{list, nearest};
use crate::config::table::{Keys, Table};
use crate::config::tree::{ScalarKind, Value, scalar_kind};
use crate::config::values::MAX_DURATION;
use crate::snapshot::{AccessLog, LogFilter, LogFormat};
use crate::telemetry::credentials::is_usually_credentials;
use crate::words::Flag;

const KEYS: Keys = Keys::of(&["path", "format", "filter"]);
const OBJECT_KEYS: Keys = Keys::of(&["json", "omit_empty"]);
const FILTER_KEYS: Keys = Keys::of(&["status", "duration", "flags", "health_checks", "any"]);
const RANGE_KEYS: Keys = Keys::of(&["min", "max"]);

/// 0 is the status of a request whose caller got none.
const STATUS: RangeInclusive<i64> = 0..=999;

/// `access_log:`; left out or `off`: none.
pub(super) fn access_log(field: Option<&Field<'_>>, environment: &Environment) -> Option<AccessLog> {
    let field = field.filter(|field| !is_off(field))?;
    let table = Table::new(field, &KEYS)?;
    let path = table.get("path").and_then(|field| field.filled()).unwrap_or("/dev/stdout");
    // As the paths under `rules:` are: what a file means does not depend on where the process was started.
    let folder = Path::new(&*field.origin().file).parent().unwrap_or(Path::new("")).to_owned();
    let format = table.get("format").and_then(|field| format(&field, environment));
    let filter = table.get("filter").and_then(|field| filter(&field));
    Some(AccessLog { path: folder.join(path), format: format.unwrap_or(LogFormat::Envoy), filter })
}

fn format(field: &Field<'_>, environment: &Environment) -> Option<LogFormat> {
    if matches!(field.node.value, Value::Mapping(_)) {
        return object(field, environment);
    }
    match field.filled()? {
        "envoy" => Some(LogFormat::Envoy),
        "json" => Some(LogFormat::Json),
        custom if !custom.contains('%') => {
            let help = match nearest(custom, ["envoy", "json"]) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "envoy, json, an object under `json`, or operators such as %START_TIME%".into(),
            };
            field.fault_with("log-format", format!("`{custom}` has no operator"), help);
            None
        }
        custom => {
            let is_right = checked(field, custom, environment.check_log_format, environment);
            is_right.then(|| LogFormat::Custom(custom.into()))
        }
    }
}

/// `{json: {...}, omit_empty: true}`
fn object(field: &Field<'_>, environment: &Environment) -> Option<LogFormat> {
    let table = Table::new(field, &OBJECT_KEYS)?;
    let omit_empty = table.get("omit_empty").and_then(|field| field.boolean()).unwrap_or(false);
    let json = table.require("json")?;
    if !matches!(json.node.value, Value::Mapping(_)) {
        json.wrong_type("a mapping", Some("keys, and beside each what fills it: \"%DURATION%\"".into()));
        return None;
    }
    Some(LogFormat::Object { json: json_of(&json, environment)?, omit_empty })
}

/// As JSON, with sorted keys. `None` when a part of it cannot be; all are looked at.
fn json_of(field: &Field<'_>, environment: &Environment) -> Option<Json> {
    match &field.node.value {
        Value::Mapping(_) => {
            let mut pairs = field.pairs()?;
            pairs.sort_by_key(|(key, _)| *key);
            let all: Vec<_> = pairs
                .into_iter()
                .map(|(key, field)| Some((key.to_owned(), json_of(&field, environment)?)))
                .collect();
            Some(Json::Object(all.into_iter().collect::<Option<Map<_, _>>>()?))
        }
        Value::Sequence(_) => {
            let all: Vec<_> = field.items()?.iter().map(|field| json_of(field, environment)).collect();
            all.into_iter().collect::<Option<_>>().map(Json::Array)
        }
        Value::Scalar { text, plain } => match scalar_kind(text, *plain) {
            ScalarKind::Null => Some(Json::Null),
            ScalarKind::Bool(value) => Some(Json::Bool(value)),
            ScalarKind::Integer | ScalarKind::Float => number(field, text),
            ScalarKind::String => {
                let is_right = checked(field, text, environment.check_log_text, environment);
                is_right.then(|| Json::String(text.to_owned()))
            }
        },
    }
}

fn number(field: &Field<'_>, text: &str) -> Option<Json> {
    let whole = text.parse::<i64>().ok().map(Number::from);
    let number = whole.or_else(|| Number::from_f64(text.parse().ok()?));
    if number.is_none() {
        let help = format!("put it in quotes: \"{text}\"");
        field.fault_with("log-format", format!("{text} is no number of JSON"), help);
    }
    number.map(Json::Number)
}

fn checked(
    field: &Field<'_>,
    text: &str,
    check: fn(&str) -> Result<(), String>,
    environment: &Environment,
) -> bool {
    for name in (environment.headers_of_log)(text).iter().filter(|name| is_usually_credentials(name)) {
        let reason = format!("`{name}` usually carries credentials, which stand in the log then");
        field.warn_with("credentials", reason, "a log is read by more people than a request");
    }
    check(text).map_err(|reason| field.fault("log-format", reason)).is_ok()
}

/// `filter:`, or an entry of its `any`.
fn filter(field: &Field<'_>) -> Option<LogFilter> {
    let table = Table::new(field, &FILTER_KEYS)?;
    let health_checks = table.get("health_checks").map(|field| field.boolean());
    let status = table.get("status").and_then(|field| {
        range(&field, STATUS, |field| field.integer(STATUS)).map(|(least, most)| (least as u16, most as u16))
    });
    let all = Duration::ZERO..=MAX_DURATION;
    let duration = table
        .get("duration")
        .and_then(|field| range(&field, all.clone(), |field| field.duration_in(all.clone())));
    let flags = table.get("flags").and_then(|field| flags(&field));
    let any = table.get("any").and_then(|field| any(&field)).unwrap_or_default();
    Some(LogFilter { status, duration, flags, health_checks: health_checks.flatten().unwrap_or(true), any })
}

fn any(field: &Field<'_>) -> Option<Arc<[LogFilter]>> {
    let items = field.items()?;
    if items.is_empty() {
        field.fault("log-filter", "nothing holds of an empty list: no request would be logged");
    }
    Some(items.iter().filter_map(filter).collect())
}

/// `{min: .., max: ..}`, both of them in it.
fn range<T: PartialOrd + Copy>(
    field: &Field<'_>,
    all: RangeInclusive<T>,
    read: impl Fn(&Field<'_>) -> Option<T>,
) -> Option<(T, T)> {
    let table = Table::new(field, &RANGE_KEYS)?;
    let read = |key| table.get(key).map(|field| read(&field));
    let (min, max) = (read("min"), read("max"));
    if min.is_none() && max.is_none() {
        field.fault_with("log-filter", "it says neither `min` nor `max`", "one of them, or both");
        return None;
    }
    let (min, max) = (min.unwrap_or(Some(*all.start()))?, max.unwrap_or(Some(*all.end()))?);
    if min > max {
        field.fault_with("log-filter", "`min` is above `max`: no request would be logged", "min <= max");
    }
    Some((min, max))
}

/// Short names, or `any` for all that there are.
fn flags(field: &Field<'_>) -> Option<Arc<[Arc<str>]>> {
    let all = Flag::ALL.map(Flag::short);
    if let Value::Scalar { .. } = field.node.value {
        return match field.text()? {
            "any" => Some(all.into_iter().map(Arc::from).collect()),
            text => {
                field.fault_with("log-filter", format!("`{text}` is no list of flags"), "[UH, UF], or any");
                None
            }
        };
    }
    let items = field.items()?;
    if items.is_empty() {
        field.fault_with("log-filter", "it names no flag: no request would be logged", "[UH, UF], or any");
    }
    let known = |item: &Field<'_>| {
        let text = item.text()?;
        if Flag::parse(text).is_none() {
            item.fault_with("log-filter", format!("`{text}` is no flag that Weir raises"), list(&all, "and"));
        }
        Some(Arc::from(text))
    };
    Some(items.iter().filter_map(known).collect())
}

#[cfg(test)]
#[path = "access_log_tests.rs"]
mod tests;
