//! What becomes of a rule's requests: `route:`, `redirect:` or `directResponse:`.
//!
//! Law: exactly one of them. Weights are relative, as in Istio; a lone share has all.

use super::edits::{self, Edits};
use crate::config::decode::Field;
use crate::config::draft::{ActionDraft, MirrorDraft, Select, ShareDraft, TargetPolicyDraft};
use crate::config::networking;
use crate::config::paths;
use crate::config::table::{Keys, Table, filled, maybe};
use crate::snapshot::{DirectResponse, PathRewrite, Redirect, RedirectPort, Rewrite, TargetPolicy};

/// The largest body of an answer, as in Istio.
const MAX_BODY_BYTES: usize = 1 << 20;

/// The action of a rule; `path`: its other path, which a share with a host of its own has as well.
pub(super) fn action(table: &Table<'_>, path: Option<&PathRewrite>) -> Option<ActionDraft> {
    // An empty list is one that was left out.
    let route = table.get("route").filter(|field| field.items().is_none_or(|items| !items.is_empty()));
    let (redirect_field, direct_field) = (table.get("redirect"), table.get("directResponse"));
    let answers = redirect_field.is_some() || direct_field.is_some();
    let given = [route.is_some(), redirect_field.is_some(), direct_field.is_some()];
    let shares = route.as_ref().map(|field| shares(field, path));
    let redirect = redirect_field.as_ref().map(redirect);
    let direct = direct_field.as_ref().map(direct);
    if given.iter().filter(|given| **given).count() != 1 {
        let reason =
            if given.contains(&true) { "it says two things at once" } else { "nothing says where to" };
        table.field.fault_with("action", reason, "one of route, redirect and directResponse");
        return None;
    }
    for key in ["fault", "rewrite"] {
        if let Some(field) = table.get(key).filter(|_| answers) {
            field.fault_with("action", format!("`{key}` is for requests that are forwarded"), "`route`");
            return None;
        }
    }
    match (shares, redirect, direct) {
        (Some(shares), ..) => shares.map(ActionDraft::Shares),
        (_, Some(redirect), _) => redirect.map(|redirect| ActionDraft::Redirect(Box::new(redirect))),
        (_, _, direct) => direct?.map(|direct| ActionDraft::Direct(Box::new(direct))),
    }
}

fn shares(field: &Field<'_>, path: Option<&PathRewrite>) -> Option<Vec<ShareDraft>> {
    let all: Vec<_> = field.items()?.iter().map(|field| share(field, path)).collect();
    let mut all: Vec<ShareDraft> = all.into_iter().collect::<Option<_>>()?;
    match &mut all[..] {
        [only] => only.weight = 100,
        several => {
            let sum: u64 = several.iter().map(|share| u64::from(share.weight)).sum();
            if sum == 0 || sum > u64::from(u32::MAX) {
                let reason = format!("the weights sum to {sum}");
                field.fault_with("weight-sum", reason, "one of them over 0, and all together below 2^32");
                return None;
            }
        }
    }
    Some(all)
}

fn share(field: &Field<'_>, path: Option<&PathRewrite>) -> Option<ShareDraft> {
    const KEYS: Keys = Keys {
        known: &["destination", "weight", "headers"],
        later: &[],
        never: &[
            ("appendRequestHeaders", "Istio has dropped it; write `headers.request.add`"),
            ("removeRequestHeaders", "Istio has dropped it; write `headers.request.remove`"),
            ("appendResponseHeaders", "Istio has dropped it; write `headers.response.add`"),
            ("removeResponseHeaders", "Istio has dropped it; write `headers.response.remove`"),
        ],
        proto: true,
    };
    let table = Table::new(field, &KEYS)?;
    let target = table.require("destination").and_then(|field| destination(&field));
    let weight = table.get("weight").map_or(Some(0), |field| field.integer_as("weight", 0..=i32::MAX.into()));
    let edits = edits::headers(&table);
    let (target, weight, edits) = (target?, weight?, edits?);
    Some(ShareDraft { place: field.place(), weight: weight as u32, policy: policy(edits, path), ..target })
}

fn policy(edits: Edits, path: Option<&PathRewrite>) -> Option<Box<TargetPolicyDraft>> {
    if edits.is_empty() {
        return None;
    }
    // A share's rewrite stands for the rule's, so it takes over what it does not say.
    let rewrite = edits.rewrite.map(|rewrite| Rewrite { path: path.cloned(), ..rewrite });
    let policy = TargetPolicy {
        request_headers: edits.request,
        response_headers: edits.response,
        rewrite,
        ..TargetPolicy::default()
    };
    Some(Box::new(TargetPolicyDraft { policy, mirrors: Vec::<MirrorDraft>::new() }))
}

/// `Destination`: a service, a subset of it, and the port of its endpoints.
pub(super) fn destination(field: &Field<'_>) -> Option<ShareDraft> {
    let table = Table::new(field, &Keys::of(&["host", "subset", "port"]))?;
    let host = table.require("host").and_then(|field| networking::host(&field));
    let subset = match filled(&table, "subset") {
        None => Some(Select::Labels(Default::default())),
        Some((field, text)) => networking::plain_name(&field, text).map(Select::Subset),
    };
    let port = maybe(&table, "port", |field| {
        let table = Table::new(field, &Keys::of(&["number"]))?;
        networking::port(&table.require("number")?)
    });
    Some(ShareDraft {
        place: field.place(),
        destination: Some(host?),
        select: subset?,
        port: port?,
        weight: 100,
        policy: None,
    })
}

fn redirect(field: &Field<'_>) -> Option<Redirect> {
    const KEYS: Keys = Keys {
        known: &["uri", "authority", "port", "derivePort", "scheme", "redirectCode"],
        later: &[],
        never: &[],
        proto: true,
    };
    let table = Table::new(field, &KEYS)?;
    let path = match filled(&table, "uri") {
        None => Some(None),
        Some((field, text)) => paths::check_replacement(&field, "redirect", text, true).map(|()| Some(text)),
    };
    let authority = match filled(&table, "authority") {
        None => Some(None),
        Some((field, text)) => edits::authority(&field, text).map(Some),
    };
    let scheme = maybe(&table, "scheme", |field| field.word(&[("http", "http"), ("https", "https")]));
    let port = port(&table);
    let status = status(&table);
    let (path, authority, scheme, port) = (path?, authority?, scheme?, port?);
    let derived = table.get("derivePort").is_some();
    if path.is_none() && authority.is_none() && scheme.is_none() && port.is_none() && !derived {
        field.fault_with("redirect", "it says nothing", "uri, authority, scheme or port");
        return None;
    }
    let (host, own_port) = authority.as_deref().map(networking::split_port).unzip();
    let own_port = own_port.flatten();
    if own_port.is_some() && (port.is_some() || derived) {
        field.fault_with("redirect", "two places say the port", "`port` alone");
        return None;
    }
    Some(Redirect {
        scheme: scheme.map(Into::into),
        host: host.map(Into::into),
        port: port.or(own_port).map_or(RedirectPort::Request, RedirectPort::Number),
        // A query of its own stands for the request's.
        strip_query: path.is_some_and(|path| path.contains('?')),
        path: path.map(|path| PathRewrite::Full(path.into())),
        status: status?,
    })
}

#[allow(clippy::option_option)] // the outer one is the fault
fn port(table: &Table<'_>) -> Option<Option<u16>> {
    let port = maybe(table, "port", networking::port);
    let Some(field) = table.get("derivePort") else { return port };
    if table.get("port").is_some() {
        field.fault_with("redirect", "`port` and `derivePort` exclude each other", "one of the two");
        return None;
    }
    match field.text()? {
        "FROM_PROTOCOL_DEFAULT" => Some(None),
        "FROM_REQUEST_PORT" => {
            let reason =
                "`FROM_REQUEST_PORT` is not supported: a listener's port need not be the one callers use";
            field.fault_with("not-supported", reason, "FROM_PROTOCOL_DEFAULT, or `port`");
            None
        }
        other => {
            let help = "FROM_PROTOCOL_DEFAULT";
            field.fault_with("unknown-word", format!("`{other}` is not known"), help);
            None
        }
    }
}

/// 301 unless said. Istio's validator lets all of 300 to 399 pass, and its routes then hold none of the others.
fn status(table: &Table<'_>) -> Option<u16> {
    let Some(field) = table.get("redirectCode") else { return Some(301) };
    let code = field.integer_as("status", 0..=599)?;
    match code {
        0 => Some(301),
        301 | 302 | 303 | 307 | 308 => Some(code as u16),
        _ => {
            field.fault_with("status", format!("{code} is no redirect"), "301, 302, 303, 307 or 308");
            None
        }
    }
}

fn direct(field: &Field<'_>) -> Option<DirectResponse> {
    let table = Table::new(field, &Keys::of(&["status", "body"]))?;
    let status = table.require("status").and_then(|field| field.integer_as("status", 200..=599));
    let body = maybe(&table, "body", |field| {
        let table = Table::new(field, &Keys::of(&["string", "bytes"]))?;
        match (table.get("string"), table.get("bytes")) {
            (Some(text), None) => bounded(&text, text.text()?.to_owned()),
            (None, Some(bytes)) => {
                let help = "base64 of text in UTF-8";
                bounded(&bytes, bytes.parsed("body", help, base64_text)?)
            }
            _ => {
                field.fault_with("body", "it has not one content", "string or bytes");
                None
            }
        }
    });
    let (status, body) = (status? as u16, body?);
    Some(DirectResponse { status, body: body.map(Into::into), content_type: None })
}

fn bounded(field: &Field<'_>, body: String) -> Option<String> {
    if body.len() > MAX_BODY_BYTES {
        field.fault_with("body", "it is too large", "1MiB at most");
        return None;
    }
    Some(body)
}

/// Standard base64 (RFC 4648, section 4) of text.
fn base64_text(text: &str) -> Result<String, String> {
    let no = || "it is no base64".to_owned();
    let digits = text.trim_end_matches('=');
    if !text.len().is_multiple_of(4) || text.len() - digits.len() > 2 {
        return Err(no());
    }
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    for group in digits.as_bytes().chunks(4) {
        let mut bits = 0u32;
        for digit in group {
            let value = match digit {
                b'A'..=b'Z' => digit - b'A',
                b'a'..=b'z' => digit - b'a' + 26,
                b'0'..=b'9' => digit - b'0' + 52,
                b'+' => 62,
                b'/' => 63,
                _ => return Err(no()),
            };
            bits = bits << 6 | u32::from(value);
        }
        bits <<= 6 * (4 - group.len());
        bytes.extend_from_slice(&bits.to_be_bytes()[1..group.len()]);
    }
    String::from_utf8(bytes).map_err(|_| "it is no text in UTF-8".to_owned())
}
