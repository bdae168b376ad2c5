//! The files of a tokenizer, which go along with a conversion as they are.

use std::io::ErrorKind;
use std::path::Path;

use crate::convert::ConvertError;
use crate::output::SmallFile;
use crate::text_file::read_text_file;

/// Files of tokenizers and of what comes with them, as transformers names them.
const FILES: [&str; 35] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "vocab.txt",
    "tokenizer.model",
    // Templates of conversations.
    "chat_template.jinja",
    "chat_template.json",
    // Sentencepiece under its other names.
    "spiece.model",
    "spm.model",
    "sentencepiece.bpe.model",
    "sentencepiece.model",
    "spm_char.model",
    "vocab.spm",
    "source.spm",
    "target.spm",
    "target_vocab.json",
    // Mistral's, Qwen's and other vocabularies of byte pairs.
    "tekken.json",
    "tokenizer.model.v3",
    "qwen.tiktoken",
    "tiktoken.model",
    "bpe.codes",
    "vocab.bpe",
    "dict.txt",
    "emoji.json",
    "entity_vocab.json",
    "normalizer.json",
    "vocab-src.json",
    "vocab-tgt.json",
    // What prepares other inputs than text, and how text is generated.
    "preprocessor_config.json",
    "processor_config.json",
    "video_preprocessor_config.json",
    "generation_config.json",
];

/// The directory of further templates.
const TEMPLATES: &str = "additional_chat_templates";

/// Longest file; the vocabularies of 250,000 tokens have 30 MB.
const MAX_FILE: u64 = 256 << 20;

/// Ends of names of what a model's directory holds beside its tokenizer.
const OTHER_ENDS: [&str; 13] = [
    ".safetensors",
    ".index.json",
    ".bin",
    ".pt",
    ".pth",
    ".h5",
    ".msgpack",
    ".onnx",
    ".gguf",
    ".md",
    "config.json",
    "LICENSE",
    "LICENSE.txt",
];

/// The files of a tokenizer.
#[derive(Clone, Debug, Default)]
pub struct TokenizerFiles {
    files: Vec<SmallFile>,
    left: Vec<String>,
}

impl TokenizerFiles {
    /// Reads the files in a directory.
    ///
    /// # Errors
    /// Where it is no directory, holds no file of a tokenizer, or one cannot be read.
    pub fn read(path: &Path) -> Result<TokenizerFiles, ConvertError> {
        let wrong = |what: String| ConvertError::Tokenizer { path: path.to_owned(), what };
        if !path.is_dir() {
            return Err(wrong(if path.exists() {
                "it is a file; give the directory it lies in".to_owned()
            } else {
                "there is no such directory".to_owned()
            }));
        }
        let mut found = TokenizerFiles::default();
        for name in FILES {
            found.add(path, name).map_err(wrong)?;
        }
        if found.files.is_empty() {
            return Err(wrong(
                "it holds no file of a tokenizer, such as tokenizer.json, tokenizer.model, or vocab.json with merges.txt"
                    .to_owned(),
            ));
        }
        found.add_templates(path).map_err(wrong)?;
        found.left = other_names(path).map_err(|e| wrong(e.to_string()))?;
        Ok(found)
    }

    fn add(&mut self, path: &Path, name: &str) -> Result<(), String> {
        match read_text_file(&path.join(name), MAX_FILE) {
            Ok(bytes) => self.files.push(SmallFile { name: name.to_owned(), bytes }),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(format!("{name}: {error}")),
        }
        Ok(())
    }

    fn add_templates(&mut self, path: &Path) -> Result<(), String> {
        let entries = match std::fs::read_dir(path.join(TEMPLATES)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(format!("{TEMPLATES}: {error}")),
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|error| format!("{TEMPLATES}: {error}"))?;
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
        names.sort_unstable();
        for name in names.iter().filter(|name| name.ends_with(".jinja")) {
            self.add(path, &format!("{TEMPLATES}/{name}"))?;
        }
        Ok(())
    }

    /// The files that go into an output that has `documents` of its own: these stay.
    pub(crate) fn beside(&self, documents: &[SmallFile]) -> Vec<SmallFile> {
        let own = |file: &&SmallFile| !documents.iter().any(|document| document.name == file.name);
        self.files.iter().filter(own).cloned().collect()
    }

    /// Names of the files.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.files.iter().map(|file| file.name.as_str())
    }

    /// Names of what else lies in the directory and is not carried over, but for weights and their config.
    #[must_use]
    pub fn left(&self) -> &[String] {
        &self.left
    }
}

fn other_names(path: &Path) -> std::io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(path)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let known = FILES.contains(&name.as_str())
            || name == TEMPLATES
            || name.starts_with('.')
            || OTHER_ENDS.iter().any(|end| name.ends_with(end));
        if !known {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}
