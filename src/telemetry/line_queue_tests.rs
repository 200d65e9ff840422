//! The queue's laws: order, whole lines, bounds, and nobody who waits.

use std::sync::{Mutex, MutexGuard};

use rustix::fs::{CWD, FileType, Mode, mknodat};

use super::*;

const PATIENCE: Duration = Duration::from_secs(20);

/// A disk with so many bytes left.
#[derive(Clone, Default)]
struct Disk(Arc<Mutex<(Vec<u8>, usize)>>);

impl Disk {
    fn state(&self) -> MutexGuard<'_, (Vec<u8>, usize)> {
        self.0.lock().unwrap()
    }

    fn text(&self) -> String {
        String::from_utf8(self.state().0.clone()).unwrap()
    }
}

impl Write for Disk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.state();
        let some = bytes.len().min(state.1);
        if some == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        state.1 -= some;
        state.0.extend_from_slice(&bytes[..some]);
        Ok(some)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn nothing_happens() -> Tell {
    Box::new(|what| panic!("{what:?}"))
}

/// Counts lost lines and failures that were told.
fn counting() -> (Arc<[AtomicU64; 2]>, Tell) {
    let counts = Arc::<[AtomicU64; 2]>::default();
    let told = counts.clone();
    let tell = move |what: Happened<'_>| match what {
        Happened::Lost(lines) => drop(told[0].fetch_add(lines, Relaxed)),
        Happened::Failing(_) => drop(told[1].fetch_add(1, Relaxed)),
        _ => {}
    };
    (counts, Box::new(tell))
}

fn counts(of: &[AtomicU64; 2]) -> [u64; 2] {
    of.each_ref().map(|count| count.load(Relaxed))
}

#[test]
fn a_writer_that_is_behind_costs_lines_which_are_counted_and_nobody_waits() {
    let (lost, tell) = counting();
    let (queue, writer) = LineQueue::new(Sink::to(io::sink()), tell);
    for _ in 0..QUEUE_LINES + 7 {
        queue.push("a line\n".to_owned());
    }
    assert_eq!(counts(&lost), [7, 0]);
    let shared = Arc::clone(&queue.0.shared);
    drop(queue);
    writer.run();
    assert_eq!(shared.queued_bytes.load(Relaxed), 0, "all bytes are given back");
    assert_eq!(shared.queued_lines.load(Relaxed), 0);
}

#[test]
fn the_queue_is_bounded_in_bytes_too() {
    let (lost, tell) = counting();
    let (queue, _writer) = LineQueue::new(Sink::to(io::sink()), tell);
    for _ in 0..10 {
        queue.push("a".repeat((1 << 20) + 1));
    }
    assert_eq!(counts(&lost), [3, 0], "eight MiB and ten lines of one MiB with their ends");
}

#[test]
fn a_disk_that_fills_up_in_a_line_has_it_whole_when_there_is_room_again() {
    let disk = Disk::default();
    disk.state().1 = 8;
    let mut sink = Sink::to(disk.clone());
    let failure = sink.write(b"first\nsecond\nthird\n").unwrap_err();
    assert_eq!((failure.lost, disk.text().as_str()), (1, "first\nse"));
    let failure = sink.write(b"fourth\nfifth\n").unwrap_err();
    assert_eq!((failure.lost, disk.text().as_str()), (2, "first\nse"));
    disk.state().1 = 2;
    assert!(sink.write(b"sixth\n").is_err());
    disk.state().1 = 100;
    assert!(sink.write(b"seventh\n").is_ok());
    assert_eq!(disk.text(), "first\nsecond\nseventh\n");
}

#[test]
fn a_disk_that_stays_full_is_told_of_once_and_its_lines_are_counted() {
    let (lost, tell) = counting();
    let (queue, mut writer) = LineQueue::new(Sink::to(Disk::default()), tell);
    for _ in 0..100 {
        writer.write(b"one\ntwo\n");
    }
    drop(queue);
    assert_eq!(counts(&lost), [200, 1]);
}

#[test]
fn half_a_line_that_another_process_left_is_ended_first() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    for (before, after) in [("", "new\n"), ("whole\n", "whole\nnew\n"), ("ha", "ha\nnew\n")] {
        fs::write(&path, before).unwrap();
        assert!(Sink::open(&path).unwrap().write(b"new\n").is_ok());
        assert_eq!(fs::read_to_string(&path).unwrap(), after);
    }
}

#[test]
fn a_file_that_was_moved_away_is_left_for_a_new_one_when_that_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let (path, moved) = (folder.path().join("log"), folder.path().join("log.1"));
    let (queue, thread) = LineQueue::start("test", Sink::open(&path).unwrap(), |_| {}).unwrap();
    queue.push("old\n".to_owned());
    fs::rename(&path, &moved).unwrap();
    thread.reopen();
    let until = Instant::now() + PATIENCE;
    while !path.exists() {
        assert!(Instant::now() < until, "an idle log is not opened anew");
        std::thread::yield_now();
    }
    queue.push("new\n".to_owned());
    thread.close();
    assert_eq!(thread.wait(until), 0);
    assert_eq!(fs::read_to_string(&path).unwrap(), "new\n");
    assert_eq!(fs::read_to_string(&moved).unwrap(), "old\n");
}

#[test]
fn a_pipe_that_nobody_reads_holds_up_neither_the_opening_nor_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pipe");
    mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let (queue, thread) = LineQueue::start("test", Sink::open(&path).unwrap(), |_| {}).unwrap();
    for _ in 0..100 {
        queue.push(format!("{}\n", "x".repeat(10_000)));
    }
    thread.close();
    let left = thread.wait(Instant::now() + Duration::from_millis(50));
    assert!(left > 0, "a pipe holds 64 KiB, not a megabyte");
}

#[test]
fn the_thread_ends_with_the_last_who_has_lines() {
    let (queue, writer) =
        LineQueue::new(Sink::to(Disk(Arc::new(Mutex::new((Vec::new(), 100))))), nothing_happens());
    queue.clone().push("a line\n".to_owned());
    drop(queue);
    writer.run();
}
