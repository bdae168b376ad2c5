//! The checked form of a mapping: no sugar, no name to look up, no text to parse again.

mod config;
mod rule;

pub use config::{Config, Equation, Field, Note, Require, Type, Write};
pub use rule::{Affine, Direction, Entry, Fill, RankEnd, Replicas, Rule, Stored};

use crate::layout::{Arm, Factor, Layout};
use crate::model::Model;
use crate::size::{Size, Symbol};
use crate::source::{Source, Span};
use crate::template::Template;
use crate::value::{Expr, ExprKind, Pattern};

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub u32);

        impl $name {
            /// Its place in the list it numbers.
            #[must_use]
            pub const fn index(self) -> usize {
                self.0 as usize
            }

            /// The one at a place in that list.
            #[must_use]
            pub fn from_index(index: usize) -> $name {
                $name(u32::try_from(index).unwrap_or(u32::MAX))
            }
        }
    )*};
}

pub(crate) use ids;

ids! {
    /// Numbers [`Mapping::axes`].
    AxisId
    /// Numbers [`Config::fields`].
    FieldId
    /// Numbers [`Mapping::choices`].
    ChoiceId
    /// Numbers [`Mapping::ranks`].
    RankId
}

/// One of the two sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SideId {
    /// Left of the arrows.
    Left,
    /// Right of the arrows.
    Right,
}

impl SideId {
    /// Both, left first.
    pub const BOTH: [SideId; 2] = [SideId::Left, SideId::Right];

    /// The other one.
    #[must_use]
    pub const fn other(self) -> SideId {
        match self {
            SideId::Left => SideId::Right,
            SideId::Right => SideId::Left,
        }
    }

    /// Its place in a pair.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// A checked mapping between two ways to store one model.
#[derive(Clone, Debug)]
pub struct Mapping {
    /// The name after `mapping`.
    pub name: String,
    /// The text of its leading `//!` lines.
    pub docs: String,
    /// Where it was read from; every span in it refers to this.
    pub source: Source,
    /// Both sides.
    pub sides: [Side; 2],
    /// Named axes.
    pub axes: Vec<Axis>,
    /// Rank axes.
    pub ranks: Vec<Rank>,
    /// Config values and what ties them to documents.
    pub config: Config,
    /// Decisions that rules and layouts depend on.
    pub choices: Vec<Choice>,
    /// Which parameter becomes which.
    pub rules: Vec<Rule>,
    /// Names that hold nothing the other side needs.
    pub drops: Vec<Drop>,
    /// Parameters that one side makes up.
    pub emits: Vec<Emit>,
    /// Parameters that are copies of others.
    pub ties: Vec<Tie>,
    /// Whether both sides are one, which is split over other ranks: parameters keep the names they have.
    pub reflected: bool,
    /// Forward passes.
    pub models: Vec<Model>,
    /// Rules that use a stored representation. They are read, and are not among `rules`.
    pub repr_rules: Vec<Span>,
    /// Parts that parse and check, but that this version cannot execute: what, and where.
    pub not_executable: Vec<(String, Span)>,
}

/// What a mapping says of one side as a whole.
#[derive(Clone, Debug)]
pub struct Side {
    /// Its name.
    pub name: String,
    /// The keys under which parameters lie; names of rules are relative to the first.
    pub roots: Vec<Template>,
    /// Config documents; the first file is what bare places refer to.
    pub documents: Vec<Document>,
    /// The dtype parameters are stored in, unless a rule says otherwise.
    pub dtype: Option<String>,
    /// The file format that is written.
    pub format: Format,
    /// Names that a checkpoint of this side has; of each group of alternatives it has one.
    pub detect: Vec<Vec<Template>>,
    /// Names that are dictionaries of their own in a torch file, below the first root. Other names are keys with
    /// dots in them.
    pub nested: Vec<Template>,
    /// Which models are of this side, where its documents say which they are of.
    pub family: Option<Family>,
    /// Keys of its documents that change what a model computes, with the values of a model as the mapping has it.
    pub plain: Vec<Plain>,
    /// Keys of its documents that change nothing in what a model computes.
    pub ignored: Vec<Ignored>,
    /// Where the documents of the other side are kept whole when this one is written from it.
    pub keeps: Option<String>,
}

/// The models that a side is of, by the name that its documents give them.
#[derive(Clone, Debug)]
pub struct Family {
    /// The place of that name.
    pub place: String,
    /// The names of these models.
    pub names: Vec<String>,
    /// Where it is written.
    pub span: Span,
}

/// A key that changes what a model computes.
#[derive(Clone, Debug)]
pub struct Plain {
    /// The document, or the part of one, that is listed: empty for the main file.
    pub document: String,
    /// The key in it, dots between the keys of dictionaries in one another.
    pub key: String,
    /// Values with which the model is as the mapping has it; where none is given, those that count as false.
    pub values: Vec<Expr>,
    /// Where it is written.
    pub span: Span,
}

/// A key, or all that begin alike, that changes nothing in what a model computes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ignored {
    /// The document, or the part of one, that is listed: empty for the main file.
    pub document: String,
    /// The key, or what keys begin with.
    pub key: String,
    /// Whether it is the beginning of keys.
    pub begins: bool,
}

impl Plain {
    /// The place in the side's documents.
    #[must_use]
    pub fn place(&self) -> String {
        place_in(&self.document, &self.key)
    }
}

impl Ignored {
    /// Whether it takes a key of a document.
    #[must_use]
    pub fn takes(&self, document: &str, key: &str) -> bool {
        self.document == document
            && match self.begins {
                true => key.starts_with(&self.key),
                false => key == self.key,
            }
    }
}

/// A key of a document as the place that holds it.
#[must_use]
pub fn place_in(document: &str, key: &str) -> String {
    if document.is_empty() { key.to_owned() } else { format!("{document}.{key}") }
}

impl Side {
    /// The number of the document that a place is in, and the path in it: reading and writing go by this alone. The place
    /// begins with the document's name or alias; else it is in the first file without alias. A key of the state dict
    /// keeps its name in the path.
    #[must_use]
    pub fn document_of(&self, place: &str) -> Option<(usize, String)> {
        let below = |name: &str| match place.strip_prefix(name)? {
            "" => Some(""),
            rest => rest.strip_prefix('.'),
        };
        let named = self.documents.iter().enumerate().filter_map(|(at, document)| {
            let alias = document.alias.as_deref().and_then(below);
            Some((at, alias.or_else(|| below(&document.name))?))
        });
        // `config.json` is in no document `config`.
        let longest = named.min_by_key(|(_, rest)| rest.len());
        if let Some((at, rest)) = longest {
            let document = &self.documents[at];
            return Some(match (document.is_file(), rest) {
                (true, rest) => (at, rest.to_owned()),
                (false, "") => (at, document.name.clone()),
                (false, rest) => (at, format!("{}.{rest}", document.name)),
            });
        }
        let main = self.documents.iter().position(|d| d.is_file() && d.alias.is_none())?;
        Some((main, place.to_owned()))
    }
}

/// How a side's checkpoints are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `model.safetensors` with config files beside it.
    Safetensors,
    /// Files that `torch.load` reads.
    Torch,
}

/// A config document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// A file name that ends in `.json`, or a key of the state dict.
    pub name: String,
    /// What places call it, where it is not the main document.
    pub alias: Option<String>,
}

impl Document {
    /// Whether it is a file of its own.
    #[must_use]
    pub fn is_file(&self) -> bool {
        self.name.ends_with(".json")
    }
}

/// A named axis.
#[derive(Clone, Debug)]
pub struct Axis {
    /// Its name.
    pub name: String,
    /// How many coordinates it has; for a size that depends on an index see [`Symbol::At`].
    pub size: Size,
    /// The first coordinate, and one past the last, of an index; an axis of memory starts at 0.
    pub range: (Size, Size),
    /// The config value that is its size, if it is one.
    pub field: Option<FieldId>,
}

/// A rank axis: which process held a block of a distributed axis.
#[derive(Clone, Debug)]
pub struct Rank {
    /// Its name.
    pub name: String,
    /// The side whose checkpoints it splits.
    pub side: SideId,
    /// Where its number of ranks is found, in order.
    pub places: Vec<String>,
    /// The number where no place has one.
    pub default: Option<Expr>,
}

/// A decision over config: the first pattern that fits its value is taken.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// What is decided on.
    pub on: Expr,
    /// The branches.
    pub patterns: Vec<Pattern>,
    /// Where it is written.
    pub span: Span,
}

/// Branches that must all be taken; at most one per choice.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Guard(pub Vec<(ChoiceId, usize)>);

impl Guard {
    /// Both guards at once; `None` where they take different branches of one choice.
    #[must_use]
    pub fn and(&self, other: &Guard) -> Option<Guard> {
        let mut all = self.0.clone();
        for (choice, branch) in &other.0 {
            match all.iter().find(|(c, _)| c == choice) {
                Some((_, taken)) if taken != branch => return None,
                Some(_) => {}
                None => all.push((*choice, *branch)),
            }
        }
        Some(Guard(all))
    }

    /// Whether no config takes both.
    #[must_use]
    pub fn excludes(&self, other: &Guard) -> bool {
        self.and(other).is_none()
    }
}

/// Names that are left out.
#[derive(Clone, Debug)]
pub struct Drop {
    /// When.
    pub guard: Guard,
    /// On which side.
    pub side: SideId,
    /// Which.
    pub name: Template,
    /// Why.
    pub reason: Option<String>,
    /// Where it is written.
    pub span: Span,
}

/// A parameter made up when its side is written, and left out when it is read.
#[derive(Clone, Debug)]
pub struct Emit {
    /// When it is written; it is left out in any case.
    pub guard: Guard,
    /// On which side.
    pub side: SideId,
    /// Its name.
    pub name: Template,
    /// Its layout.
    pub layout: Layout,
    /// Its dtype, where it differs from the side's.
    pub dtype: Option<String>,
    /// What it holds.
    pub value: EmitValue,
    /// Where it is written.
    pub span: Span,
}

/// What an emitted parameter holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum EmitValue {
    /// One number everywhere.
    Constant(f64),
    /// Ones on and below the diagonal of the last two dimensions, zeros above.
    Tril,
    /// 0, 1, 2, … in the order of memory.
    Arange,
}

/// A parameter that is another one again.
#[derive(Clone, Debug)]
pub struct Tie {
    /// When.
    pub guard: Guard,
    /// On which side.
    pub side: SideId,
    /// The copy.
    pub alias: Template,
    /// What it is a copy of; a parameter of some rule.
    pub of: Template,
    /// The ranks it is written on, where there are several; it is not written otherwise.
    pub on: Option<(RankId, RankEnd)>,
    /// Where it is written.
    pub span: Span,
}

impl Mapping {
    /// A choice for which none of these guards holds in some branch, where `context` holds; `None` where one of them holds in
    /// any case.
    #[must_use]
    pub fn lacking(&self, guards: &[&Guard], context: &Guard) -> Option<ChoiceId> {
        let possible: Vec<&Guard> = guards.iter().copied().filter(|g| !g.excludes(context)).collect();
        let open =
            |guard: &Guard| guard.0.iter().find(|part| !context.0.contains(part)).map(|(choice, _)| *choice);
        let mut choices = possible.iter().map(|g| open(g));
        let Some(first) = choices.next() else { return context.0.last().map(|(choice, _)| *choice) };
        // A guard with nothing open holds here.
        let choice = first?;
        if choices.any(|c| c.is_none()) {
            return None;
        }
        let branches = self.choices[choice.index()].patterns.len();
        let lacks = |branch| {
            let Some(inside) = context.and(&Guard(vec![(choice, branch)])) else { return false };
            self.lacking(&possible, &inside).is_some()
        };
        (0..branches).any(lacks).then_some(choice)
    }

    /// A side.
    #[must_use]
    pub fn side(&self, id: SideId) -> &Side {
        &self.sides[id.index()]
    }

    /// An axis.
    #[must_use]
    pub fn axis(&self, id: AxisId) -> &Axis {
        &self.axes[id.index()]
    }

    /// The rank axes of a side, in the order in which they are declared.
    pub fn ranks_of(&self, side: SideId) -> impl Iterator<Item = RankId> + '_ {
        let all = self.ranks.iter().enumerate().filter(move |(_, rank)| rank.side == side);
        all.map(|(at, _)| RankId::from_index(at))
    }

    /// Places of a side's documents that the mapping makes something of: it reads a value there, or states what it must be.
    #[must_use]
    pub fn places_read(&self, side: SideId) -> Vec<String> {
        let config = &self.config;
        let computed =
            config.fields.iter().filter(|_| side == SideId::Left).flat_map(|field| &field.computed);
        let written = config.writes.iter().filter(|write| write.side != side).map(|write| &write.value);
        let required = config.requires.iter().filter(|r| r.side == side).map(|require| &require.condition);
        let mut places: Vec<String> = Vec::new();
        for expr in computed.chain(written).chain(required) {
            expr.visit(&mut |e| {
                if let ExprKind::Place(place) | ExprKind::Present(place) = &e.kind {
                    places.push(place.clone());
                }
            });
        }
        places.extend(config.fields.iter().flat_map(|field| field.places[side.index()].clone()));
        places
            .extend(self.ranks.iter().filter(|rank| rank.side == side).flat_map(|rank| rank.places.clone()));
        places
    }

    /// Places of a side's documents that the mapping writes.
    pub fn places_written(&self, side: SideId) -> impl Iterator<Item = &str> {
        let writes = self.config.writes.iter().filter(move |write| write.side == side);
        writes.map(|write| write.place.as_str())
    }

    /// Places that the mapping's expressions look at, in whichever side's documents; each once, in order.
    #[must_use]
    pub fn places_in_expressions(&self) -> Vec<String> {
        let config = &self.config;
        let fields = config.fields.iter().flat_map(|f| f.computed.iter().chain(f.defaults.iter().flatten()));
        let conditions = config.notes.iter().flat_map(|note| &note.condition);
        let all = fields
            .chain(self.ranks.iter().flat_map(|rank| &rank.default))
            .chain(self.choices.iter().map(|choice| &choice.on))
            .chain(config.writes.iter().map(|write| &write.value))
            .chain(config.requires.iter().map(|require| &require.condition))
            .chain(self.sides.iter().flat_map(|side| &side.plain).flat_map(|plain| &plain.values))
            .chain(conditions);
        let mut places = Vec::new();
        for expr in all {
            expr.visit(&mut |e| {
                if let ExprKind::Place(place) | ExprKind::Present(place) = &e.kind
                    && !places.contains(place)
                {
                    places.push(place.clone());
                }
            });
        }
        places
    }

    /// A config value.
    #[must_use]
    pub fn field(&self, id: FieldId) -> &Field {
        &self.config.fields[id.index()]
    }

    /// The config value called `name`.
    #[must_use]
    pub fn field_named(&self, name: &str) -> Option<FieldId> {
        self.config.fields.iter().position(|f| f.name == name).map(FieldId::from_index)
    }

    /// What a symbol of a size is called.
    #[must_use]
    pub fn symbol_name(&self, symbol: Symbol) -> String {
        match symbol {
            Symbol::Field(field) => self.field(field).name.clone(),
            Symbol::At(field, axis) => format!("{}[{}]", self.field(field).name, self.axis(axis).name),
        }
    }

    /// How a reader writes a name.
    #[must_use]
    pub fn display_template(&self, template: &Template) -> String {
        template.display(&|axis| self.axis(axis).name.clone())
    }

    /// How a reader writes a layout, roles and ranks left out: `[((q | k | v) heads head_dim) hidden]`.
    #[must_use]
    pub fn display_layout(&self, layout: &Layout) -> String {
        let dims: Vec<String> = layout.dims.iter().map(|d| self.display_factor(d)).collect();
        format!("[{}]", dims.join(" "))
    }

    fn display_factor(&self, factor: &Factor) -> String {
        let product =
            |factors: &[Factor]| factors.iter().map(|f| self.display_factor(f)).collect::<Vec<_>>().join(" ");
        match factor {
            Factor::Axis(axis) => {
                let name = &self.axis(axis.axis).name;
                let star = if axis.broadcast { "*" } else { "" };
                axis.by
                    .map_or_else(|| format!("{star}{name}"), |by| format!("{name}[{}]", self.axis(by).name))
            }
            Factor::Product(factors, _) => format!("({})", product(factors)),
            Factor::Unit => "1".to_owned(),
            Factor::Sum(sum) => {
                let arm = |arm: &Arm| match (arm.pad, arm.factors.is_empty()) {
                    (true, _) => format!("{}: _", arm.label),
                    (false, true) => arm.label.clone(),
                    (false, false) => format!("{}: {}", arm.label, product(&arm.factors)),
                };
                format!("({})", sum.arms.iter().map(arm).collect::<Vec<_>>().join(" | "))
            }
        }
    }

    /// The rules that cannot be followed to one of the sides.
    pub fn one_way_rules(&self) -> impl Iterator<Item = &Rule> {
        self.rules.iter().filter(|r| r.direction != Direction::Both)
    }
}
