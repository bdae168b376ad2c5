//! Telling formats apart by content, and opening them.

use std::path::{Path, PathBuf};

use crate::archive::{Archive, Entry};
use crate::budget::Budget;
use crate::document::Value;
use crate::safetensors;
use crate::storage::Region;
use crate::tensor::Contents;
use crate::torch;

use super::distributed;
use super::error::{OpenCause, OpenError, listed};
use super::folder::{config_documents, read_index};
use super::format::{Format, FormatKind};
use super::locate::{Found, is_optimizer, locate, other_ranks, passed_over, rank_of_member};
use super::ranks::{Joined, RankName, check_grid};
use super::shards::{Shards, ShardsError};
use super::{Checkpoint, OpenOptions, hints, zarr};

/// Where NVIDIA's published archives keep the model.
const PUBLISHED_MEMBER: &str = "release/mp_rank_00/model_optim_rng.pt";

/// Enough of a file to tell its format: tar has its magic at byte 257.
const HEAD: usize = 512;

pub(super) fn open(path: &Path, options: &OpenOptions) -> Result<Checkpoint, OpenError> {
    let budget = &mut Budget::new();
    let found = locate(path, options.iteration)?;
    let note = passed_over(&found).filter(|_| path.is_dir());
    let mut checkpoint = open_found(path, found, options, budget)?;
    checkpoint.notes.extend(note);
    Ok(checkpoint)
}

fn open_found(
    path: &Path,
    found: Found,
    options: &OpenOptions,
    budget: &mut Budget,
) -> Result<Checkpoint, OpenError> {
    let (mut checkpoint, folder) = match found {
        Found::File(file) => return open_file(path, &file, options, budget),
        Found::Ranks(_, ranks) if ranks.len() == 1 && options.member.is_some() => {
            return open_file(path, &ranks[0].1, options, budget);
        }
        Found::Ranks(folder, ranks) => return open_ranks(path, &folder, ranks, options, budget),
        Found::Index(file) => return open_shards(path, &file, options, budget),
        Found::Distributed(folder) | Found::Zarr(folder) if options.member.is_some() => {
            let member = options.member.as_deref().unwrap_or_default();
            return Err(OpenError::at(&folder, not_archive(member, "distributed checkpoint")));
        }
        Found::Distributed(folder) => (distributed::open(path, &folder, budget)?, folder),
        Found::Zarr(folder) => (zarr::open(path, &folder, budget)?, folder),
    };
    checkpoint.folder = Some(folder);
    Ok(checkpoint)
}

fn open_file(
    path: &Path,
    file: &Path,
    options: &OpenOptions,
    budget: &mut Budget,
) -> Result<Checkpoint, OpenError> {
    let region = Region::map_path(file).map_err(|e| OpenError::at(file, e))?;
    let name = file.display().to_string();
    let mut found = read(&region, name, options, budget)?;
    let mut beside = None;
    if let [(_, opened)] = &mut found.ranks[..]
        && opened.format.member.is_none()
    {
        let folder = documents_folder(file);
        if opened.format.kind == FormatKind::Safetensors || is_hugging_face(file) {
            add_configs(&mut opened.contents.documents, &folder)?;
        }
        beside = Some(folder);
    }
    let mut joined = Joined::new();
    for (rank, opened) in found.ranks {
        joined.add(rank, opened)?;
    }
    let mut checkpoint = joined.into_checkpoint(path, found.file)?;
    checkpoint.notes.extend(hints::of_file(file));
    checkpoint.folder = beside;
    checkpoint.other_ranks = other_ranks(file);
    checkpoint.other_ranks.extend(found.others);
    Ok(checkpoint)
}

/// Whether transformers names files of torch so, beside which it keeps configs: `pytorch_model.bin`.
fn is_hugging_face(file: &Path) -> bool {
    file.extension().is_some_and(|extension| extension == "bin")
}

/// The directory whose documents belong to `file`: its own, but for that of a rank, the one that holds the ranks.
fn documents_folder(file: &Path) -> PathBuf {
    let folder = parent(file);
    let of_rank = folder.file_name().is_some_and(|name| RankName::parse(&name.to_string_lossy()).is_some());
    if of_rank { parent(folder).to_owned() } else { folder.to_owned() }
}

/// Adds the configs in `folder` to the plain data of a file, by their names.
fn add_configs(documents: &mut Value, folder: &Path) -> Result<(), OpenError> {
    let configs = config_documents(folder)?;
    match documents {
        Value::Map(map) => map.extend(configs),
        other => *other = Value::Map(configs),
    }
    Ok(())
}

/// Opens the files of all ranks, which lie in `folder`.
fn open_ranks(
    path: &Path,
    folder: &Path,
    ranks: Vec<(RankName, PathBuf)>,
    options: &OpenOptions,
    budget: &mut Budget,
) -> Result<Checkpoint, OpenError> {
    let mut joined = Joined::new();
    let name = match &ranks[..] {
        [(_, only)] => only.display().to_string(),
        _ => folder.display().to_string(),
    };
    if let (Some(member), [_, _, ..]) = (&options.member, &ranks[..]) {
        return Err(OpenError::new(name, not_archive(member, "directory of ranks")));
    }
    for (rank, file) in ranks {
        let region = Region::map_path(&file).map_err(|e| OpenError::at(&file, e))?;
        let opened = read(&region, file.display().to_string(), options, budget)?;
        // An archive in the place of a rank's file holds that rank, whatever its members are called.
        let [(_, opened)] = <[_; 1]>::try_from(opened.ranks).map_err(|several| {
            let members = listed(&several.iter().map(|(rank, _)| &rank.name).collect::<Vec<_>>());
            OpenError::at(&file, OpenCause::Candidates { members })
        })?;
        joined.add(rank, opened)?;
    }
    let mut checkpoint = joined.into_checkpoint(path, name)?;
    checkpoint.folder = Some(folder.to_owned());
    Ok(checkpoint)
}

/// Opens the files that the index `file` names.
fn open_shards(
    path: &Path,
    file: &Path,
    options: &OpenOptions,
    budget: &mut Budget,
) -> Result<Checkpoint, OpenError> {
    let name = file.display().to_string();
    if let Some(member) = &options.member {
        return Err(OpenError::new(name, not_archive(member, "index of several files")));
    }
    let wrong = |error: ShardsError| OpenError::at(file, error);
    let folder = parent(file);
    let index = read_index(file)?;
    let mut shards = Shards::of(&index).map_err(wrong)?;
    let mut contents = Contents::empty();
    let mut kind = FormatKind::SafetensorsShards;
    for shard in shards.files().map_err(wrong)? {
        let opened = open_shard(&folder.join(shard), shard, budget).map_err(wrong)?;
        let names = opened.contents.tensors.iter().map(|t| &t.name);
        for name in names.chain(opened.contents.unsupported.iter().map(|u| &u.name)) {
            shards.found(name, shard).map_err(wrong)?;
        }
        if opened.format.kind != FormatKind::Safetensors {
            kind = FormatKind::TorchShards;
        }
        contents.append(opened.contents.tensors, opened.contents.storages);
        contents.unsupported.extend(opened.contents.unsupported);
    }
    shards.check().map_err(wrong)?;
    add_configs(&mut contents.documents, folder)?;
    let mut checkpoint = Checkpoint::new(path, name, Format { kind, member: None }, contents)?;
    checkpoint.folder = Some(folder.to_owned());
    Ok(checkpoint)
}

fn open_shard(path: &Path, shard: &str, budget: &mut Budget) -> Result<Opened, ShardsError> {
    let wrong = |cause: OpenCause| ShardsError::Shard { shard: shard.to_owned(), source: Box::new(cause) };
    let region = Region::map_path(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => ShardsError::NoShard { shard: shard.to_owned() },
        _ => wrong(error.into()),
    })?;
    read_one(&region, path.display().to_string(), budget).map_err(|error| wrong(*error.cause))
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

/// What a file was found to hold: one checkpoint, or, in an archive, the files of several ranks.
#[derive(Debug)]
struct Read {
    /// Name of the whole.
    file: String,
    ranks: Vec<(RankName, Opened)>,
    /// Names of other ranks beside these in the archive.
    others: Vec<String>,
}

impl From<Opened> for Read {
    fn from(opened: Opened) -> Read {
        let file = opened.file.clone();
        Read { file, ranks: vec![(RankName::default(), opened)], others: Vec::new() }
    }
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
fn read(
    region: &Region,
    file: String,
    options: &OpenOptions,
    budget: &mut Budget,
) -> Result<Read, OpenError> {
    let head = &region.bytes()[..region.bytes().len().min(HEAD)];
    let start = start(head);
    if start == Start::Zip {
        let archive = Archive::read(region.clone()).map_err(|e| OpenError::new(&file, e))?;
        if torch::pickle_entries(&archive).is_empty() {
            return read_outer(&archive, &file, options, budget);
        }
        if let Some(member) = &options.member {
            return Err(OpenError::new(file, not_archive(member, "torch zip")));
        }
        return torch_zip(&archive, file, budget).map(Read::from);
    }
    if let Some(member) = &options.member {
        let kind = match start {
            Start::TorchLegacy => "torch legacy stream",
            Start::Safetensors => "safetensors file",
            Start::Zip | Start::Other => "file of another kind",
        };
        return Err(OpenError::new(file, not_archive(member, kind)));
    }
    read_bare(region, file, start, budget).map(Read::from)
}

fn not_archive(member: &str, kind: &'static str) -> OpenCause {
    OpenCause::NotArchive { member: member.to_owned(), kind }
}

/// Reads a file of torch or safetensors.
fn read_one(region: &Region, file: String, budget: &mut Budget) -> Result<Opened, OpenError> {
    match start(&region.bytes()[..region.bytes().len().min(HEAD)]) {
        Start::Zip => {
            let archive = Archive::read(region.clone()).map_err(|e| OpenError::new(&file, e))?;
            torch_zip(&archive, file, budget)
        }
        start => read_bare(region, file, start, budget),
    }
}

/// Reads a file that is no zip archive.
fn read_bare(region: &Region, file: String, start: Start, budget: &mut Budget) -> Result<Opened, OpenError> {
    let (kind, contents) = match start {
        Start::TorchLegacy => {
            let contents = torch::read_legacy(region, &file, budget).map_err(|e| OpenError::new(&file, e))?;
            (FormatKind::TorchLegacy, contents)
        }
        Start::Safetensors => {
            let mut contents = Contents::empty();
            safetensors::read(region, &file, &mut contents).map_err(|e| OpenError::new(&file, e))?;
            contents.documents = Value::Map(crate::document::Map::new());
            (FormatKind::Safetensors, contents)
        }
        Start::Zip | Start::Other => {
            let cause = refusal(&file, region.bytes());
            return Err(OpenError::new(file, cause));
        }
    };
    Ok(Opened { file, format: Format { kind, member: None }, contents })
}

fn torch_zip(archive: &Archive, file: String, budget: &mut Budget) -> Result<Opened, OpenError> {
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
    let contents = torch::read_zip(archive, entry, &file, budget).map_err(|e| OpenError::new(&file, e))?;
    Ok(Opened { file, format: Format { kind: FormatKind::TorchZip, member: None }, contents })
}

/// Reads the checkpoint, or the files of ranks, that are members of `archive`.
fn read_outer(
    archive: &Archive,
    file: &str,
    options: &OpenOptions,
    budget: &mut Budget,
) -> Result<Read, OpenError> {
    let chosen = choose(archive, options).map_err(|cause| OpenError::new(file, cause))?;
    let entries: Vec<&Entry> = chosen.members.iter().map(|(_, entry)| *entry).collect();
    let named = |entry: &Entry| format!("{file}!{}", entry.name);
    for entry in &entries {
        entry.packing().map_err(|e| OpenError::new(named(entry), e))?;
    }
    let whole = match &entries[..] {
        [only] => named(only),
        _ => format!("{file}!{}", chosen.folder),
    };
    let regions = archive.unpack(&entries).map_err(|e| OpenError::new(&whole, e))?;
    let mut ranks = Vec::with_capacity(entries.len());
    for ((rank, entry), region) in chosen.members.into_iter().zip(regions) {
        ranks.push((rank, read_member(entry, &region, &named(entry), budget)?));
    }
    Ok(Read { file: whole, ranks, others: chosen.others })
}

fn read_member(entry: &Entry, region: &Region, name: &str, budget: &mut Budget) -> Result<Opened, OpenError> {
    let wrong = |cause: OpenCause| OpenError::new(name, cause);
    let packing = entry.packing().map_err(|e| wrong(e.into()))?;
    let mut opened = read_one(region, name.to_owned(), budget)?;
    opened.format.member = Some(packing);
    Ok(opened)
}

/// Members of an archive that are one checkpoint.
struct Chosen<'a> {
    /// The directory that holds the ranks, where there are several.
    folder: &'a str,
    members: Vec<(RankName, &'a Entry)>,
    /// Names of ranks that are left out.
    others: Vec<String>,
}

fn choose<'a>(archive: &'a Archive, options: &OpenOptions) -> Result<Chosen<'a>, OpenCause> {
    let candidates = candidates(archive);
    let names = || listed(&candidates.iter().map(|e| &e.name).collect::<Vec<_>>());
    let one = |entry, others| Chosen { folder: "", members: vec![(RankName::default(), entry)], others };
    if let Some(member) = &options.member {
        let missing = || OpenCause::NoMember { member: member.clone(), members: names() };
        let entry = archive.entry(member).ok_or_else(missing)?;
        let others = beside(entry, &candidates).into_iter().filter(|(_, e)| e.name != entry.name);
        return Ok(one(entry, others.map(|(rank, _)| rank.name).collect()));
    }
    let published = archive.entry(PUBLISHED_MEMBER);
    let Some(entry) = published.or(candidates.first().copied()) else { return Err(no_candidate(archive)) };
    let members = beside(entry, &candidates);
    if published.is_none() && candidates.len() > members.len().max(1) {
        return Err(OpenCause::Candidates { members: names() });
    }
    if members.len() < 2 {
        return Ok(one(entry, Vec::new()));
    }
    let order: Vec<RankName> = members.iter().map(|(rank, _)| rank.clone()).collect();
    check_grid(&order)?;
    let folder = rank_of_member(&entry.name).map_or("", |(folder, _)| folder);
    Ok(Chosen { folder, members, others: Vec::new() })
}

/// The members that hold ranks in the directory where `entry` holds one, itself included, in order.
fn beside<'a>(entry: &Entry, candidates: &[&'a Entry]) -> Vec<(RankName, &'a Entry)> {
    let Some((folder, _)) = rank_of_member(&entry.name) else { return Vec::new() };
    let rank = |e: &&'a Entry| {
        rank_of_member(&e.name).filter(|(outer, _)| *outer == folder).map(|(_, rank)| (rank, *e))
    };
    let mut members: Vec<_> = candidates.iter().filter_map(rank).collect();
    members.sort_by(|(a, _), (b, _)| a.cmp(b));
    members
}

fn no_candidate(archive: &Archive) -> OpenCause {
    OpenCause::NoCandidate { entries: listed(&archive.entries().iter().map(|e| &e.name).collect::<Vec<_>>()) }
}

/// The members that start like a checkpoint, save optimizer states.
fn candidates(archive: &Archive) -> Vec<&Entry> {
    let holds = |entry: &&Entry| {
        let file = entry.name.rsplit('/').next().unwrap_or_default();
        !is_optimizer(file) && !entry.is_directory() && start(&archive.peek(entry, HEAD)) != Start::Other
    };
    archive.entries().iter().filter(holds).collect()
}

/// Why a file of no known format is not read.
fn refusal(file: &str, bytes: &[u8]) -> OpenCause {
    let kind = |kind, instead| OpenCause::Kind { kind, instead };
    let head = &bytes[..bytes.len().min(HEAD)];
    let text = head.trim_ascii_start().to_ascii_lowercase();
    if bytes.is_empty() {
        OpenCause::Empty
    } else if head.starts_with(b"version https://git-lfs") {
        OpenCause::LfsPointer
    } else if text.starts_with(b"<!doctype") || text.starts_with(b"<html") {
        OpenCause::WebPage
    } else if file.ends_with(".nemo") {
        kind("an archive of NeMo", "unpack it (`tar -xf`), and give the weights in it")
    } else if head.starts_with(b"\x1f\x8b") {
        kind("a file compressed with gzip", "unpack it (`gunzip`, or `tar -xzf` where it is an archive)")
    } else if file.ends_with(".msgpack") {
        kind("a file of Flax", "load it with transformers (`from_flax=True`) and save the model")
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
