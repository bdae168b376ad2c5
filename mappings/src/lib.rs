//! The mappings that ship with transship, as text.

#![forbid(unsafe_code)]

use transship_grammar::{Found, Source, Target};

/// A mapping, or a library, that ships with transship.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shipped {
    /// The name it is asked for by, the same as in its first line.
    pub name: &'static str,
    /// Its text.
    pub text: &'static str,
}

impl Shipped {
    /// The text with the libraries that it imports.
    #[must_use]
    pub fn source(&self) -> Source {
        Source::load(&format!("{}.mapping", self.name), self.text, &mut |_, target| match target {
            Target::Library(name) => library(name),
            Target::Path(_) => Err("what ships imports libraries alone".to_owned()),
        })
    }
}

/// Every shipped mapping, by name. A checkpoint that fits several is converted by the first, so that Megatron-Core comes
/// before Megatron-LM's legacy classes.
pub const SHIPPED: &[Shipped] = &[
    Shipped { name: "mcore_gpt2", text: include_str!("../mcore_gpt2.mapping") },
    Shipped { name: "mcore_llama", text: include_str!("../mcore_llama.mapping") },
    Shipped { name: "mcore_mixtral", text: include_str!("../mcore_mixtral.mapping") },
    Shipped { name: "megatron_bert", text: include_str!("../megatron_bert.mapping") },
    Shipped { name: "megatron_gpt2", text: include_str!("../megatron_gpt2.mapping") },
    Shipped { name: "megatron_llama", text: include_str!("../megatron_llama.mapping") },
];

/// The shipped mapping called `name`.
#[must_use]
pub fn shipped(name: &str) -> Option<Shipped> {
    SHIPPED.iter().copied().find(|m| m.name == name)
}

/// What shipped mappings share, and others can import by name; by name.
pub const LIBRARIES: &[Shipped] = &[
    Shipped { name: "gpt2", text: include_str!("../library/gpt2.mapping") },
    Shipped { name: "hf_config", text: include_str!("../library/hf_config.mapping") },
    Shipped { name: "hugging_face", text: include_str!("../library/hugging_face.mapping") },
    Shipped { name: "llama", text: include_str!("../library/llama.mapping") },
    Shipped { name: "mcore", text: include_str!("../library/mcore.mapping") },
    Shipped { name: "megatron_args", text: include_str!("../library/megatron_args.mapping") },
    Shipped { name: "megatron_stages", text: include_str!("../library/megatron_stages.mapping") },
    Shipped { name: "megatron_tools", text: include_str!("../library/megatron_tools.mapping") },
    Shipped { name: "megatron_vocab", text: include_str!("../library/megatron_vocab.mapping") },
];

/// The shipped library called `name`, as `import NAME` finds it: the name it is shown under, and its text.
///
/// # Errors
/// There is none; the text says which there are.
pub fn library(name: &str) -> Result<Found, String> {
    match LIBRARIES.iter().find(|l| l.name == name) {
        Some(found) => Ok((format!("library/{name}.mapping"), found.text.to_owned())),
        None => {
            let names: Vec<&str> = LIBRARIES.iter().map(|l| l.name).collect();
            Err(format!("no such library; shipped are {}", names.join(", ")))
        }
    }
}
