//! What models do to shapes. Extents such as batch and sequence are dimensions of their own; all other axes of a value
//! lie in its last dimension.

use candle_core::{D, DType, Device, Error, Result, Tensor, bail};

/// The last token of `x [batch seq …]`: `[batch 1 …]`.
///
/// # Errors
/// Where there is no token.
pub fn last(x: &Tensor) -> Result<Tensor> {
    match x.dim(1)? {
        0 => bail!("there is no token"),
        seq => x.narrow(1, seq - 1, 1),
    }
}

/// Parts of the last dimension, of these sizes one after the other: views.
///
/// # Errors
/// Where they do not add up to it.
pub fn split<const N: usize>(x: &Tensor, sizes: [usize; N]) -> Result<[Tensor; N]> {
    let width = x.dim(D::Minus1)?;
    if sizes.iter().try_fold(0usize, |sum, size| sum.checked_add(*size)) != Some(width) {
        bail!("parts of {sizes:?} do not make {width} elements");
    }
    parts(sizes, |start, size| x.narrow(D::Minus1, start, size))
}

/// What `part` gives for the start and the size of each part of these sizes.
fn parts<const N: usize>(
    sizes: [usize; N],
    part: impl Fn(usize, usize) -> Result<Tensor>,
) -> Result<[Tensor; N]> {
    let mut start = 0;
    let mut parts = Vec::with_capacity(N);
    for size in sizes {
        parts.push(part(start, size)?);
        start += size;
    }
    <[Tensor; N]>::try_from(parts).map_err(|_| Error::Msg("parts were lost".to_owned()))
}

/// Parts of an axis inside the last dimension, which is `before * sizes * after`: each part `[… before*size*after]`.
///
/// # Errors
/// Where the product is another.
pub fn split_within<const N: usize>(
    x: &Tensor,
    before: usize,
    sizes: [usize; N],
    after: usize,
) -> Result<[Tensor; N]> {
    let whole = split_last(x, &[before, sizes.iter().sum(), after])?;
    parts(sizes, |start, size| join_last(&whole.narrow(D::Minus2, start, size)?, 3))
}

/// The first or the last coordinate along a dimension, which is gone after it.
///
/// # Errors
/// Where there is none.
pub fn pick(x: &Tensor, dim: usize, last: bool) -> Result<Tensor> {
    match x.dim(dim)? {
        0 => bail!("there is nothing to pick from"),
        size => x.narrow(dim, if last { size - 1 } else { 0 }, 1)?.squeeze(dim),
    }
}

/// The last dimension as several: `[… a*b]` to `[… a b]`.
///
/// # Errors
/// Where the product of `sizes` is another.
pub fn split_last(x: &Tensor, sizes: &[usize]) -> Result<Tensor> {
    let Some((_, outer)) = x.dims().split_last() else { bail!("a scalar has no axes") };
    x.contiguous()?.reshape([outer, sizes].concat())
}

/// The last `count` dimensions as one.
///
/// # Errors
/// Where there are fewer.
pub fn join_last(x: &Tensor, count: usize) -> Result<Tensor> {
    match x.rank().checked_sub(count) {
        _ if count == 0 => x.unsqueeze(x.rank()),
        Some(first) => x.contiguous()?.flatten_from(first),
        None => bail!("{count} of {} dimensions cannot be joined", x.rank()),
    }
}

/// Axes that `x`'s last dimension lacks, repeated: of the axes of `sizes` it has those that `present` tells.
///
/// # Errors
/// Where the last dimension is not the product of those present.
pub fn repeat_last(x: &Tensor, sizes: &[usize], present: &[bool]) -> Result<Tensor> {
    let Some((_, outer)) = x.dims().split_last() else { bail!("a scalar has no axes") };
    let own: Vec<usize> =
        sizes.iter().zip(present).map(|(size, present)| if *present { *size } else { 1 }).collect();
    let whole: usize = sizes.iter().product();
    let spread = x.contiguous()?.reshape([outer, &own].concat())?.broadcast_as([outer, sizes].concat())?;
    spread.contiguous()?.reshape([outer, &[whole]].concat())
}

/// Heads in another order: `x [batch heads seq dim]`, whose heads are the product of `sizes`, with these in `order`.
///
/// # Errors
/// Where the heads are another number.
pub fn permute_heads(x: &Tensor, sizes: &[usize], order: &[usize]) -> Result<Tensor> {
    let (batch, heads, seq, dim) = x.dims4()?;
    let shape = [&[batch], sizes, &[seq, dim]].concat();
    let last = sizes.len() + 1;
    let all: Vec<usize> =
        [0].into_iter().chain(order.iter().map(|at| at + 1)).chain([last, last + 1]).collect();
    x.contiguous()?.reshape(shape)?.permute(all)?.contiguous()?.reshape((batch, heads, seq, dim))
}

/// 0, 1, 2, … from `offset` on, `length` of them, of u32.
///
/// # Errors
/// Where they do not fit u32.
pub fn positions(offset: usize, length: usize, device: &Device) -> Result<Tensor> {
    let end = offset.checked_add(length).and_then(|end| u32::try_from(end).ok());
    let (Ok(start), Some(end)) = (u32::try_from(offset), end) else {
        bail!("{length} positions from {offset} on are too many");
    };
    Tensor::arange(start, end, device)
}

/// Softmax along the last dimension, in f32.
///
/// # Errors
/// Of candle.
pub fn softmax(x: &Tensor) -> Result<Tensor> {
    candle_nn::ops::softmax_last_dim(&x.to_dtype(DType::F32)?.contiguous()?)?.to_dtype(x.dtype())
}

/// Softmax along any dimension, in f32.
///
/// # Errors
/// Of candle.
pub fn softmax_along(x: &Tensor, dim: usize) -> Result<Tensor> {
    candle_nn::ops::softmax(&x.to_dtype(DType::F32)?, dim)?.to_dtype(x.dtype())
}

/// The `count` largest along the last dimension and where they are, of u32: largest first, of equal ones the first.
///
/// Decided on the host: `x` is read from the device.
///
/// # Errors
/// Where there are fewer, or one is not a number.
pub fn top_k(x: &Tensor, count: usize) -> Result<(Tensor, Tensor)> {
    let width = x.dim(D::Minus1)?;
    if count > width {
        bail!("{count} of {width} cannot be chosen");
    }
    let rows = x.to_dtype(DType::F32)?.contiguous()?.reshape(((), width))?.to_vec2::<f32>()?;
    let mut chosen = Vec::with_capacity(rows.len() * count);
    for row in &rows {
        if row.iter().any(|x| x.is_nan()) {
            bail!("what is chosen from are not all numbers");
        }
        let mut order: Vec<u32> = (0u32..).zip(row).map(|(at, _)| at).collect();
        order.sort_by(|a, b| row[*b as usize].total_cmp(&row[*a as usize]));
        chosen.extend_from_slice(&order[..count]);
    }
    let mut shape = x.dims().to_vec();
    shape.pop();
    shape.push(count);
    let indices = Tensor::from_vec(chosen, shape, x.device())?;
    Ok((x.contiguous()?.gather(&indices, D::Minus1)?, indices))
}

/// A tensor of one number.
///
/// # Errors
/// Of candle.
pub fn number(number: f64, device: &Device, dtype: DType) -> Result<Tensor> {
    // In its dtype before it moves, as not all devices have f64.
    Tensor::full(number, (), &Device::Cpu)?.to_dtype(dtype)?.to_device(device)
}

/// A number that counts something.
///
/// # Errors
/// Where it is negative or not whole.
pub fn size(number: f64) -> Result<usize> {
    if number.fract() != 0.0 || !(0.0..9e15).contains(&number) {
        bail!("{number} is no size");
    }
    Ok(number as usize)
}

/// That a model was loaded without a part that another config would have.
#[must_use]
pub fn absent(name: &str) -> Error {
    Error::Msg(format!("the model was loaded without `{name}`")).bt()
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Result, Tensor};

    use super::{join_last, last, number, permute_heads, repeat_last, split, split_last, top_k};

    fn counted(shape: &[usize]) -> Result<Tensor> {
        let count: usize = shape.iter().product();
        Tensor::arange(0f32, count as f32, &Device::Cpu)?.reshape(shape)
    }

    #[test]
    fn last_dimensions_come_apart_and_together() -> Result<()> {
        let x = counted(&[2, 3, 10])?;
        let [a, b, c] = split(&x, [5, 2, 3])?;
        assert_eq!((a.dims(), b.dims(), c.dims()), (&[2, 3, 5][..], &[2, 3, 2][..], &[2, 3, 3][..]));
        assert_eq!(Tensor::cat(&[a, b, c], 2)?.to_vec3::<f32>()?, x.to_vec3::<f32>()?);
        assert!(split(&x, [5, 2, 2]).is_err() && split(&x, [usize::MAX, 11]).is_err());
        let apart = split_last(&x, &[5, 2])?;
        assert_eq!(apart.dims(), [2, 3, 5, 2]);
        assert_eq!(join_last(&apart, 2)?.to_vec3::<f32>()?, x.to_vec3::<f32>()?);
        assert_eq!(join_last(&counted(&[2, 3])?, 0)?.dims(), [2, 3, 1]);
        assert_eq!(last(&x)?.to_vec3::<f32>()?[1][0], x.to_vec3::<f32>()?[1][2]);
        Ok(())
    }

    #[test]
    fn missing_axes_are_repeated() -> Result<()> {
        // One number for each of 3 heads, over heads of 2.
        let x = repeat_last(&counted(&[1, 3])?, &[3, 2], &[true, false])?;
        assert_eq!(x.to_vec2::<f32>()?, [[0., 0., 1., 1., 2., 2.]]);
        let x = repeat_last(&counted(&[1, 2])?, &[3, 2], &[false, true])?;
        assert_eq!(x.to_vec2::<f32>()?, [[0., 1., 0., 1., 0., 1.]]);
        Ok(())
    }

    #[test]
    fn heads_are_put_in_order() -> Result<()> {
        let x = counted(&[1, 6, 1, 1])?;
        let turned = permute_heads(&x, &[2, 3], &[1, 0])?;
        assert_eq!(turned.flatten_all()?.to_vec1::<f32>()?, [0., 3., 1., 4., 2., 5.]);
        let back = permute_heads(&turned, &[3, 2], &[1, 0])?;
        assert_eq!(back.flatten_all()?.to_vec1::<f32>()?, [0., 1., 2., 3., 4., 5.]);
        Ok(())
    }

    #[test]
    fn numbers_are_of_the_dtype() -> Result<()> {
        for dtype in [DType::F64, DType::F32, DType::BF16, DType::F16] {
            let third = number(1.0 / 3.0, &Device::Cpu, dtype)?;
            let expected = Tensor::new(1.0f64 / 3.0, &Device::Cpu)?.to_dtype(dtype)?;
            assert_eq!((third.dtype(), third.dims().len()), (dtype, 0));
            let widened = |x: &Tensor| x.to_dtype(DType::F64)?.to_scalar::<f64>();
            assert_eq!(widened(&third)?.to_bits(), widened(&expected)?.to_bits());
        }
        Ok(())
    }

    #[test]
    fn the_largest_come_first() -> Result<()> {
        let x = Tensor::new(&[[1f32, 4., 4., -1.], [0., -2., 7., 3.]], &Device::Cpu)?;
        let (values, indices) = top_k(&x, 2)?;
        assert_eq!(values.to_vec2::<f32>()?, [[4., 4.], [7., 3.]]);
        assert_eq!(indices.to_vec2::<u32>()?, [[1, 2], [2, 3]]);
        assert!(top_k(&x, 5).is_err() && top_k(&Tensor::new(&[f32::NAN], &Device::Cpu)?, 1).is_err());
        Ok(())
    }
}
