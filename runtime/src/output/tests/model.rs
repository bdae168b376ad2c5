//! A small model with contents of every kind.

use crate::DType;
use crate::engine::{Content, Convert, Fill, Region, StridedCopy, TargetTensor};

/// Sources of the model's tensors.
pub(super) struct Sources {
    bytes: Vec<u8>,
}

impl Sources {
    pub(super) fn new() -> Sources {
        // Every two bytes are a finite f16.
        let halves = (0..1_000_000u32)
            .flat_map(|i| ((i.wrapping_mul(2_654_435_761) >> 17) as u16 & 0x3FFF).to_le_bytes());
        Sources { bytes: halves.collect() }
    }

    /// Tensors of several types, sizes and layouts, some large enough for several pieces.
    pub(super) fn tensors(&self) -> Vec<TargetTensor<'_>> {
        let bits = Convert::bits(DType::F16);
        let widened = Convert::cast(DType::F16, DType::F32);
        let ones = Content::Fill { region: Region::whole(&[5]), fill: Fill::Constant(1.0) };
        vec![
            tensor("plain", DType::F16, &[700, 300], self.matrix(700, 300, false, bits)),
            tensor("transposed", DType::F16, &[900, 700], self.matrix(900, 700, true, bits)),
            tensor("wide", DType::F32, &[300, 410], self.matrix(300, 410, true, widened)),
            tensor("ones", DType::I64, &[5], ones),
            tensor("small", DType::F16, &[3, 2], self.matrix(3, 2, true, bits)),
            tensor(
                "mask",
                DType::Bool,
                &[1, 1, 30, 30],
                Content::Fill { region: Region::whole(&[1, 1, 30, 30]), fill: Fill::Tril },
            ),
            TargetTensor { name: "empty".to_owned(), dtype: DType::F32, shape: vec![0, 4], contents: vec![] },
            tensor(
                "scalar",
                DType::F64,
                &[],
                Content::Fill { region: Region::whole(&[]), fill: Fill::Constant(0.5) },
            ),
            tensor(
                "noise",
                DType::BF16,
                &[400, 401],
                Content::Fill {
                    region: Region::whole(&[400, 401]),
                    fill: Fill::Normal { seed: 5, std: 0.02 },
                },
            ),
        ]
    }

    fn matrix(&self, rows: usize, columns: usize, transposed: bool, convert: Convert) -> Content<'_> {
        let copy = StridedCopy {
            shape: vec![rows, columns],
            source_offset: 1,
            source_strides: if transposed { vec![1, rows] } else { vec![columns, 1] },
            target_offset: 0,
            target_strides: vec![columns, 1],
        };
        Content::Copy { copy, source: &self.bytes, convert }
    }
}

fn tensor<'a>(name: &str, dtype: DType, shape: &[u64], content: Content<'a>) -> TargetTensor<'a> {
    TargetTensor { name: name.to_owned(), dtype, shape: shape.to_vec(), contents: vec![content] }
}

/// A tensor of ones.
pub(super) fn ones(name: &str, dtype: DType, elements: usize) -> TargetTensor<'static> {
    let region = Region::whole(&[elements]);
    tensor(name, dtype, &[elements as u64], Content::Fill { region, fill: Fill::Constant(1.0) })
}
