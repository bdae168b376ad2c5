//! Attention over cached keys and values.

use candle_core::{D, DType, Device, Result, Tensor, bail};

use super::KvCache;
use super::cpu::{AttendOne, CausalSoftmax};

/// Queries that are scored at once: more would take room for scores that the mask throws away.
const BLOCK: usize = 128;

/// The same on other devices, where each block costs launches of kernels.
const DEVICE_BLOCK: usize = 1024;

/// What each query attends to.
#[derive(Clone, Copy, Debug)]
pub enum Mask<'a> {
    /// Its own position and those before it; queries are the last of the positions.
    Causal,
    /// All positions, or those where a mask `[batch positions]` is not 0.
    Full(Option<&'a Tensor>),
}

/// Heads, and the keys and values of the tokens so far.
///
/// Several heads of queries may share one of keys and values (grouped-query attention, arXiv:2305.13245): query head
/// `h` takes key head `h / (heads / kv_heads)`. Keys and values are never repeated for it.
#[derive(Debug)]
pub struct Attention {
    scale: f64,
    cache: KvCache,
}

impl Attention {
    /// Attention with scores times `scale`, commonly `1 / sqrt(head_dim)`, and a cache of at most `positions`.
    #[must_use]
    pub fn new(scale: f64, positions: usize) -> Attention {
        Attention { scale, cache: KvCache::new(positions) }
    }

    /// Causal attention of new tokens to themselves and to all that are cached.
    ///
    /// `q [batch heads seq head_dim]`, `k` and `v [batch kv_heads seq head_dim]`, of which the first is at position
    /// `offset`, to `[batch heads seq head_dim]`.
    ///
    /// # Errors
    /// Where the shapes do not go together, positions before `offset` are not cached, or they are too many.
    pub fn forward(&mut self, q: &Tensor, k: &Tensor, v: &Tensor, offset: usize) -> Result<Tensor> {
        let (k, v) = self.cache.append(k, v, offset)?;
        attention(q, &k, &v, self.scale, Mask::Causal)
    }

    /// Forgets all tokens.
    pub fn clear_kv_cache(&mut self) {
        self.cache.clear();
    }
}

/// `softmax(scale q kᵀ) v`, the softmax in f32.
///
/// Scores of several queries, and on other devices than the processor those of one, are products of matrices, which
/// candle rounds to the dtype of `q`.
///
/// `q [batch heads seq head_dim]`, `k` and `v [batch kv_heads positions head_dim]` to `[batch heads seq head_dim]`.
///
/// # Errors
/// Where the shapes do not go together.
pub fn attention(q: &Tensor, k: &Tensor, v: &Tensor, scale: f64, mask: Mask<'_>) -> Result<Tensor> {
    let (batch, heads, seq, dim) = q.dims4()?;
    let (key_batch, kv_heads, positions, key_dim) = k.dims4()?;
    if kv_heads == 0 || !heads.is_multiple_of(kv_heads) || key_batch != batch || key_dim != dim {
        bail!("queries of {:?} and keys of {:?} do not go together", q.dims(), k.dims());
    }
    if v.dims() != k.dims() {
        bail!("keys of {:?} and values of {:?} do not go together", k.dims(), v.dims());
    }
    if matches!(mask, Mask::Causal) && seq > positions {
        bail!("{seq} queries cannot be the last of {positions} positions");
    }
    #[cfg(feature = "flash-attn")]
    if let Some(result) = flash(q, k, v, scale, mask)? {
        return Ok(result);
    }
    let (k, v) = (&regular(k)?, &regular(v)?);
    let group = heads / kv_heads;
    let on_cpu = matches!(q.device(), Device::Cpu);
    let unmasked = matches!(mask, Mask::Causal | Mask::Full(None));
    if seq == 1 && unmasked && on_cpu && AttendOne::takes(q.dtype()) {
        let grouped = q.contiguous()?.reshape((batch, kv_heads, group, dim))?;
        let out = grouped.apply_op3_no_bwd(k, v, &AttendOne { scale: scale as f32 })?;
        return out.reshape((batch, heads, 1, dim));
    }
    let grouped = q.reshape((batch, kv_heads, group, seq, dim))?;
    let block = if on_cpu { BLOCK } else { DEVICE_BLOCK };
    let mut outs = Vec::with_capacity(seq.div_ceil(block));
    for start in (0..seq).step_by(block) {
        let rows = block.min(seq - start);
        // Keys after the block's last query count for none of its queries.
        let seen = if matches!(mask, Mask::Causal) { positions - seq + start + rows } else { positions };
        let queries = grouped.narrow(3, start, rows)?.contiguous()?;
        let queries = queries.reshape((batch, kv_heads, group * rows, dim))?;
        let scores = queries.matmul(&k.narrow(2, 0, seen)?.t()?)?;
        let weights = softmax(&scores, scale, rows, mask)?.to_dtype(v.dtype())?;
        let out = weights.matmul(&v.narrow(2, 0, seen)?)?;
        outs.push(out.reshape((batch, heads, rows, dim))?);
    }
    match outs.as_slice() {
        [one] => Ok(one.clone()),
        all => Tensor::cat(all, 2),
    }
}

/// Keys or values `[batch heads positions head_dim]` as the products of all devices take them: each head in one piece,
/// heads equally far apart. Those of a cache are; heads that were split off a layer's output are not, and are copied.
fn regular(x: &Tensor) -> Result<Tensor> {
    let (batch, heads, positions, dim) = x.dims4()?;
    let strides = x.stride();
    let pieces = (dim == 1 || strides[3] == 1) && (positions == 1 || strides[2] == dim);
    if pieces && (batch == 1 || strides[0] == heads * strides[1]) { Ok(x.clone()) } else { x.contiguous() }
}

/// The weights of scores `[batch kv_heads group*queries keys]`, in f32; on the processor scores in f32 are overwritten.
/// Queries that see nothing weigh all by 0.
fn softmax(scores: &Tensor, scale: f64, queries: usize, mask: Mask<'_>) -> Result<Tensor> {
    let mut scores = scores.to_dtype(DType::F32)?.contiguous()?;
    if !matches!(scores.device(), Device::Cpu) {
        return device_softmax(&scores, scale, queries, mask);
    }
    if let Mask::Full(Some(mask)) = mask {
        let never = Tensor::full(f32::NEG_INFINITY, scores.shape(), scores.device())?;
        scores = seen(&scores, mask)?.where_cond(&scores, &never)?;
    }
    let causal = matches!(mask, Mask::Causal);
    scores.inplace_op1(&CausalSoftmax { scale: scale as f32, queries, causal })?;
    Ok(scores)
}

/// [`softmax`] by candle's operations, for scores in f32 in one piece.
fn device_softmax(scores: &Tensor, scale: f64, queries: usize, mask: Mask<'_>) -> Result<Tensor> {
    let mut scores = (scores * scale)?;
    if let Mask::Full(Some(mask)) = mask {
        let seen = seen(&scores, mask)?;
        // A finite number, as a row of minus infinities has no softmax.
        let never = Tensor::full(f32::MIN, scores.shape(), scores.device())?;
        let weights = candle_nn::ops::softmax_last_dim(&seen.where_cond(&scores, &never)?)?;
        return seen.where_cond(&weights, &weights.zeros_like()?);
    }
    if matches!(mask, Mask::Causal) && queries > 1 {
        let (batch, heads, rows, keys) = scores.dims4()?;
        let hidden = after(queries, keys, scores.device())?;
        let apart = scores.reshape((batch, heads, rows / queries, queries, keys))?;
        scores = apart.broadcast_add(&hidden)?.reshape((batch, heads, rows, keys))?;
    }
    candle_nn::ops::softmax_last_dim(&scores)
}

/// Minus infinity where a key comes after its query, `[queries keys]`. Only two ranges are sent to the device.
fn after(queries: usize, keys: usize, device: &Device) -> Result<Tensor> {
    let (first, last) = (index(keys - queries)?, index(keys)?);
    let rows = Tensor::arange(first, last, device)?.reshape((queries, 1))?.broadcast_as((queries, keys))?;
    let columns = Tensor::arange(0, last, device)?.reshape((1, keys))?.broadcast_as((queries, keys))?;
    let hidden = columns.contiguous()?.gt(&rows.contiguous()?)?;
    let never = Tensor::full(f32::NEG_INFINITY, (queries, keys), device)?;
    hidden.where_cond(&never, &never.zeros_like()?)
}

fn index(position: usize) -> Result<u32> {
    u32::try_from(position).map_err(|_| candle_core::Error::Msg(format!("{position} positions are too many")))
}

/// Which scores count, those where a mask `[batch positions]` is not 0: of u8 and of the scores' shape.
fn seen(scores: &Tensor, mask: &Tensor) -> Result<Tensor> {
    let (batch, heads, rows, keys) = scores.dims4()?;
    if mask.dims() != [batch, keys] {
        bail!("a mask of {:?} is for other than {batch} x {keys} positions", mask.dims());
    }
    let shape = (batch, heads, rows, keys);
    mask.ne(0u32)?.reshape((batch, 1, 1, keys))?.broadcast_as(shape)?.contiguous()
}

/// FlashAttention, where the dtype and the device allow it.
#[cfg(feature = "flash-attn")]
fn flash(q: &Tensor, k: &Tensor, v: &Tensor, scale: f64, mask: Mask<'_>) -> Result<Option<Tensor>> {
    let (causal, unmasked) = match mask {
        Mask::Causal => (true, true),
        Mask::Full(mask) => (false, mask.is_none()),
    };
    let half = matches!(q.dtype(), DType::F16 | DType::BF16);
    let dim = q.dim(D::Minus1)?;
    if !q.device().is_cuda() || !half || !unmasked || dim > 256 || !dim.is_multiple_of(8) {
        return Ok(None);
    }
    // [batch heads seq head_dim] -> [batch seq heads head_dim], as views: the kernel takes strides, but for the last.
    let turn = |x: &Tensor| {
        let x = x.transpose(1, 2)?;
        if x.stride().last() == Some(&1) { Ok(x) } else { x.contiguous() }
    };
    let out = candle_flash_attn::flash_attn(&turn(q)?, &turn(k)?, &turn(v)?, scale as f32, causal)?;
    Ok(Some(out.transpose(1, 2)?))
}

/// `x [batch seq heads*head_dim]` as heads: `[batch heads seq head_dim]`, a view.
///
/// # Errors
/// Where the last dimension is no multiple of `heads`.
pub fn split_heads(x: &Tensor, heads: usize) -> Result<Tensor> {
    let (batch, seq, width) = x.dims3()?;
    if heads == 0 || !width.is_multiple_of(heads) {
        bail!("{width} elements cannot be {heads} heads");
    }
    x.reshape((batch, seq, heads, width / heads))?.transpose(1, 2)
}

/// Heads `[batch heads seq head_dim]` side by side: `[batch seq heads*head_dim]`.
///
/// # Errors
/// Of candle.
pub fn join_heads(x: &Tensor) -> Result<Tensor> {
    x.transpose(1, 2)?.contiguous()?.flatten_from(D::Minus2)
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Result, Tensor};

    use super::{
        Attention, Mask, after, attention, device_softmax, join_heads, regular, softmax, split_heads,
    };
    use crate::nn::KvCache;

    fn noise(shape: (usize, usize, usize, usize), seed: usize) -> Result<Tensor> {
        let count = shape.0 * shape.1 * shape.2 * shape.3;
        let values: Vec<f32> = (0..count).map(|i| ((i * 7919 + seed) % 401) as f32 * 0.01 - 2.0).collect();
        Tensor::from_vec(values, shape, &Device::Cpu)
    }

    /// By the definition, in f64: `seen(batch, query, key)`.
    fn expected(
        [q, k, v]: [&Tensor; 3],
        scale: f64,
        seen: impl Fn(usize, usize, usize) -> bool,
    ) -> Result<Vec<f64>> {
        let (batch, heads, seq, dim) = q.dims4()?;
        let (_, kv_heads, positions, _) = k.dims4()?;
        let read = |t: &Tensor| t.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>();
        let (q, k, v) = (read(q)?, read(k)?, read(v)?);
        let mut out = Vec::new();
        for b in 0..batch {
            for h in 0..heads {
                let kv = (b * kv_heads + h / (heads / kv_heads)) * positions;
                for s in 0..seq {
                    let query = &q[((b * heads + h) * seq + s) * dim..][..dim];
                    let weight = |p: usize| {
                        let key = &k[(kv + p) * dim..][..dim];
                        let score: f64 = query.iter().zip(key).map(|(q, k)| q * k).sum();
                        if seen(b, s, p) { (score * scale).exp() } else { 0.0 }
                    };
                    let weights: Vec<f64> = (0..positions).map(weight).collect();
                    let sum: f64 = weights.iter().sum();
                    for d in 0..dim {
                        out.push(
                            (0..positions).map(|p| weights[p] * v[(kv + p) * dim + d]).sum::<f64>() / sum,
                        );
                    }
                }
            }
        }
        Ok(out)
    }

    fn close(actual: &Tensor, expected: &[f64]) -> Result<()> {
        let actual = actual.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
        assert_eq!(actual.len(), expected.len());
        for (at, (a, e)) in actual.iter().zip(expected).enumerate() {
            assert!((a - e).abs() < 2e-5, "element {at}: {a} for {e}");
        }
        Ok(())
    }

    #[test]
    fn causal_attention_in_pieces_is_that_of_the_whole() -> Result<()> {
        // Heads that are shared and that are not, one batch and several, more queries than a block, a square.
        for (batch, heads, kv_heads, seq, dim) in
            [(1, 6, 2, 9, 5), (2, 4, 4, 7, 16), (3, 3, 1, 4, 20), (1, 2, 1, 300, 8), (4, 4, 4, 4, 4)]
        {
            let q = noise((batch, heads, seq, dim), 1)?;
            let k = noise((batch, kv_heads, seq, dim), 2)?;
            let v = noise((batch, kv_heads, seq, dim), 3)?;
            let expected = expected([&q, &k, &v], 0.3, |_, s, p| p <= s)?;
            let mut whole = Attention::new(0.3, seq);
            close(&whole.forward(&q, &k, &v, 0)?, &expected)?;
            let mut stepped = Attention::new(0.3, seq);
            let mut outs = Vec::new();
            let first = seq / 2;
            for (at, count) in [(0, first), (first, 1), (first + 1, seq - first - 1)] {
                if count > 0 {
                    let part = |t: &Tensor| t.narrow(2, at, count);
                    outs.push(stepped.forward(&part(&q)?, &part(&k)?, &part(&v)?, at)?);
                }
            }
            close(&Tensor::cat(&outs, 2)?, &expected)?;
        }
        Ok(())
    }

    #[test]
    fn full_attention_takes_masks() -> Result<()> {
        let (batch, heads, seq, dim) = (2, 2, 5, 6);
        let (q, k, v) = (noise((2, 2, 5, 6), 1)?, noise((2, 2, 5, 6), 2)?, noise((2, 2, 5, 6), 3)?);
        assert_eq!(q.dims4()?, (batch, heads, seq, dim));
        let all = attention(&q, &k, &v, 0.5, Mask::Full(None))?;
        close(&all, &expected([&q, &k, &v], 0.5, |_, _, _| true)?)?;
        let mask = Tensor::new(&[[1u32, 1, 0, 1, 0], [1, 1, 1, 1, 1]], &Device::Cpu)?;
        let some = attention(&q, &k, &v, 0.5, Mask::Full(Some(&mask)))?;
        close(&some, &expected([&q, &k, &v], 0.5, |b, _, p| b == 1 || !matches!(p, 2 | 4))?)?;
        let other = Tensor::zeros((1, 5), DType::U32, &Device::Cpu)?;
        assert!(attention(&q, &k, &v, 0.5, Mask::Full(Some(&other))).is_err());
        Ok(())
    }

    #[test]
    fn the_mask_of_other_devices_hides_what_comes_after() -> Result<()> {
        let inf = f32::NEG_INFINITY;
        let hidden = after(2, 4, &Device::Cpu)?.to_vec2::<f32>()?;
        assert_eq!(hidden, [[0.0, 0.0, 0.0, inf], [0.0, 0.0, 0.0, 0.0]]);
        Ok(())
    }

    #[test]
    fn halves_are_attended_to() -> Result<()> {
        for dtype in [DType::BF16, DType::F16] {
            let half = |seed| noise((1, 4, 6, 8), seed)?.to_dtype(dtype);
            let (q, k, v) = (half(1)?, half(2)?, half(3)?);
            let expected = expected([&q, &k, &v], 0.35, |_, s, p| p <= s)?;
            let whole = attention(&q, &k, &v, 0.35, Mask::Causal)?;
            let last = attention(&q.narrow(2, 5, 1)?, &k, &v, 0.35, Mask::Causal)?;
            assert_eq!((whole.dtype(), last.dtype()), (dtype, dtype));
            let whole = whole.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
            for (a, e) in whole.iter().zip(&expected) {
                assert!((a - e).abs() < 3e-2, "{dtype:?}: {a} for {e}");
            }
            let last = last.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
            for (head, last) in last.chunks(8).enumerate() {
                for (a, e) in last.iter().zip(&expected[(head * 6 + 5) * 8..]) {
                    assert!((a - e).abs() < 3e-2, "{dtype:?}: {a} for {e}");
                }
            }
        }
        Ok(())
    }

    #[test]
    fn keys_and_values_lie_as_all_devices_take_them() -> Result<()> {
        for (batch, heads, seq, dim) in [(2, 3, 5, 4), (1, 3, 5, 4), (3, 3, 3, 3), (2, 3, 1, 4)] {
            let x = noise((1, batch, seq, heads * dim), 1)?.squeeze(0)?;
            let split = split_heads(&x, heads)?;
            let piece = regular(&split)?;
            let at = |t: &Tensor| t.flatten_all()?.to_vec1::<f32>();
            assert_eq!(at(&piece)?, at(&split)?);
            // Positions, where there are several, follow each other; batches are as far apart as their heads make.
            let strides = piece.stride();
            assert!(strides[3] == 1 && (seq == 1 || strides[2] == dim), "{strides:?}");
            assert!(batch == 1 || strides[0] == heads * strides[1], "{strides:?}");
            let (cached, _) = KvCache::new(600).append(&split, &split, 0)?;
            assert_eq!(regular(&cached)?.stride(), cached.stride(), "a cache is not copied");
            assert_eq!(cached.stride(), [heads * 256 * dim, 256 * dim, dim, 1]);
        }
        Ok(())
    }

    #[test]
    fn one_query_sees_heads_that_were_split_off() -> Result<()> {
        let (batch, heads, positions, dim) = (2, 3, 5, 4);
        let split = |seed| split_heads(&noise((1, batch, positions, heads * dim), seed)?.squeeze(0)?, heads);
        let (q, k, v) = (noise((batch, heads, 1, dim), 1)?, split(2)?, split(3)?);
        let (flat_k, flat_v) = (k.contiguous()?, v.contiguous()?);
        for mask in [Mask::Full(None), Mask::Causal] {
            let one = attention(&q, &k, &v, 0.5, mask)?;
            close(&one, &expected([&q, &flat_k, &flat_v], 0.5, |_, _, _| true)?)?;
        }
        Ok(())
    }

    #[test]
    fn masks_are_of_any_type_and_may_hide_all() -> Result<()> {
        let (q, k, v) = (noise((2, 2, 3, 6), 1)?, noise((2, 2, 5, 6), 2)?, noise((2, 2, 5, 6), 3)?);
        let expected = expected([&q, &k, &v], 0.5, |_, _, p| !matches!(p, 2 | 4))?;
        let first = expected.len() / 2;
        let masks = [
            Tensor::new(&[[0.5f32, 256.0, 0.0, -1.0, 0.0], [0.0; 5]], &Device::Cpu)?,
            Tensor::new(&[[1u32, 256, 0, 1 << 31, 0], [0; 5]], &Device::Cpu)?,
            Tensor::new(&[[1u8, 255, 0, 2, 0], [0; 5]], &Device::Cpu)?,
            Tensor::new(&[[1i64, 256, 0, 1 << 32, 0], [0; 5]], &Device::Cpu)?,
        ];
        let scores = q.matmul(&k.t()?)?;
        for mask in &masks {
            let mask = Mask::Full(Some(mask));
            let out = attention(&q, &k, &v, 0.5, mask)?;
            close(&out.narrow(0, 0, 1)?, &expected[..first])?;
            close(&out.narrow(0, 1, 1)?, &vec![0.0; first])?;
            // What other devices compute.
            let weights = device_softmax(&scores, 0.5, 3, mask)?;
            close(&weights.matmul(&v)?, &[&expected[..first], &vec![0.0; first]].concat())?;
        }
        for mask in [Mask::Causal, Mask::Full(None)] {
            // The processor's softmax is in place.
            let own = softmax(&scores.copy()?, 0.5, 3, mask)?
                .to_dtype(DType::F64)?
                .flatten_all()?
                .to_vec1::<f64>()?;
            close(&device_softmax(&scores, 0.5, 3, mask)?, &own)?;
        }
        Ok(())
    }

    #[test]
    fn heads_come_apart_and_together() -> Result<()> {
        let x = noise((1, 2, 3, 12), 5)?.reshape((2, 3, 12))?;
        let heads = split_heads(&x, 4)?;
        assert_eq!(heads.dims(), [2, 4, 3, 3]);
        assert_eq!(join_heads(&heads)?.to_vec3::<f32>()?, x.to_vec3::<f32>()?);
        assert!(split_heads(&x, 5).is_err_and(|e| e.to_string().contains("12 elements cannot be 5 heads")));
        Ok(())
    }

    #[test]
    fn shapes_that_do_not_go_together_are_refused() -> Result<()> {
        let (q, k) = (noise((1, 4, 2, 3), 1)?, noise((1, 3, 2, 3), 2)?);
        assert!(attention(&q, &k, &k, 1.0, Mask::Causal).is_err());
        let (k, v) = (noise((1, 2, 2, 3), 2)?, noise((1, 2, 3, 3), 2)?);
        assert!(attention(&q, &k, &v, 1.0, Mask::Causal).is_err());
        let short = noise((1, 2, 1, 3), 2)?;
        assert!(attention(&q, &short, &short, 1.0, Mask::Causal).is_err());
        Ok(())
    }
}
