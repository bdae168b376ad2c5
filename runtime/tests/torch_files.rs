//! Tensors and storages of torch files, in both containers.

mod support;

use support::{
    call, dict, global, int, legacy, opened, refused, storage, storage_view, tensor, tensor_v3, text,
    torch_zip, tuple, zip,
};
use transship::{Checkpoint, DType, FormatKind, Value};

/// 2 x 3 and 3 x 2 (transposed) views, a row of stride 2, a stride-0 row and a scalar, of one storage of 6 floats.
fn views(storage: &dyn Fn() -> Vec<u8>) -> Vec<u8> {
    dict(&[
        ("matrix", tensor(storage(), 0, &[2, 3], &[3, 1])),
        ("transposed", tensor(storage(), 0, &[3, 2], &[1, 3])),
        ("every_other", tensor(storage(), 1, &[2], &[2])),
        ("repeated", tensor(storage(), 5, &[4], &[0])),
        ("scalar", tensor(storage(), 4, &[], &[])),
        ("empty", tensor(storage(), 6, &[0, 7], &[7, 1])),
    ])
}

fn six_floats() -> Vec<u8> {
    (0..6u8).flat_map(|n| f32::from(n).to_le_bytes()).collect()
}

fn values(checkpoint: &Checkpoint, name: &str) -> Vec<f32> {
    let tensor = checkpoint.tensor(name).expect("a tensor of that name");
    let mut spots = vec![tensor.offset];
    for (&count, &stride) in tensor.shape.iter().zip(&tensor.strides) {
        spots = spots.iter().flat_map(|at| (0..count).map(move |i| at + i * stride)).collect();
    }
    let (elements, rest) = checkpoint.bytes(tensor).as_chunks::<4>();
    assert!(rest.is_empty());
    spots.iter().map(|&at| f32::from_le_bytes(elements[usize::try_from(at).expect("an index")])).collect()
}

#[test]
fn views_share_one_storage() {
    let of_zip = opened(&torch_zip(&views(&|| storage("FloatStorage", "0", 6)), &[("0", &six_floats())]));
    let of_stream = opened(&legacy(&views(&|| storage("FloatStorage", "0", 6)), &[("0", 6, &six_floats())]));
    assert_eq!(of_zip.format().kind, FormatKind::TorchZip);
    assert_eq!(of_stream.format().kind, FormatKind::TorchLegacy);
    for checkpoint in [&of_zip, &of_stream] {
        assert_eq!(values(checkpoint, "matrix"), [0., 1., 2., 3., 4., 5.]);
        assert_eq!(values(checkpoint, "transposed"), [0., 3., 1., 4., 2., 5.]);
        assert_eq!(values(checkpoint, "every_other"), [1., 3.]);
        assert_eq!(values(checkpoint, "repeated"), [5.; 4]);
        assert_eq!(values(checkpoint, "scalar"), [4.]);
        assert!(values(checkpoint, "empty").is_empty());
        let [storage] = checkpoint.storages() else { panic!("one storage") };
        assert_eq!((storage.tensors.as_slice(), storage.len()), (&[0, 1, 2, 3, 4, 5][..], 24));
        let contiguous = ["matrix", "scalar", "empty"];
        for tensor in checkpoint.tensors() {
            assert_eq!(tensor.is_contiguous(), contiguous.contains(&tensor.name.as_str()), "{}", tensor.name);
        }
    }
    assert_eq!(of_zip.tensors(), of_stream.tensors());
    assert_eq!(of_zip.documents(), of_stream.documents());
    assert!(of_zip.storages()[0].file.ends_with("megatron.pt!data/0"));
}

#[test]
fn legacy_storage_views_shift_their_tensors() {
    let view = || storage_view("FloatStorage", "k", 6, 2, 3);
    let value = dict(&[("a", tensor(view(), 1, &[2], &[1]))]);
    let checkpoint = opened(&legacy(&value, &[("k", 6, &six_floats())]));
    assert_eq!(values(&checkpoint, "a"), [3., 4.]);
    let value = dict(&[("a", tensor(view(), 2, &[2], &[1]))]);
    assert_eq!(
        refused(&legacy(&value, &[("k", 6, &six_floats())])),
        "cannot read megatron.pt: tensor `a` is described wrongly (it ends at element 4 of a storage of 3); \
         the file is damaged: fetch it again"
    );
}

#[test]
fn dtypes_by_class_and_by_name() {
    let classes = [
        ("DoubleStorage", DType::F64),
        ("FloatStorage", DType::F32),
        ("HalfStorage", DType::F16),
        ("BFloat16Storage", DType::BF16),
        ("LongStorage", DType::I64),
        ("IntStorage", DType::I32),
        ("ShortStorage", DType::I16),
        ("CharStorage", DType::I8),
        ("ByteStorage", DType::U8),
        ("BoolStorage", DType::Bool),
    ];
    for (class, dtype) in classes {
        let value = dict(&[("x", tensor(storage(class, "0", 3), 1, &[2], &[1]))]);
        let checkpoint = opened(&torch_zip(&value, &[("0", &vec![0; 3 * dtype.size()])]));
        assert_eq!(checkpoint.tensor("x").map(|t| t.dtype), Some(dtype));
    }
    let names = [("float8_e4m3fn", DType::F8E4M3), ("float8_e5m2", DType::F8E5M2), ("bfloat16", DType::BF16)];
    for (name, dtype) in names {
        let bytes = 4 * dtype.size();
        let untyped = storage("UntypedStorage", "0", i64::try_from(bytes).expect("a count"));
        let value = dict(&[("x", tensor_v3(untyped, 0, &[4], &[1], name))]);
        let checkpoint = opened(&torch_zip(&value, &[("0", &vec![0; bytes])]));
        assert_eq!(checkpoint.tensor("x").map(|t| (t.dtype, t.elements())), Some((dtype, 4)));
    }
}

#[test]
fn other_dtypes_are_listed_apart() {
    let complex = tensor(storage("ComplexFloatStorage", "0", 2), 0, &[2], &[1]);
    let wide = tensor_v3(storage("UntypedStorage", "0", 16), 0, &[2], &[1], "uint64");
    let value =
        dict(&[("a", complex), ("b", wide), ("c", tensor(storage("FloatStorage", "0", 4), 0, &[4], &[1]))]);
    let checkpoint = opened(&torch_zip(&value, &[("0", &[0; 16])]));
    let unsupported: Vec<_> =
        checkpoint.unsupported().iter().map(|u| (u.name.as_str(), u.dtype.as_str())).collect();
    assert_eq!(unsupported, [("a", "complex64"), ("b", "uint64")]);
    assert_eq!(
        checkpoint.unsupported()[0].reason(),
        "has elements of type complex64, which are not converted"
    );
    assert_eq!(checkpoint.tensors().len(), 1);
    assert_eq!(checkpoint.lookup("a.dtype").and_then(Value::as_str), Some("complex64"));
    assert_eq!(checkpoint.lookup("c"), Some(&Value::Tensor(0)));
}

#[test]
fn parameters_and_subclasses_are_seen_through() {
    let plain = || tensor(storage("FloatStorage", "0", 6), 0, &[6], &[1]);
    let hooks = || call(global("collections", "OrderedDict"), &[]);
    let parameter = call(global("torch._utils", "_rebuild_parameter"), &[plain(), b"\x88".to_vec(), hooks()]);
    let with_state = call(
        global("torch._utils", "_rebuild_parameter_with_state"),
        &[plain(), b"\x88".to_vec(), hooks(), dict(&[("note", int(1))])],
    );
    let args = tuple(&[storage("FloatStorage", "0", 6), int(0), tuple(&[int(6)]), tuple(&[int(1)])]);
    let subclass = call(
        global("torch._tensor", "_rebuild_from_type_v2"),
        &[global("torch._utils", "_rebuild_tensor_v2"), global("torch", "Tensor"), args, dict(&[])],
    );
    let with_attributes = [plain(), dict(&[("tag", text("x"))]), b"b".to_vec()].concat();
    let old = call(
        global("torch._utils", "_rebuild_tensor"),
        &[storage("FloatStorage", "0", 6), int(0), tuple(&[int(6)]), tuple(&[int(1)])],
    );
    let value =
        dict(&[("a", parameter), ("b", with_state), ("c", subclass), ("d", with_attributes), ("e", old)]);
    let checkpoint = opened(&torch_zip(&value, &[("0", &six_floats())]));
    for name in ["a", "b", "c", "d", "e"] {
        assert_eq!(values(&checkpoint, name), [0., 1., 2., 3., 4., 5.]);
    }
}

#[test]
fn quantized_and_unknown_rebuilds_stay_inert() {
    let quantized = call(
        global("torch._utils", "_rebuild_qtensor"),
        &[storage("QInt8Storage", "0", 4), int(0), tuple(&[int(4)]), tuple(&[int(1)])],
    );
    let wrapped = call(global("torch._utils", "_rebuild_parameter"), &[quantized, b"\x88".to_vec()]);
    let checkpoint = opened(&torch_zip(&dict(&[("q", wrapped)]), &[("0", &[0; 4])]));
    assert!(checkpoint.tensors().is_empty());
    let json = checkpoint.lookup("q").expect("it is kept").to_json();
    assert_eq!(json["$class"], "torch._utils._rebuild_parameter");
    assert_eq!(json["$args"][0]["$class"], "torch._utils._rebuild_qtensor");
}

#[test]
fn tensors_in_lists_objects_and_under_numbers_have_names() {
    let one = || tensor(storage("FloatStorage", "0", 1), 0, &[], &[]);
    let state = [b"}".to_vec(), int(7), one(), b"s".to_vec()].concat();
    let namespace =
        [global("argparse", "Namespace"), b")\x81".to_vec(), dict(&[("scale", one())]), b"b".to_vec()]
            .concat();
    let value = dict(&[
        ("list", [b"]".to_vec(), one(), b"a".to_vec()].concat()),
        ("state", state),
        ("args", namespace),
        ("made", call(global("some.where", "Thing"), &[one()])),
    ]);
    let checkpoint = opened(&torch_zip(&value, &[("0", &[0; 4])]));
    let names: Vec<&str> = checkpoint.tensors().iter().map(|t| t.name.as_str()).collect();
    assert_eq!(names, ["list.0", "state.7", "args.scale", "made.#0"]);
    assert_eq!(checkpoint.lookup("state.7"), Some(&Value::Tensor(1)));
    assert_eq!(checkpoint.lookup("args.scale"), Some(&Value::Tensor(2)));
}

#[test]
fn tensors_must_lie_in_their_storage() {
    let half = |offset, shape: &[i64], strides: &[i64]| {
        let value = dict(&[(
            "model",
            dict(&[("w", tensor(storage("HalfStorage", "3", 40960), offset, shape, strides))]),
        )]);
        torch_zip(&value, &[("3", &[0; 512])])
    };
    assert_eq!(
        refused(&half(0, &[640, 64], &[64, 1])),
        "cannot read megatron.pt: record data/3 of storage 3 has 512 bytes, but the 640 x 64 f16 elements of `model.w` \
         need 81920; the file is damaged or truncated: fetch it again"
    );
    assert_eq!(
        refused(&half(100, &[3, 64], &[1, 3])),
        "cannot read megatron.pt: record data/3 of storage 3 has 512 bytes, but the 3 x 64 f16 elements of `model.w`, \
         from element 100 on with strides [1, 3], need 584; the file is damaged or truncated: fetch it again"
    );
    assert_eq!(
        refused(&half(0, &[256], &[1])),
        "cannot read megatron.pt: record data/3 of storage 3 has 512 bytes, but its 40960 float16 elements need 81920; \
         the file is damaged or truncated: fetch it again"
    );
}

#[test]
fn absurd_extents_are_errors() {
    let of = |offset, shape: &[i64], strides: &[i64]| {
        let value = dict(&[("w", tensor(storage("HalfStorage", "0", 4), offset, shape, strides))]);
        refused(&torch_zip(&value, &[("0", &[0; 8])]))
    };
    let wrong = |what: &str| {
        format!(
            "cannot read megatron.pt: tensor `w` is described wrongly ({what}); the file is damaged: fetch it again"
        )
    };
    assert_eq!(of(0, &[i64::MAX, i64::MAX], &[0, 0]), wrong("its extent overflows 64 bits"));
    assert_eq!(of(i64::MAX, &[2], &[i64::MAX]), wrong("its extent overflows 64 bits"));
    assert_eq!(of(0, &[i64::MAX], &[0]), wrong("its extent overflows 64 bits"));
    assert_eq!(of(0, &[-1], &[1]), wrong("its shape is malformed"));
    assert_eq!(of(0, &[1], &[-1]), wrong("its strides are malformed"));
    assert_eq!(of(-1, &[1], &[1]), wrong("its offset is no number"));
    assert_eq!(of(0, &[2, 2], &[1]), wrong("2 sizes but 1 strides"));
    assert_eq!(of(0, &[1; 65], &[1; 65]), wrong("its shape is malformed"));
    assert_eq!(
        of(5, &[0], &[1]),
        "cannot read megatron.pt: record data/0 of storage 0 has 8 bytes, but the 0 f16 elements of `w`, \
         from element 5 on, need 10; the file is damaged or truncated: fetch it again"
    );
}

#[test]
fn storages_must_be_there() {
    let value = dict(&[("w", tensor(storage("HalfStorage", "9", 4), 0, &[4], &[1]))]);
    assert_eq!(
        refused(&torch_zip(&value, &[("0", &[0; 8])])),
        "cannot read megatron.pt: storage 9 of `w` is missing; the file is damaged or incomplete: fetch it again"
    );
    assert_eq!(
        refused(&legacy(&value, &[])),
        "cannot read megatron.pt: storage 9 of `w` is missing; the file is damaged or incomplete: fetch it again"
    );
    assert_eq!(
        refused(&legacy(&value, &[("9", 3, &[0; 8])])),
        "cannot read megatron.pt: storage 9 is 3 elements long, where the tensors say 4; the file is damaged, or not \
         written by torch.save: fetch or save it again"
    );
    assert_eq!(
        refused(&legacy(&value, &[("9", 4, &[0; 7])])),
        "cannot read megatron.pt: what is left of the file for storage 9 has 15 bytes, but its 4 float16 elements and \
         their count need 16; the file is damaged or truncated: fetch it again"
    );
    let odd = dict(&[("w", tensor(storage("StrangeStorage", "0", 4), 0, &[4], &[1]))]);
    assert_eq!(
        refused(&torch_zip(&odd, &[("0", &[0; 8])])),
        "cannot read megatron.pt: tensor `w` is described wrongly (its storage has the unknown class \
         torch.StrangeStorage); the file is damaged: fetch it again"
    );
}

#[test]
fn big_endian_files_are_refused() {
    let pickled = support::pickle(&dict(&[]));
    let big = zip(&[("x/data.pkl", &pickled, false), ("x/byteorder", b"big", false)]);
    let message = "cannot read megatron.pt: its tensors are big-endian; load and save it again on a little-endian machine";
    assert_eq!(refused(&big), message);
    let little = legacy(&dict(&[]), &[]);
    let at = little.windows(14).position(|w| w == b"little_endian\x88").expect("the system info") + 13;
    let mut big = little;
    big[at] = 0x89;
    assert_eq!(refused(&big), message);
}

#[test]
fn any_root_and_packed_records_are_read() {
    let pickled = support::pickle(&views(&|| storage("FloatStorage", "0", 6)));
    for root in ["", "some/deep/root/"] {
        for deflate in [false, true] {
            let (data, record) = (format!("{root}data.pkl"), format!("{root}data/0"));
            let archive = zip(&[(&data, &pickled, deflate), (&record, &six_floats(), deflate)]);
            let checkpoint = opened(&archive);
            assert_eq!(values(&checkpoint, "transposed"), [0., 3., 1., 4., 2., 5.]);
            assert_eq!(checkpoint.format().to_string(), "torch zip");
        }
    }
}

#[test]
fn two_tensors_of_one_name_are_an_error() {
    let one = || tensor(storage("FloatStorage", "0", 1), 0, &[], &[]);
    let value = dict(&[("a.b", one()), ("a", dict(&[("b", one())]))]);
    assert_eq!(
        refused(&torch_zip(&value, &[("0", &[0; 4])])),
        "cannot read megatron.pt: two tensors are both called `a.b`, as a key holds a dot or two keys read alike; \
         rename one of them before saving"
    );
}

#[test]
fn a_key_set_twice_has_its_last_value() {
    let one = |offset| tensor(storage("FloatStorage", "0", 6), offset, &[], &[]);
    let value = dict(&[("a", one(1)), ("b", one(2)), ("a", one(3))]);
    let checkpoint = opened(&torch_zip(&value, &[("0", &six_floats())]));
    let found: Vec<_> = checkpoint.tensors().iter().map(|t| (t.name.as_str(), t.offset)).collect();
    assert_eq!(found, [("a", 3), ("b", 2)]);
}

#[test]
fn endless_names_and_keys_are_refused() {
    let long = "k".repeat(5000);
    let one = || tensor(storage("FloatStorage", "0", 1), 0, &[], &[]);
    assert_eq!(
        refused(&torch_zip(&dict(&[(&long, one())]), &[("0", &[0; 4])])),
        format!(
            "cannot read megatron.pt: the tensor at `{}…` has a name longer than 4096 bytes; no training code writes that: do \
             not trust the file",
            "k".repeat(60)
        )
    );
    // Plain data may have any key.
    let checkpoint = opened(&torch_zip(&dict(&[(&long, int(1)), ("w", one())]), &[("0", &[0; 4])]));
    assert_eq!(checkpoint.lookup(&long), Some(&Value::Int(1)));
    let keyed = dict(&[("w", tensor(storage("FloatStorage", &long, 1), 0, &[], &[]))]);
    assert!(
        refused(&torch_zip(&keyed, &[("0", &[0; 4])])).contains("the key of its storage has 5000 characters")
    );
}

#[test]
fn hundred_thousand_tensors_open_in_linear_time() {
    let time = |count: usize| {
        let entries: Vec<(String, String)> =
            (0..count).map(|i| (format!("layers.{i}.weight"), i.to_string())).collect();
        let tensors: Vec<(&str, Vec<u8>)> = entries
            .iter()
            .map(|(name, key)| (name.as_str(), tensor(storage("HalfStorage", key, 2), 0, &[2], &[1])))
            .collect();
        let storages: Vec<(&str, &[u8])> =
            entries.iter().map(|(_, key)| (key.as_str(), &b"1234"[..])).collect();
        let folder = support::Folder::new();
        let path = folder.write("many.pt", torch_zip(&dict(&tensors), &storages));
        let start = std::time::Instant::now();
        let checkpoint = Checkpoint::open(&path).expect("a good file");
        for tensor in checkpoint.tensors() {
            assert_eq!(checkpoint.tensor(&tensor.name).map(|t| t.storage), Some(tensor.storage));
        }
        assert_eq!(checkpoint.tensors().len(), count);
        start.elapsed()
    };
    let (small, large) = (time(10_000), time(100_000));
    // Ten times as many may take ten times as long; a quadratic step would take a hundred times.
    assert!(large < small * 40 + std::time::Duration::from_millis(500), "{small:?} and {large:?}");
}
