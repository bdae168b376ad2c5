//! Text as tokens and back, by the tokenizer files that lie beside a model.

mod guard;
mod sound;

use std::path::{Path, PathBuf};

use tokenizers::models::bpe::BPE;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{AddedToken, Tokenizer};
use transship::read_text_file;

use crate::Failure;
pub(crate) use guard::guarded;

/// Longest file of a tokenizer; the largest known have 35 MB.
const MAX_FILE: u64 = 128 << 20;

/// Where a tokenizer can lie, with how it is read.
enum Files {
    /// A `tokenizer.json`, as the `tokenizers` library writes it.
    Whole(PathBuf),
    /// GPT-2's `vocab.json` and `merges.txt`.
    BytePairs { vocab: PathBuf, merges: PathBuf },
}

/// The token that GPT-2's vocabulary has for the end of a text, which no text holds as such.
const END_OF_TEXT: &str = "<|endoftext|>";

impl Files {
    /// The tokenizer of a directory.
    fn of(directory: &Path) -> Option<Files> {
        let whole = directory.join("tokenizer.json");
        if whole.is_file() {
            return Some(Files::Whole(whole));
        }
        let (vocab, merges) = (directory.join("vocab.json"), directory.join("merges.txt"));
        (vocab.is_file() && merges.is_file()).then_some(Files::BytePairs { vocab, merges })
    }

    fn read(&self) -> Result<Tokenizer, Failure> {
        let (Files::Whole(path) | Files::BytePairs { vocab: path, .. }) = self;
        let wrong = |error: &dyn std::fmt::Display| {
            Failure::new(format_args!("cannot read the tokenizer {}: {error}", path.display()))
        };
        let mut tokenizer = match guarded(|| self.load()) {
            Some(loaded) => loaded.map_err(|error| wrong(&error))?,
            None => return Err(wrong(&guard::DAMAGED)),
        };
        // These are for batches; as transformers, which puts them aside when it takes a text apart.
        tokenizer.with_padding(None);
        tokenizer.with_truncation(None).map_err(|error| wrong(&error))?;
        Ok(tokenizer)
    }

    fn load(&self) -> Result<Tokenizer, String> {
        let bytes = |path: &Path| {
            read_text_file(path, MAX_FILE).map_err(|error| format!("{}: {error}", path.display()))
        };
        match self {
            Files::Whole(path) => {
                let text = read_text_file(path, MAX_FILE).map_err(|error| error.to_string())?;
                sound::check(&text)?;
                Tokenizer::from_bytes(&text).map_err(|error| error.to_string())
            }
            Files::BytePairs { vocab, merges } => {
                // Checked for their kind and length, as the library reads them by itself.
                bytes(vocab)?;
                bytes(merges)?;
                let text = |path: &Path| path.to_string_lossy().into_owned();
                let model = BPE::from_file(&text(vocab), &text(merges)).build();
                let mut tokenizer = Tokenizer::new(model.map_err(|error| error.to_string())?);
                // As the tokenizer of GPT-2 has it: no space is put before the text.
                tokenizer.with_pre_tokenizer(Some(ByteLevel::new(false, true, true)));
                tokenizer.with_decoder(Some(ByteLevel::default()));
                if tokenizer.token_to_id(END_OF_TEXT).is_some() {
                    let end = [AddedToken::from(END_OF_TEXT, true)];
                    tokenizer.add_special_tokens(end).map_err(|error| error.to_string())?;
                }
                Ok(tokenizer)
            }
        }
    }
}

/// Files of a tokenizer that are read together with others of their directory.
const PARTS: [&str; 6] = [
    "vocab.json",
    "merges.txt",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
];

/// The tokenizer that the user names, a file or a directory, or the one beside the model.
pub(crate) fn load(named: Option<&Path>, model: &Path) -> Result<Tokenizer, Failure> {
    if let Some(path) = named {
        let part = path.file_name().and_then(|name| name.to_str()).is_some_and(|name| PARTS.contains(&name));
        if path.is_file() && !part {
            return Files::Whole(path.to_owned()).read();
        }
        let path = if part && path.is_file() { directory_of(path) } else { path };
        return Files::of(path).map(|files| files.read()).unwrap_or_else(|| {
            let what = if path.is_dir() {
                "it holds neither tokenizer.json nor vocab.json and merges.txt"
            } else if path.exists() {
                "it is no regular file"
            } else {
                "there is no such file"
            };
            Err(Failure::new(format_args!("cannot read the tokenizer {}: {what}", path.display())))
        });
    }
    let beside = if model.is_dir() { model } else { directory_of(model) };
    match Files::of(beside) {
        Some(files) => files.read(),
        None => Err(Failure::new(format_args!(
            "no tokenizer lies in {}; give one with --tokenizer FILE|DIR, or tokens with --ids",
            beside.display()
        ))),
    }
}

/// The directory of a file; of a bare file name, the current one.
fn directory_of(file: &Path) -> &Path {
    file.parent().filter(|path| !path.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The tokens of a text.
pub(crate) fn encode(tokenizer: &Tokenizer, text: &str) -> Result<Vec<u32>, Failure> {
    let wrong =
        |error: &dyn std::fmt::Display| Failure::new(format_args!("cannot take the prompt apart: {error}"));
    match guarded(|| tokenizer.encode(text, true)) {
        Some(Ok(encoding)) => Ok(encoding.get_ids().to_vec()),
        Some(Err(error)) => Err(wrong(&error)),
        None => Err(wrong(&guard::DAMAGED)),
    }
}

/// The text of tokens.
pub(crate) fn decode(tokenizer: &Tokenizer, tokens: &[u32]) -> Result<String, Failure> {
    match guarded(|| tokenizer.decode(tokens, true)) {
        Some(text) => text.map_err(undecodable),
        None => Err(undecodable(guard::DAMAGED)),
    }
}

/// The next piece of a text that comes token by token.
pub(crate) fn step(pieces: &mut Pieces<'_>, token: u32) -> Result<Option<String>, Failure> {
    match guarded(|| pieces.step(token)) {
        Some(piece) => piece.map_err(undecodable),
        None => Err(undecodable(guard::DAMAGED)),
    }
}

/// A text that comes token by token.
pub(crate) type Pieces<'t> = tokenizers::tokenizer::DecodeStream<
    't,
    tokenizers::ModelWrapper,
    tokenizers::NormalizerWrapper,
    tokenizers::PreTokenizerWrapper,
    tokenizers::PostProcessorWrapper,
    tokenizers::DecoderWrapper,
>;

/// A token that the tokenizer cannot make text of.
fn undecodable(error: impl std::fmt::Display) -> Failure {
    Failure::new(format_args!("cannot make text of the tokens: {error}; is the tokenizer that of the model?"))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{decode, encode, load};

    /// A byte-pair vocabulary as GPT-2's files have it: all of `abc` and the space, two merges.
    fn put_byte_pairs(directory: &Path) {
        let vocab = r#"{"a":0,"b":1,"c":2,"Ġ":3,"ab":4,"Ġab":5,"<|endoftext|>":6,"Ã":7,"¤":8}"#;
        std::fs::write(directory.join("vocab.json"), vocab).expect("written");
        std::fs::write(directory.join("merges.txt"), "#version: 0.2\na b\nĠ ab\n").expect("written");
    }

    #[test]
    fn byte_pairs_are_read_from_the_files_of_gpt_2() {
        let directory = tempfile::tempdir().expect("a directory");
        put_byte_pairs(directory.path());
        let tokenizer = load(None, directory.path()).unwrap_or_else(|f| panic!("{}", f.message));
        let ids = encode(&tokenizer, "ab abc<|endoftext|>ä").unwrap_or_else(|f| panic!("{}", f.message));
        assert_eq!(ids, [4, 5, 2, 6, 7, 8]);
        assert_eq!(decode(&tokenizer, &ids).unwrap_or_default(), "ab abcä", "the end of a text is no text");
        // The streamed text is the same, and a letter of two tokens comes when it is whole.
        let mut stream = tokenizer.decode_stream(true);
        let pieces: Vec<Option<String>> =
            ids.iter().map(|id| stream.step(*id).expect("it decodes")).collect();
        assert_eq!(pieces[4], None);
        assert_eq!(pieces.into_iter().flatten().collect::<String>(), "ab abcä");
    }

    #[test]
    fn tokenizers_are_found_beside_the_model_or_where_they_are_named() {
        let directory = tempfile::tempdir().expect("a directory");
        let model = directory.path().join("model.safetensors");
        let told = |named: Option<&Path>| load(named, &model).err().map(|f| f.message).unwrap_or_default();
        assert!(told(None).contains("no tokenizer lies in"), "{}", told(None));
        put_byte_pairs(directory.path());
        assert_eq!(told(None), "");
        let tokenizer = load(None, &model).unwrap_or_else(|f| panic!("{}", f.message));
        let whole = directory.path().join("other.json");
        tokenizer.save(&whole, false).expect("written");
        let same = load(Some(&whole), &model).unwrap_or_else(|f| panic!("{}", f.message));
        assert_eq!(encode(&same, "ab abc").unwrap_or_default(), [4, 5, 2]);
        std::fs::write(&whole, "{}").expect("written");
        assert!(told(Some(&whole)).contains("cannot read the tokenizer"));
        assert!(told(Some(Path::new("nowhere"))).contains("there is no such file"));
        std::fs::write(directory.path().join("merges.txt"), "a b c d\n").expect("written");
        assert!(told(None).contains("cannot read the tokenizer"), "{}", told(None));
    }

    #[test]
    fn a_file_of_several_stands_for_its_directory() {
        let directory = tempfile::tempdir().expect("a directory");
        put_byte_pairs(directory.path());
        for name in ["vocab.json", "merges.txt"] {
            let tokenizer = load(Some(&directory.path().join(name)), Path::new("nowhere"));
            let tokenizer = tokenizer.unwrap_or_else(|f| panic!("{}", f.message));
            assert_eq!(encode(&tokenizer, "ab abc").unwrap_or_default(), [4, 5, 2], "{name}");
        }
    }

    /// A tokenizer of three letters with these parts.
    fn with(parts: &str) -> Result<Vec<u32>, String> {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("tokenizer.json");
        let text = format!(
            r#"{{"version": "1.0", {parts} "model": {{"type": "WordLevel", "vocab": {{"a": 0, "b": 1, "c": 2}}, "unk_token": "c"}}}}"#
        );
        std::fs::write(&file, text).expect("written");
        let tokenizer = load(Some(&file), &file).map_err(|f| f.message)?;
        encode(&tokenizer, "a b").map_err(|f| f.message)
    }

    #[test]
    fn damaged_tokenizers_are_errors_and_no_panics() {
        let plain = with(r#""pre_tokenizer": {"type": "Whitespace"},"#);
        assert_eq!(plain.as_deref(), Ok(&[0, 1][..]));
        for parts in [
            r#""normalizer": {"type": "Precompiled", "precompiled_charsmap": "AAAA"},"#,
            r#""normalizer": {"type": "Precompiled", "precompiled_charsmap": "//////8="},"#,
            r#""normalizer": {"type": "Sequence", "normalizers": [{"type": "Precompiled", "precompiled_charsmap": "BAAAAP////8="}]},"#,
            r#""pre_tokenizer": {"type": "FixedLength", "length": 0},"#,
        ] {
            let told = with(parts).expect_err(parts);
            assert!(told.starts_with("error: cannot"), "{parts}: {told}");
        }
    }

    #[test]
    fn truncation_and_padding_of_batches_do_not_reach_a_prompt() {
        for parts in [
            r#""truncation": {"direction": "Right", "max_length": 1, "strategy": "LongestFirst", "stride": 0},"#,
            r#""padding": {"strategy": {"Fixed": 100}, "direction": "Right", "pad_to_multiple_of": null, "pad_id": 0, "pad_type_id": 0, "pad_token": "a"},"#,
        ] {
            let parts = format!(r#"{parts} "pre_tokenizer": {{"type": "Whitespace"}},"#);
            assert_eq!(with(&parts).as_deref(), Ok(&[0, 1][..]), "{parts}");
        }
    }
}
