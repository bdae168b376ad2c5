//! Random parameters of which ranks share some parts, broadcasts and padding among them: from whole parameters to the
//! ranks, back, and to another number of ranks; and read from chunks. Every element is compared with what lists made
//! element by element say.

mod side;

use std::collections::BTreeMap;
use std::path::Path;

use proptest::prelude::*;
use safetensors::tensor::{Dtype, TensorView};
use transship::grammar::{Diagnostics, Mapping, SideId, Source, Style, check, render};
use transship::{
    BindOptions, Binding, Checkpoint, Plan, PlanOptions, Setting, Verify, VerifyOptions, output,
};

use crate::command::Workplace;
use crate::parts_on_ranks::write_chunks;
use side::{Cell, Node, Random, dimension};

/// Shapes and elements by name.
type Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// Axes with their sizes.
type Axes = Vec<(String, usize)>;

/// Whether the last line of a mapping has something.
type Has<'f> = &'f dyn Fn(&str) -> bool;

struct Case {
    dims: Vec<Node>,
    fill: &'static str,
    /// For each parameter of the other side its label and its axes with their sizes.
    whole: Vec<(Option<String>, Axes)>,
    /// The numbers of ranks.
    counts: Vec<usize>,
    padding: Option<usize>,
}

impl Case {
    fn new(random: &mut Random) -> Case {
        let mut dims = vec![dimension(random)];
        if random.one_in(2) {
            let (len, copies) = (*random.pick(&[1, 2, 3]), random.one_in(4));
            let other = Node::Axis { name: "h".to_owned(), len, split: false, copies };
            dims.insert(random.below(2), other);
        }
        let cells = list(&dims, (0, 1)).expect("all of it");
        let mut labels: Vec<Option<String>> =
            cells.iter().filter(|cell| !cell.padding).map(|cell| cell.label.clone()).collect();
        labels.sort();
        labels.dedup();
        let whole = labels.into_iter().map(|label| {
            let axes = dims.iter().flat_map(|dim| dim.axes(label.as_deref()));
            let mut axes: Vec<(String, usize)> =
                axes.filter(|(_, _, copies)| !copies).map(|(name, len, _)| (name, len)).collect();
            if random.one_in(2) {
                axes.reverse();
            }
            (label, axes)
        });
        let whole = whole.collect();
        let able = |count: &usize| (0..*count).all(|rank| list(&dims, (rank, *count)).is_some());
        let counts = [1, 2, 3, 4, 6].into_iter().filter(able).collect();
        let padding = dims.iter().find_map(padding_in);
        let fill = if padding.is_some() { *random.pick(&["", "fill last", "fill mean"]) } else { "" };
        Case { dims, fill, whole, counts, padding }
    }

    fn text(&self) -> String {
        let dims: Vec<String> = self.dims.iter().map(Node::text).collect();
        let mut sizes: Vec<String> =
            self.dims.iter().flat_map(|dim| dim.axes(None)).map(|axis| axis.0).collect();
        sizes.sort();
        let config: Vec<String> =
            sizes.iter().map(|name| format!("    {name} = args.{name} <=> {name}")).collect();
        let pad = if self.padding.is_some() { "\n    pad: int else 0" } else { "" };
        let parameter = |(label, axes): &(Option<String>, Vec<(String, usize)>)| {
            let axes: Vec<&str> = axes.iter().map(|(name, _)| name.as_str()).collect();
            let own = format!("{} [{}]", name_of(label), axes.join(" "));
            label.as_ref().map_or(own.clone(), |label| format!("{label}: {own}"))
        };
        let whole: Vec<String> = self.whole.iter().map(parameter).collect();
        let whole = if whole.len() > 1 { format!("{{ {} }}", whole.join("  ")) } else { whole[0].clone() };
        format!(
            "mapping random : ranked <=> plain

side ranked {{
    format torch
    parameters model
    documents args
    rank tp = args.tp else 1
}}
side plain {{ documents config.json }}
config {{
{}{pad}
}}
stored [{}]  <=>  {whole}  {}
",
            config.join("\n"),
            dims.join(" "),
            self.fill
        )
    }

    fn sizes(&self) -> Vec<(String, i64)> {
        let axes = self.dims.iter().flat_map(|dim| dim.axes(None));
        axes.map(|(name, len, _)| (name, i64::try_from(len).expect("small"))).collect()
    }

    /// The number of an element of the parameter: no two are alike.
    fn value(&self, cell: &Cell) -> f32 {
        let label = cell.label.as_deref().map_or(0, |label| label[1..].parse::<usize>().expect("a number"));
        let (_, axes) = self.whole.iter().find(|(label, _)| *label == cell.label).expect("its parameter");
        let flat = axes.iter().fold(0, |flat, (axis, len)| flat * len + cell.at[axis]);
        (label * 10_000 + flat + 1) as f32
    }

    fn plain(&self) -> Tensors {
        let one = |(label, axes): &(Option<String>, Vec<(String, usize)>)| {
            let shape: Vec<usize> = axes.iter().map(|(_, len)| *len).collect();
            let elements = (0..shape.iter().product::<usize>()).map(|flat| {
                let (mut left, mut at) = (flat, BTreeMap::new());
                for (axis, len) in axes.iter().rev() {
                    at.insert(axis.clone(), left % len);
                    left /= len;
                }
                self.value(&Cell { at, label: label.clone(), padding: false })
            });
            (name_of(label), (shape.clone(), elements.collect()))
        };
        self.whole.iter().map(one).collect()
    }

    /// What a rank stores.
    fn on_rank(&self, rank: (usize, usize)) -> (Vec<usize>, Vec<f32>) {
        let whole = list(&self.dims, (0, 1)).expect("all of it");
        let shape = self.dims.iter().map(|dim| dim.list(rank).expect("they share evenly").len());
        let cells = list(&self.dims, rank).expect("they share evenly");
        let elements = cells.iter().map(|cell| {
            if !cell.padding {
                return self.value(cell);
            }
            let beside: Vec<f32> =
                whole.iter().filter(|real| cell.is_beside(real)).map(|real| self.value(real)).collect();
            match self.fill {
                "fill last" => *beside.last().expect("a row"),
                "fill mean" => {
                    let sum: f64 = beside.iter().map(|x| f64::from(*x)).sum();
                    (sum / beside.len() as f64) as f32
                }
                _ => 0.0,
            }
        });
        (shape.collect(), elements.collect())
    }
}

fn name_of(label: &Option<String>) -> String {
    format!("whole{}", label.as_deref().unwrap_or_default())
}

fn padding_in(node: &Node) -> Option<usize> {
    match node {
        Node::Axis { .. } => None,
        Node::Product(factors, _) => factors.iter().find_map(padding_in),
        Node::Sum(arms, _) => arms.iter().flat_map(|(_, factors)| factors).find_map(padding_in),
        Node::Padding(rows) => Some(*rows),
    }
}

/// The elements of all dimensions in row-major order.
fn list(dims: &[Node], rank: (usize, usize)) -> Option<Vec<Cell>> {
    let mut all = vec![Cell::default()];
    for dim in dims {
        let inner = dim.list(rank)?;
        all = all.iter().flat_map(|outer| inner.iter().map(move |inner| outer.with(inner))).collect();
    }
    Some(all)
}

fn plain(diagnostics: &Diagnostics) -> String {
    render(diagnostics, Style::Full { colour: false })
}

fn convert(
    case: &Case,
    mapping: &Mapping,
    from: SideId,
    [input, output]: [&Path; 2],
    count: usize,
) -> Result<(), String> {
    let checkpoint = Checkpoint::open(input).map_err(|e| e.to_string())?;
    let rows = case.padding.map(|rows| Setting { name: "pad".to_owned(), value: rows.to_string() });
    let bind = BindOptions {
        settings: rows.into_iter().collect(),
        ranks: vec![("tp".to_owned(), count as u64)],
        ..BindOptions::default()
    };
    let binding = Binding::new(mapping, &checkpoint, from, &bind).map_err(|d| plain(&d))?;
    let plan = Plan::new(&binding, &PlanOptions::default()).map_err(|d| plain(&d))?;
    let options = output::Options { threads: 1, sync: false, ..output::Options::default() };
    plan.write(mapping, output, None, &options).map_err(|e| match e {
        transship::ConvertError::Diagnostics(d) => plain(&d),
        other => other.to_string(),
    })
}

/// The tensors of each rank.
fn read(directory: &Path) -> Vec<Tensors> {
    let checkpoint = Checkpoint::open(directory).unwrap_or_else(|e| panic!("{e}"));
    let mut ranks = vec![Tensors::new(); checkpoint.ranks().len()];
    for tensor in checkpoint.tensors() {
        let bytes = checkpoint.array(tensor).bytes().expect("small").into_owned();
        let elements = bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().expect("four")));
        let shape = tensor.shape.iter().map(|n| usize::try_from(*n).expect("small")).collect();
        ranks[tensor.rank].insert(tensor.name.clone(), (shape, elements.collect()));
    }
    ranks
}

fn write(directory: &Path, tensors: &Tensors) {
    let bytes: Vec<Vec<u8>> = tensors
        .values()
        .map(|(_, elements)| elements.iter().flat_map(|x| x.to_le_bytes()).collect())
        .collect();
    let views = tensors.iter().zip(&bytes).map(|((name, (shape, _)), bytes)| {
        (name, TensorView::new(Dtype::F32, shape.clone(), bytes).expect("a tensor of that size"))
    });
    safetensors::serialize_to_file(views, None, &directory.join("model.safetensors")).expect("a file");
}

fn same<T: PartialEq + std::fmt::Debug>(expected: &T, got: &T, what: &str) -> Result<(), String> {
    if expected == got { Ok(()) } else { Err(format!("{what}:\nexpected {expected:?}\ngot      {got:?}")) }
}

fn check_case(case: &Case, random: &mut Random) -> Result<(), String> {
    let text = case.text();
    let (mapping, _) = check(&Source::new("random.mapping", &text)).map_err(|d| plain(&d))?;
    let workplace = Workplace::new();
    let path = |name: &str| workplace.path(name);
    let config: serde_json::Map<String, serde_json::Value> =
        case.sizes().into_iter().map(|(name, len)| (name, len.into())).collect();
    workplace.put("plain/config.json", serde_json::Value::Object(config).to_string());
    let whole = case.plain();
    write(&path("plain"), &whole);
    let (left, right) = (SideId::Left, SideId::Right);
    let (one, other) = (*random.pick(&case.counts), *random.pick(&case.counts));
    let expected = |count: usize| -> Vec<Tensors> {
        let stored = |rank| Tensors::from([("model.stored".to_owned(), case.on_rank((rank, count)))]);
        (0..count).map(stored).collect()
    };
    convert(case, &mapping, right, [&path("plain"), &path("one")], one)?;
    same(&expected(one), &read(&path("one")), "on ranks")?;
    convert(case, &mapping, left, [&path("one"), &path("back")], 1)?;
    same(&vec![whole.clone()], &read(&path("back")), "read back")?;
    let anew = mapping.reflected(left).expect("one side has ranks");
    convert(case, &anew, left, [&path("one"), &path("other")], other)?;
    same(&expected(other), &read(&path("other")), "split anew")?;
    let open = |name: &str| Checkpoint::open(&path(name)).map_err(|e| e.to_string());
    let files = [open("other")?, open("plain")?];
    let verify = Verify::new(&mapping, [&files[0], &files[1]], [left, right], &VerifyOptions::default());
    if !verify.map_err(|d| plain(&d))?.run(&|_| ()).holds() {
        return Err("what is the same is not found to be".to_owned());
    }
    check_chunks(case, &mapping, &workplace, &whole, random)
}

/// Reads the parameter from chunks, and again with one element changed.
fn check_chunks(
    case: &Case,
    mapping: &Mapping,
    workplace: &Workplace,
    whole: &Tensors,
    random: &mut Random,
) -> Result<(), String> {
    let (shape, mut elements) = case.on_rank((0, 1));
    let chunk: Vec<usize> = shape.iter().map(|len| 1 + random.below(*len)).collect();
    let sizes = case.sizes();
    let sizes: Vec<(&str, i64)> = sizes.iter().map(|(name, len)| (name.as_str(), *len)).collect();
    let (chunks, out, again) = (workplace.path("chunks"), workplace.path("out"), workplace.path("again"));
    write_chunks(workplace, &sizes, ("stored", &shape, &chunk), &elements);
    convert(case, mapping, SideId::Left, [&chunks, &out], 1)?;
    same(&vec![whole.clone()], &read(&out), &format!("read from chunks of {chunk:?}"))?;
    let at = random.below(elements.len());
    elements[at] = -1.0;
    write_chunks(workplace, &sizes, ("stored", &shape, &chunk), &elements);
    let cells = list(&case.dims, (0, 1)).expect("all of it");
    let copies = cells.iter().filter(|cell| **cell == cells[at]).count();
    let result = convert(case, mapping, SideId::Left, [&chunks, &again], 1);
    if copies > 1 && !cells[at].padding {
        return match result {
            Err(told) if told.contains("TS0611") => Ok(()),
            other => Err(format!("copies that differ in chunks of {chunk:?}: {other:?}")),
        };
    }
    result?;
    let mut changed = whole.clone();
    if !cells[at].padding {
        let value = case.value(&cells[at]);
        changed.values_mut().flat_map(|(_, all)| all).filter(|x| **x == value).for_each(|x| *x = -1.0);
    }
    same(&vec![changed], &read(&again), &format!("element {at} changed, in chunks of {chunk:?}"))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases()) })]

    #[test]
    fn parts_that_ranks_share_and_parts_that_they_do_not(seed in any::<u64>()) {
        let mut random = Random(seed);
        let case = Case::new(&mut random);
        if let Err(message) = check_case(&case, &mut random) {
            let sizes = case.sizes();
            return Err(TestCaseError::fail(format!("{}\n{sizes:?} {:?}\n{message}", case.text(), case.padding)));
        }
    }
}

/// As many as `PROPTEST_CASES` says.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(30)
}

/// What the random cases are made of must be among them, or nothing is tested.
#[test]
fn every_combination_is_generated() {
    let cases: Vec<Case> = (0..2000).map(|seed| Case::new(&mut Random(seed))).collect();
    let many = |case: &&Case| case.counts.len() > 1;
    let count = |holds: &dyn Fn(&str) -> bool| {
        cases.iter().filter(many).filter(|case| holds(case.text().lines().last().expect("a rule"))).count()
    };
    let one_arm = |text: &str| text.contains("| l1") && text.contains("@tp") && !text.contains(")@tp");
    let wanted: [(&str, Has<'_>); 6] = [
        ("padding after what ranks share", &|text| {
            text.contains("@tp") && text.contains("pad: _)") && !text.contains(")@tp")
        }),
        ("padding that ranks cut", &|text| text.contains("pad: _)@tp")),
        ("padding beside a factor", &|text| text.contains("pad: _) b") || text.contains("b0 (")),
        ("one arm of a sum distributed", &one_arm),
        ("a broadcast that ranks cut", &|text| text.contains('*') && text.contains(")@tp")),
        ("a mean", &|text| text.contains("fill mean")),
    ];
    for (what, holds) in wanted {
        assert!(count(holds) >= 20, "{what} is in {} of 2000 cases", count(holds));
    }
}
