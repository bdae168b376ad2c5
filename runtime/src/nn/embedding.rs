//! Rows of a table by token or position.

use candle_core::{DType, Result, Tensor, bail};

/// A table `[rows hidden]`.
#[derive(Clone, Debug)]
pub struct Embedding {
    weight: Tensor,
}

impl Embedding {
    /// A table of `weight [rows hidden]`.
    ///
    /// # Errors
    /// Where it has other than two dimensions.
    pub fn new(weight: &Tensor) -> Result<Embedding> {
        weight.dims2()?;
        Ok(Embedding { weight: weight.contiguous()? })
    }

    /// The table `[rows hidden]`.
    #[must_use]
    pub fn weight(&self) -> &Tensor {
        &self.weight
    }

    /// The rows of `ids`, commonly `[batch seq]`: `[… hidden]`.
    ///
    /// # Errors
    /// Where an id is not in the table.
    pub fn forward(&self, ids: &Tensor) -> Result<Tensor> {
        let mut shape = ids.dims().to_vec();
        shape.push(self.weight.dim(1)?);
        // u32 is the one type of index that every device takes.
        let flat = ids.to_dtype(DType::U32)?.flatten_all()?.contiguous()?;
        // Kernels take the largest index for a row of zeros, and one beyond the table stops a CUDA device for good.
        let rows = self.weight.dim(0)?;
        if flat.elem_count() > 0 {
            let largest = flat.max(0)?.to_scalar::<u32>()?;
            if usize::try_from(largest).is_ok_and(|largest| largest >= rows) {
                bail!("the table has {rows} rows, but row {largest} is asked for");
            }
        }
        self.weight.index_select(&flat, 0)?.reshape(shape)
    }

    /// The rows of `length` positions from `offset` on: `[length hidden]`.
    ///
    /// # Errors
    /// Where the table ends before them.
    pub fn positions(&self, offset: usize, length: usize) -> Result<Tensor> {
        let rows = self.weight.dim(0)?;
        if offset.checked_add(length).is_none_or(|end| end > rows) {
            bail!("the model has {rows} positions, but {length} tokens are to follow {offset}");
        }
        self.weight.narrow(0, offset, length)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Result, Tensor};

    use super::Embedding;

    #[test]
    fn rows_are_those_of_the_ids_and_no_others() -> Result<()> {
        let table = Embedding::new(&Tensor::new(&[[1f32, 2.0], [3.0, 4.0], [5.0, 6.0]], &Device::Cpu)?)?;
        let rows = table.forward(&Tensor::new(&[[2u32, 0]], &Device::Cpu)?)?;
        assert_eq!(rows.to_vec3::<f32>()?, [[[5.0, 6.0], [1.0, 2.0]]]);
        for beyond in [Tensor::new(&[3u32], &Device::Cpu)?, Tensor::new(&[u32::MAX], &Device::Cpu)?] {
            assert!(table.forward(&beyond).is_err(), "{beyond}");
        }
        assert!(table.forward(&Tensor::new(&[0i64, -1], &Device::Cpu)?).is_err());
        Ok(())
    }
}
