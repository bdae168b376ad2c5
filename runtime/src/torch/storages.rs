//! Storages as a pickle refers to them, and the bytes they have in the file.

use std::collections::HashMap;

use crate::DType;
use crate::pickle::{Node, NodeId, Pickle};
use crate::storage::Region;
use crate::tensor::{Storage, StorageId};

/// Element type of a storage, by its class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kind {
    /// The dtype's name in torch.
    pub(super) name: &'static str,
    /// The dtype, where it is one of ours. An untyped storage has none.
    pub(super) dtype: Option<DType>,
    /// Bytes per element, as storages count them.
    pub(super) size: u64,
}

/// Class names, dtypes in torch, bytes per element.
const KINDS: &[(&str, &str, u64)] = &[
    ("DoubleStorage", "float64", 8),
    ("FloatStorage", "float32", 4),
    ("HalfStorage", "float16", 2),
    ("BFloat16Storage", "bfloat16", 2),
    ("LongStorage", "int64", 8),
    ("IntStorage", "int32", 4),
    ("ShortStorage", "int16", 2),
    ("CharStorage", "int8", 1),
    ("ByteStorage", "uint8", 1),
    ("BoolStorage", "bool", 1),
    ("Float8_e4m3fnStorage", "float8_e4m3fn", 1),
    ("Float8_e5m2Storage", "float8_e5m2", 1),
    ("ComplexFloatStorage", "complex64", 8),
    ("ComplexDoubleStorage", "complex128", 16),
    ("QInt8Storage", "qint8", 1),
    ("QUInt8Storage", "quint8", 1),
    ("QInt32Storage", "qint32", 4),
    ("QUInt4x2Storage", "quint4x2", 1),
    ("QUInt2x4Storage", "quint2x4", 1),
    ("UntypedStorage", "untyped", 1),
    ("_UntypedStorage", "untyped", 1),
];

/// The dtype that torch calls `name`.
pub(crate) fn dtype(name: &str) -> Option<DType> {
    Some(match name {
        "float64" | "double" => DType::F64,
        "float32" | "float" => DType::F32,
        "float16" | "half" => DType::F16,
        "bfloat16" => DType::BF16,
        "int64" | "long" => DType::I64,
        "int32" | "int" => DType::I32,
        "int16" | "short" => DType::I16,
        "int8" => DType::I8,
        "uint8" => DType::U8,
        "bool" => DType::Bool,
        "float8_e4m3fn" => DType::F8E4M3,
        "float8_e5m2" => DType::F8E5M2,
        _ => return None,
    })
}

/// What torch calls the dtype.
pub(crate) fn dtype_name(dtype: DType) -> &'static str {
    match dtype {
        DType::F64 => "float64",
        DType::F32 => "float32",
        DType::F16 => "float16",
        DType::BF16 => "bfloat16",
        DType::I64 => "int64",
        DType::I32 => "int32",
        DType::I16 => "int16",
        DType::I8 => "int8",
        DType::U8 => "uint8",
        DType::Bool => "bool",
        DType::F8E4M3 => "float8_e4m3fn",
        DType::F8E5M2 => "float8_e5m2",
    }
}

/// The class, in module `torch`, of storages of the dtype. Torch writes those of 8-bit floats without a type.
pub(crate) fn storage_class(dtype: DType) -> Option<&'static str> {
    if matches!(dtype, DType::F8E4M3 | DType::F8E5M2) {
        return None;
    }
    let name = dtype_name(dtype);
    KINDS.iter().find(|&&(_, kind, _)| kind == name).map(|&(class, ..)| class)
}

fn kind(class: &str) -> Option<Kind> {
    let class = class.strip_prefix("torch.")?;
    let class = class.strip_prefix("cuda.").or(class.strip_prefix("storage.")).unwrap_or(class);
    let &(_, name, size) = KINDS.iter().find(|(c, ..)| *c == class)?;
    Some(Kind { name, dtype: dtype(name), size })
}

/// Longest key of a storage; torch's are numbers.
const MAX_KEY: usize = 256;

/// What a persistent id says of a storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StorageRef {
    pub(super) key: String,
    pub(super) kind: Kind,
    /// Number of elements, of the whole storage.
    pub(super) elements: u64,
    /// First element and number of elements, where only a part is meant (legacy files).
    pub(super) view: Option<(u64, u64)>,
}

/// Reads `("storage", class, key, location, elements[, view])`; an error says what does not fit.
pub(super) fn storage_ref(pickle: &Pickle, id: NodeId) -> Result<StorageRef, String> {
    let fields = pickle.sequence(id).unwrap_or(&[]);
    let [tag, class, key, _location, elements, view @ ..] = fields else {
        return Err("its storage is no reference to one".to_owned());
    };
    if pickle.text(*tag) != Some("storage") || view.len() > 1 {
        return Err("its storage is no reference to one".to_owned());
    }
    let class = pickle.global(*class).ok_or("its storage has no class")?;
    let kind = kind(class).ok_or_else(|| format!("its storage has the unknown class {class}"))?;
    let key = match (pickle.text(*key), pickle.int(*key)) {
        (Some(text), _) if text.len() > MAX_KEY => {
            return Err(format!("the key of its storage has {} characters", text.len()));
        }
        (Some(text), _) => text.to_owned(),
        (None, Some(number)) => number.to_string(),
        (None, None) => return Err("its storage has no key".to_owned()),
    };
    let count = |id| pickle.int(id).and_then(|n| u64::try_from(n).ok());
    let elements = count(*elements).ok_or("its storage has no length")?;
    let view = match view.first().map(|&view| (pickle.node(view), pickle.sequence(view))) {
        None | Some((Node::None, _)) => None,
        Some((_, Some(&[_, offset, size]))) => {
            Some(count(offset).zip(count(size)).ok_or("its storage view has no extent")?)
        }
        Some(_) => return Err("its storage view is malformed".to_owned()),
    };
    Ok(StorageRef { key, kind, elements, view })
}

/// All references to storages in a pickle, whether or not a tensor uses them.
///
/// Other things than storages may be left outside a pickle, such as the source of a module.
pub(super) fn storage_refs(pickle: &Pickle) -> impl Iterator<Item = Result<StorageRef, String>> {
    pickle.nodes().iter().filter_map(|node| {
        let Node::Persistent(id) = node else { return None };
        let tag = pickle.sequence(*id)?.first()?;
        (pickle.text(*tag) == Some("storage")).then(|| storage_ref(pickle, *id))
    })
}

/// How a file keeps its storages, for names in messages.
#[derive(Clone, Copy, Debug)]
pub(super) enum Keeping {
    /// As records of a zip archive.
    Records,
    /// One after the other in a stream.
    Stream,
}

/// The storages of a file; those that tensors use get ids in the order of first use.
#[derive(Debug)]
pub(super) struct Storages {
    /// Name of the file, for display.
    file: String,
    keeping: Keeping,
    regions: HashMap<String, Region>,
    ids: HashMap<String, StorageId>,
    used: Vec<Storage>,
}

impl Storages {
    /// The storages of `file`, with their bytes by key.
    pub(super) fn new(file: &str, keeping: Keeping, regions: HashMap<String, Region>) -> Storages {
        Storages { file: file.to_owned(), keeping, regions, ids: HashMap::new(), used: Vec::new() }
    }

    pub(super) fn region(&self, key: &str) -> Option<&Region> {
        self.regions.get(key)
    }

    /// The storage's name in messages.
    pub(super) fn place(&self, key: &str) -> String {
        match self.keeping {
            Keeping::Records => format!("record data/{key} of storage {key}"),
            Keeping::Stream => format!("storage {key}"),
        }
    }

    /// The id of the storage under `key`, or `None` where the file has no such storage.
    pub(super) fn id(&mut self, key: &str) -> Option<StorageId> {
        if let Some(&id) = self.ids.get(key) {
            return Some(id);
        }
        let region = self.regions.get(key)?.clone();
        let id = StorageId(self.used.len());
        let file = match self.keeping {
            Keeping::Records => format!("{}!data/{key}", self.file),
            Keeping::Stream => format!("{}!storage {key}", self.file),
        };
        self.ids.insert(key.to_owned(), id);
        self.used.push(Storage { key: key.to_owned(), file, region, tensors: Vec::new() });
        Some(id)
    }

    /// Notes that tensor number `tensor` is a view of storage `id`.
    pub(super) fn attach(&mut self, id: StorageId, tensor: usize) {
        self.used[id.0].tensors.push(tensor);
    }

    pub(super) fn into_used(self) -> Vec<Storage> {
        self.used
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_dtype_of_ours_has_its_size() {
        for (class, name, size) in KINDS {
            let kind = kind(&format!("torch.{class}")).expect("a class of the table");
            assert_eq!(kind.dtype, dtype(name));
            assert!(kind.dtype.is_none_or(|d| d.size() as u64 == *size), "{class}");
        }
        for known in DType::ALL {
            assert_eq!(dtype(dtype_name(known)), Some(known));
            let class = storage_class(known).map(|class| format!("torch.{class}"));
            assert!(class.is_none_or(|class| kind(&class).and_then(|kind| kind.dtype) == Some(known)));
            assert_eq!(storage_class(known).is_none(), known.name().starts_with("f8"));
        }
        assert_eq!(kind("torch.cuda.HalfStorage"), kind("torch.HalfStorage"));
        assert_eq!(kind("torch.storage.UntypedStorage").map(|k| k.size), Some(1));
        assert_eq!(kind("numpy.FloatStorage"), None);
        assert_eq!(kind("torch.Tensor"), None);
    }
}
