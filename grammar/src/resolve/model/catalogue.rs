//! The parameters of a side by their names, as a model refers to them.

use std::rc::Rc;

use crate::ast;
use crate::mapping::SideId;
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

/// A parameter of the side.
pub(super) struct StoredPlace<'a> {
    pub(super) path: Option<Path>,
    pub(super) template: Template,
    /// What it is called below its module, or below its scope.
    pub(super) own: String,
    pub(super) slot: Option<String>,
    /// In [`Catalogue::modules`].
    pub(super) module: Option<usize>,
    pub(super) origin: Option<Rc<Origin<'a>>>,
    /// Rules and their entries.
    pub(super) found: Vec<(usize, usize)>,
    pub(super) span: Span,
    /// Whether a rule gives it to this side at all.
    pub(super) given: bool,
    /// Where the model uses it first.
    pub(super) used: Option<Span>,
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
            let Some(stored) = rule.sides[side.index()].get(place.entry).and_then(|e| e.stored.first())
            else {
                continue;
            };
            let given = rule.direction.goes_to(side);
            let known = all.parameters.iter_mut().find(|p| p.template == stored.name);
            if let Some(known) = known {
                known.found.push((place.rule, place.entry));
                known.given |= given;
                continue;
            }
            let path = Path::of(&stored.name);
            let module_path = place.origin.as_ref().and_then(|origin| Path::of(&origin.path));
            let own = match (&path, &module_path) {
                (Some(path), Some(module)) => module.words_to(path),
                (Some(path), None) => path.0.last().map(|s| s.name.clone()).unwrap_or_default(),
                (None, _) => String::new(),
            };
            let at = all.parameters.len();
            let module = module_path.and_then(|path| all.module(&path, place.origin.as_ref()?, at));
            all.parameters.push(StoredPlace {
                path,
                template: stored.name.clone(),
                own,
                slot: place.slot.clone(),
                module,
                origin: place.origin.clone(),
                found: vec![(place.rule, place.entry)],
                span: stored.span,
                given,
                used: None,
            });
        }
        all
    }

    fn module(&mut self, path: &Path, origin: &Origin<'a>, parameter: usize) -> Option<usize> {
        let same = |m: &ModulePlace<'a>| m.path == *path && std::ptr::eq(m.declaration, origin.module);
        let known = self.modules.iter().position(same);
        let at = known.unwrap_or_else(|| {
            let declaration = origin.module;
            self.modules.push(ModulePlace { path: path.clone(), declaration, parameters: Vec::new() });
            self.modules.len() - 1
        });
        self.modules[at].parameters.push(parameter);
        Some(at)
    }

    /// What lies at this path.
    pub(super) fn at(&self, path: &Path) -> Option<Target> {
        if let Some(module) = self.modules.iter().position(|m| m.path == *path) {
            return Some(Target::Module(module));
        }
        if let Some(parameter) = self.parameters.iter().position(|p| p.path.as_ref() == Some(path)) {
            return Some(Target::Parameter(parameter));
        }
        self.paths().any(|p| p.starts_with(path)).then(|| Target::Scope(path.clone()))
    }

    /// All modules that share the path of one.
    pub(super) fn modules_at(&self, module: usize) -> Vec<usize> {
        let path = &self.modules[module].path;
        (0..self.modules.len()).filter(|m| self.modules[*m].path == *path).collect()
    }

    pub(super) fn paths(&self) -> impl Iterator<Item = &Path> {
        self.parameters.iter().filter_map(|p| p.path.as_ref())
    }

    /// The scopes at this path that have an index: one for each way in which the index is written.
    pub(super) fn indexed(&self, path: &Path) -> Vec<Path> {
        let mut all: Vec<Path> = Vec::new();
        for candidate in self.paths() {
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
