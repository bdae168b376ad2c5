//! Safetensors files, alone or as the shards of an index.
//!
//! Headers are read and validated by the `safetensors` crate: extents are dense, in order, and fill the file exactly.

use std::collections::HashMap;

use safetensors::{Dtype, SafeTensorError, SafeTensors};

use crate::DType;
use crate::storage::Region;
use crate::tensor::{Contents, Storage, StorageId, Tensor, Unsupported, contiguous_strides};

/// Longest header that the format allows.
const MAX_HEADER: u64 = 100_000_000;

/// What is wrong with a safetensors file or an index of several.
#[derive(Debug, thiserror::Error)]
pub enum SafetensorsError {
    /// The header does not fit the file.
    #[error("the safetensors header is damaged ({what}); the file is damaged or truncated: fetch it again")]
    Header {
        /// What is wrong.
        what: String,
    },
    /// The file is shorter or longer than its header says.
    #[error(
        "the file has {length} bytes, but its safetensors header describes {needed}; the file is damaged or \
         truncated: fetch it again"
    )]
    Length {
        /// Length of the file in bytes.
        length: u64,
        /// Header and data, in bytes.
        needed: u64,
    },
    /// The index is not a table of names and shards.
    #[error("the index is malformed ({what}); fetch it again")]
    Index {
        /// What is wrong.
        what: String,
    },
    /// A shard that the index names is not there.
    #[error("shard {shard}, which the index names, is missing; fetch it into the same folder")]
    NoShard {
        /// File name of the shard.
        shard: String,
    },
    /// A shard cannot be read.
    #[error("in shard {shard}, {source}")]
    Shard {
        /// File name of the shard.
        shard: String,
        /// The cause.
        source: Box<SafetensorsError>,
    },
    /// A tensor that the index names is not in the shard it should be in.
    #[error(
        "tensor `{name}` should be in shard {shard}, but is not; the index and the shards do not belong together: \
         fetch them again"
    )]
    NotInShard {
        /// The tensor.
        name: String,
        /// The shard that the index gives.
        shard: String,
    },
    /// A tensor is in two shards.
    #[error(
        "tensor `{name}` is in two shards, {first} and {second}; the shards do not belong together: fetch them again"
    )]
    Twice {
        /// The tensor.
        name: String,
        /// The shard read first.
        first: String,
        /// The shard read second.
        second: String,
    },
    /// The file could not be opened.
    #[error("{0}")]
    Io(#[from] std::io::Error),
}

/// Whether a file that starts with `head` is a safetensors file; 9 bytes are enough.
pub(crate) fn looks_like(head: &[u8]) -> bool {
    let Some((size, rest)) = head.split_first_chunk::<8>() else { return false };
    let size = u64::from_le_bytes(*size);
    rest.first() == Some(&b'{') && size <= MAX_HEADER
}

fn dtype(stored: Dtype) -> Option<DType> {
    Some(match stored {
        Dtype::F64 => DType::F64,
        Dtype::F32 => DType::F32,
        Dtype::F16 => DType::F16,
        Dtype::BF16 => DType::BF16,
        Dtype::I64 => DType::I64,
        Dtype::I32 => DType::I32,
        Dtype::I16 => DType::I16,
        Dtype::I8 => DType::I8,
        Dtype::U8 => DType::U8,
        Dtype::BOOL => DType::Bool,
        Dtype::F8_E4M3 => DType::F8E4M3,
        Dtype::F8_E5M2 => DType::F8E5M2,
        _ => return None,
    })
}

/// Adds the tensors of the file in `region` to `contents`, in the order of their data. `file` is its name for display.
pub(crate) fn read(region: &Region, file: &str, contents: &mut Contents) -> Result<(), SafetensorsError> {
    let (size, metadata) =
        SafeTensors::read_metadata(region.bytes()).map_err(|e| header_error(region, &e))?;
    let data = 8 + size as u64;
    for name in metadata.offset_keys() {
        let broken = |what: &str| SafetensorsError::Header { what: format!("`{name}` {what}") };
        let info = metadata.info(&name).ok_or_else(|| broken("is not described"))?;
        let shape: Vec<u64> = info.shape.iter().map(|&n| n as u64).collect();
        let Some(dtype) = dtype(info.dtype) else {
            let dtype = info.dtype.to_string().to_lowercase();
            contents.unsupported.push(Unsupported { name, dtype, shape });
            continue;
        };
        let strides = contiguous_strides(&shape).ok_or_else(|| broken("is larger than 64 bits count"))?;
        let (start, end) = info.data_offsets;
        let part = region.slice(data + start as u64..data + end as u64);
        let part = part.ok_or_else(|| broken("lies outside the file"))?;
        let storage = StorageId(contents.storages.len());
        contents.storages.push(Storage {
            key: name.clone(),
            file: file.to_owned(),
            tensors: vec![contents.tensors.len()],
            region: part,
        });
        contents.tensors.push(Tensor {
            name,
            dtype,
            shape,
            strides,
            offset: 0,
            storage,
            rank: 0,
            chunk: None,
        });
    }
    Ok(())
}

fn header_error(region: &Region, error: &SafeTensorError) -> SafetensorsError {
    let what = match error {
        SafeTensorError::MetadataIncompleteBuffer => {
            if let Some(needed) = described_length(region.bytes()) {
                return SafetensorsError::Length { length: region.len(), needed };
            }
            "the data it describes does not fill the file".to_owned()
        }
        SafeTensorError::InvalidHeaderLength => "it runs past the end of the file".to_owned(),
        SafeTensorError::HeaderTooLarge => "it claims to be longer than 100 MB".to_owned(),
        SafeTensorError::HeaderTooSmall => "the file is shorter than its 8 bytes of length".to_owned(),
        SafeTensorError::InvalidOffset(name) => {
            format!("the data of `{name}` leaves a gap or overlaps another's")
        }
        SafeTensorError::TensorInvalidInfo => "a tensor's shape does not match its data".to_owned(),
        SafeTensorError::InvalidHeader(error) => error.to_string(),
        SafeTensorError::InvalidHeaderDeserialization(error) => error.to_string(),
        other => other.to_string(),
    };
    SafetensorsError::Header { what }
}

/// Length of header and data as the header has it, where the extents have been found dense.
fn described_length(bytes: &[u8]) -> Option<u64> {
    let (size, rest) = bytes.split_first_chunk::<8>()?;
    let size = u64::from_le_bytes(*size);
    let header: serde_json::Value = serde_json::from_slice(rest.get(..usize::try_from(size).ok()?)?).ok()?;
    let ends = header.as_object()?.values().filter_map(|info| info.get("data_offsets")?.get(1)?.as_u64());
    ends.max().unwrap_or(0).checked_add(size)?.checked_add(8)
}

/// Reads the shards that the index `index` names, by `open`, which maps a file of the same folder.
///
/// The shards come in the order of their names.
pub(crate) fn read_shards(
    index: &serde_json::Value,
    folder: &str,
    open: impl Fn(&str) -> std::io::Result<Region>,
) -> Result<Contents, SafetensorsError> {
    let malformed = |what: &str| SafetensorsError::Index { what: what.to_owned() };
    let map = index.get("weight_map").and_then(serde_json::Value::as_object);
    let map = map.ok_or_else(|| malformed("it has no table named `weight_map`"))?;
    let mut shards: Vec<&str> = Vec::new();
    for shard in map.values() {
        shards.push(shard.as_str().ok_or_else(|| malformed("a shard is no file name"))?);
    }
    shards.sort_unstable();
    shards.dedup();

    let mut contents = Contents::empty();
    let mut found: HashMap<String, &str> = HashMap::new();
    for shard in shards {
        if shard.contains(['/', '\\']) || shard.starts_with('.') {
            return Err(malformed(&format!("`{shard}` is not the name of a file in the same folder")));
        }
        let region = open(shard).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => SafetensorsError::NoShard { shard: shard.to_owned() },
            _ => SafetensorsError::Shard { shard: shard.to_owned(), source: Box::new(error.into()) },
        })?;
        let (tensors, unsupported) = (contents.tensors.len(), contents.unsupported.len());
        read(&region, &format!("{folder}/{shard}"), &mut contents).map_err(|source| {
            SafetensorsError::Shard { shard: shard.to_owned(), source: Box::new(source) }
        })?;
        let names = contents.tensors[tensors..].iter().map(|t| &t.name);
        for name in names.chain(contents.unsupported[unsupported..].iter().map(|u| &u.name)) {
            if let Some(first) = found.insert(name.clone(), shard) {
                let (first, second) = (first.to_owned(), shard.to_owned());
                return Err(SafetensorsError::Twice { name: name.clone(), first, second });
            }
        }
    }
    for (name, shard) in map {
        let shard = shard.as_str().unwrap_or_default();
        if found.get(name).copied() != Some(shard) {
            return Err(SafetensorsError::NotInShard { name: name.clone(), shard: shard.to_owned() });
        }
    }
    Ok(contents)
}
