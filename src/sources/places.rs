//! Which names in the file system decide what a configuration is, and which directories must be watched for them.
//!
//! Law: a path is what its directories and links make it, so each of them counts: a ConfigMap changes by one link,
//! a release by another. Directories are named without links, so that one of them has one name. It reads no content.

use std::collections::{BTreeSet, HashSet};
use std::ffi::OsString;
use std::fs;
use std::path::{Component, Path, PathBuf};

use super::read::is_rule_file;

/// Links followed for one path; the kernel follows as many.
const LINKS_MAX: u32 = 40;

/// Names that count.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Places {
    /// Files, directories and links that were passed on the way to a file.
    entries: HashSet<PathBuf>,
    /// Directories whose rule files count, whichever they are.
    rule_folders: HashSet<PathBuf>,
}

impl Places {
    /// The places of the main file at `main` and of the rule files and directories `rules`.
    pub(super) fn of(main: &Path, rules: &[PathBuf]) -> Places {
        let mut places = Places::default();
        places.trace(main);
        for rule in rules {
            if let Some(real) = places.trace(rule).filter(|real| real.is_dir()) {
                places.trace_links_in(&real);
                places.rule_folders.insert(real);
            }
        }
        places
    }

    /// Whether a change of `path` may change the configuration.
    pub(super) fn concern(&self, path: &Path) -> bool {
        let in_rule_folder = || path.parent().is_some_and(|folder| self.rule_folders.contains(folder));
        self.entries.contains(path) || (is_rule_file(path) && in_rule_folder())
    }

    /// The directories that tell of every change that concerns us, if watched.
    pub(super) fn folders(&self) -> BTreeSet<&Path> {
        let parents = self.entries.iter().filter_map(|entry| entry.parent());
        parents.chain(self.rule_folders.iter().map(PathBuf::as_path)).collect()
    }

    /// Notes every name that is looked up on the way to `path`. Returns where it leads, free of links; `None`: to
    /// nothing, and then the first name that does not exist has been noted.
    fn trace(&mut self, path: &Path) -> Option<PathBuf> {
        let mut ahead = parts_reversed(&std::path::absolute(path).ok()?);
        let mut real = PathBuf::from("/");
        let mut links = 0;
        while let Some(name) = ahead.pop() {
            if name == ".." {
                real.pop();
                continue;
            }
            real.push(name);
            self.entries.insert(real.clone());
            if fs::symlink_metadata(&real).ok()?.is_symlink() {
                let target = fs::read_link(&real).ok()?;
                links += 1;
                if links > LINKS_MAX {
                    return None;
                }
                ahead.extend(parts_reversed(&target));
                real.pop();
                if target.is_absolute() {
                    real = PathBuf::from("/");
                }
            }
        }
        Some(real)
    }

    fn trace_links_in(&mut self, folder: &Path) {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let is_link = entry.file_type().is_ok_and(|kind| kind.is_symlink());
            if is_link && is_rule_file(&entry.path()) {
                self.trace(&entry.path());
            }
        }
    }
}

/// The names of `path`, the last one first, without the root and `.`.
fn parts_reversed(path: &Path) -> Vec<OsString> {
    let names = path.components().rev().filter_map(|part| match part {
        Component::Normal(_) | Component::ParentDir => Some(part.as_os_str().to_owned()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    });
    names.collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn folder() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let real = folder.path().canonicalize().unwrap();
        (folder, real)
    }

    #[test]
    fn every_directory_on_the_way_is_watched_and_concerns_only_by_the_next_name() {
        let (_guard, root) = folder();
        fs::create_dir_all(root.join("etc/rules")).unwrap();
        fs::write(root.join("etc/weir.yaml"), "").unwrap();
        let places = Places::of(&root.join("etc/weir.yaml"), &[root.join("etc/rules")]);
        for name in ["", "etc", "etc/weir.yaml", "etc/rules", "etc/rules/any.yaml", "etc/rules/b.json"] {
            assert!(places.concern(&root.join(name)), "{name}");
        }
        for name in ["other", "etc/access.log", "etc/other.yaml", "etc/rules/a.txt", "etc/rules/.a.yaml.swp"]
        {
            assert!(!places.concern(&root.join(name)), "{name}");
        }
        for name in ["", "etc", "etc/rules"] {
            assert!(places.folders().contains(&*root.join(name)), "{name}");
        }
    }

    #[test]
    fn the_links_of_a_config_map_concern_us() {
        let (_guard, root) = folder();
        fs::create_dir_all(root.join("rules/..2026_1")).unwrap();
        fs::write(root.join("rules/..2026_1/a.yaml"), "").unwrap();
        symlink("..2026_1", root.join("rules/..data")).unwrap();
        symlink("..data/a.yaml", root.join("rules/a.yaml")).unwrap();
        let places = Places::of(&root.join("weir.yaml"), &[root.join("rules/")]);
        for name in ["rules/a.yaml", "rules/..data", "rules/..2026_1", "rules/..2026_1/a.yaml"] {
            assert!(places.concern(&root.join(name)), "{name}");
        }
        assert!(places.folders().contains(&*root.join("rules/..2026_1")));
    }

    #[test]
    fn a_directory_behind_a_link_has_its_own_name_only() {
        let (_guard, root) = folder();
        fs::create_dir_all(root.join("releases/1/rules")).unwrap();
        symlink("releases/1", root.join("current")).unwrap();
        let places = Places::of(&root.join("weir.yaml"), &[root.join("current/../1/./rules")]);
        assert!(
            places.concern(&root.join("current")) && places.concern(&root.join("releases/1/rules/a.yml"))
        );
        let folders = places.folders();
        assert!(
            folders.contains(&*root.join("releases/1/rules")) && !folders.contains(&*root.join("current"))
        );
    }

    #[test]
    fn what_does_not_exist_is_watched_for_where_it_would_appear() {
        let (_guard, root) = folder();
        let places = Places::of(&root.join("weir.yaml"), &[root.join("a/b/rules")]);
        assert!(places.concern(&root.join("a")) && places.concern(&root.join("weir.yaml")));
        assert!(places.folders().contains(&*root));
        symlink("loop", root.join("loop")).unwrap();
        assert!(Places::of(&root.join("loop"), &[]).concern(&root.join("loop")));
    }
}
