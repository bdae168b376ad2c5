//! Ports under test: against real checkpoints, and as snapshots that need none.

use std::path::{Path, PathBuf};

use downstream::model::Gpt2;
use downstream::{
    Example, MegatronGpt2, convert_gpt2, example, expert_elements, load_gpt2, megatron_gpt2, to_megatron,
};
use transship::grammar::SideId;
use transship::port::{Port, PortConfig, RootModel, SideTree, convert_tree, load_tree};
use transship::testing::{convert_fake, fake_checkpoint};
use transship::{Array, BindOptions, Checkpoint, assert_port_snapshot};

fn case() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/hf/b_v1_fp32_args")
}

fn assert_same(expected: &[(String, &Array)], got: &[(String, &Array)]) {
    assert_eq!(expected.len(), got.len());
    for ((name, a), (other, b)) in expected.iter().zip(got) {
        assert_eq!((name, a.dtype(), a.shape()), (other, b.dtype(), b.shape()));
        assert!(a.bytes().expect("small") == b.bytes().expect("small"), "{name}");
    }
}

#[test]
fn a_megatron_checkpoint_becomes_a_hugging_face_model_and_comes_back() {
    let file = case().join("input/model_optim_rng.pt");
    let gpt2 = load_gpt2(&file).expect("it loads");
    assert_eq!((gpt2.config.layers, gpt2.config.hidden), (2, 48));
    assert_eq!(gpt2.parameters.h[1].attn.c_attn.weight.shape(), [48, 144]);

    // What Hugging Face's own script made of the same file.
    let reference = Checkpoint::open(&case().join("expected")).expect("it opens");
    let expected: megatron_gpt2::Gpt2<Array> =
        load_tree(&reference, &BindOptions::default()).expect("it loads");
    assert_same(&expected.parameters(), &gpt2.parameters.parameters());

    let checkpoint = Checkpoint::open(&file).expect("it opens");
    let original: megatron_gpt2::Megatron<Array> =
        load_tree(&checkpoint, &BindOptions::default()).expect("it loads");
    let back = to_megatron(&gpt2).expect("it converts");
    assert_same(&original.parameters(), &back.parameters());
}

#[test]
fn a_directory_is_written_that_loads_as_the_same_model() {
    let file = case().join("input/model_optim_rng.pt");
    let directory = tempfile::tempdir().expect("a directory");
    convert_gpt2(&Checkpoint::open(&file).expect("it opens"), directory.path()).expect("it converts");
    let written = Checkpoint::open(directory.path()).expect("it opens");
    let written: megatron_gpt2::Gpt2<Array> = load_tree(&written, &BindOptions::default()).expect("it loads");
    assert_same(&load_gpt2(&file).expect("it loads").parameters.parameters(), &written.parameters());
}

fn small() -> example::Config {
    example::Config { layers: 2, hidden: 4, ffn: 5, experts: 3, vocab: 7 }
}

#[test]
fn experts_are_stacked_and_taken_apart_again() {
    let trainer = fake_checkpoint::<Example>(&small(), SideId::Left);
    let options = BindOptions { settings: small().settings(), ..BindOptions::default() };
    let trainer: example::Trainer<Array> = {
        let leaves = trainer.tensors().iter().map(|t| (t.name.clone(), trainer.array(t)));
        SideTree::from_leaves(leaves).expect("all parameters are there")
    };
    let stacked: example::Stacked<Array> = convert_tree(&trainer, &small()).expect("it converts");
    assert_eq!(stacked.layers[1].experts.up.weight.shape(), [3, 4, 5]);
    assert_eq!(expert_elements(&stacked), [180, 180]);
    let back: example::Trainer<Array> = convert_tree(&stacked, &small()).expect("it converts");
    assert_same(&trainer.parameters(), &back.parameters());

    // The same out of a checkpoint, as `load_tree` reads one side's parameters from the other side's file.
    let arrays = convert_fake::<Example>(&small(), SideId::Left);
    let checkpoint = Checkpoint::in_memory("stacked", arrays).expect("a checkpoint");
    let loaded: example::Trainer<Array> = load_tree(&checkpoint, &options).expect("it loads");
    assert_same(&trainer.parameters(), &loaded.parameters());
}

#[test]
fn what_is_known_of_a_port_without_a_checkpoint() {
    assert_eq!((Example::NAME, Example::SIDES), ("example", ["trainer", "stacked"]));
    let specs = Example::plan(&small(), SideId::Right).expect("the sizes are all known");
    let gate = specs.iter().find(|s| s.name == "model.layers.1.experts.gate.weight").expect("it is there");
    assert_eq!(gate.shape.as_deref(), Some([3, 4, 5].as_slice()));
    assert_eq!(example::STACKED_PARAMETERS[0].layout, "[vocab hidden]");
}

#[test]
fn the_example_stays_what_it_is() {
    assert_port_snapshot!("to_stacked", Example, small(), SideId::Left);
    assert_port_snapshot!("to_trainer", Example, small(), SideId::Right);
}

#[test]
fn the_shipped_port_stays_what_it_is() {
    let gpt2 = load_gpt2(&case().join("input/model_optim_rng.pt")).expect("it loads");
    let small =
        megatron_gpt2::Config { hidden: 8, head_dim: 2, ffn: 5, positions: 6, vocab: 7, ..gpt2.config };
    assert_port_snapshot!(MegatronGpt2, small, SideId::Left);
}

#[test]
fn a_model_is_filled_straight_from_the_megatron_file() {
    let load = |path: &Path| {
        let checkpoint = Checkpoint::open(path).expect("it opens");
        Gpt2::load(&checkpoint, &BindOptions::default()).expect("it loads")
    };
    let from_megatron = load(&case().join("input/model_optim_rng.pt"));
    let from_hugging_face = load(&case().join("expected"));
    assert_eq!(from_megatron.blocks.len(), 2);
    assert_eq!(from_megatron.blocks[1].qkv.weight, from_hugging_face.blocks[1].qkv.weight);
    assert_eq!(from_megatron.blocks[0].down.bias, from_hugging_face.blocks[0].down.bias);
    assert_eq!(from_megatron.embed(3, 5), from_hugging_face.embed(3, 5));
    assert!(from_megatron.cache.is_empty());
}
