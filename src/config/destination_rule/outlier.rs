//! `outlierDetection:`: endpoints that fail are left out for a while.
//!
//! Law: as Istio hands it to Envoy: success rates are never looked at, and health is (no panic) unless
//! `minHealthPercent` says from where on it is not.

use crate::config::decode::Field;
use crate::config::draft::ClusterDraft;
use crate::config::table::{Keys, Table, maybe};
use crate::snapshot::Outlier;

/// Reads `outlierDetection:` into `settings`.
pub(super) fn read(field: &Field<'_>, settings: &mut ClusterDraft) -> Option<()> {
    const KEYS: Keys = Keys {
        known: &[
            "splitExternalLocalOriginErrors",
            "consecutiveLocalOriginFailures",
            "consecutiveGatewayErrors",
            "consecutive5xxErrors",
            "interval",
            "baseEjectionTime",
            "maxEjectionPercent",
            "minHealthPercent",
        ],
        later: &[],
        never: &[(
            "consecutiveErrors",
            "Istio has dropped it; write `consecutive5xxErrors`, or `consecutiveGatewayErrors` for 502 to 504 alone",
        )],
        proto: true,
    };
    let table = Table::new(field, &KEYS)?;
    let count = |key| maybe(&table, key, |field| field.integer(0..=u32::MAX.into()));
    let percent = |key| maybe(&table, key, |field| field.integer(0..=100));
    let split = table.get("splitExternalLocalOriginErrors").map_or(Some(false), |field| field.boolean());
    let local = count("consecutiveLocalOriginFailures");
    let gateway = count("consecutiveGatewayErrors");
    let server = count("consecutive5xxErrors");
    let interval = maybe(&table, "interval", Field::whole_ms);
    let base = maybe(&table, "baseEjectionTime", Field::whole_ms);
    let ejected = percent("maxEjectionPercent");
    let healthy = percent("minHealthPercent");
    let mut outlier = Outlier { success_rate: None, ..Outlier::default() };
    outlier.split_external_local_origin_errors = split?;
    if let Some(count) = server? {
        (outlier.consecutive_5xx, outlier.enforcing_consecutive_5xx) = enforced(count);
    }
    if let Some(count) = gateway? {
        (outlier.consecutive_gateway_failure, outlier.enforcing_consecutive_gateway_failure) =
            enforced(count);
    }
    if let (Some(count), true) = (local?.filter(|count| *count > 0), split?) {
        outlier.consecutive_local_origin_failure = count as u32;
    } else if let (Some(field), false) = (table.get("consecutiveLocalOriginFailures"), split?) {
        let help = "`splitExternalLocalOriginErrors: true`";
        field.warn_with("never-acts", "failures without an answer are not counted apart", help);
    }
    outlier.interval = interval?.unwrap_or(outlier.interval);
    outlier.base_ejection_time = base?.unwrap_or(outlier.base_ejection_time);
    // Envoy's longest ejection is at least the shortest.
    outlier.max_ejection_time = outlier.max_ejection_time.max(outlier.base_ejection_time);
    if let Some(percent) = ejected?.filter(|percent| *percent > 0) {
        outlier.max_ejection_percent = percent as u32;
    }
    settings.traffic.outlier = Some(outlier);
    settings.at.outlier = Some(field.place());
    settings.traffic.panic_threshold = Some(healthy?.unwrap_or(0) as u32);
    Some(())
}

/// A count and whether it ejects; 0 only counts.
fn enforced(count: i64) -> (u32, u32) {
    (count.max(1) as u32, if count > 0 { 100 } else { 0 })
}
