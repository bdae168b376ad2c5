//! Checkpoints as programs that are not under test would write them, and what is read of those that are.

use std::collections::BTreeMap;
use std::path::Path;

use half::{bf16, f16};
use safetensors::tensor::{Dtype as SafeDtype, TensorView};
use serde_json::json;
use transship::{Checkpoint, DType};
use transship_tests::{Dtype, Py, TorchFile};

use super::case::{Case, Counts, Element};
use super::reference::{Held, Side, directory_name};

impl Element {
    #[expect(clippy::cast_possible_truncation, reason = "rounding is meant")]
    fn bytes(self, value: f64) -> Vec<u8> {
        match self {
            Element::F64 => value.to_le_bytes().to_vec(),
            Element::F32 => (value as f32).to_le_bytes().to_vec(),
            Element::F16 => f16::from_f64(value).to_le_bytes().to_vec(),
            Element::BF16 => bf16::from_f64(value).to_le_bytes().to_vec(),
        }
    }

    fn of(dtype: DType) -> Element {
        match dtype {
            DType::F64 => Element::F64,
            DType::F32 => Element::F32,
            DType::F16 => Element::F16,
            DType::BF16 => Element::BF16,
            other => panic!("{other} was never written"),
        }
    }

    /// What is left of a value in this type.
    #[expect(clippy::cast_possible_truncation, reason = "rounding is meant")]
    pub(super) fn rounded(self, value: f64) -> f64 {
        match self {
            Element::F64 => value,
            Element::F32 => f64::from(value as f32),
            Element::F16 => f16::from_f64(value).to_f64(),
            Element::BF16 => bf16::from_f64(value).to_f64(),
        }
    }

    fn torch(self) -> Dtype {
        match self {
            Element::F64 => Dtype::F64,
            Element::F32 => Dtype::F32,
            Element::F16 => Dtype::F16,
            Element::BF16 => Dtype::BF16,
        }
    }

    fn safe(self) -> SafeDtype {
        match self {
            Element::F64 => SafeDtype::F64,
            Element::F32 => SafeDtype::F32,
            Element::F16 => SafeDtype::F16,
            Element::BF16 => SafeDtype::BF16,
        }
    }

    fn zarr(self) -> &'static str {
        match self {
            Element::F64 => "<f8",
            Element::F32 => "<f4",
            Element::F16 => "<f2",
            Element::BF16 => "bfloat16",
        }
    }
}

impl Held {
    fn known(&self) -> impl Iterator<Item = f64> + '_ {
        self.values.iter().map(|value| value.expect("what is written is known"))
    }

    fn sizes(&self) -> Vec<usize> {
        self.shape.iter().map(|len| usize::try_from(*len).expect("small")).collect()
    }

    /// The tensor as a view of a storage: as it is, with its dimensions in the other order, or every second element
    /// from the third on.
    fn view(&self, file: &mut TorchFile) -> Py {
        let shape = self.sizes();
        let order: Vec<usize> =
            if self.strides == 1 { (0..shape.len()).collect() } else { (0..shape.len()).rev().collect() };
        let (offset, every) = if self.strides == 2 { (3, 2) } else { (0, 1) };
        let mut strides = vec![0; shape.len()];
        let mut step = every;
        for dim in order {
            strides[dim] = step;
            step *= shape[dim];
        }
        let values: Vec<f64> = self.known().collect();
        let mut storage = vec![99.0; offset + step.max(1)];
        for (flat, value) in values.iter().enumerate() {
            let (mut rest, mut at) = (flat, offset);
            for dim in (0..shape.len()).rev() {
                at += rest % shape[dim] * strides[dim];
                rest /= shape[dim];
            }
            storage[at] = *value;
        }
        let bytes = storage.into_iter().flat_map(|value| self.element.bytes(value)).collect();
        file.view(self.element.torch(), bytes, offset, &shape, &strides)
    }
}

fn arguments(case: &Case, counts: Counts) -> Vec<(String, Py)> {
    let all = case.sizes.iter().map(|(name, size)| (name.clone(), *size));
    let others = [("layers", super::case::LAYERS), ("tp", counts.tp), ("pp", counts.pp), ("vpp", counts.vpp)];
    let all = all.chain(others.map(|(name, size)| (name.to_owned(), size)));
    all.map(|(name, size)| (name, Py::Int(i64::try_from(size).expect("small")))).collect()
}

/// Torch files, one for each rank.
pub(super) fn write_ranks(directory: &Path, case: &Case, counts: Counts, side: &Side) {
    let iteration = directory.join("iter_0000001");
    for tp in 0..counts.tp {
        for pp in 0..counts.pp {
            let rank = directory_name(tp, pp, counts);
            let mut file = TorchFile::default();
            let mut roots: BTreeMap<String, Vec<(String, Py)>> = BTreeMap::new();
            for ((own, name), held) in side {
                let (root, name) = name.split_once('.').expect("a root");
                if *own == rank {
                    roots.entry(root.to_owned()).or_default().push((name.to_owned(), held.view(&mut file)));
                }
            }
            let mut root = vec![("args".to_owned(), Py::Namespace(arguments(case, counts)))];
            root.extend(roots.into_iter().map(|(name, tensors)| (name, Py::Dict(tensors))));
            let folder = iteration.join(rank);
            std::fs::create_dir_all(&folder).expect("a directory");
            file.write(&folder.join("model_optim_rng.pt"), &Py::Dict(root)).expect("it can be written");
        }
    }
    std::fs::write(directory.join("latest_checkpointed_iteration.txt"), "1").expect("it can be written");
}

/// Arrays in chunks of sizes that follow from `seed`; layers lie in one array.
pub(super) fn write_chunks(directory: &Path, case: &Case, seed: u64, side: &Side) {
    let iteration = directory.join("iter_0000001");
    std::fs::create_dir_all(&iteration).expect("a directory");
    let common = Py::Dict(vec![("args".to_owned(), Py::Namespace(arguments(case, super::case::ONE)))]);
    TorchFile::default().write(&iteration.join("common.pt"), &common).expect("it can be written");
    let metadata = json!({ "sharded_backend": "zarr", "sharded_backend_version": 1 });
    std::fs::write(iteration.join("metadata.json"), metadata.to_string()).expect("it can be written");
    std::fs::write(directory.join("latest_checkpointed_iteration.txt"), "1").expect("it can be written");
    let mut arrays: BTreeMap<String, Held> = BTreeMap::new();
    for ((_, name), held) in side {
        let name = name.strip_prefix("model.").expect("one root");
        // Layers come in order.
        let stacked = name.strip_prefix("layers.").and_then(|rest| rest.split_once('.'));
        let Some((_, rest)) = stacked else {
            arrays.insert(name.to_owned(), held.clone());
            continue;
        };
        let array = arrays.entry(format!("layers.{rest}")).or_insert_with(|| Held {
            shape: [&[0], &held.shape[..]].concat(),
            values: Vec::new(),
            ..held.clone()
        });
        array.shape[0] += 1;
        array.values.extend(&held.values);
    }
    for (number, (name, held)) in arrays.iter().enumerate() {
        write_array(&iteration.join(name), held, seed + number as u64);
    }
}

fn write_array(folder: &Path, held: &Held, seed: u64) {
    let shape = held.sizes();
    let chunk: Vec<usize> =
        (0..).zip(&shape).map(|(dim, len)| 1 + (seed >> dim) as usize % (*len).max(1)).collect();
    let mut files: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for (flat, value) in held.known().enumerate() {
        let mut rest = flat;
        let (mut names, mut inside, mut step) = (Vec::new(), 0, 1);
        for dim in (0..shape.len()).rev() {
            let at = rest % shape[dim];
            rest /= shape[dim];
            names.push((at / chunk[dim]).to_string());
            inside += at % chunk[dim] * step;
            step *= chunk[dim];
        }
        names.reverse();
        let name = if names.is_empty() { "0".to_owned() } else { names.join(".") };
        files.entry(name).or_insert_with(|| vec![77.0; step])[inside] = value;
    }
    std::fs::create_dir_all(folder).expect("a directory");
    let description = json!({
        "zarr_format": 2, "shape": shape, "chunks": chunk, "dtype": held.element.zarr(), "compressor": null,
        "fill_value": null, "filters": null, "order": "C",
    });
    std::fs::write(folder.join(".zarray"), description.to_string()).expect("it can be written");
    for (name, values) in files {
        let bytes: Vec<u8> = values.into_iter().flat_map(|value| held.element.bytes(value)).collect();
        std::fs::write(folder.join(name), bytes).expect("it can be written");
    }
}

/// A file of the right side.
pub(super) fn write_right(directory: &Path, case: &Case, side: &Side) {
    std::fs::create_dir_all(directory).expect("a directory");
    let bytes: Vec<(&String, &Held, Vec<u8>)> = side
        .iter()
        .map(|((_, name), held)| {
            (name, held, held.known().flat_map(|value| held.element.bytes(value)).collect())
        })
        .collect();
    let views = bytes.iter().map(|(name, held, bytes)| {
        (*name, TensorView::new(held.element.safe(), held.sizes(), bytes).expect("a tensor of that size"))
    });
    safetensors::serialize_to_file(views, None, &directory.join("model.safetensors"))
        .expect("it can be written");
    let mut config: serde_json::Map<String, serde_json::Value> =
        case.sizes.iter().map(|(name, size)| (name.clone(), (*size).into())).collect();
    config.insert("layers".to_owned(), super::case::LAYERS.into());
    std::fs::write(directory.join("config.json"), serde_json::Value::Object(config).to_string())
        .expect("it can be written");
}

/// All tensors of a checkpoint, those of the right side under no rank.
pub(super) fn read(directory: &Path, right: bool) -> Result<Side, String> {
    let checkpoint = Checkpoint::open(directory).map_err(|e| e.to_string())?;
    let mut side = Side::new();
    for tensor in checkpoint.tensors() {
        let bytes = checkpoint.array(tensor).bytes().map_err(|e| e.to_string())?.into_owned();
        let element = Element::of(tensor.dtype);
        let values = bytes.chunks_exact(tensor.dtype.size()).map(|bytes| {
            Some(match element {
                Element::F64 => f64::from_le_bytes(bytes.try_into().expect("eight bytes")),
                Element::F32 => f64::from(f32::from_le_bytes(bytes.try_into().expect("four bytes"))),
                Element::F16 => f16::from_le_bytes(bytes.try_into().expect("two bytes")).to_f64(),
                Element::BF16 => bf16::from_le_bytes(bytes.try_into().expect("two bytes")).to_f64(),
            })
        });
        let rank = if right { String::new() } else { checkpoint.ranks()[tensor.rank].name.clone() };
        let held = Held { element, shape: tensor.shape.clone(), values: values.collect(), strides: 0 };
        if side.insert((rank, tensor.name.clone()), held).is_some() {
            return Err(format!("{} is there twice", tensor.name));
        }
    }
    Ok(side)
}
