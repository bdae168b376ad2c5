//! Everything that a small checkpoint holds ends up where a mapping says, or the conversion is refused.

mod choices;
mod config;
mod elements;
mod leftover;
mod messages;
mod names;
mod size;

use std::collections::BTreeMap;

use safetensors::tensor::{Dtype, TensorView};

use crate::command::{Done, Workplace};
use crate::oracle::{read_json, read_tensors};

/// Checks that this conversion fails, and its whole text.
macro_rules! refused {
    ($name:literal, $workplace:expr) => {
        refused!($name, $workplace, &[])
    };
    ($name:literal, $workplace:expr, $more:expr) => {
        let line = [&$crate::accounting::LINE[..], $more].concat();
        let text = $crate::bad_input::refusal(&$workplace, &line);
        insta::assert_snapshot!($name, text);
    };
}
use refused;

const LINE: [&str; 5] = ["@in", "--mapping", "@m.mapping", "--from", "a"];

/// An f32 tensor of side `a`.
struct Stored {
    name: String,
    shape: Vec<usize>,
    values: Vec<f32>,
}

/// A tensor of 1, 2, 3, ….
fn counting(name: &str, shape: &[usize]) -> Stored {
    let count: usize = shape.iter().product();
    of(name, shape, &(1..=count).map(|n| n as f32).collect::<Vec<f32>>())
}

fn of(name: &str, shape: &[usize], values: &[f32]) -> Stored {
    Stored { name: name.to_owned(), shape: shape.to_vec(), values: values.to_vec() }
}

/// A mapping of `a` to `b` and a checkpoint of `a` beside it.
fn given(mapping: &str, config: &str, tensors: &[Stored]) -> Workplace {
    let workplace = Workplace::new();
    workplace.put("m.mapping", format!("mapping m : a <=> b\n\n{mapping}\n"));
    workplace.put("in/config.json", config);
    let bytes: Vec<Vec<u8>> =
        tensors.iter().map(|t| t.values.iter().flat_map(|x| x.to_le_bytes()).collect()).collect();
    let views = tensors.iter().zip(&bytes).map(|(t, bytes)| {
        let view = TensorView::new(Dtype::F32, t.shape.clone(), bytes).expect("values fill the shape");
        (t.name.clone(), view)
    });
    safetensors::serialize_to_file(views, None, &workplace.path("in/model.safetensors"))
        .expect("the file can be written");
    workplace
}

/// What was written: shape and values by name.
type Made = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

fn converted(workplace: &Workplace, more: &[&str]) -> Done {
    let done = workplace.run(&[&["convert"], &LINE[..], more, &["@out"]].concat());
    assert_eq!(done.code, 0, "{}", done.err);
    done
}

fn made(workplace: &Workplace) -> Made {
    converted(workplace, &[]);
    written(workplace)
}

fn written(workplace: &Workplace) -> Made {
    let floats = |bytes: &[u8]| {
        let chunks = bytes.chunks_exact(4);
        chunks.map(|c| f32::from_le_bytes(c.try_into().expect("four bytes"))).collect()
    };
    let tensors = read_tensors(&workplace.path("out/model.safetensors"));
    tensors.into_iter().map(|(name, (_, shape, bytes))| (name, (shape, floats(&bytes)))).collect()
}

/// The `config.json` that was written.
fn written_config(workplace: &Workplace) -> serde_json::Value {
    read_json(&workplace.path("out/config.json"))
}
