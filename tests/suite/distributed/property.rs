//! Damage at random: always an error or a sound plan, never a panic.

use proptest::prelude::*;

use super::{ITERATION, TORCH_DIST, ZARR, copied};
use crate::command::Workplace;

/// The files that say where things are.
const FILES: [(&str, &str); 5] = [
    (TORCH_DIST, ".metadata"),
    (TORCH_DIST, "common.pt"),
    (ZARR, "common.pt"),
    (ZARR, "decoder.layers.mlp.linear_fc1.weight/.zarray"),
    (ZARR, "embedding.word_embeddings.weight/.zarray"),
];

thread_local! {
    static COPIES: Vec<(Workplace, Vec<u8>)> = FILES.iter().map(|(case, file)| {
        let workplace = copied(case);
        let bytes = std::fs::read(workplace.path(ITERATION).join(file)).expect("it was copied");
        (workplace, bytes)
    }).collect();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn overwritten_bytes_never_panic(
        which in 0..FILES.len(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), any::<bool>()), 1..5),
    ) {
        COPIES.with(|copies| {
            let (workplace, sound) = &copies[which];
            let mut bytes = sound.clone();
            for (at, byte, number) in changes {
                // Numbers of text stay numbers half of the time, so that more than the parser is reached.
                let digits: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at].is_ascii_digit()).collect();
                if number && !digits.is_empty() {
                    bytes[digits[at.index(digits.len())]] = b'0' + byte % 10;
                } else {
                    let at = at.index(bytes.len());
                    bytes[at] = byte;
                }
            }
            workplace.put(&format!("{ITERATION}/{}", FILES[which].1), bytes);
            let start = std::time::Instant::now();
            let done = workplace.run(&["plan", "@ckpt"]);
            assert!(done.code <= 1, "{}", done.err);
            assert_eq!(done.code == 0, done.err.is_empty() || done.err.starts_with("warning"), "{}", done.err);
            assert!(start.elapsed() < std::time::Duration::from_secs(10), "{:?}", start.elapsed());
        });
    }
}
