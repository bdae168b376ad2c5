//! Attention and rotary embeddings: the shapes they take.

use super::Forward;
use super::call::Operands;
use super::shape::{extents, numbers};
use crate::code::Code;
use crate::diagnostic::Diagnostic;
use crate::model::{Attention, Dim, Rotary, RotaryPairs, Value, ValueKind};
use crate::source::Span;

impl<'a> Forward<'_, 'a> {
    pub(super) fn attention(&mut self, given: &Operands<'a>, span: Span) -> Option<Value> {
        let operands: Vec<Option<Value>> = (0..3).map(|at| self.tensor(given.needed(at)?)).collect();
        let mask = given.optional(3).map(|mask| self.tensor(mask));
        let scale = given.optional(4).map(|scale| self.scalar(scale));
        let [query, key, value] = <[Option<Value>; 3]>::try_from(operands).ok()?;
        let (query, key, value) = (query?, key?, value?);
        let mask = match mask {
            Some(mask) => Some(mask?),
            None => None,
        };
        let scale = match scale {
            Some(scale) => Some(scale?),
            None => None,
        };
        let (groups, shared) = self.heads(&query, &key)?;
        self.check_answer(&key, &value)?;
        let across = extents(&key.ty.dims);
        if let Some(mask) = &mask
            && mask.ty.dims != key.ty.dims[..across]
        {
            let (a, b) = (self.show(&mask.ty.dims), self.show(&key.ty.dims[..across]));
            self.attention_error(
                mask.span,
                &format!("the mask is over {a}, and the keys are over {b}"),
                &format!("this is {a}"),
                key.span,
                &format!("keys over {b}"),
                "a mask has a number for each key: 1 where it is seen, 0 where not",
            );
            return None;
        }
        let mut dims = query.ty.dims.clone();
        dims.pop();
        dims.extend(value.ty.dims.last().cloned());
        let causal = given.flags.first().map(|(_, at)| *at);
        if let (Some(causal), Some(mask)) = (causal, &mask) {
            self.error(
                Diagnostic::error(
                    Code::WrongOperands,
                    mask.span,
                    "attention is given both `causal` and a mask",
                    "a mask besides `causal`",
                )
                .with(causal, "later positions are hidden already")
                .help("leave one of them out: a decoder is `causal`, an encoder has a `mask`"),
            );
            return None;
        }
        let causal = causal.is_some();
        let attention = Attention { query, key, value, groups, shared, causal, mask, scale };
        Some(Value { kind: ValueKind::Attention(Box::new(attention)), ty: numbers(dims), span })
    }

    fn attention_error(
        &mut self,
        span: Span,
        message: &str,
        label: &str,
        other: Span,
        there: &str,
        help: &str,
    ) {
        self.error(
            Diagnostic::error(Code::AttentionShape, span, message, label).with(other, there).help(help),
        );
    }

    /// Which heads of the query the key has too, and which share a key.
    fn heads(&mut self, query: &Value, key: &Value) -> Option<(Vec<usize>, Vec<usize>)> {
        let (q, k) = (&query.ty.dims, &key.ty.dims);
        let across = extents(q);
        let (message, help) = if !q[..across].contains(&Dim::Extent(self.model.sequence)) || q.len() == across
        {
            let sequence = &self.model.extent(self.model.sequence).name;
            (
                format!("the query is not over `{sequence}`, heads and an axis of its own"),
                "attention is over `[batch seq heads head_dim]`: axes of the input, heads, and one last axis",
            )
        } else if q[..across] != k[..extents(k)] {
            let (q, k) = (self.show(&q[..across]), self.show(&k[..extents(k)]));
            (
                format!("the query is over {q}, and the key over {k}"),
                "query and key are over the same axes of the input",
            )
        } else if k.len() == across {
            (
                "the key has no axis of its own".to_owned(),
                "the key ends in the axis that it shares with the query, such as `head_dim`",
            )
        } else if q.last() != k.last() {
            let meets = self.meets(q, k);
            (
                format!("query and key end in unlike axes: {meets}"),
                "both end in one axis, which is contracted",
            )
        } else {
            match heads_in_common(q, k, across) {
                Ok(found) => return Some(found),
                Err(left) => (
                    format!("the query has no `{}`", self.show_dim(left)),
                    "heads of the key are some of the query's, in the same order; those it lacks share a key",
                ),
            }
        };
        let (q, k) = (format!("the query is {}", self.show(q)), format!("the key is {}", self.show(k)));
        self.attention_error(key.span, &message, &k, query.span, &q, help);
        None
    }

    /// There is a value for each key.
    fn check_answer(&mut self, key: &Value, value: &Value) -> Option<()> {
        let (k, v) = (&key.ty.dims, &value.ty.dims);
        if v.len() == k.len() && v[..v.len() - 1] == k[..k.len() - 1] {
            return Some(());
        }
        let (a, b) = (self.show(k), self.show(v));
        let message = format!(
            "there is not one value for each key: {}",
            self.meets(&v[..v.len() - 1], &k[..k.len() - 1])
        );
        self.attention_error(
            value.span,
            &message,
            &format!("the value is {b}"),
            key.span,
            &format!("the key is {a}"),
            "key and value have the same heads; only their last axis may differ",
        );
        None
    }

    pub(super) fn rotary(&mut self, given: &Operands<'a>, span: Span) -> Option<Value> {
        let input = self.tensor(given.needed(0)?);
        let base = self.scalar(given.needed(1)?);
        let width = given.optional(2).map(|e| self.scalar(e));
        let interpolation = given.optional(3).map(|e| self.scalar(e));
        let (input, base) = (input?, base?);
        let width = match width {
            Some(width) => Some(width?),
            None => None,
        };
        let interpolation = match interpolation {
            Some(interpolation) => Some(interpolation?),
            None => None,
        };
        let pairs = match given.flags.as_slice() {
            [] => RotaryPairs::Half,
            [("interleaved", _)] => RotaryPairs::Interleaved,
            [_] => RotaryPairs::Half,
            [(_, first), (_, second), ..] => {
                self.error(
                    Diagnostic::error(
                        Code::WrongOperands,
                        *second,
                        "which coordinates make a pair is said twice",
                        "said again here",
                    )
                    .with(*first, "first said here")
                    .help("write `half` or `interleaved`"),
                );
                return None;
            }
        };
        let turns = matches!(input.ty.dims.last(), Some(Dim::Axis(..)));
        if !turns || !input.ty.dims.contains(&Dim::Extent(self.model.sequence)) || self.is_odd(&input) {
            let shown = self.show(&input.ty.dims);
            let sequence = self.model.extent(self.model.sequence).name.clone();
            let message = if turns && self.is_odd(&input) {
                "a rotary embedding turns pairs, and the last axis is odd".to_owned()
            } else {
                format!("a rotary embedding turns the last axis by the position along `{sequence}`")
            };
            self.error(
                Diagnostic::error(Code::WrongAxis, input.span, message, format!("this is {shown}"))
                    .help(format!("give it a value like `[batch {sequence} heads head_dim]`")),
            );
            return None;
        }
        let ty = input.ty.clone();
        let rotary = Rotary { input, pairs, base, width, interpolation };
        Some(Value { kind: ValueKind::Rotary(Box::new(rotary)), ty, span })
    }

    /// Whether the size of the last axis is known and odd.
    fn is_odd(&self, value: &Value) -> bool {
        let Some(Dim::Axis(axis, None)) = value.ty.dims.last() else { return false };
        let axis = self.resolver.mapping.axis(*axis);
        let symbol = axis.field.map(crate::size::Symbol::Field);
        let equations = &self.resolver.mapping.config.equations;
        let sizes =
            equations.iter().filter(|e| symbol.is_some_and(|s| e.sides[0] == crate::size::Size::symbol(s)));
        let mut known = sizes.filter_map(|e| e.sides[1].as_constant()).chain(axis.size.as_constant());
        known.next().is_some_and(|n| n % 2 == 1)
    }
}

/// Places among the query's dimensions: heads that the key has, and those it lacks. Fails with a head of the key that
/// the query lacks.
fn heads_in_common<'d>(
    query: &[Dim],
    key: &'d [Dim],
    across: usize,
) -> Result<(Vec<usize>, Vec<usize>), &'d Dim> {
    let (mut groups, mut shared) = (Vec::new(), Vec::new());
    let mut heads = key[across..key.len() - 1].iter().peekable();
    for (at, dim) in query.iter().enumerate().take(query.len() - 1).skip(across) {
        if heads.next_if(|head| *head == dim).is_some() {
            groups.push(at);
        } else {
            shared.push(at);
        }
    }
    heads.next().map_or(Ok((groups, shared)), Err)
}
