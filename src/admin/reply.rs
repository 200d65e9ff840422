//! What a page gives back, and what is asked of it beside its path.
//!
//! Law: every answer forbids keeping it and guessing its type.

use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use http::{Response, StatusCode, Uri};
use percent_encoding::percent_decode_str;
use serde::Serialize;

use crate::transport::endpoint::{Answer, AnswerBody};

const TEXT: &str = "text/plain; charset=UTF-8";
const JSON: &str = "application/json";

/// A page as it was made.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) content_type: &'static str,
    pub(super) body: AnswerBody,
}

impl Reply {
    /// A page of text.
    pub(super) fn text(body: impl Into<String>) -> Reply {
        Reply { status: StatusCode::OK, content_type: TEXT, body: body.into().into() }
    }

    /// The same with another status.
    pub(super) fn with_status(self, status: StatusCode) -> Reply {
        Reply { status, ..self }
    }

    /// A value as JSON, laid out for people.
    pub(super) fn json(value: &impl Serialize) -> Reply {
        match serde_json::to_string_pretty(value) {
            Ok(body) => Reply { status: StatusCode::OK, content_type: JSON, body: (body + "\n").into() },
            Err(error) => Reply::text(format!("{error}\n")).with_status(StatusCode::INTERNAL_SERVER_ERROR),
        }
    }

    /// As it goes out.
    pub(super) fn into_answer(self) -> Answer {
        let mut answer = Response::new(self.body);
        *answer.status_mut() = self.status;
        let headers = answer.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, max-age=0"));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        answer
    }
}

/// The parameters after the `?`, decoded.
#[derive(Debug, Default)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    /// Of this target.
    pub(super) fn of(uri: &Uri) -> Query {
        let decode = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        let pairs = uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
        Query(
            pairs
                .map(|pair| {
                    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                    (decode(name), decode(value))
                })
                .collect(),
        )
    }

    /// The first of that name.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| &**value)
    }

    /// Whether JSON is asked for.
    pub(super) fn wants_json(&self) -> bool {
        self.get("format") == Some("json")
    }
}
