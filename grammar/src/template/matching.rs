//! Whether a name fits a template, in time that grows with the length of both.
//!
//! Numbers take all digits there are, so that only stars leave a choice; of several ways the one is taken in which the
//! first star stands for least, then the second. No index stands twice in a template of a mapping.

use super::{Captures, Part};

/// What the holes of the parts hold if the whole of `name` fits.
pub(super) fn match_name(parts: &[Part], name: &str) -> Option<Captures> {
    let mut captures = Captures::default();
    let mut at = 0;
    let first_star = parts.iter().position(is_star).unwrap_or(parts.len());
    for part in &parts[..first_star] {
        at = fixed(part, name, at, &mut captures)?;
    }
    let rest = &parts[first_star..];
    if rest.is_empty() {
        return (at == name.len()).then_some(captures);
    }
    // Where each part, and what follows it, can begin.
    let mut begins = vec![Vec::new(); rest.len()];
    let mut next = vec![false; name.len() + 1];
    next[name.len()] = true;
    for (number, part) in rest.iter().enumerate().rev() {
        let here = beginnings(part, name, at, &next);
        begins[number] = std::mem::replace(&mut next, here);
    }
    if !next[at] {
        return None;
    }
    for (part, follows) in rest.iter().zip(&begins) {
        if is_star(part) {
            let end = (at + 1..=name.len()).find(|end| follows[*end])?;
            captures.stars.push(name[at..end].to_owned());
            at = end;
        } else {
            at = fixed(part, name, at, &mut captures)?;
        }
    }
    Some(captures)
}

fn is_star(part: &Part) -> bool {
    matches!(part, Part::Star | Part::DoubleStar)
}

/// From where on `part` can begin, if what follows it can begin at `next`.
fn beginnings(part: &Part, name: &str, from: usize, next: &[bool]) -> Vec<bool> {
    let mut here = vec![false; name.len() + 1];
    if !is_star(part) {
        for (at, _) in name[from..].char_indices().chain([(name.len() - from, ' ')]) {
            let at = from + at;
            here[at] = fixed(part, name, at, &mut Captures::default()).is_some_and(|end| next[end]);
        }
        return here;
    }
    // Whether a star that has begun can end at or after the place at hand.
    let mut ends = next[name.len()];
    for (at, c) in name[from..].char_indices().rev() {
        let at = from + at;
        if c == '.' && *part == Part::Star {
            ends = false;
        }
        here[at] = ends;
        ends |= next[at];
    }
    here
}

/// The end of a part that is no star, if it begins at `at`.
fn fixed(part: &Part, name: &str, at: usize, captures: &mut Captures) -> Option<usize> {
    let rest = &name[at..];
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    match part {
        Part::Literal(text) => rest.starts_with(text.as_str()).then(|| at + text.len()),
        Part::Index(index) => {
            let coordinate = index.coordinate(&rest[..digits])?;
            match captures.index(index.axis) {
                Some(seen) if seen != coordinate => return None,
                Some(_) => {}
                None => captures.indices.push((index.axis, coordinate)),
            }
            Some(at + digits)
        }
        // A rank axis with one rank has no number.
        Part::Rank(..) if digits == 0 => Some(at),
        Part::Rank(rank, _) => {
            captures.ranks.push((*rank, rest[..digits].parse().ok()?));
            Some(at + digits)
        }
        Part::Star | Part::DoubleStar => None,
    }
}
