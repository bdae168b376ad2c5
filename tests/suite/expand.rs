//! The code that the derive generates, as `transship expand` prints it.

use std::ffi::OsString;
use std::path::Path;

use transship_cli::{FAILED, OK, Terminal, USAGE, run};

/// Exit code, results and messages of a command line.
fn transship(args: &[&str]) -> (u8, String, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let args = ["transship"].iter().chain(args).map(OsString::from);
    let code = run(args, &mut out, &mut err, Terminal::default());
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (code, text(out), text(err))
}

fn corpus(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("mappings/ok").join(name).display().to_string()
}

fn expanded(mapping: &str) -> String {
    let (code, out, err) = transship(&["expand", mapping]);
    assert_eq!((code, err.as_str()), (OK, ""), "{mapping}");
    // The path of the mapping's file stands in the docs of what is generated.
    out.replace(mapping, Path::new(mapping).file_name().and_then(|n| n.to_str()).unwrap_or(mapping))
}

#[test]
fn the_shipped_mappings() {
    for shipped in transship_mappings::SHIPPED {
        insta::assert_snapshot!(shipped.name, expanded(shipped.name));
    }
}

#[test]
fn small_mappings() {
    let names =
        ["experts_in_a_name_against_memory", "gate_and_up", "optional_parameters", "config_of_every_form"];
    for name in names {
        insta::assert_snapshot!(name, expanded(&corpus(&format!("{name}.mapping"))));
    }
}

#[test]
fn two_runs_print_the_same_bytes() {
    for shipped in transship_mappings::SHIPPED {
        assert_eq!(expanded(shipped.name), expanded(shipped.name), "{}", shipped.name);
    }
}

#[test]
fn names_that_no_code_is_made_of_are_a_failure_and_told_where_they_are() {
    let mapping = corpus("names_that_no_code_is_made_of.mapping");
    let (code, out, err) = transship(&["expand", &mapping]);
    assert_eq!((code, out.as_str()), (FAILED, ""));
    assert!(
        err.contains("error[TS0409]")
            && err.contains("`norm.bias` and another name of this side cannot both be fields"),
        "{err}"
    );
    let (code, out, err) = transship(&["check", &mapping]);
    assert_eq!(code, OK, "{out}");
    assert!(err.contains("warning[TS0409]"), "{err}");
}

#[test]
fn the_struct_is_called_as_asked_for() {
    let (code, out, _) = transship(&["expand", "megatron_gpt2", "--name", "Gpt2Port"]);
    assert_eq!(code, OK);
    assert!(out.contains("pub mod gpt2_port {") && out.contains("for Gpt2Port {"), "{out}");
    assert!(out.starts_with("// What `#[derive(Port)]` on `pub struct Gpt2Port;` generates"), "{out}");
    assert!(out.lines().nth(1).is_some_and(|line| line.contains("`gpt2_port`")), "{out}");
    let (code, out, err) = transship(&["expand", "megatron_gpt2", "--name", "gpt 2"]);
    assert_eq!((code, out.as_str()), (USAGE, ""));
    assert!(err.contains("`gpt 2` is no name of a Rust struct"), "{err}");
}

#[test]
fn mistakes_are_told_like_those_of_check() {
    let (code, out, err) = transship(&["expand", "megatron_gtp2"]);
    assert_eq!((code, out.as_str()), (FAILED, ""));
    assert!(err.contains("did you mean `megatron_gpt2`?"), "{err}");
    let wrong = Path::new(env!("CARGO_MANIFEST_DIR")).join("mappings/err/axis_misspelt.mapping");
    let (code, out, err) = transship(&["expand", &wrong.display().to_string()]);
    assert_eq!((code, out.as_str()), (FAILED, ""));
    assert!(err.contains("did you mean") && err.contains("transship explain"), "{err}");
}

#[test]
fn a_model_without_code_is_left_out_with_a_warning() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("m.mapping");
    let text = "\
mapping m : a <=> b

config {
    rows
    columns
}

w [rows columns]  <=>  w [rows columns]

model m over a (ids [batch seq] in rows, gain? [batch]) -> y [batch seq columns] {
    w[ids] * gain
}
";
    std::fs::write(&file, text).expect("written");
    let (code, out, err) = transship(&["expand", &file.display().to_string()]);
    assert_eq!(code, OK, "{err}");
    assert!(out.contains("pub struct Config") && !out.contains("mod model"), "{out}");
    assert!(err.starts_with("warning[TS0601]") && err.contains("the model is left out"), "{err}");
}
