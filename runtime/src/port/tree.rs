//! Parameters of one side as nested structs: built from named leaves, and walked in a fixed order.

use std::collections::BTreeMap;
use std::ops::Bound;

/// Nested structs with a `T` at each parameter. Generated for each side of a mapping.
pub trait Tree<T>: Sized {
    /// Takes the leaves below the builder's current name.
    ///
    /// # Errors
    /// Where a leaf that is not optional is missing.
    fn build(at: &mut Leaves<T>) -> Result<Self, TreeError>;

    /// Shows every leaf below the walk's current name.
    fn walk<'t>(&'t self, at: &mut Walk<'_, 't, T>)
    where
        T: 't;
}

/// A parameter that a tree needs and was not given.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no parameter is called `{name}`")]
pub struct TreeError {
    /// Its name, from the root of its side.
    pub name: String,
}

/// How a number in a name follows from a coordinate: `scale * coordinate + offset`, of at least `width` digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Numbering {
    /// Never zero.
    pub scale: i64,
    /// What is added.
    pub offset: i64,
    /// Digits, padded with zeros.
    pub width: usize,
}

impl Numbering {
    /// The coordinate of a number, and what follows that, at the start of `text`.
    fn coordinate(self, text: &str) -> Option<(usize, &str)> {
        let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (digits, rest) = text.split_at(end);
        let steps = digits.parse::<i64>().ok()?.checked_sub(self.offset)?;
        let coordinate = usize::try_from(steps.checked_div(self.scale)?).ok()?;
        // Neither a number between two coordinates nor one of other digits.
        (self.number(coordinate)? == digits).then_some((coordinate, rest))
    }

    pub(super) fn number(self, coordinate: usize) -> Option<String> {
        let value = i64::try_from(coordinate).ok()?.checked_mul(self.scale)?.checked_add(self.offset)?;
        let width = self.width;
        (value >= 0).then(|| format!("{value:0width$}"))
    }
}

/// Named leaves that trees are built from.
#[derive(Debug)]
pub struct Leaves<T> {
    leaves: BTreeMap<String, T>,
    path: String,
}

impl<T> Leaves<T> {
    /// Leaves by their names from the root of a side.
    pub fn new(leaves: impl IntoIterator<Item = (String, T)>) -> Leaves<T> {
        Leaves { leaves: leaves.into_iter().collect(), path: String::new() }
    }

    /// The leaf whose name ends in `name` here.
    ///
    /// # Errors
    /// Where there is none.
    pub fn leaf(&mut self, name: &str) -> Result<T, TreeError> {
        let name = format!("{}{name}", self.path);
        self.leaves.remove(&name).ok_or(TreeError { name })
    }

    /// The leaf whose name ends in `name` here, if it is there.
    pub fn optional(&mut self, name: &str) -> Option<T> {
        self.leaves.remove(&format!("{}{name}", self.path))
    }

    /// The tree whose names go on with `name`, the dot at its end included.
    ///
    /// # Errors
    /// Where one of its leaves is missing.
    pub fn child<C: Tree<T>>(&mut self, name: &str) -> Result<C, TreeError> {
        let parent = self.path.len();
        self.path.push_str(name);
        let child = C::build(self);
        self.path.truncate(parent);
        child
    }

    /// The tree whose names go on with `name`, the dot at its end included, if there are any.
    ///
    /// # Errors
    /// Where one of its leaves is missing and others are there.
    pub fn optional_child<C: Tree<T>>(&mut self, name: &str) -> Result<Option<C>, TreeError> {
        if self.has(&format!("{}{name}", self.path)) { self.child(name).map(Some) } else { Ok(None) }
    }

    /// The trees numbered after `name`, each followed by `rest`, up to the last that is there.
    ///
    /// # Errors
    /// Where a leaf of one of them is missing.
    pub fn list<C: Tree<T>>(&mut self, name: &str, by: Numbering, rest: &str) -> Result<Vec<C>, TreeError> {
        let count = self.count(&format!("{}{name}", self.path), by, |after| after.starts_with(rest));
        let numbers = (0..count).map_while(|at| by.number(at));
        numbers.map(|number| self.child(&format!("{name}{number}{rest}"))).collect()
    }

    /// One more than the last coordinate whose number comes in a name after `before`, where `goes_on` takes what is behind it.
    pub(super) fn count(&self, before: &str, by: Numbering, goes_on: impl Fn(&str) -> bool) -> usize {
        let from = self.leaves.range::<str, _>((Bound::Included(before), Bound::Unbounded));
        let below = from.map_while(|(name, _)| name.strip_prefix(before));
        let numbers = below.filter_map(|name| by.coordinate(name)).filter(|(_, after)| goes_on(after));
        numbers.map(|(coordinate, _)| coordinate + 1).max().unwrap_or(0)
    }

    /// Whether there is a leaf called `name`, or names that go on from it with a dot.
    pub(super) fn holds(&self, name: &str) -> bool {
        self.leaves.contains_key(name) || self.has(&format!("{name}."))
    }

    fn has(&self, prefix: &str) -> bool {
        let next = self.leaves.range::<str, _>((Bound::Included(prefix), Bound::Unbounded)).next();
        next.is_some_and(|(name, _)| name.starts_with(prefix))
    }
}

/// A walk over a tree that tells each leaf its name.
pub struct Walk<'w, 't, T> {
    path: String,
    seen: &'w mut dyn FnMut(&str, &'t T),
}

impl<'w, 't, T> Walk<'w, 't, T> {
    /// A walk that calls `seen` with each leaf and its name from the root of its side.
    pub fn new(seen: &'w mut dyn FnMut(&str, &'t T)) -> Walk<'w, 't, T> {
        Walk { path: String::new(), seen }
    }

    /// Shows a leaf.
    pub fn leaf(&mut self, name: &str, leaf: &'t T) {
        let parent = self.path.len();
        self.path.push_str(name);
        (self.seen)(&self.path, leaf);
        self.path.truncate(parent);
    }

    /// Shows a leaf, if it is there.
    pub fn optional(&mut self, name: &str, leaf: &'t Option<T>) {
        if let Some(leaf) = leaf {
            self.leaf(name, leaf);
        }
    }

    /// Walks a tree whose names go on with `name`.
    pub fn child<C: Tree<T>>(&mut self, name: &str, child: &'t C) {
        let parent = self.path.len();
        self.path.push_str(name);
        child.walk(self);
        self.path.truncate(parent);
    }

    /// Walks a tree whose names go on with `name`, if it is there.
    pub fn optional_child<C: Tree<T>>(&mut self, name: &str, child: &'t Option<C>) {
        if let Some(child) = child {
            self.child(name, child);
        }
    }

    /// Walks trees numbered after `name`, each followed by `rest`.
    pub fn list<C: Tree<T>>(&mut self, name: &str, by: Numbering, rest: &str, list: &'t [C]) {
        for (coordinate, child) in list.iter().enumerate() {
            if let Some(number) = by.number(coordinate) {
                self.child(&format!("{name}{number}{rest}"), child);
            }
        }
    }
}

/// A leaf that stands alone where a list of trees is wanted: `experts.{expert}`.
impl<T> Tree<T> for One<T> {
    fn build(at: &mut Leaves<T>) -> Result<Self, TreeError> {
        at.leaf("").map(One)
    }

    fn walk<'t>(&'t self, at: &mut Walk<'_, 't, T>)
    where
        T: 't,
    {
        at.leaf("", &self.0);
    }
}

/// One parameter as a tree of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct One<T>(pub T);
