//! Copies of elements by size, without regard to their type.
//!
//! Steps are in bytes here, and a contiguous run of 2, 4, 8 or 16 bytes counts as one wider element. Three shapes
//! of work remain: runs contiguous on both sides, planes contiguous along different axes (transposes), and planes
//! contiguous along none.

#![allow(unsafe_code)]

mod block;
mod transpose;

use super::nest::{Loop, Part, elements};
use transpose::Plane;

/// Copies the elements of a part, each of `size` bytes (1, 2, 4, 8).
///
/// # Panics
/// If an element lies outside either buffer, which is a bug of the caller: copies are checked before they run.
pub(super) fn copy_part(part: Part<'_>, size: usize, source: &[u8], target: &mut [u8]) {
    if elements(part.loops) == 0 {
        return;
    }
    let end = |start: usize, step: fn(&Loop) -> usize| {
        part.loops
            .iter()
            .try_fold(start, |last, axis| (axis.count - 1).checked_mul(step(axis))?.checked_add(last))
            .and_then(|last| last.checked_add(1)?.checked_mul(size))
    };
    assert!(
        end(part.source, |axis| axis.source).is_some_and(|end| end <= source.len())
            && end(part.target, |axis| axis.target).is_some_and(|end| end <= target.len()),
        "bug: a copy was run outside its buffers"
    );
    let mut loops: Vec<Loop> = part
        .loops
        .iter()
        .map(|axis| Loop { count: axis.count, source: axis.source * size, target: axis.target * size })
        .filter(|axis| axis.count != 1)
        .collect();
    let width = match loops.pop_if(|inner| inner.source == size && inner.target == size) {
        Some(run) => run.count * size,
        None => size,
    };
    // SAFETY: every element of the part, which is every offset that the loops reach and the `width` bytes from
    // there, lies inside the buffers: the largest was checked above and steps are not negative. The buffers are
    // borrowed, one of them mutably, so they do not overlap.
    unsafe {
        let source = source.as_ptr().add(part.source * size);
        let target = target.as_mut_ptr().add(part.target * size);
        match width {
            1 => copy_elements::<u8>(&loops, source, target),
            2 => copy_elements::<u16>(&loops, source, target),
            4 => copy_elements::<u32>(&loops, source, target),
            8 => copy_elements::<u64>(&loops, source, target),
            16 => copy_elements::<u128>(&loops, source, target),
            _ => copy_runs(&loops, width, source, target),
        }
    }
}

/// Copies runs of `width` bytes.
///
/// # Safety
/// Every run that the loops reach must be readable at the source and writable at the target.
unsafe fn copy_runs(loops: &[Loop], width: usize, source: *const u8, target: *mut u8) {
    // SAFETY: as promised by the caller; each index of the loop keeps the promise for the loops inside.
    unsafe {
        let Some((outer, inner)) = loops.split_first() else {
            return target.copy_from_nonoverlapping(source, width);
        };
        for index in 0..outer.count {
            copy_runs(inner, width, source.add(index * outer.source), target.add(index * outer.target));
        }
    }
}

/// Copies elements by the plane that holds the axes nearest to contiguous on either side.
///
/// # Safety
/// Every element that the loops reach must be readable at the source and writable at the target.
unsafe fn copy_elements<E: block::Element>(loops: &[Loop], source: *const u8, target: *mut u8) {
    let along_target = loops.iter().enumerate().min_by_key(|(_, axis)| axis.target);
    // A broadcast axis has no place in a plane: each index of it repeats the same source.
    let along_source = loops.iter().enumerate().filter(|(_, axis)| axis.source != 0);
    let along_source = along_source.min_by_key(|(_, axis)| axis.source);
    // SAFETY: as promised by the caller, for all that a plane and the loops around it reach.
    unsafe {
        let Some((column, &columns)) = along_target else {
            return E::store(target, E::load(source));
        };
        let one_row = Loop { count: 1, source: 0, target: 0 };
        let (row, rows) = match along_source {
            Some((row, &rows)) if row != column => (row, rows),
            // The axis nearest to contiguous is one for both sides: longest runs along it.
            _ => (column, one_row),
        };
        let outer: Vec<Loop> =
            (0..loops.len()).filter(|&i| i != row && i != column).map(|i| loops[i]).collect();
        copy_planes::<E>(&outer, &Plane { rows, columns }, source, target);
    }
}

/// # Safety
/// As for `copy_elements`.
unsafe fn copy_planes<E: block::Element>(outer: &[Loop], plane: &Plane, source: *const u8, target: *mut u8) {
    // SAFETY: as promised by the caller; each index of the loop keeps the promise for the loops inside.
    unsafe {
        let Some((first, rest)) = outer.split_first() else {
            return plane.copy::<E>(source, target);
        };
        for index in 0..first.count {
            let (source, target) = (source.add(index * first.source), target.add(index * first.target));
            copy_planes::<E>(rest, plane, source, target);
        }
    }
}
