//! Waiting, on a thread that also serves.

use std::time::{Duration, Instant};

/// A machine under load; windows of a minute are forgotten within it, too.
const DEADLINE: Duration = Duration::from_secs(180);

/// Waits until `check` gives something.
pub(crate) async fn until<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + DEADLINE;
    loop {
        if let Some(value) = check() {
            return value;
        }
        assert!(Instant::now() < end, "{what}: not within {DEADLINE:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
