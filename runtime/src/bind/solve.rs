//! Sizes from equations: those of shapes, of names and of the mapping, then defaults, until nothing changes.

use transship_grammar as grammar;

use grammar::{Code, Diagnostic, Diagnostics, FieldId, Size, Span, Symbol, Value};

use super::shapes::{Evidence, SizeEquation};
use super::{Binding, Known, Origin};

/// `size = right`, or `size <= right` where the rest is padding.
struct Equation {
    left: Size,
    right: Size,
    padded: bool,
    origin: EquationOrigin,
    reported: bool,
}

#[derive(Clone)]
enum EquationOrigin {
    Stored(SizeEquation),
    Written(Span),
}

impl Binding<'_> {
    pub(super) fn solve(&mut self, stored: &[SizeEquation], diagnostics: &mut Diagnostics) {
        let written = self.mapping.config.equations.iter().map(|e| Equation {
            left: e.sides[0].clone(),
            right: e.sides[1].clone(),
            padded: false,
            origin: EquationOrigin::Written(e.span),
            reported: false,
        });
        let stored = stored.iter().map(|e| Equation {
            left: e.size.clone(),
            right: Size::constant(i64::try_from(e.stored).unwrap_or(i64::MAX)),
            padded: e.padded,
            origin: EquationOrigin::Stored(e.clone()),
            reported: false,
        });
        let mut equations: Vec<Equation> = stored.chain(written).collect();
        loop {
            self.propagate(&mut equations, diagnostics);
            if !self.next_default(diagnostics) {
                break;
            }
        }
        self.check_solved(&equations, diagnostics);
    }

    /// Solves each equation that has one unknown left, until none has.
    fn propagate(&mut self, equations: &mut [Equation], diagnostics: &mut Diagnostics) {
        let mut changed = true;
        while changed {
            changed = false;
            for equation in equations.iter_mut().filter(|e| !e.reported) {
                let difference = equation.left.minus(&equation.right);
                let unknown: Vec<Symbol> =
                    difference.symbols().into_iter().filter(|s| self.symbol(*s).is_none()).collect();
                match unknown.as_slice() {
                    [] => {
                        if let Some(diagnostic) = self.check_equation(equation) {
                            equation.reported = true;
                            diagnostics.push(diagnostic);
                        }
                    }
                    [Symbol::Field(field)] if !equation.padded => {
                        match self.solve_for(*field, &difference, equation) {
                            Ok(Some(known)) => {
                                self.values[field.index()] = Some(known);
                                changed = true;
                            }
                            Ok(None) => {}
                            Err(diagnostic) => {
                                equation.reported = true;
                                diagnostics.push(*diagnostic);
                            }
                        }
                    }
                    _ => {}
                }
            }
        }
    }

    fn solve_for(
        &self,
        field: FieldId,
        difference: &Size,
        equation: &Equation,
    ) -> Result<Option<Known>, Box<Diagnostic>> {
        let unknown = Symbol::Field(field);
        let Some((a, b)) = difference.linear_in(unknown, &|s| self.symbol(s)) else { return Ok(None) };
        if a == 0 {
            return Ok(None);
        }
        if b % a != 0 {
            return Err(Box::new(self.not_divisible(field, equation, -b, a)));
        }
        match i64::try_from(-b / a) {
            Ok(value) if value >= 0 => {
                Ok(Some(Known { value: Value::Int(value), origin: self.origin(equation) }))
            }
            _ => Err(Box::new(self.mismatch(equation))),
        }
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

    fn check_equation(&self, equation: &Equation) -> Option<Diagnostic> {
        let value = |size: &Size| size.evaluate(&|s| self.symbol(s));
        let (left, right) = (value(&equation.left), value(&equation.right));
        let (Some(left), Some(right)) = (left, right) else { return Some(self.mismatch(equation)) };
        if equation.padded && left > right {
            return Some(self.table_too_small(equation, left, right));
        }
        (left != right && !equation.padded).then(|| self.mismatch(equation))
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

    /// Every size must be known in the end.
    fn check_solved(&self, equations: &[Equation], diagnostics: &mut Diagnostics) {
        let mut reported: Vec<FieldId> = Vec::new();
        for equation in equations.iter().filter(|e| !e.reported) {
            for symbol in equation.left.symbols() {
                let Symbol::Field(field) = symbol else { continue };
                if self.values[field.index()].is_some() || reported.contains(&field) {
                    continue;
                }
                reported.push(field);
                let name = &self.mapping.field(field).name;
                diagnostics.push(
                    Diagnostic::error(
                        Code::UnknownValue,
                        self.mapping.field(field).span,
                        format!("`{name}` is not known"),
                        format!("looked for in {}, and the shapes do not tell it", self.sources_of(field)),
                    )
                    .note(self.describe(equation))
                    .help(format!("give it with `--set {name}=VALUE`")),
                );
            }
        }
    }

    // -------------------------------------------------------------- messages

    fn display(&self, size: &Size) -> String {
        size.display(&|s| self.mapping.symbol_name(s))
    }

    /// What an equation says, in words.
    fn describe(&self, equation: &Equation) -> String {
        let left = self.display(&equation.left);
        match &equation.origin {
            EquationOrigin::Written(_) => format!("{left} = {}", self.display(&equation.right)),
            EquationOrigin::Stored(stored) => match stored.from {
                Evidence::Dimension { tensor, dim, .. } => {
                    let tensor = &self.checkpoint.tensors()[tensor];
                    let relation = if equation.padded { "at most " } else { "" };
                    format!(
                        "`{}` has shape {:?}, so {left} is {relation}{} (dimension {})",
                        tensor.name,
                        tensor.shape,
                        stored.stored,
                        dim + 1
                    )
                }
                Evidence::Count { tensor, .. } => format!(
                    "names are numbered up to `{}`, so {left} is {}",
                    self.checkpoint.tensors()[tensor].name,
                    stored.stored
                ),
            },
        }
    }

    /// What is known of the values in an equation, and from where.
    fn sources(&self, equation: &Equation) -> Vec<String> {
        let symbols = [equation.left.symbols(), equation.right.symbols()].concat();
        symbols
            .into_iter()
            .filter_map(|symbol| {
                let Symbol::Field(field) = symbol else { return None };
                let known = self.values[field.index()].as_ref()?;
                Some(format!("{} = {}: {}", self.mapping.field(field).name, known.value, known.origin))
            })
            .collect()
    }

    fn place(&self, equation: &Equation) -> Span {
        match &equation.origin {
            EquationOrigin::Written(span) => *span,
            EquationOrigin::Stored(stored) => match stored.from {
                Evidence::Dimension { span, .. } | Evidence::Count { span, .. } => span,
            },
        }
    }

    fn with_sources(&self, mut diagnostic: Diagnostic, equation: &Equation) -> Diagnostic {
        for source in self.sources(equation) {
            diagnostic = diagnostic.note(source);
        }
        diagnostic.note(format!("in {}", self.file()))
    }

    fn mismatch(&self, equation: &Equation) -> Diagnostic {
        let (code, message) = match &equation.origin {
            EquationOrigin::Stored(_) if equation.left.symbols().is_empty() => {
                (Code::ShapeMismatch, self.describe(equation))
            }
            EquationOrigin::Stored(_) => {
                let value = equation.left.evaluate(&|s| self.symbol(s)).unwrap_or_default();
                let left = self.display(&equation.left);
                let is = if left == value.to_string() { left } else { format!("{left} = {value}") };
                (Code::ConfigConflict, format!("{}, but {is}", self.describe(equation)))
            }
            EquationOrigin::Written(_) => {
                let show = |size: &Size| {
                    let value = size.evaluate(&|s| self.symbol(s)).unwrap_or_default();
                    format!("{} is {value}", self.display(size))
                };
                (Code::ConfigConflict, format!("{}, but {}", show(&equation.left), show(&equation.right)))
            }
        };
        let diagnostic = Diagnostic::error(code, self.place(equation), message, "by this");
        self.with_sources(diagnostic, equation).help(self.way_out(equation))
    }

    /// Which value to correct: one that does not come from the tensors themselves.
    fn way_out(&self, equation: &Equation) -> String {
        let symbols = [equation.left.symbols(), equation.right.symbols()].concat();
        let doubtful = symbols.into_iter().find_map(|symbol| {
            let Symbol::Field(field) = symbol else { return None };
            let known = self.values[field.index()].as_ref()?;
            let from_tensors = matches!(known.origin, Origin::Shape { .. } | Origin::Counted(_));
            (!from_tensors).then(|| self.mapping.field(field).name.clone())
        });
        match doubtful {
            Some(name) => format!("if the config is wrong, give the right one with `--set {name}=VALUE`"),
            None => "the tensors contradict one another: the file is damaged, or of another architecture"
                .to_owned(),
        }
    }

    fn not_divisible(&self, field: FieldId, equation: &Equation, total: i128, divisor: i128) -> Diagnostic {
        let name = &self.mapping.field(field).name;
        let (total, divisor) = if divisor < 0 { (-total, -divisor) } else { (total, divisor) };
        let diagnostic = Diagnostic::error(
            Code::NotDivisible,
            self.place(equation),
            format!("{total} does not divide by {divisor}, so `{name}` has no value"),
            "by this",
        )
        .note(self.describe(equation));
        self.with_sources(diagnostic, equation).help(self.way_out(equation))
    }

    fn table_too_small(&self, equation: &Equation, wanted: i128, stored: i128) -> Diagnostic {
        let left = self.display(&equation.left);
        let name = match equation.left.symbols().as_slice() {
            [Symbol::Field(field)] => self.mapping.field(*field).name.clone(),
            _ => left.clone(),
        };
        let diagnostic = Diagnostic::error(
            Code::TableTooSmall,
            self.place(equation),
            format!("{left} is {wanted}, but only {stored} are stored"),
            "by this layout",
        )
        .note(self.describe(equation));
        self.with_sources(diagnostic, equation).help(format!(
            "give the right number with `--set {name}=N`; `--set {name}={stored}` keeps all that is stored"
        ))
    }
}
