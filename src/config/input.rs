//! What a configuration is made from: documents, and what only the process can know.
//!
//! Law: everything that `config` reads comes through here; it opens no file and reads no environment itself.

use std::net::IpAddr;

use crate::snapshot::Labels;

/// Bytes of one file. 10,000 rules take 3 MiB. Whoever reads a file may stop one byte later: it will be refused.
pub const MAX_FILE_BYTES: usize = 4 << 20;

/// A file's bytes and the name under which its faults are reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// The path as the operator knows it.
    pub name: String,
    /// Its whole content.
    pub bytes: Vec<u8>,
}

/// What the process knows about itself; fills what `node:` leaves out.
#[derive(Clone, Debug)]
pub struct Environment {
    /// `POD_NAME`: the node's id.
    pub pod_name: Option<String>,
    /// `POD_NAMESPACE`: the node's namespace.
    pub pod_namespace: Option<String>,
    /// `POD_IP`: an endpoint with this address and the port of a listener on every address is ourselves.
    pub pod_ip: Option<IpAddr>,
    /// The host's name: the node's id without `POD_NAME`.
    pub hostname: Option<String>,
    /// `WEIR_WORKLOAD`: the node's workload.
    pub workload: Option<String>,
    /// `WEIR_CLUSTER`: the node's cluster.
    pub cluster: Option<String>,
    /// Labels of the pod, if somebody knows them.
    pub labels: Labels,
    /// Whether an access-log format is right; the error is the reason.
    pub check_log_format: fn(&str) -> Result<(), String>,
    /// Whether a text in an access log's JSON object is right; the error is the reason.
    pub check_log_text: fn(&str) -> Result<(), String>,
    /// The headers that such a format or text asks for, in lower case.
    pub headers_of_log: fn(&str) -> Vec<String>,
}

impl Default for Environment {
    /// Nothing is known; every log format is taken as right.
    fn default() -> Environment {
        Environment {
            pod_name: None,
            pod_namespace: None,
            pod_ip: None,
            hostname: None,
            workload: None,
            cluster: None,
            labels: Labels::new(),
            check_log_format: |_| Ok(()),
            check_log_text: |_| Ok(()),
            headers_of_log: |_| Vec::new(),
        }
    }
}

impl Environment {
    /// From variables: `var` looks one up (`std::env::var(..).ok()`), an empty one counts as unset.
    pub fn from_variables(var: impl Fn(&str) -> Option<String>) -> Environment {
        let get = |name| var(name).filter(|value| !value.is_empty());
        Environment {
            pod_name: get("POD_NAME"),
            pod_namespace: get("POD_NAMESPACE"),
            pod_ip: get("POD_IP").and_then(|ip| ip.parse().ok()),
            hostname: get("HOSTNAME"),
            workload: get("WEIR_WORKLOAD"),
            cluster: get("WEIR_CLUSTER"),
            ..Environment::default()
        }
    }
}
