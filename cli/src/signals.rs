//! Signals that end the command: while an output is written they only ask it to stop, so that its hidden files are
//! removed. A second one ends it at once, as usual.

#[cfg(not(unix))]
use std::sync::atomic::AtomicBool;

/// Signals are held back as long as this lives.
pub(crate) struct HeldBack {
    #[cfg(unix)]
    caught: &'static unix::Caught,
    #[cfg(not(unix))]
    cancel: AtomicBool,
}

#[cfg(not(unix))]
impl HeldBack {
    pub(crate) fn new() -> std::io::Result<HeldBack> {
        Ok(HeldBack { cancel: AtomicBool::new(false) })
    }

    /// Set once a signal came.
    pub(crate) fn cancel(&self) -> &AtomicBool {
        &self.cancel
    }

    /// The exit code of a process that a signal ended.
    pub(crate) fn exit_code(&self) -> Option<u8> {
        None
    }
}

/// Ends the process by the signal that the exit code stands for, if it stands for one.
///
/// A shell that runs a script stops it after an interrupt only where the command was ended by the signal.
pub fn end_by_signal(code: u8) {
    #[cfg(unix)]
    if code > 128 {
        // Where that fails the exit code says the same.
        let _ = signal_hook::low_level::emulate_default_handler(i32::from(code) - 128);
    }
    #[cfg(not(unix))]
    let _ = code;
}

#[cfg(unix)]
mod unix {
    use std::io;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    use std::sync::{Arc, Mutex, PoisonError};

    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
    use signal_hook::flag::{register, register_conditional_default, register_usize};

    use super::HeldBack;

    /// What the handlers set. They are installed once and stay.
    #[derive(Debug, Default)]
    pub(super) struct Caught {
        /// Whether a signal ends the process.
        ends: Arc<AtomicBool>,
        cancel: Arc<AtomicBool>,
        /// Number of the signal that came last.
        signal: Arc<AtomicUsize>,
    }

    impl Caught {
        fn install() -> io::Result<Caught> {
            let caught = Caught::default();
            let ignored = ignored_signals();
            for signal in [SIGINT, SIGTERM, SIGHUP] {
                // As `nohup` wants it.
                if ignored >> (signal - 1) & 1 == 1 {
                    continue;
                }
                // In this order, so that the first one holds back nothing but itself.
                register_conditional_default(signal, Arc::clone(&caught.ends))?;
                register(signal, Arc::clone(&caught.ends))?;
                register_usize(signal, Arc::clone(&caught.signal), signal.unsigned_abs() as usize)?;
                register(signal, Arc::clone(&caught.cancel))?;
            }
            // A file beyond the limit of `ulimit -f` is then a failed write.
            register(SIGXFSZ, Arc::default())?;
            Ok(caught)
        }
    }

    /// Signals that are ignored from the start, a bit for each, where the system tells.
    fn ignored_signals() -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
        mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
    }

    impl HeldBack {
        pub(crate) fn new() -> io::Result<HeldBack> {
            static CAUGHT: Mutex<Option<&'static Caught>> = Mutex::new(None);
            let mut slot = CAUGHT.lock().unwrap_or_else(PoisonError::into_inner);
            let caught = match *slot {
                Some(caught) => caught,
                None => slot.insert(Box::leak(Box::new(Caught::install()?))),
            };
            caught.cancel.store(false, Ordering::SeqCst);
            caught.ends.store(false, Ordering::SeqCst);
            Ok(HeldBack { caught })
        }

        /// Set once a signal came.
        pub(crate) fn cancel(&self) -> &AtomicBool {
            &self.caught.cancel
        }

        /// The exit code of a process that a signal ended.
        pub(crate) fn exit_code(&self) -> Option<u8> {
            let signal = self.caught.signal.load(Ordering::SeqCst);
            self.cancel().load(Ordering::SeqCst).then(|| u8::try_from(128 + signal).unwrap_or(u8::MAX))
        }
    }

    impl Drop for HeldBack {
        fn drop(&mut self) {
            self.caught.ends.store(true, Ordering::SeqCst);
        }
    }
}
