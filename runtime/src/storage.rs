//! Byte regions of checkpoint files: mapped, never copied; or owned, where there is no file.

#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use memmap2::Mmap;

#[derive(Debug)]
enum Source {
    /// A map of a file that has a path, if it is not a temporary one.
    Mapped(Mmap, Option<InputFile>),
    Owned(Vec<u8>),
}

/// A file that is read from, as it was when it was opened.
#[derive(Clone, Debug)]
pub(crate) struct InputFile {
    path: PathBuf,
    stamp: Stamp,
}

/// What is another after a file was written to or replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stamp {
    length: u64,
    modified: Option<std::time::SystemTime>,
    /// Device and number, where the system has them.
    identity: Option<(u64, u64)>,
}

impl Stamp {
    fn of(metadata: &std::fs::Metadata) -> Stamp {
        #[cfg(unix)]
        let identity = {
            use std::os::unix::fs::MetadataExt;
            Some((metadata.dev(), metadata.ino()))
        };
        #[cfg(not(unix))]
        let identity = None;
        Stamp { length: metadata.len(), modified: metadata.modified().ok(), identity }
    }
}

impl InputFile {
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the file was written to, replaced or removed since it was opened.
    pub(crate) fn is_changed(&self) -> bool {
        self.path.metadata().map_or(true, |metadata| Stamp::of(&metadata) != self.stamp)
    }

    /// What the file, or the link that it was opened by, is called inside a directory without links in its path; both
    /// where both lie in it.
    pub(crate) fn inside(&self, directory: &Path) -> impl Iterator<Item = PathBuf> {
        let parent = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let parent = parent.unwrap_or(Path::new(".")).canonicalize().ok();
        let opened = parent.and_then(|parent| Some(parent.join(self.path.file_name()?)));
        let paths = [opened, self.path.canonicalize().ok()].into_iter().flatten();
        paths.filter_map(move |path| path.strip_prefix(directory).ok().map(Path::to_owned))
    }
}

impl Source {
    fn bytes(&self) -> &[u8] {
        match self {
            Source::Mapped(map, _) => map,
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
        let file = File::open(path)?;
        let input = InputFile { path: path.to_owned(), stamp: Stamp::of(&file.metadata()?) };
        Region::map_file(&file, Some(input))
    }

    /// Maps the whole of `file`, a temporary one.
    ///
    /// # Errors
    ///
    /// Whatever asking for its length or mapping it fails with.
    pub(crate) fn map(file: &File) -> io::Result<Region> {
        Region::map_file(file, None)
    }

    fn map_file(file: &File, input: Option<InputFile>) -> io::Result<Region> {
        if file.metadata()?.len() == 0 {
            return Ok(Region::owned(Vec::new()));
        }
        // SAFETY: the map is read-only and private to this type, and nothing here is undefined unless
        // another process shortens or rewrites the file while it is mapped. That is the accepted risk
        // of mapped input, stated in the documentation of `Checkpoint::open`.
        let map = unsafe { Mmap::map(file) }.map_err(explained)?;
        let len = map.len();
        let source = Arc::new(Source::Mapped(map, input));
        Ok(Region { source, start: 0, len, packed: len as u64 })
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

    /// The file that the bytes are mapped from.
    pub(crate) fn input(&self) -> Option<&InputFile> {
        match &*self.source {
            Source::Mapped(_, input) => input.as_ref(),
            Source::Owned(_) => None,
        }
    }

    /// Whether both are of one map or buffer.
    pub(crate) fn shares_source(&self, other: &Region) -> bool {
        Arc::ptr_eq(&self.source, &other.source)
    }

    /// Tells the operating system that the bytes at `range` are not needed for now, where they are mapped.
    ///
    /// They can be read again at any time. A hint that cannot be followed is ignored.
    pub(crate) fn release(&self, range: Range<usize>) {
        #[cfg(unix)]
        if let Source::Mapped(map, _) = &*self.source
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

/// The error of a failed map, with what to do about it.
fn explained(error: io::Error) -> io::Error {
    if error.kind() != io::ErrorKind::OutOfMemory {
        return error;
    }
    let advice = "there is no address space left to map it, or too many files are mapped; a checkpoint of more than \
                  about 65,000 files needs a higher limit (`sysctl vm.max_map_count`), or larger shards";
    io::Error::new(io::ErrorKind::OutOfMemory, advice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_that_the_system_refuses_says_what_to_do() {
        let refused = explained(io::ErrorKind::OutOfMemory.into());
        assert!(refused.to_string().contains("vm.max_map_count"), "{refused}");
        let other = explained(io::ErrorKind::PermissionDenied.into());
        assert_eq!(other.kind(), io::ErrorKind::PermissionDenied);
    }

    #[test]
    fn a_file_that_changes_after_it_was_opened_is_seen() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("x");
        let opened = || {
            std::fs::write(&path, "12345").expect("it can be written");
            Region::map_path(&path).expect("it can be mapped").input().cloned().expect("it has a path")
        };
        assert!(!opened().is_changed());
        let longer = opened();
        std::fs::write(&path, "123456").expect("it can be written");
        assert!(longer.is_changed());
        let touched = opened();
        let file = File::options().write(true).open(&path).expect("it is there");
        file.set_modified(std::time::UNIX_EPOCH).expect("its time can be set");
        assert!(touched.is_changed());
        let gone = opened();
        std::fs::remove_file(&path).expect("it is there");
        assert!(gone.is_changed());
    }

    #[cfg(unix)]
    #[test]
    fn a_file_lies_in_its_directory_by_whichever_name() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = |name: &str| directory.path().join(name);
        std::fs::create_dir(path("real")).expect("it can be made");
        std::fs::write(path("real/x"), "1").expect("it can be written");
        std::os::unix::fs::symlink(path("real"), path("link")).expect("it can be made");
        std::os::unix::fs::symlink(path("real/x"), path("y")).expect("it can be made");
        let directory = directory.path().canonicalize().expect("it is there");
        for (name, found) in [("real/x", &["real/x"; 2]), ("link/x", &["real/x"; 2]), ("y", &["y", "real/x"])]
        {
            let region = Region::map_path(&path(name)).expect("it can be mapped");
            let input = region.input().expect("it has a path");
            let inside: Vec<PathBuf> = input.inside(&directory).collect();
            assert_eq!(inside, found.map(PathBuf::from), "{name}: the link is an input, too");
            assert_eq!(input.inside(&directory.join("missing")).count(), 0);
        }
    }

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
