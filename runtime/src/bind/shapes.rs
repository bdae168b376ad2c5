//! Stored shapes against layouts: each dimension is an equation over config values.

use std::collections::{BTreeMap, HashSet};

use transship_grammar as grammar;

use grammar::{
    AxisId, AxisUse, Code, Diagnostic, Diagnostics, FieldId, Layout, RankId, Size, Span, Stored, Symbol,
    Value,
};

use super::names::sorted_key;
use super::{Binding, Key};

/// What one stored dimension, or the numbers in names, say about sizes.
#[derive(Clone, Debug)]
pub(crate) struct SizeEquation {
    /// The size by the layout, padding left out.
    pub(crate) size: Size,
    /// The size that is stored.
    pub(crate) stored: u64,
    /// Whether there may be more than `size`, as padding.
    pub(crate) padded: bool,
    pub(crate) from: Evidence,
}

/// Where the stored size was seen.
#[derive(Clone, Debug)]
pub(crate) enum Evidence {
    /// A dimension of a tensor.
    Dimension {
        /// Number of the tensor.
        tensor: usize,
        /// Number of the dimension, from 0.
        dim: usize,
        /// The layout.
        span: grammar::Span,
    },
    /// The last of the numbers in names.
    Count {
        /// Number of the tensor with the largest.
        tensor: usize,
        /// The rule's place.
        span: grammar::Span,
    },
}

impl Binding<'_> {
    /// The equations of all claimed tensors. Equal ones, as every layer has, are kept once.
    pub(super) fn shape_equations(&self, diagnostics: &mut Diagnostics) -> Vec<SizeEquation> {
        let mut found = Found::default();
        let mut claims: Vec<_> = self.claims.entries.iter().collect();
        claims.sort_unstable_by_key(|((rule, entry, _), claimed)| (claimed.tensor, *rule, *entry));
        for ((rule_number, entry, key), claimed) in claims {
            let rule = &self.mapping.rules[*rule_number];
            let stored = &rule.sides[self.from.index()][*entry].stored[claimed.era];
            for tensor in claimed.tensors() {
                self.add_dimensions(stored, key, tensor, *rule_number, &mut found);
            }
            self.add_counts(stored, key, claimed.tensor, rule.optional, &mut found);
        }
        for r in &self.claims.renamed {
            let rule = &self.mapping.rules[r.rule];
            let stored = &rule.sides[self.from.index()][r.entry].stored[r.era];
            self.add_counts(stored, &sorted_key(&r.captures), r.tensor, rule.optional, &mut found);
        }
        self.report_misfits(&found, diagnostics);
        // Parameters that may be absent count only where nothing else does.
        let certain = found.counts.keys().filter(|(_, optional)| !optional).map(|(axis, _)| *axis);
        let certain: Vec<AxisId> = certain.collect();
        let counts =
            found.counts.into_iter().filter(|((axis, optional), _)| !optional || !certain.contains(axis));
        let counts =
            counts.map(|(_, (size, stored, from))| SizeEquation { size, stored, padded: false, from });
        counts.chain(found.dimensions).collect()
    }

    fn add_dimensions(&self, stored: &Stored, key: &Key, number: usize, rule: usize, found: &mut Found) {
        let Some(layout) = self.layout(stored, key) else { return };
        let tensor = &self.checkpoint.tensors()[number];
        if tensor.shape.len() != layout.dims.len() {
            found.misfits.entry((rule, layout.span)).or_default().push((number, layout.dims.len()));
            return;
        }
        let whole = tensor.chunk.as_ref().map(|chunk| &chunk.shape);
        for (dim, (factor, stored)) in layout.dims.iter().zip(whole.unwrap_or(&tensor.shape)).enumerate() {
            let count = |ranks: &[RankId]| if whole.is_some() { 1 } else { self.ranks.product(ranks) };
            let Some((size, by)) = self.factor_share(factor, key, &count) else { continue };
            let Some(stored) = stored.checked_mul(by) else { continue };
            let padded = factor.padding().is_some();
            let from = Evidence::Dimension { tensor: number, dim, span: layout.span };
            found.add_dimension(SizeEquation { size, stored, padded, from });
        }
    }

    /// Tensors with more or fewer dimensions than their layout: told once for all layers.
    fn report_misfits(&self, found: &Found, diagnostics: &mut Diagnostics) {
        for ((_, span), misfits) in &found.misfits {
            let [(number, dimensions), others @ ..] = misfits.as_slice() else { continue };
            let tensor = &self.checkpoint.tensors()[*number];
            let message = format!(
                "`{}` is stored with {} dimensions, {:?}, but its layout has {dimensions}",
                tensor.name,
                tensor.shape.len(),
                tensor.shape,
            );
            let mut diagnostic = Diagnostic::error(Code::ShapeMismatch, *span, message, "this layout");
            if !others.is_empty() {
                diagnostic =
                    diagnostic.note(format!("the same is true of {} more by this rule", others.len()));
            }
            diagnostics.push(
                diagnostic.note(format!("in {}", self.checkpoint.file())).help(
                    "if the file is right, give this parameter another layout in a copy of the mapping",
                ),
            );
        }
    }

    /// The numbers in names tell how many coordinates an axis has, where a rule's names cover all of them.
    fn add_counts(&self, stored: &Stored, key: &Key, tensor: usize, optional: bool, found: &mut Found) {
        for index in stored.name.indices().filter(|i| i.range.is_none()) {
            let Some((_, at)) = key.iter().find(|(axis, _)| *axis == index.axis) else { continue };
            let end = &self.mapping.axis(index.axis).range.1;
            let count = at.saturating_add(1);
            let entry = found
                .counts
                .entry((index.axis, optional))
                .or_insert_with(|| (end.clone(), 0, Evidence::Count { tensor, span: stored.span }));
            if count > entry.1 {
                *entry = (end.clone(), count, Evidence::Count { tensor, span: stored.span });
            }
        }
    }

    /// The layout of a stored parameter at given coordinates.
    pub(crate) fn layout<'s>(&self, stored: &'s Stored, key: &Key) -> Option<&'s Layout> {
        stored.layouts.iter().find(|(guard, _)| self.holds(guard, key)).map(|(_, layout)| layout)
    }

    /// The size of a factor on one rank as a fraction, padding left out and sizes that an index picks from a list put in.
    fn factor_share(
        &self,
        factor: &grammar::Factor,
        key: &Key,
        count: &dyn Fn(&[RankId]) -> u64,
    ) -> Option<(Size, u64)> {
        let complete = std::cell::Cell::new(true);
        let size = |axis: &AxisUse| match (axis.by, self.mapping.axis(axis.axis).field) {
            (Some(by), Some(field)) => {
                let element = self.list_element(field, by, key);
                complete.set(complete.get() && element.is_some());
                Size::constant(element.and_then(|n| i64::try_from(n).ok()).unwrap_or(0))
            }
            _ => self.mapping.axis(axis.axis).size.clone(),
        };
        let share = factor.share(&size, &Size::default(), count);
        complete.get().then_some(share)
    }

    fn list_element(&self, field: FieldId, by: AxisId, key: &Key) -> Option<u64> {
        let (_, at) = key.iter().find(|(axis, _)| *axis == by)?;
        match self.value(field)? {
            Value::List(items) => {
                let item = items.get(usize::try_from(*at).ok()?)?;
                u64::try_from(item.as_integer()?).ok()
            }
            _ => None,
        }
    }

    /// The number of coordinates of an axis at given coordinates of indices.
    pub(crate) fn axis_len(&self, axis: &AxisUse, key: &Key) -> Option<u64> {
        match (axis.by, self.mapping.axis(axis.axis).field) {
            (Some(by), Some(field)) => self.list_element(field, by, key),
            _ => self.evaluate_size(&self.mapping.axis(axis.axis).size),
        }
    }

    /// A size, where all values in it are known and it is not negative.
    pub(crate) fn evaluate_size(&self, size: &Size) -> Option<u64> {
        u64::try_from(size.evaluate(&|symbol| self.symbol(symbol))?).ok()
    }

    pub(super) fn symbol(&self, symbol: Symbol) -> Option<i128> {
        match symbol {
            Symbol::Field(field) => self.value(field)?.as_integer().map(i128::from),
            Symbol::At(..) => None,
        }
    }
}

#[derive(Default)]
struct Found {
    /// By rule and layout: tensors with another number of dimensions, and the number they should have.
    misfits: BTreeMap<(usize, Span), Vec<(usize, usize)>>,
    dimensions: Vec<SizeEquation>,
    seen: HashSet<(Size, u64, bool)>,
    counts: BTreeMap<(AxisId, bool), (Size, u64, Evidence)>,
}

impl Found {
    fn add_dimension(&mut self, equation: SizeEquation) {
        let key = (equation.size.clone(), equation.stored, equation.padded);
        if self.seen.insert(key) {
            self.dimensions.push(equation);
        }
    }
}
