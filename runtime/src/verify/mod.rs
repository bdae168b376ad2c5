//! Whether one checkpoint is what another one becomes under a mapping, parameter by parameter.
//!
//! Both are bound to the mapping and their boxes are paired as for a conversion, so that it does not matter which
//! sides they are of, how many ranks hold them or how much padding they have. No parameter is held in memory whole.
//! Since a mistake in that pairing would be in the conversion too, elements are then looked up a second time by
//! [`plain`], which shares nothing with it.

mod compared;
mod config;
mod plain;
#[cfg(test)]
mod tests;

use transship_grammar as grammar;

use grammar::{Diagnostics, Mapping, SideId};

pub use compared::{Difference, FirstDifference};
pub use config::ConfigDifference;

use crate::bind::{BindOptions, Binding, Setting, bind_pair};
use crate::convert::check_copies;
use crate::engine::Tolerance;
use crate::plan::{Pairs, PlanOptions, pair_parameters};
use crate::{Checkpoint, DType};

/// How checkpoints are compared.
#[derive(Clone, Debug, Default)]
pub struct VerifyOptions {
    /// Config values, and a config of the second checkpoint's side to start from; ranks are found, not given.
    pub bind: BindOptions,
    /// The dtype that the second checkpoint's parameters of floats must have; any where absent.
    pub dtype: Option<DType>,
    /// How far elements may be apart, after the cast to the dtype of the second checkpoint.
    pub tolerance: Tolerance,
    /// Whether every element is looked up a second time by its layouts, which takes long, or some of each tensor.
    pub thorough: bool,
    /// Threads that compare; 0 is one per core.
    pub threads: usize,
}

/// Two checkpoints whose parameters are paired up.
#[derive(Debug)]
pub struct Verify<'a> {
    mapping: &'a Mapping,
    bindings: [Binding<'a>; 2],
    pairs: Pairs<'a>,
    extra: [Vec<String>; 2],
    config: Vec<ConfigDifference>,
    notes: Vec<String>,
    settings: [Vec<Setting>; 2],
    options: VerifyOptions,
}

/// What a comparison found. Of pairs the first is of the first checkpoint.
#[derive(Clone, Debug)]
pub struct Verification {
    /// Parameters that both checkpoints have.
    pub parameters: usize,
    /// Elements compared, padding aside.
    pub elements: u64,
    /// Parameters that are not the same, in the order of the mapping.
    pub differences: Vec<Difference>,
    /// Names of parameters that a checkpoint lacks: its own, or where those are not known the other's.
    pub missing: [Vec<String>; 2],
    /// Names of tensors that the mapping knows nothing of.
    pub extra: [Vec<String>; 2],
    /// Config values that the checkpoints state differently.
    pub config: Vec<ConfigDifference>,
    /// Copies inside one checkpoint that are not equal but must be: replicas, tied parameters, copies along an axis.
    pub copies: Diagnostics,
    /// Elements that were looked up a second time, by their layouts alone.
    pub looked_up: u64,
    /// What came out otherwise there: a mistake in this program.
    pub disagreements: Diagnostics,
    /// What the user should know.
    pub notes: Vec<String>,
}

impl Verification {
    /// Whether the second checkpoint is what the first becomes.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.differences.is_empty()
            && self.missing.iter().chain(&self.extra).all(Vec::is_empty)
            && !self.config.iter().any(|difference| difference.counts)
            && !self.copies.has_errors()
            && !self.disagreements.has_errors()
    }
}

impl<'a> Verify<'a> {
    /// Pairs up two checkpoints of the sides `sides`; the second is what the first was converted to. Reads no data.
    ///
    /// # Errors
    /// Where a checkpoint does not fit the mapping in other ways than that parameters are missing or more than
    /// expected.
    pub fn new(
        mapping: &'a Mapping,
        checkpoints: [&'a Checkpoint; 2],
        sides: [SideId; 2],
        options: &VerifyOptions,
    ) -> Result<Verify<'a>, Diagnostics> {
        let (bindings, mut notes) = bind_pair(mapping, checkpoints, sides, &options.bind)?;
        let plan = PlanOptions { dtype: options.dtype, max_shard_size: None };
        let pairs = pair_parameters(&bindings, &plan)?;
        notes.extend(compared::casts(&pairs.parameters));
        let extra = bindings.each_ref().map(|binding| {
            let tensors = binding.checkpoint.tensors();
            let mut names: Vec<String> =
                binding.claims.unmapped.iter().map(|number| tensors[*number].name.clone()).collect();
            names.dedup();
            names
        });
        Ok(Verify {
            mapping,
            pairs,
            extra,
            config: config::compare(&bindings),
            notes,
            settings: bindings.each_ref().map(config::settings),
            bindings,
            options: options.clone(),
        })
    }

    /// Whether each checkpoint has all that the other has, and nothing else.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.pairs.missing.iter().chain(&self.extra).all(Vec::is_empty)
    }

    /// What the user should know before anything is compared.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The config values of each checkpoint that are known, as settings. With them each binds by itself to what it was
    /// compared as: what one does not say of itself is said, and padding is left out.
    #[must_use]
    pub fn settings(&self) -> &[Vec<Setting>; 2] {
        &self.settings
    }

    /// Bytes of the second checkpoint that are compared, and of a thorough comparison those that are looked up again.
    #[must_use]
    pub fn total_bytes(&self) -> u64 {
        let parts = self.pairs.parameters.iter().flat_map(|parameter| &parameter.parts);
        let bytes = parts.fold(0u64, |sum, part| sum.saturating_add(part.bytes()));
        bytes.saturating_mul(if self.options.thorough { 2 } else { 1 })
    }

    /// Compares all elements. `progress` is called with the bytes compared since its last call, from any thread.
    #[must_use]
    pub fn run(self, progress: &(dyn Fn(u64) + Sync)) -> Verification {
        let parameters = &self.pairs.parameters;
        let mut compared = compared::compare(self.mapping, parameters, &self.options, progress);
        let copies = match check_copies(&self.pairs.checks, self.mapping) {
            Ok(()) => Diagnostics::new(&self.mapping.source),
            Err(diagnostics) => diagnostics,
        };
        let check = plain::Check {
            bindings: &self.bindings,
            pairs: &self.pairs,
            compared: &compared,
            copies_differ: copies.has_errors(),
            options: &self.options,
        };
        let plain::Found { elements: looked_up, disagreements: found, explanations } = check.run(progress);
        let mut disagreements = Diagnostics::new(&self.mapping.source);
        found.into_iter().for_each(|diagnostic| disagreements.push(diagnostic));
        for (number, words) in explanations {
            let difference = compared[number].as_mut().map(|compared| &mut compared.difference);
            difference.into_iter().for_each(|difference| difference.explanation = Some(words.clone()));
        }
        let elements = parameters.iter().fold(0u64, |sum, p| sum.saturating_add(p.compared()));
        Verification {
            parameters: parameters.len(),
            elements,
            differences: compared.into_iter().flatten().map(|compared| compared.difference).collect(),
            missing: self.pairs.missing,
            extra: self.extra,
            config: self.config,
            copies,
            looked_up,
            disagreements,
            notes: self.notes,
        }
    }
}
