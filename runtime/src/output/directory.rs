//! An output directory whose files appear together or not at all.
//!
//! Files are written under temporary names beside their final ones. At the end all are synced, what they replace is
//! moved aside, and they are renamed in the order in which they were added. A failure on the way moves everything
//! back; what is dropped unpublished is removed.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::path::{Component, Path, PathBuf};

use tempfile::TempPath;

use super::OutputError;
use super::disk::{free_bytes, is_full, preallocate, sync_directory};

/// Files to be published together in one directory.
#[derive(Debug)]
pub struct OutputDirectory {
    path: PathBuf,
    files: Vec<Pending>,
    names: HashSet<String>,
    /// Existing files that go when the new ones appear, those a reader starts from first.
    replaced: Vec<PathBuf>,
    /// Directories made for the output, outermost first.
    created: Vec<PathBuf>,
    /// Bytes of all files to come, for messages.
    needed: u64,
    /// Bytes free before the first of them was made, for messages.
    free: Option<u64>,
    published: bool,
}

#[derive(Debug)]
struct Pending {
    /// `None` once the file has its final name. The file is removed when this is dropped.
    temporary: Option<TempPath>,
    target: PathBuf,
}

impl OutputDirectory {
    /// Prepares to write files with these names, of `needed` bytes together.
    ///
    /// Existing files of those names, and others for which `superseded` holds, are an error unless `force` is set.
    ///
    /// # Errors
    /// If a name leaves the directory or comes twice, if outputs exist, if there is too little room, or if
    /// the directory cannot be made.
    pub fn prepare(
        path: &Path,
        names: &[&str],
        superseded: fn(&str) -> bool,
        needed: u64,
        force: bool,
    ) -> Result<OutputDirectory, OutputError> {
        let mut distinct = HashSet::new();
        for name in names {
            let relative = Path::new(name).components().all(|part| matches!(part, Component::Normal(_)));
            if name.is_empty() || !relative {
                return Err(OutputError::FileName { name: (*name).to_owned() });
            }
            if !distinct.insert((*name).to_owned()) {
                return Err(OutputError::DuplicateFile { name: (*name).to_owned() });
            }
        }
        let existing = existing_outputs(path, names, superseded)?;
        if !existing.is_empty() && !force {
            return Err(OutputError::Exists { directory: path.to_owned(), names: existing });
        }
        let mut directory = OutputDirectory {
            path: path.to_owned(),
            files: Vec::new(),
            names: distinct,
            replaced: existing.iter().rev().map(|name| path.join(name)).collect(),
            created: Vec::new(),
            needed,
            free: None,
            published: false,
        };
        directory.create(path)?;
        directory.free = free_bytes(path);
        match directory.free {
            Some(free) if needed > free => Err(directory.no_space()),
            _ => Ok(directory),
        }
    }

    /// Makes a file of `size` bytes under a temporary name, to be written through the handle returned.
    ///
    /// # Errors
    /// If the name was not given to `prepare`, or if the file cannot be made.
    pub fn add(&mut self, name: &str, size: u64) -> Result<File, OutputError> {
        if !self.names.remove(name) {
            return Err(OutputError::FileName { name: name.to_owned() });
        }
        let target = self.path.join(name);
        let parent = target.parent().unwrap_or(&self.path).to_owned();
        self.create(&parent)?;
        let base = target.file_name().unwrap_or_default().to_string_lossy();
        let prefix = format!(".{base}.partial-");
        let mut builder = tempfile::Builder::new();
        builder.prefix(&prefix);
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let temporary = builder.tempfile_in(&parent).map_err(OutputError::io("create a file in", &parent))?;
        let (file, temporary) = temporary.into_parts();
        self.files.push(Pending { temporary: Some(temporary), target: target.clone() });
        preallocate(&file, size).map_err(|error| self.failed("reserve", &target, error))?;
        Ok(file)
    }

    /// The error of a failed write to the file with this name.
    pub(super) fn write_failed(&self, name: &str, error: io::Error) -> OutputError {
        self.failed("write", &self.path.join(name), error)
    }

    /// Opens the file added as number `index`, for another thread to write.
    pub(super) fn open(&self, index: usize) -> Result<File, OutputError> {
        let pending = &self.files[index];
        let temporary = pending.temporary.as_deref().expect("bug: a published file is written to");
        File::options().write(true).open(temporary).map_err(OutputError::io("open", &pending.target))
    }

    /// Gives all files their final names, in the order in which they were added.
    ///
    /// With `sync`, they are on the disk before the first rename and the renames are when this returns.
    ///
    /// # Errors
    /// If a file cannot be synced or renamed. Files that were there before are there again then.
    pub fn publish(mut self, sync: bool) -> Result<(), OutputError> {
        if sync {
            for (index, pending) in self.files.iter().enumerate() {
                self.open(index)?.sync_all().map_err(|error| self.failed("sync", &pending.target, error))?;
            }
        }
        let mut aside = Vec::new();
        let result = self.move_aside(&mut aside).and_then(|()| self.rename_all());
        if let Err(error) = result {
            self.move_back(aside);
            return Err(error);
        }
        self.published = true;
        // Dropping the names removes what was replaced.
        drop(aside);
        if sync {
            self.sync_directories()?;
        }
        Ok(())
    }

    fn move_aside(&self, aside: &mut Vec<(TempPath, PathBuf)>) -> Result<(), OutputError> {
        for path in &self.replaced {
            let base = path.file_name().unwrap_or_default().to_string_lossy();
            let parent = path.parent().unwrap_or(&self.path);
            let kept = tempfile::Builder::new()
                .prefix(&format!(".{base}.replaced-"))
                .tempfile_in(parent)
                .map_err(OutputError::io("create a file in", parent))?
                .into_temp_path();
            fs::rename(path, &kept).map_err(OutputError::io("move aside", path))?;
            aside.push((kept, path.clone()));
        }
        Ok(())
    }

    fn rename_all(&mut self) -> Result<(), OutputError> {
        for pending in &mut self.files {
            let Some(temporary) = &pending.temporary else { continue };
            fs::rename(temporary, &pending.target)
                .map_err(OutputError::io("rename a file to", &pending.target))?;
            // The file has its name; forgetting the temporary one keeps it.
            if let Some(Err(error)) = pending.temporary.take().map(TempPath::keep) {
                return Err(OutputError::Io {
                    action: "keep",
                    path: pending.target.clone(),
                    source: error.error,
                });
            }
        }
        Ok(())
    }

    fn move_back(&mut self, aside: Vec<(TempPath, PathBuf)>) {
        for pending in self.files.iter().filter(|pending| pending.temporary.is_none()) {
            // Of two errors the first is the one to report.
            let _ = fs::remove_file(&pending.target);
        }
        for (kept, path) in aside {
            if fs::rename(&kept, &path).is_err() {
                // Better an odd name than no file.
                let _ = kept.keep();
            }
        }
    }

    fn sync_directories(&self) -> Result<(), OutputError> {
        let mut parents: Vec<&Path> = self.files.iter().filter_map(|file| file.target.parent()).collect();
        parents.extend(self.created.iter().filter_map(|created| created.parent()));
        parents.push(&self.path);
        parents.sort_unstable();
        parents.dedup();
        for parent in parents {
            let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
            sync_directory(parent).map_err(OutputError::io("sync", parent))?;
        }
        Ok(())
    }

    /// Makes a directory with its parents and keeps in mind which were missing.
    fn create(&mut self, path: &Path) -> Result<(), OutputError> {
        let missing: Vec<PathBuf> = path
            .ancestors()
            .take_while(|ancestor| !ancestor.as_os_str().is_empty() && !ancestor.exists())
            .map(Path::to_owned)
            .collect();
        for directory in missing.into_iter().rev() {
            fs::create_dir(&directory).map_err(OutputError::io("create", &directory))?;
            self.created.push(directory);
        }
        Ok(())
    }

    fn no_space(&self) -> OutputError {
        OutputError::NoSpace { directory: self.path.clone(), needed: self.needed, free: self.free }
    }

    fn failed(&self, action: &'static str, path: &Path, error: io::Error) -> OutputError {
        if is_full(&error) {
            return self.no_space();
        }
        OutputError::Io { action, path: path.to_owned(), source: error }
    }
}

impl Drop for OutputDirectory {
    fn drop(&mut self) {
        if self.published {
            return;
        }
        self.files.clear();
        for directory in self.created.iter().rev() {
            // One that holds something else by now stays.
            let _ = fs::remove_dir(directory);
        }
    }
}

/// Names that exist, planned ones in their order before superseded ones.
fn existing_outputs(
    path: &Path,
    names: &[&str],
    superseded: fn(&str) -> bool,
) -> Result<Vec<String>, OutputError> {
    let mut existing = Vec::new();
    for name in names {
        let target = path.join(name);
        match fs::symlink_metadata(&target) {
            Ok(found) if found.is_dir() => return Err(OutputError::InTheWay { path: target }),
            Ok(_) => existing.push((*name).to_owned()),
            Err(_) => {}
        }
    }
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(existing),
        Err(error) => return Err(OutputError::Io { action: "list", path: path.to_owned(), source: error }),
    };
    let mut others = Vec::new();
    for entry in entries {
        let entry = entry.map_err(OutputError::io("list", path))?;
        if let Ok(name) = entry.file_name().into_string()
            && superseded(&name)
            && !names.contains(&name.as_str())
            && entry.file_type().is_ok_and(|kind| !kind.is_dir())
        {
            others.push(name);
        }
    }
    others.sort_unstable();
    existing.extend(others);
    Ok(existing)
}
