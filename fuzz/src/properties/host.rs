//! The normal form of a host: found once it stays, and case, a port or the root's dot change nothing.

use std::borrow::Cow;

use weir::message::host::normalise;

/// See the module.
pub fn check(data: &[u8]) {
    let Ok(authority) = std::str::from_utf8(data) else { return };
    let Ok(form) = normalise(authority) else { return };
    assert!(!form.is_empty() && form.len() <= authority.len(), "{authority:?} became {form:?}");
    assert!(form.bytes().all(|byte| byte.is_ascii_graphic() && !byte.is_ascii_uppercase()), "{form:?}");
    assert!(!form.contains(['@', '/', '\\', '?', '#', '"', '<', '>']), "{form:?} is no host");
    if form.starts_with('[') {
        assert!(form.ends_with(']'), "{form:?} carries more than an address");
    } else {
        assert!(!form.contains([':', '[', ']']), "{form:?} carries a port");
        assert!(form.split('.').all(|label| !label.is_empty()), "{form:?} has an empty label");
    }
    assert!(
        matches!(normalise(&form), Ok(Cow::Borrowed(again)) if again == form),
        "{form:?} is not its own normal form"
    );
    let dot = if form.starts_with('[') { "" } else { "." };
    for spelling in [
        format!("{form}:65535"),
        format!("{form}:"),
        format!("{form}{dot}"),
        form.to_ascii_uppercase(),
        format!("{}{dot}:080", form.to_ascii_uppercase()),
    ] {
        assert_eq!(normalise(&spelling), Ok(form.clone()), "{spelling:?}");
    }
    for other in [format!("u@{form}"), format!("{form}:65536"), format!("{form}:x"), format!("{form}/")] {
        assert!(normalise(&other).is_err(), "{other:?} passed");
    }
}
