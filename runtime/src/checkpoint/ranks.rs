//! Checkpoints that are cut over ranks, one file each.
//!
//! Megatron-LM writes `mp_rank_TT/`, `mp_rank_TT_PPP/` with a pipeline, and `mp_rank_TT_PPP_EEE/` or `mp_rank_TT_EEE/`
//! with expert parallelism (`get_checkpoint_name` in megatron/training/checkpointing.py). The numbers count
//! tensor, pipeline and expert ranks, each from 0, in all combinations.

use std::path::Path;

use crate::document::{Map, Value};
use crate::tensor::Contents;

use super::error::{OpenCause, OpenError, listed};
use super::format::Format;
use super::open::Opened;
use super::{Checkpoint, RankFile};

/// Most digits of a number in the name of a rank; no run has a billion processes.
const MAX_DIGITS: usize = 9;

/// What one rank's directory is called; empty where there are no ranks.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct RankName {
    /// Tensor rank, then pipeline or expert rank, as there are several.
    pub(super) numbers: Vec<u64>,
    pub(super) name: String,
}

impl RankName {
    /// The rank whose directory is called `name`, or `None` where it is not one's.
    pub(crate) fn parse(name: &str) -> Option<RankName> {
        let number = |digits: &str| {
            let plain = digits.bytes().all(|b| b.is_ascii_digit()) && digits.len() <= MAX_DIGITS;
            digits.parse().ok().filter(|_| plain)
        };
        let numbers: Vec<u64> =
            name.strip_prefix("mp_rank_")?.split('_').map(number).collect::<Option<_>>()?;
        (numbers.len() <= 3).then(|| RankName { numbers, name: name.to_owned() })
    }

    /// The name that Megatron-LM would give to the rank with these numbers.
    pub(crate) fn of(numbers: &[u64]) -> String {
        let mut name = "mp_rank".to_owned();
        for (at, number) in numbers.iter().enumerate() {
            name.push_str(&if at == 0 { format!("_{number:02}") } else { format!("_{number:03}") });
        }
        name
    }
}

/// Checks that the numbers of `ranks`, which are in order, are all combinations of 0, 1, … in each place.
pub(super) fn check_grid(ranks: &[RankName]) -> Result<(), OpenCause> {
    let folders = || listed(&ranks.iter().map(|r| &r.name).collect::<Vec<_>>());
    let Some(first) = ranks.first() else { return Ok(()) };
    if let Some(unlike) = ranks.iter().find(|r| r.numbers.len() != first.numbers.len()) {
        return Err(OpenCause::RankNumbers { first: first.name.clone(), second: unlike.name.clone() });
    }
    if let Some(pair) = ranks.windows(2).find(|pair| pair[0].numbers == pair[1].numbers) {
        let (first, second) = (pair[0].name.clone(), pair[1].name.clone());
        return Err(OpenCause::RankTwice { first, second });
    }
    let counts: Vec<u64> = (0..first.numbers.len())
        .map(|place| ranks.iter().map(|r| r.numbers[place]).max().unwrap_or(0) + 1)
        .collect();
    // In order, the ranks are the combinations one after the other; the first that differs shows what is missing.
    let mut expected = vec![0; counts.len()];
    for rank in ranks {
        if rank.numbers != expected {
            break;
        }
        for (number, count) in expected.iter_mut().zip(&counts).rev() {
            *number += 1;
            if *number < *count {
                break;
            }
            *number = 0;
        }
    }
    let all = counts.iter().try_fold(1u64, |n, count| n.checked_mul(*count));
    if all == Some(ranks.len() as u64) {
        return Ok(());
    }
    let grid = counts.iter().map(u64::to_string).collect::<Vec<_>>().join(" x ");
    Err(OpenCause::RankMissing { missing: RankName::of(&expected), grid, folders: folders() })
}

/// Files of ranks, put together one after the other.
#[derive(Debug)]
pub(super) struct Joined {
    contents: Contents,
    format: Option<Format>,
    ranks: Vec<RankFile>,
}

impl Joined {
    pub(super) fn new() -> Joined {
        Joined { contents: Contents::empty(), format: None, ranks: Vec::new() }
    }

    /// Adds what the file of the next rank holds.
    ///
    /// # Errors
    ///
    /// Where it is from another iteration than the first rank's.
    pub(super) fn add(&mut self, rank: RankName, opened: Opened) -> Result<(), OpenError> {
        let Opened { file, format, contents } = opened;
        let mut documents = contents.documents;
        if let Some(first) = self.ranks.first() {
            if let (Some(expected), Some(found)) = (iteration(&first.documents), iteration(&documents))
                && expected != found
            {
                let first = first.name.clone();
                return Err(OpenError::new(file, OpenCause::RankIteration { found, first, expected }));
            }
            // The optimizer's state is what takes room, and tells nothing that the first rank's does not.
            if let Value::Map(map) = &mut documents {
                map.remove("optimizer");
            }
        }
        documents.shift_tensors(self.contents.tensors.len());
        let mut tensors = contents.tensors;
        tensors.iter_mut().for_each(|tensor| tensor.rank = self.ranks.len());
        self.contents.append(tensors, contents.storages);
        for unsupported in contents.unsupported {
            // Ranks hold alike parameters, and of those once is enough to say why they are not converted.
            if self.ranks.is_empty() || !self.contents.unsupported.contains(&unsupported) {
                self.contents.unsupported.push(unsupported);
            }
        }
        self.format.get_or_insert(format);
        let RankName { numbers, name } = rank;
        self.ranks.push(RankFile { name, numbers, file, documents });
        Ok(())
    }

    /// The checkpoint of all that was added, one at least, called `file`.
    pub(super) fn into_checkpoint(self, path: &Path, file: String) -> Result<Checkpoint, OpenError> {
        let format = self.format.expect("bug: a checkpoint of no files");
        Checkpoint::of_ranks(path, file, format, self.contents, self.ranks)
    }
}

/// The iteration that a rank's top-level dictionary says it is from.
fn iteration(documents: &Value) -> Option<i64> {
    let top: &Map = documents.as_map()?;
    top.get("iteration").or_else(|| top.get("total_iters"))?.as_int()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(names: &[&str]) -> Result<(), String> {
        let mut ranks: Vec<RankName> =
            names.iter().map(|n| RankName::parse(n).expect("the name of a rank")).collect();
        ranks.sort();
        check_grid(&ranks).map_err(|cause| cause.to_string())
    }

    #[test]
    fn names_have_one_to_three_numbers() {
        for (name, numbers) in [
            ("mp_rank_00", &[0][..]),
            ("mp_rank_07_012", &[7, 12]),
            ("mp_rank_01_002_003", &[1, 2, 3]),
            ("mp_rank_100", &[100]),
        ] {
            let rank = RankName::parse(name).expect(name);
            assert_eq!((rank.numbers.as_slice(), RankName::of(&rank.numbers).as_str()), (numbers, name));
        }
        for name in ["mp_rank_", "mp_rank_0a", "mp_rank_00_", "mp_rank_+1", "mp_rank_0000000000", "rank_00"] {
            assert_eq!(RankName::parse(name), None, "{name}");
        }
        assert_eq!(RankName::parse("mp_rank_00_001_002_003"), None);
    }

    #[test]
    fn grids_are_full() {
        assert_eq!(check(&["mp_rank_00"]), Ok(()));
        assert_eq!(check(&["mp_rank_01", "mp_rank_00", "mp_rank_02"]), Ok(()));
        assert_eq!(check(&["mp_rank_00_000", "mp_rank_00_001", "mp_rank_01_000", "mp_rank_01_001"]), Ok(()));
        let missing = |names: &[&str], rank: &str| {
            let message = check(names).expect_err("a rank is missing");
            assert!(message.starts_with(&format!("{rank} is missing")), "{message}");
        };
        missing(&["mp_rank_01"], "mp_rank_00");
        missing(&["mp_rank_00", "mp_rank_02"], "mp_rank_01");
        missing(&["mp_rank_00_000", "mp_rank_00_001", "mp_rank_01_000"], "mp_rank_01_001");
        missing(&["mp_rank_00_000", "mp_rank_00_001", "mp_rank_01_001"], "mp_rank_01_000");
        missing(&["mp_rank_00_000_000", "mp_rank_00_001_001"], "mp_rank_00_000_001");
        missing(&["mp_rank_999999999_999999999_999999999"], "mp_rank_00_000_000");
    }
}
