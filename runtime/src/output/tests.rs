//! Tests of the writer: what is read back, and what is left behind.

mod failures;
mod interrupted;
mod model;
mod pieces;
mod plans;
mod replaced;
mod written;

use std::cell::Cell;
use std::io;

/// Which of the coming renames and removals fail.
#[derive(Clone, Copy)]
enum Failing {
    /// This one.
    Only(usize),
    /// This one and all after it, which leaves on the disk what a kill there would.
    From(usize),
}

thread_local! {
    static FAILING: Cell<Option<Failing>> = const { Cell::new(None) };
}

/// Called before each rename and removal.
pub(super) fn step() -> io::Result<()> {
    let failed = || Err(io::Error::other("it is made to fail"));
    FAILING.with(|failing| match failing.get() {
        None => Ok(()),
        Some(Failing::From(0)) => failed(),
        Some(Failing::Only(0)) => {
            failing.set(None);
            failed()
        }
        Some(Failing::From(left)) => {
            failing.set(Some(Failing::From(left - 1)));
            Ok(())
        }
        Some(Failing::Only(left)) => {
            failing.set(Some(Failing::Only(left - 1)));
            Ok(())
        }
    })
}

/// Does something of whose renames and removals some fail. Says whether any did.
fn with_failing<T>(failing: Failing, body: impl FnOnce() -> T) -> (T, bool) {
    FAILING.set(Some(failing));
    let result = body();
    let failed = matches!(FAILING.take(), None | Some(Failing::From(0)));
    (result, failed)
}
