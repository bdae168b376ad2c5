//! What a strided copy is and when it is valid.

use thiserror::Error;

use super::nest::{Loop, LoopNest};
use crate::DType;

/// Copies a box: the element at multi-index `i` of the source goes to multi-index `i` of the target.
///
/// Strides and offsets count elements. A source stride of 0 repeats elements (a broadcast); target elements are
/// distinct. An empty shape is one element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StridedCopy {
    /// Elements along each axis.
    pub shape: Vec<usize>,
    /// The source element at multi-index 0.
    pub source_offset: usize,
    /// Source elements from one index of an axis to the next, per axis.
    pub source_strides: Vec<usize>,
    /// The target element at multi-index 0.
    pub target_offset: usize,
    /// Target elements from one index of an axis to the next, per axis.
    pub target_strides: Vec<usize>,
}

/// Why elements cannot be copied or made.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum CopyError {
    /// The number of strides is not the number of axes.
    #[error("a copy of {axes} axes has {source_strides} source strides and {target_strides} target strides")]
    Rank {
        /// Axes of the shape.
        axes: usize,
        /// Source strides given.
        source_strides: usize,
        /// Target strides given.
        target_strides: usize,
    },
    /// Sizes whose product or whose reach does not fit the address space.
    #[error("a copy of shape {shape:?} reaches further than memory can be addressed")]
    Overflow {
        /// The shape of the copy.
        shape: Vec<usize>,
    },
    /// An element outside the source.
    #[error("a copy of shape {shape:?} reads element {last} of a source of {length} elements")]
    SourceBounds {
        /// The shape of the copy.
        shape: Vec<usize>,
        /// The furthest element read.
        last: usize,
        /// Elements the source has.
        length: usize,
    },
    /// An element outside the target.
    #[error("a copy of shape {shape:?} writes element {last} of a target of {length} elements")]
    TargetBounds {
        /// The shape of the copy.
        shape: Vec<usize>,
        /// The furthest element written.
        last: usize,
        /// Elements the target has.
        length: usize,
    },
    /// Two indices of the copy with one target element.
    #[error("a copy of shape {shape:?} with target strides {strides:?} writes some element twice")]
    Overlap {
        /// The shape of the copy.
        shape: Vec<usize>,
        /// Its target strides.
        strides: Vec<usize>,
    },
    /// A length in bytes that is no multiple of the element size.
    #[error("{bytes} bytes are no whole number of {dtype} elements of {} bytes", .dtype.size())]
    PartialElement {
        /// Length in bytes.
        bytes: usize,
        /// The element type.
        dtype: DType,
    },
    /// A cast between types that are not both floats, to one that does not hold every value.
    #[error(
        "no cast from {from} to {to} is defined; casts are between floats, or to a type that holds every value"
    )]
    Cast {
        /// The type read.
        from: DType,
        /// The type written.
        to: DType,
    },
    /// Arithmetic on a type that is no float.
    #[error("no arithmetic is defined on {dtype}; an affine and a mean need floats")]
    Arithmetic {
        /// The type read.
        dtype: DType,
    },
    /// A content whose element type is not the tensor's.
    #[error("a content of type {content} lies in a tensor of type {tensor}")]
    ContentType {
        /// The type the content writes.
        content: DType,
        /// The type of the tensor.
        tensor: DType,
    },
    /// A value that the element type does not have.
    #[error("a {dtype} element cannot hold {value}")]
    Value {
        /// The element type.
        dtype: DType,
        /// The value asked for.
        value: f64,
    },
    /// A lower triangle of fewer than two axes.
    #[error("a lower triangle needs at least two axes, the shape is {shape:?}")]
    Triangle {
        /// The shape of the region.
        shape: Vec<usize>,
    },
    /// A mean of no rows.
    #[error("a mean needs at least one row")]
    EmptyMean,
    /// Contents that do not add up to the tensor.
    #[error("the contents of the tensor have {covered} elements, the tensor has {elements}")]
    Coverage {
        /// Elements of all contents.
        covered: usize,
        /// Elements of the tensor.
        elements: usize,
    },
    /// Contents that write some elements twice and leave others out.
    #[error("the contents of the tensor write some of its {elements} elements twice and leave others out")]
    Gap {
        /// Elements of the tensor.
        elements: usize,
    },
}

impl StridedCopy {
    /// A run of elements from the start of the source to the start of the target.
    #[must_use]
    pub fn run(elements: usize) -> StridedCopy {
        StridedCopy {
            shape: vec![elements],
            source_offset: 0,
            source_strides: vec![1],
            target_offset: 0,
            target_strides: vec![1],
        }
    }

    /// Elements copied.
    ///
    /// # Errors
    /// If the product of the shape overflows.
    pub fn elements(&self) -> Result<usize, CopyError> {
        // A zero makes the product zero whatever the other sizes are.
        if self.shape.contains(&0) {
            return Ok(0);
        }
        let product = self.shape.iter().try_fold(1usize, |product, &size| product.checked_mul(size));
        product.ok_or_else(|| CopyError::Overflow { shape: self.shape.clone() })
    }

    /// Checks the copy against a source and a target of so many elements.
    ///
    /// # Errors
    /// If ranks disagree, an element lies outside either side, or two indices have one target element.
    pub fn check(&self, source_length: usize, target_length: usize) -> Result<(), CopyError> {
        self.prepare(source_length, target_length).map(drop)
    }

    /// The checked copy as a loop nest.
    pub(super) fn prepare(&self, source_length: usize, target_length: usize) -> Result<LoopNest, CopyError> {
        let nest = self.prepare_overlapping(source_length, target_length)?;
        if !nest.targets_are_distinct() {
            return Err(CopyError::Overlap {
                shape: self.shape.clone(),
                strides: self.target_strides.clone(),
            });
        }
        Ok(nest)
    }

    /// As `prepare`, for readers of both sides, to whom repeated target elements do no harm.
    pub(super) fn prepare_overlapping(
        &self,
        source_length: usize,
        target_length: usize,
    ) -> Result<LoopNest, CopyError> {
        let axes = self.shape.len();
        if self.source_strides.len() != axes || self.target_strides.len() != axes {
            return Err(CopyError::Rank {
                axes,
                source_strides: self.source_strides.len(),
                target_strides: self.target_strides.len(),
            });
        }
        let shape = || self.shape.clone();
        if self.elements()? == 0 {
            return Ok(LoopNest::empty());
        }
        let overflow = || CopyError::Overflow { shape: shape() };
        let last = self.reach(self.source_offset, &self.source_strides).ok_or_else(overflow)?;
        if last >= source_length {
            return Err(CopyError::SourceBounds { shape: shape(), last, length: source_length });
        }
        let last = self.reach(self.target_offset, &self.target_strides).ok_or_else(overflow)?;
        if last >= target_length {
            return Err(CopyError::TargetBounds { shape: shape(), last, length: target_length });
        }
        let loops = (0..axes)
            .map(|axis| Loop {
                count: self.shape[axis],
                source: self.source_strides[axis],
                target: self.target_strides[axis],
            })
            .collect();
        Ok(LoopNest::coalesced(self.source_offset, self.target_offset, loops))
    }

    /// The largest element index of one side.
    fn reach(&self, offset: usize, strides: &[usize]) -> Option<usize> {
        self.shape
            .iter()
            .zip(strides)
            .try_fold(offset, |last, (size, stride)| (size - 1).checked_mul(*stride)?.checked_add(last))
    }
}

/// Whole elements of `dtype` in so many bytes.
pub(super) fn elements_in(bytes: usize, dtype: DType) -> Result<usize, CopyError> {
    if bytes.is_multiple_of(dtype.size()) {
        Ok(bytes / dtype.size())
    } else {
        Err(CopyError::PartialElement { bytes, dtype })
    }
}

/// Row-major strides. Those of a shape that cannot be addressed are cut off at the largest number.
pub(crate) fn row_major(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1usize; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis].saturating_mul(shape[axis]);
    }
    strides
}
