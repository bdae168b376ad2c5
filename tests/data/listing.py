#!/usr/bin/env python3
"""Write listing.json: the tensors and plain data of every torch file here, read without transship.

Standard library only. Unknown classes are never imported; each becomes an Opaque.
"""
import _compat_pickle
import collections
import io
import json
import math
import pathlib
import pickle
import struct
import sys
import zipfile
import zlib

HERE = pathlib.Path(__file__).resolve().parent
STORAGES = {
    "DoubleStorage": ("f64", 8), "FloatStorage": ("f32", 4), "HalfStorage": ("f16", 2), "BFloat16Storage": ("bf16", 2),
    "LongStorage": ("i64", 8), "IntStorage": ("i32", 4), "ShortStorage": ("i16", 2), "CharStorage": ("i8", 1),
    "ByteStorage": ("u8", 1), "BoolStorage": ("bool", 1),
}
# Dtypes that have no storage class of their own.
DTYPES = {"torch.float8_e4m3fn": ("f8_e4m3", 1), "torch.float8_e5m2": ("f8_e5m2", 1)}


class Tensor(collections.namedtuple("Tensor", "dtype width shape strides offset key")):
    pass


class Opaque:
    def __init__(self, name, *args):
        self.name, self.args = name, args
        self.state, self.items, self.entries = None, [], []

    def __call__(self, *args):
        return Opaque(self.name, *args)

    def __setstate__(self, state):
        self.state = state

    def append(self, item):
        self.items.append(item)

    def __setitem__(self, key, value):
        self.entries.append((key, value))


def opaque_class(full):
    """A class whose instances remember how they were made, for NEWOBJ and BUILD."""
    def new(cls, *args):
        made = object.__new__(cls)
        Opaque.__init__(made, full, *args)
        return made
    return type("Opaque", (Opaque,), {"__new__": new, "__init__": lambda self, *args: None, "full": full})


def rebuild_untyped(storage, offset, shape, strides, grad, hooks, dtype, *rest):
    return rebuild((DTYPES[dtype.full], storage[1]), offset, shape, strides)


def rebuild(storage, offset, shape, strides, *rest):
    (dtype, width), key = storage
    return Tensor(dtype, width, tuple(shape), tuple(strides), offset, key)


class Named:
    """A function or class that is called, or stands for its name."""
    def __init__(self, full, make):
        self.full, self.make = full, make

    def __call__(self, *args):
        return self.make(*args)


# Called by NEWOBJ, or given state: these have to be the classes themselves.
CLASSES = {"collections.OrderedDict": collections.OrderedDict, "_io.BytesIO": io.BytesIO}
KNOWN = {
    "collections.defaultdict": lambda factory=None, *args: dict(*args),
    "torch._utils._rebuild_tensor_v2": rebuild,
    "torch._utils._rebuild_tensor": rebuild,
    "torch._utils._rebuild_tensor_v3": rebuild_untyped,
    "torch._utils._rebuild_parameter": lambda data, *rest: data,
    "torch._tensor._rebuild_from_type_v2": lambda function, kind, args, state: function(*args),
    "torch.Size": tuple,
    "_codecs.encode": lambda text, encoding: text.encode(encoding),
    "builtins.set": list, "builtins.frozenset": list, "builtins.list": list, "builtins.dict": dict,
}


class Loader(pickle.Unpickler):
    def find_class(self, module, name):
        # Protocols 0 to 2 use the names of Python 2.
        module, name = _compat_pickle.NAME_MAPPING.get((module, name), (module, name))
        module = _compat_pickle.IMPORT_MAPPING.get(module, module)
        full = f"{module}.{name}"
        if module == "torch" and name in STORAGES:
            return STORAGES[name]
        if full in KNOWN:
            return Named(full, KNOWN[full])
        return CLASSES.get(full) or opaque_class(full)

    def persistent_load(self, pid):
        return pid[1], pid[2]


def read_pt(raw):
    """The top-level value, and the bytes of every storage by key."""
    if raw[:4] == b"PK\3\4":
        with zipfile.ZipFile(io.BytesIO(raw)) as z:
            inner = [n for n in z.namelist() if n.endswith("model_optim_rng.pt")]
            if inner:
                return read_pt(z.read(inner[0]))
            root = next(n for n in z.namelist() if n.endswith("data.pkl"))[:-len("data.pkl")]
            data = {n[len(root) + 5:]: z.read(n) for n in z.namelist() if n.startswith(root + "data/")}
            return Loader(io.BytesIO(z.read(root + "data.pkl"))).load(), data
    f = io.BytesIO(raw)
    for _ in range(3):
        pickle.Unpickler(f).load()
    widths = {}

    class Legacy(Loader):
        def persistent_load(self, pid):
            widths[pid[2]] = pid[1][1]
            return pid[1], pid[2]
    top = Legacy(f).load()
    data = {}
    for key in pickle.Unpickler(f).load():
        count, = struct.unpack("<q", f.read(8))
        data[key] = f.read(count * widths[key])
    return top, data


def elements(tensor, data):
    spots = [tensor.offset]
    for size, stride in zip(tensor.shape, tensor.strides):
        spots = [at + i * stride for at in spots for i in range(size)]
    w, raw = tensor.width, data[tensor.key]
    return b"".join(raw[at * w:(at + 1) * w] for at in spots)


def walk(node, path, data, tensors):
    """The plain form of `node`; tensors are added to `tensors`."""
    def inside(segment, child):
        return walk(child, f"{path}.{segment}" if path else str(segment), data, tensors)
    if isinstance(node, Tensor):
        tensors.append({"name": path, "dtype": node.dtype, "shape": node.shape, "strides": node.strides,
                        "offset": node.offset, "storage": node.key, "crc32": zlib.crc32(elements(node, data))})
        return {"$tensor": len(tensors) - 1}
    if isinstance(node, dict):
        return {str(k): inside(k, v) for k, v in node.items()}
    if isinstance(node, (list, tuple)):
        return [inside(i, v) for i, v in enumerate(node)]
    if isinstance(node, io.BytesIO):
        return {"$bytes": len(node.getvalue())}
    if isinstance(node, (bytes, bytearray)):
        return {"$bytes": len(node)}
    if isinstance(node, Named) or isinstance(node, type) and issubclass(node, Opaque):
        return {"$global": node.full}
    if isinstance(node, Opaque):
        if isinstance(node.state, dict) and not node.args:
            return {"$class": node.name, **{k: inside(k, v) for k, v in node.state.items()}}
        # Whatever is inside other objects is checked by tests of its own.
        return {"$class": node.name}
    if isinstance(node, float) and not math.isfinite(node):
        return {"$float": str(node)}
    if isinstance(node, int) and not isinstance(node, bool) and not -2**63 <= node < 2**63:
        return {"$int": str(node)}
    return node


def main():
    sys.setrecursionlimit(10000)
    listing = {}
    for path in sorted(HERE.rglob("*")):
        if path.suffix in (".pt", ".zip"):
            top, data = read_pt(path.read_bytes())
            tensors = []
            documents = walk(top, "", data, tensors)
            listing[path.relative_to(HERE).as_posix()] = {"tensors": tensors, "documents": documents}
    with open(HERE / "listing.json", "w") as f:
        f.write("{\n" + ",\n".join(f"{json.dumps(k)}: {json.dumps(v, separators=(',', ':'))}" for k, v in listing.items()) + "\n}\n")


if __name__ == "__main__":
    main()
