//! Files as `torch.save` writes them: a zip archive with a pickle and one record a storage.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use crate::pickle::Py;

/// Element types that tests need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dtype {
    /// 64-bit float.
    F64,
    /// 32-bit float.
    F32,
    /// 16-bit float.
    F16,
    /// Upper half of a 32-bit float.
    BF16,
    /// 64-bit integer.
    I64,
    /// 32-bit integer.
    I32,
    /// 16-bit integer.
    I16,
    /// 8-bit integer.
    I8,
    /// 8-bit integer without a sign.
    U8,
    /// Pair of 32-bit floats.
    C64,
}

impl Dtype {
    pub(crate) fn storage_class(self) -> &'static str {
        match self {
            Dtype::F64 => "DoubleStorage",
            Dtype::F32 => "FloatStorage",
            Dtype::F16 => "HalfStorage",
            Dtype::BF16 => "BFloat16Storage",
            Dtype::I64 => "LongStorage",
            Dtype::I32 => "IntStorage",
            Dtype::I16 => "ShortStorage",
            Dtype::I8 => "CharStorage",
            Dtype::U8 => "ByteStorage",
            Dtype::C64 => "ComplexFloatStorage",
        }
    }

    /// Bytes of an element.
    #[must_use]
    pub fn size(self) -> usize {
        match self {
            Dtype::I8 | Dtype::U8 => 1,
            Dtype::F16 | Dtype::BF16 | Dtype::I16 => 2,
            Dtype::F32 | Dtype::I32 => 4,
            Dtype::F64 | Dtype::I64 | Dtype::C64 => 8,
        }
    }
}

/// A tensor as a view of a storage; sizes in elements.
#[derive(Clone, Debug)]
pub struct TensorSpec {
    /// Element type.
    pub dtype: Dtype,
    /// Key of the storage.
    pub storage: String,
    /// Elements that the storage is said to have.
    pub storage_elements: usize,
    /// First element.
    pub offset: usize,
    /// Sizes.
    pub shape: Vec<usize>,
    /// Steps.
    pub strides: Vec<usize>,
}

/// A torch file in the making.
#[derive(Debug, Default)]
pub struct TorchFile {
    storages: Vec<(String, Bytes)>,
}

/// What a storage holds.
#[derive(Clone, Debug)]
enum Bytes {
    /// So many bytes of noise, by a seed.
    Noise(usize, u64),
    Given(Vec<u8>),
}

impl TorchFile {
    /// Adds a storage of pseudo-random elements with finite values, and a row-major tensor over it.
    pub fn tensor(&mut self, dtype: Dtype, shape: &[usize]) -> Py {
        let elements: usize = shape.iter().product();
        let key = self.storages.len().to_string();
        let noise = Bytes::Noise(elements * dtype.size(), self.storages.len() as u64 + 1);
        self.storages.push((key.clone(), noise));
        let mut strides = vec![1; shape.len()];
        for i in (1..shape.len()).rev() {
            strides[i - 1] = strides[i] * shape[i];
        }
        Py::Tensor(TensorSpec {
            dtype,
            storage: key,
            storage_elements: elements,
            offset: 0,
            shape: shape.to_vec(),
            strides,
        })
    }

    /// Adds a storage of these bytes, and a tensor that is a view of it.
    pub fn view(
        &mut self,
        dtype: Dtype,
        bytes: Vec<u8>,
        offset: usize,
        shape: &[usize],
        strides: &[usize],
    ) -> Py {
        let key = self.storages.len().to_string();
        let storage_elements = bytes.len() / dtype.size();
        self.storages.push((key.clone(), Bytes::Given(bytes)));
        let (shape, strides) = (shape.to_vec(), strides.to_vec());
        Py::Tensor(TensorSpec { dtype, storage: key, storage_elements, offset, shape, strides })
    }

    /// Adds a storage with the same elements as those of `tensor`, and a tensor over it.
    ///
    /// # Panics
    /// Where `tensor` is no tensor of this file.
    pub fn twin(&mut self, tensor: &Py) -> Py {
        let Py::Tensor(spec) = tensor else { panic!("{tensor:?} is no tensor") };
        let found = self.storages.iter().find(|(key, _)| *key == spec.storage);
        let (_, bytes) = found.expect("the tensor is of this file").clone();
        let key = self.storages.len().to_string();
        self.storages.push((key.clone(), bytes));
        Py::Tensor(TensorSpec { storage: key, ..spec.clone() })
    }

    /// Writes the file with `root` as its value.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn write(&self, path: &Path, root: &Py) -> io::Result<()> {
        let options =
            SimpleFileOptions::default().compression_method(CompressionMethod::Stored).large_file(true);
        let mut zip = ZipWriter::new(BufWriter::with_capacity(1 << 20, File::create(path)?));
        zip.start_file("archive/data.pkl", options)?;
        zip.write_all(&root.dump())?;
        zip.start_file("archive/byteorder", options)?;
        zip.write_all(b"little")?;
        for (key, bytes) in &self.storages {
            zip.start_file(format!("archive/data/{key}"), options.with_alignment(64))?;
            match bytes {
                Bytes::Noise(bytes, seed) => noise(&mut zip, *bytes, *seed)?,
                Bytes::Given(bytes) => zip.write_all(bytes)?,
            }
        }
        zip.start_file("archive/version", options)?;
        zip.write_all(b"3\n")?;
        zip.finish()?.flush()
    }
}

/// Bytes whose 16-bit halves are no NaN in f16, bf16 or f32.
fn noise(out: &mut impl Write, bytes: usize, seed: u64) -> io::Result<()> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut buffer = Vec::with_capacity(1 << 16);
    let mut left = bytes;
    while left > 0 {
        buffer.clear();
        while buffer.len() < left.min(1 << 16) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            buffer.extend((state & 0xbbff_bbff_bbff_bbff).to_le_bytes());
        }
        let now = buffer.len().min(left);
        out.write_all(&buffer[..now])?;
        left -= now;
    }
    Ok(())
}
