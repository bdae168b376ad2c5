//! Distributed checkpoints of torch (`torch.distributed.checkpoint`), as Megatron-Core writes them.
//!
//! `.metadata` is a pickle of `torch.distributed.checkpoint.metadata.Metadata`: of each tensor the shape and its chunks, and
//! of each chunk the `.distcp` file and the bytes in it. These bytes are a whole file of `torch.save` with one
//! tensor. What is no tensor of the model (the optimizer, random states, byte objects) is passed over. Plain data
//! lies in `common.pt` or, since 2026, in the byte object `common_state/shard_0_1`.

mod coverage;
mod error;
mod metadata;

use std::collections::{BTreeMap, HashMap};
use std::path::{Component, Path};

use crate::budget::Budget;
use crate::document::{Key, Map, Value};
use crate::pickle;
use crate::storage::Region;
use crate::tensor::{Contents, Unsupported};
use crate::torch::{self, TorchError};

use coverage::{Extent, Fault, check_coverage};
pub use error::DistributedError;
use metadata::{Item, Metadata, StoredChunk, StoredTensor};

use super::Checkpoint;
use super::error::OpenError;
use super::format::{Format, FormatKind};
use super::sharded::{Piece, Whole, add, common, is_megatron, is_parameter, names_as_stored, read_saved};

/// The list of parts.
pub(super) const METADATA: &str = ".metadata";

/// Plain data among the byte objects.
const COMMON_ENTRY: &str = "common_state/shard_0_1";

pub(super) fn open(path: &Path, folder: &Path, budget: &mut Budget) -> Result<Checkpoint, OpenError> {
    let file = folder.join(METADATA);
    let region = Region::map_path(&file).map_err(|e| OpenError::at(&file, e))?;
    let pickle = pickle::read(&region, 0, budget).map_err(|source| {
        OpenError::at(&file, TorchError::Pickle { place: "the list of tensors".to_owned(), source })
    })?;
    let metadata = metadata::read(&pickle, budget).map_err(|e| OpenError::at(&file, e))?;
    let mut reader =
        Reader { folder, files: HashMap::new(), contents: Contents::empty(), metadata: &metadata, budget };
    for (name, tensor) in metadata.tensors.iter().filter(|(name, _)| is_parameter(name)) {
        reader.read_tensor(&Whole { name, shape: &tensor.shape }, tensor)?;
    }
    reader.contents.documents = reader.documents()?;
    if !reader.is_megatron() {
        names_as_stored(&mut reader.contents);
    }
    let format = Format { kind: FormatKind::TorchDist, member: None };
    Checkpoint::new(path, folder.display().to_string(), format, reader.contents)
}

/// A file of chunks.
struct ChunkFile {
    region: Region,
    /// What was read of it: by first byte, the byte after the last and the tensor.
    taken: BTreeMap<u64, (u64, String)>,
}

struct Reader<'m> {
    folder: &'m Path,
    files: HashMap<String, ChunkFile>,
    contents: Contents,
    metadata: &'m Metadata,
    budget: &'m mut Budget,
}

impl Reader<'_> {
    fn read_tensor(&mut self, whole: &Whole<'_>, tensor: &StoredTensor) -> Result<(), OpenError> {
        let wrong = |e: DistributedError| OpenError::at(&self.folder.join(METADATA), e);
        whole.check().and_then(|()| check_chunks(whole, &tensor.chunks)).map_err(wrong)?;
        // Replicas of a chunk are written once.
        let distinct: BTreeMap<&[u64], &StoredChunk> =
            tensor.chunks.iter().map(|chunk| (chunk.offsets.as_slice(), chunk)).collect();
        for chunk in distinct.into_values() {
            let item = self.metadata.items.get(&(whole.name.to_owned(), chunk.offsets.clone()));
            let item = item.ok_or_else(|| {
                wrong(DistributedError::NoItem {
                    name: whole.name.to_owned(),
                    offsets: chunk.offsets.clone(),
                })
            })?;
            self.read_chunk(whole, tensor, chunk, item)?;
        }
        Ok(())
    }

    /// The file that an item lies in, and the item's bytes.
    fn item(&mut self, name: &str, item: &Item) -> Result<(String, Region), OpenError> {
        let below = Path::new(&item.path).components().all(|part| matches!(part, Component::Normal(_)));
        if !below || item.path.is_empty() {
            let error = DistributedError::Escapes { name: name.to_owned(), path: item.path.clone() };
            return Err(OpenError::at(&self.folder.join(METADATA), error));
        }
        let path = self.folder.join(&item.path);
        if item.transformed {
            return Err(OpenError::at(&path, DistributedError::Transformed { name: name.to_owned() }));
        }
        if !self.files.contains_key(&item.path) {
            let region = Region::map_path(&path).map_err(|e| match e.kind() {
                std::io::ErrorKind::NotFound => {
                    OpenError::at(&path, DistributedError::NoFile { name: name.to_owned() })
                }
                _ => OpenError::at(&path, e),
            })?;
            self.files.insert(item.path.clone(), ChunkFile { region, taken: BTreeMap::new() });
        }
        let file = self.files.get_mut(&item.path).expect("bug: the file was opened above");
        let slice = file.take(name, item).map_err(|e| OpenError::at(&path, e))?;
        Ok((format!("{}!{name}", path.display()), slice))
    }

    fn read_chunk(
        &mut self,
        whole: &Whole<'_>,
        stored: &StoredTensor,
        chunk: &StoredChunk,
        item: &Item,
    ) -> Result<(), OpenError> {
        let (file, bytes) = self.item(whole.name, item)?;
        let read = read_saved(bytes, &file, self.budget)?;
        let wrong = |error: DistributedError| OpenError::new(&file, error);
        let differs = |found: String, expected: String| {
            wrong(DistributedError::Differs { name: whole.name.to_owned(), found, expected })
        };
        let stated = stored.dtype.as_deref().and_then(torch::dtype_of);
        if let [unsupported] = &read.unsupported[..] {
            if let Some(stated) = stated {
                return Err(differs(unsupported.dtype.clone(), stated.to_string()));
            }
            let name = format!("model.{}", whole.name);
            if self.contents.unsupported.last().is_none_or(|last| last.name != name) {
                let (dtype, shape) = (unsupported.dtype.clone(), whole.shape.to_vec());
                self.contents.unsupported.push(Unsupported { name, dtype, shape });
            }
            return Ok(());
        }
        let mut tensors = read.tensors.into_iter();
        let (Some(tensor), None) = (tensors.next(), tensors.next()) else {
            return Err(wrong(DistributedError::NoTensor { name: whole.name.to_owned() }));
        };
        if tensor.shape != chunk.sizes {
            return Err(differs(format!("{:?}", tensor.shape), format!("{:?}", chunk.sizes)));
        }
        if let Some(stated) = stated.filter(|stated| *stated != tensor.dtype) {
            return Err(differs(tensor.dtype.to_string(), stated.to_string()));
        }
        let region = read.storages.into_iter().nth(tensor.storage.index()).map(|s| s.region);
        let region = region.unwrap_or_else(|| Region::owned(Vec::new()));
        add(&mut self.contents, Piece { whole, offsets: &chunk.offsets, tensor, region, file })
    }

    /// Whether Megatron-Core wrote it, which leaves out the key of the model before the names.
    fn is_megatron(&self) -> bool {
        self.metadata.items.contains_key(&(COMMON_ENTRY.to_owned(), Vec::new())) || is_megatron(self.folder)
    }

    /// The plain data that all ranks share.
    fn documents(&mut self) -> Result<Value, OpenError> {
        let Some(item) = self.metadata.items.get(&(COMMON_ENTRY.to_owned(), Vec::new())) else {
            // Programs other than Megatron-LM may have no plain data.
            return if self.is_megatron() {
                common(self.folder, self.budget)
            } else {
                Ok(Value::Map(Map::new()))
            };
        };
        let (file, bytes) = self.item(COMMON_ENTRY, item)?;
        // A list of one dictionary.
        match read_saved(bytes, &file, self.budget)?.documents {
            Value::List(mut items) if items.len() == 1 => Ok(items.swap_remove(0)),
            Value::Map(map) => Ok(Value::Map(map)),
            other => Ok(Value::Map([(Key::Str("common".into()), other)].into_iter().collect())),
        }
    }
}

impl ChunkFile {
    /// The bytes of an item, which no other item may share.
    ///
    /// That keeps the work of reading in proportion to the files, whatever `.metadata` says.
    fn take(&mut self, name: &str, item: &Item) -> Result<Region, DistributedError> {
        let end = item.offset.checked_add(item.length);
        let slice = end.and_then(|end| Some((end, self.region.slice(item.offset..end)?)));
        let (end, slice) = slice.ok_or_else(|| DistributedError::Outside {
            name: name.to_owned(),
            start: item.offset,
            length: item.length,
            available: self.region.len(),
        })?;
        let before = self.taken.range(..end).next_back().filter(|(_, (taken, _))| *taken > item.offset);
        if let Some((_, (_, other))) = before {
            let (name, other) = (name.to_owned(), other.clone());
            return Err(DistributedError::Shared { name, other, start: item.offset });
        }
        self.taken.insert(item.offset, (end, name.to_owned()));
        Ok(slice)
    }
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
