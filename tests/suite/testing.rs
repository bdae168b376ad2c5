//! `transship::testing`: fake checkpoints, snapshots, and what is said of mappings that are wrong on purpose.

use transship::grammar::{Mapping, SideId, Source, check};
use transship::mappings::{MegatronGpt2, megatron_gpt2};
use transship::port::{Port, PortConfig};
use transship::testing::{
    Codes, assert_converts_to, conversion_text, convert_arrays, convert_fake, explain, fake, fake_checkpoint,
};
use transship::{Array, Setting, assert_port_snapshot};

/// Sizes that are pairwise different.
fn config() -> megatron_gpt2::Config {
    let json = serde_json::json!({
        "layers": 2, "seq_length": 6, "heads": 5, "head_dim": 4, "hidden": 20, "ffn": 7, "positions": 6, "vocab": 9,
        "epsilon": 1e-5, "version": 3, "bos": 0, "eos": 0, "activation": "gelu_new", "legacy_buffers": false, "divisor": 1, "pad": 0,
    });
    serde_json::from_value(json).expect("a config")
}

#[test]
fn elements_say_which_tensor_they_belong_to_and_where() {
    for side in SideId::BOTH {
        let checkpoint = fake_checkpoint::<MegatronGpt2>(&config(), side);
        let codes = Codes::of(&checkpoint);
        let mut seen = std::collections::BTreeSet::new();
        for tensor in checkpoint.tensors() {
            let array = checkpoint.array(tensor);
            for (index, bytes) in (0..).zip(array.bytes().expect("small").chunks_exact(4)) {
                let element = f64::from(f32::from_le_bytes(bytes.try_into().expect("four bytes")));
                let code = codes.code(element).expect("a code");
                assert!(seen.insert(code), "{code} is there twice");
                let (name, at) = codes.origin(code).expect("an origin");
                let flat = at.iter().zip(&tensor.shape).fold(0, |flat, (i, size)| flat * size + i);
                assert_eq!((name, flat), (tensor.name.as_str(), index));
            }
        }
    }
    let codes = Codes::of(&fake_checkpoint::<MegatronGpt2>(&config(), SideId::Left));
    assert_eq!(codes.show(0.0), "0");
    assert_eq!(codes.show(1022.0), "model.language_model.embedding.word_embeddings.weight[1, 2]");
}

#[test]
fn a_checkpoint_of_many_elements_is_still_exact() {
    let large = megatron_gpt2::Config { vocab: 3_000_000, ..config() };
    let checkpoint = fake_checkpoint::<MegatronGpt2>(&large, SideId::Right);
    assert!(checkpoint.tensors().iter().all(|t| t.dtype == transship::DType::F64));
    let huge = megatron_gpt2::Config { vocab: usize::MAX / 4, ..config() };
    let error = fake(MegatronGpt2::mapping(), &huge.settings(), SideId::Right).expect_err("it is too large");
    assert!(error.list()[0].message.contains("too large for a test"), "{:?}", error.list());
}

#[test]
fn the_shipped_port_from_megatron() {
    assert_port_snapshot!(MegatronGpt2, config(), SideId::Left);
}

#[test]
fn the_shipped_port_to_megatron() {
    assert_port_snapshot!("to_megatron", MegatronGpt2, config(), SideId::Right);
}

#[test]
fn a_conversion_there_and_back_is_what_it_was() {
    let there = convert_fake::<MegatronGpt2>(&config(), SideId::Left);
    assert_converts_to::<MegatronGpt2>(&config(), SideId::Left, &there);
    let checkpoint = transship::Checkpoint::in_memory("gpt2", there).expect("a checkpoint");
    let settings = config().settings();
    let back =
        convert_arrays(MegatronGpt2::mapping(), &settings, &checkpoint, SideId::Right).expect("it converts");
    let original = fake_checkpoint::<MegatronGpt2>(&config(), SideId::Left);
    let arrays: Vec<(String, Array)> =
        original.tensors().iter().map(|t| (t.name.clone(), original.array(t))).collect();
    let codes = Codes::of(&original);
    let said =
        explain(MegatronGpt2::mapping(), &settings, SideId::Left, &codes, &arrays, &back).expect("sizes");
    assert_eq!(said, "");
}

const RIGHT: &str = "\
mapping right : a <=> b

config {
    layers = layers <=> n_layer
    heads  = heads  <=> n_head
    hidden = hidden <=> n_embd
    ffn    = ffn    <=> n_ffn
    version = version else 3
    hidden = heads * head_dim
}

layout qkv = match version {
    0 => ((q | k | v) heads head_dim)
    1 => (heads head_dim (q | k | v))
    _ => (heads (q | k | v) head_dim)
}

layers.{layer}  <=>  h.{layer}  {
    qkv.weight  [qkv in:hidden]        <=>  c_attn.weight [in:hidden ((q | k | v) heads head_dim)]
    out.weight  [row:hidden col:hidden]  <=>  c_proj.weight [col:hidden row:hidden]
    norm.weight [hidden]                 <=>  ln.weight [hidden]
    up.weight   [((gate | up) ffn) hidden]  <=>  { gate: gate.weight [ffn hidden]  up: up.weight [ffn hidden] }
}
";

fn mapping(text: &str) -> Mapping {
    match check(&Source::new("test.mapping", text)) {
        Ok((mapping, _)) => mapping,
        Err(errors) => panic!(
            "{}",
            transship::grammar::render(&errors, transship::grammar::Style::Full { colour: false })
        ),
    }
}

fn settings(changes: &[(&str, &str)]) -> Vec<Setting> {
    let mut all = std::collections::BTreeMap::from([
        ("layers", "4"),
        ("heads", "2"),
        ("hidden", "10"),
        ("ffn", "7"),
        ("version", "3"),
    ]);
    all.extend(changes.iter().copied());
    all.into_iter().map(|(name, value)| Setting { name: name.to_owned(), value: value.to_owned() }).collect()
}

/// What is said of the conversion by a mapping in which `from` is written as `to`, or with other settings.
fn said_of(from: &str, to: &str, changes: &[(&str, &str)]) -> String {
    assert!(from.is_empty() || RIGHT.contains(from), "{from} is not in the mapping");
    let (right, wrong) = (mapping(RIGHT), mapping(&RIGHT.replacen(from, to, 1)));
    let settings_right = settings(&[]);
    let checkpoint = fake(&right, &settings_right, SideId::Left).expect("a checkpoint");
    let convert = |mapping: &Mapping, settings: &[Setting]| -> Vec<(String, Array)> {
        convert_arrays(mapping, settings, &checkpoint, SideId::Left).unwrap_or_else(|e| panic!("{e}"))
    };
    let (expected, got) = (convert(&right, &settings_right), convert(&wrong, &settings(changes)));
    explain(&right, &settings_right, SideId::Right, &Codes::of(&checkpoint), &expected, &got).expect("sizes")
}

#[test]
fn a_right_mapping_is_not_spoken_of() {
    assert_eq!(said_of("", "", &[]), "");
}

#[test]
fn parts_in_another_order() {
    insta::assert_snapshot!(
        "q_and_k_swapped",
        said_of("_ => (heads (q | k | v) head_dim)", "_ => (heads (k | q | v) head_dim)", &[])
    );
    insta::assert_snapshot!(
        "parts_rotated",
        said_of("_ => (heads (q | k | v) head_dim)", "_ => (heads (v | q | k) head_dim)", &[])
    );
    insta::assert_snapshot!("gate_and_up_swapped", said_of("((gate | up) ffn)", "((up | gate) ffn)", &[]));
}

#[test]
fn a_forgotten_transpose_of_a_square() {
    insta::assert_snapshot!(said_of(
        "c_proj.weight [col:hidden row:hidden]",
        "c_proj.weight [row:hidden col:hidden]",
        &[]
    ));
}

#[test]
fn a_forgotten_transpose_that_shapes_show() {
    let wrong = (
        "c_attn.weight [in:hidden ((q | k | v) heads head_dim)]",
        "c_attn.weight [((q | k | v) heads head_dim) in:hidden]",
    );
    insta::assert_snapshot!(said_of(wrong.0, wrong.1, &[]));
}

#[test]
fn the_wrong_version() {
    insta::assert_snapshot!("version_0_for_3", said_of("", "", &[("version", "0")]));
    insta::assert_snapshot!("version_1_for_3", said_of("", "", &[("version", "1")]));
}

#[test]
fn axes_in_another_order() {
    insta::assert_snapshot!(said_of("((q | k | v) heads head_dim)]", "((q | k | v) head_dim heads)]", &[]));
}

#[test]
fn layers_in_another_order() {
    let (right, settings) = (mapping(RIGHT), settings(&[]));
    let checkpoint = fake(&right, &settings, SideId::Left).expect("a checkpoint");
    let expected = convert_arrays(&right, &settings, &checkpoint, SideId::Left).expect("it converts");
    let renamed = |from: &str, to: &str| -> Vec<(String, Array)> {
        let other = |name: &str| match name.strip_prefix(from) {
            Some(rest) => format!("{to}{rest}"),
            None => name.strip_prefix(to).map_or_else(|| name.to_owned(), |rest| format!("{from}{rest}")),
        };
        expected.iter().map(|(name, array)| (other(name), array.clone())).collect()
    };
    let codes = Codes::of(&checkpoint);
    let say = |got: &[(String, Array)]| {
        explain(&right, &settings, SideId::Right, &codes, &expected, got).expect("sizes")
    };
    insta::assert_snapshot!("layers_swapped", say(&renamed("h.0.", "h.2.")));
    let mut got = renamed("h.1.ln", "h.1.norm");
    got.retain(|(name, _)| name != "h.2.ln.weight");
    insta::assert_snapshot!("names_that_differ", say(&got));
}

#[test]
fn a_difference_without_a_name_is_told_by_its_first_element() {
    let (right, settings) = (mapping(RIGHT), settings(&[]));
    let checkpoint = fake(&right, &settings, SideId::Left).expect("a checkpoint");
    let expected = convert_arrays(&right, &settings, &checkpoint, SideId::Left).expect("it converts");
    let mut got = expected.clone();
    let changed = got.iter_mut().find(|(name, _)| name == "h.1.c_attn.weight").expect("it is there");
    let mut bytes = changed.1.bytes().expect("small").into_owned();
    bytes.copy_within(4 * 20..4 * 24, 4 * 40);
    changed.1 = Array::new(changed.1.dtype(), changed.1.shape(), bytes).expect("as many bytes");
    let said =
        explain(&right, &settings, SideId::Right, &Codes::of(&checkpoint), &expected, &got).expect("sizes");
    insta::assert_snapshot!(said);
}

#[test]
fn rounded_elements_are_not_taken_for_places() {
    let text = "\
mapping casts : a <=> b

config {
    hidden = hidden <=> hidden
}

norm.weight [hidden] + 1 <=> ln.weight [hidden]
scale [hidden] * 2       <=> gain [hidden]
half.weight [hidden]     <=> half.weight [hidden] as f16
rest.**                  <=> other.**
";
    let casts = mapping(text);
    let wrong = mapping(&text.replace("+ 1", "+ 2").replace("[hidden] * 2", "[hidden]"));
    let settings = vec![Setting { name: "hidden".to_owned(), value: "5".to_owned() }];
    let checkpoint = fake(&casts, &settings, SideId::Left).expect("a checkpoint");
    let convert = |mapping: &Mapping| {
        convert_arrays(mapping, &settings, &checkpoint, SideId::Left).expect("it converts")
    };
    let (expected, mut got) = (convert(&casts), convert(&wrong));
    let codes = Codes::of(&checkpoint);
    insta::assert_snapshot!("casts", conversion_text(&expected, &codes));
    let half = got.iter_mut().find(|(name, _)| name == "half.weight").expect("it is there");
    let bytes = half.1.bytes().expect("small").iter().rev().copied().collect();
    half.1 = Array::new(half.1.dtype(), half.1.shape(), bytes).expect("as many bytes");
    let said = explain(&casts, &settings, SideId::Right, &codes, &expected, &got).expect("sizes");
    insta::assert_snapshot!("casts_that_differ", said);
}

#[test]
#[should_panic(expected = "transformer.h.{layer}.attn.c_attn.bias, layer 1: q and k are swapped")]
fn an_assertion_fails_with_the_explanation() {
    let mut expected = convert_fake::<MegatronGpt2>(&config(), SideId::Left);
    let (_, bias) = expected
        .iter_mut()
        .find(|(name, _)| name == "transformer.h.1.attn.c_attn.bias")
        .expect("it is there");
    let mut bytes = bias.bytes().expect("small").into_owned();
    bytes[..2 * 20 * 4].rotate_left(20 * 4);
    *bias = Array::new(bias.dtype(), bias.shape(), bytes).expect("as many bytes");
    assert_converts_to::<MegatronGpt2>(&config(), SideId::Left, &expected);
}
