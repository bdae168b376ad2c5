//! The zip container of torch 1.6 and later.
//!
//! `<root>/data.pkl` is a pickle whose persistent ids name the records `<root>/data/<key>`; `<root>/byteorder` says
//! how numbers lie in them. The root is any name; records are stored, unless someone packed them again.

use std::collections::BTreeMap;

use crate::archive::{Archive, Entry, Packing};
use crate::budget::Budget;
use crate::pickle::{self, Pickle};
use crate::tensor::Contents;

use super::error::TorchError;
use super::storages::{Keeping, Storages, storage_refs};
use super::walk;

/// The entries that are the pickle of a torch file: `data.pkl`, under any root.
pub(crate) fn pickle_entries(archive: &Archive) -> Vec<&Entry> {
    let named = |e: &&Entry| e.name == "data.pkl" || e.name.ends_with("/data.pkl");
    archive.entries().iter().filter(named).collect()
}

/// Whether the archive whose pickle is `entry` is a TorchScript program.
pub(crate) fn is_torchscript(archive: &Archive, entry: &Entry) -> bool {
    let root = root(entry);
    let code = format!("{root}code/");
    archive.entry(&format!("{root}constants.pkl")).is_some()
        || archive.entries().iter().any(|e| e.name.starts_with(&code))
}

fn root(entry: &Entry) -> &str {
    entry.name.strip_suffix("data.pkl").unwrap_or_default()
}

/// Reads the torch file whose pickle is `entry`. `file` is its name for display.
///
/// # Errors
///
/// Damage to the archive or the pickle, big-endian numbers, and tensors that do not fit their records.
pub(crate) fn read(
    archive: &Archive,
    entry: &Entry,
    file: &str,
    budget: &mut Budget,
) -> Result<Contents, TorchError> {
    let root = root(entry);
    if let Some(order) = archive.entry(&format!("{root}byteorder")) {
        check_order(archive.unpack(&[order])?[0].bytes(), root)?;
    }
    let pickle = pickle::read(&archive.unpack(&[entry])?[0], 0, budget)
        .map_err(|source| TorchError::Pickle { place: entry.name.clone(), source })?;
    let (keys, records): (Vec<String>, Vec<&Entry>) =
        used_records(archive, root, &pickle)?.into_iter().unzip();
    let regions = keys.into_iter().zip(archive.unpack(&records)?).collect();
    walk::contents(&pickle, Storages::new(file, Keeping::Records, regions), budget)
}

/// The records that tensors can be views of, by the key of their storage.
///
/// Records that nothing refers to are left alone, and no packed one may be longer than its storage: unpacking takes room.
fn used_records<'a>(
    archive: &'a Archive,
    root: &str,
    pickle: &Pickle,
) -> Result<BTreeMap<String, &'a Entry>, TorchError> {
    let mut records = BTreeMap::new();
    // What is wrong with a reference is said of the tensor that uses it.
    for reference in storage_refs(pickle).flatten() {
        let place = format!("{root}data/{}", reference.key);
        let Some(entry) = archive.entry(&place) else { continue };
        let length = reference.elements.saturating_mul(reference.kind.size);
        if entry.packing()? == Packing::Deflated && entry.size > length {
            let (size, elements, name) = (entry.size, reference.elements, reference.kind.name);
            let what =
                format!("{size} bytes long when unpacked, where its storage has {elements} {name} elements");
            return Err(TorchError::Malformed { place: format!("record {place}"), what });
        }
        records.insert(reference.key, entry);
    }
    Ok(records)
}

fn check_order(order: &[u8], root: &str) -> Result<(), TorchError> {
    match order.trim_ascii() {
        b"little" => Ok(()),
        b"big" => Err(TorchError::BigEndian),
        _ => {
            let place = format!("record {root}byteorder");
            Err(TorchError::Malformed { place, what: "neither `little` nor `big`".to_owned() })
        }
    }
}
