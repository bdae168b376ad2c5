//! Keys and values of the tokens so far.

use candle_core::{Result, Tensor, bail};

/// Positions that a cache has room for at first; it doubles as they come.
const FIRST: usize = 256;

/// The keys and values of one layer, `[batch kv_heads positions head_dim]` each, with room for those to come.
///
/// It is written in place, so it is no `Clone`: a clone would share the room, and each write into the other's.
///
/// ```compile_fail,E0599
/// let cache = transship::nn::KvCache::new(8);
/// let _ = cache.clone();
/// ```
#[derive(Debug)]
pub struct KvCache {
    stored: Option<Stored>,
    /// Positions at most; tokens beyond are refused.
    limit: usize,
}

#[derive(Debug)]
struct Stored {
    keys: Tensor,
    values: Tensor,
    length: usize,
}

impl KvCache {
    /// An empty cache for at most `limit` positions. Room is taken as tokens come.
    #[must_use]
    pub fn new(limit: usize) -> KvCache {
        KvCache { stored: None, limit }
    }

    /// How many positions are cached.
    #[must_use]
    pub fn length(&self) -> usize {
        self.stored.as_ref().map_or(0, |s| s.length)
    }

    /// Forgets all positions. The room is kept.
    pub fn clear(&mut self) {
        if let Some(stored) = &mut self.stored {
            stored.length = 0;
        }
    }

    /// Puts `keys` and `values` `[batch kv_heads seq head_dim]` at `offset`, and returns all up to them:
    /// `[batch kv_heads offset+seq head_dim]`. What was cached from `offset` on is forgotten.
    ///
    /// # Errors
    /// Where positions before `offset` are not cached, or there would be more than the limit.
    pub fn append(&mut self, keys: &Tensor, values: &Tensor, offset: usize) -> Result<(Tensor, Tensor)> {
        let seq = keys.dim(2)?;
        let end = match offset.checked_add(seq) {
            Some(end) if end <= self.limit => end,
            _ => bail!("the model has {} positions, but {seq} tokens are to follow {offset}", self.limit),
        };
        if offset > self.length() {
            bail!("tokens are to follow {offset} positions, but {} are cached", self.length());
        }
        let mut stored = self.room(keys, values, offset, end)?;
        stored.keys.slice_set(&keys.contiguous()?, 2, offset)?;
        stored.values.slice_set(&values.contiguous()?, 2, offset)?;
        stored.length = end;
        let seen = (stored.keys.narrow(2, 0, end)?, stored.values.narrow(2, 0, end)?);
        self.stored = Some(stored);
        Ok(seen)
    }

    /// Room for `end` positions that keeps the first `offset`.
    fn room(&self, keys: &Tensor, values: &Tensor, offset: usize, end: usize) -> Result<Stored> {
        let fits = |room: &Tensor, new: &Tensor| {
            let (r, n) = (room.dims(), new.dims());
            r.len() == 4 && n.len() == 4 && r[..2] == n[..2] && r[3] == n[3] && room.dtype() == new.dtype()
        };
        let old = self.stored.as_ref().filter(|s| fits(&s.keys, keys) && fits(&s.values, values));
        if old.is_none() && offset > 0 {
            bail!("the cached keys are of another shape than {:?}; clear the cache first", keys.dims());
        }
        if let Some(old) = old.filter(|s| s.keys.dims()[2] >= end) {
            return Ok(Stored { keys: old.keys.clone(), values: old.values.clone(), length: offset });
        }
        let capacity = end.max(FIRST).next_power_of_two().min(self.limit);
        let grown = |new: &Tensor, old: Option<&Tensor>| -> Result<Tensor> {
            let (batch, heads, _, dim) = new.dims4()?;
            let room = Tensor::zeros((batch, heads, capacity, dim), new.dtype(), new.device())?;
            if let Some(old) = old
                && offset > 0
            {
                room.slice_set(&old.narrow(2, 0, offset)?.contiguous()?, 2, 0)?;
            }
            Ok(room)
        };
        Ok(Stored {
            keys: grown(keys, old.map(|s| &s.keys))?,
            values: grown(values, old.map(|s| &s.values))?,
            length: offset,
        })
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Result, Tensor};

    use super::KvCache;

    fn tokens(from: usize, count: usize) -> Result<Tensor> {
        // [1 2 count 3], told apart by head, position and element.
        let at = |h: usize, p: usize, d: usize| (h * 10_000 + (from + p) * 10 + d) as f32;
        let values: Vec<f32> =
            (0..2).flat_map(|h| (0..count).flat_map(move |p| (0..3).map(move |d| at(h, p, d)))).collect();
        Tensor::from_vec(values, (1, 2, count, 3), &Device::Cpu)
    }

    fn same(a: &Tensor, b: &Tensor) -> Result<()> {
        assert_eq!(a.dims(), b.dims());
        assert_eq!(a.flatten_all()?.to_vec1::<f32>()?, b.flatten_all()?.to_vec1::<f32>()?);
        Ok(())
    }

    #[test]
    fn positions_add_up_over_growth() -> Result<()> {
        let mut cache = KvCache::new(600);
        let mut offset = 0;
        for count in [5, 1, 1, 250, 1, 342] {
            let (keys, values) =
                cache.append(&tokens(offset, count)?, &(tokens(offset, count)? * -1.0)?, offset)?;
            offset += count;
            same(&keys, &tokens(0, offset)?)?;
            same(&values, &(tokens(0, offset)? * -1.0)?)?;
        }
        let error =
            cache.append(&tokens(600, 1)?, &tokens(600, 1)?, 600).expect_err("it is full").to_string();
        assert!(error.contains("the model has 600 positions, but 1 tokens are to follow 600"), "{error}");
        Ok(())
    }

    #[test]
    fn tokens_can_be_taken_back() -> Result<()> {
        let mut cache = KvCache::new(100);
        cache.append(&tokens(0, 8)?, &tokens(0, 8)?, 0)?;
        let (keys, _) = cache.append(&tokens(3, 2)?, &tokens(3, 2)?, 3)?;
        same(&keys, &tokens(0, 5)?)?;
        let error = cache.append(&tokens(7, 1)?, &tokens(7, 1)?, 7).expect_err("5 are cached").to_string();
        assert!(error.contains("are to follow 7 positions, but 5 are cached"), "{error}");
        cache.clear();
        assert_eq!(cache.length(), 0);
        let other = Tensor::zeros((4, 2, 3, 3), candle_core::DType::F32, &Device::Cpu)?;
        assert_eq!(cache.append(&other, &other, 0)?.0.dims(), [4, 2, 3, 3]);
        assert!(cache.append(&tokens(3, 1)?, &tokens(3, 1)?, 3).is_err(), "a batch of another size");
        Ok(())
    }
}
