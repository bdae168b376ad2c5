//! The stack machine that a pickle is a program for.

use std::collections::HashMap;
use std::sync::Arc;

use crate::budget::Budget;
use crate::storage::Region;

use super::error::{PickleError, PickleErrorKind};
use super::node::{Instance, Node, NodeId, Pickle};
use super::opcode as op;
use super::{MAX_INTEGER_BYTES, number, text};

type Step<T = ()> = Result<T, PickleErrorKind>;

/// Most nodes in one pickle; a checkpoint of 100,000 tensors has about 3 million.
const MAX_NODES: usize = 1 << 28;

/// What an entry of the memo takes: key and value, and the free places of the table.
const MEMO_ENTRY: usize = 32;

/// Reads the pickle that starts at byte `start` of `region`, at the cost of `budget`.
///
/// # Errors
///
/// The first opcode that Python's unpickler would refuse, or that makes the objects larger than the budget.
pub(crate) fn read(region: &Region, start: usize, budget: &mut Budget) -> Result<Pickle, PickleError> {
    let input = region.bytes();
    let nodes = vec![Node::None, Node::Bool(false), Node::Bool(true), Node::Tuple(Vec::new())];
    let mut machine = Machine {
        input,
        at: start,
        nodes,
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
        taken: 0,
    };
    // What is compressed admits no more than its bytes in the file.
    let mut admissible = region.packed_len();
    loop {
        let offset = machine.at;
        let code = input.get(offset).copied().unwrap_or(op::STOP);
        let error = |kind| PickleError { offset, opcode: op::name(code), kind };
        if offset >= input.len() {
            return Err(error(PickleErrorKind::Ends));
        }
        machine.at += 1;
        if code == op::STOP {
            let root = machine.pop().map_err(error)?;
            return Ok(Pickle { nodes: machine.nodes, root, end: machine.at });
        }
        machine.step(code).map_err(error)?;
        let admitted = admissible.min((machine.at - offset) as u64);
        admissible -= admitted;
        budget.admit(admitted);
        let within = budget.spend(std::mem::take(&mut machine.taken)).is_ok();
        if !within || machine.nodes.len() > MAX_NODES {
            return Err(error(PickleErrorKind::Explodes));
        }
    }
}

struct Machine<'a> {
    input: &'a [u8],
    at: usize,
    nodes: Vec<Node>,
    stack: Vec<NodeId>,
    /// Stack heights at which a `MARK` lies.
    marks: Vec<usize>,
    memo: HashMap<u64, NodeId>,
    /// Bytes of memory taken since they were last counted.
    taken: usize,
}

impl<'a> Machine<'a> {
    fn step(&mut self, code: u8) -> Step {
        match code {
            op::NONE => self.push_id(NodeId::NONE),
            op::NEWTRUE => self.push_id(NodeId::TRUE),
            op::NEWFALSE => self.push_id(NodeId::FALSE),
            op::EMPTY_TUPLE => self.push_id(NodeId::EMPTY_TUPLE),
            op::EMPTY_LIST => self.push(Node::List(Vec::new())),
            op::EMPTY_DICT => self.push(Node::Dict(Vec::new())),
            op::EMPTY_SET => self.push(Node::Set(Vec::new())),
            op::INT | op::LONG | op::BININT | op::BININT1 | op::BININT2 | op::LONG1 | op::LONG4 => {
                return self.integer(code);
            }
            op::FLOAT | op::BINFLOAT => return self.float(code),
            op::STRING | op::BINSTRING | op::SHORT_BINSTRING | op::UNICODE => return self.old_string(code),
            op::BINUNICODE | op::SHORT_BINUNICODE | op::BINUNICODE8 => return self.unicode(code),
            op::BINBYTES | op::SHORT_BINBYTES | op::BINBYTES8 | op::BYTEARRAY8 => return self.bytes(code),
            op::PUT | op::BINPUT | op::LONG_BINPUT | op::MEMOIZE => return self.memoize(code),
            op::GET | op::BINGET | op::LONG_BINGET => return self.recall(code),
            op::MARK | op::POP | op::POP_MARK | op::DUP => return self.shuffle(code),
            op::TUPLE | op::TUPLE1 | op::TUPLE2 | op::TUPLE3 | op::LIST | op::DICT | op::FROZENSET => {
                return self.collect(code);
            }
            op::APPEND | op::APPENDS | op::ADDITEMS | op::SETITEM | op::SETITEMS => return self.extend(code),
            op::GLOBAL | op::STACK_GLOBAL | op::EXT1 | op::EXT2 | op::EXT4 => return self.global(code),
            op::REDUCE | op::NEWOBJ | op::NEWOBJ_EX | op::INST | op::OBJ => return self.instance(code),
            op::BUILD => return self.build(),
            op::PERSID | op::BINPERSID => return self.persistent(code),
            op::PROTO => {
                let protocol = self.byte()?;
                return if protocol <= 5 { Ok(()) } else { Err(PickleErrorKind::Protocol(protocol)) };
            }
            op::FRAME => {
                let length = self.u64()?;
                // A frame only says how much to read at once; its bytes are opcodes like all others.
                return self.check(length).map(|_| ());
            }
            op::NEXT_BUFFER => {
                return Err(PickleErrorKind::Argument("its bytes were kept outside the pickle"));
            }
            op::READONLY_BUFFER => {}
            unknown => return Err(PickleErrorKind::Unknown(unknown)),
        }
        Ok(())
    }

    // -------------------------------------------------------------------------------- values

    fn integer(&mut self, code: u8) -> Step {
        let node = match code {
            op::BININT => Node::Int(i64::from(i32::from_le_bytes(self.array()?))),
            op::BININT1 => Node::Int(i64::from(self.byte()?)),
            op::BININT2 => Node::Int(i64::from(u16::from_le_bytes(self.array()?))),
            op::LONG1 | op::LONG4 => {
                let length = if code == op::LONG1 { u64::from(self.byte()?) } else { u64::from(self.u32()?) };
                if length > MAX_INTEGER_BYTES as u64 {
                    return Err(PickleErrorKind::Integer(length));
                }
                number::from_le_bytes(self.take(length)?)
            }
            _ => {
                let line = self.line()?;
                if line.len() > 3 * MAX_INTEGER_BYTES {
                    return Err(PickleErrorKind::Integer(line.len() as u64));
                }
                if code == op::INT && matches!(line, b"00" | b"01") {
                    self.push_id(if line == b"01" { NodeId::TRUE } else { NodeId::FALSE });
                    return Ok(());
                }
                let text = std::str::from_utf8(line).ok();
                let text = text.map(|t| if code == op::LONG { t.strip_suffix('L').unwrap_or(t) } else { t });
                text.and_then(number::from_text).ok_or(PickleErrorKind::Argument("not an integer"))?
            }
        };
        self.push(node);
        Ok(())
    }

    fn float(&mut self, code: u8) -> Step {
        let value = if code == op::BINFLOAT {
            f64::from_be_bytes(self.array()?)
        } else {
            let line = std::str::from_utf8(self.line()?).ok();
            line.and_then(|t| t.trim().parse().ok()).ok_or(PickleErrorKind::Argument("not a float"))?
        };
        self.push(Node::Float(value));
        Ok(())
    }

    /// Strings of protocols 0 and 1.
    fn old_string(&mut self, code: u8) -> Step {
        let node = match code {
            op::STRING => {
                let literal = self.line()?.trim_ascii();
                let bytes = text::unquote(literal).ok_or(PickleErrorKind::Argument("not a quoted string"))?;
                Node::ByteStr(bytes.into())
            }
            op::UNICODE => {
                let text =
                    text::unescape(self.line()?).ok_or(PickleErrorKind::Argument("a broken escape"))?;
                Node::Str(text.into())
            }
            op::SHORT_BINSTRING => {
                let length = self.byte()?.into();
                Node::ByteStr(self.take(length)?.into())
            }
            _ => {
                let length = self.u32()?.into();
                Node::ByteStr(self.take(length)?.into())
            }
        };
        self.push(node);
        Ok(())
    }

    fn unicode(&mut self, code: u8) -> Step {
        let length = match code {
            op::SHORT_BINUNICODE => self.byte()?.into(),
            op::BINUNICODE => self.u32()?.into(),
            _ => self.u64()?,
        };
        // Python writes lone surrogates, which no Rust string can hold; they become U+FFFD.
        let text: Arc<str> = String::from_utf8_lossy(self.take(length)?).into();
        self.push(Node::Str(text));
        Ok(())
    }

    fn bytes(&mut self, code: u8) -> Step {
        let length = match code {
            op::SHORT_BINBYTES => self.byte()?.into(),
            op::BINBYTES => self.u32()?.into(),
            _ => self.u64()?,
        };
        let bytes = self.take(length)?.into();
        self.push(Node::Bytes(bytes));
        Ok(())
    }

    // -------------------------------------------------------------------------------- stack and memo

    fn memoize(&mut self, code: u8) -> Step {
        let index = match code {
            op::PUT => self.line_index()?,
            op::BINPUT => self.byte()?.into(),
            op::LONG_BINPUT => self.u32()?.into(),
            _ => self.memo.len() as u64,
        };
        let top = *self.top()?;
        self.taken += MEMO_ENTRY;
        self.memo.insert(index, top);
        Ok(())
    }

    fn recall(&mut self, code: u8) -> Step {
        let index = match code {
            op::GET => self.line_index()?,
            op::BINGET => self.byte()?.into(),
            _ => self.u32()?.into(),
        };
        let id = *self.memo.get(&index).ok_or(PickleErrorKind::Memo(index))?;
        self.push_id(id);
        Ok(())
    }

    fn shuffle(&mut self, code: u8) -> Step {
        match code {
            op::MARK => {
                self.taken += size_of::<usize>();
                self.marks.push(self.stack.len());
            }
            op::DUP => {
                let top = *self.top()?;
                self.push_id(top);
            }
            op::POP_MARK => {
                self.since_mark()?;
            }
            // Python's POP takes a mark off where one is on top.
            _ if self.marks.last() == Some(&self.stack.len()) => {
                self.marks.pop();
            }
            _ => {
                self.pop()?;
            }
        }
        Ok(())
    }

    fn collect(&mut self, code: u8) -> Step {
        let node = match code {
            op::TUPLE => Node::Tuple(self.since_mark()?),
            op::LIST => Node::List(self.since_mark()?),
            op::FROZENSET => Node::Set(self.since_mark()?),
            op::DICT => Node::Dict(pairs(&self.since_mark()?)?),
            _ => {
                let count = usize::from(code - op::TUPLE1) + 1;
                let floor = self.marks.last().copied().unwrap_or(0);
                let from = self.stack.len().checked_sub(count).filter(|&from| from >= floor);
                Node::Tuple(self.stack.split_off(from.ok_or(PickleErrorKind::Stack)?))
            }
        };
        self.push(node);
        Ok(())
    }

    fn extend(&mut self, code: u8) -> Step {
        let items = match code {
            op::APPEND => vec![self.pop()?],
            op::SETITEM => {
                let value = self.pop()?;
                vec![self.pop()?, value]
            }
            _ => self.since_mark()?,
        };
        self.taken += size_of_val(&items[..]);
        let target = self.top()?.index();
        let keyed = matches!(code, op::SETITEM | op::SETITEMS);
        match &mut self.nodes[target] {
            Node::Dict(entries) if keyed => entries.extend(pairs(&items)?),
            Node::Instance(instance) if keyed => instance.entries.extend(pairs(&items)?),
            Node::Instance(instance) => instance.items.extend(items),
            Node::Set(elements) if code == op::ADDITEMS => elements.extend(items),
            Node::List(elements) if !keyed && code != op::ADDITEMS => elements.extend(items),
            // Subclasses are made by NEWOBJ and are instances, so nothing else that Python writes is a target.
            other => return Err(PickleErrorKind::Target(other.kind())),
        }
        Ok(())
    }

    // -------------------------------------------------------------------------------- names and calls

    fn global(&mut self, code: u8) -> Step {
        let name: Arc<str> = match code {
            op::GLOBAL => self.line_name()?,
            op::STACK_GLOBAL => {
                let (name, module) = (self.pop()?, self.pop()?);
                match (&self.nodes[module.index()], &self.nodes[name.index()]) {
                    (Node::Str(module), Node::Str(name)) => dotted(module, name),
                    _ => return Err(PickleErrorKind::Argument("a name that is no string")),
                }
            }
            op::EXT1 => format!("copyreg.extension.{}", self.byte()?).into(),
            op::EXT2 => format!("copyreg.extension.{}", u16::from_le_bytes(self.array()?)).into(),
            _ => format!("copyreg.extension.{}", self.u32()?).into(),
        };
        self.push(Node::Global(name));
        Ok(())
    }

    fn line_name(&mut self) -> Step<Arc<str>> {
        let malformed = PickleErrorKind::Argument("a name that is not UTF-8");
        let module = std::str::from_utf8(self.line()?).map_err(|_| malformed.clone())?;
        let name = std::str::from_utf8(self.line()?).map_err(|_| malformed)?;
        Ok(dotted(module, name))
    }

    fn instance(&mut self, code: u8) -> Step {
        let mut kwargs = None;
        let (callee, args) = match code {
            op::INST => {
                let name = self.line_name()?;
                let args = self.since_mark()?;
                (self.add(Node::Global(name)), self.add(Node::Tuple(args)))
            }
            op::OBJ => {
                let mut args = self.since_mark()?;
                if args.is_empty() {
                    return Err(PickleErrorKind::Stack);
                }
                let class = args.remove(0);
                (class, self.add(Node::Tuple(args)))
            }
            _ => {
                if code == op::NEWOBJ_EX {
                    kwargs = Some(self.pop()?);
                }
                let args = self.pop()?;
                if !matches!(self.nodes[args.index()], Node::Tuple(_)) {
                    return Err(PickleErrorKind::Argument("the arguments are no tuple"));
                }
                (self.pop()?, args)
            }
        };
        if let Some(id) = kwargs
            && !matches!(self.nodes[id.index()], Node::Dict(_))
        {
            return Err(PickleErrorKind::Argument("the named arguments are no dictionary"));
        }
        let (states, items, entries) = (Vec::new(), Vec::new(), Vec::new());
        self.push(Node::Instance(Box::new(Instance { callee, args, kwargs, states, items, entries })));
        Ok(())
    }

    fn build(&mut self) -> Step {
        let state = self.pop()?;
        let target = self.top()?.index();
        match &mut self.nodes[target] {
            Node::Instance(instance) => {
                self.taken += size_of::<NodeId>();
                instance.states.push(state);
            }
            other => return Err(PickleErrorKind::Target(other.kind())),
        }
        Ok(())
    }

    fn persistent(&mut self, code: u8) -> Step {
        let id = if code == op::PERSID {
            let text = String::from_utf8_lossy(self.line()?).into();
            self.add(Node::Str(text))
        } else {
            self.pop()?
        };
        self.push(Node::Persistent(id));
        Ok(())
    }

    // -------------------------------------------------------------------------------- primitives

    fn add(&mut self, node: Node) -> NodeId {
        let id = u32::try_from(self.nodes.len()).expect("bug: the node limit is below 2^32");
        self.taken += node.size();
        self.nodes.push(node);
        NodeId(id)
    }

    fn push(&mut self, node: Node) {
        let id = self.add(node);
        self.push_id(id);
    }

    fn push_id(&mut self, id: NodeId) {
        self.taken += size_of::<NodeId>();
        self.stack.push(id);
    }

    fn pop(&mut self) -> Step<NodeId> {
        self.top()?;
        self.stack.pop().ok_or(PickleErrorKind::Stack)
    }

    /// The top of the stack, which a mark covers.
    fn top(&self) -> Step<&NodeId> {
        let floor = self.marks.last().copied().unwrap_or(0);
        self.stack[floor..].last().ok_or(PickleErrorKind::Stack)
    }

    fn since_mark(&mut self) -> Step<Vec<NodeId>> {
        let mark = self.marks.pop().ok_or(PickleErrorKind::Mark)?;
        Ok(self.stack.split_off(mark))
    }

    /// That `length` bytes are left.
    fn check(&self, length: u64) -> Step<usize> {
        let left = self.input.len() - self.at;
        let short = PickleErrorKind::Short { needed: length, left };
        usize::try_from(length).ok().filter(|&length| length <= left).ok_or(short)
    }

    fn take(&mut self, length: u64) -> Step<&'a [u8]> {
        let length = self.check(length)?;
        let bytes = &self.input[self.at..self.at + length];
        self.at += length;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Step<[u8; N]> {
        Ok(self.take(N as u64)?.try_into().expect("bug: as many bytes were taken as asked for"))
    }

    fn byte(&mut self) -> Step<u8> {
        self.array().map(|[byte]| byte)
    }

    fn u32(&mut self) -> Step<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Step<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn line(&mut self) -> Step<&'a [u8]> {
        let rest = &self.input[self.at..];
        let end = rest.iter().position(|&b| b == b'\n').ok_or(PickleErrorKind::Line)?;
        self.at += end + 1;
        Ok(&rest[..end])
    }

    fn line_index(&mut self) -> Step<u64> {
        let text = std::str::from_utf8(self.line()?).ok();
        text.and_then(|t| t.parse().ok()).ok_or(PickleErrorKind::Argument("not a memo index"))
    }
}

/// Protocols 0 to 2 use the names of Python 2, of which the built-in ones matter (`Lib/_compat_pickle.py`).
fn dotted(module: &str, name: &str) -> Arc<str> {
    match (module, name) {
        ("__builtin__", "xrange") => "builtins.range".into(),
        ("__builtin__", "unicode") => "builtins.str".into(),
        ("__builtin__", "long") => "builtins.int".into(),
        ("__builtin__", _) => format!("builtins.{name}").into(),
        ("copy_reg", _) => format!("copyreg.{name}").into(),
        _ => format!("{module}.{name}").into(),
    }
}

fn pairs(items: &[NodeId]) -> Step<Vec<(NodeId, NodeId)>> {
    let (pairs, rest) = items.as_chunks::<2>();
    if rest.is_empty() {
        Ok(pairs.iter().map(|&[key, value]| (key, value)).collect())
    } else {
        Err(PickleErrorKind::Argument("a key without a value"))
    }
}
