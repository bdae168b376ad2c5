//! Mappings and checkpoints as commands name them.

use std::io::{ErrorKind, Read};
use std::path::Path;

use transship::grammar::{
    Code, Diagnostic, Diagnostics, Found, Mapping, SideId, Source, Style, Target, beside, check, nearest,
    render,
};
use transship::{
    BaseConfig, BindOptions, Binding, Checkpoint, OpenOptions, PlanOptions, detect_side, read_text_file,
    side_marks,
};
use transship_mappings::{SHIPPED, library, shipped};

use crate::args::{Choice, Conversion};
use crate::{Failure, Streams, prefix};

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
    let (mapping, from) = choose(&checkpoint, named, from, purpose, &bind, streams)?;
    let mapping = match &conversion.to {
        Some(name) if side_named(&mapping, name)? == from => reflected(&mapping, from)?,
        _ => mapping,
    };
    let plan = PlanOptions { dtype: conversion.dtype, max_shard_size: Some(conversion.max_shard_size) };
    Ok(Loaded { mapping, checkpoint, from, bind, plan })
}

/// The mapping that is named, or the one that the checkpoint fits, and the side that it is of, which may be named.
pub(crate) fn choose(
    checkpoint: &Checkpoint,
    mapping: Option<&str>,
    from: Option<&str>,
    purpose: Purpose<'_>,
    bind: &BindOptions,
    streams: &mut Streams<'_>,
) -> Result<(Mapping, SideId), Failure> {
    let (mapping, detected) = match mapping {
        Some(name) => {
            let mapping = load_mapping(name, streams)?;
            let side = detect_side(&mapping, checkpoint);
            (mapping, side)
        }
        None => choose_mapping(checkpoint, purpose, bind, streams)?,
    };
    let side = side_of(&mapping, checkpoint, from, detected, streams)?;
    Ok((mapping, side))
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

/// What a mapping is chosen for.
#[derive(Clone, Copy)]
pub(crate) enum Purpose<'n> {
    /// To convert, to the side of this name if given.
    Convert {
        /// The name of a side.
        to: Option<&'n str>,
    },
    /// To read what the checkpoint's own side says.
    Read,
}

/// Whether mappings call a side by the same name: what they say of it alone is then the same, and any of them will do.
pub(crate) fn same_side(sides: &[(&Mapping, SideId)]) -> bool {
    let mut names = sides.iter().map(|(mapping, side)| &mapping.side(*side).name);
    let first = names.next();
    names.all(|name| Some(name) == first)
}

/// The shipped mapping that the checkpoint fits.
pub(crate) fn choose_mapping(
    checkpoint: &Checkpoint,
    purpose: Purpose<'_>,
    bind: &BindOptions,
    streams: &mut Streams<'_>,
) -> Result<(Mapping, Option<SideId>), Failure> {
    let mut fitting = Vec::new();
    let mut likely = Vec::new();
    for shipped in SHIPPED {
        let mapping = load_mapping(shipped.name, streams)?;
        match detect_side(&mapping, checkpoint) {
            Some(side) => fitting.push((mapping, Some(side))),
            None => likely.extend(incomplete(&mapping, checkpoint)),
        }
    }
    if let Purpose::Convert { to: Some(to) } = purpose
        && fitting.len() > 1
    {
        fitting.retain(|(mapping, _)| mapping.sides.iter().any(|side| side.name == to));
    }
    if fitting.len() > 1 {
        // Marks can be those of two models; what is beside them then tells which it is.
        let binds = |(mapping, side): &(Mapping, Option<SideId>)| {
            side.is_some_and(|side| Binding::new(mapping, checkpoint, side, bind).is_ok())
        };
        prefer(&mut fitting, binds);
    }
    let sides: Vec<(&Mapping, SideId)> = fitting.iter().filter_map(|(m, side)| Some((m, (*side)?))).collect();
    if matches!(purpose, Purpose::Read) && same_side(&sides) {
        fitting.truncate(1);
    }
    let names: Vec<String> = fitting.iter().map(|(m, _)| m.name.clone()).collect();
    match fitting.len() {
        1 => Ok(fitting.remove(0)),
        0 if !checkpoint.other_ranks().is_empty() => Err(Failure::new(format_args!(
            "{} holds one rank of {}; give the directory that holds all of them",
            checkpoint.file(),
            checkpoint.other_ranks().len() + 1
        ))),
        0 if !likely.is_empty() => Err(Failure::rendered(likely.concat())),
        0 => {
            let shipped: Vec<&str> = SHIPPED.iter().map(|m| m.name).collect();
            let holds = first_names(checkpoint);
            let hint = prefix::hint(checkpoint).map(|hint| format!("{hint}; ")).unwrap_or_default();
            Err(Failure::new(format_args!(
                "no shipped mapping fits {}, which holds {holds}; {hint}shipped are {}; give a mapping of your own with --mapping FILE",
                checkpoint.file(),
                shipped.join(", ")
            )))
        }
        _ => Err(Failure::new(format_args!(
            "several mappings fit {}: {}; choose one with --mapping NAME, or by the side to convert to with --to SIDE",
            checkpoint.file(),
            names.join(", ")
        ))),
    }
}

/// Leaves those alone that `fits` holds for, where there are any.
pub(crate) fn prefer<T>(all: &mut Vec<T>, fits: impl Fn(&T) -> bool) {
    let mut fit = all.iter().map(fits).collect::<Vec<bool>>().into_iter();
    if fit.clone().any(|fits| fits) {
        all.retain(|_| fit.next().unwrap_or(true));
    }
}

/// The message about a checkpoint that has some marks of a side, but not all.
pub(crate) fn incomplete(mapping: &Mapping, checkpoint: &Checkpoint) -> Option<String> {
    SideId::BOTH.into_iter().find_map(|side| {
        let (has, lacks) = side_marks(mapping, side, checkpoint);
        if has.is_empty() || lacks.is_empty() {
            return None;
        }
        let name = &mapping.side(side).name;
        Some(format!(
            "error: {} has {}, as checkpoints of `{name}` in the mapping `{}` have, but no {}; it is incomplete, or of another model: \
             fetch it again, or give a mapping of your own with --mapping FILE\n",
            checkpoint.file(),
            has.join(" and "),
            mapping.name,
            lacks.join(" and no "),
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
fn first_names(checkpoint: &Checkpoint) -> String {
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
