//! The list of parts of a distributed checkpoint, read from its pickle without making any object.

use std::collections::HashMap;

use super::super::sharded::MAX_DIMENSIONS;
use super::error::DistributedError;
use crate::pickle::{Node, NodeId, Pickle};

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

pub(super) fn read(pickle: &Pickle) -> Result<Metadata, DistributedError> {
    let walk = Walk { pickle };
    let root = pickle.root;
    let mut metadata = Metadata { tensors: Vec::new(), items: HashMap::new() };
    for (key, value) in walk.dictionary(root, "state_dict_metadata")? {
        let name = walk.text(*key, "state_dict_metadata")?;
        // Byte objects have neither size nor chunks.
        let (Some(size), Some(chunks)) = (walk.attribute(*value, "size"), walk.attribute(*value, "chunks"))
        else {
            continue;
        };
        let shape = walk.sizes(size, &name)?;
        let dtype = walk.dtype(*value);
        let listed =
            walk.pickle.sequence(chunks).ok_or_else(|| wrong(&name, "stated without a list of chunks"))?;
        let chunks = listed.iter().map(|chunk| walk.chunk(*chunk, &name)).collect::<Result<_, _>>()?;
        metadata.tensors.push((name, StoredTensor { shape, dtype, chunks }));
    }
    for (key, value) in walk.dictionary(root, "storage_data")? {
        let name =
            walk.attribute(*key, "fqn").ok_or_else(|| wrong("storage_data", "stated without names"))?;
        let name = walk.text(name, "storage_data")?;
        let offsets = match walk.attribute(*key, "offset").map(|id| (id, walk.pickle.node(id))) {
            None | Some((_, Node::None)) => Vec::new(),
            Some((id, _)) => walk.sizes(id, &name)?,
        };
        let part =
            |field: &str| walk.attribute(*value, field).ok_or_else(|| wrong(&name, "stated without a place"));
        let path = walk.text(part("relative_path")?, &name)?;
        let transforms = walk.attribute(*value, "transform_descriptors");
        let transformed = transforms.is_some_and(|id| {
            !matches!(walk.pickle.node(id), Node::None)
                && walk.pickle.sequence(id).is_none_or(|list| !list.is_empty())
        });
        let (offset, length) = (walk.number(part("offset")?, &name)?, walk.number(part("length")?, &name)?);
        metadata.items.insert((name, offsets), Item { path, offset, length, transformed });
    }
    Ok(metadata)
}

fn wrong(place: &str, what: &str) -> DistributedError {
    DistributedError::Metadata { place: place.to_owned(), what: what.to_owned() }
}

struct Walk<'p> {
    pickle: &'p Pickle,
}

impl Walk<'_> {
    /// An attribute of an instance of a dataclass, whose state is a dictionary.
    fn attribute(&self, id: NodeId, name: &str) -> Option<NodeId> {
        let Node::Instance(instance) = self.pickle.node(id) else { return None };
        instance.states.iter().rev().find_map(|state| {
            let Node::Dict(entries) = self.pickle.node(*state) else { return None };
            entries
                .iter()
                .rev()
                .find(|(key, _)| self.pickle.text(*key) == Some(name))
                .map(|(_, value)| *value)
        })
    }

    fn dictionary(&self, id: NodeId, name: &str) -> Result<&[(NodeId, NodeId)], DistributedError> {
        match self.attribute(id, name).map(|id| self.pickle.node(id)) {
            Some(Node::Dict(entries)) => Ok(entries),
            _ => Err(wrong(name, "no dictionary")),
        }
    }

    /// The element type in the `TensorProperties` of a tensor, which pickle themselves as a tuple.
    fn dtype(&self, tensor: NodeId) -> Option<String> {
        let Node::Instance(properties) = self.pickle.node(self.attribute(tensor, "properties")?) else {
            return None;
        };
        let first = *self.pickle.sequence(*properties.states.last()?)?.first()?;
        self.pickle.global(first)?.strip_prefix("torch.").map(str::to_owned)
    }

    fn text(&self, id: NodeId, place: &str) -> Result<String, DistributedError> {
        self.pickle
            .text(id)
            .map(str::to_owned)
            .ok_or_else(|| wrong(place, "stated with something else than text"))
    }

    fn number(&self, id: NodeId, place: &str) -> Result<u64, DistributedError> {
        let number = self.pickle.int(id).and_then(|number| u64::try_from(number).ok());
        number.ok_or_else(|| wrong(place, "stated with something else than a size"))
    }

    /// A `torch.Size`, which is made by a call with a tuple, or a tuple or list itself.
    fn sizes(&self, id: NodeId, place: &str) -> Result<Vec<u64>, DistributedError> {
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
        items.iter().map(|item| self.number(*item, place)).collect()
    }

    fn chunk(&self, id: NodeId, name: &str) -> Result<StoredChunk, DistributedError> {
        let part = |field: &str| {
            self.attribute(id, field).ok_or_else(|| wrong(name, "stated with a chunk without a place"))
        };
        Ok(StoredChunk {
            offsets: self.sizes(part("offsets")?, name)?,
            sizes: self.sizes(part("sizes")?, name)?,
        })
    }
}
