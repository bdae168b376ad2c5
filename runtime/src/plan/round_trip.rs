//! Elements that steps change, and whether a conversion back brings them back.

use std::collections::BTreeMap;

use super::Plan;
use crate::DType;
use crate::engine::{Affine, Content, Convert, CopyError, StridedCopy, count_changed};

/// Elements of a stored tensor that steps change on their way.
#[derive(Clone, Debug)]
pub(crate) struct RoundTrip<'a> {
    /// The stored tensor's name.
    name: &'a str,
    copy: StridedCopy,
    source: &'a [u8],
    there: Convert,
    back: Convert,
}

impl<'a> RoundTrip<'a> {
    /// Of a copy with steps, which `back` undoes. A cast that rounds is told of as such, whatever the steps.
    pub(super) fn of(name: &'a str, content: &Content<'a>, back: Option<Affine>) -> Option<RoundTrip<'a>> {
        let Content::Copy { copy, source, convert: there } = content else { return None };
        if there.affine.is_none() || !there.to.holds(there.from) {
            return None;
        }
        let back = Convert { from: there.to, to: there.from, affine: back };
        Some(RoundTrip { name, copy: copy.clone(), source, there: *there, back })
    }

    fn changed(&self) -> Result<u64, CopyError> {
        count_changed(&self.copy, [&self.there, &self.back], self.source)
    }

    fn elements(&self) -> u64 {
        self.copy.shape.iter().fold(1, |elements, size| elements.saturating_mul(*size as u64))
    }
}

/// What is lost of the elements that are written in one dtype.
#[derive(Default)]
struct Lost<'a> {
    changed: u64,
    elements: u64,
    first: Option<&'a str>,
}

impl Plan<'_> {
    /// What the user should know of the elements that steps change: how many of them a conversion back does not bring
    /// back, since the dtype that they are written in has too few digits. These elements are read for it.
    #[must_use]
    pub fn notes_on_steps(&self) -> Vec<String> {
        let mut all: BTreeMap<DType, Lost<'_>> = BTreeMap::new();
        for trip in &self.round_trips {
            // What cannot be copied is told where it is written.
            let changed = trip.changed().unwrap_or(0);
            let lost = all.entry(trip.there.to).or_default();
            lost.elements = lost.elements.saturating_add(trip.elements());
            lost.changed = lost.changed.saturating_add(changed);
            if changed > 0 {
                lost.first.get_or_insert(trip.name);
            }
        }
        let told = all.into_iter().filter_map(|(dtype, Lost { changed, elements, first })| {
            let first = first?;
            Some(format!(
                "{changed} of {elements} elements that steps change are rounded in {dtype} and will not come back the \
                 same the other way, the first in `{first}`; a wider dtype after `as` keeps them"
            ))
        });
        told.collect()
    }
}
