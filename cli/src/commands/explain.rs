//! `transship explain`.

use transship::grammar::Code;

use crate::args::Explain;
use crate::{Failure, Streams, USAGE};

pub(crate) fn run(args: &Explain, streams: &mut Streams<'_>) -> Result<(), Failure> {
    if args.list {
        for code in Code::ALL {
            writeln!(streams.out, "{code}  {}", code.title())?;
        }
        return Ok(());
    }
    let text = args.code.as_deref().unwrap_or_default();
    let Some(code) = Code::parse(text) else {
        let message = format!("error: there is no code `{text}`; `transship explain --list` lists all\n");
        return Err(Failure { message, code: USAGE });
    };
    writeln!(streams.out, "{}", code.explanation().trim_end())?;
    Ok(())
}
