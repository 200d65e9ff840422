//! Which requests are logged, where not all are.
//!
//! Law: it is asked before a line is made, and looks at the record alone. All that it says must hold; of `any` one.
//! Source: Envoy's access-log filters by status, duration and flag, and for health checks.

use std::time::Duration;

use super::field::HeadPart;
use super::format::Format;
use super::record::RequestRecord;
use crate::words::{Flags, Protocol};

/// Whose requests are health checks, by the beginning of their `user-agent`.
const CHECKERS: [&str; 4] = ["Envoy/HC", "kube-probe/", "GoogleHC/", "ELB-HealthChecker/"];
/// The service whose calls are.
const CHECKED_SERVICE: &[u8] = b"/grpc.health.v1.Health/";

/// See the module. The default lets everything pass.
#[derive(Clone, Debug, Default)]
pub struct LogFilter {
    /// The least and the highest status.
    pub status: Option<(u16, u16)>,
    /// The least and the longest duration.
    pub duration: Option<(Duration, Duration)>,
    /// One of these has to be raised.
    pub flags: Option<Flags>,
    /// Health checks are left out.
    pub no_health_checks: bool,
    /// One of these has to let it pass, if there are any.
    pub any: Vec<LogFilter>,
}

/// A filter for the lines of one format.
#[derive(Clone, Debug)]
pub(super) struct Sieve {
    filter: LogFilter,
    /// Of `user-agent` among the format's headers of requests, where that is looked at.
    agent: usize,
}

impl LogFilter {
    /// For the lines of `format`, which keeps what the filter asks for.
    pub(super) fn fit(self, format: &mut Format) -> Sieve {
        let asks = self.asks_who();
        let agent = if asks { format.request_headers.place(http::header::USER_AGENT) } else { 0 };
        Sieve { filter: self, agent }
    }

    fn asks_who(&self) -> bool {
        self.no_health_checks || self.any.iter().any(LogFilter::asks_who)
    }

    fn passes(&self, record: &RequestRecord, is_check: &impl Fn() -> bool) -> bool {
        self.status.is_none_or(|(least, most)| (least..=most).contains(&record.status))
            && self.duration.is_none_or(|(least, most)| (least..=most).contains(&record.duration))
            && self.flags.is_none_or(|flags| record.flags.meets(flags))
            && !(self.no_health_checks && is_check())
            && (self.any.is_empty() || self.any.iter().any(|filter| filter.passes(record, is_check)))
    }
}

impl Sieve {
    /// Whether the request is to be logged.
    pub(super) fn passes(&self, record: &RequestRecord) -> bool {
        self.filter.passes(record, &|| self.is_check(record))
    }

    fn is_check(&self, record: &RequestRecord) -> bool {
        let Some(heads) = &record.logged else { return false };
        let begins = |part, with: &[u8]| heads.part(part).is_some_and(|text| text.starts_with(with));
        record.protocol == Protocol::Grpc && begins(HeadPart::Path, CHECKED_SERVICE)
            || CHECKERS.iter().any(|checker| begins(HeadPart::Request(self.agent), checker.as_bytes()))
    }
}

#[cfg(test)]
#[path = "log_filter_tests.rs"]
mod tests;
