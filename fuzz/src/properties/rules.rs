//! Files of rules: what is taken is right on its own and beside a configuration; what is refused says why.

use weir::config::{Document, FileKind, Severity, file_kind, validate_rules};

use super::weir_yaml::{document, holds_together, load_all, readable};

const MAIN: &str = "
listeners:
- {name: predict, address: '0.0.0.0:8500'}
- {name: edge, address: '0.0.0.0:8501', gateways: [edge]}
- {name: alone, address: '0.0.0.0:8502', service: inception}
- {name: delivery, address: '0.0.0.0:8503', service: mnist.web, mode: deliver, allow: any}
services:
- name: inception
  endpoints:
  - {address: '10.0.0.1:8500', labels: {version: v1}}
  - {address: '10.0.0.2:8500', labels: {version: v2, track: canary}}
- {name: mnist, namespace: web, endpoints: [{address: '10.0.0.3:8500', local: true}]}
callers:
- {cidr: 10.1.0.0/16, service: mnist.web, labels: {app: mnist}}
";

/// See the module.
pub fn check(data: &[u8]) {
    let main = document("weir.yaml", MAIN.as_bytes());
    let rules = document("rules.yaml", data);
    alone(&rules);
    match load_all(&main, std::slice::from_ref(&rules)) {
        Ok(loaded) => {
            readable(&loaded.warnings, &[&main, &rules]);
            holds_together(&loaded);
            assert!(validate_rules(std::slice::from_ref(&rules)).is_ok(), "right in company only");
        }
        Err(found) => {
            readable(&found, &[&main, &rules]);
            assert!(found.has_errors(), "refused for no reason");
            assert!(
                found.iter().any(|one| &*one.origin.file == "rules.yaml"),
                "the configuration is right: {found:?}"
            );
            assert!(
                validate_rules(std::slice::from_ref(&rules)).is_err(),
                "wrong in company only: {found:?}"
            );
        }
    }
}

fn alone(rules: &Document) {
    match validate_rules(std::slice::from_ref(rules)) {
        Ok((count, warnings)) => {
            readable(&warnings, &[rules]);
            assert!(warnings.iter().all(|one| one.severity == Severity::Warning));
            if count > 0 {
                assert_eq!(file_kind(rules), Ok(FileKind::Rules));
            }
        }
        Err(found) => readable(&found, &[rules]),
    }
}
