//! `POST /logging`: shows the log's levels and changes them, by Envoy's parameters.
//!
//! Law: bad parameters change nothing.

use super::Admin;
use super::reply::{Query, Reply};
use crate::words::log_targets::{self, LOG_TARGETS};

const USAGE: &str = "usage: /logging?<target>=<level> (change single level)
usage: /logging?paths=<target>:<level>,<target>:<level>,... (change multiple levels)
usage: /logging?level=<level> (change all levels)
levels: trace debug info warning error critical off
";

/// See the module.
pub(super) fn logging(admin: &Admin, query: &Query) -> Reply {
    let now = admin.levels.directives();
    let directives = match query.iter().collect::<Vec<_>>()[..] {
        [] | [("level" | "paths", "")] => None,
        [("level", level)] => Some(level_of("level", level).map(str::to_owned)),
        [("paths", paths)] => Some(with_paths(&now, paths)),
        // Envoy's other form of a list, of its own files.
        [("group", _)] => {
            Some(Err("group: not supported: there are no groups; paths sets several at once".to_owned()))
        }
        [(target, level)] => Some(with_paths(&now, &format!("{target}:{level}"))),
        _ => Some(Err("invalid number of parameters".to_owned())),
    };
    let set = match directives {
        None => Ok(()),
        Some(directives) => directives.and_then(|directives| admin.levels.set(&directives)),
    };
    match set {
        Ok(()) => Reply::text(shown(&admin.levels.directives())),
        Err(reason) => Reply::refusal(format!("error: {reason}\n\n{USAGE}{}", shown(&now))),
    }
}

/// The directives with those of `paths` in place of the former ones of the same targets.
fn with_paths(directives: &str, paths: &str) -> Result<String, String> {
    let mut all: Vec<String> = directives.split(',').map(str::trim).map(str::to_owned).collect();
    for path in paths.split(',') {
        let (target, level) =
            path.rsplit_once(':').ok_or_else(|| format!("{path:?} is not <target>:<level>"))?;
        log_targets::check(target)?;
        let level = level_of(target, level)?;
        all.retain(|known| known.split_once('=').is_none_or(|(known, _)| known != target));
        all.push(format!("{target}={level}"));
    }
    Ok(all.join(","))
}

/// Our level of Envoy's name, which is said of `what`.
fn level_of(what: &str, name: &str) -> Result<&'static str, String> {
    Ok(match name {
        "trace" => "trace",
        "debug" => "debug",
        "info" => "info",
        "warning" | "warn" => "warn",
        "error" | "critical" => "error",
        "off" => "off",
        _ => return Err(format!("{what}: {name:?} is no level")),
    })
}

/// Every target with the level that holds for it; first what holds where none is named.
fn shown(directives: &str) -> String {
    let lines = std::iter::once("default").chain(LOG_TARGETS.iter().copied()).map(|target| {
        let level = level_in_force(directives, target);
        format!("  {target}: {}\n", if level == "warn" { "warning" } else { level })
    });
    std::iter::once("active loggers:\n".to_owned()).chain(lines).chain(["\n".to_owned()]).collect()
}

/// The directives of targets, as the option `--component-log-level` of Envoy has them.
pub(super) fn components(directives: &str) -> String {
    let named = directives.split(',').filter_map(|directive| directive.trim().split_once('='));
    named.map(|(target, level)| format!("{target}:{level}")).collect::<Vec<_>>().join(",")
}

/// As the log does: the longest directive that the target begins with; else the one without a target, or `info`.
pub(super) fn level_in_force<'d>(directives: &'d str, target: &str) -> &'d str {
    let named = directives.split(',').filter_map(|directive| directive.split_once('='));
    let named = named.map(|(known, level)| (known.trim(), level.trim()));
    let longest = named.filter(|(known, _)| target.starts_with(known)).max_by_key(|(known, _)| known.len());
    let unnamed = || directives.split(',').map(str::trim).rfind(|directive| !directive.contains('='));
    longest.map(|(_, level)| level).or_else(unnamed).unwrap_or("info")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_replace_the_directives_of_their_targets_and_no_others() {
        let set = |paths: &str| with_paths("info,weir::proxy=debug", paths);
        assert_eq!(set("weir::proxy:warning").as_deref(), Ok("info,weir::proxy=warn"));
        let both = "info,weir::proxy=debug,weir=off,weir::upstream=info";
        assert_eq!(set("weir:off,weir::upstream:info").as_deref(), Ok(both));
        for bad in
            ["", "debug", "weir", "weir:loud", ":debug", "we ir:debug", "a=b:debug", "weir:debug,", "h2:info"]
        {
            assert!(set(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_level_that_is_shown_is_the_one_in_force() {
        let level = |target| level_in_force("warn, weir=debug,weir::proxy=off", target);
        assert_eq!(
            (level("default"), level("weir"), level("weir::app::signals")),
            ("warn", "debug", "debug")
        );
        assert_eq!((level("weir::proxy"), level("weir::proxy::server")), ("off", "off"));
        assert_eq!(level_in_force("weir=debug", "default"), "info");
    }
}
