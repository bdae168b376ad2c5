//! Checkpoints as models that run: the device, the dtype, and which tokens end a text.

use std::path::Path;

use transship::engine::{Content, Convert, StridedCopy, TargetTensor};
use transship::grammar::Mapping;
use transship::mappings::load_model;
use transship::nn::{DType, Device, LanguageModel, Place, Tensor, message};
use transship::output::{self, TensorSpec, plan_safetensors};
use transship::port::PortError;
use transship::{BindOptions, Binding, Checkpoint, Value};
use transship_mappings::shipped;

use crate::args::ModelDType;
use crate::load::failed;
use crate::{Failure, Streams};

/// Where a model computes and in which dtype.
pub(crate) struct Computing {
    pub(crate) device: Device,
    pub(crate) dtype: DType,
    /// The name of the device.
    pub(crate) place: String,
}

impl Computing {
    /// The device that is asked for. The dtype is f32 on the processor, on others that of most of the parameters,
    /// unless one is asked for.
    pub(crate) fn new(
        place: Place,
        dtype: Option<ModelDType>,
        checkpoint: &Checkpoint,
    ) -> Result<Computing, Failure> {
        let device = place.open().map_err(Failure::new)?;
        let dtype = match dtype {
            Some(dtype) => dtype.into(),
            None if device.is_cpu() => DType::F32,
            None => main_dtype(checkpoint),
        };
        let place = match &device {
            Device::Cpu => "cpu",
            Device::Cuda(_) => "cuda",
            Device::Metal(_) => "metal",
        };
        Ok(Computing { device, dtype, place: place.to_owned() })
    }
}

impl From<ModelDType> for DType {
    fn from(dtype: ModelDType) -> DType {
        match dtype {
            ModelDType::F32 => DType::F32,
            ModelDType::Bf16 => DType::BF16,
            ModelDType::F16 => DType::F16,
        }
    }
}

/// The 16-bit dtype that most of the elements have, else f32.
fn main_dtype(checkpoint: &Checkpoint) -> DType {
    let count = |dtype: transship::DType| -> u64 {
        let tensors = checkpoint.tensors().iter().filter(|tensor| tensor.dtype == dtype);
        tensors.map(transship::Tensor::elements).fold(0, u64::saturating_add)
    };
    let kinds = [
        (count(transship::DType::F32), DType::F32),
        (count(transship::DType::F16), DType::F16),
        (count(transship::DType::BF16), DType::BF16),
    ];
    kinds.into_iter().max_by_key(|(count, _)| *count).map_or(DType::F32, |(_, dtype)| dtype)
}

/// The model that comes with a mapping, with a checkpoint's parameters.
pub(crate) fn load(
    mapping: &Mapping,
    checkpoint: &Checkpoint,
    bind: &BindOptions,
    computing: &Computing,
    streams: &Streams<'_>,
) -> Result<LanguageModel, Failure> {
    // Models are compiled in; a mapping of the user's own may say something else under the same name.
    if shipped(&mapping.name).is_none_or(|known| known.text != mapping.source.text()) {
        return Err(Failure::new(format_args!(
            "`{}` is no shipped mapping, and models are compiled: derive one from your mapping with `#[derive(Port)]`",
            mapping.name
        )));
    }
    load_model(&mapping.name, checkpoint, bind, &computing.device, computing.dtype).map_err(|error| {
        match error {
            PortError::Diagnostics(diagnostics) => failed(&diagnostics, streams),
            error => Failure::new(error),
        }
    })
}

/// The tokens that end a text: what a Hugging Face model's configs say, else the mapping's `eos`.
pub(crate) fn end_tokens(binding: &Binding<'_>, checkpoint: &Checkpoint) -> Vec<u32> {
    let files = checkpoint.documents().as_map();
    let said = ["generation_config.json", "config.json"]
        .iter()
        .filter_map(|name| files?.get(name)?.as_map()?.get("eos_token_id"))
        .find(|value| !matches!(value, Value::Null));
    let mut tokens: Vec<i64> = match said {
        Some(Value::List(items)) => items.iter().filter_map(Value::as_int).collect(),
        Some(value) => value.as_int().into_iter().collect(),
        None => Vec::new(),
    };
    if said.is_none() {
        let eos = binding.values().find(|(name, ..)| *name == "eos");
        tokens.extend(eos.and_then(|(_, value, _)| value.as_integer()));
    }
    tokens.into_iter().filter_map(|token| u32::try_from(token).ok()).collect()
}

/// # Errors
/// Where [`write_logits`] could not write a file.
pub(crate) fn check_target(file: &Path, force: bool) -> Result<(), Failure> {
    let why = match std::fs::metadata(file) {
        Ok(found) if found.is_dir() => "it is a directory; give a file in it",
        Ok(_) if !force => EXISTS,
        _ if file.file_name().is_none() => "it has no file name",
        _ if !parent(file).is_dir() => "its directory is not there; make it first",
        _ => return Ok(()),
    };
    Err(unwritable(file, &why))
}

/// The directory of a file; of a bare file name, the current one.
fn parent(file: &Path) -> &Path {
    file.parent().filter(|path| !path.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

const EXISTS: &str = "it is there already; choose another file, or replace it with --force";

fn unwritable(file: &Path, why: &dyn std::fmt::Display) -> Failure {
    Failure::new(format_args!("cannot write the logits {}: {why}", file.display()))
}

/// Writes logits and the tokens they are of: `logits [seq vocab]` of f32, `ids [seq]` of i64. The file appears whole or
/// not at all. Returns how many of the logits are no finite numbers.
pub(crate) fn write_logits(file: &Path, ids: &[u32], logits: &Tensor, force: bool) -> Result<usize, Failure> {
    let cannot = |why: &dyn std::fmt::Display| unwritable(file, why);
    let name =
        file.file_name().and_then(|name| name.to_str()).ok_or_else(|| cannot(&"it has no file name"))?;
    let directory = parent(file);
    let vocab = logits.dims().last().copied().unwrap_or(0);
    let values: Vec<f32> = logits
        .to_dtype(DType::F32)
        .and_then(|logits| logits.flatten_all()?.to_vec1())
        .map_err(|error| cannot(&message(&error)))?;
    let not_finite = values.iter().filter(|value| !value.is_finite()).count();
    let values: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    let ids: Vec<u8> = ids.iter().flat_map(|id| i64::from(*id).to_le_bytes()).collect();
    let seq = ids.len() / 8;
    let tensors = [
        whole("ids", transship::DType::I64, vec![seq as u64], &ids),
        whole("logits", transship::DType::F32, vec![seq as u64, vocab as u64], &values),
    ];
    let mut plan = plan_safetensors(tensors.iter().map(TensorSpec::of).collect(), &Default::default(), None)
        .map_err(|error| cannot(&error))?;
    name.clone_into(&mut plan.files[0].name);
    plan.superseded = |_, _| false;
    let options = output::Options { force, ..output::Options::default() };
    output::run(directory, &plan, &tensors, &[], &options).map_err(|error| match error {
        output::OutputError::Exists { .. } => cannot(&EXISTS),
        error => cannot(&error),
    })?;
    Ok(not_finite)
}

fn whole<'a>(name: &str, dtype: transship::DType, shape: Vec<u64>, source: &'a [u8]) -> TargetTensor<'a> {
    let copy = StridedCopy::run(source.len() / dtype.size());
    let contents = vec![Content::Copy { copy, source, convert: Convert::bits(dtype) }];
    TargetTensor { name: name.to_owned(), dtype, shape, contents }
}
