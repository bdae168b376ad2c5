//! A mapping from one side to that side again, on other ranks.

use crate::layout::{Factor, Layout};
use crate::mapping::{Direction, Entry, FieldId, Mapping, RankId, SideId};
use crate::template::{Part, Template};
use crate::value::{Expr, ExprKind, Value};

impl Mapping {
    /// The mapping whose both sides are `side`: it splits a checkpoint over other ranks, names and layouts kept. `None`
    /// where the other side has rank axes of its own.
    #[must_use]
    pub fn reflected(&self, side: SideId) -> Option<Mapping> {
        self.ranks_of(side.other()).next().is_none().then(|| self.mirrored(side))
    }

    /// The same without regard to rank axes of the other side, which belong to nothing then.
    pub(crate) fn mirrored(&self, side: SideId) -> Mapping {
        let other = side.other();
        let mut mapping = self.clone();
        let count = mapping.ranks.len();
        let to_other = |rank: &mut RankId| *rank = RankId::from_index(rank.index() + count);
        for rank in 0..count {
            let mut rank = mapping.ranks[rank].clone();
            rank.side = other;
            rank.default.iter_mut().for_each(|default| default.each_rank(&to_other));
            mapping.ranks.push(rank);
        }
        mapping.sides[other.index()] = mapping.sides[side.index()].clone();
        let own = &mut mapping.sides[other.index()];
        own.roots.iter_mut().chain(&mut own.nested).for_each(|name| in_template(name, &to_other));
        for rule in &mut mapping.rules {
            rule.direction = Direction::Both;
            rule.sides[other.index()] = rule.sides[side.index()].clone();
            rule.sides[other.index()].iter_mut().for_each(|entry| in_entry(entry, &to_other));
            if let Some((rank, _)) = &mut rule.on {
                to_other(rank);
            }
        }
        mapping.drops.retain(|drop| drop.side == side);
        mapping.emits.retain(|emit| emit.side == side);
        mapping.ties.retain(|tie| tie.side == side);
        for mut tie in mapping.ties.clone() {
            tie.side = other;
            in_template(&mut tie.alias, &to_other);
            in_template(&mut tie.of, &to_other);
            if let Some((rank, _)) = &mut tie.on {
                to_other(rank);
            }
            mapping.ties.push(tie);
        }
        for mut emit in mapping.emits.clone() {
            emit.side = other;
            in_template(&mut emit.name, &to_other);
            mapping.emits.push(emit);
        }
        // That nothing says what the other side alone has is no news where that side has no part.
        let is_null = |e: &Expr| matches!(e.kind, ExprKind::Literal(Value::Null));
        let fields = &mapping.config.fields;
        let of_other = |field: FieldId| {
            let field = &fields[field.index()];
            field.places[side.index()].is_empty() && field.defaults.iter().flatten().any(is_null)
        };
        mapping.config.notes.retain(|note| {
            note.condition.as_ref().is_none_or(|condition| !condition.fields().into_iter().any(of_other))
        });
        for field in &mut mapping.config.fields {
            field.places[other.index()] = field.places[side.index()].clone();
            field.written[other.index()] = field.written[side.index()];
            // What is read is computed from the split that is read; a default fills in what the target needs.
            let defaults = field.defaults.iter_mut().flatten();
            defaults.for_each(|default| default.each_rank(&to_other));
        }
        // What asks the other side's documents has nothing to ask here, and what it would write is there already.
        mapping.config.writes.retain(|write| write.side == side && write.value.first_place().is_none());
        for write in &mut mapping.config.writes {
            write.side = other;
            write.value.each_rank(&to_other);
        }
        mapping.reflected = true;
        mapping
    }
}

fn in_entry(entry: &mut Entry, change: &dyn Fn(&mut RankId)) {
    for stored in &mut entry.stored {
        in_template(&mut stored.name, change);
        stored.layouts.iter_mut().for_each(|(_, layout)| in_layout(layout, change));
    }
}

fn in_template(template: &mut Template, change: &dyn Fn(&mut RankId)) {
    for part in &mut template.parts {
        match part {
            Part::Rank(rank, _) => change(rank),
            Part::Index(index) => index.ranks.iter_mut().for_each(change),
            Part::Literal(_) | Part::Star | Part::DoubleStar => {}
        }
    }
}

fn in_layout(layout: &mut Layout, change: &dyn Fn(&mut RankId)) {
    layout.dims.iter_mut().for_each(|factor| in_factor(factor, change));
}

fn in_factor(factor: &mut Factor, change: &dyn Fn(&mut RankId)) {
    match factor {
        Factor::Axis(axis) => axis.ranks.iter_mut().for_each(change),
        Factor::Unit => {}
        Factor::Product(factors, ranks) => {
            ranks.iter_mut().for_each(change);
            factors.iter_mut().for_each(|factor| in_factor(factor, change));
        }
        Factor::Sum(sum) => {
            sum.ranks.iter_mut().for_each(change);
            sum.arms.iter_mut().flat_map(|arm| &mut arm.factors).for_each(|factor| in_factor(factor, change));
        }
    }
}
