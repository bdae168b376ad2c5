//! What the processor computes where candle's own kernels leave speed behind: products with one row, biases,
//! activations, softmax and attention of one token. Other devices take candle's kernels.
//!
//! The loops are Rust over blocks of [`LANES`], compiled for the machine's widest instructions by
//! [`pulp::Arch`], and spread over rayon's threads as candle's own are.

mod activate;
mod attend;
mod bias;
mod element;
mod exponential;
mod matvec;
mod softmax;

use candle_core::{CpuStorage, Layout, Result, bail};

pub(super) use activate::{Activate, Gate, Pointwise};
pub(super) use attend::AttendOne;
pub(super) use bias::AddBias;
pub(super) use element::Element;
pub(super) use matvec::MatVec;
pub(super) use softmax::CausalSoftmax;

/// Elements that a loop takes at once: two of the widest registers that most machines have.
const LANES: usize = 16;

/// The elements of a tensor, which must lie one after the other.
fn contiguous<'s, T: Element>(operation: &str, storage: &'s CpuStorage, layout: &Layout) -> Result<&'s [T]> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&T::slice(storage)?[start..end]),
        None => bail!(
            "{operation} needs its elements one after the other, but the strides are {:?}",
            layout.stride()
        ),
    }
}

/// How many tasks are worth it for so many elements.
fn tasks(elements: usize) -> usize {
    rayon::current_num_threads().min(elements / 16_384).max(1)
}
