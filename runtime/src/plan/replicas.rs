//! What copies of a parameter on several ranks become together.

use transship_grammar as grammar;

use grammar::Replicas;

use super::held::HeldBox;
use super::pair::{Common, Pair};
use super::pieces::Instance;
use crate::engine::{Content, Convert, Fill, Mean, Region, Rows, StridedCopy};

impl<'a> Instance<'_, 'a> {
    /// One tensor's elements, or what its replicas make together. `pair` found `copy`.
    pub(super) fn content(
        &self,
        held: &HeldBox<'a>,
        pair: &Pair<'_, 'a>,
        copy: StridedCopy,
        convert: Convert,
    ) -> Content<'a> {
        let checkpoint = self.binding.checkpoint;
        let source = checkpoint.bytes(pair.tensor);
        if held.replicas.is_empty() || !matches!(self.rule.replicas, Replicas::Mean | Replicas::Sum) {
            return Content::Copy { copy, source, convert };
        }
        let rows = |source: &'a [u8], copy: &StridedCopy| Rows {
            source,
            offset: copy.source_offset,
            count: 1,
            step: 0,
            strides: copy.source_strides.clone(),
        };
        let mut all = vec![rows(source, &copy)];
        for (tensor, own) in &held.replicas {
            if let Common::Some(copy) = (Pair { tensor, source: own, ..*pair }).common() {
                all.push(rows(checkpoint.bytes(tensor), &copy));
            }
        }
        let sum = self.rule.replicas == Replicas::Sum;
        let mean = Mean { dtype: convert.from, rows: all, sum };
        let region = Region { shape: copy.shape, offset: copy.target_offset, strides: copy.target_strides };
        Content::Fill { region, fill: Fill::Mean(mean) }
    }
}
