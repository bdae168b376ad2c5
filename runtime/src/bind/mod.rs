//! A mapping bound to a checkpoint: every config value known, every stored tensor accounted for.
//!
//! Cheap checks come first: config documents, then names, then shapes; data is never read here.

mod against;
mod config;
mod coordinates;
mod documents;
mod judge;
mod names;
mod plain;
mod ranks;
mod report;
mod shapes;
mod shares;
mod solve;

use std::path::PathBuf;

use transship_grammar as grammar;

use grammar::{
    AxisId, ChoiceId, Code, Diagnostic, Diagnostics, Environment, FieldId, Guard, Mapping, SideId, Value,
};

pub(crate) use against::{Against, bind_pair};
pub(crate) use config::from_json;
pub use config::{BaseConfig, Origin, Setting};
pub(crate) use names::{
    Claimed, Claims, Key, captures, full_name, is_renaming, joined_key, name_below, relative, sorted_key,
};
pub use plain::other_family;
pub(crate) use ranks::{Coordinates, Ranks, file_ranks, is_in_roots, split_over};

use crate::Checkpoint;
use crate::checkpoint::{OpenCause, read_config};

/// What the user says about a conversion beside the checkpoint and the mapping.
#[derive(Clone, Debug, Default)]
pub struct BindOptions {
    /// Config values the user sets, which win over everything else.
    pub settings: Vec<Setting>,
    /// A config of the target to start from.
    pub base: Option<BaseConfig>,
    /// How many ranks the target is split over, by rank axis; one where absent.
    pub ranks: Vec<(String, u64)>,
    /// How many coordinates of an index in names each block holds that is distributed over a rank axis, by that axis:
    /// `pp` and `[3, 2, 2, 1]` for the layers of four pipeline stages. Blocks come in the order of the index; with
    /// virtual stages the first one of every stage before the second of any. Where [`BindOptions::ranks`] lacks the axis,
    /// it has as many ranks as there are blocks for. Blocks of one size where absent.
    pub shares: Vec<(String, Vec<u64>)>,
}

/// A mapping bound to a checkpoint.
#[derive(Debug)]
pub struct Binding<'a> {
    pub(crate) mapping: &'a Mapping,
    pub(crate) checkpoint: &'a Checkpoint,
    pub(crate) base: Option<BaseConfig>,
    /// The side that the checkpoint is of.
    pub(crate) from: SideId,
    pub(crate) values: Vec<Option<Known>>,
    /// What the documents of that side hold, each at its place in the mapping's list; of those that are keys of the
    /// state dict nothing.
    documents: Vec<Option<crate::document::Value>>,
    /// The branch each choice takes; `None` for those that depend on an index.
    pub(crate) branches: Vec<Option<usize>>,
    pub(crate) claims: Claims,
    pub(crate) ranks: Ranks,
    /// What the user should know, in the order it was found.
    pub(crate) notes: Vec<String>,
    /// The checkpoint it is compared with, where it is not converted.
    pub(crate) against: Option<Against>,
    /// Whether the target has the first name of each parameter, as generated types have, whatever config says.
    pub(crate) first_names: bool,
}

/// A config value and where it comes from.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Known {
    pub(crate) value: Value,
    pub(crate) origin: Origin,
}

/// Finds which side of a mapping a checkpoint is of: by the names it must have, or, where the mapping does not say,
/// by the rules that its names fit.
#[must_use]
pub fn detect_side(mapping: &Mapping, checkpoint: &Checkpoint) -> Option<SideId> {
    let detected = SideId::BOTH.into_iter().find(|side| {
        let marks = &mapping.side(*side).detect;
        !marks.is_empty() && names::has_marks(mapping, *side, checkpoint)
    });
    detected.or_else(|| {
        let undeclared = SideId::BOTH.into_iter().filter(|side| mapping.side(*side).detect.is_empty());
        let counted = undeclared.map(|side| (names::count_claimed(mapping, side, checkpoint), side));
        let best = counted.max_by_key(|(count, side)| (*count, *side == SideId::Left));
        best.filter(|(count, _)| *count > 0).map(|(_, side)| side)
    })
}

/// The marks of a side that a checkpoint has and those it lacks, as the mapping writes them; both empty where the
/// mapping says nothing of how to tell that side.
#[must_use]
pub fn side_marks(mapping: &Mapping, side: SideId, checkpoint: &Checkpoint) -> (Vec<String>, Vec<String>) {
    let show = |ways: &&Vec<grammar::Template>| {
        let names: Vec<String> = ways.iter().map(|t| format!("`{}`", mapping.display_template(t))).collect();
        names.join(" or ")
    };
    let marks = &mapping.side(side).detect;
    let (has, lacks): (Vec<_>, Vec<_>) =
        marks.iter().partition(|ways| names::has_mark(mapping, side, checkpoint, ways));
    (has.iter().map(show).collect(), lacks.iter().map(show).collect())
}

impl<'a> Binding<'a> {
    /// Binds `mapping` to a checkpoint of its side `from`.
    ///
    /// # Errors
    /// All that is wrong, as far as one mistake does not hide another.
    pub fn new(
        mapping: &'a Mapping,
        checkpoint: &'a Checkpoint,
        from: SideId,
        options: &BindOptions,
    ) -> Result<Binding<'a>, Diagnostics> {
        Binding::bind(mapping, checkpoint, from, options, None)
    }

    /// The same, for a conversion or to compare with another checkpoint.
    fn bind(
        mapping: &'a Mapping,
        checkpoint: &'a Checkpoint,
        from: SideId,
        options: &BindOptions,
        against: Option<Against>,
    ) -> Result<Binding<'a>, Diagnostics> {
        let mut diagnostics = Diagnostics::new(&mapping.source);
        let mut binding = Binding {
            mapping,
            checkpoint,
            base: options.base.clone(),
            from,
            values: vec![None; mapping.config.fields.len()],
            documents: Vec::new(),
            branches: vec![None; mapping.choices.len()],
            claims: Claims::default(),
            ranks: Ranks::default(),
            notes: checkpoint.notes().to_vec(),
            against,
            first_names: false,
        };
        binding.check_executable(&mut diagnostics);
        binding.read_documents(&mut diagnostics);
        binding.find_ranks(options, &mut diagnostics);
        stop_on_errors(&diagnostics)?;
        binding.check_rank_documents(&mut diagnostics);
        stop_on_errors(&diagnostics)?;
        binding.check_family(&mut diagnostics);
        stop_on_errors(&diagnostics)?;
        binding.read_config(&config::named_settings(mapping, &options.settings), &mut diagnostics);
        stop_on_errors(&diagnostics)?;
        binding.find_blocks();
        binding.decide_by_shapes();
        binding.decide(&mut diagnostics);
        stop_on_errors(&diagnostics)?;
        binding.claim_names(&mut diagnostics);
        let equations = binding.shape_equations(&mut diagnostics);
        stop_on_errors(&diagnostics)?;
        binding.solve(&equations, &mut diagnostics);
        if diagnostics.has_errors() {
            // What no rule takes does not depend on sizes, and often explains them.
            binding.report_unmapped(&[], &mut diagnostics);
        }
        stop_on_errors(&diagnostics)?;
        binding.check_coordinates(&mut diagnostics);
        stop_on_errors(&diagnostics)?;
        if binding.against.is_none() {
            binding.check_complete(&mut diagnostics);
        }
        binding.check_requirements(&mut diagnostics);
        binding.check_plain(&mut diagnostics);
        stop_on_errors(&diagnostics)?;
        Ok(binding)
    }

    /// Binds the sizes of a config to one side of a mapping, without a checkpoint.
    ///
    /// # Errors
    /// Where the config contradicts the mapping's equations, or decides a choice that no arm takes.
    pub(crate) fn of_config(
        mapping: &'a Mapping,
        settings: &[Setting],
        side: SideId,
    ) -> Result<Binding<'a>, Diagnostics> {
        let mut diagnostics = Diagnostics::new(&mapping.source);
        let mut binding = Binding {
            mapping,
            checkpoint: Checkpoint::nothing(),
            base: None,
            from: side,
            values: vec![None; mapping.config.fields.len()],
            documents: Vec::new(),
            branches: vec![None; mapping.choices.len()],
            claims: Claims::default(),
            ranks: Ranks::default(),
            notes: Vec::new(),
            against: None,
            first_names: false,
        };
        binding.read_documents(&mut diagnostics);
        binding.set_config(&config::named_settings(mapping, settings), &mut diagnostics);
        stop_on_errors(&diagnostics)?;
        binding.decide(&mut diagnostics);
        binding.solve(&[], &mut diagnostics);
        stop_on_errors(&diagnostics)?;
        Ok(binding)
    }

    /// The mapping.
    #[must_use]
    pub fn mapping(&self) -> &'a Mapping {
        self.mapping
    }

    /// The side that the checkpoint is of.
    #[must_use]
    pub fn from(&self) -> SideId {
        self.from
    }

    /// A config value, if it is known.
    #[must_use]
    pub fn value(&self, field: FieldId) -> Option<&Value> {
        self.values[field.index()].as_ref().map(|k| &k.value)
    }

    /// Every config value that is known, and where it comes from.
    pub fn values(&self) -> impl Iterator<Item = (&'a str, &Value, &Origin)> {
        let fields = self.mapping.config.fields.iter().zip(&self.values);
        fields.filter_map(|(f, k)| k.as_ref().map(|k| (f.name.as_str(), &k.value, &k.origin)))
    }

    /// What the user should know.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    pub(crate) fn to(&self) -> SideId {
        self.from.other()
    }

    fn file(&self) -> &str {
        self.checkpoint.file()
    }

    /// The branch of a choice for given coordinates of indices.
    pub(crate) fn branch(&self, choice: ChoiceId, key: &Key) -> Option<usize> {
        if let Some(branch) = self.branches[choice.index()] {
            return Some(branch);
        }
        let choice = &self.mapping.choices[choice.index()];
        let env = Scope { binding: self, key: Some(key) };
        let value = choice.on.evaluate(&env).ok()?;
        choice.patterns.iter().position(|p| p.fits(&value))
    }

    /// Whether a guard holds for given coordinates of indices.
    pub(crate) fn holds(&self, guard: &Guard, key: &Key) -> bool {
        guard.0.iter().all(|(choice, branch)| self.branch(*choice, key) == Some(*branch))
    }

    /// Whether a guard could hold for some coordinates.
    pub(crate) fn may_hold(&self, guard: &Guard) -> bool {
        guard
            .0
            .iter()
            .all(|(choice, branch)| self.branches[choice.index()].is_none_or(|taken| taken == *branch))
    }

    /// The way in which an entry of the target is written.
    pub(crate) fn written<'e>(&self, entry: &'e grammar::Entry) -> &'e grammar::Stored {
        entry.written(|guard| !self.first_names && self.holds(guard, &Key::new()))
    }

    /// The first and one past the last coordinate of an index axis.
    pub(crate) fn range(&self, axis: AxisId) -> Option<(u64, u64)> {
        let (from, to) = &self.mapping.axis(axis).range;
        Some((self.evaluate_size(from)?, self.evaluate_size(to)?))
    }

    fn check_executable(&self, diagnostics: &mut Diagnostics) {
        for (what, span) in &self.mapping.not_executable {
            diagnostics.push(
                Diagnostic::error(
                    Code::NotSupported,
                    *span,
                    format!("{what} cannot be converted yet"),
                    "it is checked, but this version has no code for it",
                )
                .help("write the stored parameters out, or wait for a later version"),
            );
        }
    }
}

fn stop_on_errors(diagnostics: &Diagnostics) -> Result<(), Diagnostics> {
    if !diagnostics.has_errors() {
        return Ok(());
    }
    let mut sorted = diagnostics.clone();
    sorted.sort();
    Err(sorted)
}

/// Config values, documents, and the coordinates of one parameter.
pub(crate) struct Scope<'b, 'a> {
    pub(crate) binding: &'b Binding<'a>,
    pub(crate) key: Option<&'b Key>,
}

impl Environment for Scope<'_, '_> {
    fn field(&self, field: FieldId) -> Option<Value> {
        self.binding.value(field).cloned()
    }

    fn place(&self, path: &str) -> Option<Value> {
        self.binding.source_place(path)
    }

    fn index(&self, axis: AxisId) -> Option<u64> {
        self.key?.iter().find(|(a, _)| *a == axis).map(|(_, i)| *i)
    }

    fn ranks(&self, rank: grammar::RankId) -> u64 {
        self.binding.ranks.count(rank)
    }

    fn blocks(&self, rank: grammar::RankId, word: grammar::BlocksWord) -> Value {
        self.binding.blocks_word(rank, word)
    }
}

impl BaseConfig {
    /// Reads a config of the target from a JSON file.
    ///
    /// # Errors
    /// Where the file cannot be read or is no JSON object.
    pub fn read(path: &std::path::Path) -> Result<BaseConfig, BaseConfigError> {
        let wrong = |what: String| BaseConfigError { path: path.to_owned(), what };
        let value = read_config(path).map_err(|error| {
            wrong(match *error.cause {
                OpenCause::Io(e) if e.kind() == std::io::ErrorKind::NotFound => {
                    "there is no such file".to_owned()
                }
                OpenCause::Json(e) => format!("it is no JSON: {e}"),
                cause => cause.to_string(),
            })
        })?;
        match value {
            serde_json::Value::Object(values) => Ok(BaseConfig { path: path.to_owned(), values }),
            _ => Err(wrong("it holds no JSON object".to_owned())),
        }
    }
}

/// A config file that could not be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the config {}: {what}; give a config.json of the target, such as one from the model's page", path.display())]
pub struct BaseConfigError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong.
    pub what: String,
}
