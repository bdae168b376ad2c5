//! Expressions over the config, and the choices among layouts made by them.

use super::comments::{Piece, Sequence};
use super::doc::Doc;
use super::name::{dim, layout};
use super::{Printer, quoted};
use crate::ast::{BinaryOp, Expr, ExprKind, If, LayoutExpr, Match, Pattern, PatternChoice};
use crate::source::Span;

/// What stands in the arms of a `match` and the branches of an `if`.
pub(super) trait Chosen: Sized {
    fn span(&self) -> Span;
    fn as_if(&self) -> Option<&If<Self>>;
    fn print(&self, printer: Printer<'_>) -> Doc;
}

impl Chosen for Expr {
    fn span(&self) -> Span {
        self.span
    }

    fn as_if(&self) -> Option<&If<Expr>> {
        match &self.kind {
            ExprKind::If(choice) => Some(choice),
            _ => None,
        }
    }

    fn print(&self, printer: Printer<'_>) -> Doc {
        printer.expr(self)
    }
}

impl Chosen for LayoutExpr {
    fn span(&self) -> Span {
        match self {
            LayoutExpr::Layout(layout) => layout.span,
            LayoutExpr::Dim(dim) => dim.span,
            LayoutExpr::Match(choice) => choice.span,
            LayoutExpr::If(choice) => choice.span,
        }
    }

    fn as_if(&self) -> Option<&If<LayoutExpr>> {
        match self {
            LayoutExpr::If(choice) => Some(choice),
            _ => None,
        }
    }

    fn print(&self, printer: Printer<'_>) -> Doc {
        printer.layout_expr(self)
    }
}

impl Printer<'_> {
    pub(super) fn layout_expr(self, value: &LayoutExpr) -> Doc {
        match value {
            LayoutExpr::Layout(value) => Doc::Text(layout(value)),
            LayoutExpr::Dim(value) => Doc::Text(dim(value)),
            LayoutExpr::Match(choice) => self.choice(choice),
            LayoutExpr::If(choice) => self.branches(choice),
        }
    }

    pub(super) fn expr(self, expr: &Expr) -> Doc {
        match &expr.kind {
            ExprKind::Number(text) | ExprKind::Place(text) => Doc::text(text),
            ExprKind::Text(text) => Doc::Text(quoted(text)),
            ExprKind::List(values) => Doc::list("[", values.iter().map(|v| self.expr(v)).collect(), "]"),
            ExprKind::Present(place) => Doc::text(format!("present({})", place.text)),
            ExprKind::Not(value) => Doc::Cat(vec![Doc::text("not "), self.expr(value)]),
            ExprKind::Binary(op, left, right) => self.chain(*op, left, right),
            ExprKind::If(choice) => self.branches(choice),
            ExprKind::Match(choice) => self.choice(choice),
            ExprKind::Paren(value) => {
                Doc::Cat(vec![Doc::text("("), self.expr(value).align(), Doc::text(")")])
            }
        }
    }

    /// The expression on one line. Its comments are left to what is around it.
    pub(super) fn inline(self, expr: &Expr) -> String {
        let doc = Printer { places_comments: false, ..self }.expr(expr);
        doc.flat().unwrap_or_else(|| unreachable!("only comments force a line break into an expression"))
    }

    /// Operators of one precedence, left to right, broken before each of them.
    fn chain(self, op: BinaryOp, left: &Expr, right: &Expr) -> Doc {
        let mut links = vec![(op, right)];
        let mut first = left;
        while let ExprKind::Binary(inner, left, right) = &first.kind
            && precedence(*inner) == precedence(op)
        {
            links.push((*inner, right));
            first = left;
        }
        let first = self.expr(first);
        let links = links.into_iter().rev().flat_map(|(op, operand)| {
            [Doc::Line(1), Doc::text(format!("{} ", op.symbol())), self.expr(operand)]
        });
        Doc::Cat(vec![first, Doc::Cat(links.collect()).nest()]).group()
    }

    /// `if … { … } else if … { … } else { … }`.
    fn branches<T: Chosen>(self, choice: &If<T>) -> Doc {
        let mut parts = Vec::new();
        let mut choice = choice;
        let last = loop {
            parts.extend([Doc::text("if "), self.expr(&choice.condition), Doc::text(" ")]);
            parts.extend([self.branch(choice.then.as_ref()), Doc::Line(1), Doc::text("else ")]);
            match choice.otherwise.as_if() {
                Some(next) => choice = next,
                None => break choice.otherwise.as_ref(),
            }
        };
        parts.push(self.branch(last));
        Doc::Cat(parts).group().align()
    }

    fn branch<T: Chosen>(self, value: &T) -> Doc {
        let inside = Doc::Cat(vec![Doc::Line(1), value.print(self)]).nest();
        Doc::Cat(vec![Doc::text("{"), inside, Doc::Line(1), Doc::text("}")]).group()
    }

    /// `match … { … }`.
    pub(super) fn choice<T: Chosen>(self, choice: &Match<T>) -> Doc {
        let head = vec![Doc::text("match "), self.expr(&choice.scrutinee), Doc::text(" {")];
        let arms =
            choice.arms.iter().map(|(pattern, value)| (pattern.span.to(value.span()), (pattern, value)));
        let inside = self.trivia.braces_at_end(choice.span);
        let print = |(pattern, value): (&Pattern, &T)| (self.pattern(pattern), value.print(self));
        let Sequence { open, pieces } = if self.places_comments {
            self.trivia.sequence(arms, inside, print)
        } else {
            let pieces = arms.map(|(_, arm)| Piece::Entry(print(arm), None)).collect();
            Sequence { open: None, pieces }
        };
        let mut parts = head;
        if let Some(comment) = open {
            parts.extend([Doc::text(format!("  {comment}")), Doc::Break]);
        }
        parts.extend([arms_in_columns(pieces).nest(), Doc::Line(1), Doc::text("}")]);
        Doc::Cat(parts).group()
    }

    pub(super) fn pattern(self, pattern: &Pattern) -> String {
        let choices: Vec<String> = pattern.choices.iter().map(pattern_choice).collect();
        choices.join(" | ")
    }
}

fn pattern_choice(choice: &PatternChoice) -> String {
    let end = |end: &Option<String>| end.clone().unwrap_or_default();
    match choice {
        PatternChoice::Any => "_".to_owned(),
        PatternChoice::Number(text) => text.clone(),
        PatternChoice::Range(from, to) => format!("{}..{}", end(from), end(to)),
        PatternChoice::Text(text) => quoted(text),
        PatternChoice::Word(word) => word.text.clone(),
    }
}

/// The arms of a match, each after a place to break; the arrows of neighbours one below the other.
fn arms_in_columns(pieces: Vec<Piece<(String, Doc)>>) -> Doc {
    let widths = pattern_widths(&pieces);
    let mut parts = Vec::new();
    let mut first = true;
    for (piece, width) in pieces.into_iter().zip(widths) {
        match piece {
            Piece::Blank => parts.push(Doc::Blank),
            Piece::Comment(comment) => parts.extend([Doc::Hard, Doc::Text(comment)]),
            Piece::Entry((pattern, value), trailing) => {
                let pad = width - pattern.chars().count();
                parts.extend([Doc::Line(if first { 1 } else { 2 }), Doc::Text(pattern), Doc::Pad(pad)]);
                parts.extend([Doc::text(" => "), value]);
                if let Some(comment) = trailing {
                    parts.extend([Doc::text(format!("  {comment}")), Doc::Break]);
                }
                first = false;
            }
        }
    }
    Doc::Cat(parts)
}

/// For each piece the widest pattern among its neighbours.
fn pattern_widths(pieces: &[Piece<(String, Doc)>]) -> Vec<usize> {
    let width = |piece: &Piece<(String, Doc)>| match piece {
        Piece::Entry((pattern, _), _) => pattern.chars().count(),
        _ => 0,
    };
    let is_arm = |piece: &Piece<(String, Doc)>| matches!(piece, Piece::Entry(..));
    let runs = pieces.chunk_by(|a, b| is_arm(a) == is_arm(b));
    runs.flat_map(|run| vec![run.iter().map(width).max().unwrap_or(0); run.len()]).collect()
}

fn precedence(op: BinaryOp) -> u8 {
    match op {
        BinaryOp::Or => 0,
        BinaryOp::And => 1,
        BinaryOp::Equal
        | BinaryOp::NotEqual
        | BinaryOp::Less
        | BinaryOp::LessEqual
        | BinaryOp::Greater
        | BinaryOp::GreaterEqual => 2,
        BinaryOp::Add | BinaryOp::Subtract => 3,
        BinaryOp::Multiply | BinaryOp::Divide | BinaryOp::Remainder => 4,
    }
}
