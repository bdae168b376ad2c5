//! Text files beside checkpoints: read whole, so only regular files of a length that such a file can have.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// The bytes of the regular file at `path`, at most `most` of them. Links are followed.
///
/// # Errors
/// Whatever asking for its kind, opening or reading it fails with; `InvalidInput` where it is no regular file, and
/// `FileTooLarge` where it is longer than `most`.
pub fn read_text_file(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    // Opening a named pipe would wait for a writer, so the kind is asked for first.
    let metadata = path.metadata()?;
    if metadata.is_dir() {
        return Err(io::Error::new(io::ErrorKind::IsADirectory, "it is a directory"));
    }
    if !metadata.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
    }
    if metadata.len() > most {
        return Err(too_long(most));
    }
    let mut bytes = Vec::new();
    // Files of /proc have length 0 and no end.
    File::open(path)?.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most { Err(too_long(most)) } else { Ok(bytes) }
}

fn too_long(most: u64) -> io::Error {
    let most = match most {
        0..1_048_576 => format!("{most} bytes"),
        _ => format!("{} MiB", most >> 20),
    };
    io::Error::new(
        io::ErrorKind::FileTooLarge,
        format!("it is longer than {most}, far more than such a file holds; fetch it again"),
    )
}

/// Why a text is not taken as JSON.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JsonError {
    /// It is none.
    #[error("{0}")]
    Syntax(#[from] serde_json::Error),
    /// It would take far more memory than its purpose explains.
    #[error("it holds more than {0} values")]
    Values(usize),
}

/// Reads JSON of at most `most` values.
pub(crate) fn parse_json(text: &[u8], most: usize) -> Result<serde_json::Value, JsonError> {
    if count_values(text) > most {
        return Err(JsonError::Values(most));
    }
    Ok(serde_json::from_slice(text)?)
}

/// How many values a JSON text can hold at most: as many as there are commas and opening brackets, and one.
pub(crate) fn count_values(text: &[u8]) -> usize {
    let mut count = 1;
    let mut bytes = text.iter();
    let mut in_string = false;
    while let Some(byte) = bytes.next() {
        match (in_string, byte) {
            (true, b'\\') => drop(bytes.next()),
            (_, b'"') => in_string = !in_string,
            (false, b',' | b'[' | b'{') => count += 1,
            _ => {}
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_counted_before_any_is_made() {
        assert_eq!(count_values(br#"{"a, [b": [1, 2, "\"," ], "c": {}}"#), 7);
        assert!(matches!(parse_json(b"[[],[],[]]", 4), Err(JsonError::Values(4))));
        assert_eq!(parse_json(b"[1, 2]", 4).expect("it is JSON"), serde_json::json!([1, 2]));
    }

    #[test]
    fn long_files_are_not_read() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("x");
        std::fs::write(&file, "12345").expect("written");
        assert_eq!(read_text_file(&file, 5).expect("it is read"), b"12345");
        let error = read_text_file(&file, 4).expect_err("it is too long");
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
    }

    #[cfg(unix)]
    #[test]
    fn pipes_and_devices_are_not_opened() {
        let directory = tempfile::tempdir().expect("a directory");
        let link = directory.path().join("endless");
        std::os::unix::fs::symlink("/dev/zero", &link).expect("linked");
        let kinds = [io::ErrorKind::InvalidInput, io::ErrorKind::IsADirectory];
        for (path, kind) in [link.as_path(), directory.path()].into_iter().zip(kinds) {
            let error = read_text_file(path, 1 << 20).expect_err("it is no regular file");
            assert_eq!(error.kind(), kind, "{}", path.display());
        }
    }
}
