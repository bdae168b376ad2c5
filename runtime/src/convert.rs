//! Conversions carried out: checks on data, then the engine, then files that appear whole or not at all.

use std::path::{Path, PathBuf};

use transship_grammar as grammar;

use grammar::{Code, Diagnostic, Diagnostics, Mapping, SideId};

use crate::Checkpoint;
use crate::bind::{BindOptions, Binding};
use crate::engine;
use crate::output::{self, OutputError};
use crate::plan::{Check, Plan, PlanOptions};
use crate::tokenizer_files::TokenizerFiles;

/// Why a conversion failed. Nothing of it is left on the disk then.
#[derive(Debug, thiserror::Error)]
pub enum ConvertError {
    /// The mapping and the checkpoint do not go together.
    #[error("{} problems between the mapping and the checkpoint", .0.list().len())]
    Diagnostics(Diagnostics),
    /// The output could not be written.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// The tokenizer's files could not be read.
    #[error("cannot read the tokenizer in {}: {what}", path.display())]
    Tokenizer {
        /// The directory given.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
}

impl From<Diagnostics> for ConvertError {
    fn from(diagnostics: Diagnostics) -> ConvertError {
        ConvertError::Diagnostics(diagnostics)
    }
}

/// What a conversion is asked for.
#[derive(Clone, Debug, Default)]
pub struct ConvertOptions {
    /// Config values and a config to start from.
    pub bind: BindOptions,
    /// Dtype and sizes of files.
    pub plan: PlanOptions,
    /// A directory whose tokenizer files go to the output.
    pub tokenizer: Option<PathBuf>,
}

/// Converts a checkpoint of side `from` into a directory.
///
/// # Errors
/// Where mapping and checkpoint do not go together, copies that should be equal differ, or writing fails. The
/// directory is as it was then.
pub fn convert(
    mapping: &Mapping,
    checkpoint: &Checkpoint,
    from: SideId,
    directory: &Path,
    options: &ConvertOptions,
    writing: &output::Options<'_>,
) -> Result<(), ConvertError> {
    let binding = Binding::new(mapping, checkpoint, from, &options.bind)?;
    let plan = Plan::new(&binding, &options.plan)?;
    let tokenizer = options.tokenizer.as_deref().map(TokenizerFiles::read).transpose()?;
    plan.write(mapping, directory, tokenizer.as_ref(), writing)
}

impl Plan<'_> {
    /// Carries the plan out.
    ///
    /// # Errors
    /// Where copies that should be equal differ, or writing fails. The directory is as it was then.
    pub fn write(
        &self,
        mapping: &Mapping,
        directory: &Path,
        tokenizer: Option<&TokenizerFiles>,
        options: &output::Options<'_>,
    ) -> Result<(), ConvertError> {
        let mut small = tokenizer.map_or_else(Vec::new, |files| files.beside(&self.documents));
        small.extend(self.documents.iter().cloned());
        self.check_copies(mapping)?;
        output::write(directory, &self.output, &self.targets, &small, &self.inputs, options)?;
        Ok(())
    }

    /// Compares what must be equal: tied parameters, copies along broadcast axes.
    pub(crate) fn check_copies(&self, mapping: &Mapping) -> Result<(), Diagnostics> {
        check_copies(&self.checks, mapping)
    }
}

/// Compares copies that must be equal.
pub(crate) fn check_copies(checks: &[Check<'_>], mapping: &Mapping) -> Result<(), Diagnostics> {
    let mut diagnostics = Diagnostics::new(&mapping.source);
    for check in checks {
        if let Some(reason) = &check.unlike {
            diagnostics.push(differs(check, reason));
            continue;
        }
        match engine::equal(&check.copy, check.dtype, check.left, check.right) {
            Ok(None) => {}
            Ok(Some(index)) => {
                diagnostics.push(differs(check, &format!("they first differ at {index:?}")));
            }
            Err(error) => diagnostics.push(differs(check, &error.to_string())),
        }
    }
    if diagnostics.has_errors() { Err(diagnostics) } else { Ok(()) }
}

/// What to do where two copies of a parameter differ.
pub(crate) const TWO_PARAMETERS: &str =
    "the mapping takes them to be one parameter; if they are two, a copy of the mapping must name both";

fn differs(check: &Check<'_>, place: &str) -> Diagnostic {
    let (label, help) = match check.code {
        Code::BroadcastDiffers => (
            "one value along this axis",
            "if they are meant to differ, a copy of the mapping must have this axis on both sides, without `*`",
        ),
        Code::ReplicasDiffer => (
            "one value on all ranks",
            "if the ranks were saved together and drifted apart, a copy of the mapping can say `replicas first`",
        ),
        _ => ("tied here", TWO_PARAMETERS),
    };
    Diagnostic::error(check.code, check.span, check.message.clone(), label)
        .note(place)
        .note(format!("in {}", check.file))
        .help(help)
}
