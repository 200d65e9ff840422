//! The value of a field that may come more than once.

use std::borrow::Cow;

use http::header::COOKIE;
use http::{HeaderMap, HeaderName, HeaderValue};

/// All values of `name` as one, joined by commas (RFC 9110 section 5.3), those of `cookie` by `; ` as HTTP/2 joins them
/// (RFC 9113 section 8.2.3). Allocates only for a name that has several.
#[inline]
pub fn joined<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<Cow<'a, [u8]>> {
    let mut values = headers.get_all(name).iter().map(HeaderValue::as_bytes);
    let first = values.next()?;
    let mut joined = Cow::Borrowed(first);
    for value in values {
        let joined = joined.to_mut();
        joined.extend_from_slice(if *name == COOKIE { b"; " } else { b"," });
        joined.extend_from_slice(value);
    }
    Some(joined)
}

/// The items of the list that all values of `name` are (RFC 9110 section 5.6.1). Empty ones are none.
pub fn items<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> + use<'a> {
    let values = headers.get_all(name).iter();
    let items = values.flat_map(|value| value.as_bytes().split(|&byte| byte == b','));
    items.map(<[u8]>::trim_ascii).filter(|item| !item.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_cookies_are_one_as_http_2_has_them() {
        let mut headers = HeaderMap::new();
        headers.append(COOKIE, HeaderValue::from_static("a=b"));
        headers.append(COOKIE, HeaderValue::from_static("user=jason"));
        assert_eq!(joined(&headers, &COOKIE).as_deref(), Some(&b"a=b; user=jason"[..]));
    }

    #[test]
    fn several_values_are_one_with_commas_and_one_is_lent() {
        let name = HeaderName::from_static("x-a");
        let mut headers = HeaderMap::new();
        assert_eq!(joined(&headers, &name), None);
        headers.append(&name, HeaderValue::from_static("1"));
        assert!(matches!(joined(&headers, &name), Some(Cow::Borrowed(b"1"))));
        headers.append(&name, HeaderValue::from_static(""));
        headers.append(&name, HeaderValue::from_static("2, 3"));
        assert_eq!(joined(&headers, &name).as_deref(), Some(&b"1,,2, 3"[..]));
        assert_eq!(items(&headers, &name).collect::<Vec<_>>(), [b"1", b"2", b"3"]);
    }
}
