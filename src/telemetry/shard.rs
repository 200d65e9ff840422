//! Where the numbers live: cells in chunks, each chunk with one block of cache lines for every shard.
//!
//! Law: a thread that is bound to a shard is its only writer, so it updates with a plain load and store; every other
//! thread writes shard 0 with read-modify-write. What a cell holds is the sum over the shards, so no update is lost.
//! Knows nothing of names, labels or kinds: a cell is 64 bits that the caller reads as `u64` or `f64`.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

/// 128 bytes: processors fetch lines of 64 bytes in pairs, so blocks that start on 128 never share one.
const CELLS_PER_LINE: usize = 16;
/// 4 KiB a shard and chunk: some forty counters or eight wide histograms fit, and little is lost at the end.
const LINES_PER_BLOCK: usize = 32;
/// Of a floating cell that nobody has written to.
const UNSET: u64 = (-0.0_f64).to_bits();
/// The most cells that one series may take.
pub(super) const CELLS_PER_BLOCK: usize = CELLS_PER_LINE * LINES_PER_BLOCK;

thread_local! {
    /// The shard of this thread; 0 is the one that all unbound threads share.
    static SHARD: Cell<usize> = const { Cell::new(0) };
}

/// The shards that live threads own.
static CLAIMED: Mutex<BTreeSet<usize>> = Mutex::new(BTreeSet::new());

/// A worker thread's hold on its shard; dropping it gives the shard back.
#[derive(Debug)]
pub struct ShardGuard {
    shard: usize,
    /// Neither `Send` nor `Sync`: it speaks of the thread that made it.
    _thread: PhantomData<*const ()>,
}

/// Binds this thread to the shard of worker `index` (from 0) in every recorder of the process.
///
/// An index belongs to at most one live thread. When another one has it, or this thread is bound already, the thread
/// stays where it is: slower on the shared shard, never wrong.
pub fn bind_shard(index: usize) -> ShardGuard {
    let wanted = index + 1;
    let bound = SHARD.get() == 0 && claimed(|claims| claims.insert(wanted));
    if bound {
        SHARD.set(wanted);
    }
    ShardGuard { shard: if bound { wanted } else { 0 }, _thread: PhantomData }
}

impl ShardGuard {
    /// Whether this thread got the shard for itself.
    pub fn is_own(&self) -> bool {
        self.shard != 0
    }
}

impl Drop for ShardGuard {
    fn drop(&mut self) {
        if self.is_own() {
            SHARD.set(0);
            // The lock orders our last stores before the next owner's first load.
            claimed(|claims| claims.remove(&self.shard));
        }
    }
}

fn claimed<T>(act: impl FnOnce(&mut BTreeSet<usize>) -> T) -> T {
    act(&mut CLAIMED.lock().unwrap_or_else(PoisonError::into_inner))
}

#[derive(Debug)]
#[repr(align(128))]
struct Line([AtomicU64; CELLS_PER_LINE]);

impl Line {
    fn zero() -> Line {
        Line([const { AtomicU64::new(0) }; CELLS_PER_LINE])
    }
}

/// The cells of one series: the same stretch in the block of every shard.
#[derive(Debug)]
pub(super) struct Span {
    lines: Arc<[Line]>,
    start: usize,
    len: usize,
}

impl Span {
    /// The number of cells.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Adds to an unsigned cell.
    #[inline]
    pub(super) fn add(&self, cell: usize, by: u64) {
        let (shard, own) = self.shard();
        let slot = self.slot(shard, cell);
        if own {
            slot.store(slot.load(Relaxed).wrapping_add(by), Relaxed);
        } else {
            slot.fetch_add(by, Relaxed);
        }
    }

    /// Adds to a floating cell.
    #[inline]
    pub(super) fn add_f64(&self, cell: usize, by: f64) {
        let (shard, own) = self.shard();
        let slot = self.slot(shard, cell);
        if own {
            slot.store((f64::from_bits(slot.load(Relaxed)) + by).to_bits(), Relaxed);
        } else {
            update_f64(slot, |value| value + by);
        }
    }

    /// Adds 1 to an unsigned cell and `by` to a floating one.
    #[inline]
    pub(super) fn observe(&self, count: usize, sum: usize, by: f64) {
        let (shard, own) = self.shard();
        let (count, sum) = (self.slot(shard, count), self.slot(shard, sum));
        if own {
            count.store(count.load(Relaxed).wrapping_add(1), Relaxed);
            sum.store((f64::from_bits(sum.load(Relaxed)) + by).to_bits(), Relaxed);
        } else {
            count.fetch_add(1, Relaxed);
            update_f64(sum, |value| value + by);
        }
    }

    /// Makes the sum of a floating cell `value`. Updates that happen meanwhile may be lost.
    pub(super) fn set_f64(&self, cell: usize, value: f64) {
        let others: f64 = (1..self.shards()).map(|shard| self.read_f64(shard, cell)).sum();
        update_f64(self.slot(0, cell), |_| value - others);
    }

    /// The sum of an unsigned cell over the shards.
    pub(super) fn sum(&self, cell: usize) -> u64 {
        (0..self.shards()).fold(0, |sum, shard| sum.wrapping_add(self.slot(shard, cell).load(Relaxed)))
    }

    /// The sum of a floating cell over the shards.
    pub(super) fn sum_f64(&self, cell: usize) -> f64 {
        // Of negative zeros, zero.
        (0..self.shards()).map(|shard| self.read_f64(shard, cell)).sum::<f64>() + 0.0
    }

    /// Makes a floating cell zero, and one that nobody has written to: negative zero, which no sum and no difference of
    /// other numbers is. So an update need not note that there was one.
    pub(super) fn unset(&self, cell: usize) {
        (0..self.shards()).for_each(|shard| self.slot(shard, cell).store(UNSET, Relaxed));
    }

    /// Whether anybody has written to a floating cell that was [`unset`](Span::unset).
    pub(super) fn is_set(&self, cell: usize) -> bool {
        (0..self.shards()).any(|shard| self.slot(shard, cell).load(Relaxed) != UNSET)
    }

    fn read_f64(&self, shard: usize, cell: usize) -> f64 {
        f64::from_bits(self.slot(shard, cell).load(Relaxed))
    }

    fn clear(&self) {
        for shard in 0..self.shards() {
            (0..self.len).for_each(|cell| self.slot(shard, cell).store(0, Relaxed));
        }
    }

    fn shards(&self) -> usize {
        self.lines.len() / LINES_PER_BLOCK
    }

    /// This thread's shard, and whether it is the only writer there.
    #[inline]
    fn shard(&self) -> (usize, bool) {
        let shard = SHARD.get();
        // A recorder made for fewer workers has no such block: then we share.
        if shard != 0 && shard < self.shards() { (shard, true) } else { (0, false) }
    }

    #[inline]
    fn slot(&self, shard: usize, cell: usize) -> &AtomicU64 {
        let offset = self.start + cell;
        &self.lines[shard * LINES_PER_BLOCK + offset / CELLS_PER_LINE].0[offset % CELLS_PER_LINE]
    }
}

fn update_f64(slot: &AtomicU64, change: impl Fn(f64) -> f64) {
    let mut old = slot.load(Relaxed);
    loop {
        let new = change(f64::from_bits(old)).to_bits();
        match slot.compare_exchange_weak(old, new, Relaxed, Relaxed) {
            Ok(_) => return,
            Err(seen) => old = seen,
        }
    }
}

/// Hands out spans and takes them back. Chunks are never freed: a series that leaves makes room for the next.
#[derive(Debug)]
pub(super) struct Arena {
    shards: usize,
    /// The chunk in use and the first free cell in it.
    current: Option<(Arc<[Line]>, usize)>,
    chunks: usize,
    /// Spans that came back, by length.
    free: BTreeMap<usize, Vec<Span>>,
}

impl Arena {
    /// An arena for `workers` bound threads and the shared shard.
    pub(super) fn new(workers: usize) -> Arena {
        Arena { shards: workers + 1, current: None, chunks: 0, free: BTreeMap::new() }
    }

    /// `len` cells, all zero; at most [`CELLS_PER_BLOCK`].
    pub(super) fn take(&mut self, len: usize) -> Span {
        let len = len.min(CELLS_PER_BLOCK);
        if let Some(span) = self.free.get_mut(&len).and_then(Vec::pop) {
            return span;
        }
        match &mut self.current {
            Some((lines, next)) if *next + len <= CELLS_PER_BLOCK => {
                let span = Span { lines: Arc::clone(lines), start: *next, len };
                *next += len;
                span
            }
            _ => {
                let lines: Arc<[Line]> = (0..self.shards * LINES_PER_BLOCK).map(|_| Line::zero()).collect();
                self.current = Some((Arc::clone(&lines), len));
                self.chunks += 1;
                Span { lines, start: 0, len }
            }
        }
    }

    /// Takes back a span that nobody writes any more.
    pub(super) fn give_back(&mut self, span: Span) {
        span.clear();
        self.free.entry(span.len()).or_default().push(span);
    }

    /// Bytes of cells in all chunks.
    pub(super) fn bytes(&self) -> usize {
        self.chunks * self.shards * LINES_PER_BLOCK * size_of::<Line>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_belongs_to_one_live_thread_and_comes_back_with_its_guard() {
        let guard = bind_shard(70);
        assert!(guard.is_own());
        std::thread::scope(|scope| {
            scope.spawn(|| assert!(!bind_shard(70).is_own(), "taken by a live thread"));
        });
        assert!(!bind_shard(71).is_own(), "a thread has one shard");
        drop(guard);
        std::thread::scope(|scope| {
            scope.spawn(|| assert!(bind_shard(70).is_own()));
        });
    }

    #[test]
    fn blocks_of_two_shards_never_share_a_pair_of_cache_lines() {
        assert_eq!((size_of::<Line>(), align_of::<Line>()), (128, 128));
        let span = Arena::new(2).take(3);
        let address = |shard, cell| std::ptr::from_ref(span.slot(shard, cell)).addr();
        assert_eq!(address(1, 0) % 128, 0);
        assert_eq!(address(1, 0) - address(0, 0), CELLS_PER_BLOCK * 8);
    }

    #[test]
    fn a_span_given_back_is_handed_out_again_at_zero() {
        let mut arena = Arena::new(1);
        let span = arena.take(4);
        span.add(3, 9);
        let (start, bytes) = (span.start, arena.bytes());
        arena.give_back(span);
        let again = arena.take(4);
        assert_eq!((again.start, again.sum(3), arena.bytes()), (start, 0, bytes));
    }

    #[test]
    fn a_cell_that_was_written_to_stays_so_whatever_it_holds() {
        let mut arena = Arena::new(2);
        let updates: [fn(&Span); 3] = [
            |span| span.add_f64(0, 0.0),
            |span| span.set_f64(0, 0.0),
            |span| [1.5, 2.0, -3.5].into_iter().for_each(|by| span.add_f64(0, by)),
        ];
        for update in updates {
            let span = arena.take(1);
            span.unset(0);
            assert!(!span.is_set(0) && span.sum_f64(0).is_sign_positive());
            update(&span);
            assert_eq!((span.is_set(0), span.sum_f64(0)), (true, 0.0));
            span.set_f64(0, 4.0);
            assert_eq!(span.sum_f64(0), 4.0);
            arena.give_back(span);
        }
    }

    #[test]
    fn a_series_never_crosses_the_end_of_a_block() {
        let mut arena = Arena::new(1);
        for _ in 0..100 {
            let span = arena.take(60);
            assert!(span.start + span.len() <= CELLS_PER_BLOCK);
        }
        assert_eq!(arena.chunks, 100_usize.div_ceil(CELLS_PER_BLOCK / 60));
    }
}
