//! What two conversions of one fake checkpoint differ in, told in the mapping's words.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use transship_grammar as grammar;

use grammar::{Diagnostics, Mapping, SideId};

use super::fake::{Codes, coordinates, elements};
use super::orders::{Rearrangement, rearrangement};
use super::places::{Parameter, Region, parameters};
use crate::Array;
use crate::bind::{Binding, Key, Setting};
use crate::orders::{show_moves, show_orders};

/// What `got` differs from `expected` in: one line for each difference, none where they are the same.
///
/// Both are conversions of the [`fake`](super::fake()) checkpoint whose codes are `codes`: parameters of side `side` by
/// their names in a file. The mapping says what the elements of that side are called.
///
/// # Errors
/// Where the settings contradict the mapping or leave a size open.
pub fn explain(
    mapping: &Mapping,
    settings: &[Setting],
    side: SideId,
    codes: &Codes,
    expected: &[(String, Array)],
    got: &[(String, Array)],
) -> Result<String, Diagnostics> {
    let binding = Binding::of_config(mapping, settings, side)?;
    let parameters = parameters(&binding)?;
    let got: BTreeMap<&str, &Array> = got.iter().map(|(name, array)| (name.as_str(), array)).collect();
    let expected: BTreeMap<&str, &Array> =
        expected.iter().map(|(name, array)| (name.as_str(), array)).collect();
    let regions = parameters.iter().map(|p| p.regions(mapping)).collect();
    let mut comparison = Comparison {
        mapping,
        codes,
        parameters: &parameters,
        regions,
        home: HashMap::new(),
        findings: Vec::new(),
    };
    comparison.number(&expected);
    comparison.compare(&expected, &got);
    Ok(comparison.text())
}

/// Where an element belongs: parameter, region, place in the row-major order of the region's axes.
type Home = (usize, usize, u64);

/// What is said of parameters of one template.
struct Finding {
    template: String,
    text: String,
    /// The coordinates in the parameter's name; none where the text names them itself.
    key: Option<Key>,
}

struct Comparison<'c> {
    mapping: &'c Mapping,
    codes: &'c Codes,
    parameters: &'c [Parameter],
    /// Of each parameter.
    regions: Vec<Vec<Region>>,
    /// Of each code, where it is expected.
    home: HashMap<u64, Home>,
    findings: Vec<Finding>,
}

impl Comparison<'_> {
    fn number(&mut self, expected: &BTreeMap<&str, &Array>) {
        for (number, parameter) in self.parameters.iter().enumerate() {
            let fits = |a: &&&Array| a.shape() == parameter.shape && Codes::fit(a.dtype());
            let Some(array) = expected.get(parameter.name.as_str()).filter(fits) else { continue };
            let values = elements(array);
            for (r, region) in self.regions[number].iter().enumerate() {
                let lens = region.lens();
                for index in 0..lens.iter().product() {
                    let code = value_at(&values, region, &lens, index).and_then(|v| self.codes.code(v));
                    if let Some(code) = code {
                        self.home.entry(code).or_insert((number, r, index));
                    }
                }
            }
        }
    }

    fn compare(&mut self, expected: &BTreeMap<&str, &Array>, got: &BTreeMap<&str, &Array>) {
        let known: Vec<&str> = self.parameters.iter().map(|p| p.name.as_str()).collect();
        let made = expected.keys().chain(got.keys()).copied().filter(|name| !known.contains(name));
        let others: BTreeSet<&str> = made.collect();
        for name in known.iter().copied().chain(others) {
            match (expected.get(name), got.get(name)) {
                (Some(_), None) => self.plain(name, "is missing"),
                (None, Some(_)) => self.plain(name, "is not expected"),
                (Some(e), Some(g)) if e.shape() != g.shape() => {
                    let turned = e.shape().iter().rev().eq(g.shape());
                    let turned = if turned && g.shape().len() > 1 { "; it is transposed" } else { "" };
                    self.plain(name, &format!("has shape {:?}, not {:?}{turned}", g.shape(), e.shape()));
                }
                (Some(e), Some(g)) if e.dtype() != g.dtype() => {
                    self.plain(name, &format!("is {}, not {}", g.dtype(), e.dtype()));
                }
                (Some(e), Some(g)) => self.compare_elements(name, e, g),
                (None, None) => {}
            }
        }
    }

    fn plain(&mut self, name: &str, text: &str) {
        let found = self.parameters.iter().find(|p| p.name == name);
        let template = found.map_or(name, |p| &p.template).to_owned();
        let key = found.map(|p| p.key.clone());
        self.findings.push(Finding { template, text: text.to_owned(), key });
    }

    fn compare_elements(&mut self, name: &str, expected: &Array, got: &Array) {
        if matches!((expected.bytes(), got.bytes()), (Ok(a), Ok(b)) if a == b) {
            return;
        }
        let says_where = Codes::fit(expected.dtype());
        let (expected, got) = (elements(expected), elements(got));
        let Some(first) = expected.iter().zip(&got).position(|(a, b)| a.to_bits() != b.to_bits()) else {
            return self.plain(name, "differs in bits that change no value");
        };
        let Some(number) = self.parameters.iter().position(|p| p.name == name) else {
            let text = format!("holds {} at element {first}, not {}", got[first], expected[first]);
            return self.plain(name, &text);
        };
        let parameter = &self.parameters[number];
        let mut explained = says_where;
        let mut texts = Vec::new();
        for (r, region) in self.regions[number].iter().enumerate() {
            let lens = region.lens();
            let count = lens.iter().product();
            let homes: Option<Vec<Home>> = (0..count)
                .map(|i| self.home.get(&self.codes.code(value_at(&got, region, &lens, i)?)?).copied())
                .collect();
            match homes.and_then(|homes| self.explain_region(number, r, &homes)) {
                Some(text) => texts.extend(text),
                None => explained = false,
            }
        }
        if !explained || texts.is_empty() {
            let show = |element: f64| if says_where { self.codes.show(element) } else { element.to_string() };
            let text = arithmetic(&expected, &got)
                .unwrap_or_else(|| first_difference(&self.regions[number], &expected, &got, &show));
            return self.plain(name, &text);
        }
        for (text, names_parameter) in texts {
            let key = (!names_parameter).then(|| parameter.key.clone());
            self.findings.push(Finding { template: parameter.template.clone(), text, key });
        }
    }

    /// What is wrong in a region, and whether that names the parameter itself. `None` where it cannot be put in words;
    /// an empty one where nothing is wrong.
    fn explain_region(&self, number: usize, r: usize, homes: &[Home]) -> Option<Option<(String, bool)>> {
        let (other, other_region, _) = *homes.first()?;
        if !homes.iter().all(|(p, region, _)| (*p, *region) == (other, other_region)) {
            return None;
        }
        let in_place = (0..).zip(homes).all(|(at, (.., belongs))| at == *belongs);
        let region = &self.regions[number][r];
        match (other == number, other_region == r) {
            (true, true) if in_place => Some(None),
            (true, true) => {
                let moved: Vec<u64> = homes.iter().map(|(.., at)| *at).collect();
                let text = describe(region, &rearrangement(&region.lens(), &moved)?)?;
                Some(Some((text, false)))
            }
            (true, false) if in_place => {
                let label = |r: usize| self.regions[number][r].label.clone().unwrap_or_default();
                Some(Some((format!("{} holds {}", label(r), label(other_region)), false)))
            }
            (false, _) if in_place => Some(Some(self.other_parameter(number, other))),
            _ => None,
        }
    }

    fn other_parameter(&self, number: usize, other: usize) -> (String, bool) {
        let (here, there) = (&self.parameters[number], &self.parameters[other]);
        let keys: Vec<_> = here.key.iter().zip(&there.key).filter(|(a, b)| a != b).collect();
        match keys.as_slice() {
            [((axis, at), (_, belongs))] if here.template == there.template => {
                let name = &self.mapping.axis(*axis).name;
                (format!("{name} {at} holds {name} {belongs}"), true)
            }
            [] if !here.labels.is_empty() && here.labels != there.labels => {
                (format!("{} holds {}", here.labels.join(" "), there.labels.join(" ")), false)
            }
            _ => (format!("holds `{}`", there.name), false),
        }
    }

    /// One line for each finding; parameters of one template that it holds for together.
    fn text(&self) -> String {
        let mut lines: Vec<(&str, &str, Vec<&Key>)> = Vec::new();
        for finding in &self.findings {
            let keys = finding.key.as_ref().filter(|k| !k.is_empty());
            match lines.iter_mut().find(|(t, text, _)| (*t, *text) == (&finding.template, &finding.text)) {
                Some((.., all)) => all.extend(keys),
                None => lines.push((&finding.template, &finding.text, keys.into_iter().collect())),
            }
        }
        let mut text = String::new();
        for (template, what, keys) in join_exchanges(&lines) {
            let count = self.parameters.iter().filter(|p| p.template == template).count();
            let which: Vec<String> = if keys.len() == count { Vec::new() } else { self.show_keys(&keys) };
            let which = if which.is_empty() { String::new() } else { format!(", {}", which.join(", ")) };
            text.push_str(&format!("{template}{which}: {what}\n"));
        }
        text
    }

    /// `layer 0, layer 2`.
    fn show_keys(&self, keys: &[&Key]) -> Vec<String> {
        let one = |key: &&Key| {
            let words: Vec<String> =
                key.iter().map(|(axis, at)| format!("{} {at}", self.mapping.axis(*axis).name)).collect();
            words.join(" ")
        };
        keys.iter().map(one).collect()
    }
}

/// What one number does to all elements, where that is the difference.
fn arithmetic(expected: &[f64], got: &[f64]) -> Option<String> {
    let (e, g) = (*expected.first()?, *got.first()?);
    let all = |of: &dyn Fn(f64) -> f64| expected.iter().zip(got).all(|(e, g)| of(*e) == *g);
    if all(&|element| element + (g - e)) {
        return Some(format!(
            "every element is {} too {}",
            (g - e).abs(),
            if g > e { "large" } else { "small" }
        ));
    }
    (e != 0.0 && all(&|element| element * (g / e)))
        .then(|| format!("every element is {} times what it should be", g / e))
}

/// The first element that differs, its place on the axes, and what both sides hold there.
fn first_difference(
    regions: &[Region],
    expected: &[f64],
    got: &[f64],
    show: &dyn Fn(f64) -> String,
) -> String {
    for region in regions {
        let lens = region.lens();
        for index in 0..lens.iter().product() {
            let at = |values: &[f64]| value_at(values, region, &lens, index);
            if let (Some(e), Some(g)) = (at(expected), at(got))
                && e.to_bits() != g.to_bits()
            {
                let place = region.show(&coordinates(index, &lens));
                let place = if place.is_empty() { place } else { format!(" at {place}") };
                return format!("differs first{place}: it holds {}, not {}", show(g), show(e));
            }
        }
    }
    "differs in its padding".to_owned()
}

fn value_at(values: &[f64], region: &Region, lens: &[u64], index: u64) -> Option<f64> {
    values.get(usize::try_from(region.place(&coordinates(index, lens))).ok()?).copied()
}

/// Two lines `a holds b` and `b holds a` of one template as the one that they are together.
fn join_exchanges<'l>(lines: &[(&'l str, &'l str, Vec<&'l Key>)]) -> Vec<(&'l str, String, Vec<&'l Key>)> {
    let mut taken = BTreeSet::new();
    let mut joined = Vec::new();
    for (number, (template, text, keys)) in lines.iter().enumerate() {
        if taken.contains(&number) {
            continue;
        }
        let partner = text.split_once(" holds ").and_then(|(a, b)| {
            let back = format!("{b} holds {a}");
            let found = lines
                .iter()
                .position(|(t, text, k)| (*t, *text) == (*template, back.as_str()) && k == keys)?;
            Some((found, format!("{a} and {b} are swapped")))
        });
        match partner {
            Some((found, both)) => {
                taken.insert(found);
                joined.push((*template, both, keys.clone()));
            }
            None => joined.push((*template, (*text).to_owned(), keys.clone())),
        }
    }
    joined
}

fn describe(region: &Region, rearrangement: &Rearrangement) -> Option<String> {
    match rearrangement {
        Rearrangement::Along(axis, to) => {
            let axis = &region.axes[*axis];
            let name = |at: u64| {
                let label = usize::try_from(at).ok().and_then(|i| axis.labels.get(i));
                label.cloned().unwrap_or_else(|| at.to_string())
            };
            let moved: Vec<(String, String)> = (0..).zip(to).map(|(at, b)| (name(at), name(*b))).collect();
            let along = if axis.labels.is_empty() { format!("along {}, ", axis.name) } else { String::new() };
            Some(format!("{along}{}", show_moves(&moved)?))
        }
        Rearrangement::Orders(lie, belong) => {
            let names: Vec<String> = region.axes.iter().map(|axis| axis.name.clone()).collect();
            Some(show_orders(&names, lie, belong))
        }
    }
}
