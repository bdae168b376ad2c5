//! Mappings in which everything meets that can: ranks, virtual stages, several roots, chunks, padding, broadcasts, replicas
//! that lie otherwise and are of other types, ties, steps, fills and renamings; converted there and back, split over other
//! ranks and verified, against a reference that takes every stored index apart on its own.
//!
//! `PROPTEST_CASES` sets how many cases there are.

mod case;
mod layout;
mod reference;
mod store;

use std::path::Path;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use transship::grammar::{Diagnostics, Mapping, SideId, Source, Style, check, render};
use transship::{BindOptions, Binding, Checkpoint, Plan, PlanOptions, Verify, VerifyOptions, output};

use case::{Case, Counts, Fill, Home, Input, Kind, Replicas, Rule};
use layout::Factor;
use reference::{Maker, Side};
use store::{read, write_chunks, write_ranks, write_right};

/// Larger cases take long and show nothing that smaller ones do not.
const MOST_ELEMENTS: usize = 3000;

/// Where rules of the language meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Feature {
    /// `replicas mean` or `sum` of copies that do not lie alike.
    ReplicasOfUnlikeStrides,
    /// The same of copies of several types.
    ReplicasOfUnlikeTypes,
    /// `replicas sum`, written.
    ReplicasSummed,
    /// A renaming of what is stored in chunks.
    ChunksWithoutLayout,
    /// Parts of one parameter in bf16 and in f16.
    HalvesOfUnlikeRange,
    /// A parameter of no layer in all virtual stages.
    EverywhereInVirtualStages,
    /// One arm of a sum over ranks.
    ArmOverRanks,
    /// A broadcast axis cut by ranks or chunks.
    BroadcastCut,
    /// Padding in a dimension of which only a part is distributed.
    PaddingBesideRanks,
    /// `fill last` or `mean` where padding is a factor of a dimension or beside other arms.
    FillOfAFactor,
    /// Parameters below the second of a side's roots.
    SecondRoot,
    /// A renaming of an index that is distributed over several stages.
    RenamingOverStages,
    /// A tie on each side.
    TieOfTheLeft,
    TieOfTheRight,
    /// The rest of what is generated.
    Chunks,
    Stages,
    VirtualStages,
    PaddingOverRanks,
    StepWithFill,
    ReplicasFirst,
    ReplicasMean,
    StackedLayers,
    EntriesByLabel,
    Renaming,
}

fn features(case: &Case) -> Vec<Feature> {
    let chunks = matches!(case.input, Input::Chunks(_));
    let run = match case.input {
        Input::Ranks(counts) => counts,
        Input::Chunks(_) => case::ONE,
    };
    let all = [run, case.written, case.split];
    let any = |has: &dyn Fn(&Counts) -> bool| all.iter().any(has);
    let of_case = [
        (Feature::SecondRoot, case.second_root),
        (Feature::Chunks, chunks),
        (Feature::Stages, any(&|counts| counts.pp > 1)),
        (Feature::VirtualStages, any(&|counts| counts.vpp > 1)),
    ];
    let (stages, virtual_stages) = (any(&|counts| counts.pp > 1), any(&|counts| counts.vpp > 1));
    let of_rules = case.rules.iter().flat_map(|rule| features_of(rule, chunks, stages, virtual_stages));
    of_case.into_iter().chain(of_rules).filter(|(_, has)| *has).map(|(feature, _)| feature).collect()
}

fn features_of(rule: &Rule, chunks: bool, stages: bool, virtual_stages: bool) -> Vec<(Feature, bool)> {
    let everywhere = !rule.layered && rule.home == Home::Everywhere && virtual_stages;
    let Kind::Laid { left, right } = &rule.kind else {
        return vec![
            (Feature::Renaming, true),
            (Feature::ChunksWithoutLayout, chunks),
            (Feature::RenamingOverStages, rule.layered && stages),
            (Feature::EverywhereInVirtualStages, everywhere),
        ];
    };
    let joined = matches!(rule.replicas, Replicas::Mean | Replicas::Sum);
    let unlike = |list: &[case::Element]| list.iter().any(|element| *element != list[0]);
    let halves =
        |list: &[case::Element]| list.contains(&case::Element::F16) && list.contains(&case::Element::BF16);
    let entries: Vec<case::Element> = right.iter().map(|entry| entry.element).collect();
    let padded = left.iter().any(case::is_padded);
    let beside = left.iter().any(|dim| case::is_padded(dim) && splits_beside_padding(dim));
    let nested = left.iter().any(|dim| case::is_padded(dim) && matches!(dim, Factor::Product { .. }));
    let cut =
        left.iter().any(|dim| matches!(dim, Factor::Product { split: true, .. }) && dim.has_broadcast());
    let some_arm = left.iter().any(has_split_arm);
    let whole_pad = left.iter().any(|dim| case::is_padded(dim) && dim.is_split());
    vec![
        (Feature::ReplicasOfUnlikeStrides, joined && rule.strides.iter().any(|own| *own != rule.strides[0])),
        (Feature::ReplicasOfUnlikeTypes, joined && unlike(&rule.elements)),
        (Feature::ReplicasSummed, rule.replicas == Replicas::Sum),
        (Feature::HalvesOfUnlikeRange, halves(&entries) || (joined && halves(&rule.elements))),
        (Feature::EverywhereInVirtualStages, everywhere),
        (Feature::ArmOverRanks, some_arm),
        (Feature::BroadcastCut, cut || (chunks && left.iter().any(Factor::has_broadcast))),
        (Feature::PaddingBesideRanks, beside),
        (Feature::FillOfAFactor, nested && matches!(rule.fill, Fill::Last | Fill::Mean)),
        (Feature::TieOfTheLeft, rule.tied[0]),
        (Feature::TieOfTheRight, rule.tied[1]),
        (Feature::PaddingOverRanks, whole_pad),
        (Feature::StepWithFill, padded && !rule.step.text.is_empty()),
        (Feature::ReplicasFirst, rule.replicas == Replicas::First),
        (Feature::ReplicasMean, rule.replicas == Replicas::Mean),
        (Feature::StackedLayers, rule.stacked),
        (Feature::EntriesByLabel, right.len() > 1),
    ]
}

/// Whether a part of a dimension is distributed, and not all of it.
fn splits_beside_padding(dim: &Factor) -> bool {
    match dim {
        Factor::Product { split, .. } => !*split && dim.is_split(),
        Factor::Sum(sum) => !sum.split && dim.is_split(),
        Factor::Axis { .. } | Factor::Broadcast { .. } | Factor::Unit => false,
    }
}

fn has_split_arm(factor: &Factor) -> bool {
    match factor {
        Factor::Product { factors, .. } => factors.iter().any(has_split_arm),
        Factor::Sum(sum) => sum.key.is_some() && !sum.split && factor.is_split(),
        Factor::Axis { .. } | Factor::Broadcast { .. } | Factor::Unit => false,
    }
}

fn plain(diagnostics: &Diagnostics) -> String {
    render(diagnostics, Style::Full { colour: false })
}

fn convert(
    mapping: &Mapping,
    from: SideId,
    [input, directory]: [&Path; 2],
    counts: Option<Counts>,
) -> Result<(), String> {
    let checkpoint = Checkpoint::open(input).map_err(|e| e.to_string())?;
    let ranks = counts.into_iter().flat_map(|counts| {
        let all = [("tp", counts.tp), ("pp", counts.pp), ("vpp", counts.vpp)];
        all.into_iter().filter(|(_, count)| *count > 1).map(|(name, count)| (name.to_owned(), count))
    });
    let bind = BindOptions { ranks: ranks.collect(), ..BindOptions::default() };
    let binding = Binding::new(mapping, &checkpoint, from, &bind).map_err(|d| plain(&d))?;
    let plan = Plan::new(&binding, &PlanOptions::default()).map_err(|d| plain(&d))?;
    let options = output::Options { threads: 1, sync: false, ..output::Options::default() };
    plan.write(mapping, directory, None, &options).map_err(|e| match e {
        transship::ConvertError::Diagnostics(d) => plain(&d),
        other => other.to_string(),
    })
}

/// The first tensor and element where two sides differ.
fn difference(expected: &Side, got: &Side) -> Option<String> {
    for ((rank, name), held) in expected {
        let Some(own) = got.get(&(rank.clone(), name.clone())) else {
            return Some(format!("{rank} {name} is missing; there are {:?}", got.keys()));
        };
        if (held.element, &held.shape) != (own.element, &own.shape) {
            let (is, was) = ((own.element, &own.shape), (held.element, &held.shape));
            return Some(format!("{rank} {name} is {is:?}, not {was:?}"));
        }
        let pairs = held.values.iter().zip(&own.values).enumerate();
        for (at, (wanted, found)) in pairs {
            let wanted = wanted.map(|value| held.element.rounded(value));
            if wanted.is_some() && wanted != *found {
                return Some(format!(
                    "{rank} {name} differs at element {at}: {:?}, not {:?}",
                    own.values, held.values
                ));
            }
        }
    }
    let more = got.keys().find(|name| !expected.contains_key(*name));
    more.map(|(rank, name)| format!("{rank} {name} is too much"))
}

/// What is found to differ; nothing where the two are the same.
fn verified(mapping: &Mapping, files: [&Path; 2], sides: [SideId; 2]) -> Option<String> {
    let open = |path: &Path| Checkpoint::open(path).map_err(|e| e.to_string());
    let (one, other) = match (open(files[0]), open(files[1])) {
        (Ok(one), Ok(other)) => (one, other),
        (Err(error), _) | (_, Err(error)) => return Some(error),
    };
    let options = VerifyOptions { threads: 1, thorough: true, ..VerifyOptions::default() };
    match Verify::new(mapping, [&one, &other], sides, &options) {
        Err(diagnostics) => Some(plain(&diagnostics)),
        Ok(verify) => {
            let found = verify.run(&|_| ());
            assert!(!found.disagreements.has_errors(), "{}", plain(&found.disagreements));
            (!found.holds()).then(|| format!("{found:?}"))
        }
    }
}

/// A checkpoint on the disk.
struct Made {
    directory: tempfile::TempDir,
}

impl Made {
    fn path(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join(name)
    }

    fn write_left(&self, name: &str, case: &Case, side: &Side) {
        let path = self.path(name);
        match case.input {
            Input::Ranks(counts) => write_ranks(&path, case, counts, side),
            Input::Chunks(seed) => write_chunks(&path, case, seed, side),
        }
    }
}

fn run_of(case: &Case) -> Side {
    match case.input {
        Input::Ranks(counts) => case.left(counts, Maker::Run),
        Input::Chunks(_) => case.whole(),
    }
}

fn check_case(case: &Case) -> Result<(), String> {
    let text = case.text();
    let failed = |what: String| {
        format!(
            "{text}\nsizes {:?}, {:?}, written {:?}, split {:?}\n{what}",
            case.sizes, case.input, case.written, case.split
        )
    };
    let (mapping, _) = check(&Source::new("random.mapping", &text)).map_err(|d| failed(plain(&d)))?;
    let (l, r) = (SideId::Left, SideId::Right);
    let made = Made { directory: tempfile::tempdir().expect("a directory") };
    let run = run_of(case);
    made.write_left("run", case, &run);
    write_right(&made.path("read"), case, &case.right(false));
    let mirrored = mapping.reflected(l).ok_or_else(|| failed("it cannot be split anew".to_owned()))?;
    let step = |what: &str, from: SideId, names: [&str; 2], counts: Option<Counts>, expected: &Side| {
        let paths = names.map(|name| made.path(name));
        let mapping = if what.starts_with("split") { &mirrored } else { &mapping };
        let told = |e: String| failed(format!("{what}: {e}"));
        convert(mapping, from, [&paths[0], &paths[1]], counts).map_err(told)?;
        let got = read(&paths[1], names[1] == "right").map_err(told)?;
        difference(expected, &got).map_or(Ok(()), |e| Err(told(e)))
    };
    step("to the right", l, ["run", "right"], None, &case.right(true))?;
    let written = case.left(case.written, Maker::Written);
    step("to the left", r, ["read", "left"], Some(case.written), &written)?;
    let split = case.left(case.split, Maker::Written);
    step("split anew", l, ["left", "split"], Some(case.split), &split)?;
    let resplit = case.left(case.split, Maker::Resplit);
    step("split of the run", l, ["run", "resplit"], Some(case.split), &resplit)?;

    let sides = |name: &str| if name == "right" || name == "read" { r } else { l };
    let compare = |one: &str, other: &str| {
        verified(&mapping, [&made.path(one), &made.path(other)], [sides(one), sides(other)])
    };
    let pairs = [
        ("run", "right"),
        ("right", "run"),
        ("run", "run"),
        ("right", "right"),
        ("read", "left"),
        ("left", "left"),
        ("left", "split"),
        ("run", "resplit"),
        ("resplit", "run"),
    ];
    for (one, other) in pairs {
        if let Some(found) = compare(one, other) {
            return Err(failed(format!("{one} and {other} are the same, but: {found}")));
        }
    }
    check_flipped(case, &made, &run, &compare).map_err(failed)
}

/// One element that is changed is found from both sides.
fn check_flipped(
    case: &Case,
    made: &Made,
    run: &Side,
    compare: &dyn Fn(&str, &str) -> Option<String>,
) -> Result<(), String> {
    // Of copies the first counts, and the first element of a tensor is no padding.
    let change = |mut side: Side| {
        let (name, held) = side.iter_mut().next()?;
        let (name, value) = (name.clone(), held.values.first_mut()?);
        *value = value.map(|value| value + 16.0);
        Some((name, side))
    };
    if let Some((name, side)) = change(case.right(true)) {
        write_right(&made.path("right-changed"), case, &side);
        std::fs::rename(made.path("right"), made.path("right-kept")).expect("it is there");
        std::fs::rename(made.path("right-changed"), made.path("right")).expect("it is there");
        for (one, other) in [("run", "right"), ("right", "run")] {
            if compare(one, other).is_none() {
                return Err(format!("{name:?} of the right is changed, but {one} and {other} are the same"));
            }
        }
        std::fs::remove_dir_all(made.path("right")).expect("it is there");
        std::fs::rename(made.path("right-kept"), made.path("right")).expect("it is there");
    }
    if let Some((name, side)) = change(run.clone()) {
        made.write_left("changed", case, &side);
        for (one, other) in
            [("changed", "right"), ("right", "changed"), ("changed", "run"), ("run", "changed")]
        {
            if compare(one, other).is_none() {
                return Err(format!("{name:?} of the left is changed, but {one} and {other} are the same"));
            }
        }
    }
    Ok(())
}

fn elements(case: &Case) -> usize {
    let count = |side: &Side| side.values().map(|held| held.values.len()).sum();
    [run_of(case), case.left(case.written, Maker::Written), case.right(true)]
        .iter()
        .map(count)
        .max()
        .unwrap_or(0)
}

/// Decisions that a case is made of.
const DECISIONS: usize = 160;

fn config() -> ProptestConfig {
    let asked = std::env::var("PROPTEST_CASES").ok().and_then(|count| count.parse().ok());
    ProptestConfig {
        cases: asked.unwrap_or(60),
        max_global_rejects: 1 << 20,
        max_shrink_iters: 2000,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn random_mappings_are_converted_split_and_verified(choices in vec(any::<u8>(), 0..DECISIONS)) {
        let case = Case::of(&choices);
        prop_assume!(elements(&case) <= MOST_ELEMENTS);
        if let Err(message) = check_case(&case) {
            return Err(TestCaseError::fail(message));
        }
    }
}

/// What the random cases are made of must be among them, or nothing is tested.
#[test]
fn everything_is_generated() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let strategy = vec(any::<u8>(), 0..DECISIONS);
    let cases: Vec<Case> =
        (0..1500).map(|_| Case::of(&strategy.new_tree(&mut runner).expect("bytes").current())).collect();
    let all: Vec<Vec<Feature>> = cases.iter().map(features).collect();
    use Feature::*;
    for feature in [
        ReplicasOfUnlikeStrides,
        ReplicasOfUnlikeTypes,
        ReplicasSummed,
        ChunksWithoutLayout,
        HalvesOfUnlikeRange,
        EverywhereInVirtualStages,
        ArmOverRanks,
        BroadcastCut,
        PaddingBesideRanks,
        FillOfAFactor,
        SecondRoot,
        RenamingOverStages,
        TieOfTheLeft,
        TieOfTheRight,
        Chunks,
        Stages,
        VirtualStages,
        PaddingOverRanks,
        StepWithFill,
        ReplicasFirst,
        ReplicasMean,
        StackedLayers,
        EntriesByLabel,
        Renaming,
    ] {
        let count = all.iter().filter(|own| own.contains(&feature)).count();
        assert!(count >= 5, "{feature:?} is in {count} of {} cases", all.len());
    }
}
