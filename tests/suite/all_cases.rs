use std::path::{Path, PathBuf};

use transship::mappings::load_model;
use transship::nn::{DType, Device, LanguageModel, Tensor};
use transship::grammar::{SideId, check};
use transship::{BaseConfig, BindOptions, Checkpoint, ConvertOptions, Setting, convert, output};

fn tensor(file: &Path, names: &[&str]) -> Tensor {
    let all = crate::oracle::read_tensors(file);
    let (dt, shape, bytes) = names.iter().find_map(|n| all.get(*n)).unwrap();
    Tensor::from_raw_buffer(bytes, if dt == "I64" { DType::I64 } else { DType::F32 }, shape, &Device::Cpu).unwrap()
}

fn diff(a: &Tensor, b: &Tensor) -> (f32, f32) {
    let w = a.dim(2).unwrap().min(b.dim(2).unwrap());
    let a = a.narrow(2, 0, w).unwrap().to_dtype(DType::F32).unwrap();
    let b = b.narrow(2, 0, w).unwrap().to_dtype(DType::F32).unwrap();
    let d = (&a - &b).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
    let m = b.abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
    (d, m)
}

fn steps(model: &mut LanguageModel, ids: &Tensor, full: &Tensor) -> f32 {
    let LanguageModel::Causal(model) = model else { return 0.0 };
    model.clear_kv_cache();
    let n = ids.dim(1).unwrap();
    let first = n / 3;
    let mut outs = vec![model.forward(&ids.narrow(1, 0, first).unwrap(), 0).unwrap()];
    for at in first..n {
        let id = ids.narrow(1, at, 1).unwrap().contiguous().unwrap();
        outs.push(if at % 2 == 0 { model.forward_last(&id, at).unwrap() } else { model.forward(&id, at).unwrap() });
    }
    diff(&Tensor::cat(&outs, 1).unwrap(), full).0
}

fn case(mapping: &str, input: &Path, base: Option<&Path>, logits: &Path, settings: &[(&str, &str)]) -> Result<(), Box<dyn std::error::Error>> {
    let ids = tensor(logits, &["tokens", "input_ids"]).to_dtype(DType::U32)?;
    let expected = tensor(logits, &["logits"]);
    
    let checked = check(&transship_mappings::shipped(mapping).unwrap().source()).unwrap().0;
    let bind = BindOptions {
        settings: settings.iter().map(|(n, v)| Setting { name: (*n).into(), value: (*v).into() }).collect(),
        base: base.map(|b| BaseConfig::read(b).unwrap()),
        ranks: vec![],
    };
    let checkpoint = Checkpoint::open(input)?;
    let dir = tempfile::tempdir()?;
    let options = ConvertOptions { bind: bind.clone(), ..ConvertOptions::default() };
    convert(&checked, &checkpoint, SideId::Left, dir.path(), &options, &output::Options::default())?;
    let converted = Checkpoint::open(dir.path())?;
    let mut line = format!("{mapping:15} {:45}", input.strip_prefix("/work/shared/oracle").unwrap().display());
    for (name, checkpoint, bind) in [("own", &checkpoint, &bind), ("converted", &converted, &BindOptions::default())] {
        let mut model = load_model(mapping, checkpoint, bind, &Device::Cpu, DType::F32)?;
        let full = model.logits(&ids)?;
        let (d, m) = diff(&full, &expected);
        let s = steps(&mut model, &ids, &full);
        line += &format!(" {name}: {d:.1e} of {m:.2} steps {s:.1e}");
        let mut half = load_model(mapping, checkpoint, bind, &Device::Cpu, DType::BF16)?;
        let hl = half.logits(&ids)?; let (d, m) = diff(&hl, &expected); let l2 = { let w = hl.dim(2)?.min(expected.dim(2)?); let a = hl.narrow(2,0,w)?.to_dtype(DType::F32)?; let e = expected.narrow(2,0,w)?; ((a - &e)?.sqr()?.sum_all()?.to_scalar::<f32>()? / e.sqr()?.sum_all()?.to_scalar::<f32>()?).sqrt() };
        line += &format!(" bf16 max {:.1e} l2 {l2:.1e} |", d / m);
    }
    println!("{line}");
    Ok(())
}

#[test]
fn all() {
    let root = PathBuf::from("/work/shared/oracle");
    let hf = |c: &str| root.join("hf").join(c);
    let report = |m: &str, input: PathBuf, base: Option<PathBuf>, logits: PathBuf, set: &[(&str, &str)]| {
        if let Err(e) = case(m, &input, base.as_deref(), &logits, set) { println!("{m} {} FAILED {e}", input.display()); }
    };
    for (c, f, b, m) in [
        ("a_ngc_v0_fp16_zip", "megatron_tiny_v0_0.zip", true, "megatron_gpt2"),
        ("b_v1_fp32_args", "model_optim_rng.pt", false, "megatron_gpt2"),
        ("c_v2_bf16_odd_args_optimizer", "model_optim_rng.pt", false, "megatron_gpt2"),
        ("d_v3_fp16_encoder_padded_flat", "model_optim_rng.pt", false, "megatron_gpt2"),
        ("e_reshape_tp2", "", false, "megatron_gpt2"),
        ("f_reshape_tp2_pp2", "", false, "megatron_gpt2"),
        ("i_te_names_v3_bf16", "model_optim_rng.pt", false, "megatron_gpt2"),
        ("g_megatron_bert_v0_fp16_zip", "", true, "megatron_bert"),
    ] {
        let dir = hf(c).join("input");
        let mut input = dir.join(f);
        if c.starts_with('g') {
            input = std::fs::read_dir(&dir).unwrap().map(|e| e.unwrap().path()).find(|p| p.extension().is_some_and(|e| e == "zip")).unwrap();
        }
        if f.is_empty() && !c.starts_with('g') {
            let sub = std::fs::read_dir(&dir).unwrap().map(|e| e.unwrap().path()).find(|p| p.is_dir());
            input = if dir.join("mp_rank_00").exists() || dir.join("mp_rank_00_000").exists() || dir.join("latest_checkpointed_iteration.txt").exists() { dir.clone() } else { sub.unwrap_or(dir.clone()) };
        }
        report(m, input, b.then(|| dir.join("config_in.json")), hf(c).join("expected/expected_logits.safetensors"), &[]);
    }
    let mut cases: Vec<_> = std::fs::read_dir(root.join("megatron")).unwrap().map(|e| e.unwrap().path()).collect();
    cases.sort();
    for dir in cases {
        let name = dir.file_name().unwrap().to_str().unwrap().to_owned();
        if name == "expected_hf" { continue }
        let m = match name.as_str() {
            n if n.contains("legacy") && n.contains("llama") => "megatron_llama",
            n if n.contains("legacy") => "megatron_gpt2",
            n if n.contains("mixtral") => "mcore_mixtral",
            n if n.contains("llama") => "mcore_llama",
            _ => "mcore_gpt2",
        };
        report(m, dir.join("ckpt"), None, dir.join("logits.safetensors"), &[]);
    }
}
