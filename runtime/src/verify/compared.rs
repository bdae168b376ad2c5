//! Elements compared: what differs in each parameter, and where first.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

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

/// Compares all parameters; what differs comes in their order.
pub(super) fn compare(
    parameters: &[ParameterPair<'_>],
    dtype: Option<DType>,
    tolerance: Tolerance,
    threads: usize,
    progress: &(dyn Fn(u64) + Sync),
) -> Vec<Difference> {
    let threads = crate::threads::count(threads).min(parameters.len());
    let next = AtomicUsize::new(0);
    let found: Mutex<Vec<(usize, Difference)>> = Mutex::new(Vec::new());
    crate::threads::in_threads(threads, || {
        while let Some((at, parameter)) = take(parameters, &next) {
            if let Some(difference) = compare_parameter(parameter, dtype, tolerance, progress) {
                found.lock().unwrap_or_else(PoisonError::into_inner).push((at, difference));
            }
        }
    });
    let mut found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    found.sort_by_key(|(at, _)| *at);
    found.into_iter().map(|(_, difference)| difference).collect()
}

fn take<'p, 'a>(
    parameters: &'p [ParameterPair<'a>],
    next: &AtomicUsize,
) -> Option<(usize, &'p ParameterPair<'a>)> {
    let at = next.fetch_add(1, Ordering::Relaxed);
    Some((at, parameters.get(at)?))
}

fn compare_parameter(
    parameter: &ParameterPair<'_>,
    dtype: Option<DType>,
    tolerance: Tolerance,
    progress: &dyn Fn(u64),
) -> Option<Difference> {
    let [own, other] = parameter.dtypes;
    let mut difference = Difference {
        name: parameter.name.clone(),
        dtypes: parameter.dtypes,
        reasons: Vec::new(),
        elements: 0,
        count: 0,
        largest: 0.0,
        first: None,
    };
    if dtype.is_some() && other != parameter.converted {
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
    for part in &parameter.parts {
        if let Some(first) = &part.first {
            compare_part(part, first, tolerance, progress, &mut difference);
        }
    }
    (difference.count > 0 || !difference.reasons.is_empty()).then_some(difference)
}

fn compare_part(
    part: &PartPair<'_>,
    first: &Content<'_>,
    tolerance: Tolerance,
    progress: &dyn Fn(u64),
    difference: &mut Difference,
) {
    let found = prepared(part, first).and_then(|one| {
        let other = prepared(part, &part.second)?;
        differences(part.dtype, [&one, &other], tolerance, progress)
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
    if let (None, Some(at), Some(values)) = (&difference.first, found.first, found.values) {
        difference.first = Some(FirstDifference { place: place(part, at), values });
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

/// The coordinates of an element by its row-major index in a part.
fn place(part: &PartPair<'_>, at: usize) -> Vec<String> {
    let mut rest = at;
    let mut words = Vec::new();
    for ((name, first), size) in part.axes.iter().zip(&part.shape).rev() {
        let coordinate = first.saturating_add((rest % (*size).max(1)) as u64);
        words.push(format!("{name} {coordinate}"));
        rest /= (*size).max(1);
    }
    words.reverse();
    [part.fixed.as_slice(), &words].concat()
}
