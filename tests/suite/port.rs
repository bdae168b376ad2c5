//! Mappings as types: generated code against what the command makes of the same checkpoints.

use transship::grammar::{Captures, SideId};
use transship::mappings::{MegatronGpt2, megatron_gpt2};
use transship::port::{Port, PortConfig, SideTree, Spec, convert_tree, load_tree, specs};
use transship::{Array, BindOptions, Checkpoint, ConvertOptions, DType, Setting, output};

use crate::oracle::{Tensors, assert_same_tensors, data, is_mask_buffer, read_tensors};

type Gpt2<T> = megatron_gpt2::Gpt2<T>;
type Megatron<T> = megatron_gpt2::Megatron<T>;

fn input(case: &str) -> Checkpoint {
    let folder = data("hf").join(case).join("input");
    let file = if case.starts_with("a_") { "megatron_tiny_v0_0.zip" } else { "model_optim_rng.pt" };
    Checkpoint::open(&folder.join(file)).expect("the checkpoint opens")
}

fn settings(case: &str) -> BindOptions {
    let set = |name: &str, value: &str| Setting { name: name.to_owned(), value: value.to_owned() };
    let settings =
        if case.starts_with("a_") { vec![set("vocab", "600"), set("heads", "4")] } else { Vec::new() };
    BindOptions { settings, ..BindOptions::default() }
}

fn as_tensors<S: SideTree<Array>>(tree: &S) -> Tensors {
    tree.parameters()
        .into_iter()
        .map(|(name, array)| {
            let shape = array.shape().iter().map(|n| usize::try_from(*n).expect("small")).collect();
            let dtype = array.dtype().name().to_ascii_uppercase();
            (name, (dtype, shape, array.bytes().expect("small").into_owned()))
        })
        .collect()
}

const CASES: [&str; 5] = [
    "a_ngc_v0_fp16_zip",
    "b_v1_fp32_args",
    "c_v2_bf16_odd_args_optimizer",
    "d_v3_fp16_encoder_padded_flat",
    "i_te_names_v3_bf16",
];

#[test]
fn the_other_side_is_loaded_without_a_file_between() {
    for case in CASES {
        let gpt2: Gpt2<Array> =
            load_tree(&input(case), &settings(case)).unwrap_or_else(|e| panic!("{case}: {e}"));
        let mut expected = read_tensors(&data("hf").join(case).join("expected/model.safetensors"));
        expected.retain(|name, _| !is_mask_buffer(name));
        assert_same_tensors(&expected, &as_tensors(&gpt2));
    }
}

#[test]
fn trees_convert_in_memory_and_back() {
    for case in CASES {
        let megatron: Megatron<Array> = load_tree(&input(case), &settings(case)).expect("its own side");
        let binding = settings(case);
        let mut config = megatron_gpt2::Config::from_values(&values(case, &binding)).expect("a config");
        config.legacy_buffers = false;
        let gpt2: Gpt2<Array> = convert_tree(&megatron, &config).unwrap_or_else(|e| panic!("{case}: {e}"));
        let mut expected = read_tensors(&data("hf").join(case).join("expected/model.safetensors"));
        expected.retain(|name, _| !is_mask_buffer(name));
        assert_same_tensors(&expected, &as_tensors(&gpt2));
        let back: Megatron<Array> = convert_tree(&gpt2, &config).unwrap_or_else(|e| panic!("{case}: {e}"));
        let mut original = as_tensors(&megatron);
        // Padding does not come back, by the rules.
        original.retain(|name, _| !(case.starts_with("a_") && name == "embedding.word_embeddings.weight"));
        let mut back = as_tensors(&back);
        back.retain(|name, _| !(case.starts_with("a_") && name == "embedding.word_embeddings.weight"));
        assert_same_tensors(&original, &back);
    }
}

fn values(case: &str, options: &BindOptions) -> impl Fn(&str) -> Option<transship::grammar::Value> {
    let checkpoint = input(case);
    let mapping = MegatronGpt2::mapping();
    let binding = transship::Binding::new(mapping, &checkpoint, SideId::Left, options).expect("it binds");
    let all: std::collections::HashMap<String, transship::grammar::Value> =
        binding.values().map(|(name, value, _)| (name.to_owned(), value.clone())).collect();
    move |name| all.get(name).cloned()
}

#[test]
fn generated_code_writes_the_same_bytes_as_the_command() {
    for case in CASES {
        let scratch = tempfile::tempdir().expect("a directory");
        let (by_code, by_command) = (scratch.path().join("code"), scratch.path().join("command"));
        let options = ConvertOptions { bind: settings(case), ..ConvertOptions::default() };
        let writing = output::Options { sync: false, ..output::Options::default() };
        MegatronGpt2::convert(&input(case), &by_code, &options, &writing).expect("it converts");

        let file = input(case).path().to_owned();
        let mut command: Vec<std::ffi::OsString> = vec![
            "transship".into(),
            "convert".into(),
            file.into(),
            by_command.clone().into(),
            "--quiet".into(),
        ];
        for set in &options.bind.settings {
            command.extend(["--set".into(), format!("{}={}", set.name, set.value).into()]);
        }
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let code = transship_cli::run(command, &mut out, &mut err, transship_cli::Terminal::default());
        assert_eq!(code, transship_cli::OK, "{}", String::from_utf8_lossy(&err));
        for file in ["model.safetensors", "config.json", "generation_config.json"] {
            let read = |d: &std::path::Path| std::fs::read(d.join(file)).expect("it was written");
            assert!(read(&by_code) == read(&by_command), "{case}: {file}");
        }
    }
}

#[test]
fn what_hugging_face_made_gives_back_the_megatron_parameters() {
    for case in CASES {
        let original: Megatron<Array> = load_tree(&input(case), &settings(case)).expect("its own side");
        // The order of QKV rows is not written in a Hugging Face config.
        let version = match case.as_bytes()[0] {
            b'a' => "0",
            b'b' => "1",
            b'c' => "2",
            _ => "3",
        };
        let version = Setting { name: "version".to_owned(), value: version.to_owned() };
        let options = BindOptions { settings: vec![version], ..BindOptions::default() };
        let expected = Checkpoint::open(&data("hf").join(case).join("expected")).expect("it opens");
        let back: Megatron<Array> = load_tree(&expected, &options).unwrap_or_else(|e| panic!("{case}: {e}"));
        let (mut original, mut back) = (as_tensors(&original), as_tensors(&back));
        if case.starts_with("a_") {
            // Rows of padding were left out, and come back as copies of the last one.
            let name = "embedding.word_embeddings.weight";
            let (padded, again) = (original.remove(name).expect("there"), back.remove(name).expect("there"));
            let (row, vocab) = (64 * 2, 600);
            assert_eq!(padded.2[..vocab * row], again.2[..vocab * row], "{case}");
            assert_eq!(again.2[639 * row..], padded.2[599 * row..600 * row], "{case}");
        }
        assert_same_tensors(&original, &back);
    }
}

#[test]
fn a_config_is_read_from_either_side_and_plans_without_a_checkpoint() {
    let case = "b_v1_fp32_args";
    let config = megatron_gpt2::Config::from_source(&input(case)).expect("a config");
    assert_eq!((config.layers, config.heads, config.head_dim, config.hidden), (2, 4, 12, 48));
    assert_eq!((config.activation.as_str(), config.vocab, config.original_vocab), ("gelu_new", 512, None));
    let json = serde_json::to_string(&config).expect("it serialises");
    assert_eq!(serde_json::from_str::<megatron_gpt2::Config>(&json).expect("and back"), config);
    let target = Checkpoint::open(&data("hf").join(case).join("expected")).expect("it opens");
    let from_target = megatron_gpt2::Config::from_target(&target).expect("a config");
    assert_eq!((from_target.layers, from_target.ffn, from_target.vocab), (2, 192, 512));
    let expected = read_tensors(&data("hf").join(case).join("expected/model.safetensors"));
    for spec in MegatronGpt2::plan(&config, SideId::Right).expect("it plans") {
        let shape: Vec<u64> = expected[&spec.name].1.iter().map(|n| *n as u64).collect();
        assert_eq!(spec.shape, Some(shape), "{}", spec.name);
    }
    let wrong = megatron_gpt2::Config { heads: 5, ..config };
    assert!(wrong.validate().is_err());
}

#[test]
fn fields_are_checked_by_the_compiler() {
    let gpt2: Gpt2<Array> = load_tree(&input(CASES[1]), &BindOptions::default()).expect("it loads");
    assert_eq!(gpt2.h.len(), 2);
    assert_eq!(gpt2.h[1].attn.c_attn.weight.shape(), [48, 144]);
    assert_eq!(gpt2.parameter("transformer.h.1.attn.c_attn.bias").expect("it is there").shape(), [144]);
}

/// A parameter that is renamed as it lies, and one that is laid out anew.
#[derive(transship::Port)]
#[port(inline = "mapping renamed : one <=> two
config { d e }
a.{layer}.w <=> b.{layer}.w
layer_norm.weight [d e] <=> norm.weight [e d]
config { layers }")]
struct Renamed;

#[test]
fn trees_hold_what_is_only_renamed_on_their_own_side_too() {
    let array = |n: u8| Array::new(transship::DType::U8, &[1, 2], vec![n, n + 1]).expect("two bytes");
    let named = [("a.0.w", 1), ("a.1.w", 3), ("layer_norm.weight", 5)];
    let arrays = named.map(|(name, n)| (name.to_owned(), array(n))).to_vec();
    let checkpoint = Checkpoint::in_memory("memory", arrays).expect("names differ");
    let own: renamed::One<Array> = load_tree(&checkpoint, &BindOptions::default()).expect("its own side");
    assert_eq!(own.a[1].w.bytes().expect("small").as_ref(), [3, 4]);
    let other: renamed::Two<Array> = load_tree(&checkpoint, &BindOptions::default()).expect("the other side");
    assert_eq!(other.b[1].w.bytes().expect("small").as_ref(), [3, 4]);
    assert_eq!(other.norm.weight.shape(), [2, 1]);
}

/// Loads both sides' trees from each side's parameters, and tells how many parameters each holds.
fn whole_trees<P: Port, L, R>(sides: &[SideId], settings: &[(&str, &str)])
where
    L: SideTree<Array, Port = P>,
    R: SideTree<Array, Port = P>,
{
    let set = |(name, value): &(&str, &str)| Setting { name: (*name).to_owned(), value: (*value).to_owned() };
    let options = BindOptions { settings: settings.iter().map(set).collect(), ..BindOptions::default() };
    for &side in sides {
        let all =
            specs(P::mapping(), &options.settings, side).unwrap_or_else(|e| panic!("{}: {e:?}", P::NAME));
        let root = P::mapping().side(side).roots[0].render(&Captures::default()).unwrap_or_default();
        let root = if root.is_empty() { root } else { format!("{root}.") };
        let count = all.len();
        let zeros = |spec: Spec| {
            let shape = spec.shape.expect("layouts have shapes");
            let bytes = usize::try_from(shape.iter().product::<u64>()).expect("small") * DType::F32.size();
            (
                format!("{root}{}", spec.name),
                Array::new(DType::F32, &shape, vec![0; bytes]).expect("the bytes fit"),
            )
        };
        let checkpoint =
            Checkpoint::in_memory("zeros", all.into_iter().map(zeros).collect()).expect("names differ");
        let loaded = |e: transship::port::PortError| -> usize { panic!("{} from {side:?}: {e}", P::NAME) };
        let left = load_tree::<L>(&checkpoint, &options).map_or_else(loaded, |tree| tree.parameters().len());
        let right = load_tree::<R>(&checkpoint, &options).map_or_else(loaded, |tree| tree.parameters().len());
        assert_eq!(if side == SideId::Left { left } else { right }, count, "{}", P::NAME);
    }
}

#[test]
fn every_shipped_type_holds_tied_and_untied_models() {
    use transship::mappings::*;
    let llama = [
        ("layers", "2"),
        ("heads", "4"),
        ("groups", "2"),
        ("head_dim", "2"),
        ("hidden", "8"),
        ("ffn", "6"),
        ("vocab", "10"),
        ("positions", "16"),
    ];
    for tied in ["true", "false"] {
        let llama = [&llama[..], &[("tied", tied)]].concat();
        // By its head, which a tied model lacks, the legacy Llama is told from the legacy GPT-2.
        let megatron = if tied == "true" { &[SideId::Right][..] } else { &SideId::BOTH };
        let mixtral = [&llama[..], &[("experts", "2")]].concat();
        whole_trees::<McoreLlama, mcore_llama::Mcore<Array>, mcore_llama::Llama<Array>>(
            &SideId::BOTH,
            &llama,
        );
        whole_trees::<MegatronLlama, megatron_llama::Megatron<Array>, megatron_llama::Llama<Array>>(
            megatron, &llama,
        );
        whole_trees::<McoreMixtral, mcore_mixtral::Mcore<Array>, mcore_mixtral::Mixtral<Array>>(
            &SideId::BOTH,
            &mixtral,
        );
    }
    let gpt2 = [
        ("layers", "2"),
        ("heads", "4"),
        ("hidden", "8"),
        ("ffn", "6"),
        ("vocab", "10"),
        ("positions", "16"),
    ];
    let bert = [&gpt2[..], &[("kinds", "2"), ("relation", "2")]].concat();
    whole_trees::<MegatronGpt2, megatron_gpt2::Megatron<Array>, megatron_gpt2::Gpt2<Array>>(
        &SideId::BOTH,
        &gpt2,
    );
    whole_trees::<McoreGpt2, mcore_gpt2::Mcore<Array>, mcore_gpt2::Gpt2<Array>>(&SideId::BOTH, &gpt2);
    // On Megatron's side the heads lie outside the parameters' root.
    whole_trees::<MegatronBert, megatron_bert::Megatron<Array>, megatron_bert::MegatronBert<Array>>(
        &[SideId::Right],
        &bert,
    );
}
