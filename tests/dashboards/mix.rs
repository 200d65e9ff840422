//! How long model servers take: a known mix, whose percentiles lie so far apart that no bucket holds two of them.
//!
//! Law: of any few requests to a server, each time has its part; so the 50th, the 90th, the 95th and the 99th percentile
//! are times of four kinds, of a version's successes as of all that its callers send.

use std::time::Duration;

/// How many of [`ALL`] requests take each of a mix's times.
const PARTS: [usize; 4] = [143, 40, 11, 6];
const ALL: usize = 200;
/// No divisor in common with [`ALL`]: neighbours among the requests are far apart in the mix.
const STEP: usize = 77;

/// The times that a server takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mix([Duration; 4]);

/// The mixes of `v1` and `v2`.
pub(crate) const MIXES: [Mix; 2] = [Mix::of([15, 120, 600, 2_000]), Mix::of([40, 200, 700, 2_000])];

impl Mix {
    const fn of(milliseconds: [u64; 4]) -> Mix {
        let [most, some, few, least] = milliseconds;
        Mix([
            Duration::from_millis(most),
            Duration::from_millis(some),
            Duration::from_millis(few),
            Duration::from_millis(least),
        ])
    }

    /// What most take.
    pub(crate) fn mostly(&self) -> Duration {
        self.0[0]
    }

    /// What the `number`th request takes.
    pub(crate) fn at(&self, number: usize) -> Duration {
        let mut place = number * STEP % ALL;
        for (part, time) in PARTS.into_iter().zip(self.0) {
            match place.checked_sub(part) {
                None => return time,
                Some(rest) => place = rest,
            }
        }
        unreachable!("the parts are all")
    }
}

/// Every request takes as long.
impl From<Duration> for Mix {
    fn from(time: Duration) -> Mix {
        Mix([time; 4])
    }
}
