//! Cross-origin requests, as Envoy's cors filter treats them.
//!
//! Law: only an origin that is let in gets an `access-control-` field of ours, and always its own name, never `*`. A
//! preflight is OPTIONS with `access-control-request-method`; every other request goes on, whatever its origin.

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use crate::snapshot::{Cors, UnmatchedPreflights};

/// What becomes of a request.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on, and the answer says nothing of origins.
    Pass,
    /// It goes on, and the answer says that this origin may read it.
    Allow(HeaderValue),
    /// It is answered here with 200 and these fields.
    Answer(HeaderMap),
}

/// Judges a request by its method and fields.
pub fn judge(cors: &Cors, method: &Method, headers: &HeaderMap) -> Verdict {
    let Some(origin) = headers.get(ORIGIN).filter(|origin| !origin.is_empty()) else { return Verdict::Pass };
    let asks = headers.get(ACCESS_CONTROL_REQUEST_METHOD).is_some_and(|method| !method.is_empty());
    let preflight = *method == Method::OPTIONS && asks;
    let allowed = cors.origins.iter().any(|condition| condition.holds(origin.as_bytes()));
    match (allowed, preflight) {
        (true, true) => Verdict::Answer(preflight_fields(cors, origin, headers)),
        (true, false) => Verdict::Allow(origin.clone()),
        (false, true) if cors.unmatched_preflights == UnmatchedPreflights::Answer => {
            Verdict::Answer(HeaderMap::new())
        }
        (false, _) => Verdict::Pass,
    }
}

fn preflight_fields(cors: &Cors, origin: &HeaderValue, request: &HeaderMap) -> HeaderMap {
    let mut headers = HeaderMap::new();
    allow(cors, origin, &mut headers);
    for (name, list, asked) in [
        (ACCESS_CONTROL_ALLOW_METHODS, cors.methods.as_deref(), ACCESS_CONTROL_REQUEST_METHOD),
        (ACCESS_CONTROL_ALLOW_HEADERS, cors.headers.as_deref(), ACCESS_CONTROL_REQUEST_HEADERS),
    ] {
        // With credentials browsers read `*` as a name: what they asked for says what is meant.
        match list == Some("*") && cors.credentials {
            true => headers.extend(request.get(asked).map(|asked| (name, asked.clone()))),
            false => set(&mut headers, name, list),
        }
    }
    if let Some(age) = cors.max_age {
        headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from(age.as_secs()));
    }
    headers
}

/// Says in an answer's fields that `origin` may read it, in place of what the upstream says.
pub fn edit(cors: &Cors, origin: &HeaderValue, headers: &mut HeaderMap) {
    allow(cors, origin, headers);
    set(headers, ACCESS_CONTROL_EXPOSE_HEADERS, cors.expose.as_deref());
}

fn allow(cors: &Cors, origin: &HeaderValue, headers: &mut HeaderMap) {
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    if cors.credentials {
        headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    }
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: Option<&str>) {
    let value = value.filter(|value| !value.is_empty()).and_then(|value| HeaderValue::from_str(value).ok());
    if let Some(value) = value {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::snapshot::{Pattern, StringMatch};

    fn cors(origins: &[StringMatch]) -> Cors {
        Cors {
            origins: origins.to_vec(),
            methods: Some("GET,POST".into()),
            headers: Some("x-a".into()),
            expose: Some("x-b,x-c".into()),
            max_age: Some(Duration::from_millis(90_500)),
            credentials: true,
            unmatched_preflights: UnmatchedPreflights::Forward,
        }
    }

    fn head(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        fields
            .iter()
            .map(|&(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    const ASKS: (&str, &str) = ("access-control-request-method", "POST");

    #[test]
    fn origins_are_let_in_by_text_start_expression_or_all() {
        let origins = [
            StringMatch::Exact("https://a.example".into()),
            StringMatch::Prefix("http://b.".into()),
            StringMatch::Regex(Pattern::new("https://[a-z]+\\.c").expect("compiles")),
        ];
        let allowed = |origins: &[StringMatch], origin| {
            judge(&cors(origins), &Method::GET, &head(&[("origin", origin)]))
                == Verdict::Allow(HeaderValue::from_static(origin))
        };
        for origin in ["https://a.example", "http://b.example", "https://xy.c"] {
            assert!(allowed(&origins, origin), "{origin}");
        }
        for origin in
            ["https://a.example.org", "HTTPS://a.example", "https://b.example", "https://x.cx", "null"]
        {
            assert!(!allowed(&origins, origin), "{origin}");
            assert!(allowed(&[StringMatch::Present], origin), "{origin}");
        }
    }

    #[test]
    fn only_options_with_a_method_is_a_preflight() {
        let cors = cors(&[StringMatch::Present]);
        let origin = ("origin", "http://o");
        let answered = |method, fields: &[(&'static str, &'static str)]| {
            matches!(judge(&cors, &method, &head(fields)), Verdict::Answer(_))
        };
        assert!(answered(Method::OPTIONS, &[origin, ASKS]));
        assert!(!answered(Method::OPTIONS, &[origin]));
        assert!(!answered(Method::OPTIONS, &[origin, ("access-control-request-method", "")]));
        assert!(!answered(Method::GET, &[origin, ASKS]));
        assert_eq!(judge(&cors, &Method::OPTIONS, &head(&[ASKS])), Verdict::Pass);
        assert_eq!(judge(&cors, &Method::OPTIONS, &head(&[("origin", ""), ASKS])), Verdict::Pass);
    }

    #[test]
    fn with_credentials_a_star_is_answered_by_what_was_asked_for() {
        let star = |credentials| Cors {
            methods: Some("*".into()),
            headers: Some("*".into()),
            credentials,
            ..cors(&[StringMatch::Present])
        };
        let preflight =
            |more: &[(&'static str, &'static str)]| head(&[&[("origin", "http://o"), ASKS], more].concat());
        let answered = |credentials, more: &[(&'static str, &'static str)]| match judge(
            &star(credentials),
            &Method::OPTIONS,
            &preflight(more),
        ) {
            Verdict::Answer(fields) => [ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_HEADERS]
                .map(|name| fields.get(name).map(|value| value.to_str().expect("text").to_owned())),
            other => panic!("{other:?}"),
        };
        let asks = ("access-control-request-headers", "x-a,x-b");
        assert_eq!(answered(true, &[asks]), [Some("POST".to_owned()), Some("x-a,x-b".to_owned())]);
        assert_eq!(answered(true, &[]), [Some("POST".to_owned()), None]);
        assert_eq!(answered(false, &[asks]), [Some("*".to_owned()), Some("*".to_owned())]);
    }

    #[test]
    fn a_preflight_is_told_what_is_allowed_and_any_other_request_what_it_may_read() {
        let mut cors = cors(&[StringMatch::Present]);
        let preflight = || head(&[("origin", "http://o"), ASKS]);
        let all = head(&[
            ("access-control-allow-origin", "http://o"),
            ("access-control-allow-credentials", "true"),
            ("access-control-allow-methods", "GET,POST"),
            ("access-control-allow-headers", "x-a"),
            ("access-control-max-age", "90"),
        ]);
        assert_eq!(judge(&cors, &Method::OPTIONS, &preflight()), Verdict::Answer(all));
        let mut answer = head(&[("access-control-allow-origin", "*"), ("x-b", "1")]);
        edit(&cors, &HeaderValue::from_static("http://o"), &mut answer);
        let told = head(&[
            ("access-control-allow-origin", "http://o"),
            ("x-b", "1"),
            ("access-control-allow-credentials", "true"),
            ("access-control-expose-headers", "x-b,x-c"),
        ]);
        assert_eq!(answer, told);
        cors = Cors { methods: None, headers: None, expose: None, max_age: None, credentials: false, ..cors };
        let least = head(&[("access-control-allow-origin", "http://o")]);
        assert_eq!(judge(&cors, &Method::OPTIONS, &preflight()), Verdict::Answer(least.clone()));
        let mut answer = HeaderMap::new();
        edit(&cors, &HeaderValue::from_static("http://o"), &mut answer);
        assert_eq!(answer, least);
    }

    #[test]
    fn a_preflight_of_another_origin_goes_on_or_is_answered_with_nothing() {
        let mut cors = cors(&[StringMatch::Exact("http://a".into())]);
        let preflight = head(&[("origin", "http://o"), ASKS]);
        assert_eq!(judge(&cors, &Method::OPTIONS, &preflight), Verdict::Pass);
        cors.unmatched_preflights = UnmatchedPreflights::Answer;
        assert_eq!(judge(&cors, &Method::OPTIONS, &preflight), Verdict::Answer(HeaderMap::new()));
        assert_eq!(judge(&cors, &Method::GET, &preflight), Verdict::Pass);
    }
}
