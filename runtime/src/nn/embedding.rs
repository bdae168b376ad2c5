//! Rows of a table by token or position.

use candle_core::{DType, Result, Tensor};

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
        self.weight.index_select(&flat, 0)?.reshape(shape)
    }

    /// The rows of `length` positions from `offset` on: `[length hidden]`.
    ///
    /// # Errors
    /// Where the table ends before them.
    pub fn positions(&self, offset: usize, length: usize) -> Result<Tensor> {
        let rows = self.weight.dim(0)?;
        if offset.checked_add(length).is_none_or(|end| end > rows) {
            candle_core::bail!("the model has {rows} positions, but {length} tokens are to follow {offset}");
        }
        self.weight.narrow(0, offset, length)
    }
}
