//! What differs between systems: room on a disk, preallocation, positioned writes, renames that replace nothing.

use std::fs::{self, File};
use std::io;
use std::path::Path;

/// Bytes that may be written below a directory, where the system says.
pub(crate) fn free_bytes(directory: &Path) -> Option<u64> {
    #[cfg(unix)]
    {
        let found = rustix::fs::statvfs(directory).ok()?;
        // File systems without a size of their own report no blocks at all.
        (found.f_blocks != 0).then(|| found.f_bavail.saturating_mul(found.f_frsize))
    }
    #[cfg(not(unix))]
    {
        let _ = directory;
        None
    }
}

/// Whether an error means that a disk is full.
pub(super) fn is_full(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::StorageFull
}

/// Gives a new file its size, with its blocks where the file system can reserve them.
pub(super) fn preallocate(file: &File, size: u64) -> io::Result<()> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    if size != 0 {
        use rustix::fs::{FallocateFlags, fallocate};
        use rustix::io::{Errno, retry_on_intr};
        match retry_on_intr(|| fallocate(file, FallocateFlags::empty(), 0, size)) {
            Ok(()) => return Ok(()),
            // Not every file system reserves blocks, nor does every sandbox let it.
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL | Errno::PERM | Errno::NODEV) => {}
            Err(error) => return Err(error.into()),
        }
    }
    file.set_len(size)
}

/// Gives a file or a directory another name, which nothing may have: `AlreadyExists` otherwise.
pub(super) fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    #[cfg(test)]
    super::tests::step()?;
    #[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
    {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        use rustix::io::Errno;
        let renamed = renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE);
        // Not every file system knows the flag.
        let unknown = [Errno::INVAL, Errno::NOSYS, Errno::NOTSUP, Errno::OPNOTSUPP];
        if !renamed.is_err_and(|error| unknown.contains(&error)) {
            return Ok(renamed?);
        }
    }
    rename_by_link(from, to)
}

/// The same where the system has no call for it.
pub(super) fn rename_by_link(from: &Path, to: &Path) -> io::Result<()> {
    if !fs::symlink_metadata(from)?.is_dir() {
        match fs::hard_link(from, to) {
            Ok(()) => return fs::remove_file(from),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(error),
            // There may be no links either.
            Err(_) => {}
        }
    }
    if fs::symlink_metadata(to).is_ok() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    fs::rename(from, to)
}

/// Removes a directory with all that is in it.
pub(super) fn remove_tree(path: &Path) -> io::Result<()> {
    #[cfg(test)]
    super::tests::step()?;
    fs::remove_dir_all(path)
}

/// Whether `path` is the file or directory that `metadata` is of.
pub(super) fn same_file(metadata: &fs::Metadata, path: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        fs::symlink_metadata(path).is_ok_and(|f| (f.dev(), f.ino()) == (metadata.dev(), metadata.ino()))
    }
    #[cfg(not(unix))]
    {
        let _ = metadata;
        fs::symlink_metadata(path).is_ok()
    }
}

/// Writes all bytes at an offset without moving a cursor that threads share.
pub(super) fn write_all_at(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    #[cfg(unix)]
    {
        std::os::unix::fs::FileExt::write_all_at(file, bytes, offset)
    }
    #[cfg(windows)]
    {
        let (mut bytes, mut offset) = (bytes, offset);
        while !bytes.is_empty() {
            match std::os::windows::fs::FileExt::seek_write(file, bytes, offset) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    bytes = &bytes[written..];
                    offset += written as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Makes renames in a directory durable.
pub(super) fn sync_directory(directory: &Path) -> io::Result<()> {
    // Elsewhere directories cannot be opened as files.
    if !cfg!(unix) {
        return Ok(());
    }
    match File::open(directory)?.sync_all() {
        // Not every file system has a call for it.
        Err(error) if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => {
            Ok(())
        }
        result => result,
    }
}
