//! What depends on the command being a process: its working directory, its signals, its limits.

#![cfg(unix)]

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

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
        assert!(text.contains("cannot read my.mapping: it is not a regular file"), "{text}");
    }
}

/// Names in a directory, hidden ones too.
fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).expect("a directory");
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// A directory with `large.safetensors`, which takes seconds to convert and no room: `wte` is a hole.
fn large() -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    let (rows, columns) = (300_000u64, 512u64);
    let bytes = rows * columns * 4;
    let header =
        format!(r#"{{"a.weight":{{"dtype":"F32","shape":[{rows},{columns}],"data_offsets":[0,{bytes}]}}}}"#);
    let file = std::fs::File::create(directory.path().join("large.safetensors")).expect("it can be made");
    let head = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes()].concat();
    std::io::Write::write_all(&mut &file, &head).expect("it can be written");
    file.set_len(head.len() as u64 + bytes).expect("it can be a hole");
    let mapping = "mapping turned : a <=> b\n\nconfig {\n    rows\n    columns\n}\n\na.weight [rows columns]  <=>  b.weight [columns rows]\n";
    std::fs::write(directory.path().join("my.mapping"), mapping).expect("it can be written");
    directory
}

const LARGE: [&str; 9] = [
    "convert",
    "large.safetensors",
    "out",
    "--mapping",
    "my.mapping",
    "--from",
    "a",
    "--no-sync",
    "--threads=1",
];

/// Starts a conversion of the large file and waits until some of it is written.
fn started(directory: &Path) -> Child {
    let mut child = transship(directory, &LARGE).stderr(Stdio::piped()).spawn().expect("transship runs");
    let start = Instant::now();
    while names(directory).len() < 3 {
        assert!(child.try_wait().expect("it can be asked").is_none(), "it ended early");
        assert!(start.elapsed() < Duration::from_secs(60), "it writes nothing");
        sleep(Duration::from_millis(5));
    }
    child
}

fn ended(mut child: Child) -> (ExitStatus, String) {
    let status = child.wait().expect("it ends");
    let mut text = String::new();
    let stderr = child.stderr.as_mut().expect("it is piped");
    std::io::Read::read_to_string(stderr, &mut text).expect("text");
    (status, text)
}

#[test]
fn a_signal_stops_the_writing_and_leaves_nothing() {
    let directory = large();
    let path = directory.path();
    let before = names(path);
    for (name, number) in [("INT", 2), ("TERM", 15), ("HUP", 1)] {
        let child = started(path);
        let killed = Command::new("kill").args([&format!("-{name}"), &child.id().to_string()]).status();
        assert!(killed.expect("kill runs").success());
        let (status, text) = ended(child);
        assert_eq!(status.signal(), Some(number), "{status} {text}");
        assert!(text.contains("interrupted; nothing was written"), "{text}");
        assert_eq!(names(path), before, "after {name}");
    }
}

#[test]
fn what_a_kill_leaves_is_removed_by_the_next_run() {
    let directory = large();
    let path = directory.path();
    let before = names(path);
    let mut child = started(path);
    child.kill().expect("it can be killed");
    ended(child);
    let left = names(path);
    assert_eq!(left.len(), before.len() + 1, "{left:?}");
    MegatronGpt2::tiny().write(&path.join("model.pt")).expect("the file can be written");
    let (code, text) = said(path, &["convert", "model.pt", "other"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("warning: removed ./.transship-partial-"), "{text}");
    assert!(!names(path).iter().any(|name| name.starts_with('.')), "{:?}", names(path));
}

#[test]
fn a_hangup_that_is_ignored_stays_so() {
    let directory = large();
    let path = directory.path();
    let line = format!("trap '' HUP; exec {} {}", env!("CARGO_BIN_EXE_transship"), LARGE.join(" "));
    let mut child = Command::new("sh").args(["-c", &line]).current_dir(path).spawn().expect("sh runs");
    let start = Instant::now();
    while names(path).len() < 3 && start.elapsed() < Duration::from_secs(60) {
        sleep(Duration::from_millis(5));
    }
    let killed = Command::new("kill").args(["-HUP", &child.id().to_string()]).status();
    assert!(killed.expect("kill runs").success());
    sleep(Duration::from_millis(300));
    let went_on = child.try_wait().expect("it can be asked").is_none_or(|status| status.success());
    child.kill().expect("it can be killed");
    child.wait().expect("it ends");
    assert!(went_on, "a signal that was ignored ended the run");
}

#[test]
fn a_limit_of_the_size_of_files_is_an_error_that_leaves_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path();
    MegatronGpt2::tiny().write(&path.join("model.pt")).expect("the file can be written");
    let line = format!("ulimit -f 8; exec {} convert model.pt out", env!("CARGO_BIN_EXE_transship"));
    let done = Command::new("sh").args(["-c", &line]).current_dir(path).output().expect("sh runs");
    let text = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(1), "{} {text}", done.status);
    assert!(text.contains("File too large"), "{text}");
    assert_eq!(names(path), ["model.pt"]);
}

// Other systems have no `/dev/full`.
#[cfg(target_os = "linux")]
#[test]
fn an_output_that_cannot_be_reported_is_written_and_no_failure() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path();
    MegatronGpt2::tiny().write(&path.join("model.pt")).expect("the file can be written");
    let full = std::fs::File::options().write(true).open("/dev/full").expect("Linux has it");
    let done = transship(path, &["convert", "model.pt", "out"]).stdout(full).stderr(Stdio::piped()).output();
    let done = done.expect("transship runs");
    let text = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(0), "{text}");
    assert!(text.contains("warning: out is written, but that could not be reported"), "{text}");
    assert_eq!(said(path, &["verify", "model.pt", "out"]).0, Some(0));
}

#[test]
fn an_output_onto_its_own_input_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path();
    MegatronGpt2::tiny().write(&path.join("model.pt")).expect("the file can be written");
    assert_eq!(said(path, &["convert", "model.pt", "hf"]).0, Some(0));
    assert_eq!(said(path, &["convert", "hf", "meg", "--to", "megatron", "--tp", "3"]).0, Some(0));
    for args in [
        &["convert", "hf", "hf", "--to", "megatron"][..],
        &["convert", "meg", "meg", "--to", "megatron"],
        &["convert", "meg", "./meg/../meg", "--to", "gpt2"],
    ] {
        let (code, text) = said(path, &[args, &["--force"]].concat());
        assert_eq!(code, Some(1), "{text}");
        assert!(text.contains("is what is converted and would be replaced"), "{text}");
    }
    let (code, text) = said(path, &["convert", "hf", "meg", "--to", "megatron"]);
    assert_eq!(code, Some(1));
    assert!(text.contains("already holds latest_checkpointed_iteration.txt, release"), "{text}");
    assert_eq!(said(path, &["convert", "hf", "meg", "--to", "megatron", "--force"]).0, Some(0));
    let (code, text) = said(path, &["verify", "hf", "meg"]);
    assert_eq!(code, Some(0), "{text}");
}
