//! The `transship` command, run inside the test.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use transship_cli::{Terminal, run};

use crate::oracle::data;

/// What a command said and how it ended; paths of the test are shown as `DIR` and `DATA`.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) code: u8,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// A directory to run commands in.
pub(crate) struct Workplace {
    directory: TempDir,
}

impl Workplace {
    pub(crate) fn new() -> Workplace {
        Workplace { directory: tempfile::tempdir().expect("a directory") }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes a file, in directories that are made for it.
    pub(crate) fn put(&self, name: &str, contents: impl AsRef<[u8]>) {
        let path = self.path(name);
        let parent = path.parent().expect("a file lies in a directory");
        std::fs::create_dir_all(parent).expect("the directory can be made");
        std::fs::write(path, contents).expect("the file can be written");
    }

    /// Runs a command line; words that begin with `@` are paths in this directory, those that begin with `%`
    /// paths of the test data.
    pub(crate) fn run(&self, args: &[&str]) -> Done {
        let word = |word: &&str| -> OsString {
            match (word.strip_prefix('@'), word.strip_prefix('%')) {
                (Some(name), _) => self.path(name).into(),
                (_, Some(name)) => data(name).into(),
                _ => (*word).into(),
            }
        };
        let args = std::iter::once("transship".into()).chain(args.iter().map(word));
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let code = run(args, &mut out, &mut err, Terminal::default());
        Done { code, out: self.shown(&out), err: self.shown(&err) }
    }

    fn shown(&self, text: &[u8]) -> String {
        let text = std::str::from_utf8(text).expect("commands write UTF-8");
        let path = |path: &Path| path.display().to_string();
        text.replace(&path(self.directory.path()), "DIR").replace(&path(&data("")), "DATA/")
    }
}
