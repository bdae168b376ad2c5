//! Rules and what stands among them.

use std::ops::Range;

use super::Printer;
use super::columns::{Kind, Printed, braces, on_one_line};
use super::declarations::{nothing, two_parts};
use super::doc::{Doc, INDENT, WIDTH};
use super::name::{clause, layout};
use super::{quoted, words};
use crate::ast::{
    Affine, Alternative, Drop, Emit, Ident, Item, Rule, RuleMatch, RuleOption, RuleOptionKind, RuleSide,
    Term, TermContent, Tie, When,
};
use crate::source::Span;

/// A side of a rule as it is printed.
enum SideDoc {
    Term {
        name: Doc,
        content: Doc,
    },
    Alternatives(Vec<Doc>),
    /// The lines in the braces, and the whole on one line if it can be.
    Labelled {
        block: Doc,
        line: Option<String>,
    },
}

impl Printer<'_> {
    pub(super) fn rule(self, rule: &Rule, indent: usize) -> Printed {
        let left = self.rule_side(&rule.left, indent);
        let right = self.rule_side(&rule.right, indent);
        let arrow = rule.arrow.symbol();
        let options: Vec<String> = rule.options.iter().map(rule_option).collect();
        let options = options.join("  ");
        let head = rule_head(&left, arrow, &right, options);
        let Some(items) = &rule.body else {
            return head;
        };
        let body = self.body(items, self.trivia.braces_at_end(rule.span), indent);
        let room = WIDTH.saturating_sub(indent + "  {".len());
        Printed::doc(Doc::Cat(vec![head.into_doc(room), Doc::text("  "), body]))
    }

    fn rule_side(self, side: &RuleSide, indent: usize) -> SideDoc {
        match side {
            RuleSide::Term(term) => {
                let (name, content) = self.term(term);
                SideDoc::Term { name, content }
            }
            RuleSide::Alternatives(terms, _) => {
                SideDoc::Alternatives(terms.iter().map(|alternative| self.alternative(alternative)).collect())
            }
            RuleSide::Labelled(terms, span) => {
                let entries = terms.iter().map(|(label, term)| (label.span.to(term.span), (label, term)));
                let inside = self.trivia.braces_at_end(*span);
                let terms = self.trivia.sequence(entries, inside, |(label, term)| {
                    let (name, content) = self.term(term);
                    let label = Doc::text(format!("{}:", label.text));
                    let broken =
                        Doc::Cat(vec![label.clone(), Doc::text(" "), beside(name.clone(), content.clone())]);
                    Printed::row(Kind::Parameter, &[(0, &label), (1, &name), (1, &content)], broken)
                });
                let line = on_one_line(&terms);
                SideDoc::Labelled { block: braces(terms, indent), line }
            }
        }
    }

    /// A term of several, and when it is the one that is written.
    fn alternative(self, alternative: &Alternative) -> Doc {
        let (name, content) = self.term(&alternative.term);
        let term = beside(name, content);
        match &alternative.condition {
            Some(condition) => Doc::Cat(vec![term, Doc::text(" when "), self.expr(condition)]),
            None => term,
        }
    }

    /// A term's name, and what stands after it.
    fn term(self, term: &Term) -> (Doc, Doc) {
        let optional = if term.optional { "?" } else { "" };
        let name = Doc::text(format!("{}{optional}", self.name(&term.name)));
        let content = match &term.content {
            TermContent::Bare => nothing(),
            TermContent::Layout(layout) => self.layout_expr(layout),
            TermContent::Kind(kind, arguments) => {
                let arguments = arguments.iter().map(|a| self.layout_expr(a)).collect();
                Doc::list(&format!(": {}(", kind.text), arguments, ")")
            }
        };
        let arithmetic = self.arithmetic(&term.affine, term.cast.as_ref());
        let bare = matches!(term.content, TermContent::Bare);
        let arithmetic = if bare { arithmetic.trim_start() } else { &arithmetic };
        (name, Doc::Cat(vec![content, Doc::text(arithmetic)]))
    }

    /// ` + 1 as f32`: with a space before each part.
    pub(super) fn arithmetic(self, affine: &[Affine], cast: Option<&Ident>) -> String {
        let mut out: String = affine.iter().map(|a| format!(" {} {}", a.op, a.number.text)).collect();
        if cast.is_some() {
            out.push_str(&format!(" {}", clause("as", cast)));
        }
        out
    }

    fn body(self, items: &[Item], inside: Range<usize>, indent: usize) -> Doc {
        let entries = items.iter().map(|item| (item.span(), item));
        let items = self.trivia.sequence(entries, inside, |item| self.item(item, indent + INDENT));
        braces(items, indent)
    }

    // -------------------------------------------------------------- choices

    pub(super) fn when(self, when: &When, indent: usize) -> Printed {
        Printed::doc(self.when_doc(when, indent))
    }

    fn when_doc(self, when: &When, indent: usize) -> Doc {
        let mut parts = Vec::new();
        let mut when = when;
        loop {
            let then = self.trivia.braces_after(when.condition.span.end);
            let end = then.end;
            parts.extend([Doc::text("when "), self.expr(&when.condition), Doc::text(" ")]);
            parts.push(self.body(&when.then, then, indent));
            let Some(otherwise) = &when.otherwise else { break };
            parts.push(Doc::text(" else "));
            let inside = self.trivia.braces_after(Span::new(end, end).end);
            match otherwise.as_slice() {
                [Item::When(next)] if !self.has_own_comments(&inside, next) => when = next,
                items => {
                    parts.push(self.body(items, inside, indent));
                    break;
                }
            }
        }
        Doc::Cat(parts)
    }

    /// Whether `else { when … }` has comments in its braces that `else when …` had no place for.
    fn has_own_comments(self, inside: &Range<usize>, when: &When) -> bool {
        let span = when.span.range();
        inside.start <= span.start
            && (self.trivia.any_in(inside.start..span.start) || self.trivia.any_in(span.end..inside.end))
    }

    pub(super) fn rule_match(self, choice: &RuleMatch, indent: usize) -> Printed {
        let inside = self.trivia.braces_at_end(choice.span);
        let arms = choice.arms.iter().map(|(pattern, items)| {
            let inside = self.trivia.braces_after(pattern.span.end);
            (pattern.span.to(Span::new(inside.end, inside.end + 1)), (pattern, items, inside))
        });
        let arms = self.trivia.sequence(arms, inside, |(pattern, items, inside)| {
            let pattern = Doc::text(format!("{} => ", self.pattern(pattern)));
            Printed::doc(Doc::Cat(vec![pattern, self.body(items, inside, indent + INDENT)]))
        });
        let head = vec![Doc::text("match "), self.expr(&choice.scrutinee), Doc::text(" ")];
        Printed::doc(Doc::Cat(vec![Doc::Cat(head), braces(arms, indent)]))
    }

    // -------------------------------------------------------------- one side only

    pub(super) fn drop(self, drop: &Drop) -> Printed {
        let (name, reason) = self.drop_parts(drop);
        two_parts(Kind::Drop, &Doc::text(format!("drop {name}")), &reason)
    }

    /// What follows the keyword, for where it stands in a column of its own.
    pub(super) fn dropped(self, drop: &Drop) -> Doc {
        let (name, reason) = self.drop_parts(drop);
        let mut parts = vec![Doc::Text(name)];
        if drop.reason.is_some() {
            parts.push(Doc::Cat(vec![Doc::Line(1), reason]).nest().group());
        }
        Doc::Cat(parts)
    }

    fn drop_parts(self, drop: &Drop) -> (String, Doc) {
        let names: Vec<String> = drop.names.iter().map(|name| self.name(name)).collect();
        let name = format!("{}{}", on_side(drop.side.as_ref()), names.join(", "));
        let reason = drop.reason.as_ref();
        (name, reason.map_or_else(nothing, |text| Doc::text(format!("because {}", quoted(&text.text)))))
    }

    pub(super) fn emit(self, emit: &Emit) -> Printed {
        let name = format!("emit {}{}", on_side(emit.side.as_ref()), self.name(&emit.name));
        let layout = layout(&emit.layout);
        let cast = clause("as", emit.cast.as_ref());
        let value = format!("= {}", emit.value.text);
        let head = [name.as_str(), layout.as_str(), cast.as_str()].map(Doc::text);
        let [name, layout, cast] = &head;
        let value = Doc::Text(value);
        let mut broken = vec![name.clone(), Doc::text(" "), layout.clone()];
        if emit.cast.is_some() {
            broken.extend([Doc::text(" "), cast.clone()]);
        }
        broken.push(value.clone().next_line());
        Printed::row(Kind::Emit, &[(0, name), (1, layout), (1, cast), (1, &value)], Doc::Cat(broken))
    }

    pub(super) fn tie(self, tie: &Tie) -> Printed {
        let alias = format!("tie {}{}", on_side(tie.side.as_ref()), self.name(&tie.alias));
        let on = tie.on.as_ref().map(|place| format!(" on {}", place.text)).unwrap_or_default();
        two_parts(Kind::Other, &Doc::Text(alias), &Doc::text(format!("= {}{on}", self.name(&tie.of))))
    }
}

pub(super) fn on_side(side: Option<&Ident>) -> String {
    side.map_or(String::new(), |side| format!("{}: ", side.text))
}

/// The two, with a space between them if there is something in both.
fn beside(name: Doc, content: Doc) -> Doc {
    match content.flat() {
        Some(text) if text.is_empty() => name,
        _ => Doc::Cat(vec![name, Doc::text(" "), content]),
    }
}

/// Both sides of a rule and its options.
fn rule_head(left: &SideDoc, arrow: &str, right: &SideDoc, options: String) -> Printed {
    let kind = match (left, right) {
        (SideDoc::Term { .. }, SideDoc::Term { .. }) => Kind::Rule,
        _ => Kind::Other,
    };
    let (left_name, left_content) = left.cells();
    let (right_name, right_content) = right.cells();
    let arrow_name = Doc::Cat(vec![Doc::text(format!("{arrow}  ")), right_name]);
    let options = Doc::Text(options);
    let hugs = matches!(left, SideDoc::Labelled { .. }) || matches!(right, SideDoc::Labelled { .. });
    let mut second = vec![Doc::text(format!("{arrow}  ")), right.broken()];
    if options.flat().is_some_and(|text| !text.is_empty()) {
        second.extend([Doc::text("  "), options.clone()]);
    }
    let second = Doc::Cat(second);
    let second = if hugs { Doc::Cat(vec![Doc::text("  "), second]) } else { second.next_line() };
    let broken = Doc::Cat(vec![left.broken(), second]);
    let cells = [(0, &left_name), (1, &left_content), (2, &arrow_name), (1, &right_content), (2, &options)];
    Printed::row(kind, &cells, broken)
}

impl SideDoc {
    /// Its two columns in a rule of one line.
    fn cells(&self) -> (Doc, Doc) {
        match self {
            SideDoc::Term { name, content } => (name.clone(), content.clone()),
            SideDoc::Alternatives(terms) => {
                let mut parts = Vec::new();
                for term in terms {
                    parts.extend([Doc::text(if parts.is_empty() { "( " } else { " | " }), term.clone()]);
                }
                parts.push(Doc::text(" )"));
                (Doc::Cat(parts), nothing())
            }
            SideDoc::Labelled { line: Some(line), .. } => (Doc::text(line), nothing()),
            SideDoc::Labelled { line: None, .. } => (Doc::Break, nothing()),
        }
    }

    /// Its text in a rule of several lines.
    fn broken(&self) -> Doc {
        match self {
            SideDoc::Term { name, content } => beside(name.clone(), content.clone()),
            SideDoc::Alternatives(terms) => {
                let mut parts = Vec::new();
                for (i, term) in terms.iter().enumerate() {
                    if i > 0 {
                        parts.push(Doc::Hard);
                    }
                    parts.extend([Doc::text(if i == 0 { "( " } else { "| " }), term.clone()]);
                }
                parts.push(Doc::text(" )"));
                Doc::Cat(parts).align()
            }
            SideDoc::Labelled { block, .. } => block.clone(),
        }
    }
}

fn rule_option(option: &RuleOption) -> String {
    match &option.kind {
        RuleOptionKind::Fill(value, arguments) if arguments.is_empty() => format!("fill {}", value.text),
        RuleOptionKind::Fill(value, arguments) => {
            format!("fill {}({})", value.text, words(arguments, ", "))
        }
        RuleOptionKind::On(place) => format!("on {}", place.text),
        RuleOptionKind::Replicas(how) => format!("replicas {}", how.text),
    }
}
