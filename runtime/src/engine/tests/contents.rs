//! Tensors made of several contents.

use proptest::prelude::*;

use super::layouts::{distinct_bytes, pairs, shape, side};
use crate::DType;
use crate::engine::strided::row_major;
use crate::engine::{
    Content, Convert, CopyError, Fill, PreparedTensor, Region, Scratch, StridedCopy, TargetTensor,
};

/// A box of a shape: first index and size along each axis.
type Bounds = Vec<(usize, usize)>;

/// The shape cut into boxes by halving one of them at a time.
fn boxes(
    shape: &[usize],
    cuts: &[(prop::sample::Index, prop::sample::Index, prop::sample::Index)],
) -> Vec<Bounds> {
    let mut boxes = vec![shape.iter().map(|&size| (0, size)).collect::<Bounds>()];
    for (which, axis, at) in cuts {
        if shape.is_empty() {
            break;
        }
        let index = which.index(boxes.len());
        let axis = axis.index(shape.len());
        let (first, size) = boxes[index][axis];
        let at = at.index(size + 1);
        let mut other = boxes[index].clone();
        boxes[index][axis] = (first, at);
        other[axis] = (first + at, size - at);
        boxes.push(other);
    }
    boxes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 8 } else { 500 }))]

    #[test]
    fn any_ranges_of_any_boxes_are_the_tensor(
        (shape, source) in shape().prop_flat_map(|shape| (Just(shape.clone()), side(shape))),
        cuts in prop::collection::vec(any::<(prop::sample::Index, prop::sample::Index, prop::sample::Index)>(), 0..5),
        windows in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
        dtype in prop::sample::select(&[DType::I8, DType::F16, DType::I32, DType::F64][..]),
    ) {
        let size = dtype.size();
        let whole = StridedCopy {
            source_offset: source.offset,
            source_strides: source.strides.clone(),
            target_offset: 0,
            target_strides: if shape.contains(&0) { vec![1; shape.len()] } else { row_major(&shape) },
            shape: shape.clone(),
        };
        let bytes = distinct_bytes(source.length * size);
        let contents = boxes(&shape, &cuts).into_iter().map(|bounds| {
            let start = |strides: &[usize]| bounds.iter().zip(strides).map(|((first, _), stride)| first * stride).sum::<usize>();
            let copy = StridedCopy {
                shape: bounds.iter().map(|(_, size)| *size).collect(),
                source_offset: whole.source_offset + start(&whole.source_strides),
                target_offset: start(&whole.target_strides),
                ..whole.clone()
            };
            Content::Copy { copy, source: &bytes, convert: Convert::bits(dtype) }
        });
        let tensor = TargetTensor {
            name: "boxes".to_owned(),
            dtype,
            shape: shape.iter().map(|&size| size as u64).collect(),
            contents: contents.collect(),
        };
        let prepared = PreparedTensor::new(&tensor).unwrap();
        let count = prepared.bytes() / size;
        let mut expected = vec![0; count * size];
        for (read, write) in pairs(&whole) {
            expected[write * size..][..size].copy_from_slice(&bytes[read * size..][..size]);
        }
        let mut cuts: Vec<usize> = windows.iter().map(|cut| cut.index(count + 1)).collect();
        cuts.extend([0, count]);
        cuts.sort_unstable();
        let mut scratch = Scratch::default();
        for range in cuts.windows(2) {
            let mut window = vec![0xAA; (range[1] - range[0]) * size];
            prepared.write_range(range[0], &mut window, &mut scratch).unwrap();
            let expected = &expected[range[0] * size..range[1] * size];
            prop_assert!(window == expected);
            if let Some(stored) = prepared.stored(range[0], window.len()) {
                prop_assert!(stored == expected);
            }
        }
    }
}

fn run(first: usize, count: usize) -> Content<'static> {
    Content::Fill {
        region: Region { shape: vec![count], offset: first, strides: vec![1] },
        fill: Fill::Constant(1.0),
    }
}

fn tensor(contents: Vec<Content<'static>>) -> TargetTensor<'static> {
    TargetTensor { name: "t".to_owned(), dtype: DType::F32, shape: vec![10], contents }
}

#[test]
fn elements_left_out_are_an_error() {
    let error = PreparedTensor::new(&tensor(vec![run(0, 4), run(5, 5)])).unwrap_err();
    assert_eq!(error.to_string(), "the contents of the tensor have 9 elements, the tensor has 10");
}

#[test]
fn elements_written_twice_are_an_error() {
    let gap = |result: Result<PreparedTensor<'_>, CopyError>| {
        result.and_then(|tensor| {
            // Where preparing does not mark each element, some range has too many or too few.
            let mut scratch = Scratch::default();
            tensor.write_range(0, &mut [0; 20], &mut scratch)?;
            tensor.write_range(5, &mut [0; 20], &mut scratch)
        })
    };
    let result = gap(PreparedTensor::new(&tensor(vec![run(0, 6), run(5, 4)])));
    assert!(matches!(result, Err(CopyError::Gap { .. })), "{result:?}");
}

#[test]
fn contents_of_another_type_or_outside_are_errors() {
    let bytes = [0; 40];
    let copy = StridedCopy {
        shape: vec![10],
        source_offset: 0,
        source_strides: vec![1],
        target_offset: 0,
        target_strides: vec![1],
    };
    let content = |convert, copy| vec![Content::Copy { copy, source: &bytes, convert }];
    let with = |contents| TargetTensor { name: "t".to_owned(), dtype: DType::F32, shape: vec![10], contents };
    let other = with(content(Convert::bits(DType::I32), copy.clone()));
    assert_eq!(
        PreparedTensor::new(&other).unwrap_err().to_string(),
        "a content of type i32 lies in a tensor of type f32"
    );
    let outside = with(content(Convert::bits(DType::F32), StridedCopy { target_offset: 1, ..copy.clone() }));
    assert!(matches!(PreparedTensor::new(&outside), Err(CopyError::TargetBounds { .. })));
    let prepared = PreparedTensor::new(&with(content(Convert::bits(DType::F32), copy))).unwrap();
    let past = prepared.write_range(9, &mut [0; 8], &mut Scratch::default());
    assert_eq!(past, Err(CopyError::TargetBounds { shape: vec![2], last: 10, length: 10 }));
    assert!(matches!(
        prepared.write_range(usize::MAX, &mut [0; 8], &mut Scratch::default()),
        Err(CopyError::TargetBounds { .. })
    ));
}

#[test]
fn shapes_beyond_memory_are_errors() {
    let huge = TargetTensor { shape: vec![u64::MAX, u64::MAX], ..tensor(vec![]) };
    assert!(matches!(PreparedTensor::new(&huge), Err(CopyError::Overflow { .. })));
    let empty = TargetTensor { shape: vec![u64::MAX, 0], ..tensor(vec![]) };
    assert_eq!(PreparedTensor::new(&empty).unwrap().to_bytes(), Ok(vec![]));
}
