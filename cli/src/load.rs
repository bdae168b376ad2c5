//! Mappings and checkpoints as commands name them.

use std::io::{ErrorKind, Read};
use std::path::Path;

use transship::grammar::{
    Code, Diagnostic, Diagnostics, Found, Mapping, SideId, Source, Style, Target, beside, check, nearest,
    render,
};
use transship::{
    BaseConfig, BindOptions, Checkpoint, OpenOptions, PlanOptions, detect_side, read_text_file, side_marks,
};
use transship_mappings::{SHIPPED, library, shipped};

use crate::args::{Choice, Conversion};
use crate::choose::{Fitting, Purpose, choose_mapping};
use crate::{Failure, Streams};

/// The text of the mapping that `--mapping` names, with all that it imports: of the shipped one of that name, or of
/// the file at a path. What is no path is never a file, so that nothing in the working directory stands in for a
/// shipped mapping.
pub(crate) fn mapping_source(name: &str) -> Result<Source, Failure> {
    if is_path(name) {
        return file_source(name);
    }
    match shipped(name) {
        Some(mapping) => Ok(mapping.source()),
        None if Path::new(name).exists() => Err(Failure::new(format_args!(
            "there is no shipped mapping {name}; to use the file of that name, write ./{name}"
        ))),
        None => Err(unknown_mapping(name)),
    }
}

/// The same for commands whose arguments are mapping files first of all: a plain name that no shipped mapping has is
/// that of a file. Where both are there, the shipped one is taken and that is told.
pub(crate) fn mapping_or_file(name: &str, streams: &mut Streams<'_>) -> Result<Source, Failure> {
    match shipped(name) {
        Some(mapping) => {
            if Path::new(name).exists() {
                writeln!(
                    streams.err,
                    "note: {name} is the shipped mapping here; for the file of that name, write ./{name}"
                )?;
            }
            Ok(mapping.source())
        }
        None => file_source(name),
    }
}

/// Whether a mapping's name is the path of a file.
fn is_path(name: &str) -> bool {
    name.contains(std::path::is_separator) || name.ends_with(".mapping")
}

/// The text of the mapping file at a path, with all that it imports. `-` is what comes in, whose imports begin at the
/// working directory.
pub(crate) fn file_source(name: &str) -> Result<Source, Failure> {
    if name == "-" {
        let read = std::io::read_to_string(std::io::stdin().lock().take(MAX_MAPPING));
        let text = read.map_err(|e| Failure::new(format_args!("cannot read the standard input: {e}")))?;
        return Ok(Source::load("<stdin>", &text, &mut find_import));
    }
    let text = read_mapping(name).map_err(|error| match error.kind() {
        ErrorKind::NotFound => unknown_mapping(name),
        ErrorKind::IsADirectory => {
            Failure::new(format_args!("cannot read {name}: it is a directory; give a mapping file in it"))
        }
        _ => Failure::new(format_args!("cannot read {name}: {error}")),
    })?;
    Ok(Source::load(name, &text, &mut find_import))
}

/// More bytes than any mapping has.
const MAX_MAPPING: u64 = 16 << 20;

/// What an `import` of the text `from` stands for.
fn find_import(from: &str, target: Target<'_>) -> Result<Found, String> {
    match target {
        Target::Library(name) => library(name),
        Target::Path(path) => {
            let path = beside(from, path);
            let text = read_mapping(&path).map_err(|error| match error.kind() {
                ErrorKind::NotFound => format!("there is no file {path}"),
                _ => format!("cannot read {path}: {error}"),
            })?;
            Ok((path, text))
        }
    }
}

/// The text of a mapping file.
fn read_mapping(path: &str) -> std::io::Result<String> {
    String::from_utf8(read_text_file(path.as_ref(), MAX_MAPPING)?).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let what = format!("it is not UTF-8 text (byte {at}); save it as UTF-8");
        std::io::Error::new(ErrorKind::InvalidData, what)
    })
}

fn unknown_mapping(name: &str) -> Failure {
    let names = SHIPPED.iter().map(|m| m.name);
    let hint = match nearest(name, names.clone()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("shipped are {}", names.collect::<Vec<_>>().join(", ")),
    };
    Failure::new(format_args!("there is no mapping file {name}, and no shipped mapping of that name; {hint}"))
}

/// Diagnostics as the failure of a command.
pub(crate) fn failed(diagnostics: &Diagnostics, streams: &Streams<'_>) -> Failure {
    let mut text = render(diagnostics, Style::Full { colour: streams.terminal.colour });
    let codes: Vec<&str> = diagnostics.list().iter().map(|d| d.code.as_str()).collect();
    if let Some(code) = codes.first() {
        text.push_str(&format!("for more about an error, try `transship explain {code}`\n"));
    }
    Failure::rendered(text)
}

pub(crate) fn load_mapping(name: &str, streams: &mut Streams<'_>) -> Result<Mapping, Failure> {
    let source = mapping_source(name)?;
    match check(&source) {
        // `transship check` shows the warnings.
        Ok((mapping, _)) => Ok(mapping),
        Err(errors) => Err(failed(&errors, streams)),
    }
}

pub(crate) fn open(path: &Path, choice: &Choice) -> Result<Checkpoint, Failure> {
    let options = OpenOptions { member: choice.member.clone(), iteration: choice.iteration };
    Checkpoint::open_with(path, &options).map_err(Failure::new)
}

/// A config to start from, if one is given.
pub(crate) fn base_config(path: Option<&Path>) -> Result<Option<BaseConfig>, Failure> {
    path.map(BaseConfig::read).transpose().map_err(Failure::new)
}

/// What a conversion works on.
pub(crate) struct Loaded {
    pub(crate) mapping: Mapping,
    pub(crate) checkpoint: Checkpoint,
    pub(crate) from: SideId,
    pub(crate) bind: BindOptions,
    pub(crate) plan: PlanOptions,
    /// What the user should know of the choice of the mapping.
    pub(crate) notes: Vec<String>,
}

/// A mapping, and the side of it that a checkpoint is of.
pub(crate) struct Chosen {
    pub(crate) mapping: Mapping,
    pub(crate) side: SideId,
    /// What the user should know of the choice.
    pub(crate) notes: Vec<String>,
}

/// The settings of a conversion, and the ranks of its target.
fn split(conversion: &Conversion) -> BindOptions {
    let several = |(name, count): (&str, u64)| (count > 1).then(|| (name.to_owned(), count));
    let mut ranks: Vec<(String, u64)> =
        [("tp", conversion.tp), ("vpp", conversion.vpp), ("ep", conversion.ep)]
            .into_iter()
            .filter_map(several)
            .collect();
    ranks.extend(conversion.pp.map(|count| ("pp".to_owned(), count)));
    let mut shares = Vec::new();
    if !conversion.pp_layers.is_empty() {
        shares.push(("pp".to_owned(), conversion.pp_layers.clone()));
    }
    BindOptions { settings: conversion.set.clone(), base: None, ranks, shares }
}

/// Opens the input and finds the mapping and the side it is of.
pub(crate) fn load(conversion: &Conversion, streams: &mut Streams<'_>) -> Result<Loaded, Failure> {
    let checkpoint = open(&conversion.input, &conversion.choice)?;
    let bind = BindOptions { base: base_config(conversion.config.as_deref())?, ..split(conversion) };
    let (named, from) = (conversion.mapping.as_deref(), conversion.from.as_deref());
    let purpose = Purpose::Convert { to: conversion.to.as_deref() };
    let Chosen { mapping, side: from, notes } = choose(&checkpoint, named, from, purpose, &bind, streams)?;
    let mapping = match &conversion.to {
        Some(name) if side_named(&mapping, name)? == from => reflected(&mapping, from)?,
        _ => mapping,
    };
    let plan = PlanOptions { dtype: conversion.dtype, max_shard_size: Some(conversion.max_shard_size) };
    Ok(Loaded { mapping, checkpoint, from, bind, plan, notes })
}

/// The mapping that is named, or the one that the checkpoint fits, and the side that it is of, which may be named.
pub(crate) fn choose(
    checkpoint: &Checkpoint,
    mapping: Option<&str>,
    from: Option<&str>,
    purpose: Purpose<'_>,
    bind: &BindOptions,
    streams: &mut Streams<'_>,
) -> Result<Chosen, Failure> {
    let (mapping, detected, notes) = match mapping {
        Some(name) => {
            let mapping = load_mapping(name, streams)?;
            let side = detect_side(&mapping, checkpoint);
            (mapping, side, Vec::new())
        }
        None => {
            let Fitting { mapping, side, notes } = choose_mapping(checkpoint, purpose, bind, streams)?;
            (mapping, Some(side), notes)
        }
    };
    let side = side_of(&mapping, checkpoint, from, detected, streams)?;
    Ok(Chosen { mapping, side, notes })
}

/// The side that the user names, where the checkpoint can be of it, or the one that was found.
pub(crate) fn side_of(
    mapping: &Mapping,
    checkpoint: &Checkpoint,
    named: Option<&str>,
    detected: Option<SideId>,
    streams: &Streams<'_>,
) -> Result<SideId, Failure> {
    match (named, detected) {
        (Some(name), _) => {
            let side = side_named(mapping, name)?;
            if !side_marks(mapping, side, checkpoint).1.is_empty() {
                return Err(failed(&wrong_side(mapping, side, detected, checkpoint), streams));
            }
            Ok(side)
        }
        (None, Some(side)) => Ok(side),
        (None, None) => Err(failed(&wrong_checkpoint(mapping, checkpoint), streams)),
    }
}

/// The mapping from a side to itself, which splits a checkpoint over other ranks.
fn reflected(mapping: &Mapping, side: SideId) -> Result<Mapping, Failure> {
    mapping.reflected(side).ok_or_else(|| {
        Failure::new(format_args!(
            "`{}` cannot be split anew: both sides of `{}` have rank axes; leave --to out",
            mapping.side(side).name,
            mapping.name
        ))
    })
}

/// The side that the user names is not what the checkpoint is of.
fn wrong_side(
    mapping: &Mapping,
    side: SideId,
    detected: Option<SideId>,
    checkpoint: &Checkpoint,
) -> Diagnostics {
    let mut diagnostics = Diagnostics::new(&mapping.source);
    let name = &mapping.side(side).name;
    let message = format!("{} is not of side `{name}` of the mapping `{}`", checkpoint.file(), mapping.name);
    let mut diagnostic = Diagnostic::without_place(Code::WrongCheckpoint, message);
    for mark in side_marks(mapping, side, checkpoint).1 {
        diagnostic = diagnostic.note(format!("it lacks {mark}"));
    }
    diagnostics.push(match detected {
        Some(other) => diagnostic
            .help(format!("its names are those of side `{}`: leave `--from` out", mapping.side(other).name)),
        None => diagnostic.help("choose another mapping with `--mapping`"),
    });
    diagnostics
}

fn side_named(mapping: &Mapping, name: &str) -> Result<SideId, Failure> {
    SideId::BOTH.into_iter().find(|s| mapping.side(*s).name == name).ok_or_else(|| {
        let [left, right] = mapping.sides.each_ref().map(|s| &s.name);
        Failure::new(format_args!("the mapping has no side `{name}`; its sides are `{left}` and `{right}`"))
    })
}

/// The first few names of tensors.
pub(crate) fn first_names(checkpoint: &Checkpoint) -> String {
    const SHOWN: usize = 4;
    let tensors = checkpoint.tensors();
    let first: Vec<String> = tensors.iter().take(SHOWN).map(|t| format!("`{}`", t.name)).collect();
    match tensors.len() {
        0 => "no tensors".to_owned(),
        n if n > SHOWN => format!("{} and {} more", first.join(", "), n - SHOWN),
        _ => first.join(", "),
    }
}

fn wrong_checkpoint(mapping: &Mapping, checkpoint: &Checkpoint) -> Diagnostics {
    let mut diagnostics = Diagnostics::new(&mapping.source);
    let message = format!("{} is of neither side of the mapping `{}`", checkpoint.file(), mapping.name);
    let mut diagnostic = Diagnostic::without_place(Code::WrongCheckpoint, message);
    for side in &mapping.sides {
        for ways in &side.detect {
            let names: Vec<String> =
                ways.iter().map(|t| format!("`{}`", mapping.display_template(t))).collect();
            diagnostic =
                diagnostic.note(format!("a checkpoint of side `{}` has {}", side.name, names.join(" or ")));
        }
    }
    diagnostic = diagnostic.note(format!("it holds {}", first_names(checkpoint)));
    diagnostics.push(diagnostic.help("choose another mapping with `--mapping`"));
    diagnostics
}
