//! `transship run`: what it says, and what it does where it cannot.

use crate::command::{Done, Workplace};

const HUGGING_FACE: &str = "%hf/b_v1_fp32_args/expected";

fn said(done: &Done) -> String {
    format!("{}--- messages ---\n{}", done.out, done.err)
}

fn fails(args: &[&str], code: u8) -> String {
    let done = Workplace::new().run(&[&["run"], args].concat());
    assert_eq!(done.code, code, "{args:?}\n{}", said(&done));
    assert_eq!(done.out, "", "{args:?}");
    done.err
}

#[test]
fn help_says_what_run_does() {
    let done = Workplace::new().run(&["run", "--help"]);
    assert_eq!(done.code, 0);
    insta::assert_snapshot!("run_help", done.out);
}

#[test]
fn what_is_wrong_shows_before_the_model_is_loaded() {
    insta::assert_snapshot!("run_without_a_tokenizer", fails(&[HUGGING_FACE, "--prompt", "a"], 1));
    insta::assert_snapshot!(
        "run_on_a_device_of_no_name",
        fails(&[HUGGING_FACE, "--ids", "1", "--device", "gpu"], 1)
    );
    let told = fails(&[HUGGING_FACE, "--prompt", "a", "--tokenizer", "@nothing"], 1);
    assert!(told.contains("cannot read the tokenizer"), "{told}");
    let wrong: [&[&str]; 4] = [
        &[HUGGING_FACE],
        &[HUGGING_FACE, "--prompt", "a", "--ids", "1"],
        &[HUGGING_FACE, "--ids", "1,x"],
        &[HUGGING_FACE, "--ids", "1", "--dtype", "i8"],
    ];
    for args in wrong {
        fails(args, 2);
    }
}
