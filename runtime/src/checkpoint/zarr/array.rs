//! The description of a zarr array, `.zarray`, and the grid of its chunks.
//!
//! After the [specification of version 2](https://zarr-specs.readthedocs.io/en/latest/v2/v2.0.html): chunks all have one
//! shape, those at the end of a dimension too, where what lies past the array is padding; the file of a chunk is
//! called by its place in the grid, `0.1.0`.

use serde_json::Value as Json;

use super::super::sharded::MAX_DIMENSIONS;
use super::error::ZarrError;
use crate::DType;

/// An array that is stored as it lies in memory, chunk by chunk.
#[derive(Debug)]
pub(super) struct ZarrArray {
    pub(super) dtype: DType,
    pub(super) shape: Vec<u64>,
    /// Shape of every chunk, as long as `shape`; no size is 0.
    pub(super) chunks: Vec<u64>,
    /// Length of every chunk.
    pub(super) chunk_bytes: u64,
}

impl ZarrArray {
    /// Reads the description of the array `name`.
    pub(super) fn read(json: &Json, name: &str) -> Result<ZarrArray, ZarrError> {
        let entries = Entries { json, name };
        entries.check_storage()?;
        let (shape, chunks) = (entries.sizes("shape")?, entries.sizes("chunks")?);
        if chunks.len() != shape.len() || chunks.contains(&0) {
            let expected = format!("{} sizes above 0, as `shape` is {shape:?}", shape.len());
            return Err(entries.wrong("chunks", expected));
        }
        let dtype = entries.dtype()?;
        let bytes = chunks.iter().try_fold(dtype.size() as u64, |bytes, &size| bytes.checked_mul(size));
        match bytes {
            Some(chunk_bytes) => Ok(ZarrArray { dtype, shape, chunks, chunk_bytes }),
            None => Err(entries.wrong("chunks", "sizes of a chunk that a file can hold".to_owned())),
        }
    }

    /// Number of chunks along each dimension.
    pub(super) fn grid(&self) -> impl Iterator<Item = u64> {
        self.shape.iter().zip(&self.chunks).map(|(size, chunk)| size.div_ceil(*chunk))
    }

    /// Calls `visit` with the place of each chunk in the grid, last dimension fastest, until it fails.
    pub(super) fn each_chunk<E>(&self, mut visit: impl FnMut(&[u64]) -> Result<(), E>) -> Result<(), E> {
        let grid: Vec<u64> = self.grid().collect();
        if grid.contains(&0) {
            return Ok(());
        }
        let mut at = vec![0; grid.len()];
        loop {
            visit(&at)?;
            let Some(dim) = (0..grid.len()).rev().find(|&dim| at[dim] + 1 < grid[dim]) else { return Ok(()) };
            at[dim] += 1;
            at[dim + 1..].fill(0);
        }
    }

    /// Whether a chunk's file can be called `file`.
    pub(super) fn has_chunk(&self, file: &str) -> bool {
        let Some(at) = place(file) else { return false };
        if self.shape.is_empty() {
            return file == "0";
        }
        at.len() == self.shape.len()
            && chunk_name(&at) == file
            && at.iter().zip(self.grid()).all(|(at, count)| *at < count)
    }
}

/// Name of the file with the chunk at a place in the grid.
pub(super) fn chunk_name(at: &[u64]) -> String {
    match at {
        [] => "0".to_owned(),
        _ => at.iter().map(u64::to_string).collect::<Vec<_>>().join("."),
    }
}

/// The numbers in a name like that of a chunk.
pub(super) fn place(file: &str) -> Option<Vec<u64>> {
    let number = |part: &str| part.bytes().all(|b| b.is_ascii_digit()).then(|| part.parse().ok())?;
    file.split('.').map(number).collect()
}

struct Entries<'j> {
    json: &'j Json,
    name: &'j str,
}

impl Entries<'_> {
    fn wrong(&self, field: &'static str, expected: String) -> ZarrError {
        let found = self.json.get(field).map_or("missing".to_owned(), shown);
        ZarrError::Field { name: self.name.to_owned(), field, found, expected }
    }

    fn unread(&self, what: String) -> ZarrError {
        ZarrError::Unread { name: self.name.to_owned(), what }
    }

    /// Checks that elements lie in the files as they lie in memory.
    fn check_storage(&self) -> Result<(), ZarrError> {
        match self.json.get("zarr_format").map(Json::as_u64) {
            Some(Some(2)) => {}
            Some(Some(version)) => return Err(self.unread(format!("version {version} of zarr"))),
            _ => return Err(self.wrong("zarr_format", "2".to_owned())),
        }
        match self.json.get("compressor") {
            None | Some(Json::Null) => {}
            Some(compressor) => return Err(self.unread(format!("the compressor {}", codec(compressor)))),
        }
        match self.json.get("filters") {
            None | Some(Json::Null) => {}
            Some(Json::Array(filters)) if filters.is_empty() => {}
            Some(Json::Array(filters)) => {
                return Err(self.unread(format!("the filter {}", codec(&filters[0]))));
            }
            Some(other) => return Err(self.unread(format!("the filters {}", shown(other)))),
        }
        match self.json.get("order").and_then(Json::as_str) {
            Some("C") => {}
            Some("F") => return Err(self.unread("order F (first dimension fastest)".to_owned())),
            _ => return Err(self.wrong("order", "\"C\"".to_owned())),
        }
        match self.json.get("dimension_separator") {
            None | Some(Json::Null) => Ok(()),
            Some(Json::String(separator)) if separator == "." => Ok(()),
            Some(other) => Err(self.unread(format!("the dimension_separator {}", shown(other)))),
        }
    }

    fn sizes(&self, field: &'static str) -> Result<Vec<u64>, ZarrError> {
        let items =
            self.json.get(field).and_then(Json::as_array).filter(|items| items.len() <= MAX_DIMENSIONS);
        let sizes = items.and_then(|items| items.iter().map(Json::as_u64).collect());
        sizes.ok_or_else(|| self.wrong(field, format!("a list of at most {MAX_DIMENSIONS} sizes")))
    }

    /// NumPy's little-endian types, and those that are not NumPy's, which Megatron-LM and tensorstore write by name.
    fn dtype(&self) -> Result<DType, ZarrError> {
        let Some(stated) = self.json.get("dtype").filter(|dtype| !dtype.is_null()) else {
            return Err(self.wrong("dtype", "an element type".to_owned()));
        };
        Ok(match stated.as_str() {
            Some("<f8") => DType::F64,
            Some("<f4") => DType::F32,
            Some("<f2") => DType::F16,
            Some("bfloat16") => DType::BF16,
            Some("<i8") => DType::I64,
            Some("<i4") => DType::I32,
            Some("<i2") => DType::I16,
            Some("|i1") => DType::I8,
            Some("|u1") => DType::U8,
            Some("|b1") => DType::Bool,
            Some("float8_e4m3fn") => DType::F8E4M3,
            Some("float8_e5m2") => DType::F8E5M2,
            _ => {
                return Err(
                    self.unread(format!("elements of type {}, which are not converted", shown(stated)))
                );
            }
        })
    }
}

/// The name of a compressor or filter.
fn codec(json: &Json) -> String {
    json.get("id").map_or_else(|| shown(json), shown)
}

/// A value as the file has it; of a long one the beginning.
fn shown(json: &Json) -> String {
    const SHOWN: usize = 60;
    let text = json.to_string();
    match text.char_indices().nth(SHOWN) {
        None => text,
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn array(shape: &[u64], chunks: &[u64]) -> Result<ZarrArray, ZarrError> {
        let json =
            json!({ "zarr_format": 2, "shape": shape, "chunks": chunks, "dtype": "<f4", "order": "C" });
        ZarrArray::read(&json, "w")
    }

    fn names(array: &ZarrArray) -> Vec<String> {
        let mut names = Vec::new();
        let visited: Result<(), ()> = array.each_chunk(|at| {
            names.push(chunk_name(at));
            Ok(())
        });
        assert_eq!(visited, Ok(()));
        assert!(names.iter().all(|name| array.has_chunk(name)));
        names
    }

    #[test]
    fn grids_cover_what_is_no_multiple_of_a_chunk() {
        assert_eq!(names(&array(&[5, 3], &[2, 3]).expect("sound")), ["0.0", "1.0", "2.0"]);
        assert_eq!(names(&array(&[2, 4], &[9, 2]).expect("sound")), ["0.0", "0.1"]);
        assert_eq!(names(&array(&[], &[]).expect("sound")), ["0"]);
        assert!(names(&array(&[2, 0, 3], &[1, 1, 1]).expect("sound")).is_empty());
    }

    #[test]
    fn names_of_other_chunks_are_told_apart() {
        let array = array(&[5, 3], &[2, 3]).expect("sound");
        for other in ["3.0", "0.1", "0", "0.0.0", "00.0", "0.", "", ".0", "a.0", "99999999999999999999.0"] {
            assert!(!array.has_chunk(other), "{other}");
        }
    }

    #[test]
    fn sizes_past_64_bits_are_errors() {
        assert!(array(&[4], &[1 << 62]).is_err());
        assert!(array(&[1 << 40, 1 << 40], &[1 << 40, 1 << 40]).is_err());
        assert!(array(&[3], &[0]).is_err());
        assert!(array(&[3], &[1, 1]).is_err());
        let huge = array(&[1 << 60], &[1]).expect("only large");
        assert_eq!(huge.each_chunk(|at| if at == [3] { Err(3) } else { Ok(()) }), Err(3));
    }
}
