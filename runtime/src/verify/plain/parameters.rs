//! The parameters of one checkpoint that a rule names, each with the tensors that hold it and how its elements lie.

use std::collections::{BTreeMap, HashMap};

use transship_grammar as grammar;

use grammar::{AxisId, RankId, Stored, Template};

use super::names::{AxisName, Names};
use super::tree::{Coordinate, Node, Walk};
use crate::Tensor;
use crate::bind::{Binding, Key, captures, relative, sorted_key};

/// One checkpoint, and where its ranks' blocks of numbers in names begin.
pub(super) struct Side<'b, 'a> {
    pub(super) binding: &'b Binding<'a>,
    /// For an index that is distributed over rank axes, by the numbers along these: the first coordinate of the block.
    starts: HashMap<(AxisId, Vec<RankId>), BTreeMap<Vec<u64>, u64>>,
}

/// A parameter, or the part of one that a label singles out.
pub(super) struct Parameter<'a> {
    pub(super) stored: &'a Stored,
    /// What its name and its entry say of all of its elements.
    fixed: Coordinate,
    dims: Vec<Node>,
    /// Rows of padding of each dimension.
    pads: Vec<u64>,
    pub(super) holders: Vec<Holder>,
}

/// A tensor that holds a parameter, or a part of it.
pub(super) struct Holder {
    pub(super) tensor: usize,
    /// By rank axis, the number and how many there are; nothing for a chunk, which says itself where it lies.
    ranks: Option<Vec<(u64, u64)>>,
    /// Where a chunk begins.
    offsets: Vec<u64>,
    /// What tells it from tensors that are not the same part again.
    pub(super) part: Vec<u64>,
}

/// An element of a stored tensor: of the tensor with this number, this element of its storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Place {
    pub(super) tensor: usize,
    pub(super) element: u64,
}

/// The parameters of one rule in one checkpoint.
pub(super) struct Parameters<'a> {
    pub(super) all: Vec<Parameter<'a>>,
    /// For each way in which an entry is stored, the axes in its name.
    ways: Vec<Way>,
    by_name: HashMap<(usize, Vec<u64>, Vec<String>), usize>,
}

struct Way {
    axes: Vec<AxisName>,
    labels: Vec<(u32, u32)>,
}

impl<'b, 'a> Side<'b, 'a> {
    pub(super) fn new(binding: &'b Binding<'a>) -> Side<'b, 'a> {
        let mut side = Side { binding, starts: HashMap::new() };
        side.count_blocks();
        side
    }

    /// Numbers in the names of one rank count from 0; the blocks of ranks follow one another, each as long as its numbers
    /// go.
    fn count_blocks(&mut self) {
        let (mapping, from) = (self.binding.mapping, self.binding.from);
        let entries = mapping.rules.iter().flat_map(|rule| &rule.sides[from.index()]);
        let templates: Vec<&Template> = entries
            .flat_map(|entry| &entry.stored)
            .map(|stored| &stored.name)
            .filter(|name| name.indices().any(|index| !index.ranks.is_empty()))
            .collect();
        let mut lengths: HashMap<(AxisId, Vec<RankId>), BTreeMap<Vec<u64>, u64>> = HashMap::new();
        for (number, tensor) in self.binding.checkpoint.tensors().iter().enumerate() {
            let name = relative(mapping, from, &tensor.name);
            for template in &templates {
                let Some(found) = captures(template, &name) else { continue };
                let numbers = self.binding.coordinates_of(number);
                for index in template.indices().filter(|index| !index.ranks.is_empty()) {
                    let Some(at) = found.index(index.axis) else { continue };
                    let own = index.ranks.iter().map(|rank| numbers[rank.index()]).collect();
                    let blocks = lengths.entry((index.axis, index.ranks.clone())).or_default();
                    let length = blocks.entry(own).or_insert(0);
                    *length = (*length).max(at.saturating_add(1));
                }
            }
        }
        for (index, blocks) in lengths {
            let mut start = 0u64;
            let begun = blocks.into_iter().map(|(own, length)| {
                let own = (own, start);
                start = start.saturating_add(length);
                own
            });
            self.starts.insert(index, begun.collect());
        }
    }

    /// The coordinates that a tensor's name holds under a template, over all ranks, and what its stars stand for.
    fn read_name(&self, template: &Template, number: usize) -> Option<(Key, Vec<String>)> {
        let binding = self.binding;
        let name = relative(binding.mapping, binding.from, &binding.checkpoint.tensors()[number].name);
        let mut found = captures(template, &name)?;
        let numbers = binding.coordinates_of(number);
        for index in template.indices().filter(|index| !index.ranks.is_empty()) {
            let own: Vec<u64> = index.ranks.iter().map(|rank| numbers[rank.index()]).collect();
            let blocks = self.starts.get(&(index.axis, index.ranks.clone()));
            let start = blocks.and_then(|blocks| blocks.get(&own)).copied().unwrap_or(0);
            let at = found.indices.iter_mut().find(|(axis, _)| *axis == index.axis);
            at.into_iter().for_each(|(_, at)| *at = at.saturating_add(start));
        }
        let inside = |axis: AxisId, range: Option<(u64, u64)>| {
            let at = found.index(axis);
            at.zip(range).is_some_and(|(at, (from, to))| (from..to).contains(&at))
        };
        let sizes = |(from, to): &(grammar::Size, grammar::Size)| {
            binding.evaluate_size(from).zip(binding.evaluate_size(to))
        };
        let ranges = template.indices().all(|index| {
            let stated = index.range.as_ref().map_or_else(|| binding.range(index.axis), sizes);
            inside(index.axis, stated)
        });
        ranges.then(|| (sorted_key(&found), found.stars))
    }

    /// All parameters of a rule. One whose tensors cannot be told apart into elements is left out.
    pub(super) fn parameters(&self, number: usize, names: &mut Names) -> Parameters<'a> {
        let binding = self.binding;
        let rule = &binding.mapping.rules[number];
        let mut found = Parameters { all: Vec::new(), ways: Vec::new(), by_name: HashMap::new() };
        for entry in &rule.sides[binding.from.index()] {
            let labels: Vec<(u32, u32)> =
                entry.labels.iter().map(|(sum, label)| (names.sum(sum), names.label(label))).collect();
            for stored in &entry.stored {
                let mut axes: Vec<AxisId> = stored.name.indices().map(|index| index.axis).collect();
                axes.sort_unstable();
                axes.dedup();
                let way = found.ways.len();
                let named: Vec<AxisName> = axes.iter().map(|axis| names.axis(*axis, None, None)).collect();
                found.ways.push(Way { axes: named.clone(), labels: labels.clone() });
                let mut tensors: BTreeMap<(Key, Vec<String>), Vec<usize>> = BTreeMap::new();
                for tensor in 0..binding.checkpoint.tensors().len() {
                    let Some((key, stars)) = self.read_name(&stored.name, tensor) else { continue };
                    if binding.holds(&rule.guard, &key) {
                        tensors.entry((key, stars)).or_default().push(tensor);
                    }
                }
                for ((key, stars), tensors) in tensors {
                    let Some(numbers) = self.memory_coordinates(&key) else { continue };
                    let fixed = Coordinate {
                        axes: named.iter().copied().zip(numbers.iter().copied()).collect(),
                        labels: labels.clone(),
                        stars: stars.clone(),
                    };
                    let parameter = self.parameter(stored, &key, fixed, &tensors, names);
                    if let Some(parameter) = parameter {
                        found.by_name.insert((way, numbers, stars), found.all.len());
                        found.all.push(parameter);
                    }
                }
            }
        }
        found
    }

    /// Coordinates as memory counts them: from the first of the axis.
    pub(super) fn memory_coordinates(&self, key: &Key) -> Option<Vec<u64>> {
        key.iter().map(|(axis, at)| at.checked_sub(self.binding.range(*axis)?.0)).collect()
    }

    fn parameter(
        &self,
        stored: &'a Stored,
        key: &Key,
        fixed: Coordinate,
        tensors: &[usize],
        names: &mut Names,
    ) -> Option<Parameter<'a>> {
        let binding = self.binding;
        let layout = binding.layout(stored, key);
        let first = &binding.checkpoint.tensors()[*tensors.first()?];
        let dims: Vec<Node> = match layout {
            Some(layout) => {
                let size = |axis: &grammar::AxisUse| binding.axis_len(axis, key);
                layout.dims.iter().map(|dim| Node::of(dim, &size, names)).collect::<Option<_>>()?
            }
            None if stored.layouts.is_empty() => {
                let whole = first.chunk.as_ref().map_or(&first.shape, |chunk| &chunk.shape);
                let axis = |(dim, len): (usize, &u64)| Node::Axis {
                    name: names.dimension(dim),
                    len: *len,
                    ranks: Vec::new(),
                    broadcast: false,
                };
                whole.iter().enumerate().map(axis).collect()
            }
            None => return None,
        };
        let mut split: Vec<RankId> =
            stored.name.indices().flat_map(|index| index.ranks.iter().copied()).collect();
        split.extend(layout.into_iter().flat_map(grammar::Layout::ranks));
        let holders = tensors.iter().map(|number| self.holder(*number, &split)).collect();
        if dims.len() != first.shape.len() {
            return None;
        }
        let mut parameter = Parameter { stored, fixed, dims, pads: Vec::new(), holders };
        parameter.pads = parameter.find_padding(first)?;
        let fits = |holder: &Holder| {
            let tensor = self.tensor(holder);
            // A chunk has the shape that it says, inside the whole.
            let stored = tensor.chunk.as_ref().map_or(&tensor.shape, |chunk| &chunk.shape);
            parameter.shape(holder).as_ref() == Some(stored)
        };
        parameter.holders.iter().all(fits).then_some(parameter)
    }

    fn holder(&self, number: usize, split: &[RankId]) -> Holder {
        let binding = self.binding;
        match &binding.checkpoint.tensors()[number].chunk {
            Some(chunk) => Holder {
                tensor: number,
                ranks: None,
                offsets: chunk.offsets.clone(),
                part: chunk.offsets.clone(),
            },
            None => {
                let numbers = binding.coordinates_of(number);
                let part = split.iter().map(|rank| numbers[rank.index()]).collect();
                let counts = (0..numbers.len()).map(|at| binding.ranks.count(RankId::from_index(at)));
                let ranks = Some(numbers.iter().copied().zip(counts).collect());
                Holder { tensor: number, ranks, offsets: Vec::new(), part }
            }
        }
    }

    pub(super) fn tensor(&self, holder: &Holder) -> &'a Tensor {
        &self.binding.checkpoint.tensors()[holder.tensor]
    }
}

impl Parameters<'_> {
    /// The parameters that an element at these coordinates lies in.
    pub(super) fn at<'s>(&'s self, coordinate: &'s Coordinate) -> impl Iterator<Item = usize> + 's {
        self.ways.iter().enumerate().filter_map(|(number, way)| {
            if !way.labels.iter().all(|(sum, label)| coordinate.label(*sum) == Some(*label)) {
                return None;
            }
            let numbers = way.axes.iter().map(|axis| coordinate.along(*axis)).collect::<Option<_>>()?;
            self.by_name.get(&(number, numbers, coordinate.stars.clone())).copied()
        })
    }
}

impl Parameter<'_> {
    fn walk<'h>(&self, holder: &'h Holder, dim: usize) -> Walk<'h> {
        Walk { pad: self.pads.get(dim).copied().unwrap_or(0), ranks: holder.ranks.as_deref() }
    }

    /// The shape that a tensor should have; of a chunk that of the whole.
    fn shape(&self, holder: &Holder) -> Option<Vec<u64>> {
        self.dims.iter().enumerate().map(|(dim, node)| node.len(self.walk(holder, dim))).collect()
    }

    /// Padding is whatever the stored dimension has more than its layout: the number of rows that makes them agree.
    fn find_padding(&self, first: &Tensor) -> Option<Vec<u64>> {
        let holder = self.holders.first()?;
        let whole = first.chunk.as_ref().map_or(&first.shape, |chunk| &chunk.shape);
        let pads = self.dims.iter().zip(whole).map(|(node, stored)| {
            if !node.is_padded() {
                return Some(0);
            }
            let len = |pad: u64| node.len(Walk { pad, ranks: holder.ranks.as_deref() });
            // Some numbers of rows cannot be shared by the ranks.
            let mut all = (0..=MOST_PADDING).map(|pad| (pad, len(pad)));
            let (pad, len) = all.find(|(_, len)| len.is_some_and(|len| len >= *stored))?;
            (len == Some(*stored)).then_some(pad)
        });
        pads.collect()
    }

    /// All places of the element at these coordinates, with the tensor among [`Parameter::holders`].
    pub(super) fn places(&self, tensors: &[Tensor], coordinate: &Coordinate) -> Vec<(usize, Place)> {
        let mut all = Vec::new();
        for (number, holder) in self.holders.iter().enumerate() {
            let tensor = &tensors[holder.tensor];
            let mut elements = vec![tensor.offset];
            for (dim, node) in self.dims.iter().enumerate() {
                let places = node.find(coordinate, self.walk(holder, dim)).unwrap_or_default();
                let first = holder.offsets.get(dim).copied().unwrap_or(0);
                let (len, step) = (tensor.shape[dim], tensor.strides[dim]);
                let own: Vec<u64> = places.into_iter().filter_map(|at| at.checked_sub(first)).collect();
                let own = own.iter().filter(|at| **at < len);
                elements = own.flat_map(|at| elements.iter().map(move |e| e + at * step)).collect();
            }
            let place = |element| (number, Place { tensor: holder.tensor, element });
            all.extend(elements.into_iter().map(place));
        }
        all
    }

    /// The coordinates of an element of a tensor by its index in it: nothing inside where it is padding, nothing at all
    /// where the layout does not reach it.
    pub(super) fn coordinate(&self, holder: &Holder, index: &[u64]) -> Option<Option<Coordinate>> {
        let mut coordinate = self.fixed.clone();
        let mut real = true;
        for (dim, (node, at)) in self.dims.iter().zip(index).enumerate() {
            let first = holder.offsets.get(dim).copied().unwrap_or(0);
            real &= node.read(first + at, self.walk(holder, dim), &mut coordinate)?;
        }
        Some(real.then_some(coordinate))
    }

    /// The axes in memory with their lengths, and those in its name.
    pub(super) fn axes(&self) -> (Vec<(AxisName, u64)>, Vec<AxisName>) {
        let mut all = Vec::new();
        self.dims.iter().for_each(|dim| dim.add_axes(&mut all));
        (all, self.fixed.axes.iter().map(|(axis, _)| *axis).collect())
    }

    /// How many coordinates its elements have, whichever tensors hold them: copies and padding aside.
    pub(super) fn coordinates(&self) -> u64 {
        self.dims.iter().map(Node::coordinates).fold(1, u64::saturating_mul)
    }

    /// For each dimension of a tensor the places at which something begins or ends.
    pub(super) fn edges(&self, holder: &Holder, tensor: &Tensor) -> Vec<Vec<u64>> {
        let dims = self.dims.iter().zip(&tensor.shape).enumerate();
        let edges = dims.map(|(dim, (node, len))| {
            let first = holder.offsets.get(dim).copied().unwrap_or(0);
            let all = node.edges(self.walk(holder, dim)).into_iter();
            let own = all.filter_map(|at| at.checked_sub(first)).filter(|at| at < len);
            let mut own: Vec<u64> = own.chain([0, len.saturating_sub(1)]).collect();
            own.sort_unstable();
            own.dedup();
            own
        });
        edges.collect()
    }
}

/// More rows of padding than any table has; beyond them they are not looked for.
const MOST_PADDING: u64 = 1 << 24;
