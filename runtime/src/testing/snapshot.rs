//! Plans and conversions as short texts that are the same on every run.

use super::fake::{Codes, elements};
use super::fold::{Line, fold};
use crate::Array;
use crate::plan::{Plan, Source};

/// Elements shown of each array.
const SHOWN: usize = 4;

/// A plan as text: each target with dtype and shape, below it its sources and what is done to them. Targets that
/// differ in numbers of names alone, such as layers, are one line.
#[must_use]
pub fn plan_text(plan: &Plan<'_>) -> String {
    let lines: Vec<Line> = plan
        .tensors()
        .map(|(target, sources)| {
            let said = |s: &Source| {
                if s.steps.is_empty() { String::new() } else { format!(": {}", s.steps.join("; ")) }
            };
            Line {
                name: target.name.clone(),
                text: format!("{} {:?}", target.dtype, target.shape),
                sources: sources.iter().map(|s| (s.name.clone(), said(s))).collect(),
            }
        })
        .collect();
    fold(&lines)
}

/// A conversion of a [`fake`](super::fake()) checkpoint as text: of each array its name, dtype, shape, the FNV-1a hash of
/// its row-major bytes, and where its first elements come from.
#[must_use]
pub fn conversion_text(arrays: &[(String, Array)], codes: &Codes) -> String {
    let mut text = String::new();
    for (name, array) in arrays {
        let digest = match array.bytes() {
            Ok(bytes) => format!("{:016x}", fnv(&bytes)),
            Err(_) => "too large".to_owned(),
        };
        let first = first_elements(array, codes);
        text.push_str(&format!("{name}  {} {:?}  {digest}  {first}\n", array.dtype(), array.shape()));
    }
    text
}

/// `layers.0.weight[0, 0] [2, 0] …`: a tensor is named where it is another than before.
fn first_elements(array: &Array, codes: &Codes) -> String {
    let all = elements(array);
    let mut words = Vec::new();
    let mut last = None;
    for element in all.iter().take(SHOWN) {
        let code = codes.code(*element).filter(|_| Codes::fit(array.dtype()));
        match code.and_then(|code| codes.origin(code)) {
            Some((tensor, at)) if last == Some(tensor) => words.push(format!("{at:?}")),
            Some((tensor, at)) => {
                words.push(format!("{tensor}{at:?}"));
                last = Some(tensor);
            }
            None => {
                words.push(element.to_string());
                last = None;
            }
        }
    }
    if all.len() > SHOWN {
        words.push("…".to_owned());
    }
    words.join(" ")
}

/// FNV-1a of 64 bits.
fn fnv(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
