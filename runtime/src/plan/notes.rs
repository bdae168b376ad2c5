//! What the user should know of planned tensors: values that change, and what is left out.

use std::collections::{BTreeMap, BTreeSet};

use super::PlanOptions;
use super::padding::target_padding;
use super::tensors::Target;
use crate::DType;
use crate::bind::Binding;
use crate::engine::{Content, Fill};

/// What the user should know of the planned tensors.
pub(super) fn notes(binding: &Binding<'_>, options: &PlanOptions, targets: &[Target<'_>]) -> Vec<String> {
    let mut notes = Vec::new();
    let mut casts: BTreeMap<(DType, DType), usize> = BTreeMap::new();
    for target in targets {
        for content in &target.tensor.contents {
            if let Content::Copy { convert, .. } = content
                && !convert.to.holds(convert.from)
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
    notes.extend(of_several_dtypes(targets));
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
        let stored = rule.sides[binding.to().index()].iter().flat_map(|e| &e.stored);
        let mut dims = stored.flat_map(|s| &s.layouts).flat_map(|(_, layout)| &layout.dims);
        if dims.any(|factor| target_padding(binding, factor).is_ok_and(|rows| rows.is_some())) {
            continue;
        }
        let name = rule.sides[binding.to().index()].first().map(|e| &binding.written(e).name);
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

/// Parameters whose parts do not have one dtype.
fn of_several_dtypes(targets: &[Target<'_>]) -> Vec<String> {
    let mut all: BTreeMap<(Vec<DType>, DType), (usize, &str)> = BTreeMap::new();
    for target in targets.iter().map(|target| &target.tensor) {
        let parts: BTreeSet<DType> = target.contents.iter().flat_map(dtypes_of).collect();
        if parts.len() > 1 {
            let told = all.entry((parts.into_iter().collect(), target.dtype)).or_insert((0, &target.name));
            told.0 += 1;
        }
    }
    let told = all.into_iter().map(|((parts, dtype), (count, first))| {
        let parts: Vec<String> = parts.iter().map(DType::to_string).collect();
        let parts = parts.join(" and ");
        match count {
            1 => format!("`{first}` is made of {parts} and written as {dtype}"),
            n => format!("{n} parameters are made of {parts} and written as {dtype}, the first `{first}`"),
        }
    });
    told.collect()
}

/// The dtypes of the stored tensors that a content is of.
fn dtypes_of(content: &Content<'_>) -> Vec<DType> {
    match content {
        Content::Copy { convert, .. } => vec![convert.from],
        Content::Fill { fill: Fill::Mean(mean), .. } => mean.rows.iter().map(|rows| rows.dtype).collect(),
        Content::Fill { .. } => Vec::new(),
    }
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
