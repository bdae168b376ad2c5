//! A pickle writer, protocol 2, for what checkpoints of `torch.save` hold.

use crate::torch_file::TensorSpec;

/// A Python value.
#[derive(Clone, Debug)]
pub enum Py {
    /// `None`.
    None,
    /// `True` or `False`.
    Bool(bool),
    /// An `int`.
    Int(i64),
    /// A `float`.
    Float(f64),
    /// A `str`.
    Str(String),
    /// A `list`.
    List(Vec<Py>),
    /// A `dict`, in order.
    Dict(Vec<(String, Py)>),
    /// A `dict` with keys of any kind, in order.
    Map(Vec<(Py, Py)>),
    /// An `argparse.Namespace`.
    Namespace(Vec<(String, Py)>),
    /// A tensor that is a view of a storage.
    Tensor(TensorSpec),
    /// A call of a function by its module and name, as `__reduce__` asks for.
    Call(String, String, Vec<Py>),
}

impl Py {
    /// The entries of the dictionary or the attributes of the namespace under these keys, to be changed.
    ///
    /// # Panics
    /// Where a key is missing or holds another kind of value.
    pub fn entries(&mut self, keys: &[&str]) -> &mut Vec<(String, Py)> {
        let (Py::Dict(entries) | Py::Namespace(entries)) = self else { panic!("{self:?} has no entries") };
        let Some((first, rest)) = keys.split_first() else { return entries };
        let found = entries.iter_mut().find(|(key, _)| key == first);
        found.unwrap_or_else(|| panic!("there is no key {first}")).1.entries(rest)
    }

    /// Puts a value under the last of these keys, in place of what is there.
    ///
    /// # Panics
    /// Where a key before the last is missing or holds no dictionary or namespace.
    pub fn set(&mut self, keys: &[&str], value: Py) {
        let (last, path) = keys.split_last().expect("at least one key");
        let entries = self.entries(path);
        match entries.iter_mut().find(|(key, _)| key == last) {
            Some((_, old)) => *old = value,
            None => entries.push(((*last).to_owned(), value)),
        }
    }

    /// The pickle of this value.
    #[must_use]
    pub fn dump(&self) -> Vec<u8> {
        let mut out = vec![0x80, 2];
        self.write(&mut out);
        out.push(b'.');
        out
    }

    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Py::None => out.push(b'N'),
            Py::Bool(truth) => out.push(if *truth { 0x88 } else { 0x89 }),
            Py::Int(n) => integer(*n, out),
            Py::Float(x) => {
                out.push(b'G');
                out.extend(x.to_be_bytes());
            }
            Py::Str(text) => string(text, out),
            Py::List(items) => {
                out.extend(*b"](");
                items.iter().for_each(|i| i.write(out));
                out.push(b'e');
            }
            Py::Dict(entries) => dict(entries, out),
            Py::Map(entries) => {
                out.extend(*b"}(");
                for (key, value) in entries {
                    key.write(out);
                    value.write(out);
                }
                out.push(b'u');
            }
            Py::Namespace(attributes) => {
                out.extend(*b"cargparse\nNamespace\n)\x81");
                dict(attributes, out);
                out.push(b'b');
            }
            Py::Tensor(spec) => tensor(spec, out),
            Py::Call(module, name, args) => {
                out.extend(format!("c{module}\n{name}\n(").bytes());
                args.iter().for_each(|a| a.write(out));
                out.extend(*b"tR");
            }
        }
    }
}

fn integer(n: i64, out: &mut Vec<u8>) {
    if let Ok(small) = i32::try_from(n) {
        out.push(b'J');
        out.extend(small.to_le_bytes());
    } else {
        out.extend([0x8a, 8]);
        out.extend(n.to_le_bytes());
    }
}

fn string(text: &str, out: &mut Vec<u8>) {
    out.push(b'X');
    out.extend(u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend(text.bytes());
}

fn dict(entries: &[(String, Py)], out: &mut Vec<u8>) {
    out.extend(*b"}(");
    for (key, value) in entries {
        string(key, out);
        value.write(out);
    }
    out.push(b'u');
}

/// `torch._utils._rebuild_tensor_v2(storage, offset, size, stride, False, OrderedDict())`.
fn tensor(spec: &TensorSpec, out: &mut Vec<u8>) {
    out.extend(*b"ctorch._utils\n_rebuild_tensor_v2\n((");
    string("storage", out);
    out.extend(format!("ctorch\n{}\n", spec.dtype.storage_class()).bytes());
    string(&spec.storage, out);
    string("cpu", out);
    integer(i64::try_from(spec.storage_elements).unwrap_or(i64::MAX), out);
    out.extend(*b"tQ");
    integer(i64::try_from(spec.offset).unwrap_or(i64::MAX), out);
    for sizes in [&spec.shape, &spec.strides] {
        out.push(b'(');
        sizes.iter().for_each(|n| integer(i64::try_from(*n).unwrap_or(i64::MAX), out));
        out.push(b't');
    }
    out.extend(*b"\x89ccollections\nOrderedDict\n)RtR");
}
