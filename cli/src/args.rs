//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use transship::{DType, Iteration, Setting};

use crate::size::parse_size;

/// Port model checkpoints between frameworks by a declarative mapping.
#[derive(Debug, Parser)]
#[command(name = "transship", version, arg_required_else_help = true, after_help = EXIT_CODES)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXIT_CODES: &str = "\
Exit codes: 0 all is well; 1 a mapping, a checkpoint or the disk has a problem; 2 the command line is wrong;
141 what reads the result went away.
Results go to standard output, messages to standard error.";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Convert(Convert),
    Plan(Plan),
    Verify(Verify),
    Run(Run),
    Inspect(Inspect),
    Check(Check),
    Fmt(Fmt),
    Expand(Expand),
    Explain(Explain),
    Mappings(Mappings),
}

/// Which checkpoint is meant, where the input holds several.
#[derive(Debug, Args)]
pub(crate) struct Choice {
    /// The member of a zip archive to read, where it holds several checkpoints
    #[arg(long, value_name = "NAME")]
    pub(crate) member: Option<String>,

    /// The iteration to read of a Megatron directory that holds several, or `release`; the latest if not given
    #[arg(long, value_name = "N")]
    pub(crate) iteration: Option<Iteration>,
}

/// Numbers of ranks along one axis.
fn rank_count() -> clap::builder::RangedU64ValueParser {
    clap::value_parser!(u64).range(1..=4096)
}

/// What is converted, and how.
#[derive(Debug, Args)]
pub(crate) struct Conversion {
    /// The checkpoint: a .pt file, a .zip that holds one, a Megatron directory, a .safetensors file, or a
    /// Hugging Face directory
    pub(crate) input: PathBuf,

    /// The path of a mapping file (`./NAME`, or ending in `.mapping`), or the name of a shipped mapping; chosen by what
    /// the input holds if not given
    #[arg(long, value_name = "FILE|NAME")]
    pub(crate) mapping: Option<String>,

    /// The side the input is of; told by its names if not given
    #[arg(long, value_name = "SIDE")]
    pub(crate) from: Option<String>,

    #[command(flatten)]
    pub(crate) choice: Choice,

    /// A config of the target to start from, such as the config.json of a similar model
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// Sets a config value of the mapping; wins over everything else
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_setting)]
    pub(crate) set: Vec<Setting>,

    /// Tensor-parallel ranks to split the output over
    #[arg(long, value_name = "N", default_value_t = 1, hide_default_value = true, value_parser = rank_count(), aliases = ["tensor-parallel", "tensor-parallel-size", "tensor-model-parallel-size", "target-tensor-parallel-size"])]
    pub(crate) tp: u64,

    /// Pipeline-parallel ranks to split the output over; as many as --pp-layers gives if not given
    #[arg(long, value_name = "N", value_parser = rank_count(), aliases = ["pipeline-parallel", "pipeline-parallel-size", "pipeline-model-parallel-size", "target-pipeline-parallel-size"])]
    pub(crate) pp: Option<u64>,

    /// Layers of each pipeline stage, such as 3,2,2,1; the same for all if not given. With --vpp those of each virtual
    /// stage in the order of the model: the first of every rank, then the second
    #[arg(long, value_name = "N,N,…", value_delimiter = ',')]
    pub(crate) pp_layers: Vec<u64>,

    /// Virtual stages on each pipeline-parallel rank of the output
    #[arg(long, value_name = "N", default_value_t = 1, hide_default_value = true, value_parser = rank_count(), aliases = ["virtual-pipeline-parallel", "virtual-pipeline-model-parallel-size", "num-virtual-stages-per-pipeline-rank"])]
    pub(crate) vpp: u64,

    /// Expert-parallel ranks to split the output over
    #[arg(long, value_name = "N", default_value_t = 1, hide_default_value = true, value_parser = rank_count(), aliases = ["expert-parallel", "expert-parallel-size", "expert-model-parallel-size", "target-expert-parallel-size"])]
    pub(crate) ep: u64,

    /// The side to convert to; the other one if not given. The input's own side splits it over other ranks
    #[arg(long, value_name = "SIDE")]
    pub(crate) to: Option<String>,

    /// The dtype parameters are written in: f32, f16, bf16, …; their own if not given
    #[arg(long, value_name = "DTYPE", value_parser = parse_dtype)]
    pub(crate) dtype: Option<DType>,

    /// The most bytes of tensors in one file
    #[arg(long, value_name = "SIZE", default_value = "5GB", value_parser = parse_size)]
    pub(crate) max_shard_size: u64,
}

/// Convert a checkpoint to the other side of a mapping.
#[derive(Debug, Args)]
#[command(after_help = CONVERT_EXAMPLES)]
pub(crate) struct Convert {
    #[command(flatten)]
    pub(crate) conversion: Conversion,

    /// The directory to write; named after input and target side if not given
    pub(crate) output: Option<PathBuf>,

    /// A directory whose tokenizer files are carried over
    #[arg(long, value_name = "DIR")]
    pub(crate) tokenizer: Option<PathBuf>,

    /// Threads that copy; one per core if not given
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true, value_parser = parse_threads)]
    pub(crate) threads: usize,

    /// Replace files of an earlier output
    #[arg(long)]
    pub(crate) force: bool,

    /// Do not wait until the output is on the disk; faster, but a power failure can lose it
    #[arg(long)]
    pub(crate) no_sync: bool,

    /// Say nothing but errors
    #[arg(long, short)]
    pub(crate) quiet: bool,

    /// How the result is told
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(crate) format: Format,
}

const CONVERT_EXAMPLES: &str = "\
Examples:
  transship convert model_optim_rng.pt gpt2-hf
  transship convert megatron_lm_345m_v0.0.zip gpt2-345m --tokenizer gpt2-tokenizer
  transship convert checkpoints/ out --set vocab=50257 --dtype f16
  transship convert gpt2-hf out --to megatron --tp 2 --pp 2 --set divisor=128
  transship convert megatron-tp8/ megatron-tp2 --to megatron --tp 2
  transship convert llama-hf out --to mcore --tp 2 --pp-layers 7,9,9,7
  transship convert my.pt out --mapping my.mapping --config config.json";

/// Show what a conversion would do: each target, its sources, what is done to them, and all files.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  transship plan model_optim_rng.pt
  transship plan model_optim_rng.pt --format json | jq '.files'")]
pub(crate) struct Plan {
    #[command(flatten)]
    pub(crate) conversion: Conversion,

    /// How the plan is shown
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(crate) format: Format,
}

/// Prove that a checkpoint is what another one becomes: compare two under a mapping, parameter by parameter.
///
/// The two can be of different sides of the mapping, or of one side and split over other ranks. Elements of INPUT are
/// cast to OUTPUT's dtype, as a conversion casts them, and must then be the same to the bit, or within --atol and
/// --rtol. Padding rows do not count. Some elements of each tensor are then looked up a second time, in a way that shares
/// no code with conversions.
#[derive(Debug, Args)]
#[command(after_help = VERIFY_EXAMPLES)]
pub(crate) struct Verify {
    /// The checkpoint that was converted: a .pt file, a .zip that holds one, a Megatron directory, a .safetensors
    /// file, or a Hugging Face directory
    pub(crate) input: PathBuf,

    /// The checkpoint it was converted to, in any of these forms
    pub(crate) output: PathBuf,

    /// The path of a mapping file (`./NAME`, or ending in `.mapping`), or the name of a shipped mapping; chosen by what
    /// the two hold if not given
    #[arg(long, value_name = "FILE|NAME")]
    pub(crate) mapping: Option<String>,

    /// The side INPUT is of; told by its names if not given
    #[arg(long, value_name = "SIDE")]
    pub(crate) from: Option<String>,

    /// The side OUTPUT is of; told by its names if not given
    #[arg(long, value_name = "SIDE")]
    pub(crate) to: Option<String>,

    #[command(flatten)]
    pub(crate) choice: Choice,

    /// The iteration to read of OUTPUT, where it is a Megatron directory that holds several, or `release`
    #[arg(long, value_name = "N")]
    pub(crate) output_iteration: Option<Iteration>,

    /// A config of OUTPUT's side that says what INPUT does not; what OUTPUT has beside it says so if not given
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// Sets a config value of the mapping for both checkpoints; wins over everything else
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_setting)]
    pub(crate) set: Vec<Setting>,

    /// The dtype that OUTPUT must have; INPUT is cast to whatever it has if not given
    #[arg(long, value_name = "DTYPE", value_parser = parse_dtype)]
    pub(crate) dtype: Option<DType>,

    /// How far an element of OUTPUT may be from INPUT's
    #[arg(long, value_name = "X", default_value_t = 0.0, value_parser = parse_tolerance)]
    pub(crate) atol: f64,

    /// The same as a part of the element's magnitude; both tolerances add up
    #[arg(long, value_name = "X", default_value_t = 0.0, value_parser = parse_tolerance)]
    pub(crate) rtol: f64,

    /// Look every element up a second time by the layouts alone, not some of each tensor; this takes long
    #[arg(long)]
    pub(crate) thorough: bool,

    /// Run both checkpoints through the model that comes with the mapping, too, and compare the logits
    #[arg(long)]
    pub(crate) logits: bool,

    /// Tokens to run through the models
    #[arg(long, value_name = "N,N,…", value_delimiter = ',', requires = "logits")]
    pub(crate) ids: Option<Vec<u32>>,

    /// How many random tokens to run through the models, where none are given
    #[arg(long, value_name = "N", default_value_t = 32, requires = "logits", conflicts_with = "ids")]
    pub(crate) random: usize,

    /// Which sequence of random tokens
    #[arg(long, value_name = "N", default_value_t = 0, requires = "logits")]
    pub(crate) seed: u64,

    /// How many of the largest logits of each token are compared as sets
    #[arg(long, value_name = "K", default_value = "10", requires = "logits")]
    pub(crate) top_k: std::num::NonZero<usize>,

    /// How far logits may be apart, as a part of the largest; 1e-4 in f32 and 2e-2 in 16 bits if not given
    #[arg(long, value_name = "X", requires = "logits", value_parser = parse_tolerance)]
    pub(crate) max_difference: Option<f64>,

    /// The Kullback-Leibler divergence that a token's distribution may have, in nats; 1e-4 in f32 and 1e-1 in 16 bits
    /// if not given
    #[arg(long, value_name = "X", requires = "logits", value_parser = parse_tolerance)]
    pub(crate) max_divergence: Option<f64>,

    /// The part of the largest logits that must be common to both; 0.99 in f32 and 0.9 in 16 bits if not given
    #[arg(long, value_name = "X", requires = "logits", value_parser = parse_tolerance)]
    pub(crate) min_agreement: Option<f64>,

    /// The dtype that the models compute in; f32 on the processor, that of most parameters on other devices if not
    /// given
    #[arg(long, value_enum, value_name = "DTYPE", requires = "logits")]
    pub(crate) compute_dtype: Option<ModelDType>,

    /// Where the models compute: auto, cpu, cuda, cuda:N or metal
    #[arg(long, value_name = "DEVICE", default_value = "auto", requires = "logits")]
    pub(crate) device: String,

    /// Threads that compare; one per core if not given
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true, value_parser = parse_threads)]
    pub(crate) threads: usize,

    /// Say nothing but errors
    #[arg(long, short)]
    pub(crate) quiet: bool,

    /// How the result is told
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(crate) format: Format,
}

const VERIFY_EXAMPLES: &str = "\
Examples:
  transship verify model_optim_rng.pt gpt2-hf
  transship verify megatron-tp8/ megatron-tp2
  transship verify gpt2-hf megatron-bf16 --dtype bf16
  transship verify model_optim_rng.pt from-another-script --atol 1e-6 --rtol 1e-5
  transship verify model_optim_rng.pt gpt2-hf --logits --random 128
  transship verify checkpoints/ out --format json | jq '.differences'";

/// Run the model of a checkpoint: continue a prompt, whichever side of a mapping the checkpoint is of.
///
/// The parameters go straight from the file into the model, ranks and all; nothing is converted on the disk.
#[derive(Debug, Args)]
#[command(after_help = RUN_EXAMPLES)]
pub(crate) struct Run {
    /// The checkpoint: a .pt file, a .zip that holds one, a Megatron directory, a .safetensors file, or a
    /// Hugging Face directory
    pub(crate) input: PathBuf,

    /// A text to continue; `-` reads it from standard input
    #[arg(long, value_name = "TEXT", required_unless_present_any = ["ids", "prompt_file"], conflicts_with = "ids")]
    pub(crate) prompt: Option<String>,

    /// A file with the text to continue; a line end after its last line is no part of the text
    #[arg(long, value_name = "FILE", conflicts_with_all = ["ids", "prompt"])]
    pub(crate) prompt_file: Option<PathBuf>,

    /// Tokens to continue, in place of a text; what comes is told as tokens too
    #[arg(long, value_name = "N,N,…", value_delimiter = ',')]
    pub(crate) ids: Option<Vec<u32>>,

    /// A tokenizer.json, or a directory that holds one or GPT-2's vocab.json and merges.txt; looked for beside the
    /// input if not given
    #[arg(long, value_name = "FILE|DIR")]
    pub(crate) tokenizer: Option<PathBuf>,

    /// Tokens to add at most
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub(crate) max_tokens: usize,

    /// What logits are divided by before a token is drawn; 0 always takes the most probable
    #[arg(long, value_name = "X", default_value_t = 0.0, allow_negative_numbers = true)]
    pub(crate) temperature: f64,

    /// Draw from the most probable tokens whose probabilities come to this sum
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub(crate) top_p: Option<f64>,

    /// Draw from so many of the most probable tokens
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub(crate) top_k: Option<usize>,

    /// Which sequence of random numbers tokens are drawn by
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,

    /// Write each token as soon as it is there; `--stream=false` waits for the last
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value_t = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub(crate) stream: bool,

    /// Go on after a token that ends the text
    #[arg(long)]
    pub(crate) ignore_eos: bool,

    /// A .safetensors file to write the logits of all tokens to that the model was given
    #[arg(long, value_name = "FILE")]
    pub(crate) logits: Option<PathBuf>,

    /// Replace an earlier file of logits
    #[arg(long)]
    pub(crate) force: bool,

    /// The dtype to compute in; f32 on the processor, that of most parameters on other devices if not given
    #[arg(long, value_enum, value_name = "DTYPE")]
    pub(crate) dtype: Option<ModelDType>,

    /// Where to compute: auto, cpu, cuda, cuda:N or metal
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    pub(crate) device: String,

    /// The name of a shipped mapping; chosen by what the input holds if not given
    #[arg(long, value_name = "NAME")]
    pub(crate) mapping: Option<String>,

    #[command(flatten)]
    pub(crate) choice: Choice,

    /// A config of the other side that says what the input does not, such as the config.json of a similar model
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// Sets a config value of the mapping; wins over everything else
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_setting)]
    pub(crate) set: Vec<Setting>,

    /// Say nothing but the result and errors
    #[arg(long, short)]
    pub(crate) quiet: bool,

    /// How the result is told
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(crate) format: Format,
}

/// Dtypes that models compute in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[cfg_attr(not(feature = "candle"), expect(dead_code, reason = "there are no models"))]
pub(crate) enum ModelDType {
    /// 32-bit floats
    #[value(aliases = ["float32", "float", "fp32", "torch.float32"])]
    F32,
    /// The upper half of f32
    #[value(aliases = ["bfloat16", "torch.bfloat16"])]
    Bf16,
    /// IEEE 754 half precision
    #[value(aliases = ["float16", "half", "fp16", "torch.float16"])]
    F16,
}

const RUN_EXAMPLES: &str = "\
Examples:
  transship run gpt2-hf --prompt \"Once upon a time\"
  transship run checkpoints/ --tokenizer gpt2-tokenizer --prompt \"The answer is\" --max-tokens 20
  transship run gpt2-hf --prompt - < question.txt
  transship run gpt2-hf --prompt \"Dear\" --temperature 0.8 --top-p 0.95 --seed 1
  transship run model_optim_rng.pt --ids 464,3280,318 --max-tokens 0 --logits logits.safetensors
  transship run llama-hf --prompt \"def fib(n):\" --device cuda:0";

/// Show what a checkpoint holds: names, dtypes, shapes, strides, shared storage, config. Never loads data.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  transship inspect model_optim_rng.pt
  transship inspect model_optim_rng.pt --format json | jq '.documents.args.num_layers'")]
pub(crate) struct Inspect {
    /// The checkpoint
    pub(crate) input: PathBuf,

    #[command(flatten)]
    pub(crate) choice: Choice,

    /// How it is shown
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(crate) format: Format,
}

/// Prove mappings without a checkpoint.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  transship check my.mapping
  transship check *.mapping --format short
  transship check megatron_gpt2
  transship check - < my.mapping")]
pub(crate) struct Check {
    /// Mapping files, or names of shipped mappings; `-` is the standard input
    #[arg(required = true)]
    pub(crate) mappings: Vec<String>,

    /// How mistakes are shown
    #[arg(long, value_enum, default_value_t = DiagnosticFormat::Text)]
    pub(crate) format: DiagnosticFormat,
}

/// Bring mapping files into the one form.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  transship fmt my.mapping
  transship fmt --check mappings/*.mapping
  transship fmt --diff my.mapping
  transship fmt - < my.mapping")]
pub(crate) struct Fmt {
    /// Mapping files; `-` is the standard input, whose form goes to the standard output
    #[arg(required = true)]
    pub(crate) files: Vec<PathBuf>,

    /// Change nothing; fail if a file is not in that form
    #[arg(long)]
    pub(crate) check: bool,

    /// Change nothing, and show what would change
    #[arg(long)]
    pub(crate) diff: bool,
}

/// Print the Rust code that `#[derive(Port)]` generates for a mapping, formatted.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  transship expand megatron_gpt2
  transship expand my.mapping --name MyPort > my_port.rs")]
pub(crate) struct Expand {
    /// A mapping file, or the name of a shipped mapping
    #[arg(value_name = "FILE|NAME")]
    pub(crate) mapping: String,

    /// The struct that the derive would stand on; the mapping's name in Pascal case if not given
    #[arg(long, value_name = "STRUCT", value_parser = parse_struct_name)]
    pub(crate) name: Option<String>,
}

/// Explain the code of a mistake.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  transship explain TS0301
  transship explain --list")]
pub(crate) struct Explain {
    /// The code, such as TS0301
    #[arg(required_unless_present = "list")]
    pub(crate) code: Option<String>,

    /// List all codes
    #[arg(long)]
    pub(crate) list: bool,
}

/// List the shipped mappings, or print one.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  transship mappings
  transship mappings megatron_gpt2 > my.mapping")]
pub(crate) struct Mappings {
    /// The one to print
    pub(crate) name: Option<String>,
}

/// How results are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    Text,
    /// One JSON object
    Json,
}

/// How mistakes are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DiagnosticFormat {
    /// With the lines of the mapping
    Text,
    /// One line each
    Short,
    /// One JSON object a line
    Json,
}

fn parse_setting(text: &str) -> Result<Setting, String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => {
            Ok(Setting { name: name.trim().to_owned(), value: value.trim().to_owned() })
        }
        _ => Err("write NAME=VALUE, such as vocab=50257".to_owned()),
    }
}

fn parse_struct_name(text: &str) -> Result<String, String> {
    let letters = text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    match text.chars().next() {
        Some(first) if letters && (first.is_ascii_uppercase() || first == '_') => Ok(text.to_owned()),
        _ => Err(format!("`{text}` is no name of a Rust struct; write one such as MegatronGpt2")),
    }
}

fn parse_tolerance(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(tolerance) if (0.0..f64::INFINITY).contains(&tolerance) => Ok(tolerance),
        _ => Err("write a number from 0 on, such as 1e-5".to_owned()),
    }
}

/// As many threads as any machine has use for.
const MAX_THREADS: usize = 1024;

fn parse_threads(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(threads @ 0..=MAX_THREADS) => Ok(threads),
        _ => Err(format!("write a number up to {MAX_THREADS}; 0 is one per core")),
    }
}

/// A dtype by its own name or by torch's: `bf16`, `bfloat16`, `torch.bfloat16`.
fn parse_dtype(text: &str) -> Result<DType, String> {
    let name = match text.strip_prefix("torch.").unwrap_or(text) {
        "float64" | "double" | "fp64" => "f64",
        "float32" | "float" | "fp32" => "f32",
        "float16" | "half" | "fp16" => "f16",
        "bfloat16" => "bf16",
        "float8_e4m3fn" => "f8_e4m3",
        "float8_e5m2" => "f8_e5m2",
        other => other,
    };
    DType::from_name(name).ok_or_else(|| {
        let all: Vec<&str> = DType::ALL.iter().map(|d| d.name()).collect();
        format!("the dtypes are {}", all.join(", "))
    })
}
