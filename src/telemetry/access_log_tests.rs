//! The access log's laws: nothing queued is lost, nobody waits, what is lost is counted.

use std::sync::{Mutex, mpsc};
use std::time::{Instant, SystemTime};

use super::*;
use crate::telemetry::families::weir::ACCESS_LOG_DROPPED;
use crate::telemetry::recorder::Recorder;
use crate::words::{HttpVersion, Protocol};

fn record(status: u16) -> RequestRecord {
    let mut record =
        RequestRecord::new(Instant::now(), SystemTime::UNIX_EPOCH, HttpVersion::Http2, Protocol::Http);
    record.status = status;
    record
}

fn dropped() -> Counter {
    Recorder::new(1).counter(&ACCESS_LOG_DROPPED, &[])
}

#[test]
fn every_line_that_was_queued_is_in_the_file_when_the_writer_ends() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    std::fs::write(&path, "before\n").unwrap();
    let dropped = dropped();
    let format = Format::parse("%RESPONSE_CODE%").unwrap();
    let (log, writer) = AccessLog::open(&path, format, dropped.clone()).unwrap();
    let writer = std::thread::spawn(|| writer.run());
    for status in 200..300 {
        log.clone().log(&record(status));
    }
    drop(log);
    writer.join().unwrap();
    let expected: String = (200..300).map(|status| format!("{status}\n")).collect();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), format!("before\n{expected}"));
    assert_eq!(dropped.get(), 0);
}

#[test]
fn a_writer_that_is_behind_costs_lines_which_are_counted_and_nobody_waits() {
    let dropped = dropped();
    let (log, writer) =
        AccessLog::to_sink(Box::new(io::sink()), Format::parse("%DURATION%").unwrap(), dropped.clone());
    for _ in 0..QUEUE_LINES + 7 {
        log.log(&record(200));
    }
    assert_eq!(dropped.get(), 7);
    drop(log);
    let shared = Arc::clone(&writer.shared);
    writer.run();
    assert_eq!(shared.queued_bytes.load(Relaxed), 0, "all bytes are given back");
}

#[test]
fn the_queue_is_bounded_in_bytes_too() {
    let dropped = dropped();
    let format = Format::parse("%REQ(:PATH)%").unwrap();
    let (log, _writer) = AccessLog::to_sink(Box::new(io::sink()), format, dropped.clone());
    let mut record = record(200);
    record.logged = Some(log.request_heads(&Method::GET, &vec![b'a'; 1 << 20], b"", &HeaderMap::new()));
    for _ in 0..10 {
        log.log(&record);
    }
    assert_eq!(dropped.get(), 3, "eight MiB and ten lines of one MiB with their ends");
}

#[test]
fn lines_that_the_file_does_not_take_are_counted_and_the_next_ones_are_written() {
    struct Once(Arc<Mutex<Vec<u8>>>, mpsc::Sender<()>, bool);
    impl Write for Once {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if !std::mem::replace(&mut self.2, true) {
                self.1.send(()).unwrap();
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let (dropped, written, (failed, fails)) = (dropped(), Arc::default(), mpsc::channel());
    let sink = Box::new(Once(Arc::clone(&written), failed, false));
    let (log, writer) = AccessLog::to_sink(sink, Format::parse("%RESPONSE_CODE%").unwrap(), dropped.clone());
    let writer = std::thread::spawn(|| writer.run());
    log.log(&record(200));
    fails.recv().unwrap();
    log.log(&record(201));
    drop(log);
    writer.join().unwrap();
    assert_eq!((dropped.get(), written.lock().unwrap().as_slice()), (1, &b"201\n"[..]));
}
