//! Tied parameters: copies compared with their originals where they are read, made where the target's format needs them.

use transship_grammar as grammar;

use grammar::{Captures, Code, Diagnostic, Diagnostics, RankId};

use super::Check;
use super::ranks::TargetRanks;
use super::tensors::{Place, Target, restrict};
use crate::Tensor;
use crate::bind::{Binding, is_in_roots, name_below, sorted_key, split_over};
use crate::engine::TargetTensor;

/// Copies that the target's format needs, on the ranks that the mapping names.
pub(super) fn plan_ties<'a>(
    binding: &Binding<'a>,
    ranks: &TargetRanks<'_, 'a>,
    targets: &mut Vec<Target<'a>>,
) {
    let to = binding.to();
    let mut copies = Vec::new();
    for tie in binding.mapping.ties.iter().filter(|tie| tie.side == to) {
        let Some((rank, _)) = tie.on.filter(|(rank, _)| binding.ranks.count(*rank) > 1) else { continue };
        for target in targets.iter() {
            let Some(own) = &target.home else { continue };
            let Some(rule) = binding.mapping.rules.get(target.of.0) else { continue };
            let is_original = rule.sides[to.index()].iter().any(|e| e.stored[0].name == tie.of);
            let key = &target.of.1;
            if !is_original || !binding.holds(&tie.guard, key) {
                continue;
            }
            for home in ranks.homes(&tie.alias, tie.on, key).unwrap_or_default() {
                // The same part of the parameter: all numbers but those of the stage agree.
                let stage = |r: RankId| r == rank || is_in_roots(binding.mapping, to, r);
                let mut others = binding.mapping.ranks_of(to).filter(|r| !stage(*r));
                if others.any(|r| home.numbers[r.index()] != own.numbers[r.index()]) || home == *own {
                    continue;
                }
                let holes = ranks.holes(&tie.alias, key, &home);
                let name = name_below(binding.mapping, to, target.root, &tie.alias, &holes);
                let Some(name) = name else { continue };
                copies.push(Target {
                    order: target.order,
                    place: Place::last(binding, &home),
                    home: Some(home),
                    of: target.of.clone(),
                    tensor: TargetTensor { name, ..target.tensor.clone() },
                    sources: target.sources.clone(),
                    root: target.root,
                    used: target.used.clone(),
                    round_trips: Vec::new(),
                });
            }
        }
    }
    targets.extend(copies);
}

/// A copy that the checkpoint holds must be the same as what it is a copy of.
pub(super) fn check_ties<'a>(
    binding: &Binding<'a>,
    checks: &mut Vec<Check<'a>>,
    diagnostics: &mut Diagnostics,
) {
    let tied: Vec<_> = binding.claims.tied.iter().collect();
    for (number, tie_number, holes) in tied {
        let tie = &binding.mapping.ties[*tie_number];
        let alias = &binding.checkpoint.tensors()[*number];
        let original = original_of(binding, Some(*number), &tie.of, holes);
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
            let told = (Code::BrokenTie, message);
            checks.push(Check::of_tensors(binding, [alias, original], told, tie.span));
        }
    }
}

/// Whether one of the parameters that a `tie` names, its alternatives multiplied out, is there.
fn has_original(binding: &Binding<'_>, span: grammar::Span, holes: &Captures) -> bool {
    let ties = binding.mapping.ties.iter().filter(|t| t.span == span && t.side == binding.from);
    ties.into_iter().any(|t| original_of(binding, None, &t.of, holes).is_some())
}

/// The tensor that a copy is one of: of several parts the one that the same ranks split off, or where no copy is given
/// the first.
fn original_of<'a>(
    binding: &Binding<'a>,
    alias: Option<usize>,
    of: &grammar::Template,
    holes: &Captures,
) -> Option<&'a Tensor> {
    let tensors = binding.checkpoint.tensors();
    let key = sorted_key(holes);
    for (number, rule) in binding.mapping.rules.iter().enumerate() {
        for (entry_number, entry) in rule.sides[binding.from.index()].iter().enumerate() {
            for (era, stored) in entry.stored.iter().enumerate().filter(|(_, s)| s.name == *of) {
                let claim = (number, entry_number, restrict(&key, of));
                let Some(claimed) = binding.claims.entries.get(&claim).filter(|c| c.era == era) else {
                    continue;
                };
                let Some(alias) = alias else { return Some(&tensors[claimed.tensor]) };
                let split = split_over(stored, binding.layout(stored, &key));
                let numbers = |tensor: usize| -> Vec<u64> {
                    let all = binding.coordinates_of(tensor);
                    split.iter().map(|rank| all[rank.index()]).collect()
                };
                let own = numbers(alias);
                let same = |tensor: &usize| match (&tensors[*tensor].chunk, &tensors[alias].chunk) {
                    (Some(one), Some(other)) => one.offsets == other.offsets,
                    _ => numbers(*tensor) == own,
                };
                return claimed.tensors().find(same).map(|tensor| &tensors[tensor]);
            }
        }
    }
    let roots = 0..binding.mapping.side(binding.from).roots.len();
    let mut names = roots.filter_map(|root| name_below(binding.mapping, binding.from, root, of, holes));
    names.find_map(|name| binding.checkpoint.tensor(&name))
}

fn broken_tie(message: &str, span: grammar::Span) -> Diagnostic {
    Diagnostic::error(Code::BrokenTie, span, message, "tied here")
}
