//! Conversions between random layouts, against an indexer that takes every stored index apart on its own.
//!
//! A parameter is a random set of axes and sums; each side stores it in a random arrangement, which is written as a
//! mapping. The checkpoint's elements are the numbers of their coordinates, so that a wrong place shows.

mod arithmetic;
mod arrange;
mod layout;

use std::collections::BTreeMap;
use std::path::Path;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use safetensors::tensor::{Dtype, TensorView};
use transship::grammar::{Diagnostics, Mapping, SideId, Source, Style, check, render};
use transship::{
    BindOptions, Binding, Checkpoint, Plan, PlanOptions, Verification, Verify, VerifyOptions, output,
};

use crate::oracle::{Tensors, read_tensors};
use arrange::Case;
use layout::{Coordinate, Side};

/// Larger cases take long and show nothing that smaller ones do not.
const MOST_ELEMENTS: u64 = 2000;

/// An element type in which numbers up to some count are exact.
#[derive(Clone, Copy, Debug)]
struct Element {
    dtype: Dtype,
    size: usize,
}

const ELEMENTS: [Element; 3] = [
    Element { dtype: Dtype::I32, size: 4 },
    Element { dtype: Dtype::I64, size: 8 },
    Element { dtype: Dtype::I16, size: 2 },
];

impl Element {
    fn bytes(self, number: i64) -> Vec<u8> {
        number.to_le_bytes()[..self.size].to_vec()
    }
}

/// What a side holds where each coordinate has a number, and padding a negative one.
fn stored(side: &Side, numbers: &mut BTreeMap<Coordinate, i64>, element: Element) -> Tensors {
    let mut tensors = Tensors::new();
    for entry in &side.entries {
        for (name, fixed) in entry.names() {
            let mut bytes = Vec::new();
            for flat in 0..entry.elements() {
                let number = match entry.coordinate(flat, &fixed) {
                    Some(coordinate) => {
                        let next = i64::try_from(numbers.len()).expect("few elements");
                        *numbers.entry(coordinate).or_insert(next)
                    }
                    None => -1 - i64::try_from(flat).expect("few elements"),
                };
                bytes.extend(element.bytes(number));
            }
            let shape = entry.dims.iter().map(|d| usize::try_from(d.size()).expect("small")).collect();
            tensors.insert(name, (format!("{:?}", element.dtype), shape, bytes));
        }
    }
    tensors
}

fn write(directory: &Path, tensors: &Tensors, element: Element, config: &serde_json::Value) {
    let views = tensors.iter().map(|(name, (_, shape, bytes))| {
        (name, TensorView::new(element.dtype, shape.clone(), bytes).expect("a tensor of that size"))
    });
    safetensors::serialize_to_file(views, None, &directory.join("model.safetensors"))
        .expect("it can be written");
    std::fs::write(directory.join("config.json"), config.to_string()).expect("it can be written");
}

fn plain(diagnostics: &Diagnostics) -> String {
    render(diagnostics, Style::Full { colour: false })
}

fn convert(mapping: &Mapping, from: SideId, input: &Path, directory: &Path) -> Result<Tensors, String> {
    let checkpoint = Checkpoint::open(input).map_err(|e| e.to_string())?;
    let binding = Binding::new(mapping, &checkpoint, from, &BindOptions::default()).map_err(|d| plain(&d))?;
    let plan = Plan::new(&binding, &PlanOptions::default()).map_err(|d| plain(&d))?;
    let options = output::Options { threads: 1, sync: false, ..output::Options::default() };
    plan.write(mapping, directory, None, &options).map_err(|e| match e {
        transship::ConvertError::Diagnostics(d) => plain(&d),
        other => other.to_string(),
    })?;
    Ok(read_tensors(&directory.join("model.safetensors")))
}

/// The first tensor and byte where two checkpoints differ.
fn difference(expected: &Tensors, got: &Tensors) -> Option<String> {
    for (name, (dtype, shape, bytes)) in expected {
        let Some((got_dtype, got_shape, got_bytes)) = got.get(name) else {
            return Some(format!("{name} is missing"));
        };
        if (dtype, shape) != (got_dtype, got_shape) {
            return Some(format!("{name} is {got_dtype} {got_shape:?}, not {dtype} {shape:?}"));
        }
        if let Some(at) = bytes.iter().zip(got_bytes).position(|(a, b)| a != b) {
            return Some(format!("{name} differs at byte {at}"));
        }
    }
    got.keys().find(|name| !expected.contains_key(*name)).map(|name| format!("{name} is too much"))
}

fn verified(mapping: &Mapping, files: [&Path; 2], sides: [SideId; 2]) -> Result<Verification, String> {
    let open = |path: &Path| Checkpoint::open(path).map_err(|e| e.to_string());
    let (one, other) = (open(files[0])?, open(files[1])?);
    let options = VerifyOptions { threads: 1, thorough: true, ..VerifyOptions::default() };
    let verify = Verify::new(mapping, [&one, &other], sides, &options).map_err(|d| plain(&d))?;
    Ok(verify.run(&|_| ()))
}

/// A conversion is found to be one, and an element that is changed is found at its coordinates.
fn check_verified(
    mapping: &Mapping,
    case: &Case,
    element: Element,
    [left, right]: [&Path; 2],
    converted: &Tensors,
) -> Result<(), String> {
    let (l, r) = (SideId::Left, SideId::Right);
    for (files, sides) in [([left, right], [l, r]), ([right, left], [r, l]), ([right, right], [r, r])] {
        let found = verified(mapping, files, sides)?;
        if !found.holds() {
            return Err(format!("what is the same is not found to be: {found:?}"));
        }
    }
    let names =
        || case.sides[1].entries.iter().flat_map(|entry| entry.names().into_iter().map(move |n| (entry, n)));
    let elements: u64 = names().map(|(entry, _)| entry.elements()).sum();
    let mut at = elements / 2;
    for (entry, (name, fixed)) in names() {
        if at >= entry.elements() {
            at -= entry.elements();
            continue;
        }
        let mut changed = converted.clone();
        let byte = usize::try_from(at).expect("small") * element.size;
        changed.get_mut(&name).expect("it was written").2[byte] ^= 1;
        let directory = right.with_file_name("changed");
        std::fs::create_dir(&directory).expect("a directory");
        write(&directory, &changed, element, &case.config(1));
        let found = verified(mapping, [left, &directory], [l, r])?;
        let told = format!("element {at} of {name} is changed: {found:?}");
        return match (entry.coordinate(at, &fixed), found.differences.as_slice()) {
            (None, []) if found.holds() => Ok(()),
            (Some(coordinate), [one]) if one.count == 1 && one.name == name => {
                let place = &one.first.as_ref().expect("it differs somewhere").place;
                let said = |(axis, at): (&String, &String)| {
                    let own = axis.rsplit(':').next().unwrap_or_default();
                    let words = [format!("{axis} {at}"), format!("{own} {at}"), at.clone()];
                    place.iter().any(|word| words.contains(word))
                };
                if coordinate.iter().all(said) { Ok(()) } else { Err(format!("{told}, not {coordinate:?}")) }
            }
            _ => Err(told),
        };
    }
    Ok(())
}

fn check_case(case: &Case, element: Element) -> Result<(), String> {
    let text = case.text();
    let failed = |what: String| format!("{text}\nsizes {}\n{what}", case.config(0));
    let (mapping, _) = check(&Source::new("random.mapping", &text)).map_err(|d| failed(plain(&d)))?;
    let directory = tempfile::tempdir().expect("a directory");
    let [left, right, back] = ["left", "right", "back"].map(|name| directory.path().join(name));
    std::fs::create_dir(&left).expect("a directory");

    let mut numbers = BTreeMap::new();
    write(&left, &stored(&case.sides[0], &mut numbers, element), element, &case.config(0));
    let expected = stored(&case.sides[1], &mut numbers.clone(), element);
    let got = convert(&mapping, SideId::Left, &left, &right).map_err(&failed)?;
    if let Some(difference) = difference(&expected, &got) {
        return Err(failed(format!("to the right: {difference}")));
    }
    check_verified(&mapping, case, element, [&left, &right], &got).map_err(&failed)?;

    let expected = stored(&case.sides[0].without_padding(), &mut numbers, element);
    let got = convert(&mapping, SideId::Right, &right, &back).map_err(&failed)?;
    match difference(&expected, &got) {
        Some(difference) => Err(failed(format!("back to the left: {difference}"))),
        None => Ok(()),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn random_layouts_are_converted_both_ways(choices in vec(any::<u8>(), 0..160), element in 0..ELEMENTS.len()) {
        let case = Case::of(&choices);
        prop_assume!(case.elements() <= MOST_ELEMENTS);
        if let Err(message) = check_case(&case, ELEMENTS[element]) {
            return Err(TestCaseError::fail(message));
        }
    }
}

/// What the random cases are made of must be among them, or nothing is tested.
#[test]
fn every_construct_is_generated() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let strategy = vec(any::<u8>(), 0..160);
    let texts: Vec<String> = (0..600)
        .map(|_| {
            let choices = strategy.new_tree(&mut runner).expect("bytes").current();
            Case::of(&choices).text()
        })
        .collect();
    for part in ["*b", "pad: _", "{x", " + 2}", "{ l0", "{l0", "r0:", "| l1", ": (", " 1 ", "[]"] {
        let count = texts.iter().filter(|t| t.contains(part)).count();
        assert!(count >= 5, "`{part}` is in {count} of 600 cases");
    }
}
