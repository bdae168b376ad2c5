#!/usr/bin/env python3
"""Write corpus.txt: objects as Python pickles them in each protocol, and the plain data they are.

One case a line: name, protocol, pickle in hexadecimal, expectation as JSON (what JSON lacks is an object with a `$` key).
"""
import argparse
import collections
import datetime
import enum
import io
import json
import math
import os
import pathlib
import pickle
import sys
import types

HERE = pathlib.Path(__file__).resolve().parent


# Classes have to be found in a module when they are pickled; theirs is called `samples`.
samples = sys.modules["samples"] = types.ModuleType("samples")


def sample(thing):
    thing.__module__ = "samples"
    setattr(samples, thing.__name__, thing)
    return thing


@sample
class Color(enum.Enum):
    RED = 1


@sample
class Plain:
    pass


@sample
class Slots:
    __slots__ = ("a", "b")


@sample
class Mixed(Slots):
    pass


@sample
class Named:
    def __new__(cls, *args, **kwargs):
        return object.__new__(cls)

    def __getnewargs_ex__(self):
        return (1, "two"), {"three": 3}


@sample
class Stateful:
    def __getstate__(self):
        return ("a", 1)


@sample
class Reduced:
    """Gives any reduction it is told."""
    def __init__(self, *reduction):
        self.reduction = reduction

    def __reduce__(self):
        function, args, *rest = self.reduction
        # What is appended or set has to come from an iterator, a fresh one each time.
        return (function, args, *rest[:1], *map(iter, rest[1:]))


@sample
class Words(list):
    pass


@sample
class Table(dict):
    pass


@sample
def function():
    pass


def made(cls, **attributes):
    thing = cls()
    for k, v in attributes.items():
        setattr(thing, k, v)
    return thing


def obj(cls, *args, **attributes):
    return {"$class": cls, **({"$args": list(args)} if args else {}), **attributes}


def cases():
    every = range(6)
    yield "none", None, None, every
    yield "bools", [True, False], [True, False], every
    small = [0, 1, 255, 256, 65535, 65536, -1, -128, 2**31 - 1, -2**31, 2**31, 2**40, -2**40, 2**63 - 1, -2**63]
    yield "ints", small, small, every
    big = [2**63, -2**63 - 1, 2**70, -2**70, 2**2047, -2**2047]
    yield "bigints", big, [{"$int": str(n)} for n in big], every
    yield "floats", [0.0, 1.5, -2.25, 1e-300, 0.1], [0.0, 1.5, -2.25, 1e-300, 0.1], every
    odd = [math.inf, -math.inf, math.nan]
    yield "odd_floats", odd, [{"$float": t} for t in ("inf", "-inf", "nan")], every
    texts = ["", "a", "x" * 300, "\u20ac\u00e9\U0001f600", "line\nbreak\\n\\u0041\r\0", "'\""]
    yield "texts", texts, texts, every
    yield "bytes", [b"", b"abc", bytes(range(256)) * 2], [{"$bytes": n} for n in (0, 3, 512)], every
    yield "bytearrays", [bytearray(), bytearray(b"abc")], [{"$bytes": 0}, {"$bytes": 3}], every
    tuples = [(), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), ((),)]
    yield "tuples", tuples, json.loads(json.dumps(tuples)), every
    yield "lists", [[], [1], [[2], [3, [4]]]], [[], [1], [[2], [3, [4]]]], every
    yield "long_list", list(range(1001)), list(range(1001)), [1, 2, 4]
    yield "dicts", {"b": 1, "a": {"z": None, "y": {}}, 3: "int"}, {"b": 1, "a": {"z": None, "y": {}}, "3": "int"}, every
    # The last value is fetched from a memo entry beyond 255.
    late = ["late"]
    yield "long_dict", {**{f"k{i}": str(i) for i in range(300)}, "l": late, "m": late}, {
        **{f"k{i}": str(i) for i in range(300)}, "l": late, "m": late}, [0, 2, 5]
    yield "odd_keys", {None: 1, True: 2, 1.5: 3, (1, "a"): 4}, {"null": 1, "true": 2, "1.5": 3, "[1, a]": 4}, every
    yield "sets", [set(), {7}, frozenset(), frozenset({8})], [[], [7], [], [8]], every
    yield "ordered", collections.OrderedDict([("b", 1), ("a", [2])]), {"b": 1, "a": [2]}, every
    state_dict = collections.OrderedDict([("b", 1)])
    state_dict._metadata = collections.OrderedDict(version=1)
    yield "ordered_with_attribute", state_dict, {"b": 1}, every
    yield "default", collections.defaultdict(list, a=[1]), {"a": [1]}, every
    yield "counter", collections.Counter("aab"), {"a": 2, "b": 1}, every
    yield "deque", collections.deque([1, 2], maxlen=4), [1, 2], every
    namespace = argparse.Namespace(h=64, l=[1, 2], inner=argparse.Namespace(x=None))
    inner = obj("argparse.Namespace", x=None)
    yield "namespace", namespace, obj("argparse.Namespace", h=64, l=[1, 2], inner=inner), every
    yield "simple", types.SimpleNamespace(a=1), obj("types.SimpleNamespace", a=1), every
    yield "enum", Color.RED, obj("samples.Color", 1), every
    yield "plain", made(Plain, a=1, b="c"), obj("samples.Plain", a=1, b="c"), every
    yield "slots", made(Slots, a=1), obj("samples.Slots", a=1), [2, 3, 4, 5]
    yield "slots_and_attributes", made(Mixed, a=1, c=2), obj("samples.Mixed", c=2, a=1), [2, 3, 4, 5]
    named = {"$class": "samples.Named", "$args": [1, "two"], "$kwargs": {"three": 3}}
    yield "named_arguments", Named(), named, [4, 5]
    yield "stateful", Stateful(), {"$class": "samples.Stateful", "$state": ["a", 1]}, every
    yield "names", [function, Plain, len, collections.OrderedDict], [{"$global": n} for n in (
        "samples.function", "samples.Plain", "builtins.len", "collections.OrderedDict")], every
    words, table = made(Words, note=1), made(Table)
    words.extend([1, 2])
    table["k"] = "v"
    yield "list_subclass", words, {"$class": "samples.Words", "$items": [1, 2], "note": 1}, [2, 3, 4, 5]
    yield "list_subclass_old", words, {"$class": "samples.Words", "$args": [[1, 2]], "note": 1}, [0, 1]
    yield "dict_subclass", table, {"$class": "samples.Table", "$entries": {"k": "v"}}, [2, 3, 4, 5]
    everything = Reduced(function, (1,), {"s": 2}, [3, 4], [("k", 5)])
    yield "reduced", everything, {"$class": "samples.function", "$args": [1], "$items": [3, 4], "$entries": {"k": 5}, "s": 2}, every
    yield "timedelta", datetime.timedelta(1, 2, 3), obj("datetime.timedelta", 1, 2, 3), every
    yield "path", [pathlib.PurePosixPath("/data/x"), pathlib.PurePosixPath("a/b")], ["/data/x", "a/b"], every
    yield "complex", 1 + 2j, obj("builtins.complex", 1.0, 2.0), every
    stream = io.BytesIO(b"12345")
    stream.read()
    yield "stream", stream, {"$bytes": 5}, [2, 3, 4, 5]
    call = Reduced(os.system, ("echo executed > executed.tmp",))
    yield "system", call, obj(os.system.__module__ + ".system", "echo executed > executed.tmp"), every
    evaluated = Reduced(eval, ("open('executed.tmp', 'w')",))
    yield "eval", evaluated, obj("builtins.eval", "open('executed.tmp', 'w')"), every
    attribute = Reduced(getattr, (Plain, "MEMBER"))
    yield "attribute", attribute, {"$global": "samples.Plain.MEMBER"}, every
    shared = [1]
    yield "shared", {"x": shared, "y": shared, "z": (shared, shared)}, {"x": [1], "y": [1], "z": [[1], [1]]}, every
    cyclic = [1]
    cyclic.append(cyclic)
    yield "cyclic_list", cyclic, [1, {"$cycle": True}], every
    loop = {}
    loop["self"] = loop
    yield "cyclic_dict", loop, {"self": {"$cycle": True}}, every
    round_trip = []
    round_trip.append((round_trip,))
    yield "cyclic_tuple", round_trip[0], [[{"$cycle": True}]], every
    parent = argparse.Namespace(name="p")
    parent.child = argparse.Namespace(parent=parent)
    child = obj("argparse.Namespace", parent={"$cycle": True})
    yield "cyclic_namespace", parent, obj("argparse.Namespace", name="p", child=child), every


def main():
    with open(HERE / "corpus.txt", "w") as f:
        for name, thing, expected, protocols in cases():
            for protocol in protocols:
                pickled = pickle.dumps(thing, protocol=protocol)
                print(name, protocol, pickled.hex(), json.dumps(expected), file=f)


if __name__ == "__main__":
    main()
