//! Requests to be explained, as a file holds them: one a line, as typed or in JSON.
//!
//! Law: a line that is no request is told of with its number, and hides no other.

use std::io::{self, Read};
use std::path::Path;

use http::HeaderMap;
use serde_json::Value;

use crate::proxy::explain::{Request, request};

/// A file of requests has at most so many bytes.
const MAX_FILE_BYTES: u64 = 16 << 20;

/// The text of a file, or of the standard input for `-`.
pub(super) fn read(path: &Path) -> Result<String, String> {
    let fault = |error: io::Error| format!("{}: {error}", path.display());
    let mut text = String::new();
    let read = match path == Path::new("-") {
        true => io::stdin().lock().take(MAX_FILE_BYTES + 1).read_to_string(&mut text),
        false => {
            std::fs::File::open(path).and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text))
        }
    };
    match read.map_err(fault)? as u64 {
        0..=MAX_FILE_BYTES => Ok(text),
        _ => Err(format!("{}: it has more than {MAX_FILE_BYTES} bytes", path.display())),
    }
}

/// Each line with its number, from 1; empty ones and those that begin with `#` are passed over.
pub fn of_lines(text: &str) -> impl Iterator<Item = (usize, Result<Request, String>)> {
    let numbered = text.lines().enumerate().map(|(place, line)| (place + 1, line.trim()));
    numbered
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
        .map(|(number, line)| (number, if line.starts_with('{') { of_json(line) } else { of_words(line) }))
}

fn of_words(line: &str) -> Result<Request, String> {
    let mut words = split(line)?.into_iter();
    let (Some(first), Some(second)) = (words.next(), words.next()) else {
        return Err("a request is written METHOD URL".into());
    };
    let mut asked = Request::new(&first, &second)?;
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("`{word}` has no value"));
        match word.as_str() {
            "-H" | "--header" => {
                let (name, value) = request::line(&value()?)?;
                asked.headers.append(name, value);
            }
            "--from" => asked.from = Some(request::address(&value()?)?),
            _ => return Err(format!("`{word}` is not known: -H 'NAME: VALUE' or --from IP")),
        }
    }
    Ok(asked)
}

/// Words as a shell splits them: quotes of either kind hold one together.
fn split(line: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for c in line.chars() {
        match quote {
            Some(open) if c == open => quote = None,
            None if matches!(c, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            None if c.is_whitespace() => words.extend(word.take()),
            _ => word.get_or_insert_default().push(c),
        }
    }
    if quote.is_some() {
        return Err("a quote is not closed".into());
    }
    words.extend(word);
    Ok(words)
}

fn of_json(line: &str) -> Result<Request, String> {
    let Value::Object(fields) = serde_json::from_str(line).map_err(|error| error.to_string())? else {
        return Err("a request is an object".into());
    };
    let (mut given_method, mut given_url, mut headers, mut from) = (None, None, HeaderMap::new(), None);
    for (key, value) in &fields {
        match (key.as_str(), value) {
            ("method", Value::String(text)) => given_method = Some(text),
            ("url", Value::String(text)) => given_url = Some(text),
            ("from", Value::String(text)) => from = Some(request::address(text)?),
            ("from", Value::Null) => {}
            ("headers", Value::Object(all)) => {
                for (name, value) in all {
                    for text in texts(value).ok_or_else(|| format!("header {name} is no text"))? {
                        let (name, value) = request::header(name, text)?;
                        headers.append(name, value);
                    }
                }
            }
            ("method" | "url" | "from" | "headers", _) => return Err(format!("`{key}` is of another kind")),
            _ => return Err(format!("`{key}` is not known: method, url, headers, from")),
        }
    }
    match (given_method, given_url) {
        (Some(method), Some(url)) => Ok(Request { headers, from, ..Request::new(method, url)? }),
        _ => Err("`method` or `url` is missing".into()),
    }
}

/// A text, or several in a list.
fn texts(value: &Value) -> Option<Vec<&str>> {
    match value {
        Value::String(text) => Some(vec![text]),
        Value::Array(all) => all.iter().map(Value::as_str).collect(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_as_typed_or_as_json_and_says_the_same() {
        let text = "# a comment\n\nGET /a?b=1 -H 'x-a: 1 2' -H \"x-a: 3\" --from ::1\n\
            {\"method\": \"GET\", \"url\": \"/a?b=1\", \"headers\": {\"x-a\": [\"1 2\", \"3\"]}, \"from\": \"::1\"}\n";
        let read: Vec<_> = of_lines(text).map(|(line, request)| (line, request.expect("one"))).collect();
        let shown = |request: &Request| format!("{request:?}");
        assert_eq!(read.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [3, 4]);
        assert_eq!(shown(&read[0].1), shown(&read[1].1));
        assert_eq!(read[0].1.headers.get_all("x-a").iter().count(), 2);
    }

    #[test]
    fn a_line_that_is_no_request_is_told_of() {
        for (line, reason) in [
            ("GET", "a request is written METHOD URL"),
            ("G(T /", "`G(T` is no method"),
            ("GET / -H", "`-H` has no value"),
            ("GET / -H x", "a header is written 'name: value'"),
            ("GET / --to 1", "`--to` is not known: -H 'NAME: VALUE' or --from IP"),
            ("GET / 'x", "a quote is not closed"),
            ("GET / --from x", "`x` is no address"),
            ("{\"method\": \"GET\"}", "`method` or `url` is missing"),
            ("{\"method\": 1, \"url\": \"/\"}", "`method` is of another kind"),
            ("{\"host\": \"a\"}", "`host` is not known: method, url, headers, from"),
        ] {
            let (_, request) = of_lines(line).next().expect("a line");
            assert_eq!(request.expect_err(line), reason);
        }
    }
}
