//! What a model leaves out: parameters that nothing uses, variables that nothing reads.

use super::Forward;
use super::catalogue::Found;
use crate::ast::Name;
use crate::code::Code;
use crate::diagnostic::{Diagnostic, nearest};
use crate::source::Span;
use crate::template::{Part, Template};

impl<'a> Forward<'_, 'a> {
    pub(super) fn report_unread(&mut self) {
        let mut unread: Vec<(Span, String)> = Vec::new();
        for (variable, span) in &self.named {
            let read = |v: &crate::model::VariableId| self.read.contains(v);
            // A function is unfolded at each call; a name in it is read if it is read in one of them.
            let elsewhere = self.named.iter().any(|(other, at)| at == span && read(other));
            let name = &self.model.variable(*variable).name;
            if !read(variable) && !elsewhere && !name.starts_with('_') {
                unread.push((*span, name.clone()));
            }
        }
        unread.sort();
        unread.dedup();
        for (span, name) in unread {
            self.error(
                Diagnostic::warning(Code::Unused, span, format!("`{name}` is never used"), "bound here")
                    .help(format!("use it, or write `_{name}`")),
            );
        }
    }

    /// Every parameter of the side must be used, or said to be unused.
    pub(super) fn report_unused_parameters(&mut self) {
        if self.resolver.diagnostics.has_errors() {
            return;
        }
        let mut out = vec![false; self.catalogue.parameters.len()];
        for name in self.left_out.clone() {
            self.leave_out(name, &mut out);
        }
        if self.resolver.diagnostics.has_errors() {
            return;
        }
        let mut told: Vec<Span> = Vec::new();
        let side = self.resolver.mapping.side(self.model.side).name.clone();
        for (at, place) in self.catalogue.parameters.iter().enumerate().filter(|(_, place)| place.is_first())
        {
            let out = || {
                let others = self.catalogue.parameters.iter().zip(&out).filter(|(_, out)| **out);
                let left = |one: &Found| others.clone().any(|(p, _)| p.found.iter().any(|o| o.is_of(one)));
                place.found.iter().all(left)
            };
            // What one line gives, such as a whole module, is told of once.
            if !place.given || told.contains(&place.span) || self.catalogue.is_used(at) || out() {
                continue;
            }
            told.push(place.span);
            let whole = |module: &usize| {
                let mut all = self.catalogue.modules[*module].parameters.iter();
                all.all(|p| !self.catalogue.is_used(*p))
            };
            let module = place.module.filter(whole).and(place.origin.as_ref());
            let template = module.map_or(&place.template, |origin| &origin.path);
            let shown = self.resolver.mapping.display_template(template);
            self.resolver.error(
                Diagnostic::error(
                    Code::UnusedParameter,
                    place.span,
                    format!("the model does not use `{shown}`"),
                    "given by this rule",
                )
                .with(self.model.span, format!("a model over all parameters of `{side}`"))
                .help(format!("use it, or say why not: `unused {shown} because \"…\"`")),
            );
        }
    }

    fn leave_out(&mut self, name: &'a Name, out: &mut [bool]) {
        let Some(expanded) = self.resolver.expand_name(name, self.model.side) else { return };
        let mut found = false;
        let mut used = None;
        for template in expanded.iter().map(|e| &e.template) {
            let mut below = template.clone();
            below.push_text(".");
            below.push(Part::DoubleStar);
            for (at, place) in self.catalogue.parameters.iter().enumerate() {
                let stored = Template { absolute: template.absolute, ..place.template.clone() };
                if !template.meets(&stored) && !below.meets(&stored) {
                    continue;
                }
                found = true;
                out[at] = true;
                used = used.or_else(|| place.found.iter().find_map(|one| self.catalogue.use_of(one)));
            }
        }
        let written = self.resolver.source.slice(name.span).to_owned();
        if !found {
            let diagnostic = Diagnostic::error(
                Code::UnknownModelName,
                name.span,
                format!("no parameter is called `{written}`"),
                "said to be unused",
            );
            let shown = |t: &Template| self.resolver.mapping.display_template(t);
            let modules = self.catalogue.parameters.iter().filter_map(|p| p.origin.as_ref());
            let known: Vec<String> = modules
                .map(|origin| shown(&origin.path))
                .chain(self.catalogue.parameters.iter().map(|p| shown(&p.template)))
                .collect();
            self.error(match nearest(&written, known.iter().map(String::as_str)) {
                Some(near) => diagnostic.help(format!("did you mean `{near}`?")),
                None => diagnostic.help("name a parameter, a module, or several by `*` and `**`"),
            });
        } else if let Some(used) = used {
            self.error(
                Diagnostic::error(
                    Code::UnusedParameter,
                    name.span,
                    format!("`{written}` is used after all"),
                    "said to be unused",
                )
                .with(used, "used here")
                .help("remove this line, or name what is really unused"),
            );
        }
    }
}
