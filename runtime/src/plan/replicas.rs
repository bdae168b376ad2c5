//! What copies of a parameter on several ranks become together.

use transship_grammar as grammar;

use grammar::Replicas;

use super::found::Shard;
use super::pieces::Instance;
use crate::engine::{Content, Convert, Fill, Mean, Region, Rows, StridedCopy};

impl<'a> Instance<'_, 'a> {
    /// One tensor's elements, or what its replicas make together.
    pub(super) fn content(&self, shard: &Shard<'a>, copy: StridedCopy, convert: Convert) -> Content<'a> {
        let checkpoint = self.binding.checkpoint;
        let source = checkpoint.bytes(shard.tensor);
        if shard.replicas.is_empty() || !matches!(self.rule.replicas, Replicas::Mean | Replicas::Sum) {
            return Content::Copy { copy, source, convert };
        }
        let rows = [shard.tensor].into_iter().chain(shard.replicas.iter().copied()).map(|tensor| Rows {
            source: checkpoint.bytes(tensor),
            // Replicas have one shape and lie alike, but for where they begin.
            offset: copy.source_offset + usize::try_from(tensor.offset).unwrap_or(0)
                - usize::try_from(shard.tensor.offset).unwrap_or(0),
            count: 1,
            step: 0,
            strides: copy.source_strides.clone(),
        });
        let mean =
            Mean { dtype: convert.from, rows: rows.collect(), sum: self.rule.replicas == Replicas::Sum };
        let region =
            Region { shape: copy.shape.clone(), offset: copy.target_offset, strides: copy.target_strides };
        Content::Fill { region, fill: Fill::Mean(mean) }
    }
}
