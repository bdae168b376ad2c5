//! Chunks of distributed checkpoints are parts of one tensor, in rules with layouts and without.

use proptest::collection::vec;
use proptest::prelude::*;
use transship_tests::{Dtype, Py, TorchFile};

use super::{View, convert, encoded_all, few_cases};
use crate::command::Workplace;
use crate::oracle::read_tensors;

/// A tensor in chunks: where each dimension is cut, and its numbers.
#[derive(Clone, Debug)]
struct Chunked {
    dtype: Dtype,
    /// For each dimension where its chunks begin, and its end.
    cuts: Vec<Vec<usize>>,
    numbers: Vec<f64>,
}

impl Chunked {
    fn shape(&self) -> Vec<usize> {
        self.cuts.iter().map(|cuts| *cuts.last().expect("an end")).collect()
    }

    /// Every chunk's offsets and sizes.
    fn chunks(&self) -> Vec<(Vec<usize>, Vec<usize>)> {
        self.cuts.iter().fold(vec![(Vec::new(), Vec::new())], |chunks, cuts| {
            let longer = chunks.iter().flat_map(|(offsets, sizes)| {
                cuts.windows(2).map(move |cut| {
                    let with = |list: &Vec<usize>, more: usize| [list.as_slice(), &[more]].concat();
                    (with(offsets, cut[0]), with(sizes, cut[1] - cut[0]))
                })
            });
            longer.collect()
        })
    }

    /// A chunk as a view of the whole tensor's numbers.
    fn view(&self, offsets: &[usize], sizes: &[usize]) -> View {
        let whole = View::rows(self.dtype, &self.shape(), &self.numbers);
        let offset = offsets.iter().zip(&whole.strides).map(|(at, step)| at * step).sum();
        let part = View { offset, shape: sizes.to_vec(), ..whole };
        View::rows(self.dtype, sizes, &part.numbers())
    }
}

fn sizes(list: &[usize]) -> Py {
    Py::List(list.iter().map(|n| Py::Int(i64::try_from(*n).expect("small"))).collect())
}

fn object(attributes: Vec<(&str, Py)>) -> Py {
    Py::Namespace(attributes.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

/// A directory as `torch.distributed.checkpoint` writes it, with each chunk in a file of its own.
fn put_distributed(workplace: &Workplace, tensors: &[(&str, &Chunked)]) {
    let (mut stated, mut items) = (Vec::new(), Vec::new());
    for (name, tensor) in tensors {
        let mut chunks = Vec::new();
        for (number, (offsets, lengths)) in tensor.chunks().iter().enumerate() {
            let mut file = TorchFile::default();
            let root = tensor.view(offsets, lengths).put(&mut file);
            let path = format!("{name}_{number}.distcp");
            workplace.put(&format!("dist/{path}"), []);
            file.write(&workplace.path(&format!("dist/{path}")), &root).expect("it can be written");
            let length = std::fs::metadata(workplace.path(&format!("dist/{path}"))).expect("a file").len();
            chunks.push(object(vec![("offsets", sizes(offsets)), ("sizes", sizes(lengths))]));
            let index = object(vec![("fqn", Py::Str((*name).to_owned())), ("offset", sizes(offsets))]);
            let place = object(vec![
                ("relative_path", Py::Str(path)),
                ("offset", Py::Int(0)),
                ("length", Py::Int(i64::try_from(length).expect("small"))),
            ]);
            items.push((index, place));
        }
        let size = sizes(&tensor.shape());
        stated.push(((*name).to_owned(), object(vec![("size", size), ("chunks", Py::List(chunks))])));
    }
    let metadata = object(vec![("state_dict_metadata", Py::Dict(stated)), ("storage_data", Py::Map(items))]);
    workplace.put("dist/.metadata", metadata.dump());
}

const RULES: [&str; 4] = ["a.** <=> b.**", "a.w <=> b.w", "{LAYOUT}", "{TURNED}"];

/// A mapping of one rule for a tensor with so many dimensions.
fn mapping(rule: &str, dimensions: usize) -> String {
    let axes: Vec<String> = (0..dimensions).map(|dim| format!("d{dim}")).collect();
    let turned: Vec<String> = axes.iter().rev().cloned().collect();
    let rule = match rule {
        "{LAYOUT}" => format!("a.w [{0}] <=> b.w [{0}]", axes.join(" ")),
        "{TURNED}" => format!("a.w [{}] <=> b.w [{}]", axes.join(" "), turned.join(" ")),
        rule => rule.to_owned(),
    };
    let fields: String = axes.iter().map(|axis| format!("    {axis} = l.{axis} <=> r_{axis}\n")).collect();
    let config = if rule.contains('[') { format!("config {{\n{fields}}}\n\n") } else { String::new() };
    format!("mapping chunks : dist <=> plain\n\n{config}{rule}\n")
}

/// The numbers with all dimensions in the other order.
fn turned(shape: &[usize], numbers: &[f64]) -> Vec<f64> {
    let rows = View::rows(Dtype::F64, shape, numbers);
    let (shape, strides) =
        (shape.iter().rev().copied().collect(), rows.strides.iter().rev().copied().collect());
    View { shape, strides, ..rows }.numbers()
}

fn check_chunks(tensor: &Chunked, rule: &str) -> Result<(), String> {
    let workplace = Workplace::new();
    workplace.put("m.mapping", mapping(rule, tensor.cuts.len()));
    put_distributed(&workplace, &[("a.w", tensor)]);
    let done = convert(&workplace, &["@dist", "@out"]);
    if done.code != 0 {
        return Err(done.err);
    }
    let (mut shape, mut numbers) = (tensor.shape(), tensor.numbers.clone());
    if rule == "{TURNED}" {
        numbers = turned(&shape, &numbers);
        shape.reverse();
    }
    let same = |file: &str, name: &str, shape: &[usize], numbers: &[f64]| {
        let tensors = read_tensors(&workplace.path(file));
        let (_, got_shape, bytes) = &tensors[name];
        let expected = encoded_all(tensor.dtype, numbers);
        if got_shape == shape && *bytes == expected {
            Ok(())
        } else {
            Err(format!("{tensors:?} of {numbers:?}"))
        }
    };
    same("out/model.safetensors", "b.w", &shape, &numbers)?;
    let done = convert(&workplace, &["@out", "@back"]);
    if done.code != 0 {
        return Err(done.err);
    }
    same("back/model.safetensors", "a.w", &tensor.shape(), &tensor.numbers)
}

/// Where a dimension of up to 6 is cut.
fn cuts() -> impl Strategy<Value = Vec<usize>> {
    (1..7usize, any::<u8>()).prop_map(|(size, bits)| {
        let inner = (1..size).filter(|at| bits >> at & 1 == 1);
        [0].into_iter().chain(inner).chain([size]).collect()
    })
}

proptest! {
    #![proptest_config(few_cases(30))]

    #[test]
    fn chunks_are_put_together_at_their_offsets(
        cuts in vec(cuts(), 0..4),
        content in 0..3u8,
        dtype in prop_oneof![Just(Dtype::F32), Just(Dtype::BF16), Just(Dtype::I64), Just(Dtype::U8)],
        rule in 0..RULES.len(),
    ) {
        let elements: usize = cuts.iter().map(|cuts| cuts[cuts.len() - 1]).product();
        // All chunks alike, some alike, and all different.
        let number = |at: usize| match content {
            0 => 0.0,
            1 => f64::from(u8::from(at.is_multiple_of(5))),
            _ => f64::from(u8::try_from(at % 200).expect("below 200")),
        };
        let tensor = Chunked { dtype, cuts, numbers: (0..elements).map(number).collect() };
        check_chunks(&tensor, RULES[rule]).map_err(|error| TestCaseError::fail(format!("{tensor:?}: {error}")))?;
    }
}

#[test]
fn equal_chunks_of_a_renamed_bias_are_not_replicas() {
    for cuts in [vec![vec![0, 2, 4]], vec![vec![0, 1, 3], vec![0, 2, 4]]] {
        let elements = cuts.iter().map(|cuts| cuts[cuts.len() - 1]).product();
        for number in [0.0, 1.0] {
            let tensor = Chunked { dtype: Dtype::F32, cuts: cuts.clone(), numbers: vec![number; elements] };
            for rule in RULES {
                check_chunks(&tensor, rule).expect("a whole tensor");
            }
        }
    }
}

#[test]
fn several_tensors_in_chunks_are_renamed_together() {
    let workplace = Workplace::new();
    workplace.put("m.mapping", mapping("a.** <=> b.**", 1));
    let numbers = |count: usize| (0..count).map(|at| f64::from(u8::try_from(at).expect("few"))).collect();
    let tensor = |cuts: Vec<Vec<usize>>, count| Chunked { dtype: Dtype::F32, cuts, numbers: numbers(count) };
    let [bias, weight] = [tensor(vec![vec![0, 2, 4]], 4), tensor(vec![vec![0, 1, 3], vec![0, 2]], 6)];
    put_distributed(&workplace, &[("a.bias", &bias), ("a.fc.weight", &weight)]);
    let done = convert(&workplace, &["@dist", "@out"]);
    assert_eq!(done.code, 0, "{}", done.err);
    let tensors = read_tensors(&workplace.path("out/model.safetensors"));
    assert_eq!(tensors["b.bias"].2, encoded_all(Dtype::F32, &bias.numbers));
    assert_eq!(
        tensors["b.fc.weight"],
        ("F32".to_owned(), vec![3, 2], encoded_all(Dtype::F32, &weight.numbers))
    );
}
