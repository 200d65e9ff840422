//! The live page: what `/` is for a browser.
//!
//! Law: four files that are part of the program, which fetch nothing from elsewhere. The page asks the other pages; what
//! it shows, they tell.

use http::{HeaderMap, header::ACCEPT};

use super::reply::{HTML, Reply};

/// The document, for whoever prefers it to a list of the pages.
pub(super) fn document(headers: &HeaderMap) -> Option<Reply> {
    let accepts = headers.get_all(ACCEPT).iter().any(|value| {
        value.to_str().is_ok_and(|value| value.split(',').any(|one| one.trim().starts_with("text/html")))
    });
    accepts.then(|| Reply::file(HTML, include_str!("live/page.html")))
}

/// How it looks.
pub(super) fn style() -> Reply {
    Reply::file("text/css; charset=UTF-8", include_str!("live/live.css"))
}

/// What it does.
pub(super) fn script() -> Reply {
    Reply::file("text/javascript; charset=UTF-8", include_str!("live/live.js"))
}

/// What stands in the browser's tab.
pub(super) fn icon() -> Reply {
    Reply::file("image/svg+xml", include_str!("live/live.svg"))
}
