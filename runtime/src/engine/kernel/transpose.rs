//! Planes of elements: two loops, each side contiguous along one of them at best.

use super::block::Element;
use crate::engine::nest::Loop;

/// Two loops with steps in bytes. Rows are the loop nearest to contiguous in the source, columns in the target.
pub(super) struct Plane {
    pub(super) rows: Loop,
    pub(super) columns: Loop,
}

/// A tile is as wide as a cache line on both sides.
const LINE: usize = 64;

impl Plane {
    /// # Safety
    /// Every element that the loops reach must be readable at the source and writable at the target.
    pub(super) unsafe fn copy<E: Element>(&self, source: *const u8, target: *mut u8) {
        let width = size_of::<E>();
        let is_transpose = self.rows.source == width && self.columns.target == width;
        // SAFETY: as promised by the caller.
        unsafe {
            if is_transpose && self.rows.count >= E::SIDE && self.columns.count >= E::SIDE {
                self.transpose::<E>(source, target);
            } else {
                self.scalar_blocks::<E>(source, target);
            }
        }
    }

    /// Tiles go through a dense buffer: each line of the source is read once and whole, each line of the target
    /// written once and whole. Power-of-two strides, which put a tile's lines into few cache sets, then do no harm.
    ///
    /// # Safety
    /// As for `copy`, with a source contiguous along rows and a target contiguous along columns.
    unsafe fn transpose<E: Element>(&self, source: *const u8, target: *mut u8) {
        let width = size_of::<E>();
        let tile = LINE / width;
        let (rows, columns) = (self.rows.count, self.columns.count);
        let (whole_rows, whole_columns) = (rows - rows % tile, columns - columns % tile);
        let mut buffer = Lines([0; LINE * LINE]);
        let lines = buffer.0.as_mut_ptr();
        // SAFETY: tiles lie inside the plane, as promised by the caller; `tile` lines of `LINE` bytes fit the buffer.
        unsafe {
            for column in (0..whole_columns).step_by(tile) {
                let source = source.add(column * self.columns.source);
                let target = target.add(column * width);
                // From the last tile of these columns to the first tile of the next.
                let next_column = (tile * self.columns.source + LINE).wrapping_sub(whole_rows * width);
                for row in (0..whole_rows).step_by(tile) {
                    let source = source.add(row * width);
                    let ahead = if row + tile < whole_rows { LINE } else { next_column };
                    for line in 0..tile {
                        let from = source.add(line * self.columns.source);
                        prefetch(from.wrapping_add(ahead));
                        lines.cast::<[u8; LINE]>().add(line).write(from.cast::<[u8; LINE]>().read());
                    }
                    let target = target.add(row * self.rows.target);
                    for r in (0..tile).step_by(E::SIDE) {
                        for c in (0..tile).step_by(E::SIDE) {
                            let target = target.add(r * self.rows.target + c * width);
                            E::transpose(lines.add(c * LINE + r * width), LINE, target, self.rows.target);
                        }
                    }
                }
            }
            // What whole tiles leave: rows below them over all columns, and columns beside them.
            let below = Plane { rows: Loop { count: rows - whole_rows, ..self.rows }, columns: self.columns };
            let from = source.add(whole_rows * width);
            below.scalar_blocks::<E>(from, target.add(whole_rows * self.rows.target));
            let beside = Plane {
                rows: Loop { count: whole_rows, ..self.rows },
                columns: Loop { count: columns - whole_columns, ..self.columns },
            };
            let from = source.add(whole_columns * self.columns.source);
            beside.scalar_blocks::<E>(from, target.add(whole_columns * width));
        }
    }

    /// Element by element, in blocks that keep their lines in the cache.
    ///
    /// # Safety
    /// As for `copy`.
    unsafe fn scalar_blocks<E: Element>(&self, source: *const u8, target: *mut u8) {
        const BLOCK: usize = 32;
        let Plane { rows, columns } = self;
        // Without a second axis, or with a broadcast along one, there is nothing to block for.
        let (block_rows, block_columns) =
            if rows.count == 1 || columns.source == 0 { (1, columns.count.max(1)) } else { (BLOCK, BLOCK) };
        // SAFETY: row and column indices stay below their counts; as promised by the caller.
        unsafe {
            for first_column in (0..columns.count).step_by(block_columns) {
                let end_column = columns.count.min(first_column + block_columns);
                for first_row in (0..rows.count).step_by(block_rows) {
                    for row in first_row..rows.count.min(first_row + block_rows) {
                        let source = source.add(row * rows.source);
                        let target = target.add(row * rows.target);
                        for column in first_column..end_column {
                            let element = E::load(source.add(column * columns.source));
                            E::store(target.add(column * columns.target), element);
                        }
                    }
                }
            }
        }
    }
}

/// Aligned so that a line of the buffer is a line of the cache.
#[repr(align(64))]
struct Lines([u8; LINE * LINE]);

/// Asks for a line that will be read soon. The address need not be valid.
fn prefetch(address: *const u8) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: a prefetch has no effect but on caches, whatever the address.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(address.cast());
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = address;
}
