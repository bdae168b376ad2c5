//! Two checkpoints of one model, with the mapping and the sides they are of.

use transship::grammar::{Mapping, SideId};
use transship::{BindOptions, Checkpoint, Tolerance, Verify, VerifyOptions, detect_side, other_family};
use transship_mappings::SHIPPED;

use crate::args::{Choice, Verify as Args};
use crate::choose::{Purpose, choose_mapping, incomplete, prefer, same_side};
use crate::load::{base_config, load_mapping, open, side_of};
use crate::{Failure, Streams};

/// What is compared.
pub(crate) struct Loaded {
    pub(crate) mapping: Mapping,
    pub(crate) checkpoints: [Checkpoint; 2],
    pub(crate) sides: [SideId; 2],
    pub(crate) options: VerifyOptions,
}

/// Opens both checkpoints and finds the mapping and the sides they are of.
pub(crate) fn load(args: &Args, streams: &mut Streams<'_>) -> Result<Loaded, Failure> {
    let output_choice = Choice { member: None, iteration: args.output_iteration };
    let checkpoints = [open(&args.input, &args.choice)?, open(&args.output, &output_choice)?];
    let base = base_config(args.config.as_deref())?;
    let options = VerifyOptions {
        bind: BindOptions { settings: args.set.clone(), base, ..BindOptions::default() },
        dtype: args.dtype,
        tolerance: Tolerance { absolute: args.atol, relative: args.rtol },
        thorough: args.thorough,
        threads: args.threads,
    };
    let named = [args.from.as_deref(), args.to.as_deref()];
    let mapping = match &args.mapping {
        Some(name) => load_mapping(name, streams)?,
        None => choose(&checkpoints, named, &options, streams)?,
    };
    let side = |which: usize| -> Result<SideId, Failure> {
        let checkpoint = &checkpoints[which];
        let detected = detect_side(&mapping, checkpoint);
        match incomplete(&mapping, checkpoint) {
            Some(message) if detected.is_none() && named[which].is_none() => Err(Failure::rendered(message)),
            _ => side_of(&mapping, checkpoint, named[which], detected, streams),
        }
    };
    let sides = [side(0)?, side(1)?];
    Ok(Loaded { mapping, checkpoints, sides, options })
}

/// The shipped mapping that both checkpoints fit; the one that INPUT fits where OUTPUT fits none.
fn choose(
    checkpoints: &[Checkpoint; 2],
    named: [Option<&str>; 2],
    options: &VerifyOptions,
    streams: &mut Streams<'_>,
) -> Result<Mapping, Failure> {
    let mut fitting = Vec::new();
    for shipped in SHIPPED {
        let mapping = load_mapping(shipped.name, streams)?;
        let is_named = |name: &str| mapping.sides.iter().any(|side| side.name == name);
        if let [Some(one), Some(other)] = checkpoints.each_ref().map(|c| detect_side(&mapping, c))
            && named.iter().flatten().all(|name| is_named(name))
            && other_family(&mapping, one, &checkpoints[0]).is_none()
            && other_family(&mapping, other, &checkpoints[1]).is_none()
        {
            fitting.push((mapping, [one, other]));
        }
    }
    if fitting.len() > 1 {
        // Marks can be those of two models; which it is then shows where all the rest is known.
        let both = checkpoints.each_ref();
        let whole = |(mapping, sides): &(Mapping, [SideId; 2])| {
            let verify = Verify::new(mapping, both, *sides, options);
            verify.is_ok_and(|verify| verify.is_complete())
        };
        prefer(&mut fitting, whole);
    }
    let of = |which: usize| -> Vec<(&Mapping, SideId)> {
        fitting.iter().map(|(mapping, sides)| (mapping, sides[which])).collect()
    };
    if same_side(&of(0)) && same_side(&of(1)) {
        fitting.truncate(1);
    }
    match fitting.len() {
        0 => choose_mapping(&checkpoints[0], Purpose::Convert { to: named[1] }, &options.bind, streams)
            .map(|fitting| fitting.mapping),
        1 => Ok(fitting.remove(0).0),
        _ => {
            let names: Vec<&str> = fitting.iter().map(|(mapping, _)| mapping.name.as_str()).collect();
            Err(Failure::new(format_args!(
                "several mappings fit both checkpoints: {}; choose one with --mapping NAME",
                names.join(", ")
            )))
        }
    }
}
