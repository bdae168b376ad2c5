//! Whether chunks make up a whole tensor.

/// A box of elements in a larger tensor.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Extent {
    pub(super) offsets: Vec<u64>,
    pub(super) sizes: Vec<u64>,
}

impl Extent {
    /// Whether it lies inside `shape`.
    pub(super) fn inside(&self, shape: &[u64]) -> bool {
        let ends = self.offsets.iter().zip(&self.sizes).zip(shape);
        self.offsets.len() == shape.len()
            && self.sizes.len() == shape.len()
            && ends
                .into_iter()
                .all(|((&offset, &size), &whole)| offset.checked_add(size).is_some_and(|end| end <= whole))
    }

    fn range(&self, dim: usize) -> (u64, u64) {
        (self.offsets[dim], self.offsets[dim] + self.sizes[dim])
    }
}

/// How extents fail to make up a whole.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// No extent holds this element.
    Hole(Vec<u64>),
    /// These two have elements in common.
    Overlap(usize, usize),
    /// They are cut so irregularly that this takes too long to say.
    Disorder,
}

/// Checks that `extents`, which lie inside `shape`, hold each of its elements exactly once.
///
/// Dimension by dimension, the tensor is cut into slabs wherever an extent starts or ends; for grids, however cut,
/// the work is in proportion to the number of extents.
pub(super) fn check_coverage(shape: &[u64], extents: &[Extent]) -> Result<(), Fault> {
    if shape.contains(&0) {
        return Ok(());
    }
    let all: Vec<usize> = (0..extents.len()).filter(|&e| !extents[e].sizes.contains(&0)).collect();
    let work = all.len().saturating_mul(shape.len() + 1).saturating_mul(64).saturating_add(1 << 16);
    Sweep { shape, extents, at: Vec::new(), work }.slabs(&all)
}

struct Sweep<'a> {
    shape: &'a [u64],
    extents: &'a [Extent],
    /// Start of the slab at hand in each dimension that was cut.
    at: Vec<u64>,
    /// Steps that may still be taken.
    work: usize,
}

impl Sweep<'_> {
    /// Checks the slab at hand, which `inside` are the extents of.
    fn slabs(&mut self, inside: &[usize]) -> Result<(), Fault> {
        self.work = self.work.checked_sub(inside.len() + 1).ok_or(Fault::Disorder)?;
        let dim = self.at.len();
        if inside.is_empty() {
            let mut at = self.at.clone();
            at.resize(self.shape.len(), 0);
            return Err(Fault::Hole(at));
        }
        if dim == self.shape.len() {
            return match *inside {
                [first, second, ..] => Err(Fault::Overlap(first, second)),
                _ => Ok(()),
            };
        }
        let extents = self.extents;
        let mut order = inside.to_vec();
        order.sort_by_key(|&e| extents[e].range(dim).0);
        let mut cuts: Vec<u64> =
            order.iter().flat_map(|&e| <[u64; 2]>::from(extents[e].range(dim))).collect();
        cuts.extend([0, self.shape[dim]]);
        cuts.sort_unstable();
        cuts.dedup();
        let mut waiting = order.into_iter().peekable();
        let mut live: Vec<usize> = Vec::new();
        for &start in &cuts[..cuts.len() - 1] {
            live.retain(|&e| extents[e].range(dim).1 > start);
            while let Some(e) = waiting.next_if(|&e| extents[e].range(dim).0 == start) {
                live.push(e);
            }
            self.at.push(start);
            self.slabs(&live)?;
            self.at.pop();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn extent(offsets: &[u64], sizes: &[u64]) -> Extent {
        Extent { offsets: offsets.to_vec(), sizes: sizes.to_vec() }
    }

    #[test]
    fn scalars_and_empty_tensors() {
        assert_eq!(check_coverage(&[], &[extent(&[], &[])]), Ok(()));
        assert_eq!(check_coverage(&[], &[]), Err(Fault::Hole(vec![])));
        assert_eq!(check_coverage(&[3, 0], &[]), Ok(()));
        assert_eq!(check_coverage(&[2], &[extent(&[0], &[2]), extent(&[1], &[0])]), Ok(()));
    }

    #[test]
    fn huge_grids_are_quick() {
        let extents: Vec<Extent> =
            (0..300).flat_map(|i| (0..200).map(move |j| extent(&[i * 7, j * 3], &[7, 3]))).collect();
        assert_eq!(check_coverage(&[2100, 600], &extents), Ok(()));
        assert_eq!(check_coverage(&[2100, 600], &extents[1..]), Err(Fault::Hole(vec![0, 0])));
        // A staircase and what is above it, which together are whole.
        let stairs: Vec<Extent> = (0..3000)
            .flat_map(|i| [extent(&[0, i], &[i + 1, 1]), extent(&[i + 1, i], &[2999 - i, 1])])
            .collect();
        assert_eq!(check_coverage(&[3000, 3000], &stairs), Err(Fault::Disorder));
    }

    proptest! {
        #[test]
        fn faults_are_those_that_counting_finds(
            shape in prop::collection::vec(1..5u64, 1..4),
            boxes in prop::collection::vec((any::<[u8; 3]>(), any::<[u8; 3]>()), 0..5),
        ) {
            let extents: Vec<Extent> = boxes.iter().map(|(from, size)| {
                let offsets: Vec<u64> = shape.iter().zip(from).map(|(n, b)| u64::from(*b) % n).collect();
                let sizes = shape.iter().zip(&offsets).zip(size).map(|((n, o), b)| 1 + u64::from(*b) % (n - o)).collect();
                Extent { offsets, sizes }
            }).collect();
            let mut spots = vec![Vec::new()];
            for &n in &shape {
                spots = spots.iter().flat_map(|at: &Vec<u64>| (0..n).map(move |i| [&at[..], &[i]].concat())).collect();
            }
            let holds = |e: &Extent, at: &[u64]| (0..at.len()).all(|d| e.range(d).0 <= at[d] && at[d] < e.range(d).1);
            let count = |at: &Vec<u64>| extents.iter().filter(|e| holds(e, at)).count();
            match check_coverage(&shape, &extents) {
                Ok(()) => prop_assert!(spots.iter().all(|at| count(at) == 1)),
                Err(Fault::Hole(at)) => prop_assert_eq!(count(&at), 0),
                Err(Fault::Overlap(a, b)) => {
                    prop_assert!(a != b && spots.iter().any(|at| holds(&extents[a], at) && holds(&extents[b], at)));
                }
                Err(Fault::Disorder) => prop_assert!(false, "few extents are no disorder"),
            }
        }
    }
}
