//! The weights of a model, out of a checkpoint of either side of its mapping.
//!
//! Each weight is laid out once, in the order in which its kernel takes it, and cast on the way: elements go from where
//! they lie in the checkpoint, over ranks and parts, into the buffer that becomes the tensor.

use std::cell::RefCell;
use std::collections::HashMap;

use bytemuck::{Pod, cast_slice_mut};
use candle_core::{DType, Device, Tensor};
use half::vec::HalfBitsVecExt as _;
use half::{bf16, f16};
use rayon::iter::{IndexedParallelIterator as _, ParallelIterator as _};
use rayon::slice::ParallelSliceMut as _;
use transship_grammar as grammar;

use grammar::model::{Model, Module, ModuleKind, ParameterId, ScopeId, ValueKind};
use grammar::{AxisId, KernelOrder};

use super::{Activation, Embedding, LayerNorm, Linear, Pairs, RmsNorm, Rotary};
use crate::Checkpoint;
use crate::bind::{BindOptions, Binding, Key, Scope, detect_side};
use crate::engine::{PreparedTensor, Scratch, TargetTensor};
use crate::plan::{Plan, PlanOptions};
use crate::port::{Port, PortConfig, PortError};

/// Elements that one thread lays out at a time.
const CHUNK: usize = 1 << 18;

/// Loads a model: `build` gets its config and its weights, from the top.
///
/// Of the options, numbers of ranks do not matter: the model is whole.
///
/// # Errors
/// Where mapping and checkpoint do not go together, the checkpoint is of neither side, the dtype is none of floats, or
/// the device refuses; and those of `build`.
pub fn load<C: PortConfig, M>(
    model: &str,
    checkpoint: &Checkpoint,
    options: &BindOptions,
    device: &Device,
    dtype: DType,
    build: impl FnOnce(&C, &Weights<'_, '_>) -> Result<M, PortError>,
) -> Result<M, PortError> {
    let mapping = C::Port::mapping();
    let stored = stored_dtype(dtype)?;
    let model = mapping.models.iter().find(|m| m.name == model).ok_or_else(|| {
        PortError::NoModel(format!("the mapping `{}` has no model called `{model}`", mapping.name))
    })?;
    let from = detect_side(mapping, checkpoint).ok_or_else(|| PortError::NeitherSide {
        file: checkpoint.file().to_owned(),
        mapping: &mapping.name,
    })?;
    let derived = mapping.laid_out_for(model, from);
    let options = BindOptions { ranks: Vec::new(), ..options.clone() };
    let binding = Binding::new(&derived, checkpoint, from, &options)?;
    let plan = Plan::in_memory(&binding, &PlanOptions { dtype: Some(stored), max_shard_size: None })?;
    plan.check_copies(&derived)?;
    let value = |name: &str| binding.value(mapping.field_named(name)?).cloned();
    let config = C::from_values(&value).map_err(|name| PortError::Config { name })?;
    let targets = plan.targets.iter().map(|target| (target.name.as_str(), target)).collect();
    let loader = Loader {
        model,
        binding: &binding,
        positions: positions(model, &binding, &targets),
        targets,
        device,
        dtype,
        tensors: RefCell::default(),
        rotaries: RefCell::default(),
    };
    build(&config, &Weights { loader: &loader, scope: ScopeId(0), key: Key::new() })
}

fn stored_dtype(dtype: DType) -> Result<crate::DType, PortError> {
    match dtype {
        DType::F64 => Ok(crate::DType::F64),
        DType::F32 => Ok(crate::DType::F32),
        DType::F16 => Ok(crate::DType::F16),
        DType::BF16 => Ok(crate::DType::BF16),
        other => Err(PortError::Dtype { dtype: other.as_str() }),
    }
}

/// What all parts of a model are loaded from.
struct Loader<'l, 'a> {
    model: &'l Model,
    binding: &'l Binding<'a>,
    /// By their names, which are those of [`Model::kernel_name`].
    targets: HashMap<&'l str, &'l TargetTensor<'a>>,
    device: &'l Device,
    dtype: DType,
    /// How many positions there are, if they are limited.
    positions: Option<usize>,
    /// Those that are loaded: a table that is the head too is one tensor.
    tensors: RefCell<HashMap<String, Tensor>>,
    /// Tables of angles, which layers share.
    rotaries: RefCell<Vec<(RotaryOptions, Rotary)>>,
}

fn positions(
    model: &Model,
    binding: &Binding<'_>,
    targets: &HashMap<&str, &TargetTensor<'_>>,
) -> Option<usize> {
    let mut table = None;
    model.block.visit(&mut |value| {
        if let ValueKind::Gather { table: rows, index, .. } = &value.kind
            && matches!(index.kind, ValueKind::Position)
        {
            table = Some(*rows);
        }
    });
    let rows = table.and_then(|rows| targets.get(&*Model::kernel_name(rows, &[]))?.shape.first().copied());
    let stated = || {
        let field = binding.mapping().field_named("positions")?;
        u64::try_from(binding.value(field)?.as_integer()?).ok()
    };
    rows.or_else(stated).and_then(|n| usize::try_from(n).ok())
}

/// What tells rotary embeddings apart.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RotaryOptions {
    /// Which elements make a pair.
    pub pairs: Pairs,
    /// How many elements of a head are turned, from the first on.
    pub width: usize,
    /// The base of the frequencies.
    pub base: f64,
    /// What positions are divided by; 1 changes nothing.
    pub interpolation: f64,
}

/// The weights of one part of a model: what its mapping calls a scope, at one coordinate of each index.
pub struct Weights<'w, 'a> {
    loader: &'w Loader<'w, 'a>,
    scope: ScopeId,
    key: Key,
}

impl<'w, 'a> Weights<'w, 'a> {
    /// The part called `name`.
    ///
    /// # Errors
    /// Where the model has none.
    pub fn scope(&self, name: &str) -> Result<Weights<'w, 'a>, PortError> {
        let (scope, _) = self.child(name, false)?;
        Ok(Weights { scope, key: self.key.clone(), ..*self })
    }

    /// The parts numbered below `name`, from the first coordinate to the last, each built.
    ///
    /// # Errors
    /// Where the model has none, and those of `build`.
    pub fn each<M>(
        &self,
        name: &str,
        mut build: impl FnMut(&Weights<'w, 'a>) -> Result<M, PortError>,
    ) -> Result<Vec<M>, PortError> {
        let (scope, axis) = self.child(name, true)?;
        let binding = self.loader.binding;
        let index = axis.and_then(|_| self.loader.model.scope(scope).index.as_ref());
        let range = index.and_then(|index| match &index.range {
            Some((from, to)) => binding.evaluate_size(from).zip(binding.evaluate_size(to)),
            None => binding.range(index.axis),
        });
        let (Some(axis), Some((from, to))) = (axis, range) else {
            return Err(self.missing(&format!("{name}.*")));
        };
        (from..to)
            .map(|at| {
                let mut key = self.key.clone();
                key.push((axis, at));
                build(&Weights { scope, key, ..*self })
            })
            .collect()
    }

    fn child(&self, name: &str, numbered: bool) -> Result<(ScopeId, Option<AxisId>), PortError> {
        let mut scopes = self.loader.model.scopes.iter().enumerate();
        let found = scopes.find(|(_, scope)| {
            scope.parent == Some(self.scope) && scope.name == name && scope.index.is_some() == numbered
        });
        let (at, scope) = found.ok_or_else(|| self.missing(&format!("{name}.*")))?;
        Ok((ScopeId::from_index(at), scope.axis()))
    }

    /// A linear layer, from a weight whose second operand is contracted.
    ///
    /// # Errors
    /// Where a weight is missing, or the engine or the device refuses.
    pub fn linear(&self, name: &str) -> Result<Linear, PortError> {
        self.linear_over(name, 1)
    }

    /// A linear layer from a weight whose first operand is contracted: the transpose of [`linear`](Weights::linear).
    ///
    /// # Errors
    /// As [`linear`](Weights::linear).
    pub fn transposed(&self, name: &str) -> Result<Linear, PortError> {
        self.linear_over(name, 0)
    }

    fn linear_over(&self, name: &str, contracted: usize) -> Result<Linear, PortError> {
        let (weight, bias) = self.parameters(name)?;
        let bias = bias.map_or(Ok(None), |bias| self.optional(bias))?;
        let swapped = self.loader.model.kernel_order(weight) == KernelOrder::Swapped;
        let weight = self.required(weight)?;
        // Where something else takes it the other way round, the layer has a view of it.
        let is_out_in = swapped == (contracted == 0);
        Ok(Linear::new(if is_out_in { weight } else { weight.t()? }, bias)?)
    }

    /// A table `[rows dim]`.
    ///
    /// # Errors
    /// As [`linear`](Weights::linear).
    pub fn embedding(&self, name: &str) -> Result<Embedding, PortError> {
        Ok(Embedding::new(&self.required(self.parameters(name)?.0)?)?)
    }

    /// A layer norm.
    ///
    /// # Errors
    /// As [`linear`](Weights::linear).
    pub fn layer_norm(&self, name: &str, epsilon: f64) -> Result<LayerNorm, PortError> {
        let (weight, bias) = self.parameters(name)?;
        let bias = bias.map_or(Ok(None), |bias| self.optional(bias))?;
        let bias = bias.map(|bias| bias.flatten_all()).transpose()?;
        Ok(LayerNorm::new(self.required(weight)?.flatten_all()?, bias, epsilon)?)
    }

    /// An RMS norm.
    ///
    /// # Errors
    /// As [`linear`](Weights::linear).
    pub fn rms_norm(&self, name: &str, epsilon: f64) -> Result<RmsNorm, PortError> {
        Ok(RmsNorm::new(self.required(self.parameters(name)?.0)?.flatten_all()?, epsilon)?)
    }

    /// A parameter as it is, all its axes as one dimension.
    ///
    /// # Errors
    /// As [`linear`](Weights::linear).
    pub fn tensor(&self, name: &str) -> Result<Tensor, PortError> {
        Ok(self.required(self.parameters(name)?.0)?.flatten_all()?)
    }

    /// A rotary embedding; layers that have the same share its table.
    ///
    /// # Errors
    /// Where pairs cannot be made of the elements.
    pub fn rotary(&self, options: RotaryOptions) -> Result<Rotary, PortError> {
        let mut rotaries = self.loader.rotaries.borrow_mut();
        if let Some((_, rotary)) = rotaries.iter().find(|(known, _)| *known == options) {
            return Ok(rotary.clone());
        }
        let positions = self.positions().unwrap_or(usize::MAX);
        let RotaryOptions { pairs, width, base, interpolation } = options;
        let rotary = Rotary::scaled(
            width,
            positions,
            base,
            interpolation,
            pairs,
            self.loader.device,
            self.loader.dtype,
        )?;
        rotaries.push((options, rotary.clone()));
        Ok(rotary)
    }

    /// How many positions the model has: the rows of its table of positions, or the config value `positions`.
    #[must_use]
    pub fn positions(&self) -> Option<usize> {
        self.loader.positions
    }

    /// How many coordinates an axis has.
    ///
    /// # Errors
    /// Where its size is not known.
    pub fn size(&self, name: &str) -> Result<usize, PortError> {
        let binding = self.loader.binding;
        let unknown = || PortError::Config { name: name.to_owned() };
        let at = binding.mapping().axes.iter().position(|axis| axis.name == name).ok_or_else(unknown)?;
        let axis = grammar::AxisUse {
            axis: AxisId::from_index(at),
            by: self.list_index(AxisId::from_index(at)),
            role: None,
            ranks: Vec::new(),
            broadcast: false,
            span: grammar::Span::default(),
        };
        let size = binding.axis_len(&axis, &self.key).and_then(|n| usize::try_from(n).ok());
        size.ok_or_else(unknown)
    }

    /// The index that picks an axis' size, where its size is a list: the innermost that a parameter's layout has it by.
    fn list_index(&self, axis: AxisId) -> Option<AxisId> {
        let binding = self.loader.binding;
        let field = binding.mapping().axis(axis).field?;
        if !matches!(binding.value(field), Some(grammar::Value::List(_))) {
            return None;
        }
        let layouts = self.loader.model.parameters.iter().flat_map(|parameter| parameter.layout.axes());
        let picked: Vec<AxisId> = layouts.filter(|of| of.axis == axis).filter_map(|of| of.by).collect();
        innermost(&self.key, &picked)
    }

    /// A config value as a number.
    ///
    /// # Errors
    /// Where it is not known or no number.
    pub fn number(&self, name: &str) -> Result<f64, PortError> {
        let field = self.loader.binding.mapping().field_named(name);
        let value = field.and_then(|field| self.loader.binding.value(field)?.as_number());
        value.ok_or_else(|| PortError::Config { name: name.to_owned() })
    }

    /// The activation that a config value names.
    ///
    /// # Errors
    /// Where it is not known, or no activation has that name.
    pub fn activation(&self, name: &str) -> Result<Activation, PortError> {
        let field = self.loader.binding.mapping().field_named(name);
        match field.and_then(|field| self.loader.binding.value(field)) {
            Some(grammar::Value::Text(text)) => Ok(Activation::named(text)?),
            _ => Err(PortError::Config { name: name.to_owned() }),
        }
    }

    /// The coordinate of the innermost index called `axis`.
    ///
    /// # Errors
    /// Where this part has no such index.
    pub fn coordinate(&self, axis: &str) -> Result<f64, PortError> {
        let mapping = self.loader.binding.mapping();
        let at = self.key.iter().rev().find(|(id, _)| mapping.axis(*id).name == axis);
        #[expect(clippy::cast_precision_loss, reason = "coordinates of indices are small")]
        at.map(|(_, at)| *at as f64).ok_or_else(|| PortError::Config { name: axis.to_owned() })
    }

    /// Which arm the `number`th decision of the model takes, in the order of [`grammar::model::Block::visit`].
    ///
    /// # Errors
    /// Where a config value that it depends on is not known.
    pub fn arm(&self, number: usize) -> Result<usize, PortError> {
        let mut choices = Vec::new();
        self.loader.model.block.visit(&mut |value| {
            if let ValueKind::Choose { on, arms } = &value.kind {
                choices.push((on, arms));
            }
        });
        let unknown = || PortError::Config { name: "a condition of the model".to_owned() };
        let (on, arms) = choices.get(number).ok_or_else(unknown)?;
        let value = on.evaluate(&Scope { binding: self.loader.binding, key: Some(&self.key) });
        let value = value.map_err(|error| match error {
            grammar::EvalError::Unknown(field) => {
                PortError::Config { name: self.loader.binding.mapping().field(field).name.clone() }
            }
            _ => unknown(),
        })?;
        arms.iter().position(|(pattern, _)| pattern.fits(&value)).ok_or_else(unknown)
    }

    /// Where the model's tensors are.
    #[must_use]
    pub fn device(&self) -> &Device {
        self.loader.device
    }

    /// What they are of.
    #[must_use]
    pub fn dtype(&self) -> DType {
        self.loader.dtype
    }

    /// The weight, or the weight and the bias, of the module or parameter of a name.
    fn parameters(&self, name: &str) -> Result<(ParameterId, Option<ParameterId>), PortError> {
        let model = self.loader.model;
        let module = model.modules.iter().find(|m: &&Module| m.scope == self.scope && m.name == name);
        if let Some(module) = module {
            return Ok(match module.kind {
                ModuleKind::Linear { weight, bias } | ModuleKind::LayerNorm { weight, bias } => {
                    (weight, bias)
                }
                ModuleKind::Embedding { weight } | ModuleKind::RmsNorm { weight } => (weight, None),
            });
        }
        let mut own = model.parameters.iter();
        let at = own.position(|p| {
            let module = p.module.map(|id| model.module(id));
            match module {
                None => p.scope == self.scope && p.name == name,
                Some(module) => {
                    let rest = name.strip_prefix(&module.name).and_then(|rest| rest.strip_prefix('.'));
                    module.scope == self.scope && rest == Some(&p.name)
                }
            }
        });
        if let Some(at) = at {
            return Ok((ParameterId::from_index(at), None));
        }
        let below = name.split_once('.').ok_or_else(|| self.missing(name))?;
        self.scope(below.0)?.parameters(below.1)
    }

    fn required(&self, parameter: ParameterId) -> Result<Tensor, PortError> {
        self.optional(parameter)?.ok_or_else(|| {
            let parameter = self.loader.model.parameter(parameter);
            let module = parameter.module.map(|id| format!("{}.", self.loader.model.module(id).name));
            self.missing(&format!("{}{}", module.unwrap_or_default(), parameter.name))
        })
    }

    fn kernel_name(&self, parameter: ParameterId) -> String {
        let numbers: Vec<u64> = self.key.iter().map(|(_, at)| *at).collect();
        Model::kernel_name(parameter, &numbers)
    }

    fn optional(&self, parameter: ParameterId) -> Result<Option<Tensor>, PortError> {
        let name = self.kernel_name(parameter);
        if let Some(tensor) = self.loader.tensors.borrow().get(&name) {
            return Ok(Some(tensor.clone()));
        }
        let Some(target) = self.loader.targets.get(&*name) else { return Ok(None) };
        let tensor = lay_out(target, self.loader.device)?.to_dtype(self.loader.dtype)?;
        self.loader.tensors.borrow_mut().insert(name, tensor.clone());
        Ok(Some(tensor))
    }

    fn missing(&self, name: &str) -> PortError {
        let model = self.loader.model;
        let mut numbers = self.key.iter();
        let mut whole = String::new();
        for scope in model.path(self.scope) {
            let scope = model.scope(scope);
            whole.push_str(&scope.name);
            whole.push('.');
            if scope.index.is_some()
                && let Some((_, at)) = numbers.next()
            {
                whole.push_str(&format!("{at}."));
            }
        }
        let file = self.loader.binding.checkpoint.file().to_owned();
        PortError::Missing { file, name: format!("{whole}{name}") }
    }
}

/// The innermost index of a key that is one of `picked`.
fn innermost(key: &Key, picked: &[AxisId]) -> Option<AxisId> {
    key.iter().rev().map(|(index, _)| *index).find(|index| picked.contains(index))
}

/// A target tensor in memory, on the device.
fn lay_out(target: &TargetTensor<'_>, device: &Device) -> Result<Tensor, PortError> {
    let prepared = PreparedTensor::new(target)?;
    let shape: Vec<usize> = target.shape.iter().map(|n| usize::try_from(*n).unwrap_or(usize::MAX)).collect();
    Ok(match target.dtype {
        crate::DType::F64 => Tensor::from_vec(elements::<f64>(&prepared)?, shape, device)?,
        crate::DType::F32 => Tensor::from_vec(elements::<f32>(&prepared)?, shape, device)?,
        crate::DType::F16 => {
            Tensor::from_vec(elements::<u16>(&prepared)?.reinterpret_into::<f16>(), shape, device)?
        }
        crate::DType::BF16 => {
            Tensor::from_vec(elements::<u16>(&prepared)?.reinterpret_into::<bf16>(), shape, device)?
        }
        crate::DType::U8 => Tensor::from_vec(elements::<u8>(&prepared)?, shape, device)?,
        crate::DType::I64 => Tensor::from_vec(elements::<i64>(&prepared)?, shape, device)?,
        other => {
            let error = format!("a model has no parameters of {other}").into();
            return Err(PortError::Parameter { name: target.name.clone(), error });
        }
    })
}

/// The elements of a tensor, laid out by all threads.
fn elements<T: Pod + Send>(prepared: &PreparedTensor<'_>) -> Result<Vec<T>, PortError> {
    let mut elements: Vec<T> = vec![T::zeroed(); prepared.bytes() / prepared.element_size()];
    elements.par_chunks_mut(CHUNK).enumerate().try_for_each(|(at, part)| {
        prepared.write_range(at * CHUNK, cast_slice_mut(part), &mut Scratch::default())
    })?;
    // Elements of checkpoints are little-endian, and so are those that the engine writes.
    if cfg!(target_endian = "big") {
        elements.iter_mut().for_each(|element| bytemuck::bytes_of_mut(element).reverse());
    }
    Ok(elements)
}

#[cfg(test)]
mod tests {
    use candle_core::DType;

    use super::{AxisId, innermost, stored_dtype};
    use crate::bind::Key;
    use crate::port::PortError;

    #[test]
    fn sizes_are_picked_by_the_index_of_their_layout() {
        let [layer, expert, other] = [0, 1, 2].map(AxisId::from_index);
        let key: Key = vec![(layer, 3), (expert, 1)];
        assert_eq!(innermost(&key, &[layer]), Some(layer), "not the innermost of all");
        assert_eq!(innermost(&key, &[layer, expert]), Some(expert));
        assert_eq!(innermost(&key, &[other]), None);
    }

    #[test]
    fn models_run_in_floats() {
        assert!(stored_dtype(DType::BF16).is_ok_and(|dtype| dtype == crate::DType::BF16));
        let error = stored_dtype(DType::U8).expect_err("no floats");
        assert!(matches!(error, PortError::Dtype { dtype: "u8" }), "{error}");
    }
}
