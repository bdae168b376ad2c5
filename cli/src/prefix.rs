//! Words that training programs put before all names of a checkpoint.

use transship::Checkpoint;

/// A word before names, with who puts it there and how to save without.
const PREFIXES: [(&str, &str, &str); 3] = [
    ("module.", "DistributedDataParallel and DataParallel save", "save `model.module.state_dict()`"),
    ("_orig_mod.", "torch.compile saves", "save the `state_dict()` of the model before it is compiled"),
    ("model.", "Lightning and similar programs save", "save the `state_dict()` of the model inside"),
];

/// What to say of a word that stands before the name of every tensor.
pub(crate) fn hint(checkpoint: &Checkpoint) -> Option<String> {
    let names = || checkpoint.tensors().iter().map(|tensor| tensor.name.as_str());
    // A file of Lightning or Megatron has the state dict under a key.
    let inner = |name: &str| -> usize { name.find("state_dict.").map_or(0, |at| at + "state_dict.".len()) };
    names().next()?;
    PREFIXES
        .iter()
        .find(|(prefix, ..)| names().all(|name| name[inner(name)..].starts_with(prefix)))
        .map(|(prefix, who, how)| format!("all its names begin with `{prefix}`, as {who} them: {how}"))
}
