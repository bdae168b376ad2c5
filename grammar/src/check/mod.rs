//! The validator of the checked form. After it the boxes of each rule pair up for every size, every name
//! belongs to one rule, and what each direction writes is written once.

mod homes;
mod names;
mod pairs;
mod renames;

use crate::code::Code;
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::mapping::{FieldId, Mapping};
use crate::size::Symbol;
use crate::source::Span;

/// Checks all that needs no file. Findings go to `diagnostics`.
pub(crate) fn check_mapping(mapping: &Mapping, diagnostics: &mut Diagnostics) {
    pairs::check_pairs(mapping, diagnostics);
    homes::check_made_up(mapping, diagnostics);
    names::check_names(mapping, diagnostics);
    check_fields(mapping, diagnostics);
}

/// A mapping that moves nothing is a mistake; only sensible where nothing else was reported.
pub(crate) fn check_not_empty(mapping: &Mapping, diagnostics: &mut Diagnostics) {
    if mapping.rules.is_empty() {
        let end = mapping.source.text().trim_end().len();
        let place = Span::new(end.saturating_sub(1), end);
        diagnostics.push(
            Diagnostic::error(Code::NoRules, place, "this mapping has no rules", "the file ends here")
                .help("write at least one, such as `a.weight [out in] <=> b.weight [in out]`"),
        );
    }
}

/// A config value that nothing gives can only come from the user.
fn check_fields(mapping: &Mapping, diagnostics: &mut Diagnostics) {
    for (i, field) in mapping.config.fields.iter().enumerate() {
        let id = FieldId::from_index(i);
        let given = field.places.iter().any(|p| !p.is_empty())
            || field.computed.is_some()
            || field.defaults.iter().any(Option::is_some)
            || mapping
                .axes
                .iter()
                .any(|a| a.field == Some(id) || a.size.symbols().contains(&Symbol::Field(id)))
            || mapping
                .config
                .equations
                .iter()
                .any(|e| e.sides.iter().any(|s| s.symbols().contains(&Symbol::Field(id))));
        if !given {
            diagnostics.push(
                Diagnostic::warning(
                    Code::FieldWithoutSource,
                    field.span,
                    format!("nothing gives `{}` a value", field.name),
                    "no place, no default, no equation, and no axis of this name",
                )
                .help("give it a place or a default; as it is, only `--set` can"),
            );
        }
    }
}
