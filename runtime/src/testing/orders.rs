//! Differences between two arrangements of a region's elements that have a name: values of one axis exchanged, axes
//! in another order.

use super::fake::coordinates;
use crate::orders::permutations;

/// What one arrangement is against another.
pub(super) enum Rearrangement {
    /// Along one axis the coordinates are others: at `i` lies what belongs at the `i`-th number.
    Along(usize, Vec<u64>),
    /// Elements that belong in the second order of the axes lie in the first.
    Orders(Vec<usize>, Vec<usize>),
}

/// Axes beyond which orders are not tried: their number is squared.
const MOST_AXES: usize = 5;

/// Finds what `moved` is: for each element, by its place in the row-major order of the axes, the place it belongs at.
pub(super) fn rearrangement(lens: &[u64], moved: &[u64]) -> Option<Rearrangement> {
    along(lens, moved).or_else(|| orders(lens, moved))
}

fn along(lens: &[u64], moved: &[u64]) -> Option<Rearrangement> {
    (0..lens.len()).find_map(|axis| {
        let len = usize::try_from(lens[axis]).ok()?;
        let mut to: Vec<Option<u64>> = vec![None; len];
        for (at, belongs) in (0..).zip(moved) {
            let (at, belongs) = (coordinates(at, lens), coordinates(*belongs, lens));
            let others = (0..lens.len()).all(|a| a == axis || at[a] == belongs[a]);
            let slot = to.get_mut(usize::try_from(at[axis]).ok()?)?;
            if !others || *slot.get_or_insert(belongs[axis]) != belongs[axis] {
                return None;
            }
        }
        Some(Rearrangement::Along(axis, to.into_iter().collect::<Option<_>>()?))
    })
}

/// The first pair of orders under which both sides count the elements alike. The order of memory is tried first, and
/// orders that are closest to it.
fn orders(lens: &[u64], moved: &[u64]) -> Option<Rearrangement> {
    if lens.len() > MOST_AXES {
        return None;
    }
    let all = permutations(lens.len());
    let place = |coordinates: &[u64], order: &[usize]| {
        order.iter().fold(0, |place, axis| place * lens[*axis] + coordinates[*axis])
    };
    let pairs: Vec<(Vec<u64>, Vec<u64>)> =
        (0..).zip(moved).map(|(at, to)| (coordinates(at, lens), coordinates(*to, lens))).collect();
    for lie in &all {
        let found =
            all.iter().find(|belong| pairs.iter().all(|(at, to)| place(at, lie) == place(to, belong)));
        if let Some(belong) = found {
            return Some(Rearrangement::Orders(lie.clone(), belong.clone()));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::{Rearrangement, rearrangement};
    use crate::orders::exchanged;

    #[test]
    fn a_rotation_along_an_axis_is_one_and_no_order() {
        let moved = [1, 2, 0, 4, 5, 3];
        let Some(Rearrangement::Along(axis, to)) = rearrangement(&[2, 3], &moved) else {
            panic!("not found")
        };
        assert_eq!((axis, to), (1, vec![1, 2, 0]));
    }

    #[test]
    fn a_transposed_square_is_two_axes_exchanged() {
        let moved = [0, 3, 6, 1, 4, 7, 2, 5, 8];
        let Some(Rearrangement::Orders(lie, belong)) = rearrangement(&[3, 3], &moved) else {
            panic!("not found")
        };
        assert_eq!(exchanged(&lie, &belong), Some((0, 1)));
    }

    #[test]
    fn what_has_no_name_is_not_given_one() {
        assert!(rearrangement(&[2, 3], &[0, 1, 2, 5, 4, 3]).is_none());
    }
}
