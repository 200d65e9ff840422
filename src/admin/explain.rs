//! `/explain`: what would become of a request, and why, under the configuration that serves.
//!
//! Law: as `weir explain`; nothing is sent.

use http::StatusCode;

use super::Admin;
use super::reply::{Query, Reply};
use crate::proxy::explain::{Report, Request, request};

/// What may be said of the request.
pub(super) const PARAMETERS: [&str; 7] = ["method", "url", "header", "headers", "from", "listener", "format"];

/// See the module.
pub(super) fn explain(admin: &Admin, query: &Query) -> Reply {
    let Some(plane) = admin.plane.load_full() else {
        return Reply::text("no configuration is in force yet\n")
            .with_status(StatusCode::SERVICE_UNAVAILABLE);
    };
    let told = Asked::of(query).and_then(|asked| {
        let report = Report::new(&plane.snapshot, asked.listener.as_deref(), &asked.request)?;
        Ok(if asked.as_text { Reply::text(report.to_string()) } else { Reply::json(&report) })
    });
    told.unwrap_or_else(|reason| Reply::refusal(reason + "\n"))
}

/// The question.
struct Asked {
    request: Request,
    listener: Option<String>,
    as_text: bool,
}

impl Asked {
    fn of(query: &Query) -> Result<Asked, String> {
        let url = query.get("url").filter(|url| !url.is_empty());
        let url = url.ok_or("`url` is missing: /explain?method=GET&url=/path&header=x-user:alice")?;
        let mut asked = Asked {
            request: Request::new(query.get("method").unwrap_or("GET"), url)?,
            listener: None,
            as_text: false,
        };
        for (name, value) in query.iter() {
            match (name, value) {
                ("method" | "url", _) | ("listener" | "from", "") => {}
                ("header", line) if line.contains(['\r', '\n']) => {
                    return Err(
                        "a header is one line: a `header` for each, or all as lines of `headers`".to_owned()
                    );
                }
                ("header", "") => {}
                ("header", line) => {
                    let (name, value) = request::line(line)?;
                    asked.request.headers.append(name, value);
                }
                ("headers", lines) => {
                    for line in lines.lines().filter(|line| !line.trim().is_empty()) {
                        let (name, value) = request::line(line)?;
                        asked.request.headers.append(name, value);
                    }
                }
                ("from", address) => asked.request.from = Some(request::address(address)?),
                ("listener", name) => asked.listener = Some(name.to_owned()),
                ("format", "json") => asked.as_text = false,
                ("format", "text") => asked.as_text = true,
                ("format", _) => return Err(format!("`format` is json or text, not `{value}`")),
                _ => {} // refused for all pages alike, before
            }
        }
        Ok(asked)
    }
}

#[cfg(test)]
mod tests {
    use http::Uri;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn whatever_is_asked_is_a_question_or_refused_with_a_reason(query in "[ -~]{0,60}", known in 0..7_usize) {
            let name = ["url", "method", "header", "headers", "from", "listener", "format"][known];
            let uri = format!("/explain?url=/a&{name}={query}").parse::<Uri>();
            prop_assume!(uri.is_ok());
            if let Err(reason) = Asked::of(&Query::of_form(&uri.expect("assumed"))) {
                prop_assert!(!reason.is_empty());
            }
        }

        #[test]
        fn a_form_says_what_was_typed(name in "[a-z][a-z0-9-]{0,8}", value in "[!-~]([ -~]{0,8}[!-~])?") {
            let encoded = percent_encoding::utf8_percent_encode(&value, percent_encoding::NON_ALPHANUMERIC);
            let encoded = encoded.to_string().replace("%20", "+");
            let uri = format!("/explain?url=/a&header={name}:+{encoded}").parse::<Uri>().expect("a URI");
            let asked = Asked::of(&Query::of_form(&uri)).expect("a question");
            prop_assert_eq!(asked.request.headers.get(&name).map(|value| value.as_bytes()), Some(value.as_bytes()));
        }
    }
}
