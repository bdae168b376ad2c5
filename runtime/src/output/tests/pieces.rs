//! Pieces cover the tensors of every file once.

use super::model::{Sources, ones};
use crate::DType;
use crate::engine::{Content, Convert, PreparedTensor, StridedCopy, TargetTensor};
use crate::output::pieces::{Pieces, Work};
use crate::output::{OutputPlan, TensorSpec, plan_safetensors};

fn planned<'a>(
    tensors: &[TargetTensor<'a>],
    shard: Option<u64>,
) -> (OutputPlan, Vec<Vec<PreparedTensor<'a>>>) {
    let specs = tensors.iter().map(TensorSpec::of).collect();
    let plan = plan_safetensors(specs, &Default::default(), shard).unwrap();
    let prepared = plan
        .files
        .iter()
        .map(|file| {
            let prepare = |name: &str| {
                PreparedTensor::new(tensors.iter().find(|tensor| tensor.name == name).unwrap()).unwrap()
            };
            file.tensors.iter().map(|tensor| prepare(&tensor.spec.name)).collect()
        })
        .collect();
    (plan, prepared)
}

#[test]
fn pieces_are_every_byte_of_every_tensor_in_order() {
    let sources = Sources::new();
    let (plan, prepared) = planned(&sources.tensors(), Some(2_000_000));
    assert!(plan.files.len() > 1);
    let mut at = (0, plan.files[0].tensors[0].offset);
    for piece in Pieces::new(&plan.files, &prepared, 2) {
        if piece.file != at.0 {
            assert_eq!(at.1, plan.files[at.0].size);
            at = (piece.file, plan.files[piece.file].tensors[0].offset);
        }
        assert_eq!(piece.offset, at.1);
        assert!(piece.bytes > 0 && piece.bytes <= 1 << 20);
        at.1 += piece.bytes as u64;
    }
    assert_eq!(at, (plan.files.len() - 1, plan.files.last().unwrap().size));
}

#[test]
fn transposes_are_cut_between_rows_and_into_enough_of_them() {
    let columns = 5000;
    let source = vec![0; 1024 * columns * 2];
    let copy = StridedCopy {
        shape: vec![1024, columns],
        source_offset: 0,
        source_strides: vec![1, 1024],
        target_offset: 0,
        target_strides: vec![columns, 1],
    };
    let tensor = TargetTensor {
        name: "wide".to_owned(),
        dtype: DType::F16,
        shape: vec![1024, columns as u64],
        contents: vec![Content::Copy { copy, source: &source, convert: Convert::bits(DType::F16) }],
    };
    let tensors = [tensor];
    for threads in [1, 2, 64] {
        let (plan, prepared) = planned(&tensors, None);
        for piece in Pieces::new(&plan.files, &prepared, threads) {
            let Work::Elements { first, .. } = piece.work else { panic!("{piece:?}") };
            assert_eq!(first % columns, 0);
            assert_eq!(piece.bytes, 64 * columns * 2);
        }
    }
}

#[test]
fn small_tensors_share_pieces() {
    let tensors: Vec<_> = (0..1000).map(|i| ones(&format!("t{i}"), DType::F32, 100)).collect();
    let (plan, prepared) = planned(&tensors, None);
    let pieces: Vec<_> = Pieces::new(&plan.files, &prepared, 2).collect();
    assert_eq!(pieces.len(), 2);
    assert_eq!(pieces[0].work, Work::Tensors(0..655));
}
