//! What is meant by a path that holds no checkpoint, and what to give in its place.

use std::path::Path;

use super::error::listed;

/// What to do with a directory without a checkpoint, which holds `names`.
pub(super) fn of_directory(path: &Path, names: &[String]) -> String {
    let has = |name: &str| names.iter().any(|n| n == name);
    let ends = |end: &str| names.iter().find(|n| n.ends_with(end));
    if has("snapshots") && (has("refs") || has("blobs")) {
        return snapshots(path);
    }
    if has("adapter_config.json") || ends("adapter_model.safetensors").is_some() {
        return "it is a PEFT adapter, which holds changes to a base model: merge it into that \
                (`merge_and_unload()`), save the result and give its directory"
            .to_owned();
    }
    if has("zero_to_fp32.py") || ends("_model_states.pt").is_some() || ends("_optim_states.pt").is_some() {
        return "it is a checkpoint of DeepSpeed: put it together with `python zero_to_fp32.py . OUTPUT` in the directory \
                that holds that script, and give OUTPUT"
            .to_owned();
    }
    if let Some(latest) = latest_of_trainer(names) {
        return format!(
            "it holds checkpoints of a training run: give one of them, such as {}",
            path.join(latest).display()
        );
    }
    if let Some(shard) = names.iter().find(|name| is_shard(name)) {
        let index = match shard.ends_with(".bin") {
            true => "pytorch_model.bin.index.json",
            false => "model.safetensors.index.json",
        };
        return format!("it holds shards such as {shard}, but not their index {index}: fetch that, too");
    }
    if let Some(inner) = names.iter().find(|name| path.join(name).join(".metadata").is_file()) {
        return format!(
            "a distributed checkpoint lies in {}: give that directory",
            path.join(inner).display()
        );
    }
    if let Some(gguf) = ends(".gguf") {
        return format!("{gguf} is a GGUF file, which is not read: give the checkpoint it was made from");
    }
    if has("consolidated.01.pth") {
        return "consolidated.*.pth are a model in Meta's own format, cut into parts: give the same model in the format \
                of Hugging Face"
            .to_owned();
    }
    if has("consolidated.00.pth") {
        return "consolidated.00.pth is a model in Meta's own format: give the file itself with a mapping of your own, or \
                the same model in the format of Hugging Face"
            .to_owned();
    }
    if has("flax_model.msgpack") || has("tf_model.h5") {
        return "it holds weights of Flax or TensorFlow only: load them with transformers (`from_flax=True`, \
                `from_tf=True`), save the model and give that directory"
            .to_owned();
    }
    if let Some(archive) = ends(".nemo") {
        return format!("{archive} is an archive of NeMo: unpack it (`tar -xf`), and give the weights in it");
    }
    if let [only] = &weights(names)[..] {
        return format!("give its {only} itself");
    }
    format!("it holds {}", listed(names))
}

/// What to do about a path at which there is nothing.
pub(super) fn of_nothing(path: &Path) -> Option<String> {
    let text = path.to_str()?;
    if text.contains("://") || text.starts_with("https:/") || text.starts_with("s3:/") {
        return Some("local files are read: download it first, and give the path".to_owned());
    }
    let plain = |part: &str| {
        !part.is_empty()
            && !part.starts_with(['.', '-'])
            && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
    };
    const FILES: [&str; 8] = [".pt", ".pth", ".bin", ".ckpt", ".zip", ".safetensors", ".nemo", ".json"];
    let parts: Vec<&str> = text.split('/').collect();
    let model = match parts[..] {
        [name] => plain(name) && name != "~",
        // In a directory that is there, a file is misspelt.
        [owner, name] => plain(owner) && plain(name) && !Path::new(owner).is_dir(),
        _ => false,
    };
    (model && !FILES.iter().any(|end| text.ends_with(end))).then(|| {
        format!("if it is a model on the Hugging Face Hub, download it first: `hf download {text} --local-dir DIR`")
    })
}

/// What to do with the directory of a model in the cache of the Hub.
fn snapshots(path: &Path) -> String {
    let folder = path.join("snapshots");
    let there = super::folder::names(&folder).unwrap_or_default();
    match &there[..] {
        [] => {
            "it is the cache of a model of the Hugging Face Hub, without a snapshot: download the model again"
                .to_owned()
        }
        [only] => format!(
            "it is the cache of a model of the Hugging Face Hub: give {}",
            folder.join(only).display()
        ),
        several => format!(
            "it is the cache of a model of the Hugging Face Hub: give one of the directories in {}: {}",
            folder.display(),
            listed(several)
        ),
    }
}

/// The last of the directories that transformers' Trainer leaves: `checkpoint-500`.
fn latest_of_trainer(names: &[String]) -> Option<&String> {
    let step = |name: &&String| name.strip_prefix("checkpoint-")?.parse::<u64>().ok();
    names.iter().filter(|name| step(name).is_some()).max_by_key(step)
}

/// What is said of a file that is one of several.
pub(super) fn of_file(file: &Path) -> Option<String> {
    let name = file.file_name()?.to_str()?;
    is_shard(name).then(|| {
        format!("{name} is one of several files of a model: give their directory, or their index, to read them all")
    })
}

/// Whether a file is one of several that transformers cuts a model into: `model-00001-of-00002.safetensors`.
fn is_shard(name: &str) -> bool {
    let stem = name.strip_suffix(".safetensors").or_else(|| name.strip_suffix(".bin"));
    let Some((before, total)) = stem.and_then(|stem| stem.rsplit_once("-of-")) else { return false };
    let number = |text: &str| text.parse::<u32>().ok();
    let at = before.rsplit_once('-').and_then(|(_, at)| number(at));
    at.is_some() && number(total).is_some_and(|total| total > 1)
}

/// Files of weights, by their names.
fn weights(names: &[String]) -> Vec<&String> {
    const ENDS: [&str; 5] = [".safetensors", ".bin", ".pt", ".pth", ".ckpt"];
    // What transformers' Trainer keeps beside them.
    const OTHERS: [&str; 5] = ["optimizer.", "scheduler.", "rng_state", "training_args.", "scaler."];
    let is = |name: &&String| {
        ENDS.iter().any(|end| name.ends_with(end)) && !OTHERS.iter().any(|other| name.starts_with(other))
    };
    names.iter().filter(is).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hint(names: &[&str]) -> String {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        of_directory(Path::new("dir"), &names)
    }

    #[test]
    fn directories_of_other_programs_are_known() {
        for (names, told) in [
            (&["adapter_config.json", "adapter_model.safetensors"][..], "PEFT adapter"),
            (&["global_step10", "latest", "zero_to_fp32.py"], "zero_to_fp32.py . OUTPUT"),
            (&["mp_rank_00_model_states.pt"], "DeepSpeed"),
            (&["checkpoint-1000", "checkpoint-500", "runs"], "such as dir/checkpoint-1000"),
            (&["model-00001-of-00002.safetensors"], "not their index model.safetensors.index.json"),
            (&["pytorch_model-00001-of-00002.bin"], "not their index pytorch_model.bin.index.json"),
            (&["model.Q4_K_M.gguf"], "GGUF"),
            (&["consolidated.00.pth", "params.json"], "Meta's own format"),
            (&["flax_model.msgpack"], "from_flax"),
            (&["model.nemo"], "tar -xf"),
            (&["optimizer.pt", "weights.pt"], "give its weights.pt itself"),
            (&["a.pt", "b.pt"], "it holds a.pt, b.pt"),
        ] {
            assert!(hint(names).contains(told), "{names:?}: {}", hint(names));
        }
    }

    #[test]
    fn names_on_the_hub_and_addresses_are_told_from_paths() {
        for path in ["gpt2", "meta-llama/Llama-3.1-8B"] {
            let hint = of_nothing(Path::new(path)).expect(path);
            assert!(hint.contains(&format!("hf download {path} --local-dir")), "{hint}");
        }
        for path in ["https://huggingface.co/gpt2", "s3://bucket/model"] {
            assert!(of_nothing(Path::new(path)).is_some_and(|h| h.contains("download it first")), "{path}");
        }
        for path in ["/data/model", "model.pt", "./gpt2", "a/b/c", "src/model"] {
            assert_eq!(of_nothing(Path::new(path)), None, "{path}");
        }
    }

    #[test]
    fn the_cache_of_the_hub_names_its_snapshot() {
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::create_dir_all(directory.path().join("snapshots/abc")).expect("made");
        let names = ["blobs".to_owned(), "refs".to_owned(), "snapshots".to_owned()];
        let hint = of_directory(directory.path(), &names);
        assert!(hint.ends_with("snapshots/abc"), "{hint}");
    }
}
