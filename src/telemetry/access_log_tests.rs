//! The access log's laws: nothing queued is lost at the end, and what is lost is counted.

use std::fs;
use std::time::SystemTime;

use super::*;
use crate::telemetry::families::weir::ACCESS_LOG_DROPPED;
use crate::telemetry::recorder::Recorder;
use crate::words::{HttpVersion, Protocol};

const PATIENCE: Duration = Duration::from_secs(20);

fn record(status: u16) -> RequestRecord {
    let mut record =
        RequestRecord::new(Instant::now(), SystemTime::UNIX_EPOCH, HttpVersion::Http2, Protocol::Http);
    record.status = status;
    record
}

fn dropped() -> Counter {
    Recorder::new(1).counter(&ACCESS_LOG_DROPPED, &[])
}

fn codes() -> Format {
    Format::parse("%RESPONSE_CODE%").unwrap()
}

#[test]
fn every_line_that_was_queued_is_in_the_file_when_the_logs_are_closed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    fs::write(&path, "before\n").unwrap();
    let (dropped, mut logs) = (dropped(), AccessLogs::default());
    let log = logs.open(&path, codes(), None, dropped.clone()).unwrap();
    for status in 200..300 {
        log.clone().log(&mut record(status));
    }
    // Those who hold it, planes and workers, need not have let go.
    assert_eq!(logs.close(PATIENCE), 0);
    let expected: String = (200..300).map(|status| format!("{status}\n")).collect();
    assert_eq!(fs::read_to_string(&path).unwrap(), format!("before\n{expected}"));
    assert_eq!(dropped.get(), 0);
    log.log(&mut record(200));
    assert_eq!(dropped.get(), 1, "too late is counted");
}

#[test]
fn a_log_that_was_replaced_by_another_is_written_to_its_end_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let (dropped, mut logs) = (dropped(), AccessLogs::default());
    let old = logs.open(&path("old"), codes(), None, dropped.clone()).unwrap();
    let new = logs.open(&path("new"), codes(), None, dropped.clone()).unwrap();
    old.log(&mut record(200));
    new.log(&mut record(201));
    assert_eq!(logs.close(PATIENCE), 0);
    assert_eq!(fs::read_to_string(path("old")).unwrap(), "200\n");
    assert_eq!(fs::read_to_string(path("new")).unwrap(), "201\n");
}

#[test]
fn a_file_that_cannot_be_opened_is_named() {
    let folder = tempfile::tempdir().unwrap();
    for path in [folder.path().join("none/access.log"), folder.path().to_owned()] {
        let error = AccessLogs::default().open(&path, codes(), None, dropped()).unwrap_err();
        assert!(error.to_string().contains(&path.display().to_string()), "{error}");
    }
}
