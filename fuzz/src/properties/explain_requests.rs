//! The lines of `weir explain --requests`, of any text: each that says something is told of by its own number and hides no
//! other, and a request that is read says the same when it is written again, as typed and in JSON.

use weir::cli::explain::requests::of_lines;
use weir::proxy::explain::Request;
use weir::snapshot::Limits;

/// See the module.
pub fn check(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let found: Vec<_> = of_lines(&text).collect();
    let mut told = found.iter();
    for (place, line) in text.split('\n').enumerate() {
        let said = line.trim();
        if said.is_empty() || said.starts_with('#') {
            continue;
        }
        let (number, request) = told.next().expect("a line is not told of");
        assert_eq!(*number, place + 1, "{line:?}");
        match (request, alone(line)) {
            (Ok(request), Ok(again)) => {
                same(request, &again);
                if let Err(reason) = request.head(&Limits::default()) {
                    assert!(reason.starts_with('4'), "{request:?} is told: {reason}");
                }
                for written in [in_words(request), in_json(request)] {
                    match alone(&written) {
                        Ok(again) => same(request, &again),
                        Err(reason) => panic!("{written:?}, which is {request:?}, is told: {reason}"),
                    }
                }
            }
            (Err(reason), Err(again)) => {
                assert!(!reason.is_empty());
                assert_eq!(*reason, again);
            }
            (among, again) => panic!("{line:?} among others: {among:?}; alone: {again:?}"),
        }
    }
    assert!(told.next().is_none(), "told of a line that is not there");
}

/// The only line of a file.
fn alone(line: &str) -> Result<Request, String> {
    let mut found = of_lines(line);
    let (number, request) = found.next().expect("a line");
    assert_eq!((number, found.count()), (1, 0), "{line:?}");
    request
}

fn same(one: &Request, other: &Request) {
    assert_eq!((&one.method, &one.url, one.from), (&other.method, &other.url, other.from));
    assert_eq!(one.headers, other.headers);
}

fn in_words(request: &Request) -> String {
    let mut words = vec![request.method.to_string(), request.url.to_string()];
    for (name, value) in &request.headers {
        words.extend(["-H".into(), format!("{name}: {}", text(value.as_bytes()))]);
    }
    words.extend(request.from.iter().flat_map(|from| ["--from".into(), from.to_string()]));
    words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ")
}

/// As a shell has it: what is within single quotes, and single quotes within double ones.
fn quoted(word: &str) -> String {
    format!("'{}'", word.split('\'').collect::<Vec<_>>().join("'\"'\"'"))
}

fn in_json(request: &Request) -> String {
    let mut headers = serde_json::Map::new();
    for name in request.headers.keys() {
        let values = request.headers.get_all(name).iter().map(|value| text(value.as_bytes()));
        headers.insert(name.to_string(), values.collect::<Vec<_>>().into());
    }
    let from = request.from.map(|from| from.to_string());
    let (method, url) = (request.method.to_string(), request.url.to_string());
    serde_json::json!({"url": url, "headers": headers, "method": method, "from": from}).to_string()
}

/// It was read of a text.
fn text(value: &[u8]) -> &str {
    std::str::from_utf8(value).expect("text")
}
