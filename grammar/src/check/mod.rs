//! The validator of the checked form. After it the boxes of each rule pair up for every size, every name
//! belongs to one rule, and what each direction writes is written once.

mod homes;
mod names;
mod pairs;
mod renames;

use std::collections::HashSet;

use crate::code::Code;
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::mapping::{FieldId, Mapping, Type};
use crate::size::{Size, Symbol};
use crate::source::Span;
use crate::value::{Expr, ExprKind, Value};

/// Checks all of the rules that needs no file. Findings go to `diagnostics`.
pub(crate) fn check_rules(mapping: &Mapping, diagnostics: &mut Diagnostics) {
    pairs::check_pairs(mapping, diagnostics);
    homes::check_made_up(mapping, diagnostics);
    homes::check_choices(mapping, diagnostics);
    names::check_names(mapping, diagnostics);
}

/// A mapping without any rule, be it one that cannot be converted yet, is a mistake; only sensible where nothing else was reported.
pub(crate) fn check_not_empty(mapping: &Mapping, diagnostics: &mut Diagnostics) {
    if mapping.rules.is_empty() && mapping.repr_rules.is_empty() {
        let end = mapping.source.text().trim_end().len();
        let place = Span::new(end.saturating_sub(1), end);
        diagnostics.push(
            Diagnostic::error(Code::NoRules, place, "this mapping has no rules", "the file ends here")
                .help("write at least one, such as `a.weight [out in] <=> b.weight [in out]`"),
        );
    }
}

/// A config value that nothing gives can only come from the user. Where something is wrong, what gives it may have been
/// left out for that.
pub(crate) fn check_fields(mapping: &Mapping, diagnostics: &mut Diagnostics) {
    if diagnostics.has_errors() {
        return;
    }
    let sizes = mapping.axes.iter().map(|axis| &axis.size);
    let sizes = sizes.chain(mapping.config.equations.iter().flat_map(|equation| &equation.sides));
    let mut sized: HashSet<FieldId> = mapping.axes.iter().filter_map(|axis| axis.field).collect();
    sized.extend(sizes.flat_map(Size::symbols).filter_map(|symbol| match symbol {
        Symbol::Field(field) => Some(field),
        Symbol::At(..) => None,
    }));
    for (i, field) in mapping.config.fields.iter().enumerate() {
        let given = field.places.iter().any(|p| !p.is_empty())
            || field.computed.is_some()
            || field.defaults.iter().any(Option::is_some)
            || sized.contains(&FieldId::from_index(i));
        let literal = |default: &Expr| {
            matches!(
                default.kind,
                ExprKind::Literal(Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Text(_))
            )
        };
        let typed = field.defaults.iter().flatten().any(literal);
        if field.ty == Type::Any
            && !field.stated
            && given
            && !typed
            && !sized.contains(&FieldId::from_index(i))
        {
            diagnostics.push(
                Diagnostic::warning(
                    Code::UntypedValue,
                    field.span,
                    format!("the type of `{}` is not known", field.name),
                    "any value is accepted",
                )
                .help(format!(
                    "give it one: `{}: int`, `float`, `bool`, `string`, `list`, or `any` for several of them",
                    field.name
                )),
            );
        }
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
