//! Kinds of checkpoint files.

use std::fmt;

use crate::archive::Packing;

/// What kind of file a checkpoint is, and what is around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    /// The kind of file.
    pub kind: FormatKind,
    /// How it is packed, where it is a member of a zip archive.
    pub member: Option<Packing>,
}

/// Kinds of checkpoint files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FormatKind {
    /// The zip container that `torch.save` writes since torch 1.6.
    TorchZip,
    /// The stream that `torch.save` wrote before.
    TorchLegacy,
    /// One safetensors file.
    Safetensors,
    /// Several safetensors files with an index.
    SafetensorsShards,
    /// Several files of `torch.save` with an index.
    TorchShards,
    /// A directory of `torch.distributed.checkpoint`.
    TorchDist,
    /// A directory of zarr arrays, as Megatron-Core wrote before `torch_dist`.
    Zarr,
    /// Arrays, no file.
    Memory,
}

impl fmt::Display for FormatKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FormatKind::TorchZip => "torch zip",
            FormatKind::TorchLegacy => "torch legacy stream",
            FormatKind::Safetensors => "safetensors",
            FormatKind::SafetensorsShards => "safetensors shards",
            FormatKind::TorchShards => "torch shards",
            FormatKind::TorchDist => "torch distributed checkpoint",
            FormatKind::Zarr => "zarr distributed checkpoint",
            FormatKind::Memory => "arrays in memory",
        })
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.kind)?;
        match self.member {
            None => Ok(()),
            Some(Packing::Stored) => f.write_str(", inside a stored zip member"),
            Some(Packing::Deflated) => f.write_str(", inside a deflated zip member"),
        }
    }
}
