//! The index of a checkpoint that is cut into several files, as transformers writes it: `weight_map` names the file of
//! each tensor. The files are of safetensors (`model.safetensors.index.json`) or of torch (`pytorch_model.bin.index.json`).

use std::collections::HashMap;

use super::error::OpenCause;

/// What is wrong with an index or with a shard that it names.
#[derive(Debug, thiserror::Error)]
pub enum ShardsError {
    /// The index is not a table of names and shards.
    #[error("the index is malformed ({what}); fetch it again")]
    Index {
        /// What is wrong.
        what: String,
    },
    /// A shard that the index names is not there.
    #[error("shard {shard}, which the index names, is missing; fetch it into the same folder")]
    NoShard {
        /// File name of the shard.
        shard: String,
    },
    /// A shard cannot be read.
    #[error("in shard {shard}, {source}")]
    Shard {
        /// File name of the shard.
        shard: String,
        /// The cause.
        source: Box<OpenCause>,
    },
    /// A tensor that the index names is not in the shard it should be in.
    #[error(
        "tensor `{name}` should be in shard {shard}, but is not; the index and the shards do not belong together: \
         fetch them again"
    )]
    NotInShard {
        /// The tensor.
        name: String,
        /// The shard that the index gives.
        shard: String,
    },
    /// A tensor is in two shards.
    #[error(
        "tensor `{name}` is in two shards, {first} and {second}; the shards do not belong together: fetch them again"
    )]
    Twice {
        /// The tensor.
        name: String,
        /// The shard read first.
        first: String,
        /// The shard read second.
        second: String,
    },
}

/// Which file each tensor is in, by an index and by the files themselves.
pub(super) struct Shards<'i> {
    /// Names of files, by tensor.
    map: &'i serde_json::Map<String, serde_json::Value>,
    found: HashMap<String, &'i str>,
}

impl<'i> Shards<'i> {
    pub(super) fn of(index: &'i serde_json::Value) -> Result<Shards<'i>, ShardsError> {
        let map = index.get("weight_map").and_then(serde_json::Value::as_object);
        let map = map.ok_or_else(|| malformed("it has no table named `weight_map`"))?;
        Ok(Shards { map, found: HashMap::new() })
    }

    /// The names of the files, in order.
    pub(super) fn files(&self) -> Result<Vec<&'i str>, ShardsError> {
        let mut files: Vec<&str> = Vec::new();
        for file in self.map.values() {
            files.push(file.as_str().ok_or_else(|| malformed("a shard is no file name"))?);
        }
        files.sort_unstable();
        files.dedup();
        let outside = |file: &&&str| file.contains(['/', '\\']) || file.starts_with('.') || file.is_empty();
        match files.iter().find(outside) {
            Some(file) => Err(malformed(&format!("`{file}` is not the name of a file in the same folder"))),
            None => Ok(files),
        }
    }

    /// Notes that the file `shard` holds the tensor `name`, as no other file does.
    pub(super) fn found(&mut self, name: &str, shard: &'i str) -> Result<(), ShardsError> {
        match self.found.insert(name.to_owned(), shard) {
            Some(first) if first != shard => Err(ShardsError::Twice {
                name: name.to_owned(),
                first: first.to_owned(),
                second: shard.to_owned(),
            }),
            _ => Ok(()),
        }
    }

    /// Checks that every tensor was found where the index has it.
    pub(super) fn check(&self) -> Result<(), ShardsError> {
        for (name, shard) in self.map {
            let shard = shard.as_str().unwrap_or_default();
            if self.found.get(name).copied() != Some(shard) {
                return Err(ShardsError::NotInShard { name: name.clone(), shard: shard.to_owned() });
            }
        }
        Ok(())
    }
}

fn malformed(what: &str) -> ShardsError {
    ShardsError::Index { what: what.to_owned() }
}
