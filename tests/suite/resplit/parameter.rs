//! Parameters as plain lists of numbers, cut and put together element by element.

/// A vector or a matrix in row-major order; elements are the bits of an `f32`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Parameter {
    pub(super) shape: Vec<usize>,
    pub(super) bits: Vec<u32>,
}

impl Parameter {
    /// A parameter of numbers that no other place has, but for chance.
    pub(super) fn random(shape: &[usize], seed: &mut u64) -> Parameter {
        let count = shape.iter().product();
        let bits = std::iter::repeat_with(|| {
            // SplitMix64 (<https://prng.di.unimi.it/splitmix64.c>).
            *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (*seed ^ (*seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            // A number between 0.5 and 1 of either sign.
            ((mixed >> 32) as u32 & 0x807f_ffff) | 0x3f00_0000
        });
        Parameter { shape: shape.to_vec(), bits: bits.take(count).collect() }
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        self.bits.iter().flat_map(|bits| bits.to_le_bytes()).collect()
    }

    fn width(&self) -> usize {
        self.shape.get(1).copied().unwrap_or(1)
    }

    /// Rows from `start`, `count` of them.
    pub(super) fn rows(&self, start: usize, count: usize) -> Parameter {
        let width = self.width();
        let mut shape = self.shape.clone();
        shape[0] = count;
        Parameter { shape, bits: self.bits[start * width..(start + count) * width].to_vec() }
    }

    /// Columns from `start`, `count` of them.
    pub(super) fn columns(&self, start: usize, count: usize) -> Parameter {
        let mut bits = Vec::new();
        for row in 0..self.shape[0] {
            for column in start..start + count {
                bits.push(self.bits[row * self.shape[1] + column]);
            }
        }
        Parameter { shape: vec![self.shape[0], count], bits }
    }

    pub(super) fn transposed(&self) -> Parameter {
        let [rows, columns] = self.shape[..] else { return self.clone() };
        let mut bits = Vec::new();
        for column in 0..columns {
            for row in 0..rows {
                bits.push(self.bits[row * columns + column]);
            }
        }
        Parameter { shape: vec![columns, rows], bits }
    }

    /// Rows of all one after the other.
    pub(super) fn stacked(parts: &[Parameter]) -> Parameter {
        let mut shape = parts[0].shape.clone();
        shape[0] = parts.iter().map(|part| part.shape[0]).sum();
        Parameter { shape, bits: parts.iter().flat_map(|part| part.bits.clone()).collect() }
    }

    /// The part of the rows that one of `count` tensor ranks holds.
    pub(super) fn share_of_rows(&self, rank: usize, count: usize) -> Parameter {
        assert_eq!(self.shape[0] % count, 0, "a test's sizes are divided by its ranks");
        let own = self.shape[0] / count;
        self.rows(rank * own, own)
    }

    /// The part of the columns that one of `count` tensor ranks holds.
    pub(super) fn share_of_columns(&self, rank: usize, count: usize) -> Parameter {
        assert_eq!(self.shape[1] % count, 0, "a test's sizes are divided by its ranks");
        let own = self.shape[1] / count;
        self.columns(rank * own, own)
    }
}
