//! `config` blocks. After this every config value, index and equation is known.

use std::collections::HashMap;

use super::{Resolver, Space};
use crate::ast::{self, Arrow, BinaryOp, ConfigLine, ConfigLineKind, FieldSource, Ident, Item};
use crate::code::Code;
use crate::diagnostic::{Diagnostic, nearest};
use crate::mapping::{Axis, Equation, Field, FieldId, Note, Require, SideId, Type, Write};
use crate::size::{Size, Symbol};
use crate::source::Span;
use crate::value::{Expr, ExprKind};

impl<'a> Resolver<'a> {
    pub(super) fn resolve_config(&mut self, file: &'a ast::File) {
        let lines: Vec<&ConfigLine> = file
            .items
            .iter()
            .filter_map(|item| match item {
                Item::Config(block) => Some(&block.lines),
                _ => None,
            })
            .flatten()
            .collect();
        self.declare_fields(&lines);
        for line in &lines {
            if let ConfigLineKind::Index { name, from, to } = &line.kind {
                self.resolve_index(name, from, to);
            }
        }
        for line in &lines {
            self.resolve_config_line(line);
        }
        self.check_places_written_once();
    }

    /// Every name first, so that lines may stand in any order.
    fn declare_fields(&mut self, lines: &[&ConfigLine]) {
        for line in lines {
            let ConfigLineKind::Field(field) = &line.kind else { continue };
            if equation(field).is_some() {
                if self.field_named(&field.name.text).is_none() {
                    self.declare_field(&field.name);
                }
            } else if self.declared.contains_key(&(Space::Config, field.name.text.clone())) {
                self.declare_name(Space::Config, &field.name);
            } else {
                self.declare_field(&field.name);
                self.declare_name(Space::Config, &field.name);
            }
        }
        // Names that only an equation has, such as `head_dim` in `hidden = heads * head_dim`.
        for line in lines {
            let ConfigLineKind::Field(field) = &line.kind else { continue };
            for word in equation(field).map(words).unwrap_or_default() {
                if self.field_named(&word.text).is_none() {
                    self.declare_field(&word);
                }
            }
        }
    }

    fn declare_field(&mut self, name: &Ident) {
        let id = FieldId::from_index(self.mapping.config.fields.len());
        self.fields_by_name.entry(name.text.clone()).or_insert(id);
        self.mapping.config.fields.push(Field {
            name: name.text.clone(),
            ty: Type::Any,
            stated: false,
            places: [Vec::new(), Vec::new()],
            computed: None,
            written: [false; 2],
            defaults: [None, None],
            span: name.span,
        });
    }

    fn resolve_index(&mut self, name: &Ident, from: &ast::Expr, to: &ast::Expr) {
        if self.field_named(&name.text).is_some() {
            self.declared.entry((Space::Config, name.text.clone())).or_insert(name.span);
        }
        self.declare_name(Space::Config, name);
        let (Some(from), Some(to)) = (self.size(from), self.size(to)) else {
            self.lost_indices.insert(name.text.clone());
            return;
        };
        let axis = Axis { name: name.text.clone(), size: to.minus(&from), range: (from, to), field: None };
        self.add_axis(&name.text, axis);
    }

    fn resolve_config_line(&mut self, line: &'a ConfigLine) {
        match &line.kind {
            ConfigLineKind::Index { .. } => {}
            ConfigLineKind::Require { side, condition, message } => {
                let Some(side) = self.side_or_left(side.as_ref()) else { return };
                if let Some(condition) = self.resolve_expr(condition, Some(side)) {
                    let message = message.text.clone();
                    self.mapping.config.requires.push(Require { side, condition, message, span: line.span });
                }
            }
            ConfigLineKind::Note { side, message, condition } => {
                let Some(side) = self.side_or_left(side.as_ref()) else { return };
                let resolved = condition.as_ref().map(|c| self.resolve_expr(c, Some(side)));
                self.check_note(message);
                if let Some(condition) = resolved.map_or(Some(None), |c| c.map(Some)) {
                    let message = message.text.clone();
                    self.mapping.config.notes.push(Note { side, message, condition, span: line.span });
                }
            }
            ConfigLineKind::ToRight { value, place } => {
                self.resolve_write(SideId::Right, place, value, line.span);
            }
            ConfigLineKind::ToLeft { value, place } => {
                self.resolve_write(SideId::Left, place, value, line.span);
            }
            ConfigLineKind::Field(field) => match equation(field) {
                Some(right) => self.resolve_equation(&field.name, right, line.span),
                None => self.resolve_field(field),
            },
        }
    }

    /// A side by its name, or as `left` or `right`: a library does not know what its importers call theirs.
    pub(super) fn side_or_place(&mut self, name: &Ident) -> Option<SideId> {
        self.known_side(name).or_else(|| self.side_named(name))
    }

    /// The same, with no word of a name that is none.
    pub(super) fn known_side(&self, name: &Ident) -> Option<SideId> {
        let named = SideId::BOTH.into_iter().find(|side| self.mapping.side(*side).name == name.text);
        named.or(match name.text.as_str() {
            "left" => Some(SideId::Left),
            "right" => Some(SideId::Right),
            _ => None,
        })
    }

    /// The side that a line is of: the left one where it names none.
    fn side_or_left(&mut self, name: Option<&Ident>) -> Option<SideId> {
        name.map_or(Some(SideId::Left), |name| self.side_or_place(name))
    }

    /// `{name}` in a note must be a config value.
    fn check_note(&mut self, message: &Ident) {
        let fields: Vec<String> = self.mapping.config.fields.iter().map(|f| f.name.clone()).collect();
        for hole in message.text.split('{').skip(1).filter_map(|rest| rest.split_once('}')) {
            if fields.iter().any(|f| f == hole.0) {
                continue;
            }
            let mut diagnostic = Diagnostic::error(
                Code::UnknownConfig,
                message.span,
                format!("`{}` in this note is no config value", hole.0),
                "words in braces are config values",
            );
            if let Some(near) = nearest(hole.0, fields.iter().map(String::as_str)) {
                diagnostic = diagnostic.help(format!("did you mean `{{{near}}}`?"));
            }
            self.error(diagnostic);
        }
    }

    fn resolve_write(&mut self, side: SideId, place: &Ident, value: &'a ast::Expr, span: Span) {
        self.check_place(place, side);
        if let Some(value) = self.resolve_expr(value, Some(side.other())) {
            self.mapping.config.writes.push(Write { side, place: place.text.clone(), value, span });
        }
    }

    fn resolve_equation(&mut self, name: &Ident, right: &'a ast::Expr, span: Span) {
        let Some(right) = self.size(right) else { return };
        let left = self.field_or_bug(&name.text);
        for symbol in right.symbols() {
            let Symbol::Field(field) = symbol else { continue };
            self.expect_integer(field.index(), span);
            let square = right.linear_in(symbol, &|_| Some(1)).is_none();
            if square || field == left {
                let name = self.mapping.field(field).name.clone();
                self.error(
                    Diagnostic::error(
                        Code::Unsolvable,
                        span,
                        format!("`{name}` stands in this equation more than once"),
                        "an equation is solved for one value that is not known",
                    )
                    .help("write it so that every value stands in it once"),
                );
            }
        }
        self.expect_integer(left.index(), span);
        let sides = [Size::symbol(Symbol::Field(left)), right];
        self.mapping.config.equations.push(Equation { sides, span });
    }

    fn resolve_field(&mut self, field: &'a ast::Field) {
        let id = self.field_or_bug(&field.name.text);
        let ty = field.ty.as_ref().map_or(Type::Any, |ty| self.resolve_type(ty));
        let mut places = [Vec::new(), Vec::new()];
        let mut computed = None;
        match &field.source {
            Some(FieldSource::Places(list)) => {
                list.iter().for_each(|p| self.check_place(p, SideId::Left));
                self.check_no_equation_is_meant(field, list);
                places[0] = list.iter().map(|p| p.text.clone()).collect();
            }
            Some(FieldSource::Expr(expr)) => computed = self.resolve_expr(expr, Some(SideId::Left)),
            None => {}
        }
        let mut written = [false; 2];
        if let Some((arrow, arrow_span, list)) = &field.target {
            if let (Some(FieldSource::Expr(expr)), Arrow::Both) = (&field.source, arrow) {
                self.computed_both_ways(expr.span, *arrow_span, &field.name.text);
            }
            list.iter().for_each(|p| self.check_place(p, SideId::Right));
            places[1] = list.iter().map(|p| p.text.clone()).collect();
            written = [*arrow != Arrow::Right && !places[0].is_empty(), *arrow != Arrow::Left];
        }
        let defaults = self.resolve_defaults(&field.defaults);
        let slot = &mut self.mapping.config.fields[id.index()];
        (slot.places, slot.computed, slot.written, slot.span) = (places, computed, written, field.name.span);
        for default in defaults.iter().flatten() {
            self.check_default(field, ty, default);
        }
        self.mapping.config.fields[id.index()].defaults = defaults;
        self.mapping.config.fields[id.index()].stated = field.ty.is_some();
        self.set_type(id.index(), ty, field.name.span);
    }

    /// `zero = hidden` looks like an equation where `hidden` is a config value.
    fn check_no_equation_is_meant(&mut self, field: &ast::Field, places: &[Ident]) {
        let [place] = places else { return };
        let plain = field.ty.is_none() && field.target.is_none() && field.defaults.is_empty();
        if !plain || place.text == field.name.text {
            return;
        }
        let Some(value) = self.field_named(&place.text) else { return };
        let (name, place_text) = (&field.name.text, &place.text);
        let warning = Diagnostic::warning(
            Code::PlaceLikeValue,
            place.span,
            format!("`{place_text}` is a place in a document here, and not the config value of this name"),
            format!("`{name}` is read there"),
        )
        .with(self.mapping.field(value).span, "the config value")
        .help(format!("if both are to be equal, write `{name} = 1 * {place_text}`"))
        .help(format!("if the place is meant, give the line a type: `{name}: int = {place_text}`"));
        self.error(warning);
    }

    fn computed_both_ways(&mut self, computed: Span, arrow: Span, name: &str) {
        self.error(
            Diagnostic::error(
                Code::NotInvertible,
                arrow,
                format!("`{name}` is computed, so it cannot be written back"),
                "`<=>` ties two places",
            )
            .with(computed, "this is no place")
            .help(format!("write `=>`, and for the way back a line such as `args.{name} <= …`")),
        );
    }

    /// The default of each side. It may be computed, but only of other config values.
    fn resolve_defaults(&mut self, defaults: &'a [ast::Default]) -> [Option<Expr>; 2] {
        let mut resolved = [None, None];
        let mut given: [Option<Span>; 2] = [None, None];
        for default in defaults {
            let sides = match &default.side {
                Some(name) => self.side_or_place(name).into_iter().collect(),
                None => SideId::BOTH.to_vec(),
            };
            let first = sides.iter().find_map(|side| given[side.index()]);
            if let Some(first) = first {
                self.error(
                    Diagnostic::error(
                        Code::DuplicateName,
                        default.span,
                        "two defaults for one side",
                        "given again here",
                    )
                    .with(first, "first given here")
                    .help("name the side of each: `else left: 1 else right: 2`"),
                );
                continue;
            }
            let value = self.resolve_expr(&default.value, None);
            for side in sides {
                given[side.index()] = Some(default.span);
                resolved[side.index()].clone_from(&value);
            }
        }
        resolved
    }

    fn check_default(&mut self, field: &ast::Field, ty: Type, default: &Expr) {
        let ExprKind::Literal(value) = &default.kind else { return };
        if ty == Type::Any || ty.admits(value) {
            return;
        }
        self.error(
            Diagnostic::error(
                Code::TypeMismatch,
                default.span,
                format!("`{}` is declared `{}`, but its default is {value}", field.name.text, ty.name()),
                "the default",
            )
            .with(field.ty.as_ref().map_or(field.name.span, |t| t.span), "the type"),
        );
    }

    fn resolve_type(&mut self, name: &Ident) -> Type {
        if let Some(ty) = Type::from_name(&name.text) {
            return ty;
        }
        let known = ["int", "float", "bool", "string", "list", "any"];
        let mut diagnostic = Diagnostic::error(
            Code::UnknownOption,
            name.span,
            format!("unknown type `{}`", name.text),
            format!("the types are {}", known.join(", ")),
        );
        let foreign = match name.text.as_str() {
            "boolean" => Some("bool"),
            "str" | "text" => Some("string"),
            "integer" => Some("int"),
            "number" | "double" => Some("float"),
            _ => None,
        };
        if let Some(near) = foreign.or_else(|| nearest(&name.text, known)) {
            diagnostic = diagnostic.help(format!("did you mean `{near}`?"));
        }
        self.error(diagnostic);
        Type::Any
    }

    fn set_type(&mut self, field: usize, ty: Type, span: Span) {
        let slot = &mut self.mapping.config.fields[field];
        if ty == Type::Any {
            return;
        }
        if slot.ty == Type::Any || slot.ty == ty {
            slot.ty = ty;
            return;
        }
        let (name, as_size) = (slot.name.clone(), slot.ty);
        self.error(Diagnostic::error(
            Code::TypeMismatch,
            span,
            format!("`{name}` is declared `{}`, but it is used as `{}`", ty.name(), as_size.name()),
            "declared here",
        ));
    }

    /// A config value that is a size is a whole number.
    pub(super) fn expect_integer(&mut self, field: usize, used: Span) {
        let slot = &mut self.mapping.config.fields[field];
        if matches!(slot.ty, Type::Any | Type::Int) {
            slot.ty = Type::Int;
            return;
        }
        self.wrong_type(field, used, "is used as a size", "a size is a whole number");
    }

    /// A config value that an index picks from, as in `groups[layer]`, is a list.
    pub(super) fn expect_list(&mut self, field: usize, used: Span) {
        let slot = &mut self.mapping.config.fields[field];
        if matches!(slot.ty, Type::Any | Type::List) {
            slot.ty = Type::List;
            return;
        }
        self.wrong_type(field, used, "is used as a list", "an index picks one of a list");
    }

    fn wrong_type(&mut self, field: usize, used: Span, how: &str, why: &str) {
        let slot = &self.mapping.config.fields[field];
        let (name, ty, span) = (slot.name.clone(), slot.ty, slot.span);
        if !self.first_report(Code::TypeMismatch, &name) {
            return;
        }
        let message = format!("`{name}` {how}, but it is declared or used as `{}`", ty.name());
        self.error(
            Diagnostic::error(Code::TypeMismatch, used, message, why)
                .with(span, "declared here")
                .help("use another config value here, or change its type"),
        );
    }

    fn check_places_written_once(&mut self) {
        let config = &self.mapping.config;
        let fields = config.fields.iter().flat_map(|f| {
            SideId::BOTH
                .into_iter()
                .filter(|side| f.written[side.index()])
                .filter_map(|side| Some((side, f.places[side.index()].first()?.clone(), f.span)))
        });
        let writes = config.writes.iter().map(|w| (w.side, w.place.clone(), w.span));
        let all: Vec<(SideId, String, Span)> = fields.chain(writes).collect();
        let mut seen = WrittenPlaces::default();
        for (side, place, span) in all {
            if let Some(first) = seen.add(side, &place, span) {
                self.error(
                    Diagnostic::error(
                        Code::PlaceTwice,
                        span,
                        format!("two lines write `{place}`"),
                        "written again here",
                    )
                    .with(first, "first written here")
                    .help("keep one of them"),
                );
            }
        }
    }
}

/// Places that are written, and the values that they lie in: `a` for `a.b`.
#[derive(Default)]
struct WrittenPlaces {
    written: HashMap<(SideId, String), Span>,
    around: HashMap<(SideId, String), Span>,
}

impl WrittenPlaces {
    /// Adds a place, unless it, a value in it or a value around it is written already: then where that is.
    fn add(&mut self, side: SideId, place: &str, span: Span) -> Option<Span> {
        let outer: Vec<(SideId, String)> =
            place.match_indices('.').map(|(dot, _)| (side, place[..dot].to_owned())).collect();
        let own = (side, place.to_owned());
        let known = self.written.get(&own).or_else(|| self.around.get(&own));
        let first = known.or_else(|| outer.iter().find_map(|o| self.written.get(o))).copied();
        if first.is_none() {
            self.written.insert(own, span);
            outer.into_iter().for_each(|o| {
                self.around.entry(o).or_insert(span);
            });
        }
        first
    }
}

/// The right side of `name = size`, where a line is an equation and not a place: it has arithmetic or is a
/// whole number, and nothing else follows.
fn equation(field: &ast::Field) -> Option<&ast::Expr> {
    let Some(FieldSource::Expr(expr)) = &field.source else { return None };
    let plain = field.ty.is_none() && field.target.is_none() && field.defaults.is_empty();
    let arithmetic = match &expr.kind {
        ast::ExprKind::Number(text) => text.parse::<i64>().is_ok(),
        ast::ExprKind::Binary(op, ..) => matches!(
            op,
            BinaryOp::Add | BinaryOp::Subtract | BinaryOp::Multiply | BinaryOp::Divide | BinaryOp::Remainder
        ),
        _ => false,
    };
    (plain && arithmetic).then_some(expr)
}

fn words(expr: &ast::Expr) -> Vec<Ident> {
    match &expr.kind {
        ast::ExprKind::Place(text) if !text.contains('.') => {
            vec![Ident { text: text.clone(), span: expr.span }]
        }
        ast::ExprKind::Binary(_, a, b) => [words(a), words(b)].concat(),
        ast::ExprKind::Paren(inner) => words(inner),
        _ => Vec::new(),
    }
}
