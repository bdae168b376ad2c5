//! Models of one's own, filled from a mapping's parameters: what `#[derive(Port)]` on a struct with fields implements.

use std::error::Error;
use std::path::Path;

use transship_grammar as grammar;

use grammar::{Mapping, SideId};

use super::load::{PortError, in_file, side_arrays};
use super::shape::Shape;
use super::tree::{Leaves, Numbering};
use crate::bind::BindOptions;
use crate::convert::{ConvertError, ConvertOptions};
use crate::{Array, Checkpoint, output};

/// A parameter on its way into a model.
#[derive(Debug)]
pub struct StoredParameter<'a> {
    name: &'a str,
    array: Array,
    #[cfg(feature = "candle")]
    device: &'a candle_core::Device,
}

impl StoredParameter<'_> {
    /// Its name from the root of its side.
    #[must_use]
    pub fn name(&self) -> &str {
        self.name
    }

    /// Its elements with their type and shape.
    #[must_use]
    pub fn array(&self) -> &Array {
        &self.array
    }

    /// Its elements, without a copy.
    #[must_use]
    pub fn into_array(self) -> Array {
        self.array
    }

    /// Where tensors are wanted.
    #[cfg(feature = "candle")]
    #[must_use]
    pub fn device(&self) -> &candle_core::Device {
        self.device
    }
}

/// A type that holds one parameter of a model.
#[diagnostic::on_unimplemented(
    message = "`{Self}` holds no parameter and is no part of a model",
    label = "`FromParameter` is not implemented for this type, nor is `Port` derived for it",
    note = "a type that holds one parameter implements `transship::port::FromParameter`; `Array` does, and with the feature `candle` so does `candle_core::Tensor`",
    note = "a struct of several parameters has `#[derive(Port)]`; a field that is no parameter has `#[port(skip)]`"
)]
pub trait FromParameter: Sized {
    /// The type's value for a parameter.
    ///
    /// # Errors
    /// Whatever keeps the type from holding it, such as its element type or shape.
    fn from_parameter(parameter: StoredParameter<'_>) -> Result<Self, Box<dyn Error + Send + Sync>>;
}

/// A type that gives back the parameter it holds, so that a model can be saved.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not give back the parameter it holds",
    label = "not a type that `ToParameter` is implemented for",
    note = "to save a model, implement `transship::port::ToParameter` for the types of its parameters"
)]
pub trait ToParameter {
    /// The parameter as an array, of the shape it was loaded with.
    ///
    /// # Errors
    /// Whatever keeps the elements from being had, such as their type.
    fn to_parameter(&self) -> Result<Array, Box<dyn Error + Send + Sync>>;
}

impl FromParameter for Array {
    fn from_parameter(parameter: StoredParameter<'_>) -> Result<Array, Box<dyn Error + Send + Sync>> {
        Ok(parameter.array)
    }
}

impl ToParameter for Array {
    fn to_parameter(&self) -> Result<Array, Box<dyn Error + Send + Sync>> {
        Ok(self.clone())
    }
}

/// A part of a model: one parameter, or a struct with `#[derive(Port)]`, or several of either.
#[diagnostic::on_unimplemented(
    message = "`{Self}` holds no parameter and is no part of a model",
    label = "`FromParameter` is not implemented for this type, nor is `Port` derived for it",
    note = "a type that holds one parameter implements `transship::port::FromParameter`; `Array` does, and with the feature `candle` so does `candle_core::Tensor`",
    note = "a struct of several parameters has `#[derive(Port)]`; a field that is no parameter has `#[port(skip)]`"
)]
pub trait Model: Sized {
    /// What it takes.
    const SHAPE: &'static Shape;

    /// Takes the parameters at the current name.
    ///
    /// # Errors
    /// Where a parameter that is not optional is missing, or its type cannot hold it.
    fn build(at: &mut Incoming) -> Result<Self, PortError>;
}

/// A part of a model whose parameters can be had back.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be saved, for a type that it holds does not implement `ToParameter`",
    note = "to save a model, implement `transship::port::ToParameter` for the types of its parameters"
)]
pub trait SaveModel {
    /// Gives every parameter its name.
    ///
    /// # Errors
    /// Where a type does not give its parameter back.
    fn collect(&self, at: &mut Outgoing) -> Result<(), PortError>;
}

impl<P: FromParameter> Model for P {
    const SHAPE: &'static Shape = &Shape::Leaf;

    fn build(at: &mut Incoming) -> Result<P, PortError> {
        at.parameter()
    }
}

impl<M: Model> Model for Option<M> {
    const SHAPE: &'static Shape = &Shape::Optional { of: M::SHAPE };

    fn build(at: &mut Incoming) -> Result<Option<M>, PortError> {
        if at.is_present() { M::build(at).map(Some) } else { Ok(None) }
    }
}

impl<M: Model> Model for Vec<M> {
    const SHAPE: &'static Shape = &Shape::List { of: M::SHAPE };

    fn build(at: &mut Incoming) -> Result<Vec<M>, PortError> {
        at.list()
    }
}

impl<P: ToParameter> SaveModel for P {
    fn collect(&self, at: &mut Outgoing) -> Result<(), PortError> {
        let error = |error| PortError::Parameter { name: at.path.clone(), error };
        let array = self.to_parameter().map_err(error)?;
        at.arrays.push((at.path.clone(), array));
        Ok(())
    }
}

impl<M: SaveModel> SaveModel for Option<M> {
    fn collect(&self, at: &mut Outgoing) -> Result<(), PortError> {
        self.as_ref().map_or(Ok(()), |part| part.collect(at))
    }
}

impl<M: SaveModel> SaveModel for Vec<M> {
    fn collect(&self, at: &mut Outgoing) -> Result<(), PortError> {
        let whole = at.path.clone();
        let pattern = Pattern::new(&whole);
        for (coordinate, part) in self.iter().enumerate() {
            let Some(name) = pattern.name(coordinate) else { break };
            at.path = name;
            part.collect(at)?;
        }
        at.path = whole;
        Ok(())
    }
}

/// Arrays that a model is built from, and the name that is filled now.
#[derive(Debug)]
pub struct Incoming {
    leaves: Leaves<Array>,
    path: String,
    #[cfg(feature = "candle")]
    device: candle_core::Device,
}

impl Incoming {
    pub(crate) fn of(
        arrays: impl IntoIterator<Item = (String, Array)>,
        #[cfg(feature = "candle")] device: candle_core::Device,
    ) -> Incoming {
        Incoming {
            leaves: Leaves::new(arrays),
            path: String::new(),
            #[cfg(feature = "candle")]
            device,
        }
    }

    /// The part whose names go on with `name`; `{}` in it is where a list has its numbers.
    ///
    /// # Errors
    /// As [`Model::build`].
    pub fn part<M: Model>(&mut self, name: &str) -> Result<M, PortError> {
        let parent = self.path.len();
        join(&mut self.path, name);
        let part = M::build(self);
        self.path.truncate(parent);
        part
    }

    fn parameter<P: FromParameter>(&mut self) -> Result<P, PortError> {
        let array = self.leaves.leaf(&self.path)?;
        let parameter = StoredParameter {
            name: &self.path,
            array,
            #[cfg(feature = "candle")]
            device: &self.device,
        };
        P::from_parameter(parameter).map_err(|error| PortError::Parameter { name: self.path.clone(), error })
    }

    fn list<M: Model>(&mut self) -> Result<Vec<M>, PortError> {
        let whole = self.path.clone();
        let pattern = Pattern::new(&whole);
        let mut all = Vec::new();
        for name in (0..pattern.count(&self.leaves)).map_while(|at| pattern.name(at)) {
            self.path = name;
            all.push(M::build(self)?);
        }
        self.path = whole;
        Ok(all)
    }

    fn is_present(&self) -> bool {
        if self.path.contains('{') {
            return Pattern::new(&self.path).count(&self.leaves) > 0;
        }
        self.path.is_empty() || self.leaves.holds(&self.path)
    }
}

/// Arrays of a model with their names.
#[derive(Debug, Default)]
pub struct Outgoing {
    arrays: Vec<(String, Array)>,
    path: String,
}

impl Outgoing {
    /// What was named so far.
    #[must_use]
    pub fn arrays(&self) -> &[(String, Array)] {
        &self.arrays
    }

    /// Names the parameters of a part, as [`Incoming::part`].
    ///
    /// # Errors
    /// As [`SaveModel::collect`].
    pub fn part<M: SaveModel>(&mut self, name: &str, part: &M) -> Result<(), PortError> {
        let parent = self.path.len();
        join(&mut self.path, name);
        let result = part.collect(self);
        self.path.truncate(parent);
        result
    }
}

fn join(path: &mut String, name: &str) {
    if !path.is_empty() && !name.is_empty() {
        path.push('.');
    }
    path.push_str(name);
}

/// A name with a number in it, written `{}`, or `{scale,offset,width}` where it is not the coordinate itself.
struct Pattern<'p> {
    before: String,
    by: Numbering,
    after: &'p str,
}

impl<'p> Pattern<'p> {
    /// A name without such a place is followed by its numbers.
    fn new(text: &'p str) -> Pattern<'p> {
        let plain = Numbering { scale: 1, offset: 0, width: 0 };
        let Some((before, (number, after))) =
            text.split_once('{').and_then(|(before, rest)| Some((before, rest.split_once('}')?)))
        else {
            let before = if text.is_empty() { String::new() } else { format!("{text}.") };
            return Pattern { before, by: plain, after: "" };
        };
        let mut numbers = number.split(',');
        let mut next = |otherwise: i64| numbers.next().and_then(|n| n.parse().ok()).unwrap_or(otherwise);
        let (scale, offset) = (next(1), next(0));
        let width = usize::try_from(next(0)).unwrap_or(0);
        Pattern { before: before.to_owned(), by: Numbering { scale, offset, width }, after }
    }

    /// One more than the last coordinate that there is a leaf for, or that names go on from with a dot.
    fn count(&self, leaves: &Leaves<Array>) -> usize {
        leaves.count(&self.before, self.by, |name| {
            name.strip_prefix(self.after).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        })
    }

    fn name(&self, coordinate: usize) -> Option<String> {
        Some(format!("{}{}{}", self.before, self.by.number(coordinate)?, self.after))
    }
}

/// A whole model: all parameters of one side of a mapping. Derived for a struct with `mapping` and `side`.
pub trait RootModel: Model {
    /// Which side it is made like.
    const SIDE: SideId;

    /// The checked mapping.
    fn mapping() -> &'static Mapping;

    /// Loads the model from a checkpoint of either side; from the other one without a file between.
    ///
    /// # Errors
    /// Where mapping and checkpoint do not go together, or a field's type cannot hold its parameter.
    fn load(checkpoint: &Checkpoint, options: &BindOptions) -> Result<Self, PortError> {
        load(
            checkpoint,
            options,
            #[cfg(feature = "candle")]
            candle_core::Device::Cpu,
        )
    }

    /// Loads the model's tensors onto a device.
    ///
    /// # Errors
    /// As [`load`](RootModel::load), or where the device refuses.
    #[cfg(feature = "candle")]
    fn load_on(
        checkpoint: &Checkpoint,
        options: &BindOptions,
        device: &candle_core::Device,
    ) -> Result<Self, PortError> {
        load(checkpoint, options, device.clone())
    }

    /// Every parameter by its name from the root of its side, in the order of the fields.
    ///
    /// # Errors
    /// Where a type does not give its parameter back.
    fn parameters(&self) -> Result<Vec<(String, Array)>, PortError>
    where
        Self: SaveModel,
    {
        let mut all = Outgoing::default();
        self.collect(&mut all)?;
        Ok(all.arrays)
    }

    /// Writes the model as a checkpoint of side `to` into a directory. Config values that shapes do not tell come
    /// from the options' settings: those of a generated config are its `settings()`.
    ///
    /// The model's own side is written by way of the other, which is laid out in memory once.
    ///
    /// # Errors
    /// Where the parameters and the settings do not go together, the side cannot be written, or the disk fails; the
    /// directory is as it was then.
    fn save(
        &self,
        to: SideId,
        directory: &Path,
        options: &ConvertOptions,
        writing: &output::Options<'_>,
    ) -> Result<(), PortError>
    where
        Self: SaveModel,
    {
        let mut arrays = self.parameters()?;
        let mut from = Self::SIDE;
        let mapping = Self::mapping();
        if to == from {
            let checkpoint = in_memory(mapping, from, arrays)?;
            from = from.other();
            arrays = side_arrays(mapping, &checkpoint, to, from, &options.bind)?;
        }
        let checkpoint = in_memory(mapping, from, arrays)?;
        match crate::convert(mapping, &checkpoint, from, directory, options, writing) {
            Ok(()) => Ok(()),
            Err(ConvertError::Diagnostics(diagnostics)) => Err(PortError::Diagnostics(diagnostics)),
            Err(error) => Err(PortError::Convert(error)),
        }
    }
}

fn in_memory(
    mapping: &'static Mapping,
    side: SideId,
    arrays: Vec<(String, Array)>,
) -> Result<Checkpoint, PortError> {
    let named = arrays.into_iter().map(|(name, array)| (in_file(mapping, side, &name), array));
    Ok(Checkpoint::in_memory(&mapping.name, named.collect())?)
}

fn load<M: RootModel>(
    checkpoint: &Checkpoint,
    options: &BindOptions,
    #[cfg(feature = "candle")] device: candle_core::Device,
) -> Result<M, PortError> {
    let mapping = M::mapping();
    let from = super::load::side_of(mapping, checkpoint)?;
    let arrays = side_arrays(mapping, checkpoint, from, M::SIDE, options)?;
    let mut at = Incoming::of(
        arrays,
        #[cfg(feature = "candle")]
        device,
    );
    M::build(&mut at)
}

#[cfg(test)]
mod tests {
    use super::{Incoming, Model, Outgoing, Pattern, SaveModel};
    use crate::{Array, DType};

    fn at(names: &[&str]) -> Incoming {
        let array =
            |n: usize| Array::new(DType::U8, &[1], vec![u8::try_from(n).expect("few")]).expect("one byte");
        Incoming::of(
            names.iter().enumerate().map(|(i, name)| ((*name).to_owned(), array(i))),
            #[cfg(feature = "candle")]
            candle_core::Device::Cpu,
        )
    }

    #[test]
    fn numbers_of_names_follow_the_pattern() {
        let name = |text: &str, n: usize| Pattern::new(text).name(n);
        assert_eq!(name("h.{}.x", 2).as_deref(), Some("h.2.x"));
        assert_eq!(name("h.{2,1,3}", 2).as_deref(), Some("h.005"));
        assert_eq!(name("h", 2).as_deref(), Some("h.2"));
        assert_eq!(name("", 2).as_deref(), Some("2"));
        assert_eq!(name("h.{-1,1,0}", 2), None);
    }

    #[test]
    fn lists_end_with_the_last_number_that_is_there() {
        let missing = at(&["h.0", "h.1", "h.3"]).part::<Vec<Array>>("h").expect_err("a gap").to_string();
        assert_eq!(missing, "no parameter is called `h.2`");
        let some: Vec<Option<Array>> = at(&["h.1", "h.3"]).part("h").expect("of which some are there");
        assert_eq!(some.iter().map(Option::is_some).collect::<Vec<_>>(), [false, true, false, true]);
        assert!(at(&["h.1x", "h.01", "h.x", "hh.0"]).part::<Vec<Array>>("h").expect("no numbers").is_empty());
        let list: Vec<Array> = at(&["h.0", "h.1"]).part("h").expect("a list");
        let mut out = Outgoing::default();
        out.part("x.{1,4,0}_w", &list).expect("arrays are given back");
        let names: Vec<&str> = out.arrays.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["x.4_w", "x.5_w"]);
    }

    #[test]
    fn what_is_optional_may_be_absent() {
        let mut names = at(&["a.b", "h.0"]);
        assert!(names.part::<Option<Array>>("a.c").expect("absent").is_none());
        assert!(names.part::<Option<Array>>("a.b").expect("there").is_some());
        assert!(names.part::<Option<Vec<Array>>>("e.{}").expect("absent").is_none());
        assert_eq!(names.part::<Option<Vec<Array>>>("h.{}").expect("there").map(|l| l.len()), Some(1));
        let missing = names.part::<Array>("a.b").expect_err("it is taken").to_string();
        assert_eq!(missing, "no parameter is called `a.b`");
        let mut out = Outgoing::default();
        None::<Array>.collect(&mut out).expect("nothing to give");
        assert!(out.arrays.is_empty());
        assert!(matches!(<Option<Array>>::SHAPE, super::Shape::Optional { .. }));
    }
}
