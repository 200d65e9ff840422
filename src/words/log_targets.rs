//! The targets of the process's log: our modules that say something, and those above them.
//!
//! Law: whoever sets a level names one of these, in every build; a name that is none is a mistake more often than a
//! library's, which says nothing below `info` anyway.

/// Every target, in order.
pub const LOG_TARGETS: &[&str] = &[
    "weir",
    "weir::app",
    "weir::app::logging",
    "weir::app::sidecar",
    "weir::app::sidecar::control",
    "weir::app::sidecar::pages",
    "weir::app::signals",
    "weir::demo",
    "weir::demo::files",
    "weir::demo::model_server",
    "weir::demo::rest",
    "weir::demo::traffic",
    "weir::proxy",
    "weir::proxy::server",
    "weir::sources",
    "weir::sources::judge",
    "weir::sources::watch",
    "weir::telemetry",
    "weir::telemetry::access_log",
    "weir::transport",
    "weir::transport::accept",
    "weir::transport::endpoint",
    "weir::transport::listen",
    "weir::upstream",
    "weir::upstream::guard",
    "weir::upstream::guard::health",
    "weir::upstream::resolve",
    "weir::upstream::spans",
];

/// Takes a target that there is.
///
/// # Errors
/// The reason, on one line, with the nearest that there is.
pub fn check(target: &str) -> Result<(), String> {
    if LOG_TARGETS.contains(&target) {
        return Ok(());
    }
    let likeness = |known: &&str| strsim::jaro_winkler(target, known);
    let nearest = LOG_TARGETS.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
    let nearest = nearest.filter(|known| likeness(known) > 0.8);
    let help = nearest.map_or("POST /logging lists them".to_owned(), |near| format!("did you mean {near}?"));
    Err(format!("{target:?} is no module that logs; {help}"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    use super::*;

    /// The modules below `folder` whose sources log.
    fn logging(folder: &Path, module: &str, into: &mut BTreeSet<String>) {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let (path, name) = (entry.path(), entry.file_name().into_string().unwrap());
            if path.is_dir() {
                logging(&path, &format!("{module}::{name}"), into);
                continue;
            }
            let Some(name) = name.strip_suffix(".rs").filter(|name| !name.contains("tests")) else {
                continue;
            };
            let text = fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]").next().unwrap();
            if ["trace", "debug", "info", "warn", "error"]
                .iter()
                .any(|level| code.contains(&format!("tracing::{level}!(")))
            {
                into.insert(if name == "mod" { module.to_owned() } else { format!("{module}::{name}") });
            }
        }
    }

    #[test]
    fn the_targets_are_the_modules_that_log_and_those_above_them() {
        let mut wanted = BTreeSet::new();
        logging(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), "weir", &mut wanted);
        assert!(wanted.len() > 10, "{wanted:?}");
        for module in wanted.clone() {
            let above = module.match_indices("::").map(|(end, _)| module[..end].to_owned());
            wanted.extend(above);
        }
        assert_eq!(
            LOG_TARGETS,
            wanted.iter().collect::<Vec<_>>(),
            "the list is that of the sources, in order"
        );
    }

    #[test]
    fn a_target_that_there_is_not_is_refused_with_the_nearest() {
        assert_eq!(check("weir::proxy"), Ok(()));
        let told = check("weir::proxi::server").unwrap_err();
        assert_eq!(told, "\"weir::proxi::server\" is no module that logs; did you mean weir::proxy::server?");
        let told = check("h2").unwrap_err();
        assert_eq!(told, "\"h2\" is no module that logs; POST /logging lists them");
    }
}
