//! Tensors, from the calls by which torch pickles them.

use crate::DType;
use crate::pickle::{Instance, Node, NodeId, Pickle};
use crate::tensor::StorageId;

use super::error::TorchError;
use super::storages::{StorageRef, Storages, dtype, storage_ref};

/// Torch itself stops at 64 dimensions.
const MAX_DIMS: usize = 64;

/// Parameters wrap tensors; nothing wraps more than a few times.
const MAX_WRAPPERS: usize = 16;

/// A tensor without its name.
#[derive(Clone, Debug)]
pub(super) struct View {
    pub(super) shape: Vec<u64>,
    pub(super) element: Element,
}

#[derive(Clone, Debug)]
pub(super) enum Element {
    /// A dtype of ours, and where the elements lie.
    Known { dtype: DType, strides: Vec<u64>, offset: u64, storage: StorageId },
    /// The name of a dtype that is not converted.
    Unknown(String),
}

/// Whether calling the function `name` makes a tensor that is read here.
pub(super) fn makes_tensor(name: &str) -> bool {
    matches!(
        name,
        "torch._utils._rebuild_tensor"
            | "torch._utils._rebuild_tensor_v2"
            | "torch._utils._rebuild_tensor_v3"
            | "torch._utils._rebuild_parameter"
            | "torch._utils._rebuild_parameter_with_state"
            | "torch._tensor._rebuild_from_type_v2"
            | "torch._tensor._rebuild_from_type"
    )
}

/// The call that a wrapped tensor comes down to: function and arguments.
fn unwrap<'a>(pickle: &'a Pickle, instance: &Instance) -> Option<(&'a str, &'a [NodeId])> {
    let mut name: &str = pickle.global(instance.callee)?;
    let mut args = pickle.sequence(instance.args)?;
    for _ in 0..MAX_WRAPPERS {
        match name {
            "torch._utils._rebuild_parameter" | "torch._utils._rebuild_parameter_with_state" => {
                let Node::Instance(data) = pickle.node(*args.first()?) else { return None };
                name = pickle.global(data.callee)?;
                args = pickle.sequence(data.args)?;
            }
            "torch._tensor._rebuild_from_type_v2" | "torch._tensor._rebuild_from_type" => {
                let &[function, _class, inner, ..] = args else { return None };
                name = pickle.global(function)?;
                args = pickle.sequence(inner)?;
            }
            _ => return Some((name, args)),
        }
    }
    None
}

/// Whether `instance` is a tensor that is read here, seen through parameters and subclasses.
pub(super) fn is_tensor(pickle: &Pickle, instance: &Instance) -> bool {
    let outer = pickle.global(instance.callee).is_some_and(|name| makes_tensor(name));
    // A wrapper around something else, such as a quantized tensor, stays an opaque object.
    outer && unwrap(pickle, instance).is_none_or(|(name, _)| makes_tensor(name))
}

/// The tensor that `instance` makes. `name` is for messages.
pub(super) fn view(
    pickle: &Pickle,
    storages: &mut Storages,
    instance: &Instance,
    name: &str,
) -> Result<View, TorchError> {
    let wrong = |what: String| TorchError::Tensor { name: name.to_owned(), what };
    let (function, args) =
        unwrap(pickle, instance).ok_or_else(|| wrong("its wrapper is malformed".into()))?;
    let &[storage, offset, shape, strides, ..] = args else {
        return Err(wrong(format!("{} arguments instead of at least 4", args.len())));
    };
    let Node::Persistent(id) = pickle.node(storage) else {
        return Err(wrong("its storage is no reference to one".into()));
    };
    let storage = storage_ref(pickle, *id).map_err(wrong)?;
    let offset = extent(pickle, offset).ok_or_else(|| wrong("its offset is no number".into()))?;
    let shape = extents(pickle, shape).ok_or_else(|| wrong("its shape is malformed".into()))?;
    let strides = extents(pickle, strides).ok_or_else(|| wrong("its strides are malformed".into()))?;
    if shape.len() != strides.len() {
        return Err(wrong(format!("{} sizes but {} strides", shape.len(), strides.len())));
    }
    let type_name = if function == "torch._utils._rebuild_tensor_v3" {
        let name = args.get(6).and_then(|&d| pickle.global(d)).and_then(|d| d.strip_prefix("torch."));
        name.ok_or_else(|| wrong("its dtype is malformed".into()))?
    } else {
        storage.kind.name
    };
    let Some(dtype) = dtype(type_name) else {
        return Ok(View { shape, element: Element::Unknown(type_name.to_owned()) });
    };
    let placed = Placed { dtype, shape: &shape, strides: &strides, offset, storage: &storage, name };
    let (storage, offset) = placed.place(storages)?;
    Ok(View { shape, element: Element::Known { dtype, strides, offset, storage } })
}

fn extent(pickle: &Pickle, id: NodeId) -> Option<u64> {
    pickle.int(id).and_then(|number| u64::try_from(number).ok())
}

/// The numbers of a tuple, a list, or a `torch.Size`.
fn extents(pickle: &Pickle, id: NodeId) -> Option<Vec<u64>> {
    let numbers = match pickle.node(id) {
        Node::Instance(size) if pickle.global(size.callee).is_some_and(|c| &**c == "torch.Size") => {
            pickle.sequence(*pickle.sequence(size.args)?.first()?)?
        }
        _ => pickle.sequence(id)?,
    };
    if numbers.len() > MAX_DIMS {
        return None;
    }
    numbers.iter().map(|&n| extent(pickle, n)).collect()
}

/// A tensor to be checked against its storage.
struct Placed<'a> {
    dtype: DType,
    shape: &'a [u64],
    strides: &'a [u64],
    offset: u64,
    storage: &'a StorageRef,
    name: &'a str,
}

impl Placed<'_> {
    /// The storage's id, and the offset in it, once all elements were found to lie inside.
    fn place(&self, storages: &mut Storages) -> Result<(StorageId, u64), TorchError> {
        let wrong = |what: String| TorchError::Tensor { name: self.name.to_owned(), what };
        let overflow = || wrong("its extent overflows 64 bits".to_owned());
        let key = &self.storage.key;
        let missing = || TorchError::NoStorage { key: key.clone(), name: self.name.to_owned() };
        let record = storages.record(key).ok_or_else(missing)?;

        let whole = self.storage.elements.checked_mul(self.storage.kind.size).ok_or_else(overflow)?;
        let size = self.dtype.size() as u64;
        let (start, available) = match self.storage.view {
            None => (0, whole / size),
            Some((start, count))
                if start.checked_add(count).is_some_and(|end| end <= self.storage.elements) =>
            {
                (start, count)
            }
            Some(_) => return Err(wrong("its storage view ends past the storage".to_owned())),
        };
        let end = self.end().ok_or_else(overflow)?;
        let offset = start.checked_add(self.offset).ok_or_else(overflow)?;
        let needed = start.checked_add(end).and_then(|end| end.checked_mul(size)).ok_or_else(overflow)?;
        let short = |elements: String, needed| {
            let (place, length) = (record.place.clone(), record.region.len());
            Err(TorchError::Short { place, length, elements, needed })
        };
        if needed > record.region.len() {
            return short(self.describe(), needed);
        }
        if end > available {
            return Err(wrong(format!("it ends at element {end} of a storage of {available}")));
        }
        if whole > record.region.len() {
            return short(
                format!("its {} {} elements", self.storage.elements, self.storage.kind.name),
                whole,
            );
        }
        let id = storages.id(key).ok_or_else(missing)?;
        Ok((id, offset))
    }

    /// One past the last element, from the start of the storage view; `None` on overflow.
    fn end(&self) -> Option<u64> {
        let elements = self.shape.iter().try_fold(1u64, |n, &size| n.checked_mul(size));
        if self.shape.contains(&0) {
            return Some(self.offset);
        }
        // Stride 0 can claim more elements than any file has bytes; the count still has to be a number.
        elements?.checked_mul(self.dtype.size() as u64).filter(|&bytes| i64::try_from(bytes).is_ok())?;
        let last =
            self.shape.iter().zip(self.strides).try_fold(self.offset, |at, (&size, &stride)| {
                at.checked_add((size - 1).checked_mul(stride)?)
            })?;
        last.checked_add(1)
    }

    fn describe(&self) -> String {
        let sizes: Vec<String> = self.shape.iter().map(u64::to_string).collect();
        let sizes = if sizes.is_empty() { "1".to_owned() } else { sizes.join(" x ") };
        let dense = crate::tensor::contiguous_strides(self.shape).is_some_and(|s| s == self.strides);
        match (self.offset, dense) {
            (0, true) => format!("the {sizes} {} elements of `{}`", self.dtype, self.name),
            (offset, true) => {
                format!("the {sizes} {} elements of `{}`, from element {offset} on,", self.dtype, self.name)
            }
            (offset, false) => format!(
                "the {sizes} {} elements of `{}`, from element {offset} on with strides {:?},",
                self.dtype, self.name, self.strides
            ),
        }
    }
}
