//! Text files of a checkpoint's directory.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use crate::document::{Key, Map, Value};
use crate::text_file::{JsonError, parse_json, read_text_file};

use super::error::{OpenCause, OpenError};

/// What Hugging Face's models say of themselves.
pub(super) const CONFIG: &str = "config.json";

/// How much a JSON file can hold.
struct Limits {
    bytes: u64,
    values: usize,
}

/// Configs: labels of 21,000 classes are the largest part that is known, with 2 MB.
const CONFIG_LIMITS: Limits = Limits { bytes: 16 << 20, values: 1 << 18 };

/// Indices of shards: one of 100,000 tensors has about 10 MB.
const INDEX_LIMITS: Limits = Limits { bytes: 128 << 20, values: 1 << 20 };

/// The JSON of a config, or of a description of about its size.
pub(crate) fn read_json(path: &Path) -> Result<serde_json::Value, OpenError> {
    read_limited(path, &CONFIG_LIMITS)
}

/// The JSON of an index of shards.
pub(super) fn read_index(path: &Path) -> Result<serde_json::Value, OpenError> {
    read_limited(path, &INDEX_LIMITS)
}

fn read_limited(path: &Path, limits: &Limits) -> Result<serde_json::Value, OpenError> {
    let bytes = read_text(path, limits.bytes)?;
    parse_json(&bytes, limits.values).map_err(|error| match error {
        JsonError::Syntax(error) => OpenError::at(path, error),
        JsonError::Values(most) => OpenError::at(path, OpenCause::Values { most }),
    })
}

/// The bytes of a text file of at most `most` bytes.
pub(super) fn read_text(path: &Path, most: u64) -> Result<Vec<u8>, OpenError> {
    read_text_file(path, most).map_err(|error| match error.kind() {
        ErrorKind::FileTooLarge => {
            let length = path.metadata().map_or(most.saturating_add(1), |metadata| metadata.len());
            OpenError::at(path, OpenCause::Long { length })
        }
        _ => OpenError::at(path, error),
    })
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

/// The document called `name` in the directory at `path`: a JSON object, or `None` where there is no such file.
pub(super) fn document(path: &Path, name: &str) -> Result<Option<Value>, OpenError> {
    let file = path.join(name);
    if let Err(error) = fs::symlink_metadata(&file)
        && error.kind() == ErrorKind::NotFound
    {
        return Ok(None);
    }
    match read_json(&file)? {
        object @ serde_json::Value::Object(_) => Ok(Some(Value::from(&object))),
        _ => Err(OpenError::at(&file, OpenCause::NoObject)),
    }
}

/// The configuration files in the directory at `path` by name: `config.json` first, then all `*_config.json`.
pub(super) fn config_documents(path: &Path) -> Result<Map, OpenError> {
    let mut files = names(path)?;
    files.retain(|name| name == CONFIG || name.ends_with("_config.json"));
    files.sort_by_key(|name| name != CONFIG);
    let mut documents = Map::new();
    for name in files {
        if let Some(value) = document(path, &name)? {
            documents.insert(Key::Str(name.into()), value);
        }
    }
    Ok(documents)
}
