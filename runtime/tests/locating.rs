//! Which file is the checkpoint: directories, archives of checkpoints, and files that are none.

mod support;

use std::path::Path;

use support::{Folder, dict, int, legacy, refused, safetensors, storage, tensor, text, torch_zip, zip};
use transship::{Checkpoint, FormatKind, OpenOptions, Packing, Value};

fn stream() -> Vec<u8> {
    let value = dict(&[("w", tensor(storage("HalfStorage", "0", 2), 0, &[2], &[1])), ("iteration", int(5))]);
    legacy(&value, &[("0", 2, b"abcd")])
}

fn container() -> Vec<u8> {
    let value = dict(&[("w", tensor(storage("HalfStorage", "0", 2), 0, &[2], &[1])), ("iteration", int(5))]);
    torch_zip(&value, &[("0", b"abcd")])
}

fn check(checkpoint: &Checkpoint, file: &str) {
    let tensor = checkpoint.tensor("w").expect("the one tensor");
    assert_eq!(checkpoint.bytes(tensor), b"abcd");
    assert_eq!(checkpoint.lookup("iteration"), Some(&Value::Int(5)));
    assert!(checkpoint.file().ends_with(file), "{}", checkpoint.file());
}

// ---------------------------------------------------------------- archives of checkpoints

#[test]
fn members_are_read_stored_and_deflated() {
    for content in [stream(), container()] {
        for deflate in [false, true] {
            let folder = Folder::new();
            let path = folder
                .write("x.zip", zip(&[("read me.txt", b"text", false), ("a/odd.name", &content, deflate)]));
            let checkpoint = Checkpoint::open(&path).expect("the only candidate");
            check(&checkpoint, "x.zip!a/odd.name");
            assert_eq!(checkpoint.path(), path);
            assert_eq!(
                checkpoint.format().member,
                Some(if deflate { Packing::Deflated } else { Packing::Stored })
            );
        }
    }
}

#[test]
fn formats_are_shown() {
    let folder = Folder::new();
    let show = |content: &[u8]| {
        Checkpoint::open(&folder.write("x.bin", content)).expect("a good file").format().to_string()
    };
    assert_eq!(show(&stream()), "torch legacy stream");
    assert_eq!(show(&container()), "torch zip");
    assert_eq!(show(&zip(&[("m", &stream(), false)])), "torch legacy stream, inside a stored zip member");
    assert_eq!(show(&zip(&[("m", &container(), true)])), "torch zip, inside a deflated zip member");
    assert_eq!(show(&safetensors("{}", b"")), "safetensors");
}

#[test]
fn the_published_member_is_preferred_and_others_can_be_chosen() {
    let published = "release/mp_rank_00/model_optim_rng.pt";
    let folder = Folder::new();
    let path =
        folder.write("x.zip", zip(&[("other.pt", &container(), false), (published, &stream(), false)]));
    let checkpoint = Checkpoint::open(&path).expect("the published member");
    check(&checkpoint, &format!("x.zip!{published}"));
    let options = OpenOptions { member: Some("other.pt".to_owned()), ..OpenOptions::default() };
    let chosen = Checkpoint::open_with(&path, &options).expect("the chosen member");
    check(&chosen, "x.zip!other.pt");
    assert_eq!(chosen.format().kind, FormatKind::TorchZip);
    let options = OpenOptions { member: Some("none.pt".to_owned()), ..OpenOptions::default() };
    assert_eq!(
        folder.message(&Checkpoint::open_with(&path, &options).expect_err("no such member")),
        "cannot read x.zip: the zip archive has no entry `none.pt`; the checkpoints in it are other.pt, \
         release/mp_rank_00/model_optim_rng.pt"
    );
}

#[test]
fn optimizer_states_are_no_candidates() {
    let folder = Folder::new();
    let optimizer = zip(&[("a/optim.pt", &container(), false), ("a/model_rng.pt", &stream(), true)]);
    check(
        &Checkpoint::open(&folder.write("x.zip", optimizer)).expect("one candidate"),
        "x.zip!a/model_rng.pt",
    );
}

#[test]
fn archives_without_one_checkpoint_say_so() {
    assert_eq!(
        refused(&zip(&[("a.pt", &stream(), false), ("b.pt", &container(), true)])),
        "cannot read megatron.pt: the zip archive holds several checkpoints: a.pt, b.pt; choose one with --member \
         (`OpenOptions::member`)"
    );
    assert_eq!(
        refused(&zip(&[("a.txt", b"text", false), ("b.txt", b"", true)])),
        "cannot read megatron.pt: the zip archive holds no torch or safetensors file; its entries are a.txt, b.txt"
    );
    let twice = zip(&[("inner.zip", &zip(&[("a.pt", &stream(), false)]), false)]);
    assert_eq!(
        refused(&twice),
        "cannot read megatron.pt!inner.zip: the zip archive holds no torch or safetensors file; its entries are a.pt"
    );
}

#[test]
fn a_member_needs_an_archive_of_checkpoints() {
    let folder = Folder::new();
    let options = OpenOptions { member: Some("a.pt".to_owned()), ..OpenOptions::default() };
    for (content, kind) in [(stream(), "torch legacy stream"), (container(), "torch zip")] {
        let error = Checkpoint::open_with(&folder.write("x.pt", content), &options).expect_err("no archive");
        assert_eq!(
            folder.message(&error),
            format!(
                "cannot read x.pt: member `a.pt` was asked for, but the file is a {kind}, not a zip archive of checkpoints; \
                 leave the member out"
            )
        );
    }
}

// ---------------------------------------------------------------- files that are no checkpoints

#[test]
fn other_files_are_named_for_what_they_are() {
    let script = zip(&[
        ("m/data.pkl", &support::pickle(b"N"), false),
        ("m/code/x.py", b"pass", false),
        ("m/constants.pkl", b"N.", false),
    ]);
    let tar = [vec![0; 257], b"ustar\x0000".to_vec(), vec![0; 247]].concat();
    let cases: [(&[u8], &str); 9] = [
        (b"", "the file is empty; fetch it again"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n",
            "it is a Git LFS pointer, not the file itself; run `git lfs pull` in its repository",
        ),
        (
            b"<!DOCTYPE html><html>",
            "it is a web page, not a checkpoint; the download was redirected: fetch it again",
        ),
        (
            b"hello, world",
            "it is no checkpoint of a known format (it starts with 68 65 6c 6c 6f 2c 20 77); expected are files of \
             torch.save, safetensors files, and zip archives that hold one",
        ),
        (
            b"\x80\x02}.",
            "a Python pickle that torch.save did not write is not supported; load it and save its tensors with torch.save",
        ),
        (
            &tar,
            "a tar archive (as torch.save wrote before 2017) is not supported; unpack it, or load and save it again with \
             torch",
        ),
        (b"GGUF\x03\0\0\0", "a GGUF file is not supported; give the checkpoint it was made from"),
        (
            &script,
            "a TorchScript program (torch.jit.save) is not supported; load it and save its state_dict() with torch.save",
        ),
        (
            b"PK\x03\x04 and no more",
            "the zip archive has no directory at its end; the file is damaged or truncated: fetch it again",
        ),
    ];
    for (content, expected) in cases {
        assert_eq!(refused(content), format!("cannot read megatron.pt: {expected}"));
    }
}

#[test]
fn missing_files_say_so() {
    let folder = Folder::new();
    assert_eq!(folder.refusal("nowhere.pt"), "cannot read nowhere.pt: there is no such file or directory");
}

// ---------------------------------------------------------------- Megatron-LM directories

#[test]
fn megatron_directories_open_at_every_level() {
    for iteration in ["release", "iter_0000100"] {
        for (name, content) in [("model_optim_rng.pt", container()), ("model_rng.pt", stream())] {
            let folder = Folder::new();
            let file = format!("{iteration}/mp_rank_00/{name}");
            folder.write(&file, &content);
            folder.write(&format!("{iteration}/mp_rank_00/distrib_optim.pt"), b"the optimizer's");
            folder.write(&format!("{iteration}/mp_rank_00_000/optim.pt"), b"the optimizer's");
            for level in ["", iteration, &format!("{iteration}/mp_rank_00"), &file] {
                let checkpoint = Checkpoint::open(&folder.path().join(level)).expect(level);
                check(&checkpoint, &file);
                assert!(checkpoint.other_ranks().is_empty());
            }
            let tracker = iteration.trim_start_matches("iter_0000");
            folder.write("latest_checkpointed_iteration.txt", tracker);
            folder.write("iter_0000007/mp_rank_00/model_optim_rng.pt", b"another iteration");
            check(&Checkpoint::open(folder.path()).expect("the tracker names it"), &file);
        }
    }
}

#[test]
fn one_rank_of_several_can_be_opened() {
    let folder = Folder::new();
    folder.write("iter_0000001/mp_rank_00/model_optim_rng.pt", container());
    folder.write("iter_0000001/mp_rank_01/model_optim_rng.pt", container());
    folder.write("iter_0000001/mp_rank_00_000/optim.pt", b"the optimizer's");
    folder.write("iter_0000001/mp_rank_00.old/model_optim_rng.pt", container());
    for one in ["iter_0000001/mp_rank_01", "iter_0000001/mp_rank_01/model_optim_rng.pt"] {
        let rank = Checkpoint::open(&folder.path().join(one)).expect("one rank");
        check(&rank, "mp_rank_01/model_optim_rng.pt");
        assert_eq!((rank.other_ranks(), rank.ranks().len()), (&["mp_rank_00".to_owned()][..], 1));
    }
}

#[test]
fn directories_without_one_checkpoint_say_why() {
    let refusal = |files: &[(&str, &str)]| {
        let folder = Folder::new();
        for (name, content) in files {
            folder.write(&format!("ckpt/{name}"), content);
        }
        folder.refusal("ckpt").strip_prefix("cannot read ckpt: ").expect("the directory is named").to_owned()
    };
    assert_eq!(
        refusal(&[("notes.txt", "")]),
        "the directory holds no checkpoint: looked for latest_checkpointed_iteration.txt, iter_*, release, mp_rank_*, \
         model_optim_rng.pt, model.safetensors and pytorch_model.bin, whole or with an index; it holds notes.txt"
    );
    assert!(refusal(&[("weights.pt", ""), ("optimizer.pt", "")]).ends_with("; give its weights.pt itself"));
    assert_eq!(
        refusal(&[("mp_rank_00/optim.pt", "")]),
        "the directory holds no checkpoint: looked for model_optim_rng.pt and model_rng.pt in its mp_rank_* directories; \
         fetch them, or give the file itself"
    );
    assert_eq!(
        refusal(&[("iter_0000001/x", ""), ("iter_0000002/x", "")]),
        "it holds several iterations (iter_0000001, iter_0000002) and no latest_checkpointed_iteration.txt says which; \
         give one of their directories"
    );
    assert_eq!(
        refusal(&[("latest_checkpointed_iteration.txt", "7\n")]),
        "latest_checkpointed_iteration.txt names iter_0000007, which is missing; fetch it, or give the directory of \
         another iteration"
    );
    assert_eq!(
        refusal(&[("latest_checkpointed_iteration.txt", "../elsewhere")]),
        "latest_checkpointed_iteration.txt should hold a number or `release`, but holds \"../elsewhere\"; correct it, or \
         give the directory of the iteration"
    );
    assert_eq!(
        refusal(&[("__0_0.distcp", "")]),
        "its .metadata, which says where each tensor lies, is missing; fetch it into the same directory"
    );
}

// ---------------------------------------------------------------- Hugging Face directories

const ONE: &str = r#"{"__metadata__":{"format":"pt"},"w":{"dtype":"F16","shape":[2],"data_offsets":[0,4]}}"#;
const TWO: &str = r#"{"u":{"dtype":"I8","shape":[3],"data_offsets":[0,3]},"z":{"dtype":"U16","shape":[2],"data_offsets":[3,7]}}"#;

#[test]
fn safetensors_come_with_the_configuration_beside_them() {
    let folder = Folder::new();
    let file = folder.write("model.safetensors", safetensors(ONE, b"abcd"));
    folder.write("config.json", r#"{"n_layer": 2, "nested": {"a.b": [1, 2.5]}, "iteration": 5}"#);
    folder.write("generation_config.json", r#"{"n_layer": 9, "eos_token_id": 3}"#);
    folder.write("tokenizer.json", "not read");
    for path in [folder.path(), &file] {
        let checkpoint = Checkpoint::open(path).expect("a good directory");
        check(&checkpoint, "model.safetensors");
        assert_eq!(checkpoint.lookup("n_layer"), Some(&Value::Int(2)));
        assert_eq!(checkpoint.lookup("nested.a.b.1"), Some(&Value::Float(2.5)));
        assert_eq!(checkpoint.lookup("generation_config.json.eos_token_id"), Some(&Value::Int(3)));
        assert_eq!(checkpoint.documents().as_map().map(transship::Map::len), Some(2));
        assert_eq!(checkpoint.storages().len(), 1);
    }
}

#[test]
fn a_broken_configuration_is_named() {
    let folder = Folder::new();
    folder.write("model.safetensors", safetensors(ONE, b"abcd"));
    folder.write("config.json", "{\"n_layer\": }");
    assert_eq!(
        folder.refusal("model.safetensors"),
        "cannot read config.json: it is not valid JSON (expected value at line 1 column 13); fetch it again, or correct it"
    );
}

fn shards(folder: &Folder, map: &str) {
    folder.write("a.safetensors", safetensors(ONE, b"abcd"));
    folder.write("b.safetensors", safetensors(TWO, b"xyz1234"));
    folder.write("config.json", r#"{"iteration": 5}"#);
    folder.write("model.safetensors.index.json", format!(r#"{{"metadata": {{}}, "weight_map": {map}}}"#));
}

#[test]
fn shards_are_read_together() {
    let folder = Folder::new();
    shards(&folder, r#"{"u": "b.safetensors", "z": "b.safetensors", "w": "a.safetensors"}"#);
    for path in [folder.path(), &folder.path().join("model.safetensors.index.json")] {
        let checkpoint = Checkpoint::open(path).expect("a good directory");
        check(&checkpoint, "model.safetensors.index.json");
        assert_eq!(checkpoint.format().kind, FormatKind::SafetensorsShards);
        let names: Vec<&str> = checkpoint.tensors().iter().map(|t| t.name.as_str()).collect();
        assert_eq!(names, ["w", "u"]);
        let tensor = checkpoint.tensor("u").expect("the other tensor");
        assert_eq!(checkpoint.bytes(tensor), b"xyz");
        assert!(Path::new(&checkpoint.storage(tensor).file).ends_with("b.safetensors"));
        let [unsupported] = checkpoint.unsupported() else { panic!("one tensor of u16") };
        assert_eq!((unsupported.name.as_str(), unsupported.dtype.as_str()), ("z", "u16"));
    }
}

#[test]
fn shards_must_belong_together() {
    let refusal = |map: &str, change: &dyn Fn(&Folder)| {
        let folder = Folder::new();
        shards(&folder, map);
        change(&folder);
        let text = Checkpoint::open(folder.path()).expect_err("a bad index");
        folder
            .message(&text)
            .strip_prefix("cannot read model.safetensors.index.json: ")
            .expect("the index is named")
            .to_owned()
    };
    let good = r#"{"u": "b.safetensors", "z": "b.safetensors", "w": "a.safetensors"}"#;
    let nothing = |_: &Folder| {};
    assert_eq!(
        refusal(r#"{"u": "a.safetensors", "w": "b.safetensors"}"#, &nothing),
        "tensor `u` should be in shard a.safetensors, but is not; the index and the shards do not belong together: fetch \
         them again"
    );
    assert_eq!(
        refusal(r#"{"u": "c.safetensors"}"#, &nothing),
        "shard c.safetensors, which the index names, is missing; fetch it into the same folder"
    );
    assert_eq!(
        refusal(good, &|f| drop(f.write("b.safetensors", safetensors(ONE, b"abcd")))),
        "tensor `w` is in two shards, a.safetensors and b.safetensors; the shards do not belong together: fetch them again"
    );
    assert_eq!(
        refusal(good, &|f| drop(f.write("b.safetensors", safetensors(TWO, b"xyz123")))),
        "in shard b.safetensors, the file has 126 bytes, but its safetensors header describes 127; the file is damaged or \
         truncated: fetch it again"
    );
    assert_eq!(
        refusal(r#"{"u": "../b.safetensors"}"#, &nothing),
        "the index is malformed (`../b.safetensors` is not the name of a file in the same folder); fetch it again"
    );
    assert_eq!(
        refusal("[]", &nothing),
        "the index is malformed (it has no table named `weight_map`); fetch it again"
    );
    assert_eq!(
        refusal(r#"{"u": 1}"#, &nothing),
        "the index is malformed (a shard is no file name); fetch it again"
    );
}

#[test]
fn damaged_headers_say_what_is_wrong() {
    let damaged = |what: &str| {
        format!(
            "cannot read megatron.pt: the safetensors header is damaged ({what}); the file is damaged or truncated: fetch it again"
        )
    };
    let header = |start: u64, end: u64| {
        format!(r#"{{"w":{{"dtype":"F16","shape":[2],"data_offsets":[{start},{end}]}}}}"#)
    };
    assert_eq!(
        refused(&safetensors(&header(1, 5), b"abcde")),
        damaged("the data of `w` leaves a gap or overlaps another's")
    );
    assert_eq!(
        refused(&safetensors(&header(0, 5), b"abcde")),
        damaged("a tensor's shape does not match its data")
    );
    assert!(
        refused(&safetensors(&header(0, 4), b"abc")).contains("bytes, but its safetensors header describes")
    );
    assert_eq!(
        refused(&[&1000u64.to_le_bytes()[..], b"{}"].concat()),
        damaged("it runs past the end of the file")
    );
    let overflow = r#"{"w":{"dtype":"F16","shape":[9223372036854775807,9],"data_offsets":[0,4]}}"#;
    assert!(refused(&safetensors(overflow, b"abcd")).contains("the safetensors header is damaged"));
    let empty = r#"{"w":{"dtype":"F16","shape":[0,9223372036854775807,3],"data_offsets":[0,0]}}"#;
    assert!(refused(&safetensors(empty, b"")).contains("the safetensors header is damaged"));
}

#[test]
fn text_in_documents_is_kept() {
    let folder = Folder::new();
    let path = folder.write("x.pt", torch_zip(&dict(&[("name", text("é"))]), &[]));
    let checkpoint = Checkpoint::open(&path).expect("a good file");
    assert_eq!(checkpoint.lookup("name").and_then(Value::as_str), Some("é"));
    assert!(checkpoint.tensors().is_empty());
}

#[test]
fn zarr_checkpoints_of_version_3_are_refused() {
    let folder = Folder::new();
    folder.write("metadata.json", r#"{"sharded_backend": "zarr"}"#);
    folder.write("w/zarr.json", "{}");
    let error = Checkpoint::open(folder.path()).expect_err("another version").to_string();
    let told = error.rsplit_once("/w: ").expect("the array is named").1;
    assert!(told.starts_with("`w` has version 3 of zarr; read are arrays of zarr's version 2"), "{error}");
}

#[test]
fn distributed_checkpoints_of_other_programs_have_no_plain_data() {
    let folder = Folder::new();
    let from = support::data("megatron/mcore-gpt2-tp2-torch_dist/ckpt/iter_0000101");
    for name in [".metadata", "__0_0.distcp", "__0_1.distcp", "__1_0.distcp", "__1_1.distcp"] {
        folder.write(name, std::fs::read(from.join(name)).expect("a file of the test data"));
    }
    let checkpoint = Checkpoint::open(folder.path()).expect("a good directory");
    assert_eq!(checkpoint.documents().as_map().map(transship::Map::len), Some(0));
    assert_eq!(checkpoint.format().to_string(), "torch distributed checkpoint");
    folder.write("metadata.json", "{}");
    let error = Checkpoint::open(folder.path()).expect_err("Megatron-Core's have").to_string();
    assert!(error.contains("common.pt: it is missing"), "{error}");
}
