//! A zip archive of stored records, laid out as torch lays it out by miniz.
//!
//! Records follow each other with a padding extra field that puts their data at a multiple of [`ALIGNMENT`], and a
//! data descriptor after it. Torch can compute from that where each record lies, without reading local headers; hence
//! to the byte. Formats: APPNOTE.TXT 6.3.10; `getPadding` in `caffe2/serialize/inline_container.cc`;
//! `mz_zip_writer_add_mem_ex_v2` and `mz_zip_writer_finalize_archive` in miniz 3.0.

use crate::output::{Literal, OutputError, PlannedFile, PlannedTensor, TensorSpec};

/// What the data of every record starts at a multiple of.
pub(super) const ALIGNMENT: u64 = 64;

/// Values from here on are in the zip64 fields.
const WIDE: u64 = u32::MAX as u64;

/// Version "needed to extract" of zip64 records, and what made them: 3.0 on Unix.
const ZIP64_VERSION: u16 = 45;
const ZIP64_MADE_BY: u16 = 0x031e;

/// Names are UTF-8.
const UTF8: u16 = 1 << 11;
/// Sizes and sum are in a descriptor after the data.
const DESCRIBED: u16 = 1 << 3;

/// An archive in the making.
pub(super) struct Archive<'a> {
    file: &'a str,
    root: String,
    entries: Vec<Entry>,
    tensors: Vec<PlannedTensor>,
    literals: Vec<Literal>,
    /// Bytes after the last tensor, which is where the last literal is going to be.
    tail: Vec<u8>,
    /// Where in the file `tail` starts.
    start: u64,
}

struct Entry {
    /// With the root.
    name: String,
    name_len: u16,
    header: u64,
    size: u64,
    content: Content,
}

enum Content {
    /// Bytes with this CRC-32.
    Known(u32),
    /// The tensor with this index.
    Tensor(usize),
}

impl Entry {
    fn flags(&self) -> u16 {
        if self.size == 0 { UTF8 } else { UTF8 | DESCRIBED }
    }

    /// Whether miniz gives the record a zip64 field.
    fn is_wide(&self) -> bool {
        self.size >= WIDE || self.header >= WIDE
    }

    fn crc32(&self) -> u32 {
        match self.content {
            Content::Known(crc32) => crc32,
            Content::Tensor(_) => 0,
        }
    }

    /// The zip64 extra field, empty where nothing needs one.
    fn wide_field(&self) -> Vec<u8> {
        let mut wide = Vec::new();
        if self.size >= WIDE {
            wide.extend(self.size.to_le_bytes());
            wide.extend(self.size.to_le_bytes());
        }
        if self.header >= WIDE {
            wide.extend(self.header.to_le_bytes());
        }
        if wide.is_empty() {
            return wide;
        }
        [&[1, 0, wide.len() as u8, 0], wide.as_slice()].concat()
    }
}

impl<'a> Archive<'a> {
    /// An archive for the file at `file`, whose name without extension is the root of all records.
    pub(super) fn new(file: &'a str) -> Archive<'a> {
        Archive {
            file,
            root: root(file).to_owned(),
            entries: Vec::new(),
            tensors: Vec::new(),
            literals: Vec::new(),
            tail: Vec::new(),
            start: 0,
        }
    }

    /// Names of the records so far, without the root.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|entry| &entry.name[self.root.len() + 1..])
    }

    /// Adds a record of these bytes.
    pub(super) fn record(&mut self, name: &str, bytes: Vec<u8>) -> Result<(), OutputError> {
        let content = Content::Known(crc32fast::hash(&bytes));
        let entry = self.open(name, bytes.len() as u64, content)?;
        self.tail.extend(bytes);
        self.close(entry);
        Ok(())
    }

    /// Adds a record of a tensor's elements.
    pub(super) fn tensor(&mut self, name: &str, spec: TensorSpec) -> Result<(), OutputError> {
        let bytes = spec.bytes()?;
        let entry = self.open(name, bytes, Content::Tensor(self.tensors.len()))?;
        let offset = self.position()?;
        let literal = std::mem::take(&mut self.tail);
        self.literals.push(Literal { offset: self.start, bytes: literal });
        self.start = offset.checked_add(bytes).ok_or_else(|| self.too_large())?;
        // The first four bytes of a descriptor are its signature.
        let checksums = if bytes == 0 { Vec::new() } else { vec![self.start.saturating_add(4)] };
        self.tensors.push(PlannedTensor { spec, offset, bytes, checksums });
        self.close(entry);
        Ok(())
    }

    /// The local header, up to where the data starts.
    fn open(&mut self, name: &str, size: u64, content: Content) -> Result<Entry, OutputError> {
        let name = format!("{}/{name}", self.root);
        let name_len =
            u16::try_from(name.len()).map_err(|_| OutputError::FileName { name: self.file.to_owned() })?;
        let entry = Entry { name_len, header: self.position()?, size, name, content };
        let wide = entry.wide_field();
        // 30 bytes of header, 4 of the padding field's own.
        let before = 34 + u64::from(name_len) + wide.len() as u64;
        let end = entry.header.checked_add(before).ok_or_else(|| self.too_large())?;
        let padding = (ALIGNMENT - end % ALIGNMENT) % ALIGNMENT;
        let tail = &mut self.tail;
        tail.extend(b"PK\x03\x04");
        push16(tail, &[0, entry.flags(), 0, 0, 0]);
        // Sum and sizes follow in the descriptor.
        tail.extend([0; 12]);
        push16(tail, &[name_len, (wide.len() as u64 + 4 + padding) as u16]);
        tail.extend(entry.name.as_bytes());
        tail.extend(wide);
        tail.extend(b"FB");
        push16(tail, &[padding as u16]);
        tail.extend(std::iter::repeat_n(b'Z', padding as usize));
        Ok(entry)
    }

    /// The descriptor after the data.
    fn close(&mut self, entry: Entry) {
        if entry.size != 0 {
            self.tail.extend(b"PK\x07\x08");
            push32(&mut self.tail, &[entry.crc32()]);
            for _ in 0..2 {
                if entry.is_wide() {
                    self.tail.extend(entry.size.to_le_bytes());
                } else {
                    push32(&mut self.tail, &[narrow(entry.size)]);
                }
            }
        }
        self.entries.push(entry);
    }

    /// Where the next byte goes.
    fn position(&self) -> Result<u64, OutputError> {
        let position = self.start.checked_add(self.tail.len() as u64);
        position.filter(|&at| i64::try_from(at).is_ok()).ok_or_else(|| self.too_large())
    }

    /// The file, with the directory at its end.
    pub(super) fn finish(mut self) -> Result<PlannedFile, OutputError> {
        let directory = self.position()?;
        for entry in &self.entries {
            let wide = entry.wide_field();
            let tail = &mut self.tail;
            tail.extend(b"PK\x01\x02");
            push16(tail, &[0, 0, entry.flags(), 0, 0, 0]);
            if let Content::Tensor(index) = entry.content
                && entry.size != 0
            {
                self.tensors[index].checksums.push(self.start.saturating_add(tail.len() as u64));
            }
            push32(tail, &[entry.crc32(), narrow(entry.size), narrow(entry.size)]);
            push16(tail, &[entry.name_len, wide.len() as u16, 0, 0, 0]);
            // External attributes.
            push32(tail, &[0, narrow(entry.header)]);
            tail.extend(entry.name.as_bytes());
            tail.extend(wide);
        }
        let end = self.position()?;
        let (count, length) = (self.entries.len() as u64, end - directory);
        let tail = &mut self.tail;
        tail.extend(b"PK\x06\x06");
        tail.extend(44u64.to_le_bytes());
        push16(tail, &[ZIP64_MADE_BY, ZIP64_VERSION]);
        // Numbers of this volume and of the directory's.
        push32(tail, &[0, 0]);
        tail.extend([count, count, length, directory].map(u64::to_le_bytes).concat());
        tail.extend(b"PK\x06\x07");
        push32(tail, &[0]);
        tail.extend(end.to_le_bytes());
        push32(tail, &[1]);
        tail.extend(b"PK\x05\x06");
        let short = u16::try_from(count).unwrap_or(u16::MAX);
        push16(tail, &[0, 0, short, short]);
        push32(tail, &[narrow(length), narrow(directory)]);
        push16(tail, &[0]);
        let size = self.position()?;
        self.literals.push(Literal { offset: self.start, bytes: self.tail });
        Ok(PlannedFile { name: self.file.to_owned(), size, tensors: self.tensors, literals: self.literals })
    }

    fn too_large(&self) -> OutputError {
        OutputError::TooLarge { name: self.file.to_owned() }
    }
}

/// The root that torch gives the records of a file: its name without the extension.
fn root(file: &str) -> &str {
    let name = file.rsplit(['/', '\\']).next().unwrap_or(file);
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    // Torch has this root for files whose name is not ASCII; it is nothing that would be lost.
    if stem.is_empty() || !stem.is_ascii() { "archive" } else { stem }
}

/// All ones where the value is in a zip64 field.
fn narrow(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

fn push16(bytes: &mut Vec<u8>, values: &[u16]) {
    bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
}

fn push32(bytes: &mut Vec<u8>, values: &[u32]) {
    bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
}
