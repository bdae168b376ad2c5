//! What derives expand to. The inputs are compiled and run as well, by the tests of the whole.

use quote::ToTokens as _;
use transship_codegen::{derive_port, expand_mapping};
use transship_grammar::Source;

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
    for shipped in transship_mappings::SHIPPED {
        let source = Source::new(&format!("{}.mapping", shipped.name), shipped.text);
        let expanded = expand_mapping(&source, "Mapping").expect("shipped mappings check");
        // The text of the mapping is there as it is.
        let quoted = format!("{:?}", shipped.text);
        insta::assert_snapshot!(shipped.name, expanded.replace(&quoted, "\"(the text)\""));
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
