//! Sizes from equations: those of shapes, of names and of the mapping, then defaults, until nothing changes.

use transship_grammar as grammar;

use grammar::{Diagnostics, FieldId, Size, Span, Symbol, Value};

use super::shapes::{Evidence, SizeEquation};
use super::{Binding, Known, Origin};

/// `left = right`, or `left <= right` where the rest is padding.
pub(super) struct Equation {
    pub(super) left: Size,
    pub(super) right: Size,
    pub(super) padded: bool,
    pub(super) origin: EquationOrigin,
}

#[derive(Clone)]
pub(super) enum EquationOrigin {
    Stored(SizeEquation),
    Written(Span),
}

impl Binding<'_> {
    /// Takes what shapes and names tell, and nothing else.
    pub(super) fn solve_by_shapes(&mut self, stored: &[SizeEquation]) {
        let equations = self.equations(stored);
        self.propagate(&equations);
    }

    pub(super) fn solve(&mut self, stored: &[SizeEquation], diagnostics: &mut Diagnostics) {
        let equations = self.equations(stored);
        loop {
            self.propagate(&equations);
            if !self.next_default(diagnostics) {
                break;
            }
        }
        self.judge(&equations, diagnostics);
    }

    fn equations(&self, stored: &[SizeEquation]) -> Vec<Equation> {
        let written = self.mapping.config.equations.iter().map(|e| Equation {
            left: e.sides[0].clone(),
            right: e.sides[1].clone(),
            padded: false,
            origin: EquationOrigin::Written(e.span),
        });
        let stored = stored.iter().map(|e| Equation {
            left: e.size.clone(),
            right: Size::constant(i64::try_from(e.stored).unwrap_or(i64::MAX)),
            padded: e.padded,
            origin: EquationOrigin::Stored(e.clone()),
        });
        stored.chain(written).collect()
    }

    /// Solves each equation that has one unknown left, until none has. What contradicts itself stays unsolved.
    fn propagate(&mut self, equations: &[Equation]) {
        let mut changed = true;
        while changed {
            changed = false;
            for equation in equations.iter().filter(|e| !e.padded) {
                if let [field] = self.unknown(equation).as_slice()
                    && let Some(known) = self.solve_for(*field, equation)
                {
                    self.values[field.index()] = Some(known);
                    changed = true;
                }
            }
        }
    }

    /// The config values in an equation that are not known.
    pub(super) fn unknown(&self, equation: &Equation) -> Vec<FieldId> {
        let symbols = [equation.left.symbols(), equation.right.symbols()].concat();
        let mut fields: Vec<FieldId> = symbols
            .into_iter()
            .filter_map(|symbol| match symbol {
                Symbol::Field(field) if self.symbol(symbol).is_none() => Some(field),
                _ => None,
            })
            .collect();
        fields.sort_unstable();
        fields.dedup();
        fields
    }

    fn solve_for(&self, field: FieldId, equation: &Equation) -> Option<Known> {
        let difference = equation.left.minus(&equation.right);
        let (a, b) = difference.linear_in(Symbol::Field(field), &|s| self.symbol(s))?;
        if b.checked_rem(a)? != 0 {
            return None;
        }
        let value = i64::try_from(b.checked_neg()?.checked_div(a)?).ok().filter(|value| *value >= 0)?;
        Some(Known { value: Value::Int(value), origin: self.origin(equation) })
    }

    fn origin(&self, equation: &Equation) -> Origin {
        match &equation.origin {
            EquationOrigin::Written(span) => Origin::Equation(self.mapping.source.slice(*span).to_owned()),
            EquationOrigin::Stored(stored) => match stored.from {
                Evidence::Dimension { tensor, .. } => {
                    let tensor = &self.checkpoint.tensors()[tensor];
                    Origin::Shape { tensor: tensor.name.clone(), shape: tensor.shape.clone() }
                }
                Evidence::Count { tensor, .. } => {
                    Origin::Counted(self.checkpoint.tensors()[tensor].name.clone())
                }
            },
        }
    }

    /// Gives the first value that is still not known its default; that may solve others.
    fn next_default(&mut self, diagnostics: &mut Diagnostics) -> bool {
        for i in 0..self.values.len() {
            if self.values[i].is_none() {
                let field = FieldId(u32::try_from(i).unwrap_or(u32::MAX));
                if self.take_default(field, diagnostics) {
                    return true;
                }
            }
        }
        false
    }
}
