//! Fills, whole and in ranges.

use proptest::prelude::*;

use super::layouts::{indices, side};
use crate::DType;
use crate::engine::normal::standard_normal;
use crate::engine::{
    Affine, Content, CopyError, Fill, Mean, PreparedTensor, Region, Rows, Scratch, TargetTensor,
};

fn filled(dtype: DType, shape: &[usize], fill: Fill<'_>) -> Result<Vec<u8>, CopyError> {
    Ok(PreparedTensor::new(&tensor(dtype, shape, fill))?.to_bytes())
}

fn tensor<'a>(dtype: DType, shape: &[usize], fill: Fill<'a>) -> TargetTensor<'a> {
    TargetTensor {
        name: "filled".to_owned(),
        dtype,
        shape: shape.iter().map(|&size| size as u64).collect(),
        contents: vec![Content::Fill { region: Region::whole(shape), fill }],
    }
}

fn f32s(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect()
}

fn le_bytes(values: impl IntoIterator<Item = f32>) -> Vec<u8> {
    values.into_iter().flat_map(f32::to_le_bytes).collect()
}

#[test]
fn constants_of_every_type() {
    for dtype in DType::ALL {
        let ones = filled(dtype, &[3], Fill::Constant(1.0)).unwrap();
        let one: &[u8] = match dtype {
            DType::F64 => &1f64.to_le_bytes(),
            DType::F32 => &1f32.to_le_bytes(),
            DType::F16 => &[0, 0x3C],
            DType::BF16 => &[0x80, 0x3F],
            DType::F8E4M3 => &[0x38],
            DType::F8E5M2 => &[0x3C],
            DType::I64 => &1i64.to_le_bytes(),
            DType::I32 => &1i32.to_le_bytes(),
            DType::I16 => &1i16.to_le_bytes(),
            DType::I8 | DType::U8 | DType::Bool => &[1],
        };
        assert_eq!(ones, one.repeat(3), "{dtype}");
    }
    assert_eq!(filled(DType::I16, &[1], Fill::Constant(-2.0)).unwrap(), (-2i16).to_le_bytes());
    assert_eq!(filled(DType::F32, &[1], Fill::Constant(-1e9)).unwrap(), (-1e9f32).to_le_bytes());
}

#[test]
fn values_the_type_does_not_have_are_errors() {
    for (dtype, value) in [
        (DType::Bool, 2.0),
        (DType::U8, -1.0),
        (DType::U8, 256.0),
        (DType::I8, 128.0),
        (DType::I32, 0.5),
        (DType::I64, 2f64.powi(63)),
        (DType::I16, f64::NAN),
    ] {
        assert!(
            matches!(filled(dtype, &[1], Fill::Constant(value)), Err(CopyError::Value { .. })),
            "{dtype}"
        );
    }
    assert!(filled(DType::I64, &[1], Fill::Constant(-(2f64.powi(63)))).is_ok());
    assert!(matches!(filled(DType::U8, &[257], Fill::Arange), Err(CopyError::Value { .. })));
    assert!(matches!(
        filled(DType::I32, &[4], Fill::Normal { seed: 0, std: 1.0 }),
        Err(CopyError::Arithmetic { dtype: DType::I32 })
    ));
}

#[test]
fn triangles_and_ranges() {
    let triangles = filled(DType::Bool, &[2, 2, 3], Fill::Tril).unwrap();
    assert_eq!(triangles, [1, 0, 0, 1, 1, 0, 1, 0, 0, 1, 1, 0]);
    assert!(matches!(filled(DType::Bool, &[3], Fill::Tril), Err(CopyError::Triangle { .. })));
    let positions = filled(DType::I64, &[2, 3], Fill::Arange).unwrap();
    let expected: Vec<u8> = [0i64, 1, 2, 0, 1, 2].into_iter().flat_map(i64::to_le_bytes).collect();
    assert_eq!(positions, expected);
}

/// Rows of f32, as they are.
fn rows(source: &[u8], count: usize, step: usize, strides: Vec<usize>) -> Rows<'_> {
    Rows { dtype: DType::F32, affine: None, source, offset: 0, count, step, strides }
}

#[test]
fn means_of_rows_fill_padding() {
    let source = le_bytes((0..12u8).map(f32::from));
    // Rows of three columns: 0 1 2, 3 4 5, 6 7 8, 9 10 11.
    let rows = rows(&source, 4, 3, vec![0, 1]);
    let mean = Fill::Mean(Mean { divisor: 4, rows: vec![rows] });
    assert_eq!(f32s(&filled(DType::F32, &[2, 3], mean).unwrap()), [4.5, 5.5, 6.5, 4.5, 5.5, 6.5]);
}

#[test]
fn means_of_replicas() {
    let (first, second) =
        (le_bytes([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]), le_bytes([3.0, 2.0, 5.0, 6.0, 9.0, 7.0]));
    // The second is stored transposed.
    let rows = vec![rows(&first, 1, 0, vec![3, 1]), rows(&second, 1, 0, vec![1, 2])];
    let mean = Fill::Mean(Mean { divisor: 2, rows });
    assert_eq!(f32s(&filled(DType::F32, &[2, 3], mean).unwrap()), [2.0, 3.5, 6.0, 3.0, 5.5, 6.5]);
}

#[test]
fn invalid_means_are_errors() {
    let source = le_bytes([1.0, 2.0]);
    let two = |count| rows(&source, count, 1, vec![0]);
    let mean = |rows| Fill::Mean(Mean { divisor: 2, rows: vec![rows] });
    assert!(filled(DType::F32, &[3], mean(two(2))).is_ok());
    assert_eq!(filled(DType::F32, &[3], mean(two(0))), Err(CopyError::EmptyMean));
    let undivided = Fill::Mean(Mean { divisor: 0, rows: vec![two(2)] });
    assert_eq!(filled(DType::F32, &[3], undivided), Err(CopyError::EmptyMean));
    assert!(matches!(filled(DType::F32, &[3], mean(two(3))), Err(CopyError::SourceBounds { .. })));
    let long = Rows { dtype: DType::I64, ..two(1) };
    assert!(matches!(filled(DType::F32, &[3], mean(long)), Err(CopyError::Cast { .. })));
    assert!(matches!(filled(DType::I32, &[3], mean(two(2))), Err(CopyError::Arithmetic { .. })));
    assert!(matches!(
        filled(DType::F32, &[3], mean(rows(&source, 1, 1, vec![]))),
        Err(CopyError::Rank { .. })
    ));
    assert!(matches!(filled(DType::F32, &[0], mean(rows(&[], 1, 1, vec![]))), Err(CopyError::Rank { .. })));
}

#[test]
fn what_is_added_up_is_read_in_types_of_its_own() {
    let whole: Vec<u8> = [1i32, -2, 3].into_iter().flat_map(i32::to_le_bytes).collect();
    let wide: Vec<u8> = [0.25f64, 0.5, -3.0].into_iter().flat_map(f64::to_le_bytes).collect();
    let signs: Vec<u8> = [0.0f32, -0.0, 1.0].into_iter().flat_map(f32::to_le_bytes).collect();
    let of = |dtype, source| Rows { dtype, ..rows(source, 1, 0, vec![1]) };
    let all = vec![of(DType::I32, &whole), of(DType::F64, &wide), of(DType::F32, &signs)];
    let sum =
        |rows| filled(DType::F32, &[3], Fill::Mean(Mean { divisor: 1, rows })).map(|bytes| f32s(&bytes));
    assert_eq!(sum(all.clone()), Ok(vec![1.25, -1.5, 1.0]));
    let zeros = sum(vec![of(DType::F32, &signs); 2]).unwrap();
    assert_eq!(zeros[1].to_bits(), (-0.0f32).to_bits(), "negative zeros add up to one");
    let affine = Some(Affine { scale: 2.0, offset: 1.0 });
    let [first, others @ ..] = &all[..] else { unreachable!("there are three") };
    let stepped = [&[Rows { affine, ..first.clone() }], others].concat();
    assert_eq!(sum(stepped), Ok(vec![3.25, -2.5, 5.0]), "arithmetic is on what is added");
}

#[test]
fn normal_values_are_scaled_by_their_deviation() {
    let values = f32s(&filled(DType::F32, &[5, 7], Fill::Normal { seed: 3, std: 0.02 }).unwrap());
    for (index, value) in values.into_iter().enumerate() {
        assert_eq!(value, (0.02 * standard_normal(3, index as u64)) as f32);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 8 } else { 200 }))]

    #[test]
    fn means_of_any_layout(
        ((mut sizes, rows), side) in (prop::collection::vec(1..6usize, 0..4), 1..5usize)
            .prop_flat_map(|(sizes, rows)| {
                let over_rows = [sizes.as_slice(), &[rows]].concat();
                (Just((sizes, rows)), side(over_rows))
            }),
        repeat in 0..4usize,
    ) {
        let mut strides = side.strides;
        let step = strides.pop().unwrap();
        // Some axis repeats the means.
        if let Some(stride) = strides.get_mut(repeat) {
            *stride = 0;
        }
        let values: Vec<f32> = (0..side.length).map(|i| (i * i % 1000) as f32).collect();
        let source = le_bytes(values.iter().copied());
        let mean = Mean {
            divisor: rows,
            rows: vec![Rows { offset: side.offset, ..self::rows(&source, rows, step, strides.clone()) }],
        };
        let found = filled(DType::F64, &sizes, Fill::Mean(mean)).unwrap();
        let expected: Vec<u8> = indices(&sizes).iter().flat_map(|index| {
            let start = side.offset + index.iter().zip(&strides).map(|(i, stride)| i * stride).sum::<usize>();
            let sum: f64 = (0..rows).map(|row| f64::from(values[start + row * step])).sum();
            (sum / rows as f64).to_le_bytes()
        }).collect();
        sizes.push(rows);
        prop_assert!(found == expected, "{:?}", sizes);
    }

    #[test]
    fn ranges_of_fills_are_the_whole(
        sizes in prop::collection::vec(1..130usize, 2..4),
        which in 0..5usize,
        cut in any::<prop::sample::Index>(),
    ) {
        let last = sizes[sizes.len() - 1];
        let source = le_bytes((0..4 * last).map(|i| i as f32));
        let mut strides = vec![0; sizes.len()];
        strides[sizes.len() - 1] = 1;
        let rows = rows(&source, 4, last, strides);
        let fill = [
            Fill::Constant(2.0),
            Fill::Tril,
            Fill::Arange,
            Fill::Normal { seed: 1, std: 1.0 },
            Fill::Mean(Mean { divisor: 4, rows: vec![rows] }),
        ][which].clone();
        let whole = filled(DType::F32, &sizes, fill.clone()).unwrap();
        let prepared = PreparedTensor::new(&tensor(DType::F32, &sizes, fill)).unwrap();
        let cut = cut.index(whole.len() / 4 + 1);
        let mut parts = vec![0xAA; whole.len()];
        let (before, after) = parts.split_at_mut(4 * cut);
        let mut scratch = Scratch::default();
        prepared.write_range(cut, after, &mut scratch).unwrap();
        prepared.write_range(0, before, &mut scratch).unwrap();
        prop_assert!(whole == parts);
    }
}
