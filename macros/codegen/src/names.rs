//! Rust names for what mappings call by other names.

use proc_macro2::{Ident, Span};

/// An identifier: what cannot stand in one becomes `_`, keywords become raw.
pub(crate) fn ident(text: &str) -> Ident {
    let mut name: String =
        text.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' }).collect();
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
        name.insert(0, '_');
    }
    if name == "_" {
        name = "__".to_owned();
    }
    match name.as_str() {
        "self" | "Self" | "super" | "crate" => Ident::new(&format!("{name}_"), Span::mixed_site()),
        _ if syn::parse_str::<Ident>(&name).is_ok() => Ident::new(&name, Span::mixed_site()),
        _ => Ident::new_raw(&name, Span::mixed_site()),
    }
}

/// `c_attn` and `layers` as a type is called: `CAttn`, `Layers`.
pub(crate) fn pascal(text: &str) -> String {
    let mut name = String::new();
    for word in text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|w| !w.is_empty()) {
        let mut chars = word.chars();
        name.extend(chars.next().map(|c| c.to_ascii_uppercase()));
        name.push_str(chars.as_str());
    }
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
        name.insert(0, 'P');
    }
    name
}

/// `MegatronGpt2` as a module is called: `megatron_gpt2`.
pub(crate) fn snake(text: &str) -> String {
    let mut name = String::new();
    let chars: Vec<char> = text.chars().collect();
    for (i, c) in chars.iter().enumerate() {
        let boundary = i > 0
            && c.is_ascii_uppercase()
            && (!chars[i - 1].is_ascii_uppercase() || chars.get(i + 1).is_some_and(char::is_ascii_lowercase));
        if boundary && !name.ends_with('_') {
            name.push('_');
        }
        name.push(c.to_ascii_lowercase());
    }
    name
}

/// How the names of a model's parameters are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Case {
    Lower,
    Upper,
    Pascal,
    Camel,
    Snake,
    ScreamingSnake,
    Kebab,
    ScreamingKebab,
}

impl Case {
    /// By the names that serde gives them.
    pub(crate) const ALL: [(&'static str, Case); 8] = [
        ("lowercase", Case::Lower),
        ("UPPERCASE", Case::Upper),
        ("PascalCase", Case::Pascal),
        ("camelCase", Case::Camel),
        ("snake_case", Case::Snake),
        ("SCREAMING_SNAKE_CASE", Case::ScreamingSnake),
        ("kebab-case", Case::Kebab),
        ("SCREAMING-KEBAB-CASE", Case::ScreamingKebab),
    ];

    /// A field's name, itself in snake case, in this one.
    pub(crate) fn apply(self, field: &str) -> String {
        match self {
            Case::Lower | Case::Snake => field.to_owned(),
            Case::Upper | Case::ScreamingSnake => field.to_ascii_uppercase(),
            Case::Pascal => pascal(field),
            Case::Camel => {
                let name = pascal(field);
                name[..1].to_ascii_lowercase() + &name[1..]
            }
            Case::Kebab => field.replace('_', "-"),
            Case::ScreamingKebab => field.to_ascii_uppercase().replace('_', "-"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Case, ident, pascal, snake};

    #[test]
    fn fields_are_renamed() {
        let renamed = Case::ALL.map(|(_, case)| case.apply("ln_first"));
        assert_eq!(
            renamed,
            ["ln_first", "LN_FIRST", "LnFirst", "lnFirst", "ln_first", "LN_FIRST", "ln-first", "LN-FIRST"]
        );
    }

    #[test]
    fn names_become_identifiers() {
        let shown = ["weight", "0", "a-b", "type", "self", "_", "in"].map(|n| ident(n).to_string());
        assert_eq!(shown, ["weight", "_0", "a_b", "r#type", "self_", "__", "r#in"]);
    }

    #[test]
    fn names_become_types_and_modules() {
        assert_eq!(["c_attn", "h", "0", "gpt2"].map(pascal), ["CAttn", "H", "P0", "Gpt2"]);
        assert_eq!(
            ["MegatronGpt2", "GPT2", "HTTPServer", "x"].map(snake),
            ["megatron_gpt2", "gpt2", "http_server", "x"]
        );
    }
}
