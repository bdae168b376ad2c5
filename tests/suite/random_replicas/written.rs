//! What is written to several ranks so that a sum of their copies is the value.

use proptest::collection::vec;
use proptest::prelude::*;
use safetensors::tensor::{Dtype as Stored, TensorView};
use transship::{Checkpoint, DType};
use transship_tests::Dtype;

use super::{View, convert, encoded_all, few_cases, mapping, put_ranks};
use crate::command::Workplace;
use crate::oracle::read_tensors;

fn workplace(rule: &str) -> Workplace {
    let workplace = Workplace::new();
    workplace.put("m.mapping", mapping(rule));
    workplace
}

fn put_whole(workplace: &Workplace, dtype: Stored, shape: [usize; 2], bytes: &[u8]) {
    std::fs::create_dir_all(workplace.path("whole")).expect("a directory");
    let view = TensorView::new(dtype, shape.to_vec(), bytes).expect("a tensor of that size");
    safetensors::serialize_to_file([("y", view)], None, &workplace.path("whole/model.safetensors"))
        .expect("it can be written");
}

fn succeeds(workplace: &Workplace, args: &[&str]) {
    let done = convert(workplace, args);
    assert_eq!(done.code, 0, "{args:?}: {}", done.err);
}

/// The numbers that each rank holds of `x`.
fn held(workplace: &Workplace, directory: &str) -> Vec<Vec<f32>> {
    let checkpoint = Checkpoint::open(&workplace.path(directory)).expect("ranks");
    let tensors = checkpoint.tensors().iter().filter(|tensor| tensor.name == "model.x");
    let numbers = tensors.map(|tensor| {
        assert_eq!(tensor.dtype, DType::F32);
        let bytes = checkpoint.array(tensor).bytes().expect("small").into_owned();
        bytes.chunks_exact(4).map(|c| f32::from_le_bytes(c.try_into().expect("four"))).collect()
    });
    numbers.collect()
}

const RULES: [&str; 3] = [
    "x [rows cols] <=> y [cols rows] replicas sum",
    "x [rows cols] + 1 <=> y [cols rows] replicas sum",
    "x <=> y replicas sum",
];

proptest! {
    #![proptest_config(few_cases(8))]

    /// Written over ranks, split anew over others, and read: always the same value, to the bit.
    #[test]
    fn a_sum_that_is_written_is_the_value_again(
        numbers in vec(-1000..1000i16, 6),
        negative_zero in 0..6usize,
        ranks in 1..4usize,
        others in 1..4usize,
        rule in 0..RULES.len(),
    ) {
        let workplace = workplace(RULES[rule]);
        let mut numbers: Vec<f64> = numbers.iter().map(|n| f64::from(*n) / 8.0).collect();
        // A step makes a positive zero of what its inverse makes zero.
        numbers[negative_zero] = if rule == 1 { 0.0 } else { -0.0 };
        let bytes = encoded_all(Dtype::F32, &numbers);
        put_whole(&workplace, Stored::F32, [2, 3], &bytes);
        succeeds(&workplace, &["@whole", "@split", "--tp", &ranks.to_string()]);
        let first = held(&workplace, "split");
        prop_assert_eq!(first.len(), ranks);
        prop_assert!(first[1..].iter().flatten().all(|number| *number == 0.0), "{:?}", first);
        succeeds(&workplace, &["@split", "@again", "--to", "ranked", "--tp", &others.to_string()]);
        prop_assert_eq!(held(&workplace, "again").len(), others);
        for directory in ["split", "again"] {
            let out = format!("@{directory}-whole");
            succeeds(&workplace, &[&format!("@{directory}"), &out]);
            let tensors = read_tensors(&workplace.path(&out[1..]).join("model.safetensors"));
            prop_assert_eq!(&tensors["y"].2, &bytes, "{} over {} and {}", RULES[rule], ranks, others);
        }
    }
}

#[test]
fn a_sum_over_two_ranks_stays_the_sum_however_often_it_is_split() {
    let workplace = workplace("x [rows cols] <=> y [rows cols] replicas sum");
    let copies = [[1.0, 2.0, 3.0], [1.0, 2.0, 3.0]].map(|numbers| View::rows(Dtype::F32, &[1, 3], &numbers));
    put_ranks(&workplace, &copies);
    succeeds(&workplace, &["@ranks", "@one"]);
    let sum = encoded_all(Dtype::F32, &[2.0, 4.0, 6.0]);
    assert_eq!(read_tensors(&workplace.path("one/model.safetensors"))["y"].2, sum);
    succeeds(&workplace, &["@ranks", "@four", "--to", "ranked", "--tp", "4"]);
    assert_eq!(held(&workplace, "four"), [vec![2.0, 4.0, 6.0], vec![0.0; 3], vec![0.0; 3], vec![0.0; 3]]);
    succeeds(&workplace, &["@four", "@back"]);
    assert_eq!(read_tensors(&workplace.path("back/model.safetensors"))["y"].2, sum);
}

#[test]
fn a_mean_is_written_to_every_rank() {
    for rule in ["x [rows cols] <=> y [rows cols] replicas mean", "x <=> y replicas mean"] {
        let workplace = workplace(rule);
        put_whole(&workplace, Stored::F32, [1, 2], &encoded_all(Dtype::F32, &[1.5, -2.0]));
        succeeds(&workplace, &["@whole", "@split", "--tp", "3"]);
        assert_eq!(held(&workplace, "split"), vec![vec![1.5, -2.0]; 3], "{rule}");
    }
}

#[test]
fn each_part_of_a_distributed_sum_is_on_the_first_rank_that_holds_it() {
    let text = mapping("x [rows@tp cols] <=> y [rows cols] replicas sum")
        .replace("    detect     x", "    rank       pp = args.pp else 1\n    detect     x");
    let workplace = Workplace::new();
    workplace.put("m.mapping", text);
    put_whole(&workplace, Stored::F32, [2, 1], &encoded_all(Dtype::F32, &[1.0, 2.0]));
    succeeds(&workplace, &["@whole", "@split", "--tp", "2", "--pp", "2"]);
    assert_eq!(held(&workplace, "split"), [vec![1.0], vec![0.0], vec![2.0], vec![0.0]]);
}

#[test]
fn a_sum_of_integers_is_not_written() {
    for rule in [RULES[0], RULES[2]] {
        let workplace = workplace(rule);
        put_whole(&workplace, Stored::I32, [1, 2], &encoded_all(Dtype::I32, &[1.0, 2.0]));
        let done = convert(&workplace, &["@whole", "@split", "--tp", "2"]);
        assert!(done.code == 1 && done.err.contains("TS0624"), "{}", done.err);
        assert!(!workplace.path("split").exists());
        succeeds(&workplace, &["@whole", "@split", "--tp", "1"]);
    }
}
