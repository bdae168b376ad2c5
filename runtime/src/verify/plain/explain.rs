//! What a difference is, where it has a name: parts exchanged, layers exchanged, an axis in another order, axes in another
//! order. Each is tried on some elements of the parameter, the first that differs among them.

use std::collections::BTreeSet;

use super::element::Verdict;
use super::names::AxisName;
use super::rule::RuleLook;
use super::sample::each_index;
use super::tree::Coordinate;
use crate::orders::{permutations, show_moves, show_orders};

/// Elements that an explanation is tried on at most.
const TRIED: usize = 400;

/// The longest axis along which other orders are looked for: the time goes with the square.
const LONGEST: u64 = 160;

/// Axes beyond which orders of them are not tried: their number is squared.
const MOST_AXES: usize = 5;

/// What is known of a parameter that differs.
struct Difference<'d, 'l, 'a> {
    look: &'d RuleLook<'l, 'a>,
    /// Some of its coordinates in the second checkpoint.
    tried: Vec<Coordinate>,
    /// Axes that the second checkpoint has in memory, with their lengths, and those in its name.
    axes: Vec<(AxisName, u64)>,
    named: Vec<AxisName>,
    /// Sums that it has in memory, with the labels that are there.
    sums: Vec<(u32, Vec<u32>)>,
}

impl RuleLook<'_, '_> {
    /// Puts what differs in a parameter of the comparison in words, where one mistake explains all that was tried.
    pub(super) fn explain(&self, planned: usize, differs: &Coordinate) -> Option<String> {
        let tensors = self.tensors(1);
        let parameters = self.parameters_of(planned);
        let first = *parameters.first()?;
        let mut tried = vec![differs.clone()];
        for number in &parameters {
            let parameter = &self.parameters[1].all[*number];
            for holder in &parameter.holders {
                let tensor = &tensors[holder.tensor];
                each_index(&tensor.shape, &parameter.edges(holder, tensor), false, &mut |index| {
                    tried.extend(parameter.coordinate(holder, index).flatten());
                    tried.len() < TRIED
                });
            }
        }
        let (axes, named) = self.parameters[1].all[first].axes();
        let mut sums: Vec<(u32, Vec<u32>)> = Vec::new();
        for (sum, _) in &differs.labels {
            let labels: BTreeSet<u32> = tried.iter().filter_map(|at| at.label(*sum)).collect();
            sums.push((*sum, labels.into_iter().collect()));
        }
        let difference = Difference { look: self, tried, axes, named, sums };
        difference
            .parts()
            .or_else(|| difference.names())
            .or_else(|| difference.orders())
            .or_else(|| difference.along())
    }
}

impl Difference<'_, '_, '_> {
    /// Whether the second checkpoint has at all `coordinates` what the first has at those that `other` makes of them.
    fn is<'c>(
        &self,
        coordinates: impl IntoIterator<Item = &'c Coordinate>,
        other: &dyn Fn(&Coordinate) -> Option<Coordinate>,
    ) -> bool {
        let mut sure = false;
        for at in coordinates {
            match other(at).and_then(|from| self.look.verdict_between(&from, at)) {
                Some(Verdict::Same) => sure = true,
                Some(Verdict::Unsure) => {}
                Some(Verdict::Differs) | None => return false,
            }
        }
        sure
    }

    fn show_axis(&self, axis: AxisName) -> String {
        let all: Vec<AxisName> = self.axes.iter().map(|(axis, _)| *axis).collect();
        self.look.show_axis(axis, &all)
    }

    /// Parts that hold what belongs in others.
    fn parts(&self) -> Option<String> {
        self.sums.iter().find_map(|(sum, labels)| {
            let names = &self.look.names;
            let all = names.labels_of(*sum);
            let moved: Option<Vec<(String, String)>> = labels
                .iter()
                .map(|label| {
                    let own = || self.tried.iter().filter(|at| at.label(*sum) == Some(*label));
                    let holds = |other: &&u32| self.is(own(), &|at| Some(with_label(at, *sum, **other)));
                    let other = [*label].iter().chain(&all).find(holds).copied()?;
                    Some((names.show_label(*label).to_owned(), names.show_label(other).to_owned()))
                })
                .collect();
            show_moves(&moved?)
        })
    }

    /// A layer, or an expert, that holds what belongs in another.
    fn names(&self) -> Option<String> {
        self.named.iter().find_map(|axis| {
            let at = self.tried.first()?.along(*axis)?;
            let holds = |other: &u64| self.is(&self.tried, &|at| Some(with(at, *axis, *other)));
            let other = (0..LONGEST).filter(|other| *other != at).find(holds)?;
            let name = self.show_axis(*axis);
            let first = self.look.first_of(*axis);
            Some(format!("{name} {} holds {name} {}", first + at, first + other))
        })
    }

    /// Coordinates along one axis that are others.
    fn along(&self) -> Option<String> {
        self.axes.iter().filter(|(_, len)| *len <= LONGEST).find_map(|(axis, len)| {
            let moved: Option<Vec<(String, String)>> = (0..*len)
                .map(|number| {
                    let own: Vec<Coordinate> =
                        self.tried.iter().take(12).map(|at| with(at, *axis, number)).collect();
                    let holds = |other: &u64| self.is(&own, &|at| Some(with(at, *axis, *other)));
                    let other = std::iter::once(number).chain(0..*len).find(holds)?;
                    Some((number.to_string(), other.to_string()))
                })
                .collect();
            Some(format!("along {}, {}", self.show_axis(*axis), show_moves(&moved?)?))
        })
    }

    /// Axes that lie in another order than they belong in.
    fn orders(&self) -> Option<String> {
        if self.sums.len() > 1 {
            return None;
        }
        // A sum counts as an axis of its own where all of it is in one parameter.
        let sum = self.sums.first().filter(|(_, labels)| labels.len() > 1);
        let mut lens: Vec<u64> = self.axes.iter().map(|(_, len)| *len).collect();
        lens.extend(sum.map(|(_, labels)| labels.len() as u64));
        if lens.len() > MOST_AXES {
            return None;
        }
        let numbers = |at: &Coordinate| -> Option<Vec<u64>> {
            let mut all: Vec<u64> =
                self.axes.iter().map(|(axis, _)| at.along(*axis)).collect::<Option<_>>()?;
            if let Some((sum, labels)) = sum {
                let label = at.label(*sum)?;
                all.push(labels.iter().position(|own| *own == label)? as u64);
            }
            Some(all)
        };
        let moved = |at: &Coordinate, lie: &[usize], belong: &[usize]| -> Option<Coordinate> {
            let own = numbers(at)?;
            let mut place = lie
                .iter()
                .try_fold(0u64, |place, axis| place.checked_mul(lens[*axis])?.checked_add(own[*axis]))?;
            let mut other = own.clone();
            for axis in belong.iter().rev() {
                other[*axis] = place % lens[*axis];
                place /= lens[*axis];
            }
            let mut from = at.clone();
            for ((axis, _), number) in self.axes.iter().zip(&other) {
                from = with(&from, *axis, *number);
            }
            if let (Some((sum, labels)), Some(number)) = (sum, other.last()) {
                from = with_label(&from, *sum, *labels.get(usize::try_from(*number).ok()?)?);
            }
            Some(from)
        };
        let all = permutations(lens.len());
        let pairs = all.iter().flat_map(|lie| all.iter().map(move |belong| (lie, belong)));
        let (lie, belong) = pairs
            .filter(|(lie, belong)| lie != belong)
            .find(|(lie, belong)| self.is(&self.tried, &|at| moved(at, lie, belong)))?;
        let mut names: Vec<String> = self.axes.iter().map(|(axis, _)| self.show_axis(*axis)).collect();
        names.extend(sum.map(|(_, labels)| {
            let labels: Vec<&str> = labels.iter().map(|label| self.look.names.show_label(*label)).collect();
            format!("({})", labels.join(" | "))
        }));
        Some(show_orders(&names, lie, belong))
    }
}

fn with(at: &Coordinate, axis: AxisName, number: u64) -> Coordinate {
    let mut other = at.clone();
    let same = other.axes.iter().filter(|(own, _)| own.axis == axis.axis).count() == 1;
    let own = other.axes.iter_mut().find(|(own, _)| *own == axis || (same && own.axis == axis.axis));
    own.into_iter().for_each(|(_, own)| *own = number);
    other
}

fn with_label(at: &Coordinate, sum: u32, label: u32) -> Coordinate {
    let mut other = at.clone();
    other.labels.iter_mut().filter(|(own, _)| *own == sum).for_each(|(_, own)| *own = label);
    other
}
