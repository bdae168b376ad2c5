//! Torch files as they are planned and written, against torch's own and read by independent readers.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use tempfile::tempdir;
use transship::engine::{Content, Convert, Fill, Region, StridedCopy, TargetTensor};
use transship::output::{
    Options, OutputError, OutputPlan, PlannedFile, Saved, SmallFile, TensorSpec, plan_torch, run,
};
use transship::{Checkpoint, DType, Value};
use zip::ZipArchive;

const SMALL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/data/torch/small.pt");

fn spec(name: &str, dtype: DType, shape: &[u64]) -> TensorSpec {
    TensorSpec { name: name.to_owned(), dtype, shape: shape.to_vec() }
}

fn tensor(name: &str, dtype: DType, shape: &[u64]) -> Saved {
    Saved::Tensor(spec(name, dtype, shape))
}

fn text(text: &str) -> Saved {
    Saved::Text(text.to_owned())
}

fn ints(numbers: &[i64]) -> Vec<Saved> {
    numbers.iter().map(|&number| Saved::Int(number)).collect()
}

fn named<const N: usize>(entries: [(&str, Saved); N]) -> Vec<(String, Saved)> {
    entries.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// What `tests/data/torch/small.py` saves.
fn small() -> Saved {
    let args = named([
        ("hidden_size", Saved::Int(5)),
        ("eps", Saved::Float(1e-5)),
        ("name", text("größe")),
        ("params_dtype", Saved::DType(DType::BF16)),
        ("none", Saved::None),
        ("flag", Saved::Bool(true)),
        ("big", Saved::Int(1 << 40)),
        ("neg", Saved::Int(-3)),
        ("list", Saved::List(ints(&[1, 2, 70000]))),
        ("pair", Saved::Tuple(ints(&[256, -40000]))),
        ("empty", Saved::List(vec![])),
        ("one", Saved::List(vec![text("x")])),
        ("wide", Saved::Tuple(ints(&[1, 2, 3, -(1 << 39)]))),
        ("edges", Saved::List(ints(&[255, 65535, 128]))),
    ]);
    let model = named([
        ("w", tensor("w", DType::F32, &[2, 3])),
        ("größe", tensor("größe", DType::BF16, &[2])),
        ("half", tensor("half", DType::F16, &[2, 1])),
        ("double", tensor("double", DType::F64, &[])),
        ("tied", tensor("w", DType::F32, &[2, 3])),
        ("i64", tensor("i64", DType::I64, &[3])),
        ("i32", tensor("i32", DType::I32, &[3])),
        ("i16", tensor("i16", DType::I16, &[1])),
        ("i8", tensor("i8", DType::I8, &[1])),
        ("u8", tensor("u8", DType::U8, &[1])),
        ("bool", tensor("bool", DType::Bool, &[2])),
        ("empty", tensor("empty", DType::F32, &[4, 0, 3])),
        ("f8", tensor("f8", DType::F8E4M3, &[3])),
        ("f8e5", tensor("f8e5", DType::F8E5M2, &[1])),
        ("square", tensor("square", DType::F32, &[2, 2])),
    ]);
    Saved::Dict(named([
        ("args", Saved::Namespace(args)),
        ("checkpoint_version", Saved::Float(3.0)),
        ("iteration", Saved::Int(1)),
        ("model", Saved::OrderedDict(model)),
        ("void", Saved::Dict(vec![])),
        ("single", Saved::OrderedDict(named([("only", Saved::Int(1))]))),
    ]))
}

/// Tensors of a plan with the elements that `checkpoint` has under `model.<name>`.
fn contents<'a>(file: &PlannedFile, checkpoint: &'a Checkpoint) -> Vec<TargetTensor<'a>> {
    let of = |spec: &TensorSpec| {
        let found = checkpoint.tensor(&format!("model.{}", spec.name)).expect("a tensor of that name");
        let source = &checkpoint.bytes(found)[found.byte_range()];
        let elements = source.len() / spec.dtype.size();
        let copy = StridedCopy::run(elements);
        let convert = Convert::bits(spec.dtype);
        TargetTensor {
            name: spec.name.clone(),
            dtype: spec.dtype,
            shape: spec.shape.clone(),
            contents: if elements == 0 { vec![] } else { vec![Content::Copy { copy, source, convert }] },
        }
    };
    file.tensors.iter().map(|tensor| of(&tensor.spec)).collect()
}

fn ones(spec: &TensorSpec) -> TargetTensor<'static> {
    let sizes: Vec<usize> = spec.shape.iter().map(|&size| size as usize).collect();
    let fill = Content::Fill { region: Region::whole(&sizes), fill: Fill::Constant(1.0) };
    TargetTensor {
        name: spec.name.clone(),
        dtype: spec.dtype,
        shape: spec.shape.clone(),
        contents: vec![fill],
    }
}

fn plan(files: Vec<PlannedFile>) -> OutputPlan {
    OutputPlan { files, index: None, superseded: |_, _| false }
}

fn fast() -> Options<'static> {
    Options { threads: 3, sync: false, ..Options::default() }
}

/// Reads every record of an archive, which compares its CRC-32.
fn check_archive(path: &Path) -> Vec<(String, u64)> {
    let mut archive = ZipArchive::new(File::open(path).expect("the file")).expect("a zip archive");
    let mut records = Vec::new();
    for index in 0..archive.len() {
        let mut record = archive.by_index(index).expect("a record");
        std::io::copy(&mut record, &mut std::io::sink()).expect("a record with the right sum");
        let name = record.name().expect("a name").into_owned();
        assert_eq!(record.data_start().expect("a local header") % 64, 0, "{name}");
        records.push((name, record.size()));
    }
    records
}

fn pickle_of(path: &Path) -> Vec<u8> {
    let mut archive = ZipArchive::new(File::open(path).expect("the file")).expect("a zip archive");
    let mut bytes = Vec::new();
    archive.by_name("small/data.pkl").expect("the pickle").read_to_end(&mut bytes).expect("its bytes");
    bytes
}

#[test]
fn files_are_those_of_torch_to_the_byte() {
    let reference = Checkpoint::open(Path::new(SMALL)).expect("torch's file");
    let file = plan_torch("iter_0000001/mp_rank_00/small.pt", &small()).expect("a plan");
    let tensors = contents(&file, &reference);
    let directory = tempdir().expect("a directory");
    run(directory.path(), &plan(vec![file]), &tensors, &[], &fast()).expect("an output");
    let written = directory.path().join("iter_0000001/mp_rank_00/small.pt");
    assert!(pickle_of(&written) == pickle_of(Path::new(SMALL)), "the pickles differ");
    let mut own = fs::read(&written).expect("the file");
    let mut theirs = fs::read(SMALL).expect("torch's file");
    assert_eq!(own.len(), theirs.len());
    // The record `.data/serialization_id` is the last, and its sum is in a descriptor and in the directory.
    let directory_at =
        |bytes: &[u8]| bytes.windows(4).position(|four| four == b"PK\x01\x02").expect("entries");
    let last_entry =
        |bytes: &[u8]| bytes.windows(4).rposition(|four| four == b"PK\x01\x02").expect("entries");
    for bytes in [&mut own, &mut theirs] {
        let (id, sum) = (directory_at(bytes) - 16 - 40, last_entry(bytes) + 16);
        assert!(bytes[id..id + 40].iter().all(u8::is_ascii_digit));
        bytes[id..id + 48].fill(0);
        bytes[sum..sum + 4].fill(0);
    }
    let first = own.iter().zip(&theirs).position(|(own, theirs)| own != theirs);
    assert_eq!(first, None);
}

#[test]
fn what_is_written_is_read_back() {
    let reference = Checkpoint::open(Path::new(SMALL)).expect("torch's file");
    let file = plan_torch("small.pt", &small()).expect("a plan");
    let tensors = contents(&file, &reference);
    let directory = tempdir().expect("a directory");
    run(directory.path(), &plan(vec![file]), &tensors, &[], &fast()).expect("an output");
    let path = directory.path().join("small.pt");
    let records = check_archive(&path);
    assert_eq!(records.len(), 4 + 14 + 2);
    let own = Checkpoint::open(&path).expect("our file");
    assert_eq!(own.documents(), reference.documents());
    assert_eq!(own.tensors(), reference.tensors());
    for tensor in own.tensors() {
        let range = tensor.byte_range();
        let theirs = reference.tensor(&tensor.name).expect("the same names");
        assert_eq!(own.bytes(tensor)[range.clone()], reference.bytes(theirs)[range], "{}", tensor.name);
    }
    assert_eq!(own.lookup("args.name"), Some(&Value::Str("größe".into())));
    let shared: Vec<_> = own.storages().iter().filter(|storage| storage.is_shared()).collect();
    assert_eq!(shared.len(), 1);
}

/// Several pieces per tensor, written by several threads, have the sum of the whole.
#[test]
fn sums_do_not_depend_on_threads() {
    let specs = [
        spec("noise", DType::F32, &[701, 1999]),
        spec("tiny", DType::U8, &[3]),
        spec("square", DType::BF16, &[900, 900]),
    ];
    let root =
        Saved::Dict(specs.iter().map(|spec| (spec.name.clone(), Saved::Tensor(spec.clone()))).collect());
    let file = plan_torch("m.pt", &root).expect("a plan");
    let tensors = specs.map(|spec| {
        let sizes: Vec<usize> = spec.shape.iter().map(|&size| size as usize).collect();
        let fill = Fill::Normal { seed: 7, std: 0.5 };
        let noise = Content::Fill { region: Region::whole(&sizes), fill };
        if spec.dtype.is_float() {
            TargetTensor { contents: vec![noise], ..ones(&spec) }
        } else {
            ones(&spec)
        }
    });
    let outputs = [1, 2, 7].map(|threads| {
        let directory = tempdir().expect("a directory");
        let options = Options { threads, ..fast() };
        run(directory.path(), &plan(vec![file.clone()]), &tensors, &[], &options).expect("an output");
        let path = directory.path().join("m.pt");
        check_archive(&path);
        fs::read(path).expect("the file")
    });
    assert!(outputs[0] == outputs[1] && outputs[0] == outputs[2]);
}

/// Writes what surrounds the tensors into a file that is all holes elsewhere.
fn sparse(file: &PlannedFile, path: &Path) {
    let mut output = File::create(path).expect("a file");
    output.set_len(file.size).expect("a size");
    for literal in &file.literals {
        output.seek(SeekFrom::Start(literal.offset)).expect("a seek");
        output.write_all(&literal.bytes).expect("a write");
    }
}

#[test]
fn sizes_and_places_beyond_4_gib_are_planned() {
    let wide = 5 << 30;
    let root = Saved::Dict(named([
        ("first", tensor("first", DType::U8, &[3])),
        ("wide", tensor("wide", DType::U8, &[wide])),
        ("edge", tensor("edge", DType::U8, &[u64::from(u32::MAX)])),
        ("last", tensor("last", DType::F32, &[2, 3])),
    ]));
    let file = plan_torch("wide.pt", &root).expect("a plan");
    for tensor in &file.tensors {
        assert_eq!(tensor.offset % 64, 0);
        let literal = file.literals.iter().find(|literal| literal.offset == tensor.offset + tensor.bytes);
        assert_eq!(literal.expect("bytes after the tensor").bytes[..4], *b"PK\x07\x08");
    }
    let directory = tempdir().expect("a directory");
    let path = directory.path().join("wide.pt");
    sparse(&file, &path);
    let mut archive = ZipArchive::new(File::open(&path).expect("the file")).expect("a zip archive");
    for (key, tensor) in file.tensors.iter().enumerate() {
        let record = archive.by_name(&format!("wide/data/{key}")).expect("a record");
        assert_eq!((record.data_start().expect("a header"), record.size()), (tensor.offset, tensor.bytes));
    }
    let checkpoint = Checkpoint::open(&path).expect("a checkpoint");
    let sizes: Vec<_> = checkpoint.tensors().iter().map(|tensor| tensor.byte_range().len() as u64).collect();
    assert_eq!(sizes, [3, wide, u64::from(u32::MAX), 24]);
}

#[test]
fn more_records_than_16_bits_count() {
    let specs: Vec<_> = (0..70_000).map(|i| spec(&format!("t{i}"), DType::U8, &[2])).collect();
    let root =
        Saved::Dict(specs.iter().map(|spec| (spec.name.clone(), Saved::Tensor(spec.clone()))).collect());
    let file = plan_torch("many.pt", &root).expect("a plan");
    let tensors: Vec<_> = specs.iter().map(ones).collect();
    let directory = tempdir().expect("a directory");
    run(directory.path(), &plan(vec![file]), &tensors, &[], &fast()).expect("an output");
    let path = directory.path().join("many.pt");
    assert_eq!(check_archive(&path).len(), 70_006);
    let checkpoint = Checkpoint::open(&path).expect("a checkpoint");
    assert!(checkpoint.tensors().iter().map(|tensor| &tensor.name).eq(specs.iter().map(|spec| &spec.name)));
}

#[test]
fn what_cannot_be_saved_is_said() {
    let root = Saved::List(vec![tensor("w", DType::F32, &[2]), tensor("w", DType::F32, &[3])]);
    let error = plan_torch("a/b.pt", &root).expect_err("a name with two shapes");
    assert_eq!(
        error.to_string(),
        "`a/b.pt` is to hold tensor `w` as f32 [2] and again as f32 [3]; give one of them another name"
    );
    let nested = |depth| (0..depth).fold(Saved::None, |inner, _| Saved::List(vec![inner]));
    let error = plan_torch("b.pt", &nested(129)).expect_err("too deep");
    assert_eq!(error.to_string(), "the data of `b.pt` is nested more than 128 deep; flatten it");
    assert!(plan_torch("b.pt", &nested(128)).is_ok());
    for shape in [&[u64::MAX, 2][..], &[0, 1 << 63], &[0, 1 << 62, 4, 4]] {
        let error = plan_torch("b.pt", &tensor("w", DType::F32, shape)).expect_err("too large");
        assert!(matches!(error, OutputError::TooLarge { .. }), "{error}");
    }
}

/// Paths below a directory, with the contents of files.
fn tree(path: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(path).expect("a directory") {
        let path = entry.expect("an entry").path();
        let name = path.display().to_string();
        if path.is_dir() {
            found.push((name, vec![]));
            found.extend(tree(&path));
        } else {
            found.push((name, fs::read(&path).expect("a file")));
        }
    }
    found.sort();
    found
}

#[test]
fn ranks_in_subdirectories_appear_together_or_not_at_all() {
    let ranks = ["00", "01"].map(|rank| {
        let spec = spec(&format!("{rank}.w"), DType::F32, &[300, 400]);
        let root = Saved::Dict(named([("w", Saved::Tensor(spec.clone()))]));
        let path = format!("iter_0000001/mp_rank_{rank}/model_optim_rng.pt");
        (plan_torch(&path, &root).expect("a plan"), ones(&spec))
    });
    let (files, tensors): (Vec<_>, Vec<_>) = ranks.into_iter().unzip();
    let tracker = SmallFile { name: "latest_checkpointed_iteration.txt".to_owned(), bytes: b"1".to_vec() };
    let plan = OutputPlan { index: Some(tracker), ..plan(files) };
    let directory = tempdir().expect("a directory");
    let path = directory.path();
    fs::create_dir_all(path.join("notes")).expect("a directory of the user's");
    fs::write(path.join("notes/mine"), "mine").expect("a file of the user's");
    let before = tree(path);

    // Something takes the place of the tracker, which comes last, while the first tensor is written.
    let blocker = path.join("latest_checkpointed_iteration.txt");
    let progress = |_| fs::create_dir_all(&blocker).expect("a directory in the way");
    let options = Options { progress: Some(&progress), ..fast() };
    let error = run(path, &plan, &tensors, &[], &options).expect_err("a name that is taken");
    assert!(error.to_string().contains("latest_checkpointed_iteration.txt` is in the way"), "{error}");
    fs::remove_dir(&blocker).expect("an empty directory");
    assert_eq!(tree(path), before);

    // A file where a directory is to be.
    fs::create_dir(path.join("iter_0000001")).expect("a directory of the user's");
    fs::write(path.join("iter_0000001/mp_rank_01"), "mine").expect("a file of the user's");
    let blocked = tree(path);
    let options = Options { force: true, ..fast() };
    let error = run(path, &plan, &tensors, &[], &options).expect_err("a file in the way");
    assert!(error.to_string().contains("mp_rank_01"), "{error}");
    assert_eq!(tree(path), blocked);
    fs::remove_dir_all(path.join("iter_0000001")).expect("the directory");

    run(path, &plan, &tensors, &[], &fast()).expect("an output");
    for rank in ["00", "01"] {
        check_archive(&path.join(format!("iter_0000001/mp_rank_{rank}/model_optim_rng.pt")));
    }
    assert_eq!(fs::read(&blocker).expect("the tracker"), b"1");
    assert_eq!(fs::read(path.join("notes/mine")).expect("the user's file"), b"mine");
    let written = tree(path);
    let error = run(path, &plan, &tensors, &[], &fast()).expect_err("existing outputs");
    assert!(matches!(error, OutputError::Exists { .. }), "{error}");
    assert_eq!(tree(path), written);
}
