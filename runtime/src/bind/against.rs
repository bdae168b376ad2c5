//! Two checkpoints bound to one mapping, to be compared: what one does not say of itself, the other says.

use std::collections::BTreeSet;

use transship_grammar as grammar;

use grammar::{Diagnostics, Factor, FieldId, Layout, Mapping, Rule, SideId, Symbol, Value};

use super::config::named_settings;
use super::{BindOptions, Binding, Origin, Setting};
use crate::Checkpoint;

/// What a checkpoint is compared with.
#[derive(Clone, Debug, Default)]
pub(crate) struct Against {
    /// The side that the conversion goes to; rules of both directions count where both checkpoints are of one side.
    toward: Option<SideId>,
    /// What the other checkpoint says of config values.
    pub(super) values: Vec<Option<Value>>,
}

impl Binding<'_> {
    /// Whether a rule has a part in what is done.
    pub(super) fn takes(&self, rule: &Rule) -> bool {
        match &self.against {
            None => rule.direction.goes_to(self.to()),
            Some(against) => against.toward.is_none_or(|side| rule.direction.goes_to(side)),
        }
    }

    /// What another checkpoint of the same model can be told: values that documents or the user state, and sizes
    /// that the other one cannot find because it pads them.
    fn told_by(&self, padded: &BTreeSet<FieldId>) -> Vec<Option<Value>> {
        let fields = self.mapping.config.fields.iter().zip(&self.values).enumerate();
        let stated = |(index, (_, known)): (usize, (_, &Option<super::Known>))| {
            let known = known.as_ref()?;
            let sure = match known.origin {
                Origin::Set | Origin::Place(_) | Origin::Computed | Origin::Base(_) | Origin::Kept(_) => true,
                Origin::Shape { .. } => padded.iter().any(|field| field.index() == index),
                Origin::Counted(_) | Origin::Equation(_) | Origin::Other | Origin::Default => false,
            };
            sure.then(|| known.value.clone())
        };
        fields.map(stated).collect()
    }
}

/// Binds two checkpoints of the sides `sides` to a mapping, of which the second is what the first was converted to.
/// Parameters that are missing or that no rule takes are no mistake here.
///
/// The notes tell which rows are taken for padding because only one of the two has them.
pub(crate) fn bind_pair<'a>(
    mapping: &'a Mapping,
    checkpoints: [&'a Checkpoint; 2],
    sides: [SideId; 2],
    options: &BindOptions,
) -> Result<([Binding<'a>; 2], Vec<String>), Diagnostics> {
    let toward = (sides[0] != sides[1]).then_some(sides[1]);
    let options = &BindOptions { settings: named_settings(mapping, &options.settings), ..options.clone() };
    let padded = sides.map(|side| padded_sizes(mapping, side));
    let all: BTreeSet<FieldId> = padded.iter().flatten().copied().collect();
    let bind = |which: usize, values: Vec<Option<Value>>, more: &[Setting]| {
        // A config to start from is one of the second's side, and says what the first does not.
        let base = options.base.clone().filter(|_| which == 0 && toward.is_some());
        let settings = [&options.settings, more].concat();
        let options = BindOptions { settings, base, ..BindOptions::default() };
        let against = Some(Against { toward, values });
        Binding::bind(mapping, checkpoints[which], sides[which], &options, against)
    };
    let (first, second) = match bind(1, Vec::new(), &[]) {
        Ok(alone) => {
            let first = bind(0, alone.told_by(&all), &[])?;
            let second = bind(1, first.told_by(&all), &[])?;
            (first, second)
        }
        Err(_) => {
            let alone = bind(0, Vec::new(), &[])?;
            let second = bind(1, alone.told_by(&all), &[])?;
            (bind(0, second.told_by(&all), &[])?, second)
        }
    };
    let mut bindings = [first, second];
    let mut notes = Vec::new();
    for which in 0..2 {
        let larger = larger_sizes(&bindings, which, &padded[which], options);
        if larger.is_empty() {
            continue;
        }
        notes.extend(larger.iter().map(|(setting, found)| {
            let file = checkpoints[which].file();
            format!("rows of {file} from {} {} to {found} are taken for padding", setting.name, setting.value)
        }));
        let settings: Vec<Setting> = larger.into_iter().map(|(setting, _)| setting).collect();
        let values = bindings[1 - which].told_by(&all);
        bindings[which] = bind(which, values, &settings)?;
    }
    Ok((bindings, notes))
}

/// Sizes with padding on a side that are larger there than in the other checkpoint, set to what they are in the
/// other, with what they are here.
fn larger_sizes(
    bindings: &[Binding<'_>; 2],
    which: usize,
    padded: &BTreeSet<FieldId>,
    options: &BindOptions,
) -> Vec<(Setting, i64)> {
    let size = |binding: &Binding<'_>, field: FieldId| binding.value(field)?.as_integer();
    let mut larger = Vec::new();
    for field in padded {
        let name = &bindings[which].mapping.field(*field).name;
        let (Some(own), Some(other)) = (size(&bindings[which], *field), size(&bindings[1 - which], *field))
        else {
            continue;
        };
        if own > other && !options.settings.iter().any(|set| set.name == *name) {
            larger.push((Setting { name: name.clone(), value: other.to_string() }, own));
        }
    }
    larger
}

/// Config values that say how many rows there are before padding.
fn padded_sizes(mapping: &Mapping, side: SideId) -> BTreeSet<FieldId> {
    let stored = mapping.rules.iter().flat_map(|rule| &rule.sides[side.index()]).flat_map(|e| &e.stored);
    let layouts = stored.flat_map(|stored| &stored.layouts).map(|(_, layout)| layout);
    let sums = layouts.flat_map(|layout: &Layout| &layout.dims).filter_map(Factor::padding);
    let axes =
        sums.flat_map(grammar::Sum::real_arms).flat_map(|arm| &arm.factors).filter_map(
            |factor| match factor {
                Factor::Axis(axis) => Some(axis.axis),
                _ => None,
            },
        );
    let symbols = axes.flat_map(|axis| mapping.axis(axis).size.symbols());
    symbols
        .filter_map(|symbol| match symbol {
            Symbol::Field(field) => Some(field),
            Symbol::At(..) => None,
        })
        .collect()
}
