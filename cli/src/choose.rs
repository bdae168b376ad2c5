//! Which of the shipped mappings a checkpoint fits.

use transship::grammar::{Mapping, SideId, nearest};
use transship::{BindOptions, Binding, Checkpoint, detect_side, other_family, side_marks};
use transship_mappings::SHIPPED;

use crate::load::{first_names, load_mapping};
use crate::{Failure, Streams, prefix};

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

/// A mapping, and the side of it that a checkpoint has the marks of.
pub(crate) struct Fitting {
    pub(crate) mapping: Mapping,
    pub(crate) side: SideId,
    /// What the user should know of the choice.
    pub(crate) notes: Vec<String>,
}

impl Fitting {
    fn target(&self) -> &str {
        &self.mapping.side(self.side.other()).name
    }
}

/// The shipped mapping that the checkpoint fits: of several that differ in the side to convert to alone, the first.
pub(crate) fn choose_mapping(
    checkpoint: &Checkpoint,
    purpose: Purpose<'_>,
    bind: &BindOptions,
    streams: &mut Streams<'_>,
) -> Result<Fitting, Failure> {
    let mut mappings = Vec::new();
    for shipped in SHIPPED {
        mappings.push(load_mapping(shipped.name, streams)?);
    }
    if let Purpose::Convert { to: Some(to) } = purpose {
        check_side_name(&mappings, to)?;
    }
    check_family(&mappings, checkpoint)?;
    let mut fitting = Vec::new();
    let mut likely = Vec::new();
    for mapping in mappings {
        match detect_side(&mapping, checkpoint) {
            Some(side) if other_family(&mapping, side, checkpoint).is_none() => {
                fitting.push(Fitting { mapping, side, notes: Vec::new() });
            }
            Some(side) => likely.extend(contradicted(&mapping, side, checkpoint)),
            None => likely.extend(incomplete(&mapping, checkpoint)),
        }
    }
    if let Purpose::Convert { to: Some(to) } = purpose {
        keep_those_with(to, &mut fitting, checkpoint)?;
    }
    if fitting.len() > 1 {
        // Marks can be those of two models; what is beside them then tells which it is.
        let binds = |fit: &Fitting| Binding::new(&fit.mapping, checkpoint, fit.side, bind).is_ok();
        prefer(&mut fitting, binds);
    }
    let sides: Vec<(&Mapping, SideId)> = fitting.iter().map(|fit| (&fit.mapping, fit.side)).collect();
    if same_side(&sides) {
        take_first(&mut fitting, purpose);
    }
    match fitting.len() {
        1 => Ok(fitting.remove(0)),
        0 => Err(nothing_fits(checkpoint, &likely)),
        _ => Err(Failure::new(format_args!(
            "several mappings fit {}: {}; choose one with --mapping NAME, or by the side to convert to with --to SIDE",
            checkpoint.file(),
            list(fitting.iter().map(|fit| fit.mapping.name.as_str()))
        ))),
    }
}

/// Leaves the first of several that fit alike; where the side to convert to follows from that, it is told.
fn take_first(fitting: &mut Vec<Fitting>, purpose: Purpose<'_>) {
    let others: Vec<String> = fitting.iter().skip(1).map(|fit| format!("`--to {}`", fit.target())).collect();
    fitting.truncate(1);
    let [first] = fitting.as_mut_slice() else { return };
    if let Purpose::Convert { to: None } = purpose
        && !others.is_empty()
    {
        let note =
            format!("converted to `{}` by default; {} gives another", first.target(), others.join(" or "));
        first.notes.push(note);
    }
}

/// Whether mappings call a side by the same name: what they say of it alone is then the same, and any of them will do.
pub(crate) fn same_side(sides: &[(&Mapping, SideId)]) -> bool {
    let mut names = sides.iter().map(|(mapping, side)| &mapping.side(*side).name);
    let first = names.next();
    names.all(|name| Some(name) == first)
}

/// Leaves those alone that `fits` holds for, where there are any.
pub(crate) fn prefer<T>(all: &mut Vec<T>, fits: impl Fn(&T) -> bool) {
    let mut fit = all.iter().map(fits).collect::<Vec<bool>>().into_iter();
    if fit.clone().any(|fits| fits) {
        all.retain(|_| fit.next().unwrap_or(true));
    }
}

/// The side to convert to is one that some shipped mapping has.
fn check_side_name(mappings: &[Mapping], name: &str) -> Result<(), Failure> {
    let mut sides: Vec<&str> =
        mappings.iter().flat_map(|m| &m.sides).map(|side| side.name.as_str()).collect();
    sides.sort_unstable();
    sides.dedup();
    if sides.contains(&name) {
        return Ok(());
    }
    let hint = match mappings.iter().find(|mapping| mapping.name == name) {
        Some(mapping) => format!("; `{}` is a mapping: --mapping {}", mapping.name, mapping.name),
        None => nearest(name, sides.iter().copied())
            .map_or_else(String::new, |near| format!("; did you mean `--to {near}`?")),
    };
    Err(Failure::new(format_args!(
        "no shipped mapping has a side `{name}` to convert to; the sides are {}{hint}",
        list(sides)
    )))
}

/// Leaves those that have a side of this name.
fn keep_those_with(name: &str, fitting: &mut Vec<Fitting>, checkpoint: &Checkpoint) -> Result<(), Failure> {
    let mut sides: Vec<String> =
        fitting.iter().flat_map(|fit| fit.mapping.sides.iter().map(|side| side.name.clone())).collect();
    fitting.retain(|fit| fit.mapping.sides.iter().any(|side| side.name == name));
    if !fitting.is_empty() || sides.is_empty() {
        return Ok(());
    }
    sides.sort_unstable();
    sides.dedup();
    Err(Failure::new(format_args!(
        "{} cannot be converted to `{name}`; the sides of the mappings that it fits are {}",
        checkpoint.file(),
        list(sides.iter().map(String::as_str))
    )))
}

/// The config, where it says which model it is of, names one that some shipped mapping takes.
fn check_family(mappings: &[Mapping], checkpoint: &Checkpoint) -> Result<(), Failure> {
    let mut taken = Vec::new();
    let mut others = Vec::new();
    for mapping in mappings {
        for side in SideId::BOTH {
            let Some(family) = &mapping.side(side).family else { continue };
            taken.extend(family.names.iter().map(String::as_str));
            others.push(other_family(mapping, side, checkpoint));
        }
    }
    let Some((place, name)) = others.into_iter().collect::<Option<Vec<_>>>().and_then(|mut all| all.pop())
    else {
        return Ok(());
    };
    taken.sort_unstable();
    taken.dedup();
    Err(Failure::new(format_args!(
        "the config of {} says `{name}` ({place}), which no shipped mapping takes; they take {}; give a mapping of your own with --mapping FILE",
        checkpoint.file(),
        list(taken)
    )))
}

/// The message about a checkpoint that has a side's names, and whose config says that it is another model.
fn contradicted(mapping: &Mapping, side: SideId, checkpoint: &Checkpoint) -> Option<String> {
    let (place, name) = other_family(mapping, side, checkpoint)?;
    Some(format!(
        "error: {} has the names of `{}` in the mapping `{}`, but its config says `{name}` ({place}); correct the one that is wrong, \
         or give a mapping of your own with --mapping FILE\n",
        checkpoint.file(),
        mapping.side(side).name,
        mapping.name,
    ))
}

/// The message about a checkpoint that has some marks of a side, but not all.
pub(crate) fn incomplete(mapping: &Mapping, checkpoint: &Checkpoint) -> Option<String> {
    SideId::BOTH.into_iter().find_map(|side| {
        let (has, lacks) = side_marks(mapping, side, checkpoint);
        if has.is_empty() || lacks.is_empty() || other_family(mapping, side, checkpoint).is_some() {
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

fn nothing_fits(checkpoint: &Checkpoint, likely: &[String]) -> Failure {
    if !checkpoint.other_ranks().is_empty() {
        return Failure::new(format_args!(
            "{} holds one rank of {}; give the directory that holds all of them",
            checkpoint.file(),
            checkpoint.other_ranks().len() + 1
        ));
    }
    if !likely.is_empty() {
        return Failure::rendered(likely.concat());
    }
    let hint = prefix::hint(checkpoint).map(|hint| format!("{hint}; ")).unwrap_or_default();
    Failure::new(format_args!(
        "no shipped mapping fits {}, which holds {}; {hint}shipped are {}; give a mapping of your own with --mapping FILE",
        checkpoint.file(),
        first_names(checkpoint),
        list(SHIPPED.iter().map(|m| m.name))
    ))
}

fn list<'n>(names: impl IntoIterator<Item = &'n str>) -> String {
    names.into_iter().collect::<Vec<_>>().join(", ")
}
