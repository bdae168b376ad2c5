//! Mappings of several files: on the command line, and in generated code.

use transship::grammar::{Target, beside};
use transship::{Port, port::Port as _};

use crate::command::Workplace;

#[derive(Port)]
#[port(mapping = "mappings/ok/imports.mapping")]
struct Imports;

#[test]
fn generated_code_holds_what_is_imported() {
    let mapping = Imports::mapping();
    let imported: Vec<_> = mapping.source.imported().map(|i| (i.from, i.target, i.name)).collect();
    let [side, modules] = ["mappings/imports/megatron_side.mapping", "mappings/imports/modules.mapping"];
    assert_eq!(
        imported,
        [
            ("mappings/ok/imports.mapping", Target::Path("../imports/megatron_side.mapping"), side),
            ("mappings/ok/imports.mapping", Target::Path("../imports/modules.mapping"), modules),
            (side, Target::Path("./modules.mapping"), modules),
        ]
    );
    assert_eq!(mapping.rules.len(), 4);
    let ranks: Vec<&str> = mapping.ranks.iter().map(|r| r.name.as_str()).collect();
    assert_eq!(ranks, ["tp"]);
}

const MAIN: &str = "mapping two_files : a <=> b

import \"./shared/side.mapping\"

x.weight : dense(out@tp, in)  <=>  y.weight : turned(out, in)
";

#[test]
fn paths_begin_at_the_file_that_imports() {
    let workplace = Workplace::new();
    workplace.put("main.mapping", MAIN);
    workplace.put(
        "shared/side.mapping",
        "library side\n\nimport \"../modules.mapping\"\n\nside a {\n    rank       tp else 1\n}\n\nconfig {\n    out\n    in\n}\n",
    );
    workplace.put(
        "modules.mapping",
        "library modules\n\nmodule dense(out, in)  { w [out in] }\nmodule turned(out, in) { w [in out] }\n",
    );
    let done = workplace.run(&["check", "@main.mapping", "@modules.mapping"]);
    assert_eq!((done.code, done.err.as_str()), (0, ""));
    assert_eq!(
        done.out,
        "DIR/main.mapping: a <=> b, 1 rule, all invertible\n\
         DIR/modules.mapping: a library, judged with the mappings that import it\n"
    );
    let done =
        workplace.run(&["fmt", "--check", "@main.mapping", "@shared/side.mapping", "@modules.mapping"]);
    assert_eq!((done.code, done.err.as_str()), (0, ""));

    workplace.put("modules.mapping", "library modules\n\nmodule dense(out, in) { w [out inn] }\n");
    insta::assert_snapshot!(workplace.run(&["check", "@main.mapping"]).err);
    workplace.put("modules.mapping", [0xff]);
    insta::assert_snapshot!(workplace.run(&["check", "@main.mapping"]).err);
}

#[test]
fn paths_are_short_and_do_not_leave_what_they_cannot() {
    assert_eq!(beside("a/b/main.mapping", "./c.mapping"), "a/b/c.mapping");
    assert_eq!(beside("a/b/main.mapping", "../../c.mapping"), "c.mapping");
    assert_eq!(beside("main.mapping", "../c.mapping"), "../c.mapping");
    assert_eq!(beside("../main.mapping", "../c.mapping"), "../../c.mapping");
    assert_eq!(beside("a/main.mapping", "/c.mapping"), "/c.mapping");
}
