//! The normal form of a path: found once it stays, and it holds nothing that the next server could read otherwise.

use std::borrow::Cow;

use weir::message::path::normalise;

/// See the module.
pub fn check(data: &[u8]) {
    let Ok(path) = std::str::from_utf8(data) else { return };
    let Ok(form) = normalise(path) else {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte);
        assert!(!path.starts_with('/') || !path.bytes().all(plain), "refused: {path:?}");
        return;
    };
    assert!(form.starts_with('/'), "{path:?} became {form:?}");
    assert!(form.len() <= path.len(), "{path:?} grew to {form:?}");
    assert!(form.bytes().all(|byte| byte.is_ascii_graphic()), "{form:?} is not printable ASCII");
    assert!(!form.contains(['?', '#', '\\']), "{form:?} ends early for somebody");
    assert!(!form.contains("//"), "{form:?} has an empty segment");
    for segment in form.split('/') {
        assert!(!matches!(segment, "." | ".."), "{form:?} has a dot segment");
        check_codes(segment);
    }
    assert!(
        matches!(normalise(&form), Ok(Cow::Borrowed(again)) if again == form),
        "{form:?} is not its own normal form"
    );
    spellings_agree(path, &form);
}

/// What is left of percent-codes: whole, in upper case, of nothing that stands for itself, and of no slash.
fn check_codes(segment: &str) {
    for after in segment.split('%').skip(1) {
        let code = after.get(..2).unwrap_or_else(|| panic!("{segment:?} has half a percent-code"));
        let byte =
            u8::from_str_radix(code, 16).unwrap_or_else(|_| panic!("{segment:?} has no code in %{code}"));
        assert!(!code.bytes().any(|digit| digit.is_ascii_lowercase()), "{segment:?} has a lower-case code");
        assert!(!byte.is_ascii_alphanumeric() && !b"-._~/\\".contains(&byte), "{segment:?} escapes %{code}");
        assert!(code.bytes().all(|digit| digit.is_ascii_hexdigit()), "{segment:?} has no code in %{code}");
    }
}

/// Escaping what needs no escape, or a `/.` more, is the same path.
fn spellings_agree(path: &str, form: &str) {
    let escaped: String = path
        .char_indices()
        .map(|(at, c)| {
            // Digits behind a percent sign are part of a code.
            let coded = path[..at].ends_with('%') || (at >= 2 && path.as_bytes()[at - 2] == b'%');
            if !coded && (c.is_ascii_alphanumeric() || "-._~".contains(c)) {
                format!("%{:02x}", c as u32)
            } else {
                c.to_string()
            }
        })
        .collect();
    assert_eq!(normalise(&escaped).as_deref(), Ok(form), "{path:?} and {escaped:?}");
    let dotted = format!("/.{path}");
    assert_eq!(normalise(&dotted).as_deref(), Ok(form), "{path:?} and {dotted:?}");
}
