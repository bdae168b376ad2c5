//! `transship mappings`.

use transship_mappings::SHIPPED;

use crate::args::Mappings;
use crate::load::{load_mapping, mapping_source};
use crate::{Failure, Streams};

pub(crate) fn run(args: &Mappings, streams: &mut Streams<'_>) -> Result<(), Failure> {
    if let Some(name) = &args.name {
        let source = mapping_source(name)?;
        streams.out.write_all(source.text().as_bytes())?;
        return Ok(());
    }
    for shipped in SHIPPED {
        let mapping = load_mapping(shipped.name, streams)?;
        let first = mapping.docs.lines().next().unwrap_or_default();
        writeln!(streams.out, "{:<16} {first}", shipped.name)?;
    }
    Ok(())
}
