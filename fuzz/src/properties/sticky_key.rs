//! Keys of sticky requests, from any cookies and queries: a plain reader finds the same, and a key always has one version.

use http::{HeaderMap, HeaderValue};
use weir::filters::{key, sticky};
use weir::message::query;
use weir::snapshot::{Cookie, HashKey, VersionTarget};

use super::input::Input;

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
    let found = key::of(&[HashKey::Query("id".into())], request).map(|key| key.into_owned());
    assert_eq!(
        found,
        query::parameter(&asked, "id").map(|value| value.into_owned()).filter(|value| !value.is_empty())
    );
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
