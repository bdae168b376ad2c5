//! Checkpoints cut off anywhere, through the whole conversion.

use std::fs;
use std::path::PathBuf;

use crate::command::Workplace;
use crate::oracle::data;

/// Distance between the cuts in bytes; small enough to fall into every part of a file.
const STEP: usize = 512;

/// The inputs of all conversions.
fn checkpoints() -> Vec<PathBuf> {
    let mut all = Vec::new();
    for case in fs::read_dir(data("hf")).expect("test data") {
        for input in fs::read_dir(case.expect("test data").path().join("input")).expect("test data") {
            let path = input.expect("test data").path();
            if path.extension().is_some_and(|e| e == "pt" || e == "zip") {
                all.push(path);
            }
        }
    }
    all.sort();
    assert_eq!(all.len(), 6);
    all
}

#[test]
fn no_part_of_a_checkpoint_is_converted() {
    for path in checkpoints() {
        let bytes = fs::read(&path).expect("test data");
        let name = path.file_name().and_then(|n| n.to_str()).expect("a plain name");
        for length in (0..bytes.len()).step_by(STEP) {
            let workplace = Workplace::new();
            workplace.put(name, &bytes[..length]);
            let done =
                workplace.run(&["convert", &format!("@{name}"), "@out", "--no-sync", "--threads", "1"]);
            assert_eq!(done.code, 1, "{} cut to {length} bytes\n{}", path.display(), done.err);
            assert!(done.err.starts_with(&format!("error: cannot read DIR/{name}")), "{}", done.err);
            assert!(!workplace.path("out").exists(), "{} cut to {length} bytes", path.display());
        }
    }
}
