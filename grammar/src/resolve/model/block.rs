//! Blocks and their statements: names for values, values taken apart, loops.

use super::catalogue::Path;
use super::{Binding, Forward, capture};
use crate::ast::{self, Ident, ModelExpr, ModelExprKind};
use crate::code::Code;
use crate::diagnostic::{Diagnostic, nearest};
use crate::model::{Block, Carried, Dim, Part, Statement, Tensor, Value, ValueKind, VariableId};
use crate::source::Span;

impl<'a> Forward<'_, 'a> {
    /// A block with a value of its own. Names in it are gone after it.
    pub(super) fn block(&mut self, block: &'a ast::Block, owner: Span) -> Option<Block> {
        let outside = self.bindings.len();
        let around = std::mem::take(&mut self.statements);
        let result = self.unfold(block, owner);
        let statements = std::mem::replace(&mut self.statements, around);
        self.bindings.truncate(outside);
        Some(Block { statements, result: result? })
    }

    /// The value of a block whose statements join those around it.
    pub(super) fn unfold(&mut self, block: &'a ast::Block, owner: Span) -> Option<Value> {
        let mut good = true;
        for statement in &block.statements {
            good &= self.statement(statement).is_some();
        }
        let result = match &block.result {
            Some(result) => self.value(result),
            None => {
                self.no_value(block, owner);
                None
            }
        };
        result.filter(|_| good)
    }

    fn no_value(&mut self, block: &ast::Block, owner: Span) {
        let end = Span { start: block.span.end.saturating_sub(1), ..block.span };
        self.error(
            Diagnostic::error(Code::ResultType, end, "this block has no value", "ends without one")
                .with(owner, "of this")
                .help("end it with the value it leads to, on a line of its own"),
        );
    }

    pub(super) fn statement(&mut self, statement: &'a ast::Statement) -> Option<()> {
        match statement {
            ast::Statement::Let { names, value, span } => {
                let good = self.let_names(names, value, *span);
                if good.is_none() {
                    names.iter().for_each(|(_, name)| self.bind(&name.text, Binding::Lost));
                }
                good
            }
            ast::Statement::For { name, over, block, span } => self.for_loop(name, over, block, *span),
            ast::Statement::Unused { name, .. } => {
                self.left_out.push(name);
                Some(())
            }
        }
    }

    fn let_names(
        &mut self,
        names: &'a [(Option<Ident>, Ident)],
        value: &'a ModelExpr,
        span: Span,
    ) -> Option<()> {
        let mut good = true;
        for (_, name) in names {
            good &= self.check_shadowing(name);
        }
        if let (ModelExprKind::Call(base, operands), [_, _]) = (&value.kind, names)
            && matches!(&base.kind, ModelExprKind::Place(text) if text == "top" && self.bound(text).is_none())
        {
            return self.top(names, operands, value.span).filter(|()| good);
        }
        let value = self.value(value)?;
        if !good {
            return None;
        }
        if let ([(None, name)], ValueKind::Scalar(scalar)) = (names, &value.kind) {
            self.bind(&name.text, Binding::Number(scalar.clone()));
            return Some(());
        }
        if let [(None, name)] = names {
            let variable = self.let_variable(name, value.ty.clone());
            self.statements.push(Statement::Let { variable, value });
            return Some(());
        }
        self.split(names, value, span)
    }

    /// A variable that the reader named; it must be read somewhere.
    pub(super) fn let_variable(&mut self, name: &Ident, ty: Tensor) -> VariableId {
        let variable = self.variable(&name.text, ty, name.span);
        self.named.insert(variable, name.span);
        self.bind(&name.text, Binding::Variable(variable));
        variable
    }

    /// What is given to the model, and what loops go over, keep their names.
    pub(super) fn check_shadowing(&mut self, name: &Ident) -> bool {
        let Some((_, first)) = self.fixed.iter().rev().find(|(fixed, _)| *fixed == name.text) else {
            return true;
        };
        let first = *first;
        self.error(
            Diagnostic::error(
                Code::Shadowed,
                name.span,
                format!("`{}` is bound again", name.text),
                "bound again here",
            )
            .with(first, "stands for something else")
            .note("an argument of the model and the name of a loop mean one thing throughout")
            .help("give this value another name"),
        );
        false
    }

    /// Takes a value apart along the one sum that has these labels.
    fn split(&mut self, names: &[(Option<Ident>, Ident)], value: Value, span: Span) -> Option<()> {
        let label = |(label, name): &(Option<Ident>, Ident)| label.clone().unwrap_or_else(|| name.clone());
        let labels: Vec<Ident> = names.iter().map(label).collect();
        let sums: Vec<(usize, &Vec<Part>)> = value
            .ty
            .dims
            .iter()
            .enumerate()
            .filter_map(|(at, dim)| match dim {
                Dim::Sum(parts) => Some((at, parts)),
                Dim::Extent(_) | Dim::Axis(..) => None,
            })
            .collect();
        let fits = |parts: &[Part]| {
            parts.len() == labels.len() && parts.iter().all(|p| labels.iter().any(|l| l.text == p.label))
        };
        let Some((dim, parts)) = sums.iter().find(|(_, parts)| fits(parts)).copied() else {
            let parts = sums.last().map(|(_, parts)| (*parts).clone());
            self.not_apart(&labels, &value, parts, span);
            return None;
        };
        let parts = parts.clone();
        let mut variables = Vec::new();
        for part in parts {
            let at = labels.iter().position(|l| l.text == part.label)?;
            let dims = &value.ty.dims;
            let dims = [&dims[..dim], part.dims.as_slice(), &dims[dim + 1..]].concat();
            variables.push(self.let_variable(&names[at].1, Tensor { dims, element: value.ty.element }));
        }
        self.statements.push(Statement::Split { dim, parts: variables, value });
        Some(())
    }

    fn not_apart(&mut self, labels: &[Ident], value: &Value, parts: Option<Vec<Part>>, span: Span) {
        let shown = self.show(&value.ty.dims);
        let Some(parts) = parts else {
            self.error(
                Diagnostic::error(
                    Code::NotASum,
                    span,
                    "this value has no labelled parts to take apart",
                    format!("taken apart into {}", labels.len()),
                )
                .with(value.span, format!("this is {shown}"))
                .help("bind it to one name: `let x = …`"),
            );
            return;
        };
        let known: Vec<&str> = parts.iter().map(|p| p.label.as_str()).collect();
        let wrong = labels.iter().find(|l| !known.contains(&l.text.as_str()));
        let (at, message, label) = match wrong {
            Some(wrong) => {
                let message = format!("this value has no part `{}`", wrong.text);
                (wrong.span, message, format!("the parts are {}", known.join(", ")))
            }
            None => {
                let message = format!("this value has {} parts, and {} are named", known.len(), labels.len());
                (span, message, format!("the parts are {}", known.join(", ")))
            }
        };
        let mut diagnostic =
            Diagnostic::error(Code::NotASum, at, message, label).with(value.span, format!("this is {shown}"));
        let near = wrong.and_then(|w| nearest(&w.text, known.iter().copied()));
        diagnostic = match near {
            Some(near) => diagnostic.help(format!("did you mean `{near}`?")),
            None => diagnostic.help(format!(
                "name every part, as in `let ({}) = …`; under another name: `{}: name`",
                known.join(", "),
                known.first().copied().unwrap_or_default()
            )),
        };
        self.error(diagnostic);
    }

    fn for_loop(
        &mut self,
        name: &'a Ident,
        over: &'a Ident,
        block: &'a ast::Block,
        span: Span,
    ) -> Option<()> {
        let fresh = self.check_shadowing(name);
        let path = self.indexed_scope(&over.text, over.span);
        let (Some(path), true) = (path, fresh) else {
            self.lose_names(block);
            return None;
        };
        if self.check_numbers(block).is_none() {
            self.lose_names(block);
            return None;
        }
        let scope = self.scope(&path, over.span);
        let before: Vec<(String, VariableId)> = assigned(block)
            .into_iter()
            .filter_map(|name| match self.bound(&name.text) {
                Some(Binding::Variable(variable)) => Some((name.text.clone(), *variable)),
                _ => None,
            })
            .collect();
        let outside = self.bindings.len();
        let mut starts = Vec::new();
        for (name, initial) in &before {
            self.read.insert(*initial);
            let (ty, at) = (self.model.variable(*initial).ty.clone(), self.model.variable(*initial).span);
            let start = self.variable(name, ty, at);
            starts.push(start);
            self.bind(name, Binding::Variable(start));
        }
        let around = std::mem::take(&mut self.statements);
        let good = self.loop_body(name, path, block);
        let body = std::mem::replace(&mut self.statements, around);
        let carried = self.carried(&before, &starts);
        self.bindings.truncate(outside);
        let (Some(()), Some(carried)) = (good, carried) else {
            self.lose_names(block);
            return None;
        };
        for (one, (name, _)) in carried.iter().zip(&before) {
            self.bind(name, Binding::Variable(one.result));
        }
        let captured = capture::of_statements(&body);
        let captured = captured.into_iter().filter(|v| !starts.contains(v)).collect();
        self.statements.push(Statement::For { scope, carried, captured, body, span });
        Some(())
    }

    /// A number is known before the model runs, so no pass of a loop can change it.
    fn check_numbers(&mut self, block: &ast::Block) -> Option<()> {
        let changed = |name: &Ident| matches!(self.bound(&name.text), Some(Binding::Number(_)));
        let Some(name) = assigned(block).into_iter().find(|name| changed(name)).cloned() else {
            return Some(());
        };
        self.error(
            Diagnostic::error(
                Code::CarriedType,
                name.span,
                format!("the number `{}` is bound again in a loop", name.text),
                "a number that config decides is one for all passes",
            )
            .help("give this value another name"),
        );
        None
    }

    fn loop_body(&mut self, name: &'a Ident, path: Path, block: &'a ast::Block) -> Option<()> {
        self.bind(&name.text, Binding::Scope(path));
        self.fixed.push((name.text.clone(), name.span));
        let mut good = true;
        for statement in &block.statements {
            good &= self.statement(statement).is_some();
        }
        self.fixed.pop();
        if let Some(result) = &block.result {
            self.error(
                Diagnostic::error(Code::ResultType, result.span, "a loop has no value", "nothing takes this")
                    .help(
                        "bind it: `let x = …`; a name that is bound before the loop goes from pass to pass",
                    ),
            );
            good = false;
        }
        good.then_some(())
    }

    /// The values that passes hand on; a type that changes is an error.
    fn carried(&mut self, before: &[(String, VariableId)], starts: &[VariableId]) -> Option<Vec<Carried>> {
        let mut all = Vec::new();
        for ((name, initial), start) in before.iter().zip(starts) {
            let Some(Binding::Variable(end)) = self.bound(name).cloned() else { return None };
            let (first, last) = (self.model.variable(*initial).clone(), self.model.variable(end).clone());
            if first.ty != last.ty {
                let (was, is) = (self.show_type(&first.ty), self.show_type(&last.ty));
                self.error(
                    Diagnostic::error(
                        Code::CarriedType,
                        last.span,
                        format!("`{name}` is {is} after a pass, and was {was} before it"),
                        format!("this is {is}"),
                    )
                    .with(first.span, format!("this is {was}"))
                    .help("a name that goes from pass to pass keeps its axes; give this value another name"),
                );
                return None;
            }
            self.read.insert(end);
            let result = self.variable(name, last.ty, last.span);
            all.push(Carried { initial: *initial, start: *start, end, result });
        }
        Some(all)
    }

    /// After a loop with a mistake, what it would have bound is not known.
    fn lose_names(&mut self, block: &ast::Block) {
        for name in assigned(block) {
            if self.bound(&name.text).is_some() {
                self.bind(&name.text, Binding::Lost);
            }
        }
    }
}

/// The names that a loop's body binds, each once, those of loops in it included.
fn assigned(block: &ast::Block) -> Vec<&Ident> {
    let mut all: Vec<&Ident> = Vec::new();
    for statement in &block.statements {
        let names: Vec<&Ident> = match statement {
            ast::Statement::Let { names, .. } => names.iter().map(|(_, n)| n).collect(),
            ast::Statement::For { block, .. } => assigned(block),
            ast::Statement::Unused { .. } => Vec::new(),
        };
        for name in names {
            if !all.iter().any(|n| n.text == name.text) {
                all.push(name);
            }
        }
    }
    all
}
