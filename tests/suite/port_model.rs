//! Models of one's own: structs with fields that a derive fills from either side's file.

use transship::grammar::SideId;
use transship::mappings::megatron_gpt2::Config;
use transship::port::{FromParameter, PortConfig, PortError, RootModel, StoredParameter};
use transship::{Array, BindOptions, Checkpoint, ConvertOptions, Port, Setting, output};

use crate::oracle::{Tensors, assert_same_tensors, data, is_mask_buffer, read_json, read_tensors};

/// A shape that is used in many places: its parents check it.
#[derive(Debug, Port)]
struct Affine {
    weight: Array,
    bias: Array,
}

#[derive(Debug, Port)]
struct Attention {
    c_attn: Affine,
    c_proj: Affine,
    #[port(skip)]
    calls: usize,
}

#[derive(Debug, Port)]
#[port(shipped = "megatron_gpt2", side = gpt2, scope = "transformer.h.{layer}")]
struct Block {
    ln_1: Affine,
    attn: Attention,
    ln_2: Affine,
    #[port("mlp.c_fc")]
    up: Affine,
    #[port("mlp.c_proj")]
    down: Affine,
}

#[derive(Debug, Port)]
struct Ends {
    #[port("transformer.wpe.weight")]
    positions: Array,
    #[port("transformer.ln_f")]
    norm: Affine,
}

#[derive(Debug, Port)]
#[port(shipped = "megatron_gpt2", side = gpt2)]
struct Gpt2 {
    #[port("transformer.wte.weight")]
    tokens: Array,
    #[port("transformer.h.{layer}")]
    blocks: Vec<Block>,
    #[port(flatten)]
    ends: Ends,
}

fn open(path: &str) -> Checkpoint {
    Checkpoint::open(&data("hf").join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

fn as_tensors(model: &impl Parameters) -> Tensors {
    let read = |(name, array): (String, Array)| {
        let shape = array.shape().iter().map(|n| usize::try_from(*n).expect("small")).collect();
        let dtype = array.dtype().name().to_ascii_uppercase();
        (name, (dtype, shape, array.bytes().expect("small").into_owned()))
    };
    model.all().into_iter().map(read).collect()
}

trait Parameters {
    fn all(&self) -> Vec<(String, Array)>;
}

impl<M: RootModel + transship::port::SaveModel> Parameters for M {
    fn all(&self) -> Vec<(String, Array)> {
        self.parameters().expect("arrays are given back")
    }
}

const CASES: [&str; 2] = ["b_v1_fp32_args", "d_v3_fp16_encoder_padded_flat"];

#[test]
fn a_model_is_filled_from_either_sides_file() {
    for case in CASES {
        let megatron = open(&format!("{case}/input/model_optim_rng.pt"));
        let hugging_face = open(&format!("{case}/expected"));
        let options = BindOptions::default();
        let one = Gpt2::load(&megatron, &options).unwrap_or_else(|e| panic!("{case}: {e}"));
        let other = Gpt2::load(&hugging_face, &options).unwrap_or_else(|e| panic!("{case}: {e}"));
        let mut expected = read_tensors(&data("hf").join(case).join("expected/model.safetensors"));
        expected.retain(|name, _| !is_mask_buffer(name));
        assert_same_tensors(&expected, &as_tensors(&one));
        let mut own = as_tensors(&other);
        own.retain(|name, _| !is_mask_buffer(name));
        assert_same_tensors(&expected, &own);
        assert_eq!(one.blocks.len(), other.blocks.len());
        assert_eq!(one.blocks[0].attn.calls, 0);
        assert_eq!(one.tokens.shape()[1], one.ends.norm.weight.shape()[0]);
        assert_eq!(one.blocks[1].up.weight.shape(), [48, 192]);
        assert_eq!((one.ends.positions.shape().len(), one.blocks[1].down.bias.shape()), (2, &[48][..]));
        assert_eq!(one.blocks[1].ln_1.weight.shape(), one.blocks[1].ln_2.weight.shape());
        assert_eq!(
            one.blocks[0].attn.c_attn.weight.shape()[1],
            3 * one.blocks[0].attn.c_proj.bias.shape()[0]
        );
    }
}

fn set(settings: &[(&str, &str)]) -> ConvertOptions {
    let settings =
        settings.iter().map(|(name, value)| Setting { name: (*name).to_owned(), value: (*value).to_owned() });
    ConvertOptions {
        bind: BindOptions { settings: settings.collect(), ..BindOptions::default() },
        ..ConvertOptions::default()
    }
}

#[test]
fn a_model_is_saved_as_its_own_side() {
    let writing = output::Options { sync: false, ..output::Options::default() };
    for case in CASES {
        let checkpoint = open(&format!("{case}/input/model_optim_rng.pt"));
        let model = Gpt2::load(&checkpoint, &BindOptions::default()).expect("it loads");
        let config = Config::from_source(&checkpoint).expect("a config");
        let settings = config.settings();
        let options = ConvertOptions {
            bind: BindOptions { settings, ..BindOptions::default() },
            ..ConvertOptions::default()
        };
        let directory = tempfile::tempdir().expect("a directory");
        model
            .save(SideId::Right, directory.path(), &options, &writing)
            .unwrap_or_else(|e| panic!("{case}: {e}"));
        let mut expected = read_tensors(&data("hf").join(case).join("expected/model.safetensors"));
        expected.retain(|name, _| !is_mask_buffer(name));
        assert_same_tensors(&expected, &read_tensors(&directory.path().join("model.safetensors")));
        let read = |directory: &std::path::Path| read_json(&directory.join("config.json"));
        let expected = read(&data("hf").join(case).join("expected"));
        assert_eq!(read(directory.path())["n_head"], expected["n_head"]);
        assert_eq!(read(directory.path())["activation_function"], expected["activation_function"]);
    }
}

#[test]
fn a_model_is_saved_as_the_torch_file_of_its_other_side() {
    let checkpoint = open("b_v1_fp32_args/input/model_optim_rng.pt");
    let model = Gpt2::load(&checkpoint, &BindOptions::default()).expect("it loads");
    let directory = tempfile::tempdir().expect("a directory");
    let out = directory.path().join("out");
    model
        .save(SideId::Left, &out, &set(&[("heads", "4")]), &output::Options::default())
        .unwrap_or_else(|error| panic!("{error}"));
    let saved = Checkpoint::open(&out).expect("it opens");
    for tensor in saved.tensors() {
        let original = checkpoint.tensors().iter().find(|t| {
            t.shape == tensor.shape && {
                let bytes = |c: &Checkpoint, t| c.array(t).bytes().expect("bytes").into_owned();
                bytes(&checkpoint, t) == bytes(&saved, tensor)
            }
        });
        assert!(original.is_some() || tensor.name.contains("query_key_value"), "{}", tensor.name);
    }
}

/// A leaf of the user's own, which can be loaded but not saved.
#[derive(Debug)]
struct Bytes(usize);

impl FromParameter for Bytes {
    fn from_parameter(
        parameter: StoredParameter<'_>,
    ) -> Result<Bytes, Box<dyn std::error::Error + Send + Sync>> {
        if parameter.name().ends_with("wpe.weight") {
            return Err("no positions, please".into());
        }
        Ok(Bytes(parameter.array().bytes()?.len()))
    }
}

#[derive(Debug, Port)]
#[port(shipped = "megatron_gpt2", side = "megatron", partial)]
struct Sizes {
    #[port("embedding.word_embeddings.weight")]
    tokens: Bytes,
    encoder: LayersOfSizes,
}

#[derive(Debug, Port)]
#[port(partial)]
struct LayersOfSizes {
    layers: Vec<LayerSizes>,
}

#[derive(Debug, Port)]
#[port(partial, rename_all = "snake_case")]
struct LayerSizes {
    #[port("mlp.dense_h_to_4h.bias")]
    up: Bytes,
}

#[test]
fn leaves_can_be_types_of_ones_own() {
    for file in ["input/model_optim_rng.pt", "expected"] {
        let checkpoint = open(&format!("b_v1_fp32_args/{file}"));
        let sizes =
            Sizes::load(&checkpoint, &BindOptions::default()).unwrap_or_else(|e| panic!("{file}: {e}"));
        assert_eq!(sizes.tokens.0, 512 * 48 * 4);
        let ups: Vec<usize> = sizes.encoder.layers.iter().map(|layer| layer.up.0).collect();
        assert_eq!(ups, [192 * 4; 2]);
    }
}

#[derive(Debug, Port)]
#[port(shipped = "megatron_gpt2", side = gpt2, partial)]
struct Positions {
    #[port("transformer.wpe.weight")]
    _refused: Bytes,
}

#[test]
fn a_leaf_that_refuses_is_named() {
    let checkpoint = open("b_v1_fp32_args/expected");
    let error = Positions::load(&checkpoint, &BindOptions::default()).expect_err("it refuses");
    assert_eq!(error.to_string(), "the parameter `transformer.wpe.weight`: no positions, please");
    assert!(matches!(error, PortError::Parameter { .. }));
}
