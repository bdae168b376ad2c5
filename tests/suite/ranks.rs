//! Checkpoints of many ranks: merged, made and split anew, against what the reference made; and ranks that do not
//! belong together.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use transship::Checkpoint;
use transship_tests::{MegatronGpt2, Py};

use crate::command::{Done, Workplace};
use crate::convert::megatron_case;
use crate::oracle::{assert_same_config, assert_same_tensors, data, is_mask_buffer, read_json, read_tensors};

const FOUR_RANKS: &str = "megatron/legacy-v3-gpt2-tp2pp2/ckpt";
const VIRTUAL_STAGES: &str = "megatron/legacy-v3-gpt2-pp2vpp2/ckpt";

pub(crate) fn succeeds(workplace: &Workplace, args: &[&str]) {
    let done = workplace.run(&[args, &["--quiet", "--no-sync"]].concat());
    assert_eq!(done.code, 0, "{args:?}\n{}{}", done.out, done.err);
}

/// A conversion that must fail and leave nothing behind.
pub(crate) fn fails(workplace: &Workplace, args: &[&str]) -> String {
    let Done { code, out, err } = workplace.run(&[&["convert"], args, &["@out"]].concat());
    assert_ne!(code, 0, "{args:?}\n{out}{err}");
    assert!(!workplace.path("out").exists(), "{args:?} left something");
    err
}

/// Files below a directory, by their paths relative to it.
fn files(root: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut open = vec![root.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(&directory).unwrap_or_else(|e| panic!("{}: {e}", directory.display()))
        {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                open.push(path);
            } else {
                found.insert(path.strip_prefix(root).expect("it lies below").to_owned());
            }
        }
    }
    found
}

/// Copies test data into the workplace as `ckpt`.
pub(crate) fn copy(workplace: &Workplace, from: &str) {
    for file in files(&data(from)) {
        let bytes = std::fs::read(data(from).join(&file)).expect("it can be read");
        workplace.put(&format!("ckpt/{}", file.display()), bytes);
    }
}

/// `token` is what the reference takes for the first and the last token of a text: the last of the vocabulary.
fn reference_case(case: &str, token: &str) {
    let workplace = Workplace::new();
    let (input, bos, eos) = (format!("%hf/{case}/input"), format!("bos={token}"), format!("eos={token}"));
    succeeds(&workplace, &["convert", &input, "@out", "--dtype", "f32", "--set", &bos, "--set", &eos]);
    let folder = data("hf").join(case).join("expected");
    let mut expected = read_tensors(&folder.join("model.safetensors"));
    expected.retain(|name, _| !is_mask_buffer(name));
    assert_same_tensors(&expected, &read_tensors(&workplace.path("out/model.safetensors")));
    assert_same_config(
        &read_json(&folder.join("config.json")),
        &read_json(&workplace.path("out/config.json")),
    );
}

#[test]
fn two_tensor_ranks_as_hugging_face_merges_them() {
    reference_case("e_reshape_tp2", "511");
}

#[test]
fn two_tensor_ranks_in_two_stages_as_hugging_face_merges_them() {
    reference_case("f_reshape_tp2_pp2", "499");
}

#[test]
fn ranks_that_megatron_wrote() {
    megatron_case("legacy-v0-gpt2-tp2", "gpt2", "120", "gelu");
    megatron_case("legacy-v1-gpt2-tp2", "gpt2", "120", "gelu");
    megatron_case("legacy-v3-gpt2-tp2pp2", "gpt2", "120", "gelu_new");
    megatron_case("legacy-v3-gpt2-pp2vpp2", "gpt2L4", "100", "gelu_new");
}

#[test]
fn ranks_as_hugging_face_makes_them() {
    let workplace = Workplace::new();
    let case = data("hf/h_hf_to_megatron_tp2_pp2");
    let split = ["--to", "megatron", "--tp", "2", "--pp", "2", "--dtype", "bf16", "--set", "divisor=32"];
    succeeds(
        &workplace,
        &[&["convert", "%hf/h_hf_to_megatron_tp2_pp2/input/hf", "@out"], &split[..]].concat(),
    );
    let (expected, made) = (case.join("expected/megatron"), workplace.path("out"));
    assert_eq!(files(&expected), files(&made));
    let mut compared = 0;
    for file in files(&expected).iter().filter(|file| file.extension().is_some_and(|e| e == "pt")) {
        let open = |root: &Path| Checkpoint::open(&root.join(file)).unwrap_or_else(|e| panic!("{e}"));
        let (expected, made) = (open(&expected), open(&made));
        let names = |c: &Checkpoint| c.tensors().iter().map(|t| t.name.clone()).collect::<BTreeSet<_>>();
        assert_eq!(names(&expected), names(&made), "{}", file.display());
        for tensor in expected.tensors() {
            let same = made.tensor(&tensor.name).expect("its name is there");
            assert_eq!((tensor.dtype, &tensor.shape), (same.dtype, &same.shape), "{}", tensor.name);
            let (expected, made) = (expected.array(tensor), made.array(same));
            assert!(expected.bytes().expect("small") == made.bytes().expect("small"), "{}", tensor.name);
            compared += 1;
        }
        for place in [
            "checkpoint_version",
            "args.tensor_model_parallel_size",
            "args.pipeline_model_parallel_size",
            "args.num_layers",
            "args.hidden_size",
            "args.num_attention_heads",
            "args.max_position_embeddings",
            "args.padded_vocab_size",
            "args.make_vocab_size_divisible_by",
            "args.params_dtype",
        ] {
            assert!(expected.lookup(place).is_some(), "{place}");
            assert_eq!(expected.lookup(place), made.lookup(place), "{place} in {}", file.display());
        }
    }
    assert_eq!(compared, 58);
}

#[test]
fn ranks_split_anew_merge_to_the_same_bytes() {
    let workplace = Workplace::new();
    let input = format!("%{VIRTUAL_STAGES}");
    succeeds(&workplace, &["convert", &input, "@direct", "--set", "vocab=100"]);
    let all = files(&workplace.path("direct"));
    for (tp, pp, vpp, count) in [
        ("1", "2", "1", 2),
        ("2", "1", "1", 2),
        ("4", "1", "1", 4),
        ("2", "2", "1", 4),
        ("4", "4", "1", 16),
        ("1", "2", "2", 2),
    ] {
        let name = format!("{tp}-{pp}-{vpp}");
        let (split, back) = (format!("@split-{name}"), format!("@back-{name}"));
        let ranks = ["--to", "megatron", "--tp", tp, "--pp", pp, "--vpp", vpp];
        succeeds(&workplace, &[&["convert", &input, &split], &ranks[..]].concat());
        assert_eq!(
            files(&workplace.path(&split[1..])).len(),
            count + 1,
            "a file per rank, and the iteration"
        );
        succeeds(&workplace, &["convert", &split, &back, "--set", "vocab=100"]);
        assert_eq!(files(&workplace.path(&back[1..])), all);
        for file in &all {
            let read = |root: &str| std::fs::read(workplace.path(root).join(file)).expect("it was written");
            assert!(read("direct") == read(&back[1..]), "{} of {name}", file.display());
        }
    }
}

#[test]
fn a_rank_is_missing() {
    let workplace = Workplace::new();
    copy(&workplace, FOUR_RANKS);
    std::fs::remove_dir_all(workplace.path("ckpt/iter_0000101/mp_rank_01_001")).expect("it is there");
    insta::assert_snapshot!("one_of_four_ranks_missing", fails(&workplace, &["@ckpt"]));
    std::fs::remove_dir_all(workplace.path("ckpt/iter_0000101/mp_rank_01_000")).expect("it is there");
    insta::assert_snapshot!("one_of_two_tensor_ranks_missing", fails(&workplace, &["@ckpt"]));
}

#[test]
fn one_rank_is_given_alone() {
    let workplace = Workplace::new();
    let first = format!("%{FOUR_RANKS}/iter_0000101/mp_rank_00_000/model_optim_rng.pt");
    insta::assert_snapshot!("first_rank_alone", fails(&workplace, &[&first]));
    let last = format!("%{FOUR_RANKS}/iter_0000101/mp_rank_01_001/model_optim_rng.pt");
    insta::assert_snapshot!("last_rank_alone", fails(&workplace, &[&last]));
}

/// Two ranks of a checkpoint made to order; `change` is made to the second one.
fn two_ranks(keys: &[&str], change: &Py) -> Workplace {
    let workplace = Workplace::new();
    for rank in 0..2 {
        let (file, mut root) = MegatronGpt2::tiny().build();
        root.set(&["args", "tensor_model_parallel_size"], Py::Int(2));
        root.set(&["args", "rank"], Py::Int(rank));
        if rank == 1 {
            root.set(keys, change.clone());
        }
        let path = format!("ckpt/iter_0000100/mp_rank_0{rank}/model_optim_rng.pt");
        workplace.put(&path, []);
        file.write(&workplace.path(&path), &root).expect("it can be written");
    }
    workplace.put("ckpt/latest_checkpointed_iteration.txt", "100");
    workplace
}

#[test]
fn ranks_of_different_runs() {
    let iteration = two_ranks(&["iteration"], &Py::Int(90));
    insta::assert_snapshot!("ranks_of_two_iterations", fails(&iteration, &["@ckpt"]));
    let heads = two_ranks(&["args", "num_attention_heads"], &Py::Int(6));
    insta::assert_snapshot!("ranks_with_other_arguments", fails(&heads, &["@ckpt"]));
    // Read by expressions alone, and `args` as a whole by one that asks whether it is there.
    let vocabulary = two_ranks(&["args", "padded_vocab_size"], &Py::Int(140));
    insta::assert_snapshot!("ranks_with_other_vocabularies", fails(&vocabulary, &["@ckpt"]));
    let arguments = two_ranks(&["args"], &Py::None);
    insta::assert_snapshot!("ranks_with_and_without_arguments", fails(&arguments, &["@ckpt"]));
}

#[test]
fn a_rank_in_the_layout_of_another_version() {
    let workplace = Workplace::new();
    copy(&workplace, "megatron/legacy-v1-gpt2-tp2/ckpt");
    let rank = "iter_0000101/mp_rank_01/model_optim_rng.pt";
    let other = data("megatron/legacy-v0-gpt2-tp2/ckpt").join(rank);
    workplace.put(&format!("ckpt/{rank}"), std::fs::read(other).expect("it is there"));
    insta::assert_snapshot!("ranks_of_two_versions", fails(&workplace, &["@ckpt"]));
}

#[test]
fn a_replica_differs_in_one_bit() {
    let workplace = Workplace::new();
    copy(&workplace, FOUR_RANKS);
    let rank = "ckpt/iter_0000101/mp_rank_01_000/model_optim_rng.pt";
    let path = workplace.path(rank);
    let checkpoint = Checkpoint::open(&path).expect("it opens");
    let norm = "model.language_model.encoder.layers.0.input_layernorm.bias";
    let elements =
        checkpoint.array(checkpoint.tensor(norm).expect("it is there")).bytes().expect("small").into_owned();
    drop(checkpoint);
    let mut bytes = std::fs::read(&path).expect("it is there");
    let places: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at..].starts_with(&elements)).collect();
    let [place] = places[..] else { panic!("the elements of {norm} lie at {places:?}") };
    bytes[place + 4] ^= 1;
    workplace.put(rank, bytes);
    insta::assert_snapshot!("replica_with_a_flipped_bit", fails(&workplace, &["@ckpt"]));
}

#[test]
fn ranks_that_cannot_share_evenly() {
    let workplace = Workplace::new();
    let input = format!("%{VIRTUAL_STAGES}");
    let split = |ranks: &[&str]| fails(&workplace, &[&[input.as_str(), "--to", "megatron"], ranks].concat());
    insta::assert_snapshot!("three_tensor_ranks_for_four_heads", split(&["--tp", "3"]));
    insta::assert_snapshot!("three_stages_for_four_layers", split(&["--pp", "3"]));
}
