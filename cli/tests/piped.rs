//! Mappings that are piped in, as editors do.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

const UNTIDY: &str = "mapping m:a<=>b\nconfig{n=args.n<=>n}\nw[n]<=>w[n]\n";
const TIDY: &str = "mapping m : a <=> b\nconfig {\n    n = args.n <=> n\n}\nw [n]  <=>  w [n]\n";

fn transship(args: &[&str], text: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_transship"))
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command starts");
    child.stdin.take().expect("it is piped").write_all(text.as_bytes()).expect("it is read");
    child.wait_with_output().expect("the command ends")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("text")
}

#[test]
fn a_mapping_that_is_piped_in_is_checked() {
    let right = transship(&["check", "-"], TIDY);
    assert_eq!((right.status.code(), text(&right.stdout)), (Some(0), "-: a <=> b, 1 rule, invertible\n"));
    let wrong = transship(&["check", "--format", "short", "-"], &TIDY.replace("w [n]\n", "w [m]\n"));
    assert_eq!(wrong.status.code(), Some(1));
    assert!(text(&wrong.stderr).starts_with("<stdin>:5:16: error[TS0104]: unknown axis `m`"), "{wrong:?}");
}

#[test]
fn a_mapping_that_is_piped_in_comes_out_formatted() {
    let done = transship(&["fmt", "-"], UNTIDY);
    assert_eq!((done.status.code(), text(&done.stdout)), (Some(0), TIDY));
    let again = transship(&["fmt", "-"], TIDY);
    assert_eq!((again.status.code(), text(&again.stdout)), (Some(0), TIDY));
    let checked = transship(&["fmt", "--check", "-"], UNTIDY);
    assert_eq!((checked.status.code(), text(&checked.stdout)), (Some(1), ""));
}
