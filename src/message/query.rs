//! Parameters of a query.
//!
//! Law: names and values are compared and handed out percent-decoded; `+` is a plus, as in Envoy, not a space. Of several
//! parameters with one name the first counts. What is no percent-code stays as it is.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// The value of the first parameter `name` (decoded) in `query`, which has no `?`. Without `=` it is empty. Allocates
/// only for a value that holds a percent-code.
pub fn parameter<'q>(query: &'q str, name: &str) -> Option<Cow<'q, [u8]>> {
    query.split('&').find_map(|parameter| {
        let (key, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let found = match key.contains('%') {
            false => key == name,
            true => percent_decode_str(key).eq(name.bytes()),
        };
        (found && !parameter.is_empty()).then(|| percent_decode_str(value).into())
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn value(query: &str, name: &str) -> Option<String> {
        parameter(query, name).map(|value| String::from_utf8_lossy(&value).into_owned())
    }

    #[test]
    fn names_and_values_are_decoded_but_a_plus_stays() {
        assert_eq!(value("a=1&b%20c=x%2fy+z", "b c").as_deref(), Some("x/y+z"));
        assert_eq!(value("a=%zz%4", "a").as_deref(), Some("%zz%4"));
        assert_eq!(value("a=1", "A"), None);
        assert_eq!((value("%41=1", "%41"), value("%2541=1", "%41").as_deref()), (None, Some("1")));
    }

    #[test]
    fn the_first_of_one_name_counts_and_one_without_a_value_is_there() {
        assert_eq!(value("a=1&a=2", "a").as_deref(), Some("1"));
        assert_eq!(value("&&a&b", "a").as_deref(), Some(""));
        assert_eq!(value("a=b=c", "a").as_deref(), Some("b=c"));
        assert_eq!((value("", ""), value("b", "a")), (None, None));
        assert_eq!(value("=x", "").as_deref(), Some("x"));
    }

    proptest! {
        #[test]
        fn what_was_encoded_is_found_again(name in ".{1,8}", text in ".{0,8}", before in "[a-z=&%]{0,8}") {
            let encode = |text: &str| {
                percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
            };
            // A name that stands before it may be the same.
            prop_assume!(parameter(&before, &name).is_none());
            let query = format!("{before}&{}={}", encode(&name), encode(&text));
            prop_assert_eq!(value(&query, &name), Some(text));
        }
    }
}
