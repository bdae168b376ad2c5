//! Generated models against the logits of Megatron-LM's own models and of Hugging Face's.

use std::path::Path;

use transship::grammar::{Mapping, SideId, check};
use transship::mappings::{MODELS, load_model, megatron_bert};
use transship::nn::{CausalLm, DType, Device, LanguageModel, Result, Tensor};
use transship::{BaseConfig, BindOptions, Checkpoint, ConvertOptions, Setting, convert, output};

use crate::oracle::{data, read_tensors};

/// A checkpoint of the left side, and what its model answers.
struct Case {
    mapping: &'static str,
    folder: &'static str,
    input: &'static str,
    /// The target config to start from, for checkpoints that hold none.
    base: Option<&'static str>,
    logits: &'static str,
}

const fn hugging_face(folder: &'static str, input: &'static str, base: Option<&'static str>) -> Case {
    Case { mapping: "megatron_gpt2", folder, input, base, logits: "expected/expected_logits.safetensors" }
}

const fn megatron(mapping: &'static str, folder: &'static str) -> Case {
    Case { mapping, folder, input: "ckpt", base: None, logits: "logits.safetensors" }
}

const CASES: [Case; 25] = [
    hugging_face("hf/a_ngc_v0_fp16_zip", "input/megatron_tiny_v0_0.zip", Some("input/config_in.json")),
    hugging_face("hf/b_v1_fp32_args", "input/model_optim_rng.pt", None),
    hugging_face("hf/c_v2_bf16_odd_args_optimizer", "input/model_optim_rng.pt", None),
    hugging_face("hf/d_v3_fp16_encoder_padded_flat", "input/model_optim_rng.pt", None),
    hugging_face("hf/e_reshape_tp2", "input", None),
    hugging_face("hf/f_reshape_tp2_pp2", "input", None),
    hugging_face("hf/i_te_names_v3_bf16", "input/model_optim_rng.pt", None),
    Case {
        mapping: "megatron_bert",
        ..hugging_face(
            "hf/g_megatron_bert_v0_fp16_zip",
            "input/megatron_bert_tiny.zip",
            Some("input/config_in.json"),
        )
    },
    megatron("megatron_gpt2", "megatron/legacy-v0-gpt2-tp1"),
    megatron("megatron_gpt2", "megatron/legacy-v0-gpt2-tp2"),
    megatron("megatron_gpt2", "megatron/legacy-v1-gpt2-tp2"),
    megatron("megatron_gpt2", "megatron/legacy-v3-gpt2-fp16-optim-tp1"),
    megatron("megatron_gpt2", "megatron/legacy-v3-gpt2-pp2vpp2"),
    megatron("megatron_gpt2", "megatron/legacy-v3-gpt2-tp1pp1"),
    megatron("megatron_gpt2", "megatron/legacy-v3-gpt2-tp2pp2"),
    megatron("megatron_llama", "megatron/legacy-v3-llama-tp2"),
    megatron("mcore_gpt2", "megatron/mcore-gpt2-tp2-torch"),
    megatron("mcore_gpt2", "megatron/mcore-gpt2-tp2-torch_dist"),
    megatron("mcore_llama", "megatron/mcore-llama-distopt-bf16-tp1"),
    megatron("mcore_llama", "megatron/mcore-llama-main-tp2pp2-torch_dist"),
    megatron("mcore_llama", "megatron/mcore-llama-testandin-tp2"),
    megatron("mcore_llama", "megatron/mcore-llama-tp1-torch"),
    megatron("mcore_llama", "megatron/mcore-llama-tp2-torch"),
    megatron("mcore_mixtral", "megatron/mcore-mixtral-ep2-torch"),
    megatron("mcore_mixtral", "megatron/mcore-mixtral-ep2-torch_dist"),
];

impl Case {
    fn open(&self) -> Checkpoint {
        Checkpoint::open(&data(self.folder).join(self.input))
            .unwrap_or_else(|e| panic!("{}: {e}", self.folder))
    }

    fn bind(&self) -> BindOptions {
        let base = self.base.map(|base| BaseConfig::read(&data(self.folder).join(base)).expect("a config"));
        BindOptions { base, ..BindOptions::default() }
    }

    fn convert(&self, checkpoint: &Checkpoint, directory: &Path) -> Checkpoint {
        let mapping = shipped(self.mapping);
        let options = ConvertOptions { bind: self.bind(), ..ConvertOptions::default() };
        let writing = output::Options { threads: 2, sync: false, ..output::Options::default() };
        convert(&mapping, checkpoint, SideId::Left, directory, &options, &writing)
            .unwrap_or_else(|e| panic!("{}: {e}", self.folder));
        Checkpoint::open(directory).unwrap_or_else(|e| panic!("{}: {e}", self.folder))
    }

    fn load(&self, checkpoint: &Checkpoint, bind: &BindOptions, dtype: DType) -> LanguageModel {
        load_model(self.mapping, checkpoint, bind, &Device::Cpu, dtype)
            .unwrap_or_else(|e| panic!("{}: {e}", self.folder))
    }

    /// Tokens `[1 seq]` and the reference's logits `[1 seq vocab]`, padding of the vocabulary included.
    fn expected(&self) -> (Tensor, Tensor) {
        let all = read_tensors(&data(self.folder).join(self.logits));
        let tensor = |names: &[&str], dtype| {
            let (_, shape, bytes) = names.iter().find_map(|name| all.get(*name)).expect("it is there");
            Tensor::from_raw_buffer(bytes, dtype, shape, &Device::Cpu).expect("a tensor")
        };
        let ids = tensor(&["tokens", "input_ids"], DType::I64).to_dtype(DType::U32).expect("few tokens");
        (ids, tensor(&["logits"], DType::F32))
    }
}

fn shipped(name: &str) -> Mapping {
    let shipped = transship_mappings::shipped(name).expect("shipped");
    check(&shipped.source()).expect("the shipped mapping checks").0
}

/// Both in f32, without what only one has of padding.
fn common(a: &Tensor, b: &Tensor) -> Result<[Vec<f32>; 2]> {
    assert_eq!(a.dims()[..2], b.dims()[..2]);
    let width = a.dim(2)?.min(b.dim(2)?);
    let read = |x: &Tensor| x.narrow(2, 0, width)?.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>();
    Ok([read(a)?, read(b)?])
}

fn largest_difference(a: &Tensor, b: &Tensor) -> Result<f32> {
    let [a, b] = common(a, b)?;
    assert!(a.iter().chain(&b).all(|x| x.is_finite()));
    Ok(a.iter().zip(&b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max))
}

/// The length of the difference against that of the second.
fn relative_difference(a: &Tensor, b: &Tensor) -> Result<f32> {
    let [a, b] = common(a, b)?;
    let length = |x: &mut dyn Iterator<Item = f32>| x.map(|x| x * x).sum::<f32>().sqrt();
    Ok(length(&mut a.iter().zip(&b).map(|(a, b)| a - b)) / length(&mut b.iter().copied()))
}

/// Logits of a prompt, then of each token by itself, as [`CausalLm::forward`] and [`CausalLm::forward_last`] give them.
fn stepwise(model: &mut dyn CausalLm, ids: &Tensor, prompt: usize) -> Result<Tensor> {
    model.clear_kv_cache();
    let mut all = vec![model.forward(&ids.narrow(1, 0, prompt)?, 0)?];
    for at in prompt..ids.dim(1)? {
        let id = ids.narrow(1, at, 1)?;
        all.push(if at % 2 == 0 { model.forward(&id, at)? } else { model.forward_last(&id, at)? });
    }
    Tensor::cat(&all, 1)
}

#[test]
fn logits_are_those_of_the_reference_from_either_file() -> Result<()> {
    for case in &CASES {
        let (ids, expected) = case.expected();
        let own = case.open();
        let directory = tempfile::tempdir().expect("a directory");
        let converted = case.convert(&own, directory.path());
        for (checkpoint, bind) in [(&own, case.bind()), (&converted, BindOptions::default())] {
            let mut model = case.load(checkpoint, &bind, DType::F32);
            let logits = model.logits(&ids)?;
            let difference = largest_difference(&logits, &expected)?;
            assert!(difference < 1e-4, "{} ({}): {difference}", case.folder, checkpoint.file());
            assert_eq!(logits.dim(2)?, model.vocab());
            if let LanguageModel::Causal(model) = &mut model {
                let steps = stepwise(&mut **model, &ids, 5)?;
                let difference = largest_difference(&steps, &logits)?;
                assert!(difference < 1e-5, "{}: steps differ by {difference}", case.folder);
            }
        }
    }
    Ok(())
}

/// What is written for Megatron-Core has either names of norms, and one model reads both.
#[test]
fn logits_are_the_same_whosever_layers_the_names_are_of() -> Result<()> {
    let cases = [
        megatron("mcore_gpt2", "megatron/mcore-gpt2-tp2-torch"),
        megatron("mcore_llama", "megatron/mcore-llama-tp2-torch"),
        megatron("mcore_mixtral", "megatron/mcore-mixtral-ep2-torch"),
    ];
    for case in cases {
        let mapping = case.mapping;
        let (ids, expected) = case.expected();
        let directory = tempfile::tempdir().expect("a directory");
        let hugging_face = case.convert(&case.open(), directory.path());
        for (implementation, norm) in
            [("transformer_engine", "linear_qkv.layer_norm_weight"), ("local", ".input_layernorm.weight")]
        {
            let set = Setting { name: "impl".to_owned(), value: implementation.to_owned() };
            let ranks = vec![("tp".to_owned(), 2), ("pp".to_owned(), 2)];
            let bind = BindOptions { settings: vec![set], ranks, ..BindOptions::default() };
            let options = ConvertOptions { bind, ..ConvertOptions::default() };
            let writing = output::Options { threads: 2, sync: false, ..output::Options::default() };
            let directory = tempfile::tempdir().expect("a directory");
            convert(&shipped(mapping), &hugging_face, SideId::Right, directory.path(), &options, &writing)
                .unwrap_or_else(|e| panic!("{mapping}: {e}"));
            let written = Checkpoint::open(directory.path()).unwrap_or_else(|e| panic!("{mapping}: {e}"));
            assert!(written.tensors().iter().any(|t| t.name.ends_with(norm)), "{mapping} {implementation}");
            let mut model = case.load(&written, &BindOptions::default(), DType::F32);
            let difference = largest_difference(&model.logits(&ids)?, &expected)?;
            assert!(difference < 1e-4, "{mapping} of {implementation}: {difference}");
        }
    }
    Ok(())
}

#[test]
fn models_saved_in_bf16_run_in_bf16() -> Result<()> {
    let folders = ["hf/c_v2", "hf/f_reshape", "hf/i_te", "megatron/mcore-llama-distopt-bf16"];
    let cases: Vec<&Case> =
        CASES.iter().filter(|c| folders.iter().any(|folder| c.folder.starts_with(folder))).collect();
    assert_eq!(cases.len(), folders.len());
    for case in cases {
        let (ids, expected) = case.expected();
        let mut model = case.load(&case.open(), &case.bind(), DType::BF16);
        let logits = model.logits(&ids)?;
        assert_eq!(logits.dtype(), DType::BF16);
        let difference = relative_difference(&logits, &expected)?;
        assert!(difference < 2e-2, "{}: {difference}", case.folder);
    }
    Ok(())
}

/// A checkpoint for each mapping, split over ranks where there is one.
const SEVERAL: [&str; 6] = [
    "hf/g_megatron_bert_v0_fp16_zip",
    "megatron/legacy-v3-gpt2-tp2pp2",
    "megatron/legacy-v3-llama-tp2",
    "megatron/mcore-gpt2-tp2-torch",
    "megatron/mcore-llama-main-tp2pp2-torch_dist",
    "megatron/mcore-mixtral-ep2-torch",
];

/// Both halves of a case's text as `[2 seq]`.
fn halves(ids: &Tensor) -> Result<Tensor> {
    let (half, seq) = (ids.dim(1)? / 2, ids.dim(1)?);
    Tensor::cat(&[ids.narrow(1, 0, half)?, ids.narrow(1, seq - half, half)?], 0)
}

#[test]
fn several_texts_go_through_at_once() -> Result<()> {
    for name in MODELS {
        let of = |folder: &str| CASES.iter().any(|c| c.folder == folder && c.mapping == *name);
        assert_eq!(SEVERAL.iter().filter(|folder| of(folder)).count(), 1, "{name}");
    }
    for case in CASES.iter().filter(|case| SEVERAL.contains(&case.folder)) {
        let ids = halves(&case.expected().0)?;
        let mut model = case.load(&case.open(), &case.bind(), DType::F32);
        let both = model.logits(&ids)?;
        for at in 0..2 {
            let alone = model.logits(&ids.narrow(0, at, 1)?)?;
            let difference = largest_difference(&both.narrow(0, at, 1)?, &alone)?;
            assert!(difference < 2e-5, "{}: {difference}", case.folder);
        }
        if let LanguageModel::Causal(model) = &mut model {
            let steps = stepwise(&mut **model, &ids, 3)?;
            let difference = largest_difference(&steps, &both)?;
            assert!(difference < 2e-5, "{}: steps differ by {difference}", case.folder);
        }
    }
    Ok(())
}

// Saved in bf16, so that the weights are the same in both.
#[test]
fn several_texts_go_stepwise_in_bf16() -> Result<()> {
    let case = CASES.iter().find(|c| c.folder == "megatron/mcore-llama-distopt-bf16-tp1").expect("a case");
    let ids = halves(&case.expected().0)?;
    let expected = case.load(&case.open(), &case.bind(), DType::F32).logits(&ids)?;
    let LanguageModel::Causal(mut model) = case.load(&case.open(), &case.bind(), DType::BF16) else {
        panic!("Llama sees what came before alone");
    };
    let steps = stepwise(&mut *model, &ids, 3)?;
    assert_eq!(steps.dtype(), DType::BF16);
    let difference = relative_difference(&steps, &expected)?;
    assert!(difference < 2e-2, "{difference}");
    Ok(())
}

#[test]
fn whether_a_sentence_follows_is_what_the_reference_says() -> Result<()> {
    use megatron_bert::next_sentence_model::NextSentence;
    let case = CASES.iter().find(|case| case.mapping == "megatron_bert").expect("a case");
    let (ids, _) = case.expected();
    let all = read_tensors(&data(case.folder).join(case.logits));
    let (_, shape, bytes) = &all["seq_relationship_logits"];
    let expected = Tensor::from_raw_buffer(bytes, DType::F32, shape, &Device::Cpu)?;
    assert_eq!(expected.dims(), [1, 2]);
    let own = case.open();
    let directory = tempfile::tempdir().expect("a directory");
    let converted = case.convert(&own, directory.path());
    for (checkpoint, bind) in [(&own, case.bind()), (&converted, BindOptions::default())] {
        let model = NextSentence::load(checkpoint, &bind, &Device::Cpu, DType::F32)
            .unwrap_or_else(|e| panic!("{}: {e}", checkpoint.file()));
        let logits = model.forward(&ids, None, None)?;
        assert_eq!(logits.dims(), expected.dims());
        let difference = (logits - &expected)?.abs()?.max_all()?.to_scalar::<f32>()?;
        assert!(difference < 1e-4, "{}: {difference}", checkpoint.file());
    }
    Ok(())
}

#[test]
fn masked_tokens_count_for_nothing() -> Result<()> {
    let case = CASES.iter().find(|case| case.mapping == "megatron_bert").expect("a case");
    let (ids, _) = case.expected();
    let LanguageModel::Masked(model) = case.load(&case.open(), &case.bind(), DType::F32) else {
        panic!("BERT sees tokens on both sides");
    };
    let (seq, seen) = (ids.dim(1)?, 7);
    let mask: Vec<u32> = (0..seq).map(|at| u32::from(at < seen)).collect();
    let mask = Tensor::new(mask.as_slice(), &Device::Cpu)?.unsqueeze(0)?;
    let masked = model.forward(&ids, None, Some(&mask))?.narrow(1, 0, seen)?;
    let alone = model.forward(&ids.narrow(1, 0, seen)?, None, None)?;
    assert!(largest_difference(&masked, &alone)? < 2e-5);
    let second = model.forward(&ids, Some(&ids.ones_like()?), None)?;
    let first = model.forward(&ids, Some(&ids.zeros_like()?), None)?;
    assert!(largest_difference(&first, &model.forward(&ids, None, None)?)? < 1e-6);
    assert!(largest_difference(&second, &first)? > 1e-3, "types of tokens matter");
    Ok(())
}

#[test]
fn every_shipped_model_has_a_case() {
    for name in MODELS {
        assert!(CASES.iter().any(|case| case.mapping == *name), "{name}");
        assert!(!shipped(name).models.is_empty());
    }
}

#[test]
fn what_cannot_be_loaded_is_told() {
    let case = &CASES[1];
    let load = |mapping: &str, dtype| {
        let error = load_model(mapping, &case.open(), &BindOptions::default(), &Device::Cpu, dtype).err();
        error.expect("it cannot be loaded").to_string()
    };
    let unknown = load("megatron_gpt3", DType::F32);
    assert!(unknown.contains("no model for the mapping `megatron_gpt3`; those with one are megatron_gpt2"));
    assert!(load("mcore_mixtral", DType::F32).contains("is of neither side of the mapping `mcore_mixtral`"));
    assert!(load("megatron_gpt2", DType::U8).contains("a model does not run in u8"));
}
