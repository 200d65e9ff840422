//! Keys of sticky requests, from any cookies and queries: a plain reader finds the same, and a key always has one version.

use http::{HeaderMap, HeaderValue};
use weir::filters::{key, sticky};
use weir::snapshot::{Cookie, HashKey, VersionTarget};

use super::input::Input;

const NAMES: [&str; 5] = ["id", "i d", "%41", "a=b", ""];

/// See the module.
pub fn check(data: &[u8]) {
    let mut input = Input::new(data);
    let mut headers = HeaderMap::new();
    let mut crumbs: Vec<Vec<u8>> = Vec::new();
    for _ in 0..input.below(4) {
        if let Ok(value) = HeaderValue::from_bytes(input.text(32).as_bytes()) {
            crumbs.extend(
                value.as_bytes().split(|byte| *byte == b';').map(|crumb| crumb.trim_ascii().to_vec()),
            );
            headers.append("cookie", value);
        }
    }
    let asked = input.text(48);
    let request = key::Request { headers: &headers, query: Some(&asked), source: None, made: &[] };
    let cookie = Cookie { name: "id".into(), set: None, path: None, attributes: None };
    let found = key::of(&[HashKey::Cookie(cookie)], request).map(|key| key.into_owned());
    let plain = crumbs.iter().find_map(|crumb| crumb.strip_prefix(b"id=")).map(|value| {
        let quoted = value.len() >= 2 && value.starts_with(b"\"") && value.ends_with(b"\"");
        if quoted { value[1..value.len() - 1].to_vec() } else { value.to_vec() }
    });
    assert_eq!(found, plain.filter(|value| !value.is_empty()));
    let name = match input.below(NAMES.len() + 1) {
        known if known < NAMES.len() => NAMES[known].to_owned(),
        _ => input.text(8),
    };
    let found = key::of(&[HashKey::Query(name.as_str().into())], request).map(|key| key.into_owned());
    assert_eq!(found, parameter(asked.as_bytes(), name.as_bytes()), "{name:?} of {asked:?}");
    if let Some(key) = found {
        let versions = [VersionTarget::default(), VersionTarget { weight: 1, ..VersionTarget::default() }];
        let seeds = sticky::seeds("salt", &versions);
        let weights = versions.iter().map(|version| version.weight);
        assert_eq!(
            sticky::choose(&key, seeds.into_iter().zip(weights)),
            Some(1),
            "a share of 0 gets nothing"
        );
    }
}

/// The first parameter whose name is that, once it is decoded; if it says something.
fn parameter(mut query: &[u8], name: &[u8]) -> Option<Vec<u8>> {
    while !query.is_empty() {
        let end = query.iter().position(|byte| *byte == b'&').unwrap_or(query.len());
        let one = &query[..end];
        query = query.get(end + 1..).unwrap_or_default();
        let equals = one.iter().position(|byte| *byte == b'=').unwrap_or(one.len());
        if !one.is_empty() && decoded(&one[..equals]) == name {
            let value = decoded(one.get(equals + 1..).unwrap_or_default());
            return (!value.is_empty()).then_some(value);
        }
    }
    None
}

/// `%` and two digits are a byte; all else is itself.
fn decoded(text: &[u8]) -> Vec<u8> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    let (mut decoded, mut at) = (Vec::new(), 0);
    while let Some(&byte) = text.get(at) {
        let code = text.get(at + 1).and_then(digit).zip(text.get(at + 2).and_then(digit));
        match code.filter(|_| byte == b'%') {
            Some((high, low)) => decoded.push((high * 16 + low) as u8),
            None => decoded.push(byte),
        }
        at += if byte == b'%' && code.is_some() { 3 } else { 1 };
    }
    decoded
}
