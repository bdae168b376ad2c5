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
    /// Where the documents of the other side are kept whole when this one is written from it.
    pub keeps: Option<String>,
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

    /// Places that the mapping's expressions look at, in whichever side's documents; each once, in order.
    #[must_use]
    pub fn places_in_expressions(&self) -> Vec<String> {
        let config = &self.config;
        let fields = config.fields.iter().flat_map(|f| f.computed.iter().chain(&f.default));
        let conditions = config.notes.iter().flat_map(|note| &note.condition);
        let all = fields
            .chain(self.ranks.iter().flat_map(|rank| &rank.default))
            .chain(self.choices.iter().map(|choice| &choice.on))
            .chain(config.writes.iter().map(|write| &write.value))
            .chain(config.requires.iter().map(|require| &require.condition))
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
