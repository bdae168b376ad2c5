//! Elements compared: what differs in each parameter, and where first.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use transship_grammar as grammar;

use grammar::Mapping;

use super::VerifyOptions;
use crate::DType;
use crate::engine::{Content, CopyError, PreparedTensor, TargetTensor, Tolerance, differences};
use crate::plan::{ParameterPair, PartPair};

/// A parameter that is not the same in two checkpoints.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// Its name in the second checkpoint.
    pub name: String,
    /// Its dtype in the first and in the second.
    pub dtypes: [DType; 2],
    /// Why it differs as a whole: lengths, a dtype; nothing where elements alone do.
    pub reasons: Vec<String>,
    /// What all that differs is, where it has a name: `q and k are swapped`.
    pub explanation: Option<String>,
    /// Elements compared.
    pub elements: u64,
    /// Elements that differ.
    pub count: u64,
    /// The largest difference of two elements; infinite where one of the two is no number or infinite.
    pub largest: f64,
    /// The first element that differs, in the order in which the second checkpoint stores it.
    pub first: Option<FirstDifference>,
}

/// An element that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirstDifference {
    /// Its coordinates: `layer 3`, `q`, `heads 1`, `head_dim 5`, `hidden 7`.
    pub place: Vec<String>,
    /// What the first checkpoint has there, cast to the dtype of the second, and what the second has.
    pub values: [String; 2],
}

/// What a comparison of a parameter found.
#[derive(Clone, Debug)]
pub(super) struct Compared {
    pub(super) difference: Difference,
    /// The first element that differs: which part of the pair, and its index there in row-major order.
    pub(super) at: Option<(usize, usize)>,
}

impl ParameterPair<'_> {
    /// Elements that both checkpoints have.
    pub(super) fn compared(&self) -> u64 {
        self.parts.iter().fold(0, |sum, part| sum.saturating_add(part.elements()))
    }
}

impl PartPair<'_> {
    fn elements(&self) -> u64 {
        self.shape.iter().fold(1, |product, size| product.saturating_mul(*size as u64))
    }

    pub(super) fn bytes(&self) -> u64 {
        self.elements().saturating_mul(self.dtype.size() as u64)
    }
}

/// Parameters whose elements are cast to be compared, told of by dtypes.
pub(super) fn casts(parameters: &[ParameterPair<'_>]) -> Vec<String> {
    let mut casts: BTreeMap<(DType, DType), usize> = BTreeMap::new();
    for parameter in parameters.iter().filter(|p| p.dtypes[1] != p.converted) {
        *casts.entry((parameter.dtypes[0], parameter.dtypes[1])).or_default() += 1;
    }
    let told = casts.into_iter().map(|((from, to), count)| {
        let parameters = if count == 1 { "parameter is" } else { "parameters are" };
        format!("{count} {parameters} compared as {to}, which the output has for {from}")
    });
    told.collect()
}

/// Compares all parameters: for each what differs, or nothing.
pub(super) fn compare(
    mapping: &Mapping,
    parameters: &[ParameterPair<'_>],
    options: &VerifyOptions,
    progress: &(dyn Fn(u64) + Sync),
) -> Vec<Option<Compared>> {
    let threads = crate::threads::count(options.threads).min(parameters.len());
    let next = AtomicUsize::new(0);
    let found: Mutex<Vec<Option<Compared>>> = Mutex::new(vec![None; parameters.len()]);
    crate::threads::in_threads(threads, || {
        while let Some((at, parameter)) = take(parameters, &next) {
            let compared = compare_parameter(mapping, parameter, options, progress);
            found.lock().unwrap_or_else(PoisonError::into_inner)[at] = compared;
        }
    });
    found.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn take<'p, 'a>(
    parameters: &'p [ParameterPair<'a>],
    next: &AtomicUsize,
) -> Option<(usize, &'p ParameterPair<'a>)> {
    let at = next.fetch_add(1, Ordering::Relaxed);
    Some((at, parameters.get(at)?))
}

fn compare_parameter(
    mapping: &Mapping,
    parameter: &ParameterPair<'_>,
    options: &VerifyOptions,
    progress: &dyn Fn(u64),
) -> Option<Compared> {
    let [own, other] = parameter.dtypes;
    let mut difference = Difference {
        name: parameter.name.clone(),
        dtypes: parameter.dtypes,
        reasons: Vec::new(),
        explanation: None,
        elements: 0,
        count: 0,
        largest: 0.0,
        first: None,
    };
    if options.dtype.is_some() && other != parameter.converted {
        difference.reasons.push(format!("it is {other}, not {}", parameter.converted));
    }
    for (axis, one, other) in &parameter.lengths {
        difference.reasons.push(format!("{axis} is {one} in the input, {other} in the output"));
    }
    if parameter.compared() < parameter.elements && parameter.lengths.is_empty() {
        let lacking = parameter.elements - parameter.compared();
        difference
            .reasons
            .push(format!("the input has nothing for {lacking} of {} elements", parameter.elements));
    }
    if parameter.parts.iter().any(|part| part.first.is_none()) {
        difference.reasons.push(format!("{own} is not cast to {other}"));
    }
    let mut compared = Compared { difference, at: None };
    for (number, part) in parameter.parts.iter().enumerate() {
        if let Some(first) = &part.first {
            compare_part(mapping, (number, part), first, &options.tolerance, progress, &mut compared);
        }
    }
    let Difference { count, reasons, .. } = &compared.difference;
    (*count > 0 || !reasons.is_empty()).then_some(compared)
}

fn compare_part(
    mapping: &Mapping,
    (number, part): (usize, &PartPair<'_>),
    first: &Content<'_>,
    tolerance: &Tolerance,
    progress: &dyn Fn(u64),
    Compared { difference, at }: &mut Compared,
) {
    let found = prepared(part, first).and_then(|one| {
        let other = prepared(part, &part.second)?;
        differences(part.dtype, [&one, &other], *tolerance, progress)
    });
    let found = match found {
        Ok(found) => found,
        Err(error) => {
            difference.reasons.push(error.to_string());
            return;
        }
    };
    difference.elements = difference.elements.saturating_add(part.elements());
    difference.count = difference.count.saturating_add(found.count);
    difference.largest = difference.largest.max(found.largest);
    if let (None, Some(first), Some(values)) = (&difference.first, found.first, found.values) {
        *at = Some((number, first));
        difference.first = Some(FirstDifference { place: place(part, first, mapping), values });
    }
}

fn prepared<'a>(part: &PartPair<'_>, content: &Content<'a>) -> Result<PreparedTensor<'a>, CopyError> {
    PreparedTensor::new(&TargetTensor {
        name: String::new(),
        dtype: part.dtype,
        shape: part.shape.iter().map(|size| *size as u64).collect(),
        contents: vec![content.clone()],
    })
}

/// The coordinates of an element by its row-major index in a part: `layer 3`, `q`, `heads 1`.
fn place(part: &PartPair<'_>, at: usize, mapping: &Mapping) -> Vec<String> {
    let numbers = part.key.iter().map(|(axis, at)| format!("{} {at}", mapping.axis(*axis).name));
    let mut words: Vec<String> = numbers.chain(part.labels.values().cloned()).collect();
    let fixed = words.len();
    let mut rest = at;
    for (axis, size) in part.axes.iter().zip(&part.shape).rev() {
        let coordinate = axis.first.saturating_add((rest % (*size).max(1)) as u64);
        words.insert(fixed, format!("{} {coordinate}", axis.name));
        rest /= (*size).max(1);
    }
    words
}
