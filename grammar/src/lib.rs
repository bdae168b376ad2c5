//! The mapping language of transship: text in, checked form out.
//!
//! A `.mapping` file says how one model is stored in two checkpoints. [`check`] reads it, resolves it and proves
//! what can be proved without a file; the [`Mapping`] it returns is all that conversion and code generation need.

#![forbid(unsafe_code)]

mod ast;
mod budget;
mod check;
mod code;
mod diagnostic;
mod escaped;
mod format;
mod import;
mod layout;
mod mapping;
pub mod model;
mod parse;
mod reflect;
mod render;
mod resolve;
mod size;
mod source;
mod template;
#[cfg(test)]
mod tests;
mod value;
mod walk;

pub use code::Code;
pub use diagnostic::{Diagnostic, Diagnostics, Label, Severity, nearest};
pub use escaped::escaped;
pub use format::format;
pub use import::{Found, Imported, Target, beside, check_library};
pub use layout::{
    Arm, AxisUse, Box as LayoutBox, BoxAxis, Factor, Labels, Layout, Padding, Placed, Sizes, Sum,
    SymbolicBox, Unplaced,
};
pub use mapping::{
    Affine, Axis, AxisId, Choice, ChoiceId, Config, Direction, Document, Drop, Emit, EmitValue, Entry,
    Equation, Family, Field, FieldId, Fill, Format, Guard, Ignored, Mapping, Note, Plain, Rank, RankEnd,
    RankId, Replicas, Require, Rule, Side, SideId, Stored, Tie, Type, Write, place_in,
};
pub use render::{Style, render, render_one};
pub use size::{Size, Symbol};
pub use source::{Source, Span};
pub use template::{Captures, IndexPart, Part, Template};
pub use value::{
    BlocksWord, Environment, EvalError, Expr, ExprKind, Operator, Pattern, PatternChoice, Value,
};
pub use walk::KernelOrder;

/// Parses, resolves and checks a mapping.
///
/// The mapping comes with the warnings found. What it imports must have been found by [`Source::load`].
///
/// # Errors
/// All independent mistakes, and the warnings among them, sorted by place.
pub fn check(source: &Source) -> Result<(Mapping, Diagnostics), Diagnostics> {
    let mut diagnostics = Diagnostics::new(source);
    let (file, errors) = parse::parse_recovering(&source.parts()[0]);
    errors.into_iter().for_each(|e| diagnostics.push(e));
    let Some(mut file) = file else { return Err(diagnostics) };
    let Some(sides) = file.sides.clone() else {
        diagnostics.push(import::library_alone(&file));
        return Err(diagnostics);
    };
    // What is not there may declare anything.
    if !import::expand_imports(&mut file, source, &mut diagnostics) {
        diagnostics.sort();
        return Err(diagnostics);
    }
    let mapping = resolve::resolve(&file, &sides, source, &mut diagnostics);
    check::check_fields(&mapping, &mut diagnostics);
    if !diagnostics.has_errors() {
        check::check_not_empty(&mapping, &mut diagnostics);
    }
    diagnostics.sort();
    if diagnostics.has_errors() { Err(diagnostics) } else { Ok((mapping, diagnostics)) }
}
