//! A conversion planned whole: each target tensor with where its elements come from, and every file with its
//! size. No tensor data is read for it.

mod carried;
mod compare;
mod documents;
mod found;
mod notes;
mod padding;
mod pair;
mod pieces;
mod ranks;
mod replicas;
mod tensors;
mod ties;
mod torch;

use std::collections::BTreeMap;

use transship_grammar as grammar;

use grammar::{Code, Diagnostic, Diagnostics, Format};

pub(crate) use compare::{Pairs, ParameterPair, PartPair, pair_parameters};
pub(crate) use documents::to_json;
pub(crate) use pieces::{LayoutSizes, StoredPart};

use crate::bind::Binding;
use crate::engine::TargetTensor;
use crate::output::{OutputPlan, SmallFile, TensorSpec, plan_safetensors};
use crate::{DType, Tensor, engine};

/// What to make of a bound checkpoint.
#[derive(Clone, Debug, Default)]
pub struct PlanOptions {
    /// The dtype that parameters of floats are written in, unless a rule says otherwise; their own by default.
    pub dtype: Option<DType>,
    /// Bytes of tensors per file at most; all in one file where absent.
    pub max_shard_size: Option<u64>,
}

/// A planned conversion.
#[derive(Debug)]
pub struct Plan<'a> {
    pub(crate) targets: Vec<TargetTensor<'a>>,
    /// For each target, where it comes from.
    pub(crate) sources: Vec<Vec<Source>>,
    pub(crate) output: OutputPlan,
    pub(crate) documents: Vec<SmallFile>,
    pub(crate) checks: Vec<Check<'a>>,
    pub(crate) notes: Vec<String>,
}

/// A source of a planned tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The stored tensor, or what is made where there is none.
    pub name: String,
    /// What is done to its elements, in words.
    pub steps: Vec<String>,
}

/// Two boxes that must hold the same bits before anything is written.
#[derive(Debug)]
pub(crate) struct Check<'a> {
    pub(crate) copy: engine::StridedCopy,
    pub(crate) dtype: DType,
    pub(crate) left: &'a [u8],
    pub(crate) right: &'a [u8],
    /// What to say where they differ.
    pub(crate) code: Code,
    pub(crate) message: String,
    pub(crate) span: grammar::Span,
    /// The checkpoint's file.
    pub(crate) file: &'a str,
}

impl<'a> Check<'a> {
    /// That two stored tensors of one shape and dtype hold the same bits.
    fn of_tensors(
        binding: &Binding<'a>,
        [one, other]: [&'a Tensor; 2],
        (code, message): (Code, String),
        span: grammar::Span,
    ) -> Check<'a> {
        let (left, right) = (tensors::whole(one), tensors::whole(other));
        Check {
            copy: engine::StridedCopy {
                target_offset: right.source_offset,
                target_strides: right.source_strides,
                ..left
            },
            dtype: one.dtype,
            left: binding.checkpoint.bytes(one),
            right: binding.checkpoint.bytes(other),
            code,
            message,
            span,
            file: binding.checkpoint.file(),
        }
    }

    /// That a parameter which no rank axis splits is the same on the ranks of both tensors.
    fn of_replicas(binding: &Binding<'a>, pair: [&'a Tensor; 2], span: grammar::Span) -> Check<'a> {
        let [one, other] = pair.map(|tensor| &binding.checkpoint.ranks()[tensor.rank].name);
        let message = format!("`{}` is not the same on `{one}` and `{other}`", pair[0].name);
        Check::of_tensors(binding, pair, (Code::ReplicasDiffer, message), span)
    }
}

impl<'a> Plan<'a> {
    /// Plans what a bound checkpoint becomes on the other side.
    ///
    /// # Errors
    /// Where a dtype cannot be cast, a tied tensor has another shape, or ranks cannot share an axis evenly.
    pub fn new(binding: &Binding<'a>, options: &PlanOptions) -> Result<Plan<'a>, Diagnostics> {
        let torch = binding.mapping().side(binding.to()).format == Format::Torch;
        Plan::make(binding, options, torch)
    }

    /// The same for a target that stays in memory, whatever format its files would have.
    pub(crate) fn in_memory(binding: &Binding<'a>, options: &PlanOptions) -> Result<Plan<'a>, Diagnostics> {
        Plan::make(binding, options, false)
    }

    fn make(binding: &Binding<'a>, options: &PlanOptions, torch: bool) -> Result<Plan<'a>, Diagnostics> {
        let mut diagnostics = Diagnostics::new(&binding.mapping().source);
        let mut planned = tensors::plan_tensors(binding, options, &mut diagnostics);
        let mut notes = binding.notes().to_vec();
        if torch {
            let state = documents::plan_state(binding, planned.main_dtype(), &mut notes, &mut diagnostics);
            notes.append(&mut planned.notes);
            return Plan::of_ranks(binding, planned, &state, notes, diagnostics);
        }
        let documents = documents::plan_documents(binding, planned.main_dtype(), &mut notes, &mut diagnostics);
        notes.extend(planned.notes);
        let specs = planned.targets.iter().map(TensorSpec::of).collect();
        let output = plan_safetensors(specs, &BTreeMap::new(), options.max_shard_size);
        if let Err(error) = &output {
            diagnostics.push(Diagnostic::without_place(Code::NamesOverlap, error.to_string()));
        }
        match output {
            Ok(output) if !diagnostics.has_errors() => Ok(Plan {
                targets: planned.targets,
                sources: planned.sources,
                output,
                documents,
                checks: planned.checks,
                notes,
            }),
            _ => {
                diagnostics.sort();
                Err(diagnostics)
            }
        }
    }

    /// A plan of torch files.
    fn of_ranks(
        binding: &Binding<'a>,
        mut planned: tensors::Planned<'a>,
        state: &serde_json::Map<String, serde_json::Value>,
        notes: Vec<String>,
        mut diagnostics: Diagnostics,
    ) -> Result<Plan<'a>, Diagnostics> {
        let checks = std::mem::take(&mut planned.checks);
        let files = torch::plan_rank_files(binding, &planned, state);
        if let Err(error) = &files {
            diagnostics.push(Diagnostic::without_place(Code::NamesOverlap, error.to_string()));
        }
        match files {
            Ok(torch::RankFiles { output, targets, sources }) if !diagnostics.has_errors() => {
                Ok(Plan { targets, sources, output, documents: Vec::new(), checks, notes })
            }
            _ => {
                diagnostics.sort();
                Err(diagnostics)
            }
        }
    }

    /// The target tensors, each with where it comes from.
    pub fn tensors(&self) -> impl Iterator<Item = (&TargetTensor<'a>, &[Source])> {
        self.targets.iter().zip(self.sources.iter().map(Vec::as_slice))
    }

    /// Files with tensors, to the byte.
    #[must_use]
    pub fn output(&self) -> &OutputPlan {
        &self.output
    }

    /// Config documents of the target.
    #[must_use]
    pub fn documents(&self) -> &[SmallFile] {
        &self.documents
    }

    /// What the user should know.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }
}
