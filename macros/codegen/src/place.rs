//! Names in a side's tree: from what a user writes to the node that is meant.

use transship_grammar::nearest;

use crate::tree::{List, Node};

/// A node of a tree, or each element of a list.
pub(crate) struct Spot<'t> {
    pub(crate) node: &'t Node,
    /// Its name below where it was looked for, as the runtime reads it: `h.{}`.
    pub(crate) pattern: String,
    /// The same for people: `h.{layer}`.
    pub(crate) shown: String,
}

/// Why a name was not found.
pub(crate) enum Missing {
    Unknown,
    /// The rest of it is below numbers, where one field cannot be.
    BelowNumbers,
}

/// The node called `path` below `fields`; the whole list if it ends in the name or the number of one.
pub(crate) fn find<'t>(
    fields: &'t [(String, Node)],
    path: &str,
    through_lists: bool,
) -> Result<Spot<'t>, Missing> {
    for (name, node) in fields {
        if let Some((rest, spot)) = step(name, node, path) {
            let Some(rest) = rest else { return Ok(spot) };
            let Node::Struct(inner) = spot.node else { return Err(Missing::Unknown) };
            if matches!(node, Node::List(_)) && !through_lists {
                return Err(Missing::BelowNumbers);
            }
            let below = find(inner, rest, through_lists)?;
            return Ok(Spot {
                node: below.node,
                pattern: format!("{}.{}", spot.pattern, below.pattern),
                shown: format!("{}.{}", spot.shown, below.shown),
            });
        }
    }
    Err(Missing::Unknown)
}

/// What `path` has after a child, if it begins with it.
fn step<'t, 'p>(name: &str, node: &'t Node, path: &'p str) -> Option<(Option<&'p str>, Spot<'t>)> {
    let spot = spot(name, node);
    let rest = match node {
        Node::List(_) if path == name => "",
        Node::List(list) => after_number(list, path)?,
        Node::Leaf(_) | Node::Struct(_) => path.strip_prefix(name)?,
    };
    if rest.is_empty() { Some((None, spot)) } else { Some((Some(rest.strip_prefix('.')?), spot)) }
}

fn after_number<'p>(list: &List, path: &'p str) -> Option<&'p str> {
    let (written, rest) = path.strip_prefix(&list.before)?.strip_prefix('{')?.split_once('}')?;
    let axis: &str = written.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next()?;
    if axis.is_empty() || axis == list.axis { rest.strip_prefix(ending(list)) } else { None }
}

fn ending(list: &List) -> &str {
    list.after.trim_end_matches('.')
}

/// A child as a spot.
fn spot<'t>(name: &str, node: &'t Node) -> Spot<'t> {
    match node {
        Node::List(list) => {
            let number = match (list.scale, list.offset, list.width) {
                (1, 0, 0) => String::new(),
                (scale, offset, width) => format!("{scale},{offset},{width}"),
            };
            Spot {
                node: &list.element,
                pattern: format!("{}{{{number}}}{}", list.before, ending(list)),
                shown: format!("{}{{{}}}{}", list.before, list.axis, ending(list)),
            }
        }
        _ => Spot { node, pattern: name.to_owned(), shown: name.to_owned() },
    }
}

/// A parameter below a node.
pub(crate) struct Below {
    /// As the runtime reads it; empty for the node itself.
    pub(crate) name: String,
    /// Whether some configs, or some elements of a list, lack it.
    pub(crate) may_be_absent: bool,
}

impl Below {
    /// The name as checks of types take it: followed by `?` where it may be absent.
    pub(crate) fn marked(&self) -> String {
        format!("{}{}", self.name, if self.may_be_absent { "?" } else { "" })
    }
}

/// Every parameter at or below a node.
pub(crate) fn leaves(node: &Node) -> Vec<Below> {
    match node {
        Node::Leaf(leaf) => vec![Below { name: String::new(), may_be_absent: leaf.when.is_some() }],
        Node::Struct(fields) => leaves_of(fields),
        // A list is stepped over by its field.
        Node::List(list) => leaves(&list.element),
    }
}

/// Every parameter of fields.
pub(crate) fn leaves_of(fields: &[(String, Node)]) -> Vec<Below> {
    let below = |(name, node): &(String, Node)| {
        let spot = spot(name, node);
        let join = |leaf: Below| Below { name: join(&spot.pattern, &leaf.name), ..leaf };
        leaves(spot.node).into_iter().map(join).collect::<Vec<_>>()
    };
    fields.iter().flat_map(below).collect()
}

/// The largest parts below fields of which nothing is taken, for people.
pub(crate) fn untaken(fields: &[(String, Node)], taken: &dyn Fn(&str) -> bool) -> Vec<String> {
    let mut all = Vec::new();
    for (name, node) in fields {
        let spot = spot(name, node);
        let below = |leaf: &str| taken(&join(&spot.pattern, leaf));
        let leaves = leaves(spot.node);
        match spot.node {
            Node::Struct(inner) if leaves.len() == 1 || leaves.iter().any(|leaf| below(&leaf.name)) => {
                all.extend(untaken(inner, &below).into_iter().map(|below| join(&spot.shown, &below)));
            }
            _ if leaves.iter().any(|leaf| below(&leaf.name)) => {}
            _ => all.push(spot.shown),
        }
    }
    all
}

/// A name below another.
pub(crate) fn join(path: &str, name: &str) -> String {
    match (path, name) {
        ("", name) => name.to_owned(),
        (path, "") => path.to_owned(),
        (path, name) => format!("{path}.{name}"),
    }
}

/// Everything below fields that a name could mean, for people.
pub(crate) fn all_names(fields: &[(String, Node)]) -> Vec<String> {
    let mut all = Vec::new();
    for (name, node) in fields {
        let spot = spot(name, node);
        if matches!(node, Node::List(_)) {
            all.push(name.clone());
        }
        all.push(spot.shown.clone());
        if let Node::Struct(inner) = spot.node {
            all.extend(all_names(inner).into_iter().map(|below| join(&spot.shown, &below)));
        }
    }
    all
}

/// The name that is most like `path`. The same number of dots counts for more than a letter or two.
pub(crate) fn nearest_name(fields: &[(String, Node)], path: &str) -> Option<String> {
    let names = all_names(fields);
    let dots = |name: &str| name.matches('.').count();
    let alike = names.iter().map(String::as_str).filter(|name| dots(name) == dots(path));
    nearest(path, alike).or_else(|| nearest(path, names.iter().map(String::as_str))).map(str::to_owned)
}
