//! Config documents of the target.

use transship_grammar as grammar;

use grammar::{
    AxisId, BlocksWord, Code, Diagnostic, Diagnostics, Environment, Expr, ExprKind, FieldId, Format, RankId,
    Value,
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

/// The documents in the making, by file name, the main one first.
struct Documents {
    files: Vec<(String, Map<String, Json>)>,
    aliases: Vec<(String, String)>,
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

/// The config of a target that has it among its parameters, with the numbers of ranks.
pub(super) fn plan_state(
    binding: &Binding<'_>,
    dtype: Option<DType>,
    notes: &mut Vec<String>,
    diagnostics: &mut Diagnostics,
) -> Map<String, Json> {
    let mut documents = collect(binding, dtype, notes, diagnostics);
    for rank in binding.mapping.ranks_of(binding.to()) {
        put_count(&mut documents, binding, rank);
    }
    notes.extend(uneven_blocks(binding, &documents));
    documents.files.swap_remove(0).1
}

/// Puts the number of ranks along an axis where the side keeps it: at the first of its places, and at any other that is
/// there already. A rank that is a part of names has no number where it is the only one, and its place holds nothing.
fn put_count(documents: &mut Documents, binding: &Binding<'_>, rank: RankId) {
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
fn uneven_blocks(binding: &Binding<'_>, documents: &Documents) -> Vec<String> {
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

fn collect(
    binding: &Binding<'_>,
    dtype: Option<DType>,
    notes: &mut Vec<String>,
    diagnostics: &mut Diagnostics,
) -> Documents {
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
            Some(known) => documents.put(place, &known.value),
            None => diagnostics.push(
                Diagnostic::error(
                    Code::UnknownValue,
                    field.span,
                    format!("`{}` is not known, but `{place}` is made of it", field.name),
                    "no source gives it",
                )
                .help(format!("give it with `--set {}=VALUE`", field.name)),
            ),
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
            _ => documents.put(&write.place, &value),
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

impl Documents {
    fn of(binding: &Binding<'_>, notes: &mut Vec<String>) -> Documents {
        let declared = &binding.mapping.side(binding.to()).documents;
        let mut base = match binding.mapping.reflected {
            true => carried_documents(binding, notes),
            false => Map::new(),
        };
        let kept = kept_documents(binding, notes);
        let main = declared.iter().find(|d| d.is_file() && d.alias.is_none()).map_or(MAIN, |d| &d.name);
        base.extend(kept.iter().filter_map(|kept| kept.get(main)?.as_object()).cloned().flatten());
        base.extend(binding.base.iter().flat_map(|b| b.values.clone()));
        let mut documents =
            Documents { files: vec![(MAIN.to_owned(), base)], aliases: Vec::new(), kept: kept.is_some() };
        let of_file = |name: &str| -> Map<String, Json> {
            kept.as_ref().and_then(|kept| kept.get(name)?.as_object()).cloned().unwrap_or_default()
        };
        let mut named = false;
        for document in declared.iter().filter(|d| d.is_file()) {
            match &document.alias {
                None if !named => {
                    documents.files[0].0.clone_from(&document.name);
                    named = true;
                }
                None => documents.files.push((document.name.clone(), of_file(&document.name))),
                Some(alias) => {
                    documents.files.push((document.name.clone(), of_file(&document.name)));
                    documents.aliases.push((alias.clone(), document.name.clone()));
                }
            }
        }
        documents
    }

    /// The document of a dotted place, and the keys in it; a first part that is an alias chooses the document.
    fn locate<'p>(&self, place: &'p str) -> (usize, Vec<&'p str>) {
        let (first, rest) = place.split_once('.').unwrap_or((place, ""));
        let named = self.aliases.iter().find(|(alias, _)| alias == first).map(|(_, file)| file);
        let path = if named.is_some() && !rest.is_empty() { rest } else { place };
        let file = named.and_then(|name| self.files.iter().position(|(n, _)| n == name)).unwrap_or(0);
        (file, path.split('.').collect())
    }

    /// Whether a place is of a document beside the main one that did not have it when the checkpoint was made from it.
    fn leaves_out(&self, place: &str) -> bool {
        self.kept && self.locate(place).0 > 0 && self.value(place).is_none()
    }

    /// What is at a dotted place.
    fn value(&self, place: &str) -> Option<&Json> {
        let (file, keys) = self.locate(place);
        let (first, rest) = keys.split_first()?;
        rest.iter().try_fold(self.files[file].1.get(*first)?, |value, key| value.get(*key))
    }

    /// Whether something other than null is at a dotted place.
    fn holds(&self, place: &str) -> bool {
        self.value(place).is_some_and(|value| !value.is_null())
    }

    /// Takes away what is at a dotted place.
    fn remove(&mut self, place: &str) {
        let (file, mut keys) = self.locate(place);
        let Some(last) = keys.pop() else { return };
        let mut object = &mut self.files[file].1;
        for key in keys {
            let Some(Json::Object(inner)) = object.get_mut(key) else { return };
            object = inner;
        }
        object.shift_remove(last);
    }

    /// Puts a value at a dotted place; a first part that is an alias chooses the document.
    fn put(&mut self, place: &str, value: &Value) {
        self.put_json(place, to_json(value));
    }

    fn put_json(&mut self, place: &str, value: Json) {
        let (file, mut keys) = self.locate(place);
        let mut object = &mut self.files[file].1;
        let last = keys.pop().unwrap_or_default();
        for key in keys {
            let next = object.entry(key).or_insert_with(|| Json::Object(Map::new()));
            if !next.is_object() {
                *next = Json::Object(Map::new());
            }
            let Json::Object(inner) = next else { return };
            object = inner;
        }
        object.insert(last.to_owned(), value);
    }

    /// Keys sorted, as transformers writes them.
    fn into_files(self) -> Vec<SmallFile> {
        let full = self.files.into_iter().filter(|(_, values)| !values.is_empty());
        full.map(|(name, values)| {
            let mut sorted: Vec<(String, Json)> = values.into_iter().collect();
            sorted.sort_by(|a, b| a.0.cmp(&b.0));
            let object = Json::Object(sorted.into_iter().collect());
            SmallFile { name, bytes: format!("{object:#}\n").into_bytes() }
        })
        .collect()
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
