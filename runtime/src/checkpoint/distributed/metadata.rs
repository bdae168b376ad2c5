//! The list of parts of a distributed checkpoint, read from its pickle without making any object.

use std::collections::HashMap;

use super::super::sharded::MAX_DIMENSIONS;
use super::error::DistributedError;
use crate::budget::Budget;
use crate::pickle::{Node, NodeId, Pickle};
use crate::tensor::{Storage, Tensor};
use crate::torch::start;

/// What `.metadata` says.
#[derive(Debug)]
pub(super) struct Metadata {
    /// Tensors in the order of the file.
    pub(super) tensors: Vec<(String, StoredTensor)>,
    /// Where each chunk lies, by the tensor's name and the chunk's offsets; byte objects have none.
    pub(super) items: HashMap<(String, Vec<u64>), Item>,
}

#[derive(Debug)]
pub(super) struct StoredTensor {
    pub(super) shape: Vec<u64>,
    /// torch's name of the element type, `float32`, where it is stated.
    pub(super) dtype: Option<String>,
    pub(super) chunks: Vec<StoredChunk>,
}

#[derive(Debug)]
pub(super) struct StoredChunk {
    pub(super) offsets: Vec<u64>,
    pub(super) sizes: Vec<u64>,
}

/// Bytes of a file.
#[derive(Debug)]
pub(super) struct Item {
    /// Relative to the directory.
    pub(super) path: String,
    pub(super) offset: u64,
    pub(super) length: u64,
    /// Whether they are compressed, or changed otherwise.
    pub(super) transformed: bool,
}

/// Reads what the pickle describes, at the cost of `budget`: what is shared in the pickle is copied here.
pub(super) fn read(pickle: &Pickle, budget: &mut Budget) -> Result<Metadata, DistributedError> {
    let mut walk = Walk { pickle, budget };
    let root = pickle.root;
    let mut metadata = Metadata { tensors: Vec::new(), items: HashMap::new() };
    for (key, value) in walk.dictionary(root, "state_dict_metadata")? {
        let name = walk.text(*key, "state_dict_metadata")?;
        // Byte objects have neither size nor chunks.
        let (Some(size), Some(chunks)) = (walk.attribute(*value, "size")?, walk.attribute(*value, "chunks")?)
        else {
            continue;
        };
        let shape = walk.sizes(size, &name)?;
        let dtype = walk.dtype(*value)?;
        let listed =
            pickle.sequence(chunks).ok_or_else(|| wrong(&name, "stated without a list of chunks"))?;
        let chunks = listed.iter().map(|chunk| walk.chunk(*chunk, &name)).collect::<Result<_, _>>()?;
        metadata.tensors.push((name, StoredTensor { shape, dtype, chunks }));
    }
    for (key, value) in walk.dictionary(root, "storage_data")? {
        let name =
            walk.attribute(*key, "fqn")?.ok_or_else(|| wrong("storage_data", "stated without names"))?;
        let name = walk.text(name, "storage_data")?;
        let offsets = match walk.attribute(*key, "offset")?.map(|id| (id, pickle.node(id))) {
            None | Some((_, Node::None)) => Vec::new(),
            Some((id, _)) => walk.sizes(id, &name)?,
        };
        let item = walk.item(*value, &name)?;
        metadata.items.insert((name, offsets), item);
    }
    Ok(metadata)
}

fn wrong(place: &str, what: &str) -> DistributedError {
    DistributedError::Metadata { place: place.to_owned(), what: what.to_owned() }
}

/// Most attributes of an instance; those of torch's classes here have at most five.
const MAX_ATTRIBUTES: usize = 64;

struct Walk<'p> {
    pickle: &'p Pickle,
    budget: &'p mut Budget,
}

impl<'p> Walk<'p> {
    fn spend(&mut self, bytes: usize, place: &str) -> Result<(), DistributedError> {
        self.budget
            .spend(bytes)
            .map_err(|_| DistributedError::Explodes { place: start(place, 200).to_owned() })
    }

    /// An attribute of an instance of a dataclass, whose state is a dictionary.
    fn attribute(&self, id: NodeId, name: &str) -> Result<Option<NodeId>, DistributedError> {
        let Node::Instance(instance) = self.pickle.node(id) else { return Ok(None) };
        let Some(state) = instance.states.last() else { return Ok(None) };
        let Node::Dict(entries) = self.pickle.node(*state) else { return Ok(None) };
        // Many instances may have one state, and each is searched.
        if entries.len() > MAX_ATTRIBUTES {
            return Err(wrong(name, "looked for among more attributes than torch writes"));
        }
        let named = entries.iter().rev().find(|(key, _)| self.pickle.text(*key) == Some(name));
        Ok(named.map(|(_, value)| *value))
    }

    fn dictionary(&self, id: NodeId, name: &str) -> Result<&'p [(NodeId, NodeId)], DistributedError> {
        match self.attribute(id, name)?.map(|id| self.pickle.node(id)) {
            Some(Node::Dict(entries)) => Ok(entries),
            _ => Err(wrong(name, "no dictionary")),
        }
    }

    /// The element type in the `TensorProperties` of a tensor, which pickle themselves as a tuple.
    fn dtype(&self, tensor: NodeId) -> Result<Option<String>, DistributedError> {
        let properties = self.attribute(tensor, "properties")?.map(|id| self.pickle.node(id));
        let Some(Node::Instance(properties)) = properties else { return Ok(None) };
        let first = properties.states.last().and_then(|state| self.pickle.sequence(*state)?.first());
        let name = first.and_then(|&first| self.pickle.global(first)?.strip_prefix("torch."));
        // No dtype has a long name.
        Ok(name.filter(|name| name.len() <= 64).map(str::to_owned))
    }

    fn text(&mut self, id: NodeId, place: &str) -> Result<String, DistributedError> {
        let text =
            self.pickle.text(id).ok_or_else(|| wrong(place, "stated with something else than text"))?;
        // A copy, and an entry of a list or table.
        self.spend(text.len() + 2 * size_of::<Item>(), text)?;
        Ok(text.to_owned())
    }

    fn number(&self, id: NodeId, place: &str) -> Result<u64, DistributedError> {
        let number = self.pickle.int(id).and_then(|number| u64::try_from(number).ok());
        number.ok_or_else(|| wrong(place, "stated with something else than a size"))
    }

    /// A `torch.Size`, which is made by a call with a tuple, or a tuple or list itself.
    fn sizes(&mut self, id: NodeId, place: &str) -> Result<Vec<u64>, DistributedError> {
        let items = self.pickle.sequence(id).or_else(|| {
            let Node::Instance(instance) = self.pickle.node(id) else { return None };
            match self.pickle.sequence(instance.args)? {
                [] => Some(&[][..]),
                [only, ..] => self.pickle.sequence(*only),
            }
        });
        let items = items.ok_or_else(|| wrong(place, "stated without a shape"))?;
        if items.len() > MAX_DIMENSIONS {
            return Err(wrong(place, "stated with more dimensions than a tensor can have"));
        }
        self.spend(items.len() * size_of::<u64>(), place)?;
        items.iter().map(|item| self.number(*item, place)).collect()
    }

    fn chunk(&mut self, id: NodeId, name: &str) -> Result<StoredChunk, DistributedError> {
        // What reading it takes later counts too: a tensor of its own, in a storage of its own.
        self.spend(size_of::<StoredChunk>() + size_of::<Tensor>() + size_of::<Storage>() + name.len(), name)?;
        let [offsets, sizes] = ["offsets", "sizes"].map(|field| {
            let part = self.attribute(id, field)?;
            part.ok_or_else(|| wrong(name, "stated with a chunk without a place"))
        });
        Ok(StoredChunk { offsets: self.sizes(offsets?, name)?, sizes: self.sizes(sizes?, name)? })
    }

    /// Where bytes lie: an instance of `_StorageInfo`.
    fn item(&mut self, id: NodeId, name: &str) -> Result<Item, DistributedError> {
        let [path, offset, length] = ["relative_path", "offset", "length"]
            .map(|field| self.attribute(id, field)?.ok_or_else(|| wrong(name, "stated without a place")));
        let transforms = self.attribute(id, "transform_descriptors")?;
        let transformed = transforms.is_some_and(|id| {
            !matches!(self.pickle.node(id), Node::None)
                && self.pickle.sequence(id).is_none_or(|list| !list.is_empty())
        });
        Ok(Item {
            path: self.text(path?, name)?,
            offset: self.number(offset?, name)?,
            length: self.number(length?, name)?,
            transformed,
        })
    }
}
