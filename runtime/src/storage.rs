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
    /// See [`Region::packed_len`].
    packed: u64,
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
        Ok(Region { source: Arc::new(Source::Mapped(map)), start: 0, len, packed: len as u64 })
    }

    /// A region over bytes in memory.
    pub(crate) fn owned(bytes: Vec<u8>) -> Region {
        let len = bytes.len();
        Region { source: Arc::new(Source::Owned(bytes)), start: 0, len, packed: len as u64 }
    }

    /// The same bytes, which were unpacked from `packed` bytes of a file.
    pub(crate) fn unpacked_from(self, packed: u64) -> Region {
        Region { packed: packed.min(self.packed), ..self }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.source.bytes()[self.start..self.start + self.len]
    }

    pub(crate) fn len(&self) -> u64 {
        self.len as u64
    }

    /// The most bytes that a file has for these: fewer than there are where they were compressed.
    pub(crate) fn packed_len(&self) -> u64 {
        self.packed.min(self.len())
    }

    /// Tells the operating system that the bytes at `range` are not needed for now, where they are mapped.
    ///
    /// They can be read again at any time. A hint that cannot be followed is ignored.
    pub(crate) fn release(&self, range: Range<usize>) {
        #[cfg(unix)]
        if let Source::Mapped(map) = &*self.source
            && range.start < range.end
            && range.end <= self.len
        {
            // SAFETY: the map is shared, read-only and backed by a file, so dropped pages come back from
            // that file with the bytes they had, and no reference into the map sees another value.
            let _ = unsafe {
                map.unchecked_advise_range(
                    memmap2::UncheckedAdvice::DontNeed,
                    self.start + range.start,
                    range.end - range.start,
                )
            };
        }
    }

    /// The part of this region at `range`, or `None` where that is not all inside.
    pub(crate) fn slice(&self, range: Range<u64>) -> Option<Region> {
        let start = usize::try_from(range.start).ok()?;
        let end = usize::try_from(range.end).ok()?;
        if start > end || end > self.len {
            return None;
        }
        let source = Arc::clone(&self.source);
        Some(Region { source, start: self.start + start, len: end - start, packed: self.packed })
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

    #[test]
    fn a_part_of_what_was_compressed_is_no_larger_in_the_file_than_the_whole() {
        let region = Region::owned(vec![0; 1000]).unpacked_from(10);
        let part = |length| region.slice(0..length).expect("inside").packed_len();
        assert_eq!((region.packed_len(), part(500), part(4)), (10, 10, 4));
        assert_eq!(Region::owned(vec![0; 3]).packed_len(), 3);
    }
}
