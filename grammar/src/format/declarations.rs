//! `side`, `config`, `module` and `layout`.

use super::columns::{Kind, Printed, braces};
use super::comments::{Piece, Sequence};
use super::doc::{Doc, INDENT, WIDTH};
use super::name::{clause, formals};
use super::{Printer, quoted, words};
use crate::ast::{
    ConfigDecl, ConfigLine, ConfigLineKind, Default, Expr, Field, FieldSource, Ident, Import, LayoutDef,
    LayoutExpr, ModuleDecl, ModuleParam, Name, PlainKey, SideDecl, SideEntry, SideEntryKind,
};

impl Printed {
    pub(super) fn import(import: &Import) -> Printed {
        let name = &import.name.text;
        let doc = Doc::text(format!("import {}", if import.by_path { quoted(name) } else { name.clone() }));
        Printed::row(Kind::Import, &[(0, &doc)], doc.clone())
    }
}

impl Printer<'_> {
    pub(super) fn side(self, side: &SideDecl, indent: usize) -> Printed {
        let inside = self.trivia.braces_at_end(side.span);
        let entries = side.entries.iter().map(|e| (e.span, e));
        let entries = self.trivia.sequence(entries, inside, |e| self.side_entry(e));
        Printed::doc(Doc::Cat(vec![Doc::text(format!("side {} ", side.name.text)), braces(entries, indent)]))
    }

    fn side_entry(self, entry: &SideEntry) -> Printed {
        let (keyword, value) = match &entry.kind {
            SideEntryKind::Parameters(names) => ("parameters", self.name_list(names)),
            SideEntryKind::Detect(names) => ("detect", self.name_list(names)),
            SideEntryKind::Nested(names) => ("nested", self.name_list(names)),
            SideEntryKind::Documents(documents) => ("documents", document_list(documents)),
            SideEntryKind::Rank { name, places, default } => {
                ("rank", self.rank(name, places, default.as_ref()))
            }
            SideEntryKind::Family { place, names } => {
                let names: Vec<String> = names.iter().map(|name| quoted(&name.text)).collect();
                ("family", Doc::text(format!("{} = {}", place.text, names.join(" | "))))
            }
            SideEntryKind::Plain { document, keys } => {
                ("plain", filled(document.as_ref(), keys.iter().map(|key| self.plain_key(key))))
            }
            SideEntryKind::Ignored { document, keys } => {
                ("ignored", filled(document.as_ref(), keys.iter().map(|key| key.text.clone())))
            }
            SideEntryKind::DType(word) => ("dtype", Doc::text(&word.text)),
            SideEntryKind::Format(word) => ("format", Doc::text(&word.text)),
            SideEntryKind::Keeps(place) => ("keeps", Doc::text(&place.text)),
            SideEntryKind::Drop(drop) => ("drop", self.dropped(drop)),
        };
        // One column in every side, whichever entries it has.
        let keyword = Doc::text(format!("{keyword:0$} ", "parameters".len()));
        Printed::doc(Doc::Cat(vec![keyword, value]))
    }

    fn plain_key(self, key: &PlainKey) -> String {
        let values: Vec<String> = key.values.iter().map(|value| self.inline(value)).collect();
        match values.is_empty() {
            true => key.key.text.clone(),
            false => format!("{} = {}", key.key.text, values.join(" | ")),
        }
    }

    fn name_list(self, names: &[Name]) -> Doc {
        separated(names.iter().map(|n| self.name(n)))
    }

    fn rank(self, name: &Ident, places: &[Ident], default: Option<&Expr>) -> Doc {
        let mut parts = vec![Doc::text(&name.text)];
        if !places.is_empty() {
            parts.extend([Doc::text(" = "), alternatives(places)]);
        }
        if let Some(default) = default {
            let value = Doc::Cat(vec![Doc::Line(1), Doc::text("else "), self.expr(default)]);
            parts.push(value.nest().group());
        }
        Doc::Cat(parts)
    }

    // -------------------------------------------------------------- config

    pub(super) fn config(self, config: &ConfigDecl, indent: usize) -> Printed {
        let inside = self.trivia.braces_at_end(config.span);
        let entries = config.lines.iter().map(|l| (l.span, l));
        let lines = self.trivia.sequence(entries, inside, |l| self.config_line(l));
        Printed::doc(Doc::Cat(vec![Doc::text("config "), braces(lines, indent)]))
    }

    fn config_line(self, line: &ConfigLine) -> Printed {
        match &line.kind {
            ConfigLineKind::Require { side, condition, message } => {
                let head = format!("require {}", super::rules::on_side(side.as_ref()));
                let head = Doc::Cat(vec![Doc::text(head), self.expr(condition)]);
                two_parts(Kind::Other, &head, &Doc::text(format!("else {}", quoted(&message.text))))
            }
            ConfigLineKind::Note { side, message, condition } => {
                let on_side = super::rules::on_side(side.as_ref());
                let head = Doc::text(format!("note {on_side}{}", quoted(&message.text)));
                let condition = condition.as_ref().map(|c| Doc::Cat(vec![Doc::text("if "), self.expr(c)]));
                two_parts(Kind::Other, &head, &condition.unwrap_or_else(nothing))
            }
            ConfigLineKind::Index { name, from, to } => {
                let (from, to) = (self.inline(from), self.inline(to));
                Printed::doc(Doc::text(format!("{} in {from}..{to}", name.text)))
            }
            ConfigLineKind::ToLeft { place, value } => {
                let value = Doc::Cat(vec![Doc::text("<= "), self.expr(value)]);
                let place = Doc::text(&place.text);
                let broken = Doc::Cat(vec![place.clone(), Doc::text(" "), value.clone()]);
                Printed::row(Kind::ToLeft, &[(0, &place), (1, &value)], broken)
            }
            ConfigLineKind::ToRight { value, place } => {
                two_parts(Kind::ToRight, &self.expr(value), &Doc::text(format!("=> {}", place.text)))
            }
            ConfigLineKind::Field(field) => self.field(field),
        }
    }

    fn field(self, field: &Field) -> Printed {
        let ty = field.ty.as_ref().map_or(String::new(), |ty| format!(": {}", ty.text));
        let name = Doc::text(format!("{}{ty}", field.name.text));
        let value = field.source.as_ref().map(|source| match source {
            FieldSource::Places(places) => alternatives(places),
            FieldSource::Expr(value) => self.expr(value),
        });
        let source = value.map_or_else(nothing, |value| Doc::Cat(vec![Doc::text("= "), value]));
        let target = field.target.as_ref();
        let target = target.map_or_else(nothing, |(arrow, _, places)| {
            Doc::Cat(vec![Doc::text(format!("{} ", arrow.symbol())), alternatives(places)])
        });
        let default = self.defaults(&field.defaults);
        let mut broken = vec![name.clone()];
        if field.source.is_some() {
            broken.extend([Doc::text(" "), source.clone()]);
        }
        broken.extend(field.target.is_some().then(|| target.clone().next_line()));
        broken.extend((!field.defaults.is_empty()).then(|| default.clone().next_line()));
        let cells = [(0, &name), (1, &source), (1, &target), (1, &default)];
        Printed::row(Kind::Field, &cells, Doc::Cat(broken))
    }

    /// `else 1`, `else left: 1 else right: 2`.
    fn defaults(self, defaults: &[Default]) -> Doc {
        let mut parts = Vec::new();
        for default in defaults {
            if !parts.is_empty() {
                parts.push(Doc::text(" "));
            }
            let head = format!("else {}", super::rules::on_side(default.side.as_ref()));
            parts.extend([Doc::text(head), self.expr(&default.value)]);
        }
        Doc::Cat(parts)
    }

    // -------------------------------------------------------------- modules and layouts

    pub(super) fn module(self, module: &ModuleDecl, indent: usize) -> Printed {
        let kind = module.kind.as_ref().map_or(String::new(), |kind| format!(" : {}", kind.text));
        let head = format!("module {}{}{kind}", module.name.text, formals(&module.formals));
        let inside = self.trivia.braces_at_end(module.span);
        let params = module.params.iter().map(|p| (p.span, p));
        let params = self.trivia.sequence(params, inside, |p| self.module_param(p));
        in_braces(&head, params, indent)
    }

    fn module_param(self, param: &ModuleParam) -> Printed {
        let slot = param.slot.as_ref().map_or(String::new(), |slot| format!("{}: ", slot.text));
        let optional = if param.optional { "?" } else { "" };
        let name = Doc::text(format!("{slot}{}{optional}", self.name(&param.name)));
        let mut content = vec![self.layout_expr(&param.layout)];
        content.push(Doc::text(self.arithmetic(&param.affine, param.cast.as_ref())));
        let content = Doc::Cat(content);
        let broken = Doc::Cat(vec![name.clone(), Doc::text(" "), content.clone()]);
        Printed::row(Kind::Parameter, &[(0, &name), (1, &content)], broken)
    }

    pub(super) fn layout_def(self, layout: &LayoutDef) -> Printed {
        let name = Doc::text(format!("layout {}", layout.name.text));
        let mut value = vec![Doc::text("= "), self.layout_expr(&layout.value)];
        // Arms one below the other show best how they differ.
        if matches!(&layout.value, LayoutExpr::Match(choice) if choice.arms.len() > 1) {
            value.insert(0, Doc::Break);
        }
        let value = Doc::Cat(value);
        let broken = Doc::Cat(vec![name.clone(), Doc::text(" "), value.clone()]);
        Printed::row(Kind::Layout, &[(0, &name), (1, &value)], broken)
    }
}

/// A head and parameters in braces: on one line where they fit and no comment stands among them.
pub(super) fn in_braces(head: &str, params: Sequence<Printed>, indent: usize) -> Printed {
    let head_doc = Doc::text(head);
    let mut texts = Vec::new();
    for piece in &params.pieces {
        if let Piece::Entry(param, _) = piece {
            texts.push(param.line(WIDTH));
        }
    }
    let texts = if params.has_comments() { None } else { texts.into_iter().collect::<Option<Vec<_>>>() };
    let broken = Doc::Cat(vec![Doc::text(format!("{head} ")), braces(params, indent)]);
    let Some(mut texts) = texts else {
        return Printed::doc(broken);
    };
    match texts.as_mut_slice() {
        [] => texts.push("{}".to_owned()),
        [first, ..] => {
            first.insert_str(0, "{ ");
            texts.last_mut().into_iter().for_each(|last| last.push_str(" }"));
        }
    }
    let texts: Vec<Doc> = texts.into_iter().map(Doc::Text).collect();
    let mut cells = vec![(0, &head_doc)];
    cells.extend(texts.iter().enumerate().map(|(i, text)| (if i == 0 { 1 } else { 2 }, text)));
    Printed::row(Kind::Module, &cells, broken)
}

pub(super) fn nothing() -> Doc {
    Doc::text("")
}

/// A head and what follows it, the latter on a line of its own where both do not fit on one.
pub(super) fn two_parts(kind: Kind, head: &Doc, rest: &Doc) -> Printed {
    let mut broken = vec![head.clone().group()];
    if rest.flat().is_none_or(|text| !text.is_empty()) {
        broken.push(rest.clone().next_line());
    }
    Printed::row(kind, &[(0, head), (1, rest)], Doc::Cat(broken))
}

/// `a, b`, broken after commas.
fn separated(texts: impl IntoIterator<Item = String>) -> Doc {
    let mut parts: Vec<Doc> = Vec::new();
    for text in texts {
        if !parts.is_empty() {
            parts.extend([Doc::text(","), Doc::Line(1)]);
        }
        parts.push(Doc::Text(text));
    }
    Doc::Cat(parts).group().align()
}

/// Keys of a document, as many to a line as there is room for.
fn filled(document: Option<&Ident>, keys: impl Iterator<Item = String>) -> Doc {
    let room = WIDTH - INDENT - "parameters ".len();
    let mut lines = vec![document.map_or_else(String::new, |document| format!("{}:", document.text))];
    let mut keys = keys.peekable();
    while let Some(mut key) = keys.next() {
        if keys.peek().is_some() {
            key.push(',');
        }
        match lines.last_mut() {
            Some(line) if line.is_empty() => *line = key,
            Some(line) if line.chars().count() + 1 + key.chars().count() <= room => {
                line.push(' ');
                line.push_str(&key);
            }
            _ => lines.push(key),
        }
    }
    let mut parts: Vec<Doc> = Vec::new();
    for line in lines {
        if !parts.is_empty() {
            parts.push(Doc::Hard);
        }
        parts.push(Doc::Text(line));
    }
    Doc::Cat(parts).align()
}

fn document_list(documents: &[(Ident, Option<Ident>)]) -> Doc {
    let document = |(place, alias): &(Ident, Option<Ident>)| match alias {
        Some(_) => format!("{} {}", place.text, clause("as", alias.as_ref())),
        None => place.text.clone(),
    };
    separated(documents.iter().map(document))
}

/// `a | b`, broken before the bars.
fn alternatives(places: &[Ident]) -> Doc {
    let Some((first, rest)) = places.split_first() else {
        return nothing();
    };
    if rest.is_empty() || words(places, " | ").len() + INDENT < WIDTH / 2 {
        return Doc::Text(words(places, " | "));
    }
    let rest = rest.iter().flat_map(|place| [Doc::Line(1), Doc::text(format!("| {}", place.text))]);
    Doc::Cat(vec![Doc::text(&first.text), Doc::Cat(rest.collect())]).align().group()
}
