"""Writes small.pt: one tensor of every dtype, a tied one, an empty one, and plain data of every kind."""

import argparse
from collections import OrderedDict

import torch

args = argparse.Namespace(
    hidden_size=5, eps=1e-5, name="größe", params_dtype=torch.bfloat16, none=None, flag=True, big=1 << 40, neg=-3,
    list=[1, 2, 70000], pair=(256, -40000), empty=[], one=["x"], wide=(1, 2, 3, -(1 << 39)), edges=[255, 65535, 128],
)
w = torch.arange(6, dtype=torch.float32).reshape(2, 3)
model = OrderedDict(
    [
        ("w", w),
        ("größe", torch.tensor([1.5, -2.0], dtype=torch.bfloat16)),
        ("half", torch.tensor([[0.5], [2.0]], dtype=torch.float16)),
        ("double", torch.tensor(0.25, dtype=torch.float64)),
        ("tied", w.detach()),
        ("i64", torch.tensor([1, -2, 3], dtype=torch.int64)),
        ("i32", torch.tensor([1, -2, 3], dtype=torch.int32)),
        ("i16", torch.tensor([7], dtype=torch.int16)),
        ("i8", torch.tensor([-7], dtype=torch.int8)),
        ("u8", torch.tensor([200], dtype=torch.uint8)),
        ("bool", torch.tensor([True, False], dtype=torch.bool)),
        ("empty", torch.zeros((4, 0, 3), dtype=torch.float32)),
        ("f8", torch.tensor([1.5, -2.0, 0.5], dtype=torch.float8_e4m3fn)),
        ("f8e5", torch.tensor([1.5], dtype=torch.float8_e5m2)),
        ("square", torch.tensor([[1.0, 2.0], [3.0, 4.0]])),
    ]
)
single = OrderedDict(only=1)
torch.save(
    {"args": args, "checkpoint_version": 3.0, "iteration": 1, "model": model, "void": {}, "single": single}, "small.pt"
)
