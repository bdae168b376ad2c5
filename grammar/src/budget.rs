//! How much a mapping may unfold to. Alternatives, scopes, modules, named layouts, choices and sums multiply, so a few
//! lines can stand for more than any machine holds.

use crate::source::Source;

/// What even the shortest mapping may unfold to; shipped ones use less than a tenth of it.
const LEAST: usize = 1 << 19;

/// What a longer text may unfold to beyond that, for each of its bytes.
const PER_BYTE: usize = 8;

/// Pieces that are left: parts of names, factors of layouts, and labels and axes of boxes.
pub(crate) struct Budget {
    left: usize,
    pub(crate) whole: usize,
}

impl Budget {
    pub(crate) fn of(source: &Source) -> Budget {
        let bytes: usize = source.parts().iter().map(|part| part.text.len()).sum();
        let whole = LEAST.saturating_add(bytes.saturating_mul(PER_BYTE));
        Budget { left: whole, whole }
    }

    /// Takes so many pieces away, and says whether they were there. Once they were not, nothing is left.
    pub(crate) fn charge(&mut self, pieces: usize) -> bool {
        let rest = self.left.checked_sub(pieces);
        self.left = rest.unwrap_or(0);
        rest.is_some()
    }
}
