//! A hidden directory in which an output is made, and what is left of one whose run was killed.
//!
//! `.transship-partial-XXXXXX` holds `journal`, which the run that made it keeps locked; `new`, the files to come; and
//! `old`, what they replace, once it is moved aside. Before anything outside is touched the journal lists the names
//! that are to come from `new`. So whoever finds such a directory knows what to do: while the lock is held, nothing;
//! without names, or with nothing left in `new`, remove it; else move what has come from `new` back into it, and what
//! lies in `old` to where it was.

use std::collections::hash_map::RandomState;
use std::fs::{self, File};
use std::hash::{BuildHasher, Hasher};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use super::OutputError;
use super::disk::{remove_tree, rename_new, same_file};

const PREFIX: &str = ".transship-partial-";

const JOURNAL: &str = "journal";

/// More bytes than the names of an output have.
const LONGEST_JOURNAL: u64 = 64 << 20;

/// Names that are to come from `new`, each with what tells the file from another that has its name later.
pub(super) type Noted = Vec<(String, String)>;

/// A hidden directory of this run; its lock is held as long as this lives.
#[derive(Debug)]
pub(super) struct Staging {
    path: PathBuf,
    journal: File,
}

impl Staging {
    /// Makes one in the directory `base`.
    pub(super) fn create(base: &Path) -> Result<Staging, OutputError> {
        let failed = OutputError::io("create a directory in", base);
        let mut attempts = 0u64;
        loop {
            match Staging::try_create(base, attempts) {
                Ok(Some(staging)) => return Ok(staging),
                Ok(None) if attempts < 64 => attempts += 1,
                Ok(None) => return Err(failed(io::ErrorKind::AlreadyExists.into())),
                Err(error) => return Err(failed(error)),
            }
        }
    }

    /// `None` where the name is taken, or another run took the directory for one that was left.
    fn try_create(base: &Path, attempt: u64) -> io::Result<Option<Staging>> {
        let mut random = RandomState::new().build_hasher();
        random.write_u64(attempt);
        let path = base.join(format!("{PREFIX}{:010x}", random.finish() & 0xff_ffff_ffff));
        match fs::create_dir(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(None),
            result => result?,
        }
        let journal = match open_journal(&path, true) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            journal => journal?,
        };
        // A file system without locks has none to wait for either.
        if let Err(fs::TryLockError::WouldBlock) = journal.try_lock() {
            return Ok(None);
        }
        if !same_file(&journal.metadata()?, &path.join(JOURNAL)) {
            return Ok(None);
        }
        fs::create_dir(path.join("new"))?;
        Ok(Some(Staging { path, journal }))
    }

    /// Where the files to come lie.
    pub(super) fn new_files(&self) -> PathBuf {
        self.path.join("new")
    }

    /// Where what they replace is kept meanwhile.
    pub(super) fn old_files(&self) -> PathBuf {
        self.path.join("old")
    }

    /// Notes what is to come from `new`, before anything is moved.
    pub(super) fn note(&self, names: &[&str], sync: bool) -> io::Result<Noted> {
        let identity = |name: &&str| {
            let metadata = fs::symlink_metadata(self.new_files().join(name))?;
            Ok(((*name).to_owned(), identity(&metadata)))
        };
        let noted: Noted = names.iter().map(identity).collect::<io::Result<_>>()?;
        (&self.journal).write_all(&serde_json::to_vec(&noted)?)?;
        if sync {
            self.journal.sync_all()?;
        }
        Ok(noted)
    }

    /// Moves everything back to where it was before `note`.
    pub(super) fn roll_back(&self, base: &Path, noted: &Noted) -> io::Result<()> {
        roll_back(&self.path, base, noted)
    }

    /// Removes the directory with what is in it.
    pub(super) fn remove(&self) -> io::Result<()> {
        remove_tree(&self.path)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

fn open_journal(path: &Path, new: bool) -> io::Result<File> {
    File::options().read(true).write(true).create_new(new).open(path.join(JOURNAL))
}

/// Puts right what killed runs left in the directory `base`, and tells of it. What another user's run left is not
/// touched.
pub(super) fn recover(base: &Path, own: &Staging, tell: &dyn Fn(&str)) {
    // Where it cannot be listed, making an output in it says so.
    let Ok(entries) = fs::read_dir(base) else { return };
    for entry in entries.flatten() {
        let is_staging = entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX))
            && entry.file_type().is_ok_and(|kind| kind.is_dir());
        if !is_staging || entry.path() == own.path {
            continue;
        }
        let path = entry.path();
        match recover_one(&path, base, own) {
            Ok(None) => {}
            Ok(Some(Recovered::Removed)) => {
                tell(&format!("removed {}, which a run that was killed had left", path.display()));
            }
            Ok(Some(Recovered::RolledBack)) => tell(&format!(
                "{} is again as it was before a run that was killed while it replaced files",
                base.display()
            )),
            Err(error) => tell(&format!(
                "{} was left by a run that was killed and cannot be put right: {error}",
                path.display()
            )),
        }
    }
}

enum Recovered {
    Removed,
    RolledBack,
}

fn recover_one(path: &Path, base: &Path, own: &Staging) -> io::Result<Option<Recovered>> {
    let mut journal = match open_journal(path, false) {
        // Just made, or killed then; if it is empty, its run makes another one.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(fs::remove_dir(path).ok().map(|()| Recovered::Removed));
        }
        // Of another user.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Ok(None),
        journal => journal?,
    };
    if !same_owner(&journal.metadata()?, &own.journal.metadata()?) {
        return Ok(None);
    }
    match journal.try_lock() {
        Ok(()) => {}
        Err(fs::TryLockError::WouldBlock) => return Ok(None),
        Err(fs::TryLockError::Error(_)) => {
            return Err(io::Error::other(
                "this file system has no locks, so its run may still be there; remove it if it is not",
            ));
        }
    }
    let mut text = Vec::new();
    (&mut journal).take(LONGEST_JOURNAL).read_to_end(&mut text)?;
    // Of a journal that is cut off no name was used.
    let noted: Noted = serde_json::from_slice(&text).unwrap_or_default();
    let unfinished = fs::read_dir(path.join("new")).is_ok_and(|mut new| new.next().is_some());
    let plain = |name: &str| !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\\']);
    if noted.is_empty() || !unfinished || !noted.iter().all(|(name, _)| plain(name)) {
        remove_tree(path)?;
        return Ok(Some(Recovered::Removed));
    }
    roll_back(path, base, &noted)?;
    remove_tree(path)?;
    Ok(Some(Recovered::RolledBack))
}

/// Every step can be done again, so a failure half-way leaves the rest for the next run.
fn roll_back(staging: &Path, base: &Path, noted: &Noted) -> io::Result<()> {
    for (name, noted) in noted {
        let (new, target) = (staging.join("new").join(name), base.join(name));
        let found = fs::symlink_metadata(&target).ok();
        if found.is_none_or(|found| identity(&found) != *noted) {
            continue;
        }
        // Where a name cannot be given without a link, a run that was killed then leaves both.
        if fs::symlink_metadata(&new).is_ok() {
            fs::remove_file(&target)?;
        } else {
            rename_new(&target, &new)?;
        }
    }
    let old = match fs::read_dir(staging.join("old")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        old => old?,
    };
    for entry in old {
        let entry = entry?;
        rename_new(&entry.path(), &base.join(entry.file_name()))?;
    }
    Ok(())
}

/// What stays the same where a file or directory gets another name, and is another for another one.
fn identity(metadata: &fs::Metadata) -> String {
    #[cfg(unix)]
    let number = std::os::unix::fs::MetadataExt::ino(metadata);
    #[cfg(not(unix))]
    let number = 0;
    if metadata.is_dir() {
        return format!("{number}");
    }
    let modified = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    format!("{number} {} {}", metadata.len(), modified.unwrap_or_default().as_nanos())
}

fn same_owner(one: &fs::Metadata, other: &fs::Metadata) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        one.uid() == other.uid()
    }
    #[cfg(not(unix))]
    {
        let _ = (one, other);
        true
    }
}
