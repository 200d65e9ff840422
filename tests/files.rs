//! Laws of reloading: what every way of changing files does to the configuration in force.
//!
//! Real files in temporary directories; every wait is for a verdict, with a deadline.

#![allow(clippy::unwrap_used)] // a panic is the report

#[path = "files/world.rs"]
mod world;

use std::fs;
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use weir::config::Environment;
use weir::sources::{FileSource, Verdict, Watcher, start};
use world::{DEADLINE, SILENCE, World, config_map, is_in_force_soon, main_file, rule, weights};

#[test]
fn a_rule_changed_in_place_is_in_force_soon() {
    is_in_force_soon(|world| {
        let written = Instant::now();
        world.write("rules/a.yaml", rule(50));
        assert_eq!(weights(&world.accepted()), [50, 50]);
        Some(written.elapsed())
    });
}

#[test]
fn a_rule_changed_by_rename_is_in_force_time_and_again() {
    let world = World::new();
    for v2 in [50, 100, 0] {
        world.write_by_rename("rules/a.yaml", &rule(v2));
        assert_eq!(weights(&world.accepted()), [100 - v2, v2]);
    }
}

#[test]
fn half_a_file_is_refused_and_the_whole_of_it_accepted() {
    let world = World::new();
    let text = rule(50);
    world.write("rules/a.yaml", &text[..text.len() - 12]);
    let faults = world.refused().to_string();
    assert!(faults.contains("rules/a.yaml"), "{faults}");
    world.write("rules/a.yaml", &text);
    assert_eq!(weights(&world.accepted()), [50, 50]);
}

#[test]
fn what_is_no_configuration_is_refused_once_and_what_was_in_force_restored() {
    for (name, bytes) in [
        ("rules/a.yaml", &b""[..]),
        ("rules/a.yaml", b"# nothing but a remark\n"),
        ("rules/a.yaml", b"\x7fELF\0\xff\xfe"),
        ("rules/b.yml", b"kind: Nonsense\n"),
        ("weir.yaml", b""),
        ("weir.yaml", b"rules: [17]\n"),
        ("weir.yaml", b"rules: [rules\n"),
    ] {
        let world = World::new();
        let before = fs::read(world.path(name)).ok();
        world.write(name, bytes);
        let faults = world.refused().to_string();
        assert!(faults.contains(name), "{name}: {faults}");
        world.write(name, bytes);
        match before {
            Some(before) => world.write(name, before),
            None => fs::remove_file(world.path(name)).unwrap(),
        }
        assert_eq!(world.next(), Verdict::Restored, "{name}");
    }
}

#[test]
fn a_file_of_20_mb_is_refused_for_its_size() {
    let world = World::new();
    world.write("rules/a.yaml", vec![b'#'; 20 << 20]);
    let faults = world.refused();
    assert_eq!(faults.iter().map(|fault| fault.code).collect::<Vec<_>>(), ["too-large"]);
}

#[test]
fn what_does_not_change_the_configuration_is_not_said() {
    let world = World::new();
    world.write("access.log", "a line");
    world.write("rules/notes.txt", "a note");
    world.write("rules/.a.yaml.swp", "an editor's");
    world.write("rules/a.yaml", rule(5));
    world.nothing_is_said();
}

#[test]
fn a_file_gone_takes_its_rules_along_but_not_before_500_ms() {
    let world = World::new();
    let removed = Instant::now();
    fs::remove_file(world.path("rules/a.yaml")).unwrap();
    let loaded = world.accepted();
    assert!(removed.elapsed() >= Duration::from_millis(500), "{:?}", removed.elapsed());
    assert_eq!((loaded.rules, weights(&loaded).len()), (0, 1));
}

#[test]
fn a_file_that_is_replaced_by_another_is_seen_as_one_change() {
    let world = World::new();
    fs::remove_file(world.path("rules/a.yaml")).unwrap();
    world.write("rules/b.yaml", rule(50));
    assert_eq!(weights(&world.accepted()), [50, 50]);
    world.nothing_is_said();
}

#[test]
fn a_directory_gone_is_a_fault_and_seen_again_when_it_is_back() {
    let world = World::new();
    fs::remove_dir_all(world.path("rules")).unwrap();
    let faults = world.refused().to_string();
    assert!(faults.contains("rules"), "{faults}");
    fs::create_dir(world.path("rules")).unwrap();
    world.write("rules/a.yaml", rule(5));
    assert_eq!(world.next(), Verdict::Restored);
    world.write("rules/a.yaml", rule(50));
    assert_eq!(weights(&world.accepted()), [50, 50]);
}

#[test]
fn a_directory_moved_away_and_replaced_is_watched_in_its_new_shape() {
    let world = World::new();
    for v2 in [50, 60] {
        fs::create_dir(world.path("next")).unwrap();
        world.write("next/a.yaml", rule(v2));
        fs::rename(world.path("rules"), world.path(&format!("old-{v2}"))).unwrap();
        fs::rename(world.path("next"), world.path("rules")).unwrap();
        assert_eq!(weights(&world.accepted()), [100 - v2, v2]);
        world.write("rules/a.yaml", rule(v2 + 1));
        assert_eq!(weights(&world.accepted()), [99 - v2, v2 + 1]);
    }
}

#[test]
fn the_whole_configuration_may_go_and_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let make = |v2| {
        fs::create_dir_all(folder.path().join("etc/rules")).unwrap();
        fs::write(folder.path().join("etc/rules/a.yaml"), rule(v2)).unwrap();
        fs::write(folder.path().join("etc/weir.yaml"), main_file("rules")).unwrap();
    };
    make(5);
    symlink("etc/weir.yaml", folder.path().join("weir.yaml")).unwrap();
    // The rules are beside the link, not beside what it leads to.
    symlink("etc/rules", folder.path().join("rules")).unwrap();
    let world = World::watch(folder);
    fs::remove_dir_all(world.path("etc")).unwrap();
    let faults = world.refused().to_string();
    assert!(faults.contains("weir.yaml"), "{faults}");
    fs::create_dir_all(world.path("etc/rules")).unwrap();
    world.write("etc/rules/a.yaml", rule(50));
    world.write("etc/weir.yaml", main_file("rules"));
    assert_eq!(weights(&world.accepted()), [50, 50]);
}

#[test]
fn a_config_map_changes_by_one_link() {
    let folder = tempfile::tempdir().unwrap();
    let rules = folder.path().join("rules");
    let files = |v2: u32| [("a.yaml", rule(v2))];
    config_map(folder.path(), 0, &[("weir.yaml", main_file("rules"))]);
    config_map(&rules, 0, &files(5));
    let world = World::watch(folder);
    for generation in 1..4 {
        config_map(&rules, generation, &files(10 * generation));
        assert_eq!(weights(&world.accepted()), [100 - 10 * generation, 10 * generation]);
    }
    let other = main_file("rules").replace("9002", "9003");
    config_map(world.folder.path(), 1, &[("weir.yaml", other)]);
    let loaded = world.accepted();
    let endpoints = loaded.snapshot.clusters.values().flat_map(|cluster| cluster.endpoints());
    assert!(endpoints.into_iter().any(|endpoint| endpoint.address.to_string().contains("9003")));
}

#[test]
fn the_main_file_may_move_its_rules_elsewhere() {
    let world = World::new();
    fs::create_dir(world.path("more")).unwrap();
    world.write("more/a.yaml", rule(50));
    world.write("weir.yaml", main_file("more"));
    assert_eq!(weights(&world.accepted()), [50, 50]);
    world.write("more/a.yaml", rule(60));
    assert_eq!(weights(&world.accepted()), [40, 60]);
    world.write("rules/a.yaml", rule(70));
    world.nothing_is_said();
}

#[test]
fn a_file_that_the_main_file_names_must_exist() {
    let world = World::new();
    world.write("weir.yaml", main_file("rules/a.yaml"));
    world.write("rules/a.yaml", rule(50));
    assert_eq!(weights(&world.accepted()), [50, 50]);
    fs::remove_file(world.path("rules/a.yaml")).unwrap();
    let faults = world.refused().to_string();
    assert!(faults.contains("rules/a.yaml"), "{faults}");
    world.write("rules/a.yaml", rule(60));
    assert_eq!(weights(&world.accepted()), [40, 60]);
}

#[test]
fn a_thousand_writes_end_in_what_was_written_last() {
    let world = World::new();
    for written in 0..1000 {
        if written % 2 == 0 {
            world.write("rules/a.yaml", rule(written % 90));
        } else {
            world.write_by_rename("rules/a.yaml", &rule(written % 90));
        }
    }
    world.write("rules/a.yaml", rule(99));
    let mut verdicts = 0;
    while weights(&world.accepted()) != [1, 99] {
        verdicts += 1;
        assert!(verdicts < 20, "a verdict for every write");
    }
}

#[test]
fn rules_are_in_force_soon_though_somebody_never_stops_writing() {
    is_in_force_soon(|world| {
        let (stop, path) = (AtomicBool::new(false), world.path("rules/a.yaml"));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    fs::write(&path, rule(50)).unwrap(); // there are moments at which it is empty
                    std::thread::sleep(Duration::from_millis(1)); // a thousand a second; nobody waits for this
                }
            });
            let (started, verdict) = (Instant::now(), world.verdicts.recv_timeout(DEADLINE));
            let took = started.elapsed();
            stop.store(true, Ordering::Relaxed);
            let verdict = verdict.unwrap();
            assert!(
                matches!(&verdict, Verdict::Accepted(loaded) if weights(loaded) == [50, 50]),
                "{verdict:?}"
            );
            Some(took)
        })
    });
}

#[test]
fn a_watcher_that_is_dropped_says_nothing_more() {
    let mut world = World::new();
    world.write("rules/a.yaml", rule(50));
    drop(world.watcher.take());
    let verdicts: Vec<_> = world.verdicts.iter().collect(); // ends: the thread has dropped its sender
    assert!(verdicts.len() < 2, "{verdicts:?}");
}

#[test]
fn broken_files_start_nothing_but_the_last_good_configuration_if_that_is_wanted() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::create_dir(path("rules")).unwrap();
    fs::write(path("weir.yaml"), main_file("rules")).unwrap();
    fs::write(path("rules/a.yaml"), rule(5)).unwrap();
    let source = FileSource::new(&path("weir.yaml"), Environment::default());
    let remembering = source.clone().with_last_good(Some(path("last-good")));
    assert!(start(&remembering).unwrap().refused.is_none());

    // What the watcher accepts is remembered, too.
    let (send, verdicts) = channel();
    let first = start(&remembering).unwrap();
    let watcher =
        Watcher::start(remembering.clone(), &first, move |verdict| send.send(verdict).is_ok()).unwrap();
    fs::write(path("rules/a.yaml"), rule(30)).unwrap();
    assert!(matches!(verdicts.recv_timeout(DEADLINE).unwrap(), Verdict::Accepted(_)));
    drop(watcher);

    fs::write(path("rules/a.yaml"), "broken: [").unwrap();
    fs::write(path("rules/b.yaml"), "").unwrap();
    let faults = start(&source).unwrap_err().to_string();
    assert!(faults.contains("a.yaml") && faults.contains("b.yaml"), "every fault: {faults}");
    let second = start(&remembering).unwrap();
    assert_eq!(weights(&second.loaded), [70, 30]);
    assert_eq!(second.refused.as_ref().unwrap().to_string(), faults);

    // The faults have been told; the repair is news.
    let (send, verdicts) = channel();
    let _watcher = Watcher::start(remembering, &second, move |verdict| send.send(verdict).is_ok()).unwrap();
    assert_eq!(verdicts.recv_timeout(SILENCE), Err(RecvTimeoutError::Timeout));
    fs::remove_file(path("rules/b.yaml")).unwrap();
    fs::write(path("rules/a.yaml"), rule(40)).unwrap();
    let verdict = verdicts.recv_timeout(DEADLINE).unwrap();
    assert!(matches!(&verdict, Verdict::Accepted(loaded) if weights(loaded) == [60, 40]), "{verdict:?}");
}

#[test]
fn broken_files_and_no_last_good_configuration_name_both() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("weir.yaml");
    let source =
        FileSource::new(&missing, Environment::default()).with_last_good(Some(folder.path().join("none")));
    let faults = start(&source).unwrap_err().to_string();
    assert!(faults.contains("weir.yaml") && faults.contains("last-good.json"), "{faults}");
}

#[test]
fn only_what_came_into_force_is_remembered_and_the_rest_is_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let kept = || fs::read_to_string(path("last-good/last-good.json")).unwrap_or_default();
    fs::create_dir(path("rules")).unwrap();
    fs::write(path("weir.yaml"), main_file("rules")).unwrap();
    fs::write(path("rules/a.yaml"), rule(5)).unwrap();
    let source =
        FileSource::new(&path("weir.yaml"), Environment::default()).with_last_good(Some(path("last-good")));
    let first = start(&source).unwrap();
    assert_eq!(kept(), "", "loaded is not in force");

    let (send, verdicts) = channel();
    let mut attempts = 0;
    let deliver = move |verdict| {
        attempts += 1;
        send.send(verdict).unwrap();
        attempts > 1
    };
    let watcher = Watcher::start(source, &first, deliver).unwrap();
    let before = kept();
    assert!(before.contains("weight: 5}"), "{before}");
    fs::write(path("rules/a.yaml"), rule(30)).unwrap();
    for attempt in 1..=2 {
        let verdict = verdicts.recv_timeout(DEADLINE).unwrap();
        assert!(matches!(verdict, Verdict::Accepted(_)), "{verdict:?}");
        if attempt == 1 {
            assert_eq!(kept(), before, "it did not come into force");
            fs::write(path("rules/a.yaml"), rule(30)).unwrap(); // a notice, which comes before the next look would
        }
    }
    drop(watcher);
    assert!(kept().contains("weight: 30}"), "{}", kept());
}
