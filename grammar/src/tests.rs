//! Small texts that stand for very much: each is refused in a moment, with a code that says which limit it is over, or
//! is checked in a time that grows with its length. A limit that is gone shows itself by a test that does not end.

use std::fmt::Write as _;

use crate::{Code, Diagnostics, Source, Style, check, format, render};

const HEAD: &str = "mapping m : a <=> b\n\nconfig { n = args.n <=> n  c: int = args.c <=> c }\n\n";

fn said(text: &str) -> Diagnostics {
    match check(&Source::new("m.mapping", text)) {
        Ok((_, warnings)) => warnings,
        Err(errors) => errors,
    }
}

fn codes(text: &str) -> Vec<Code> {
    said(text).list().iter().map(|d| d.code).collect()
}

/// The codes for a text below the usual head.
fn codes_of(text: &str) -> Vec<Code> {
    codes(&format!("{HEAD}{text}"))
}

/// `f(0) f(1) …`.
fn list(count: usize, separator: &str, f: impl Fn(usize) -> String) -> String {
    (0..count).map(f).collect::<Vec<_>>().join(separator)
}

#[test]
fn negations_nest_as_deep_as_brackets_and_no_deeper() {
    let mapping = |nots: usize, inside: &str| {
        format!(
            "{HEAD}config {{ x: bool = args.x  y: bool else {}{inside} }}\n\nw [n] <=> w [n]\n",
            "not ".repeat(nots)
        )
    };
    for text in [mapping(10_000, "x"), mapping(40, &format!("{}x{}", "(not ".repeat(30), ")".repeat(30)))] {
        assert_eq!(codes(&text), [Code::OverLimit]);
        assert!(format(&Source::new("m.mapping", &text)).is_err());
    }
    assert_eq!(codes(&mapping(60, "x")), []);
}

#[test]
fn expressions_do_not_nest_in_the_first_term_of_one_another() {
    let deep = format!("{}n{}", "(".repeat(60), " + 1)".repeat(60));
    assert_eq!(codes_of(&format!("config {{ x: int else {deep} }}\n\nw [n] <=> w [n]\n")), []);
    let chain = " * 1".repeat(100);
    let deep = format!("{}n{}", "(".repeat(60), format!("{chain})").repeat(60));
    assert_eq!(codes_of(&format!("config {{ x: int else {deep} }}\n\nw [n] <=> w [n]\n")), [Code::OverLimit]);
}

#[test]
fn choices_in_one_layout_multiply_up_to_a_limit() {
    let layout = |choices: usize| {
        let defined = list(choices, "\n", |i| {
            format!("layout l{i} = if c == {i} {{ (x{i}: n) }} else {{ (y{i}: n) }}")
        });
        format!("{defined}\n\nw [{}] <=> w [n]\n", list(choices, " ", |i| format!("l{i}")))
    };
    for choices in [14, 18, 25, 200] {
        assert_eq!(codes_of(&layout(choices)), [Code::UnfoldsTooFar], "{choices}");
    }
    assert_eq!(codes_of(&layout(6)), [Code::AxisOnOneSide]);
}

#[test]
fn layouts_that_double_are_unfolded_up_to_a_limit() {
    let doubled = list(20, "\n", |i| format!("layout l{} = (l{i} l{i})", i + 1));
    assert_eq!(
        codes_of(&format!("layout l0 = (n n)\n{doubled}\n\nw [l20] <=> w [n]\n")),
        [Code::UnfoldsTooFar]
    );
    let chosen = list(20, "\n", |i| format!("layout l{} = match c {{ {i} => l{i}  _ => (l{i} n) }}", i + 1));
    assert_eq!(
        codes_of(&format!("layout l0 = (n n)\n{chosen}\n\nw [l20] <=> w [n]\n")),
        [Code::UnfoldsTooFar]
    );
}

#[test]
fn sums_multiply_over_all_rules_together_up_to_a_limit() {
    let sums = list(12, " ", |i| format!("(a{i} | b{i})"));
    let rules = list(50, "\n", |i| format!("w{i} [{sums} n] <=> w{i} [n {sums}]"));
    assert_eq!(codes_of(&rules), [Code::UnfoldsTooFar]);
    assert_eq!(codes_of(&format!("w [{sums} n] <=> w [n {sums}]\n")), []);
}

#[test]
fn a_sum_of_very_many_parts_is_refused() {
    for parts in [4096, 20_000] {
        let sum = list(parts, " | ", |i| format!("p{i}"));
        assert_eq!(codes_of(&format!("w [({sum}) n] <=> w [n ({sum})]\n")), [Code::UnfoldsTooFar]);
        let terms = list(parts, " ", |i| format!("p{i}: w{i} [n]"));
        assert_eq!(codes_of(&format!("{{ {terms} }} <=> w [({sum}) n]\n")), [Code::UnfoldsTooFar]);
    }
}

#[test]
fn names_of_many_alternatives_are_told_apart_in_a_moment() {
    let name = list(12, ".", |i| format!("(a{i}|b{i})"));
    assert_eq!(codes_of(&format!("{name} [n] <=> w [n]\n")), []);
    let nested =
        format!("{name} <=> {name} {{\n    {name} <=> {name} {{\n        w [n] <=> w [n]\n    }}\n}}\n");
    assert_eq!(codes_of(&nested), [Code::NameTooWide, Code::NameTooWide]);
}

#[test]
fn very_many_rules_are_told_apart_in_a_moment() {
    let rule = |i: usize| format!("layers.{{n}}.block{i}.weight [c] <=> h.{{n}}.block{i}.weight [c]");
    assert_eq!(codes_of(&list(10_000, "\n", rule)), []);
    let twice = format!("{}\n{}", list(10_000, "\n", rule), rule(77));
    assert_eq!(codes_of(&twice), [Code::NamesOverlap, Code::NamesOverlap]);
}

#[test]
fn very_many_names_that_begin_with_a_star_are_refused() {
    let rules = list(9_000, "\n", |i| format!("**.x{i} <=> **.y{i}"));
    assert_eq!(codes_of(&rules), [Code::UnfoldsTooFar]);
}

#[test]
fn modules_and_their_uses_multiply_up_to_a_limit() {
    let parameters = list(2_000, " ", |i| format!("p{i} [d]"));
    let uses = list(2_000, "\n", |i| format!("u{i} : wide(n) <=> u{i} : wide(n)"));
    assert_eq!(codes_of(&format!("module wide(d) {{ {parameters} }}\n\n{uses}\n")), [Code::UnfoldsTooFar]);
}

#[test]
fn sizes_that_multiply_out_are_refused() {
    let values = list(60, "  ", |i| format!("v{i} = args.v{i}"));
    let product = list(30, " * ", |i| format!("(v{} + v{})", 2 * i, 2 * i + 1));
    assert_eq!(
        codes_of(&format!("config {{ {values}  i in 0..{product} }}\n\nw.{{i}} [n] <=> w.{{i}} [n]\n"))
            .first(),
        Some(&Code::UnfoldsTooFar)
    );
}

#[test]
fn a_match_of_very_many_arms_is_refused() {
    let arms = |count: usize| list(count, " ", |i| format!("{i} => {i}"));
    let config =
        |count: usize| format!("config {{ x: int else match n {{ {} }} }}\n\nw [n] <=> w [n]\n", arms(count));
    assert_eq!(codes_of(&config(90_000)), [Code::OverLimit]);
    assert_eq!(codes_of(&config(1_000)), []);
}

#[test]
fn of_very_many_mistakes_the_first_are_told() {
    let axes = list(40_000, " ", |i| format!("unknown{i}"));
    let told = codes_of(&format!("w [{axes}] <=> w [n]\n"));
    assert_eq!(told.iter().filter(|c| **c == Code::UnknownAxis).count(), 50);
    assert!(told.contains(&Code::TooManyMistakes));

    let broken = list(80_000, "\n", |_| "x [n".to_owned());
    let told = said(&format!("{HEAD}{broken}\n"));
    assert_eq!(told.list().len(), 10);
    let text = render(&told, Style::Full { colour: false });
    assert!(text.contains("these are the first 10 syntax errors; there are more"), "{text}");
}

#[test]
fn very_many_config_values_are_looked_up_in_a_moment() {
    let mut text = String::from("mapping m : a <=> b\n\nconfig {\n");
    (0..15_000).for_each(|i| {
        let _ = writeln!(text, "    v{i}: int = args.v{i} <=> v{i}");
    });
    text.push_str("}\n\nw [v14999] <=> w [v14999]\n");
    assert_eq!(codes(&text), []);
}

#[test]
fn a_text_longer_than_any_mapping_is_refused_and_imports_are_read_in_their_own_length() {
    let long = format!("{HEAD}w [n] <=> w [n]\n{}", "\n".repeat(1 << 20));
    assert_eq!(codes(&long), [Code::OverLimit]);
    assert!(format(&Source::new("m.mapping", &long)).is_err());

    let imports = list(50, "\n", |i| format!("import l{i}"));
    let text = format!("{HEAD}{imports}\n\nw [n] <=> w [n]\n");
    let mut find = |_: &str, target: crate::Target<'_>| match target {
        crate::Target::Library(name) => {
            Ok((name.to_owned(), format!("library {name}\n{}", "\n".repeat(70_000))))
        }
        crate::Target::Path(_) => Err("there are none".to_owned()),
    };
    assert!(check(&Source::load("m.mapping", &text, &mut find)).is_ok());
}

#[test]
fn mistakes_in_imports_are_shown_where_they_are() {
    let text = format!("{HEAD}import broken\n\nw [n] <=> w [n]\n");
    let mut find = |_: &str, _: crate::Target<'_>| {
        Ok(("broken".to_owned(), "library broken\n\nx [n <=> y [n]\n".to_owned()))
    };
    let source = Source::load("m.mapping", &text, &mut find);
    let errors = check(&source).expect_err("the library has a mistake");
    let place = errors.list()[0].primary.as_ref().expect("it has a place").span;
    assert_eq!((source.name_at(place.start), source.position(place.start)), ("broken", (3, 6)));
    assert_eq!(source.slice(place), "<=>");
}
