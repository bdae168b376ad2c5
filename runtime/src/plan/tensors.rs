//! Target tensors from rules, emitted ones, and what must be checked before anything is written.

use std::collections::{BTreeMap, HashSet};

use transship_grammar as grammar;

use grammar::{Captures, Code, Diagnostic, Diagnostics, Emit, EmitValue, Rule};

use super::pieces::{Instance, LayoutSizes};
use super::{Check, PlanOptions, Source};
use crate::bind::{Binding, Key, full_name, is_renaming, sorted_key};
use crate::engine::{Content, Convert, Fill, Region, StridedCopy, TargetTensor, row_major};
use crate::{DType, Tensor};

pub(super) struct Planned<'a> {
    pub(super) targets: Vec<TargetTensor<'a>>,
    pub(super) sources: Vec<Vec<Source>>,
    pub(super) checks: Vec<Check<'a>>,
    pub(super) notes: Vec<String>,
}

/// A target, with the number of the first stored tensor it is made of, by which targets are ordered.
pub(super) struct Target<'a> {
    pub(super) order: usize,
    pub(super) tensor: TargetTensor<'a>,
    pub(super) sources: Vec<Source>,
}

pub(super) fn plan_tensors<'a>(
    binding: &Binding<'a>,
    options: &PlanOptions,
    diagnostics: &mut Diagnostics,
) -> Planned<'a> {
    let mut targets = Vec::new();
    let mut checks = Vec::new();
    for (number, rule) in binding.mapping.rules.iter().enumerate() {
        if !rule.direction.goes_to(binding.to()) || !binding.may_hold(&rule.guard) {
            continue;
        }
        if is_renaming(rule) {
            plan_renaming(binding, options, number, &mut targets, diagnostics);
            continue;
        }
        for entry in &rule.sides[binding.to().index()] {
            for key in binding.keys(&entry.stored[0].name) {
                if binding.holds(&rule.guard, &key) {
                    let instance = Instance { binding, options, number, rule, entry, key: &key };
                    targets.extend(instance.plan(&mut checks, diagnostics));
                }
            }
        }
    }
    for emit in binding.mapping.emits.iter().filter(|e| e.side == binding.to()) {
        plan_emitted(binding, emit, &mut targets, diagnostics);
    }
    check_ties(binding, &mut checks, diagnostics);
    if !diagnostics.has_errors() {
        check_used(binding, &targets, diagnostics);
    }
    targets.sort_by_key(|t| t.order);
    let notes = notes(binding, options, &targets);
    let (tensors, sources) = targets.into_iter().map(|t| (t.tensor, t.sources)).unzip();
    Planned { targets: tensors, sources, checks, notes }
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

fn plan_renaming<'a>(
    binding: &Binding<'a>,
    options: &PlanOptions,
    number: usize,
    targets: &mut Vec<Target<'a>>,
    diagnostics: &mut Diagnostics,
) {
    let rule = &binding.mapping.rules[number];
    let Some(entry) = rule.sides[binding.to().index()].first() else { return };
    let to = &entry.stored[0];
    for claim in binding.claims.renamed.iter().filter(|r| r.rule == number) {
        let tensor = &binding.checkpoint.tensors()[claim.tensor];
        let from = &rule.sides[binding.from.index()][claim.entry].stored[claim.era];
        let affine = super::pieces::engine_affine(from.affine.to(to.affine));
        let Some(name) = full_name(binding.mapping, binding.to(), &to.name, &claim.captures) else {
            diagnostics.push(no_name(binding, to, &sorted_key(&claim.captures)));
            continue;
        };
        let dtype = target_dtype(binding, options, to.dtype.as_deref(), tensor.dtype);
        let convert = Convert { from: tensor.dtype, to: dtype, affine };
        if !check_convert(&convert, rule, tensor, diagnostics) {
            continue;
        }
        let copy = whole(tensor);
        let source = Source { name: tensor.name.clone(), steps: super::pieces::steps(&copy, &convert) };
        let contents = vec![Content::Copy { copy, source: binding.checkpoint.bytes(tensor), convert }];
        targets.push(Target {
            order: claim.tensor,
            tensor: TargetTensor { name, dtype, shape: tensor.shape.clone(), contents },
            sources: vec![source],
        });
    }
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
    let used: HashSet<&str> = targets.iter().flat_map(|t| &t.sources).map(|s| s.name.as_str()).collect();
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

/// The copy of a stored tensor to row-major order. Sizes were checked against memory when it was opened.
fn whole(tensor: &Tensor) -> StridedCopy {
    let sizes = |list: &[u64]| -> Vec<usize> {
        list.iter().map(|n| usize::try_from(*n).unwrap_or(usize::MAX)).collect()
    };
    let shape = sizes(&tensor.shape);
    StridedCopy {
        source_offset: usize::try_from(tensor.offset).unwrap_or(usize::MAX),
        source_strides: sizes(&tensor.strides),
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
        let sizes = LayoutSizes { binding, key: &key, pads: Vec::new() };
        let holes = Captures { indices: key.clone(), stars: Vec::new(), ..Captures::default() };
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
        let dims: Vec<usize> = shape.iter().map(|n| usize::try_from(*n).unwrap_or(usize::MAX)).collect();
        let contents = vec![Content::Fill { region: Region::whole(&dims), fill }];
        let made = match emit.value {
            EmitValue::Constant(value) => format!("{value} everywhere"),
            EmitValue::Tril => "ones on and below the diagonal".to_owned(),
            EmitValue::Arange => "0, 1, 2, …".to_owned(),
        };
        targets.push(Target {
            order: usize::MAX,
            tensor: TargetTensor { name, dtype, shape, contents },
            sources: vec![Source { name: "(made)".to_owned(), steps: vec![made] }],
        });
    }
}

/// A copy that the checkpoint holds must be the same as what it is a copy of.
fn check_ties<'a>(binding: &Binding<'a>, checks: &mut Vec<Check<'a>>, diagnostics: &mut Diagnostics) {
    let tied: Vec<_> = binding.claims.tied.iter().collect();
    for (number, tie_number, holes) in tied {
        let tie = &binding.mapping.ties[*tie_number];
        let alias = &binding.checkpoint.tensors()[*number];
        let original = full_name(binding.mapping, binding.from, &tie.of, holes)
            .and_then(|name| binding.checkpoint.tensor(&name));
        let Some(original) = original else {
            // Of alternatives one is there, and its tie is checked.
            if !has_original(binding, tie.span, holes) {
                let of = binding.mapping.display_template(&tie.of);
                let message = format!("`{}` is a copy of `{of}`, which is not there", alias.name);
                diagnostics.push(broken_tie(&message, tie.span).note(format!("in {}", binding.checkpoint.file())).help(
                    "the checkpoint is incomplete; if the copy is all there is, a copy of the mapping must name it in a rule",
                ));
            }
            continue;
        };
        let same_view = (alias.storage, alias.offset, &alias.strides)
            == (original.storage, original.offset, &original.strides);
        let message = format!("`{}` must be the same as `{}`, but it is not", alias.name, original.name);
        if alias.shape != original.shape || alias.dtype != original.dtype {
            diagnostics.push(
                broken_tie(&message, tie.span)
                    .note(format!(
                        "one is {} {:?}, the other {} {:?}",
                        alias.dtype, alias.shape, original.dtype, original.shape
                    ))
                    .note(format!("in {}", binding.checkpoint.file()))
                    .help(crate::convert::TWO_PARAMETERS),
            );
        } else if !same_view {
            let (left, right) = (whole(alias), whole(original));
            checks.push(Check {
                copy: StridedCopy {
                    target_offset: right.source_offset,
                    target_strides: right.source_strides,
                    ..left
                },
                dtype: alias.dtype,
                left: binding.checkpoint.bytes(alias),
                right: binding.checkpoint.bytes(original),
                code: Code::BrokenTie,
                message,
                span: tie.span,
                file: binding.checkpoint.file(),
            });
        }
    }
}

/// Whether one of the parameters that a `tie` names, its alternatives multiplied out, is there.
fn has_original(binding: &Binding<'_>, span: grammar::Span, holes: &Captures) -> bool {
    let ties = binding.mapping.ties.iter().filter(|t| t.span == span && t.side == binding.from);
    let mut names = ties.filter_map(|t| full_name(binding.mapping, binding.from, &t.of, holes));
    names.any(|name| binding.checkpoint.tensor(&name).is_some())
}

fn broken_tie(message: &str, span: grammar::Span) -> Diagnostic {
    Diagnostic::error(Code::BrokenTie, span, message, "tied here")
}

fn notes(binding: &Binding<'_>, options: &PlanOptions, targets: &[Target<'_>]) -> Vec<String> {
    let mut notes = Vec::new();
    let mut casts: BTreeMap<(DType, DType), usize> = BTreeMap::new();
    for target in targets {
        for content in &target.tensor.contents {
            if let Content::Copy { convert, .. } = content
                && loses(convert.from, convert.to)
            {
                *casts.entry((convert.from, convert.to)).or_default() += 1;
                break;
            }
        }
    }
    for ((from, to), count) in casts {
        notes.push(format!(
            "{count} parameters are rounded from {from} to {to}; the other way back will not undo it"
        ));
    }
    notes.extend(kept_as_they_are(options, targets));
    if binding.claims.outside > 0 {
        let count = binding.claims.outside;
        notes.push(format!("{count} tensors outside the model (optimizer state and the like) are left out"));
    }
    notes.extend(dropped(binding));
    notes.extend(binding.structural_defaults());
    let padded = binding.mapping.rules.iter().filter(|r| {
        let stored = r.sides[binding.to().index()].iter().flat_map(|e| &e.stored);
        stored.flat_map(|s| &s.layouts).any(|(_, l)| l.dims.iter().any(|d| d.padding().is_some()))
    });
    for rule in padded {
        let name = rule.sides[binding.to().index()].first().map(|e| &e.stored[0].name);
        let name = name.map(|n| binding.mapping.display_template(n)).unwrap_or_default();
        notes.push(format!("`{name}` is written without padding, since nothing says how much it has"));
    }
    notes
}

/// What is dropped for a reason that the mapping gives; several `drop`s of one reason are told of once.
fn dropped(binding: &Binding<'_>) -> Vec<String> {
    let mut reasons: Vec<(&str, usize)> = Vec::new();
    for (drop, count) in &binding.claims.dropped {
        let Some(reason) = &binding.mapping.drops[*drop].reason else { continue };
        match reasons.iter_mut().find(|(other, _)| other == reason) {
            Some((_, sum)) => *sum += count,
            None => reasons.push((reason, *count)),
        }
    }
    let told = reasons.into_iter().map(|(reason, count)| match count {
        1 => format!("1 parameter is dropped: {reason}"),
        n => format!("{n} parameters are dropped: {reason}"),
    });
    told.collect()
}

/// A dtype asked for is one of floats; parameters of integers do not follow it.
fn kept_as_they_are(options: &PlanOptions, targets: &[Target<'_>]) -> Option<String> {
    let asked = options.dtype?;
    let copied = |t: &&Target<'_>| t.tensor.contents.iter().any(|c| matches!(c, Content::Copy { .. }));
    let kept: Vec<&Target<'_>> =
        targets.iter().filter(copied).filter(|t| !t.tensor.dtype.is_float()).collect();
    let first = kept.first()?;
    let count = match kept.len() {
        1 => "1 parameter is".to_owned(),
        n => format!("{n} parameters are"),
    };
    Some(format!(
        "{count} not of floats and not written as {asked}, the first `{}` of {}",
        first.tensor.name, first.tensor.dtype
    ))
}

/// Whether a cast can change values.
fn loses(from: DType, to: DType) -> bool {
    let exact = match from {
        DType::F64 => false,
        DType::F32 => matches!(to, DType::F64),
        DType::F16 | DType::BF16 => matches!(to, DType::F32 | DType::F64),
        DType::F8E4M3 | DType::F8E5M2 => matches!(to, DType::F32 | DType::F64 | DType::F16 | DType::BF16),
        _ => true,
    };
    from != to && !exact
}

/// The coordinates of a key on the axes that a template has.
pub(super) fn restrict(key: &Key, template: &grammar::Template) -> Key {
    let mut kept: Key =
        key.iter().copied().filter(|(axis, _)| template.indices().any(|i| i.axis == *axis)).collect();
    kept.sort_unstable();
    kept
}
