//! The formats' laws: what is not right is refused by name, and nothing is asked for that no operator needs.

use super::*;

fn refusal(text: &str) -> String {
    Format::parse(text).unwrap_err().to_string()
}

#[test]
fn the_named_formats_and_a_line_of_operators_are_read() {
    for text in ["envoy", "json", "%RESPONSE_CODE%", "%%: %REQ(X-A?:PATH):8% %RESP(x-b)%\n"] {
        assert!(Format::parse(text).is_ok(), "{text}");
    }
}

#[test]
fn an_operator_that_cannot_be_filled_is_refused_by_name_with_what_is_allowed() {
    for (name, why) in [
        ("SOMETHING", "supported; allowed"),
        ("DOWNSTREAM_TLS_VERSION", "supported: Weir speaks no TLS; allowed"),
        ("DOWNSTREAM_PEER_URI_SAN", "no TLS"),
        ("DYNAMIC_METADATA", "no metadata"),
    ] {
        let refusal = refusal(&format!("%BYTES_SENT% %{name}%"));
        let named = refusal.contains(&format!("`{name}`")) && refusal.contains(why);
        assert!(named && refusal.contains("GRPC_STATUS_NUMBER"), "{refusal}");
    }
}

#[test]
fn credentials_are_not_logged() {
    assert!(refusal("%TRAILER(cookie)%").contains("credentials"));
    for header in ["Authorization", "cookie", "X?COOKIE", "Proxy-Authorization"] {
        assert!(refusal(&format!("%REQ({header})%")).contains("credentials"), "{header}");
    }
    assert!(refusal("%RESP(Set-Cookie)%").contains("credentials"));
}

#[test]
fn what_is_not_a_format_is_refused_with_its_reason() {
    assert!(refusal("jsn").contains("names no operator"));
    assert!(refusal("100% sure").contains("no closing `%`"));
    assert!(refusal("%REQ%").contains("needs a header"));
    assert!(refusal("%REQ()%").contains("needs a header"));
    assert!(refusal("%REQ(a b)%").contains("not the name of a header"));
    assert!(refusal("%REQ(a%").contains("no closing `)`"));
    assert!(refusal("%REQ(a):x%").contains("`:number`"));
    assert!(refusal("%START_TIME(%!)%").contains("no form of time"));
    assert!(refusal("%START_TIME(%s%").contains("no closing"));
    assert!(refusal("%DURATION(x)%").contains("takes no argument"));
    assert!(refusal("%GRPC_STATUS(x)%").contains("no form of a status"));
    assert!(refusal("%ENVIRONMENT%").contains("needs a variable"));
    assert!(refusal("%TRAILER%").contains("needs a header"));
    assert!(refusal("%DURATION%\n%DURATION%").contains("one line"));
}

#[test]
fn a_header_that_is_asked_for_twice_is_taken_once() {
    let format = Format::parse("%REQ(X-A)% %REQ(x-a)% %REQ(x-b?x-a)%").unwrap();
    assert_eq!(format.request_headers.all(), ["x-a", "x-b"]);
}

#[test]
fn a_format_asks_for_moments_only_where_an_operator_needs_them() {
    for (text, wants) in [("json", false), ("envoy", false), ("%STREAM_ID%%TRACE_ID%%TRAILER(a)%", false)] {
        assert_eq!(Format::parse(text).unwrap().wants_moments, wants, "{text}");
    }
    for text in ["%CONNECTION_ID%", "%LOCAL_REPLY_BODY%", "%RESPONSE_TX_DURATION%"] {
        assert!(Format::parse(text).unwrap().wants_moments, "{text}");
    }
}
