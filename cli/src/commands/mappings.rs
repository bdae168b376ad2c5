//! `transship mappings`.

use transship_mappings::{LIBRARIES, SHIPPED};

use crate::args::Mappings;
use crate::load::{load_mapping, mapping_source};
use crate::{Failure, Streams};

pub(crate) fn run(args: &Mappings, streams: &mut Streams<'_>) -> Result<(), Failure> {
    if let Some(name) = &args.name {
        let text = match LIBRARIES.iter().find(|l| l.name == name) {
            Some(library) => library.text.to_owned(),
            None => mapping_source(name)?.text().to_owned(),
        };
        streams.out.write_all(text.as_bytes())?;
        return Ok(());
    }
    for shipped in SHIPPED {
        let mapping = load_mapping(shipped.name, streams)?;
        let first = mapping.docs.lines().next().unwrap_or_default();
        writeln!(streams.out, "{:<16} {first}", shipped.name)?;
    }
    let names: Vec<&str> = LIBRARIES.iter().map(|l| l.name).collect();
    writeln!(streams.out, "\nLibraries that mappings can import: {}", names.join(", "))?;
    Ok(())
}
