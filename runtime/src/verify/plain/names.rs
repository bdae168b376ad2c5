//! Numbers for what coordinates are called, the same on both sides of a rule.

use transship_grammar as grammar;

use grammar::{AxisId, AxisUse, Labels, Mapping};

/// An axis by its place in [`Names`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AxisName {
    /// Which axis.
    pub(super) axis: u32,
    /// Its role; 0 where it has none.
    pub(super) role: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum What {
    /// An axis of the mapping, and the index that picks its size.
    Axis(AxisId, Option<AxisId>),
    /// A stored dimension of a parameter without a layout.
    Dimension(usize),
}

/// Axes, roles, sums and labels of one rule.
#[derive(Debug, Default)]
pub(super) struct Names {
    axes: Vec<What>,
    roles: Vec<String>,
    sums: Vec<Vec<String>>,
    labels: Vec<String>,
}

fn place<T: Clone + PartialEq>(list: &mut Vec<T>, item: &T) -> u32 {
    let at = list.iter().position(|other| other == item).unwrap_or_else(|| {
        list.push(item.clone());
        list.len() - 1
    });
    u32::try_from(at).unwrap_or(u32::MAX)
}

impl Names {
    pub(super) fn axis(&mut self, axis: AxisId, by: Option<AxisId>, role: Option<&str>) -> AxisName {
        let role = role.map_or(0, |role| self.role(role));
        AxisName { axis: place(&mut self.axes, &What::Axis(axis, by)), role }
    }

    pub(super) fn of_use(&mut self, axis: &AxisUse) -> AxisName {
        self.axis(axis.axis, axis.by, axis.role.as_deref())
    }

    pub(super) fn dimension(&mut self, dim: usize) -> AxisName {
        AxisName { axis: place(&mut self.axes, &What::Dimension(dim)), role: 0 }
    }

    pub(super) fn role(&mut self, role: &str) -> u32 {
        place(&mut self.roles, &role.to_owned()) + 1
    }

    /// A sum by its labels, sorted.
    pub(super) fn sum(&mut self, labels: &[String]) -> u32 {
        place(&mut self.sums, &labels.to_vec())
    }

    pub(super) fn label(&mut self, label: &str) -> u32 {
        place(&mut self.labels, &label.to_owned())
    }

    pub(super) fn choices(&mut self, labels: &Labels) -> Vec<(u32, u32)> {
        labels.iter().map(|(sum, label)| (self.sum(sum), self.label(label))).collect()
    }

    /// The mapping's axis, where it is one.
    pub(super) fn axis_of(&self, name: AxisName) -> Option<AxisId> {
        match self.axes.get(name.axis as usize) {
            Some(What::Axis(axis, _)) => Some(*axis),
            _ => None,
        }
    }

    /// How a reader calls an axis, which stands among `all`: with its role where that tells it from another.
    pub(super) fn show_axis(&self, mapping: &Mapping, name: AxisName, all: &[AxisName]) -> String {
        let own = match self.axes.get(name.axis as usize) {
            Some(What::Axis(axis, _)) => mapping.axis(*axis).name.clone(),
            Some(What::Dimension(dim)) => format!("dimension {dim}"),
            None => String::new(),
        };
        let several = all.iter().filter(|other| other.axis == name.axis).count() > 1;
        match name.role.checked_sub(1).and_then(|at| self.roles.get(at as usize)) {
            Some(role) if several => format!("{role}:{own}"),
            _ => own,
        }
    }

    /// The labels of a sum.
    pub(super) fn labels_of(&self, sum: u32) -> Vec<u32> {
        let labels = self.sums.get(sum as usize).into_iter().flatten();
        let number = |label: &String| self.labels.iter().position(|own| own == label);
        labels.filter_map(number).filter_map(|at| u32::try_from(at).ok()).collect()
    }

    pub(super) fn show_label(&self, label: u32) -> &str {
        self.labels.get(label as usize).map_or("", String::as_str)
    }
}
