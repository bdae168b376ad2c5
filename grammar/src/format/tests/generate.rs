//! Random mappings: every construct of the grammar, with random white space and comments wherever they are legal.
//!
//! Strategies make text in which ` ` is white space that has to be there, `~` is a place where there may be some, and
//! `^` is a space inside a string. [`with_noise`] then fills the places in.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

type Text = BoxedStrategy<String>;

/// A text, and the comments put into it.
#[derive(Clone, Debug)]
pub(super) struct Noisy {
    pub(super) text: String,
    pub(super) comments: Vec<String>,
}

/// A whole mapping.
pub(super) fn mapping() -> impl Strategy<Value = Noisy> {
    let file = cat([
        pick(&["mapping a~:~b~<=>~c ", "library a "]),
        many(one_of([item(2), import()]), " ", 0, 5),
        lit("~"),
    ]);
    (file, vec(any::<u8>(), 1..400)).prop_map(|(text, noise)| with_noise(&text, &noise))
}

fn with_noise(text: &str, noise: &[u8]) -> Noisy {
    let mut noise = noise.iter().cycle().copied();
    let mut draw = || noise.next().unwrap_or(0);
    let mut out = Noisy { text: String::new(), comments: Vec::new() };
    for c in text.chars() {
        match c {
            '^' => out.text.push(' '),
            ' ' | '~' => out.gap(c == ' ', &mut draw),
            other => out.text.push(other),
        }
    }
    out
}

impl Noisy {
    fn gap(&mut self, required: bool, draw: &mut impl FnMut() -> u8) {
        match draw() {
            0..=119 if !required => {}
            0..=179 => self.text.push(' '),
            180..=199 => self.text.push('\n'),
            200..=214 => self.text.push_str("\n \n\n\t"),
            215..=224 => self.text.push_str("\t\r\n"),
            kind => (0..=kind % 3).for_each(|_| self.comment(draw)),
        }
    }

    fn comment(&mut self, draw: &mut impl FnMut() -> u8) {
        let mut pick = |texts: &[&'static str]| texts[usize::from(draw()) % texts.len()];
        let before = pick(&[" ", "\n", "\n\n\n", "  "]);
        let slashes = pick(&["//", "///", "//!", "////"]);
        let rest = pick(&["", " \"open", " {([", " // twice", " ü  \t", "})]", "^~"]);
        let comment = format!("{slashes} c{};{rest}", self.comments.len());
        self.text.push_str(&format!("{before}{comment}\n"));
        self.comments.push(comment.trim_end().to_owned());
    }
}

// ------------------------------------------------------------------ putting strategies together

fn lit(text: &'static str) -> Text {
    Just(text.to_owned()).boxed()
}

fn cat<const N: usize>(parts: [Text; N]) -> Text {
    Vec::from(parts).prop_map(|parts| parts.concat()).boxed()
}

fn pick(words: &'static [&'static str]) -> Text {
    select(words).prop_map(str::to_owned).boxed()
}

fn many(part: Text, separator: &'static str, least: usize, most: usize) -> Text {
    vec(part, least..=most).prop_map(move |parts| parts.join(separator)).boxed()
}

fn maybe(part: Text) -> Text {
    prop_oneof![lit(""), part].boxed()
}

fn one_of<const N: usize>(parts: [Text; N]) -> Text {
    proptest::strategy::Union::new(parts).boxed()
}

// ------------------------------------------------------------------ words

fn word() -> Text {
    pick(&["a", "heads", "head_dim", "layer", "_x", "iffy", "notes", "A1", "tp", "a_rather_long_axis_name"])
}

fn number() -> Text {
    pick(&["0", "1", "-1", "2.5", "1e-5", "12E+3", "007", "-0.0", "4294967296"])
}

fn integer() -> Text {
    pick(&["0", "1", "2", "12", "007", "99999999999999999999999"])
}

fn quoted() -> Text {
    let long =
        r#""a^text^that^is^quite^long,^so^that^lines^have^to^break^before^or^after^it^in^most^places""#;
    one_of([
        pick(&[r#""""#, r#""gpt2""#, r#""a^//^b""#, r#""\"\\\n""#, r#""{layer}^)""#, r#""ü^^x""#]),
        lit(long),
    ])
}

fn place() -> Text {
    pick(&[
        "x",
        "args.hidden-size",
        "config.json",
        "a.0.b",
        "true",
        "null",
        "args.tensor_model_parallel_size",
    ])
}

fn places() -> Text {
    many(place(), "~|~", 1, 3)
}

// ------------------------------------------------------------------ names and layouts

fn index() -> Text {
    let term = || {
        one_of([
            word(),
            integer(),
            cat([integer(), lit("~*~"), word()]),
            cat([word(), lit("~*~"), integer()]),
        ])
    };
    let sum = cat([term(), maybe(cat([pick(&["~+~", "~-~"]), term()]))]);
    let set = one_of([
        cat([lit(" in "), word()]),
        cat([lit(" in "), expr_sum(), lit("~..~"), expr_sum()]),
        cat([lit(" in (~"), expr(1), lit("~)~..~"), integer()]),
    ]);
    cat([lit("{~"), sum, maybe(lit("~@pp~@vpp")), maybe(set), maybe(lit("~:~02")), lit("~}")])
}

fn expr_sum() -> Text {
    cat([
        one_of([place(), number()]),
        maybe(cat([pick(&[" +~", " -~", " *~", " %~"]), one_of([place(), number()])])),
    ])
}

fn name_of(depth: u32) -> Text {
    let piece = pick(&["a", "layers.", ".h", "w-1", "*", "**", ".weight", "1", "\"odd^name\""]);
    let piece = if depth == 0 {
        piece
    } else {
        let below = name_of(depth - 1);
        let inner = || below.clone();
        let labelled = || cat([word(), lit("~:~"), inner()]);
        one_of([
            piece.clone(),
            piece,
            index(),
            cat([lit("(~"), inner(), lit("~|~"), many(inner(), "~|~", 1, 2), lit("~)")]),
            cat([lit("{~"), inner(), lit("~,~"), many(inner(), "~,~", 1, 2), lit("~}")]),
            cat([lit("{~"), labelled(), lit("~,~"), many(labelled(), "~,~", 1, 2), lit("~}")]),
        ])
    };
    many(piece, "", 1, 3)
}

fn name() -> Text {
    cat([maybe(lit("/")), name_of(2)])
}

fn ranks(tight: bool) -> Text {
    pick(if tight { &["", "", "@tp", "@vpp@pp"] } else { &["", "", "~@tp", "~@vpp~@pp"] })
}

fn dim(depth: u32) -> Text {
    let axis = || cat([word(), maybe(cat([lit("["), word(), lit("]")])), ranks(true)]);
    let role = || maybe(cat([word(), lit("~:~")]));
    let leaf = one_of([axis(), lit("_"), integer(), cat([lit("*"), word()])]);
    if depth == 0 {
        return cat([role(), leaf]);
    }
    let arm = many(dim(depth - 1), " ", 1, 3);
    let group = cat([lit("(~"), many(arm, "~|~", 1, 3), lit("~)"), ranks(false)]);
    cat([role(), one_of([leaf, group])])
}

fn layout() -> Text {
    cat([lit("[~"), many(dim(2), " ", 0, 4), lit("~]")])
}

fn pattern() -> Text {
    let choice = one_of([lit("_"), number(), word(), quoted(), lit("2~.."), lit("..~7"), lit("1~..~3")]);
    many(choice, "~|~", 1, 3)
}

/// A `match` or an `if` over values.
fn chosen(value: &Text, condition: &Text) -> Text {
    let (value, condition) = (|| value.clone(), || condition.clone());
    let arm = cat([pattern(), lit("~=>~"), value()]);
    let last = one_of([
        cat([lit("{~"), value(), lit("~}")]),
        cat([lit(" if "), condition(), lit("~{~"), value(), lit("~} else~{~"), value(), lit("~}")]),
    ]);
    one_of([
        cat([lit("match "), condition(), lit("~{~"), many(arm, " ", 1, 3), lit("~}")]),
        cat([lit("if "), condition(), lit("~{~"), value(), lit("~} else~"), last]),
    ])
}

fn layout_expr(depth: u32) -> Text {
    let leaf = one_of([layout(), dim(2)]);
    if depth == 0 {
        return leaf;
    }
    one_of([leaf.clone(), leaf, chosen(&layout_expr(depth - 1), &expr(1))])
}

fn stored_layout() -> Text {
    one_of([layout(), layout(), cat([lit(" "), chosen(&layout_expr(1), &expr(1))])])
}

// ------------------------------------------------------------------ expressions

fn expr(depth: u32) -> Text {
    let leaf = one_of([place(), number(), quoted(), cat([lit("present~(~"), place(), lit("~)")])]);
    if depth == 0 {
        return leaf;
    }
    let below = expr(depth - 1);
    let inner = || below.clone();
    let operators = || {
        pick(&[
            " or ", " and ", " ==~", " !=~", " <~", " <=~", " >~", " >=~", " +~", " -~", " *~", " /~", " %~",
        ])
    };
    let paren = || cat([lit("(~"), inner(), lit("~)")]);
    one_of([
        leaf.clone(),
        leaf,
        cat([lit("not "), inner()]),
        cat([lit("[~"), many(inner(), "~,~", 0, 3), lit("~]")]),
        cat([one_of([paren(), place()]), operators(), one_of([paren(), place()])]),
        cat([place(), pick(&[" or ", " and not "]), place(), pick(&[" or ", " and "]), paren()]),
        cat([number(), pick(&[" *~", " +~"]), place(), pick(&[" -~", " /~"]), paren()]),
        chosen(&inner(), &inner()),
    ])
}

fn model_expr(depth: u32) -> Text {
    let leaf = one_of([place(), number(), quoted()]);
    if depth == 0 {
        return leaf;
    }
    let below = model_expr(depth - 1);
    let inner = || below.clone();
    one_of([
        leaf,
        cat([place(), lit("~(~"), many(inner(), "~,~", 0, 4), lit("~)")]),
        cat([place(), lit("~[~"), many(inner(), "~,~", 1, 2), lit("~]~(~"), inner(), lit("~)")]),
        cat([lit("(~"), many(inner(), "~,~", 1, 3), lit("~)")]),
        cat([lit("(~a~:~"), inner(), lit("~|~b~:~"), inner(), lit("~)")]),
        cat([place(), lit("~(~"), inner(), lit("~,~scale~:~"), inner(), lit("~)")]),
        cat([inner(), pick(&[" +~", " -~", " *~", " /~", " %~"]), inner()]),
    ])
}

// ------------------------------------------------------------------ items

fn item(depth: u32) -> Text {
    let leaf = one_of([
        side(),
        config(),
        module(),
        cat([lit("layout "), word(), lit("~=~"), layout_expr(2)]),
        model(),
        repr(),
        rule(maybe(lit(" {~}"))),
        rule(lit("")),
        rule(lit("")),
        drop(),
        cat([
            lit("emit "),
            on_side(),
            name(),
            lit("~"),
            layout(),
            maybe(lit(" as f16")),
            lit("~=~"),
            pick(&["tril", "0", "-1e4"]),
        ]),
        cat([lit("tie "), on_side(), name(), lit("~=~"), name(), maybe(lit(" on pp.last"))]),
    ]);
    if depth == 0 {
        return leaf;
    }
    let body = cat([lit("{~"), many(item(depth - 1), " ", 0, 2), lit("~}")]);
    let body = || body.clone();
    let when = || cat([lit("when "), expr(1), lit("~"), body()]);
    let arm = cat([pattern(), lit("~=>~"), body()]);
    one_of([
        leaf.clone(),
        leaf.clone(),
        leaf,
        rule(cat([lit(" "), body()])),
        when(),
        cat([when(), lit("~else~"), body()]),
        cat([when(), lit("~else "), when(), maybe(cat([lit("~else~"), body()]))]),
        cat([when(), lit("~else~{~"), when(), lit("~}")]),
        cat([lit("match "), expr(1), lit("~{~"), many(arm, " ", 1, 3), lit("~}")]),
    ])
}

fn on_side() -> Text {
    maybe(lit("megatron~:~"))
}

fn drop() -> Text {
    cat([lit("drop "), on_side(), name(), maybe(cat([lit(" because "), quoted()]))])
}

fn side() -> Text {
    let entry = one_of([
        cat([lit("parameters "), many(name(), "~,~", 1, 4)]),
        cat([lit("detect "), many(name(), "~,~", 1, 4)]),
        cat([lit("nested "), many(name(), "~,~", 1, 4)]),
        cat([lit("documents "), many(cat([place(), maybe(lit(" as generation"))]), "~,~", 1, 4)]),
        cat([lit("rank tp"), maybe(cat([lit("~=~"), places()])), maybe(cat([lit(" else "), expr(1)]))]),
        lit("dtype f16"),
        lit("format torch"),
        drop(),
    ]);
    cat([lit("side "), word(), lit("~{~"), many(entry, " ", 0, 4), lit("~}")])
}

fn import() -> Text {
    cat([lit("import "), one_of([word(), quoted()])])
}

fn config() -> Text {
    let source = one_of([places(), expr(2)]);
    let line = one_of([
        cat([
            word(),
            maybe(lit("~:~int")),
            maybe(cat([lit("~=~"), source])),
            maybe(cat([pick(&[" <=>~", " =>~", " <=~"]), places()])),
            maybe(cat([lit(" else "), expr(1)])),
        ]),
        cat([lit("require "), maybe(cat([word(), lit("~:~")])), expr(2), lit(" else~"), quoted()]),
        cat([lit("note~"), quoted(), maybe(cat([lit(" if "), expr(1)]))]),
        cat([word(), lit(" in "), expr_sum(), lit("~..~"), expr_sum()]),
        cat([place(), lit(" <=~"), expr(2)]),
        cat([expr(2), lit(" =>~"), place()]),
    ]);
    cat([lit("config~{~"), many(line, " ", 0, 6), lit("~}")])
}

fn arithmetic() -> Text {
    let affine = cat([pick(&[" +~", " -~", " *~", " /~"]), number()]);
    cat([many(affine, "", 0, 2), maybe(lit(" as f32"))])
}

fn formals() -> Text {
    cat([lit("~(~"), many(word(), "~,~", 0, 3), lit("~)")])
}

fn module() -> Text {
    let slot = maybe(cat([word(), maybe(lit("~?")), lit("~:~")]));
    let param = cat([slot, name(), maybe(lit("~?")), lit("~"), stored_layout(), arithmetic()]);
    cat([
        lit("module "),
        word(),
        formals(),
        maybe(cat([lit("~:~"), word()])),
        lit("~{~"),
        many(param, " ", 0, 3),
        lit("~}"),
    ])
}

fn repr() -> Text {
    let param = cat([name(), lit(" f8~"), layout()]);
    let value = maybe(cat([lit("~=~"), model_expr(2)]));
    cat([lit("repr "), word(), maybe(formals()), lit("~{~"), many(param, " ", 1, 3), lit("~}"), value])
}

fn term() -> Text {
    let arguments = many(layout_expr(1), "~,~", 0, 3);
    let kind = cat([lit("~:~"), word(), lit("~(~"), arguments, lit("~)")]);
    let content = one_of([kind, cat([lit("~"), stored_layout()])]);
    cat([name(), maybe(lit("~?")), maybe(content), arithmetic()])
}

fn rule_side() -> Text {
    let labelled = cat([word(), lit("~:~"), term()]);
    one_of([
        term(),
        term(),
        cat([lit("(~"), term(), lit("~|~"), many(term(), "~|~", 1, 2), lit("~)")]),
        cat([lit("{~"), many(labelled, " ", 1, 3), lit("~}")]),
    ])
}

fn rule(body: Text) -> Text {
    let fill = one_of([lit(" fill last"), lit(" fill normal~(~1~)"), lit(" fill normal~(~1~,~0.5~)")]);
    let option = one_of([fill, lit(" on pp.first"), lit(" replicas mean")]);
    cat([rule_side(), pick(&[" <=>~", " =>~", " <=~"]), rule_side(), many(option, "", 0, 2), body])
}

fn model() -> Text {
    let argument = || {
        let along = maybe(cat([lit("~in "), word()]));
        cat([word(), maybe(cat([maybe(lit("~?")), lit("~"), layout(), along]))])
    };
    let names = one_of([word(), cat([lit("(~"), many(word(), "~,~", 2, 3), lit("~)")])]);
    let binding = || cat([lit("let "), names.clone(), lit("~=~"), model_expr(2)]);
    let inner =
        cat([lit("for "), word(), lit(" in "), place(), lit("~{~"), many(binding(), " ", 0, 2), lit("~}")]);
    let unused = cat([lit("unused "), name(), lit(" because "), quoted()]);
    let block = || cat([lit("{~"), many(binding(), " ", 0, 1), lit(" "), model_expr(1), lit("~}")]);
    let chosen = one_of([
        cat([lit("let x~=~if "), place(), lit("~"), block(), lit(" else "), block()]),
        cat([
            lit("let x~=~if "),
            place(),
            lit("~"),
            block(),
            lit(" else if a~"),
            block(),
            lit(" else "),
            block(),
        ]),
        cat([lit("let x~=~match "), place(), lit("~{~0 =>~"), block(), lit("~_ =>~"), block(), lit("~}")]),
        cat([lit("let x~=~sum e in "), place(), lit("[~i~] weighted w~"), block()]),
    ]);
    let statement = one_of([binding(), binding(), inner, unused, chosen]);
    cat([
        pick(&["model ", "fn "]),
        word(),
        maybe(cat([lit(" over "), word()])),
        lit("~(~"),
        many(argument(), "~,~", 0, 3),
        lit("~)~->~"),
        argument(),
        lit("~{~"),
        many(statement, " ", 0, 3),
        maybe(cat([lit(" "), model_expr(2)])),
        lit("~}"),
    ])
}
