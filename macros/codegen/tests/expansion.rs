//! What derives expand to. The inputs are compiled and run as well, by the tests of the whole.

use std::path::{Path, PathBuf};

use quote::ToTokens as _;
use transship_codegen::{derive_port, expand_mapping};
use transship_mappings::{LIBRARIES, SHIPPED};

/// The expansion of every derive in a file, formatted.
fn expansion(text: &str) -> String {
    let file = syn::parse_file(text).expect("the inputs are Rust");
    let structs = file.items.into_iter().filter(|item| matches!(item, syn::Item::Struct(_)));
    let all: proc_macro2::TokenStream = structs.map(|item| derive_port(item.into_token_stream())).collect();
    prettyplease::unparse(&syn::parse2(all).expect("the expansion is Rust"))
}

#[test]
fn small_mappings_expand() {
    insta::glob!("inputs/*.rs", |path| {
        let text = std::fs::read_to_string(path).expect("inputs are text");
        insta::assert_snapshot!(expansion(&text));
    });
}

#[test]
fn shipped_mappings_expand() {
    for shipped in SHIPPED {
        let (mut expanded, warnings) =
            expand_mapping(&shipped.source(), "Mapping").expect("shipped mappings check");
        assert!(warnings.list().is_empty(), "{warnings:?}");
        // The texts are there as they are.
        for part in std::iter::once(shipped).chain(LIBRARIES) {
            let (quoted, short) = (format!("{:?}", part.text), format!("\"(the text of {})\"", part.name));
            expanded = expanded.replace(&quoted, &short);
        }
        insta::assert_snapshot!(shipped.name, expanded);
    }
}

#[test]
fn the_same_input_expands_to_the_same_bytes() {
    let text = include_str!("inputs/nested_lists.rs");
    assert_eq!(expansion(text), expansion(text));
}

#[test]
fn mistakes_leave_an_implementation_that_checks() {
    let text = "#[port(shipped = \"megatron_gpt2\", side = gpt2)] struct Model { wte: Array }";
    let tokens = derive_port(text.parse().expect("it is Rust")).to_string();
    assert_eq!(tokens.matches("compile_error").count(), 2, "{tokens}");
    assert!(tokens.contains("Shape :: Unknown") && tokens.contains("RootModel for Model"), "{tokens}");
    assert!(!tokens.contains("check_part"), "{tokens}");
}

#[test]
fn every_file_of_a_mapping_is_tracked() {
    let text = "#[port(mapping = \"../../tests/mappings/ok/imports.mapping\")] pub struct Imports;";
    let code = derive_port(text.parse().expect("it is Rust")).to_string();
    let tracked: Vec<PathBuf> = code
        .split("include_bytes !")
        .skip(1)
        .map(|rest| rest.split('"').nth(1).expect("a path in quotes"))
        .map(|path| std::fs::canonicalize(path).expect("it is there"))
        .collect();
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/mappings");
    let files = ["ok/imports.mapping", "imports/megatron_side.mapping", "imports/modules.mapping"]
        .map(|file| std::fs::canonicalize(corpus.join(file)).expect("it is there"));
    for file in &files {
        assert!(tracked.contains(file), "{} is not among {tracked:?}", file.display());
    }
}

#[test]
fn what_no_code_is_generated_for_is_told() {
    let text = "\
mapping m : a <=> b

config {
    hidden = args.hidden <=> hidden
    heads  = args.heads  <=> heads
    vocab  = args.vocab  <=> vocab
    hidden = heads * head_dim
}

wte [vocab hidden]            <=>  wte [vocab hidden]
q [(heads head_dim) hidden]   <=>  q [(heads head_dim) hidden]

model m over a (tokens [batch seq] in vocab, gain? [batch]) -> y [batch seq heads head_dim] {
    let x = q(wte[tokens] * gain)
    attention(x, x, x, causal)
}
";
    let (code, told) =
        expand_mapping(&transship_grammar::Source::new("m.mapping", text), "M").expect("it checks");
    assert!(code.contains("pub struct Config") && !code.contains("mod model"), "{code}");
    let told = transship_grammar::render(&told, transship_grammar::Style::Full { colour: false });
    insta::assert_snapshot!(told);
}

/// The code of a model over `wte` and `q`, with these arguments besides `tokens`.
fn code_of(arguments: &str, body: &str) -> String {
    let text = format!(
        "\
mapping m : a <=> b

config {{
    hidden = args.hidden <=> hidden
    heads  = args.heads  <=> heads
    vocab  = args.vocab  <=> vocab
    kinds  = args.kinds  <=> kinds
    hidden = heads * head_dim
}}

wte [vocab hidden]            <=>  wte [vocab hidden]
q [(heads head_dim) hidden]   <=>  q [(heads head_dim) hidden]
kinds_of [kinds hidden]       <=>  kinds_of [kinds hidden]

model m over a (tokens [batch seq] in vocab, {arguments}) -> y [batch seq heads head_dim] {{
    {body}
}}
"
    );
    expand_mapping(&transship_grammar::Source::new("m.mapping", &text), "M").expect("it checks").0
}

#[test]
fn only_what_masks_and_types_tokens_is_a_masked_model() {
    let attend = "let x = q(wte[tokens] + kinds_of[kind])
    attention(x, x, x, mask: seen)";
    let masked = code_of("kind? [batch seq] in kinds, seen? [batch seq]", attend);
    assert!(masked.contains("impl MaskedLm for"), "{masked}");
    // A number of each token that is no mask.
    let weighted = "let x = q(wte[tokens] * gain + kinds_of[kind])
    attention(x, x, x)";
    let weighted = code_of("kind? [batch seq] in kinds, gain? [batch seq]", weighted);
    assert!(!weighted.contains("MaskedLm for"), "{weighted}");
    // No token sees another.
    let alone = code_of("kind? [batch seq] in kinds", "q(wte[tokens] + kinds_of[kind])");
    assert!(!alone.contains("MaskedLm for"), "{alone}");
}
