//! Work that several threads do together.

use std::io;
use std::thread::{Builder, available_parallelism, scope};

/// More threads than any machine has cores; the copies of one conversion gain nothing from more.
const MOST: usize = 1024;

/// How many threads do a piece of work for which `asked` are asked; 0 is one per core.
pub(crate) fn count(asked: usize) -> usize {
    match asked {
        0 => available_parallelism().map_or(1, usize::from),
        asked => asked.min(MOST),
    }
}

/// Does `work`, which ends when nothing is left to do, in this thread and as many others as make `threads`. Where the
/// system gives fewer, those do all of it.
pub(crate) fn in_threads(threads: usize, work: impl Fn() + Sync) {
    scope(|scope| {
        started(threads, || Builder::new().spawn_scoped(scope, &work).map(drop));
        work();
    });
}

/// Starts threads beside this one until one cannot be started.
fn started(threads: usize, mut start: impl FnMut() -> io::Result<()>) {
    for _ in 1..threads {
        if start().is_err() {
            break;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn work_is_done_by_the_threads_that_there_are() {
        let done = AtomicUsize::new(0);
        in_threads(3, || {
            done.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(done.into_inner(), 3);
        let mut left = 2;
        let mut tries = 0;
        started(10, || {
            tries += 1;
            left -= 1;
            if left == 0 { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
        });
        assert_eq!(tries, 2, "after a thread could not be made no other is tried");
    }

    #[test]
    fn no_number_of_threads_is_too_large() {
        assert_eq!(count(usize::MAX), MOST);
        assert_eq!(count(3), 3);
        assert!(count(0) >= 1);
    }
}
