//! Panics of the `tokenizers` library, which a damaged file can lead to, as values.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;

/// What is said where the library panicked.
pub(crate) const DAMAGED: &str = "the tokenizer is damaged; fetch its files again";

thread_local! {
    /// Whether panics of this thread are told of by what catches them.
    static CAUGHT: Cell<bool> = const { Cell::new(false) };
}

/// What `work` gives, or `None` where it panicked, which nothing is printed of.
pub(crate) fn guarded<T>(work: impl FnOnce() -> T) -> Option<T> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = take_hook();
        set_hook(Box::new(move |panic| {
            if !CAUGHT.get() {
                before(panic);
            }
        }));
    });
    let outer = CAUGHT.replace(true);
    // What a panic leaves in a tokenizer is not used again: the command ends.
    let done = catch_unwind(AssertUnwindSafe(work));
    CAUGHT.set(outer);
    done.ok()
}

#[cfg(test)]
mod tests {
    use super::guarded;

    #[test]
    fn a_panic_is_a_value() {
        assert_eq!(guarded(|| 1), Some(1));
        assert_eq!(guarded(|| -> u8 { panic!("not told") }), None);
    }
}
