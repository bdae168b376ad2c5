//! A pickle of protocol 2, byte for byte what CPython's C pickler makes of the same objects for `torch.save`.
//!
//! Everything that pickler would put into its memo is put there, though only strings and names are fetched again.

use std::collections::HashMap;

use super::{MAX_DEPTH, Saved, Storages};
use crate::output::{OutputError, TensorSpec};
use crate::pickle::opcode;
use crate::torch::{dtype_name, storage_class};

/// Entries that one opcode adds to a container; unpicklers hold as many on their stack.
const BATCH: usize = 1000;

/// The pickle of `root`; the tensors in it are added to `storages`.
pub(super) fn write<'a>(
    file: &'a str,
    root: &'a Saved,
    storages: &mut Storages<'a>,
) -> Result<Vec<u8>, OutputError> {
    let mut pickler = Pickler {
        file,
        bytes: vec![opcode::PROTO, 2],
        texts: HashMap::new(),
        globals: HashMap::new(),
        memo: 0,
        depth: 0,
        storages,
    };
    pickler.value(root)?;
    pickler.bytes.push(opcode::STOP);
    Ok(pickler.bytes)
}

struct Pickler<'a, 's> {
    file: &'a str,
    bytes: Vec<u8>,
    /// Memo numbers of strings.
    texts: HashMap<String, u32>,
    /// Memo numbers of classes, functions and dtypes, by module and name.
    globals: HashMap<(&'static str, &'static str), u32>,
    /// Objects in the memo.
    memo: u32,
    /// Containers that are open.
    depth: usize,
    storages: &'s mut Storages<'a>,
}

impl<'a> Pickler<'a, '_> {
    fn value(&mut self, value: &'a Saved) -> Result<(), OutputError> {
        match value {
            Saved::None => self.op(opcode::NONE),
            Saved::Bool(truth) => self.truth(*truth),
            Saved::Int(number) => self.int(*number),
            Saved::Float(number) => {
                self.op(opcode::BINFLOAT);
                self.bytes.extend(number.to_be_bytes());
            }
            Saved::Text(text) => self.text(text)?,
            Saved::DType(dtype) => self.global("torch", dtype_name(*dtype))?,
            Saved::Tensor(spec) => self.tensor(spec)?,
            Saved::List(_)
            | Saved::Tuple(_)
            | Saved::Dict(_)
            | Saved::OrderedDict(_)
            | Saved::Namespace(_) => {
                self.depth += 1;
                if self.depth > MAX_DEPTH {
                    return Err(OutputError::Deep { file: self.file.to_owned(), limit: MAX_DEPTH });
                }
                self.container(value)?;
                self.depth -= 1;
            }
        }
        Ok(())
    }

    fn container(&mut self, value: &'a Saved) -> Result<(), OutputError> {
        match value {
            Saved::List(items) => self.list(items),
            Saved::Tuple(items) => {
                self.open_tuple(items.len());
                for item in items {
                    self.value(item)?;
                }
                self.close_tuple(items.len())
            }
            Saved::Dict(entries) => self.dict(entries),
            Saved::OrderedDict(entries) => {
                self.empty_ordered_dict()?;
                self.entries(entries)
            }
            Saved::Namespace(attributes) => {
                self.global("argparse", "Namespace")?;
                self.op(opcode::EMPTY_TUPLE);
                self.op(opcode::NEWOBJ);
                self.put()?;
                self.dict(attributes)?;
                self.op(opcode::BUILD);
                Ok(())
            }
            _ => unreachable!("bug: a scalar was taken for a container"),
        }
    }

    fn list(&mut self, items: &'a [Saved]) -> Result<(), OutputError> {
        self.op(opcode::EMPTY_LIST);
        self.put()?;
        for batch in items.chunks(BATCH) {
            if let [item] = batch {
                self.value(item)?;
                self.op(opcode::APPEND);
                continue;
            }
            self.op(opcode::MARK);
            for item in batch {
                self.value(item)?;
            }
            self.op(opcode::APPENDS);
        }
        Ok(())
    }

    fn dict(&mut self, entries: &'a [(String, Saved)]) -> Result<(), OutputError> {
        self.op(opcode::EMPTY_DICT);
        self.put()?;
        self.entries(entries)
    }

    fn entries(&mut self, entries: &'a [(String, Saved)]) -> Result<(), OutputError> {
        for batch in entries.chunks(BATCH) {
            if batch.len() > 1 {
                self.op(opcode::MARK);
            }
            for (key, value) in batch {
                self.text(key)?;
                self.value(value)?;
            }
            self.op(if batch.len() > 1 { opcode::SETITEMS } else { opcode::SETITEM });
        }
        Ok(())
    }

    /// The call that makes a contiguous tensor of a whole storage.
    fn tensor(&mut self, spec: &'a TensorSpec) -> Result<(), OutputError> {
        let too_large = || OutputError::TooLarge { name: spec.name.clone() };
        let bytes = spec.bytes()?;
        let shape: Option<Vec<i64>> = spec.shape.iter().map(|&size| i64::try_from(size).ok()).collect();
        let shape = shape.ok_or_else(too_large)?;
        let strides = strides(&shape).ok_or_else(too_large)?;
        let key = self.storages.key(spec)?.to_string();
        let class = storage_class(spec.dtype);
        let function = if class.is_some() { "_rebuild_tensor_v2" } else { "_rebuild_tensor_v3" };
        let elements = bytes / spec.dtype.size() as u64;

        self.global("torch._utils", function)?;
        self.op(opcode::MARK);
        self.op(opcode::MARK);
        self.text("storage")?;
        match class {
            Some(class) => self.global("torch", class)?,
            // Its length is in bytes; dtypes without a class of their own have one byte an element.
            None => self.global("torch.storage", "UntypedStorage")?,
        }
        self.text(&key)?;
        self.text("cpu")?;
        self.int(i64::try_from(elements).map_err(|_| too_large())?);
        self.close_tuple(5)?;
        self.op(opcode::BINPERSID);
        self.int(0);
        self.ints(&shape)?;
        self.ints(&strides)?;
        self.truth(false);
        self.empty_ordered_dict()?;
        if class.is_none() {
            self.global("torch", dtype_name(spec.dtype))?;
        }
        self.close_tuple(if class.is_some() { 6 } else { 7 })?;
        self.op(opcode::REDUCE);
        self.put()
    }

    fn ints(&mut self, numbers: &[i64]) -> Result<(), OutputError> {
        self.open_tuple(numbers.len());
        for &number in numbers {
            self.int(number);
        }
        self.close_tuple(numbers.len())
    }

    fn empty_ordered_dict(&mut self) -> Result<(), OutputError> {
        self.global("collections", "OrderedDict")?;
        self.op(opcode::EMPTY_TUPLE);
        self.op(opcode::REDUCE);
        self.put()
    }

    fn open_tuple(&mut self, count: usize) {
        if count > 3 {
            self.op(opcode::MARK);
        }
    }

    fn close_tuple(&mut self, count: usize) -> Result<(), OutputError> {
        self.op(match count {
            0 => opcode::EMPTY_TUPLE,
            1 => opcode::TUPLE1,
            2 => opcode::TUPLE2,
            3 => opcode::TUPLE3,
            _ => opcode::TUPLE,
        });
        if count == 0 { Ok(()) } else { self.put() }
    }

    fn truth(&mut self, truth: bool) {
        self.op(if truth { opcode::NEWTRUE } else { opcode::NEWFALSE });
    }

    fn int(&mut self, number: i64) {
        if let Ok(byte) = u8::try_from(number) {
            self.bytes.extend([opcode::BININT1, byte]);
        } else if let Ok(short) = u16::try_from(number) {
            self.op(opcode::BININT2);
            self.bytes.extend(short.to_le_bytes());
        } else if let Ok(word) = i32::try_from(number) {
            self.op(opcode::BININT);
            self.bytes.extend(word.to_le_bytes());
        } else {
            let bytes = number.to_le_bytes();
            // Only as many bytes as the sign can be read from.
            let filler = if number < 0 { 0xff } else { 0 };
            let mut length = bytes.len();
            while bytes[length - 1] == filler && (bytes[length - 2] ^ filler) & 0x80 == 0 {
                length -= 1;
            }
            self.bytes.extend([opcode::LONG1, length as u8]);
            self.bytes.extend(&bytes[..length]);
        }
    }

    fn text(&mut self, text: &str) -> Result<(), OutputError> {
        if let Some(&number) = self.texts.get(text) {
            self.get(number);
            return Ok(());
        }
        let length = u32::try_from(text.len()).map_err(|_| self.too_large())?;
        self.op(opcode::BINUNICODE);
        self.bytes.extend(length.to_le_bytes());
        self.bytes.extend(text.as_bytes());
        self.texts.insert(text.to_owned(), self.memo);
        self.put()
    }

    fn global(&mut self, module: &'static str, name: &'static str) -> Result<(), OutputError> {
        if let Some(&number) = self.globals.get(&(module, name)) {
            self.get(number);
            return Ok(());
        }
        self.op(opcode::GLOBAL);
        self.bytes.extend([module.as_bytes(), b"\n", name.as_bytes(), b"\n"].concat());
        self.globals.insert((module, name), self.memo);
        self.put()
    }

    fn get(&mut self, number: u32) {
        match u8::try_from(number) {
            Ok(number) => self.bytes.extend([opcode::BINGET, number]),
            Err(_) => {
                self.op(opcode::LONG_BINGET);
                self.bytes.extend(number.to_le_bytes());
            }
        }
    }

    /// Puts the object just made into the memo.
    fn put(&mut self) -> Result<(), OutputError> {
        match u8::try_from(self.memo) {
            Ok(number) => self.bytes.extend([opcode::BINPUT, number]),
            Err(_) => {
                self.op(opcode::LONG_BINPUT);
                self.bytes.extend(self.memo.to_le_bytes());
            }
        }
        self.memo = self.memo.checked_add(1).ok_or_else(|| self.too_large())?;
        Ok(())
    }

    fn op(&mut self, code: u8) {
        self.bytes.push(code);
    }

    fn too_large(&self) -> OutputError {
        OutputError::TooLarge { name: self.file.to_owned() }
    }
}

/// Row-major strides as torch counts them: an axis of size 0 counts as one of size 1.
fn strides(shape: &[i64]) -> Option<Vec<i64>> {
    let mut stride = 1i64;
    let mut strides = vec![0; shape.len()];
    for (own, &size) in strides.iter_mut().zip(shape).rev() {
        *own = stride;
        stride = stride.checked_mul(size.max(1))?;
    }
    Some(strides)
}
