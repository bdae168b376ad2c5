//! Parts of one parameter that are stored in several dtypes.

use proptest::prelude::*;
use safetensors::tensor::{Dtype, TensorView};

use super::{convert, few_cases};
use crate::command::{Done, Workplace};
use crate::oracle::read_tensors;

/// Two vectors that become one.
fn put_together(parts: [(Dtype, &[u8]); 2], rule: &str, more: &[&str]) -> (Workplace, Done) {
    let workplace = Workplace::new();
    let text = format!("mapping parts : a <=> b\n\nconfig {{ d = d_a <=> d_b }}\n\n{rule}\n");
    workplace.put("m.mapping", text);
    std::fs::create_dir(workplace.path("in")).expect("a directory");
    let views = [("p", parts[0]), ("q", parts[1])].map(|(name, (dtype, bytes))| {
        let size = match dtype {
            Dtype::I64 => 8,
            Dtype::F32 | Dtype::I32 => 4,
            Dtype::I8 => 1,
            _ => 2,
        };
        (name, TensorView::new(dtype, vec![bytes.len() / size], bytes).expect("a vector"))
    });
    safetensors::serialize_to_file(views, None, &workplace.path("in/model.safetensors")).expect("written");
    let done = convert(&workplace, &[&["@in", "@out"], more].concat());
    (workplace, done)
}

fn halves<const N: usize>(halves: [u16; N]) -> Vec<u8> {
    halves.iter().flat_map(|half| half.to_le_bytes()).collect()
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(4).map(|c| f32::from_le_bytes(c.try_into().expect("four bytes"))).collect()
}

/// 1e10 in bf16, and 1.001 in f16.
const LARGE: u16 = 0x5015;
const FINE: u16 = 0x3c01;

#[test]
fn parts_in_bf16_and_f16_are_written_as_what_holds_both() {
    let (large, fine) = (halves([LARGE, LARGE]), halves([FINE, FINE]));
    let values = |half: u16, bf16: bool| {
        if bf16 { f32::from_bits(u32::from(half) << 16) } else { half::f16::from_bits(half).to_f32() }
    };
    for (parts, expected) in [
        ([(Dtype::BF16, &large[..]), (Dtype::F16, &fine[..])], [values(LARGE, true), values(FINE, false)]),
        ([(Dtype::F16, &fine[..]), (Dtype::BF16, &large[..])], [values(FINE, false), values(LARGE, true)]),
    ] {
        for rule in ["{ p: p [d]  q: q [d] } <=> c [(p | q) d]", "{ q: q [d]  p: p [d] } <=> c [(p | q) d]"] {
            let (workplace, done) = put_together(parts, rule, &[]);
            assert_eq!(done.code, 0, "{}", done.err);
            assert!(
                done.err.contains("note: `c` is made of f16 and bf16 and written as f32"),
                "{}",
                done.err
            );
            let tensors = read_tensors(&workplace.path("out/model.safetensors"));
            let (dtype, _, bytes) = &tensors["c"];
            assert_eq!(dtype, "F32");
            assert_eq!(floats(bytes), [expected[0], expected[0], expected[1], expected[1]]);
        }
    }
    let parts = [(Dtype::BF16, &large[..]), (Dtype::F16, &fine[..])];
    for (rule, more) in [
        ("{ p: p [d]  q: q [d] } <=> c [(p | q) d] as f16", &[][..]),
        ("{ p: p [d]  q: q [d] } <=> c [(p | q) d]", &["--dtype", "f16"]),
    ] {
        let (workplace, done) = put_together(parts, rule, more);
        assert_eq!(done.code, 0, "{}", done.err);
        assert_eq!(
            read_tensors(&workplace.path("out/model.safetensors"))["c"].0,
            "F16",
            "what is stated holds"
        );
    }
}

#[test]
fn parts_that_no_dtype_holds_are_an_error() {
    let (whole, fine) = ([0u8; 16], halves([FINE, FINE]));
    let parts = [(Dtype::I64, &whole[..]), (Dtype::F16, &fine[..])];
    let (workplace, done) = put_together(parts, "{ p: p [d]  q: q [d] } <=> c [(p | q) d]", &[]);
    assert!(done.code == 1 && !workplace.path("out").exists(), "{}", done.err);
    insta::assert_snapshot!("parts_without_a_common_dtype", done.err);
}

proptest! {
    #![proptest_config(few_cases(10))]

    /// Whatever the parts are, each value comes through, and back.
    #[test]
    fn every_value_of_every_part_is_kept(
        bits in prop::collection::vec(any::<u16>(), 1..20),
        whole in prop::collection::vec(any::<i8>(), 20),
        which in 0..3usize,
        swapped in any::<bool>(),
    ) {
        let finite = |bits: &u16| bits & 0x7c00 != 0x7c00;
        let bits: Vec<u16> = bits.into_iter().filter(finite).collect();
        prop_assume!(!bits.is_empty());
        let count = bits.len();
        let f16s: Vec<u8> = bits.iter().flat_map(|x| x.to_le_bytes()).collect();
        let bf16s = f16s.clone();
        let i8s: Vec<u8> = whole[..count].iter().flat_map(|x| x.to_le_bytes()).collect();
        let f32_of = |name: Dtype| -> Vec<f32> {
            match name {
                Dtype::F16 => bits.iter().map(|x| half::f16::from_bits(*x).to_f32()).collect(),
                Dtype::BF16 => bits.iter().map(|x| half::bf16::from_bits(*x).to_f32()).collect(),
                _ => whole[..count].iter().map(|x| f32::from(*x)).collect(),
            }
        };
        let all = [(Dtype::F16, &f16s[..]), (Dtype::BF16, &bf16s[..]), (Dtype::I8, &i8s[..])];
        let mut parts = [all[which], all[(which + 1) % 3]];
        if swapped {
            parts.reverse();
        }
        let rule = "{ p: p [d]  q: q [d] } <=> c [(p | q) d] as f32";
        let (workplace, done) = put_together(parts, rule, &[]);
        prop_assert_eq!(done.code, 0, "{}", done.err);
        let stated = floats(&read_tensors(&workplace.path("out/model.safetensors"))["c"].2);
        prop_assert_eq!(&stated, &[f32_of(parts[0].0), f32_of(parts[1].0)].concat());
        let (workplace, done) = put_together(parts, &rule[..rule.len() - 7], &[]);
        prop_assert_eq!(done.code, 0, "{}", done.err);
        let (dtype, _, bytes) = &read_tensors(&workplace.path("out/model.safetensors"))["c"];
        let own: Vec<f32> = match dtype.as_str() {
            "F32" => floats(bytes),
            "F16" => bytes.chunks_exact(2).map(|c| half::f16::from_le_bytes([c[0], c[1]]).to_f32()).collect(),
            _ => bytes.chunks_exact(2).map(|c| half::bf16::from_le_bytes([c[0], c[1]]).to_f32()).collect(),
        };
        prop_assert_eq!(own, stated, "{}", dtype);
    }
}
