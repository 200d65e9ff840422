//! `POST /logging`: shows the log's levels and changes them, by Envoy's parameters.
//!
//! Law: bad parameters change nothing.

use super::Admin;
use super::reply::{Query, Reply};

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
        [("level", level)] => Some(level_of(level).map(str::to_owned)),
        [("paths", paths)] => Some(with_paths(&now, paths)),
        // Envoy's other form of a list has a colon where this one has a level.
        [(target, level)] => {
            Some(level_of(level).and_then(|level| with_paths(&now, &format!("{target}:{level}"))))
        }
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
        let level = level_of(level)?;
        if target.is_empty() || !target.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | ':')) {
            return Err(format!("{target:?} is no target, such as weir::proxy"));
        }
        all.retain(|known| known.split_once('=').is_none_or(|(known, _)| known != target));
        all.push(format!("{target}={level}"));
    }
    Ok(all.join(","))
}

/// Our level of Envoy's name.
fn level_of(name: &str) -> Result<&'static str, String> {
    Ok(match name {
        "trace" => "trace",
        "debug" => "debug",
        "info" => "info",
        "warning" | "warn" => "warn",
        "error" | "critical" => "error",
        "off" => "off",
        _ => return Err(format!("{name:?} is no level")),
    })
}

fn shown(directives: &str) -> String {
    let lines = directives.split(',').map(|directive| {
        let (target, level) = directive.split_once('=').unwrap_or(("default", directive));
        format!("  {target}: {}\n", if level == "warn" { "warning" } else { level })
    });
    std::iter::once("active loggers:\n".to_owned()).chain(lines).chain(["\n".to_owned()]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_replace_the_directives_of_their_targets_and_no_others() {
        let set = |paths: &str| with_paths("info,weir::proxy=debug", paths);
        assert_eq!(set("weir::proxy:warning").as_deref(), Ok("info,weir::proxy=warn"));
        assert_eq!(set("weir:off,h2:info").as_deref(), Ok("info,weir::proxy=debug,weir=off,h2=info"));
        for bad in ["", "debug", "weir", "weir:loud", ":debug", "we ir:debug", "a=b:debug", "weir:debug,"] {
            assert!(set(bad).is_err(), "{bad:?}");
        }
    }
}
