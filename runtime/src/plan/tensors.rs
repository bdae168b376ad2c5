//! Target tensors from rules, emitted ones, and what must be checked before anything is written.

use std::collections::{BTreeMap, HashSet};

use transship_grammar as grammar;

use grammar::{Captures, Code, Diagnostic, Diagnostics, Emit, EmitValue, Format, Rule};

use super::notes::notes;
use super::pieces::{Instance, LayoutSizes, StoredPart};
use super::ranks::{Home, TargetRanks, scopes_of};
use super::renaming::Renaming;
use super::ties::{check_ties, plan_ties};
use super::{Check, PlanOptions, RoundTrip, Source, compare_once};
use crate::bind::{Binding, Key, full_name, is_in_roots, is_renaming};
use crate::engine::{Content, Convert, Fill, Region, StridedCopy, TargetTensor, row_major};
use crate::{DType, Tensor};

pub(super) struct Planned<'a> {
    pub(super) targets: Vec<TargetTensor<'a>>,
    pub(super) sources: Vec<Vec<Source>>,
    /// For each target the rank's file that holds it; `None` where all do.
    pub(super) homes: Vec<Option<usize>>,
    /// The directories of the target's ranks.
    pub(super) files: Vec<String>,
    pub(super) checks: Vec<Check<'a>>,
    pub(super) round_trips: Vec<RoundTrip<'a>>,
    pub(super) notes: Vec<String>,
}

impl Planned<'_> {
    /// The dtype of most elements.
    pub(super) fn main_dtype(&self) -> Option<DType> {
        let mut elements: BTreeMap<&str, (u64, DType)> = BTreeMap::new();
        for target in &self.targets {
            let count = elements.entry(target.dtype.name()).or_insert((0, target.dtype));
            count.0 = count.0.saturating_add(target.shape.iter().fold(1, |n, size| n.saturating_mul(*size)));
        }
        elements.into_values().max_by_key(|(count, _)| *count).map(|(_, dtype)| dtype)
    }
}

/// A target, and what orders it among all.
pub(super) struct Target<'a> {
    /// The number of the first stored tensor it is made of.
    pub(super) order: usize,
    pub(super) place: Place,
    /// The rank that holds it; `None` for what every rank holds as it is.
    pub(super) home: Option<Home>,
    /// The rule, and the coordinates in names.
    pub(super) of: (usize, Key),
    pub(super) tensor: TargetTensor<'a>,
    pub(super) sources: Vec<Source>,
    /// Which of its side's roots it is written below.
    pub(super) root: usize,
    /// Names of all stored tensors that hold some of it.
    pub(super) used: HashSet<&'a str>,
    /// Of what several ranks hold on the first of them.
    pub(super) round_trips: Vec<RoundTrip<'a>>,
}

/// Where a parameter stands in a file of its own side: scope by scope as the mapping lists them, layer by layer.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    file: usize,
    chunk: Vec<u64>,
    /// By turns the first rule of a scope and the coordinate there, then the rule, then the entry.
    path: Vec<u64>,
}

impl Place {
    pub(super) fn of(instance: &Instance<'_, '_>, home: &Home) -> Place {
        let binding = instance.binding;
        let template = &binding.written(instance.entry).name;
        let at = |axis| instance.key.iter().find(|(a, _)| *a == axis).map_or(0, |(_, at)| *at);
        let indices = template.indices().map(|index| at(index.axis));
        let mut path: Vec<u64> =
            instance.scopes.iter().zip(indices).flat_map(|(scope, at)| [*scope as u64, at]).collect();
        path.extend([instance.number as u64, instance.entry_number as u64]);
        Place { file: home.file, chunk: chunk_of(binding, home), path }
    }

    /// Of a parameter without a layout.
    pub(super) fn of_renamed(binding: &Binding<'_>, home: &Home, path: [usize; 2]) -> Place {
        let path = path.map(|number| number as u64).to_vec();
        Place { file: home.file, chunk: chunk_of(binding, home), path }
    }

    /// After everything else in a file.
    pub(super) fn last(binding: &Binding<'_>, home: &Home) -> Place {
        Place { file: home.file, chunk: chunk_of(binding, home), path: vec![u64::MAX] }
    }
}

/// The numbers of a rank that are in names: of a virtual stage in its file.
fn chunk_of(binding: &Binding<'_>, home: &Home) -> Vec<u64> {
    let ranks = binding.mapping.ranks_of(binding.to());
    let named = ranks.filter(|rank| is_in_roots(binding.mapping, binding.to(), *rank));
    named.map(|rank| home.numbers[rank.index()]).collect()
}

pub(super) fn plan_tensors<'a>(
    binding: &Binding<'a>,
    options: &PlanOptions,
    diagnostics: &mut Diagnostics,
) -> Planned<'a> {
    let ranks = TargetRanks::new(binding);
    let mut targets = Vec::new();
    let mut checks = Vec::new();
    for (number, rule) in binding.mapping.rules.iter().enumerate() {
        if !rule.direction.goes_to(binding.to()) || !binding.may_hold(&rule.guard) {
            continue;
        }
        if is_renaming(rule) {
            let ranks = &ranks;
            Renaming { binding, options, number, rule, ranks }.plan(&mut targets, &mut checks, diagnostics);
            continue;
        }
        let scopes = scopes_of(&binding.mapping.rules, number, binding.to());
        for (entry_number, entry) in rule.sides[binding.to().index()].iter().enumerate() {
            for key in binding.keys(&binding.written(entry).name) {
                if binding.holds(&rule.guard, &key) {
                    let (key, scopes, ranks) = (&key, &scopes, &ranks);
                    let instance =
                        Instance { binding, options, number, rule, entry_number, entry, key, scopes, ranks };
                    targets.extend(instance.plan(&mut checks, diagnostics).into_iter().flatten());
                }
            }
        }
    }
    for emit in binding.mapping.emits.iter().filter(|e| e.side == binding.to()) {
        plan_emitted(binding, emit, &mut targets, diagnostics);
    }
    check_ties(binding, &mut checks, diagnostics);
    compare_once(&mut checks);
    if !diagnostics.has_errors() {
        check_used(binding, &targets, diagnostics);
    }
    let notes = notes(binding, options, &targets);
    let torch = binding.mapping.side(binding.to()).format == Format::Torch;
    if torch {
        plan_ties(binding, &ranks, &mut targets);
    }
    // The order of the ranks' files says nothing of the model's.
    let pieces = binding.checkpoint.ranks().len() > 1 || binding.ranks.counts.iter().any(|n| *n > 1);
    if torch || pieces {
        targets.sort_by(|a, b| a.place.cmp(&b.place));
    } else {
        targets.sort_by_key(|t| t.order);
    }
    let files = ranks.files();
    let (sources, homes, round_trips) = (Vec::new(), Vec::new(), Vec::new());
    let mut planned = Planned { targets: Vec::new(), sources, homes, files, checks, round_trips, notes };
    for target in targets {
        planned.round_trips.extend(target.round_trips);
        planned.targets.push(target.tensor);
        planned.sources.push(target.sources);
        planned.homes.push(target.home.map(|home| home.file));
    }
    planned
}

/// The dtype a parameter is written in: what the rule says, what the user says, the side's, its own.
pub(super) fn target_dtype(
    binding: &Binding<'_>,
    options: &PlanOptions,
    stated: Option<&str>,
    own: DType,
) -> DType {
    let by_rule = stated.and_then(DType::from_name);
    let by_user = options.dtype.filter(|_| own.is_float());
    let by_side = binding.mapping.side(binding.to()).dtype.as_deref().and_then(DType::from_name);
    by_rule.or(by_user).or(by_side.filter(|_| own.is_float())).unwrap_or(own)
}

pub(super) fn check_convert(
    convert: &Convert,
    rule: &Rule,
    tensor: &Tensor,
    diagnostics: &mut Diagnostics,
) -> bool {
    let Err(error) = convert.check() else { return true };
    diagnostics.push(
        Diagnostic::error(
            Code::UndefinedCast,
            rule.span,
            format!("`{}` cannot be converted: {error}", tensor.name),
            "by this rule",
        )
        .help("leave the cast out of a copy of the mapping, and the parameter is kept as it is"),
    );
    false
}

/// A name of the target that would hold a negative number.
pub(super) fn no_name(binding: &Binding<'_>, to: &grammar::Stored, key: &Key) -> Diagnostic {
    let at: Vec<String> =
        key.iter().map(|(axis, at)| format!("{} {at}", binding.mapping.axis(*axis).name)).collect();
    let pattern = binding.mapping.display_template(&to.name);
    Diagnostic::error(
        Code::IndexNotInvertible,
        to.span,
        format!("`{pattern}` has no name for {}", at.join(", ")),
        "the number in the name would be negative",
    )
    .help("let the index begin later, as in `{layer in 2..layers}`, or shift it less")
}

/// Every stored tensor that a rule takes goes somewhere.
fn check_used(binding: &Binding<'_>, targets: &[Target<'_>], diagnostics: &mut Diagnostics) {
    let used: HashSet<&str> = targets.iter().flat_map(|target| &target.used).copied().collect();
    let mut left: Vec<usize> = binding
        .claims
        .tensors()
        .filter(|t| !used.contains(binding.checkpoint.tensors()[*t].name.as_str()))
        .collect();
    left.sort_unstable();
    if let Some(first) = left.first() {
        let name = &binding.checkpoint.tensors()[*first].name;
        let message = match left.len() {
            1 => format!("`{name}` fits a rule, but nothing is made of it"),
            n => format!("{n} parameters fit rules, but nothing is made of them, the first `{name}`"),
        };
        diagnostics.push(
            Diagnostic::without_place(Code::UnmappedParameter, message)
                .note(format!("in {}", binding.checkpoint.file()))
                .help("what it belongs to on the other side is absent or not numbered that far"),
        );
    }
}

/// Sizes, steps or offsets of dimensions, as they are in memory.
pub(super) fn dimensions(list: &[u64]) -> Vec<usize> {
    list.iter().map(|n| usize::try_from(*n).unwrap_or(usize::MAX)).collect()
}

/// The copy of a stored tensor to row-major order. Sizes were checked against memory when it was opened.
pub(super) fn whole(tensor: &Tensor) -> StridedCopy {
    let shape = dimensions(&tensor.shape);
    StridedCopy {
        source_offset: usize::try_from(tensor.offset).unwrap_or(usize::MAX),
        source_strides: dimensions(&tensor.strides),
        target_offset: 0,
        target_strides: row_major(&shape),
        shape,
    }
}

fn plan_emitted<'a>(
    binding: &Binding<'a>,
    emit: &'a Emit,
    targets: &mut Vec<Target<'a>>,
    diagnostics: &mut Diagnostics,
) {
    for key in binding.keys(&emit.name) {
        if !binding.holds(&emit.guard, &key) {
            continue;
        }
        let sizes = LayoutSizes { binding, key: &key, pads: Vec::new(), part: StoredPart::Whole };
        let holes = Captures { indices: key.clone(), ..Captures::default() };
        let shape = emit.layout.shape(&sizes);
        let name = full_name(binding.mapping, binding.to(), &emit.name, &holes);
        let (Some(shape), Some(name)) = (shape, name) else {
            diagnostics.push(
                Diagnostic::error(
                    Code::UnknownValue,
                    emit.span,
                    "the shape of this parameter is not known",
                    "not all of its axes have a size",
                )
                .help("give the sizes with `--set NAME=VALUE`"),
            );
            continue;
        };
        let own = binding.mapping.side(binding.to()).dtype.as_deref();
        let dtype = emit.dtype.as_deref().or(own).and_then(DType::from_name).unwrap_or(DType::F32);
        let fill = match emit.value {
            EmitValue::Constant(value) => Fill::Constant(value),
            EmitValue::Tril => Fill::Tril,
            EmitValue::Arange => Fill::Arange,
        };
        let contents = vec![Content::Fill { region: Region::whole(&dimensions(&shape)), fill }];
        let made = match emit.value {
            EmitValue::Constant(value) => format!("{value} everywhere"),
            EmitValue::Tril => "ones on and below the diagonal".to_owned(),
            EmitValue::Arange => "0, 1, 2, …".to_owned(),
        };
        targets.push(Target {
            order: usize::MAX,
            place: Place { path: vec![u64::MAX], ..Place::default() },
            home: None,
            of: (usize::MAX, key.clone()),
            tensor: TargetTensor { name, dtype, shape, contents },
            sources: vec![Source { name: "(made)".to_owned(), steps: vec![made] }],
            root: 0,
            used: HashSet::new(),
            round_trips: Vec::new(),
        });
    }
}

/// The coordinates of a key on the axes that a template has.
pub(super) fn restrict(key: &Key, template: &grammar::Template) -> Key {
    let mut kept: Key =
        key.iter().copied().filter(|(axis, _)| template.indices().any(|i| i.axis == *axis)).collect();
    kept.sort_unstable();
    kept
}
