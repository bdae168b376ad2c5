//! A checked copy as nested loops, and its restriction to a flat range of the target.

/// One loop of a nest. Steps count elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Loop {
    pub(super) count: usize,
    pub(super) source: usize,
    pub(super) target: usize,
}

/// Nested loops over a box, largest target step first, with fused axes.
///
/// Every loop runs at least twice, unless the nest is empty: then one loop runs zero times. Offsets and reaches
/// fit a `usize`, since they lie inside both sides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LoopNest {
    pub(super) source: usize,
    pub(super) target: usize,
    pub(super) loops: Vec<Loop>,
}

/// Part of a nest: loops with the elements they start at.
#[derive(Clone, Copy)]
pub(super) struct Part<'a> {
    pub(super) source: usize,
    pub(super) target: usize,
    pub(super) loops: &'a [Loop],
}

impl LoopNest {
    /// The nest that copies nothing.
    pub(super) fn empty() -> LoopNest {
        LoopNest { source: 0, target: 0, loops: vec![Loop { count: 0, source: 0, target: 0 }] }
    }

    /// The nest of a box with at least one element.
    pub(super) fn coalesced(source: usize, target: usize, mut loops: Vec<Loop>) -> LoopNest {
        loops.retain(|axis| axis.count != 1);
        loops.sort_by_key(|axis| std::cmp::Reverse((axis.target, axis.source)));
        let mut fused: Vec<Loop> = Vec::with_capacity(loops.len());
        for inner in loops {
            match fused.last_mut() {
                Some(outer) if outer.continues(inner) => {
                    *outer = Loop { count: outer.count * inner.count, ..inner };
                }
                _ => fused.push(inner),
            }
        }
        LoopNest { source, target, loops: fused }
    }

    /// Elements of the box.
    pub(super) fn elements(&self) -> usize {
        elements(&self.loops)
    }

    /// One past the largest target element; the target offset itself for an empty nest.
    pub(super) fn target_end(&self) -> usize {
        if self.elements() == 0 { self.target } else { self.target + target_span(&self.loops) + 1 }
    }

    /// Whether no target element comes up twice.
    pub(super) fn targets_are_distinct(&self) -> bool {
        if self.elements() <= 1 {
            return true;
        }
        // Each step passes all that the loops inside it reach, so that loop order is target order. Layouts made of
        // products and sums are always so.
        let mut span = 0;
        let ordered = self.loops.iter().rev().all(|axis| {
            let passes = axis.target > span;
            span += (axis.count - 1) * axis.target;
            passes
        });
        ordered || self.targets_are_distinct_by_marking()
    }

    fn targets_are_distinct_by_marking(&self) -> bool {
        let span = target_span(&self.loops);
        if self.elements() > span + 1 {
            return false;
        }
        let mut marks = vec![0u64; span / 64 + 1];
        let mut distinct = true;
        each_element(Part { source: 0, target: 0, loops: &self.loops }, &mut |_, target| {
            let bit = 1u64 << (target % 64);
            distinct &= marks[target / 64] & bit == 0;
            marks[target / 64] |= bit;
        });
        distinct
    }

    /// Calls `each` with parts that are together the elements whose target lies in `first..end`.
    ///
    /// A box cut by a flat range is few parts where loop order is target order: at most two per loop. Other nests
    /// are cut into more, never wrongly.
    pub(super) fn within(&self, first: usize, end: usize, each: &mut dyn FnMut(Part<'_>)) {
        if self.elements() != 0 {
            let whole = Part { source: self.source, target: self.target, loops: &self.loops };
            cut(whole, first, end, &mut Vec::with_capacity(self.loops.len()), each);
        }
    }
}

impl Loop {
    /// Whether running `inner` inside `self` is one loop with the steps of `inner`.
    fn continues(self, inner: Loop) -> bool {
        inner.count.checked_mul(inner.target) == Some(self.target)
            && inner.count.checked_mul(inner.source) == Some(self.source)
    }
}

/// Elements of a box.
pub(super) fn elements(loops: &[Loop]) -> usize {
    loops.iter().map(|axis| axis.count).product()
}

/// From the first to the furthest target element.
fn target_span(loops: &[Loop]) -> usize {
    loops.iter().map(|axis| (axis.count - 1) * axis.target).sum()
}

/// Calls `each(source, target)` for each element, innermost loop fastest.
pub(super) fn each_element(part: Part<'_>, each: &mut dyn FnMut(usize, usize)) {
    let Some((outer, inner)) = part.loops.split_first() else {
        return each(part.source, part.target);
    };
    for index in 0..outer.count {
        let source = part.source + index * outer.source;
        let target = part.target + index * outer.target;
        if inner.is_empty() {
            each(source, target);
        } else {
            each_element(Part { source, target, loops: inner }, each);
        }
    }
}

/// Calls `each` with parts of at most `limit` elements that are together the part.
///
/// The longest loop is halved first, which keeps the parts of a transpose near square.
pub(super) fn split(part: Part<'_>, limit: usize, each: &mut dyn FnMut(Part<'_>)) {
    if elements(part.loops) <= limit {
        return each(part);
    }
    let longest = (0..part.loops.len()).max_by_key(|&axis| part.loops[axis].count).unwrap_or_default();
    let Loop { count, source, target } = part.loops[longest];
    let half = count / 2;
    let mut loops = part.loops.to_vec();
    loops[longest].count = half;
    split(Part { loops: &loops, ..part }, limit, each);
    loops[longest].count = count - half;
    let rest =
        Part { source: part.source + half * source, target: part.target + half * target, loops: &loops };
    split(rest, limit, each);
}

fn cut(part: Part<'_>, first: usize, end: usize, loops: &mut Vec<Loop>, each: &mut dyn FnMut(Part<'_>)) {
    let span = target_span(part.loops);
    if part.target >= end || part.target + span < first {
        return;
    }
    if part.target >= first && part.target + span < end {
        return each(part);
    }
    // A part without loops has span 0 and is either in or out.
    let Some((&outer, inner)) = part.loops.split_first() else { return };
    let inner_span = span - (outer.count - 1) * outer.target;
    // Indices before `at(position)` have their inner box start before `position`.
    let at = |position: usize| position.saturating_sub(part.target).div_ceil(outer.target).min(outer.count);
    let touched = at(first.saturating_sub(inner_span))..at(end);
    let whole = at(first)..at(end.saturating_sub(inner_span)).max(at(first));
    let inside = |index: usize| Part {
        source: part.source + index * outer.source,
        target: part.target + index * outer.target,
        loops: inner,
    };
    for index in touched.start..whole.start.min(touched.end) {
        cut(inside(index), first, end, loops, each);
    }
    if !whole.is_empty() {
        loops.clear();
        if whole.len() > 1 {
            loops.push(Loop { count: whole.len(), ..outer });
        }
        loops.extend_from_slice(inner);
        each(Part { loops, ..inside(whole.start) });
    }
    for index in whole.end..touched.end {
        cut(inside(index), first, end, loops, each);
    }
}
