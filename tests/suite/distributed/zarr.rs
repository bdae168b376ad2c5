//! `zarr` checkpoints: chunked and typed otherwise than Megatron-LM did, and damaged.

use serde_json::{Value, json};

use super::{ITERATION, ZARR, assert_converts, change, converted, copied, expected, remove};
use crate::command::Workplace;
use crate::oracle::{assert_same_tensors, read_json};
use crate::ranks::fails;

const QKV: &str = "decoder.layers.self_attention.linear_qkv.weight";

/// A copy with one entry of the description of an array set.
fn described(array: &str, entry: &str, value: Value) -> Workplace {
    let workplace = copied(ZARR);
    describe(&workplace, array, entry, value);
    workplace
}

fn describe(workplace: &Workplace, array: &str, entry: &str, value: Value) {
    let name = format!("{ITERATION}/{array}/.zarray");
    let mut json = read_json(&workplace.path(&name));
    json[entry] = value;
    workplace.put(&name, json.to_string());
}

fn refused(workplace: &Workplace) -> String {
    fails(workplace, &["@ckpt"])
}

/// Elements of 4 bytes of an array that are stored in chunks, in order.
fn elements(workplace: &Workplace, array: &str, shape: [usize; 3], chunk: [usize; 3]) -> Vec<[u8; 4]> {
    let mut elements = Vec::new();
    each(shape, |at| {
        let (file, inside) = place(at, chunk);
        let bytes = std::fs::read(workplace.path(&format!("{ITERATION}/{array}/{file}"))).expect("a chunk");
        elements.push(bytes[inside * 4..][..4].try_into().expect("four bytes"));
    });
    elements
}

/// The file that an element lies in, and which element of it that is.
fn place(at: [usize; 3], chunk: [usize; 3]) -> (String, usize) {
    let file = [0, 1, 2].map(|dim| (at[dim] / chunk[dim]).to_string()).join(".");
    let inside = [0, 1, 2].map(|dim| at[dim] % chunk[dim]);
    (file, (inside[0] * chunk[1] + inside[1]) * chunk[2] + inside[2])
}

fn each(shape: [usize; 3], mut visit: impl FnMut([usize; 3])) {
    for a in 0..shape[0] {
        for b in 0..shape[1] {
            (0..shape[2]).for_each(|c| visit([a, b, c]));
        }
    }
}

/// Chunks at the end of a dimension are as long as the others; what is past the array means nothing.
#[test]
fn chunks_that_do_not_divide_the_array() {
    let (shape, old, new) = ([2, 96, 32], [1, 48, 32], [2, 40, 7]);
    let workplace = copied(ZARR);
    let elements = elements(&workplace, QKV, shape, old);
    let mut chunks = std::collections::BTreeMap::new();
    let mut number = 0;
    each(shape, |at| {
        let (file, inside) = place(at, new);
        let chunk = chunks.entry(file).or_insert_with(|| vec![0xff; 2 * 40 * 7 * 4]);
        chunk[inside * 4..][..4].copy_from_slice(&elements[number]);
        number += 1;
    });
    assert_eq!(chunks.len(), 3 * 5);
    ["0.0.0", "0.1.0", "1.0.0", "1.1.0"].iter().for_each(|old| remove(&workplace, &format!("{QKV}/{old}")));
    chunks.iter().for_each(|(file, bytes)| workplace.put(&format!("{ITERATION}/{QKV}/{file}"), bytes));
    describe(&workplace, QKV, "chunks", json!(new));
    assert_converts(&workplace, "@ckpt");
}

/// Megatron-LM writes the type by its name, which is none of NumPy's, and the upper halves of the elements.
#[test]
fn brain_floats() {
    let workplace = copied(ZARR);
    for entry in std::fs::read_dir(workplace.path(ITERATION)).expect("a directory") {
        let array = entry.expect("an entry").path();
        if !array.join(".zarray").is_file() {
            continue;
        }
        describe(
            &workplace,
            &array.file_name().expect("a name").to_string_lossy(),
            "dtype",
            json!("bfloat16"),
        );
        for chunk in std::fs::read_dir(&array).expect("a directory") {
            let chunk = chunk.expect("an entry").path();
            if !chunk.ends_with(".zarray") {
                let bytes = std::fs::read(&chunk).expect("a chunk");
                let halves: Vec<u8> = bytes.chunks(4).flat_map(|element| [element[2], element[3]]).collect();
                std::fs::write(&chunk, halves).expect("a chunk");
            }
        }
    }
    let (mut tensors, _) = expected();
    for (dtype, _, bytes) in tensors.values_mut() {
        *dtype = "BF16".to_owned();
        *bytes = bytes.chunks(4).flat_map(|element| [element[2], element[3]]).collect();
    }
    assert_same_tensors(&tensors, &converted(&workplace, "@ckpt").0);
}

#[test]
fn a_checkpoint_that_does_not_say_what_it_is() {
    let workplace = copied(ZARR);
    remove(&workplace, "metadata.json");
    assert_converts(&workplace, "@ckpt");
}

#[test]
fn files_that_are_missing_or_cut() {
    let workplace = copied(ZARR);
    change(&workplace, &format!("{QKV}/1.0.0"), |bytes| bytes.truncate(6143));
    insta::assert_snapshot!("chunk_truncated", refused(&workplace));
    change(&workplace, &format!("{QKV}/1.0.0"), Vec::clear);
    insta::assert_snapshot!("chunk_empty", refused(&workplace));
    remove(&workplace, &format!("{QKV}/1.0.0"));
    insta::assert_snapshot!("chunk_missing", refused(&workplace));
    describe(&workplace, QKV, "fill_value", json!(0.0));
    insta::assert_snapshot!("chunk_missing_with_fill_value", refused(&workplace));
    let workplace = copied(ZARR);
    remove(&workplace, &format!("{QKV}/.zarray"));
    insta::assert_snapshot!("zarray_missing", refused(&workplace));
    workplace.put(&format!("{ITERATION}/{QKV}/.zarray"), "{\"zarr_format\": 2,");
    insta::assert_snapshot!("zarray_truncated", refused(&workplace));
    workplace.put(&format!("{ITERATION}/{QKV}/.zarray"), "{}");
    insta::assert_snapshot!("zarray_of_nothing", refused(&workplace));
    let workplace = copied(ZARR);
    remove(&workplace, "common.pt");
    insta::assert_snapshot!("zarr_common_missing", refused(&workplace));
}

#[test]
fn shapes_that_do_not_fit() {
    let chunks = |chunks: Value| refused(&described(QKV, "chunks", chunks));
    insta::assert_snapshot!("chunks_larger", chunks(json!([1, 96, 32])));
    insta::assert_snapshot!("chunks_smaller", chunks(json!([1, 48, 16])));
    insta::assert_snapshot!("chunks_longer_than_the_array", chunks(json!([1, 48, 40])));
    insta::assert_snapshot!("chunks_of_two_dimensions", chunks(json!([48, 32])));
    insta::assert_snapshot!("chunks_of_nothing", chunks(json!([1, 0, 32])));
    insta::assert_snapshot!("chunks_past_64_bits", chunks(json!([1_u64 << 40, 1_u64 << 40, 1])));
    let shape = |shape: Value| refused(&described(QKV, "shape", shape));
    insta::assert_snapshot!("shape_of_one_layer", shape(json!([1, 96, 32])));
    insta::assert_snapshot!("shape_of_three_layers", shape(json!([3, 96, 32])));
    let huge = 1_000_000_000_000_000_000_u64;
    insta::assert_snapshot!("shape_of_60_bits", shape(json!([2, huge, 32])));
    insta::assert_snapshot!("layers_of_60_bits", shape(json!([huge, 1, 1])));
    insta::assert_snapshot!("shape_negative", shape(json!([2, -96, 32])));
    let words = "embedding.word_embeddings.weight";
    insta::assert_snapshot!("rows_of_40_bits", refused(&described(words, "shape", json!([1_u64 << 40, 32]))));
}

#[test]
fn arrays_that_are_stored_otherwise() {
    let with = |entry: &str, value: Value| refused(&described(QKV, entry, value));
    insta::assert_snapshot!("dtype_complex", with("dtype", json!("<c8")));
    insta::assert_snapshot!("dtype_big_endian", with("dtype", json!(">f4")));
    insta::assert_snapshot!("dtype_structured", with("dtype", json!([["a", "<f4"], ["b", "<f4"]])));
    insta::assert_snapshot!("dtype_missing", with("dtype", Value::Null));
    insta::assert_snapshot!("order_f", with("order", json!("F")));
    insta::assert_snapshot!("order_unknown", with("order", json!("A")));
    let blosc = json!({ "id": "blosc", "cname": "lz4", "clevel": 5, "shuffle": 1 });
    insta::assert_snapshot!("compressor_blosc", with("compressor", blosc));
    insta::assert_snapshot!("compressor_zstd", with("compressor", json!({ "id": "zstd", "level": 1 })));
    insta::assert_snapshot!("filter_delta", with("filters", json!([{ "id": "delta", "dtype": "<f4" }])));
    insta::assert_snapshot!("separator_slash", with("dimension_separator", json!("/")));
    insta::assert_snapshot!("version_three", with("zarr_format", json!(3)));
}
