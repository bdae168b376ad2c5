//! The stream that torch wrote before version 1.6, and still writes on request.
//!
//! Five pickles (magic number, protocol version, system info, the object, the keys of the storages), then for each
//! key a count of elements in 8 bytes and that many elements.

use std::collections::HashMap;

use crate::budget::Budget;
use crate::pickle::{self, Node, Pickle};
use crate::storage::Region;
use crate::tensor::Contents;

use super::error::TorchError;
use super::storages::{Keeping, Kind, StorageRef, Storages, storage_refs};
use super::walk;

/// 0x1950a86a20f9469cfc6c, as protocols 2 and later write it and as protocols 0 and 1 do.
const MAGIC: [u8; 10] = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];
const MAGIC_DECIMAL: &str = "119547037146038801333356";
const PROTOCOL: i64 = 1001;

/// Whether a file that starts with `head` is such a stream; 64 bytes are enough.
pub(crate) fn looks_like(head: &[u8]) -> bool {
    let head = &head[..head.len().min(64)];
    let has = |needle: &[u8]| head.windows(needle.len()).any(|w| w == needle);
    match head.first() {
        Some(0x80) => has(&MAGIC),
        Some(b'L') => has(MAGIC_DECIMAL.as_bytes()),
        _ => false,
    }
}

/// Reads the stream in `region`. `file` is its name for display.
///
/// # Errors
///
/// Damage to one of the pickles, big-endian numbers, a file that ends early, and tensors that do not fit their
/// storages.
pub(crate) fn read(region: &Region, file: &str, budget: &mut Budget) -> Result<Contents, TorchError> {
    let mut at = 0;
    let mut next = |place: &str| {
        let pickle = pickle::read(region, at, budget)
            .map_err(|source| TorchError::Pickle { place: format!("the {place}"), source })?;
        at = pickle.end;
        Ok::<_, TorchError>(pickle)
    };
    let magic = next("magic number")?;
    if *magic.node(magic.root) != Node::BigInt(MAGIC_DECIMAL.into()) {
        return Err(malformed("the magic number", "another number".to_owned()));
    }
    let protocol = next("protocol version")?;
    if protocol.int(protocol.root) != Some(PROTOCOL) {
        return Err(malformed("the protocol version", format!("not {PROTOCOL}")));
    }
    let system = next("system info")?;
    check_order(&system)?;
    let object = next("object")?;
    let keys = next("list of storage keys")?;
    let regions = read_storages(region, &keys, &object)?;
    walk::contents(&object, Storages::new(file, Keeping::Stream, regions), budget)
}

fn malformed(place: &str, what: String) -> TorchError {
    TorchError::Malformed { place: place.to_owned(), what }
}

fn check_order(system: &Pickle) -> Result<(), TorchError> {
    let Node::Dict(entries) = system.node(system.root) else {
        return Err(malformed("the system info", "no dictionary".to_owned()));
    };
    let order = entries.iter().find(|(key, _)| system.text(*key) == Some("little_endian"));
    match order.map(|&(_, value)| system.node(value)) {
        Some(Node::Bool(false)) => Err(TorchError::BigEndian),
        _ => Ok(()),
    }
}

/// Class and length of each storage, from all that the object says of them.
fn references(object: &Pickle) -> Result<HashMap<String, StorageRef>, TorchError> {
    let mut references: HashMap<String, StorageRef> = HashMap::new();
    for reference in storage_refs(object) {
        let reference = reference.map_err(|what| malformed("a reference to a storage", what))?;
        if let Some(first) = references.get(&reference.key)
            && (first.kind.size != reference.kind.size || first.elements != reference.elements)
        {
            let place = format!("storage {}", reference.key);
            return Err(malformed(&place, "described in two ways".to_owned()));
        }
        references.insert(reference.key.clone(), reference);
    }
    Ok(references)
}

fn read_storages(
    region: &Region,
    keys: &Pickle,
    object: &Pickle,
) -> Result<HashMap<String, Region>, TorchError> {
    let references = references(object)?;
    let list = keys
        .sequence(keys.root)
        .ok_or_else(|| malformed("the list of storage keys", "no list".to_owned()))?;
    let mut regions = HashMap::with_capacity(list.len());
    let mut at = keys.end as u64;
    for &key in list {
        let key = match (keys.text(key), keys.int(key)) {
            (Some(text), _) => text.to_owned(),
            (None, Some(number)) => number.to_string(),
            (None, None) => return Err(malformed("a storage key", "neither text nor a number".to_owned())),
        };
        let reference = references.get(&key).ok_or_else(|| {
            malformed(&format!("storage {key}"), "in the list of keys, but no tensor refers to it".to_owned())
        })?;
        let StorageRef { elements, kind: Kind { name, size, .. }, .. } = reference;
        let place = format!("storage {key}");
        let left = region.len() - at;
        let short = |length: u64, needed: u64| TorchError::Short {
            place: format!("what is left of the file for {place}"),
            length,
            elements: format!("its {elements} {name} elements and their count"),
            needed,
        };
        let needed = elements.checked_mul(*size).and_then(|n| n.checked_add(8)).unwrap_or(u64::MAX);
        if left < needed {
            return Err(short(left, needed));
        }
        let count = u64_at(region.bytes(), at);
        if count != *elements {
            return Err(malformed(
                &place,
                format!("{count} elements long, where the tensors say {elements}"),
            ));
        }
        let part = region.slice(at + 8..at + needed).ok_or_else(|| short(left, needed))?;
        if regions.insert(key.clone(), part).is_some() {
            return Err(malformed(&format!("storage {key}"), "in the list of keys twice".to_owned()));
        }
        at += needed;
    }
    Ok(regions)
}

/// The number at `at`, where 8 bytes were found to be left.
fn u64_at(bytes: &[u8], at: u64) -> u64 {
    let start = usize::try_from(at).expect("bug: an offset inside a slice was not checked");
    u64::from_le_bytes(bytes[start..start + 8].try_into().expect("bug: 8 bytes were sliced"))
}
