//! Rows of a table by token or position.

use candle_core::{DType, Device, Result, Tensor, bail};

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
    /// Ids of other devices are read once, as a kernel there cannot refuse one.
    ///
    /// # Errors
    /// Where an id is not in the table, or ids are no whole numbers.
    pub fn forward(&self, ids: &Tensor) -> Result<Tensor> {
        let mut shape = ids.dims().to_vec();
        shape.push(self.weight.dim(1)?);
        // u32 is the one type of index that every device takes.
        let flat = ids.flatten_all()?.contiguous()?;
        self.check(&flat)?;
        let flat = flat.to_dtype(DType::U32)?;
        self.weight.index_select(&flat, 0)?.reshape(shape)
    }

    /// That all ids are in the table: candle takes the largest u32 for a row of zeros, and other devices stop at an id
    /// that is out of range.
    fn check(&self, ids: &Tensor) -> Result<()> {
        if ids.dtype().is_float() {
            bail!("ids are whole numbers, not {}", ids.dtype().as_str());
        }
        let rows = self.weight.dim(0)?;
        let ids = ids.to_device(&Device::Cpu)?.to_dtype(DType::I64)?.to_vec1::<i64>()?;
        match ids.iter().find(|id| usize::try_from(**id).map_or(true, |id| id >= rows)) {
            Some(id) => bail!("there is no row {id} in a table of {rows}"),
            None => Ok(()),
        }
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
    use candle_core::{DType, Device, Result, Tensor};

    use super::Embedding;

    #[test]
    fn ids_give_their_rows() -> Result<()> {
        let table = Embedding::new(&Tensor::arange(0f32, 10.0, &Device::Cpu)?.reshape((5, 2))?)?;
        let ids = Tensor::new(&[[4u32, 0, 3]], &Device::Cpu)?;
        for dtype in [DType::U32, DType::I64, DType::U8] {
            let rows = table.forward(&ids.to_dtype(dtype)?)?.to_vec3::<f32>()?;
            assert_eq!(rows, [[[8., 9.], [0., 1.], [6., 7.]]]);
        }
        assert_eq!(table.forward(&Tensor::zeros((2, 0), DType::U32, &Device::Cpu)?)?.dims(), [2, 0, 2]);
        Ok(())
    }

    #[test]
    fn ids_that_are_not_in_the_table_are_refused() -> Result<()> {
        let table = Embedding::new(&Tensor::zeros((5, 2), DType::F32, &Device::Cpu)?)?;
        let refused = |ids: Tensor| table.forward(&ids).expect_err("no row").to_string();
        for id in [5u32, u32::MAX] {
            let error = refused(Tensor::new(&[[0, id]], &Device::Cpu)?);
            assert!(error.contains(&format!("there is no row {id} in a table of 5")), "{error}");
        }
        for id in [-1i64, 1 << 32, i64::MAX] {
            let error = refused(Tensor::new(&[[0, id]], &Device::Cpu)?);
            assert!(error.contains(&format!("there is no row {id} in a table of 5")), "{error}");
        }
        assert!(refused(Tensor::new(&[[0.5f32]], &Device::Cpu)?).contains("ids are whole numbers, not f32"));
        Ok(())
    }
}
