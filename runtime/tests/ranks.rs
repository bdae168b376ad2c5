//! Checkpoints that are cut over ranks.

mod support;

use support::{Folder, data, dict, int, legacy, storage, tensor, torch_zip, zip};
use transship::{Checkpoint, Iteration, OpenOptions, Tensor, Value};

/// A rank's file: a tensor of two halves that start with `mark`, and the number of the iteration.
fn rank(mark: u8, iteration: i64) -> Vec<u8> {
    let value = dict(&[
        ("w", tensor(storage("HalfStorage", "0", 2), 0, &[2], &[1])),
        ("iteration", int(iteration)),
        ("optimizer", dict(&[("m", tensor(storage("HalfStorage", "1", 3), 1, &[2], &[1]))])),
        ("own", tensor(storage("HalfStorage", "0", 2), 1, &[1], &[1])),
    ]);
    torch_zip(&value, &[("0", &[mark, 1, 2, 3]), ("1", &[mark; 6])])
}

fn stream(mark: u8, iteration: i64) -> Vec<u8> {
    let value = dict(&[
        ("w", tensor(storage("HalfStorage", "0", 2), 0, &[2], &[1])),
        ("total_iters", int(iteration)),
    ]);
    legacy(&value, &[("0", 2, &[mark, 1, 2, 3])])
}

/// First byte of the tensor `w` of each rank.
fn marks(checkpoint: &Checkpoint) -> Vec<u8> {
    let own = |t: &&Tensor| t.name == "w";
    let marks: Vec<(usize, u8)> =
        checkpoint.tensors().iter().filter(own).map(|t| (t.rank, checkpoint.bytes(t)[0])).collect();
    assert!(marks.iter().enumerate().all(|(at, (rank, _))| at == *rank), "{marks:?}");
    marks.into_iter().map(|(_, mark)| mark).collect()
}

#[test]
fn all_ranks_are_opened_in_order_of_their_numbers() {
    let folder = Folder::new();
    // Ten pipeline ranks and a hundred and one tensor ranks: by name, 100 would come before 11.
    for number in (0..101).rev() {
        let name = format!("iter_0000005/mp_rank_{number:02}_000/model_optim_rng.pt");
        folder.write(&name, if number == 7 { stream(number, 5) } else { rank(number, 5) });
    }
    folder.write("iter_0000005/mp_rank_00_000_003/optim.pt", b"the optimizer's");
    folder.write("iter_0000005/latest", b"another file");
    let checkpoint = Checkpoint::open(folder.path()).expect("all ranks");
    assert_eq!(marks(&checkpoint), (0..101).collect::<Vec<u8>>());
    assert!(checkpoint.file().ends_with("iter_0000005"), "{}", checkpoint.file());
    let ranks = checkpoint.ranks();
    assert_eq!((ranks[100].name.as_str(), &ranks[100].numbers[..]), ("mp_rank_100_000", &[100, 0][..]));
    assert!(ranks[3].file.ends_with("mp_rank_03_000/model_optim_rng.pt"), "{}", ranks[3].file);
    // What documents say of a tensor is its index in the whole checkpoint.
    let own = |rank: usize, path: &str| match ranks[rank].documents.lookup(path) {
        Some(Value::Tensor(at)) => Some(&checkpoint.tensors()[*at]),
        _ => None,
    };
    for number in [0, 1, 42, 100] {
        let w = own(number, "w").expect("a tensor");
        assert_eq!((w.name.as_str(), w.rank), ("w", number));
        assert_eq!(own(number, "own").map(|t| (t.name.as_str(), t.rank)), Some(("own", number)));
        // Both are views of the one storage of that rank, among all storages.
        let storage = checkpoint.storage(w);
        let viewed: Vec<_> = storage.tensors.iter().map(|&t| &checkpoint.tensors()[t]).collect();
        assert_eq!(viewed.iter().map(|t| t.name.as_str()).collect::<Vec<_>>(), ["w", "own"]);
        assert!(viewed.iter().all(|t| t.rank == number && t.storage == w.storage));
    }
    assert!(own(0, "optimizer.m").is_some());
    assert!(own(1, "optimizer.m").is_none(), "only the first rank's optimizer is in the documents");
}

#[test]
fn ranks_must_belong_together() {
    let refusal = |files: &[(&str, Vec<u8>)]| {
        let folder = Folder::new();
        for (name, content) in files {
            folder.write(&format!("c/{name}"), content);
        }
        folder.refusal("c").replace("cannot read ", "")
    };
    let file = |rank: &str| format!("{rank}/model_optim_rng.pt");
    let names = |names: &[&str]| {
        let files: Vec<(String, Vec<u8>)> = names.iter().map(|n| (file(n), rank(0, 1))).collect();
        refusal(&files.iter().map(|(n, c)| (n.as_str(), c.clone())).collect::<Vec<_>>())
    };
    assert_eq!(
        names(&["mp_rank_00_000", "mp_rank_00_001", "mp_rank_01_001"]),
        "c: mp_rank_01_000 is missing: of the 2 x 2 ranks of this checkpoint there are only mp_rank_00_000, \
         mp_rank_00_001, mp_rank_01_001; fetch the missing ones into the same directory"
    );
    assert_eq!(
        names(&["mp_rank_00", "mp_rank_01_000"]),
        "c: mp_rank_00 and mp_rank_01_000 are ranks of different checkpoints, as their names have unlike numbers of \
         numbers; remove those that do not belong there"
    );
    assert_eq!(
        names(&["mp_rank_00", "mp_rank_000"]),
        "c: mp_rank_00 and mp_rank_000 are both the same rank; remove the one that does not belong there"
    );
    assert_eq!(
        refusal(&[(&file("mp_rank_00"), rank(0, 100)), (&file("mp_rank_01"), stream(0, 200))]),
        "c/mp_rank_01/model_optim_rng.pt: it is from iteration 200, but mp_rank_00 is from iteration 100; fetch all ranks of \
         one iteration"
    );
    assert_eq!(
        refusal(&[(&file("mp_rank_00"), rank(0, 1)), ("mp_rank_01/model_optim_rng.pt.part", Vec::new())]),
        "c/mp_rank_01: the directory of a rank holds neither model_optim_rng.pt nor model_rng.pt; fetch the file, or remove \
         the directory if it does not belong there"
    );
}

// ---------------------------------------------------------------- iterations

fn with_iteration(folder: &Folder, name: &str, iteration: Iteration) -> Result<Vec<u8>, String> {
    let options = OpenOptions { iteration: Some(iteration), ..OpenOptions::default() };
    Checkpoint::open_with(&folder.path().join(name), &options)
        .map(|c| marks(&c))
        .map_err(|e| folder.message(&e))
}

#[test]
fn iterations_can_be_chosen() {
    let folder = Folder::new();
    for (name, mark) in [("iter_0000100", 1), ("iter_12345678", 2), ("release", 3)] {
        folder.write(&format!("run/{name}/mp_rank_00/model_optim_rng.pt"), rank(mark, 7));
    }
    folder.write("run/iter_last/mp_rank_00/model_optim_rng.pt", rank(9, 7));
    folder.write("run/latest_checkpointed_iteration.txt", "100\n");
    assert_eq!(marks(&Checkpoint::open(&folder.path().join("run")).expect("the latest")), [1]);
    assert_eq!(with_iteration(&folder, "run", Iteration::Number(100)), Ok(vec![1]));
    assert_eq!(with_iteration(&folder, "run", Iteration::Number(12_345_678)), Ok(vec![2]));
    assert_eq!(with_iteration(&folder, "run", Iteration::Release), Ok(vec![3]));
    assert_eq!(
        with_iteration(&folder, "run", Iteration::Number(5)),
        Err("cannot read run: iteration 5 was asked for, but there is no iter_0000005; the iterations in it are iter_0000100, \
             iter_12345678, release; choose one of them, or leave the iteration out (--iteration, `OpenOptions::iteration`)"
            .to_owned())
    );
    assert_eq!(
        with_iteration(&folder, "run/release/mp_rank_00/model_optim_rng.pt", Iteration::Release),
        Err("cannot read run/release/mp_rank_00/model_optim_rng.pt: iteration release was asked for, but this is a file; \
             give the directory that holds the iterations, or leave the iteration out"
            .to_owned())
    );
    assert_eq!("100".parse(), Ok(Iteration::Number(100)));
    assert_eq!("release".parse(), Ok(Iteration::Release));
    assert!("latest".parse::<Iteration>().is_err());
}

// ---------------------------------------------------------------- archives

#[test]
fn ranks_in_an_archive_are_opened_together() {
    for deflate in [false, true] {
        let folder = Folder::new();
        let members = [
            ("release/mp_rank_01/model_optim_rng.pt", &rank(1, 3)[..], deflate),
            ("release/mp_rank_00/model_optim_rng.pt", &stream(0, 3)[..], deflate),
            ("release/mp_rank_00/optim.pt", &rank(9, 3)[..], deflate),
        ];
        let path = folder.write("x.zip", zip(&members));
        let checkpoint = Checkpoint::open(&path).expect("both ranks");
        assert_eq!(marks(&checkpoint), [0, 1]);
        assert!(checkpoint.file().ends_with("x.zip!release"), "{}", checkpoint.file());
        assert!(checkpoint.ranks()[1].file.ends_with("x.zip!release/mp_rank_01/model_optim_rng.pt"));
        let member = Some(members[0].0.to_owned());
        let options = OpenOptions { member, ..OpenOptions::default() };
        let one = Checkpoint::open_with(&path, &options).expect("one rank");
        assert_eq!((marks(&one), one.other_ranks()), (vec![1], &["mp_rank_00".to_owned()][..]));
    }
    let folder = Folder::new();
    let one_missing = [
        ("a/mp_rank_00/model_optim_rng.pt", &rank(0, 3)[..], false),
        ("a/mp_rank_02/model_optim_rng.pt", &rank(2, 3)[..], true),
    ];
    folder.write("x.zip", zip(&one_missing));
    assert!(folder.refusal("x.zip").starts_with("cannot read x.zip: mp_rank_01 is missing"));
    let runs = [
        ("a/mp_rank_00/model_optim_rng.pt", &rank(0, 3)[..], false),
        ("b/mp_rank_01/model_optim_rng.pt", &rank(1, 3)[..], false),
    ];
    folder.write("x.zip", zip(&runs));
    assert!(folder.refusal("x.zip").contains("the zip archive holds several checkpoints"));
}

// ---------------------------------------------------------------- what Megatron-LM wrote

/// Row-major elements of a tensor, by a naive indexer.
fn elements(checkpoint: &Checkpoint, tensor: &Tensor) -> Vec<u8> {
    let mut spots = vec![tensor.offset];
    for (&count, &stride) in tensor.shape.iter().zip(&tensor.strides) {
        spots = spots.iter().flat_map(|at| (0..count).map(move |i| at + i * stride)).collect();
    }
    let size = tensor.dtype.size();
    let start = |at: u64| usize::try_from(at).expect("an index") * size;
    spots.iter().flat_map(|&at| checkpoint.bytes(tensor)[start(at)..][..size].to_vec()).collect()
}

#[test]
fn ranks_that_megatron_wrote_hold_the_parts_of_the_model() {
    let expected = Checkpoint::open(&data("megatron/expected_hf/gpt2")).expect("the expected model");
    let checkpoint = Checkpoint::open(&data("megatron/legacy-v3-gpt2-tp2pp2/ckpt")).expect("four ranks");
    let names: Vec<&str> = checkpoint.ranks().iter().map(|r| r.name.as_str()).collect();
    assert_eq!(names, ["mp_rank_00_000", "mp_rank_00_001", "mp_rank_01_000", "mp_rank_01_001"]);
    let of = |rank: usize, name: &str| {
        let found = checkpoint.tensors().iter().find(|t| t.rank == rank && t.name == name);
        elements(&checkpoint, found.unwrap_or_else(|| panic!("{name} of rank {rank}")))
    };
    let whole = |name: &str| elements(&expected, expected.tensor(name).expect(name));
    // Rows of the embedding are cut over tensor ranks, and padded at the end.
    let rows = "model.language_model.embedding.word_embeddings.weight";
    let merged = [of(0, rows), of(2, rows)].concat();
    let table = whole("transformer.wte.weight");
    assert_eq!(merged[..table.len()], table);
    // Each stage has one of the two layers, and numbers it 0.
    for (layer, ranks) in [(0, [0, 2]), (1, [1, 3])] {
        let bias = "model.language_model.encoder.layers.0.mlp.dense_h_to_4h.bias";
        let merged = [of(ranks[0], bias), of(ranks[1], bias)].concat();
        assert_eq!(merged, whole(&format!("transformer.h.{layer}.mlp.c_fc.bias")));
    }
    assert_eq!(
        of(3, "model.language_model.encoder.final_layernorm.weight"),
        whole("transformer.ln_f.weight")
    );
    assert!(checkpoint.lookup("args.pipeline_model_parallel_size").and_then(Value::as_int) == Some(2));
}
