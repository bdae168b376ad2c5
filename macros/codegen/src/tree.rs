//! The parameters of one side as a tree of fields, read off the templates of its rules.

use std::collections::BTreeMap;

use transship_grammar::{Code, Diagnostic, Mapping, Part, SideId, Span, Stored, Template};

/// A part of a tree.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Node {
    Leaf(Leaf),
    /// Fields in the order of the mapping's rules; each is followed by a dot in names.
    Struct(Vec<(String, Node)>),
    List(List),
}

/// A parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Leaf {
    pub(crate) optional: bool,
    /// The layout as a mapping writes it; absent where the parameter is renamed as it lies.
    pub(crate) layout: Option<String>,
    /// File and line of the rule.
    pub(crate) place: String,
    /// The whole name, indices in braces.
    pub(crate) name: String,
}

/// Trees numbered by an index.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct List {
    /// Text of names before the number, after that of the field's parent.
    pub(crate) before: String,
    /// Text after it, up to and with the next dot.
    pub(crate) after: String,
    /// The axis whose coordinates the numbers are.
    pub(crate) axis: String,
    pub(crate) scale: i64,
    pub(crate) offset: i64,
    pub(crate) width: usize,
    pub(crate) element: Box<Node>,
}

/// A side's tree, and what all its names begin with.
pub(crate) struct SideTree {
    pub(crate) prefix: String,
    pub(crate) root: Vec<(String, Node)>,
}

/// A step from a node to one of its children.
enum Step {
    Field(String),
    List { field: String, list: List },
}

/// # Errors
/// Names that are no tree; see [`whole_tree`].
pub(crate) fn side_tree(mapping: &Mapping, side: SideId) -> Result<SideTree, Diagnostic> {
    let mut root = whole_tree(mapping, side)?;
    let mut prefix = String::new();
    while let [(name, Node::Struct(_))] = root.as_slice() {
        prefix.push_str(name);
        prefix.push('.');
        let Some((_, Node::Struct(inner))) = root.pop() else { break };
        root = inner;
    }
    Ok(SideTree { prefix, root })
}

/// A side's tree by whole names. Parameters whose names have stars are not part of it: they have no fields to be.
///
/// # Errors
/// A name that no field can stand for, told at its rule.
pub(crate) fn whole_tree(mapping: &Mapping, side: SideId) -> Result<Vec<(String, Node)>, Diagnostic> {
    let mut root: Vec<(String, Node)> = Vec::new();
    let mut seen: BTreeMap<String, ()> = BTreeMap::new();
    for rule in &mapping.rules {
        for stored in rule.sides[side.index()].iter().filter_map(|e| e.stored.first()) {
            if stored.name.stars() != (0, 0) {
                continue;
            }
            let leaf = leaf(mapping, stored, rule.optional);
            // Branches of a choice may name one parameter; its field is the same.
            if seen.insert(leaf.name.clone(), ()).is_none() {
                steps(mapping, &stored.name)
                    .and_then(|steps| insert(&mut root, steps.into_iter(), leaf))
                    .map_err(|message| not_derivable(stored.span, message))?;
            }
        }
    }
    Ok(root)
}

fn not_derivable(place: Span, message: String) -> Diagnostic {
    Diagnostic::error(Code::NotDerivable, place, message, "no code can be generated for this name")
        .help("a conversion does not need any; `transship explain TS0409` says of what names code is made")
}

fn leaf(mapping: &Mapping, stored: &Stored, optional: bool) -> Leaf {
    let layouts: Vec<String> = stored.layouts.iter().map(|(_, l)| mapping.display_layout(l)).collect();
    let layout = match layouts.as_slice() {
        [] => None,
        [one] => Some(one.clone()),
        several => Some(several.join(" or ")),
    };
    let place = file_and_line(mapping, stored.span);
    Leaf { optional, layout, place, name: mapping.display_template(&stored.name) }
}

/// Where in a mapping something is declared, or in a text that it imports.
pub(crate) fn file_and_line(mapping: &Mapping, span: Span) -> String {
    let (line, _) = mapping.source.position(span.start);
    format!("{}:{line}", mapping.source.name_at(span.start))
}

fn steps(mapping: &Mapping, template: &Template) -> Result<Vec<Step>, String> {
    let mut steps: Vec<Step> = Vec::new();
    let mut word = String::new();
    for part in &template.parts {
        match part {
            Part::Literal(text) => {
                let mut text = text.as_str();
                if let (Some(Step::List { list, .. }), true) = (steps.last_mut(), word.is_empty())
                    && list.after.is_empty()
                {
                    let end = text.find('.').map_or(text.len(), |dot| dot + 1);
                    list.after = text[..end].to_owned();
                    text = &text[end..];
                }
                let mut words = text.split('.').peekable();
                while let Some(next) = words.next() {
                    word.push_str(next);
                    if words.peek().is_some() {
                        steps.push(Step::Field(std::mem::take(&mut word)));
                    }
                }
            }
            Part::Index(index) => {
                let axis = mapping.axis(index.axis);
                let from = index.range.as_ref().unwrap_or(&axis.range).0.as_constant();
                let from = from.and_then(|n| i64::try_from(n).ok()).ok_or_else(|| {
                    format!(
                        "`{}` begins at a coordinate that the config decides, which a `Vec` cannot",
                        axis.name
                    )
                })?;
                let (field, before) = match (word.is_empty(), steps.pop()) {
                    (true, Some(Step::Field(field))) => (field.clone(), format!("{field}.")),
                    (_, last) => {
                        steps.extend(last);
                        let word = std::mem::take(&mut word);
                        (if word.is_empty() { "items".to_owned() } else { word.clone() }, word)
                    }
                };
                let list = List {
                    before,
                    after: String::new(),
                    axis: axis.name.clone(),
                    scale: index.scale,
                    offset: index.offset + index.scale * from,
                    width: index.width.unwrap_or(0),
                    element: Box::new(Node::Struct(Vec::new())),
                };
                steps.push(Step::List { field, list });
            }
            Part::Rank(..) | Part::Star | Part::DoubleStar => {}
        }
    }
    if !word.is_empty() {
        steps.push(Step::Field(word));
    }
    Ok(steps)
}

fn insert(
    fields: &mut Vec<(String, Node)>,
    mut steps: std::vec::IntoIter<Step>,
    leaf: Leaf,
) -> Result<(), String> {
    let clash = |name: &str| format!("`{name}` is both a parameter and what others begin with");
    let (field, list) = match steps.next() {
        None => return Err(clash(&leaf.name)),
        Some(Step::Field(field)) => (field, None),
        Some(Step::List { field, list }) => (field, Some(list)),
    };
    let last = steps.as_slice().is_empty();
    let at = match fields.iter().position(|(name, _)| *name == field) {
        Some(at) => at,
        None => {
            let node = match list.clone() {
                Some(list) => Node::List(list),
                None if last => Node::Leaf(leaf.clone()),
                None => Node::Struct(Vec::new()),
            };
            fields.push((field.clone(), node));
            fields.len() - 1
        }
    };
    let node = &mut fields[at].1;
    match (node, list) {
        (Node::List(there), Some(_)) if last => {
            *there.element = Node::Leaf(leaf);
            Ok(())
        }
        (Node::List(there), Some(_)) => match &mut *there.element {
            Node::Struct(inner) => insert(inner, steps, leaf),
            _ => Err(clash(&leaf.name)),
        },
        (Node::Struct(inner), None) if !last => insert(inner, steps, leaf),
        (Node::Leaf(there), None) if last && *there == leaf => Ok(()),
        _ => Err(clash(&leaf.name)),
    }
}
