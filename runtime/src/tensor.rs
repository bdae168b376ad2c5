//! Stored tensors: views of byte storages.

use std::ops::Range;

use crate::DType;
use crate::storage::Region;

/// Index of a [`Storage`] in its checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StorageId(pub(crate) usize);

impl StorageId {
    /// Position in [`Checkpoint::storages`](crate::Checkpoint::storages).
    #[must_use]
    pub fn index(self) -> usize {
        self.0
    }
}

/// A tensor of a checkpoint: where its elements lie in a storage.
///
/// Element `[i, j, …]` starts at byte `(offset + i * strides[0] + j * strides[1] + …) * dtype.size()` of the
/// storage. All elements were found to lie inside it. The storage's bytes need not be aligned to the element
/// size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tensor {
    /// Dotted path from the top of the state dict; the name in the header of a safetensors file.
    pub name: String,
    /// Element type.
    pub dtype: DType,
    /// Size of each dimension, outermost first; empty for a scalar.
    pub shape: Vec<u64>,
    /// Step of each dimension, in elements; 0 repeats one element.
    pub strides: Vec<u64>,
    /// First element, counted in elements from the start of the storage.
    pub offset: u64,
    /// The storage the elements lie in, possibly with other tensors.
    pub storage: StorageId,
    /// The rank whose file it is from: a position in [`Checkpoint::ranks`](crate::Checkpoint::ranks).
    pub rank: usize,
    /// Which part of a larger tensor it is, where the file itself says so.
    pub chunk: Option<Chunk>,
}

/// The place of a tensor in a larger one, as distributed checkpoints state it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Shape of the larger tensor.
    pub shape: Vec<u64>,
    /// Where the part starts along each of its dimensions, in elements.
    pub offsets: Vec<u64>,
}

impl Tensor {
    /// Number of elements. It fits 64 bits, as does the number of bytes.
    #[must_use]
    pub fn elements(&self) -> u64 {
        self.shape.iter().product()
    }

    /// The bytes of the storage from the first element to the last; empty where there are none.
    ///
    /// It lies inside the storage. Other bytes lie between the elements where the strides leave gaps.
    #[must_use]
    pub fn byte_range(&self) -> Range<usize> {
        if self.elements() == 0 {
            return 0..0;
        }
        let last =
            self.shape.iter().zip(&self.strides).map(|(size, stride)| (size - 1) * stride).sum::<u64>();
        let byte = |element: u64| {
            usize::try_from(element).expect("bug: a tensor that lies outside its storage") * self.dtype.size()
        };
        byte(self.offset)..byte(self.offset + last + 1)
    }

    /// Whether the elements lie one after the other, last dimension fastest.
    #[must_use]
    pub fn is_contiguous(&self) -> bool {
        let mut step = 1;
        let dense = self.shape.iter().zip(&self.strides).rev().all(|(&size, &stride)| {
            let fits = size == 1 || stride == step;
            step *= size;
            fits
        });
        dense || self.elements() == 0
    }
}

/// Strides of a contiguous tensor, in elements; `None` where they overflow.
pub(crate) fn contiguous_strides(shape: &[u64]) -> Option<Vec<u64>> {
    let mut strides = vec![1; shape.len()];
    for at in (1..shape.len()).rev() {
        strides[at - 1] = shape[at].max(1).checked_mul(strides[at])?;
    }
    Some(strides)
}

/// Bytes that tensors are views of.
#[derive(Clone, Debug)]
pub struct Storage {
    /// What the file calls it: torch's storage key, or the tensor's name in a safetensors file.
    pub key: String,
    /// Where it lies, for messages: `x.zip!release/mp_rank_00/model_optim_rng.pt!data/3`.
    pub file: String,
    /// Indices of the tensors that are views of it, in order.
    pub tensors: Vec<usize>,
    pub(crate) region: Region,
}

impl Storage {
    /// Length in bytes.
    #[must_use]
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> u64 {
        self.region.len()
    }

    /// Whether more than one tensor is a view of it.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.tensors.len() > 1
    }
}

/// A tensor that is there, but of a kind that cannot be converted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsupported {
    /// Dotted path from the top of the state dict.
    pub name: String,
    /// The file's name for its element type: `complex64`.
    pub dtype: String,
    /// Size of each dimension.
    pub shape: Vec<u64>,
}

impl Unsupported {
    /// Why it is not among the tensors, as the end of a sentence that names it.
    #[must_use]
    pub fn reason(&self) -> String {
        format!("has elements of type {}, which are not converted", self.dtype)
    }
}

/// What a reader finds in a checkpoint.
#[derive(Debug)]
pub(crate) struct Contents {
    pub(crate) tensors: Vec<Tensor>,
    pub(crate) storages: Vec<Storage>,
    pub(crate) documents: crate::document::Value,
    pub(crate) unsupported: Vec<Unsupported>,
}

impl Contents {
    /// Nothing, and no documents.
    pub(crate) fn empty() -> Contents {
        Contents {
            tensors: Vec::new(),
            storages: Vec::new(),
            documents: crate::document::Value::Null,
            unsupported: Vec::new(),
        }
    }

    /// Adds the tensors of another file, and their storages. Its plain data stays apart.
    pub(crate) fn append(&mut self, tensors: Vec<Tensor>, storages: Vec<Storage>) {
        let (first, first_storage) = (self.tensors.len(), self.storages.len());
        for mut tensor in tensors {
            tensor.storage = StorageId(tensor.storage.index() + first_storage);
            self.tensors.push(tensor);
        }
        for mut storage in storages {
            storage.tensors.iter_mut().for_each(|tensor| *tensor += first);
            self.storages.push(storage);
        }
    }
}
