//! Parameters of which ranks or chunks hold some parts and share others: written, read back, split anew and compared with
//! elements worked out here, one by one.

use std::collections::BTreeMap;

use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value, json};
use transship::Checkpoint;
use transship_tests::{Py, TorchFile};

use crate::command::{Done, Workplace};

const SIDES: &str = "\
mapping parts : ranked <=> plain

side ranked {
    format     torch
    parameters model
    documents  args
    rank       tp = args.tp else 1
}
side plain { documents config.json }
";

/// A shape and elements.
type Held = (Vec<u64>, Vec<f32>);

/// `count` numbers, no two of which are alike in any test.
fn numbers(first: usize, count: usize) -> Vec<f32> {
    (first..first + count).map(|n| n as f32 + 1.0).collect()
}

/// A mapping and a checkpoint of its right side, as `plain`.
fn start(mapping: &str, config: &Value, tensors: &[(&str, &[usize], Vec<f32>)]) -> Workplace {
    let workplace = Workplace::new();
    workplace.put("parts.mapping", mapping);
    workplace.put("plain/config.json", config.to_string());
    write(&workplace, "plain", tensors);
    workplace
}

fn write(workplace: &Workplace, directory: &str, tensors: &[(&str, &[usize], Vec<f32>)]) {
    let bytes: Vec<Vec<u8>> = tensors
        .iter()
        .map(|(_, _, elements)| elements.iter().flat_map(|x| x.to_le_bytes()).collect())
        .collect();
    let views = tensors.iter().zip(&bytes).map(|((name, shape, _), bytes)| {
        (*name, TensorView::new(Dtype::F32, shape.to_vec(), bytes).expect("a tensor of that size"))
    });
    let path = workplace.path(directory).join("model.safetensors");
    safetensors::serialize_to_file(views, None, &path).expect("a file");
}

fn run(workplace: &Workplace, command: &str, args: &[&str]) -> Done {
    workplace.run(&[&[command, "--mapping", "@parts.mapping"], args].concat())
}

fn converts(workplace: &Workplace, args: &[&str]) {
    let done = run(workplace, "convert", &[args, &["--quiet", "--no-sync"]].concat());
    assert_eq!(done.code, 0, "{args:?}\n{}{}", done.out, done.err);
}

/// A conversion that must fail with this code.
fn fails(workplace: &Workplace, args: &[&str], code: &str) -> String {
    let done = run(workplace, "convert", &[args, &["--no-sync"]].concat());
    assert_ne!(done.code, 0, "{args:?}\n{}", done.out);
    assert!(done.err.contains(code), "{args:?} should be told as {code}\n{}", done.err);
    done.err
}

/// The tensors of a name, in the order of the ranks.
fn held(workplace: &Workplace, directory: &str, name: &str) -> Vec<Held> {
    let checkpoint = Checkpoint::open(&workplace.path(directory)).unwrap_or_else(|e| panic!("{e}"));
    let own = checkpoint.tensors().iter().filter(|tensor| tensor.name == name);
    own.map(|tensor| {
        let bytes = checkpoint.array(tensor).bytes().expect("small").into_owned();
        let elements = bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().expect("four")));
        (tensor.shape.clone(), elements.collect())
    })
    .collect()
}

fn all(workplace: &Workplace, directory: &str) -> BTreeMap<String, Vec<Held>> {
    let checkpoint = Checkpoint::open(&workplace.path(directory)).unwrap_or_else(|e| panic!("{e}"));
    let names = checkpoint.tensors().iter().map(|tensor| tensor.name.clone());
    names.map(|name| (name.clone(), held(workplace, directory, &name))).collect()
}

/// Writes `plain` over so many ranks, compares `model.stored` on each, reads it back, and splits it anew over each other
/// number of ranks.
fn check_ranks(workplace: &Workplace, counts: &[u64], expected: &dyn Fn(u64, u64) -> Held) {
    let plain = all(workplace, "plain");
    let on_ranks = |directory: &str, count: u64| {
        let expected: Vec<Held> = (0..count).map(|rank| expected(rank, count)).collect();
        assert_eq!(held(workplace, directory, "model.stored"), expected, "{directory}");
    };
    for count in counts {
        let (split, back) = (format!("ranks-{count}"), format!("back-{count}"));
        converts(workplace, &["@plain", &format!("@{split}"), "--tp", &count.to_string()]);
        on_ranks(&split, *count);
        converts(workplace, &[&format!("@{split}"), &format!("@{back}")]);
        assert_eq!(all(workplace, &back), plain, "read back from {count} ranks");
        let done = run(workplace, "verify", &[&format!("@{split}"), "@plain"]);
        assert_eq!(done.code, 0, "{}{}", done.out, done.err);
        for other in counts.iter().filter(|other| *other != count) {
            let anew = format!("anew-{count}-{other}");
            let args =
                [&format!("@{split}"), &format!("@{anew}"), "--to", "ranked", "--tp", &other.to_string()];
            converts(workplace, &args);
            on_ranks(&anew, *other);
        }
    }
}

/// Changes the first byte of elements that lie in one place of a file.
fn change(workplace: &Workplace, file: &str, elements: &[f32]) {
    let mut bytes = std::fs::read(workplace.path(file)).expect("it is there");
    let wanted: Vec<u8> = elements.iter().flat_map(|x| x.to_le_bytes()).collect();
    let places: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at..].starts_with(&wanted)).collect();
    let [place] = places[..] else { panic!("{elements:?} lie at {places:?} of {file}") };
    bytes[place] ^= 1;
    workplace.put(file, bytes);
}

#[test]
fn padding_after_rows_that_ranks_share_is_read_back() {
    let mapping = format!(
        "{SIDES}
config {{
    v = args.v <=> v
    h = args.h <=> h
    pad: int else 2
}}
stored [(rows: v@tp | pad: _) h]  <=>  whole [h rows:v]  fill last
"
    );
    let whole = numbers(0, 12);
    let workplace = start(&mapping, &json!({"v": 6, "h": 2}), &[("whole", &[2, 6], whole.clone())]);
    let value = |row: u64, column: u64| whole[(column * 6 + row) as usize];
    check_ranks(&workplace, &[1, 2, 3], &|rank, count| {
        let own = 6 / count;
        let rows = (rank * own..(rank + 1) * own).chain([5, 5]);
        let elements = rows.flat_map(|row| [value(row, 0), value(row, 1)]).collect();
        (vec![own + 2, 2], elements)
    });
    let told = fails(&workplace, &["@plain", "@out", "--tp", "4"], "TS0622");
    assert!(told.contains("6 of `stored` cannot be shared evenly by 4 `tp` ranks"), "{told}");
    let told = fails(&workplace, &["@ranks-2", "@out", "--set", "v=5"], "TS0622");
    assert!(told.contains("5 of `stored` cannot be shared evenly by 2 `tp` ranks"), "{told}");
}

#[test]
fn padding_in_an_arm_beside_one_that_ranks_share_is_read_back() {
    let mapping = format!(
        "{SIDES}
config {{
    x = args.x <=> x
    y = args.y <=> y
    pad: int else 2
}}
stored [(a: (r: x | pad: _) | b: y@tp)]  <=>  {{ a: one [r:x]  b: two [y] }}  fill last
"
    );
    let (one, two) = (numbers(0, 3), numbers(10, 12));
    let tensors = [("one", &[3][..], one.clone()), ("two", &[12], two.clone())];
    let workplace = start(&mapping, &json!({"x": 3, "y": 12}), &tensors);
    check_ranks(&workplace, &[1, 2, 3, 4], &|rank, count| {
        let own = 12 / count;
        let shared = [one[0], one[1], one[2], one[2], one[2]];
        let rows = (rank * own..(rank + 1) * own).map(|row| two[row as usize]);
        (vec![5 + own], shared.into_iter().chain(rows).collect())
    });
}

#[test]
fn few_key_heads_on_every_rank_beside_query_heads_that_ranks_share_are_read_back() {
    let mapping = format!(
        "{SIDES}
config {{
    heads = args.heads <=> heads
    h     = args.h     <=> h
}}
stored [h (q: heads@tp | k | v)]  <=>  {{ q: query [heads h]  k: key [1 h]  v: value [1 h] }}
"
    );
    let (q, k, v) = (numbers(0, 12), numbers(20, 3), numbers(30, 3));
    let tensors =
        [("query", &[4, 3][..], q.clone()), ("key", &[1, 3], k.clone()), ("value", &[1, 3], v.clone())];
    let workplace = start(&mapping, &json!({"heads": 4, "h": 3}), &tensors);
    check_ranks(&workplace, &[1, 2, 4], &|rank, count| {
        let own = 4 / count;
        let mut elements = Vec::new();
        for column in 0..3 {
            elements.extend((rank * own..(rank + 1) * own).map(|head| q[(head * 3 + column) as usize]));
            elements.extend([k[column as usize], v[column as usize]]);
        }
        (vec![3, own + 2], elements)
    });
    // Heads of queries, which nothing else says the number of, are found by what the ranks hold.
    converts(&workplace, &["@ranks-2", "@found", "--set", "heads=4"]);
    change(&workplace, "ranks-2/release/mp_rank_01/model_optim_rng.pt", &[q[6], q[9], k[0], v[0], q[7]]);
    converts(&workplace, &["@ranks-2", "@changed"]);
    assert_ne!(all(&workplace, "changed"), all(&workplace, "plain"), "what one rank alone holds is taken");
    change(&workplace, "ranks-4/release/mp_rank_02/model_optim_rng.pt", &[k[1], v[1]]);
    let told = fails(&workplace, &["@ranks-4", "@out"], "TS0621");
    assert!(told.contains("`model.stored` is not the same on `mp_rank_00` and `mp_rank_02`"), "{told}");
}

#[test]
fn a_broadcast_that_ranks_cut_is_read_back() {
    let mapping = format!(
        "{SIDES}
config {{
    c = args.c <=> c
    a = args.a <=> a
    h = args.h <=> h
}}
stored [h (*c a)@tp]  <=>  whole [a h]
"
    );
    for (c, a, counts) in [(3, 2, &[1, 2, 3][..]), (2, 3, &[1, 2, 3]), (4, 3, &[1, 2, 4])] {
        let whole = numbers(0, a * 2);
        let config = json!({"c": c, "a": a, "h": 2});
        let workplace = start(&mapping, &config, &[("whole", &[a, 2], whole.clone())]);
        let list = |rank: usize, count: usize| rank * c * a / count..(rank + 1) * c * a / count;
        check_ranks(&workplace, counts, &|rank, count| {
            let own = list(rank as usize, count as usize);
            let row = |h: usize| own.clone().map(move |at| (at % a, h)).collect::<Vec<_>>();
            let elements = [row(0), row(1)].concat().into_iter().map(|(a, h)| whole[a * 2 + h]).collect();
            (vec![2, (c * a) as u64 / count], elements)
        });
        let last = counts[counts.len() - 1];
        let own = list(last as usize - 1, last as usize).map(|at| whole[at % a * 2]).collect::<Vec<f32>>();
        let file = format!("ranks-{last}/release/mp_rank_{:02}/model_optim_rng.pt", last - 1);
        change(&workplace, &file, &own);
        let told = fails(&workplace, &[&format!("@ranks-{last}"), "@out"], "TS0611");
        assert!(told.contains("the copies of `model.stored` along `c` are not all the same"), "{told}");
        let done = run(&workplace, "verify", &[&format!("@ranks-{last}"), "@plain"]);
        assert_ne!(done.code, 0, "copies of the input that differ are no conversion\n{}", done.out);
    }
}

/// A checkpoint in zarr arrays of one dimension, each in chunks of some length.
pub(crate) fn write_chunks(
    workplace: &Workplace,
    args: &[(&str, i64)],
    (name, shape, chunk): (&str, &[usize], &[usize]),
    elements: &[f32],
) {
    workplace.put("chunks/metadata.json", json!({"sharded_backend": "zarr"}).to_string());
    workplace.put("chunks/common.pt", []);
    let args = args.iter().map(|(name, value)| ((*name).to_owned(), Py::Int(*value)));
    let root = Py::Dict(vec![("args".to_owned(), Py::Namespace(args.collect()))]);
    TorchFile::default().write(&workplace.path("chunks/common.pt"), &root).expect("a file");
    let array = json!({
        "zarr_format": 2, "shape": shape, "chunks": chunk, "dtype": "<f4", "order": "C",
        "compressor": null, "filters": null, "fill_value": null,
    });
    workplace.put(&format!("chunks/{name}/.zarray"), array.to_string());
    let mut files: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for (flat, element) in elements.iter().enumerate() {
        let (mut left, mut at) = (flat, vec![0; shape.len()]);
        for dim in (0..shape.len()).rev() {
            (at[dim], left) = (left % shape[dim], left / shape[dim]);
        }
        let file: Vec<String> = at.iter().zip(chunk).map(|(at, size)| (at / size).to_string()).collect();
        let inside = at.iter().zip(chunk).fold(0, |inside, (at, size)| inside * size + at % size);
        let bytes =
            files.entry(file.join(".")).or_insert_with(|| vec![0xff; 4 * chunk.iter().product::<usize>()]);
        bytes[inside * 4..][..4].copy_from_slice(&element.to_le_bytes());
    }
    for (file, bytes) in files {
        workplace.put(&format!("chunks/{name}/{file}"), bytes);
    }
}

#[test]
fn a_broadcast_along_a_chunked_dimension_is_read() {
    let mapping = format!(
        "{SIDES}
config {{
    c = args.c <=> c
    a = args.a <=> a
}}
stored [*c a]  <=>  whole [a]
"
    );
    let whole = numbers(0, 5);
    let workplace = start(&mapping, &json!({"c": 4, "a": 5}), &[("whole", &[5], whole.clone())]);
    let copies = [&whole[..], &whole, &whole, &whole].concat();
    for chunk in [[4, 5], [1, 5], [2, 3], [3, 2], [1, 1]] {
        write_chunks(&workplace, &[("c", 4), ("a", 5)], ("stored", &[4, 5], &chunk), &copies);
        converts(&workplace, &["@chunks", "@read", "--force"]);
        assert_eq!(all(&workplace, "read"), all(&workplace, "plain"), "in chunks of {chunk:?}");
        for at in 0..20 {
            let mut changed = copies.clone();
            changed[at] += 0.5;
            write_chunks(&workplace, &[("c", 4), ("a", 5)], ("stored", &[4, 5], &chunk), &changed);
            fails(&workplace, &["@chunks", "@out"], "TS0611");
        }
        std::fs::remove_dir_all(workplace.path("chunks")).expect("it is there");
    }
}

#[test]
fn what_all_virtual_stages_hold_is_read_back() {
    let mapping = "\
mapping stages : ranked <=> plain

side ranked {
    format     torch
    parameters model{vpp}
    documents  args
    rank       tp  = args.tp else 1
    rank       pp  = args.pp else 1
    rank       vpp = args.vpp else 1
}
side plain { documents config.json }
config {
    layers = args.layers <=> layers
    h      = args.h      <=> h
}
stored [h]                     <=>  whole [h]
split [h@tp]                   <=>  other [h]
layers.{layer@vpp@pp}.w [h]    <=>  l.{layer}.w [h]
";
    let tensors: Vec<(String, Vec<f32>)> = ["whole", "other", "l.0.w", "l.1.w", "l.2.w", "l.3.w"]
        .iter()
        .enumerate()
        .map(|(at, name)| ((*name).to_owned(), numbers(10 * at, 6)))
        .collect();
    let tensors: Vec<(&str, &[usize], Vec<f32>)> =
        tensors.iter().map(|(name, elements)| (name.as_str(), &[6][..], elements.clone())).collect();
    let workplace = start(mapping, &json!({"layers": 4, "h": 6}), &tensors);
    let splits = [("2", "2", "1"), ("2", "2", "2"), ("1", "4", "1"), ("2", "1", "2")];
    for (pp, vpp, tp) in splits {
        let name = format!("{pp}-{vpp}-{tp}");
        let (split, back) = (format!("@split-{name}"), format!("@back-{name}"));
        converts(&workplace, &["@plain", &split, "--pp", pp, "--vpp", vpp, "--tp", tp]);
        let ranks: usize = pp.parse::<usize>().expect("a number") * tp.parse::<usize>().expect("a number");
        let stages: usize = vpp.parse().expect("a number");
        for stage in 0..stages {
            let root = if stages > 1 { format!("model{stage}") } else { "model".to_owned() };
            let own = held(&workplace, &split[1..], &format!("{root}.stored"));
            assert_eq!(own, vec![(vec![6], numbers(0, 6)); ranks], "{root} of {name}");
        }
        converts(&workplace, &[&split, &back]);
        assert_eq!(all(&workplace, &back[1..]), all(&workplace, "plain"), "{name}");
        let done = run(&workplace, "verify", &[&split, "@plain"]);
        assert_eq!(done.code, 0, "{}{}", done.out, done.err);
    }
    converts(&workplace, &["@split-2-2-2", "@anew", "--to", "ranked", "--pp", "2", "--vpp", "1"]);
    converts(&workplace, &["@anew", "@anew-back"]);
    assert_eq!(all(&workplace, "anew-back"), all(&workplace, "plain"));
    let file = "split-2-2-1/release/mp_rank_00_001/model_optim_rng.pt";
    let file = if workplace.path(file).exists() { file } else { panic!("{file} is not written") };
    let bytes = std::fs::read(workplace.path(file)).expect("it is there");
    let wanted: Vec<u8> = numbers(0, 6).iter().flat_map(|x| x.to_le_bytes()).collect();
    let last = (0..bytes.len()).rfind(|at| bytes[*at..].starts_with(&wanted)).expect("it is in the file");
    let mut bytes = bytes;
    bytes[last] ^= 1;
    workplace.put(file, bytes);
    let told = fails(&workplace, &["@split-2-2-1", "@out"], "TS0621");
    assert!(told.contains("`model0.stored` on `mp_rank_00_000` and `model1.stored`"), "{told}");
}

#[test]
fn padding_beside_another_factor_is_the_last_row_or_the_mean() {
    for (fill, ranked) in [
        ("last", "[((rows: a | pad: _) b)@tp]"),
        ("mean", "[((rows: a | pad: _) b)@tp]"),
        ("last", "[((rows: a | pad: _) b@tp)]"),
        ("mean", "[((rows: a | pad: _) b@tp)]"),
    ] {
        let mapping = format!(
            "{SIDES}
config {{
    a = args.a <=> a
    b = args.b <=> b
    pad: int else 3
}}
stored {ranked}  <=>  whole [b rows:a]  fill {fill}
"
        );
        let (a, b) = (5usize, 6usize);
        let whole = numbers(0, a * b);
        let workplace = start(&mapping, &json!({"a": a, "b": b}), &[("whole", &[b, a], whole.clone())]);
        let value = |row: usize, column: usize| match (row < a, fill) {
            (true, _) => whole[column * a + row],
            (false, "last") => whole[column * a + a - 1],
            _ => {
                let sum: f64 = (0..a).map(|row| f64::from(whole[column * a + row])).sum();
                (sum / a as f64) as f32
            }
        };
        check_ranks(&workplace, &[1, 2, 3], &|rank, count| {
            let (rank, count) = (rank as usize, count as usize);
            let rows = (0..a + 3).flat_map(|row| (0..b).map(move |column| (row, column)));
            let all: Vec<(usize, usize)> = if ranked.contains(")@tp") {
                rows.skip(rank * (a + 3) * b / count).take((a + 3) * b / count).collect()
            } else {
                rows.filter(|(_, column)| column * count / b == rank).collect()
            };
            (vec![all.len() as u64], all.into_iter().map(|(row, column)| value(row, column)).collect())
        });
    }
}

#[test]
fn padding_takes_rows_from_parameters_that_names_number() {
    for fill in ["last", "mean"] {
        let mapping = format!(
            "{SIDES}
config {{
    a      = args.a      <=> a
    layers = args.layers <=> layers
    pad: int else 2
}}
stored [(rows: a@tp | pad: _) layer]  <=>  x.{{layer}} [rows:a]  fill {fill}
other [(rows: layer | pad: _) a]      <=>  y.{{layer}} [a]       fill {fill}
"
        );
        let rows: Vec<Vec<f32>> = (0..6).map(|at| numbers(10 * at, 4)).collect();
        let tensors = ["x.0", "x.1", "x.2", "y.0", "y.1", "y.2"].iter().zip(&rows);
        let tensors: Vec<(&str, &[usize], Vec<f32>)> =
            tensors.map(|(name, elements)| (*name, &[4][..], elements.clone())).collect();
        let workplace = start(&mapping, &json!({"a": 4, "layers": 3}), &tensors);
        let mean = |all: &[f32]| (all.iter().map(|x| f64::from(*x)).sum::<f64>() / all.len() as f64) as f32;
        let filled = |all: &[f32]| if fill == "last" { all[all.len() - 1] } else { mean(all) };
        check_ranks(&workplace, &[1, 2, 4], &|rank, count| {
            let own = 4 / count as usize;
            let rank = rank as usize;
            let mut elements = Vec::new();
            let own_rows =
                (rank * own..(rank + 1) * own).flat_map(|row| (0..3).map(move |layer| (layer, row)));
            elements.extend(own_rows.map(|(layer, row)| rows[layer][row]));
            for _ in 0..2 {
                elements.extend((0..3).map(|layer| filled(&rows[layer])));
            }
            (vec![own as u64 + 2, 3], elements)
        });
        let layer = |column: usize| [rows[3][column], rows[4][column], rows[5][column]];
        let padding: Vec<f32> = (0..4).map(|column| filled(&layer(column))).collect();
        let expected = [&rows[3][..], &rows[4], &rows[5], &padding, &padding].concat();
        assert_eq!(held(&workplace, "ranks-2", "model.other"), vec![(vec![5, 4], expected); 2]);
    }
}

#[test]
fn padding_of_rows_of_several_arms_and_of_two_dimensions() {
    for fill in ["last", "mean"] {
        let mapping = format!(
            "{SIDES}
config {{
    a = args.a <=> a
    b = args.b <=> b
    h = args.h <=> h
    pad: int else 2
    more: int else 1
}}
stored [(p: a | q: b | pad: _) h]           <=>  {{ p: one [a h]  q: two [b h] }}  fill {fill}
square [(rows: a | pad: _) (cols: b | more: _)]  <=>  corner [cols:b rows:a]        fill {fill}
"
        );
        let (one, two, corner) = (numbers(0, 6), numbers(10, 4), numbers(20, 6));
        let tensors = [
            ("one", &[3, 2][..], one.clone()),
            ("two", &[2, 2], two.clone()),
            ("corner", &[2, 3], corner.clone()),
        ];
        let workplace = start(&mapping, &json!({"a": 3, "b": 2, "h": 2}), &tensors);
        let mean = |all: &[f32]| (all.iter().map(|x| f64::from(*x)).sum::<f64>() / all.len() as f64) as f32;
        let filled = |all: &[f32]| if fill == "last" { all[all.len() - 1] } else { mean(all) };
        let rows =
            |column: usize| [one[column], one[2 + column], one[4 + column], two[column], two[2 + column]];
        check_ranks(&workplace, &[1], &|_, _| {
            let mut elements: Vec<f32> = (0..5).flat_map(|row| [rows(0)[row], rows(1)[row]]).collect();
            elements.extend([filled(&rows(0)), filled(&rows(1)), filled(&rows(0)), filled(&rows(1))]);
            (vec![7, 2], elements)
        });
        let row = |row: usize| [corner[row], corner[3 + row]];
        let mut elements: Vec<f32> =
            (0..3).flat_map(|at| [row(at)[0], row(at)[1], filled(&row(at))]).collect();
        let column = |column: usize| filled(&corner[column * 3..column * 3 + 3]);
        let all_rows: Vec<f32> = (0..3).flat_map(row).collect();
        let padding = [column(0), column(1), filled(&all_rows)];
        elements.extend([padding, padding].concat());
        assert_eq!(held(&workplace, "ranks-1", "model.square"), [(vec![5, 3], elements)]);
    }
}

#[test]
fn an_axis_of_size_nothing_gives_an_empty_tensor() {
    let mapping = format!(
        "{SIDES}
config {{
    a = args.a <=> a
    h = args.h <=> h
}}
stored [a@tp h]           <=>  whole [h a]
parts [(p: a | q: h)]     <=>  {{ p: none [a]  q: some [h] }}
"
    );
    let tensors =
        [("whole", &[3, 0][..], Vec::new()), ("none", &[0], Vec::new()), ("some", &[3], numbers(0, 3))];
    let workplace = start(&mapping, &json!({"a": 0, "h": 3}), &tensors);
    check_ranks(&workplace, &[1, 2], &|_, _| (vec![0, 3], Vec::new()));
    assert_eq!(held(&workplace, "ranks-2", "model.parts"), vec![(vec![3], numbers(0, 3)); 2]);
}

#[test]
fn names_are_read_below_each_of_several_keys() {
    let mapping = "\
mapping roots : left <=> right

side left  { parameters first, second  detect stored }
side right { detect whole }
config { h  layers }
stored [h]              <=>  whole [h]
layers.{layer}.w [h]    <=>  l.{layer}.w [h]
kept.**                 <=>  moved.**
";
    let names = ["stored", "layers.0.w", "layers.1.w", "kept.a.b"];
    let (others, elements) = (["whole", "l.0.w", "l.1.w", "moved.a.b"], |at: usize| numbers(10 * at, 3));
    for roots in [["first"; 4], ["second"; 4], ["first", "second", "first", "second"]] {
        let workplace = Workplace::new();
        workplace.put("parts.mapping", mapping);
        std::fs::create_dir(workplace.path("in")).expect("a directory");
        let own: Vec<String> = roots.iter().zip(names).map(|(root, name)| format!("{root}.{name}")).collect();
        let tensors = own.iter().enumerate().map(|(at, name)| (name.as_str(), &[3][..], elements(at)));
        let mut tensors: Vec<(&str, &[usize], Vec<f32>)> = tensors.collect();
        write(&workplace, "in", &tensors);
        converts(&workplace, &["@in", "@out"]);
        for (at, name) in others.iter().enumerate() {
            assert_eq!(held(&workplace, "out", name), [(vec![3], elements(at))], "{name} of {roots:?}");
        }
        converts(&workplace, &["@out", "@back"]);
        for (at, name) in names.iter().enumerate() {
            let name = format!("first.{name}");
            assert_eq!(held(&workplace, "back", &name), [(vec![3], elements(at))], "{name}");
        }
        converts(&workplace, &["@in", "@same", "--to", "left"]);
        assert_eq!(all(&workplace, "same"), all(&workplace, "in"), "names stay from a side to itself");
        let twice = format!("{}.stored", if roots[0] == "first" { "second" } else { "first" });
        tensors.push((&twice, &[3], elements(7)));
        write(&workplace, "in", &tensors);
        fails(&workplace, &["@in", "@twice"], "TS0608");
    }
}

#[test]
fn torch_files_of_a_side_without_ranks_are_read_back() {
    let mapping = "\
mapping torch : left <=> right

side left { format torch  parameters model  documents args }
side right { documents config.json }
config { h = args.h <=> h  g = args.g <=> g }
stored [h g]  <=>  whole [g h]
";
    let workplace = start(mapping, &json!({"h": 2, "g": 3}), &[("whole", &[3, 2], numbers(0, 6))]);
    converts(&workplace, &["@plain", "@torch"]);
    assert!(workplace.path("torch/release/mp_rank_00/model_optim_rng.pt").exists());
    converts(&workplace, &["@torch", "@back"]);
    assert_eq!(all(&workplace, "back"), all(&workplace, "plain"));
    let second = "torch/release/mp_rank_01/model_optim_rng.pt";
    let first = std::fs::read(workplace.path(&second.replace("01", "00"))).expect("it is there");
    workplace.put(second, first);
    fails(&workplace, &["@torch", "@out"], "TS0619");
}

#[test]
fn numbers_of_rows_of_padding_that_are_none() {
    let mapping = format!(
        "{SIDES}
config {{
    v = args.v <=> v
    h = args.h <=> h
    room: int else 4
    pad: int  else room - v
}}
stored [(rows: v | pad: _) h]  <=>  whole [rows:v h]
"
    );
    let workplace = start(&mapping, &json!({"v": 5, "h": 2}), &[("whole", &[5, 2], numbers(0, 10))]);
    let told = fails(&workplace, &["@plain", "@out"], "TS0630");
    assert!(told.contains("`pad` is -1, which is no number of rows"), "{told}");
    let told = fails(&workplace, &["@plain", "@out", "--set", "pad=1000000000000000"], "TS0630");
    assert!(told.contains("`pad` is 1000000000000000"), "{told}");
    converts(&workplace, &["@plain", "@out", "--set", "room=7"]);
    let expected = [numbers(0, 10), vec![0.0; 4]].concat();
    assert_eq!(held(&workplace, "out", "model.stored"), [(vec![7, 2], expected)]);
}

#[test]
fn positions_count_along_the_last_dimension() {
    let mapping = format!(
        "{SIDES}
config {{
    a = args.a <=> a
    b = args.b <=> b
}}
stored [a b]  <=>  whole [b a]
emit ranked: position_ids [1 b] as f32 = arange
emit ranked: rows [a b] as f32 = arange
"
    );
    let workplace = start(&mapping, &json!({"a": 2, "b": 3}), &[("whole", &[3, 2], numbers(0, 6))]);
    converts(&workplace, &["@plain", "@out"]);
    assert_eq!(held(&workplace, "out", "model.position_ids"), [(vec![1, 3], vec![0.0, 1.0, 2.0])]);
    assert_eq!(held(&workplace, "out", "model.rows"), [(vec![2, 3], vec![0.0, 1.0, 2.0, 0.0, 1.0, 2.0])]);
}
