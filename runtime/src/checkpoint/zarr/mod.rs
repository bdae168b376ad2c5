//! Distributed checkpoints in zarr arrays, as Megatron-Core could write them until 2026 (`--dist-ckpt-format zarr`).
//!
//! Each tensor is a directory with an array of zarr's version 2: the description `.zarray`, and a file for each chunk. Other
//! objects lie in directories of their own, as `shard_*.pt`, and are passed over, as are the arrays of the
//! optimizer. Megatron-Core creates arrays without compressor and writes every chunk (`strategies/zarr.py`).

mod array;
mod error;

use std::path::Path;

use crate::budget::Budget;
use crate::storage::Region;
use crate::tensor::{Contents, StorageId, Tensor, contiguous_strides};

use array::{ZarrArray, chunk_name, place};
pub use error::ZarrError;

use super::Checkpoint;
use super::error::OpenError;
use super::folder::{names, read_json};
use super::format::{Format, FormatKind};
use super::sharded::{BACKEND, Piece, Whole, add, common, is_parameter};

/// The description of an array.
const ARRAY: &str = ".zarray";

/// Whether the directory at `folder`, which holds `names`, is a checkpoint of zarr arrays.
pub(super) fn is_checkpoint(folder: &Path, names: &[String]) -> bool {
    let stated = names.iter().any(|name| name == BACKEND)
        && read_json(&folder.join(BACKEND)).is_ok_and(|json| json["sharded_backend"] == "zarr");
    stated || names.iter().any(|name| folder.join(name).join(ARRAY).is_file())
}

pub(super) fn open(path: &Path, folder: &Path, budget: &mut Budget) -> Result<Checkpoint, OpenError> {
    let mut contents = Contents::empty();
    for name in names(folder)?.iter().filter(|name| is_parameter(name)) {
        let place = folder.join(name);
        if place.is_dir() {
            read_directory(&place, name, &mut contents)?;
        }
    }
    contents.documents = common(folder, budget)?;
    let format = Format { kind: FormatKind::Zarr, member: None };
    Checkpoint::new(path, folder.display().to_string(), format, contents)
}

/// Reads the array in the directory at `folder`, if it is one.
fn read_directory(folder: &Path, name: &str, contents: &mut Contents) -> Result<(), OpenError> {
    let files = names(folder)?;
    let wrong = |error: ZarrError| OpenError::at(folder, error);
    if !files.iter().any(|file| file == ARRAY) {
        if files.iter().any(|file| file == "zarr.json") {
            return Err(wrong(ZarrError::Unread {
                name: name.to_owned(),
                what: "version 3 of zarr".to_owned(),
            }));
        }
        return match files.iter().find(|file| place(file).is_some()) {
            Some(_) => Err(wrong(ZarrError::NoArray { name: name.to_owned() })),
            None => Ok(()),
        };
    }
    let description = folder.join(ARRAY);
    let json = read_json(&description)?;
    let array = ZarrArray::read(&json, name).map_err(|e| OpenError::at(&description, e))?;
    let whole = Whole { name, shape: &array.shape };
    whole.check().map_err(|e| OpenError::at(&description, e))?;
    if let Some(stray) = files.iter().find(|file| place(file).is_some() && !array.has_chunk(file)) {
        let (shape, chunks) = (array.shape.clone(), array.chunks.clone());
        return Err(wrong(ZarrError::Stray { name: name.to_owned(), chunk: stray.clone(), shape, chunks }));
    }
    array.each_chunk(|at| read_chunk(folder, &whole, &array, at, contents))
}

/// Reads the chunk at a place in the grid.
fn read_chunk(
    folder: &Path,
    whole: &Whole<'_>,
    array: &ZarrArray,
    at: &[u64],
    contents: &mut Contents,
) -> Result<(), OpenError> {
    // Below the shape, as the place is inside the grid.
    let offsets: Vec<u64> = at.iter().zip(&array.chunks).map(|(at, size)| at * size).collect();
    let file = folder.join(chunk_name(at));
    let name = || whole.name.to_owned();
    let region = Region::map_path(&file).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => {
            OpenError::at(&file, ZarrError::NoChunk { name: name(), offsets: offsets.clone() })
        }
        _ => OpenError::at(&file, e),
    })?;
    if region.len() != array.chunk_bytes {
        let (chunk, dtype) = (array.chunks.clone(), array.dtype);
        let (found, expected) = (region.len(), array.chunk_bytes);
        return Err(OpenError::at(&file, ZarrError::Length { name: name(), chunk, dtype, found, expected }));
    }
    let sizes = offsets.iter().zip(&array.chunks).zip(&array.shape);
    let tensor = Tensor {
        name: String::new(),
        dtype: array.dtype,
        // Without the padding at the end of a dimension.
        shape: sizes.map(|((offset, size), whole)| (*size).min(whole - offset)).collect(),
        strides: contiguous_strides(&array.chunks)
            .expect("bug: a chunk with more elements than its file has bytes"),
        offset: 0,
        storage: StorageId(0),
        rank: 0,
        chunk: None,
    };
    add(contents, Piece { whole, offsets: &offsets, tensor, region, file: file.display().to_string() })
}
