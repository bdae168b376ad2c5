//! Parameters as a config describes them, without a checkpoint.

use transship_grammar as grammar;

use grammar::{Captures, Code, Diagnostic, Diagnostics, Mapping, SideId};

use crate::bind::{Binding, Setting};
use crate::plan::{LayoutSizes, StoredPart};

/// What one parameter is: its name, its shape, and what its dimensions are called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// Its name from the root of its side.
    pub name: String,
    /// Sizes, outermost first; none known where it is renamed as it lies.
    pub shape: Option<Vec<u64>>,
    /// The layout as a mapping writes it.
    pub layout: Option<String>,
    /// Whether it may be absent.
    pub optional: bool,
}

/// The parameters of a side, in the order of the mapping's rules, names of one rule by their numbers.
///
/// # Errors
/// Where the config contradicts the mapping's equations or leaves a size open.
pub fn specs(mapping: &Mapping, settings: &[Setting], side: SideId) -> Result<Vec<Spec>, Diagnostics> {
    let binding = Binding::of_config(mapping, settings, side)?;
    let mut diagnostics = Diagnostics::new(&mapping.source);
    let mut all = Vec::new();
    for rule in mapping.rules.iter().filter(|r| binding.may_hold(&r.guard)) {
        for stored in rule.sides[side.index()].iter().map(|e| &e.stored[0]) {
            if stored.name.stars() != (0, 0) {
                continue;
            }
            for key in binding.keys(&stored.name).into_iter().filter(|k| binding.holds(&rule.guard, k)) {
                let holes = Captures { indices: key.clone(), ..Captures::default() };
                let Some(name) = stored.name.render(&holes) else { continue };
                let layout = binding.layout(stored, &key);
                let sizes =
                    LayoutSizes { binding: &binding, key: &key, pads: Vec::new(), part: StoredPart::Whole };
                let shape = layout.map(|l| l.shape(&sizes));
                if shape == Some(None) {
                    diagnostics.push(Diagnostic::error(
                        Code::UnknownValue,
                        stored.span,
                        format!("the shape of `{name}` is not known"),
                        "the config leaves one of its axes without a size",
                    ));
                }
                let layout = layout.map(|l| mapping.display_layout(l));
                all.push(Spec { name, shape: shape.flatten(), layout, optional: rule.optional });
            }
        }
    }
    if diagnostics.has_errors() { Err(diagnostics) } else { Ok(all) }
}
