//! The bucket bounds of every histogram.
//!
//! Law: inclusive and ascending. Sources: `prometheus.DefBuckets` and Mixer's size buckets (Istio 0.5 to 0.8), Envoy's
//! defaults, and a tenth-decade series (R10) for our own.

/// Envoy's bounds, for milliseconds and bytes alike; Istio's modern histograms have the same.
pub const ENVOY: &[f64] = &[
    0.5,
    1.0,
    5.0,
    10.0,
    25.0,
    50.0,
    100.0,
    250.0,
    500.0,
    1_000.0,
    2_500.0,
    5_000.0,
    10_000.0,
    30_000.0,
    60_000.0,
    300_000.0,
    600_000.0,
    1_800_000.0,
    3_600_000.0,
];

/// Seconds in Istio's old duration histogram.
pub const ISTIO_OLD_SECONDS: &[f64] = &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Bytes in Istio's old size histograms.
pub const ISTIO_OLD_BYTES: &[f64] = &[1.0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8];

/// Seconds in our own histograms: ten bounds a decade from 0.5 ms to 60 s, so that a percentile read from them is at
/// most an eighth off its place.
pub const SECONDS: &[f64] = &[
    0.000_5, 0.000_63, 0.000_8, //
    0.001, 0.001_25, 0.001_6, 0.002, 0.002_5, 0.003_2, 0.004, 0.005, 0.006_3, 0.008, //
    0.01, 0.012_5, 0.016, 0.02, 0.025, 0.032, 0.04, 0.05, 0.063, 0.08, //
    0.1, 0.125, 0.16, 0.2, 0.25, 0.32, 0.4, 0.5, 0.63, 0.8, //
    1.0, 1.25, 1.6, 2.0, 2.5, 3.2, 4.0, 5.0, 6.3, 8.0, //
    10.0, 12.5, 16.0, 20.0, 25.0, 32.0, 40.0, 50.0, 60.0,
];

#[cfg(test)]
mod tests {
    use super::SECONDS;

    #[test]
    fn our_own_buckets_have_ten_bounds_a_decade_from_half_a_millisecond_to_a_minute() {
        assert_eq!((SECONDS.first(), SECONDS.last()), (Some(&0.0005), Some(&60.0)));
        assert!(SECONDS.windows(2).all(|pair| pair[1] / pair[0] <= 1.3), "no step above a tenth of a decade");
    }
}
