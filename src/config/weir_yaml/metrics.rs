//! `metrics:` of a `weir.yaml`: the dimensions that requests are counted by, and how the old family shows gRPC.
//!
//! Law: what may become a label's value stands in the file, and there is little of it.

use std::sync::Arc;

use crate::config::decode::Field;
use crate::config::networking::header_name;
use crate::config::table::{Keys, Table};
use crate::snapshot::{Dimension, OrdName};
use crate::telemetry::credentials::{is_credentials, is_usually_credentials};

/// Each version of each service has series for each value of each dimension.
const MOST_DIMENSIONS: usize = crate::telemetry::dimension::MOST;
/// The same.
const MOST_VALUES: usize = 32;
/// Bytes of a name, and of a value.
const LONGEST: usize = 63;
/// What Weir counts a request under whose field is not there, or says what is not listed.
const RESERVED: [&str; 2] = [crate::telemetry::dimension::NONE, crate::telemetry::dimension::OTHER];

/// `metrics:`: the dimensions, and `grpc_as_http`. `None` when something cannot be made out.
pub(super) fn metrics(field: Option<&Field<'_>>) -> Option<(Vec<Dimension>, bool)> {
    let Some(field) = field else { return Some((Vec::new(), true)) };
    let table = Table::new(field, &Keys::of(&["dimensions", "grpc_as_http"]))?;
    let all = table.get("dimensions").map_or_else(|| Some(Vec::new()), |list| dimensions(&list));
    let grpc_as_http = table.get("grpc_as_http").map_or(Some(true), |field| field.boolean());
    Some((all?, grpc_as_http?))
}

fn dimensions(list: &Field<'_>) -> Option<Vec<Dimension>> {
    let items = list.items()?;
    bounded(list, items.len(), MOST_DIMENSIONS, "dimensions");
    let all: Vec<_> = items.iter().map(dimension).collect();
    let all = all.into_iter().collect::<Option<Vec<Dimension>>>()?;
    for (place, item) in items.iter().enumerate() {
        if all.iter().take(place).any(|before| before.name == all[place].name) {
            item.fault("repeated", format!("there is a dimension `{}` already", all[place].name));
        }
    }
    Some(all)
}

fn bounded(field: &Field<'_>, there: usize, most: usize, what: &str) {
    if there > most {
        let reason = format!("{there} {what}, each with series of its own for every version");
        field.fault_with("too-many", reason, format!("at most {most}"));
    }
}

fn dimension(field: &Field<'_>) -> Option<Dimension> {
    let table = Table::new(field, &Keys::of(&["name", "header", "values"]))?;
    let name = table.require("name").and_then(|field| name(&field));
    let header = table.require("header").and_then(|field| header(&field));
    let values = table.require("values").and_then(|field| values(&field));
    Some(Dimension { name: name?, header: header?, values: values? })
}

fn name(field: &Field<'_>) -> Option<Arc<str>> {
    let text = field.filled()?;
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    if text.len() > LONGEST || !text.bytes().all(allowed) || text.starts_with(|c: char| c.is_ascii_digit()) {
        let help = "at most 63 lower-case letters, digits and _, such as tenant";
        field.fault_with("name", format!("`{text}` is no name of a dimension"), help);
        return None;
    }
    Some(text.into())
}

fn header(field: &Field<'_>) -> Option<OrdName> {
    let name = header_name(field, field.filled()?)?;
    let reason = match name.0.as_str() {
        // None of their values belongs in a file that is read by more people than a request.
        secret if is_credentials(secret) => "carries credentials",
        "host" => "is the service's name",
        usual => {
            if is_usually_credentials(usual) {
                let reason = format!("`{usual}` usually carries credentials, which stand in a label then");
                field.warn_with("credentials", reason, "another header, such as x-tenant");
            }
            return Some(name);
        }
    };
    field.fault_with("dimension", format!("`{}` {reason}", name.0), "another header, such as x-tenant");
    None
}

fn values(field: &Field<'_>) -> Option<Vec<Arc<str>>> {
    let items = field.items()?;
    if items.is_empty() {
        field.fault_with("missing", "it needs one entry at least", "all other values are counted as `other`");
    }
    bounded(field, items.len(), MOST_VALUES, "values");
    let mut all: Vec<Arc<str>> = Vec::with_capacity(items.len());
    for item in &items {
        let text = value(item)?;
        if all.contains(&text) {
            item.fault("repeated", format!("`{text}` stands twice"));
        }
        all.push(text);
    }
    Some(all)
}

fn value(field: &Field<'_>) -> Option<Arc<str>> {
    let text = field.filled()?;
    if text.len() > LONGEST {
        field.fault_with("length", format!("it has {} bytes", text.len()), format!("at most {LONGEST}"));
    } else if RESERVED.contains(&text) {
        let help = "`none`: requests without the header; `other`: those with a value that is not listed";
        field.fault_with("dimension", format!("`{text}` is counted anyway"), help);
    } else if http::HeaderValue::from_str(text).is_err() || text.trim() != text || !text.is_ascii() {
        field.fault(
            "header-value",
            "no header holds it: letters, digits and signs, without blanks around them",
        );
    }
    Some(text.into())
}
