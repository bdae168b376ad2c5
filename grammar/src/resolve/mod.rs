//! Syntax tree to checked form. After this pass every axis has a size, every name stands for one thing, and
//! modules, scopes, alternatives and layout names are gone. What could not be resolved is reported and left out. Rules
//! are validated on the way, since models are looked at only where nothing else is wrong.

mod config;
mod expr;
mod layout;
mod model;
mod name;
mod rule;
mod scope;
mod side;

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::ast::{self, Ident, Item};
use crate::budget::Budget;
use crate::code::Code;
use crate::diagnostic::{Diagnostic, Diagnostics, nearest};
use crate::mapping::{Axis, AxisId, ChoiceId, Config, FieldId, Format, Mapping, Rank, RankId, Side, SideId};
use crate::size::{Size, Symbol};
use crate::source::{Source, Span};
use crate::template::Template;

/// Resolves a syntax tree; the mapping holds what could be resolved.
pub(crate) fn resolve(
    file: &ast::File,
    sides: &[Ident; 2],
    source: &Source,
    diagnostics: &mut Diagnostics,
) -> Mapping {
    let mut resolver = Resolver::new(file, sides, source, diagnostics);
    resolver.declare(file, sides);
    resolver.resolve_sides(file);
    resolver.resolve_config(file);
    resolver.resolve_sides_after_config(file);
    resolver.check_layout_names();
    let scope = scope::Scope::top();
    resolver.resolve_items(&file.items, &scope);
    crate::check::check_rules(&resolver.mapping, resolver.diagnostics);
    resolver.resolve_models();
    resolver.report_unused();
    resolver.mapping
}

struct Resolver<'a> {
    mapping: Mapping,
    diagnostics: &'a mut Diagnostics,
    source: &'a Source,
    modules: BTreeMap<&'a str, &'a ast::ModuleDecl>,
    reprs: BTreeMap<&'a str, &'a ast::ReprDecl>,
    layouts: BTreeMap<&'a str, &'a ast::LayoutDef>,
    /// `model` blocks, in order.
    models: Vec<&'a ast::ModelDecl>,
    functions: BTreeMap<&'a str, &'a ast::ModelDecl>,
    /// The parameters of each side, in the order of the rules.
    places: [Vec<rule::Place<'a>>; 2],
    /// Where each config value, index, module and layout is declared.
    declared: HashMap<(Space, String), Span>,
    used: HashMap<(Space, String), Span>,
    axes_by_name: HashMap<String, AxisId>,
    choices_by_text: HashMap<String, ChoiceId>,
    /// Layout names being resolved, to find one that contains itself.
    open_layouts: Vec<&'a str>,
    /// Sides that have a `side` block.
    described: [bool; 2],
    /// Names, as shown, of rules that were left out for a mistake.
    lost_names: [Vec<String>; 2],
    /// Whether rules of a whole scope or branch were left out.
    lost_scope: bool,
    /// Names that lack a declaration, or have one of the wrong kind, and were reported for it.
    reported: HashSet<(Code, String)>,
    /// Indices that are declared with a mistake, which is told.
    lost_indices: HashSet<String>,
    fields_by_name: HashMap<String, FieldId>,
    /// The names of the parameters of all rules.
    stored_names: [HashSet<Template>; 2],
    budget: Budget,
    /// Whether the mapping unfolds to more than its budget, which is told once.
    spent: bool,
    /// What the layout that is being resolved has unfolded to.
    layout_pieces: usize,
}

/// What a declared name is looked up among.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Space {
    Config,
    Module,
    Layout,
    Side,
    Model,
}

impl Space {
    fn noun(self) -> &'static str {
        match self {
            Space::Config => "config value",
            Space::Module => "module",
            Space::Layout => "layout",
            Space::Side => "side block",
            Space::Model => "model",
        }
    }
}

/// A mapping that unfolds to more than `pieces`.
pub(crate) fn too_much(pieces: usize, place: Span) -> Diagnostic {
    Diagnostic::error(
        Code::UnfoldsTooFar,
        place,
        format!("this mapping unfolds to more than {pieces} pieces"),
        "the limit is reached here",
    )
    .note("alternatives of names, scopes, modules, named layouts, choices and sums multiply")
    .help("put what differs by config into one `match`, and what differs by a number into an index")
}

/// A mapping before any of its items is resolved.
fn empty_mapping(file: &ast::File, sides: &[Ident; 2], source: &Source) -> Mapping {
    let side = |ident: &Ident| Side {
        name: ident.text.clone(),
        roots: vec![Template::default()],
        documents: Vec::new(),
        dtype: None,
        format: Format::Safetensors,
        detect: Vec::new(),
        nested: Vec::new(),
        family: None,
        plain: Vec::new(),
        ignored: Vec::new(),
        keeps: None,
    };
    Mapping {
        name: file.name.text.clone(),
        docs: leading_docs(source),
        source: source.clone(),
        sides: [side(&sides[0]), side(&sides[1])],
        axes: Vec::new(),
        ranks: Vec::new(),
        config: Config::default(),
        choices: Vec::new(),
        rules: Vec::new(),
        drops: Vec::new(),
        emits: Vec::new(),
        ties: Vec::new(),
        reflected: false,
        models: Vec::new(),
        repr_rules: Vec::new(),
        not_executable: Vec::new(),
    }
}

/// The text of the `//!` lines that a file begins with.
fn leading_docs(source: &Source) -> String {
    let lines: Vec<&str> = source
        .text()
        .lines()
        .map(str::trim_start)
        .take_while(|l| l.starts_with("//!") || l.is_empty())
        .filter_map(|l| l.strip_prefix("//!"))
        .map(str::trim)
        .collect();
    lines.join("\n")
}

impl<'a> Resolver<'a> {
    fn new(
        file: &ast::File,
        sides: &[Ident; 2],
        source: &'a Source,
        diagnostics: &'a mut Diagnostics,
    ) -> Resolver<'a> {
        // Items with a syntax error are not in the tree.
        let lost_scope = diagnostics.has_errors();
        Resolver {
            mapping: empty_mapping(file, sides, source),
            diagnostics,
            source,
            modules: BTreeMap::new(),
            reprs: BTreeMap::new(),
            layouts: BTreeMap::new(),
            models: Vec::new(),
            functions: BTreeMap::new(),
            places: [Vec::new(), Vec::new()],
            declared: HashMap::new(),
            used: HashMap::new(),
            axes_by_name: HashMap::new(),
            choices_by_text: HashMap::new(),
            open_layouts: Vec::new(),
            described: [false; 2],
            lost_names: [Vec::new(), Vec::new()],
            lost_scope,
            reported: HashSet::new(),
            lost_indices: HashSet::new(),
            fields_by_name: HashMap::new(),
            stored_names: [HashSet::new(), HashSet::new()],
            budget: Budget::of(source),
            spent: false,
            layout_pieces: 0,
        }
    }

    /// Counts what something is unfolded to; `None` once it is too much, which is told at `place`.
    fn charge(&mut self, pieces: usize, place: Span) -> Option<()> {
        if self.budget.charge(pieces) {
            return Some(());
        }
        if !self.spent {
            self.spent = true;
            self.lost_scope = true;
            self.error(too_much(self.budget.whole, place));
        }
        None
    }

    /// The config value called `name`.
    fn field_named(&self, name: &str) -> Option<FieldId> {
        self.fields_by_name.get(name).copied()
    }

    /// Names that items may use before they are written.
    fn declare(&mut self, file: &'a ast::File, sides: &[Ident; 2]) {
        if sides[0].text == sides[1].text {
            self.error(
                Diagnostic::error(
                    Code::DuplicateName,
                    sides[1].span,
                    format!("both sides are called `{}`", sides[1].text),
                    "the same name again",
                )
                .with(sides[0].span, "first here")
                .help("give the sides different names, such as `megatron` and `gpt2`"),
            );
        }
        self.declare_items(&file.items);
    }

    /// Declarations among nested rules are declared too, so that only their place is reported.
    fn declare_items(&mut self, items: &'a [Item]) {
        for item in items {
            match item {
                Item::Module(module) => {
                    self.declare_name(Space::Module, &module.name);
                    self.check_formals(&module.formals);
                    self.check_kind(module);
                    self.modules.insert(&module.name.text, module);
                }
                Item::Repr(repr) => {
                    self.declare_name(Space::Module, &repr.name);
                    self.check_formals(&repr.formals);
                    self.reprs.insert(&repr.name.text, repr);
                    let what = format!("the stored representation `{}`", repr.name.text);
                    self.mapping.not_executable.push((what, repr.name.span));
                }
                Item::Layout(layout) => {
                    self.declare_name(Space::Layout, &layout.name);
                    self.layouts.insert(&layout.name.text, layout);
                }
                Item::Model(model) => {
                    self.declare_name(Space::Model, &model.name);
                    if model.function {
                        self.functions.insert(&model.name.text, model);
                    } else {
                        self.models.push(model);
                    }
                }
                Item::Rule(rule) => self.declare_items(rule.body.as_deref().unwrap_or_default()),
                Item::When(when) => {
                    self.declare_items(&when.then);
                    self.declare_items(when.otherwise.as_deref().unwrap_or_default());
                }
                Item::Match(choice) => {
                    choice.arms.iter().for_each(|(_, items)| self.declare_items(items));
                }
                _ => {}
            }
        }
    }

    /// A formal axis is known by its name alone.
    fn check_formals(&mut self, formals: &[Ident]) {
        let mut seen: HashMap<&str, Span> = HashMap::new();
        for formal in formals {
            if let Some(first) = seen.get(formal.text.as_str()).copied() {
                self.error(
                    Diagnostic::error(
                        Code::DuplicateName,
                        formal.span,
                        format!("the axis `{}` is declared twice", formal.text),
                        "declared again here",
                    )
                    .with(first, "first declared here")
                    .help("give each axis of a module a name of its own, such as `out` and `in`"),
                );
            }
            seen.entry(&formal.text).or_insert(formal.span);
        }
    }

    /// A word in a layout is a layout's name before it is an axis, so it must not be both.
    fn check_layout_names(&mut self) {
        let names: Vec<Ident> = self.layouts.values().map(|l| l.name.clone()).collect();
        for name in names {
            let axis = self.axes_by_name.get(&name.text).map(|a| self.declared_axis_span(*a));
            let field = self.field_named(&name.text).map(|f| self.mapping.field(f).span);
            let Some(other) = field.or(axis.flatten()) else { continue };
            self.error(
                Diagnostic::error(
                    Code::DuplicateName,
                    name.span,
                    format!("`{}` is both a layout and a config value", name.text),
                    "a layout here",
                )
                .with(other, "a config value here")
                .help("give one of them another name: in `[…]` either could be meant"),
            );
        }
    }

    fn declared_axis_span(&self, axis: AxisId) -> Option<Span> {
        self.declared.get(&(Space::Config, self.mapping.axis(axis).name.clone())).copied()
    }

    fn declare_name(&mut self, space: Space, name: &Ident) {
        match self.declared.get(&(space, name.text.clone())) {
            Some(first) => self.declared_twice(space, name, *first),
            None => {
                self.declared.insert((space, name.text.clone()), name.span);
            }
        }
    }

    fn declared_twice(&mut self, space: Space, name: &Ident, first: Span) {
        self.error(
            Diagnostic::error(
                Code::DuplicateName,
                name.span,
                format!("the {} `{}` is declared twice", space.noun(), name.text),
                "declared again here",
            )
            .with(first, "first declared here")
            .help("remove one, or give it another name"),
        );
    }

    fn error(&mut self, diagnostic: Diagnostic) {
        self.diagnostics.push(diagnostic);
    }

    /// Whether this name is reported under this code for the first time. A declaration that is absent is one
    /// mistake, however often the name stands.
    fn first_report(&mut self, code: Code, name: &str) -> bool {
        self.reported.insert((code, name.to_owned()))
    }

    fn mark_used(&mut self, space: Space, name: &Ident) {
        self.used.entry((space, name.text.clone())).or_insert(name.span);
    }

    fn side_named(&mut self, name: &Ident) -> Option<SideId> {
        let found = SideId::BOTH.into_iter().find(|s| self.mapping.side(*s).name == name.text);
        if found.is_none() {
            let names = [self.mapping.sides[0].name.clone(), self.mapping.sides[1].name.clone()];
            let mut diagnostic = Diagnostic::error(
                Code::UnknownSide,
                name.span,
                format!("there is no side `{}`", name.text),
                format!("the sides are `{}` and `{}`", names[0], names[1]),
            );
            if let Some(near) = nearest(&name.text, names.iter().map(String::as_str)) {
                diagnostic = diagnostic.help(format!("did you mean `{near}`?"));
            }
            self.error(diagnostic);
        }
        found
    }

    /// The axis a name stands for: a declared index, a config value, or `layer` where `layers` is one.
    fn axis(&mut self, name: &Ident) -> Option<AxisId> {
        if let Some(axis) = self.axes_by_name.get(&name.text) {
            let axis = *axis;
            let field = self.mapping.axis(axis).field;
            self.mark_used(Space::Config, name);
            if let Some(field) = field {
                let text = self.mapping.field(field).name.clone();
                self.mark_used(Space::Config, &Ident { text, span: name.span });
            }
            return Some(axis);
        }
        let plural = format!("{}s", name.text);
        let field = self.field_named(&name.text).or_else(|| self.field_named(&plural));
        let Some(field) = field else {
            self.unknown_axis(name);
            return None;
        };
        let text = self.mapping.field(field).name.clone();
        self.mark_used(Space::Config, &Ident { text, span: name.span });
        let size = Size::symbol(Symbol::Field(field));
        let range = (Size::default(), size.clone());
        Some(self.add_axis(&name.text, Axis { name: name.text.clone(), size, range, field: Some(field) }))
    }

    fn add_axis(&mut self, name: &str, axis: Axis) -> AxisId {
        let id = AxisId::from_index(self.mapping.axes.len());
        self.mapping.axes.push(axis);
        self.axes_by_name.insert(name.to_owned(), id);
        id
    }

    fn unknown_axis(&mut self, name: &Ident) {
        if self.diagnostics.is_full() || self.lost_indices.contains(&name.text) {
            return;
        }
        let known: Vec<String> = self
            .mapping
            .config
            .fields
            .iter()
            .map(|f| f.name.clone())
            .chain(self.axes_by_name.keys().cloned())
            .chain(self.layouts.keys().map(|l| (*l).to_owned()))
            .chain(
                self.mapping.config.fields.iter().filter_map(|f| Some(f.name.strip_suffix('s')?.to_owned())),
            )
            .collect();
        let near = nearest(&name.text, known.iter().map(String::as_str));
        if near.is_none() && !self.first_report(Code::UnknownAxis, &name.text) {
            return;
        }
        let mut diagnostic = Diagnostic::error(
            Code::UnknownAxis,
            name.span,
            format!("unknown axis `{}`", name.text),
            "no config value, index or layout has this name",
        );
        diagnostic = match near {
            Some(near) => diagnostic.help(format!("did you mean `{near}`?")),
            None => diagnostic.help(format!(
                "say where its size is found: in `config`, write `{0}` alone, or `{0} = PLACE`, \
                 or for an index `{0} in 0..COUNT`",
                name.text
            )),
        };
        self.error(diagnostic);
    }

    /// A rank axis. Where its side has no `side` block, naming it is enough.
    fn rank(&mut self, name: &Ident, side: SideId) -> Option<RankId> {
        if let Some(found) = self.mapping.ranks.iter().position(|r| r.name == name.text && r.side == side) {
            return Some(RankId::from_index(found));
        }
        if self.described[side.index()] {
            let ranks: Vec<String> =
                self.mapping.ranks.iter().filter(|r| r.side == side).map(|r| r.name.clone()).collect();
            let near = nearest(&name.text, ranks.iter().map(String::as_str));
            if near.is_none() && !self.first_report(Code::UnknownRank, &name.text) {
                return None;
            }
            let side_name = self.mapping.side(side).name.clone();
            let mut diagnostic = Diagnostic::error(
                Code::UnknownRank,
                name.span,
                format!("side `{side_name}` has no rank axis `{}`", name.text),
                "not declared in its `side` block",
            );
            diagnostic = match near {
                Some(near) => diagnostic.help(format!("did you mean `{near}`?")),
                None => diagnostic.help(format!(
                    "add `rank {} = PLACE else 1` to `side {side_name}`, where PLACE holds the number of ranks",
                    name.text
                )),
            };
            self.error(diagnostic);
            return None;
        }
        let rank = Rank { name: name.text.clone(), side, places: Vec::new(), default: None };
        self.mapping.ranks.push(rank);
        Some(RankId::from_index(self.mapping.ranks.len() - 1))
    }

    fn dtype(&mut self, name: &Ident) -> Option<String> {
        if DTYPES.contains(&name.text.as_str()) {
            return Some(name.text.clone());
        }
        let mut diagnostic = Diagnostic::error(
            Code::UnknownDType,
            name.span,
            format!("unknown dtype `{}`", name.text),
            format!("the dtypes are {}", DTYPES.join(", ")),
        );
        let known_as = FOREIGN_DTYPES.iter().find(|(foreign, _)| *foreign == name.text).map(|(_, own)| *own);
        if let Some(near) = known_as.or_else(|| nearest(&name.text, DTYPES.iter().copied())) {
            diagnostic = diagnostic.help(format!("did you mean `{near}`?"));
        }
        self.error(diagnostic);
        None
    }

    /// Modules and layouts that nothing uses are most often a sign of a misspelt name elsewhere. After an error
    /// they may be unused for that reason alone.
    fn report_unused(&mut self) {
        if self.diagnostics.has_errors() {
            return;
        }
        let mut unused: Vec<(Space, String, Span)> = self
            .declared
            .iter()
            .filter(|((space, name), _)| match space {
                Space::Module | Space::Layout => true,
                Space::Model => self.functions.contains_key(name.as_str()),
                Space::Config | Space::Side => false,
            })
            .filter(|(key, _)| !self.used.contains_key(*key))
            // A library declares what some of those that import it use.
            .filter(|(_, span)| span.range().end <= self.source.text().len())
            .map(|((space, name), span)| (*space, name.clone(), *span))
            .collect();
        unused.sort_by_key(|(_, _, span)| span.start);
        for (space, name, span) in unused {
            let (noun, user) = match space {
                Space::Model => ("function", "model"),
                other => (other.noun(), "rule"),
            };
            self.error(
                Diagnostic::warning(
                    Code::Unused,
                    span,
                    format!("the {noun} `{name}` is never used"),
                    "declared here",
                )
                .help(format!("use it in a {user}, or remove it")),
            );
        }
    }

    fn field_or_bug(&self, name: &str) -> FieldId {
        self.field_named(name).unwrap_or(FieldId(0))
    }
}

/// Names of dtypes, as mappings and the command line write them.
pub(crate) const DTYPES: [&str; 12] =
    ["f64", "f32", "f16", "bf16", "i64", "i32", "i16", "i8", "u8", "bool", "f8_e4m3", "f8_e5m2"];

/// What other programs call them.
const FOREIGN_DTYPES: [(&str, &str); 16] = [
    ("float64", "f64"),
    ("double", "f64"),
    ("fp64", "f64"),
    ("float32", "f32"),
    ("float", "f32"),
    ("fp32", "f32"),
    ("float16", "f16"),
    ("half", "f16"),
    ("fp16", "f16"),
    ("bfloat16", "bf16"),
    ("int64", "i64"),
    ("long", "i64"),
    ("int32", "i32"),
    ("int", "i32"),
    ("int8", "i8"),
    ("uint8", "u8"),
];
