//! An output directory whose files appear together or not at all.
//!
//! Files are made in a hidden directory ([`Staging`]) and synced. A directory that is not there yet then appears in
//! one rename. In one that is there, what the new files replace is moved aside first, then they are moved in. What a
//! reader starts from is the first to go and the last to come, so that at no time it finds old files and new ones
//! together. No rename replaces anything. A failure on the way moves everything back; so does the next run, if this
//! one is killed.

use std::collections::{BTreeSet, HashSet};
use std::fs::{self, File};
use std::io;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use super::OutputError;
use super::disk::{free_bytes, is_full, preallocate, rename_new, sync_directory};
use super::earlier::{Earlier, top};
use super::staging::{Staging, recover};
use crate::storage::InputFile;

/// What is to be written.
#[derive(Clone)]
pub(super) struct Request<'a> {
    /// The output directory.
    pub(super) path: &'a Path,
    /// Paths of the files in it, in the order in which they appear: what a reader starts from comes last.
    pub(super) names: Vec<&'a str>,
    /// Whether a name at the top of the directory belongs to an earlier output.
    pub(super) superseded: fn(&Path, &str) -> bool,
    /// Bytes of all files.
    pub(super) needed: u64,
    /// Whether an earlier output is replaced.
    pub(super) force: bool,
    /// Whether the files are on the disk before they appear.
    pub(super) sync: bool,
    /// Files that are read meanwhile.
    pub(super) inputs: &'a [InputFile],
    /// Takes what the user should know.
    pub(super) tell: &'a (dyn Fn(&str) + Sync),
}

/// Files to be published together in one directory.
pub(super) struct OutputDirectory<'a> {
    request: Request<'a>,
    /// In the output directory where that is there, else beside it.
    staging: Staging,
    /// Names that were not added yet.
    missing: HashSet<&'a str>,
    /// Paths of the files that were added, under their temporary and their final names.
    added: Vec<(PathBuf, PathBuf)>,
    /// Directories made for the output, outermost first.
    created: Vec<PathBuf>,
    /// Bytes free before the first file was made, for messages.
    free: Option<u64>,
    /// Whether something outside the staging directory may have been moved.
    moved: bool,
    published: bool,
}

impl<'a> OutputDirectory<'a> {
    /// Prepares to write what is requested, and puts right what a killed run left there.
    ///
    /// # Errors
    /// If a name leaves the directory or comes twice, if an earlier output is there and is not to be replaced or cannot
    /// be, if there is too little room, or if the directory cannot be made.
    pub(super) fn prepare(request: Request<'a>) -> Result<OutputDirectory<'a>, OutputError> {
        let mut missing = HashSet::new();
        for name in &request.names {
            let relative = Path::new(name).components().all(|part| matches!(part, Component::Normal(_)));
            if name.is_empty() || !relative {
                return Err(OutputError::FileName { name: (*name).to_owned() });
            }
            if !missing.insert(*name) {
                return Err(OutputError::DuplicateFile { name: (*name).to_owned() });
            }
        }
        let there = fs::symlink_metadata(request.path).is_ok();
        let mut created = Vec::new();
        let base = if there { request.path } else { parent(request.path) };
        let staging = make_directories(base, &mut created).and_then(|()| Staging::create(base));
        let staging = staging.inspect_err(|_| remove_directories(&created))?;
        let free = free_bytes(base);
        let directory = OutputDirectory {
            request,
            staging,
            missing,
            added: Vec::new(),
            created,
            free,
            moved: false,
            published: false,
        };
        recover(base, &directory.staging, directory.request.tell);
        directory.earlier()?;
        match directory.free {
            Some(free) if directory.request.needed > free => Err(directory.no_space()),
            _ => Ok(directory),
        }
    }

    /// What is to be replaced.
    fn earlier(&self) -> Result<Vec<String>, OutputError> {
        let Request { path, names, superseded, force, inputs, .. } = &self.request;
        let Earlier { names, foreign } = Earlier::find(path, names, *superseded)?;
        if !names.is_empty() && !force {
            return Err(OutputError::Exists { directory: (*path).to_owned(), names });
        }
        if let Some(name) = foreign {
            return Err(OutputError::Foreign { directory: (*path).to_owned(), name });
        }
        if let Ok(real) = path.canonicalize() {
            let replaced: HashSet<&str> = names.iter().map(String::as_str).collect();
            let first = |inside: PathBuf| Some(inside.components().next()?.as_os_str().to_owned());
            let is_replaced = |input: &&InputFile| {
                let mut tops = input.inside(&real).filter_map(first);
                tops.any(|top| top.to_str().is_some_and(|top| replaced.contains(top)))
            };
            if let Some(input) = inputs.iter().find(is_replaced) {
                return Err(OutputError::IsInput { path: input.path().to_owned() });
            }
        }
        Ok(names)
    }

    /// Checks that the files that are read are still what they were.
    pub(super) fn check_inputs(&self) -> Result<(), OutputError> {
        match self.request.inputs.iter().find(|input| input.is_changed()) {
            Some(changed) => Err(OutputError::InputChanged { path: changed.path().to_owned() }),
            None => Ok(()),
        }
    }

    /// Makes a file of `size` bytes, to be written through the handle returned.
    ///
    /// # Errors
    /// If the name was not requested, or if the file cannot be made.
    pub(super) fn add(&mut self, name: &str, size: u64) -> Result<File, OutputError> {
        if !self.missing.remove(name) {
            return Err(OutputError::FileName { name: name.to_owned() });
        }
        let target = self.request.path.join(name);
        let temporary = self.staging.new_files().join(name);
        let failed = OutputError::io("create", &target);
        let parent = temporary.parent().map_or(Ok(()), fs::create_dir_all);
        let file = parent.and_then(|()| File::options().write(true).create_new(true).open(&temporary));
        let file = file.map_err(failed)?;
        preallocate(&file, size).map_err(|error| self.failed("reserve", &target, error))?;
        self.added.push((temporary, target));
        Ok(file)
    }

    /// The error of a failed write to the file with this name.
    pub(super) fn write_failed(&self, name: &str, error: io::Error) -> OutputError {
        self.failed("write", &self.request.path.join(name), error)
    }

    /// Opens the file added as number `index`, for another thread to write.
    pub(super) fn open(&self, index: usize) -> Result<File, OutputError> {
        let (temporary, target) = &self.added[index];
        File::options().write(true).open(temporary).map_err(OutputError::io("open", target))
    }

    /// Gives all files their final names.
    ///
    /// With `sync`, they are on the disk before the first rename and the renames are when this returns, unless the
    /// user is told otherwise.
    ///
    /// # Errors
    /// If a file cannot be synced or moved, or if something came to be in the way. What was there before is there
    /// again then.
    pub(super) fn publish(mut self) -> Result<(), OutputError> {
        if self.request.sync {
            self.sync_files()?;
        }
        self.check_inputs()?;
        let path = self.request.path;
        if self.staging.path().parent() != Some(path) {
            let appeared = rename_new(&self.staging.new_files(), path);
            match appeared {
                Ok(()) => {
                    self.finish();
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => self.move_staging()?,
                Err(error) => return Err(OutputError::io("rename a directory to", path)(error)),
            }
        }
        self.publish_inside()
    }

    /// Moves the new files into the output directory, which another program made meanwhile.
    fn move_staging(&mut self) -> Result<(), OutputError> {
        let path = self.request.path;
        self.earlier()?;
        let staging = Staging::create(path)?;
        let (from, to) = (self.staging.new_files(), staging.new_files());
        let moved = fs::remove_dir(&to).and_then(|()| rename_new(&from, &to));
        let other = std::mem::replace(&mut self.staging, staging);
        self.remove(&other);
        moved.map_err(OutputError::io("move files to", path))
    }

    /// Replaces what is in the output directory by the new files.
    fn publish_inside(mut self) -> Result<(), OutputError> {
        let path = self.request.path;
        // Two runs replace one after the other.
        let lock = lock(path);
        let earlier = self.earlier()?;
        let mut seen = HashSet::new();
        let tops = self.request.names.iter().map(|name| top(name).0);
        let tops: Vec<&str> = tops.filter(|name| seen.insert(*name)).collect();
        let failed = OutputError::io("write the journal in", self.staging.path());
        let noted = self.staging.note(&tops, self.request.sync).map_err(failed)?;
        if self.request.sync {
            sync_directory(self.staging.path()).map_err(OutputError::io("sync", self.staging.path()))?;
        }
        self.moved = true;
        if let Err(error) = self.move_all(&earlier, &tops) {
            return Err(match self.staging.roll_back(path, &noted) {
                Ok(()) => {
                    self.moved = false;
                    error
                }
                Err(source) => OutputError::NotRestored {
                    error: Box::new(error),
                    staging: self.staging.path().to_owned(),
                    source,
                },
            });
        }
        self.finish();
        drop(lock);
        Ok(())
    }

    fn move_all(&self, earlier: &[String], new: &[&str]) -> Result<(), OutputError> {
        let path = self.request.path;
        let (old_files, new_files) = (self.staging.old_files(), self.staging.new_files());
        if !earlier.is_empty() {
            fs::create_dir(&old_files).map_err(OutputError::io("create", &old_files))?;
        }
        for name in earlier {
            let from = path.join(name);
            rename_new(&from, &old_files.join(name)).map_err(OutputError::io("move aside", &from))?;
        }
        for name in new {
            let to = path.join(name);
            rename_new(&new_files.join(name), &to).map_err(OutputError::io("rename a file to", &to))?;
        }
        Ok(())
    }

    /// Makes the renames durable and removes what is left over. All files have their names: nothing that fails makes
    /// the output less whole.
    fn finish(&mut self) {
        self.published = true;
        if self.request.sync {
            let path = self.request.path;
            let mut parents: BTreeSet<&Path> = self.created.iter().map(|created| parent(created)).collect();
            parents.extend([path, parent(path)]);
            for directory in parents {
                if let Err(error) = sync_directory(directory) {
                    (self.request.tell)(&format!(
                        "{} is written, but not known to be on the disk: cannot sync {}: {error}",
                        path.display(),
                        directory.display()
                    ));
                }
            }
        }
        self.remove(&self.staging);
    }

    /// Removes a staging directory, or says that it stays.
    fn remove(&self, staging: &Staging) {
        if let Err(error) = staging.remove() {
            (self.request.tell)(&format!(
                "{} is left over and can be removed: {error}",
                staging.path().display()
            ));
        }
    }

    /// Brings the new files and the directories that they lie in to the disk.
    fn sync_files(&self) -> Result<(), OutputError> {
        let new = self.staging.new_files();
        let mut directories = BTreeSet::from([new.as_path()]);
        for (index, (temporary, target)) in self.added.iter().enumerate() {
            self.open(index)?.sync_all().map_err(|error| self.failed("sync", target, error))?;
            directories.extend(temporary.ancestors().skip(1).take_while(|above| above.starts_with(&new)));
        }
        for directory in directories {
            sync_directory(directory).map_err(OutputError::io("sync", directory))?;
        }
        Ok(())
    }

    fn no_space(&self) -> OutputError {
        let Request { path, needed, .. } = self.request;
        OutputError::NoSpace { directory: path.to_owned(), needed, free: self.free }
    }

    fn failed(&self, action: &'static str, path: &Path, error: io::Error) -> OutputError {
        if is_full(&error) {
            return self.no_space();
        }
        OutputError::Io { action, path: path.to_owned(), source: error }
    }
}

impl Drop for OutputDirectory<'_> {
    fn drop(&mut self) {
        // What could not be moved back stays where it is, for the next run to do.
        if self.published || self.moved {
            return;
        }
        self.remove(&self.staging);
        remove_directories(&self.created);
    }
}

/// The directory that `path` lies in.
fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Makes a directory with its parents and notes those that were missing.
fn make_directories(path: &Path, created: &mut Vec<PathBuf>) -> Result<(), OutputError> {
    let missing: Vec<&Path> =
        path.ancestors().take_while(|above| !above.as_os_str().is_empty() && !above.exists()).collect();
    for directory in missing.into_iter().rev() {
        fs::create_dir(directory).map_err(OutputError::io("create", directory))?;
        created.push(directory.to_owned());
    }
    Ok(())
}

fn remove_directories(created: &[PathBuf]) {
    for directory in created.iter().rev() {
        // One that holds something else by now stays.
        let _ = fs::remove_dir(directory);
    }
}

/// Waits until no other run replaces files in a directory, for as long as that can take. Where directories cannot be
/// locked, or another program keeps one locked, there is nothing to wait for; no run overwrites what another one put
/// there.
fn lock(directory: &Path) -> Option<File> {
    const TRIES: u32 = 500;
    let file = File::open(directory).ok()?;
    for _ in 0..TRIES {
        match file.try_lock() {
            Ok(()) => return Some(file),
            Err(fs::TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(10)),
            Err(fs::TryLockError::Error(_)) => break,
        }
    }
    None
}
