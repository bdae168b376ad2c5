//! The crate of a user in `examples/downstream`: built and tested as a crate of its own, and rebuilt when its mapping
//! changes.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests lie in the repository")
}

/// A directory of this workspace's target directory.
fn target(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("it lies in the target directory").join(name)
}

/// Runs cargo on another crate, without the network where that suffices.
fn cargo(command: &str, manifest: &Path, more: &[&str]) -> Output {
    let run = |offline: &[&str]| {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.arg(command).arg("--manifest-path").arg(manifest).args(offline).args(more);
        cargo.env("CARGO_TARGET_DIR", target("downstream")).env("CARGO_PROFILE_DEV_DEBUG", "0");
        cargo.env("CARGO_TERM_COLOR", "never").env("INSTA_UPDATE", "no").env_remove("INSTA_FORCE_PASS");
        cargo.output().unwrap_or_else(|error| panic!("cargo does not start: {error}"))
    };
    let output = run(&["--offline"]);
    if messages(&output).contains("--offline") { run(&[]) } else { output }
}

fn messages(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn the_example_builds_and_its_tests_pass() {
    let output = cargo("test", &repository().join("examples/downstream/Cargo.toml"), &[]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", messages(&output));
    assert!(said.contains("the_example_stays_what_it_is ... ok"), "{said}");
}

/// A copy of the example that can be edited, without its tests.
fn copy_of_the_example() -> PathBuf {
    let (from, to) = (repository().join("examples/downstream"), target("tmp").join("rebuilt"));
    // What an earlier run left; nothing is there on the first.
    let _ = std::fs::remove_dir_all(&to);
    std::fs::create_dir_all(to.join("src")).expect("a directory");
    for file in ["Cargo.lock", "example.mapping", "src/lib.rs", "src/model.rs"] {
        std::fs::copy(from.join(file), to.join(file)).expect("the example has this file");
    }
    let manifest = std::fs::read_to_string(from.join("Cargo.toml")).expect("a manifest");
    let runtime = format!("{:?}", repository().join("runtime"));
    let manifest = manifest
        .replace("name = \"downstream\"", "name = \"rebuilt\"")
        .replace("\"../../runtime\"", &runtime);
    std::fs::write(to.join("Cargo.toml"), manifest).expect("it can be written");
    to
}

fn build(folder: &Path) -> (bool, String) {
    let output = cargo("build", &folder.join("Cargo.toml"), &[]);
    (output.status.success(), messages(&output))
}

#[test]
fn an_edit_of_the_mapping_leads_to_a_rebuild() {
    let folder = copy_of_the_example();
    let mapping = folder.join("example.mapping");
    let text = std::fs::read_to_string(&mapping).expect("a mapping");
    let (built, said) = build(&folder);
    assert!(built, "{said}");
    let read = std::fs::read_to_string(target("downstream").join("debug/librebuilt.d")).expect("dep-info");
    assert!(read.contains("example.mapping"), "the compiler says it read {read}");
    let (built, said) = build(&folder);
    assert!(built && !said.contains("Compiling rebuilt"), "nothing has changed: {said}");

    std::fs::write(&mapping, format!("{text}\n// A remark.\n")).expect("it can be written");
    let (built, said) = build(&folder);
    assert!(built && said.contains("Compiling rebuilt"), "{said}");

    std::fs::write(&mapping, text.replace("[hidden experts]", "[hiden experts]")).expect("it can be written");
    let (built, said) = build(&folder);
    assert!(!built && said.contains("did you mean `hidden`?"), "{said}");
    assert!(said.contains("example.mapping:17:"), "{said}");
}

/// The packages that a crate with these features of transship compiles.
fn packages(features: &[&str]) -> Vec<String> {
    let manifest = repository().join("runtime/Cargo.toml");
    let output =
        cargo("tree", &manifest, &[&["--edges", "normal,build", "--prefix", "none"], features].concat());
    assert!(output.status.success(), "{}", messages(&output));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut names: Vec<String> = said.lines().filter_map(|l| Some(l.split(' ').next()?.to_owned())).collect();
    names.sort();
    names.dedup();
    names
}

#[test]
fn who_only_converts_compiles_no_code_generation_and_no_candle() {
    let is_heavy = |name: &&String| {
        ["transship-macros", "transship-codegen", "prettyplease", "insta"].contains(&name.as_str())
            || name.starts_with("candle")
    };
    let lean = packages(&["--no-default-features"]);
    assert!(lean.contains(&"transship-grammar".to_owned()), "{lean:?}");
    assert_eq!(lean.iter().filter(is_heavy).collect::<Vec<_>>(), Vec::<&String>::new());
    let usual = packages(&[]);
    assert!(usual.contains(&"transship-macros".to_owned()), "{usual:?}");
    assert!(!usual.iter().any(|name| name.starts_with("candle") || name == "insta"), "{usual:?}");
}
