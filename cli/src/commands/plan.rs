//! `transship plan`.

use serde_json::{Value, json};
use transship::engine::TargetTensor;
use transship::grammar::escaped;
use transship::output::TensorSpec;
use transship::{Binding, Plan, Source};

use crate::args::{Format, Plan as Args};
use crate::load::{Loaded, failed, load};
use crate::size::show_size;
use crate::{Failure, Streams};

pub(crate) fn run(args: &Args, streams: &mut Streams<'_>) -> Result<(), Failure> {
    let loaded = load(&args.conversion, streams)?;
    let Loaded { mapping, checkpoint, from, bind, plan, notes } = &loaded;
    let binding = Binding::new(mapping, checkpoint, *from, bind).map_err(|d| failed(&d, streams))?;
    let plan = Plan::new(&binding, plan).map_err(|d| failed(&d, streams))?;
    match args.format {
        Format::Json => writeln!(streams.out, "{:#}", as_json(&binding, &plan, notes))?,
        Format::Text => write_text(&binding, &plan, notes, streams)?,
    }
    Ok(())
}

fn bytes(tensor: &TargetTensor<'_>) -> u64 {
    TensorSpec::of(tensor).bytes().unwrap_or(0)
}

fn write_text(
    binding: &Binding<'_>,
    plan: &Plan<'_>,
    notes: &[String],
    streams: &mut Streams<'_>,
) -> Result<(), Failure> {
    let out = &mut *streams.out;
    writeln!(out, "config")?;
    for (name, value, origin) in binding.values() {
        writeln!(out, "  {name} = {value}  ({})", escaped(&origin.to_string()))?;
    }
    writeln!(out, "tensors")?;
    for (tensor, sources) in plan.tensors() {
        writeln!(
            out,
            "  {}  {} {:?}  {}",
            escaped(&tensor.name),
            tensor.dtype,
            tensor.shape,
            show_size(bytes(tensor))
        )?;
        for Source { name, steps } in sources {
            let steps = if steps.is_empty() { "as it is".to_owned() } else { steps.join("; ") };
            writeln!(out, "    from {}: {steps}", escaped(name))?;
        }
    }
    writeln!(out, "files")?;
    for file in &plan.output().files {
        writeln!(out, "  {}  {}, {} tensors", file.name, show_size(file.size), file.tensors.len())?;
    }
    for file in plan.output().index.iter().chain(plan.documents()) {
        writeln!(out, "  {}  {}", file.name, show_size(file.bytes.len() as u64))?;
    }
    for note in notes.iter().chain(plan.notes()) {
        writeln!(out, "note: {}", escaped(note))?;
    }
    Ok(())
}

fn as_json(binding: &Binding<'_>, plan: &Plan<'_>, notes: &[String]) -> Value {
    let notes: Vec<&String> = notes.iter().chain(plan.notes()).collect();
    let config: Vec<Value> = binding
        .values()
        .map(|(name, value, origin)| json!({ "name": name, "value": value.to_string(), "origin": origin.to_string() }))
        .collect();
    let tensors: Vec<Value> = plan
        .tensors()
        .map(|(tensor, sources)| {
            let sources: Vec<Value> =
                sources.iter().map(|s| json!({ "name": s.name, "steps": s.steps })).collect();
            json!({
                "name": tensor.name,
                "dtype": tensor.dtype.name(),
                "shape": tensor.shape,
                "bytes": bytes(tensor),
                "sources": sources,
            })
        })
        .collect();
    let files: Vec<Value> = plan
        .output()
        .files
        .iter()
        .map(|f| {
            let names: Vec<&str> = f.tensors.iter().map(|t| t.spec.name.as_str()).collect();
            json!({ "name": f.name, "bytes": f.size, "tensors": names })
        })
        .chain(
            plan.output()
                .index
                .iter()
                .chain(plan.documents())
                .map(|f| json!({ "name": f.name, "bytes": f.bytes.len(), "tensors": [] })),
        )
        .collect();
    json!({ "config": config, "tensors": tensors, "files": files, "notes": notes })
}
