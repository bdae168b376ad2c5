//! Every kind of bad input to `transship convert`: what it says in full, and that it leaves nothing behind.

mod config;
mod files;
mod parameters;
mod pickles;
mod truncated;
mod usage;

use transship_tests::{MegatronGpt2, Py, TorchFile};

use crate::command::Workplace;

/// Converts with these words and checks that it fails with this text and without an output.
macro_rules! refused {
    ($name:literal, $workplace:expr, $args:expr) => {
        let text = $crate::bad_input::refusal(&$workplace, $args);
        insta::assert_snapshot!($name, text);
    };
}
use refused;

/// What the conversion says that must fail.
pub(crate) fn refusal(workplace: &Workplace, args: &[&str]) -> String {
    let line = [&["convert"], args, &["@out"]].concat();
    let done = workplace.run(&line);
    let shown = format!("$ transship {}\n{}", line.join(" ").replace(['@', '%'], ""), done.err);
    assert_eq!(done.code, 1, "{shown}{}", done.out);
    assert_eq!(done.out, "", "{shown}");
    assert!(!workplace.path("out").exists(), "something was written\n{shown}");
    shown
}

/// A small checkpoint in the making.
struct Made {
    file: TorchFile,
    root: Py,
}

/// Keys under which the layers lie.
const LAYERS: [&str; 3] = ["model", "language_model", "encoder"];

impl Made {
    fn of(model: &MegatronGpt2) -> Made {
        let (file, root) = model.build();
        Made { file, root }
    }

    fn set_arg(&mut self, name: &str, value: Py) {
        self.root.set(&["args", name], value);
    }

    fn layers(&mut self) -> &mut Vec<(String, Py)> {
        self.root.entries(&LAYERS)
    }

    /// Puts a tensor of another shape or dtype in the place of a parameter of the layers, or beside them.
    fn put(&mut self, name: &str, dtype: transship_tests::Dtype, shape: &[usize]) {
        let tensor = self.file.tensor(dtype, shape);
        self.root.set(&[&LAYERS[..], &[name]].concat(), tensor);
    }

    fn at(self, name: &str) -> Workplace {
        let workplace = Workplace::new();
        self.file.write(&workplace.path(name), &self.root).expect("the file can be written");
        workplace
    }
}

/// A workplace with `model.pt`, a small checkpoint with something changed.
fn changed(change: impl FnOnce(&mut Made)) -> Workplace {
    let mut made = Made::of(&MegatronGpt2::tiny());
    change(&mut made);
    made.at("model.pt")
}

/// The smallest checkpoint that converts, to be used where something else is wrong.
fn sound() -> Workplace {
    changed(|_| {})
}

#[test]
fn the_checkpoint_that_the_bad_ones_are_made_from_converts() {
    let workplace = sound();
    let done = workplace.run(&["convert", "@model.pt", "@out"]);
    assert_eq!(done.code, 0, "{}", done.err);
}
