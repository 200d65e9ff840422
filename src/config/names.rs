//! The shapes of names: DNS labels, hosts, label keys; and the nearest known word to an unknown one.
//!
//! Source: RFC 1123 and Istio 0.7.1's validator, whose laws RouteRule keeps.

/// `[a-z0-9]([-a-z0-9]*[a-z0-9])?`, at most 63 characters.
pub(crate) fn is_dns_label(text: &str) -> bool {
    let alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    matches!((bytes.first(), bytes.last()), (Some(&first), Some(&last)) if alphanumeric(first) && alphanumeric(last))
        && bytes.len() <= 63
        && bytes.iter().all(|&byte| alphanumeric(byte) || byte == b'-')
}

/// DNS labels joined by dots, at most 255 characters.
pub(crate) fn is_fqdn(text: &str) -> bool {
    text.len() <= 255 && text.split('.').all(is_dns_label)
}

/// A name that resolvers take: labels of letters, digits, `-` and `_`, in any case, perhaps with a final dot.
pub(crate) fn is_resolvable(text: &str) -> bool {
    let inner = text.strip_suffix('.').unwrap_or(text);
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    inner.len() <= 253 && inner.split('.').all(label)
}

/// A key or a value of Istio's labels: `^[-A-Za-z0-9_./]*$`.
pub(crate) fn is_istio_label_part(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'/'))
}

/// The word of `known` that `unknown` was probably meant to be.
pub(crate) fn nearest<'k>(unknown: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let fold = |text: &str| text.to_ascii_lowercase().replace(['_', '-'], "");
    let wanted = fold(unknown);
    known
        .into_iter()
        .map(|word| (strsim::jaro_winkler(&wanted, &fold(word)), word))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, word)| word)
}

/// `a, b and c`
pub(crate) fn list(words: &[&str], last: &str) -> String {
    match words {
        [] => String::new(),
        [only] => (*only).to_owned(),
        [head @ .., tail] => format!("{} {last} {tail}", head.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dns_label_is_what_rfc_1123_says() {
        for good in ["a", "inception-v1", "0", &"a".repeat(63)] {
            assert!(is_dns_label(good), "{good}");
        }
        for bad in ["", "-a", "a-", "A", "a.b", "a_b", "é", &"a".repeat(64)] {
            assert!(!is_dns_label(bad), "{bad}");
        }
        assert!(is_fqdn("svc.cluster.local") && !is_fqdn("svc..local") && !is_fqdn("") && !is_fqdn("a."));
    }

    #[test]
    fn the_nearest_word_is_found_across_case_styles_and_never_far_away() {
        let known = ["circuit_breakers", "endpoints", "namespace"];
        assert_eq!(nearest("circuitBreaker", known), Some("circuit_breakers"));
        assert_eq!(nearest("endpoint", known), Some("endpoints"));
        assert_eq!(nearest("zzz", known), None);
    }
}
