//! Builds torch files: pickles from parts, zip archives, legacy streams.

#![allow(dead_code, reason = "each test file uses its own part of this")]

use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};

use transship::{Checkpoint, OpenError};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

pub(crate) fn data(path: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/data")).join(path)
}

// ---------------------------------------------------------------- pickles, protocol 2

pub(crate) fn text(text: &str) -> Vec<u8> {
    let length = u32::try_from(text.len()).expect("a short string");
    [b"X", &length.to_le_bytes()[..], text.as_bytes()].concat()
}

pub(crate) fn int(number: i64) -> Vec<u8> {
    [b"\x8a\x08", &number.to_le_bytes()[..]].concat()
}

pub(crate) fn ints(numbers: &[i64]) -> Vec<u8> {
    tuple(&numbers.iter().map(|&n| int(n)).collect::<Vec<_>>())
}

pub(crate) fn tuple(items: &[Vec<u8>]) -> Vec<u8> {
    [b"(", &items.concat()[..], b"t"].concat()
}

pub(crate) fn dict(entries: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let pairs: Vec<u8> =
        entries.iter().flat_map(|(key, value)| [text(key), value.clone()].concat()).collect();
    [b"}(", &pairs[..], b"u"].concat()
}

pub(crate) fn global(module: &str, name: &str) -> Vec<u8> {
    format!("c{module}\n{name}\n").into_bytes()
}

pub(crate) fn call(function: Vec<u8>, args: &[Vec<u8>]) -> Vec<u8> {
    [function, tuple(args), b"R".to_vec()].concat()
}

pub(crate) fn pickle(value: &[u8]) -> Vec<u8> {
    [b"\x80\x02", value, b"."].concat()
}

/// A reference to a storage; `class` is one of torch's.
pub(crate) fn storage(class: &str, key: &str, elements: i64) -> Vec<u8> {
    let fields = [text("storage"), global("torch", class), text(key), text("cpu"), int(elements)];
    [tuple(&fields), b"Q".to_vec()].concat()
}

/// A reference to a part of a storage, as legacy files have it.
pub(crate) fn storage_view(class: &str, key: &str, elements: i64, start: i64, count: i64) -> Vec<u8> {
    let view = tuple(&[text("view"), int(start), int(count)]);
    let fields = [text("storage"), global("torch", class), text(key), text("cpu"), int(elements), view];
    [tuple(&fields), b"Q".to_vec()].concat()
}

pub(crate) fn tensor(storage: Vec<u8>, offset: i64, shape: &[i64], strides: &[i64]) -> Vec<u8> {
    let hooks = call(global("collections", "OrderedDict"), &[]);
    let args = [storage, int(offset), ints(shape), ints(strides), b"\x89".to_vec(), hooks];
    call(global("torch._utils", "_rebuild_tensor_v2"), &args)
}

pub(crate) fn tensor_v3(
    storage: Vec<u8>,
    offset: i64,
    shape: &[i64],
    strides: &[i64],
    dtype: &str,
) -> Vec<u8> {
    let hooks = call(global("collections", "OrderedDict"), &[]);
    let args =
        [storage, int(offset), ints(shape), ints(strides), b"\x89".to_vec(), hooks, global("torch", dtype)];
    call(global("torch._utils", "_rebuild_tensor_v3"), &args)
}

// ---------------------------------------------------------------- containers

/// A zip archive of `entries`: name, content, whether to deflate.
pub(crate) fn zip(entries: &[(&str, &[u8], bool)]) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content, deflate) in entries {
        let method = if *deflate { CompressionMethod::Deflated } else { CompressionMethod::Stored };
        let options = SimpleFileOptions::default().compression_method(method);
        writer.start_file(*name, options).expect("a new entry");
        writer.write_all(content).expect("memory");
    }
    writer.finish().expect("memory").into_inner()
}

/// A torch zip of the pickled `value` and of storages by key.
pub(crate) fn torch_zip(value: &[u8], storages: &[(&str, &[u8])]) -> Vec<u8> {
    let pickled = pickle(value);
    let names: Vec<String> = storages.iter().map(|(key, _)| format!("archive/data/{key}")).collect();
    let mut entries =
        vec![("archive/data.pkl", &pickled[..], false), ("archive/byteorder", b"little", false)];
    entries.extend(names.iter().zip(storages).map(|(name, (_, content))| (name.as_str(), *content, false)));
    entries.push(("archive/version", b"3\n", false));
    zip(&entries)
}

/// A legacy stream of the pickled `value` and of storages: key, count of elements, bytes.
pub(crate) fn legacy(value: &[u8], storages: &[(&str, i64, &[u8])]) -> Vec<u8> {
    let magic = b"\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19";
    let keys: Vec<u8> = storages.iter().flat_map(|(key, ..)| text(key)).collect();
    let mut stream =
        [pickle(magic), pickle(b"M\xe9\x03"), pickle(&dict(&[("little_endian", b"\x88".to_vec())]))].concat();
    stream.extend(pickle(value));
    stream.extend(pickle(&[b"](", &keys[..], b"e"].concat()));
    for (_, count, bytes) in storages {
        stream.extend(count.to_le_bytes());
        stream.extend(*bytes);
    }
    stream
}

/// A safetensors file with `header`, padded as the format wants, and `data`.
pub(crate) fn safetensors(header: &str, data: &[u8]) -> Vec<u8> {
    let padded = format!("{header:<width$}", width = header.len().next_multiple_of(8));
    [&(padded.len() as u64).to_le_bytes()[..], padded.as_bytes(), data].concat()
}

// ---------------------------------------------------------------- files

/// A directory that goes away with it.
pub(crate) struct Folder(tempfile::TempDir);

impl Folder {
    pub(crate) fn new() -> Folder {
        Folder(tempfile::tempdir().expect("a temporary directory"))
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a file in a directory")).expect("a directory");
        std::fs::write(&path, content).expect("a file");
        path
    }

    /// The error's text, with this directory's path left out.
    pub(crate) fn message(&self, error: &OpenError) -> String {
        error.to_string().replace(&format!("{}/", self.path().display()), "")
    }

    /// The text of the error that opening `name` ends in.
    pub(crate) fn refusal(&self, name: &str) -> String {
        self.message(&Checkpoint::open(&self.path().join(name)).expect_err("this cannot be opened"))
    }
}

/// Opens `content` as a file called `megatron.pt`.
pub(crate) fn opened(content: &[u8]) -> Checkpoint {
    let folder = Folder::new();
    Checkpoint::open(&folder.write("megatron.pt", content)).expect("a good file")
}

/// The text of the error that opening `content` as a file called `megatron.pt` ends in.
pub(crate) fn refused(content: &[u8]) -> String {
    let folder = Folder::new();
    folder.write("megatron.pt", content);
    folder.refusal("megatron.pt")
}
