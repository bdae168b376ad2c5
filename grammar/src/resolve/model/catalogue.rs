//! The parameters of a side by their names, as a model refers to them.

use std::rc::Rc;

use crate::ast;
use crate::mapping::{SideId, Stored};
use crate::resolve::Resolver;
use crate::resolve::rule::Origin;
use crate::source::Span;
use crate::template::{IndexPart, Part, Template};

/// A part of a name between dots, and the index that follows it.
#[derive(Clone, Debug)]
pub(super) struct Segment {
    pub(super) name: String,
    pub(super) index: Option<IndexPart>,
}

/// Segments from the top on.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Path(pub(super) Vec<Segment>);

impl PartialEq for Segment {
    /// Ranks and digits are how an index is written, not which coordinates it has.
    fn eq(&self, other: &Segment) -> bool {
        let index = |s: &Segment| s.index.as_ref().map(|i| (i.axis, i.scale, i.offset, i.range.clone()));
        self.name == other.name && index(self) == index(other)
    }
}

impl Path {
    /// The path of a name; none where a number stands elsewhere than between dots, below some text.
    pub(super) fn of(template: &Template) -> Option<Path> {
        let mut path = Vec::<Segment>::new();
        let mut at_start = true;
        for part in &template.parts {
            match part {
                Part::Literal(text) => {
                    for (i, piece) in text.split('.').enumerate() {
                        at_start |= i > 0;
                        if piece.is_empty() {
                            continue;
                        }
                        if !at_start {
                            return None;
                        }
                        path.push(Segment { name: piece.to_owned(), index: None });
                        at_start = false;
                    }
                }
                Part::Index(index) => {
                    let last = path.last_mut().filter(|last| at_start && last.index.is_none())?;
                    last.index = Some(index.clone());
                    at_start = false;
                }
                Part::Rank(..) | Part::Star | Part::DoubleStar => return None,
            }
        }
        Some(Path(path))
    }

    /// These words below `self`.
    pub(super) fn below(&self, words: &[&str]) -> Path {
        let words = words.iter().map(|w| Segment { name: (*w).to_owned(), index: None });
        Path(self.0.iter().cloned().chain(words).collect())
    }

    pub(super) fn parent(&self) -> Path {
        Path(self.0[..self.0.len().saturating_sub(1)].to_vec())
    }

    pub(super) fn starts_with(&self, other: &Path) -> bool {
        self.0.starts_with(&other.0)
    }

    /// How a model writes what is below `self` on the way to `other`.
    pub(super) fn words_to(&self, other: &Path) -> String {
        let words: Vec<&str> = other.0.iter().skip(self.0.len()).map(|s| s.name.as_str()).collect();
        words.join(".")
    }
}

/// A parameter of the side under one of its names: where it is stored in several ways, each has a name.
pub(super) struct StoredPlace<'a> {
    pub(super) path: Option<Path>,
    pub(super) template: Template,
    /// What it is called below its module, or below its scope.
    pub(super) own: String,
    pub(super) slot: Option<String>,
    /// In [`Catalogue::modules`].
    pub(super) module: Option<usize>,
    pub(super) origin: Option<Rc<Origin<'a>>>,
    /// The rules that have this name, and where in them.
    pub(super) found: Vec<Found>,
    pub(super) span: Span,
    /// Whether a rule gives it to this side at all.
    pub(super) given: bool,
    /// Where the model uses it first, under this name.
    pub(super) used: Option<Span>,
}

impl StoredPlace<'_> {
    /// Whether this is the first name that some rule gives the parameter.
    pub(super) fn is_first(&self) -> bool {
        self.found.iter().any(|found| found.way == 0)
    }
}

/// A way to store an entry of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) rule: usize,
    pub(super) entry: usize,
    /// In [`crate::Entry::stored`].
    pub(super) way: usize,
}

impl Found {
    /// Whether both are ways to store one parameter.
    pub(super) fn is_of(&self, other: &Found) -> bool {
        (self.rule, self.entry) == (other.rule, other.entry)
    }
}

/// A module of the side.
pub(super) struct ModulePlace<'a> {
    pub(super) path: Path,
    pub(super) declaration: &'a ast::ModuleDecl,
    /// In [`Catalogue::parameters`].
    pub(super) parameters: Vec<usize>,
}

/// All of a side.
#[derive(Default)]
pub(super) struct Catalogue<'a> {
    pub(super) modules: Vec<ModulePlace<'a>>,
    pub(super) parameters: Vec<StoredPlace<'a>>,
}

/// What a path leads to.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Target {
    Module(usize),
    Parameter(usize),
    Scope(Path),
}

impl<'a> Catalogue<'a> {
    pub(super) fn new(resolver: &Resolver<'a>, side: SideId) -> Catalogue<'a> {
        let mut all = Catalogue::default();
        for place in &resolver.places[side.index()] {
            let rule = &resolver.mapping.rules[place.rule];
            let Some(entry) = rule.sides[side.index()].get(place.entry) else { continue };
            let given = rule.direction.goes_to(side);
            for (way, (stored, origin)) in entry.stored.iter().zip(&place.origins).enumerate() {
                let found = Found { rule: place.rule, entry: place.entry, way };
                all.add(stored, origin.as_ref(), place.slot.as_ref(), found, given);
            }
        }
        all
    }

    fn add(
        &mut self,
        stored: &Stored,
        origin: Option<&Rc<Origin<'a>>>,
        slot: Option<&String>,
        found: Found,
        given: bool,
    ) {
        if let Some(known) = self.parameters.iter_mut().find(|p| p.template == stored.name) {
            known.found.push(found);
            known.given |= given;
            return;
        }
        let path = Path::of(&stored.name);
        let module_path = origin.and_then(|origin| Path::of(&origin.path));
        let own = match (&path, &module_path) {
            (Some(path), Some(module)) => module.words_to(path),
            (Some(path), None) => path.0.last().map(|s| s.name.clone()).unwrap_or_default(),
            (None, _) => String::new(),
        };
        let at = self.parameters.len();
        let module = module_path.zip(origin).map(|(path, origin)| self.module(&path, origin, at));
        self.parameters.push(StoredPlace {
            path,
            template: stored.name.clone(),
            own,
            slot: slot.cloned(),
            module,
            origin: origin.cloned(),
            found: vec![found],
            span: stored.span,
            given,
            used: None,
        });
    }

    fn module(&mut self, path: &Path, origin: &Origin<'a>, parameter: usize) -> usize {
        let same = |m: &ModulePlace<'a>| m.path == *path && std::ptr::eq(m.declaration, origin.module);
        let known = self.modules.iter().position(same);
        let at = known.unwrap_or_else(|| {
            let declaration = origin.module;
            self.modules.push(ModulePlace { path: path.clone(), declaration, parameters: Vec::new() });
            self.modules.len() - 1
        });
        self.modules[at].parameters.push(parameter);
        at
    }

    /// What lies at this path, under whichever of its names.
    pub(super) fn at(&self, path: &Path) -> Option<Target> {
        if let Some(module) = self.modules_at(path).first() {
            return Some(Target::Module(*module));
        }
        if let Some(parameter) = self.parameters.iter().position(|p| p.path.as_ref() == Some(path)) {
            return Some(Target::Parameter(parameter));
        }
        self.paths().any(|p| p.starts_with(path)).then(|| Target::Scope(path.clone()))
    }

    /// The modules that a path can mean. One that computes something goes before one that has parameters alone, such as
    /// a norm that is stored inside the layer after it, and a first name before an alternative.
    pub(super) fn modules_at(&self, path: &Path) -> Vec<usize> {
        let rank = |module: &ModulePlace<'a>| {
            let first = module.parameters.iter().any(|p| self.parameters[*p].is_first());
            (module.declaration.kind.is_some(), first)
        };
        let here = || self.modules.iter().enumerate().filter(|(_, module)| module.path == *path);
        let best = here().map(|(_, module)| rank(module)).max();
        here().filter(|(_, module)| Some(rank(module)) == best).map(|(at, _)| at).collect()
    }

    /// Whether a parameter is used, under this name or another, in all rules that give it this one.
    pub(super) fn is_used(&self, place: usize) -> bool {
        let used = |one: &Found| self.use_of(one).is_some();
        self.parameters[place].found.iter().all(used)
    }

    /// Where what a rule has is used first, under whichever name.
    pub(super) fn use_of(&self, one: &Found) -> Option<Span> {
        let mut all = self.parameters.iter().filter(|p| p.used.is_some());
        all.find(|p| p.found.iter().any(|other| other.is_of(one)))?.used
    }

    pub(super) fn paths(&self) -> impl Iterator<Item = &Path> {
        self.parameters.iter().filter_map(|p| p.path.as_ref())
    }

    /// The scopes at this path that have an index: one for each way in which the index is written. Those of alternatives
    /// count where first names have none.
    pub(super) fn indexed(&self, path: &Path) -> Vec<Path> {
        let first = self.indexed_by(path, true);
        if first.is_empty() { self.indexed_by(path, false) } else { first }
    }

    fn indexed_by(&self, path: &Path, first: bool) -> Vec<Path> {
        let mut all: Vec<Path> = Vec::new();
        let places = self.parameters.iter().filter(|p| p.is_first() || !first);
        for candidate in places.filter_map(|p| p.path.as_ref()) {
            let Some(segment) = candidate.0.get(path.0.len().wrapping_sub(1)) else { continue };
            let name = path.0.last().map(|s| s.name.as_str());
            if !candidate.starts_with(&path.parent()) || Some(segment.name.as_str()) != name {
                continue;
            }
            let found = Path(candidate.0[..path.0.len()].to_vec());
            if segment.index.is_some() && !all.contains(&found) {
                all.push(found);
            }
        }
        all
    }
}
