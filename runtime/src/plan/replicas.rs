//! What copies of a parameter on several ranks become together, and what they are written as.

use transship_grammar as grammar;

use grammar::{Code, Diagnostic, LayoutBox, Replicas, Rule, Span};

use super::found::Found;
use super::held::HeldBox;
use super::pair::{Common, Pair};
use super::pieces::Instance;
use super::{Source, tensors};
use crate::bind::Binding;
use crate::engine::{Affine, Content, Convert, Fill, Mean, Region, Rows, StridedCopy, TargetTensor};
use crate::{DType, Tensor};

/// Elements of a stored tensor, and where they go.
pub(super) struct TensorCopy<'a> {
    pub(super) copy: StridedCopy,
    pub(super) source: &'a [u8],
    pub(super) dtype: DType,
}

impl<'a> TensorCopy<'a> {
    pub(super) fn new(binding: &Binding<'a>, tensor: &Tensor, copy: StridedCopy) -> TensorCopy<'a> {
        TensorCopy { copy, source: binding.checkpoint.bytes(tensor), dtype: tensor.dtype }
    }
}

/// Whether all replicas are read, or the first alone.
pub(super) fn are_joined(replicas: Replicas) -> bool {
    match replicas {
        Replicas::Mean | Replicas::Sum => true,
        Replicas::Equal | Replicas::First => false,
    }
}

/// The elements of the first of these copies, or what all make together; each is of a replica as it lies there. Steps
/// are of what they make together, so that of a sum they add their constant once.
pub(super) fn joined(
    replicas: Replicas,
    copies: Vec<TensorCopy<'_>>,
    to: DType,
    affine: Option<Affine>,
) -> Option<Content<'_>> {
    let divisor = if replicas == Replicas::Sum { 1 } else { copies.len() };
    if copies.len() > 1 && are_joined(replicas) {
        let StridedCopy { shape, target_offset, target_strides, .. } = copies[0].copy.clone();
        let rows = copies.into_iter().enumerate().map(|(at, TensorCopy { copy, source, dtype })| {
            let offset_counts = replicas != Replicas::Sum || at == 0;
            let affine =
                affine.map(|affine| if offset_counts { affine } else { Affine { offset: 0.0, ..affine } });
            let (offset, strides) = (copy.source_offset, copy.source_strides);
            Rows { dtype, affine, source, offset, count: 1, step: 0, strides }
        });
        let fill = Fill::Mean(Mean { rows: rows.collect(), divisor });
        let region = Region { shape, offset: target_offset, strides: target_strides };
        return Some(Content::Fill { region, fill });
    }
    let TensorCopy { copy, source, dtype } = copies.into_iter().next()?;
    Some(Content::Copy { copy, source, convert: Convert { from: dtype, to, affine } })
}

impl<'a> HeldBox<'a> {
    /// What is read of it: its own place in `tensor`, and where replicas are joined theirs.
    pub(super) fn read<'t>(
        &'t self,
        tensor: &'t Tensor,
        replicas: Replicas,
    ) -> impl Iterator<Item = (&'t Tensor, &'t LayoutBox)> {
        let others = self.replicas.iter().filter(move |_| are_joined(replicas));
        [(tensor, &self.own)].into_iter().chain(others.map(|(tensor, own)| (*tensor, own)))
    }
}

impl<'a> Instance<'_, 'a> {
    /// One tensor's elements, or what its replicas make together; `pair` found `copy`, whose target side may have been
    /// moved since. `None` where a replica cannot be addressed.
    pub(super) fn content(
        &self,
        held: &HeldBox<'a>,
        pair: &Pair<'_, 'a>,
        copy: StridedCopy,
        convert: Convert,
    ) -> Option<Content<'a>> {
        let mut copies = vec![TensorCopy::new(self.binding, pair.tensor, copy)];
        for (tensor, source) in held.read(pair.tensor, self.rule.replicas).skip(1) {
            let Common::Some(copy) = (Pair { tensor, source, ..*pair }).common() else { return None };
            copies.push(TensorCopy::new(self.binding, tensor, copy));
        }
        joined(self.rule.replicas, copies, convert.to, convert.affine)
    }

    /// The dtype that holds what all parts of a parameter hold, or the one that the rule states.
    pub(super) fn own_dtype(
        &self,
        found: &[Found<'a>],
        stated: Option<&str>,
    ) -> Result<DType, Box<Diagnostic>> {
        let shards = || found.iter().flat_map(|f| &f.shards);
        let boxes = shards().flat_map(|shard| shard.boxes.iter().map(move |held| (shard.tensor, held)));
        let mut read: Vec<&Tensor> = boxes
            .flat_map(|(tensor, held)| held.read(tensor, self.rule.replicas).map(|(tensor, _)| tensor))
            .collect();
        if read.is_empty() {
            read.extend(shards().map(|shard| shard.tensor).take(1));
        }
        common_dtype(self.binding, self.rule, &read, stated)
    }
}

/// The dtype that holds the elements of all of `tensors`, whatever their order, or the one that the rule states.
pub(super) fn common_dtype(
    binding: &Binding<'_>,
    rule: &Rule,
    tensors: &[&Tensor],
    stated: Option<&str>,
) -> Result<DType, Box<Diagnostic>> {
    let dtypes: Vec<DType> = tensors.iter().map(|tensor| tensor.dtype).collect();
    let common = DType::common(&dtypes).or_else(|| stated.and_then(DType::from_name));
    common.ok_or_else(|| {
        // Two that differ are there, or they would have their own in common.
        let other = tensors.iter().find(|other| DType::common(&[other.dtype, dtypes[0]]).is_none());
        let [first, other] = [tensors[0], other.unwrap_or(&tensors[0])];
        let message = match first.name == other.name {
            true => format!("`{}` is stored as {} and as {}", first.name, first.dtype, other.dtype),
            false => format!(
                "`{}` is {} and `{}` is {}, but they are parts of one parameter",
                first.name, first.dtype, other.name, other.dtype
            ),
        };
        Box::new(
            Diagnostic::error(Code::NoCommonDType, rule.span, message, "no dtype holds the values of both")
                .note(format!("in {}", binding.checkpoint.file()))
                .help("save all of them as floats, or all as integers, before converting"),
        )
    })
}

/// Replicas of integers have no mean, and their sum may be beyond what the dtype holds.
pub(super) fn integer_replicas(binding: &Binding<'_>, name: &str, dtype: DType, span: Span) -> Diagnostic {
    Diagnostic::error(
        Code::IntegerReplicas,
        span,
        format!("`{name}` is {dtype}, and copies of integers on several ranks are not added up"),
        "by this rule",
    )
    .note(format!("in {}", binding.checkpoint.file()))
    .help("in a copy of the mapping, leave `replicas` out where they are equal, or write `replicas first`")
}

/// Makes a planned tensor what the ranks hold that add nothing to a sum.
pub(super) fn add_nothing(tensor: &mut TargetTensor<'_>, sources: &mut Vec<Source>) {
    let shape = tensors::dimensions(&tensor.shape);
    // A negative zero changes nothing that it is added to, a negative zero neither.
    tensor.contents = vec![Content::Fill { region: Region::whole(&shape), fill: Fill::Constant(-0.0) }];
    let steps = vec!["zeros, since the first rank holds the sum".to_owned()];
    *sources = vec![Source { name: "(made)".to_owned(), steps }];
}
