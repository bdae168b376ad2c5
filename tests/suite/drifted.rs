//! Replicas that are not the same, and padding that is a mean: whole conversions against numbers worked out here.

use half::f16;
use safetensors::tensor::{Dtype as Stored, TensorView};
use transship::{Checkpoint, Tensor};
use transship_tests::{Dtype, Py, TorchFile};

use crate::command::Workplace;

const MAPPING: &str = "\
mapping drifted : ranked <=> whole

side ranked {
    format     torch
    parameters model
    documents  args
    rank       tp = args.tensor_model_parallel_size else 1
    detect     table
}

side whole {
    documents  config.json
    detect     words
}

config {
    vocab  = args.vocab  <=> vocab_size
    hidden = args.hidden <=> hidden_size
    pad: int else (4 * tp - vocab % (4 * tp)) % (4 * tp)
}

table [(rows: vocab | pad: _)@tp hidden]  <=>  words [hidden rows:vocab]  fill mean
first [hidden]                            <=>  one   [hidden]  replicas first
mean  [out:hidden in:hidden]              <=>  two   [in:hidden out:hidden]  replicas mean
sum   [hidden]                            <=>  three [hidden]  replicas sum
";

const VOCAB: usize = 5;
const HIDDEN: usize = 3;

fn succeeds(workplace: &Workplace, args: &[&str]) {
    let done = workplace.run(&[&["convert", "--mapping", "@drifted.mapping", "--no-sync"], args].concat());
    assert_eq!(done.code, 0, "{}{}", done.out, done.err);
}

fn workplace() -> Workplace {
    let workplace = Workplace::new();
    workplace.put("drifted.mapping", MAPPING);
    workplace
}

/// Elements in row-major order, as the next wider number.
fn numbers(checkpoint: &Checkpoint, tensor: &Tensor) -> Vec<f64> {
    let bytes = checkpoint.array(tensor).bytes().expect("small").into_owned();
    match tensor.dtype {
        transship::DType::F32 => bytes
            .chunks_exact(4)
            .map(|b| f64::from(f32::from_le_bytes(b.try_into().expect("four"))))
            .collect(),
        transship::DType::F16 => {
            bytes.chunks_exact(2).map(|b| f64::from(f16::from_le_bytes(b.try_into().expect("two")))).collect()
        }
        other => panic!("{other} is not expected"),
    }
}

fn named(checkpoint: &Checkpoint, name: &str) -> Vec<Vec<f64>> {
    checkpoint.tensors().iter().filter(|t| t.name == name).map(|t| numbers(checkpoint, t)).collect()
}

/// The nearest number that the element type has.
fn rounded(number: f64, dtype: Dtype) -> f64 {
    match dtype {
        Dtype::F16 => f64::from(f16::from_f64(number)),
        #[expect(clippy::cast_possible_truncation, reason = "rounding is meant")]
        _ => f64::from(number as f32),
    }
}

#[test]
fn replicas_that_drifted_apart_become_the_first_their_mean_and_their_sum() {
    for dtype in [Dtype::F32, Dtype::F16] {
        let workplace = workplace();
        for rank in 0..3 {
            let mut file = TorchFile::default();
            // Elements depend on how many tensors came before.
            for _ in 0..rank * 4 {
                file.tensor(dtype, &[1]);
            }
            let shapes: [(&str, &[usize]); 4] = [
                ("table", &[4, HIDDEN]),
                ("first", &[HIDDEN]),
                ("mean", &[HIDDEN, HIDDEN]),
                ("sum", &[HIDDEN]),
            ];
            let model = shapes.map(|(name, shape)| (name.to_owned(), file.tensor(dtype, shape)));
            let args = [("tensor_model_parallel_size", 3), ("vocab", 12), ("hidden", 3)];
            let args = args.map(|(name, value)| (name.to_owned(), Py::Int(value)));
            let root = Py::Dict(vec![
                ("args".to_owned(), Py::Namespace(args.to_vec())),
                ("model".to_owned(), Py::Dict(model.to_vec())),
            ]);
            let path = format!("ranks/iter_0000001/mp_rank_{rank:02}/model_optim_rng.pt");
            workplace.put(&path, []);
            file.write(&workplace.path(&path), &root).expect("it can be written");
        }
        let ranks = Checkpoint::open(&workplace.path("ranks")).expect("three ranks");
        succeeds(&workplace, &["@ranks", "@whole"]);
        let whole = Checkpoint::open(&workplace.path("whole")).expect("it was written");
        let replicas = |name: &str| named(&ranks, &format!("model.{name}"));
        let [first, mean, sum] = ["first", "mean", "sum"].map(replicas);
        assert!(mean[0] != mean[1] && mean[1] != mean[2] && sum[0] != sum[1], "replicas differ");
        assert_eq!(named(&whole, "one"), [first[0].clone()]);
        let added = |all: &[Vec<f64>], at: usize| all[0][at] + all[1][at] + all[2][at];
        let expected: Vec<f64> = (0..HIDDEN * HIDDEN)
            .map(|at| rounded(added(&mean, at % HIDDEN * HIDDEN + at / HIDDEN) / 3.0, dtype))
            .collect();
        assert_eq!(named(&whole, "two"), [expected], "the mean of {dtype:?}");
        let expected: Vec<f64> = (0..HIDDEN).map(|at| rounded(added(&sum, at), dtype)).collect();
        assert_eq!(named(&whole, "three"), [expected], "the sum of {dtype:?}");
    }
}

#[test]
fn padding_is_the_mean_of_all_rows_on_whichever_rank_it_lies() {
    let workplace = workplace();
    let value = |row: usize, column: usize| ((row * 7 + column * 3) % 11) as f32 * 0.37 - 1.1;
    let words: Vec<u8> = (0..HIDDEN)
        .flat_map(|column| (0..VOCAB).map(move |row| (row, column)))
        .flat_map(|(row, column)| value(row, column).to_le_bytes())
        .collect();
    let zeros = [0u8; 4 * HIDDEN * HIDDEN];
    let tensors = [
        ("words", vec![HIDDEN, VOCAB], &words[..]),
        ("one", vec![HIDDEN], &zeros[..4 * HIDDEN]),
        ("two", vec![HIDDEN, HIDDEN], &zeros[..]),
        ("three", vec![HIDDEN], &zeros[..4 * HIDDEN]),
    ];
    let views = tensors.map(|(name, shape, bytes)| {
        (name, TensorView::new(Stored::F32, shape, bytes).expect("a tensor of that size"))
    });
    workplace.put("whole/config.json", r#"{"vocab_size": 5, "hidden_size": 3}"#);
    safetensors::serialize_to_file(views, None, &workplace.path("whole/model.safetensors")).expect("a file");
    let mean = |column: usize| {
        let sum: f64 = (0..VOCAB).map(|row| f64::from(value(row, column))).sum();
        rounded(sum / VOCAB as f64, Dtype::F32)
    };
    // The last real row lies before the padding on one rank; of three ranks the last has nothing else.
    for tp in [1, 2, 3] {
        let out = format!("@ranks-{tp}");
        succeeds(&workplace, &["@whole", &out, "--tp", &tp.to_string()]);
        let ranks = Checkpoint::open(&workplace.path(&out[1..])).expect("ranks");
        let rows = VOCAB.div_ceil(4 * tp) * 4 * tp;
        let expected: Vec<f64> = (0..rows)
            .flat_map(|row| (0..HIDDEN).map(move |column| (row, column)))
            .map(|(row, column)| if row < VOCAB { f64::from(value(row, column)) } else { mean(column) })
            .collect();
        let held = named(&ranks, "model.table");
        assert_eq!(held.len(), tp);
        assert_eq!(held.concat(), expected, "over {tp} ranks");
    }
}
