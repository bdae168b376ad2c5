//! Opcode families, assembled by hand. What Python writes is in the corpus test of `torch`.

use std::sync::Arc;

use super::*;
use crate::budget::Budget;
use crate::storage::Region;

fn read(input: &[u8], start: usize) -> Result<Pickle, PickleError> {
    super::read(&Region::owned(input.to_vec()), start, &mut Budget::new())
}

fn root(input: &[u8]) -> Node {
    let pickle = read(input, 0).expect("a well-formed pickle");
    assert_eq!(pickle.end, input.len());
    pickle.node(pickle.root).clone()
}

fn failure(input: &[u8]) -> (usize, &'static str, PickleErrorKind) {
    let error = read(input, 0).expect_err("a malformed pickle");
    (error.offset, error.opcode, error.kind)
}

/// The pickle in Python's notation; instances as `callee(args)`, then `|state`, `+items` and `+entries`.
fn shown(input: &[u8]) -> String {
    fn list(pickle: &Pickle, ids: &[NodeId]) -> String {
        ids.iter().map(|&id| show(pickle, id)).collect::<Vec<_>>().join(", ")
    }
    fn dict(pickle: &Pickle, entries: &[(NodeId, NodeId)]) -> String {
        let pairs = entries.iter().map(|&(k, v)| format!("{}: {}", show(pickle, k), show(pickle, v)));
        pairs.collect::<Vec<_>>().join(", ")
    }
    fn show(pickle: &Pickle, id: NodeId) -> String {
        match pickle.node(id) {
            Node::None => "None".to_owned(),
            Node::Bool(b) => b.to_string(),
            Node::Int(n) => n.to_string(),
            Node::BigInt(n) => n.to_string(),
            Node::Float(x) => format!("{x:?}"),
            Node::Str(s) => format!("{s:?}"),
            Node::ByteStr(b) => format!("old{:?}", String::from_utf8_lossy(b)),
            Node::Bytes(b) => format!("b{:?}", String::from_utf8_lossy(b)),
            Node::List(ids) => format!("[{}]", list(pickle, ids)),
            Node::Tuple(ids) => format!("({})", list(pickle, ids)),
            Node::Set(ids) => format!("{{{}}}", list(pickle, ids)),
            Node::Dict(entries) => format!("{{{}}}", dict(pickle, entries)),
            Node::Global(name) => name.to_string(),
            Node::Persistent(id) => format!("<{}>", show(pickle, *id)),
            Node::Instance(i) => {
                let mut text = show(pickle, i.callee) + &show(pickle, i.args);
                text += &i.kwargs.map_or(String::new(), |k| format!("**{}", show(pickle, k)));
                text += &i.states.iter().map(|&s| format!("|{}", show(pickle, s))).collect::<String>();
                if !i.items.is_empty() {
                    text += &format!("+[{}]", list(pickle, &i.items));
                }
                if !i.entries.is_empty() {
                    text += &format!("+{{{}}}", dict(pickle, &i.entries));
                }
                text
            }
        }
    }
    let pickle = read(input, 0).expect("a well-formed pickle");
    show(&pickle, pickle.root)
}

#[test]
fn every_opcode_is_known_and_no_other() {
    for code in 0..=u8::MAX {
        let unknown = matches!(read(&[code], 0), Err(PickleError { kind: PickleErrorKind::Unknown(c), .. }) if c == code);
        assert_eq!(unknown, !opcode::ALL.contains(&code), "{code:#04x}");
    }
    assert_eq!(opcode::ALL.len(), 68);
}

#[test]
fn numbers() {
    assert_eq!(shown(b"(I12\nI01\nI00\nI-5\nL7L\nL-8\nt."), "(12, true, false, -5, 7, -8)");
    assert_eq!(shown(b"(J\xff\xff\xff\xffK\xffM\xff\xfft."), "(-1, 255, 65535)");
    assert_eq!(shown(b"\x8b\x09\0\0\0\0\0\0\0\0\0\0\0\x40."), "1180591620717411303424");
    assert_eq!(shown(b"(F-1.5\nG\x3f\xf8\0\0\0\0\0\0F1e-3\nt."), "(-1.5, 1.5, 0.001)");
    assert_eq!(failure(b"I1x\n."), (0, "INT", PickleErrorKind::Argument("not an integer")));
    assert_eq!(failure(b"Fx\n."), (0, "FLOAT", PickleErrorKind::Argument("not a float")));
    assert_eq!(failure(b"\x8b\x01\x04\0\0."), (0, "LONG4", PickleErrorKind::Integer(1025)));
    assert_eq!(failure(b"I1"), (0, "INT", PickleErrorKind::Line));
}

#[test]
fn strings_of_every_protocol() {
    assert_eq!(shown(b"(S'a\\n'\nT\x02\0\0\0bcU\x01dt."), r#"(old"a\n", old"bc", old"d")"#);
    assert_eq!(
        shown(b"(V\\u20ac\nX\x01\0\0\0e\x8c\x01f\x8d\x01\0\0\0\0\0\0\0gt."),
        r#"("€", "e", "f", "g")"#
    );
    assert_eq!(
        shown(b"(B\x01\0\0\0hC\x01i\x8e\x01\0\0\0\0\0\0\0j\x96\x01\0\0\0\0\0\0\0kt."),
        r#"(b"h", b"i", b"j", b"k")"#
    );
    assert_eq!(root(b"T\x01\0\0\0\xff."), Node::ByteStr(Arc::from([0xff])));
    assert_eq!(failure(b"Sx\n."), (0, "STRING", PickleErrorKind::Argument("not a quoted string")));
}

#[test]
fn claimed_lengths_are_checked_before_use() {
    let huge = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f];
    for code in [opcode::BINUNICODE8, opcode::BINBYTES8, opcode::BYTEARRAY8, opcode::FRAME] {
        let input = [&[code][..], &huge, b"x."].concat();
        assert_eq!(failure(&input).2, PickleErrorKind::Short { needed: i64::MAX as u64, left: 2 });
    }
    for code in [opcode::BINUNICODE, opcode::BINBYTES, opcode::BINSTRING] {
        let input = [&[code][..], &huge[..4], b"x."].concat();
        assert_eq!(failure(&input).2, PickleErrorKind::Short { needed: 0xffff_ffff, left: 2 });
    }
    assert_eq!(failure(b"NM\x01"), (1, "BININT2", PickleErrorKind::Short { needed: 2, left: 1 }));
}

#[test]
fn containers() {
    assert_eq!(shown(b"(K\x01K\x02l."), "[1, 2]");
    assert_eq!(shown(b"(K\x01K\x02d."), "{1: 2}");
    assert_eq!(shown(b"]K\x01a(K\x02K\x03e."), "[1, 2, 3]");
    assert_eq!(shown(b"}K\x01K\x02s(K\x03K\x04u."), "{1: 2, 3: 4}");
    assert_eq!(shown(b"\x8f(K\x01K\x02\x90."), "{1, 2}");
    assert_eq!(shown(b"(K\x01\x91."), "{1}");
    assert_eq!(shown(b")K\x01\x85K\x02K\x03\x86NNN\x87\x87."), "((1), (2, 3), (None, None, None))");
    assert_eq!(failure(b"(K\x01d."), (3, "DICT", PickleErrorKind::Argument("a key without a value")));
    assert_eq!(failure(b"K\x01K\x02a."), (4, "APPEND", PickleErrorKind::Target("an integer")));
    assert_eq!(failure(b"]K\x01K\x02s."), (5, "SETITEM", PickleErrorKind::Target("a list")));
    assert_eq!(failure(b"](K\x01\x90."), (4, "ADDITEMS", PickleErrorKind::Target("a list")));
    assert_eq!(failure(b")e."), (1, "APPENDS", PickleErrorKind::Mark));
    assert_eq!(failure(b"K\x01\x86."), (2, "TUPLE2", PickleErrorKind::Stack));
}

#[test]
fn stack_and_marks() {
    assert_eq!(shown(b"(K\x012t."), "(1, 1)");
    assert_eq!(shown(b"K\x01K\x020."), "1");
    assert_eq!(shown(b"K\x01(K\x02K\x031."), "1");
    assert_eq!(shown(b"K\x01(0."), "1");
    assert_eq!(failure(b"0."), (0, "POP", PickleErrorKind::Stack));
    assert_eq!(failure(b"."), (0, "STOP", PickleErrorKind::Stack));
    // A mark covers what lies below it.
    assert_eq!(failure(b"K\x01(2."), (3, "DUP", PickleErrorKind::Stack));
    assert_eq!(failure(b"K\x01(\x85."), (3, "TUPLE1", PickleErrorKind::Stack));
    assert_eq!(failure(b"K\x01"), (2, "STOP", PickleErrorKind::Ends));
    assert_eq!(failure(b""), (0, "STOP", PickleErrorKind::Ends));
}

#[test]
fn memo_entries_are_ids() {
    assert_eq!(shown(b"(]p12\ng12\nt."), "([], [])");
    assert_eq!(shown(b"(]q\x05h\x05j\x05\0\0\0t."), "([], [], [])");
    assert_eq!(shown(b"(]r\x05\0\0\0h\x05]\x94h\x01t."), "([], [], [], [])");
    // An object that changes after it was memoized has changed for all who refer to it.
    let pickle = read(b"]q\0}q\x01(U\x01xh\0U\x01yh\0uh\0K\x07a0.", 0).expect("a well-formed pickle");
    let Node::Dict(entries) = pickle.node(pickle.root) else { panic!("a dictionary") };
    assert_eq!(entries[0].1, entries[1].1);
    assert!(matches!(pickle.node(entries[0].1), Node::List(items) if items.len() == 1));
    // A list that holds itself.
    let pickle = read(b"]q\0h\0a.", 0).expect("a well-formed pickle");
    assert_eq!(*pickle.node(pickle.root), Node::List(vec![pickle.root]));
    assert_eq!(failure(b"h\x07."), (0, "BINGET", PickleErrorKind::Memo(7)));
    assert_eq!(failure(b"Np-1\n."), (1, "PUT", PickleErrorKind::Argument("not a memo index")));
}

#[test]
fn names_and_calls_stay_what_they_are() {
    assert_eq!(shown(b"cos\nsystem\nU\x02ls\x85R."), r#"os.system(old"ls")"#);
    assert_eq!(shown(b"\x8c\x01m\x8c\x01n\x93)\x81}b."), "m.n()|{}");
    assert_eq!(shown(b"cm\nn\n)}\x92."), "m.n()**{}");
    assert_eq!(shown(b"(K\x01im\nn\n."), "m.n(1)");
    assert_eq!(shown(b"(cm\nn\nK\x01o."), "m.n(1)");
    assert_eq!(shown(b"cm\nn\n)R(K\x01e(K\x02K\x03u\x85."), "(m.n()+[1]+{2: 3})");
    assert_eq!(shown(b"cm\nn\n)RK\x01bK\x02b."), "m.n()|1|2");
    assert_eq!(
        shown(b"(\x82\x01\x83\x02\0\x84\x03\0\0\0t."),
        "(copyreg.extension.1, copyreg.extension.2, copyreg.extension.3)"
    );
    assert_eq!(
        shown(b"(c__builtin__\nset\nccopy_reg\n_reconstructor\nt."),
        "(builtins.set, copyreg._reconstructor)"
    );
    assert_eq!(shown(b"(P7\nK\x08Qt."), r#"(<"7">, <8>)"#);
    assert_eq!(
        failure(b"cm\nn\nNR."),
        (6, "REDUCE", PickleErrorKind::Argument("the arguments are no tuple"))
    );
    assert_eq!(
        failure(b"cm\nn\n)N\x92."),
        (7, "NEWOBJ_EX", PickleErrorKind::Argument("the named arguments are no dictionary"))
    );
    assert_eq!(
        failure(b"NN\x93."),
        (2, "STACK_GLOBAL", PickleErrorKind::Argument("a name that is no string"))
    );
    assert_eq!(failure(b"]Nb."), (2, "BUILD", PickleErrorKind::Target("a list")));
    assert_eq!(failure(b"(o."), (1, "OBJ", PickleErrorKind::Stack));
}

#[test]
fn protocols_and_buffers() {
    assert_eq!(shown(b"\x80\x05\x95\x02\0\0\0\0\0\0\0N."), "None");
    assert_eq!(failure(b"\x80\x06N."), (0, "PROTO", PickleErrorKind::Protocol(6)));
    assert_eq!(shown(b"N\x98."), "None");
    assert!(matches!(failure(b"\x97."), (0, "NEXT_BUFFER", PickleErrorKind::Argument(_))));
}

#[test]
fn pickles_follow_one_another() {
    let input = b"K\x01.K\x02.";
    let first = read(input, 0).expect("the first pickle");
    let second = read(input, first.end).expect("the second pickle");
    assert_eq!((first.int(first.root), second.int(second.root)), (Some(1), Some(2)));
    assert_eq!(second.end, input.len());
    assert_eq!(read(input, input.len()).expect_err("no third").kind, PickleErrorKind::Ends);
}

#[test]
fn nesting_needs_no_recursion() {
    let deep =
        [vec![opcode::EMPTY_LIST; 1 << 18], vec![opcode::APPEND; (1 << 18) - 1], vec![opcode::STOP]].concat();
    assert!(matches!(root(&deep), Node::List(items) if items.len() == 1));
}

#[test]
fn errors_read_as_sentences() {
    let error = read(b"NX\xff\xff\0\0abc", 0).expect_err("a short string");
    assert_eq!(error.to_string(), "pickle opcode BINUNICODE at byte 1 needs 65535 bytes, but 3 are left");
    let error = read(b"N\xff", 0).expect_err("no such opcode");
    assert_eq!(error.to_string(), "pickle opcode ? at byte 1 (code 0xff) does not exist");
}
