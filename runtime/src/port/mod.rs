//! What generated code is made of: a mapping as a type, its config and the parameter trees of its sides.

#[cfg(feature = "candle")]
mod candle;
mod load;
mod model;
mod private;
mod shape;
mod spec;
mod tree;

use std::path::Path;
use std::sync::OnceLock;

use transship_grammar as grammar;

use grammar::{Diagnostics, Imported, Mapping, SideId, Source, Value, check};

pub use private::{AnyValue, ConfigValue};
#[doc(hidden)]
pub use private::{optional, required, setting, settings};

#[cfg(feature = "testing")]
pub(crate) use load::convert_side;
pub use load::{PortError, convert_tree, load_tree};
pub use model::{
    FromParameter, Incoming, Model, Outgoing, RootModel, SaveModel, StoredParameter, ToParameter,
};
pub use shape::{Home, Part, Shape, check_flattened, check_part, check_shared};
pub use spec::{Spec, specs};
pub use tree::{Leaves, Numbering, One, Tree, TreeError, Walk};

use crate::bind::{BindOptions, Binding, Setting};
use crate::convert::{ConvertError, ConvertOptions};
use crate::{Checkpoint, output};

/// A mapping as a type. Derived with `#[derive(Port)]`, which proves the mapping when the crate is compiled.
pub trait Port {
    /// The config values of the mapping, typed.
    type Config: PortConfig;
    /// The parameters of the left side.
    type Left<T>: SideTree<T>;
    /// The parameters of the right side.
    type Right<T>: SideTree<T>;

    /// The mapping's name.
    const NAME: &'static str;
    /// The names of its sides, left first.
    const SIDES: [&'static str; 2];
    /// A hash of the mapping's text: FNV-1a of 64 bits.
    const HASH: u64;

    /// The checked mapping.
    fn mapping() -> &'static Mapping;

    /// Converts a checkpoint of the left side into a directory; the same as `transship convert`.
    ///
    /// # Errors
    /// As [`convert`](crate::convert).
    fn convert(
        checkpoint: &Checkpoint,
        directory: &Path,
        options: &ConvertOptions,
        writing: &output::Options<'_>,
    ) -> Result<(), ConvertError> {
        crate::convert(Self::mapping(), checkpoint, SideId::Left, directory, options, writing)
    }

    /// Converts a checkpoint of the right side into a directory.
    ///
    /// # Errors
    /// As [`convert`](crate::convert).
    fn invert(
        checkpoint: &Checkpoint,
        directory: &Path,
        options: &ConvertOptions,
        writing: &output::Options<'_>,
    ) -> Result<(), ConvertError> {
        crate::convert(Self::mapping(), checkpoint, SideId::Right, directory, options, writing)
    }

    /// Names, shapes and axes of a side's parameters for a config; no checkpoint is needed.
    ///
    /// # Errors
    /// Where the config contradicts the mapping's equations or leaves a size open.
    fn plan(config: &Self::Config, side: SideId) -> Result<Vec<Spec>, Diagnostics> {
        specs(Self::mapping(), &config.settings(), side)
    }
}

/// The parameters of one side of a [`Port`], from its root.
pub trait SideTree<T>: Tree<T> {
    /// The mapping.
    type Port: Port;
    /// Which side.
    const SIDE: SideId;
    /// What all names begin with, which the fields leave out.
    const PREFIX: &'static str;

    /// The tree of leaves given by their names.
    ///
    /// # Errors
    /// Where one is missing.
    fn from_leaves(leaves: impl IntoIterator<Item = (String, T)>) -> Result<Self, TreeError> {
        Leaves::new(leaves).child(Self::PREFIX)
    }

    /// Every parameter with its name, in the order of the fields.
    fn parameters(&self) -> Vec<(String, &T)> {
        let mut all = Vec::new();
        Walk::new(&mut |name, leaf| all.push((name.to_owned(), leaf))).child(Self::PREFIX, self);
        all
    }

    /// The parameter called `name`.
    fn parameter(&self, name: &str) -> Option<&T> {
        self.parameters().into_iter().find(|(n, _)| n == name).map(|(_, leaf)| leaf)
    }
}

/// The config values of a mapping as a struct.
pub trait PortConfig: Sized {
    /// The mapping.
    type Port: Port;

    /// The struct for the values of a bound checkpoint.
    ///
    /// # Errors
    /// The name of a value that is not known or not of its type.
    fn from_values(value: &dyn Fn(&str) -> Option<Value>) -> Result<Self, String>;

    /// Every value that is set, by name.
    fn settings(&self) -> Vec<Setting>;

    /// The config of a checkpoint of the left side.
    ///
    /// # Errors
    /// Where mapping and checkpoint do not go together.
    fn from_source(checkpoint: &Checkpoint) -> Result<Self, PortError> {
        config_of(checkpoint, SideId::Left)
    }

    /// The config of a checkpoint of the right side.
    ///
    /// # Errors
    /// Where mapping and checkpoint do not go together.
    fn from_target(checkpoint: &Checkpoint) -> Result<Self, PortError> {
        config_of(checkpoint, SideId::Right)
    }

    /// Checks the mapping's equations, such as `hidden = heads * head_dim`.
    ///
    /// # Errors
    /// Every equation that does not hold, with the numbers.
    fn validate(&self) -> Result<(), Diagnostics> {
        Binding::of_config(Self::Port::mapping(), &self.settings(), SideId::Left).map(|_| ())
    }
}

fn config_of<C: PortConfig>(checkpoint: &Checkpoint, side: SideId) -> Result<C, PortError> {
    let mapping = C::Port::mapping();
    let binding = Binding::new(mapping, checkpoint, side, &BindOptions::default())?;
    let value = |name: &str| binding.value(mapping.field_named(name)?).cloned();
    C::from_values(&value).map_err(|name| PortError::Config { name })
}

/// A parameter as a mapping describes it, for every config.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// Its name from the root of its side, indices in braces.
    pub name: &'static str,
    /// Its layout as a mapping writes it; empty where it is renamed as it lies.
    pub layout: &'static str,
}

/// A mapping's text, checked when it is first asked for.
#[derive(Debug)]
pub struct MappingCell {
    name: &'static str,
    text: &'static str,
    imported: &'static [Imported<'static>],
    mapping: OnceLock<Mapping>,
}

impl MappingCell {
    /// A text that a macro has checked, with the texts that it imports.
    #[must_use]
    pub const fn new(
        name: &'static str,
        text: &'static str,
        imported: &'static [Imported<'static>],
    ) -> MappingCell {
        MappingCell { name, text, imported, mapping: OnceLock::new() }
    }

    /// The checked mapping.
    ///
    /// # Panics
    /// If the text does not check, which the macro that made this has ruled out.
    pub fn get(&self) -> &Mapping {
        self.mapping.get_or_init(|| match check(&Source::with_imports(self.name, self.text, self.imported)) {
            Ok((mapping, _)) => mapping,
            Err(_) => panic!(
                "the mapping {} checked at compile time but not at run time; this is a bug in transship",
                self.name
            ),
        })
    }
}
