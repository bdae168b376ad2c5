//! Safetensors files.
//!
//! Headers are read and validated by the `safetensors` crate: extents are dense, in order, and fill the file exactly.

use safetensors::{Dtype, SafeTensorError, SafeTensors};

use crate::DType;
use crate::storage::Region;
use crate::tensor::{Contents, Storage, StorageId, Tensor, Unsupported, contiguous_strides};
use crate::text_file::count_values;

/// Longest header that the format allows.
const MAX_HEADER: u64 = 100_000_000;

/// What is wrong with a safetensors file.
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
    check_header(region.bytes())?;
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

/// Checks that the header holds no more values than one of half a million tensors, before any of them is made.
fn check_header(bytes: &[u8]) -> Result<(), SafetensorsError> {
    const MAX_VALUES: usize = 1 << 22;
    let Some((size, rest)) = bytes.split_first_chunk::<8>() else { return Ok(()) };
    let size = usize::try_from(u64::from_le_bytes(*size)).unwrap_or(usize::MAX);
    match rest.get(..size).map(count_values) {
        Some(count) if count > MAX_VALUES => {
            Err(SafetensorsError::Header { what: format!("it holds more than {MAX_VALUES} values") })
        }
        _ => Ok(()),
    }
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
