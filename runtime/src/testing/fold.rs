//! Lines that differ in numbers of names alone, folded into one.

use std::collections::BTreeSet;

/// A parameter as a line of a listing.
pub(super) struct Line {
    /// Its name.
    pub(super) name: String,
    /// What is said of it, such as dtype and shape.
    pub(super) text: String,
    /// Names of what it is made of, each with what is said of that.
    pub(super) sources: Vec<(String, String)>,
}

/// The lines as text, sources below each, those that differ in numbers of names alone as one: `h.{i}.weight`, and
/// what `i` is. A number of a source that follows one of the name is written as the same letter.
pub(super) fn fold(lines: &[Line]) -> String {
    let mut groups: Vec<(Shape, Vec<Numbers>)> = Vec::new();
    for line in lines {
        let (shape, numbers) = take_apart(line);
        match groups.iter_mut().find(|(s, _)| *s == shape) {
            Some((_, all)) => all.push(numbers),
            None => groups.push((shape, vec![numbers])),
        }
    }
    let mut text = String::new();
    for (shape, all) in &groups {
        match write_group(shape, all) {
            Some(group) => text.push_str(&group),
            None => all
                .iter()
                .filter_map(|one| write_group(shape, std::slice::from_ref(one)))
                .for_each(|one| text.push_str(&one)),
        }
    }
    text
}

/// A name with its numbers left out: `["h", None, "weight"]`.
type Pattern = Vec<Option<String>>;

/// All of a line but its numbers.
#[derive(PartialEq)]
struct Shape {
    name: Pattern,
    text: String,
    sources: Vec<(Pattern, String)>,
}

/// The numbers of a line: of its name, and of each source all that there are at each place.
struct Numbers {
    name: Vec<u64>,
    sources: Vec<Vec<BTreeSet<u64>>>,
}

fn take_apart(line: &Line) -> (Shape, Numbers) {
    let (name, own) = pattern(&line.name);
    let mut sources: Vec<(Pattern, String, Vec<Vec<u64>>)> = Vec::new();
    for (source, said) in &line.sources {
        let (pattern, numbers) = pattern(source);
        match sources.iter_mut().find(|(p, s, _)| *p == pattern && s == said) {
            Some((.., all)) => all.push(numbers),
            None => sources.push((pattern, said.clone(), vec![numbers])),
        }
    }
    let mut shape = Shape { name, text: line.text.clone(), sources: Vec::new() };
    let mut numbers = Numbers { name: own, sources: Vec::new() };
    for (pattern, said, all) in sources {
        // Sources that are not all combinations of their numbers are told one by one.
        let together = columns(&all);
        let parts = match combinations(&together) == all.len() {
            true => vec![together],
            false => all.iter().map(|one| columns(std::slice::from_ref(one))).collect(),
        };
        for part in parts {
            shape.sources.push((pattern.clone(), said.clone()));
            numbers.sources.push(part);
        }
    }
    (shape, numbers)
}

fn pattern(name: &str) -> (Pattern, Vec<u64>) {
    let mut numbers = Vec::new();
    let pattern = name
        .split('.')
        .map(|word| match word.parse::<u64>() {
            Ok(number) if number.to_string() == word => {
                numbers.push(number);
                None
            }
            _ => Some(word.to_owned()),
        })
        .collect();
    (pattern, numbers)
}

/// The numbers that there are at each place of a name.
fn columns(all: &[Vec<u64>]) -> Vec<BTreeSet<u64>> {
    let places = all.first().map_or(0, Vec::len);
    (0..places).map(|place| all.iter().map(|one| one[place]).collect()).collect()
}

fn combinations(columns: &[BTreeSet<u64>]) -> usize {
    columns.iter().map(BTreeSet::len).product()
}

const LETTERS: [&str; 4] = ["i", "j", "k", "l"];

/// The lines of a group as one; nothing where they cannot be told together.
fn write_group(shape: &Shape, all: &[Numbers]) -> Option<String> {
    let names: Vec<Vec<u64>> = all.iter().map(|n| n.name.clone()).collect();
    let own = columns(&names);
    if combinations(&own) != all.len() {
        return None;
    }
    let mut letters = LETTERS.iter();
    let mut words = Vec::new();
    let mut what = Vec::new();
    for numbers in &own {
        if numbers.len() == 1 {
            words.push(show(numbers));
        } else {
            let letter = letters.next()?;
            words.push(format!("{{{letter}}}"));
            what.push(format!("{letter} = {}", show(numbers)));
        }
    }
    let which = if what.is_empty() { String::new() } else { format!("  ({})", what.join("; ")) };
    let mut text = format!("{}  {}{which}\n", put_together(&shape.name, &words), shape.text);
    for (at, (pattern, said)) in shape.sources.iter().enumerate() {
        let places = pattern.iter().filter(|word| word.is_none()).count();
        let numbers: Option<Vec<String>> =
            (0..places).map(|place| source_number(all, at, place, &words)).collect();
        text.push_str(&format!("    from {}{said}\n", put_together(pattern, &numbers?)));
    }
    Some(text)
}

/// What stands at one place of a source's name in all lines of a group: one number, a list that is the same in all, or
/// what a place of the line's own name holds.
fn source_number(all: &[Numbers], source: usize, place: usize, words: &[String]) -> Option<String> {
    let column = |n: &Numbers| n.sources[source][place].clone();
    let first = column(all.first()?);
    if all.iter().all(|n| column(n) == first) {
        return Some(if first.len() == 1 { show(&first) } else { format!("{{{}}}", show(&first)) });
    }
    let follows = |own: &usize| all.iter().all(|n| column(n) == BTreeSet::from([n.name[*own]]));
    let own = std::iter::once(place).chain(0..words.len()).filter(|own| *own < words.len()).find(follows)?;
    Some(words[own].clone())
}

fn put_together(pattern: &Pattern, numbers: &[String]) -> String {
    let mut numbers = numbers.iter();
    let words =
        pattern.iter().map(|word| word.as_ref().or_else(|| numbers.next()).cloned().unwrap_or_default());
    words.collect::<Vec<_>>().join(".")
}

/// `0`, `0, 2`, `0 to 11`.
fn show(numbers: &BTreeSet<u64>) -> String {
    match (numbers.first(), numbers.last()) {
        (Some(first), Some(last)) if numbers.len() > 2 && last - first + 1 == numbers.len() as u64 => {
            format!("{first} to {last}")
        }
        _ => numbers.iter().map(u64::to_string).collect::<Vec<_>>().join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::{Line, fold};

    fn line(name: &str, sources: &[&str]) -> Line {
        let sources = sources.iter().map(|s| ((*s).to_owned(), String::new())).collect();
        Line { name: name.to_owned(), text: "f32 [2]".to_owned(), sources }
    }

    #[test]
    fn layers_are_one_line_and_their_sources_follow() {
        let lines: Vec<Line> =
            (0..4).map(|i| line(&format!("h.{i}.w"), &[&format!("layers.{i}.w")])).collect();
        assert_eq!(fold(&lines), "h.{i}.w  f32 [2]  (i = 0 to 3)\n    from layers.{i}.w\n");
    }

    #[test]
    fn a_source_of_another_layer_shows() {
        let lines = [line("h.0.w", &["layers.1.w"]), line("h.1.w", &["layers.0.w"])];
        let text = "h.0.w  f32 [2]\n    from layers.1.w\nh.1.w  f32 [2]\n    from layers.0.w\n";
        assert_eq!(fold(&lines), text);
    }

    #[test]
    fn many_sources_of_one_target_are_one() {
        let sources =
            ["layers.0.experts.0.w", "layers.0.experts.1.w", "layers.1.experts.0.w", "layers.1.experts.1.w"];
        let text = "w  f32 [2]\n    from layers.{0, 1}.experts.{0, 1}.w\n";
        assert_eq!(fold(&[line("w", &sources)]), text);
    }

    #[test]
    fn numbers_in_another_order_are_found() {
        let mut lines = Vec::new();
        for (i, j) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            lines.push(line(&format!("h.{i}.e.{j}"), &[&format!("e.{j}.h.{i}")]));
        }
        assert_eq!(fold(&lines), "h.{i}.e.{j}  f32 [2]  (i = 0, 1; j = 0, 1)\n    from e.{j}.h.{i}\n");
    }
}
