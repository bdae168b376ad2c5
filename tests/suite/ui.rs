//! What the compiler says when a derive is wrong: each file of `ui/` with the full text.

use std::fs;
use std::path::Path;

/// Mapping files of the cases that are about files. The cases are compiled in a crate of their own under the target
/// directory, which is the crate that their paths are relative to.
const FILES: [(&str, &[u8]); 3] = [
    ("empty.mapping", b""),
    ("not_utf8.mapping", b"mapping latin1 : a <=> b\n// caf\xe9\n"),
    ("mistakes.mapping", b"mapping m : a <=> b\n\nx.weight [h]  <=>  y.weight [g]\nz  <=> w as f23\n"),
];

#[test]
fn mistakes_of_derives_are_told_in_full() {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("it lies in the target directory");
    let files = target.join("tests/trybuild").join(env!("CARGO_PKG_NAME")).join("files");
    fs::create_dir_all(&files).expect("the target directory can be written");
    for (name, bytes) in FILES {
        fs::write(files.join(name), bytes).expect("the target directory can be written");
    }
    trybuild::TestCases::new().compile_fail("ui/*.rs");
}
