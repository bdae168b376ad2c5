//! Writing a whole model of 345 million 2-byte parameters, every matrix transposed, as safetensors and as a torch file,
//! against copying the file.
//!
//! The source lies in memory; files go to a temporary directory (`TMPDIR`) and are not synced.

#![allow(clippy::print_stdout)]

use std::collections::BTreeMap;
use std::time::Instant;

use transship::DType;
use transship::engine::{Content, Convert, StridedCopy, TargetTensor};
use transship::output::{Options, OutputPlan, Saved, TensorSpec, plan_safetensors, plan_torch, run};

const HIDDEN: usize = 1024;
const LAYERS: usize = 24;

fn main() {
    let source = vec![1u8; 2 * 50304 * HIDDEN];
    let mut tensors = vec![
        tensor("wte.weight", &source, &[50304, HIDDEN], false),
        tensor("wpe.weight", &source, &[HIDDEN, HIDDEN], false),
    ];
    for layer in 0..LAYERS {
        let name = |rest: &str| format!("h.{layer}.{rest}");
        for (rest, columns, rows) in [
            ("attn.c_attn", 3 * HIDDEN, HIDDEN),
            ("attn.c_proj", HIDDEN, HIDDEN),
            ("mlp.c_fc", 4 * HIDDEN, HIDDEN),
            ("mlp.c_proj", HIDDEN, 4 * HIDDEN),
        ] {
            tensors.push(tensor(&name(&format!("{rest}.weight")), &source, &[rows, columns], true));
            tensors.push(tensor(&name(&format!("{rest}.bias")), &source, &[columns], false));
        }
        for rest in ["ln_1.weight", "ln_1.bias", "ln_2.weight", "ln_2.bias"] {
            tensors.push(tensor(&name(rest), &source, &[HIDDEN], false));
        }
    }
    let specs: Vec<TensorSpec> = tensors.iter().map(TensorSpec::of).collect();
    let entries = specs.iter().map(|spec| (spec.name.clone(), Saved::Tensor(spec.clone())));
    let torch = plan_torch("model.pt", &Saved::Dict(entries.collect())).expect("a valid plan");
    let torch = OutputPlan { files: vec![torch], index: None, superseded: |_, _| false };
    let safetensors = plan_safetensors(specs, &BTreeMap::new(), None).expect("a valid plan");
    println!("{} MB", torch.total_bytes() / 1_000_000);
    for threads in [1, 2, 1, 2, 1, 2] {
        for plan in [&safetensors, &torch] {
            measure(plan, &tensors, threads);
        }
    }
}

fn measure(plan: &OutputPlan, tensors: &[TargetTensor<'_>], threads: usize) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("model");
    let name = &plan.files[0].name;
    let options = Options { threads, sync: false, ..Options::default() };
    let start = Instant::now();
    run(&path, plan, tensors, &[], &options).expect("the model is written");
    let written = start.elapsed();
    let start = Instant::now();
    std::fs::copy(path.join(name), directory.path().join("copy")).expect("the file is copied");
    println!(
        "{threads} threads: {name} {:.3} s, copying the file {:.3} s",
        written.as_secs_f64(),
        start.elapsed().as_secs_f64()
    );
}

fn tensor<'a>(name: &str, source: &'a [u8], shape: &[usize], transposed: bool) -> TargetTensor<'a> {
    let elements: usize = shape.iter().product();
    let columns = shape[shape.len() - 1];
    let rows = elements / columns;
    let copy = StridedCopy {
        shape: vec![rows, columns],
        source_offset: 0,
        source_strides: if transposed { vec![1, rows] } else { vec![columns, 1] },
        target_offset: 0,
        target_strides: vec![columns, 1],
    };
    TargetTensor {
        name: name.to_owned(),
        dtype: DType::F16,
        shape: shape.iter().map(|&size| size as u64).collect(),
        contents: vec![Content::Copy {
            copy,
            source: &source[..2 * elements],
            convert: Convert::bits(DType::F16),
        }],
    }
}
