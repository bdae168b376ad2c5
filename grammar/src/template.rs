//! Names with holes: `transformer.h.{layer}.ln_1.weight`. Matching, rendering, and whether two can meet.

use crate::mapping::{AxisId, RankId};
use crate::size::Size;

/// A parameter's name with indices and stars in it; anchored at both ends.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct Template {
    /// Whether it starts at the top of the state dict and not at the side's root.
    pub absolute: bool,
    /// The parts, neighbouring literals joined.
    pub parts: Vec<Part>,
}

/// A part of a template.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Part {
    /// This very text.
    Literal(String),
    /// A number made of an index.
    Index(IndexPart),
    /// A rank's number, in the root of a side: `model{vpp}`. Where there is one rank it is left out: `model`.
    Rank(RankId, Option<usize>),
    /// `*`: one or more characters, no dot.
    Star,
    /// `**`: one or more characters.
    DoubleStar,
}

/// `{scale * axis + offset}`, of at least `width` digits, for the coordinates in `range`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct IndexPart {
    /// The axis whose coordinate it shows.
    pub axis: AxisId,
    /// Never zero.
    pub scale: i64,
    /// What is added.
    pub offset: i64,
    /// Digits, padded with zeros; no padding where absent.
    pub width: Option<usize>,
    /// From (included) and to (excluded), in coordinates; the whole axis where absent.
    pub range: Option<(Size, Size)>,
    /// Rank axes that the coordinate is distributed over in blocks.
    pub ranks: Vec<RankId>,
}

/// What the holes of a template held in one name.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Captures {
    /// Coordinates of index axes, in order of their first place.
    pub indices: Vec<(AxisId, u64)>,
    /// What stars stood for, in order.
    pub stars: Vec<String>,
    /// Numbers of ranks; a rank axis with one rank has none in names.
    pub ranks: Vec<(RankId, u64)>,
}

impl Captures {
    /// The coordinate of an axis.
    #[must_use]
    pub fn index(&self, axis: AxisId) -> Option<u64> {
        self.indices.iter().find(|(a, _)| *a == axis).map(|(_, i)| *i)
    }
}

impl Template {
    /// Adds literal text.
    pub fn push_text(&mut self, text: &str) {
        if let Some(Part::Literal(last)) = self.parts.last_mut() {
            last.push_str(text);
        } else if !text.is_empty() {
            self.parts.push(Part::Literal(text.to_owned()));
        }
    }

    /// Adds a part.
    pub fn push(&mut self, part: Part) {
        match part {
            Part::Literal(text) => self.push_text(&text),
            other => self.parts.push(other),
        }
    }

    /// The indices in it.
    pub fn indices(&self) -> impl Iterator<Item = &IndexPart> {
        self.parts.iter().filter_map(|p| match p {
            Part::Index(index) => Some(index),
            _ => None,
        })
    }

    /// How many stars of each kind it has.
    #[must_use]
    pub fn stars(&self) -> (usize, usize) {
        let count = |part: &Part| self.parts.iter().filter(|p| *p == part).count();
        (count(&Part::Star), count(&Part::DoubleStar))
    }

    /// Whether it holds the number of a rank axis.
    #[must_use]
    pub fn has_rank(&self, rank: RankId) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Rank(r, _) if *r == rank))
    }

    /// What the holes hold if the whole of `name` fits.
    #[must_use]
    pub fn matches(&self, name: &str) -> Option<Captures> {
        matching::match_name(&self.parts, name)
    }

    /// The name for given coordinates and stars; `None` where one is absent or would be negative.
    #[must_use]
    pub fn render(&self, captures: &Captures) -> Option<String> {
        let mut stars = captures.stars.iter();
        let mut name = String::new();
        for part in &self.parts {
            match part {
                Part::Literal(text) => name.push_str(text),
                Part::Star | Part::DoubleStar => name.push_str(stars.next()?),
                Part::Rank(rank, width) => {
                    if let Some((_, at)) = captures.ranks.iter().find(|(r, _)| r == rank) {
                        name.push_str(&format!("{at:0width$}", width = width.unwrap_or(0)));
                    }
                }
                Part::Index(index) => name.push_str(&index.render(captures.index(index.axis)?)?),
            }
        }
        Some(name)
    }

    /// Whether some name fits both templates. Index ranges are not looked at.
    #[must_use]
    pub(crate) fn meets(&self, other: &Template) -> bool {
        let mut names = Names::default();
        names.add(other);
        names.meeting(self, &mut |_| true).is_some_and(|found| !found.is_empty())
    }

    /// How a reader writes it.
    #[must_use]
    pub fn display(&self, axis: &dyn Fn(AxisId) -> String) -> String {
        let mut text = String::from(if self.absolute { "/" } else { "" });
        for part in &self.parts {
            match part {
                Part::Literal(literal) => text.push_str(literal),
                Part::Star => text.push('*'),
                Part::DoubleStar => text.push_str("**"),
                Part::Rank(rank, _) => text.push_str(&format!("{{rank {}}}", rank.0)),
                Part::Index(index) => text.push_str(&index.display(axis)),
            }
        }
        text
    }
}

impl IndexPart {
    fn render(&self, coordinate: u64) -> Option<String> {
        let value = i64::try_from(coordinate).ok()?.checked_mul(self.scale)?.checked_add(self.offset)?;
        let width = self.width.unwrap_or(0);
        (value >= 0).then(|| format!("{value:0width$}"))
    }

    pub(crate) fn coordinate(&self, digits: &str) -> Option<u64> {
        let padded = digits.len() > 1 && digits.starts_with('0');
        if padded && self.width != Some(digits.len()) {
            return None;
        }
        let value: i64 = digits.parse().ok()?;
        let scaled = value.checked_sub(self.offset)?;
        (scaled % self.scale == 0).then(|| u64::try_from(scaled / self.scale).ok())?
    }

    fn display(&self, axis: &dyn Fn(AxisId) -> String) -> String {
        let mut text = axis(self.axis);
        if self.scale != 1 {
            text = format!("{} * {text}", self.scale);
        }
        match self.offset {
            0 => {}
            n if n < 0 => text.push_str(&format!(" - {}", n.unsigned_abs())),
            n => text.push_str(&format!(" + {n}")),
        }
        format!("{{{text}}}")
    }
}

mod matching;
mod meeting;

pub(crate) use meeting::Names;

#[cfg(test)]
mod tests {
    use super::*;

    fn template(text: &str) -> Template {
        let mut result = Template::default();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '*']) {
            result.push_text(&rest[..at]);
            if rest[at..].starts_with("**") {
                result.push(Part::DoubleStar);
                rest = &rest[at + 2..];
            } else if rest[at..].starts_with('*') {
                result.push(Part::Star);
                rest = &rest[at + 1..];
            } else {
                let offset = rest[at + 1..at + 2].parse().unwrap();
                result.push(Part::Index(IndexPart {
                    axis: AxisId(0),
                    scale: 1,
                    offset,
                    width: None,
                    range: None,
                    ranks: Vec::new(),
                }));
                rest = &rest[at + 3..];
            }
        }
        result.push_text(rest);
        result
    }

    #[test]
    fn a_name_fits_as_a_whole_or_not_at_all() {
        let t = template("h.{0}.w");
        assert_eq!(t.matches("h.12.w").unwrap().indices, [(AxisId(0), 12)]);
        for name in ["h.12.w2", "xh.1.w", "h..w", "h.01.w", "h.-1.w", "h.a.w", "h.99999999999999999999.w"] {
            assert_eq!(t.matches(name), None, "{name}");
        }
    }

    #[test]
    fn an_index_that_is_shifted_is_solved_and_rendered() {
        let t = template("l{2}");
        assert_eq!(t.matches("l5").unwrap().indices, [(AxisId(0), 3)]);
        assert_eq!(t.matches("l1"), None);
        let captures = Captures { indices: vec![(AxisId(0), 3)], stars: vec![], ..Captures::default() };
        assert_eq!(t.render(&captures).unwrap(), "l5");
    }

    #[test]
    fn stars_take_segments_and_double_stars_take_anything() {
        assert_eq!(template("a.*.w").matches("a.b.w").unwrap().stars, ["b"]);
        assert_eq!(template("a.*.w").matches("a.b.c.w"), None);
        assert_eq!(template("a.**.w").matches("a.b.c.w").unwrap().stars, ["b.c"]);
    }

    #[test]
    fn templates_meet_exactly_where_a_common_name_exists() {
        let meets = |a: &str, b: &str| template(a).meets(&template(b));
        assert!(meets("h.{0}.w", "h.0.w"));
        assert!(meets("h.{0}.w", "h.{0}.w"));
        assert!(meets("**._extra_state", "h.{0}._extra_state"));
        assert!(meets("a.*", "*.b"));
        assert!(!meets("h.{0}.w", "h.x.w"));
        assert!(!meets("a.*", "a.b.c"));
        assert!(!meets("h.{0}.w", "h.{0}.b"));
        assert!(!meets("h.{0}", "h."));
        assert!(meets("**a**b", "**b**ab"));
        assert!(!meets("*.a", "**.b"));
    }

    #[test]
    fn many_stars_are_matched_in_a_moment_and_the_first_take_least() {
        let t = template(&format!("{}end", "**a".repeat(12)));
        assert_eq!(t.matches(&"a".repeat(200)), None);
        let name = format!("{}end", "ba".repeat(13));
        let stars = t.matches(&name).unwrap().stars;
        assert_eq!(stars[..11], ["b"; 11]);
        assert_eq!(stars[11], "bab");
        assert_eq!(template("**.*.w").matches("a.b.c.w").unwrap().stars, ["a.b", "c"]);
        assert_eq!(template("x*y").matches("xäy").unwrap().stars, ["ä"]);
        assert_eq!(template("*.{0}.w").matches("a.7.w").unwrap().indices, [(AxisId(0), 7)]);
    }
}
