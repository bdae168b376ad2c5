//! Lowering of the shipped mappings' models: the whole as text, and single facts by themselves.

mod print;

use std::path::Path;

use crate::model::{Attention, Block, Dim, Model, ModuleKind, Statement, Value, ValueKind};
use crate::{Mapping, Source, Style, Target, check, render};

use print::Printer;

/// A shipped mapping, which must pass.
fn shipped(name: &str) -> Mapping {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../mappings");
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).expect("shipped mappings are there");
    let source = Source::load(name, &read(&format!("{name}.mapping")), &mut |_, target| match target {
        Target::Library(name) => Ok((name.to_owned(), read(&format!("library/{name}.mapping")))),
        Target::Path(path) => Err(format!("{path} is none of them")),
    });
    match check(&source) {
        Ok((mapping, said)) => {
            assert!(said.list().is_empty(), "{}", render(&said, Style::Full { colour: false }));
            mapping
        }
        Err(said) => panic!("{}", render(&said, Style::Full { colour: false })),
    }
}

/// Everything that computes a value in a block, inner values before outer ones.
fn values(block: &Block) -> Vec<&Value> {
    let mut all = Vec::new();
    block.visit(&mut |value| all.push(value));
    all
}

/// Names of the dimensions of a value.
fn names(mapping: &Mapping, model: &Model, dims: &[Dim]) -> Vec<String> {
    dims.iter().map(|dim| Printer { mapping, model }.dim(dim)).collect()
}

fn attention(model: &Model) -> &Attention {
    let found = values(&model.block).into_iter().find_map(|v| match &v.kind {
        ValueKind::Attention(attention) => Some(&**attention),
        _ => None,
    });
    found.expect("the model attends")
}

#[test]
fn models_of_shipped_mappings() {
    for name in
        ["megatron_gpt2", "mcore_gpt2", "mcore_llama", "mcore_mixtral", "megatron_llama", "megatron_bert"]
    {
        let mapping = shipped(name);
        let all: Vec<String> =
            mapping.models.iter().map(|model| Printer { mapping: &mapping, model }.model()).collect();
        assert!(!all.is_empty(), "{name} has a model");
        insta::assert_snapshot!(name, all.join("\n"));
    }
}

#[test]
fn grouped_query_attention_is_taken_apart_by_group() {
    let mapping = shipped("mcore_llama");
    let [model] = mapping.models.as_slice() else { panic!("one model") };
    let seen = attention(model);
    let shape = |v: &Value| names(&mapping, model, &v.ty.dims);
    assert_eq!(shape(&seen.query), ["batch", "seq", "groups", "rep", "head_dim"]);
    assert_eq!(shape(&seen.key), ["batch", "seq", "groups", "head_dim"]);
    assert_eq!(shape(&seen.value), ["batch", "seq", "groups", "head_dim"]);
    assert_eq!((seen.groups.as_slice(), seen.shared.as_slice()), ([2].as_slice(), [3].as_slice()));
    assert!(seen.causal && seen.mask.is_none() && seen.scale.is_none());
}

#[test]
fn every_form_of_fused_attention_has_parts_outside() {
    for name in ["megatron_gpt2", "mcore_gpt2"] {
        let mapping = shipped(name);
        let [model] = mapping.models.as_slice() else { panic!("one model") };
        let fused = model.parameters.iter().filter(|p| p.layout.sums().len() == 1);
        let fused: Vec<String> = fused.map(|p| mapping.display_layout(&p.layout)).collect();
        let out = "(q: heads head_dim | k: heads head_dim | v: heads head_dim)";
        assert_eq!(fused, [format!("[{out} hidden]"), format!("[{out}]")], "{name}");
    }
}

#[test]
fn a_weight_has_its_output_first_whichever_way_it_is_stored() {
    let mapping = shipped("megatron_gpt2");
    let [model] = mapping.models.as_slice() else { panic!("one model") };
    let c_fc = model.modules.iter().find(|m| m.name == "c_fc").expect("there is one");
    let ModuleKind::Linear { weight, bias: Some(bias) } = c_fc.kind else { panic!("c_fc is a linear") };
    let shown = |p| mapping.display_layout(&model.parameter(p).layout);
    assert_eq!((shown(weight).as_str(), shown(bias).as_str()), ("[ffn hidden]", "[ffn]"));
    let source = &model.parameter(weight).sources[0];
    let stored = &mapping.rules[source.rule].sides[model.side.index()][source.entry].stored[0];
    assert_eq!(mapping.display_layout(&stored.layouts[0].1), "[hidden ffn]");
}

#[test]
fn a_head_that_is_not_tied_is_used_where_it_is_there() {
    let mapping = shipped("mcore_llama");
    let [model] = mapping.models.as_slice() else { panic!("one model") };
    let ValueKind::Choose { arms, .. } = &model.block.result.kind else { panic!("the head is chosen") };
    let used: Vec<&str> = arms
        .iter()
        .map(|(_, block)| match &block.result.kind {
            ValueKind::Linear { weight, contracted: 1, module: None, .. } => {
                let p = model.parameter(*weight);
                model.scope(p.scope).name.as_str()
            }
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(used, ["word_embeddings", "output_layer"]);
}

#[test]
fn experts_are_summed_over_what_is_chosen() {
    let mapping = shipped("mcore_mixtral");
    let [model] = mapping.models.as_slice() else { panic!("one model") };
    let routed = values(&model.block).into_iter().find_map(|v| match &v.kind {
        ValueKind::Routed(routed) => Some(&**routed),
        _ => None,
    });
    let routed = routed.expect("experts are routed to");
    assert_eq!(names(&mapping, model, &routed.indices.ty.dims), ["batch", "seq", "chosen"]);
    assert_eq!(routed.weights.ty.dims, routed.indices.ty.dims);
    assert_eq!(names(&mapping, model, &routed.body.result.ty.dims), ["batch", "seq", "hidden"]);
    assert_eq!(routed.captured.len(), 1);
    let scope = model.scope(routed.scope);
    let index = scope.index.as_ref().expect("experts are numbered");
    assert_eq!((scope.name.as_str(), mapping.axis(index.axis).name.as_str()), ("local_experts", "expert"));
}

#[test]
fn loops_hand_on_what_they_bind_again() {
    let mapping = shipped("megatron_gpt2");
    let [model] = mapping.models.as_slice() else { panic!("one model") };
    let found = model.block.statements.iter().find_map(|s| match s {
        Statement::For { carried, captured, body, .. } => Some((carried, captured, body)),
        _ => None,
    });
    let (carried, captured, body) = found.expect("there is a loop");
    let [x] = carried.as_slice() else { panic!("one value is handed on") };
    assert!(captured.is_empty(), "{captured:?}");
    assert_eq!(body.len(), 3);
    assert_eq!(model.variable(x.start).ty, model.variable(x.end).ty);
    assert!(model.scopes.iter().enumerate().all(|(at, s)| s.parent.is_none_or(|p| p.index() < at)));
}

/// A mapping of a few rules and one model.
fn small(rules: &str, model: &str) -> Mapping {
    let text = format!(
        "mapping m : a <=> b\n\nconfig {{\n    hidden = args.hidden <=> n_embd\n    heads = args.heads <=> n_head\n    \
         vocab = args.vocab <=> vocab_size\n    era: int = args.era <=> era else 0\n    tied: bool = args.tied <=> tied \
         else false\n    hidden = heads * head_dim\n}}\n\nmodule linear(out, in) : linear {{ weight [out in] }}\nmodule \
         conv1d(out, in) : linear {{ weight [in out] }}\n\nwte [vocab hidden] <=> wte [vocab hidden]\n{rules}\n\n{model}\n"
    );
    match check(&Source::new("small", &text)) {
        Ok((mapping, _)) => mapping,
        Err(said) => panic!("{}", render(&said, Style::Full { colour: false })),
    }
}

#[test]
fn a_square_weight_is_told_apart_by_its_roles() {
    let mapping = small(
        "x : conv1d(hidden, hidden) <=> y : linear(hidden, hidden)",
        "model m over a (tokens [batch seq] in vocab) -> y [batch seq hidden] { x(wte[tokens]) }",
    );
    let weight = mapping.models[0].parameters.iter().find(|p| p.module.is_some()).expect("x has a weight");
    let roles = |layout: &crate::Layout| -> Vec<Option<String>> {
        layout.axes().iter().map(|axis| axis.role.clone()).collect()
    };
    assert_eq!(roles(&weight.layout), [Some("out".to_owned()), Some("in".to_owned())]);
    let stored = &mapping.rules[weight.sources[0].rule].sides[0][0].stored[0].layouts[0].1;
    assert_eq!(roles(stored), [Some("in".to_owned()), Some("out".to_owned())]);
}

#[test]
fn sums_inside_sums_come_out_in_the_order_they_are_written() {
    let layout = "(heads (a | b: (c | d)) (e | f) head_dim)";
    let mapping = small(
        &format!("x : linear({layout}, hidden) <=> y : linear({layout}, hidden)"),
        "model m over a (tokens [batch seq] in vocab) -> y [batch seq heads head_dim] {
            let (a, b) = x(wte[tokens])
            let (c, d) = b
            let (e, f) = a
            let (e: g, f: h) = c + d
            e + f + g + h
        }",
    );
    let model = &mapping.models[0];
    let x = model.parameters.iter().find(|p| p.module.is_some()).expect("x has a weight");
    assert_eq!(
        mapping.display_layout(&x.layout),
        "[(a: (e: heads head_dim | f: heads head_dim) \
         | b: (c: (e: heads head_dim | f: heads head_dim) | d: (e: heads head_dim | f: heads head_dim))) hidden]"
    );
}

#[test]
fn a_parameter_that_some_branch_always_gives_is_there() {
    let mapping = small(
        "when tied { match era { 0 => { w [hidden] <=> w0 [hidden] } _ => { w [hidden] <=> w1 [hidden] } } }\n\
         else { w [hidden] <=> w2 [hidden] }",
        "model m over a (tokens [batch seq] in vocab) -> y [batch seq hidden] { wte[tokens] * w }",
    );
    let w = mapping.models[0].parameters.iter().find(|p| p.name == "w").expect("w is used");
    assert_eq!(w.sources.len(), 3);
    for (i, a) in w.sources.iter().enumerate() {
        assert!(w.sources[..i].iter().all(|b| a.guard.excludes(&b.guard)));
    }
}
