//! Progress of long work: a bar on a terminal, plain lines otherwise.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::size::show_size;

/// Tells how far the work is.
pub(crate) enum Progress {
    Bar(ProgressBar),
    /// A line at every tenth.
    Lines {
        /// What is done: "written".
        deed: &'static str,
        total: u64,
        done: AtomicU64,
    },
    Silent,
}

/// Work smaller than this is over before a line could be read.
const WORTH_A_LINE: u64 = 256 << 20;

impl Progress {
    pub(crate) fn new(total: u64, deed: &'static str, quiet: bool, terminal: bool) -> Progress {
        if quiet {
            return Progress::Silent;
        }
        if !terminal {
            return if total >= WORTH_A_LINE {
                Progress::Lines { deed, total, done: AtomicU64::new(0) }
            } else {
                Progress::Silent
            };
        }
        let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
        // Decimal units, as in the table of files.
        let template = "{bar:40} {decimal_bytes}/{decimal_total_bytes}  {decimal_bytes_per_sec}  {eta} left";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(100));
        Progress::Bar(bar)
    }

    /// Adds bytes that are done with; called from any thread.
    pub(crate) fn add(&self, bytes: u64) {
        match self {
            Progress::Bar(bar) => bar.inc(bytes),
            Progress::Lines { deed, total, done } => {
                let before = done.fetch_add(bytes, Ordering::Relaxed);
                let tenth = |n: u64| n.saturating_mul(10) / (*total).max(1);
                let after = before.saturating_add(bytes);
                if tenth(after) > tenth(before) {
                    eprintln!("{} % of {} {deed}", tenth(after) * 10, show_size(*total));
                }
            }
            Progress::Silent => {}
        }
    }

    pub(crate) fn finish(&self) {
        if let Progress::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}
