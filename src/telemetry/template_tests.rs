//! The laws of an object of one's own: JSON whatever is filled in, types kept, what is missing left out where that is
//! asked for.

use std::time::{Duration, Instant, SystemTime};

use http::{HeaderMap, HeaderValue, Method};
use proptest::prelude::*;
use serde_json::json;
use similar_asserts::assert_eq;

use super::*;
use crate::telemetry::heads::LoggedHeads;
use crate::words::{Flag, HttpVersion, Protocol};

fn record(format: &Format, agent: &[u8]) -> RequestRecord {
    let mut record =
        RequestRecord::new(Instant::now(), SystemTime::UNIX_EPOCH, HttpVersion::Http11, Protocol::Http);
    record.status = 503;
    record.flags = Flag::NoHealthyUpstream.into();
    record.duration = Duration::from_millis(7);
    let mut headers = HeaderMap::new();
    headers.insert("user-agent", HeaderValue::from_bytes(agent).unwrap_or(HeaderValue::from_static("a")));
    let heads = LoggedHeads::of_request(format, &Method::GET, b"/p", b"m", &headers);
    record.logged = Some(heads);
    record
}

fn line(object: &Value, omit_empty: bool) -> String {
    let format = Format::of_object(object, omit_empty).unwrap();
    String::from_utf8(format.line(&record(&format, b"curl/8"))).unwrap()
}

#[test]
fn keys_are_sorted_objects_nested_and_an_operator_alone_keeps_its_type() {
    let object = json!({
        "status": "%RESPONSE_CODE%",
        "request": {"path": "%REQ(:PATH)%", "agent": "%REQ(USER-AGENT)%", "absent": "%REQ(X-NONE)%"},
        "times": ["%DURATION%", "%DURATION% ms", 1.5, true, null],
        "a\"b": "100%% of \"%RESPONSE_FLAGS%\"",
        "fixed": "as it stands",
        "missing": "<%REQ(X-NONE)%>",
        "empty": "",
    });
    assert_eq!(
        line(&object, false),
        "{\"a\\\"b\":\"100% of \\\"UH\\\"\",\"empty\":\"\",\"fixed\":\"as it stands\",\"missing\":\"<->\",\
         \"request\":{\"absent\":null,\"agent\":\"curl/8\",\"path\":\"/p\"},\"status\":503,\
         \"times\":[7,\"7 ms\",1.5,true,null]}\n"
    );
}

#[test]
fn what_is_missing_is_left_out_where_that_is_asked_for_and_what_it_leaves_empty_with_it() {
    let object = json!({
        "absent": "%REQ(X-NONE)%",
        "nothing": {"absent": "%REQ(X-NONE)%", "deeper": {"absent": "%RESP(X-NONE)%"}},
        "status": "%RESPONSE_CODE%",
        "null": null,
        "object": {},
        "list": ["%REQ(X-NONE)%"],
        "some": ["%REQ(X-NONE)%", "%DURATION%"],
        "text": "<%REQ(X-NONE)%>",
    });
    assert_eq!(line(&object, true), "{\"list\":[],\"some\":[7],\"status\":503,\"text\":\"<>\"}\n");
    assert_eq!(line(&json!({"absent": "%REQ(X-NONE)%"}), true), "{}\n");
}

#[test]
fn what_is_no_object_or_holds_what_is_no_format_is_refused() {
    for (object, reason) in [
        (json!("%DURATION%"), "is an object"),
        (json!({"a": {"b": ["%NONE%"]}}), "`NONE`"),
        (json!({"a": "100% sure"}), "no closing"),
        (json!({"a": "%REQ(cookie)%"}), "credentials"),
    ] {
        let refused = Format::of_object(&object, false).map(drop).unwrap_err().to_string();
        assert!(refused.contains(reason), "{object}: {refused}");
    }
}

proptest! {
    #[test]
    fn it_is_one_line_of_json_with_sorted_keys_whatever_stands_in_it(
        keys in proptest::collection::vec(any::<String>(), 0..5),
        literal: String,
        agent: Vec<u8>,
        omit_empty: bool,
    ) {
        let texts = [literal.replace('%', "%%"), "%REQ(USER-AGENT)%".into(), "%REQ(X-NONE)%".into()];
        let mixed = format!("{} %REQ(USER-AGENT):9% %REQ(X-NONE)%", texts[0]);
        let texts: Vec<Value> = texts.into_iter().chain([mixed]).map(Value::String).collect();
        let entry = |key: &String| (key.clone(), json!({"list": texts, "text": texts[0]}));
        let object = Value::Object(keys.iter().map(entry).collect());
        let format = Format::of_object(&object, omit_empty).unwrap();
        let line = String::from_utf8(format.line(&record(&format, &agent))).unwrap();
        let body = line.strip_suffix('\n').unwrap();
        let ends_a_line = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
        prop_assert!(!body.contains(ends_a_line));
        let parsed: serde_json::Map<String, Value> = serde_json::from_str(body).unwrap();
        prop_assert!(parsed.keys().is_sorted());
        for (key, value) in &parsed {
            prop_assert!(object[key].is_object());
            prop_assert_eq!(value["text"].as_str(), Some(&*literal));
        }
    }
}
