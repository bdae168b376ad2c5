//! Planning of files in the zip format that `torch.save` writes and `torch.load` reads.
//!
//! Follows `torch/serialization.py` and `caffe2/serialize/inline_container.cc` of torch 2.x: a pickle that names
//! storages, one record per storage with its data at a multiple of 64 bytes, and a few small records.

mod archive;
mod pickle;
mod saved;

use std::collections::HashMap;

use archive::Archive;
pub use saved::Saved;

use super::{OutputError, PlannedFile, TensorSpec};

/// Deepest nesting of containers; readers of this crate stop there too.
const MAX_DEPTH: usize = 128;

/// Plans a file that `torch.load` reads as `root`.
///
/// Every tensor is contiguous, on the CPU, and needs no gradient. A [`TensorSpec`] that occurs several times is stored
/// once: its tensors share a storage, as tied parameters do. The file's records are those of torch 2.x, in its order
/// and to its layout; only `.data/serialization_id` is a number of another kind, made of the record names, their sizes
/// and the pickle. Loading with `weights_only=True` works unless there is a [`Saved::Namespace`].
///
/// # Errors
/// If a tensor occurs with different element types or shapes, a size overflows, data is nested more than 128 deep, or
/// a text has 4 GiB or more.
pub fn plan_torch(path: &str, root: &Saved) -> Result<PlannedFile, OutputError> {
    let mut storages = Storages { file: path, tensors: Vec::new(), by_name: HashMap::new() };
    let pickle = pickle::write(path, root, &mut storages)?;
    let tensors = storages.tensors;
    let mut archive = Archive::new(path);
    let mut identity = Identity::of(&pickle);
    archive.record("data.pkl", pickle)?;
    archive.record(".format_version", b"1".to_vec())?;
    archive.record(".storage_alignment", archive::ALIGNMENT.to_string().into_bytes())?;
    archive.record("byteorder", b"little".to_vec())?;
    for (key, spec) in tensors.into_iter().enumerate() {
        identity.add(&spec.bytes()?.to_le_bytes());
        archive.tensor(&format!("data/{key}"), spec.clone())?;
    }
    archive.record("version", b"3\n".to_vec())?;
    let names = archive.names().fold(Identity::new(), |mut names, name| {
        names.add(name.as_bytes());
        names
    });
    // Two numbers of twenty digits, as torch has them.
    archive.record(".data/serialization_id", format!("{:020}{:020}", names.0, identity.0).into_bytes())?;
    archive.finish()
}

/// Tensors of a file in the order of first use; the place of one is the key of its storage.
struct Storages<'a> {
    file: &'a str,
    tensors: Vec<&'a TensorSpec>,
    by_name: HashMap<&'a str, usize>,
}

impl<'a> Storages<'a> {
    /// The key of the tensor's storage.
    fn key(&mut self, spec: &'a TensorSpec) -> Result<usize, OutputError> {
        let key = *self.by_name.entry(&spec.name).or_insert_with(|| {
            self.tensors.push(spec);
            self.tensors.len() - 1
        });
        let first = self.tensors[key];
        if first == spec {
            return Ok(key);
        }
        let describe = |spec: &TensorSpec| format!("{} {:?}", spec.dtype, spec.shape);
        Err(OutputError::SavedTwice {
            file: self.file.to_owned(),
            name: spec.name.clone(),
            first: describe(first),
            again: describe(spec),
        })
    }
}

/// A 64-bit FNV-1a sum (<http://www.isthe.com/chongo/tech/comp/fnv/>), the same on every machine.
struct Identity(u64);

impl Identity {
    fn new() -> Identity {
        Identity(0xcbf2_9ce4_8422_2325)
    }

    fn of(bytes: &[u8]) -> Identity {
        let mut identity = Identity::new();
        identity.add(bytes);
        identity
    }

    fn add(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}
