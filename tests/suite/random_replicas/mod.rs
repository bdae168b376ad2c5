//! Copies of a parameter on several ranks, and the chunks of distributed checkpoints: stored with strides and dtypes of
//! their own, against a reader that takes each element from where its strides say.

mod chunks;
mod joined;
mod losses;
mod parts;
mod written;

use half::{bf16, f16};
use proptest::prelude::ProptestConfig;
use transship_tests::{Dtype, Py, TorchFile};

use crate::command::{Done, Workplace};
use crate::oracle::{Tensors, read_tensors};

/// As many cases as `PROPTEST_CASES` says, or these.
fn few_cases(cases: u32) -> ProptestConfig {
    let default = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    if std::env::var_os("PROPTEST_CASES").is_some() { default } else { ProptestConfig { cases, ..default } }
}

/// A stored tensor: numbers in a storage, and the view of them.
#[derive(Clone, Debug)]
struct View {
    dtype: Dtype,
    storage: Vec<f64>,
    offset: usize,
    shape: Vec<usize>,
    strides: Vec<usize>,
}

impl View {
    /// These numbers in row-major order.
    fn rows(dtype: Dtype, shape: &[usize], numbers: &[f64]) -> View {
        let mut strides = vec![1; shape.len()];
        for at in (1..shape.len()).rev() {
            strides[at - 1] = strides[at] * shape[at];
        }
        View { dtype, storage: numbers.to_vec(), offset: 0, shape: shape.to_vec(), strides }
    }

    /// The numbers of the tensor in row-major order.
    fn numbers(&self) -> Vec<f64> {
        let places =
            self.shape.iter().zip(&self.strides).fold(vec![self.offset], |places, (size, stride)| {
                places.iter().flat_map(|at| (0..*size).map(move |i| at + i * stride)).collect()
            });
        places.into_iter().map(|at| self.storage[at]).collect()
    }

    fn put(&self, file: &mut TorchFile) -> Py {
        let bytes = self.storage.iter().flat_map(|number| encoded(self.dtype, *number)).collect();
        file.view(self.dtype, bytes, self.offset, &self.shape, &self.strides)
    }
}

/// A number in a dtype, rounded once.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "integers are small and whole")]
fn encoded(dtype: Dtype, number: f64) -> Vec<u8> {
    match dtype {
        Dtype::F64 => number.to_le_bytes().to_vec(),
        Dtype::F32 => (number as f32).to_le_bytes().to_vec(),
        Dtype::F16 => f16::from_f64(number).to_le_bytes().to_vec(),
        Dtype::BF16 => bf16::from_f64(number).to_le_bytes().to_vec(),
        Dtype::I64 => (number as i64).to_le_bytes().to_vec(),
        Dtype::I32 => (number as i32).to_le_bytes().to_vec(),
        Dtype::I16 => (number as i16).to_le_bytes().to_vec(),
        Dtype::I8 => (number as i8).to_le_bytes().to_vec(),
        Dtype::U8 => vec![number as u8],
        Dtype::C64 => unreachable!("no test has complex numbers"),
    }
}

fn encoded_all(dtype: Dtype, numbers: &[f64]) -> Vec<u8> {
    numbers.iter().flat_map(|number| encoded(dtype, *number)).collect()
}

/// A mapping of one rule between sides of ranks and of safetensors.
fn mapping(rule: &str) -> String {
    let sizes = "config {\n    rows = args.rows <=> n_rows\n    cols = args.cols <=> n_cols\n}\n";
    let config = if rule.contains('[') { sizes } else { "" };
    format!(
        "mapping replicas : ranked <=> whole

side ranked {{
    format     torch
    parameters model
    documents  args
    rank       tp = args.tp else 1
    detect     x
}}

side whole {{ detect y }}

{config}
{rule}
"
    )
}

/// Files of ranks that hold `x`, each as it is given.
fn put_ranks(workplace: &Workplace, views: &[View]) {
    for (rank, view) in views.iter().enumerate() {
        let mut file = TorchFile::default();
        let x = view.put(&mut file);
        let count = i64::try_from(views.len()).expect("few ranks");
        let root = Py::Dict(vec![
            ("args".to_owned(), Py::Namespace(vec![("tp".to_owned(), Py::Int(count))])),
            ("model".to_owned(), Py::Dict(vec![("x".to_owned(), x)])),
        ]);
        let path = format!("ranks/iter_0000001/mp_rank_{rank:02}/model_optim_rng.pt");
        workplace.put(&path, []);
        file.write(&workplace.path(&path), &root).expect("it can be written");
    }
}

fn convert(workplace: &Workplace, args: &[&str]) -> Done {
    workplace.run(&[&["convert", "--mapping", "@m.mapping", "--no-sync"], args].concat())
}

/// What the ranks become as safetensors, or the message of the error.
fn joined(rule: &str, views: &[View]) -> Result<Tensors, String> {
    let workplace = Workplace::new();
    workplace.put("m.mapping", mapping(rule));
    put_ranks(&workplace, views);
    let done = convert(&workplace, &["@ranks", "@out"]);
    if done.code != 0 {
        assert!(!workplace.path("out").exists(), "{} left something", done.err);
        return Err(done.err);
    }
    Ok(read_tensors(&workplace.path("out/model.safetensors")))
}
