//! The zip container of torch 1.6 and later.
//!
//! `<root>/data.pkl` is a pickle whose persistent ids name the records `<root>/data/<key>`; `<root>/byteorder` says
//! how numbers lie in them. The root is any name; records are stored, unless someone packed them again.

use std::collections::HashMap;

use crate::archive::{Archive, Entry};
use crate::pickle;
use crate::tensor::Contents;

use super::error::TorchError;
use super::storages::{Record, Storages};
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
pub(crate) fn read(archive: &Archive, entry: &Entry, file: &str) -> Result<Contents, TorchError> {
    let root = root(entry);
    let data = format!("{root}data/");
    let order = archive.entry(&format!("{root}byteorder"));
    let keyed: Vec<&Entry> =
        archive.entries().iter().filter(|e| e.name.starts_with(&data) && !e.is_directory()).collect();
    let wanted: Vec<&Entry> = [entry].into_iter().chain(order).chain(keyed.iter().copied()).collect();
    let mut regions = archive.unpack(&wanted)?.into_iter();
    let mut next = || regions.next().expect("bug: as many regions as entries");
    let pickle_bytes = next();
    if order.is_some() {
        check_order(next().bytes(), root)?;
    }
    let mut records = HashMap::with_capacity(keyed.len());
    for entry in keyed {
        let key = entry.name[data.len()..].to_owned();
        let place = format!("record data/{key} of storage {key}");
        let file = format!("{file}!data/{key}");
        records.insert(key, Record { region: next(), place, file });
    }
    let input = pickle_bytes.bytes();
    let pickle =
        pickle::read(input, 0).map_err(|source| TorchError::Pickle { place: entry.name.clone(), source })?;
    walk::contents(&pickle, Storages::new(records), input.len())
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
