//! `transship inspect`.

use std::collections::HashMap;
use std::io::Write;

use serde_json::{Value as Json, json};
use transship::grammar::escaped;
use transship::{Checkpoint, Tensor, Value};

use crate::args::{Format, Inspect};
use crate::load::open;
use crate::size::show_size;
use crate::{Failure, Streams};

pub(crate) fn run(args: &Inspect, streams: &mut Streams<'_>) -> Result<(), Failure> {
    let checkpoint = open(&args.input, &args.choice)?;
    match args.format {
        Format::Json => writeln!(streams.out, "{:#}", as_json(&checkpoint))?,
        Format::Text => write_text(&checkpoint, streams.out)?,
    }
    Ok(())
}

fn write_text(checkpoint: &Checkpoint, out: &mut dyn Write) -> Result<(), Failure> {
    let tensors = checkpoint.tensors();
    let elements: u64 = tensors.iter().map(Tensor::elements).fold(0, u64::saturating_add);
    let stored: u64 = checkpoint.storages().iter().map(transship::Storage::len).fold(0, u64::saturating_add);
    let ranks = match checkpoint.ranks().len() {
        1 => String::new(),
        count => format!(", {count} ranks"),
    };
    writeln!(out, "{}: {}{ranks}", checkpoint.file(), checkpoint.format())?;
    writeln!(out, "{} tensors, {elements} elements, {} stored", tensors.len(), show_size(stored))?;
    for part in alike(checkpoint) {
        if let [_, _, ..] = checkpoint.ranks() {
            writeln!(out, "{}", escaped(&part.ranks.join(", ")))?;
        }
        part.names.write(out, usize::from(checkpoint.ranks().len() > 1))?;
    }
    let mut unsupported = Node::default();
    for tensor in checkpoint.unsupported() {
        unsupported.insert(&tensor.name, format!("{} {:?}  not converted", tensor.dtype, tensor.shape));
    }
    unsupported.write(out, 0)?;
    write_documents(checkpoint.documents(), out, 0)?;
    for note in checkpoint.notes() {
        writeln!(out, "note: {}", escaped(note))?;
    }
    Ok(())
}

/// Ranks that hold tensors of the same names, dtypes and shapes.
struct Part<'a> {
    ranks: Vec<&'a str>,
    names: Node,
}

/// The ranks in groups that hold alike tensors, in order of the first of each.
fn alike(checkpoint: &Checkpoint) -> Vec<Part<'_>> {
    let mut tensors: Vec<Vec<(&str, String)>> = vec![Vec::new(); checkpoint.ranks().len()];
    for tensor in checkpoint.tensors() {
        tensors[tensor.rank].push((&tensor.name, describe(checkpoint, tensor)));
    }
    let mut groups: HashMap<Vec<(&str, String)>, usize> = HashMap::new();
    let mut parts: Vec<Part<'_>> = Vec::new();
    for (rank, tensors) in checkpoint.ranks().iter().zip(tensors) {
        let part = *groups.entry(tensors).or_insert_with_key(|tensors| {
            let mut names = Node::default();
            for (name, text) in tensors {
                names.insert(name, text.clone());
            }
            parts.push(Part { ranks: Vec::new(), names });
            parts.len() - 1
        });
        parts[part].ranks.push(&rank.name);
    }
    parts
}

/// `f16 [640, 64]`, and what is out of the ordinary about it.
fn describe(checkpoint: &Checkpoint, tensor: &Tensor) -> String {
    let mut text = format!("{} {:?}", tensor.dtype, tensor.shape);
    if !tensor.is_contiguous() {
        text.push_str(&format!("  strides {:?}", tensor.strides));
    }
    let storage = checkpoint.storage(tensor);
    if storage.is_shared() {
        text.push_str(&format!(
            "  at {} of storage {}, shared by {}",
            tensor.offset,
            storage.key,
            storage.tensors.len()
        ));
    }
    text
}

/// Names as a tree; a branch with one child is written in one line with it.
#[derive(Default)]
struct Node {
    text: Option<String>,
    children: Vec<(String, Node)>,
    places: HashMap<String, usize>,
}

impl Node {
    fn insert(&mut self, name: &str, text: String) {
        let mut node = self;
        // A name of absurdly many parts is shown with its tail in one.
        for part in name.splitn(64, '.') {
            let next = node.children.len();
            let place = *node.places.entry(part.to_owned()).or_insert(next);
            if place == next {
                node.children.push((part.to_owned(), Node::default()));
            }
            node = &mut node.children[place].1;
        }
        node.text = Some(text);
    }

    fn write(&self, out: &mut dyn Write, depth: usize) -> std::io::Result<()> {
        for (name, child) in &self.children {
            let mut path = name.clone();
            let mut node = child;
            while let (None, [(only, next)]) = (&node.text, node.children.as_slice()) {
                path.push('.');
                path.push_str(only);
                node = next;
            }
            let text = node.text.as_ref().map(|t| format!("  {t}")).unwrap_or_default();
            writeln!(out, "{:indent$}{}", "", escaped(&format!("{path}{text}")), indent = depth * 2)?;
            node.write(out, depth + 1)?;
        }
        Ok(())
    }
}

/// Plain data, without the branches that hold only tensors.
fn write_documents(value: &Value, out: &mut dyn Write, depth: usize) -> Result<(), Failure> {
    let entries: Vec<(String, &Value)> = match value {
        Value::Map(map) => map.iter().map(|(k, v)| (k.to_string(), v)).collect(),
        Value::Object(object) => object.attributes.iter().map(|(k, v)| (k.to_string(), v)).collect(),
        _ => Vec::new(),
    };
    for (name, value) in entries.iter().filter(|(_, v)| !only_tensors(v)) {
        let indent = depth * 2;
        let nested = match value {
            Value::Map(map) => !map.is_empty() && depth < 1,
            Value::Object(object) => !object.attributes.is_empty() && depth < 1,
            _ => false,
        };
        if nested {
            writeln!(out, "{:indent$}{}", "", escaped(name))?;
            write_documents(value, out, depth + 1)?;
        } else {
            writeln!(out, "{:indent$}{}", "", escaped(&format!("{name} = {value}")))?;
        }
    }
    Ok(())
}

fn only_tensors(value: &Value) -> bool {
    match value {
        Value::Tensor(_) => true,
        Value::Map(map) => !map.is_empty() && map.values().all(only_tensors),
        _ => false,
    }
}

fn as_json(checkpoint: &Checkpoint) -> Json {
    let tensors: Vec<Json> = checkpoint
        .tensors()
        .iter()
        .map(|t| {
            let storage = checkpoint.storage(t);
            let mut json = json!({
                "name": t.name,
                "dtype": t.dtype.name(),
                "shape": t.shape,
                "strides": t.strides,
                "offset": t.offset,
                "contiguous": t.is_contiguous(),
                "storage": storage.key,
                "storage_bytes": storage.len(),
                "shared": storage.is_shared(),
            });
            if checkpoint.ranks().len() > 1 {
                json["rank"] = t.rank.into();
            }
            if let Some(chunk) = &t.chunk {
                json["chunk"] = json!({ "shape": chunk.shape, "offsets": chunk.offsets });
            }
            json
        })
        .collect();
    let unsupported: Vec<Json> = checkpoint
        .unsupported()
        .iter()
        .map(|u| json!({ "name": u.name, "dtype": u.dtype, "shape": u.shape }))
        .collect();
    let ranks: Vec<Json> = checkpoint
        .ranks()
        .iter()
        .filter(|rank| !rank.name.is_empty())
        .map(|rank| json!({ "name": rank.name, "numbers": rank.numbers, "file": rank.file }))
        .collect();
    json!({
        "file": checkpoint.file(),
        "format": checkpoint.format().to_string(),
        "tensors": tensors,
        "unsupported": unsupported,
        "ranks": ranks,
        "documents": checkpoint.documents().to_json(),
    })
}
