//! `transship verify`: what is the same passes, and every fault is told with its place.

use std::collections::BTreeMap;

use safetensors::tensor::{Dtype, TensorView};
use serde_json::Value;

use crate::command::{Done, Workplace};
use crate::oracle::{data, read_json};

const B: &str = "%hf/b_v1_fp32_args/input/model_optim_rng.pt";
const B_EXPECTED: &str = "%hf/b_v1_fp32_args/expected";

fn said(done: &Done) -> String {
    format!("{}--- messages ---\n{}", done.out, done.err)
}

fn holds(args: &[&str]) -> Done {
    let done = Workplace::new().run(&[&["verify"], args].concat());
    assert_eq!(done.code, 0, "{args:?}\n{}", said(&done));
    assert!(done.out.contains("all the same"), "{}", done.out);
    done
}

/// A tensor as it lies in a file.
#[derive(Clone)]
struct Stored {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl Stored {
    fn values(&self) -> Vec<f32> {
        assert_eq!(self.dtype, Dtype::F32);
        self.bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
    }

    fn f32(shape: &[usize], values: &[f32]) -> Stored {
        let bytes = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        Stored { dtype: Dtype::F32, shape: shape.to_vec(), bytes }
    }
}

type File = BTreeMap<String, Stored>;

/// The expected output of case `b`, changed, as `out`.
fn with_fault(change: impl FnOnce(&mut File, &mut Value)) -> Workplace {
    let folder = data("hf/b_v1_fp32_args/expected");
    let bytes = std::fs::read(folder.join("model.safetensors")).expect("it is there");
    let tensors = safetensors::SafeTensors::deserialize(&bytes).expect("it is safetensors");
    let stored = |view: TensorView<'_>| Stored {
        dtype: view.dtype(),
        shape: view.shape().to_vec(),
        bytes: view.data().to_vec(),
    };
    let mut file: File = tensors.tensors().into_iter().map(|(name, view)| (name, stored(view))).collect();
    let mut config = read_json(&folder.join("config.json"));
    change(&mut file, &mut config);
    let views: BTreeMap<&String, TensorView<'_>> = file
        .iter()
        .map(|(name, s)| (name, TensorView::new(s.dtype, s.shape.clone(), &s.bytes).expect("it fits")))
        .collect();
    let workplace = Workplace::new();
    workplace.put("out/model.safetensors", safetensors::serialize(views, None).expect("it can be written"));
    workplace.put("out/config.json", config.to_string());
    workplace
}

/// What is said of a faulty output of case `b`.
fn fails(workplace: &Workplace, options: &[&str]) -> String {
    let done = workplace.run(&[&["verify", B, "@out"], options].concat());
    assert_eq!(done.code, 1, "{options:?}\n{}", said(&done));
    said(&done)
}

fn passes(workplace: &Workplace, options: &[&str]) {
    let done = workplace.run(&[&["verify", B, "@out"], options].concat());
    assert_eq!(done.code, 0, "{options:?}\n{}", said(&done));
}

#[test]
fn what_the_reference_made_is_the_same() {
    for (case, input) in [
        ("a_ngc_v0_fp16_zip", "megatron_tiny_v0_0.zip"),
        ("b_v1_fp32_args", "model_optim_rng.pt"),
        ("c_v2_bf16_odd_args_optimizer", "model_optim_rng.pt"),
        ("d_v3_fp16_encoder_padded_flat", "model_optim_rng.pt"),
        ("e_reshape_tp2", ""),
        ("f_reshape_tp2_pp2", ""),
        ("i_te_names_v3_bf16", "model_optim_rng.pt"),
    ] {
        let done = holds(&[&format!("%hf/{case}/input/{input}"), &format!("%hf/{case}/expected")]);
        assert!(done.out.starts_with("28 parameters"), "{case}: {}", done.out);
    }
    // The other way, rounded and over ranks, and padded.
    holds(&["%hf/h_hf_to_megatron_tp2_pp2/input/hf", "%hf/h_hf_to_megatron_tp2_pp2/expected/megatron"]);
}

#[test]
fn checkpoints_of_one_side_are_compared_whatever_their_ranks_and_versions() {
    let case = |name: &str| format!("%megatron/{name}/ckpt");
    let activation: &[&str] = &["--set", "activation=gelu"];
    for (one, other) in [
        ("legacy-v0-gpt2-tp1", "legacy-v3-gpt2-tp2pp2"),
        ("legacy-v1-gpt2-tp2", "legacy-v0-gpt2-tp2"),
        ("legacy-v3-gpt2-tp2pp2", "legacy-v3-gpt2-tp1pp1"),
    ] {
        holds(&[&[case(one).as_str(), case(other).as_str()], activation].concat());
    }
    // Hugging Face's side is the same in two mappings.
    holds(&[B_EXPECTED, B_EXPECTED]);
    // Two vocabularies, padded to other lengths.
    let workplace = Workplace::new();
    let input = case("legacy-v3-gpt2-tp1pp1");
    let split: [&[&str]; 3] = [
        &["convert", &input, "@split", "--to", "megatron", "--tp", "4", "--set", "vocab=120"],
        &["verify", &input, "@split"],
        &["verify", "@split", &input],
    ];
    for args in split {
        let done = workplace.run(args);
        assert_eq!(done.code, 0, "{args:?}\n{}", said(&done));
    }
    insta::assert_snapshot!("verify_other_ranks", said(&workplace.run(split[1])));
}

#[test]
fn a_flipped_bit_is_told_with_its_coordinates() {
    // 48 wide, four heads of 12: column 5 + 12 * (1 + 4) of row 7 is of k.
    let workplace = with_fault(|file, _| {
        let tensor = file.get_mut("transformer.h.1.attn.c_attn.weight").expect("it is there");
        let columns = tensor.shape[1];
        let heads = 4;
        let head_dim = columns / 3 / heads;
        let column = heads * head_dim + head_dim + 5;
        tensor.bytes[(7 * columns + column) * 4] ^= 1;
    });
    let told = fails(&workplace, &[]);
    assert!(told.contains("first at layer 1, k, hidden 7, heads 1, head_dim 5"), "{told}");
    insta::assert_snapshot!("verify_flipped_bit", told);
    insta::assert_snapshot!("verify_flipped_bit_json", fails(&workplace, &["--format", "json"]));
    insta::assert_snapshot!("verify_flipped_bit_quiet", fails(&workplace, &["--quiet"]));
    passes(&workplace, &["--rtol", "1e-6"]);
    passes(&workplace, &["--atol", "1e-6"]);
    fails(&workplace, &["--atol", "1e-30"]);
}

#[test]
fn a_square_that_is_not_transposed_is_found() {
    let workplace = with_fault(|file, _| {
        let tensor = file.get_mut("transformer.h.0.attn.c_proj.weight").expect("it is there");
        let (n, values) = (tensor.shape[0], tensor.values());
        assert_eq!(tensor.shape, [n, n], "a square");
        let turned: Vec<f32> = (0..n * n).map(|i| values[i % n * n + i / n]).collect();
        *tensor = Stored::f32(&[n, n], &turned);
    });
    insta::assert_snapshot!("verify_transposed_square", fails(&workplace, &[]));
}

#[test]
fn parameters_that_are_missing_or_unknown_are_listed() {
    let workplace = with_fault(|file, _| {
        let bias = file.remove("transformer.h.1.mlp.c_fc.bias").expect("it is there");
        file.insert("transformer.h.1.mlp.c_fc.scale".to_owned(), bias);
        file.remove("transformer.ln_f.weight").expect("it is there");
    });
    insta::assert_snapshot!("verify_missing_and_unknown", fails(&workplace, &[]));
    // All of the last layer, where the config says nothing of it.
    let workplace = with_fault(|file, config| {
        file.retain(|name, _| !name.starts_with("transformer.h.1."));
        config.as_object_mut().expect("an object").remove("n_layer");
    });
    let told = fails(&workplace, &[]);
    assert!(told.contains("layers"), "{told}");
}

#[test]
fn dtypes_are_cast_as_a_conversion_casts_them() {
    let narrow = |round: fn(f32) -> u16| {
        with_fault(|file, _| {
            for tensor in file.values_mut().filter(|t| t.dtype == Dtype::F32) {
                tensor.bytes = tensor.values().into_iter().flat_map(|x| round(x).to_le_bytes()).collect();
                tensor.dtype = Dtype::BF16;
            }
        })
    };
    let rounded = narrow(|x| half::bf16::from_f32(x).to_bits());
    passes(&rounded, &[]);
    passes(&rounded, &["--dtype", "bf16"]);
    let told = fails(&rounded, &["--dtype", "f32"]);
    assert!(told.contains("it is bf16, not f32"), "{told}");
    // Cut off instead of rounded.
    let cut = narrow(|x| (x.to_bits() >> 16) as u16);
    let told = fails(&cut, &[]);
    assert!(told.contains("28 parameters differ") || told.contains("parameters differ"), "{told}");
    passes(&cut, &["--rtol", "0.0079"]);
}

#[test]
fn config_values_count() {
    let workplace = with_fault(|_, config| config["layer_norm_epsilon"] = 1e-3.into());
    insta::assert_snapshot!("verify_config", fails(&workplace, &[]));
    let synonym = with_fault(|_, config| config["activation_function"] = "gelu_pytorch_tanh".into());
    passes(&synonym, &[]);
    let other = with_fault(|_, config| config["activation_function"] = "relu".into());
    fails(&other, &[]);
}

#[test]
fn checkpoints_of_other_models_are_refused() {
    let workplace = with_fault(|file, _| file.retain(|name, _| name.ends_with("bias")));
    insta::assert_snapshot!("verify_other_model", fails(&workplace, &[]));
    let done = Workplace::new().run(&["verify", B, B_EXPECTED, "--from", "gpt2"]);
    assert_eq!(done.code, 1);
    insta::assert_snapshot!("verify_wrong_side", said(&done));
    for args in [["verify", B, B_EXPECTED, "--atol", "-1"], ["verify", B, B_EXPECTED, "--rtol", "inf"]] {
        assert_eq!(Workplace::new().run(&args).code, 2, "{args:?}");
    }
}

/// Tensors of a file by name.
fn write(workplace: &Workplace, name: &str, tensors: &[(&str, Stored)]) {
    let views: Vec<(&str, TensorView<'_>)> = tensors
        .iter()
        .map(|(name, s)| (*name, TensorView::new(s.dtype, s.shape.clone(), &s.bytes).expect("it fits")))
        .collect();
    workplace.put(name, safetensors::serialize(views, None).expect("it can be written"));
}

#[test]
fn a_difference_that_has_a_name_is_told_by_it() {
    // 48 wide, four heads of 12; columns are of q, k and v, each of all heads.
    let columns = |to: fn(usize) -> usize| {
        with_fault(move |file, _| {
            let tensor = file.get_mut("transformer.h.1.attn.c_attn.weight").expect("it is there");
            let (shape, values) = (tensor.shape.clone(), tensor.values());
            assert_eq!(shape, [48, 144]);
            let moved: Vec<f32> = (0..48 * 144).map(|at| values[at / 144 * 144 + to(at % 144)]).collect();
            *tensor = Stored::f32(&shape, &moved);
        })
    };
    let [q_and_k, heads_and_dims, pairs]: [fn(usize) -> usize; 3] = [
        |column| [column + 48, column.wrapping_sub(48), column][column / 48],
        |column| column / 48 * 48 + column % 4 * 12 + column % 48 / 4,
        |column| column / 12 * 12 + column % 2 * 6 + column % 12 / 2,
    ];
    for (fault, words) in [
        (columns(q_and_k), "q and k are swapped"),
        (columns(heads_and_dims), "axes heads and head_dim are swapped: they lie as"),
        (
            columns(pairs),
            "along head_dim, 1 holds 6, 2 holds 1, 3 holds 7, 4 holds 2, 5 holds 8, 6 holds 3, …",
        ),
    ] {
        let told = fails(&fault, &[]);
        assert!(told.contains(words), "{words}: {told}");
    }
    let layers = with_fault(|file, _| {
        let [one, other] = ["transformer.h.0.mlp.c_fc.weight", "transformer.h.1.mlp.c_fc.weight"];
        let (first, second) = (file[one].clone(), file[other].clone());
        file.extend([(one.to_owned(), second), (other.to_owned(), first)]);
    });
    let told = fails(&layers, &["--format", "json"]);
    assert!(told.contains("layer 0 holds layer 1") && told.contains("layer 1 holds layer 0"), "{told}");
}

#[test]
fn copies_along_a_broadcast_axis_count_on_either_side() {
    let workplace = Workplace::new();
    let mapping = "mapping copies : a <=> b\n\nconfig {\n    groups = g_a <=> g_b\n    rep = r_a <=> r_b\n    \
                   dim = d_a <=> d_b\n}\n\nx [(groups *rep) dim]  <=>  y [groups dim]\n";
    workplace.put("copies.mapping", mapping);
    let (one, other) = ([1.0, 2.0, 3.0], [4.0, 5.0, 6.0]);
    let rows = |rows: &[[f32; 3]]| Stored::f32(&[rows.len(), 3], &rows.concat());
    write(&workplace, "good.safetensors", &[("x", rows(&[one, one, other, other]))]);
    write(&workplace, "bad.safetensors", &[("x", rows(&[one, one, other, [4.0, 5.0, 7.0]]))]);
    write(&workplace, "plain.safetensors", &[("y", rows(&[one, other]))]);
    let verify = |one: &str, other: &str| {
        let paths = [one, other].map(|name| format!("@{name}.safetensors"));
        workplace.run(&["verify", &paths[0], &paths[1], "--mapping", "@copies.mapping", "--set", "rep=2"])
    };
    for (one, other) in [("good", "plain"), ("plain", "good"), ("good", "good")] {
        assert_eq!(verify(one, other).code, 0, "{one} {other}\n{}", said(&verify(one, other)));
    }
    for (one, other) in [("bad", "plain"), ("plain", "bad"), ("bad", "good"), ("good", "bad"), ("bad", "bad")]
    {
        let done = verify(one, other);
        assert_eq!(done.code, 1, "{one} {other}\n{}", said(&done));
        assert!(done.err.contains("TS0611"), "{one} {other}\n{}", said(&done));
    }
}

#[test]
fn every_element_is_looked_up_again_where_that_is_asked_for() {
    let looked_up = |args: &[&str]| {
        let told = holds(&[&[B, B_EXPECTED, "--format", "text"], args].concat()).out;
        let line = told.lines().find(|line| line.contains("looked up")).expect("it is told").to_owned();
        line.split(' ').next().and_then(|count| count.parse::<u64>().ok()).expect("a number")
    };
    // Once where the comparison took them from, once in each file.
    assert_eq!(looked_up(&["--thorough"]), 3 * 84288);
    assert!(looked_up(&[]) < 8000);
}

#[test]
fn help_says_what_verify_does() {
    let done = Workplace::new().run(&["verify", "--help"]);
    assert_eq!(done.code, 0);
    insta::assert_snapshot!("verify_help", done.out);
}

#[test]
fn models_of_both_are_compared_by_their_logits() {
    let done = holds(&[B, B_EXPECTED, "--logits", "--random", "20", "--seed", "3", "--format", "text"]);
    assert!(done.out.contains("logits of 20 tokens agree"), "{}", done.out);
    // Two layers changed places: each parameter is somewhere, and the model is another one.
    let workplace = with_fault(|file, _| {
        let names: Vec<String> =
            file.keys().filter(|name| name.starts_with("transformer.h.0.")).cloned().collect();
        for name in names {
            let other = name.replace(".h.0.", ".h.1.");
            let (one, two) = (file[&name].clone(), file[&other].clone());
            file.insert(name, two);
            file.insert(other, one);
        }
    });
    let told = fails(&workplace, &["--logits", "--ids", "5,17,301", "--format", "json", "--quiet"]);
    let json: Value =
        serde_json::from_str(told.split("--- messages").next().expect("it begins")).expect("it is JSON");
    assert_eq!(
        (&json["holds"], &json["logits"]["holds"], &json["logits"]["tokens"]),
        (&false.into(), &false.into(), &3.into())
    );
    assert!(json["logits"]["largest_divergence"].as_f64().is_some_and(|d| d > 1e-3), "{json}");
    assert!(told.contains("the logits are too far apart"), "{told}");
    // Parameters that differ a little can make the same model, for limits that say so.
    let near = with_fault(|file, _| {
        let tensor = file.get_mut("transformer.ln_f.bias").expect("it is there");
        let values: Vec<f32> = tensor.values().into_iter().map(|x| x + 1e-3).collect();
        *tensor = Stored::f32(&tensor.shape.clone(), &values);
    });
    fails(&near, &["--logits"]);
    fails(&near, &["--logits", "--atol", "1e-2", "--max-difference", "1e-9"]);
    passes(
        &near,
        &[
            "--logits",
            "--atol",
            "1e-2",
            "--max-difference",
            "0.1",
            "--max-divergence",
            "0.1",
            "--min-agreement",
            "0.5",
        ],
    );
    let done = Workplace::new().run(&["verify", B, B_EXPECTED, "--ids", "1"]);
    assert_eq!(done.code, 2, "--ids without --logits");
    let unknown = Workplace::new().run(&["verify", B, B_EXPECTED, "--logits", "--ids", "99999"]);
    assert!(unknown.code == 1 && unknown.err.contains("there is no token 99999"), "{}", unknown.err);
}
