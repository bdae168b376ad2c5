//! The directory of a zip archive, read from bytes that lie in memory.
//!
//! Follows APPNOTE.TXT 6.3.10 (<https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT>), as far as
//! one-volume archives go. Sizes come from the central directory; where an entry's data starts comes from its
//! local header, because torch pads that header to align the data. After reading, all entries lie
//! inside the file and no two share a byte.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::ops::Range;

use flate2::read::DeflateDecoder;

use crate::output::free_bytes;
use crate::storage::Region;

/// Deflate cannot expand by more than this (RFC 1951: 258 bytes from 2 bits).
const MAX_DEFLATE_RATIO: u64 = 1032;

/// Number of the method deflate, in APPNOTE 4.4.5.
const DEFLATED: u16 = 8;

/// What is wrong with a zip archive.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// No end-of-central-directory record that fits the file.
    #[error("the zip archive has no directory at its end; the file is damaged or truncated: fetch it again")]
    NoDirectory,
    /// A record of the archive's directory is not where or what it should be.
    #[error(
        "the zip archive's directory is damaged at byte {at} ({what}); the file is damaged or truncated: \
         fetch it again"
    )]
    Directory {
        /// Byte offset in the archive.
        at: u64,
        /// What does not fit.
        what: &'static str,
    },
    /// The archive is cut into several volumes.
    #[error("the zip archive is cut into several volumes; join them into one file first")]
    Volumes,
    /// Two entries have one name.
    #[error("the zip archive holds two entries named `{name}`; write it again without the duplicate")]
    Duplicate {
        /// The name of both.
        name: String,
    },
    /// Two entries claim the same bytes.
    #[error(
        "entries `{first}` and `{second}` of the zip archive overlap; the file is damaged or made to deceive: \
         fetch it again from a source you trust"
    )]
    Overlap {
        /// The entry that starts first.
        first: String,
        /// The entry that starts before the first has ended.
        second: String,
    },
    /// The entry is encrypted.
    #[error("entry `{name}` of the zip archive is encrypted; unpack it first")]
    Encrypted {
        /// Name of the entry.
        name: String,
    },
    /// The entry is compressed by a method that is not read here.
    #[error(
        "entry `{name}` of the zip archive is compressed by method {method}; only stored and deflated entries are \
         read: unpack it first"
    )]
    Method {
        /// Name of the entry.
        name: String,
        /// Number of the method in APPNOTE 4.4.5.
        method: u16,
    },
    /// A deflated entry that does not inflate to what the directory says.
    #[error(
        "entry `{name}` of the zip archive cannot be inflated ({what}); the file is damaged: fetch it again"
    )]
    Inflate {
        /// Name of the entry.
        name: String,
        /// What went wrong.
        what: String,
    },
    /// The temporary file for inflated entries could not be written.
    #[error(
        "entry `{name}` of the zip archive cannot be inflated to a temporary file: {source}; free space in {}, \
         or set TMPDIR to a roomier place",
        std::env::temp_dir().display()
    )]
    Temporary {
        /// Name of the entry.
        name: String,
        /// The cause.
        source: io::Error,
    },
}

/// How an entry's bytes are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// As they are.
    Stored,
    /// Compressed by deflate.
    Deflated,
}

#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) name: String,
    /// Where the (packed) data lies in the archive.
    pub(crate) data: Range<u64>,
    /// Length when unpacked.
    pub(crate) size: u64,
    method: u16,
    encrypted: bool,
    crc32: u32,
    header: u64,
}

impl Entry {
    pub(crate) fn is_directory(&self) -> bool {
        self.name.ends_with('/')
    }

    pub(crate) fn packing(&self) -> Result<Packing, ArchiveError> {
        if self.encrypted {
            return Err(ArchiveError::Encrypted { name: self.name.clone() });
        }
        match self.method {
            0 => Ok(Packing::Stored),
            DEFLATED => Ok(Packing::Deflated),
            method => Err(ArchiveError::Method { name: self.name.clone(), method }),
        }
    }
}

/// A zip archive's entries, in the order of its directory.
#[derive(Debug)]
pub(crate) struct Archive {
    region: Region,
    entries: Vec<Entry>,
    by_name: HashMap<String, usize>,
}

impl Archive {
    /// Reads the directory of the archive that fills `region`.
    pub(crate) fn read(region: Region) -> Result<Archive, ArchiveError> {
        let bytes = region.bytes();
        let end = find_end(bytes)?;
        let entries = read_entries(bytes, &end)?;
        check_overlaps(&entries)?;
        let mut by_name = HashMap::with_capacity(entries.len());
        for (at, entry) in entries.iter().enumerate() {
            if by_name.insert(entry.name.clone(), at).is_some() {
                return Err(ArchiveError::Duplicate { name: entry.name.clone() });
            }
        }
        Ok(Archive { region, entries, by_name })
    }

    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    pub(crate) fn entry(&self, name: &str) -> Option<&Entry> {
        self.by_name.get(name).map(|&at| &self.entries[at])
    }

    /// The first `count` bytes of an entry, unpacked; fewer where it is shorter or cannot be unpacked.
    pub(crate) fn peek(&self, entry: &Entry, count: usize) -> Vec<u8> {
        let mut head = Vec::new();
        let packed = self.packed(entry);
        // What cannot be unpacked shows as a short head; whoever opens the entry gets the error.
        match entry.packing() {
            Ok(Packing::Stored) => head.extend_from_slice(&packed[..packed.len().min(count)]),
            Ok(Packing::Deflated) => {
                let _ = DeflateDecoder::new(packed).take(count as u64).read_to_end(&mut head);
            }
            Err(_) => {}
        }
        head
    }

    /// The bytes of each of `entries`: in place where stored, else inflated to one unlinked temporary file.
    pub(crate) fn unpack(&self, entries: &[&Entry]) -> Result<Vec<Region>, ArchiveError> {
        let mut inflated = Inflated::default();
        check_room(entries)?;
        let mut places = Vec::with_capacity(entries.len());
        for entry in entries {
            places.push(match entry.packing()? {
                Packing::Stored => None,
                Packing::Deflated => Some(inflated.add(entry, self.packed(entry))?),
            });
        }
        let temporary = inflated.finish()?;
        let regions = entries.iter().zip(places).map(|(entry, place)| match place {
            None => self.region.slice(entry.data.clone()),
            Some(range) => {
                let packed = (entry.data.end - entry.data.start).min(self.region.packed_len());
                temporary.slice(range).map(|region| region.unpacked_from(packed))
            }
        });
        Ok(regions.map(|r| r.expect("bug: extents were checked when the directory was read")).collect())
    }

    fn packed(&self, entry: &Entry) -> &[u8] {
        let range = to_usize(entry.data.start)..to_usize(entry.data.end);
        &self.region.bytes()[range]
    }
}

fn to_usize(offset: u64) -> usize {
    usize::try_from(offset).expect("bug: an offset inside a slice was not checked against its length")
}

/// Checks that the temporary directory has room for those of `entries` that are inflated, before any is.
fn check_room(entries: &[&Entry]) -> Result<(), ArchiveError> {
    let deflated = || entries.iter().filter(|entry| entry.method == DEFLATED);
    let needed = deflated().fold(0u64, |sum, entry| sum.saturating_add(entry.size));
    match (deflated().max_by_key(|entry| entry.size), free_bytes(&std::env::temp_dir())) {
        (Some(largest), Some(free)) if needed > free => Err(ArchiveError::Temporary {
            name: largest.name.clone(),
            source: io::Error::new(
                io::ErrorKind::StorageFull,
                format!("{needed} bytes are needed for all entries, {free} are free"),
            ),
        }),
        _ => Ok(()),
    }
}

/// Inflated entries, one after the other in one temporary file.
#[derive(Default)]
struct Inflated {
    file: Option<io::BufWriter<std::fs::File>>,
    len: u64,
    last: String,
}

impl Inflated {
    fn add(&mut self, entry: &Entry, packed: &[u8]) -> Result<Range<u64>, ArchiveError> {
        let damaged = |what: String| ArchiveError::Inflate { name: entry.name.clone(), what };
        let io = |source| ArchiveError::Temporary { name: entry.name.clone(), source };
        if entry.size > (packed.len() as u64).saturating_mul(MAX_DEFLATE_RATIO).saturating_add(64) {
            return Err(damaged(format!("{} bytes cannot expand to {}", packed.len(), entry.size)));
        }
        self.last.clone_from(&entry.name);
        if self.file.is_none() {
            self.file = Some(io::BufWriter::with_capacity(1 << 20, tempfile::tempfile().map_err(io)?));
        }
        let file = self.file.as_mut().expect("bug: the file was made above");
        let mut decoder = DeflateDecoder::new(packed);
        let mut crc = flate2::Crc::new();
        let mut buffer = vec![0; 1 << 16];
        let start = self.len;
        loop {
            let count = decoder.read(&mut buffer).map_err(|e| damaged(e.to_string()))?;
            if count == 0 {
                break;
            }
            self.len += count as u64;
            if self.len - start > entry.size {
                return Err(damaged(format!("it expands to more than the {} bytes it should", entry.size)));
            }
            crc.update(&buffer[..count]);
            file.write_all(&buffer[..count]).map_err(io)?;
        }
        if self.len - start != entry.size {
            return Err(damaged(format!("it expands to {} bytes, not {}", self.len - start, entry.size)));
        }
        if crc.sum() != entry.crc32 {
            return Err(damaged("its checksum differs".to_owned()));
        }
        Ok(start..self.len)
    }

    fn finish(self) -> Result<Region, ArchiveError> {
        let Some(file) = self.file else { return Ok(Region::owned(Vec::new())) };
        let name = self.last;
        file.into_inner()
            .map_err(io::IntoInnerError::into_error)
            .and_then(|file| Region::map(&file))
            .map_err(|source| ArchiveError::Temporary { name, source })
    }
}

// ------------------------------------------------------------------------------------------------

const END: u32 = 0x0605_4b50;
const END64: u32 = 0x0606_4b50;
const LOCATOR64: u32 = 0x0706_4b50;
const CENTRAL: u32 = 0x0201_4b50;
const LOCAL: u32 = 0x0403_4b50;

const END_LEN: usize = 22;
const LOCATOR64_LEN: usize = 20;

/// Where the central directory lies.
struct Directory {
    start: u64,
    end: u64,
    count: u64,
}

fn damaged(at: u64, what: &'static str) -> ArchiveError {
    ArchiveError::Directory { at, what }
}

fn field<const N: usize>(bytes: &[u8], at: u64) -> Option<[u8; N]> {
    let at = usize::try_from(at).ok()?;
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

fn u16_at(bytes: &[u8], at: u64) -> Option<u16> {
    field(bytes, at).map(u16::from_le_bytes)
}

fn u32_at(bytes: &[u8], at: u64) -> Option<u32> {
    field(bytes, at).map(u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: u64) -> Option<u64> {
    field(bytes, at).map(u64::from_le_bytes)
}

fn find_end(bytes: &[u8]) -> Result<Directory, ArchiveError> {
    let last = bytes.len().checked_sub(END_LEN).ok_or(ArchiveError::NoDirectory)?;
    let first = last.saturating_sub(usize::from(u16::MAX));
    // The record ends with a comment of up to 64 KiB, which fills the rest of the file.
    let at = (first..=last)
        .rev()
        .find(|&at| {
            let at = at as u64;
            u32_at(bytes, at) == Some(END)
                && u16_at(bytes, at + 20).map(u64::from) == Some(bytes.len() as u64 - at - END_LEN as u64)
        })
        .ok_or(ArchiveError::NoDirectory)? as u64;
    read_end(bytes, at).ok_or(damaged(at, "end record"))?
}

fn read_end(bytes: &[u8], at: u64) -> Option<Result<Directory, ArchiveError>> {
    let (disk, start_disk) = (u16_at(bytes, at + 4)?, u16_at(bytes, at + 6)?);
    let (mut count, mut len) = (u64::from(u16_at(bytes, at + 10)?), u64::from(u32_at(bytes, at + 12)?));
    let mut start = u64::from(u32_at(bytes, at + 16)?);
    let mut end = at;
    let locator = at.checked_sub(LOCATOR64_LEN as u64).filter(|&l| u32_at(bytes, l) == Some(LOCATOR64));
    if let Some(locator) = locator {
        let record = u64_at(bytes, locator + 8)?;
        if record >= locator || u32_at(bytes, record)? != END64 {
            return Some(Err(damaged(locator, "zip64 locator")));
        }
        count = u64_at(bytes, record + 32)?;
        len = u64_at(bytes, record + 40)?;
        start = u64_at(bytes, record + 48)?;
        end = record;
    } else if disk != start_disk || (disk != 0 && disk != u16::MAX) {
        return Some(Err(ArchiveError::Volumes));
    }
    // Exactly adjacent: otherwise this is the end of another archive, such as one inside a cut-off one.
    if start.checked_add(len) != Some(end) {
        return Some(Err(damaged(at, "the directory does not lie where the end record says")));
    }
    Some(Ok(Directory { start, end, count }))
}

fn read_entries(bytes: &[u8], directory: &Directory) -> Result<Vec<Entry>, ArchiveError> {
    let mut entries = Vec::new();
    let mut at = directory.start;
    while at < directory.end {
        let (entry, next) = read_entry(bytes, at, directory.start).ok_or(damaged(at, "entry"))??;
        if next > directory.end {
            return Err(damaged(at, "entry runs past the directory"));
        }
        entries.push(entry);
        at = next;
    }
    // Without zip64 the count is kept modulo 65536.
    if entries.len() as u64 & 0xffff != directory.count & 0xffff {
        return Err(damaged(directory.start, "the number of entries differs"));
    }
    Ok(entries)
}

/// The entry described at `at` in the central directory, and where the next one is described.
fn read_entry(bytes: &[u8], at: u64, limit: u64) -> Option<Result<(Entry, u64), ArchiveError>> {
    if u32_at(bytes, at)? != CENTRAL {
        return None;
    }
    let flags = u16_at(bytes, at + 8)?;
    let method = u16_at(bytes, at + 10)?;
    let crc32 = u32_at(bytes, at + 16)?;
    let name_len = u64::from(u16_at(bytes, at + 28)?);
    let extra_len = u64::from(u16_at(bytes, at + 30)?);
    let comment_len = u64::from(u16_at(bytes, at + 32)?);
    let name_at = at + 46;
    let extra_at = name_at + name_len;
    let next = extra_at + extra_len + comment_len;
    let raw_name = bytes.get(usize::try_from(name_at).ok()?..usize::try_from(extra_at).ok()?)?;
    let extra = bytes.get(usize::try_from(extra_at).ok()?..usize::try_from(extra_at + extra_len).ok()?)?;

    let mut size = u64::from(u32_at(bytes, at + 24)?);
    let mut packed = u64::from(u32_at(bytes, at + 20)?);
    let mut header = u64::from(u32_at(bytes, at + 42)?);
    widen(extra, [&mut size, &mut packed, &mut header])?;

    if u32_at(bytes, header)? != LOCAL {
        return Some(Err(damaged(header, "local header")));
    }
    let local_name = u64::from(u16_at(bytes, header.checked_add(26)?)?);
    let local_extra = u64::from(u16_at(bytes, header.checked_add(28)?)?);
    let start = header.checked_add(30)?.checked_add(local_name)?.checked_add(local_extra)?;
    let end = start.checked_add(packed)?;
    if end > limit || (method == 0 && packed != size) {
        return Some(Err(damaged(at, "the extent of an entry")));
    }
    let name = String::from_utf8_lossy(raw_name).into_owned();
    let entry = Entry { name, data: start..end, size, method, encrypted: flags & 1 != 0, crc32, header };
    Some(Ok((entry, next)))
}

/// Takes 64-bit values from the zip64 extra field for those that are all ones in the fixed part.
fn widen(mut extra: &[u8], fields: [&mut u64; 3]) -> Option<()> {
    let missing = u64::from(u32::MAX);
    if fields.iter().all(|f| **f != missing) {
        return Some(());
    }
    while extra.len() >= 4 {
        let (id, len) = (u16_at(extra, 0)?, usize::from(u16_at(extra, 2)?));
        let body = extra.get(4..4 + len)?;
        if id == 1 {
            let mut at = 0;
            for field in fields {
                if *field == missing {
                    *field = u64_at(body, at)?;
                    at += 8;
                }
            }
            return Some(());
        }
        extra = &extra[4 + len..];
    }
    None
}

fn check_overlaps(entries: &[Entry]) -> Result<(), ArchiveError> {
    let mut order: Vec<&Entry> = entries.iter().collect();
    order.sort_by_key(|e| e.header);
    for pair in order.windows(2) {
        if pair[0].data.end > pair[1].header {
            let (first, second) = (pair[0].name.clone(), pair[1].name.clone());
            return Err(ArchiveError::Overlap { first, second });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An archive of one stored entry, `x` with content `12345`, whose numbers are all in the zip64 fields.
    fn zip64() -> Vec<u8> {
        let local =
            [b"PK\x03\x04\x2d\0\0\0\0\0\0\0\0\0".to_vec(), vec![0; 12], b"\x01\0\x04\0x".to_vec()].concat();
        let mut archive = [local, b"\xfe\xca\0\0".to_vec(), b"12345".to_vec()].concat();
        let directory = archive.len() as u64;
        let missing = [0xff; 4];
        archive.extend(b"PK\x01\x02\x2d\0\x2d\0\0\0\0\0\0\0\0\0\0\0\0\0");
        archive.extend([missing, missing].concat());
        archive.extend(b"\x01\0\x20\0\0\0\0\0\0\0\0\0\0\0");
        archive.extend(missing);
        // An extra field of another kind comes before that of zip64.
        archive.extend(b"x\xfe\xca\0\0\x01\0\x18\0");
        for number in [5u64, 5, 0] {
            archive.extend(number.to_le_bytes());
        }
        let end = archive.len() as u64;
        archive.extend(b"PK\x06\x06");
        archive.extend(44u64.to_le_bytes());
        archive.extend([0; 12]);
        for number in [1, 1, end - directory, directory] {
            archive.extend(number.to_le_bytes());
        }
        archive.extend(b"PK\x06\x07\0\0\0\0");
        archive.extend(end.to_le_bytes());
        archive.extend(1u32.to_le_bytes());
        archive.extend([b"PK\x05\x06\0\0\0\0".to_vec(), vec![0xff; 12], vec![0; 2]].concat());
        archive
    }

    #[test]
    fn wide_numbers_are_read() {
        let bytes = zip64();
        let archive = Archive::read(Region::owned(bytes)).expect("a good archive");
        let entry = archive.entry("x").expect("its entry");
        let content = archive.unpack(&[entry]).expect("a stored entry");
        assert_eq!(content[0].bytes(), b"12345");
        assert_eq!(archive.peek(entry, 3), b"123");
    }

    #[test]
    fn wide_numbers_are_checked() {
        // Of sizes, offset, position of the directory and the like, none may be any other number.
        let good = zip64();
        for field in
            good.windows(8).enumerate().filter(|(_, w)| [5, 0, 95].contains(&w[0]) && w[1..] == [0; 7])
        {
            let mut bad = good.clone();
            bad[field.0 + 6] = 0x7f;
            if let Ok(archive) = Archive::read(Region::owned(bad)) {
                let entry = &archive.entries()[0];
                assert_eq!((entry.data.end - entry.data.start, entry.size), (5, 5));
            }
        }
        let position = good.len() - END_LEN - LOCATOR64_LEN + 8;
        for wrong in [u64::MAX, good.len() as u64, 0] {
            let mut bad = good.clone();
            bad[position..position + 8].copy_from_slice(&wrong.to_le_bytes());
            let error = Archive::read(Region::owned(bad)).expect_err("the end record is elsewhere");
            assert!(matches!(error, ArchiveError::Directory { .. }), "{error}");
        }
    }
}
