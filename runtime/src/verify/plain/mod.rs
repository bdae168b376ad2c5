//! Where elements lie, found a second time and in a plainer way than a conversion finds it.
//!
//! A comparison that pairs elements as conversions do shares their mistakes and calls wrong bytes the same. So this module
//! may use none of what they pair by: not `Layout::place`, `Layout::boxes` or any other part of `grammar::layout::place`,
//! nothing of [`crate::plan`] but the pairs that are under test, and no strided copy of [`crate::engine`]. It takes the
//! checked mapping, the sizes that are bound and the names of the tensors, and works out for one coordinate after the
//! other which tensors hold it and where: names by putting numbers in, products by mixed radix, sums by the sizes of the
//! arms before, blocks of ranks by division, chunks by their offsets.
//!
//! What it finds must be what the comparison did: the places of the elements that were compared, whether these are the
//! same, and how many there are.

mod element;
mod explain;
mod names;
mod parameters;
mod rule;
mod sample;
mod tree;

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use transship_grammar as grammar;

use grammar::Diagnostic;

use super::VerifyOptions;
use super::compared::Compared;
use crate::bind::Binding;
use crate::plan::Pairs;
use parameters::Side;
use rule::{Look, RuleLook};

/// What has been compared, and how far to look into it.
pub(super) struct Check<'c, 'a> {
    pub(super) bindings: &'c [Binding<'a>; 2],
    pub(super) pairs: &'c Pairs<'a>,
    /// What differs of each parameter of `pairs`; nothing of those that are the same.
    pub(super) compared: &'c [Option<Compared>],
    /// Whether copies inside one of the checkpoints differ, which has been told.
    pub(super) copies_differ: bool,
    pub(super) options: &'c VerifyOptions,
}

/// What looking elements up a second time gave.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Elements looked up.
    pub(super) elements: u64,
    /// Where the two ways do not agree, in the order of the mapping.
    pub(super) disagreements: Vec<Diagnostic>,
    /// What differs, in words, by the number of the parameter.
    pub(super) explanations: Vec<(usize, String)>,
}

/// Disagreements that are told; where there are more, the rest says nothing new.
const TOLD: usize = 20;

/// Parameters that an explanation is looked for: more of them differ for one reason, or for none that has a name.
const EXPLAINED: usize = 64;

impl Check<'_, '_> {
    /// Looks elements up and compares what is found with what the comparison found. `progress` is called with the bytes
    /// of the second checkpoint that were looked up.
    pub(super) fn run(&self, progress: &(dyn Fn(u64) + Sync)) -> Found {
        let sides = self.bindings.each_ref().map(Side::new);
        let mut rules: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (number, parameter) in self.pairs.parameters.iter().enumerate() {
            rules.entry(parameter.rule).or_default().push(number);
        }
        let missing: HashSet<&str> = self.pairs.missing.iter().flatten().map(String::as_str).collect();
        let rules: Vec<RuleLook<'_, '_>> = rules
            .into_iter()
            .map(|(rule, planned)| RuleLook::new(self, &sides, &missing, rule, planned))
            .collect();
        let mut looks: Vec<(usize, Look)> = rules
            .iter()
            .enumerate()
            .flat_map(|(number, rule)| rule.looks().into_iter().map(move |look| (number, look)))
            .collect();
        let mut explained = 0;
        looks.retain(|(_, look)| {
            explained += usize::from(matches!(look, Look::Differing(_)));
            !matches!(look, Look::Differing(_)) || explained <= EXPLAINED
        });
        let next = AtomicUsize::new(0);
        let all: Mutex<Vec<(usize, Found)>> = Mutex::new(Vec::new());
        let threads = crate::threads::count(self.options.threads).min(looks.len());
        crate::threads::in_threads(threads, || {
            while let at = next.fetch_add(1, Ordering::Relaxed)
                && let Some((rule, look)) = looks.get(at)
            {
                let found = rules[*rule].look(look, progress);
                all.lock().unwrap_or_else(PoisonError::into_inner).push((at, found));
            }
        });
        let mut all = all.into_inner().unwrap_or_else(PoisonError::into_inner);
        all.sort_by_key(|(at, _)| *at);
        let mut found = Found::default();
        for (_, own) in all {
            found.elements = found.elements.saturating_add(own.elements);
            found.disagreements.extend(own.disagreements);
            found.explanations.extend(own.explanations);
        }
        found.disagreements.truncate(TOLD);
        found
    }
}
