//! Orders of axes, and what is wrong with them, in words.

/// All orders of `count` axes, by how many pairs are not in their first order.
pub(crate) fn permutations(count: usize) -> Vec<Vec<usize>> {
    let mut all: Vec<Vec<usize>> = vec![Vec::new()];
    for axis in 0..count {
        all = all
            .iter()
            .flat_map(|order| {
                (0..=order.len()).map(move |at| {
                    let mut order = order.clone();
                    order.insert(at, axis);
                    order
                })
            })
            .collect();
    }
    let inversions = |order: &Vec<usize>| {
        (0..order.len())
            .map(|i| order[i + 1..].iter().filter(|later| **later < order[i]).count())
            .sum::<usize>()
    };
    all.sort_by_cached_key(|order| (inversions(order), order.clone()));
    all
}

/// The two axes whose exchange turns one order into the other, if that is all.
pub(crate) fn exchanged(lie: &[usize], belong: &[usize]) -> Option<(usize, usize)> {
    let differ: Vec<usize> = (0..lie.len()).filter(|i| lie[*i] != belong[*i]).collect();
    match differ.as_slice() {
        [a, b] => Some((lie[*a], lie[*b])),
        _ => None,
    }
}

/// Pairs of what moved told at most.
const SHOWN: usize = 6;

/// `gate and up are swapped`, `q holds k, k holds v, v holds q`; nothing where each holds its own.
pub(crate) fn show_moves(all: &[(String, String)]) -> Option<String> {
    let moved: Vec<&(String, String)> = all.iter().filter(|(at, holds)| at != holds).collect();
    match moved.as_slice() {
        [] => None,
        [(a, b), (c, d)] if (a, b) == (d, c) => Some(format!("{a} and {b} are swapped")),
        _ => {
            let shown: Vec<String> =
                moved.iter().take(SHOWN).map(|(at, holds)| format!("{at} holds {holds}")).collect();
            let more = if moved.len() > SHOWN { ", …" } else { "" };
            Some(format!("{}{more}", shown.join(", ")))
        }
    }
}

/// What it means that elements which belong in the order `lie` of the axes called `names` lie in the order `belong`.
pub(crate) fn show_orders(names: &[String], lie: &[usize], belong: &[usize]) -> String {
    let show = |order: &[usize]| {
        let names: Vec<&str> = order.iter().map(|axis| names[*axis].as_str()).collect();
        names.join(" ")
    };
    let how = format!("they lie as `{}`, not `{}`", show(belong), show(lie));
    match exchanged(lie, belong) {
        Some((a, b)) => format!("axes {} and {} are swapped: {how}", names[a], names[b]),
        None => format!("axes are in another order: {how}"),
    }
}

#[cfg(test)]
mod tests {
    use super::{exchanged, permutations, show_moves};

    #[test]
    fn orders_begin_with_that_of_memory() {
        let all = permutations(4);
        assert_eq!(all.len(), 24);
        assert_eq!(all[0], [0, 1, 2, 3]);
        assert_eq!(all[23], [3, 2, 1, 0]);
    }

    #[test]
    fn two_axes_are_exchanged_or_more_are_moved() {
        assert_eq!(exchanged(&[0, 1, 2], &[0, 2, 1]), Some((1, 2)));
        assert_eq!(exchanged(&[0, 1, 2], &[1, 2, 0]), None);
    }

    #[test]
    fn what_stays_in_its_place_is_not_told() {
        let moves = |all: &[(&str, &str)]| {
            let all: Vec<(String, String)> =
                all.iter().map(|(at, holds)| ((*at).to_owned(), (*holds).to_owned())).collect();
            show_moves(&all)
        };
        assert_eq!(moves(&[("q", "q"), ("k", "k")]), None);
        assert_eq!(moves(&[("q", "k"), ("k", "q"), ("v", "v")]).as_deref(), Some("q and k are swapped"));
        assert_eq!(moves(&[("q", "k")]).as_deref(), Some("q holds k"));
    }
}
