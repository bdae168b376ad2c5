//! The parameters of one rule in both checkpoints, looked up element by element.

use std::collections::{BTreeMap, HashMap, HashSet};

use transship_grammar as grammar;

use grammar::{Code, Diagnostic, Replicas, Rule};

use super::element::{Element, Verdict};
use super::names::{AxisName, Names};
use super::parameters::{Parameter, Parameters, Place, Side};
use super::sample::each_index;
use super::tree::Coordinate;
use super::{Check, Found};
use crate::Tensor;
use crate::bind::is_renaming;
use crate::plan::{PartAxis, PartPair};

/// One rule.
pub(super) struct RuleLook<'l, 'a> {
    check: &'l Check<'l, 'a>,
    sides: &'l [Side<'l, 'a>; 2],
    /// Names of tensors that are told of as missing from the other checkpoint.
    missing: &'l HashSet<&'l str>,
    rule: &'a Rule,
    pub(super) names: Names,
    pub(super) parameters: [Parameters<'a>; 2],
    /// The parameters of the comparison that are this rule's, each with the coordinates of its parts at their first
    /// elements.
    planned: Vec<(usize, Vec<Coordinate>)>,
    /// By tensor of the second checkpoint, the parameters of the comparison that it has a part in.
    of_tensor: HashMap<usize, Vec<usize>>,
}

/// A piece of work.
pub(super) enum Look {
    /// A parameter of the comparison: are its elements where it takes them from?
    Planned(usize),
    /// A parameter as one of the checkpoints stores it: does the comparison reach its elements, and say the same of them?
    Stored(usize, usize),
    /// A parameter of the comparison that differs: what is it that differs?
    Differing(usize),
}

/// How a side holds the element at some coordinates.
enum Held {
    Nowhere,
    /// Copies that must be the same are not.
    Unequal,
    Once(Element),
}

impl<'l, 'a> RuleLook<'l, 'a> {
    pub(super) fn new(
        check: &'l Check<'l, 'a>,
        sides: &'l [Side<'l, 'a>; 2],
        missing: &'l HashSet<&'l str>,
        number: usize,
        planned: Vec<usize>,
    ) -> RuleLook<'l, 'a> {
        let mut names = Names::default();
        let parameters = [0, 1].map(|which| sides[which].parameters(number, &mut names));
        let mut of_tensor: HashMap<usize, Vec<usize>> = HashMap::new();
        let mut with_parts = Vec::new();
        for parameter in planned {
            let parts = &check.pairs.parameters[parameter].parts;
            for tensor in parts.iter().map(|part| part.tensors[1]) {
                let all = of_tensor.entry(tensor).or_default();
                if !all.contains(&parameter) {
                    all.push(parameter);
                }
            }
            let first = |part: &PartPair<'_>| first_coordinate(&sides[0], part, &mut names);
            with_parts.push((parameter, parts.iter().map(first).collect()));
        }
        let rule = &check.bindings[0].mapping.rules[number];
        RuleLook { check, sides, missing, rule, names, parameters, planned: with_parts, of_tensor }
    }

    pub(super) fn looks(&self) -> Vec<Look> {
        let planned = (0..self.planned.len()).map(Look::Planned);
        let differing = self.planned.iter().map(|(number, _)| *number);
        let differing =
            differing.filter(|number| self.check.compared[*number].is_some()).map(Look::Differing);
        let stored = [1, 0].into_iter().flat_map(|which| {
            (0..self.parameters[which].all.len()).map(move |number| Look::Stored(which, number))
        });
        planned.chain(stored).chain(differing).collect()
    }

    pub(super) fn look(&self, look: &Look, progress: &dyn Fn(u64)) -> Found {
        match look {
            Look::Planned(number) => self.look_at_planned(*number),
            Look::Stored(which, number) => self.look_at_stored(*which, *number, progress),
            Look::Differing(number) => {
                let words = self.differing(*number).and_then(|first| self.explain(*number, &first));
                Found {
                    explanations: words.into_iter().map(|words| (*number, words)).collect(),
                    ..Found::default()
                }
            }
        }
    }

    /// Whether the elements of a parameter are where the comparison took them from.
    fn look_at_planned(&self, number: usize) -> Found {
        let (parameter, firsts) = &self.planned[number];
        let planned = &self.check.pairs.parameters[*parameter];
        let mut found = Found::default();
        for (part, first) in planned.parts.iter().zip(firsts) {
            let shape: Vec<u64> = part.shape.iter().map(|len| *len as u64).collect();
            let edges: Vec<Vec<u64>> = shape.iter().map(|len| vec![0, len.saturating_sub(1)]).collect();
            each_index(&shape, &edges, self.check.options.thorough, &mut |index| {
                found.elements += 1;
                let coordinate = self.coordinate_in(part, first, index);
                for which in 0..2 {
                    let Some(place) = part.place(which, index) else { continue };
                    let place = Place { tensor: part.tensors[which], element: place };
                    let places = self.places(which, &coordinate);
                    if !places.iter().any(|(.., own)| *own == place) {
                        let own = places.first().map(|(.., place)| *place);
                        found.disagreements.push(self.elsewhere(which, &coordinate, place, own));
                        return false;
                    }
                }
                true
            });
            if !found.disagreements.is_empty() {
                break;
            }
        }
        found
    }

    /// The coordinates of an element of a part; broadcast axes have none.
    fn coordinate_in(&self, part: &PartPair<'_>, first: &Coordinate, index: &[u64]) -> Coordinate {
        let mut coordinate = first.clone();
        let moving = part.axes.iter().zip(index).filter(|(axis, _)| !axis.is_broadcast());
        // The axes of the part come after those that names fix.
        let fixed = coordinate.axes.len() - part.axes.iter().filter(|axis| !axis.is_broadcast()).count();
        for ((_, at), (_, step)) in coordinate.axes[fixed..].iter_mut().zip(moving) {
            *at += step;
        }
        coordinate
    }

    /// All places of an element in one of the checkpoints: parameter, tensor of it, place.
    fn places(&self, which: usize, coordinate: &Coordinate) -> Vec<(usize, usize, Place)> {
        let tensors = self.sides[which].binding.checkpoint.tensors();
        let parameters = &self.parameters[which];
        let of = |number: usize| {
            let places = parameters.all[number].places(tensors, coordinate);
            places.into_iter().map(move |(holder, place)| (number, holder, place))
        };
        parameters.at(coordinate).flat_map(of).collect()
    }

    fn look_at_stored(&self, which: usize, number: usize, progress: &dyn Fn(u64)) -> Found {
        let parameter = &self.parameters[which].all[number];
        let tensors = self.sides[which].binding.checkpoint.tensors();
        let mut found = Found::default();
        let planned = self.planned_for(which, parameter);
        let Some(planned) = planned else { return found };
        if let Some(disagreement) = self.count(which, parameter, &planned) {
            found.disagreements.push(disagreement);
            return found;
        }
        for holder in &parameter.holders {
            let tensor = &tensors[holder.tensor];
            let edges = parameter.edges(holder, tensor);
            each_index(&tensor.shape, &edges, self.check.options.thorough, &mut |index| {
                found.elements += 1;
                let disagreement = match parameter.coordinate(holder, index) {
                    Some(None) => None,
                    Some(Some(coordinate)) => self.judge(which, &tensor.name, &coordinate, &planned),
                    None => Some(self.unreached(which, &tensor.name, "its layout does not reach it")),
                };
                let goes_on = disagreement.is_none();
                found.disagreements.extend(disagreement);
                goes_on
            });
            if which == 1 && self.check.options.thorough {
                progress(tensor.elements() * tensor.dtype.size() as u64);
            }
            if !found.disagreements.is_empty() {
                return found;
            }
        }
        if which == 1 {
            found.disagreements.extend(planned.iter().find_map(|number| self.judge_difference(*number)));
        }
        found
    }

    /// The parameters of the comparison that one of a checkpoint belongs to; nothing where the comparison says already that
    /// the other checkpoint lacks it, or that the two cannot be paired.
    fn planned_for(&self, which: usize, parameter: &Parameter<'_>) -> Option<Vec<usize>> {
        let names = self.sides[which].binding.checkpoint.tensors();
        if parameter.holders.iter().any(|holder| self.missing.contains(names[holder.tensor].name.as_str())) {
            return None;
        }
        let mut planned = Vec::new();
        if which == 1 {
            for holder in &parameter.holders {
                planned.extend(self.of_tensor.get(&holder.tensor).into_iter().flatten().copied());
            }
        } else {
            let own: HashSet<usize> = parameter.holders.iter().map(|holder| holder.tensor).collect();
            let has = |number: &usize| {
                let parts = &self.check.pairs.parameters[*number].parts;
                parts.iter().any(|part| own.contains(&part.tensors[0]))
            };
            planned.extend(self.planned.iter().map(|(number, _)| *number).filter(has));
        }
        planned.sort_unstable();
        planned.dedup();
        let pairs = &self.check.pairs.parameters;
        let is_told = |number: &usize| {
            let compared = self.check.compared[*number].as_ref();
            compared.is_some_and(|compared| !compared.difference.reasons.is_empty())
                || !pairs[*number].lengths.is_empty()
        };
        (!planned.iter().any(is_told)).then_some(planned)
    }

    /// Whether as many elements were compared as there are, copies and padding aside.
    fn count(&self, which: usize, parameter: &Parameter<'_>, planned: &[usize]) -> Option<Diagnostic> {
        let tensors = self.sides[which].binding.checkpoint.tensors();
        let elements = parameter.coordinates();
        let name = &tensors[parameter.holders.first()?.tensor].name;
        if planned.is_empty() {
            let whole = format!("none of its {elements} elements is compared with anything");
            let told = !self.check.pairs.missing[1 - which].is_empty();
            return (elements > 0 && !told).then(|| self.unreached(which, name, &whole));
        }
        let [only] = planned else { return None };
        let parts = self.check.pairs.parameters[*only].parts.iter();
        let counted = parts.map(PartPair::coordinates).fold(0, u64::saturating_add);
        let whole =
            format!("it has {elements} elements, copies and padding aside, but {counted} were compared");
        (which == 1 && counted != elements).then(|| self.unreached(which, name, &whole))
    }

    /// Whether both checkpoints hold the same at some coordinates, where the comparison says so.
    fn judge(
        &self,
        which: usize,
        name: &str,
        coordinate: &Coordinate,
        planned: &[usize],
    ) -> Option<Diagnostic> {
        let (verdict, values) = self.verdict(coordinate);
        match verdict {
            // What is missing is told by its own name, which the other checkpoint does not have.
            None if !self.check.pairs.missing[1 - which].is_empty() => None,
            None => {
                let place = self.show(coordinate);
                Some(self.unreached(which, name, &format!("the other checkpoint has nothing for {place}")))
            }
            Some(Verdict::Differs) => {
                let told = planned.iter().any(|number| self.check.compared[*number].is_some());
                (!told && !self.check.copies_differ).then(|| {
                    let message =
                        format!("`{name}` was found to be the same, but {}: {values}", self.show(coordinate));
                    self.disagreement(Code::VerdictsDisagree, message)
                })
            }
            Some(Verdict::Same | Verdict::Unsure) => None,
        }
    }

    /// The coordinates of the first element that the comparison found to differ.
    fn differing(&self, number: usize) -> Option<Coordinate> {
        let compared = self.check.compared[number].as_ref()?;
        let (part, element) = compared.at?;
        let at = self.planned.iter().position(|(own, _)| *own == number)?;
        let planned = &self.check.pairs.parameters[number];
        let (part, first) = (planned.parts.get(part)?, self.planned[at].1.get(part)?);
        let mut rest = element as u64;
        let mut index: Vec<u64> = part
            .shape
            .iter()
            .rev()
            .map(|len| {
                let own = rest % (*len as u64).max(1);
                rest /= (*len as u64).max(1);
                own
            })
            .collect();
        index.reverse();
        Some(self.coordinate_in(part, first, &index))
    }

    /// Whether the first element that the comparison found to differ does.
    fn judge_difference(&self, number: usize) -> Option<Diagnostic> {
        let planned = &self.check.pairs.parameters[number];
        let coordinate = self.differing(number)?;
        let (verdict, values) = self.verdict(&coordinate);
        (verdict == Some(Verdict::Same)).then(|| {
            let message = format!(
                "`{}` was found to differ, but it is the same {}: {values}",
                planned.name,
                self.show(&coordinate)
            );
            self.disagreement(Code::VerdictsDisagree, message)
        })
    }

    /// Whether both checkpoints hold the same at some coordinates, and what they hold; nothing where one holds none.
    fn verdict(&self, coordinate: &Coordinate) -> (Option<Verdict>, String) {
        let held = [0, 1].map(|which| self.held(which, coordinate));
        match &held {
            [(Held::Once(one), from), (Held::Once(other), to)] => {
                let (Some(from), Some(to)) = (from, to) else { return (None, String::new()) };
                let affine = from.affine.to(to.affine);
                let verdict = one.becomes(other, (affine.scale, affine.offset), self.check.options.tolerance);
                (Some(verdict), format!("{} in INPUT, {} in OUTPUT", one.show(), other.show()))
            }
            [(Held::Nowhere, _), _] | [_, (Held::Nowhere, _)] => (None, String::new()),
            _ => (Some(Verdict::Differs), "copies that must be the same differ".to_owned()),
        }
    }

    /// Whether the second checkpoint has at `to` what the first has at `from`; nothing where one holds none.
    pub(super) fn verdict_between(&self, from: &Coordinate, to: &Coordinate) -> Option<Verdict> {
        let ((Held::Once(one), Some(from)), (Held::Once(other), Some(to))) =
            (self.held(0, from), self.held(1, to))
        else {
            return None;
        };
        let affine = from.affine.to(to.affine);
        Some(one.becomes(&other, (affine.scale, affine.offset), self.check.options.tolerance))
    }

    /// The second checkpoint's parameters that one of the comparison is.
    pub(super) fn parameters_of(&self, planned: usize) -> Vec<usize> {
        let tensors: HashSet<usize> =
            self.check.pairs.parameters[planned].parts.iter().map(|part| part.tensors[1]).collect();
        let own = |number: &usize| {
            let holders = &self.parameters[1].all[*number].holders;
            holders.iter().any(|holder| tensors.contains(&holder.tensor))
        };
        (0..self.parameters[1].all.len()).filter(own).collect()
    }

    pub(super) fn tensors(&self, which: usize) -> &'a [Tensor] {
        self.sides[which].binding.checkpoint.tensors()
    }

    pub(super) fn show_axis(&self, axis: AxisName, all: &[AxisName]) -> String {
        self.names.show_axis(self.sides[0].binding.mapping, axis, all)
    }

    /// The first coordinate of an axis as names count it.
    pub(super) fn first_of(&self, axis: AxisName) -> u64 {
        let axis = self.names.axis_of(axis);
        axis.and_then(|axis| self.sides[0].binding.range(axis)).map_or(0, |(first, _)| first)
    }

    fn held(&self, which: usize, coordinate: &Coordinate) -> (Held, Option<&'a grammar::Stored>) {
        let checkpoint = self.sides[which].binding.checkpoint;
        let places = self.places(which, coordinate);
        let Some((first, ..)) = places.first() else { return (Held::Nowhere, None) };
        let stored = Some(self.parameters[which].all[*first].stored);
        // By part of the parameter, for each tensor that holds the part, its element.
        let mut parts: BTreeMap<&[u64], BTreeMap<usize, Element>> = BTreeMap::new();
        for (parameter, holder, place) in &places {
            let part = self.parameters[which].all[*parameter].holders[*holder].part.as_slice();
            let Some(element) = Element::read(checkpoint, *place) else { return (Held::Nowhere, stored) };
            let other = parts.entry(part).or_default().insert(place.tensor, element);
            if other.is_some_and(|other| !other.same_bits(&element)) {
                return (Held::Unequal, stored);
            }
        }
        let mut all =
            parts.into_values().map(|copies| self.joined(&copies.into_values().collect::<Vec<_>>()));
        let Some(first) = all.next() else { return (Held::Nowhere, stored) };
        match (first, all.all(|other| matches!((first, other), (Some(a), Some(b)) if a.same_bits(&b)))) {
            (Some(first), true) => (Held::Once(first), stored),
            _ => (Held::Unequal, stored),
        }
    }

    /// What the copies on several ranks are together; nothing where they must be equal and are not.
    fn joined(&self, copies: &[Element]) -> Option<Element> {
        let first = copies.first()?;
        let replicas = if is_renaming(self.rule) { Replicas::Equal } else { self.rule.replicas };
        match replicas {
            Replicas::First => Some(*first),
            Replicas::Equal => copies.iter().all(|copy| copy.same_bits(first)).then_some(*first),
            Replicas::Mean | Replicas::Sum if copies.len() == 1 => Some(*first),
            Replicas::Mean => Element::joined(copies, true),
            Replicas::Sum => Element::joined(copies, false),
        }
    }

    /// `at layer 3, q, heads 1`.
    fn show(&self, coordinate: &Coordinate) -> String {
        let all: Vec<AxisName> = coordinate.axes.iter().map(|(axis, _)| *axis).collect();
        let axes = coordinate.axes.iter().map(|(name, at)| {
            format!("{} {}", self.show_axis(*name, &all), self.first_of(*name).saturating_add(*at))
        });
        let labels = coordinate.labels.iter().map(|(_, label)| self.names.show_label(*label).to_owned());
        let words: Vec<String> = axes.chain(labels).collect();
        if words.is_empty() { "as a whole".to_owned() } else { format!("at {}", words.join(", ")) }
    }

    fn disagreement(&self, code: Code, message: String) -> Diagnostic {
        Diagnostic::error(code, self.rule.span, message, "by this rule").help(
            "this is a mistake in transship, not in the checkpoints: report it with the mapping, and do not rely on what \
             is said of this parameter",
        )
    }

    fn unreached(&self, which: usize, name: &str, what: &str) -> Diagnostic {
        let whose = ["INPUT", "OUTPUT"][which];
        self.disagreement(
            Code::ElementsUnreached,
            format!("not all of `{name}` in {whose} was compared: {what}"),
        )
    }

    fn elsewhere(
        &self,
        which: usize,
        coordinate: &Coordinate,
        planned: Place,
        plain: Option<Place>,
    ) -> Diagnostic {
        let checkpoint = self.sides[which].binding.checkpoint;
        let show = |place: Place| {
            let tensor = &checkpoint.tensors()[place.tensor];
            let rank = &checkpoint.ranks()[tensor.rank].name;
            let of = if rank.is_empty() { String::new() } else { format!(" of `{rank}`") };
            format!("element {} of the storage of `{}`{of}", place.element, tensor.name)
        };
        let whose = ["INPUT", "OUTPUT"][which];
        let own = plain.map_or_else(|| "nowhere".to_owned(), show);
        let message = format!(
            "the two ways of finding an element of {whose} do not agree: what is {} was taken from {}, by its layout it is {own}",
            self.show(coordinate),
            show(planned)
        );
        self.disagreement(Code::PlacesDisagree, message)
    }
}

/// The coordinates of the first element of a part: first what names fix, then its axes but for broadcast ones.
fn first_coordinate(side: &Side<'_, '_>, part: &PartPair<'_>, names: &mut Names) -> Coordinate {
    let numbers = side.memory_coordinates(&part.key).unwrap_or_default();
    let mut coordinate = Coordinate { stars: part.stars.clone(), ..Coordinate::default() };
    let fixed = part.key.iter().map(|(axis, _)| names.axis(*axis, None, None));
    coordinate.axes = fixed.zip(numbers).collect();
    for (at, axis) in part.axes.iter().enumerate().filter(|(_, axis)| !axis.is_broadcast()) {
        let PartAxis { of, from, .. } = axis;
        let name = match of {
            Some(axis) => names.of_use(axis),
            None => names.dimension(at),
        };
        coordinate.axes.push((name, *from));
    }
    coordinate.labels = names.choices(&part.labels);
    coordinate
}
