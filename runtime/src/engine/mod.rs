//! The strided copy: one engine that moves elements between layouts.
//!
//! A conversion is a set of boxes. Each box is copied strided on both sides, bit for bit or through one cast, and
//! any flat range of the target can be asked for alone, so that outputs are written through small buffers. The
//! engine knows elements, strides and bytes; it knows no checkpoint format and no mapping.
//!
//! ```
//! use transship::DType;
//! use transship::engine::{Convert, StridedCopy, copy};
//!
//! // The transpose of a [2, 3] matrix of one-byte elements.
//! let transpose = StridedCopy {
//!     shape: vec![2, 3],
//!     source_offset: 0,
//!     source_strides: vec![3, 1],
//!     target_offset: 0,
//!     target_strides: vec![1, 2],
//! };
//! let mut target = [0; 6];
//! copy(&transpose, &Convert::bits(DType::U8), &[1, 2, 3, 4, 5, 6], &mut target)?;
//! assert_eq!(target, [1, 4, 2, 5, 3, 6]);
//! # Ok::<(), transship::engine::CopyError>(())
//! ```

mod compare;
mod content;
mod convert;
mod fill;
mod float;
mod kernel;
mod nest;
mod normal;
mod random;
mod strided;

pub(crate) use compare::differences;
pub use compare::{Tolerance, equal};
pub use content::{Content, PreparedTensor, Scratch, TargetTensor};
pub(crate) use convert::count_changed;
pub use convert::{Affine, Convert, copy};
pub use fill::{Fill, Mean, Region, Rows};
pub use random::splitmix64;
pub(crate) use strided::row_major;
pub use strided::{CopyError, StridedCopy};

#[cfg(test)]
mod tests;
