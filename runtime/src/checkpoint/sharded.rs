//! What Megatron-Core's distributed formats have in common, whatever holds the tensors: parameters of a stack of layers lie in
//! one tensor with a leading axis, `decoder.layers.mlp.…`; plain data lies beside the tensors in `common.pt`.
//!
//! Here each layer is a tensor of its own, `decoder.layers.0.mlp.…`, so that names are those of the other formats.

use std::path::Path;

use crate::archive::Archive;
use crate::budget::Budget;
use crate::document::Value;
use crate::storage::Region;
use crate::tensor::{Chunk, Contents, Storage, StorageId, Tensor};
use crate::torch;

use super::distributed::DistributedError;
use super::error::{OpenCause, OpenError};

/// Plain data beside the tensors.
const COMMON: &str = "common.pt";

/// What Megatron-Core notes the kind of its checkpoint in.
pub(super) const BACKEND: &str = "metadata.json";

/// Most dimensions of a tensor: as many as torch allows.
pub(super) const MAX_DIMENSIONS: usize = 64;

/// Most layers of one stack.
const MAX_LAYERS: u64 = 1 << 12;

/// Most chunks of single layers in one checkpoint.
const MAX_TENSORS: usize = 1 << 22;

/// Beginnings of names that are no parameters.
const OTHERS: [&str; 4] = ["optimizer.", "chained_", "rng_state", "rerun_state_machine"];

/// The key under which Megatron's other formats hold the model.
const MODEL: &str = "model.";

/// Takes that key away again, for checkpoints of programs that have no such key, or store it with the names.
pub(super) fn names_as_stored(contents: &mut Contents) {
    for tensor in &mut contents.tensors {
        if let Some(stored) = tensor.name.strip_prefix(MODEL) {
            tensor.name = stored.to_owned();
        }
    }
}

/// Whether a tensor of this name belongs to the model, and not to the optimizer or to other states of a run.
pub(super) fn is_parameter(name: &str) -> bool {
    !OTHERS.iter().any(|other| name.starts_with(other))
}

/// A tensor that is made up of chunks.
pub(super) struct Whole<'m> {
    pub(super) name: &'m str,
    pub(super) shape: &'m [u64],
}

impl<'m> Whole<'m> {
    /// Checks that the shape is one of a tensor that can exist.
    pub(super) fn check(&self) -> Result<(), DistributedError> {
        let (name, shape) = (|| self.name.to_owned(), self.shape);
        let bytes = shape.iter().try_fold(16u64, |bytes, &size| bytes.checked_mul(size.max(1)));
        if shape.len() > MAX_DIMENSIONS || bytes.is_none() {
            return Err(DistributedError::Large { name: name(), shape: shape.to_vec() });
        }
        match self.stacked() {
            Some(_) if shape[0] > MAX_LAYERS => {
                Err(DistributedError::Layers { name: name(), layers: shape[0] })
            }
            _ => Ok(()),
        }
    }

    /// What stands before and after the number of a layer in the name of a stacked parameter.
    fn stacked(&self) -> Option<(&'m str, &'m str)> {
        let at = self.name.find("layers.").filter(|at| *at == 0 || self.name.as_bytes()[at - 1] == b'.')?;
        let (before, after) = self.name.split_at(at + "layers.".len());
        let numbered = after.starts_with(|c: char| c.is_ascii_digit());
        (!numbered && !self.shape.is_empty()).then_some((before, after))
    }

    /// A chunk at `offsets` as a tensor, or as one for each layer where the first axis is that of layers.
    fn parts(&self, offsets: &[u64], tensor: &Tensor) -> Vec<Tensor> {
        let Some((before, after)) = self.stacked() else {
            let chunk = Some(Chunk { shape: self.shape.to_vec(), offsets: offsets.to_vec() });
            return vec![Tensor { name: format!("{MODEL}{}", self.name), chunk, ..tensor.clone() }];
        };
        let layer = |at: u64| Tensor {
            name: format!("{MODEL}{before}{}.{after}", offsets[0] + at),
            shape: tensor.shape[1..].to_vec(),
            strides: tensor.strides[1..].to_vec(),
            // Inside the storage, as the whole chunk is.
            offset: tensor.offset + at * tensor.strides[0],
            chunk: Some(Chunk { shape: self.shape[1..].to_vec(), offsets: offsets[1..].to_vec() }),
            ..tensor.clone()
        };
        (0..tensor.shape[0]).map(layer).collect()
    }
}

/// A chunk of `whole` that was found: `tensor` is a view of `region`.
pub(super) struct Piece<'m> {
    pub(super) whole: &'m Whole<'m>,
    /// Where it starts in the whole, in elements.
    pub(super) offsets: &'m [u64],
    pub(super) tensor: Tensor,
    pub(super) region: Region,
    /// Where it lies, for messages.
    pub(super) file: String,
}

/// Adds the tensors of a chunk, which was found to lie inside the whole and its region.
pub(super) fn add(contents: &mut Contents, piece: Piece<'_>) -> Result<(), OpenError> {
    let first = contents.tensors.len();
    let storage = StorageId(contents.storages.len());
    let tensor = Tensor { storage, ..piece.tensor };
    contents.tensors.extend(piece.whole.parts(piece.offsets, &tensor));
    if contents.tensors.len() > MAX_TENSORS {
        let error = DistributedError::Tensors { name: piece.whole.name.to_owned(), limit: MAX_TENSORS };
        return Err(OpenError::new(piece.file, error));
    }
    contents.storages.push(Storage {
        key: piece.whole.name.to_owned(),
        file: piece.file,
        tensors: (first..contents.tensors.len()).collect(),
        region: piece.region,
    });
    Ok(())
}

/// The plain data in `common.pt`.
pub(super) fn common(folder: &Path, budget: &mut Budget) -> Result<Value, OpenError> {
    let path = folder.join(COMMON);
    if !path.is_file() {
        return Err(OpenError::at(&path, DistributedError::NoCommon));
    }
    let region = Region::map_path(&path).map_err(|e| OpenError::at(&path, e))?;
    Ok(read_saved(region, &path.display().to_string(), budget)?.documents)
}

/// Whether the directory says that Megatron-Core wrote it, which keeps plain data beside the tensors.
pub(super) fn is_megatron(folder: &Path) -> bool {
    folder.join(BACKEND).is_file() || folder.join(COMMON).is_file()
}

/// Reads bytes that `torch.save` wrote.
pub(super) fn read_saved(bytes: Region, file: &str, budget: &mut Budget) -> Result<Contents, OpenError> {
    let archive = Archive::read(bytes).map_err(|e| OpenError::new(file, e))?;
    match torch::pickle_entries(&archive)[..] {
        [entry] => torch::read_zip(&archive, entry, file, budget).map_err(|e| OpenError::new(file, e)),
        _ => Err(OpenError::new(file, DistributedError::NoPickle)),
    }
}

impl From<DistributedError> for OpenCause {
    fn from(error: DistributedError) -> OpenCause {
        OpenCause::Distributed(error)
    }
}
