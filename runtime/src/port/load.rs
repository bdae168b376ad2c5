//! Trees of arrays: read from either side's checkpoint, and converted in memory.

use transship_grammar as grammar;

use grammar::{Captures, Diagnostics, Mapping, SideId};

use super::{Port, PortConfig, SideTree, TreeError};
use crate::bind::{BindOptions, Binding, detect_side};
use crate::convert::ConvertError;
use crate::engine::{CopyError, PreparedTensor};
use crate::plan::{Plan, PlanOptions};
use crate::{Array, ArrayError, Checkpoint, OpenError};

/// Why parameters could not be read or converted.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    /// The mapping and the checkpoint do not go together.
    #[error("{}", first_message(.0))]
    Diagnostics(Diagnostics),
    /// The checkpoint is of neither side.
    #[error("{file} is of neither side of the mapping `{mapping}`")]
    NeitherSide {
        /// The checkpoint's file.
        file: String,
        /// The mapping's name.
        mapping: &'static str,
    },
    /// A config value that is not known or not of its type.
    #[error("the config value `{name}` is not known, or is not of the type that the mapping gives it")]
    Config {
        /// Its name.
        name: String,
    },
    /// A parameter that the tree needs.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// Elements that could not be copied.
    #[error(transparent)]
    Copy(#[from] CopyError),
    /// Bytes that are no array.
    #[error(transparent)]
    Array(#[from] ArrayError),
    /// Arrays that make no checkpoint.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A parameter that the type of its field does not hold, or does not give back.
    #[error("the parameter `{name}`: {error}")]
    Parameter {
        /// Its name from the root of its side.
        name: String,
        /// What the type says.
        #[source]
        error: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A parameter of a model that the checkpoint does not hold.
    #[error("{file} has no `{name}`, which the model needs")]
    Missing {
        /// The checkpoint's file.
        file: String,
        /// The parameter as the mapping calls it.
        name: String,
    },
    /// A model that there is no code for, or none for what is asked of it.
    #[error("{0}")]
    NoModel(String),
    /// An element type that models do not run in.
    #[error("a model does not run in {dtype}; it runs in f32, bf16, f16 or f64")]
    Dtype {
        /// The type that was asked for.
        dtype: &'static str,
    },
    /// Tensors that candle or the device refuses.
    #[cfg(feature = "candle")]
    #[error("{}", crate::nn::message(.0))]
    Candle(Box<candle_core::Error>),
    /// A model that could not be written.
    #[error(transparent)]
    Convert(ConvertError),
}

impl From<Diagnostics> for PortError {
    fn from(diagnostics: Diagnostics) -> PortError {
        PortError::Diagnostics(diagnostics)
    }
}

#[cfg(feature = "candle")]
impl From<candle_core::Error> for PortError {
    fn from(error: candle_core::Error) -> PortError {
        PortError::Candle(Box::new(error))
    }
}

/// All of them in short form: an error of a library has no screen of its own.
fn first_message(diagnostics: &Diagnostics) -> String {
    grammar::render(diagnostics, grammar::Style::Short).trim_end().to_owned()
}

/// Reads the parameters of one side out of a checkpoint of either side, without an intermediate file.
///
/// Parameters of the checkpoint's own side stay mapped; those of the other are laid out in memory once.
///
/// # Errors
/// Where mapping and checkpoint do not go together.
pub fn load_tree<S: SideTree<Array>>(checkpoint: &Checkpoint, options: &BindOptions) -> Result<S, PortError> {
    let mapping = S::Port::mapping();
    let from = side_of(mapping, checkpoint)?;
    Ok(S::from_leaves(side_arrays(mapping, checkpoint, from, S::SIDE, options)?)?)
}

/// The side that a checkpoint is of.
pub(super) fn side_of(mapping: &'static Mapping, checkpoint: &Checkpoint) -> Result<SideId, PortError> {
    detect_side(mapping, checkpoint)
        .ok_or_else(|| PortError::NeitherSide { file: checkpoint.file().to_owned(), mapping: &mapping.name })
}

/// The parameters of side `to` by their names from its root, out of a checkpoint of side `from`.
pub(super) fn side_arrays(
    mapping: &Mapping,
    checkpoint: &Checkpoint,
    from: SideId,
    to: SideId,
    options: &BindOptions,
) -> Result<Vec<(String, Array)>, PortError> {
    let mut binding = Binding::new(mapping, checkpoint, from, options)?;
    binding.first_names = true;
    if from == to { Ok(own_side(&binding)) } else { other_side(&binding) }
}

/// Converts parameters in memory: one side's tree to the other's.
///
/// # Errors
/// Where the config and the parameters do not go together.
pub fn convert_tree<S, O, C>(tree: &S, config: &C) -> Result<O, PortError>
where
    S: SideTree<Array>,
    O: SideTree<Array, Port = S::Port>,
    C: PortConfig<Port = S::Port>,
{
    let mapping = S::Port::mapping();
    let named =
        tree.parameters().into_iter().map(|(name, array)| (in_file(mapping, S::SIDE, &name), array.clone()));
    let checkpoint = Checkpoint::in_memory(S::Port::NAME, named.collect())?;
    let options = BindOptions { settings: config.settings(), base: None, ..BindOptions::default() };
    Ok(O::from_leaves(side_arrays(mapping, &checkpoint, S::SIDE, O::SIDE, &options)?)?)
}

/// Views under the names of the first era.
fn own_side(binding: &Binding<'_>) -> Vec<(String, Array)> {
    let mapping = binding.mapping;
    let entries = binding.claims.entries.iter().map(|((rule, entry, key), claimed)| {
        (claimed.tensor, *rule, *entry, Captures { indices: key.clone(), ..Captures::default() })
    });
    let renamed = binding.claims.renamed.iter().map(|r| (r.tensor, r.rule, r.entry, r.captures.clone()));
    let mut claims: Vec<_> = entries.chain(renamed).collect();
    claims.sort_unstable_by_key(|(tensor, rule, entry, _)| (*tensor, *rule, *entry));
    claims
        .into_iter()
        .filter_map(|(tensor, rule, entry, holes)| {
            let first = &mapping.rules[rule].sides[binding.from.index()][entry].stored[0];
            let array = binding.checkpoint.array(&binding.checkpoint.tensors()[tensor]);
            Some((first.name.render(&holes)?, array))
        })
        .collect()
}

fn other_side(binding: &Binding<'_>) -> Result<Vec<(String, Array)>, PortError> {
    let root = in_file(binding.mapping, binding.to(), "");
    let mut all = convert_side(binding)?;
    for (name, _) in &mut all {
        if name.starts_with(&root) {
            name.drain(..root.len());
        }
    }
    Ok(all)
}

/// The parameters of the side that the checkpoint is not of, under their names in a file.
pub(crate) fn convert_side(binding: &Binding<'_>) -> Result<Vec<(String, Array)>, PortError> {
    let plan = Plan::in_memory(binding, &PlanOptions::default())?;
    plan.check_copies(binding.mapping)?;
    let mut all = Vec::new();
    for target in &plan.targets {
        let bytes = PreparedTensor::new(target)?.to_bytes();
        all.push((target.name.clone(), Array::new(target.dtype, &target.shape, bytes)?));
    }
    Ok(all)
}

/// A name from a side's root as a file of that side has it.
pub(super) fn in_file(mapping: &Mapping, side: SideId, name: &str) -> String {
    let root = &mapping.side(side).roots[0];
    match root.render(&Captures::default()) {
        Some(root) if !root.is_empty() => format!("{root}.{name}"),
        _ => name.to_owned(),
    }
}
