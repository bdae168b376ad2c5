//! Which elements of a tensor are looked up: all, or those at its corners and edges and some between.

use crate::engine::splitmix64;

/// Elements of a tensor up to which all are taken.
const ALL: u64 = 64;

/// Edges along one dimension that are taken at most.
const EDGES: usize = 12;

/// Elements taken anywhere.
const ANYWHERE: u64 = 16;

/// Calls `take` with the indices to look up until it returns false: all of them where `thorough`, else a few that are
/// the same in every run. `edges` are the places along each dimension where something begins or ends.
pub(super) fn each_index(
    shape: &[u64],
    edges: &[Vec<u64>],
    thorough: bool,
    take: &mut dyn FnMut(&[u64]) -> bool,
) {
    let elements = shape.iter().fold(1u64, |all, len| all.saturating_mul(*len));
    if elements == 0 {
        return;
    }
    let mut index = vec![0; shape.len()];
    if thorough || elements <= ALL {
        loop {
            if !take(&index) {
                return;
            }
            let Some(dim) = (0..shape.len()).rev().find(|dim| index[*dim] + 1 < shape[*dim]) else { return };
            index[dim] += 1;
            index[dim + 1..].fill(0);
        }
    }
    let mut count = 0;
    let mut random = |len: u64| {
        count += 1;
        splitmix64(elements, count) % len
    };
    let ends: Vec<u64> = shape.iter().map(|len| len - 1).collect();
    if !take(&index) || !take(&ends) {
        return;
    }
    for (dim, edges) in edges.iter().enumerate() {
        let step = edges.len().div_ceil(EDGES).max(1);
        for edge in edges.iter().step_by(step).chain(edges.last()) {
            shape.iter().enumerate().for_each(|(other, len)| index[other] = random(*len));
            index[dim] = *edge;
            if !take(&index) {
                return;
            }
        }
    }
    for _ in 0..ANYWHERE {
        shape.iter().enumerate().for_each(|(dim, len)| index[dim] = random(*len));
        if !take(&index) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::each_index;

    fn taken(shape: &[u64], edges: &[Vec<u64>], thorough: bool) -> Vec<Vec<u64>> {
        let mut all = Vec::new();
        each_index(shape, edges, thorough, &mut |index| {
            all.push(index.to_vec());
            true
        });
        all
    }

    #[test]
    fn small_tensors_and_thorough_looks_leave_nothing_out() {
        assert_eq!(taken(&[], &[], false), [Vec::<u64>::new()]);
        assert_eq!(taken(&[2, 2], &[vec![0, 1], vec![0, 1]], false).len(), 4);
        assert_eq!(taken(&[50, 30], &[vec![], vec![]], true).len(), 1500);
        assert!(taken(&[3, 0], &[vec![], vec![]], true).is_empty());
    }

    #[test]
    fn samples_have_every_edge_and_are_the_same_again() {
        let edges = [vec![0, 41, 42, 99], vec![0, 999]];
        let once = taken(&[100, 1000], &edges, false);
        assert_eq!(once, taken(&[100, 1000], &edges, false));
        for (dim, edges) in edges.iter().enumerate() {
            for edge in edges {
                assert!(once.iter().any(|index| index[dim] == *edge), "{edge} along {dim}");
            }
        }
        assert!(once.len() < 64 && once.contains(&vec![99, 999]));
    }
}
