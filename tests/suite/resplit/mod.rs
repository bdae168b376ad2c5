//! Splits over ranks: from a model to any split, from one split to another and back, against a slicer that cuts every
//! parameter by hand.

mod model;
mod parameter;
mod reference;
mod split;

use std::path::Path;

use proptest::prelude::*;
use proptest::sample::select;
use transship::Checkpoint;

use crate::command::Workplace;
use crate::oracle::{assert_same_tensors, read_tensors};
use model::{Family, Model};
use split::{Ranks, Split};

fn convert(workplace: &Workplace, model: &Model, args: &[&str], split: Option<&Split>) {
    let mapping = model.family.mapping();
    let mut words = vec!["convert", "--mapping", mapping, "--quiet", "--no-sync"];
    words.extend(args);
    let options = split.map(Split::options).unwrap_or_default();
    if split.is_some() {
        words.extend(["--to", model.family.side()]);
    }
    words.extend(options.iter().map(String::as_str));
    let done = workplace.run(&words);
    assert_eq!(done.code, 0, "{words:?} of {model:?}\n{}{}", done.out, done.err);
}

/// A parameter: its rank, name, dtype, shape and elements.
type Listed = (String, String, String, Vec<u64>, Vec<u8>);

/// All parameters, rank by rank in the order of the files.
fn listed(directory: &Path) -> Vec<Listed> {
    let checkpoint = Checkpoint::open(directory).unwrap_or_else(|e| panic!("{e}"));
    let rank = |number: usize| checkpoint.ranks()[number].name.clone();
    let one = |t: &transship::Tensor| {
        let bytes = checkpoint.array(t).bytes().expect("small").into_owned();
        (rank(t.rank), t.name.clone(), t.dtype.name().to_owned(), t.shape.clone(), bytes)
    };
    checkpoint.tensors().iter().map(one).collect()
}

fn assert_is_cut_as(expected: &Ranks, directory: &Path, what: &str) {
    let mut got: std::collections::BTreeMap<(String, String), (Vec<u64>, Vec<u8>)> = listed(directory)
        .into_iter()
        .map(|(rank, name, dtype, shape, bytes)| {
            assert_eq!(dtype, "f32");
            ((rank, name), (shape, bytes))
        })
        .collect();
    for (rank, parameters) in expected {
        for (name, parameter) in parameters {
            let found = got.remove(&(rank.clone(), name.clone()));
            let (shape, bytes) = found.unwrap_or_else(|| panic!("{what}: {name} of {rank} is missing"));
            let wanted: Vec<u64> = parameter.shape.iter().map(|n| *n as u64).collect();
            assert_eq!(shape, wanted, "{what}: {name} of {rank}");
            assert!(bytes == parameter.bytes(), "{what}: {name} of {rank} has other elements");
        }
    }
    assert_eq!(got.keys().collect::<Vec<_>>(), Vec::<&(String, String)>::new(), "{what}: too much");
}

fn check_case(model: &Model, [a, b]: [&Split; 2]) {
    let workplace = Workplace::new();
    let (vocab, divisor) = (format!("vocab={}", model.vocab), format!("divisor={}", model.divisor));
    let (vocab, divisor) = (["--set", &vocab], ["--set", &divisor]);
    let run = |paths: [&str; 2], set: [&str; 2], split: Option<&Split>| {
        convert(&workplace, model, &[&paths[..], &set[..]].concat(), split);
    };
    // Whose names are written is asked for once: what is split anew keeps those it has.
    let local = if model.local { &["--set", "impl=local"][..] } else { &[] };
    let write = |paths: [&str; 2], split: &Split| {
        convert(&workplace, model, &[&paths[..], &divisor, local].concat(), Some(split));
    };
    model.write(&workplace.path("hf"));
    write(["@hf", "@a"], a);
    assert_is_cut_as(&a.of(model), &workplace.path("a"), "a");
    run(["@a", "@b"], vocab, Some(b));
    assert_is_cut_as(&b.of(model), &workplace.path("b"), "b");
    for (split, merged) in [("@a", "merged-a"), ("@b", "merged-b")] {
        run([split, &format!("@{merged}")], vocab, None);
        assert_same_tensors(
            &model.tensors(),
            &read_tensors(&workplace.path(merged).join("model.safetensors")),
        );
    }
    write(["@merged-a", "@through"], b);
    assert!(listed(&workplace.path("through")) == listed(&workplace.path("b")), "b by the merged model");
    run(["@b", "@back"], vocab, Some(a));
    assert!(listed(&workplace.path("back")) == listed(&workplace.path("a")), "back to a");
}

/// Layers of `count` stages, any of which may have none.
fn blocks(layers: usize, count: usize) -> impl Strategy<Value = Vec<usize>> {
    let even = (layers.is_multiple_of(count)).then(|| vec![layers / count; count]);
    let cuts = proptest::collection::vec(0..=layers, count - 1);
    (cuts, any::<bool>()).prop_map(move |(mut cuts, keep_even)| {
        if let (Some(even), true) = (&even, keep_even) {
            return even.clone();
        }
        cuts.sort_unstable();
        let ends = cuts.iter().copied().chain([layers]);
        let starts = std::iter::once(0).chain(cuts.iter().copied());
        ends.zip(starts).map(|(end, start)| end - start).collect()
    })
}

fn split(model: &Model) -> impl Strategy<Value = Split> + use<> {
    let experts = if model.family == Family::McoreMixtral { vec![1, 2, 4] } else { vec![1] };
    let layers = model.layers;
    let counts = (select(vec![1, 2, 4]), select(vec![1, 2, 4]), select(vec![1, 2]), select(experts));
    counts.prop_flat_map(move |(tp, pp, vpp, ep)| {
        let vpp = if pp > 1 { vpp } else { 1 };
        blocks(layers, pp * vpp).prop_map(move |blocks| Split { tp, pp, vpp, ep, blocks })
    })
}

/// Sizes that are all different, each a multiple of four where tensor ranks share it.
fn model(family: Family) -> impl Strategy<Value = Model> {
    let heads = if family.is_gpt2() {
        select(vec![(4, 4), (8, 8)]).boxed()
    } else {
        select(vec![(4, 1), (4, 2), (4, 4), (8, 1), (8, 2), (12, 3), (12, 2)]).boxed()
    };
    let sizes = (heads, select(vec![6, 10, 14]), select(vec![20, 28, 44, 52]), 31..=67usize);
    let rest =
        (3..=6usize, select(vec![15, 17, 19]), select(vec![18, 22, 26, 34]), select(vec![2, 4, 8, 32]));
    (sizes, rest, any::<bool>(), any::<u64>()).prop_map(
        move |((heads, head_dim, ffn, vocab), (layers, positions, hidden, divisor), tied, seed)| Model {
            family,
            layers,
            heads: heads.0,
            groups: heads.1,
            head_dim,
            hidden: if family.is_gpt2() { heads.0 * head_dim } else { hidden },
            ffn,
            vocab,
            positions,
            experts: 8,
            tied: family.is_gpt2() || (tied && family == Family::McoreLlama),
            local: seed % 2 == 1 && family.is_core(),
            divisor,
            seed,
        },
    )
}

fn case(family: Family) -> impl Strategy<Value = (Model, Split, Split)> {
    model(family).prop_flat_map(|model| {
        let splits = (split(&model), split(&model));
        (Just(model), splits).prop_map(|(model, (a, b))| (model, a, b))
    })
}

/// What can go wrong in a case alone.
fn traits(model: &Model, splits: [&Split; 2]) -> Vec<&'static str> {
    let any = |holds: &dyn Fn(&Split) -> bool| splits.iter().any(|split| holds(split));
    let uneven = |split: &Split| split.blocks.iter().any(|block| *block != split.blocks[0]);
    let of_all = [
        ("tensor ranks change", splits[0].tp != splits[1].tp),
        ("four tensor ranks", any(&|s| s.tp == 4)),
        ("four stages", any(&|s| s.pp == 4)),
        ("virtual stages", any(&|s| s.vpp == 2)),
        ("uneven virtual stages", any(&|s| s.vpp == 2 && uneven(s))),
        ("a stage without layers", any(&|s| s.blocks.contains(&0))),
        ("even stages", any(&|s| s.pp > 1 && !uneven(s))),
        ("part of a group on each rank", any(&|s| s.tp > model.groups)),
        ("several groups on each rank", any(&|s| s.tp > 1 && s.tp < model.groups)),
        ("experts on other ranks", any(&|s| s.ep > 1)),
        ("a tied head on another stage", model.tied && any(&|s| s.pp > 1)),
        ("names of local layers", model.local),
        ("names of Transformer Engine", model.family.is_core() && !model.local),
    ];
    of_all.into_iter().filter(|(_, is)| *is).map(|(name, _)| name).collect()
}

const NAMES: [&str; 2] = ["names of local layers", "names of Transformer Engine"];

/// The same cases on every run; those that are `wanted` must be among them.
fn check_cases(family: Family, count: u32, wanted: &[&str]) {
    let seen = std::cell::RefCell::new(std::collections::BTreeSet::new());
    let config = ProptestConfig { cases: count, failure_persistence: None, ..ProptestConfig::default() };
    let algorithm = config.rng_algorithm;
    let random = proptest::test_runner::TestRng::deterministic_rng(algorithm);
    let mut runner = proptest::test_runner::TestRunner::new_with_rng(config, random);
    let checked = runner.run(&case(family), |(model, a, b)| {
        seen.borrow_mut().extend(traits(&model, [&a, &b]));
        check_case(&model, [&a, &b]);
        Ok(())
    });
    checked.unwrap_or_else(|e| panic!("{e}"));
    let always = ["tensor ranks change", "four tensor ranks", "four stages", "virtual stages", "even stages"];
    let always = always.into_iter().chain(["uneven virtual stages", "a stage without layers"]);
    for name in always.chain(wanted.iter().copied()) {
        assert!(seen.borrow().contains(name), "no case of {family:?} has {name}");
    }
}

#[test]
fn a_model_all_of_whose_sizes_are_alike() {
    let model = Model {
        family: Family::McoreLlama,
        layers: 4,
        heads: 4,
        groups: 2,
        head_dim: 4,
        hidden: 16,
        ffn: 16,
        vocab: 16,
        positions: 16,
        experts: 0,
        tied: false,
        local: false,
        divisor: 4,
        seed: 11,
    };
    let one = Split { tp: 2, pp: 2, vpp: 1, ep: 1, blocks: vec![2, 2] };
    let other = Split { tp: 4, pp: 2, vpp: 2, ep: 1, blocks: vec![1, 1, 1, 1] };
    check_case(&model, [&one, &other]);
}

#[test]
fn megatron_gpt2_is_split_and_split_anew() {
    check_cases(Family::MegatronGpt2, 8, &["a tied head on another stage"]);
}

#[test]
fn mcore_gpt2_is_split_and_split_anew() {
    check_cases(Family::McoreGpt2, 8, &[&NAMES[..], &["a tied head on another stage"]].concat());
}

#[test]
fn megatron_llama_is_split_and_split_anew() {
    check_cases(Family::MegatronLlama, 8, &["part of a group on each rank"]);
}

#[test]
fn mcore_llama_is_split_and_split_anew() {
    let groups = ["part of a group on each rank", "several groups on each rank"];
    check_cases(Family::McoreLlama, 12, &[&NAMES[..], &groups, &["a tied head on another stage"]].concat());
}

#[test]
fn mcore_mixtral_is_split_and_split_anew() {
    let wanted = ["experts on other ranks", "part of a group on each rank"];
    check_cases(Family::McoreMixtral, 6, &[&NAMES[..], &wanted].concat());
}
