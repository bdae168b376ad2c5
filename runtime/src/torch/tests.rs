//! Plain data from pickles: what Python writes in every protocol, and what nobody should.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use serde_json::Value as Json;

use crate::document::Value;
use crate::pickle;
use crate::tensor::Contents;

use super::error::TorchError;
use super::storages::Storages;
use super::walk;

const CORPUS: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/data/pickles/corpus.txt"));

fn contents(input: &[u8]) -> Result<Contents, TorchError> {
    let pickle = pickle::read(input, 0)
        .map_err(|source| TorchError::Pickle { place: "the pickle".to_owned(), source })?;
    walk::contents(&pickle, Storages::new(HashMap::new()), input.len())
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
            assert!(contents(&pickled[..end]).is_err(), "{} bytes of {line}", end);
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
    let start = Instant::now();
    let few = contents(&laughs(10, b"N")).expect("1024 values are no explosion");
    assert!(matches!(few.documents, Value::List(_)));
    let error = contents(&laughs(60, b"N")).expect_err("2^60 values are one");
    assert!(matches!(error, TorchError::Explodes { .. }), "{error}");
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[test]
fn one_long_key_does_not_explode() {
    // A key of a megabyte, memoized, in 300,000 dictionaries of a list: a name would be a megabyte each.
    let mut input = b"X\0\0\x10\0".to_vec();
    input.extend(vec![b'k'; 1 << 20]);
    input.extend(b"q\0]");
    for _ in 0..300_000 {
        input.extend(b"}h\0}h\0NsNss"[..8].iter());
        input.extend(b"a");
    }
    input.push(b'.');
    let start = Instant::now();
    let _ = contents(&input);
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

#[test]
fn deep_nesting_is_an_error() {
    let nested = |levels: usize| [vec![b']'; levels], vec![b'a'; levels - 1], vec![b'.']].concat();
    assert!(contents(&nested(100)).is_ok());
    let error = contents(&nested(100_000)).expect_err("too deep");
    assert!(matches!(error, TorchError::Deep { .. }), "{error}");
}

#[test]
fn numpy_values_are_decoded() {
    // numpy.float32(1.5), and numpy.arange(6, dtype="<i2").reshape(2, 3), as NumPy 2 pickles them with protocol 2.
    let dtype = |name: &str| [b"cnumpy\ndtype\nX\x02\0\0\0", name.as_bytes(), b"\x89\x88\x87R(K\x03X\x01\0\0\0<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb"].concat();
    let scalar = [b"cnumpy._core.multiarray\nscalar\n".to_vec(), dtype("f4"), b"C\x04\0\0\xc0\x3f\x86R.".to_vec()].concat();
    assert_eq!(contents(&scalar).expect("a scalar").documents, Value::Float(1.5));
    let array = |shape: &[u8], content: &[u8]| {
        let start = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\0\x85C\x01b\x87R(K\x01".to_vec();
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
