//! Replicas that are added up, compared or left out, whatever their strides and dtypes.

use proptest::collection::vec;
use proptest::prelude::*;
use transship_tests::Dtype;

use super::{View, encoded_all, few_cases, joined};

const DTYPES: [Dtype; 9] = [
    Dtype::F64,
    Dtype::F32,
    Dtype::F16,
    Dtype::BF16,
    Dtype::I64,
    Dtype::I32,
    Dtype::I16,
    Dtype::I8,
    Dtype::U8,
];

fn is_float(dtype: Dtype) -> bool {
    matches!(dtype, Dtype::F64 | Dtype::F32 | Dtype::F16 | Dtype::BF16)
}

/// The dtype that replicas of these become together; `None` for several of integers alone, and where there is none.
fn together(dtypes: &[Dtype]) -> Option<Dtype> {
    let has = |dtype| dtypes.contains(&dtype);
    let mixed = dtypes.iter().any(|dtype| *dtype != dtypes[0]);
    match () {
        () if !mixed => Some(dtypes[0]),
        () if has(Dtype::I64) || !dtypes.iter().any(|dtype| is_float(*dtype)) => None,
        () if has(Dtype::F64) || has(Dtype::I32) => Some(Dtype::F64),
        () if has(Dtype::F32) || has(Dtype::I16) || (has(Dtype::F16) && has(Dtype::BF16)) => Some(Dtype::F32),
        () if has(Dtype::F16) => Some(Dtype::F16),
        () => Some(Dtype::BF16),
    }
}

/// A view with the shape, of numbers drawn from `bytes`: row-major, transposed, cut out of something larger, stepped, or
/// with rows that repeat.
fn view(shape: [usize; 2], dtype: Dtype, how: u8, bytes: &[u8]) -> View {
    let [rows, cols] = shape;
    let (offset, strides) = match how % 5 {
        0 => (0, [cols, 1]),
        1 => (0, [1, rows]),
        2 => (3, [cols + 2, 1]),
        3 => (1, [2 * cols, 2]),
        _ => (2, [0, 1]),
    };
    let length = offset + (rows - 1) * strides[0] + (cols - 1) * strides[1] + 1;
    let number = |at: usize| f64::from(bytes[at % bytes.len()] % 16);
    let storage = (0..length).map(|at| number(at * 7 + at / 3)).collect();
    View { dtype, storage, offset, shape: shape.to_vec(), strides: strides.to_vec() }
}

#[derive(Clone, Copy, Debug)]
enum Way {
    Kept,
    Transposed,
    Renamed,
}

impl Way {
    fn rule(self, step: &str, option: &str) -> String {
        match self {
            Way::Kept => format!("x [rows cols]{step} <=> y [rows cols] {option}"),
            Way::Transposed => format!("x [rows cols]{step} <=> y [cols rows] {option}"),
            Way::Renamed => format!("x{step} <=> y {option}"),
        }
    }

    fn place(self, shape: [usize; 2], numbers: &[f64]) -> (Vec<usize>, Vec<f64>) {
        let [rows, cols] = shape;
        match self {
            Way::Kept | Way::Renamed => (shape.to_vec(), numbers.to_vec()),
            Way::Transposed => {
                (vec![cols, rows], (0..rows * cols).map(|at| numbers[at % rows * cols + at / rows]).collect())
            }
        }
    }
}

fn ways() -> impl Strategy<Value = Way> {
    prop_oneof![Just(Way::Kept), Just(Way::Transposed), Just(Way::Renamed)]
}

proptest! {
    #![proptest_config(few_cases(16))]

    #[test]
    fn each_replica_is_read_with_its_own_strides_and_dtype(
        shape in [1..5usize, 1..5usize],
        replicas in vec((0..DTYPES.len(), any::<u8>(), vec(any::<u8>(), 1..20)), 2..4),
        one_dtype in any::<bool>(),
        step in any::<bool>(),
        way in ways(),
    ) {
        let first = DTYPES[replicas[0].0];
        let views: Vec<View> = replicas.iter().map(|(dtype, how, bytes)| {
            view(shape, if one_dtype { first } else { DTYPES[*dtype] }, *how, bytes)
        }).collect();
        let dtypes: Vec<Dtype> = views.iter().map(|view| view.dtype).collect();
        let step = step && dtypes.iter().all(|dtype| is_float(*dtype));
        let steps = if step { " + 1" } else { "" };
        let added = f64::from(u8::from(step));
        let all: Vec<Vec<f64>> = views.iter().map(View::numbers).collect();
        let sum = |at: usize| all.iter().map(|numbers| numbers[at]).sum::<f64>();
        let count = views.len() as f64;
        for (option, join) in [("replicas sum", 1.0), ("replicas mean", count)] {
            let found = joined(&way.rule(steps, option), &views);
            let told = || format!("{option} of {views:?}: {found:?}");
            match together(&dtypes) {
                Some(dtype) if is_float(dtype) => {
                    let added = added * join;
                    let numbers: Vec<f64> = (0..all[0].len()).map(|at| (sum(at) + added) / join).collect();
                    let (shape, numbers) = way.place(shape, &numbers);
                    let found = found.as_ref().map_err(|error| TestCaseError::fail(error.clone()))?;
                    let (_, got_shape, bytes) = &found["y"];
                    prop_assert_eq!(got_shape, &shape, "{}", told());
                    prop_assert_eq!(bytes, &encoded_all(dtype, &numbers), "{}", told());
                }
                code => {
                    let code = if code.is_some() || !dtypes.iter().any(|d| is_float(*d)) { "TS0624" } else { "TS0623" };
                    prop_assert!(found.as_ref().is_err_and(|error| error.contains(code)), "{}", told());
                }
            }
        }
        let found = joined(&way.rule(steps, "replicas first"), &views).map_err(TestCaseError::fail)?;
        let numbers: Vec<f64> = all[0].iter().map(|number| number + added).collect();
        let (_, numbers) = way.place(shape, &numbers);
        prop_assert_eq!(&found["y"].2, &encoded_all(first, &numbers));
        let same = all.iter().all(|numbers| *numbers == all[0]) && dtypes.iter().all(|dtype| *dtype == first);
        let found = joined(&way.rule(steps, ""), &views);
        match found {
            Ok(found) => {
                prop_assert!(same, "{:?}", views);
                prop_assert_eq!(&found["y"].2, &encoded_all(first, &numbers));
            }
            Err(error) => prop_assert!(!same && error.contains("TS0621"), "{}", error),
        }
    }
}

const NUMBERS: [f64; 6] = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0];

fn stored(numbers: &[f64]) -> Vec<u8> {
    encoded_all(Dtype::F32, numbers)
}

#[test]
fn a_replica_that_was_saved_transposed_is_read_as_what_it_is() {
    let rows = View::rows(Dtype::F32, &[2, 3], &NUMBERS);
    let columns = View { storage: vec![0.0, 3.0, 1.0, 4.0, 2.0, 5.0], strides: vec![1, 2], ..rows.clone() };
    for way in [Way::Kept, Way::Renamed] {
        for views in [[&rows, &columns], [&columns, &rows]] {
            let views = views.map(Clone::clone);
            let found = joined(&way.rule("", "replicas mean"), &views).expect("a mean");
            assert_eq!(found["y"].2, stored(&NUMBERS), "{way:?}");
            let found = joined(&way.rule("", ""), &views).expect("the same");
            assert_eq!(found["y"].2, stored(&NUMBERS), "{way:?}");
        }
    }
}

#[test]
fn a_replica_inside_a_larger_storage_is_no_error() {
    let rows = View::rows(Dtype::F32, &[2, 3], &NUMBERS);
    let storage = (0..12).map(|at| if at % 2 == 1 { f64::from(at / 2) } else { 9.0 }).collect();
    let stepped = View { storage, offset: 1, strides: vec![6, 2], ..rows.clone() };
    let found = joined(&Way::Kept.rule("", "replicas sum"), &[rows, stepped]).expect("a sum");
    assert_eq!(found["y"].2, stored(&NUMBERS.map(|x| 2.0 * x)));
}

#[test]
fn steps_are_of_what_replicas_make_together() {
    let views = [1.0, 3.0].map(|x| View::rows(Dtype::F32, &[1, 2], &[x, -x]));
    for (option, expected) in [("replicas sum", [9.0, -7.0]), ("replicas mean", [5.0, -3.0])] {
        let found = joined(&Way::Kept.rule(" * 2 + 1", option), &views).expect("floats");
        assert_eq!(found["y"].2, stored(&expected), "{option}");
    }
}

#[test]
fn the_same_bits_in_two_dtypes_are_not_the_same_replica() {
    let views = [Dtype::F16, Dtype::BF16].map(|dtype| View::rows(dtype, &[1, 2], &[0.0, 0.0]));
    for way in [Way::Kept, Way::Renamed] {
        let error = joined(&way.rule("", ""), &views).expect_err("of two dtypes");
        assert!(error.contains("TS0621") && error.contains("bf16"), "{error}");
    }
}

#[test]
fn renamed_replicas_of_two_shapes_are_told_of() {
    let views = [2, 3].map(|cols| View::rows(Dtype::F32, &[1, cols], &NUMBERS[..cols]));
    for option in ["", "replicas sum", "replicas mean"] {
        let error = joined(&Way::Renamed.rule("", option), &views).expect_err("of two shapes");
        assert!(error.contains("TS0621") && error.contains("[1, 3]"), "{error}");
    }
}
