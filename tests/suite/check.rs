//! What `check` says of a mapping that passes.

use crate::command::Workplace;

const REPR: &str = "mapping blocks : a <=> b

config { hidden = args.hidden <=> hidden  ffn = args.ffn <=> ffn  block = args.block <=> block }

repr fp8(out, in) {
    weight           f8_e4m3 [out in]
    weight_scale_inv f32     [block]
} = weight * expand(weight_scale_inv)

";

fn said(rules: &str) -> String {
    let workplace = Workplace::new();
    workplace.put("blocks.mapping", format!("{REPR}{rules}"));
    let done = workplace.run(&["check", "@blocks.mapping"]);
    assert_eq!(done.code, 0, "{}", done.err);
    done.out
}

#[test]
fn rules_with_a_repr_are_counted_apart() {
    let with_repr = "x : fp8(hidden, ffn) <=> y : fp8(hidden, ffn)\n";
    assert_eq!(
        said(with_repr),
        "DIR/blocks.mapping: a <=> b, 1 rule with a `repr`, which cannot be converted yet\n"
    );
    let others = "v [hidden ffn] <=> w [ffn hidden]\nu => u\n";
    assert_eq!(
        said(&format!("{with_repr}z : fp8(ffn, hidden) <=> y2 : fp8(ffn, hidden)\n{others}")),
        "DIR/blocks.mapping: a <=> b, 2 rules, 1 goes one way only; \
         2 rules with a `repr`, which cannot be converted yet\n"
    );
}

#[test]
fn one_rule_is_one_rule() {
    let workplace = Workplace::new();
    for (arrow, ways) in [("<=>", "invertible"), ("=>", "which goes one way only")] {
        workplace.put("one.mapping", format!("mapping one : a <=> b\n\nx {arrow} y\n"));
        let done = workplace.run(&["check", "@one.mapping"]);
        assert_eq!(done.out, format!("DIR/one.mapping: a <=> b, 1 rule, {ways}\n"), "{}", done.err);
    }
}
