//! The inputs whose expansion is snapshotted, compiled and run.

use transship::grammar::SideId;
use transship::port::{Port, RootModel, SaveModel, SideTree, Spec, load_tree, specs};
use transship::{Array, BindOptions, Checkpoint, DType, Setting};

#[path = "../../macros/codegen/tests/inputs/choice.rs"]
mod choice;
#[path = "../../macros/codegen/tests/inputs/conditions.rs"]
mod conditions;
#[path = "../../macros/codegen/tests/inputs/keywords.rs"]
mod keywords;
#[path = "../../macros/codegen/tests/inputs/leaf_lists.rs"]
mod leaf_lists;
#[path = "../../macros/codegen/tests/inputs/nested_lists.rs"]
mod nested_lists;
#[path = "../../macros/codegen/tests/inputs/optional.rs"]
mod optional;
#[path = "../../macros/codegen/tests/inputs/square.rs"]
mod square;

fn options(settings: &[(&str, &str)]) -> BindOptions {
    let set = |(name, value): &(&str, &str)| Setting { name: (*name).to_owned(), value: (*value).to_owned() };
    BindOptions { settings: settings.iter().map(set).collect(), ..BindOptions::default() }
}

/// A checkpoint of one side, whose elements count on through all parameters.
fn counting<M: RootModel>(side: SideId, options: &BindOptions, keep: &dyn Fn(&Spec) -> bool) -> Checkpoint {
    let all = specs(M::mapping(), &options.settings, side).expect("the settings are whole");
    let mut next = 0u8;
    let mut arrays = Vec::new();
    for spec in all.into_iter().filter(keep) {
        let shape = spec.shape.expect("layouts have shapes");
        let count = u8::try_from(shape.iter().product::<u64>()).expect("small");
        let bytes: Vec<u8> = (next..next + count).collect();
        next += count;
        arrays.push((spec.name, Array::new(DType::U8, &shape, bytes).expect("the bytes fit")));
    }
    Checkpoint::in_memory("counting", arrays).expect("names differ")
}

fn bytes(array: &Array) -> Vec<u8> {
    array.bytes().expect("small").into_owned()
}

/// Loads from the left side's parameters and from the right side's own, which must be the same model.
fn load<M: RootModel + SaveModel>(settings: &[(&str, &str)], keep: &dyn Fn(&Spec) -> bool) -> M {
    let options = options(settings);
    let model =
        M::load(&counting::<M>(SideId::Left, &options, keep), &options).unwrap_or_else(|e| panic!("{e}"));
    let parameters = model.parameters().expect("arrays are given back");
    let own = Checkpoint::in_memory("own", parameters.clone()).expect("names differ");
    let again = M::load(&own, &options).unwrap_or_else(|e| panic!("{e}")).parameters().expect("arrays");
    assert_eq!(again.len(), parameters.len());
    for ((name, array), (name_again, array_again)) in parameters.iter().zip(&again) {
        assert_eq!(
            (name, array.shape(), bytes(array)),
            (name_again, array_again.shape(), bytes(array_again))
        );
    }
    model
}

#[test]
fn lists_in_lists() {
    let settings = [("hidden", "3"), ("ffn", "2"), ("layers", "2"), ("experts", "2")];
    let model: nested_lists::Model = load(&settings, &|_| true);
    let names: Vec<String> = model.parameters().expect("arrays").into_iter().map(|(name, _)| name).collect();
    let expected = ["h.1.e00.w1.weight", "h.1.e01.w1.weight", "h.1.gate.weight", "h.2.e00.w1.weight"];
    assert_eq!(names[..4], expected);
    // The second layer's first expert is the third of the left side: 12 up to 18, as 2 rows of 3.
    assert_eq!(bytes(&model.h[1].experts[0].up), [12, 15, 13, 16, 14, 17]);
    assert_eq!((model.h.len(), model.h[1].experts.len(), model.h[0].gate.shape()), (2, 2, &[2, 3][..]));
}

#[test]
fn lists_of_bare_parameters() {
    let options = options(&[("hidden", "2"), ("experts", "3")]);
    let right = counting::<leaf_lists::Model>(SideId::Right, &options, &|_| true);
    let model = leaf_lists::Model::load(&right, &options).unwrap_or_else(|e| panic!("{e}"));
    let experts: Vec<Vec<u8>> = model.experts.iter().map(bytes).collect();
    assert_eq!(experts, [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]);
    let names: Vec<String> = model.parameters().expect("arrays").into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["moe.experts.0", "moe.experts.1", "moe.experts.2"]);
}

#[test]
fn optional_parameters_and_parts() {
    let settings = [("wide", "3"), ("narrow", "2")];
    let all: optional::Model = load(&settings, &|_| true);
    assert_eq!(bytes(&all.c_fc.weight), [0, 2, 4, 1, 3, 5]);
    assert!(all.c_fc.bias.is_some());
    assert_eq!(all.norm.as_ref().map(|norm| norm.gain.shape().to_vec()), Some(vec![3]));
    let few: optional::Model = load(&settings, &|spec| !spec.optional);
    assert!(few.c_fc.bias.is_none() && few.norm.is_none());
}

#[test]
fn parts_of_some_configs_and_some_layers() {
    let model = |first: &str, tied: &str| -> conditions::Model {
        load(&[("wide", "2"), ("layers", "3"), ("first", first), ("tied", tied)], &|_| true)
    };
    let dense =
        |model: &conditions::Model| model.h.iter().map(|layer| layer.ffn.is_some()).collect::<Vec<_>>();
    let sparse =
        |model: &conditions::Model| model.h.iter().map(|layer| layer.gate.is_some()).collect::<Vec<_>>();
    let mixed = model("1", "false");
    assert_eq!((dense(&mixed), sparse(&mixed)), (vec![true, false, false], vec![false, true, true]));
    assert!(mixed.lm_head.is_some_and(|head| head.weight.shape() == [2]));
    let tied = model("3", "true");
    assert_eq!((dense(&tied), sparse(&tied)), (vec![true; 3], vec![false; 3]));
    assert!(tied.lm_head.is_none());
}

#[test]
fn trees_hold_what_some_configs_and_some_layers_have() {
    for (first, tied) in [("0", "true"), ("2", "false"), ("3", "true")] {
        let options = options(&[("wide", "2"), ("layers", "3"), ("first", first), ("tied", tied)]);
        let left = counting::<conditions::Model>(SideId::Left, &options, &|_| true);
        let one: conditions::mapping::One<Array> =
            load_tree(&left, &options).unwrap_or_else(|e| panic!("{e}"));
        let two: conditions::mapping::Two<Array> =
            load_tree(&left, &options).unwrap_or_else(|e| panic!("{e}"));
        let first: usize = first.parse().expect("a number");
        assert_eq!(one.layers.iter().filter(|layer| layer.mlp.is_some()).count(), first);
        assert_eq!(two.h.iter().filter(|layer| layer.gate.is_some()).count(), 3 - first);
        assert_eq!((one.head.is_some(), two.lm_head.is_some()), (tied == "false", tied == "false"));
        assert_eq!(two.parameters().len(), left.tensors().len());
    }
}

#[test]
fn names_that_are_no_identifiers() {
    let model: keywords::Model = load(&[("hidden", "2")], &|_| true);
    assert_eq!((bytes(&model.r#match.r#in), bytes(&model.own.a_b)), (vec![0, 1], vec![2, 3]));
}

#[test]
fn square_matrices_are_transposed() {
    let model: square::Model = load(&[("hidden", "2")], &|_| true);
    assert_eq!((bytes(&model.c_proj.weight), bytes(&model.c_proj.bias)), (vec![0, 2, 1, 3], vec![4, 5]));
}

#[test]
fn layouts_follow_the_config() {
    let of = |version| {
        let model: choice::Model =
            load(&[("heads", "2"), ("head_dim", "1"), ("version", version)], &|_| true);
        bytes(&model.attn.c_attn)
    };
    assert_eq!(of("0"), [0, 1, 2, 3, 4, 5]);
    assert_eq!(of("1"), [0, 3, 1, 4, 2, 5]);
}

#[test]
fn both_sides_are_trees() {
    let names = [choice::Mapping::NAME, keywords::Mapping::NAME, leaf_lists::Mapping::NAME];
    assert_eq!(names, ["choice", "keywords", "leaf_lists"]);
    assert_eq!(conditions::Mapping::NAME, "conditions");
    let names = [nested_lists::Mapping::NAME, optional::Mapping::NAME, square::Mapping::NAME];
    assert_eq!(names, ["nested_lists", "optional", "square"]);
    let options = options(&[("hidden", "3"), ("ffn", "2"), ("layers", "2"), ("experts", "2")]);
    let left = counting::<nested_lists::Model>(SideId::Left, &options, &|_| true);
    let tree: nested_lists::mapping::Two<Array> =
        load_tree(&left, &options).unwrap_or_else(|e| panic!("{e}"));
    let names: Vec<String> = tree.parameters().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names[2..4], ["h.1.gate.weight", "h.2.e00.w1.weight"]);
    assert_eq!(bytes(tree.parameter("h.2.e00.w1.weight").expect("it is there")), [12, 15, 13, 16, 14, 17]);
}

/// Another name of the crate, as a user's `Cargo.toml` can give it one.
mod renamed {
    pub(super) use ::transship as port_tool;
}

/// Generated code finds everything without the prelude, and under the crate's other name.
mod bare {
    #![no_implicit_prelude]
    #![deny(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]

    use super::renamed::port_tool::{Array, Port};

    #[derive(Port)]
    #[port(shipped = "megatron_gpt2", crate = crate::port_inputs::renamed::port_tool)]
    pub(super) struct Gpt2Port;

    #[derive(Port)]
    #[port(crate = crate::port_inputs::renamed::port_tool)]
    pub(super) struct Norm {
        pub(super) weight: Array,
        bias: Array,
    }

    #[derive(Port)]
    #[port(shipped = "megatron_gpt2", side = gpt2, partial, crate = "crate::port_inputs::renamed::port_tool")]
    pub(super) struct Ends {
        #[port("transformer.ln_f")]
        pub(super) norm: Norm,
        #[port(skip)]
        _calls: u8,
    }
}

#[test]
fn generated_code_needs_no_prelude() {
    let file = crate::oracle::data("hf/b_v1_fp32_args/expected");
    let ends = bare::Ends::load(&Checkpoint::open(&file).expect("it opens"), &BindOptions::default());
    assert_eq!(ends.unwrap_or_else(|e| panic!("{e}")).norm.weight.shape(), [48]);
    assert_eq!(bare::Gpt2Port::NAME, "megatron_gpt2");
}
