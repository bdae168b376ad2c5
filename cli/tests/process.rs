//! What depends on the command being a process: its working directory, its signals, its limits.

#![cfg(unix)]

use std::path::Path;
use std::process::{Command, Output};

use transship_tests::MegatronGpt2;

const SHIPPED: &str = "megatron_gpt2";

fn transship(directory: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_transship"));
    command.current_dir(directory).args(args);
    command
}

/// Runs a command line in a directory: its exit code and all that it says.
fn said(directory: &Path, args: &[&str]) -> (Option<i32>, String) {
    let Output { status, stdout, stderr } = transship(directory, args).output().expect("transship runs");
    (status.code(), String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned())
}

/// The text of the shipped mapping with q and k the other way round.
fn swapped() -> String {
    let text = transship_mappings::shipped(SHIPPED).expect("it is shipped").text;
    let swapped = text.replace("(heads@tp (q | k | v) head_dim)", "(heads@tp (k | q | v) head_dim)");
    assert_ne!(text, swapped);
    swapped
}

#[test]
fn a_file_of_a_shipped_name_does_not_stand_in_for_the_mapping() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path();
    MegatronGpt2::tiny().write(&path.join("model.pt")).expect("the file can be written");
    let convert = |output: &str, more: &[&str]| {
        let done = said(path, &[&["convert", "model.pt", output], more].concat());
        assert_eq!(done.0, Some(0), "{}", done.1);
        std::fs::read(path.join(output).join("model.safetensors")).expect("an output")
    };
    let right = convert("right", &[]);
    let wrong_text = swapped();
    for name in [SHIPPED, "mcore_gpt2"] {
        std::fs::write(path.join(name), &wrong_text).expect("the file can be written");
    }
    assert!(convert("chosen", &[]) == right, "a file took the place of the mapping that was chosen");
    assert!(convert("named", &["--mapping", SHIPPED]) == right, "a file took the place of the named mapping");
    // Compared by the shipped mapping, what the file's would make differs.
    assert!(convert("by_path", &["--mapping", &format!("./{SHIPPED}")]) != right);
    let (code, text) = said(path, &["verify", "model.pt", "by_path"]);
    assert_eq!(code, Some(1), "{text}");
    assert_eq!(said(path, &["verify", "model.pt", "chosen"]).0, Some(0));
}

#[test]
fn a_plain_name_is_a_file_only_where_files_are_asked_for() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path();
    MegatronGpt2::tiny().write(&path.join("model.pt")).expect("the file can be written");
    let text = transship_mappings::shipped(SHIPPED).expect("it is shipped").text;
    for name in ["mine", SHIPPED] {
        std::fs::write(path.join(name), text.replace("hidden", "width")).expect("the file can be written");
    }
    let (code, text) = said(path, &["convert", "model.pt", "out", "--mapping", "mine"]);
    assert_eq!(code, Some(1));
    assert!(
        text.contains("there is no shipped mapping mine; to use the file of that name, write ./mine"),
        "{text}"
    );
    let (code, text) = said(path, &["check", "mine"]);
    assert!(text.contains("mine"), "{code:?} {text}");
    let (code, text) = said(path, &["check", SHIPPED]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("for the file of that name, write ./megatron_gpt2"), "{text}");
}

#[test]
fn a_pipe_of_a_mapping_s_name_is_not_waited_for() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path();
    MegatronGpt2::tiny().write(&path.join("model.pt")).expect("the file can be written");
    for name in [SHIPPED, "my.mapping"] {
        let made = Command::new("mkfifo").arg(path.join(name)).status().expect("mkfifo runs");
        assert!(made.success());
    }
    let (code, text) = said(path, &["convert", "model.pt", "out"]);
    assert_eq!(code, Some(0), "{text}");
    for args in [
        &["convert", "model.pt", "other", "--mapping", "my.mapping"][..],
        &["check", "my.mapping"],
        &["expand", "my.mapping"],
    ] {
        let (code, text) = said(path, args);
        assert_eq!(code, Some(1), "{text}");
        assert!(text.contains("cannot read my.mapping: a mapping must be a file"), "{text}");
    }
}
