//! Text files of a checkpoint's directory.

use std::fs;
use std::path::Path;

use crate::document::{Key, Map, Value};

use super::error::{OpenCause, OpenError};

/// Longest configuration or index file; an index of 100,000 tensors has about 10 MB.
const MAX_TEXT: u64 = 1 << 28;

/// The JSON in the file at `path`.
pub(super) fn read_json(path: &Path) -> Result<serde_json::Value, OpenError> {
    let wrong = |cause: OpenCause| OpenError::at(path, cause);
    let length = path.metadata().map_err(|e| wrong(e.into()))?.len();
    if length > MAX_TEXT {
        return Err(wrong(OpenCause::Long { length }));
    }
    let bytes = fs::read(path).map_err(|e| wrong(e.into()))?;
    serde_json::from_slice(&bytes).map_err(|e| wrong(e.into()))
}

/// The names in the directory at `path`, in order.
pub(super) fn names(path: &Path) -> Result<Vec<String>, OpenError> {
    let wrong = |e: std::io::Error| OpenError::at(path, e);
    let mut names = Vec::new();
    for entry in fs::read_dir(path).map_err(wrong)? {
        names.push(entry.map_err(wrong)?.file_name().to_string_lossy().into_owned());
    }
    names.sort_unstable();
    Ok(names)
}

/// The configuration files in the directory at `path` by name: `config.json` first, then all `*_config.json`.
pub(super) fn config_documents(path: &Path) -> Result<Value, OpenError> {
    let mut files = names(path)?;
    files.retain(|name| name == "config.json" || name.ends_with("_config.json"));
    files.sort_by_key(|name| name != "config.json");
    let mut documents = Map::new();
    for name in files {
        let json = read_json(&path.join(&name))?;
        documents.insert(Key::Str(name.into()), Value::from(&json));
    }
    Ok(Value::Map(documents))
}
