//! The parameters of one side as a tree of fields, read off the templates of its rules.

use transship_grammar::{
    AxisId, ChoiceId, Code, Diagnostic, Guard, Mapping, Part, Rule, SideId, Size, Span, Stored, Template,
};

/// A part of a tree.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Node {
    Leaf(Leaf),
    /// Fields in the order of the mapping's rules; each is followed by a dot in names.
    Struct(Vec<(String, Node)>),
    List(List),
}

/// A parameter.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Leaf {
    /// Whether a checkpoint may lack it, whatever its config.
    pub(crate) optional: bool,
    /// When it is there, where that is not in every config and in every element of the lists around it.
    pub(crate) when: Option<When>,
    /// The layout as a mapping writes it; absent where the parameter is renamed as it lies.
    pub(crate) layout: Option<String>,
    /// File and line of the rule.
    pub(crate) place: String,
    /// The whole name, indices in braces.
    pub(crate) name: String,
}

impl Leaf {
    pub(crate) fn may_be_absent(&self) -> bool {
        self.optional || self.when.is_some()
    }

    /// Adds another rule that gives it, such as that of another branch of a choice.
    fn give(&mut self, other: Leaf) {
        self.optional |= other.optional;
        if let (Some(when), Some(more)) = (&mut self.when, other.when) {
            when.cases.extend(more.cases);
        }
    }
}

/// What decides whether a parameter is there.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct When {
    /// One for each rule that gives it.
    cases: Vec<Case>,
    /// Whether some elements of a list have it and others do not, in one config.
    by_element: bool,
}

impl When {
    /// Whether both are there at once, one of them perhaps in lists inside those around the other.
    fn agrees(&self, other: &When) -> bool {
        let alike = |(a, b): (&Case, &Case)| {
            a.guard == b.guard && a.elements.iter().zip(&b.elements).all(|(a, b)| a == b)
        };
        self.cases.len() == other.cases.len() && self.cases.iter().zip(&other.cases).all(alike)
    }
}

#[derive(Clone, Debug, PartialEq)]
struct Case {
    guard: Guard,
    /// Of each list around it, outermost first, which elements.
    elements: Vec<Elements>,
}

/// Elements of a list: the coordinates of an axis, or of a range of it.
#[derive(Clone, Debug, PartialEq)]
struct Elements {
    axis: AxisId,
    range: Option<(Size, Size)>,
}

impl Elements {
    /// The first coordinate, where it is known before the config is.
    fn first(&self, mapping: &Mapping) -> Option<i64> {
        let (first, _) = self.range.as_ref().unwrap_or(&mapping.axis(self.axis).range);
        first.as_constant().and_then(|first| i64::try_from(first).ok())
    }

    fn cover(&self, other: &Elements) -> bool {
        self.axis == other.axis && (self.range.is_none() || self.range == other.range)
    }
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
    /// When it has elements, where that is not in every config.
    pub(crate) when: Option<When>,
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
pub(crate) fn side_tree(mapping: &Mapping, side: SideId) -> Result<SideTree, Box<Diagnostic>> {
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
pub(crate) fn whole_tree(mapping: &Mapping, side: SideId) -> Result<Vec<(String, Node)>, Box<Diagnostic>> {
    let mut root: Vec<(String, Node)> = Vec::new();
    for rule in &mapping.rules {
        for stored in rule.sides[side.index()].iter().filter_map(|e| e.stored.first()) {
            if stored.name.stars() == (0, 0) {
                let steps = steps(mapping, &stored.name).into_iter();
                insert(&mut root, steps, leaf(mapping, stored, rule))
                    .map_err(|message| Box::new(not_derivable(stored.span, message)))?;
            }
        }
    }
    for (_, node) in &mut root {
        settle(mapping, node, &mut Vec::new());
    }
    Ok(root)
}

fn not_derivable(place: Span, message: String) -> Diagnostic {
    Diagnostic::error(Code::NotDerivable, place, message, "no code can be generated for this name")
        .help("a conversion does not need any; `transship explain TS0409` says of what names code is made")
}

fn leaf(mapping: &Mapping, stored: &Stored, rule: &Rule) -> Leaf {
    let layouts: Vec<String> = stored.layouts.iter().map(|(_, l)| mapping.display_layout(l)).collect();
    let layout = match layouts.as_slice() {
        [] => None,
        [one] => Some(one.clone()),
        several => Some(several.join(" or ")),
    };
    let elements = stored.name.parts.iter().filter_map(|part| match part {
        Part::Index(index) => Some(Elements { axis: index.axis, range: index.range.clone() }),
        _ => None,
    });
    Leaf {
        optional: rule.optional,
        when: Some(When {
            cases: vec![Case { guard: rule.guard.clone(), elements: elements.collect() }],
            by_element: false,
        }),
        layout,
        place: file_and_line(mapping, stored.span),
        name: mapping.display_template(&stored.name),
    }
}

/// A list around a parameter.
struct Around {
    /// What its elements are, over all parameters in it.
    elements: Vec<Elements>,
    /// Whether it begins with elements that no rule gives.
    begins_empty: bool,
}

/// Leaves `when` only where a parameter or a list can be absent, and lets lists begin where their elements do.
fn settle(mapping: &Mapping, node: &mut Node, around: &mut Vec<Around>) {
    match node {
        Node::Leaf(leaf) => {
            if let Some(when) = &mut leaf.when {
                when.by_element = differs_by_element(mapping, &when.cases, around);
                if !when.by_element && !differs_by_config(mapping, &when.cases) {
                    leaf.when = None;
                }
            }
        }
        Node::Struct(fields) => fields.iter_mut().for_each(|(_, node)| settle(mapping, node, around)),
        Node::List(list) => {
            let mut elements: Vec<Elements> = Vec::new();
            each_when(&mut list.element, &mut |when| {
                for case in when.iter().flat_map(|when| &when.cases) {
                    let here = &case.elements[around.len()];
                    if !elements.contains(here) {
                        elements.push(here.clone());
                    }
                }
            });
            // Where a coordinate is not known before the config is, numbers are counted from 0.
            let firsts: Vec<Option<i64>> = elements.iter().map(|e| e.first(mapping)).collect();
            let first = firsts.iter().map(|first| first.unwrap_or(0)).min().unwrap_or(0);
            list.offset += list.scale * first;
            around.push(Around { elements, begins_empty: !firsts.contains(&Some(first)) });
            settle(mapping, &mut list.element, around);
            around.pop();
            // What all elements lack in the same configs, the list lacks.
            list.when = common(&list.element).filter(|when| !when.by_element);
            if list.when.is_some() {
                each_when(&mut list.element, &mut |when| *when = None);
            }
        }
    }
}

fn differs_by_element(mapping: &Mapping, cases: &[Case], around: &[Around]) -> bool {
    let indexed = |(choice, _): &(ChoiceId, usize)| !mapping.choices[choice.index()].on.indices().is_empty();
    let guarded =
        cases.iter().any(|case| case.guard.0.iter().any(indexed)) && differs_by_config(mapping, cases);
    let left_out = |(depth, list): (usize, &Around)| {
        let given = |elements: &Elements| cases.iter().any(|case| case.elements[depth].cover(elements));
        list.begins_empty || !list.elements.iter().all(given)
    };
    guarded || around.iter().enumerate().any(left_out)
}

/// Whether no rule holds in some config, of those for the same elements.
fn differs_by_config(mapping: &Mapping, cases: &[Case]) -> bool {
    cases.iter().any(|of| {
        let covers = |case: &&Case| case.elements.iter().zip(&of.elements).all(|(a, b)| a.cover(b));
        let guards: Vec<&Guard> = cases.iter().filter(covers).map(|case| &case.guard).collect();
        mapping.lacking(&guards, &Guard::default()).is_some()
    })
}

/// Shows when each parameter and each list at or below a node is there.
fn each_when(node: &mut Node, see: &mut impl FnMut(&mut Option<When>)) {
    match node {
        Node::Leaf(leaf) => see(&mut leaf.when),
        Node::Struct(fields) => fields.iter_mut().for_each(|(_, node)| each_when(node, see)),
        Node::List(list) => {
            see(&mut list.when);
            each_when(&mut list.element, see);
        }
    }
}

/// When all of a node is there, if it is there as a whole or not at all.
fn common(node: &Node) -> Option<When> {
    match node {
        Node::Leaf(leaf) => leaf.when.clone(),
        Node::List(list) => list.when.clone(),
        Node::Struct(fields) => common_of(fields),
    }
}

fn common_of(fields: &[(String, Node)]) -> Option<When> {
    let mut all = fields.iter().map(|(_, node)| common(node));
    let first = all.next()??;
    all.all(|when| when.is_some_and(|when| when.agrees(&first))).then_some(first)
}

/// The fields as they are where they are there at all, and whether they can be absent as a whole.
pub(crate) fn given(fields: &[(String, Node)]) -> (Vec<(String, Node)>, bool) {
    let mut fields = fields.to_vec();
    let absent = common_of(&fields).is_some();
    if absent {
        fields.iter_mut().for_each(|(_, node)| each_when(node, &mut |when| *when = None));
    }
    (fields, absent)
}

/// Where in a mapping something is declared, or in a text that it imports.
pub(crate) fn file_and_line(mapping: &Mapping, span: Span) -> String {
    let (line, _) = mapping.source.position(span.start);
    format!("{}:{line}", mapping.source.name_at(span.start))
}

fn steps(mapping: &Mapping, template: &Template) -> Vec<Step> {
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
                    axis: mapping.axis(index.axis).name.clone(),
                    scale: index.scale,
                    offset: index.offset,
                    width: index.width.unwrap_or(0),
                    when: None,
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
    steps
}

fn insert(
    fields: &mut Vec<(String, Node)>,
    mut steps: std::vec::IntoIter<Step>,
    leaf: Leaf,
) -> Result<(), String> {
    let clash = |name: &str| {
        format!(
            "`{name}` and another name of this side cannot both be fields: one of the two goes on where the other ends, or is numbered"
        )
    };
    let (field, list) = match steps.next() {
        None => return Err(clash(&leaf.name)),
        Some(Step::Field(field)) => (field, None),
        Some(Step::List { field, list }) => (field, Some(list)),
    };
    let last = steps.as_slice().is_empty();
    let there = fields.iter().position(|(name, _)| *name == field);
    let added = there.is_none();
    let at = match there {
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
        (Node::List(there), Some(_)) => match (&mut *there.element, last) {
            (Node::Struct(inner), true) if inner.is_empty() => {
                *there.element = Node::Leaf(leaf);
                Ok(())
            }
            (Node::Leaf(there), true) => {
                there.give(leaf);
                Ok(())
            }
            (Node::Struct(inner), false) => insert(inner, steps, leaf),
            _ => Err(clash(&leaf.name)),
        },
        (Node::Struct(inner), None) if !last => insert(inner, steps, leaf),
        (Node::Leaf(there), None) if last => {
            if !added {
                there.give(leaf);
            }
            Ok(())
        }
        _ => Err(clash(&leaf.name)),
    }
}
