//! Text as tokens and back, by the tokenizer files that lie beside a model.

use std::path::{Path, PathBuf};

use tokenizers::models::bpe::BPE;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{AddedToken, Tokenizer};

use crate::Failure;

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
        let wrong = |path: &Path, error: &dyn std::fmt::Display| {
            Failure::new(format_args!("cannot read the tokenizer {}: {error}", path.display()))
        };
        match self {
            Files::Whole(path) => Tokenizer::from_file(path).map_err(|error| wrong(path, &error)),
            Files::BytePairs { vocab, merges } => {
                let text = |path: &Path| path.to_string_lossy().into_owned();
                let model = BPE::from_file(&text(vocab), &text(merges)).build();
                let mut tokenizer = Tokenizer::new(model.map_err(|error| wrong(vocab, &error))?);
                // As the tokenizer of GPT-2 has it: no space is put before the text.
                tokenizer.with_pre_tokenizer(Some(ByteLevel::new(false, true, true)));
                tokenizer.with_decoder(Some(ByteLevel::default()));
                if tokenizer.token_to_id(END_OF_TEXT).is_some() {
                    let end = [AddedToken::from(END_OF_TEXT, true)];
                    tokenizer.add_special_tokens(end).map_err(|error| wrong(vocab, &error))?;
                }
                Ok(tokenizer)
            }
        }
    }
}

/// The tokenizer that the user names, a file or a directory, or the one beside the model.
pub(crate) fn load(named: Option<&Path>, model: &Path) -> Result<Tokenizer, Failure> {
    if let Some(path) = named {
        if path.is_file() {
            return Files::Whole(path.to_owned()).read();
        }
        return Files::of(path).map(|files| files.read()).unwrap_or_else(|| {
            let what = if path.is_dir() {
                "it holds neither tokenizer.json nor vocab.json and merges.txt"
            } else {
                "there is no such file"
            };
            Err(Failure::new(format_args!("cannot read the tokenizer {}: {what}", path.display())))
        });
    }
    let beside = if model.is_dir() { Some(model) } else { model.parent() };
    let beside = beside.filter(|path| !path.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match Files::of(beside) {
        Some(files) => files.read(),
        None => Err(Failure::new(format_args!(
            "no tokenizer lies in {}; give one with --tokenizer FILE|DIR, or tokens with --ids",
            beside.display()
        ))),
    }
}

/// The tokens of a text.
pub(crate) fn encode(tokenizer: &Tokenizer, text: &str) -> Result<Vec<u32>, Failure> {
    let encoding = tokenizer.encode(text, true);
    let encoding =
        encoding.map_err(|error| Failure::new(format_args!("cannot take the prompt apart: {error}")))?;
    Ok(encoding.get_ids().to_vec())
}

/// The text of tokens.
pub(crate) fn decode(tokenizer: &Tokenizer, tokens: &[u32]) -> Result<String, Failure> {
    tokenizer.decode(tokens, true).map_err(undecodable)
}

/// A token that the tokenizer cannot make text of.
pub(crate) fn undecodable(error: impl std::fmt::Display) -> Failure {
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
}
