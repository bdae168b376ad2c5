//! Byte regions of checkpoint files: mapped, never copied; or owned, where there is no file.

#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use memmap2::Mmap;

#[derive(Debug)]
enum Source {
    Mapped(Mmap),
    Owned(Vec<u8>),
}

impl Source {
    fn bytes(&self) -> &[u8] {
        match self {
            Source::Mapped(map) => map,
            Source::Owned(bytes) => bytes,
        }
    }
}

/// A run of bytes inside a mapped file or an owned buffer. Cloning and slicing share the bytes.
#[derive(Clone, Debug)]
pub(crate) struct Region {
    source: Arc<Source>,
    start: usize,
    len: usize,
}

impl Region {
    /// Maps the whole regular file at `path`.
    ///
    /// # Errors
    ///
    /// Whatever opening or mapping fails with; `InvalidInput` where `path` is no regular file.
    pub(crate) fn map_path(path: &Path) -> io::Result<Region> {
        // Opening a named pipe would wait for a writer, so the kind is asked for first.
        if !path.metadata()?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
        }
        Region::map(&File::open(path)?)
    }

    /// Maps the whole of `file`.
    ///
    /// # Errors
    ///
    /// Whatever asking for its length or mapping it fails with.
    pub(crate) fn map(file: &File) -> io::Result<Region> {
        if file.metadata()?.len() == 0 {
            return Ok(Region::owned(Vec::new()));
        }
        // SAFETY: the map is read-only and private to this type, and nothing here is undefined unless
        // another process shortens or rewrites the file while it is mapped. That is the accepted risk
        // of mapped input, stated in the documentation of `Checkpoint::open`.
        let map = unsafe { Mmap::map(file)? };
        let len = map.len();
        Ok(Region { source: Arc::new(Source::Mapped(map)), start: 0, len })
    }

    /// A region over bytes in memory.
    pub(crate) fn owned(bytes: Vec<u8>) -> Region {
        let len = bytes.len();
        Region { source: Arc::new(Source::Owned(bytes)), start: 0, len }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.source.bytes()[self.start..self.start + self.len]
    }

    pub(crate) fn len(&self) -> u64 {
        self.len as u64
    }

    /// The part of this region at `range`, or `None` where that is not all inside.
    pub(crate) fn slice(&self, range: Range<u64>) -> Option<Region> {
        let start = usize::try_from(range.start).ok()?;
        let end = usize::try_from(range.end).ok()?;
        if start > end || end > self.len {
            return None;
        }
        Some(Region { source: Arc::clone(&self.source), start: self.start + start, len: end - start })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_stay_inside() {
        let region = Region::owned((0..10).collect());
        let part = region.slice(2..8).expect("2..8 of 10 bytes");
        assert_eq!(part.bytes(), &[2, 3, 4, 5, 6, 7]);
        assert_eq!(part.slice(1..3).expect("1..3 of 6 bytes").bytes(), &[3, 4]);
        assert!(part.slice(0..7).is_none());
        assert!(part.slice(u64::MAX - 1..u64::MAX).is_none());
        #[allow(clippy::reversed_empty_ranges)]
        let reversed = 3..2;
        assert!(part.slice(reversed).is_none());
    }
}
