//! How much memory the plain data of a checkpoint may take.
//!
//! Objects of a pickle can be shared, so a few bytes can describe any amount of data. What is made of a file is
//! therefore counted in bytes, wherever it is made, against a limit that grows with the bytes that were read of it.

/// What the plain data of any checkpoint may take.
const BASE: u64 = 128 << 20;

/// What each byte that describes it may add. Pickles of training code come to about 12, lists of small integers to 28.
const PER_BYTE: u64 = 32;

/// Bytes of memory that the plain data of one checkpoint, over all of its files, may still take.
#[derive(Debug)]
pub(crate) struct Budget {
    left: u64,
}

/// More memory was wanted than there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exhausted;

impl Budget {
    pub(crate) fn new() -> Budget {
        Budget { left: BASE }
    }

    /// Adds what `bytes` of a file, as long as they are there, may take.
    pub(crate) fn admit(&mut self, bytes: u64) {
        self.left = self.left.saturating_add(bytes.saturating_mul(PER_BYTE));
    }

    /// Counts `bytes` of memory as taken.
    pub(crate) fn spend(&mut self, bytes: usize) -> Result<(), Exhausted> {
        self.left = self.left.checked_sub(bytes as u64).ok_or(Exhausted)?;
        Ok(())
    }
}
