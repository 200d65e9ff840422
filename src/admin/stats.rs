//! `/stats`, `/stats/prometheus` and `/reset_counters`, by Envoy's parameters.
//!
//! Law: a parameter is obeyed or refused by its name. Envoy passes over one that it does not know, and so shows what was
//! not asked for.

use std::time::Instant;

use super::Admin;
use super::pages::refresh;
use super::reply::{JSON, Query, Reply, TEXT, filter};
use crate::telemetry::stats::{Buckets, Form, StatKind, Wanted};
use crate::telemetry::{CONTENT_TYPE, Page};

/// Of both pages.
pub(super) const PARAMETERS: [&str; 7] =
    ["usedonly", "filter", "invert_filter", "type", "format", "histogram_buckets", "text_readouts"];

/// `/stats`: every series by its dotted name.
pub(super) fn stats(admin: &Admin, query: &Query) -> Reply {
    let form = match query.get("format") {
        None | Some("" | "text") => Form::Text,
        Some("json") => Form::Json,
        Some("prometheus") => return prometheus(admin, query),
        Some(other) => {
            let usage = "usage: /stats?format=(json|prometheus|text)";
            return Reply::refusal(format!("format={other}: not supported\n\n{usage}\n\n"));
        }
    };
    let asked = wanted(query).and_then(|wanted| Ok((wanted, buckets(query)?)));
    let (wanted, buckets) = match asked {
        Ok(asked) => asked,
        Err(reason) => return Reply::refusal(reason),
    };
    refresh(admin);
    let content_type = if form == Form::Json { JSON } else { TEXT };
    Reply::in_pieces(content_type, admin.recorder.stats(wanted, form, buckets, Instant::now()))
}

/// `/stats/prometheus`: those that Envoy and Istio have.
pub(super) fn prometheus(admin: &Admin, query: &Query) -> Reply {
    let asked = match query.get("format") {
        None | Some("prometheus") => wanted(query).and_then(|wanted| Ok((wanted, are_summaries(query)?))),
        Some(other) => Err(format!("format={other}: /stats/prometheus has format=prometheus alone\n")),
    };
    let (wanted, summaries) = match asked {
        Ok(asked) => asked,
        Err(reason) => return Reply::refusal(reason),
    };
    refresh(admin);
    let pieces = admin.recorder.pieces_of(Page::Envoy, wanted, summaries, Instant::now());
    Reply::in_pieces(CONTENT_TYPE, pieces)
}

/// `/reset_counters`.
pub(super) fn reset_counters(admin: &Admin, _: &Query) -> Reply {
    admin.recorder.reset_counters();
    Reply::text("OK\n")
}

fn wanted(query: &Query) -> Result<Wanted, String> {
    let kind = match query.get("type") {
        None | Some("" | "All") => None,
        Some("Counters") => Some(StatKind::Counters),
        Some("Gauges") => Some(StatKind::Gauges),
        Some("Histograms") => Some(StatKind::Histograms),
        Some("TextReadouts") => Some(StatKind::TextReadouts),
        Some(other) => {
            return Err(format!(
                "invalid &type= param: {other}, not All, Counters, Gauges, Histograms or TextReadouts\n"
            ));
        }
    };
    let filter = query.get("filter").map(filter).transpose()?;
    // What stands behind these says nothing, as in Envoy.
    let [used_only, invert_filter] = ["usedonly", "invert_filter"].map(|name| query.get(name).is_some());
    if invert_filter && filter.is_none() {
        return Err("invert_filter can only be used if filter is also provided\n".to_owned());
    }
    Ok(Wanted { used_only, kind, filter, invert_filter })
}

/// Of `/stats` as text or JSON.
fn buckets(query: &Query) -> Result<Buckets, String> {
    Ok(match query.get("histogram_buckets") {
        None | Some("" | "none" | "summary") => Buckets::Summary,
        Some("cumulative") => Buckets::Cumulative,
        Some("disjoint") => Buckets::Disjoint,
        Some("detailed") => Buckets::Detailed,
        Some(other) => {
            return Err(format!(
                "histogram_buckets={other}: not supported\n\n\
                 usage: /stats?histogram_buckets=(cumulative|disjoint|detailed|summary)\n\n"
            ));
        }
    })
}

/// Whether histograms are summaries on a page for Prometheus.
fn are_summaries(query: &Query) -> Result<bool, String> {
    match query.get("histogram_buckets") {
        None | Some("" | "cumulative") => Ok(false),
        Some("none" | "summary") => Ok(true),
        Some(other) => Err(format!(
            "histogram_buckets={other}: unsupported prometheus histogram bucket mode, not cumulative or summary\n"
        )),
    }
}
