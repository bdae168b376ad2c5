//! The output cut into pieces: what one thread makes in its buffer and writes at once.

use std::ops::Range;

use super::PlannedFile;
use crate::engine::PreparedTensor;

/// Small tensors share a piece up to this size.
const SHARED: u64 = 256 << 10;

/// Bytes of a tensor made at once where nothing asks for more.
const WINDOW: usize = 512 << 10;

/// Source bytes that a transpose should use of every run it touches: two cache lines.
const RUN: usize = 128;

/// A range of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) file: usize,
    pub(super) offset: u64,
    pub(super) bytes: usize,
    pub(super) work: Work,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Work {
    /// These whole tensors of the file, one after the other without gaps.
    Tensors(Range<usize>),
    /// Elements of one tensor from this one on.
    Elements {
        /// Which tensor of the file.
        tensor: usize,
        /// The first element.
        first: usize,
    },
}

/// Pieces in file order, made one at a time: a large output has too many to list.
#[derive(Debug)]
pub(super) struct Pieces<'a> {
    files: &'a [PlannedFile],
    /// Per file, in file order.
    tensors: &'a [Vec<PreparedTensor<'a>>],
    largest_window: usize,
    file: usize,
    tensor: usize,
    element: usize,
}

impl<'a> Pieces<'a> {
    pub(super) fn new(
        files: &'a [PlannedFile],
        tensors: &'a [Vec<PreparedTensor<'a>>],
        threads: usize,
    ) -> Pieces<'a> {
        // A few MiB over all threads; a wide transpose is slower with less.
        let largest_window = ((8 << 20) / threads.max(1)).clamp(1 << 20, 4 << 20);
        Pieces { files, tensors, largest_window, file: 0, tensor: 0, element: 0 }
    }

    /// Elements of one window of a tensor.
    fn window(&self, tensor: &PreparedTensor<'_>) -> usize {
        let size = tensor.element_size();
        let Some(row) = tensor.transposed_row() else { return WINDOW / size };
        let row_bytes = row.saturating_mul(size);
        let wanted = RUN / size;
        let rows = if row_bytes.saturating_mul(wanted) <= self.largest_window {
            // Whole multiples of the run, so that lines are not shared between windows.
            (WINDOW / row_bytes / wanted).max(1) * wanted
        } else {
            let rows = self.largest_window / row_bytes;
            let line = wanted / 2;
            if rows >= line { rows / line * line } else { rows }
        };
        if rows == 0 { self.largest_window / size } else { rows * row }
    }
}

impl Iterator for Pieces<'_> {
    type Item = Piece;

    fn next(&mut self) -> Option<Piece> {
        loop {
            let file = self.files.get(self.file)?;
            let Some(first) = file.tensors.get(self.tensor) else {
                self.file += 1;
                self.tensor = 0;
                continue;
            };
            if first.bytes == 0 {
                self.tensor += 1;
                continue;
            }
            if first.bytes > SHARED {
                let tensor = &self.tensors[self.file][self.tensor];
                let size = tensor.element_size();
                let left = tensor.bytes() / size - self.element;
                let count = self.window(tensor).min(left);
                let piece = Piece {
                    file: self.file,
                    offset: first.offset + (self.element * size) as u64,
                    bytes: count * size,
                    work: Work::Elements { tensor: self.tensor, first: self.element },
                };
                self.element += count;
                if count == left {
                    self.tensor += 1;
                    self.element = 0;
                }
                return Some(piece);
            }
            let mut end = first.offset;
            let start = self.tensor;
            while let Some(next) = file.tensors.get(self.tensor)
                && next.offset == end
                && end + next.bytes - first.offset <= SHARED
            {
                end += next.bytes;
                self.tensor += 1;
            }
            return Some(Piece {
                file: self.file,
                offset: first.offset,
                bytes: (end - first.offset) as usize,
                work: Work::Tensors(start..self.tensor),
            });
        }
    }
}
