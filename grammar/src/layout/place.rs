//! Layouts distributed into boxes for given sizes, whole or as one rank or chunk stores them.
//!
//! A rank's block of an axis is a range of its coordinates. A block of a product or a concatenation is a range of the
//! elements it lists, and falls into as many boxes as it takes: `(groups (q: rep | k | v) head_dim)@tp` may cut a
//! group, and a head in it, anywhere.

use super::{Arm, Box, BoxAxis, Factor, Labels, Layout, Padding, Sizes, Sum};
use crate::layout::AxisUse;
use crate::mapping::RankId;

/// The part of a layout that one rank, or one chunk, stores.
#[derive(Clone, Debug, PartialEq)]
pub struct Placed {
    /// Its shape.
    pub shape: Vec<u64>,
    /// Its boxes; `starts` and steps are places in this part.
    pub boxes: Vec<Box>,
}

/// Why a layout has no boxes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unplaced {
    /// A size is not known, or overflows.
    Unknown,
    /// So many elements cannot be shared out evenly.
    Uneven {
        /// The elements along the axis, or in the group.
        len: u64,
        /// The number of ranks.
        ranks: u64,
        /// Along this rank axis.
        rank: RankId,
    },
    /// A group is cut that has distributed axes inside, or a chunk of a distributed layout is meant.
    Nested,
}

impl Layout {
    /// Where the part that `sizes` means lies: of a rank by [`Sizes::rank`], of a chunk by [`Sizes::window`].
    ///
    /// # Errors
    /// Where a size is not known, or ranks cannot share evenly.
    pub fn place(&self, sizes: &dyn Sizes) -> Result<Placed, Unplaced> {
        let mut shape = Vec::with_capacity(self.dims.len());
        let mut all =
            vec![Box { labels: Labels::new(), axes: Vec::new(), starts: Vec::new(), pads: Vec::new() }];
        for (dim, factor) in self.dims.iter().enumerate() {
            let at = Along { sizes, dim };
            let part = match sizes.window(dim) {
                Some((from, to)) => at.block(std::slice::from_ref(factor), from, to)?,
                None => at.whole(factor)?,
            };
            shape.push(part.len);
            let mut next = Vec::with_capacity(all.len().saturating_mul(part.pieces.len()));
            for b in &all {
                for piece in &part.pieces {
                    next.push(piece.extend(b, dim));
                }
            }
            all = next;
        }
        Ok(Placed { shape, boxes: all })
    }
}

/// A factor as it is stored.
struct Stored {
    /// Elements.
    len: u64,
    pieces: Vec<Piece>,
}

/// A box along one dimension.
#[derive(Clone, Debug, Default)]
struct Piece {
    labels: Labels,
    axes: Vec<PieceAxis>,
    start: u64,
    pad: Option<Padding>,
}

#[derive(Clone, Debug)]
struct PieceAxis {
    axis: AxisUse,
    from: u64,
    len: u64,
    step: u64,
}

impl Piece {
    fn scaled(mut self, by: u64) -> Result<Piece, Unplaced> {
        let times = |n: u64| n.checked_mul(by).ok_or(Unplaced::Unknown);
        self.start = times(self.start)?;
        for axis in &mut self.axes {
            axis.step = times(axis.step)?;
        }
        if let Some(pad) = &mut self.pad {
            pad.step = times(pad.step)?;
        }
        Ok(self)
    }

    fn moved(mut self, by: u64) -> Result<Piece, Unplaced> {
        self.start = self.start.checked_add(by).ok_or(Unplaced::Unknown)?;
        Ok(self)
    }

    /// Both at once, `self` outermost.
    fn with(&self, inner: &Piece) -> Result<Piece, Unplaced> {
        let mut both = self.clone();
        both.labels.extend(inner.labels.clone());
        both.axes.extend(inner.axes.iter().cloned());
        let before = self.axes.len();
        both.pad = both.pad.or(inner.pad.map(|pad| Padding { before: pad.before + before, ..pad }));
        both.moved(inner.start)
    }

    fn extend(&self, b: &Box, dim: usize) -> Box {
        let mut b = b.clone();
        b.labels.extend(self.labels.clone());
        b.starts.push(self.start);
        b.pads.extend(self.pad.map(|pad| Padding { before: pad.before + b.axes.len(), ..pad }));
        b.axes.extend(self.axes.iter().map(|PieceAxis { axis, from, len, step }| BoxAxis {
            axis: axis.clone(),
            from: *from,
            len: *len,
            dim,
            step: *step,
        }));
        b
    }
}

/// One dimension of a layout.
struct Along<'s> {
    sizes: &'s dyn Sizes,
    dim: usize,
}

impl Along<'_> {
    /// A factor, as far as ranks leave it.
    fn whole(&self, factor: &Factor) -> Result<Stored, Unplaced> {
        match factor {
            Factor::Axis(axis) => {
                let len = self.sizes.axis(axis).ok_or(Unplaced::Unknown)?;
                let (from, to) = self.share(len, &axis.ranks)?;
                Ok(Stored { len: to - from, pieces: vec![piece_of(axis, from, to, 0)] })
            }
            Factor::Unit => Ok(Stored { len: 1, pieces: vec![Piece::default()] }),
            Factor::Product(factors, ranks) if self.count(ranks) > 1 => self.cut(factors, ranks),
            Factor::Product(factors, _) => self.product(factors),
            Factor::Sum(sum) if self.count(&sum.ranks) > 1 => {
                self.cut(std::slice::from_ref(factor), &sum.ranks)
            }
            Factor::Sum(sum) => self.sum(sum),
        }
    }

    fn count(&self, ranks: &[RankId]) -> u64 {
        ranks.iter().fold(1, |count, rank| count.saturating_mul(self.sizes.rank(*rank).1))
    }

    /// This rank's range of `len` elements; the first rank axis is the outermost.
    fn share(&self, len: u64, ranks: &[RankId]) -> Result<(u64, u64), Unplaced> {
        let (mut from, mut len) = (0u64, len);
        for rank in ranks {
            let (at, count) = self.sizes.rank(*rank);
            if count == 0 || !len.is_multiple_of(count) {
                return Err(Unplaced::Uneven { len, ranks: count, rank: *rank });
            }
            len /= count;
            from = at.checked_mul(len).and_then(|n| n.checked_add(from)).ok_or(Unplaced::Unknown)?;
        }
        let to = from.checked_add(len).ok_or(Unplaced::Unknown)?;
        Ok((from, to))
    }

    /// This rank's block of a product.
    fn cut(&self, factors: &[Factor], ranks: &[RankId]) -> Result<Stored, Unplaced> {
        let (from, to) = self.share(self.len(factors)?, ranks)?;
        self.block(factors, from, to)
    }

    fn product(&self, factors: &[Factor]) -> Result<Stored, Unplaced> {
        let mut all = Stored { len: 1, pieces: vec![Piece::default()] };
        for factor in factors.iter().rev() {
            let Stored { len, pieces } = self.whole(factor)?;
            let mut crossed = Vec::with_capacity(pieces.len().saturating_mul(all.pieces.len()));
            for piece in pieces {
                let outer = piece.scaled(all.len)?;
                for inner in &all.pieces {
                    crossed.push(outer.with(inner)?);
                }
            }
            all = Stored { len: all.len.checked_mul(len).ok_or(Unplaced::Unknown)?, pieces: crossed };
        }
        Ok(all)
    }

    fn sum(&self, sum: &Sum) -> Result<Stored, Unplaced> {
        let mut all = Stored { len: 0, pieces: Vec::new() };
        for arm in &sum.arms {
            let Stored { len, pieces } = if arm.pad {
                let len = self.sizes.pad(self.dim);
                Stored { len, pieces: vec![self.padding(0, len)] }
            } else {
                self.product(&arm.factors)?
            };
            for piece in pieces {
                all.pieces.push(in_arm(piece, sum, arm).moved(all.len)?);
            }
            all.len = all.len.checked_add(len).ok_or(Unplaced::Unknown)?;
        }
        Ok(all)
    }

    fn padding(&self, from: u64, len: u64) -> Piece {
        Piece { pad: Some(Padding { dim: self.dim, from, len, step: 1, before: 0 }), ..Piece::default() }
    }

    /// Elements of a product, ranks aside.
    fn len(&self, factors: &[Factor]) -> Result<u64, Unplaced> {
        super::product_len(factors, self.sizes, self.dim).ok_or(Unplaced::Unknown)
    }

    /// The elements `from..to` of those that a product lists.
    fn block(&self, factors: &[Factor], from: u64, to: u64) -> Result<Stored, Unplaced> {
        if to < from || to > self.len(factors)? {
            return Err(Unplaced::Unknown);
        }
        let pieces = self.pieces(factors, from, to)?;
        let pieces = pieces.into_iter().map(|piece| Piece { start: piece.start - from, ..piece });
        Ok(Stored { len: to - from, pieces: pieces.collect() })
    }

    /// The boxes of the elements `from..to`, at their places in the whole.
    fn pieces(&self, factors: &[Factor], from: u64, to: u64) -> Result<Vec<Piece>, Unplaced> {
        if from == to {
            return Ok(Vec::new());
        }
        let Some((first, rest)) = factors.split_first() else { return Ok(vec![Piece::default()]) };
        if rest.is_empty() {
            return self.pieces_of(first, from, to);
        }
        let row = self.len(rest)?;
        let (full_from, full_to) = (from.div_ceil(row), to / row);
        let mut all = Vec::new();
        if full_from > full_to {
            return self.rows(first, rest, (full_to, full_from), (from % row, to % row), row);
        }
        if !from.is_multiple_of(row) {
            all.extend(self.rows(first, rest, (full_from - 1, full_from), (from % row, row), row)?);
        }
        if full_from < full_to {
            all.extend(self.rows(first, rest, (full_from, full_to), (0, row), row)?);
        }
        if !to.is_multiple_of(row) {
            all.extend(self.rows(first, rest, (full_to, full_to + 1), (0, to % row), row)?);
        }
        Ok(all)
    }

    /// In the rows `rows` of `first` the elements `within` of `rest`, which has `row` in all.
    fn rows(
        &self,
        first: &Factor,
        rest: &[Factor],
        rows: (u64, u64),
        within: (u64, u64),
        row: u64,
    ) -> Result<Vec<Piece>, Unplaced> {
        let inner = self.pieces(rest, within.0, within.1)?;
        let mut all = Vec::new();
        for outer in self.pieces_of(first, rows.0, rows.1)? {
            let outer = outer.scaled(row)?;
            for inner in &inner {
                all.push(outer.with(inner)?);
            }
        }
        Ok(all)
    }

    fn pieces_of(&self, factor: &Factor, from: u64, to: u64) -> Result<Vec<Piece>, Unplaced> {
        match factor {
            Factor::Axis(axis) if self.count(&axis.ranks) > 1 => Err(Unplaced::Nested),
            Factor::Axis(axis) => Ok(vec![piece_of(axis, from, to, from)]),
            Factor::Unit => Ok(vec![Piece::default()]),
            Factor::Product(factors, _) => self.pieces(factors, from, to),
            Factor::Sum(sum) => self.pieces_of_sum(sum, from, to),
        }
    }

    fn pieces_of_sum(&self, sum: &Sum, from: u64, to: u64) -> Result<Vec<Piece>, Unplaced> {
        let mut start = 0u64;
        let mut all = Vec::new();
        for arm in &sum.arms {
            let len = if arm.pad { self.sizes.pad(self.dim) } else { self.len(&arm.factors)? };
            let end = start.checked_add(len).ok_or(Unplaced::Unknown)?;
            let (first, last) = (from.max(start), to.min(end));
            if first < last {
                let (first, last) = (first - start, last - start);
                let pieces = if arm.pad {
                    vec![self.padding(first, last - first).moved(first)?]
                } else {
                    self.pieces(&arm.factors, first, last)?
                };
                for piece in pieces {
                    all.push(in_arm(piece, sum, arm).moved(start)?);
                }
            }
            start = end;
        }
        Ok(all)
    }
}

fn piece_of(axis: &AxisUse, from: u64, to: u64, start: u64) -> Piece {
    let axes = vec![PieceAxis { axis: axis.clone(), from, len: to - from, step: 1 }];
    Piece { axes, start, ..Piece::default() }
}

fn in_arm(mut piece: Piece, sum: &Sum, arm: &Arm) -> Piece {
    piece.labels.extend(sum.choice(arm));
    sum.give_role(arm, piece.axes.iter_mut().map(|axis| &mut axis.axis));
    piece
}
