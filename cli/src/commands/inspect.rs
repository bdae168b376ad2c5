//! `transship inspect`.

use std::io::Write;

use serde_json::{Value as Json, json};
use transship::{Checkpoint, Tensor, Value};

use crate::args::{Format, Inspect};
use crate::load::open;
use crate::size::show_size;
use crate::{Failure, Streams};

pub(crate) fn run(args: &Inspect, streams: &mut Streams<'_>) -> Result<(), Failure> {
    let checkpoint = open(&args.input, args.member.as_deref())?;
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
    writeln!(out, "{}: {}", checkpoint.file(), checkpoint.format())?;
    writeln!(out, "{} tensors, {elements} elements, {} stored", tensors.len(), show_size(stored))?;
    let mut root = Node::default();
    for tensor in tensors {
        root.insert(&tensor.name, describe(checkpoint, tensor));
    }
    for unsupported in checkpoint.unsupported() {
        let text = format!("{} {:?}  not converted", unsupported.dtype, unsupported.shape);
        root.insert(&unsupported.name, text);
    }
    root.write(out, 0)?;
    write_documents(checkpoint.documents(), out, 0)?;
    Ok(())
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
    places: std::collections::HashMap<String, usize>,
}

impl Node {
    fn insert(&mut self, name: &str, text: String) {
        let mut node = self;
        for part in name.split('.') {
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
            writeln!(out, "{:indent$}{path}{text}", "", indent = depth * 2)?;
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
            writeln!(out, "{:indent$}{name}", "")?;
            write_documents(value, out, depth + 1)?;
        } else {
            writeln!(out, "{:indent$}{name} = {value}", "")?;
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
            json!({
                "name": t.name,
                "dtype": t.dtype.name(),
                "shape": t.shape,
                "strides": t.strides,
                "offset": t.offset,
                "contiguous": t.is_contiguous(),
                "storage": storage.key,
                "storage_bytes": storage.len(),
                "shared": storage.is_shared(),
            })
        })
        .collect();
    let unsupported: Vec<Json> = checkpoint
        .unsupported()
        .iter()
        .map(|u| json!({ "name": u.name, "dtype": u.dtype, "shape": u.shape }))
        .collect();
    json!({
        "file": checkpoint.file(),
        "format": checkpoint.format().to_string(),
        "tensors": tensors,
        "unsupported": unsupported,
        "documents": checkpoint.documents().to_json(),
    })
}
