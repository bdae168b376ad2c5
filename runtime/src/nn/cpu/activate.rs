//! Activations, alone and as the gate of a product.

use candle_core::{CpuStorage, CustomOp1, DType, Layout, Result, Shape, bail};
use half::{bf16, f16};
use pulp::{Arch, NullaryFnOnce};
use rayon::prelude::*;

use super::exponential::sigmoid;
use super::{Element, contiguous, tasks};

/// A function of one element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::nn) enum Pointwise {
    /// `x Φ(x)` by the tanh form: `x σ(2 √(2/π) (x + 0.044715 x³))`.
    GeluTanh,
    /// `x σ(x)`.
    Silu,
    /// `x σ(1.702 x)`.
    QuickGelu,
}

impl Pointwise {
    /// Whether there is a kernel for the type.
    pub(in crate::nn) fn takes(dtype: DType) -> bool {
        matches!(dtype, DType::F32 | DType::BF16 | DType::F16)
    }
}

#[inline(always)]
fn gelu_tanh(x: f32) -> f32 {
    const DOUBLE_ROOT: f32 = 1.595_769;
    x * sigmoid(DOUBLE_ROOT * (0.044_715 * x * x).mul_add(x, x))
}

#[inline(always)]
fn silu(x: f32) -> f32 {
    x * sigmoid(x)
}

#[inline(always)]
fn quick_gelu(x: f32) -> f32 {
    x * sigmoid(1.702 * x)
}

/// `f(x)` element by element.
pub(in crate::nn) struct Activate(pub(in crate::nn) Pointwise);

impl Activate {
    fn map<T: Element>(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = contiguous::<T>(self.name(), x, layout)?;
        let width = x.len().max(1);
        let out = match self.0 {
            Pointwise::GeluTanh => rows(x, width, width, |x, out| map(x, out, gelu_tanh)),
            Pointwise::Silu => rows(x, width, width, |x, out| map(x, out, silu)),
            Pointwise::QuickGelu => rows(x, width, width, |x, out| map(x, out, quick_gelu)),
        };
        Ok((T::store(out), layout.shape().clone()))
    }
}

impl CustomOp1 for Activate {
    fn name(&self) -> &'static str {
        "activation"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        match x {
            CpuStorage::F32(_) => self.map::<f32>(x, layout),
            CpuStorage::BF16(_) => self.map::<bf16>(x, layout),
            CpuStorage::F16(_) => self.map::<f16>(x, layout),
            _ => bail!("{} of elements that are no floats of at most 32 bits", self.name()),
        }
    }
}

/// `f(gate) * up` of `[… 2 ffn]`, gate first: `[… ffn]`.
pub(in crate::nn) struct Gate(pub(in crate::nn) Pointwise);

impl Gate {
    fn halves<T: Element>(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = contiguous::<T>(self.name(), x, layout)?;
        let mut shape = layout.dims().to_vec();
        let Some(last) = shape.last_mut().filter(|last| **last > 0 && last.is_multiple_of(2)) else {
            bail!("{} takes an even number of elements apart, not {:?}", self.name(), layout.dims());
        };
        let width = *last;
        *last /= 2;
        let out = match self.0 {
            Pointwise::GeluTanh => rows(x, width, width / 2, |x, out| gate(x, out, gelu_tanh)),
            Pointwise::Silu => rows(x, width, width / 2, |x, out| gate(x, out, silu)),
            Pointwise::QuickGelu => rows(x, width, width / 2, |x, out| gate(x, out, quick_gelu)),
        };
        Ok((T::store(out), Shape::from(shape)))
    }
}

impl CustomOp1 for Gate {
    fn name(&self) -> &'static str {
        "gated activation"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        match x {
            CpuStorage::F32(_) => self.halves::<f32>(x, layout),
            CpuStorage::BF16(_) => self.halves::<bf16>(x, layout),
            CpuStorage::F16(_) => self.halves::<f16>(x, layout),
            _ => bail!("{} of elements that are no floats of at most 32 bits", self.name()),
        }
    }
}

/// Applies `f` to rows of `width`, each of which gives a row of `out`; a single row of equal width is cut freely.
fn rows<T: Element>(x: &[T], width: usize, out: usize, f: impl Fn(&[T], &mut [f32]) + Sync) -> Vec<f32> {
    let count = x.len() / width.max(1);
    let mut values = vec![0.0; count * out];
    let arch = Arch::new();
    let pieces = 4 * tasks(x.len());
    let (read, written) = match count {
        1 if width == out => {
            let piece = width.div_ceil(pieces).max(1);
            (piece, piece)
        }
        _ => {
            let rows = count.div_ceil(pieces).max(1);
            (rows * width, rows * out)
        }
    };
    if values.is_empty() {
        return values;
    }
    let f = &f;
    values.par_chunks_mut(written).zip(x.par_chunks(read)).for_each(|(values, x)| {
        if read == written {
            arch.dispatch(Piece { x, out: values, f });
        } else {
            for (x, values) in x.chunks_exact(width).zip(values.chunks_exact_mut(out)) {
                arch.dispatch(Piece { x, out: values, f });
            }
        }
    });
    values
}

struct Piece<'a, T, F> {
    x: &'a [T],
    out: &'a mut [f32],
    f: &'a F,
}

impl<T: Element, F: Fn(&[T], &mut [f32])> NullaryFnOnce for Piece<'_, T, F> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        (self.f)(self.x, self.out);
    }
}

#[inline(always)]
fn map<T: Element>(x: &[T], out: &mut [f32], f: impl Fn(f32) -> f32) {
    for (x, out) in x.iter().zip(out) {
        *out = f(x.widen());
    }
}

#[inline(always)]
fn gate<T: Element>(x: &[T], out: &mut [f32], f: impl Fn(f32) -> f32) {
    let (gate, up) = x.split_at(out.len());
    for ((gate, up), out) in gate.iter().zip(up).zip(out) {
        *out = f(gate.widen()) * up.widen();
    }
}
