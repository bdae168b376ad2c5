//! Elements of repeated axes, and arithmetic on elements.

use super::{converted, counting, given, made, of, refused};

#[test]
fn copies_along_a_repeated_axis() {
    let mapping = "config {\n    hidden = hidden <=> hidden\n}\n\nw [out:hidden c:*hidden]  <=>  v [hidden]";
    let rows = [1.0f32, 1.0, 1.0, 2.0, 2.0, 2.0, 3.0, 3.0, 3.0];
    let same = given(mapping, "{}", &[of("w", &[3, 3], &rows)]);
    assert_eq!(made(&same)["v"], (vec![3], vec![1.0, 2.0, 3.0]));
    let back = same.run(&["convert", "@out", "--mapping", "@m.mapping", "--from", "b", "@back"]);
    assert_eq!(back.code, 0, "{}", back.err);
    let tensors = crate::oracle::read_tensors(&same.path("back/model.safetensors"));
    assert_eq!(tensors["w"].2, rows.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>());
    let columns = [1.0, 2.0, 3.0, 1.0, 2.0, 3.0, 1.0, 2.0, 3.0];
    refused!("copies_along_the_other_axis", given(mapping, "{}", &[of("w", &[3, 3], &columns)]));
}

#[test]
fn copies_along_two_repeated_axes() {
    let mapping = "config {\n    d = d <=> d\n    r = r <=> r\n    s = s <=> s\n}\n\nw [d *r *s]  <=>  v [d]";
    let with = |last| given(mapping, "{}", &[of("w", &[1, 2, 2], &[1.0, 1.0, 1.0, last])]);
    assert_eq!(made(&with(1.0))["v"], (vec![1], vec![1.0]));
    refused!("last_copy_differs", with(9.0));
}

#[test]
fn arithmetic_belongs_to_one_era() {
    let mapping = "config {\n    d = d <=> d\n}\n\n(a.w [d] + 1 | b.w [d])  <=>  c.w [d]";
    let plain = given(mapping, "{}", &[counting("b.w", &[3])]);
    assert_eq!(made(&plain)["c.w"].1, [1.0, 2.0, 3.0]);
    let shifted = given(mapping, "{}", &[counting("a.w", &[3])]);
    assert_eq!(made(&shifted)["c.w"].1, [2.0, 3.0, 4.0]);
    refused!("both_eras", given(mapping, "{}", &[counting("a.w", &[3]), counting("b.w", &[3])]));
}

const TIMES_THREE: &str = "config {\n    d = d <=> d\n}\n\nw [d]  <=>  v [d] * 3";

#[test]
fn arithmetic_is_rounded_once() {
    let values: Vec<f32> = (0..200u32).map(|n| f32::from_bits(0x3f80_0000 + n * 41_943)).collect();
    let workplace = given(TIMES_THREE, "{}", &[of("w", &[200], &values)]);
    let thirds: Vec<f32> = values.iter().map(|x| (f64::from(*x) / 3.0) as f32).collect();
    assert_eq!(made(&workplace)["v"].1, thirds);
}

/// A quotient by 3 of a number of few bits, rounded, is that number again when multiplied.
#[test]
fn arithmetic_is_undone_by_the_way_back() {
    let values: Vec<f32> = (1..=200u8).map(f32::from).collect();
    let workplace = given(TIMES_THREE, "{}", &[of("w", &[200], &values)]);
    converted(&workplace, &[]);
    let back = workplace.run(&["convert", "@out", "--mapping", "@m.mapping", "--from", "b", "@back"]);
    assert_eq!(back.code, 0, "{}", back.err);
    let tensors = crate::oracle::read_tensors(&workplace.path("back/model.safetensors"));
    let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
    assert_eq!(tensors["w"].2, bytes);
}
