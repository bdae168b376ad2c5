//! Equations that do not hold: whose fault it is, told once.
//!
//! A config value that some tensor confirms is right, and a tensor that disagrees with it is the odd one. A value
//! that no tensor confirms is in doubt; all equations it breaks are one mistake.

use std::collections::{BTreeMap, BTreeSet};

use transship_grammar as grammar;

use grammar::{Code, Diagnostic, Diagnostics, FieldId, Size, Span, Symbol, Value};

use super::shapes::Evidence;
use super::solve::{Equation, EquationOrigin};
use super::{Binding, Origin};

impl Binding<'_> {
    /// Every size is known, and all equations hold.
    pub(super) fn judge(&self, equations: &[Equation], diagnostics: &mut Diagnostics) {
        let confirmed = self.confirmed(equations);
        let mut blamed = BTreeSet::new();
        self.judge_unsolved(equations, &confirmed, &mut blamed, diagnostics);
        let mut failing: Vec<&Equation> = equations.iter().filter(|e| self.fails(e)).collect();
        // The plainest evidence first: one value and one tensor.
        failing.sort_by_key(|e| (e.stored().is_none(), e.left.symbols().len()));
        let mut odd: BTreeMap<usize, Vec<&Equation>> = BTreeMap::new();
        for equation in failing {
            // Where another tensor says the same size otherwise, one of the two is odd, not the config.
            let settled = equation.stored().is_some()
                && equations.iter().any(|e| e.left == equation.left && self.confirms(e));
            let doubtful = if settled { Vec::new() } else { self.doubtful(equation, &confirmed) };
            if doubtful.iter().any(|field| blamed.contains(field)) {
                continue;
            }
            match equation.dimension() {
                _ if equation.padded => diagnostics.push(self.table_too_small(equation, &doubtful)),
                Some((tensor, _)) if doubtful.is_empty() => odd.entry(tensor).or_default().push(equation),
                _ => diagnostics.push(self.conflict(equation, &doubtful)),
            }
            blamed.extend(doubtful);
        }
        for (tensor, equations) in odd {
            diagnostics.push(self.odd_shape(tensor, &equations));
        }
    }

    fn fails(&self, equation: &Equation) -> bool {
        let by_index = |size: &Size| size.symbols().iter().any(|s| matches!(s, Symbol::At(..)));
        if !self.unknown(equation).is_empty() || by_index(&equation.left) || by_index(&equation.right) {
            return false;
        }
        match (self.amount(&equation.left), self.amount(&equation.right)) {
            (Some(left), Some(right)) if equation.padded => left > right || (left == 0 && right > 0),
            (Some(left), Some(right)) => left != right,
            _ => true,
        }
    }

    fn amount(&self, size: &Size) -> Option<i128> {
        size.evaluate(&|s| self.symbol(s))
    }

    /// Whether a tensor says just what is known.
    fn confirms(&self, equation: &Equation) -> bool {
        equation.stored().is_some()
            && !equation.padded
            && self.unknown(equation).is_empty()
            && !self.fails(equation)
    }

    /// Values that a stored dimension or the numbers in names say alone, just as they are known.
    fn confirmed(&self, equations: &[Equation]) -> BTreeSet<FieldId> {
        let holding = equations.iter().filter(|e| self.confirms(e));
        holding.filter_map(|e| single(&e.left)).collect()
    }

    /// Values in an equation that come from outside the tensors and that none of them confirms.
    fn doubtful(&self, equation: &Equation, confirmed: &BTreeSet<FieldId>) -> Vec<FieldId> {
        let symbols = [equation.left.symbols(), equation.right.symbols()].concat();
        let fields = symbols.into_iter().filter_map(|symbol| match symbol {
            Symbol::Field(field) => Some(field),
            Symbol::At(..) => None,
        });
        let mut fields: Vec<FieldId> = fields
            .filter(|field| !confirmed.contains(field))
            .filter(|field| {
                self.values[field.index()].as_ref().is_some_and(|known| {
                    !matches!(known.origin, Origin::Shape { .. } | Origin::Counted(_) | Origin::Equation(_))
                })
            })
            .collect();
        fields.dedup();
        fields
    }

    /// Values that no equation gives: because one has no solution, or because nothing says anything.
    fn judge_unsolved(
        &self,
        equations: &[Equation],
        confirmed: &BTreeSet<FieldId>,
        blamed: &mut BTreeSet<FieldId>,
        diagnostics: &mut Diagnostics,
    ) {
        let mut reported = BTreeSet::new();
        let mut in_order: Vec<&Equation> = equations.iter().collect();
        in_order.sort_by_key(|e| e.stored().is_some());
        for equation in in_order.iter().filter(|e| !e.padded) {
            let [field] = self.unknown(equation)[..] else { continue };
            let difference = equation.left.minus(&equation.right);
            let Some((a, b)) = difference.linear_in(Symbol::Field(field), &|s| self.symbol(s)) else {
                continue;
            };
            if (a == 0 && b == 0) || !reported.insert(field) {
                continue;
            }
            let doubtful = self.doubtful(equation, confirmed);
            // Where the least number is divided by -1 the quotient is too large, but there is no rest.
            diagnostics.push(if a != 0 && b.checked_rem(a).is_some_and(|rest| rest != 0) {
                self.not_divisible(field, equation, (b.unsigned_abs(), a.unsigned_abs()), &doubtful)
            } else {
                self.conflict(equation, &doubtful)
            });
            blamed.extend(doubtful);
        }
        for equation in equations {
            for field in self.unknown(equation) {
                if reported.insert(field) {
                    diagnostics.push(self.not_known(field, equation));
                }
            }
        }
    }

    // -------------------------------------------------------------- messages

    fn not_known(&self, field: FieldId, equation: &Equation) -> Diagnostic {
        let name = &self.mapping.field(field).name;
        let diagnostic = Diagnostic::error(
            Code::UnknownValue,
            self.mapping.field(field).span,
            format!("`{name}` is not known"),
            format!("looked for in {}, and the shapes do not tell it", self.sources_of(field)),
        )
        .note(self.describe(equation));
        self.with_documents(diagnostic)
            .note(format!("in {}", self.file()))
            .help(format!("give it with `--set {name}=VALUE`"))
    }

    fn display(&self, size: &Size) -> String {
        size.display(&|s| self.mapping.symbol_name(s))
    }

    /// What an equation says, in words.
    fn describe(&self, equation: &Equation) -> String {
        self.describe_as(equation, "is")
    }

    fn describe_as(&self, equation: &Equation, is: &str) -> String {
        let left = self.display(&equation.left);
        let Some(stored) = equation.stored() else {
            return format!("{left} = {}", self.display(&equation.right));
        };
        match stored.from {
            Evidence::Dimension { tensor, dim, .. } => {
                let tensor = &self.checkpoint.tensors()[tensor];
                let relation = if equation.padded { "at most " } else { "" };
                let which =
                    if tensor.shape.len() > 1 { format!(" (dimension {})", dim + 1) } else { String::new() };
                let (name, shape) = (&tensor.name, &tensor.shape);
                format!("`{name}` has shape {shape:?}, so {left} {is} {relation}{}{which}", stored.stored)
            }
            Evidence::Count { tensor, .. } => format!(
                "names are numbered up to `{}`, so {left} {is} {}",
                self.checkpoint.tensors()[tensor].name,
                stored.stored
            ),
        }
    }

    /// What is known of the values in equations, and from where.
    fn with_sources(&self, mut diagnostic: Diagnostic, equations: &[&Equation]) -> Diagnostic {
        let symbols = equations.iter().flat_map(|e| [e.left.symbols(), e.right.symbols()].concat());
        let mut told = BTreeSet::new();
        for symbol in symbols {
            let Symbol::Field(field) = symbol else { continue };
            if let Some(known) = self.values[field.index()].as_ref()
                && told.insert(field)
            {
                let name = &self.mapping.field(field).name;
                diagnostic = diagnostic.note(format!("{name} = {}: {}", known.value, known.origin));
            }
        }
        diagnostic.note(format!("in {}", self.file()))
    }

    fn place(&self, equation: &Equation) -> Span {
        match &equation.origin {
            EquationOrigin::Written(span) => *span,
            EquationOrigin::Stored(stored) => match stored.from {
                Evidence::Dimension { span, .. } | Evidence::Count { span, .. } => span,
            },
        }
    }

    fn conflict(&self, equation: &Equation, doubtful: &[FieldId]) -> Diagnostic {
        let value = |size: &Size| self.amount(size).map_or_else(|| "too large".to_owned(), |n| n.to_string());
        let left = self.display(&equation.left);
        let message = match equation.stored() {
            Some(_) if equation.left.symbols().is_empty() => self.describe(equation),
            Some(_) if self.unknown(equation).is_empty() => {
                format!("{}, but it is {}", self.describe_as(equation, "must be"), value(&equation.left))
            }
            Some(_) => format!("{}, which cannot be", self.describe(equation)),
            None if self.unknown(equation).is_empty() => {
                let right = self.display(&equation.right);
                format!("{left} is {}, but {right} is {}", value(&equation.left), value(&equation.right))
            }
            None => format!("{left} = {} has no solution", self.display(&equation.right)),
        };
        let diagnostic = Diagnostic::error(Code::ConfigConflict, self.place(equation), message, "by this");
        let diagnostic = self.with_sources(diagnostic, &[equation]);
        self.with_way_out(diagnostic, equation, doubtful)
    }

    /// Which values to correct: those that no tensor confirms.
    fn with_way_out(&self, diagnostic: Diagnostic, equation: &Equation, doubtful: &[FieldId]) -> Diagnostic {
        let mut diagnostic = diagnostic;
        if let Some(stored) = equation.stored()
            && let Evidence::Count { .. } = stored.from
            && self.amount(&equation.left) > Some(i128::from(stored.stored))
        {
            diagnostic = diagnostic
                .help("parameters are missing: the file is incomplete, or one of several parts of the model");
        }
        let exact = single(&equation.left).zip(equation.stored()).map(|(_, stored)| stored.stored);
        let settings: Vec<String> = doubtful
            .iter()
            .map(|field| {
                let value = exact.map_or_else(|| "VALUE".to_owned(), |n| n.to_string());
                format!("`--set {}={value}`", self.mapping.field(*field).name)
            })
            .collect();
        diagnostic.help(match (settings.as_slice(), exact) {
            ([], _) => "the tensors contradict one another: the file is damaged, or of another architecture"
                .to_owned(),
            ([one], Some(_)) => format!("if the tensors are right and the config is not, {one} says so"),
            (several, _) => {
                format!("if the config is wrong, give the right value with {}", several.join(" or "))
            }
        })
    }

    /// A tensor whose shape disagrees with what others confirm.
    fn odd_shape(&self, number: usize, equations: &[&Equation]) -> Diagnostic {
        let tensor = &self.checkpoint.tensors()[number];
        let mut expected = tensor.shape.clone();
        for equation in equations {
            if let Some((_, dim)) = equation.dimension()
                && let Some(size) = self.amount(&equation.left).and_then(|n| u64::try_from(n).ok())
            {
                expected[dim] = size;
            }
        }
        let message =
            format!("`{}` has shape {:?}, but by its layout {expected:?}", tensor.name, tensor.shape);
        let diagnostic =
            Diagnostic::error(Code::ShapeMismatch, self.place(equations[0]), message, "this layout");
        let lists = self.lists_of(number);
        let known = lists.iter().filter_map(|list| Some((*list, self.values[list.index()].as_ref()?)));
        let diagnostic = known.fold(diagnostic, |diagnostic, (list, known)| {
            let name = &self.mapping.field(list).name;
            diagnostic.note(format!("{name} = {}: {}", known.value, known.origin))
        });
        let reversed = expected.iter().rev().eq(&tensor.shape);
        self.with_sources(diagnostic, equations).help(if reversed && expected.len() > 1 {
            "it is stored transposed: give it a rule of its own, with the axes in that order, in a copy of the mapping".to_owned()
        } else if let Some(list) = lists.first() {
            format!("if the tensors are right, give the right list with `--set {}=[A, B, …]`", self.mapping.field(*list).name)
        } else {
            "other tensors agree with the layout: this one is damaged, or the model is of another architecture"
                .to_owned()
        })
    }

    /// The lists that a tensor's layout picks sizes from.
    fn lists_of(&self, tensor: usize) -> Vec<FieldId> {
        let claim = self.claims.entries.iter().filter(|(_, claimed)| claimed.tensors().any(|n| n == tensor));
        let claim = claim.min_by_key(|((rule, entry, _), _)| (*rule, *entry));
        let Some(((rule, entry, key), claimed)) = claim else { return Vec::new() };
        let stored = &self.mapping.rules[*rule].sides[self.from.index()][*entry].stored[claimed.era];
        let axes = self.layout(stored, key).map(grammar::Layout::axes).unwrap_or_default();
        let picked = axes.into_iter().filter(|axis| axis.by.is_some());
        let mut lists: Vec<FieldId> = picked.filter_map(|axis| self.mapping.axis(axis.axis).field).collect();
        lists.dedup();
        lists
    }

    fn not_divisible(
        &self,
        field: FieldId,
        equation: &Equation,
        (total, divisor): (u128, u128),
        doubtful: &[FieldId],
    ) -> Diagnostic {
        let name = &self.mapping.field(field).name;
        let message = format!("{total} does not divide by {divisor}, so `{name}` has no value");
        let diagnostic = Diagnostic::error(Code::NotDivisible, self.place(equation), message, "by this");
        let diagnostic = match equation.stored() {
            Some(_) => diagnostic.note(self.describe(equation)),
            None => diagnostic,
        };
        let diagnostic = self.with_sources(diagnostic, &[equation]);
        self.with_way_out(diagnostic, equation, doubtful)
    }

    fn table_too_small(&self, equation: &Equation, doubtful: &[FieldId]) -> Diagnostic {
        let left = self.display(&equation.left);
        let wanted = self.amount(&equation.left).unwrap_or_default();
        let stored = self.amount(&equation.right).unwrap_or_default();
        let message = match wanted {
            0 => format!("{left} is 0, so nothing of the {stored} that are stored would be kept"),
            _ => format!("{left} is {wanted}, but only {stored} are stored"),
        };
        let diagnostic =
            Diagnostic::error(Code::TableTooSmall, self.place(equation), message, "by this layout")
                .note(self.describe(equation));
        let diagnostic = self.with_sources(diagnostic, &[equation]);
        let fields = equation.left.symbols().into_iter().filter_map(|symbol| match symbol {
            Symbol::Field(field) => Some(field),
            Symbol::At(..) => None,
        });
        let fields: Vec<FieldId> = fields.collect();
        // The value that nothing else confirms is the one to correct.
        let likely = fields.iter().find(|field| doubtful.contains(field)).or(fields.first());
        let all = likely.and_then(|field| Some((*field, self.most(equation, *field, stored)?)));
        diagnostic.help(match (likely, all) {
            (_, Some((field, most))) => {
                let name = &self.mapping.field(field).name;
                format!("give the right number with `--set {name}=N`; `--set {name}={most}` keeps all that is stored")
            }
            (Some(field), None) => {
                format!("give the right number with `--set {}=N`", self.mapping.field(*field).name)
            }
            (None, None) => "the file is damaged, or of another architecture".to_owned(),
        })
    }

    /// The largest value of a field for which a padded size is not more than what is stored.
    fn most(&self, equation: &Equation, field: FieldId, stored: i128) -> Option<i128> {
        let (a, b) = equation.left.linear_in(Symbol::Field(field), &|s| self.symbol(s))?;
        let most = stored.checked_sub(b)?.checked_div(a)?;
        (a > 0 && most > 0).then_some(most)
    }
}

impl Equation {
    fn stored(&self) -> Option<&super::shapes::SizeEquation> {
        match &self.origin {
            EquationOrigin::Stored(stored) => Some(stored),
            EquationOrigin::Written(_) => None,
        }
    }

    /// The tensor and the dimension it is about.
    fn dimension(&self) -> Option<(usize, usize)> {
        match self.stored()?.from {
            Evidence::Dimension { tensor, dim, .. } => Some((tensor, dim)),
            Evidence::Count { .. } => None,
        }
    }
}

/// The config value that a size is, where it is just one.
fn single(size: &Size) -> Option<FieldId> {
    match size.symbols().as_slice() {
        [Symbol::Field(field)] if *size == Size::symbol(Symbol::Field(*field)) => Some(*field),
        _ => None,
    }
}

/// Whether a value cannot be a size.
pub(super) fn is_negative(value: &Value) -> bool {
    value.as_integer().is_some_and(|n| n < 0)
}
