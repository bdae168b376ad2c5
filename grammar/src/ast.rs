//! The syntax tree: what was written, with the place of everything.

use crate::source::Span;

/// A word and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Ident {
    pub(crate) text: String,
    pub(crate) span: Span,
}

#[derive(Clone, Debug)]
pub(crate) struct File {
    pub(crate) name: Ident,
    /// Absent in a library.
    pub(crate) sides: Option<[Ident; 2]>,
    pub(crate) items: Vec<Item>,
}

#[derive(Clone, Debug)]
pub(crate) enum Item {
    Import(Import),
    Side(SideDecl),
    Config(ConfigDecl),
    Module(ModuleDecl),
    Layout(LayoutDef),
    Model(ModelDecl),
    Repr(ReprDecl),
    Rule(Box<Rule>),
    When(When),
    Match(RuleMatch),
    Drop(Drop),
    Emit(Emit),
    Tie(Tie),
}

impl Item {
    pub(crate) fn span(&self) -> Span {
        match self {
            Item::Import(x) => x.span,
            Item::Side(x) => x.span,
            Item::Config(x) => x.span,
            Item::Module(x) => x.span,
            Item::Layout(x) => x.span,
            Item::Model(x) => x.span,
            Item::Repr(x) => x.span,
            Item::Rule(x) => x.span,
            Item::When(x) => x.span,
            Item::Match(x) => x.span,
            Item::Drop(x) => x.span,
            Item::Emit(x) => x.span,
            Item::Tie(x) => x.span,
        }
    }
}

/// `import megatron`, `import "./common.mapping"`.
#[derive(Clone, Debug)]
pub(crate) struct Import {
    pub(crate) name: Ident,
    /// Whether the name is a path.
    pub(crate) by_path: bool,
    pub(crate) span: Span,
}

// ------------------------------------------------------------------ names

#[derive(Clone, Debug)]
pub(crate) struct Name {
    /// `/model.x`: from the top of the state dict, not from the side's root.
    pub(crate) absolute: bool,
    pub(crate) pieces: Vec<Piece>,
    pub(crate) span: Span,
}

#[derive(Clone, Debug)]
pub(crate) enum Piece {
    Text(Ident),
    Quoted(Ident),
    Star,
    DoubleStar,
    Index(Index),
    Alternatives(Vec<Name>),
    Labels(Vec<(Ident, Name)>),
    List(Vec<Name>),
}

/// `{layer}`, `{2*layer + 1@pp in dense:02}`.
#[derive(Clone, Debug)]
pub(crate) struct Index {
    pub(crate) terms: Vec<IndexTerm>,
    pub(crate) ranks: Vec<Ident>,
    pub(crate) set: Option<IndexSet>,
    pub(crate) width: Option<Ident>,
    pub(crate) span: Span,
}

/// A summand of an index: `factor * axis`, or a number where `axis` is absent.
#[derive(Clone, Debug)]
pub(crate) struct IndexTerm {
    pub(crate) factor: i64,
    pub(crate) axis: Option<Ident>,
}

#[derive(Clone, Debug)]
pub(crate) enum IndexSet {
    Named(Ident),
    Range(Expr, Expr),
}

// ------------------------------------------------------------------ layouts

#[derive(Clone, Debug)]
pub(crate) struct Layout {
    pub(crate) dims: Vec<Dim>,
    pub(crate) span: Span,
}

#[derive(Clone, Debug)]
pub(crate) struct Dim {
    /// `out:` before an axis or group; the label of an arm where it stands first in one.
    pub(crate) role: Option<Ident>,
    pub(crate) kind: DimKind,
    pub(crate) span: Span,
}

#[derive(Clone, Debug)]
pub(crate) enum DimKind {
    Axis { name: Ident, index: Option<Ident>, ranks: Vec<Ident> },
    Broadcast(Ident),
    Unit(Ident),
    Pad,
    Group { arms: Vec<Vec<Dim>>, ranks: Vec<Ident> },
}

/// A layout, a dim, or a choice of these.
#[derive(Clone, Debug)]
pub(crate) enum LayoutExpr {
    Layout(Layout),
    Dim(Dim),
    Match(Match<LayoutExpr>),
    If(If<LayoutExpr>),
}

// ------------------------------------------------------------------ expressions

#[derive(Clone, Debug)]
pub(crate) struct Match<T> {
    pub(crate) scrutinee: Expr,
    pub(crate) arms: Vec<(Pattern, T)>,
    pub(crate) span: Span,
}

#[derive(Clone, Debug)]
pub(crate) struct If<T> {
    pub(crate) condition: Expr,
    pub(crate) then: Box<T>,
    pub(crate) otherwise: Box<T>,
    pub(crate) span: Span,
}

#[derive(Clone, Debug)]
pub(crate) struct Pattern {
    pub(crate) choices: Vec<PatternChoice>,
    pub(crate) span: Span,
}

#[derive(Clone, Debug)]
pub(crate) enum PatternChoice {
    Any,
    Number(String),
    /// `from..`, `..to` and `from..to`, the end left out.
    Range(Option<String>, Option<String>),
    Text(String),
    Word(Ident),
}

#[derive(Clone, Debug)]
pub(crate) struct Expr {
    pub(crate) kind: ExprKind,
    pub(crate) span: Span,
}

#[derive(Clone, Debug)]
pub(crate) enum ExprKind {
    Number(String),
    Text(String),
    List(Vec<Expr>),
    /// A config value, a place in a document, or `true`, `false`, `null`.
    Place(String),
    Present(Ident),
    Not(Box<Expr>),
    Binary(BinaryOp, Box<Expr>, Box<Expr>),
    If(Box<If<Expr>>),
    Match(Box<Match<Expr>>),
    Paren(Box<Expr>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BinaryOp {
    Or,
    And,
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

impl BinaryOp {
    pub(crate) const ALL: [BinaryOp; 13] = [
        BinaryOp::Or,
        BinaryOp::And,
        BinaryOp::Equal,
        BinaryOp::NotEqual,
        BinaryOp::Less,
        BinaryOp::LessEqual,
        BinaryOp::Greater,
        BinaryOp::GreaterEqual,
        BinaryOp::Add,
        BinaryOp::Subtract,
        BinaryOp::Multiply,
        BinaryOp::Divide,
        BinaryOp::Remainder,
    ];

    pub(crate) fn symbol(self) -> &'static str {
        match self {
            BinaryOp::Or => "or",
            BinaryOp::And => "and",
            BinaryOp::Equal => "==",
            BinaryOp::NotEqual => "!=",
            BinaryOp::Less => "<",
            BinaryOp::LessEqual => "<=",
            BinaryOp::Greater => ">",
            BinaryOp::GreaterEqual => ">=",
            BinaryOp::Add => "+",
            BinaryOp::Subtract => "-",
            BinaryOp::Multiply => "*",
            BinaryOp::Divide => "/",
            BinaryOp::Remainder => "%",
        }
    }
}

// ------------------------------------------------------------------ declarations

#[derive(Clone, Debug)]
pub(crate) struct SideDecl {
    pub(crate) name: Ident,
    pub(crate) entries: Vec<SideEntry>,
    pub(crate) span: Span,
}

#[derive(Clone, Debug)]
pub(crate) struct SideEntry {
    pub(crate) kind: SideEntryKind,
    pub(crate) span: Span,
}

#[derive(Clone, Debug)]
pub(crate) enum SideEntryKind {
    Parameters(Vec<Name>),
    Documents(Vec<(Ident, Option<Ident>)>),
    Rank { name: Ident, places: Vec<Ident>, default: Option<Expr> },
    DType(Ident),
    Format(Ident),
    Detect(Vec<Name>),
    Nested(Vec<Name>),
    Family { place: Ident, names: Vec<Ident> },
    Plain { document: Option<Ident>, keys: Vec<PlainKey> },
    Ignored { document: Option<Ident>, keys: Vec<Ident> },
    Keeps(Ident),
    Drop(Drop),
}

/// `window_size = null | [-1, -1]`.
#[derive(Clone, Debug)]
pub(crate) struct PlainKey {
    pub(crate) key: Ident,
    pub(crate) values: Vec<Expr>,
}

#[derive(Clone, Debug)]
pub(crate) struct ConfigDecl {
    pub(crate) lines: Vec<ConfigLine>,
    pub(crate) span: Span,
}

#[derive(Clone, Debug)]
pub(crate) struct ConfigLine {
    pub(crate) kind: ConfigLineKind,
    pub(crate) span: Span,
}

#[derive(Clone, Debug)]
pub(crate) enum ConfigLineKind {
    Require { side: Option<Ident>, condition: Expr, message: Ident },
    Note { side: Option<Ident>, message: Ident, condition: Option<Expr> },
    Index { name: Ident, from: Expr, to: Expr },
    ToLeft { place: Ident, value: Expr },
    ToRight { value: Expr, place: Ident },
    Field(Field),
}

#[derive(Clone, Debug)]
pub(crate) struct Field {
    pub(crate) name: Ident,
    pub(crate) ty: Option<Ident>,
    pub(crate) source: Option<FieldSource>,
    pub(crate) target: Option<(Arrow, Span, Vec<Ident>)>,
    /// Each for the side that it names, or for both.
    pub(crate) defaults: Vec<Default>,
}

/// `else 16`, `else left: 16`.
#[derive(Clone, Debug)]
pub(crate) struct Default {
    pub(crate) side: Option<Ident>,
    pub(crate) value: Expr,
    pub(crate) span: Span,
}

#[derive(Clone, Debug)]
pub(crate) enum FieldSource {
    Places(Vec<Ident>),
    Expr(Expr),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrow {
    Both,
    Right,
    Left,
}

impl Arrow {
    pub(crate) fn symbol(self) -> &'static str {
        match self {
            Arrow::Both => "<=>",
            Arrow::Right => "=>",
            Arrow::Left => "<=",
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct ModuleDecl {
    pub(crate) name: Ident,
    pub(crate) formals: Vec<Ident>,
    /// What it computes.
    pub(crate) kind: Option<Ident>,
    pub(crate) params: Vec<ModuleParam>,
    pub(crate) span: Span,
}

#[derive(Clone, Debug)]
pub(crate) struct ModuleParam {
    /// What the parameter is called across modules, where its own name differs.
    pub(crate) slot: Option<Ident>,
    pub(crate) name: Name,
    pub(crate) optional: bool,
    pub(crate) layout: LayoutExpr,
    pub(crate) affine: Vec<Affine>,
    pub(crate) cast: Option<Ident>,
    pub(crate) span: Span,
}

#[derive(Clone, Debug)]
pub(crate) struct LayoutDef {
    pub(crate) name: Ident,
    pub(crate) value: LayoutExpr,
    pub(crate) span: Span,
}

#[derive(Clone, Debug)]
pub(crate) struct ReprDecl {
    pub(crate) name: Ident,
    pub(crate) formals: Vec<Ident>,
    pub(crate) params: Vec<(Name, Ident, Layout)>,
    pub(crate) value: Option<ModelExpr>,
    pub(crate) span: Span,
}

// ------------------------------------------------------------------ rules

#[derive(Clone, Debug)]
pub(crate) struct Rule {
    pub(crate) left: RuleSide,
    pub(crate) arrow: Arrow,
    pub(crate) arrow_span: Span,
    pub(crate) right: RuleSide,
    pub(crate) options: Vec<RuleOption>,
    pub(crate) body: Option<Vec<Item>>,
    pub(crate) span: Span,
}

#[derive(Clone, Debug)]
pub(crate) enum RuleSide {
    Term(Box<Term>),
    Alternatives(Vec<Alternative>, Span),
    Labelled(Vec<(Ident, Term)>, Span),
}

impl RuleSide {
    pub(crate) fn span(&self) -> Span {
        match self {
            RuleSide::Term(term) => term.span,
            RuleSide::Alternatives(_, span) | RuleSide::Labelled(_, span) => *span,
        }
    }
}

/// One of several ways in which a parameter is stored, and when it is the one that is written.
#[derive(Clone, Debug)]
pub(crate) struct Alternative {
    pub(crate) term: Term,
    pub(crate) condition: Option<Expr>,
}

#[derive(Clone, Debug)]
pub(crate) struct Term {
    pub(crate) name: Name,
    pub(crate) optional: bool,
    pub(crate) content: TermContent,
    pub(crate) affine: Vec<Affine>,
    pub(crate) cast: Option<Ident>,
    pub(crate) span: Span,
}

#[derive(Clone, Debug)]
pub(crate) enum TermContent {
    Bare,
    Layout(LayoutExpr),
    Kind(Ident, Vec<LayoutExpr>),
}

#[derive(Clone, Debug)]
pub(crate) struct Affine {
    pub(crate) op: char,
    pub(crate) number: Ident,
    pub(crate) span: Span,
}

#[derive(Clone, Debug)]
pub(crate) struct RuleOption {
    pub(crate) kind: RuleOptionKind,
    pub(crate) span: Span,
}

#[derive(Clone, Debug)]
pub(crate) enum RuleOptionKind {
    Fill(Ident, Vec<Ident>),
    On(Ident),
    Replicas(Ident),
}

#[derive(Clone, Debug)]
pub(crate) struct When {
    pub(crate) condition: Expr,
    pub(crate) then: Vec<Item>,
    pub(crate) otherwise: Option<Vec<Item>>,
    pub(crate) span: Span,
}

#[derive(Clone, Debug)]
pub(crate) struct RuleMatch {
    pub(crate) scrutinee: Expr,
    pub(crate) arms: Vec<(Pattern, Vec<Item>)>,
    pub(crate) span: Span,
}

#[derive(Clone, Debug)]
pub(crate) struct Drop {
    pub(crate) side: Option<Ident>,
    pub(crate) names: Vec<Name>,
    pub(crate) reason: Option<Ident>,
    pub(crate) span: Span,
}

#[derive(Clone, Debug)]
pub(crate) struct Emit {
    pub(crate) side: Option<Ident>,
    pub(crate) name: Name,
    pub(crate) layout: Layout,
    pub(crate) cast: Option<Ident>,
    pub(crate) value: Ident,
    pub(crate) span: Span,
}

#[derive(Clone, Debug)]
pub(crate) struct Tie {
    pub(crate) side: Option<Ident>,
    pub(crate) alias: Name,
    pub(crate) of: Name,
    pub(crate) on: Option<Ident>,
    pub(crate) span: Span,
}

// ------------------------------------------------------------------ models

#[derive(Clone, Debug)]
pub(crate) struct ModelDecl {
    /// `fn` for a block that the model calls, `model` for the whole.
    pub(crate) function: bool,
    pub(crate) name: Ident,
    /// The side whose parameters it is written over.
    pub(crate) over: Option<Ident>,
    pub(crate) arguments: Vec<ModelArgument>,
    pub(crate) result: ModelArgument,
    pub(crate) block: Block,
    pub(crate) span: Span,
}

#[derive(Clone, Debug)]
pub(crate) struct ModelArgument {
    pub(crate) name: Ident,
    pub(crate) optional: bool,
    pub(crate) layout: Option<Layout>,
    /// The axis whose coordinates its elements are.
    pub(crate) along: Option<Ident>,
}

#[derive(Clone, Debug)]
pub(crate) struct Block {
    pub(crate) statements: Vec<Statement>,
    pub(crate) result: Option<ModelExpr>,
    pub(crate) span: Span,
}

#[derive(Clone, Debug)]
pub(crate) enum Statement {
    /// Several names take a value apart; a name may have the label of its part before it.
    Let {
        names: Vec<(Option<Ident>, Ident)>,
        value: ModelExpr,
        span: Span,
    },
    For {
        name: Ident,
        over: Ident,
        block: Block,
        span: Span,
    },
    Unused {
        name: Name,
        reason: Ident,
        span: Span,
    },
}

#[derive(Clone, Debug)]
pub(crate) struct ModelExpr {
    pub(crate) kind: ModelExprKind,
    pub(crate) span: Span,
}

#[derive(Clone, Debug)]
pub(crate) enum ModelExprKind {
    Number(String),
    Text(String),
    Place(String),
    Tuple(Vec<ModelExpr>),
    Call(Box<ModelExpr>, Vec<Operand>),
    Index(Box<ModelExpr>, Vec<ModelExpr>),
    Binary(BinaryOp, Box<ModelExpr>, Box<ModelExpr>),
    If(Box<(Expr, Block, Block)>),
    Match(Box<(Expr, Vec<(Pattern, Block)>)>),
    /// `sum NAME in SCOPE[INDICES] weighted WEIGHTS { … }`.
    Sum(Box<RoutedSum>),
    /// `(q: a | k: b)`.
    Join(Vec<(Ident, ModelExpr)>),
}

/// What is given to a call, by its place or by a name.
#[derive(Clone, Debug)]
pub(crate) struct Operand {
    pub(crate) name: Option<Ident>,
    pub(crate) value: ModelExpr,
}

#[derive(Clone, Debug)]
pub(crate) struct RoutedSum {
    pub(crate) name: Ident,
    pub(crate) over: Ident,
    pub(crate) indices: ModelExpr,
    pub(crate) weights: ModelExpr,
    pub(crate) block: Block,
}
