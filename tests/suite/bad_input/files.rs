//! Files and directories that are no checkpoint, are damaged, or are of a kind that is not read.

use std::fs;
use std::io::{Cursor, Write};

use transship_tests::{Dtype, Py, TorchFile};
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use super::{changed, refused, sound};
use crate::command::Workplace;

pub(super) fn zip_of(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    for (name, bytes) in entries {
        zip.start_file(*name, options).expect("an entry can be begun");
        zip.write_all(bytes).expect("an entry can be written");
    }
    zip.finish().expect("the archive can be ended").into_inner()
}

fn file(contents: impl AsRef<[u8]>) -> Workplace {
    let workplace = Workplace::new();
    workplace.put("model.pt", contents);
    workplace
}

fn sound_bytes() -> Vec<u8> {
    fs::read(sound().path("model.pt")).expect("it was written")
}

#[test]
fn files_that_are_something_else() {
    refused!("text", file("learning rate 0.00015, 500000 iterations\n"), &["@model.pt"]);
    refused!("web_page", file("<!DOCTYPE html>\n<html><head><title>Sign in</title>"), &["@model.pt"]);
    refused!("picture", file(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"), &["@model.pt"]);
    refused!("empty", file(""), &["@model.pt"]);
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 709789959\n";
    refused!("lfs_pointer", file(pointer), &["@model.pt"]);
    refused!("tensorflow_or_flax", file(b"\x89HDF\r\n\x1a\n\0\0\0\0"), &["@model.pt"]);
    refused!("gguf", file(b"GGUF\x03\0\0\0\0\0\0\0"), &["@model.pt"]);
    let mut tar = vec![0u8; 1024];
    tar[..7].copy_from_slice(b"storage");
    tar[257..262].copy_from_slice(b"ustar");
    refused!("tar", file(tar), &["@model.pt"]);
}

#[test]
fn damaged_files() {
    let whole = sound_bytes();
    refused!("truncated", file(&whole[..whole.len() / 2]), &["@model.pt"]);
    refused!("truncated_at_the_end", file(&whole[..whole.len() - 9]), &["@model.pt"]);
    let workplace = Workplace::new();
    let tensors =
        fs::read(crate::oracle::data("hf/b_v1_fp32_args/expected/model.safetensors")).expect("test data");
    workplace.put("model.safetensors", &tensors[..tensors.len() / 2]);
    refused!("truncated_safetensors", workplace, &["@model.safetensors"]);
    workplace.put("model.safetensors", &tensors[..100]);
    refused!("truncated_safetensors_header", workplace, &["@model.safetensors"]);
}

/// The archive with the directory's record of one entry pointing at another entry.
#[test]
fn entries_that_overlap() {
    let mut bytes = zip_of(&[
        ("archive/data.pkl", b"\x80\x02}."),
        ("archive/data/0", b"12345678"),
        ("archive/version", b"3\n"),
    ]);
    let directory: Vec<usize> =
        bytes.windows(4).enumerate().filter(|(_, w)| *w == b"PK\x01\x02").map(|(at, _)| at).collect();
    let first: [u8; 4] = bytes[directory[0] + 42..][..4].try_into().expect("four bytes");
    bytes[directory[1] + 42..][..4].copy_from_slice(&first);
    refused!("overlapping_entries", file(bytes), &["@model.pt"]);
}

#[test]
fn archives() {
    let model = sound_bytes();
    let workplace = Workplace::new();
    workplace.put("none.zip", zip_of(&[("readme.txt", b"hello"), ("vocab.json", b"{}")]));
    workplace.put(
        "one.zip",
        zip_of(&[("readme.txt", b"hello"), ("release/mp_rank_00/model_optim_rng.pt", &model)]),
    );
    workplace.put("two.zip", zip_of(&[("a/model_optim_rng.pt", &model), ("b/model_optim_rng.pt", &model)]));
    workplace.put("model.pt", &model);
    refused!("zip_without_checkpoint", workplace, &["@none.zip"]);
    refused!("zip_with_several", workplace, &["@two.zip"]);
    refused!(
        "zip_member_missing",
        workplace,
        &["@one.zip", "--member", "release/mp_rank_01/model_optim_rng.pt"]
    );
    refused!("zip_member_no_checkpoint", workplace, &["@one.zip", "--member", "readme.txt"]);
    refused!("member_of_no_archive", workplace, &["@model.pt", "--member", "model.pt"]);
}

#[test]
fn kinds_of_torch_files_that_are_not_read() {
    let big = zip_of(&[
        ("archive/data.pkl", b"\x80\x02}."),
        ("archive/byteorder", b"big"),
        ("archive/version", b"3\n"),
    ]);
    refused!("big_endian", file(big), &["@model.pt"]);
    let script = zip_of(&[
        ("archive/data.pkl", b"\x80\x02}."),
        ("archive/code/__torch__.py", b"class Model(Module):\n"),
        ("archive/constants.pkl", b"\x80\x02)."),
        ("archive/version", b"3\n"),
    ]);
    refused!("torchscript", file(script), &["@model.pt"]);
}

#[test]
fn directories() {
    let workplace = Workplace::new();
    workplace.put("empty/notes.txt", "");
    refused!("directory_without_checkpoint", workplace, &["@empty"]);
    refused!("missing_path", workplace, &["@nowhere/model_optim_rng.pt"]);
    workplace.put("dist/iter_0000100/.metadata", "");
    workplace.put("dist/iter_0000100/__0_0.distcp", "");
    workplace.put("dist/iter_0000100/common.pt", "");
    workplace.put("dist/latest_checkpointed_iteration.txt", "100");
    refused!("distributed_checkpoint", workplace, &["@dist"]);
    workplace.put("stale/latest_checkpointed_iteration.txt", "200");
    workplace.put("stale/iter_0000100/mp_rank_00/model_optim_rng.pt", "");
    refused!("iteration_missing", workplace, &["@stale"]);
}

#[test]
fn one_of_several_ranks() {
    let workplace = Workplace::new();
    for rank in ["00", "01"] {
        workplace.put(&format!("two/iter_0000100/mp_rank_{rank}/model_optim_rng.pt"), sound_bytes());
    }
    workplace.put("two/latest_checkpointed_iteration.txt", "100\n");
    refused!("directory_of_two_ranks", workplace, &["@two"]);
    refused!("file_beside_another_rank", workplace, &["@two/iter_0000100/mp_rank_00/model_optim_rng.pt"]);
    let alone = changed(|made| made.set_arg("tensor_model_parallel_size", Py::Int(2)));
    refused!("args_say_two_ranks", alone, &["@model.pt"]);
    let both = changed(|made| {
        made.set_arg("tensor_model_parallel_size", Py::Int(2));
        made.set_arg("pipeline_model_parallel_size", Py::Int(4));
    });
    refused!("args_say_ranks_of_two_kinds", both, &["@model.pt"]);
}

#[test]
fn ranks_that_do_not_belong_together() {
    let workplace = Workplace::new();
    let put = |name: &str| workplace.put(&format!("{name}/model_optim_rng.pt"), sound_bytes());
    put("part/iter_0000100/mp_rank_00_000");
    put("part/iter_0000100/mp_rank_00_001");
    put("part/iter_0000100/mp_rank_01_001");
    refused!("rank_missing", workplace, &["@part"]);
    put("mixed/mp_rank_00");
    put("mixed/mp_rank_00_001");
    refused!("ranks_of_unlike_names", workplace, &["@mixed"]);
    put("twice/mp_rank_01");
    put("twice/mp_rank_001");
    refused!("rank_twice", workplace, &["@twice"]);
    put("empty/mp_rank_00");
    workplace.put("empty/mp_rank_01/notes.txt", "");
    refused!("rank_without_model", workplace, &["@empty"]);
    for (rank, iteration) in [("00", 100), ("01", 200)] {
        let made = changed(|made| made.root.set(&["iteration"], Py::Int(iteration)));
        let bytes = fs::read(made.path("model.pt")).expect("it was written");
        workplace.put(&format!("two/mp_rank_{rank}/model_optim_rng.pt"), bytes);
    }
    refused!("ranks_of_two_iterations", workplace, &["@two"]);
    refused!("iteration_not_there", workplace, &["@part", "--iteration", "99"]);
    refused!(
        "iteration_of_a_file",
        workplace,
        &["@two/mp_rank_00/model_optim_rng.pt", "--iteration", "release"]
    );
}

#[test]
fn another_model() {
    let workplace = Workplace::new();
    let mut file = TorchFile::default();
    let tensor = file.tensor(Dtype::F32, &[4, 6]);
    file.write(&workplace.path("model.pt"), &Py::Dict(vec![("fc.weight".to_owned(), tensor)]))
        .expect("written");
    refused!("no_mapping_fits", workplace, &["@model.pt"]);
    refused!("neither_side_of_the_mapping", workplace, &["@model.pt", "--mapping", "megatron_gpt2"]);
    file.write(&workplace.path("bare.pt"), &Py::Dict(vec![("iteration".to_owned(), Py::Int(3))]))
        .expect("written");
    refused!("no_tensors", workplace, &["@bare.pt"]);
}
