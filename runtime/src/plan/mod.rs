//! A conversion planned whole: each target tensor with where its elements come from, and every file with its
//! size. No tensor data is read for it.

mod carried;
mod compare;
mod documents;
mod found;
mod held;
mod notes;
mod padding;
mod pair;
mod pieces;
mod ranks;
mod renaming;
mod replicas;
mod round_trip;
mod tensors;
mod ties;
mod torch;

use std::collections::{BTreeMap, HashSet};

use transship_grammar as grammar;

use grammar::{Code, Diagnostic, Diagnostics, Format};

pub(crate) use compare::{Pairs, ParameterPair, PartAxis, PartPair, pair_parameters};
pub(crate) use documents::to_json;
pub(crate) use pieces::{LayoutSizes, StoredPart};
pub(crate) use round_trip::RoundTrip;

use crate::bind::Binding;
use crate::engine::TargetTensor;
use crate::output::{OutputError, OutputPlan, SmallFile, TensorSpec, plan_safetensors};
use crate::storage::InputFile;
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
    pub(crate) round_trips: Vec<RoundTrip<'a>>,
    pub(crate) notes: Vec<String>,
    /// The files that sources lie in.
    pub(crate) inputs: Vec<InputFile>,
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
    /// Why they cannot hold the same, where that shows without reading them.
    pub(crate) unlike: Option<String>,
    /// What to say where they differ.
    pub(crate) code: Code,
    pub(crate) message: String,
    pub(crate) span: grammar::Span,
    /// The checkpoint's file.
    pub(crate) file: &'a str,
}

/// Leaves out what is compared already: a tensor that several targets are made of is compared for each of them.
fn compare_once(checks: &mut Vec<Check<'_>>) {
    let mut seen = HashSet::new();
    checks.retain(|check| {
        let copy = &check.copy;
        let strides = (copy.source_strides.clone(), copy.target_strides.clone());
        let places = (check.left.as_ptr(), copy.source_offset, check.right.as_ptr(), copy.target_offset);
        seen.insert((places, copy.shape.clone(), strides, check.code))
    });
}

impl<'a> Check<'a> {
    /// That two stored tensors are of one shape and dtype and hold the same bits.
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
            unlike: (one.shape != other.shape || one.dtype != other.dtype).then(|| {
                let [one, other] = [one, other].map(|tensor| format!("{} {:?}", tensor.dtype, tensor.shape));
                format!("one is {one}, the other {other}")
            }),
            code,
            message,
            span,
            file: binding.checkpoint.file(),
        }
    }

    /// That tensors of two ranks are the same.
    fn of_whole_replicas(binding: &Binding<'a>, pair: [&'a Tensor; 2], span: grammar::Span) -> Check<'a> {
        Check::of_tensors(binding, pair, (Code::ReplicasDiffer, replicas_differ(binding, pair)), span)
    }

    /// That tensors of two ranks hold the same where they hold the same elements, which `copy` compares.
    fn of_replicas(
        binding: &Binding<'a>,
        pair: [&'a Tensor; 2],
        copy: engine::StridedCopy,
        span: grammar::Span,
    ) -> Check<'a> {
        let [one, other] = pair;
        Check {
            copy,
            dtype: one.dtype,
            left: binding.checkpoint.bytes(one),
            right: binding.checkpoint.bytes(other),
            unlike: None,
            code: Code::ReplicasDiffer,
            message: replicas_differ(binding, pair),
            span,
            file: binding.checkpoint.file(),
        }
    }

    /// That every coordinate along the broadcasts of two boxes of a parameter, which may be one, holds the same;
    /// `None` where neither has several.
    fn of_broadcast(
        binding: &Binding<'a>,
        one: (&'a Tensor, &grammar::LayoutBox),
        other: (&'a Tensor, &grammar::LayoutBox),
    ) -> Option<Check<'a>> {
        let same = std::ptr::eq(one.1, other.1);
        let copies = other.1.axes.iter().filter(|axis| axis.axis.broadcast && !(same && axis.len < 2));
        let copies: Vec<&grammar::BoxAxis> = copies.collect();
        let span = copies.first()?.axis.span;
        let names: Vec<String> =
            copies.iter().map(|a| format!("`{}`", binding.mapping.axis(a.axis.axis).name)).collect();
        Some(Check {
            copy: held::comparison(one, other)?,
            dtype: one.0.dtype,
            left: binding.checkpoint.bytes(one.0),
            right: binding.checkpoint.bytes(other.0),
            unlike: None,
            code: Code::BroadcastDiffers,
            message: format!(
                "the copies of `{}` along {} are not all the same",
                one.0.name,
                names.join(" and ")
            ),
            span,
            file: binding.checkpoint.file(),
        })
    }
}

fn replicas_differ(binding: &Binding<'_>, pair: [&Tensor; 2]) -> String {
    let [one, other] = pair.map(|tensor| &binding.checkpoint.ranks()[tensor.rank].name);
    match pair.map(|tensor| &tensor.name) {
        [name, same] if name == same => format!("`{name}` is not the same on `{one}` and `{other}`"),
        [name, another] => format!("`{name}` on `{one}` and `{another}` on `{other}` are not the same"),
    }
}

/// Replicas that cannot be the same.
fn replicas_of_two_dtypes(binding: &Binding<'_>, pair: [&Tensor; 2], span: grammar::Span) -> Diagnostic {
    Diagnostic::error(Code::ReplicasDiffer, span, replicas_differ(binding, pair), "one value on all ranks")
        .note(format!("one is {}, the other {}", pair[0].dtype, pair[1].dtype))
        .note(format!("in {}", binding.checkpoint.file()))
        .help("give the ranks of one run, or leave one of them out with `replicas first` in a copy of the mapping")
}

/// An output that no file can hold.
fn no_such_file(error: &OutputError) -> Diagnostic {
    let code = match error {
        OutputError::DuplicateFile { .. }
        | OutputError::DuplicateTensor { .. }
        | OutputError::SavedTwice { .. } => Code::NamesOverlap,
        _ => Code::UnwritableFile,
    };
    Diagnostic::without_place(code, error.to_string())
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
            let config = documents::plan_state(binding, planned.main_dtype(), &mut notes, &mut diagnostics);
            notes.append(&mut planned.notes);
            return Plan::of_ranks(binding, planned, config, notes, diagnostics);
        }
        let documents =
            documents::plan_documents(binding, planned.main_dtype(), &mut notes, &mut diagnostics);
        notes.extend(planned.notes);
        let specs = planned.targets.iter().map(TensorSpec::of).collect();
        let output = plan_safetensors(specs, &BTreeMap::new(), options.max_shard_size);
        if let Err(error) = &output {
            diagnostics.push(no_such_file(error));
        }
        match output {
            Ok(output) if !diagnostics.has_errors() => Ok(Plan {
                targets: planned.targets,
                sources: planned.sources,
                output,
                documents,
                checks: planned.checks,
                round_trips: planned.round_trips,
                notes,
                inputs: binding.checkpoint.inputs(),
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
        (state, mut documents): (serde_json::Map<String, serde_json::Value>, Vec<SmallFile>),
        notes: Vec<String>,
        mut diagnostics: Diagnostics,
    ) -> Result<Plan<'a>, Diagnostics> {
        let checks = std::mem::take(&mut planned.checks);
        let round_trips = std::mem::take(&mut planned.round_trips);
        let files = torch::plan_rank_files(binding, &planned, &state);
        // Beside the directories of the ranks, where they are looked for.
        let folder = torch::iteration_of(&state).folder();
        documents.iter_mut().for_each(|document| document.name = format!("{folder}/{}", document.name));
        if let Err(error) = &files {
            diagnostics.push(no_such_file(error));
        }
        match files {
            Ok(torch::RankFiles { output, targets, sources }) if !diagnostics.has_errors() => {
                let inputs = binding.checkpoint.inputs();
                Ok(Plan { targets, sources, output, documents, checks, round_trips, notes, inputs })
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
