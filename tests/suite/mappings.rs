//! The corpus of mappings: those that pass, and every mistake with its full text.
//!
//! Each file of `mappings/ok` must check without an error; each of `mappings/err` must not, unless a mistake
//! is only worth a warning. What is said of a file is a snapshot of its own, so a new case is a new file.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use proptest::sample::Index;
use transship_codegen::not_derivable;
use transship_grammar::{Code, Diagnostics, Source, Style, Target, beside, check, format, render};

const PLAIN: Style = Style::Full { colour: false };

/// The findings about a text of the corpus, and whether it is accepted. What the corpus imports is in
/// `mappings/imports`.
fn findings(name: &str, text: &str) -> (bool, Diagnostics) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("mappings/ok");
    let source = Source::load(name, text, &mut |from, target| match target {
        Target::Library(name) => transship_mappings::library(name),
        Target::Path(path) => {
            let path = beside(from, path);
            match fs::read_to_string(folder.join(&path)) {
                Ok(text) => Ok((path, text)),
                Err(_) => Err(format!("there is no file {path}")),
            }
        }
    });
    match check(&source) {
        Ok((mapping, mut warnings)) => {
            not_derivable(&mapping).list().iter().for_each(|warning| warnings.push(warning.clone()));
            (true, warnings)
        }
        Err(errors) => (false, errors),
    }
}

/// The same for a file of the corpus, shown under its bare name so that messages hold no path.
fn findings_of(path: &Path) -> (bool, Diagnostics) {
    let name = path.file_name().and_then(|n| n.to_str()).expect("corpus files have plain names");
    findings(name, &fs::read_to_string(path).expect("corpus files are text"))
}

fn corpus(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("mappings").join(folder);
    let mut all: Vec<PathBuf> = fs::read_dir(&folder)
        .expect("the corpus is there")
        .map(|entry| entry.expect("the corpus can be listed").path())
        .filter(|path| path.extension().is_some_and(|e| e == "mapping"))
        .collect();
    all.sort();
    all
}

#[test]
fn every_shipped_mapping_passes_without_a_warning() {
    for shipped in transship_mappings::SHIPPED {
        let said = match check(&shipped.source()) {
            Ok((_, warnings)) => warnings,
            Err(errors) => errors,
        };
        assert_eq!(render(&said, PLAIN), "", "{}", shipped.name);
    }
}

#[test]
fn mappings_of_every_construct_pass() {
    insta::glob!("../mappings", "ok/*.mapping", |path| {
        let (passes, said) = findings_of(path);
        let text = render(&said, PLAIN);
        assert!(passes, "{}\n{text}", path.display());
        insta::assert_snapshot!(text);
    });
}

#[test]
fn every_mistake_is_told_in_full() {
    insta::glob!("../mappings", "err/*.mapping", |path| {
        let (passes, said) = findings_of(path);
        assert!(!passes, "{} has no mistake", path.display());
        insta::assert_snapshot!(render(&said, PLAIN));
    });
}

#[test]
fn findings_can_be_one_line_each_or_json() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("mappings/err/several_mistakes.mapping");
    let (_, said) = findings_of(&path);
    let (short, json) = (render(&said, Style::Short), render(&said, Style::Json));
    assert_eq!(short.lines().count(), said.list().len());
    assert_eq!(json.lines().count(), said.list().len());
    insta::assert_snapshot!("short", short);
    insta::assert_snapshot!("json", json);
}

#[test]
fn the_corpus_has_every_code_that_needs_no_checkpoint() {
    let files = [corpus("err"), corpus("ok")].concat();
    let seen: BTreeSet<Code> = files
        .iter()
        .flat_map(|p| findings_of(p).1.list().iter().map(|d| d.code).collect::<Vec<_>>())
        .collect();
    let needed = Code::ALL.iter().filter(|c| c.needs_no_checkpoint());
    let missing: Vec<&str> = needed.filter(|c| !seen.contains(c)).map(|c| c.as_str()).collect();
    assert!(missing.is_empty(), "no corpus file has {missing:?}");
}

#[test]
fn every_finding_has_a_place_a_reason_and_a_text_without_echoes() {
    for path in corpus("err") {
        let (_, said) = findings_of(&path);
        for (i, one) in said.list().iter().enumerate() {
            let name = path.display();
            let primary = one.primary.as_ref().unwrap_or_else(|| panic!("{name}: {} has no place", one.code));
            assert!(!primary.text.is_empty(), "{name}: {} has an empty label", one.code);
            let first = one.message.chars().next().unwrap_or(' ');
            assert!(!first.is_uppercase(), "{name}: {}", one.message);
            let repeated = said.list()[..i].iter().any(|d| d.code == one.code && d.primary == one.primary);
            assert!(!repeated, "{name}: {} is reported twice at one place", one.code);
        }
    }
}

/// A corpus file with one stretch cut out and another stretch of the corpus put in its place.
fn damaged() -> impl Strategy<Value = String> {
    let texts: Vec<String> = [corpus("ok"), corpus("err")]
        .concat()
        .iter()
        .map(|p| fs::read_to_string(p).expect("corpus files are text"))
        .collect();
    let count = texts.len();
    let cut = (0..count, any::<Index>(), 0..40usize);
    (cut.clone(), cut).prop_map(move |((into, at, cut), (from, start, length))| {
        let into: Vec<char> = texts[into].chars().collect();
        let from: Vec<char> = texts[from].chars().collect();
        let at = at.index(into.len() + 1);
        let start = start.index(from.len() + 1);
        let put = from[start..].iter().take(length);
        into[..at].iter().chain(put).chain(into[at..].iter().skip(cut)).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn damaged_mappings_are_told_of_and_never_a_panic(text in damaged()) {
        let (passes, said) = findings("damaged.mapping", &text);
        prop_assert_eq!(passes, !said.has_errors());
        for style in [PLAIN, Style::Short, Style::Json] {
            prop_assert_eq!(render(&said, style).is_empty(), said.list().is_empty());
        }
        for one in said.list() {
            let primary = one.primary.as_ref().expect("a mistake in a text has a place");
            prop_assert!(!primary.text.is_empty(), "{:?}", one);
            let imported = said.source().name_at(primary.span.start) != "damaged.mapping";
            prop_assert!(imported || text.get(primary.span.range()).is_some(), "{:?}", one);
        }
    }
}

#[test]
fn every_shipped_mapping_is_formatted() {
    for shipped in transship_mappings::SHIPPED.iter().chain(transship_mappings::LIBRARIES) {
        let formatted = format(&Source::new(shipped.name, shipped.text)).ok();
        assert_eq!(formatted.as_deref(), Some(shipped.text), "{}", shipped.name);
    }
}
