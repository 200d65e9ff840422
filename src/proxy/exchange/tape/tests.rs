//! The tape against a model: any number of readers at any pace, with and without room.

use std::cell::RefCell;
use std::task::Wake;

use http_body::Body as _;
use proptest::prelude::*;

use super::*;
use crate::telemetry::families::weir::Limit;

/// A budget of its own, for one request.
#[derive(Clone, Default)]
struct Purse(Rc<Spent>);

#[derive(Default)]
struct Spent {
    /// For the attempts, and for the copies.
    most: [Cell<usize>; 2],
    taken: [Cell<usize>; 2],
    noted: RefCell<Vec<Whose>>,
}

impl Purse {
    /// `most` for either.
    fn of(most: usize) -> Purse {
        Purse::of_each(most, most)
    }

    fn of_each(attempts: usize, copies: usize) -> Purse {
        let purse = Purse::default();
        purse.0.most[0].set(attempts);
        purse.0.most[1].set(copies);
        purse
    }

    fn taken(&self) -> usize {
        self.taken_for(Whose::Attempts) + self.taken_for(Whose::Copies)
    }

    fn taken_for(&self, whose: Whose) -> usize {
        self.0.taken[whose as usize].get()
    }
}

impl Room for Purse {
    fn take(&self, whose: Whose, held: usize, bytes: usize) -> Result<(), Limit> {
        let taken = self.taken_for(whose);
        assert_eq!(held, taken, "one request holds all");
        if taken + bytes > self.0.most[whose as usize].get() {
            return Err(Limit::ReplayBytes);
        }
        self.0.taken[whose as usize].set(taken + bytes);
        Ok(())
    }

    fn give(&self, whose: Whose, bytes: usize) {
        let left = self.taken_for(whose).checked_sub(bytes).expect("no more is given than was taken");
        self.0.taken[whose as usize].set(left);
    }

    fn note(&self, whose: Whose, _: Limit) {
        self.0.noted.borrow_mut().push(whose);
    }
}

fn tape(purse: &Purse, replays: bool) -> Rc<Tape> {
    let tape = Rc::new(Tape::new(purse.clone()));
    if !replays {
        tape.settle();
    }
    tape
}

/// What a reader can read now, and whether its body ended, and how.
fn read(body: &mut TapeBody, got: &mut Vec<u8>, most: usize) -> Option<Result<(), ()>> {
    let mut cx = Context::from_waker(Waker::noop());
    for _ in 0..most {
        match Pin::new(&mut *body).poll_frame(&mut cx) {
            Poll::Pending => return None,
            Poll::Ready(None) => return Some(Ok(())),
            Poll::Ready(Some(Err(_))) => return Some(Err(())),
            Poll::Ready(Some(Ok(frame))) => {
                if let Ok(data) = frame.into_data() {
                    got.extend_from_slice(&data);
                }
            }
        }
    }
    None
}

fn replayed(tape: &Tape) -> Vec<u8> {
    let mut all = Vec::new();
    while let Some(piece) = tape.from(all.len()) {
        all.extend_from_slice(&piece);
    }
    all
}

proptest! {
    #[test]
    fn every_reader_gets_the_same_bytes_whatever_its_pace(
        pieces in prop::collection::vec(prop_oneof![1_usize..40, 1_usize..6_000], 0..40),
        paces in prop::collection::vec(prop::collection::vec(0_usize..4, 40), 1..4),
        settled_after in 0_usize..50,
    ) {
        let purse = Purse::of(usize::MAX / 2);
        let tape = tape(&purse, true);
        let mut readers: Vec<_> =
            paces.iter().map(|_| (tape.reader(None, Rc::default()), Vec::new())).collect();
        let mut all = Vec::new();
        for (turn, &size) in pieces.iter().enumerate() {
            if turn == settled_after {
                tape.settle();
            }
            let piece = Bytes::from(vec![turn as u8; size]);
            all.extend_from_slice(&piece);
            prop_assert_eq!(tape.push(&piece), turn < settled_after);
            if turn < settled_after {
                prop_assert_eq!(&replayed(&tape), &all, "for an attempt that begins anew");
            }
            for ((reader, got), pace) in readers.iter_mut().zip(&paces) {
                prop_assert_eq!(read(reader, got, pace[turn]), None);
                prop_assert!(all.starts_with(got), "no hole");
            }
            prop_assert_eq!(purse.taken(), tape.held_bytes());
        }
        tape.finish(None);
        for (reader, got) in &mut readers {
            prop_assert_eq!(read(reader, got, usize::MAX), Some(Ok(())));
            prop_assert_eq!(&*got, &all);
            prop_assert!(reader.is_end_stream());
        }
        tape.settle();
        drop(readers);
        prop_assert_eq!((tape.held_bytes(), purse.taken()), (0, 0), "what all have is let go");
    }

    #[test]
    fn within_a_budget_a_reader_gets_all_or_an_error_and_the_budget_holds(
        pieces in prop::collection::vec(1_usize..3_000, 0..40),
        paces in prop::collection::vec(prop::collection::vec(0_usize..4, 40), 1..4),
        most in 1_usize..20_000,
    ) {
        let purse = Purse::of(most);
        let tape = tape(&purse, true);
        let mut readers: Vec<_> =
            paces.iter().map(|_| (tape.reader(None, Rc::default()), Vec::new())).collect();
        let mut all = Vec::new();
        for (turn, &size) in pieces.iter().enumerate() {
            let piece = Bytes::from(vec![turn as u8; size]);
            all.extend_from_slice(&piece);
            let replays = tape.push(&piece);
            prop_assert!(purse.taken() <= most);
            if replays {
                prop_assert_eq!(&replayed(&tape), &all);
            }
            for ((reader, got), pace) in readers.iter_mut().zip(&paces) {
                read(reader, got, pace[turn]);
                prop_assert!(all.starts_with(got), "no hole");
            }
        }
        tape.finish(None);
        for (reader, got) in &mut readers {
            let ended = read(reader, got, usize::MAX);
            prop_assert!(ended == Some(Err(())) || *got == all, "{ended:?}");
        }
        // Retries go before copies.
        prop_assert!(purse.0.noted.borrow().iter().skip(1).all(|&whose| whose == Whose::Copies));
        drop((readers, tape));
        prop_assert_eq!(purse.taken(), 0);
    }
}

#[test]
fn the_slowest_copy_goes_first_and_the_others_lose_nothing() {
    let purse = Purse::of(100);
    let tape = tape(&purse, false);
    let fates: [Rc<Fate>; 2] = Default::default();
    let [mut slow, mut fast] = fates.each_ref().map(|fate| tape.reader(Some(120), fate.clone()));
    let (mut got_slow, mut got_fast) = (Vec::new(), Vec::new());
    for n in 0..3_u8 {
        tape.push(&Bytes::from(vec![n; 40]));
        read(&mut fast, &mut got_fast, 9);
    }
    tape.finish(None);
    assert_eq!(fates.each_ref().map(|fate| fate.is_cut()), [true, false]);
    assert_eq!(read(&mut slow, &mut got_slow, 9), Some(Err(())));
    assert_eq!((read(&mut fast, &mut got_fast, 9), got_fast.len()), (Some(Ok(())), 120));
    assert_eq!(*purse.0.noted.borrow(), [Whose::Copies]);
}

#[test]
fn what_copies_have_still_to_get_takes_nothing_of_the_retries_room_once_the_answer_is_there() {
    let purse = Purse::of_each(100, 50);
    let tape = tape(&purse, true);
    let fates: [Rc<Fate>; 2] = Default::default();
    let [mut slow, mut fast] = fates.each_ref().map(|fate| tape.reader(None, fate.clone()));
    for n in 0..2_u8 {
        tape.push(&Bytes::from(vec![n; 40]));
    }
    let mut got = Vec::new();
    // What is small is gathered, so that all of it goes at once.
    read(&mut fast, &mut got, 1);
    assert_eq!((purse.taken_for(Whose::Attempts), purse.taken_for(Whose::Copies)), (80, 0));
    tape.settle();
    assert_eq!((purse.taken_for(Whose::Attempts), purse.taken_for(Whose::Copies)), (0, 0));
    assert_eq!(fates.each_ref().map(|fate| fate.is_cut()), [true, false], "80 do not fit into 50");
    tape.push(&Bytes::from(vec![2; 40]));
    assert_eq!((purse.taken_for(Whose::Attempts), purse.taken_for(Whose::Copies)), (0, 40));
    tape.finish(None);
    assert_eq!((read(&mut fast, &mut got, 9), got.len()), (Some(Ok(())), 120));
    assert_eq!(read(&mut slow, &mut Vec::new(), 9), Some(Err(())));
}

#[test]
fn a_request_that_breaks_off_breaks_its_copies_and_holds_nothing() {
    let purse = Purse::of(100);
    let tape = tape(&purse, true);
    let fate = Rc::new(Fate::default());
    let mut reader = tape.reader(None, fate.clone());
    tape.push(&Bytes::from_static(b"half"));
    tape.break_off();
    let mut got = Vec::new();
    assert_eq!((read(&mut reader, &mut got, 9), fate.is_cut()), (Some(Err(())), true));
    assert_eq!((purse.taken(), tape.from(0)), (0, None));
    assert!(!tape.push(&Bytes::from_static(b"more")) && purse.taken() == 0);
}

#[test]
fn a_reader_that_waits_is_woken_by_the_next_piece_by_the_end_and_by_being_cut() {
    struct Woken(std::sync::atomic::AtomicUsize);
    impl Wake for Woken {
        fn wake(self: std::sync::Arc<Self>) {
            self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
    }
    let woken = std::sync::Arc::new(Woken(Default::default()));
    let waker = Waker::from(woken.clone());
    let wait = |reader: &mut TapeBody| {
        let mut cx = Context::from_waker(&waker);
        while let Poll::Ready(frame) = Pin::new(&mut *reader).poll_frame(&mut cx) {
            if !matches!(frame, Some(Ok(_))) {
                return;
            }
        }
    };
    let count = || woken.0.load(std::sync::atomic::Ordering::Relaxed);
    let purse = Purse::of(10);
    let tape = tape(&purse, false);
    let mut reader = tape.reader(None, Rc::default());
    wait(&mut reader);
    tape.push(&Bytes::from_static(b"piece"));
    assert_eq!(count(), 1);
    wait(&mut reader);
    tape.push(&Bytes::from_static(b"more than there is room for"));
    assert_eq!(count(), 2);
    let tape = self::tape(&purse, false);
    let mut other = tape.reader(None, Rc::default());
    wait(&mut other);
    tape.finish(None);
    assert_eq!(count(), 3);
}

#[test]
fn a_reader_that_comes_too_late_for_the_first_byte_gets_none() {
    let tape = tape(&Purse::of(100), false);
    tape.push(&Bytes::from_static(b"gone"));
    let fate = Rc::new(Fate::default());
    let mut reader = tape.reader(None, fate.clone());
    assert_eq!((read(&mut reader, &mut Vec::new(), 1), fate.is_cut()), (Some(Err(())), true));
}

#[test]
fn trailers_come_to_every_reader_behind_the_last_byte() {
    let tape = tape(&Purse::of(100), false);
    let mut reader = tape.reader(None, Rc::default());
    tape.push(&Bytes::from_static(b"body"));
    let trailers =
        HeaderMap::from_iter([(http::HeaderName::from_static("x-sum"), "1".parse().expect("a value"))]);
    tape.finish(Some(&trailers));
    let mut cx = Context::from_waker(Waker::noop());
    let mut next = || match Pin::new(&mut reader).poll_frame(&mut cx) {
        Poll::Ready(Some(Ok(frame))) => Some(frame),
        _ => None,
    };
    assert_eq!(next().and_then(|frame| frame.into_data().ok()), Some(Bytes::from_static(b"body")));
    assert_eq!(next().and_then(|frame| frame.into_trailers().ok()), Some(trailers));
    assert!(next().is_none());
}
