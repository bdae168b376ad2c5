//! Planning of safetensors files, one or several with an index, as `transformers` reads them.
//!
//! The format is that of <https://github.com/huggingface/safetensors>: eight bytes with the length of a JSON header,
//! the header, then the tensors without gaps.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write as _;

use super::earlier::is_of_earlier_output;
use super::{Literal, OutputError, OutputPlan, PlannedFile, PlannedTensor, SmallFile, TensorSpec};
use crate::DType;

/// What the reference reader accepts.
const LARGEST_HEADER: usize = 100_000_000;

const METADATA: &str = "__metadata__";

/// Plans `model.safetensors`, or shards of it with `model.safetensors.index.json`.
///
/// With `max_shard_size`, in bytes of tensor data, tensors go to shards in the order given; a tensor larger than
/// that has a shard of its own. Inside a file wider element types come first, so that every tensor is aligned to its
/// element size. `metadata` is stored in each file, with `format` = `pt` unless it says otherwise.
///
/// # Errors
/// If two tensors have one name, a size overflows, or a header exceeds what readers accept.
pub fn plan_safetensors(
    tensors: Vec<TensorSpec>,
    metadata: &BTreeMap<String, String>,
    max_shard_size: Option<u64>,
) -> Result<OutputPlan, OutputError> {
    let mut names = HashSet::with_capacity(tensors.len());
    for tensor in &tensors {
        if tensor.name == METADATA {
            return Err(OutputError::ReservedTensor { name: tensor.name.clone() });
        }
        if !names.insert(tensor.name.as_str()) {
            return Err(OutputError::DuplicateTensor { name: tensor.name.clone() });
        }
    }
    drop(names);
    let mut metadata = metadata.clone();
    metadata.entry("format".to_owned()).or_insert_with(|| "pt".to_owned());
    let shards = shards(tensors, max_shard_size)?;
    let count = shards.len();
    let mut files = Vec::with_capacity(count);
    for (index, shard) in shards.into_iter().enumerate() {
        let name = if count == 1 {
            "model.safetensors".to_owned()
        } else {
            format!("model-{:05}-of-{count:05}.safetensors", index + 1)
        };
        files.push(plan_file(name, shard, &metadata)?);
    }
    let index = if count == 1 { None } else { Some(index_of(&files)?) };
    Ok(OutputPlan { files, index, superseded: is_of_earlier_output })
}

/// Whether `transformers` would take the file for weights, so that an old one could hide or mix with new ones.
pub(super) fn is_weights_file(name: &str) -> bool {
    let Some(rest) = name.strip_prefix("model") else { return false };
    if matches!(rest, ".safetensors" | ".safetensors.index.json") {
        return true;
    }
    let numbers = rest.strip_prefix('-').and_then(|rest| rest.strip_suffix(".safetensors"));
    numbers.and_then(|numbers| numbers.split_once("-of-")).is_some_and(|(index, count)| {
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        digits(index) && digits(count)
    })
}

fn shards(tensors: Vec<TensorSpec>, limit: Option<u64>) -> Result<Vec<Vec<TensorSpec>>, OutputError> {
    let limit = limit.unwrap_or(u64::MAX);
    let mut shards = vec![Vec::new()];
    let mut size = 0u64;
    for tensor in tensors {
        let bytes = tensor.bytes()?;
        match shards.last_mut() {
            Some(shard) if shard.is_empty() || size.saturating_add(bytes) <= limit => shard.push(tensor),
            _ => {
                shards.push(vec![tensor]);
                size = 0;
            }
        }
        size = size.saturating_add(bytes);
    }
    Ok(shards)
}

fn plan_file(
    name: String,
    mut tensors: Vec<TensorSpec>,
    metadata: &BTreeMap<String, String>,
) -> Result<PlannedFile, OutputError> {
    tensors.sort_by_key(|tensor| std::cmp::Reverse(tensor.dtype.size()));
    let too_large = || OutputError::TooLarge { name: name.clone() };
    let mut placed = Vec::with_capacity(tensors.len());
    let mut data_bytes = 0u64;
    for spec in tensors {
        let bytes = spec.bytes()?;
        placed.push(PlannedTensor { spec, offset: data_bytes, bytes, checksums: Vec::new() });
        data_bytes = data_bytes.checked_add(bytes).ok_or_else(too_large)?;
    }
    let mut header = header_of(&placed, metadata);
    let padding = header.len().next_multiple_of(8) - header.len();
    header.extend(std::iter::repeat_n(' ', padding));
    if header.len() > LARGEST_HEADER {
        return Err(OutputError::HeaderTooLarge {
            bytes: header.len(),
            limit: LARGEST_HEADER,
            tensors: placed.len(),
            file: name,
        });
    }
    let mut bytes = Vec::with_capacity(8 + header.len());
    bytes.extend((header.len() as u64).to_le_bytes());
    bytes.extend(header.into_bytes());
    let head = bytes.len() as u64;
    let size =
        data_bytes.checked_add(head).filter(|&size| i64::try_from(size).is_ok()).ok_or_else(too_large)?;
    for tensor in &mut placed {
        tensor.offset += head;
    }
    Ok(PlannedFile { name, size, tensors: placed, literals: vec![Literal { offset: 0, bytes }] })
}

/// Written by hand, since the order of entries is part of the output.
fn header_of(tensors: &[PlannedTensor], metadata: &BTreeMap<String, String>) -> String {
    let mut header = format!("{{{}:{{", quoted(METADATA));
    for (index, (key, value)) in metadata.iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        push(&mut header, format_args!("{comma}{}:{}", quoted(key), quoted(value)));
    }
    header.push('}');
    for PlannedTensor { spec, offset, bytes, .. } in tensors {
        let shape = spec.shape.iter().map(u64::to_string).collect::<Vec<_>>().join(",");
        push(
            &mut header,
            format_args!(
                r#",{}:{{"dtype":"{}","shape":[{shape}],"data_offsets":[{offset},{}]}}"#,
                quoted(&spec.name),
                dtype_name(spec.dtype),
                offset + bytes
            ),
        );
    }
    header.push('}');
    header
}

fn push(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    text.write_fmt(arguments).expect("bug: formatting into a string failed");
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn dtype_name(dtype: DType) -> &'static str {
    match dtype {
        DType::F64 => "F64",
        DType::F32 => "F32",
        DType::F16 => "F16",
        DType::BF16 => "BF16",
        DType::I64 => "I64",
        DType::I32 => "I32",
        DType::I16 => "I16",
        DType::I8 => "I8",
        DType::U8 => "U8",
        DType::Bool => "BOOL",
        DType::F8E4M3 => "F8_E4M3",
        DType::F8E5M2 => "F8_E5M2",
    }
}

/// The index as `transformers` writes it: sorted names, two spaces of indent.
fn index_of(files: &[PlannedFile]) -> Result<SmallFile, OutputError> {
    let name = "model.safetensors.index.json".to_owned();
    let mut total = 0u64;
    let mut places = BTreeMap::new();
    for file in files {
        for tensor in &file.tensors {
            total = total
                .checked_add(tensor.bytes)
                .ok_or_else(|| OutputError::TooLarge { name: name.clone() })?;
            places.insert(tensor.spec.name.as_str(), file.name.as_str());
        }
    }
    let mut text =
        format!("{{\n  \"metadata\": {{\n    \"total_size\": {total}\n  }},\n  \"weight_map\": {{");
    for (index, (tensor, file)) in places.into_iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        push(&mut text, format_args!("{comma}\n    {}: {}", quoted(tensor), quoted(file)));
    }
    text.push_str("\n  }\n}\n");
    Ok(SmallFile { name, bytes: text.into_bytes() })
}
