//! How the target is split over ranks: how many there are along each axis, and what each of them holds of an index
//! where that is not the same for all.

use transship_grammar as grammar;

use grammar::{AxisId, BlocksWord, Code, Diagnostic, Diagnostics, RankId, Value};

use super::{BindOptions, Binding};

impl Binding<'_> {
    /// Takes the numbers of the target's ranks, and the blocks that they are to hold.
    pub(super) fn set_target_ranks(&mut self, options: &BindOptions, diagnostics: &mut Diagnostics) {
        self.ranks.shares = vec![None; self.mapping.ranks.len()];
        for (name, count) in &options.ranks {
            match self.target_rank(name) {
                Some(rank) => self.ranks.counts[rank.index()] = *count,
                None if *count <= 1 => {}
                None => diagnostics.push(self.no_rank_axis(name)),
            }
        }
        for (name, blocks) in &options.shares {
            let Some(rank) = self.target_rank(name) else {
                diagnostics.push(self.no_rank_axis(name));
                continue;
            };
            let stated = options.ranks.iter().any(|(other, _)| other == name);
            match self.set_shares(rank, blocks, stated) {
                Ok(()) => {}
                Err(diagnostic) => diagnostics.push(*diagnostic),
            }
        }
    }

    fn target_rank(&self, name: &str) -> Option<RankId> {
        self.mapping.ranks_of(self.to()).find(|rank| self.mapping.ranks[rank.index()].name == name)
    }

    /// Blocks are listed in the order of the index, so that with virtual stages the first of every stage come before
    /// the second of any. Where the number of ranks is not `stated` it is that of the blocks.
    fn set_shares(&mut self, rank: RankId, blocks: &[u64], stated: bool) -> Result<(), Box<Diagnostic>> {
        let Some((_, axes)) = self.distributed_over(rank) else {
            let name = &self.mapping.ranks[rank.index()].name;
            let message =
                format!("no index is distributed over `{name}`, so its ranks hold no blocks of one");
            let help = "leave the blocks out; what is split in memory is split evenly";
            return Err(Box::new(Diagnostic::without_place(Code::UnknownSetting, message).help(help)));
        };
        let others: Vec<RankId> = axes.iter().copied().filter(|axis| *axis != rank).collect();
        let (others, given) = (self.ranks.product(&others), blocks.len() as u64);
        if !stated && given > 0 && given.is_multiple_of(others) {
            self.ranks.counts[rank.index()] = given / others;
        }
        if !stated && !given.is_multiple_of(others) {
            let name = &self.mapping.ranks[rank.index()].name;
            let message = format!("{given} blocks are given, but each `{name}` rank holds {others}");
            let help = format!("give {others} numbers for each rank, in the order of the model");
            return Err(Box::new(Diagnostic::without_place(Code::UnevenRanks, message).help(help)));
        }
        let wanted = self.ranks.product(&axes);
        if given != wanted {
            let counts = self.counted(&axes);
            let message = format!("{given} blocks are given for {counts}");
            let help = format!("give {wanted} numbers, one for each block in the order of the model");
            return Err(Box::new(Diagnostic::without_place(Code::UnevenRanks, message).help(help)));
        }
        self.ranks.shares[rank.index()] = Some(blocks.to_vec());
        Ok(())
    }

    /// `2 x 3 ranks of `vpp` and `pp``.
    fn counted(&self, axes: &[RankId]) -> String {
        let several = axes.iter().filter(|axis| axes.len() == 1 || self.ranks.count(**axis) > 1);
        let named = several
            .map(|axis| format!("{} `{}`", self.ranks.count(*axis), self.mapping.ranks[axis.index()].name));
        let all = named.collect::<Vec<_>>().join(" x ");
        if all.is_empty() { "1 rank".to_owned() } else { format!("{all} ranks") }
    }

    /// The first index that is distributed over a rank axis in the names of the target, and all rank axes it is
    /// distributed over.
    pub(crate) fn distributed_over(&self, rank: RankId) -> Option<(AxisId, Vec<RankId>)> {
        let entries = self.mapping.rules.iter().flat_map(|rule| &rule.sides[self.to().index()]);
        let mut indices = entries.flat_map(|entry| &entry.stored).flat_map(|stored| stored.name.indices());
        indices.find(|index| index.ranks.contains(&rank)).map(|index| (index.axis, index.ranks.clone()))
    }

    fn no_rank_axis(&self, name: &str) -> Diagnostic {
        let side = &self.mapping.side(self.to()).name;
        let message = format!("checkpoints of side `{side}` are not split along `{name}`");
        let known: Vec<&str> =
            self.mapping.ranks_of(self.to()).map(|r| self.mapping.ranks[r.index()].name.as_str()).collect();
        let help = if known.is_empty() {
            "its checkpoints are never split; leave the option out".to_owned()
        } else {
            format!("its rank axes are {}", known.join(", "))
        };
        Diagnostic::without_place(Code::UnknownSetting, message).help(help)
    }

    /// What the blocks along a rank axis are, in the word that is asked for.
    pub(crate) fn blocks_word(&self, rank: RankId, word: BlocksWord) -> Value {
        let Some(blocks) = self.ranks.uneven_shares(rank) else { return Value::Null };
        let int = |n: u64| Value::Int(i64::try_from(n).unwrap_or(i64::MAX));
        let ends = self.distributed_over(rank).and_then(|(_, axes)| self.ends(rank, &axes, blocks));
        match (word, ends) {
            (BlocksWord::First, Some((first, _))) => int(first),
            (BlocksWord::Last, Some((_, last))) => int(last),
            (BlocksWord::Layout, None) => Value::Text(stages(blocks)),
            _ => Value::Null,
        }
    }

    /// How many the first and the last rank hold, where all others hold the same, each rank's blocks are alike, and
    /// none is empty: what Megatron-Core calls `decoder_first_pipeline_num_layers`.
    fn ends(&self, rank: RankId, axes: &[RankId], blocks: &[u64]) -> Option<(u64, u64)> {
        let after = axes.iter().skip_while(|axis| **axis != rank).skip(1).copied().collect::<Vec<_>>();
        let (inner, count) = (self.ranks.product(&after), self.ranks.count(rank));
        let mut held: Vec<Vec<u64>> = vec![Vec::new(); usize::try_from(count).ok()?];
        for (at, block) in blocks.iter().enumerate() {
            held[usize::try_from(at as u64 / inner % count).ok()?].push(*block);
        }
        let [first, middle @ .., last] = &held[..] else { return None };
        let alike = held.iter().all(|own| own[0] > 0 && own.iter().all(|block| *block == own[0]));
        let level = middle.iter().all(|own| own == &middle[0]);
        (alike && level).then(|| (first.iter().sum(), last.iter().sum()))
    }
}

impl super::Ranks {
    /// The blocks that the target's ranks are to hold, where they are not all of one size.
    pub(crate) fn uneven_shares(&self, rank: RankId) -> Option<&[u64]> {
        let blocks = self.shares.get(rank.index())?.as_deref()?;
        blocks.iter().any(|block| *block != blocks[0]).then_some(blocks)
    }

    /// The blocks of an index that is distributed over these rank axes, where they are given one by one.
    pub(crate) fn shares_over(&self, ranks: &[RankId]) -> Option<&[u64]> {
        ranks.iter().find_map(|rank| self.shares.get(rank.index())?.as_deref())
    }
}

/// Blocks of layers as Megatron-Core's `PipelineParallelLayerLayout` reads them: `E` is the embedding, `t` a layer, `L` the
/// loss, and `|` stands between stages.
fn stages(blocks: &[u64]) -> String {
    let layers = |count: &u64| match count {
        0 => String::new(),
        1 => "t".to_owned(),
        n => format!("t*{n}"),
    };
    format!("E{}L", blocks.iter().map(layers).collect::<Vec<_>>().join("|"))
}

#[cfg(test)]
mod tests {
    #[test]
    fn stages_are_written_as_megatron_core_reads_them() {
        assert_eq!(super::stages(&[3, 1, 0, 12]), "Et*3|t||t*12L");
    }
}
