//! CRC-32 sums of tensors, from pieces that several threads write in any order.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};

use crc32fast::Hasher;

use super::{Literal, PlannedFile};

/// Bytes of a sum.
const SUM: u64 = 4;

/// The sums of all tensors whose plan asks for one.
#[derive(Debug)]
pub(super) struct Checksums<'a> {
    files: &'a [PlannedFile],
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Tensors of which a part is written, by file and index.
    running: HashMap<(usize, usize), Running>,
    done: HashMap<(usize, usize), u32>,
}

/// A tensor of which a part is written.
#[derive(Debug, Default)]
struct Running {
    /// The sum of all bytes from the first on without a gap.
    start: Hasher,
    /// How many those are.
    length: u64,
    /// Pieces after a gap, by their first byte: no more than were taken while another thread held one.
    later: BTreeMap<u64, (Hasher, u64)>,
}

impl<'a> Checksums<'a> {
    pub(super) fn new(files: &'a [PlannedFile]) -> Checksums<'a> {
        Checksums { files, state: Mutex::new(State::default()) }
    }

    /// Takes `bytes` of a tensor, whose first is number `first`, into its sum, if it is to have one.
    pub(super) fn add(&self, file: usize, tensor: usize, first: u64, bytes: &[u8]) {
        let planned = &self.files[file].tensors[tensor];
        if planned.checksums.is_empty() || bytes.is_empty() {
            return;
        }
        let mut piece = Hasher::new();
        piece.update(bytes);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let place = (file, tensor);
        let running = state.running.entry(place).or_default();
        running.add(first, piece, bytes.len() as u64);
        if running.length == planned.bytes
            && let Some(whole) = state.running.remove(&place)
        {
            state.done.insert(place, whole.start.finalize());
        }
    }

    /// The sums of a file by where they are to be written, in that order.
    pub(super) fn of_file(&self, file: usize) -> Vec<(u64, u32)> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut sums = Vec::new();
        for (index, tensor) in self.files[file].tensors.iter().enumerate() {
            // Of no bytes the sum is zero.
            let sum = state.done.get(&(file, index)).copied().unwrap_or(0);
            sums.extend(tensor.checksums.iter().map(|&at| (at, sum)));
        }
        sums.sort_unstable();
        sums
    }
}

impl Running {
    fn add(&mut self, first: u64, piece: Hasher, bytes: u64) {
        self.later.insert(first, (piece, bytes));
        while let Some((piece, bytes)) = self.later.remove(&self.length) {
            self.start.combine(&piece);
            self.length += bytes;
        }
    }
}

/// Puts those of `sums`, which are in order, that lie in a literal into its bytes.
pub(super) fn patched(literal: &Literal, sums: &[(u64, u32)]) -> Option<Vec<u8>> {
    let end = literal.offset + literal.bytes.len() as u64;
    let first = sums.partition_point(|&(at, _)| at < literal.offset);
    let count = sums[first..].partition_point(|&(at, _)| at + SUM <= end);
    let inside = &sums[first..first + count];
    if inside.is_empty() {
        return None;
    }
    let mut bytes = literal.bytes.clone();
    for &(at, sum) in inside {
        let at = (at - literal.offset) as usize;
        bytes[at..at + SUM as usize].copy_from_slice(&sum.to_le_bytes());
    }
    Some(bytes)
}

/// Whether every sum of a file lies in one of its literals.
pub(super) fn have_room(file: &PlannedFile) -> bool {
    let mut ranges: Vec<(u64, u64)> = file
        .literals
        .iter()
        .map(|literal| (literal.offset, literal.offset.saturating_add(literal.bytes.len() as u64)))
        .collect();
    ranges.sort_unstable();
    file.tensors.iter().flat_map(|tensor| &tensor.checksums).all(|&at| {
        let after = ranges.partition_point(|&(start, _)| start <= at);
        let end = at.checked_add(SUM);
        after > 0 && end.is_some_and(|end| end <= ranges[after - 1].1)
    })
}
