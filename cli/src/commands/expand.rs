//! `transship expand`.

use transship::grammar::{Style, check, render};
use transship_codegen::{expand_mapping, type_name};

use crate::args::Expand;
use crate::load::{failed, mapping_or_file};
use crate::{Failure, Streams};

pub(crate) fn run(args: &Expand, streams: &mut Streams<'_>) -> Result<(), Failure> {
    let source = mapping_or_file(&args.mapping, streams)?;
    let name = match &args.name {
        Some(name) => name.clone(),
        None => {
            let (mapping, _) = check(&source).map_err(|errors| failed(&errors, streams))?;
            type_name(&mapping.name)
        }
    };
    let (code, warnings) = expand_mapping(&source, &name).map_err(|errors| failed(&errors, streams))?;
    let text = render(&warnings, Style::Full { colour: streams.terminal.colour });
    streams.err.write_all(text.as_bytes())?;
    streams.out.write_all(code.as_bytes())?;
    Ok(())
}
