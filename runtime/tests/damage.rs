//! Damaged files: cut off, overwritten, made to deceive. Always an error or a sound checkpoint, never a panic.

mod support;

use std::fs::File;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use support::{Folder, data, refused, zip};
use transship::Checkpoint;

fn checkpoints() -> Vec<PathBuf> {
    fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).expect("the test data") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                collect(&path, found);
            } else if path.extension().is_some_and(|e| e == "pt" || e == "zip" || e == "safetensors") {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    collect(&data(""), &mut found);
    found
}

#[test]
fn truncated_files_are_errors() {
    let files = checkpoints();
    assert!(files.len() >= 15, "{}", files.len());
    for file in files {
        let folder = Folder::new();
        let content = std::fs::read(&file).expect("a file of the test data");
        let path = folder.write("cut", &content);
        Checkpoint::open(&path).expect("the whole file is good");
        let handle = File::options().write(true).open(&path).expect("the copy");
        for length in (0..content.len()).step_by(512).chain([content.len() - 1]).rev() {
            // A file that was cut shorter before grows again with zeros, so the lengths fall.
            handle.set_len(length as u64).expect("the copy can be cut");
            assert!(Checkpoint::open(&path).is_err(), "{} cut to {length} bytes", file.display());
        }
    }
}

/// Touches everything that can be reached from what was opened.
fn use_all(checkpoint: &Checkpoint) {
    for tensor in checkpoint.tensors() {
        let bytes = checkpoint.bytes(tensor);
        if tensor.elements() > 0 {
            let steps = tensor.shape.iter().zip(&tensor.strides);
            let last = tensor.offset + steps.map(|(n, stride)| (n - 1) * stride).sum::<u64>();
            assert!((last + 1) * tensor.dtype.size() as u64 <= bytes.len() as u64, "{}", tensor.name);
        }
    }
    let _ = (checkpoint.documents().to_json(), checkpoint.documents().to_string());
}

fn small() -> Vec<Vec<u8>> {
    let tensors = support::dict(&[
        ("a", support::tensor(support::storage("HalfStorage", "0", 6), 0, &[2, 3], &[1, 2])),
        ("b", support::tensor(support::storage("FloatStorage", "1", 3), 1, &[2], &[1])),
    ]);
    let header = r#"{"a":{"dtype":"F16","shape":[2,3],"data_offsets":[0,12]},"b":{"dtype":"F32","shape":[3],"data_offsets":[12,24]}}"#;
    let stream = support::legacy(&tensors, &[("0", 6, &[1; 12]), ("1", 3, &[2; 12])]);
    vec![
        support::torch_zip(&tensors, &[("0", &[1; 12]), ("1", &[2; 12])]),
        zip(&[("a/model.pt", &stream, true), ("a/notes.txt", b"nothing", true)]),
        stream,
        support::safetensors(header, &[3; 24]),
        std::fs::read(data("hf/i_te_names_v3_bf16/input/model_optim_rng.pt"))
            .expect("a file of the test data"),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn overwritten_bytes_never_panic(
        which in 0..5usize,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        head in any::<bool>(),
    ) {
        thread_local!(static FILES: Vec<Vec<u8>> = small());
        let mut content = FILES.with(|files| files[which].clone());
        // The structure of a file is at its start and end, so half of the changes go there.
        let length = content.len();
        for (at, byte) in changes {
            let at = at.index(if head { length.min(4096) } else { length });
            content[if head && at % 2 == 1 { length - 1 - at } else { at }] = byte;
        }
        let folder = Folder::new();
        let start = std::time::Instant::now();
        if let Ok(checkpoint) = Checkpoint::open(&folder.write("x.pt", &content)) {
            use_all(&checkpoint);
        }
        prop_assert!(start.elapsed() < std::time::Duration::from_secs(5));
    }
}

/// Distributed checkpoints of the test data, and the files in them that say where things are.
const DISTRIBUTED: [(&str, &[&str]); 2] = [
    ("megatron/mcore-gpt2-tp2-torch_dist/ckpt/iter_0000101", &[".metadata", "common.pt", "__0_0.distcp"]),
    (
        "megatron/mcore-gpt2-zarr-tp2-zarr/ckpt/iter_0000101",
        &[
            "decoder.layers.mlp.linear_fc1.weight/.zarray",
            "decoder.final_layernorm.bias/.zarray",
            "common.pt",
        ],
    ),
];

fn copy(from: &Path, folder: &Folder, below: &str) {
    for entry in std::fs::read_dir(from).expect("the test data") {
        let path = entry.expect("an entry").path();
        let name = format!("{below}{}", path.file_name().expect("a name").to_string_lossy());
        if path.is_dir() {
            copy(&path, folder, &format!("{name}/"));
        } else {
            folder.write(&name, std::fs::read(&path).expect("a file of the test data"));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn overwritten_bytes_of_distributed_checkpoints_never_panic(
        case in 0..2usize,
        which in 0..3usize,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), any::<bool>()), 1..8),
    ) {
        thread_local!(static COPIES: Vec<Folder> = DISTRIBUTED.iter().map(|(from, _)| {
            let folder = Folder::new();
            copy(&data(from), &folder, "");
            Checkpoint::open(folder.path()).expect("the whole checkpoint is good");
            folder
        }).collect());
        let (from, files) = DISTRIBUTED[case];
        let sound = std::fs::read(data(from).join(files[which])).expect("a file of the test data");
        let mut content = sound.clone();
        let digits: Vec<usize> = (0..sound.len()).filter(|at| sound[*at].is_ascii_digit()).collect();
        for (at, byte, digit) in changes {
            // Half of the time a number of a text becomes another one, so that more than a parser is reached.
            if digit {
                content[digits[at.index(digits.len())]] = b'0' + byte % 10;
            } else {
                content[at.index(sound.len())] = byte;
            }
        }
        COPIES.with(|copies| {
            copies[case].write(files[which], &content);
            let start = std::time::Instant::now();
            if let Ok(checkpoint) = Checkpoint::open(copies[case].path()) {
                use_all(&checkpoint);
            }
            assert!(start.elapsed() < std::time::Duration::from_secs(5));
            copies[case].write(files[which], &sound);
        });
    }
}

// ---------------------------------------------------------------- archives made to deceive

/// Where `pattern` starts in `bytes`, counted from the end.
fn last(bytes: &[u8], pattern: &[u8]) -> usize {
    bytes.windows(pattern.len()).rposition(|w| w == pattern).expect("the pattern is there")
}

fn two_entries() -> Vec<u8> {
    zip(&[("first", b"0123456789", false), ("second", b"abcdefghij", false)])
}

#[test]
fn overlapping_entries_are_refused() {
    let mut archive = two_entries();
    // The last record of the directory is that of `second`; its header is said to be where that of `first` is.
    let record = last(&archive, b"PK\x01\x02");
    archive[record + 42..record + 46].copy_from_slice(&0u32.to_le_bytes());
    assert_eq!(
        refused(&archive),
        "cannot read megatron.pt: entries `first` and `second` of the zip archive overlap; the file is damaged or made to \
         deceive: fetch it again from a source you trust"
    );
}

#[test]
fn duplicate_entries_are_refused() {
    let mut archive = zip(&[("aa", b"1", false), ("ab", b"2", false)]);
    let record = last(&archive, b"PK\x01\x02");
    archive[record + 47] = b'a';
    assert_eq!(
        refused(&archive),
        "cannot read megatron.pt: the zip archive holds two entries named `aa`; write it again without the duplicate"
    );
}

#[test]
fn extents_past_the_end_are_refused() {
    for field in [20, 42] {
        let mut archive = two_entries();
        let record = last(&archive, b"PK\x01\x02");
        archive[record + field..record + field + 4].copy_from_slice(&0xffff_fff0u32.to_le_bytes());
        let message = refused(&archive);
        assert!(
            message.starts_with("cannot read megatron.pt: the zip archive's directory is damaged at byte"),
            "{message}"
        );
    }
}

#[test]
fn an_inner_archive_at_the_cut_is_not_taken_for_the_whole() {
    let inner = support::torch_zip(&support::dict(&[]), &[]);
    let outer = zip(&[("x/model.pt", &inner, false)]);
    // Cut right behind the inner archive, whose end record then is the end of the file.
    let end = last(&outer, b"PK\x05\x06");
    let inner_end =
        outer[..end].windows(4).rposition(|w| w == b"PK\x05\x06").expect("the inner end record") + 22;
    let message = refused(&outer[..inner_end]);
    assert!(message.contains("the directory does not lie where the end record says"), "{message}");
}

#[test]
fn deflated_entries_must_be_what_the_directory_says() {
    let pickled = support::pickle(&support::dict(&[]));
    let good = zip(&[("data.pkl", &pickled, true)]);
    let record = last(&good, b"PK\x01\x02");
    let change = |field: usize, value: u32| {
        let mut archive = good.clone();
        archive[record + field..record + field + 4].copy_from_slice(&value.to_le_bytes());
        refused(&archive)
    };
    let length = pickled.len();
    // Before the record lies one local header, of 30 bytes and the name.
    let packed = record - 30 - "data.pkl".len();
    assert_eq!(
        change(24, 1 << 30),
        format!(
            "cannot read megatron.pt: entry `data.pkl` of the zip archive cannot be inflated ({packed} bytes cannot expand \
             to 1073741824); the file is damaged: fetch it again"
        )
    );
    assert!(change(24, 1).contains("it expands to more than the 1 bytes it should"));
    assert!(change(24, 100).contains(&format!("it expands to {length} bytes, not 100")));
    assert!(change(16, 0).contains("its checksum differs"));
}

#[test]
fn encrypted_and_oddly_packed_entries_are_refused() {
    let good = zip(&[("data.pkl", b"x", false)]);
    let record = last(&good, b"PK\x01\x02");
    let mut encrypted = good.clone();
    encrypted[record + 8] |= 1;
    assert_eq!(
        refused(&encrypted),
        "cannot read megatron.pt: entry `data.pkl` of the zip archive is encrypted; unpack it first"
    );
    let mut packed = good;
    packed[record + 10] = 93;
    assert_eq!(
        refused(&packed),
        "cannot read megatron.pt: entry `data.pkl` of the zip archive is compressed by method 93; only stored and deflated \
         entries are read: unpack it first"
    );
}

// ---------------------------------------------------------------- little that makes much

/// A torch zip of one tensor of `elements` half-precision numbers, with deflated records of these contents.
fn deflated(elements: i64, records: &[(&str, &[u8])]) -> Vec<u8> {
    let storage = support::storage("HalfStorage", "0", elements);
    let pickled = support::pickle(&support::dict(&[("a", support::tensor(storage, 0, &[elements], &[1]))]));
    let names: Vec<String> = records.iter().map(|(key, _)| format!("x/data/{key}")).collect();
    let mut entries = vec![("x/data.pkl", &pickled[..], true)];
    entries.extend(names.iter().zip(records).map(|(name, (_, content))| (name.as_str(), *content, true)));
    zip(&entries)
}

#[test]
fn records_that_no_tensor_uses_are_not_unpacked() {
    let mut file = deflated(2, &[("0", &[1; 4]), ("1", &[7; 4096])]);
    assert_eq!(support::opened(&file).tensors().len(), 1);
    // The packed bytes of the last record, of which all but a few repeat the first.
    let at = file.windows(8).position(|w| w == b"x/data/1").expect("the local header") + 8;
    file[at..at + 4].fill(0xff);
    assert_eq!(support::opened(&file).tensors().len(), 1);
}

#[test]
fn packed_records_longer_than_their_storage_are_errors() {
    assert_eq!(
        refused(&deflated(2, &[("0", &[0; 1 << 20])])),
        "cannot read megatron.pt: record x/data/0 is 1048576 bytes long when unpacked, where its storage has 2 float16 \
         elements; the file is damaged, or not written by torch.save: fetch or save it again"
    );
}

/// An instance of a dataclass of torch's, with these attributes.
fn instance(class: &str, attributes: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let made = support::call(support::global("torch.distributed.checkpoint.metadata", class), &[]);
    [made, support::dict(attributes), b"b".to_vec()].concat()
}

/// Memoizes what comes before as entry `at`.
fn memoized(value: &[u8], at: u8) -> Vec<u8> {
    [value, b"q", &[at]].concat()
}

fn metadata_refused(state: &[u8], storage: &[u8]) -> String {
    let entries = [("state_dict_metadata", state.to_vec()), ("storage_data", storage.to_vec())];
    let folder = Folder::new();
    folder.write("dist/.metadata", support::pickle(&instance("Metadata", &entries)));
    folder.write("dist/__0_0.distcp", b"");
    folder.refusal("dist")
}

#[test]
fn lists_of_chunks_that_many_tensors_share_are_an_error() {
    let chunk = |at| {
        instance("ChunkStorageMetadata", &[("offsets", support::ints(&[at])), ("sizes", support::ints(&[1]))])
    };
    let chunks: Vec<u8> = (0..2000).flat_map(chunk).collect();
    let chunks = memoized(&[b"](", &chunks[..], b"e"].concat(), 0);
    let tensor = instance("TensorStorageMetadata", &[("size", support::ints(&[2000])), ("chunks", chunks)]);
    let names: Vec<u8> =
        (1..5000).flat_map(|at| [support::text(&format!("t{at}")), b"h\x01".to_vec()].concat()).collect();
    let state = [b"}(", &support::text("t0")[..], &memoized(&tensor, 1), &names, b"u"].concat();
    let message = metadata_refused(&state, b"}");
    assert!(message.contains("repeats itself until it is far larger than the file"), "{message}");
}

#[test]
fn a_long_name_in_many_places_is_an_error() {
    let name = memoized(&support::text(&"n".repeat(100_000)), 0);
    let index = |fqn: &[u8], at| {
        instance("MetadataIndex", &[("fqn", fqn.to_vec()), ("offset", support::ints(&[at]))])
    };
    let place = [
        ("relative_path", support::text("__0_0.distcp")),
        ("offset", support::int(0)),
        ("length", support::int(0)),
    ];
    let place = memoized(&instance("_StorageInfo", &place), 1);
    let more: Vec<u8> = (1..3000).flat_map(|at| [index(b"h\0", at), b"h\x01".to_vec()].concat()).collect();
    let storage = [b"}(", &index(&name, 0)[..], &place, &more, b"u"].concat();
    let message = metadata_refused(b"}", &storage);
    assert_eq!(
        message.replace(&"n".repeat(200), "n…"),
        "cannot read dist/.metadata: what it says of `n…` repeats itself until it is far larger than the file; torch does \
         not write that: do not trust the file"
    );
}

#[test]
fn instances_with_more_attributes_than_torch_writes_are_an_error() {
    let many: Vec<(String, Vec<u8>)> = (0..100).map(|at| (format!("a{at}"), b"N".to_vec())).collect();
    let many: Vec<(&str, Vec<u8>)> =
        many.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
    let state = [b"}(", &support::text("t")[..], &instance("TensorStorageMetadata", &many), b"u"].concat();
    assert_eq!(
        metadata_refused(&state, b"}"),
        "cannot read dist/.metadata: `size` is looked for among more attributes than torch writes; the file is damaged, or \
         of a version that is not known: fetch or save it again"
    );
}
