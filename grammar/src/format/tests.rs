mod generate;

use proptest::prelude::*;

use super::format;
use crate::parse::parse_part;
use crate::source::Source;

fn formatted(text: &str) -> String {
    format(&Source::new("test.mapping", text)).unwrap_or_else(|e| panic!("{:?}\n{text}", e.list()))
}

/// The syntax tree without the places of anything.
fn tree(text: &str) -> Option<String> {
    let file = parse_part(&Source::new("test.mapping", text).parts()[0]).ok()?;
    Some(without_spans(&format!("{file:?}")))
}

/// A printed tree with `at` for spans, which print as `3..17`; what is in quotes stays.
fn without_spans(tree: &str) -> String {
    let mut out = String::new();
    let mut quoted = false;
    let mut rest = tree;
    while let Some(c) = rest.chars().next() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let length = match c {
            '\\' if quoted => 1 + rest[1..].chars().next().map_or(0, char::len_utf8),
            '0'..='9' if !quoted => digits,
            other => other.len_utf8(),
        };
        quoted ^= c == '"';
        if digits > 0 && !quoted && rest[digits..].starts_with("..") {
            out.push_str("at");
            rest = rest[digits + 2..].trim_start_matches(|c: char| c.is_ascii_digit());
        } else {
            out.push_str(&rest[..length]);
            rest = &rest[length..];
        }
    }
    out
}

#[test]
fn trees_are_compared_without_spans_but_with_all_else() {
    let tree = r#"Index { factor: 2, text: "0..1 \"3..4", span: 10..12 }"#;
    assert_eq!(without_spans(tree), r#"Index { factor: 2, text: "0..1 \"3..4", span: at }"#);
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 256,
        max_global_rejects: 100,
        failure_persistence: None,
        max_shrink_iters: 3000,
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_mapping_keeps_its_tree_and_its_comments(noisy in generate::mapping()) {
        let before = tree(&noisy.text);
        prop_assume!(before.is_some());
        let once = formatted(&noisy.text);
        prop_assert_eq!(tree(&once), before, "{}", once);
        prop_assert_eq!(formatted(&once), once.clone());
        for comment in &noisy.comments {
            let id = comment.split_inclusive(';').next().unwrap_or_default();
            let found: Vec<&str> = once.lines().filter(|line| line.contains(id)).collect();
            prop_assert!(
                matches!(found.as_slice(), [line] if line.ends_with(comment.as_str())),
                "{} in\n{}", comment, once
            );
        }
        prop_assert!(once.ends_with('\n') && !once.ends_with("\n\n") && !once.contains("\n\n\n"));
        prop_assert!(once.lines().all(|line| line.trim_end() == line), "white space at the end of a line");
    }
}

#[test]
fn only_what_does_not_parse_is_refused() {
    assert!(format(&Source::new("test.mapping", "mapping a : b <=> c\nx [y <=> z")).is_err());
    let unchecked = "mapping a : b <=> c\n\nno_such_side.x [unknown_axis]  <=>  y [another]\n";
    assert_eq!(formatted(unchecked), unchecked);
}

#[test]
fn a_config_value_may_begin_with_a_place() {
    let text = "mapping a : b <=> c\nconfig {\n    x = p or q\n    y = p and q\n    z = p < q\n}\n";
    assert_eq!(formatted(text), text);
}

#[test]
fn comments_after_an_operator_are_not_part_of_it() {
    let text = "mapping a : b <=> c\nconfig { x = 1 < // less\n y x = 1 - // minus\n 2 } layout q = (a | _ // pad\n )";
    insta::assert_snapshot!(formatted(text));
}

#[test]
fn rules() {
    let ugly = r#"mapping m:a<=>b
embed.weight[vocab@tp hidden]<=>wte.weight[vocab hidden]fill last
pos[positions hidden]+1 as f32=>transformer.wpe.weight[positions hidden]on pp.first   replicas mean


(encoder|transformer).layers.{ layer+2@pp@vpp in dense:02 }<=>h.{layer}{
a:norm(hidden)<=>ln_1:norm(hidden)
attention.query_key_value:linear(((q|k|v)heads@tp head_dim),hidden)<=>attn.c_attn?:conv1d(((q|k|v)heads head_dim),hidden)
mlp.dense:linear(ffn@tp,hidden)<=>mlp.c_fc:conv1d(ffn,hidden)

((input_layernorm|input_norm):norm(hidden)|self_attention.layernorm_qkv:fused_norm(hidden)) <=> ln_2:norm(hidden)
( a? | b:k() )<=>c
{q:q_proj.weight[(heads head_dim)hidden]k:k_proj.weight[(groups[layer]head_dim)hidden]}<=>qkv[((q:rep|k:1)groups head_dim)@tp hidden] fill normal(1,0.5)
{q:q_proj[x]k:k_proj[x]}<=>qkv[(q|k)x]
x[*rep 1 _ out:hidden in:hidden]<=>"odd \"name\"".**[hidden (rows:vocab|pad:_)@tp]
when not legacy{drop a:**._extra because "it is state"emit attn.bias[1 1 q:p k:p]as f16=tril
emit attn.masked_bias[]=-1e4}else when x{}else{tie a=/b.{q:c,k:d}}
match version{0=>{a<=>b}1..|"x"=>{c<=>{d,e}f}}
}"#;
    insta::assert_snapshot!(formatted(ugly));
}

#[test]
fn declarations() {
    let ugly = r#"mapping m:a<=>b
side a{format torch parameters model.language_model,model
documents args,config.json as generation rank tp=args.tensor|args.model else 1 drop **._extra_state because "unused"
dtype f16

detect x,(y|z).layers.0.**}side b{}
config{layers=args.num_layers<=>n_layer
heads:int=args.a|args.b<=>n_head else 16
hidden=heads*head_dim bos<=>bos_token_id else 50256
activation:string=if args.bias_gelu_fusion{"gelu_fast"}else if args.openai_gelu or not args{"gelu_new"}else{"gelu"}=>activation_function
args.openai_gelu<=activation=="gelu_new"
args.x<=(1+2)*3
"gpt2"=>model_type["GPT2LMHeadModel","two"]=>architectures
layer in 0..layers-1
v=match version{0=>"a" 1..3|5=>"b"_=>"c"}
note "a long text that says what is odd about this checkpoint, so that it needs a line" if present(original_vocab) and original_vocab<vocab
require not args.swiglu else "no"}
module norm(dim){weight[dim]bias?[dim]}
module linear(out,in){weight[out in]+1 as f32
bias[out]}
module fused(dim){weight:layer_norm_weight[dim]slot?:bias match version{0=>[dim]_=>[1 dim]}}
layout q=match version{0=>((q|k|v)heads@tp head_dim)2..=>if x{(heads@tp(q|k|v)head_dim)}else{heads}}
layout short=[a b]layout longer_name=(a|b)
repr fp8(o,i){weight f8[o i]weight_scale_inv f32[(o 1)i]}=weight*repeat(weight_scale_inv,128)
fn block(x[batch seq],y)->x{let(q,k)=split(x[1,2],"a")for layer in h{let x=x+layer.mlp(layer.ln_2(x))-1}(x,y)}
model gpt2(tokens[batch seq])->logits[batch seq vocab]{lm_head(x)}"#;
    insta::assert_snapshot!(formatted(ugly));
}

#[test]
fn comments() {
    let ugly = r#"//! What this is.
//!   Kept as written.
mapping m:a<=>b // the header


// own line, then a blank line

/// documents the side
side a{ // after the brace
format torch // trailing
   // before the end
}
config{

// first
x=1 // one
longer_name=2     // two

// in a match
y=match x{ // open
0=>1 // zero

// the other
1=>2}
z= // in the middle
3

}
module n(d){weight[d] // w
bias[d]}
a[x] // in the rule
<=>b[x]
{q:a[x] // of q
k:b[x]}<=>c[(q|k)x]
when x{}else{ // kept in the braces
when y{ // inner
}}
s<=>t{
// only a comment
}
// the last
"#;
    insta::assert_snapshot!(formatted(ugly));
}
