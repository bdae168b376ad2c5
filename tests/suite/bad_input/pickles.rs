//! Pickles made to do harm, and tensors that claim what is not there.

use transship_tests::{Dtype, Py, TensorSpec};

use super::files::zip_of;
use super::{changed, refused};
use crate::command::Workplace;

/// A torch file around a pickle.
fn torch_file(pickle: &[u8]) -> Workplace {
    let workplace = Workplace::new();
    let bytes = zip_of(&[
        ("archive/data.pkl", pickle),
        ("archive/byteorder", b"little"),
        ("archive/version", b"3\n"),
    ]);
    workplace.put("model.pt", bytes);
    workplace
}

#[test]
fn a_pickle_that_calls_a_command_is_never_executed() {
    let workplace = Workplace::new();
    let marker = workplace.path("executed");
    let mut bytes = b"\x80\x02cos\nsystem\n(X".to_vec();
    let command = format!("touch {}", marker.display());
    bytes.extend(u32::try_from(command.len()).expect("short").to_le_bytes());
    bytes.extend(command.bytes());
    bytes.extend(*b"tR.");
    workplace.put("model.pt", zip_of(&[("archive/data.pkl", &bytes), ("archive/version", b"3\n")]));
    refused!("os_system", workplace, &["@model.pt"]);
    assert!(!marker.exists(), "the command was executed");
}

#[test]
fn bombs() {
    let nested = [b"\x80\x02".to_vec(), vec![b']'; 200_000], vec![b'a'; 199_999], b".".to_vec()].concat();
    refused!("nested_without_end", torch_file(&nested), &["@model.pt"]);
    // Each list holds the one before it twice; written out, it has 2^64 elements.
    let mut doubled = b"\x80\x02]q\0".to_vec();
    for at in 0..64u8 {
        doubled.extend([b']', b'q', at + 1, b'(', b'h', at, b'h', at, b'e']);
    }
    doubled.push(b'.');
    refused!("doubled_lists", torch_file(&doubled), &["@model.pt"]);
    refused!("huge_text", torch_file(b"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\x0fshort."), &["@model.pt"]);
    refused!("huge_integer", torch_file(b"\x80\x02\x8b\xff\xff\xff\x7f\x01."), &["@model.pt"]);
    refused!("no_end", torch_file(b"\x80\x02}q\0"), &["@model.pt"]);
    refused!("unknown_opcode", torch_file(b"\x80\x02}\xff."), &["@model.pt"]);
}

fn claims(offset: usize, shape: &[usize], strides: &[usize]) -> Workplace {
    changed(|made| {
        let Py::Tensor(spec) = made.file.tensor(Dtype::F32, &[24]) else { unreachable!("a tensor") };
        let spec = TensorSpec { offset, shape: shape.to_vec(), strides: strides.to_vec(), ..spec };
        made.root.set(&["model", "language_model", "encoder", "final_layernorm.weight"], Py::Tensor(spec));
    })
}

#[test]
fn tensors_that_are_not_there() {
    refused!("offset_past_the_end", claims(1_000_000, &[24], &[1]), &["@model.pt"]);
    refused!("shape_past_the_end", claims(0, &[25], &[1]), &["@model.pt"]);
    refused!("strides_past_the_end", claims(0, &[24], &[2]), &["@model.pt"]);
    let huge = 1 << 40;
    refused!("size_past_64_bits", claims(0, &[huge, huge], &[huge, 1]), &["@model.pt"]);
    let no_storage = changed(|made| {
        let Py::Tensor(spec) = made.file.tensor(Dtype::F32, &[24]) else { unreachable!("a tensor") };
        let spec = TensorSpec { storage: "900".to_owned(), ..spec };
        made.root.set(&["model", "language_model", "encoder", "final_layernorm.weight"], Py::Tensor(spec));
    });
    refused!("no_storage", no_storage, &["@model.pt"]);
    let longer = changed(|made| {
        let Py::Tensor(spec) = made.file.tensor(Dtype::F32, &[24]) else { unreachable!("a tensor") };
        let spec = TensorSpec { storage_elements: 1 << 50, ..spec };
        made.root.set(&["model", "language_model", "encoder", "final_layernorm.weight"], Py::Tensor(spec));
    });
    refused!("storage_shorter_than_claimed", longer, &["@model.pt"]);
}
