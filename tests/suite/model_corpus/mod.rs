//! Models of the corpus, loaded and run against what their text says, computed by hand in f64.
#![deny(warnings, clippy::all)]

mod causal;
mod reference;
mod whole;

/// Models of the corpus.
mod corpus {
    use transship::Port;

    #[derive(Port)]
    #[port(mapping = "mappings/ok/model_of_a_decoder.mapping", model)]
    pub(crate) struct Decoder;

    #[derive(Port)]
    #[port(mapping = "mappings/ok/model_of_an_encoder.mapping", model)]
    pub(crate) struct Encoder;

    #[derive(Port)]
    #[port(mapping = "mappings/ok/model_of_experts.mapping", model)]
    pub(crate) struct Experts;

    #[derive(Port)]
    #[port(mapping = "mappings/ok/model_with_choices.mapping", model)]
    pub(crate) struct Choices;

    #[derive(Port)]
    #[port(mapping = "mappings/ok/model_with_functions_and_joins.mapping", model)]
    pub(crate) struct Functions;

    #[derive(Port)]
    #[port(mapping = "mappings/ok/model_with_values_nothing_reads.mapping", model)]
    pub(crate) struct Unread;
}

const HIDDEN: usize = 18;
const HEADS: usize = 3;
const HEAD_DIM: usize = 6;
const LAYERS: usize = 2;
const FFN: usize = 5;
const VOCAB: usize = 11;

/// What every mapping has in its config.
const SIZES: [(&str, &str); 5] =
    [("hidden", "18"), ("heads", "3"), ("layers", "2"), ("ffn", "5"), ("vocab", "11")];

/// Two texts of seven tokens.
const TEXTS: [[u32; 7]; 2] = [[3, 1, 10, 0, 2, 5, 3], [7, 4, 4, 9, 1, 6, 8]];
