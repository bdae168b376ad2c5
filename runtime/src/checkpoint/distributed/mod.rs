//! Distributed checkpoints of torch (`torch.distributed.checkpoint`), as Megatron-Core writes them.
//!
//! `.metadata` is a pickle of `torch.distributed.checkpoint.metadata.Metadata`: of each tensor the shape and its chunks, and
//! of each chunk the `.distcp` file and the bytes in it. These bytes are a whole file of `torch.save` with one
//! tensor. What is no tensor of the model (the optimizer, random states, byte objects) is passed over. Plain data
//! lies in `common.pt` or, since 2026, in the byte object `common_state/shard_0_1`.
//!
//! Parameters of a stack of layers lie in one tensor with a leading axis, `decoder.layers.mlp.…`; here each layer is a
//! tensor of its own, `decoder.layers.0.mlp.…`, so that names are those of the other formats.

mod coverage;
mod error;
mod metadata;

use std::collections::{BTreeMap, HashMap};
use std::path::{Component, Path};

use crate::archive::Archive;
use crate::document::{Key, Map, Value};
use crate::pickle;
use crate::storage::Region;
use crate::tensor::{Chunk, Contents, Storage, StorageId, Tensor};
use crate::torch::{self, TorchError};

use coverage::{Extent, Fault, check_coverage};
pub use error::DistributedError;
use metadata::{Item, Metadata, StoredChunk};

use super::Checkpoint;
use super::error::{OpenCause, OpenError};
use super::format::{Format, FormatKind};

/// The list of parts.
pub(super) const METADATA: &str = ".metadata";

/// Plain data beside the tensors.
const COMMON: &str = "common.pt";
const COMMON_ENTRY: &str = "common_state/shard_0_1";

/// Most layers of one stack.
const MAX_LAYERS: u64 = 1 << 16;

/// Beginnings of names that are no parameters.
const OTHERS: [&str; 4] = ["optimizer.", "chained_", "rng_state", "rerun_state_machine"];

pub(super) fn open(path: &Path, folder: &Path) -> Result<Checkpoint, OpenError> {
    let file = folder.join(METADATA);
    let region = Region::map_path(&file).map_err(|e| OpenError::at(&file, e))?;
    let pickle = pickle::read(region.bytes(), 0).map_err(|source| {
        OpenError::at(&file, TorchError::Pickle { place: "the list of tensors".to_owned(), source })
    })?;
    let metadata = metadata::read(&pickle).map_err(|e| OpenError::at(&file, e))?;
    let contents = Contents::empty();
    let mut reader = Reader { folder, files: HashMap::new(), contents, metadata: &metadata };
    for (name, tensor) in &metadata.tensors {
        if !OTHERS.iter().any(|other| name.starts_with(other)) {
            let whole = Whole { name, shape: &tensor.shape };
            reader.read_tensor(&whole, &tensor.chunks)?;
        }
    }
    reader.contents.documents = reader.common()?;
    let format = Format { kind: FormatKind::TorchDist, member: None };
    Checkpoint::new(path, folder.display().to_string(), format, reader.contents)
}

/// A tensor of the metadata.
struct Whole<'m> {
    name: &'m str,
    shape: &'m [u64],
}

struct Reader<'m> {
    folder: &'m Path,
    files: HashMap<String, Region>,
    contents: Contents,
    metadata: &'m Metadata,
}

impl Reader<'_> {
    fn read_tensor(&mut self, whole: &Whole<'_>, chunks: &[StoredChunk]) -> Result<(), OpenError> {
        let wrong = |e: DistributedError| OpenError::at(&self.folder.join(METADATA), e);
        check_chunks(whole, chunks).map_err(wrong)?;
        // Replicas of a chunk are written once.
        let distinct: BTreeMap<&[u64], &StoredChunk> =
            chunks.iter().map(|chunk| (chunk.offsets.as_slice(), chunk)).collect();
        for chunk in distinct.into_values() {
            let item = self.metadata.items.get(&(whole.name.to_owned(), chunk.offsets.clone()));
            let item = item.ok_or_else(|| {
                wrong(DistributedError::NoItem {
                    name: whole.name.to_owned(),
                    offsets: chunk.offsets.clone(),
                })
            })?;
            self.read_chunk(whole, chunk, item)?;
        }
        Ok(())
    }

    /// The file that an item lies in, and the item's bytes.
    fn item(&mut self, name: &str, item: &Item) -> Result<(String, Region), OpenError> {
        let below = Path::new(&item.path).components().all(|part| matches!(part, Component::Normal(_)));
        if !below || item.path.is_empty() {
            let error = DistributedError::Escapes { path: item.path.clone() };
            return Err(OpenError::at(&self.folder.join(METADATA), error));
        }
        let path = self.folder.join(&item.path);
        if !self.files.contains_key(&item.path) {
            let region = Region::map_path(&path).map_err(|e| match e.kind() {
                std::io::ErrorKind::NotFound => {
                    OpenError::at(&path, DistributedError::NoFile { name: name.to_owned() })
                }
                _ => OpenError::at(&path, e),
            })?;
            self.files.insert(item.path.clone(), region);
        }
        let region = &self.files[&item.path];
        let end = item.offset.checked_add(item.length);
        let slice = end.and_then(|end| region.slice(item.offset..end));
        let slice = slice.ok_or_else(|| {
            let error = DistributedError::Outside {
                name: name.to_owned(),
                start: item.offset,
                length: item.length,
                available: region.len(),
            };
            OpenError::at(&path, error)
        })?;
        Ok((path.display().to_string(), slice))
    }

    fn read_chunk(&mut self, whole: &Whole<'_>, chunk: &StoredChunk, item: &Item) -> Result<(), OpenError> {
        let (file, bytes) = self.item(whole.name, item)?;
        let read = read_saved(bytes, &file)?;
        let mut tensors = read.tensors.into_iter();
        let (Some(tensor), None) = (tensors.next(), tensors.next()) else {
            return Err(OpenError::new(file, DistributedError::NoTensor { name: whole.name.to_owned() }));
        };
        if tensor.shape != chunk.sizes {
            let error = DistributedError::Differs {
                name: whole.name.to_owned(),
                found: format!("{:?}", tensor.shape),
                expected: format!("{:?}", chunk.sizes),
            };
            return Err(OpenError::new(file, error));
        }
        let first = self.contents.tensors.len();
        let storage = StorageId(self.contents.storages.len());
        for (name, part) in parts(whole, chunk, tensor.clone()) {
            self.contents.tensors.push(Tensor { name: format!("model.{name}"), storage, ..part });
        }
        let region = read.storages.into_iter().nth(tensor.storage.0).map(|s| s.region);
        self.contents.storages.push(Storage {
            key: whole.name.to_owned(),
            file,
            tensors: (first..self.contents.tensors.len()).collect(),
            region: region.unwrap_or_else(|| Region::owned(Vec::new())),
        });
        Ok(())
    }

    /// The plain data that all ranks share.
    fn common(&mut self) -> Result<Value, OpenError> {
        let path = self.folder.join(COMMON);
        if path.is_file() {
            let region = Region::map_path(&path).map_err(|e| OpenError::at(&path, e))?;
            return Ok(read_saved(region, &path.display().to_string())?.documents);
        }
        let Some(item) = self.metadata.items.get(&(COMMON_ENTRY.to_owned(), Vec::new())) else {
            return Ok(Value::Map(Map::new()));
        };
        let (file, bytes) = self.item(COMMON_ENTRY, item)?;
        // A list of one dictionary.
        match read_saved(bytes, &file)?.documents {
            Value::List(mut items) if items.len() == 1 => Ok(items.swap_remove(0)),
            Value::Map(map) => Ok(Value::Map(map)),
            other => Ok(Value::Map([(Key::Str("common".into()), other)].into_iter().collect())),
        }
    }
}

/// A chunk as a tensor, or as one for each layer where the first axis is that of layers.
fn parts(whole: &Whole<'_>, chunk: &StoredChunk, tensor: Tensor) -> Vec<(String, Tensor)> {
    let Some((before, after)) = stacked(whole) else {
        let place = Chunk { shape: whole.shape.to_vec(), offsets: chunk.offsets.clone() };
        return vec![(whole.name.to_owned(), Tensor { chunk: Some(place), ..tensor })];
    };
    let layer = |at: u64| {
        let place = Chunk { shape: whole.shape[1..].to_vec(), offsets: chunk.offsets[1..].to_vec() };
        let part = Tensor {
            shape: tensor.shape[1..].to_vec(),
            strides: tensor.strides[1..].to_vec(),
            // Inside the storage, as the whole chunk is.
            offset: tensor.offset + at * tensor.strides[0],
            chunk: Some(place),
            ..tensor.clone()
        };
        (format!("{before}{}.{after}", chunk.offsets[0] + at), part)
    };
    (0..chunk.sizes[0]).map(layer).collect()
}

/// What stands before and after the number of a layer in the name of a stacked parameter.
fn stacked<'m>(whole: &Whole<'m>) -> Option<(&'m str, &'m str)> {
    let at = whole.name.find("layers.").filter(|at| *at == 0 || whole.name.as_bytes()[at - 1] == b'.')?;
    let (before, after) = whole.name.split_at(at + "layers.".len());
    let numbered = after.starts_with(|c: char| c.is_ascii_digit());
    (!numbered && !whole.shape.is_empty()).then_some((before, after))
}

/// Chunks lie inside their tensor, and all together hold every element.
fn check_chunks(whole: &Whole<'_>, chunks: &[StoredChunk]) -> Result<(), DistributedError> {
    let name = || whole.name.to_owned();
    let shape = || whole.shape.to_vec();
    let mut extents: Vec<Extent> = chunks
        .iter()
        .map(|chunk| Extent { offsets: chunk.offsets.clone(), sizes: chunk.sizes.clone() })
        .collect();
    if let Some(outside) = extents.iter().find(|extent| !extent.inside(whole.shape)) {
        let (offsets, sizes) = (outside.offsets.clone(), outside.sizes.clone());
        return Err(DistributedError::Bounds { name: name(), offsets, sizes, shape: shape() });
    }
    if stacked(whole).is_some() && whole.shape[0] > MAX_LAYERS {
        return Err(DistributedError::Layers { name: name(), layers: whole.shape[0] });
    }
    extents.sort_unstable();
    extents.dedup();
    check_coverage(whole.shape, &extents).map_err(|fault| match fault {
        Fault::Hole(at) => DistributedError::Hole { name: name(), at, shape: shape() },
        Fault::Overlap(one, other) => DistributedError::Overlap {
            name: name(),
            first: extents[one].offsets.clone(),
            second: extents[other].offsets.clone(),
        },
        Fault::Disorder => DistributedError::Disorder { name: name() },
    })
}

/// Reads bytes that `torch.save` wrote.
fn read_saved(bytes: Region, file: &str) -> Result<Contents, OpenError> {
    let archive = Archive::read(bytes).map_err(|e| OpenError::new(file, e))?;
    match torch::pickle_entries(&archive)[..] {
        [entry] => torch::read_zip(&archive, entry, file).map_err(|e| OpenError::new(file, e)),
        _ => Err(OpenError::new(file, DistributedError::NoTensor { name: "data.pkl".to_owned() })),
    }
}

impl From<DistributedError> for OpenCause {
    fn from(error: DistributedError) -> OpenCause {
        OpenCause::Distributed(error)
    }
}
