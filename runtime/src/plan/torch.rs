//! Torch files of a target: one for each rank, in the directories that Megatron-LM reads.
//!
//! `latest_checkpointed_iteration.txt` names the iteration, or `release` where there is none but 0; the iteration's
//! directory has `mp_rank_TT[_PPP]/model_optim_rng.pt` for every rank, each with the config and that rank's part
//! of the parameters.

use serde_json::{Map, Value as Json};
use transship_grammar as grammar;

use grammar::{Mapping, SideId};

use super::Source;
use super::documents::PARAMETER_DTYPES;
use super::tensors::Planned;
use crate::bind::{Binding, captures, relative};
use crate::checkpoint::{Iteration, MODEL_FILES, TRACKER};
use crate::engine::TargetTensor;
use crate::output::{
    OutputError, OutputPlan, Saved, SmallFile, TensorSpec, is_of_earlier_output, plan_torch,
};
use crate::torch::dtype_name;

/// The files of all ranks, with their tensors.
pub(super) struct RankFiles<'a> {
    pub(super) output: OutputPlan,
    pub(super) targets: Vec<TargetTensor<'a>>,
    pub(super) sources: Vec<Vec<Source>>,
}

/// Plans the files. Tensors are called by rank and name: `mp_rank_01:model.…`.
pub(super) fn plan_rank_files<'a>(
    binding: &Binding<'a>,
    planned: &Planned<'a>,
    documents: &Map<String, Json>,
) -> Result<RankFiles<'a>, OutputError> {
    let iteration = iteration_of(documents);
    let (mut files, mut targets, mut sources) = (Vec::new(), Vec::new(), Vec::new());
    let dictionaries = Dictionaries { mapping: binding.mapping, side: binding.to() };
    for (number, rank) in planned.files.iter().enumerate() {
        let mut root: Vec<(String, Saved)> =
            documents.iter().map(|(key, value)| (key.clone(), document(value))).collect();
        let own = planned.targets.iter().zip(&planned.homes).zip(&planned.sources);
        for ((target, _), made_of) in own.filter(|((_, home), _)| home.is_none_or(|home| home == number)) {
            let keys = dictionaries.keys(&target.name);
            let name = format!("{rank}:{}", target.name);
            let target = TargetTensor { name, ..target.clone() };
            insert(&mut root, &keys, Saved::Tensor(TensorSpec::of(&target)));
            targets.push(target);
            sources.push(made_of.clone());
        }
        files.push(plan_torch(
            &format!("{}/{rank}/{}", iteration.folder(), MODEL_FILES[0]),
            &Saved::Dict(root),
        )?);
    }
    let index = Some(SmallFile { name: TRACKER.to_owned(), bytes: iteration.to_string().into_bytes() });
    Ok(RankFiles { output: OutputPlan { files, index, superseded: is_of_earlier_output }, targets, sources })
}

/// The iteration that the config says it is of.
pub(super) fn iteration_of(documents: &Map<String, Json>) -> Iteration {
    // Of an iteration by number Megatron-LM wants the optimizer's state too; at 0 there is none.
    let iteration = documents.get("iteration").and_then(Json::as_u64).filter(|number| *number > 0);
    iteration.map_or(Iteration::Release, Iteration::Number)
}

/// A config document as Python has it: an `argparse.Namespace` where it has parts, torch's dtypes as such.
fn document(value: &Json) -> Saved {
    match value {
        Json::Object(map) => Saved::Namespace(map.iter().map(|(k, v)| (k.clone(), plain(v))).collect()),
        other => plain(other),
    }
}

fn plain(value: &Json) -> Saved {
    match value {
        Json::Null => Saved::None,
        Json::Bool(truth) => Saved::Bool(*truth),
        Json::Number(number) => match number.as_i64() {
            Some(whole) => Saved::Int(whole),
            None => Saved::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        Json::String(text) => {
            let name = text.strip_prefix("torch.");
            let dtype = PARAMETER_DTYPES.into_iter().find(|dtype| Some(dtype_name(*dtype)) == name);
            dtype.map_or_else(|| Saved::Text(text.clone()), Saved::DType)
        }
        Json::Array(items) => Saved::List(items.iter().map(plain).collect()),
        Json::Object(map) => Saved::Dict(map.iter().map(|(k, v)| (k.clone(), plain(v))).collect()),
    }
}

/// Which beginnings of a side's names are dictionaries of their own.
struct Dictionaries<'m> {
    mapping: &'m Mapping,
    side: SideId,
}

impl Dictionaries<'_> {
    /// A name cut into the keys under which the tensor lies.
    fn keys(&self, name: &str) -> Vec<String> {
        let mut keys = Vec::new();
        let mut start = 0;
        for (at, _) in name.match_indices('.') {
            if self.is_dictionary(&name[..at]) {
                keys.push(name[start..at].to_owned());
                start = at + 1;
            }
        }
        keys.push(name[start..].to_owned());
        keys
    }

    fn is_dictionary(&self, beginning: &str) -> bool {
        let side = self.mapping.side(self.side);
        let stored = relative(self.mapping, self.side, beginning);
        side.roots.iter().any(|root| root.matches(beginning).is_some())
            || side.nested.iter().any(|nested| captures(nested, &stored).is_some())
    }
}

fn insert(dictionary: &mut Vec<(String, Saved)>, keys: &[String], value: Saved) {
    let Some((first, rest)) = keys.split_first() else { return };
    if rest.is_empty() {
        dictionary.push((first.clone(), value));
        return;
    }
    let at = dictionary.iter().position(|(key, held)| key == first && matches!(held, Saved::OrderedDict(_)));
    let at = at.unwrap_or_else(|| {
        dictionary.push((first.clone(), Saved::OrderedDict(Vec::new())));
        dictionary.len() - 1
    });
    if let Saved::OrderedDict(inner) = &mut dictionary[at].1 {
        insert(inner, rest, value);
    }
}
