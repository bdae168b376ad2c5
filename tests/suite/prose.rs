//! What is written for readers: every example in it must do what the text around it says.

use std::fs;
use std::path::Path;

use transship_codegen::not_derivable;
use transship_grammar::{Code, Diagnostics, Source, Style, Target, beside, check, check_library, render};

/// Config that examples without a first line of their own can rely on.
const PRELUDE: &str = "mapping example : a <=> b

config {
    hidden = args.hidden <=> n_embd
    heads  = args.heads  <=> n_head
    layers: int = args.layers <=> n_layer
    ffn: int    = args.ffn    <=> n_inner
    vocab: int  = args.vocab  <=> vocab_size
    hidden = heads * head_dim
}

";

/// A fenced block: what follows the fence, and the text in it.
struct Block {
    info: String,
    text: String,
}

impl Block {
    fn is_whole(&self) -> bool {
        self.text.lines().any(|l| l.starts_with("mapping ") || l.starts_with("library "))
    }

    /// What it imports is a block of the same text that begins with `library` and the name of the file.
    fn findings(&self, name: &str, all: &[Block]) -> Result<Diagnostics, Diagnostics> {
        let text = if self.is_whole() { self.text.clone() } else { format!("{PRELUDE}{}", self.text) };
        let source = Source::load(name, &text, &mut |from, target| match target {
            Target::Library(library) => transship_mappings::library(library),
            Target::Path(path) => {
                let path = beside(from, path);
                let header = format!("library {}", path.trim_end_matches(".mapping"));
                let found = all.iter().find(|b| b.text.lines().any(|l| l == header));
                found
                    .map(|b| (path.clone(), b.text.clone()))
                    .ok_or_else(|| format!("there is no file {path}"))
            }
        });
        match check_library(&source) {
            Some(said) if self.info == "mapping" => {
                if said.has_errors() {
                    Err(said)
                } else {
                    Ok(said)
                }
            }
            _ => check(&source).map(|(mapping, mut warnings)| {
                not_derivable(&mapping).list().iter().for_each(|warning| warnings.push(warning.clone()));
                warnings
            }),
        }
    }
}

fn blocks(markdown: &str) -> Vec<Block> {
    let mut all = Vec::new();
    let mut open: Option<Block> = None;
    for line in markdown.lines() {
        match (line.strip_prefix("```"), &mut open) {
            (Some(info), None) => open = Some(Block { info: info.to_owned(), text: String::new() }),
            (Some(_), Some(_)) => all.extend(open.take()),
            (None, Some(block)) => {
                block.text.push_str(line);
                block.text.push('\n');
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a block is not closed");
    all
}

fn plain(diagnostics: &Diagnostics) -> String {
    render(diagnostics, Style::Full { colour: false })
}

#[test]
fn every_code_is_explained() {
    for code in Code::ALL {
        let text = code.explanation();
        let lines = text.lines().count();
        assert_eq!(text.lines().next(), Some(format!("# {code}: {}", code.title()).as_str()));
        assert!(!text.to_lowercase().contains("placeholder"), "{code} is not explained");
        assert!((8..=30).contains(&lines), "the explanation of {code} has {lines} lines");
        assert!(text.lines().all(|l| l.chars().count() <= 100), "{code} has a line that is too long");
    }
}

#[test]
fn wrong_examples_of_explanations_have_the_mistake_and_right_ones_have_none() {
    for code in Code::ALL {
        let of_mapping = code.needs_no_checkpoint();
        let blocks = blocks(code.explanation());
        let (wrong, right): (Vec<_>, Vec<_>) =
            blocks.iter().filter(|b| b.info.starts_with("mapping")).partition(|b| b.info == "mapping wrong");
        assert_eq!((wrong.is_empty(), right.is_empty()), (!of_mapping, !of_mapping), "{code}");
        for block in wrong {
            let (Ok(said) | Err(said)) = block.findings(code.as_str(), &blocks);
            assert!(said.list().iter().any(|d| d.code == *code), "{code}:\n{}\n{}", block.text, plain(&said));
        }
        for block in right {
            let said =
                block.findings(code.as_str(), &blocks).unwrap_or_else(|e| panic!("{code}:\n{}", plain(&e)));
            assert!(said.list().is_empty(), "{code}:\n{}", plain(&said));
        }
    }
}

#[test]
fn examples_of_the_language_reference_pass_and_its_codes_exist() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/language.md");
    let text = fs::read_to_string(path).expect("the reference is there");
    let all = blocks(&text);
    let examples: Vec<&Block> = all.iter().filter(|b| b.info == "mapping").collect();
    assert!(examples.iter().any(|b| b.is_whole()), "the reference has no whole mapping");
    for block in examples {
        if let Err(said) = block.findings("language.md", &all) {
            panic!("{}\n{}", block.text, plain(&said));
        }
    }
    let codes: Vec<&str> = text
        .match_indices("TS0")
        .map(|(at, _)| text.get(at..at + 6).expect("a code has six characters"))
        .collect();
    for code in &codes {
        assert!(Code::parse(code).is_some(), "{code} does not exist");
    }
    for code in Code::ALL {
        assert!(codes.contains(&code.as_str()), "{code} is not in the reference");
    }
}
