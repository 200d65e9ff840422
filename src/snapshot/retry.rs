//! When a failed attempt is made again, how often, and after how long.
//!
//! Source: Envoy's `x-envoy-retry-on` and `x-envoy-retry-grpc-on`.

use std::time::Duration;

use serde::{Serialize, Serializer};

use super::route::HeaderMatch;

/// A route's retries. They stay within the version that was chosen.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RetryPolicy {
    /// What allows one.
    pub on: RetryOn,
    /// Statuses of `retriable-status-codes`.
    pub status_codes: Vec<u16>,
    /// Fields of `retriable-headers`; one that holds is enough.
    pub headers: Vec<HeaderMatch>,
    /// Attempts after the first.
    pub retries: u32,
    /// From an attempt's start to the end of its answer's head; with gRPC's conditions to that of its trailers.
    pub per_try_timeout: Option<Duration>,
    /// Without a byte of the attempt's answer.
    pub per_try_idle_timeout: Option<Duration>,
    /// Pauses between attempts.
    pub back_off: BackOff,
    /// Whether endpoints that were tried are avoided where there are others.
    pub elsewhere: bool,
}

impl Default for RetryPolicy {
    fn default() -> RetryPolicy {
        RetryPolicy {
            on: RetryOn::default(),
            status_codes: Vec::new(),
            headers: Vec::new(),
            retries: 1,
            per_try_timeout: None,
            per_try_idle_timeout: None,
            back_off: BackOff::default(),
            elsewhere: true,
        }
    }
}

/// Full jitter: before the n-th retry a pause drawn from 0 to min((2^n - 1) * base, max).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct BackOff {
    pub base: Duration,
    pub max: Duration,
}

impl BackOff {
    /// With the longest pause that Envoy has where only the shortest is said: ten times that.
    pub fn from_base(base: Duration) -> BackOff {
        BackOff { base, max: base.saturating_mul(10) }
    }
}

impl Default for BackOff {
    fn default() -> BackOff {
        BackOff::from_base(Duration::from_millis(25))
    }
}

macro_rules! conditions {
    ($($variant:ident $name:literal $doc:literal)+) => {
        /// One of Envoy's conditions, HTTP and gRPC.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum RetryCondition { $(#[doc = $doc] $variant,)+ }

        impl RetryCondition {
            /// All, in order.
            pub const ALL: &[RetryCondition] = &[$(RetryCondition::$variant,)+];

            /// As Envoy writes it.
            pub fn as_str(self) -> &'static str {
                match self { $(RetryCondition::$variant => $name,)+ }
            }
        }
    };
}

conditions! {
    ServerError "5xx" "Any 5xx, or no answer at all: a reset, a connection that was not had, a try's timeout."
    GatewayError "gateway-error" "502, 503, 504, or no answer at all."
    Reset "reset" "No answer at all."
    ResetBeforeRequest "reset-before-request" "Reset before the request's head was sent."
    ConnectFailure "connect-failure" "A connection that was not had."
    EnvoyRateLimited "envoy-ratelimited" "`x-envoy-ratelimited` stands in the answer."
    Retriable4xx "retriable-4xx" "409."
    RefusedStream "refused-stream" "REFUSED_STREAM."
    RetriableStatusCodes "retriable-status-codes" "A status of the policy's list."
    RetriableHeaders "retriable-headers" "A field of the policy's list."
    Cancelled "cancelled" "gRPC status 1."
    DeadlineExceeded "deadline-exceeded" "gRPC status 4."
    Internal "internal" "gRPC status 13."
    ResourceExhausted "resource-exhausted" "gRPC status 8."
    Unavailable "unavailable" "gRPC status 14."
}

impl RetryCondition {
    /// Reads Envoy's name.
    pub fn parse(name: &str) -> Option<RetryCondition> {
        RetryCondition::ALL.iter().copied().find(|condition| condition.as_str() == name)
    }
}

/// A set of conditions; in JSON the list of their names.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct RetryOn(u16);

impl RetryOn {
    const GRPC: u16 = 0b11111 << RetryCondition::Cancelled as u16;

    /// Adds one.
    #[must_use]
    pub fn with(self, condition: RetryCondition) -> RetryOn {
        RetryOn(self.0 | 1 << condition as u16)
    }

    /// Whether it holds `condition`.
    pub fn has(self, condition: RetryCondition) -> bool {
        self.0 & 1 << condition as u16 != 0
    }

    /// Whether it holds none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether a gRPC status may allow a retry, so that trailers are worth waiting for.
    pub fn has_grpc(self) -> bool {
        self.0 & RetryOn::GRPC != 0
    }

    /// In order.
    pub fn iter(self) -> impl Iterator<Item = RetryCondition> {
        RetryCondition::ALL.iter().copied().filter(move |&condition| self.has(condition))
    }
}

impl FromIterator<RetryCondition> for RetryOn {
    fn from_iter<I: IntoIterator<Item = RetryCondition>>(conditions: I) -> RetryOn {
        conditions.into_iter().fold(RetryOn::default(), RetryOn::with)
    }
}

impl Serialize for RetryOn {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter().map(RetryCondition::as_str))
    }
}
