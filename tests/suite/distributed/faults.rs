//! Damaged `torch_dist` checkpoints: each names its file, the place, the tensor and what to do.

use std::time::{Duration, Instant};

use super::{ITERATION, TORCH_DIST, change, copied, remove};
use crate::command::Workplace;
use crate::ranks::fails;

/// The list of tensors, a pickle, with bytes replaced: of each three, where the first ones are, the second ones that come next
/// are replaced by the third.
fn listed(replacements: &[[&[u8]; 3]]) -> Workplace {
    let workplace = copied(TORCH_DIST);
    change(&workplace, ".metadata", |bytes| {
        for [anchor, from, to] in replacements {
            let anchor = find(bytes, 0, anchor);
            let at = find(bytes, anchor, from);
            bytes.splice(at..at + from.len(), to.iter().copied());
        }
    });
    workplace
}

/// Where `part` is first in `bytes`, from `start` on.
fn find(bytes: &[u8], start: usize, part: &[u8]) -> usize {
    let found = (start..bytes.len()).find(|at| bytes[*at..].starts_with(part));
    found.unwrap_or_else(|| panic!("{} is not there", part.escape_ascii()))
}

fn refused(workplace: &Workplace) -> String {
    let start = Instant::now();
    let text = fails(workplace, &["@ckpt"]);
    assert!(start.elapsed() < Duration::from_secs(10), "it took {:?}", start.elapsed());
    text
}

/// A 16-bit integer as pickle writes it.
fn short(number: u16) -> [u8; 3] {
    let [low, high] = number.to_le_bytes();
    [b'M', low, high]
}

/// A 64-bit integer as pickle writes it.
fn long(number: i64) -> Vec<u8> {
    [b"\x8a\x08", &number.to_le_bytes()[..]].concat()
}

/// Names a tensor of 128 × 32 elements in two chunks of 64 × 32.
const WORDS: &[u8] = b"embedding.word_embeddings.weight";

/// The list with another number of rows of [`WORDS`], as a pickle writes it.
fn rows(number: &[u8]) -> Workplace {
    listed(&[[WORDS, b"K\x80K\x20\x86", &[number, b"K\x20\x86"].concat()]])
}

/// Names a tensor of 32 elements in one chunk.
const NORM: &[u8] = b"decoder.final_layernorm.weight";

/// The list with another place of [`NORM`] in its file.
fn offset(number: &[u8]) -> Workplace {
    listed(&[[b"storage_data", &short(61_366), number]])
}

#[test]
fn files_that_are_missing_or_cut() {
    let workplace = copied(TORCH_DIST);
    change(&workplace, "__1_0.distcp", |bytes| bytes.truncate(41_000));
    insta::assert_snapshot!("shard_truncated", refused(&workplace));
    change(&workplace, "__1_0.distcp", Vec::clear);
    insta::assert_snapshot!("shard_empty", refused(&workplace));
    remove(&workplace, "__1_0.distcp");
    insta::assert_snapshot!("shard_missing", refused(&workplace));
    let workplace = copied(TORCH_DIST);
    remove(&workplace, "common.pt");
    insta::assert_snapshot!("common_missing", refused(&workplace));
    let workplace = copied(TORCH_DIST);
    change(&workplace, "common.pt", |bytes| bytes.truncate(5000));
    insta::assert_snapshot!("common_truncated", refused(&workplace));
    let workplace = copied(TORCH_DIST);
    remove(&workplace, ".metadata");
    insta::assert_snapshot!("metadata_missing", refused(&workplace));
}

#[test]
fn lists_that_are_no_list() {
    let workplace = copied(TORCH_DIST);
    change(&workplace, ".metadata", |bytes| bytes.truncate(bytes.len() / 2));
    insta::assert_snapshot!("metadata_truncated", refused(&workplace));
    let workplace = copied(TORCH_DIST);
    change(&workplace, ".metadata", |bytes| bytes[700] = 0xff);
    insta::assert_snapshot!("metadata_overwritten", refused(&workplace));
    workplace.put(&format!("{ITERATION}/.metadata"), b"\x80\x02}.");
    insta::assert_snapshot!("metadata_of_nothing", refused(&workplace));
    let renamed = listed(&[[b"", b"storage_data", b"storage_date"]]);
    insta::assert_snapshot!("metadata_without_places", refused(&renamed));
}

#[test]
fn places_outside_a_file() {
    insta::assert_snapshot!("offset_past_the_end", refused(&offset(&short(65_000))));
    insta::assert_snapshot!("offset_of_63_bits", refused(&offset(&long(i64::MAX))));
    insta::assert_snapshot!("offset_negative", refused(&offset(&long(-1))));
    // That of the bias of the first layer's MLP.
    insta::assert_snapshot!("offset_of_another", refused(&offset(&short(59_661))));
    let gap = listed(&[
        [b"storage_data", &short(61_366), &short(61_367)],
        [&short(61_367), &short(1705), &short(1704)],
    ]);
    insta::assert_snapshot!("offset_of_no_tensor", refused(&gap));
    let length = listed(&[[&short(61_366), &short(1705), &long(i64::MAX)]]);
    insta::assert_snapshot!("length_of_63_bits", refused(&length));
    let nameless = listed(&[[b"storage_data", WORDS, b"embedding.word_embeddings.wait__"]]);
    insta::assert_snapshot!("chunk_in_no_file", refused(&nameless));
}

#[test]
fn places_outside_the_directory() {
    let file = |name: &[u8; 12]| listed(&[[b"storage_data", b"__1_0.distcp", name]]);
    insta::assert_snapshot!("path_of_a_parent", refused(&file(b"../x_.distcp")));
    insta::assert_snapshot!("path_through_a_parent", refused(&file(b"a/../../x.pt")));
    insta::assert_snapshot!("path_absolute", refused(&file(b"/etc/passwd0")));
    insta::assert_snapshot!("path_of_a_directory", refused(&file(b"./././././._")));
}

#[test]
fn chunks_that_do_not_make_a_whole() {
    insta::assert_snapshot!("hole", refused(&rows(b"K\xa0")));
    let second = |row: u8| listed(&[[WORDS, b"h\x21K\x40K\0\x86", &[b'h', 0x21, b'K', row, b'K', 0, 0x86]]]);
    insta::assert_snapshot!("overlap", refused(&second(32)));
    insta::assert_snapshot!("chunk_outside", refused(&second(65)));
}

#[test]
fn sizes_that_no_tensor_has() {
    let huge = long(1_000_000_000_000_000_000);
    insta::assert_snapshot!("rows_of_60_bits", refused(&rows(&huge)));
    insta::assert_snapshot!("rows_of_50_bits", refused(&rows(&long(1 << 50))));
    insta::assert_snapshot!("rows_negative", refused(&rows(&long(-128))));
    insta::assert_snapshot!("rows_past_64_bits", refused(&rows(&long(1 << 62))));
    let size = [&huge[..], b"\x85"].concat();
    let chunk = [b"h\x2fh\x21", &size[..]].concat();
    let both = listed(&[[NORM, b"K\x20\x85", &size], [NORM, b"h\x2fh\x21K\x20\x85", &chunk]]);
    insta::assert_snapshot!("chunk_of_60_bits", refused(&both));
    let layers = b"decoder.layers.mlp.linear_fc1.layer_norm_weight";
    let layers = listed(&[[layers, b"K\x02K\x20\x86", &[&long(1 << 50)[..], b"K\x20\x86"].concat()]]);
    insta::assert_snapshot!("layers_of_50_bits", refused(&layers));
    let dimensions = [b"(", &b"K\x01".repeat(1000)[..], b"t"].concat();
    insta::assert_snapshot!(
        "thousand_dimensions",
        refused(&listed(&[[WORDS, b"K\x80K\x20\x86", &dimensions]]))
    );
}

#[test]
fn chunks_that_are_not_what_is_stated() {
    let half = listed(&[[WORDS, b"float32", b"float16"]]);
    insta::assert_snapshot!("another_dtype", refused(&half));
    // The state of a run in place of a tensor.
    let state = listed(&[
        [&short(61_366), &short(1705), &short(1837)],
        [b"storage_data", &short(61_366), &short(5044)],
    ]);
    insta::assert_snapshot!("chunk_of_no_tensor", refused(&state));
    let transforms = [&short(1705)[..], b"\x8c\x15transform_descriptors](\x8c\x04zstde"].concat();
    let compressed = listed(&[[&short(61_366), &short(1705), &transforms]]);
    insta::assert_snapshot!("chunk_compressed", refused(&compressed));
}

/// Changes the chunk of [`WORDS`] that lies in the first file: an archive of its own, as torch.save writes it.
fn first_chunk(from: &[u8], to: &[u8]) -> Workplace {
    let workplace = copied(TORCH_DIST);
    change(&workplace, "__0_0.distcp", |bytes| {
        let chunk = &mut bytes[6881..][..9769];
        let places: Vec<usize> = (0..chunk.len()).filter(|at| chunk[*at..].starts_with(from)).collect();
        assert!(!places.is_empty(), "{} is not there", from.escape_ascii());
        places.into_iter().for_each(|at| chunk[at..][..to.len()].copy_from_slice(to));
    });
    workplace
}

#[test]
fn chunks_that_are_overwritten() {
    insta::assert_snapshot!("chunk_without_end", refused(&first_chunk(b"PK\x05\x06", b"PK\x05\x05")));
    insta::assert_snapshot!("chunk_without_pickle", refused(&first_chunk(b"data.pkl", b"data.pkk")));
    insta::assert_snapshot!(
        "chunk_of_no_pickle",
        refused(&first_chunk(b"_rebuild_tensor_v2", b"_rebuild_tensor_v9"))
    );
    insta::assert_snapshot!("chunk_quantized", refused(&first_chunk(b"FloatStorage", b"QInt8Storage")));
}

#[test]
fn iterations_that_are_not_there() {
    insta::assert_snapshot!(
        "iteration_not_there",
        fails(&copied(TORCH_DIST), &["@ckpt", "--iteration", "7"])
    );
    insta::assert_snapshot!("member", fails(&copied(TORCH_DIST), &["@ckpt", "--member", "model"]));
}
