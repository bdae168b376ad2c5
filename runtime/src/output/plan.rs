//! What is written where, to the byte, before anything is read.

use std::collections::HashSet;
use std::path::Path;

use super::{OutputError, checksum};
use crate::DType;
use crate::engine::TargetTensor;

/// Files of an output with the place of each tensor.
#[derive(Clone, Debug)]
pub struct OutputPlan {
    /// Files with tensors, in the order in which they are written.
    pub files: Vec<PlannedFile>,
    /// The file that names the others, published after all of them.
    pub index: Option<SmallFile>,
    /// Tells which other names in the output directory, which is given first, belong to an earlier output. They count
    /// as existing outputs.
    pub superseded: fn(&Path, &str) -> bool,
}

/// A file with tensors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedFile {
    /// Path relative to the output directory.
    pub name: String,
    /// Size in bytes.
    pub size: u64,
    /// Tensors in order of their offsets.
    pub tensors: Vec<PlannedTensor>,
    /// Headers and whatever else surrounds the tensors.
    pub literals: Vec<Literal>,
}

/// Bytes known at planning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Literal {
    /// Where in the file.
    pub offset: u64,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// A tensor in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedTensor {
    /// What is stored.
    pub spec: TensorSpec,
    /// Where in the file, in bytes.
    pub offset: u64,
    /// How many bytes.
    pub bytes: u64,
    /// Where in the file the CRC-32 of those bytes is stored, little-endian: each time inside one of the literals.
    pub checksums: Vec<u64>,
}

/// Name, element type and shape of a tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorSpec {
    /// Tells it from all other tensors of the output. What a file calls it is in the file's literals.
    pub name: String,
    /// Its element type.
    pub dtype: DType,
    /// Its sizes; empty for a scalar.
    pub shape: Vec<u64>,
}

/// A file small enough to be held in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SmallFile {
    /// Path relative to the output directory.
    pub name: String,
    /// Its contents.
    pub bytes: Vec<u8>,
}

impl OutputPlan {
    /// Bytes of all planned files.
    #[must_use]
    pub fn total_bytes(&self) -> u64 {
        let index = self.index.as_ref().map_or(0, |index| index.bytes.len() as u64);
        self.files.iter().fold(index, |total, file| total.saturating_add(file.size))
    }

    /// Checks that names are distinct, that tensors and literals lie inside their files, in order and apart, and that
    /// checksums lie in literals.
    pub(super) fn check(&self) -> Result<(), OutputError> {
        let mut names = HashSet::new();
        for file in &self.files {
            let inconsistent =
                |what: &str| OutputError::Plan { file: file.name.clone(), what: what.to_owned() };
            let mut end = 0;
            for tensor in &file.tensors {
                let spec = &tensor.spec;
                if !names.insert(spec.name.as_str()) {
                    return Err(OutputError::DuplicateTensor { name: spec.name.clone() });
                }
                if tensor.offset < end || spec.bytes()? != tensor.bytes {
                    return Err(inconsistent(&spec.name));
                }
                end = tensor.offset.checked_add(tensor.bytes).ok_or_else(|| inconsistent(&spec.name))?;
            }
            for literal in &file.literals {
                let literal_end = literal.offset.checked_add(literal.bytes.len() as u64);
                end = end.max(literal_end.ok_or_else(|| inconsistent("literal bytes"))?);
            }
            if end > file.size {
                return Err(inconsistent("the last byte"));
            }
            if !checksum::have_room(file) {
                return Err(inconsistent("a checksum"));
            }
        }
        Ok(())
    }
}

impl TensorSpec {
    /// What a target tensor is stored as.
    #[must_use]
    pub fn of(tensor: &TargetTensor<'_>) -> TensorSpec {
        TensorSpec { name: tensor.name.clone(), dtype: tensor.dtype, shape: tensor.shape.clone() }
    }

    /// Bytes of the tensor.
    ///
    /// # Errors
    /// If they are more than a file can have.
    pub fn bytes(&self) -> Result<u64, OutputError> {
        if self.shape.contains(&0) {
            return Ok(0);
        }
        let size = self.dtype.size() as u64;
        let bytes = self.shape.iter().try_fold(size, |bytes, &size| bytes.checked_mul(size));
        let bytes = bytes.filter(|&bytes| i64::try_from(bytes).is_ok());
        bytes.ok_or_else(|| OutputError::TooLarge { name: self.name.clone() })
    }
}
