//! Telling formats apart by content, and opening them.

use std::path::Path;

use crate::archive::{Archive, Entry};
use crate::document::Value;
use crate::safetensors;
use crate::storage::Region;
use crate::tensor::Contents;
use crate::torch;

use super::error::{OpenCause, OpenError, listed};
use super::folder::{config_documents, read_json};
use super::format::{Format, FormatKind};
use super::locate::{Found, locate};
use super::{Checkpoint, OpenOptions};

/// Where NVIDIA's published archives keep the model.
const PUBLISHED_MEMBER: &str = "release/mp_rank_00/model_optim_rng.pt";

/// Enough of a file to tell its format: tar has its magic at byte 257.
const HEAD: usize = 512;

pub(super) fn open(path: &Path, options: &OpenOptions) -> Result<Checkpoint, OpenError> {
    match locate(path)? {
        Found::File(file) => {
            let region = Region::map_path(&file).map_err(|e| OpenError::at(&file, e))?;
            let mut opened = read(&region, file.display().to_string(), options)?;
            if opened.format.kind == FormatKind::Safetensors && opened.format.member.is_none() {
                opened.contents.documents = config_documents(parent(&file))?;
            }
            Checkpoint::new(path, opened.file, opened.format, opened.contents)
        }
        Found::Index(file) => {
            let name = file.display().to_string();
            if let Some(member) = &options.member {
                return Err(OpenError::new(name, not_archive(member, "safetensors index")));
            }
            let folder = parent(&file);
            let index = read_json(&file)?;
            let open = |shard: &str| Region::map_path(&folder.join(shard));
            let mut contents = safetensors::read_shards(&index, &folder.display().to_string(), open)
                .map_err(|e| OpenError::new(&name, e))?;
            contents.documents = config_documents(folder)?;
            let format = Format { kind: FormatKind::SafetensorsShards, member: None };
            Checkpoint::new(path, name, format, contents)
        }
    }
}

/// The directory of `file`; of a bare file name, the current one.
fn parent(file: &Path) -> &Path {
    file.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// What a file was found to hold.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) file: String,
    pub(super) format: Format,
    pub(super) contents: Contents,
}

/// Formats by how a file starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Start {
    Zip,
    TorchLegacy,
    Safetensors,
    Other,
}

fn start(head: &[u8]) -> Start {
    if head.starts_with(b"PK\x03\x04") || head.starts_with(b"PK\x05\x06") {
        Start::Zip
    } else if torch::looks_like_legacy(head) {
        Start::TorchLegacy
    } else if safetensors::looks_like(head) {
        Start::Safetensors
    } else {
        Start::Other
    }
}

/// Reads the file in `region`, called `file`.
pub(super) fn read(region: &Region, file: String, options: &OpenOptions) -> Result<Opened, OpenError> {
    let head = &region.bytes()[..region.bytes().len().min(HEAD)];
    let start = start(head);
    if start == Start::Zip {
        let archive = Archive::read(region.clone()).map_err(|e| OpenError::new(&file, e))?;
        if torch::pickle_entries(&archive).is_empty() {
            return read_outer(&archive, &file, options);
        }
        if let Some(member) = &options.member {
            return Err(OpenError::new(file, not_archive(member, "torch zip")));
        }
        return torch_zip(&archive, file);
    }
    if let Some(member) = &options.member {
        let kind = match start {
            Start::TorchLegacy => "torch legacy stream",
            Start::Safetensors => "safetensors file",
            Start::Zip | Start::Other => "file of another kind",
        };
        return Err(OpenError::new(file, not_archive(member, kind)));
    }
    read_bare(region, file, start)
}

fn not_archive(member: &str, kind: &'static str) -> OpenCause {
    OpenCause::NotArchive { member: member.to_owned(), kind }
}

/// Reads a file that is no zip archive.
fn read_bare(region: &Region, file: String, start: Start) -> Result<Opened, OpenError> {
    let (kind, contents) = match start {
        Start::TorchLegacy => {
            let contents = torch::read_legacy(region, &file).map_err(|e| OpenError::new(&file, e))?;
            (FormatKind::TorchLegacy, contents)
        }
        Start::Safetensors => {
            let mut contents = safetensors::empty();
            safetensors::read(region, &file, &mut contents).map_err(|e| OpenError::new(&file, e))?;
            contents.documents = Value::Map(crate::document::Map::new());
            (FormatKind::Safetensors, contents)
        }
        Start::Zip | Start::Other => return Err(OpenError::new(file, refusal(region.bytes()))),
    };
    Ok(Opened { file, format: Format { kind, member: None }, contents })
}

fn torch_zip(archive: &Archive, file: String) -> Result<Opened, OpenError> {
    let entry = match torch::pickle_entries(archive)[..] {
        [entry] => entry,
        [] => return Err(OpenError::new(file, no_candidate(archive))),
        ref several => {
            let members = listed(&several.iter().map(|e| &e.name).collect::<Vec<_>>());
            return Err(OpenError::new(file, OpenCause::Candidates { members }));
        }
    };
    if torch::is_torchscript(archive, entry) {
        let kind = "a TorchScript program (torch.jit.save)";
        let instead = "load it and save its state_dict() with torch.save";
        return Err(OpenError::new(file, OpenCause::Kind { kind, instead }));
    }
    let contents = torch::read_zip(archive, entry, &file).map_err(|e| OpenError::new(&file, e))?;
    Ok(Opened { file, format: Format { kind: FormatKind::TorchZip, member: None }, contents })
}

/// Reads the checkpoint that is a member of `archive`.
fn read_outer(archive: &Archive, file: &str, options: &OpenOptions) -> Result<Opened, OpenError> {
    let entry = choose(archive, options).map_err(|cause| OpenError::new(file, cause))?;
    let name = format!("{file}!{}", entry.name);
    let wrong = |cause: OpenCause| OpenError::new(&name, cause);
    let packing = entry.packing().map_err(|e| wrong(e.into()))?;
    let region = archive.unpack(&[entry]).map_err(|e| wrong(e.into()))?.swap_remove(0);
    let start = start(&region.bytes()[..region.bytes().len().min(HEAD)]);
    let mut opened = if start == Start::Zip {
        let inner = Archive::read(region).map_err(|e| wrong(e.into()))?;
        torch_zip(&inner, name.clone())?
    } else {
        read_bare(&region, name.clone(), start)?
    };
    opened.format.member = Some(packing);
    Ok(opened)
}

fn choose<'a>(archive: &'a Archive, options: &OpenOptions) -> Result<&'a Entry, OpenCause> {
    if let Some(member) = &options.member {
        return archive.entry(member).ok_or_else(|| OpenCause::NoMember {
            member: member.clone(),
            members: listed(&candidates(archive).iter().map(|e| &e.name).collect::<Vec<_>>()),
        });
    }
    if let Some(entry) = archive.entry(PUBLISHED_MEMBER) {
        return Ok(entry);
    }
    match candidates(archive)[..] {
        [only] => Ok(only),
        [] => Err(no_candidate(archive)),
        ref several => Err(OpenCause::Candidates {
            members: listed(&several.iter().map(|e| &e.name).collect::<Vec<_>>()),
        }),
    }
}

fn no_candidate(archive: &Archive) -> OpenCause {
    OpenCause::NoCandidate { entries: listed(&archive.entries().iter().map(|e| &e.name).collect::<Vec<_>>()) }
}

/// The members that start like a checkpoint, save optimizer states.
fn candidates(archive: &Archive) -> Vec<&Entry> {
    let holds = |entry: &&Entry| {
        let optimizer = matches!(entry.name.rsplit('/').next(), Some("optim.pt" | "distrib_optim.pt"));
        !optimizer && !entry.is_directory() && start(&archive.peek(entry, HEAD)) != Start::Other
    };
    archive.entries().iter().filter(holds).collect()
}

/// Why a file of no known format is not read.
fn refusal(bytes: &[u8]) -> OpenCause {
    let kind = |kind, instead| OpenCause::Kind { kind, instead };
    let head = &bytes[..bytes.len().min(HEAD)];
    let text = head.trim_ascii_start().to_ascii_lowercase();
    if bytes.is_empty() {
        OpenCause::Empty
    } else if head.starts_with(b"version https://git-lfs") {
        OpenCause::LfsPointer
    } else if text.starts_with(b"<!doctype") || text.starts_with(b"<html") {
        OpenCause::WebPage
    } else if head.get(257..262) == Some(b"ustar") {
        kind(
            "a tar archive (as torch.save wrote before 2017)",
            "unpack it, or load and save it again with torch",
        )
    } else if head.first() == Some(&0x80) && head.get(1).is_some_and(|&p| p <= 5) {
        kind("a Python pickle that torch.save did not write", "load it and save its tensors with torch.save")
    } else if head.starts_with(b"GGUF") {
        kind("a GGUF file", "give the checkpoint it was made from")
    } else if head.starts_with(b"\x89HDF") {
        kind("an HDF5 file", "load it and save its tensors as safetensors")
    } else {
        let shown: Vec<String> = head.iter().take(8).map(|b| format!("{b:02x}")).collect();
        OpenCause::Unknown { start: shown.join(" ") }
    }
}
