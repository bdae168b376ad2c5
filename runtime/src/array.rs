//! Arrays: elements in memory with a shape, mapped from a checkpoint or owned.

use std::borrow::Cow;

use crate::engine::{Convert, CopyError, StridedCopy, copy};
use crate::storage::Region;
use crate::tensor::contiguous_strides;
use crate::{Checkpoint, DType, Tensor};

/// Elements of one type with a shape: a view of a mapped checkpoint, or owned. Cloning shares the bytes.
#[derive(Clone, Debug)]
pub struct Array {
    dtype: DType,
    shape: Vec<u64>,
    strides: Vec<u64>,
    offset: u64,
    region: Region,
}

/// Bytes whose number does not fit a shape.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{bytes} bytes are no {dtype} array of shape {shape:?}")]
pub struct ArrayError {
    /// Bytes given.
    pub bytes: usize,
    /// Element type.
    pub dtype: DType,
    /// Sizes given.
    pub shape: Vec<u64>,
}

impl Array {
    /// An array of row-major, little-endian elements.
    ///
    /// # Errors
    /// If the number of bytes is not that of the shape.
    pub fn new(dtype: DType, shape: &[u64], bytes: Vec<u8>) -> Result<Array, ArrayError> {
        let elements = shape.iter().try_fold(1u64, |n, size| n.checked_mul(*size));
        let needed = elements.and_then(|n| n.checked_mul(dtype.size() as u64));
        match contiguous_strides(shape) {
            Some(strides) if needed == Some(bytes.len() as u64) => {
                Ok(Array { dtype, shape: shape.to_vec(), strides, offset: 0, region: Region::owned(bytes) })
            }
            _ => Err(ArrayError { bytes: bytes.len(), dtype, shape: shape.to_vec() }),
        }
    }

    /// Element type.
    #[must_use]
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Sizes, outermost first; empty for a scalar.
    #[must_use]
    pub fn shape(&self) -> &[u64] {
        &self.shape
    }

    /// Number of elements.
    #[must_use]
    pub fn elements(&self) -> u64 {
        self.shape.iter().product()
    }

    /// The elements row-major and little-endian; copied only where they do not lie so.
    ///
    /// # Errors
    /// If the array is larger than memory can be addressed.
    pub fn bytes(&self) -> Result<Cow<'_, [u8]>, CopyError> {
        let size = |n: u64| usize::try_from(n).map_err(|_| CopyError::Overflow { shape: Vec::new() });
        let bytes = size(self.elements())?.saturating_mul(self.dtype.size());
        if Some(&self.strides) == contiguous_strides(&self.shape).as_ref() {
            let start = size(self.offset)?.saturating_mul(self.dtype.size());
            if let Some(inside) = self.region.bytes().get(start..start.saturating_add(bytes)) {
                return Ok(Cow::Borrowed(inside));
            }
        }
        let shape = self.shape.iter().map(|n| size(*n)).collect::<Result<Vec<_>, _>>()?;
        let target = contiguous_strides(&self.shape).unwrap_or_default();
        let whole = StridedCopy {
            shape,
            source_offset: size(self.offset)?,
            source_strides: self.strides.iter().map(|n| size(*n)).collect::<Result<_, _>>()?,
            target_offset: 0,
            target_strides: target.iter().map(|n| size(*n)).collect::<Result<_, _>>()?,
        };
        let mut row_major = vec![0; bytes];
        copy(&whole, &Convert::bits(self.dtype), self.region.bytes(), &mut row_major)?;
        Ok(Cow::Owned(row_major))
    }

    pub(crate) fn region(&self) -> &Region {
        &self.region
    }

    /// The tensor of a checkpoint that would hold this array as its storage number `storage`.
    pub(crate) fn as_tensor(&self, name: &str, storage: usize) -> Tensor {
        Tensor {
            name: name.to_owned(),
            dtype: self.dtype,
            shape: self.shape.clone(),
            strides: self.strides.clone(),
            offset: self.offset,
            storage: crate::tensor::StorageId(storage),
            rank: 0,
            chunk: None,
        }
    }
}

impl Checkpoint {
    /// A tensor of this checkpoint as an array, which keeps the file mapped as long as it lives.
    #[must_use]
    pub fn array(&self, tensor: &Tensor) -> Array {
        Array {
            dtype: tensor.dtype,
            shape: tensor.shape.clone(),
            strides: tensor.strides.clone(),
            offset: tensor.offset,
            region: self.storage(tensor).region.clone(),
        }
    }
}
