//! The series of many families in the order of their dotted names.
//!
//! Law: never all names at once. A family is put in order when its turn comes, which what all its names begin with tells;
//! then it holds the name of its next series alone. So a page takes the memory of a list of its series.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::sync::Arc;

use super::super::registry::{Listed, Series};
use super::Wanted;
use super::name::Shape;

pub(super) struct Merge {
    runs: BinaryHeap<Run>,
    wanted: Arc<Wanted>,
}

/// A family, and what is left of it.
struct Run {
    family: Arc<Listed>,
    shape: Shape,
    /// In order from the first `next` on.
    left: std::vec::IntoIter<Arc<Series>>,
    next: Option<Arc<Series>>,
    /// The name of `next`; of a family whose turn has not come, what every name of its begins with.
    name: String,
}

impl Merge {
    pub(super) fn new(families: Vec<Listed>, wanted: Arc<Wanted>) -> Merge {
        Merge { runs: families.into_iter().map(Run::new).collect(), wanted }
    }

    /// The next series that is wanted, with its family; `name` becomes its name.
    pub(super) fn next(&mut self, name: &mut String) -> Option<(Arc<Listed>, Arc<Series>)> {
        loop {
            let mut first = self.runs.peek_mut()?;
            let found = match first.next.take() {
                Some(series) => {
                    std::mem::swap(name, &mut first.name);
                    Some((Arc::clone(&first.family), series))
                }
                None => {
                    first.begin(&self.wanted);
                    None
                }
            };
            if !first.advance() {
                PeekMut::pop(first);
            }
            if found.is_some() {
                return found;
            }
        }
    }
}

impl Run {
    fn new(mut listed: Listed) -> Run {
        let shape = Shape::of(&listed.declared.name);
        let left = std::mem::take(&mut listed.series).into_iter();
        let name = shape.start().to_owned();
        Run { family: Arc::new(listed), shape, left, next: None, name }
    }

    fn begin(&mut self, wanted: &Wanted) {
        let mut series: Vec<_> = std::mem::take(&mut self.left).collect();
        let (shape, [mut one, mut other]) = (&self.shape, [const { String::new() }; 2]);
        let name = |series: &Series, name: &mut String| {
            name.clear();
            shape.write(series.labels.as_str(), name);
        };
        wanted.sift(&self.family.declared, &mut series);
        // Not the order of the labels: they are escaped, and what stands between two values is not the same.
        series.sort_by(|a, b| {
            name(a, &mut one);
            name(b, &mut other);
            one.cmp(&other)
        });
        self.left = series.into_iter();
    }

    fn advance(&mut self) -> bool {
        self.next = self.left.next();
        self.name.clear();
        if let Some(series) = &self.next {
            self.shape.write(series.labels.as_str(), &mut self.name);
        }
        self.next.is_some()
    }
}

/// The run whose name is first is the greatest: so a heap gives it first.
impl Ord for Run {
    fn cmp(&self, other: &Run) -> Ordering {
        other.name.cmp(&self.name)
    }
}

impl PartialOrd for Run {
    fn partial_cmp(&self, other: &Run) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Run {
    fn eq(&self, other: &Run) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Run {}
