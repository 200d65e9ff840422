//! Whose numbers they are: the label values of one version of one service, for one caller.
//!
//! Law: every value comes from the plane, and none is empty: dashboards match "unknown", they cannot match nothing.

use std::sync::Arc;

use super::dimension::DimensionLabels;

/// What runs behind a name, as far as it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // Istio's label names are the document
pub struct WorkloadLabels {
    pub name: Arc<str>,
    pub namespace: Arc<str>,
    pub principal: Arc<str>,
    pub app: Arc<str>,
    pub canonical_service: Arc<str>,
    pub canonical_revision: Arc<str>,
    /// The Kubernetes cluster.
    pub cluster: Arc<str>,
}

/// Who calls, as far as it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallerLabels {
    /// Its service's full name.
    pub service: Arc<str>,
    /// Its version.
    pub version: Arc<str>,
    /// Its workload.
    pub workload: WorkloadLabels,
}

/// The label values of one version of one service under one rule, for one caller. None is ever empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionLabels {
    /// The service's full name, such as `mnist.kubeflow.svc.cluster.local`.
    pub service: Arc<str>,
    /// Its short name.
    pub service_name: Arc<str>,
    /// Its namespace.
    pub service_namespace: Arc<str>,
    /// The rule that chose; of a request that no rule takes `default-route`, and `none` where a route has no name.
    pub rule: Arc<str>,
    /// The version that was chosen.
    pub version: Arc<str>,
    /// What runs that version.
    pub workload: WorkloadLabels,
    /// Who calls.
    pub caller: CallerLabels,
    /// What its requests are counted by beside it; mostly nothing.
    pub dimensions: Arc<[DimensionLabels]>,
    /// Whether the old Istio family shows a gRPC failure as the HTTP code that TF Serving's REST side would give.
    pub grpc_as_http: bool,
    /// Whether this process splits requests to this version: its zero series are made.
    pub reports_source: bool,
    /// Whether this process hands requests to a model server of this version: its zero series are made.
    pub reports_destination: bool,
}

/// The value of a label that nobody knows.
pub const UNKNOWN: &str = "unknown";

impl Default for WorkloadLabels {
    fn default() -> WorkloadLabels {
        let unknown: Arc<str> = UNKNOWN.into();
        WorkloadLabels {
            name: Arc::clone(&unknown),
            namespace: Arc::clone(&unknown),
            principal: Arc::clone(&unknown),
            app: Arc::clone(&unknown),
            canonical_service: Arc::clone(&unknown),
            canonical_revision: Arc::clone(&unknown),
            cluster: unknown,
        }
    }
}

impl Default for CallerLabels {
    fn default() -> CallerLabels {
        CallerLabels { service: UNKNOWN.into(), version: UNKNOWN.into(), workload: WorkloadLabels::default() }
    }
}

impl VersionLabels {
    /// Labels for an unknown caller and workload; the short name and the namespace are read from `service`.
    pub fn new(service: &str, rule: &str, version: &str) -> VersionLabels {
        let mut parts = service.split('.');
        VersionLabels {
            service: known(service),
            service_name: known(parts.next().unwrap_or_default()),
            service_namespace: known(parts.next().unwrap_or_default()),
            rule: if rule.is_empty() { "none".into() } else { rule.into() },
            version: known(version),
            workload: WorkloadLabels::default(),
            caller: CallerLabels::default(),
            dimensions: Arc::default(),
            grpc_as_http: true,
            reports_source: true,
            reports_destination: false,
        }
    }
}

fn known(value: &str) -> Arc<str> {
    if value.is_empty() { UNKNOWN.into() } else { value.into() }
}
