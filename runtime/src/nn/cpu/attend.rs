//! Attention of one token to all before it, over the cache as it lies.

use candle_core::{CpuStorage, CustomOp3, DType, Layout, Result, Shape, bail};
use half::{bf16, f16};
use pulp::{Arch, NullaryFnOnce};
use rayon::prelude::*;

use super::element::block;
use super::softmax::softmax;
use super::{Element, LANES, contiguous};

/// Queries `[batch kv_heads group head_dim]` with keys and values `[batch kv_heads positions head_dim]`, whose heads
/// may lie apart, to `[batch kv_heads group head_dim]`.
pub(in crate::nn) struct AttendOne {
    pub(in crate::nn) scale: f32,
}

impl AttendOne {
    /// Whether there is a kernel for the type.
    pub(in crate::nn) fn takes(dtype: DType) -> bool {
        matches!(dtype, DType::F32 | DType::BF16 | DType::F16)
    }

    fn attend<T: Element>(
        &self,
        q: (&CpuStorage, &Layout),
        k: (&CpuStorage, &Layout),
        v: (&CpuStorage, &Layout),
    ) -> Result<(CpuStorage, Shape)> {
        let (batch, heads, group, dim) = q.1.shape().dims4()?;
        let queries: Vec<f32> = contiguous::<T>(self.name(), q.0, q.1)?.iter().map(|x| x.widen()).collect();
        let (keys, values) =
            (Heads::<T>::new(k, [batch, heads, dim])?, Heads::<T>::new(v, [batch, heads, dim])?);
        if keys.positions != values.positions {
            bail!("{} keys meet {} values", keys.positions, values.positions);
        }
        let mut out = vec![0.0f32; queries.len()];
        if queries.is_empty() {
            return Ok((T::store(out), q.1.shape().clone()));
        }
        let arch = Arch::new();
        let part = group * dim;
        out.par_chunks_mut(part).zip(queries.par_chunks(part)).enumerate().for_each(
            |(head, (out, queries))| {
                let (keys, values) = (keys.head(head), values.head(head));
                arch.dispatch(OneHead { queries, keys, values, out, dim, scale: self.scale });
            },
        );
        Ok((T::store(out), q.1.shape().clone()))
    }
}

impl CustomOp3 for AttendOne {
    fn name(&self) -> &'static str {
        "attention of one token"
    }

    fn cpu_fwd(
        &self,
        q: &CpuStorage,
        lq: &Layout,
        k: &CpuStorage,
        lk: &Layout,
        v: &CpuStorage,
        lv: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        match q {
            CpuStorage::F32(_) => self.attend::<f32>((q, lq), (k, lk), (v, lv)),
            CpuStorage::BF16(_) => self.attend::<bf16>((q, lq), (k, lk), (v, lv)),
            CpuStorage::F16(_) => self.attend::<f16>((q, lq), (k, lk), (v, lv)),
            _ => bail!("{} of elements that are no floats of at most 32 bits", self.name()),
        }
    }
}

/// `[batch heads positions dim]` of which each head lies in one piece.
struct Heads<'a, T> {
    elements: &'a [T],
    heads: usize,
    positions: usize,
    piece: usize,
    strides: [usize; 2],
}

impl<'a, T: Element> Heads<'a, T> {
    fn new(
        (storage, layout): (&'a CpuStorage, &Layout),
        [batch, heads, dim]: [usize; 3],
    ) -> Result<Heads<'a, T>> {
        let (b, h, positions, d) = layout.shape().dims4()?;
        let strides = layout.stride();
        if [b, h, d] != [batch, heads, dim] {
            bail!("heads of {:?} meet queries of {:?}", layout.dims(), [batch, heads, dim]);
        }
        if (dim > 1 && strides[3] != 1) || (positions > 1 && strides[2] != dim) {
            bail!("each head of a cache lies in one piece, but the strides are {strides:?}");
        }
        Ok(Heads {
            elements: &T::slice(storage)?[layout.start_offset()..],
            heads,
            positions,
            piece: positions * dim,
            strides: [strides[0], strides[1]],
        })
    }

    fn head(&self, number: usize) -> &'a [T] {
        let start = number / self.heads * self.strides[0] + number % self.heads * self.strides[1];
        &self.elements[start..start + self.piece]
    }
}

struct OneHead<'a, T> {
    queries: &'a [f32],
    keys: &'a [T],
    values: &'a [T],
    out: &'a mut [f32],
    dim: usize,
    scale: f32,
}

impl<T: Element> NullaryFnOnce for OneHead<'_, T> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let dim = self.dim;
        let mut scores = vec![0.0f32; self.keys.len() / dim];
        for (query, out) in self.queries.chunks_exact(dim).zip(self.out.chunks_exact_mut(dim)) {
            for (score, key) in scores.iter_mut().zip(self.keys.chunks_exact(dim)) {
                *score = product(query, key);
            }
            softmax(&mut scores, self.scale);
            for (weight, value) in scores.iter().zip(self.values.chunks_exact(dim)) {
                add_scaled(*weight, value, out);
            }
        }
    }
}

#[inline(always)]
fn product<T: Element>(x: &[f32], y: &[T]) -> f32 {
    let mut sums = [0.0f32; LANES];
    let (xs, ys) = (x.chunks_exact(LANES), y.chunks_exact(LANES));
    let rest: f32 = xs.remainder().iter().zip(ys.remainder()).map(|(x, y)| x * y.widen()).sum();
    for (x, y) in xs.zip(ys) {
        let y = T::load(block(y));
        for lane in 0..LANES {
            sums[lane] = x[lane].mul_add(y[lane], sums[lane]);
        }
    }
    sums.iter().sum::<f32>() + rest
}

#[inline(always)]
fn add_scaled<T: Element>(factor: f32, x: &[T], sums: &mut [f32]) {
    let xs = x.chunks_exact(LANES);
    let rest = xs.remainder();
    let mut blocks = sums.chunks_exact_mut(LANES);
    for (sums, x) in (&mut blocks).zip(xs) {
        let x = T::load(block(x));
        for lane in 0..LANES {
            sums[lane] = factor.mul_add(x[lane], sums[lane]);
        }
    }
    for (sum, x) in blocks.into_remainder().iter_mut().zip(rest) {
        *sum = factor.mul_add(x.widen(), *sum);
    }
}
