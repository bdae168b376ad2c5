//! Plain data from pickles: what Python writes in every protocol, and what nobody should.

use std::collections::HashMap;

use serde_json::Value as Json;

use crate::budget::Budget;
use crate::document::Value;
use crate::pickle::{self, PickleErrorKind};
use crate::storage::Region;
use crate::tensor::Contents;

use super::error::TorchError;
use super::storages::{Keeping, Storages};
use super::walk;

const CORPUS: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/data/pickles/corpus.txt"));

fn contents(input: &[u8]) -> Result<Contents, TorchError> {
    contents_in(&Region::owned(input.to_vec()))
}

fn contents_in(region: &Region) -> Result<Contents, TorchError> {
    let mut budget = Budget::new();
    let pickle = pickle::read(region, 0, &mut budget)
        .map_err(|source| TorchError::Pickle { place: "the pickle".to_owned(), source })?;
    walk::contents(&pickle, Storages::new("x.pt", Keeping::Records, HashMap::new()), &mut budget)
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.chars().map(|c| c.to_digit(16).expect("a hexadecimal digit")).collect();
    digits.chunks(2).map(|pair| u8::try_from(pair[0] << 4 | pair[1]).expect("two digits")).collect()
}

#[test]
fn plain_data_of_every_protocol() {
    let mut protocols = [0; 6];
    for line in CORPUS.lines() {
        let fields: Vec<&str> = line.splitn(4, ' ').collect();
        let [name, protocol, pickled, expected] = fields[..] else { panic!("four fields: {line}") };
        let expected: Json = serde_json::from_str(expected).expect("the expectation is JSON");
        let found = contents(&unhex(pickled)).unwrap_or_else(|e| panic!("{name}, protocol {protocol}: {e}"));
        assert_eq!(found.documents.to_json(), expected, "{name}, protocol {protocol}");
        protocols[protocol.parse::<usize>().expect("a number")] += 1;
    }
    assert!(protocols.iter().all(|&n| n > 30), "{protocols:?}");
    assert!(!std::path::Path::new("executed.tmp").exists());
}

#[test]
fn corpus_cut_anywhere_is_an_error() {
    for line in CORPUS.lines() {
        let pickled = unhex(line.split(' ').nth(2).expect("the pickle"));
        let step = (pickled.len() / 64).max(1);
        for end in (0..pickled.len()).step_by(step) {
            assert!(contents(&pickled[..end]).is_err(), "{end} bytes of {line}");
        }
    }
}

/// `[x, x]` of `[x, x]` of …, `levels` times: 2^levels values from a few bytes a level.
fn laughs(levels: usize, innermost: &[u8]) -> Vec<u8> {
    let mut input = innermost.to_vec();
    for _ in 0..levels {
        // Below it in the stack, a list; twice the object; appended.
        input.extend(b"q\0]h\0ah\0aq\x01h\x01");
    }
    input.push(b'.');
    input
}

#[test]
fn shared_objects_do_not_explode() {
    let few = contents(&laughs(10, b"N")).expect("1024 values are no explosion");
    assert!(matches!(few.documents, Value::List(_)));
    let error = contents(&laughs(60, b"N")).expect_err("2^60 values are one");
    assert!(matches!(error, TorchError::Explodes { .. }), "{error}");
}

/// A text of a megabyte, memoized as entry 0, and a list of 300,000 objects that `part` makes of it.
fn repeated(part: &[u8]) -> Vec<u8> {
    let text = [b"X\0\0\x10\0".to_vec(), vec![b'k'; 1 << 20], b"q\0".to_vec()].concat();
    [
        text,
        b"cm\nn\nq\x01c_codecs\nencode\nq\x02X\x06\0\0\0latin1q\x03]".to_vec(),
        part.repeat(300_000),
        b".".to_vec(),
    ]
    .concat()
}

#[test]
fn one_long_text_does_not_explode() {
    let parts: [(&str, &[u8]); 4] = [
        ("a key", b"}h\0Nsa"),
        ("keys inside keys", b"}h\0}h\0Nssa"),
        ("an attribute", b"h\x01)R}h\0Nsba"),
        ("encoded bytes", b"h\x02h\0h\x03\x86Ra"),
    ];
    for (name, part) in parts {
        let input = repeated(part);
        let error = contents(&input).expect_err("300,000 megabytes");
        assert!(matches!(error, TorchError::Explodes { .. }), "{name}: {error}");
    }
    // The same text as a value costs nothing.
    assert!(contents(&repeated(b"h\0a")).is_ok());
}

/// A pickle of a list of `count` times `part`, after `start`, which memoizes what the parts use.
fn list_of(start: &[u8], part: &[u8], count: usize) -> Vec<u8> {
    [start, b"]", &part.repeat(count), b"."].concat()
}

#[test]
fn texts_that_calls_join_do_not_explode() {
    let text = |length: usize| {
        [
            b"X".to_vec(),
            u32::try_from(length).expect("short").to_le_bytes().to_vec(),
            vec![b'k'; length],
            b"q\0".to_vec(),
        ]
        .concat()
    };
    // A path of 600 parts of 4 KB, 600 times: from 8 KB to 1.5 GB.
    let path = [b"cpathlib\nPurePosixPath\nq\x01(".to_vec(), b"h\0".repeat(600), b"tq\x02".to_vec()].concat();
    let paths = list_of(&[text(4096), path].concat(), b"h\x01h\x02Ra", 600);
    // A device, a layout and an attribute, each of a text of 64 KB, and a path that is only one part.
    let call = |call: &[u8], args: &[u8]| {
        list_of(
            &[text(1 << 16), call.to_vec(), b"q\x01".to_vec()].concat(),
            &[b"h\x01", args, b"Ra"].concat(),
            20_000,
        )
    };
    // Keys of tuples of eight integers of 1000 bytes.
    let integer = [b"\x8b\xe8\x03\0\0".to_vec(), vec![0x7f; 1000], b"q\0".to_vec()].concat();
    let key = [integer, b"(".to_vec(), b"h\0".repeat(8), b"tq\x01".to_vec()].concat();
    let keys = list_of(&key, b"}h\x01Nsa", 200_000);
    for (name, input) in [
        ("paths", paths),
        ("devices", call(b"ctorch\ndevice\n", b"h\0\x85")),
        ("numbered devices", call(b"ctorch\ndevice\n", b"h\0K\0\x86")),
        ("layouts", call(b"ctorch.serialization\n_get_layout\n", b"h\0\x85")),
        ("attributes", call(b"c__builtin__\ngetattr\n", b"h\x01h\0\x86")),
        ("one-part paths", call(b"cpathlib\nPosixPath\n", b"h\0\x85")),
        ("keys", keys),
    ] {
        match contents(&input) {
            Err(TorchError::Explodes { .. }) => {}
            // Long integers are no part of keys.
            Ok(_) if name == "keys" => {}
            other => panic!("{name}: {other:?}"),
        }
    }
}

#[test]
fn objects_far_larger_than_the_pickle_are_an_error() {
    // Four bytes an instance, of which each takes more than a hundred, and one byte a list.
    let instances = list_of(b"cm\nn\nq\0", b"h\0)R", 3 << 20);
    let memo = list_of(b"N", b"\x94", 16 << 20);
    for (name, input) in [("instances", instances), ("memo", memo)] {
        // Uncompressed, the length pays for some of it; from a few bytes of a file, for nothing.
        let error =
            contents_in(&Region::owned(input).unpacked_from(1000)).expect_err("more than there may be");
        let explodes = match &error {
            TorchError::Pickle { source, .. } => source.kind == PickleErrorKind::Explodes,
            other => matches!(other, TorchError::Explodes { .. }),
        };
        assert!(explodes, "{name}: {error}");
    }
    // What training code writes, such as lists of small numbers, is not refused however long it is.
    let numbers = [b"](".to_vec(), b"K\x07".repeat(12 << 20), b"e.".to_vec()].concat();
    assert!(contents(&numbers).is_ok());
}

#[test]
fn deep_nesting_is_an_error() {
    let kinds: [(&str, &[u8], &[u8]); 4] = [
        ("lists", b"]", b"a"),
        ("dictionaries", b"}U\x01k", b"s"),
        ("calls", b"cm\nn\n", b"\x85R"),
        ("states", b"cm\nn\n)R}U\x01k", b"sb"),
    ];
    for (name, open, close) in kinds {
        let nested = |levels: usize| {
            [open.repeat(levels), b"N".to_vec(), close.repeat(levels), b".".to_vec()].concat()
        };
        // An object and its state are two levels.
        assert!(contents(&nested(60)).is_ok(), "{name}");
        let error = contents(&nested(100_000)).expect_err("too deep");
        assert!(matches!(error, TorchError::Deep { .. }), "{name}: {error}");
    }
}

#[test]
fn numpy_values_are_decoded() {
    // numpy.float32(1.5), and numpy.arange(6, dtype="<i2").reshape(2, 3), as NumPy 2 pickles them with protocol 2.
    let dtype = |name: &str| {
        [
            b"cnumpy\ndtype\nX\x02\0\0\0",
            name.as_bytes(),
            b"\x89\x88\x87R(K\x03X\x01\0\0\0<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb",
        ]
        .concat()
    };
    let scalar =
        [b"cnumpy._core.multiarray\nscalar\n".to_vec(), dtype("f4"), b"C\x04\0\0\xc0\x3f\x86R.".to_vec()]
            .concat();
    assert_eq!(contents(&scalar).expect("a scalar").documents, Value::Float(1.5));
    let array = |shape: &[u8], content: &[u8]| {
        let start =
            b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\0\x85C\x01b\x87R(K\x01".to_vec();
        [start, shape.to_vec(), dtype("i2"), b"\x89".to_vec(), content.to_vec(), b"tb.".to_vec()].concat()
    };
    let six = b"C\x0c\0\0\x01\0\x02\0\x03\0\x04\0\x05\0";
    let found = contents(&array(b"K\x02K\x03\x86", six)).expect("an array");
    assert_eq!(found.documents.to_json(), serde_json::json!([[0, 1, 2], [3, 4, 5]]));
    // A shape that does not fit the content stays an object.
    let found = contents(&array(b"K\x02K\x04\x86", six)).expect("an array");
    assert_eq!(found.documents.to_json()["$class"], "numpy.ndarray");
    assert_eq!(found.documents.to_json()["content"], serde_json::json!({"$bytes": 12}));
}
