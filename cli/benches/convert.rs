//! Conversions side by side with `cp` of the same file, in one session.
//!
//! `cargo bench -p transship-cli --bench convert [-- --keep DIR]` writes a checkpoint of the size of GPT-2 345M (710 MB), then
//! takes turns: `cp`, `transship convert`, and so on; medians and their ratio are printed. The last part converts
//! models of many small parameters.

#![expect(clippy::print_stdout, reason = "a benchmark prints its table")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use transship_tests::{Dtype, MegatronGpt2, Version};

const ROUNDS: usize = 9;

fn main() {
    let keep = std::env::args().skip_while(|a| a != "--keep").nth(1).map(PathBuf::from);
    let scratch =
        tempfile::tempdir_in(keep.as_deref().unwrap_or(Path::new("."))).expect("a scratch directory");
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    println!("{cores} cores; medians of {ROUNDS} rounds, files in the page cache");
    compare_with_cp(scratch.path());
    many_small(scratch.path());
}

fn compare_with_cp(scratch: &Path) {
    let input = scratch.join("model_optim_rng.pt");
    MegatronGpt2::of_345m().write(&input).expect("the checkpoint is written");
    let bytes = std::fs::metadata(&input).expect("it is there").len();
    println!("345M, f16, {bytes} bytes");
    for sync in [false, true] {
        let (mut cp, mut transship, mut peak) = (Vec::new(), Vec::new(), 0);
        for _ in 0..ROUNDS {
            let copy = scratch.join("copy.pt");
            cp.push(time_cp(&input, &copy, sync));
            std::fs::remove_file(copy).expect("the copy is there");
            let output = scratch.join("out");
            let (time, rss) = time_convert(&input, &output, sync, &[]);
            transship.push(time);
            peak = peak.max(rss);
            std::fs::remove_dir_all(output).expect("the output is there");
        }
        let (cp, transship) = (median(&mut cp), median(&mut transship));
        let what = if sync { "synced to disk" } else { "not synced" };
        println!(
            "  {what}: cp {cp:.3} s, transship {transship:.3} s, ratio {:.2}, peak anonymous memory {} KiB",
            transship / cp,
            peak
        );
    }
}

/// Time must grow no faster than the number of parameters.
fn many_small(scratch: &Path) {
    let mut last: Option<(usize, f64)> = None;
    for layers in [833, 8333] {
        let model = MegatronGpt2 {
            hidden: 8,
            heads: 2,
            layers,
            vocab: 64,
            positions: 16,
            dtype: Dtype::F32,
            version: Version::Is(3.0),
            args: true,
        };
        let input = scratch.join("many.pt");
        model.write(&input).expect("the checkpoint is written");
        let mut times = Vec::new();
        let mut peak = 0;
        for _ in 0..3 {
            let output = scratch.join("many");
            let (time, rss) = time_convert(&input, &output, false, &[]);
            times.push(time);
            peak = peak.max(rss);
            std::fs::remove_dir_all(output).expect("the output is there");
        }
        let (count, time) = (layers * 12 + 4, median(&mut times));
        print!("{count} small parameters: {time:.3} s, peak anonymous memory {peak} KiB");
        if let Some((fewer, before)) = last {
            let more =
                f64::from(u32::try_from(count).unwrap_or(0)) / f64::from(u32::try_from(fewer).unwrap_or(1));
            print!("; {more:.1} times as many took {:.1} times as long", time / before);
        }
        println!();
        last = Some((count, time));
    }
}

fn time_cp(input: &Path, output: &Path, sync: bool) -> f64 {
    let start = Instant::now();
    let status = Command::new("cp").arg(input).arg(output).status().expect("cp runs");
    assert!(status.success());
    if sync {
        let status = Command::new("sync").arg(output).status().expect("sync runs");
        assert!(status.success());
    }
    start.elapsed().as_secs_f64()
}

/// Seconds, and the peak of anonymous resident memory in KiB.
fn time_convert(input: &Path, output: &Path, sync: bool, more: &[&str]) -> (f64, u64) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_transship"));
    command.arg("convert").arg(input).arg(output).args(["--quiet", "--threads", "2"]).args(more);
    if !sync {
        command.arg("--no-sync");
    }
    let start = Instant::now();
    let mut child = command.stdout(Stdio::null()).spawn().expect("transship runs");
    let peak = watch(&mut child);
    let status = child.wait().expect("it ends");
    assert!(status.success());
    (start.elapsed().as_secs_f64(), peak)
}

fn watch(child: &mut Child) -> u64 {
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    while child.try_wait().expect("it can be asked").is_none() {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let anonymous = text.lines().find_map(|l| l.strip_prefix("RssAnon:"));
        let kib = anonymous.and_then(|l| l.trim().trim_end_matches(" kB").parse().ok());
        peak = peak.max(kib.unwrap_or(0));
        std::thread::sleep(Duration::from_millis(2));
    }
    peak
}

fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
