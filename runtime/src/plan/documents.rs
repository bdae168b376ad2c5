//! Config documents of the target.

use transship_grammar as grammar;

use grammar::{
    AxisId, BlocksWord, Code, Diagnostic, Diagnostics, Document, Environment, Expr, ExprKind, FieldId,
    Format, RankId, Side, Span, Value,
};
use serde_json::{Map, Value as Json};

use super::carried::{carried_documents, documents_to_keep, kept_documents};
use crate::DType;
use crate::bind::{Binding, Scope, is_in_roots};
use crate::output::SmallFile;
use crate::torch::dtype_name;

const MAIN: &str = "config.json";

/// Dtypes that configs name as that of a model's parameters.
pub(super) const PARAMETER_DTYPES: [DType; 4] = [DType::F64, DType::F32, DType::F16, DType::BF16];

/// The documents in the making.
struct Documents<'m> {
    side: &'m Side,
    /// By file name, each at its place in the side's list; those that are keys of the state dict stay empty.
    files: Vec<(String, Map<String, Json>)>,
    /// What is in none of them: the state dict of a torch file, else `config.json`.
    top: Map<String, Json>,
    /// Whether the checkpoint keeps those that it was made from: they come back as they were, but for what differs.
    kept: bool,
}

/// Every config file that the target side has: what a given config says, fields, and written lines.
pub(super) fn plan_documents(
    binding: &Binding<'_>,
    dtype: Option<DType>,
    notes: &mut Vec<String>,
    diagnostics: &mut Diagnostics,
) -> Vec<SmallFile> {
    collect(binding, dtype, notes, diagnostics).into_files()
}

/// The config of a target that has it among its parameters, with the numbers of ranks, and the documents beside.
pub(super) fn plan_state(
    binding: &Binding<'_>,
    dtype: Option<DType>,
    notes: &mut Vec<String>,
    diagnostics: &mut Diagnostics,
) -> (Map<String, Json>, Vec<SmallFile>) {
    let mut documents = collect(binding, dtype, notes, diagnostics);
    for rank in binding.mapping.ranks_of(binding.to()) {
        put_count(&mut documents, binding, rank);
    }
    notes.extend(uneven_blocks(binding, &documents));
    let state = std::mem::take(&mut documents.top);
    (state, documents.into_files())
}

/// Puts the number of ranks along an axis where the side keeps it: at the first of its places, and at any other that is
/// there already. A rank that is a part of names has no number where it is the only one, and its place holds nothing.
fn put_count(documents: &mut Documents<'_>, binding: &Binding<'_>, rank: RankId) {
    let count = binding.ranks.count(rank);
    let value = match count {
        1 if is_in_roots(binding.mapping, binding.to(), rank) => Value::Null,
        _ => Value::Int(i64::try_from(count).unwrap_or(i64::MAX)),
    };
    let mut places = binding.mapping.ranks[rank.index()].places.iter();
    if let Some(first) = places.next() {
        documents.put(first, &value);
    }
    for place in places {
        if documents.holds(place) {
            documents.put(place, &value);
        }
    }
}

/// What has to be told to a program that loads ranks with blocks of different sizes.
fn uneven_blocks(binding: &Binding<'_>, documents: &Documents<'_>) -> Vec<String> {
    let to = binding.to();
    let uneven = binding.mapping.ranks_of(to).filter_map(|rank| {
        let blocks = binding.ranks.uneven_shares(rank)?;
        let (axis, _) = binding.distributed_over(rank)?;
        let list = blocks.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
        let (axis, name) = (&binding.mapping.axis(axis).name, &binding.mapping.ranks[rank.index()].name);
        let writes = binding.mapping.config.writes.iter().filter(|w| w.side == to);
        let said = writes.filter(|w| w.value.blocks().contains(&rank)).filter_map(|w| {
            let value = documents.value(&w.place).filter(|value| !value.is_null())?;
            Some(format!("{} = {value}", w.place))
        });
        let said: Vec<String> = said.collect();
        let told = match said.is_empty() {
            true => format!("no argument of `{}` says so", binding.mapping.side(to).name),
            false => format!("what loads them needs the same arguments: {}", said.join(", ")),
        };
        Some(format!("`{name}` ranks hold {list} of `{axis}`; {told}"))
    });
    uneven.collect()
}

fn collect<'m>(
    binding: &Binding<'m>,
    dtype: Option<DType>,
    notes: &mut Vec<String>,
    diagnostics: &mut Diagnostics,
) -> Documents<'m> {
    let mut documents = Documents::of(binding, notes);
    let to = binding.to();
    for (field, known) in binding.mapping.config.fields.iter().zip(&binding.values) {
        let Some(place) = field.places[to.index()].first().filter(|_| field.written[to.index()]) else {
            continue;
        };
        match known {
            // That nothing says what it is, is said by its default alone.
            Some(known) if known.value == Value::Null => {}
            Some(_) if documents.leaves_out(place) => {}
            Some(known) => documents.put_finite(place, &known.value, field.span, diagnostics),
            None => {
                let diagnostic = Diagnostic::error(
                    Code::UnknownValue,
                    field.span,
                    format!("`{}` is not known, but `{place}` is made of it", field.name),
                    "no source gives it",
                );
                let help = format!("give it with `--set {}=VALUE`", field.name);
                diagnostics.push(binding.with_documents(diagnostic).help(help));
            }
        }
    }
    let torch = binding.mapping.side(to).format == Format::Torch;
    let carried = binding.mapping.reflected;
    for write in binding.mapping.config.writes.iter().filter(|w| w.side == to) {
        let value = match write.value.evaluate(&Writing { scope: Scope { binding, key: None }, dtype }) {
            Ok(value) => value,
            // What ranks cannot share is told of where they hold it.
            Err(_) if write.value.has_ranks() && diagnostics.has_errors() => continue,
            Err(error) => {
                diagnostics.push(binding.evaluation_error(&error, write.span));
                continue;
            }
        };
        // The config given knows better than a default of the mapping.
        let is_default = write.value.fields().is_empty() && !write.value.asks_output();
        match binding.base_place(&write.place) {
            Some((base, _)) if is_default => {
                if !base.same(&value) && write.value.first_place().is_some() {
                    notes.push(format!(
                        "{} = {base} of the config given is kept; the checkpoint says {value}",
                        write.place
                    ));
                }
            }
            _ if value == Value::Null && torch => documents.remove(&write.place),
            _ if value == Value::Null && !is_literal(&write.value) => {}
            _ if documents.kept && (is_literal(&write.value) || documents.leaves_out(&write.place)) => {}
            // What the checkpoint itself says is kept, unless it follows from the split.
            _ if carried && is_literal(&write.value) && documents.holds(&write.place) => {}
            _ => documents.put_finite(&write.place, &value, write.span, diagnostics),
        }
    }
    if let Some(place) = binding.mapping.side(to).keeps.as_ref().filter(|_| !carried) {
        documents.put_json(place, documents_to_keep(binding, notes));
    }
    documents
}

/// Whether an expression is the same whatever is converted.
fn is_literal(expr: &Expr) -> bool {
    matches!(expr.kind, ExprKind::Literal(_))
}

/// What expressions of written lines see.
struct Writing<'b, 'a> {
    scope: Scope<'b, 'a>,
    dtype: Option<DType>,
}

impl Environment for Writing<'_, '_> {
    fn field(&self, field: FieldId) -> Option<Value> {
        self.scope.field(field)
    }

    fn place(&self, path: &str) -> Option<Value> {
        self.scope.place(path)
    }

    fn index(&self, axis: AxisId) -> Option<u64> {
        self.scope.index(axis)
    }

    fn ranks(&self, rank: RankId) -> u64 {
        self.scope.ranks(rank)
    }

    fn blocks(&self, rank: RankId, word: BlocksWord) -> Value {
        self.scope.blocks(rank, word)
    }

    fn output_dtype(&self) -> Option<Value> {
        let dtype = self.dtype.filter(|dtype| PARAMETER_DTYPES.contains(dtype))?;
        Some(Value::Text(format!("torch.{}", dtype_name(dtype))))
    }
}

impl<'m> Documents<'m> {
    fn of(binding: &Binding<'m>, notes: &mut Vec<String>) -> Documents<'m> {
        let side = binding.mapping.side(binding.to());
        let carried = match binding.mapping.reflected {
            true => carried_documents(binding, notes),
            false => Map::new(),
        };
        let kept = kept_documents(binding, notes);
        let of_file = |document: &Document| -> Map<String, Json> {
            let kept = kept.as_ref().filter(|_| document.is_file());
            kept.and_then(|kept| kept.get(&document.name)?.as_object()).cloned().unwrap_or_default()
        };
        let files =
            side.documents.iter().map(|document| (document.name.clone(), of_file(document))).collect();
        let mut documents = Documents { side, files, top: carried, kept: kept.is_some() };
        let base = binding.base.iter().flat_map(|base| base.values.clone());
        match documents.main() {
            Some(main) => documents.files[main].1.extend(base),
            None => {
                let main = kept.iter().filter_map(|kept| kept.get(MAIN)?.as_object()).flatten();
                documents.top.extend(main.map(|(key, value)| (key.clone(), value.clone())));
                documents.top.extend(base);
            }
        }
        documents
    }

    /// The file that places without a document refer to.
    fn main(&self) -> Option<usize> {
        self.side.documents.iter().position(|d| d.is_file() && d.alias.is_none())
    }

    /// The document of a place, and the keys in it.
    fn locate(&self, place: &str) -> (Option<usize>, Vec<String>) {
        let (file, path) = match self.side.document_of(place) {
            Some((at, path)) if self.side.documents[at].is_file() && !path.is_empty() => (Some(at), path),
            Some((_, path)) if !path.is_empty() => (None, path),
            _ => (None, place.to_owned()),
        };
        (file, path.split('.').map(str::to_owned).collect())
    }

    fn object(&self, file: Option<usize>) -> &Map<String, Json> {
        file.map_or(&self.top, |at| &self.files[at].1)
    }

    fn object_mut(&mut self, file: Option<usize>) -> &mut Map<String, Json> {
        match file {
            Some(at) => &mut self.files[at].1,
            None => &mut self.top,
        }
    }

    /// Whether a place is of a document beside the main one that did not have it when the checkpoint was made from it.
    fn leaves_out(&self, place: &str) -> bool {
        let (file, _) = self.locate(place);
        self.kept && file.is_some() && file != self.main() && self.value(place).is_none()
    }

    /// What is at a dotted place.
    fn value(&self, place: &str) -> Option<&Json> {
        let (file, keys) = self.locate(place);
        let (first, rest) = keys.split_first()?;
        rest.iter().try_fold(self.object(file).get(first)?, |value, key| value.get(key))
    }

    /// Whether something other than null is at a dotted place.
    fn holds(&self, place: &str) -> bool {
        self.value(place).is_some_and(|value| !value.is_null())
    }

    /// Takes away what is at a dotted place.
    fn remove(&mut self, place: &str) {
        let (file, mut keys) = self.locate(place);
        let Some(last) = keys.pop() else { return };
        let mut object = self.object_mut(file);
        for key in keys {
            let Some(Json::Object(inner)) = object.get_mut(&key) else { return };
            object = inner;
        }
        object.shift_remove(&last);
    }

    /// The same for a value that a mapping gives, which can be a number that no config holds.
    fn put_finite(&mut self, place: &str, value: &Value, span: Span, diagnostics: &mut Diagnostics) {
        if is_finite(value) {
            self.put(place, value);
            return;
        }
        let message = format!("`{place}` would be {value}, which no config can hold");
        let diagnostic = Diagnostic::error(Code::TypeMismatch, span, message, "not a finite number");
        diagnostics.push(diagnostic.help("check for a division by zero, and for numbers that are too large"));
    }

    /// Puts a value at a dotted place; a first part that is an alias chooses the document.
    fn put(&mut self, place: &str, value: &Value) {
        self.put_json(place, to_json(value));
    }

    fn put_json(&mut self, place: &str, value: Json) {
        let (file, mut keys) = self.locate(place);
        let last = keys.pop().unwrap_or_default();
        let mut object = self.object_mut(file);
        for key in keys {
            let next = object.entry(key).or_insert_with(|| Json::Object(Map::new()));
            if !next.is_object() {
                *next = Json::Object(Map::new());
            }
            let Json::Object(inner) = next else { return };
            object = inner;
        }
        object.insert(last, value);
    }

    /// Keys sorted, as transformers writes them.
    fn into_files(self) -> Vec<SmallFile> {
        let mut files = self.files;
        if !self.top.is_empty() {
            match files.iter_mut().find(|(name, _)| name == MAIN) {
                Some((_, values)) => values.extend(self.top),
                None => files.insert(0, (MAIN.to_owned(), self.top)),
            }
        }
        let full = files.into_iter().filter(|(_, values)| !values.is_empty());
        full.map(|(name, values)| {
            let mut sorted: Vec<(String, Json)> = values.into_iter().collect();
            sorted.sort_by(|a, b| a.0.cmp(&b.0));
            let object = Json::Object(sorted.into_iter().collect());
            SmallFile { name, bytes: format!("{object:#}\n").into_bytes() }
        })
        .collect()
    }
}

/// Whether all numbers of a value are finite.
fn is_finite(value: &Value) -> bool {
    match value {
        Value::Float(x) => x.is_finite(),
        Value::List(items) => items.iter().all(is_finite),
        _ => true,
    }
}

pub(crate) fn to_json(value: &Value) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::Bool(b) => Json::Bool(*b),
        Value::Int(n) => Json::from(*n),
        Value::Float(x) => Json::from(*x),
        Value::Text(text) => Json::String(text.clone()),
        Value::List(items) => Json::Array(items.iter().map(to_json).collect()),
    }
}
