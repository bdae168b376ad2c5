//! What is missing, what is left over, and what the mapping asks of a checkpoint.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use transship_grammar as grammar;

use grammar::{Captures, Code, Diagnostic, Diagnostics, Span, nearest};

use super::names::{full_name, is_renaming, sorted_key};
use super::{Binding, Key, Origin, Scope};

/// Coordinates of an index at which every parameter is missing, with the place of a rule that needs one.
type Gaps = BTreeMap<(grammar::AxisId, u64), Span>;

/// As many names as a reader takes in.
const SHOWN: usize = 12;

impl Binding<'_> {
    /// Every stored parameter has a rule, and every rule its parameters.
    pub(super) fn check_complete(&self, diagnostics: &mut Diagnostics) {
        let missing = self.missing();
        let renamed = self.renamed(&missing);
        let gaps = self.gaps(&missing);
        self.report_gaps(&gaps, diagnostics);
        self.report_missing(&missing, &gaps, &renamed, diagnostics);
        self.report_unmapped(&renamed, diagnostics);
    }

    /// Names of all parameters that rules need and the checkpoint lacks.
    pub(crate) fn missing_names(&self) -> Vec<String> {
        self.missing().into_iter().map(|missing| missing.name).collect()
    }

    /// Whole names that rules need and the checkpoint lacks, with the rule's place and the coordinates.
    fn missing(&self) -> Vec<Missing> {
        let mut all = Vec::new();
        let mut names: Vec<&str> = self.checkpoint.tensors().iter().map(|t| t.name.as_str()).collect();
        names.sort_unstable();
        for (rule_number, rule) in self.mapping.rules.iter().enumerate() {
            if !self.takes(rule) || rule.optional || !self.may_hold(&rule.guard) {
                continue;
            }
            if is_renaming(rule) {
                self.missing_renamed(rule_number, &mut all);
                continue;
            }
            for (entry_number, entry) in rule.sides[self.from.index()].iter().enumerate() {
                // In another era an index can be in memory, where the name does not have it.
                let found = |key: &Key, way: &grammar::Stored| {
                    let own =
                        |(axis, _): &&(grammar::AxisId, u64)| way.name.indices().any(|i| i.axis == *axis);
                    let key = key.iter().filter(own).copied().collect();
                    self.claims.entries.contains_key(&(rule_number, entry_number, key))
                };
                let absent = |key: &Key| {
                    self.holds(&rule.guard, key) && !entry.stored.iter().any(|way| found(key, way))
                };
                let keys: Vec<Key> = self.keys(&entry.stored[0].name).into_iter().filter(absent).collect();
                let Some(first) = keys.first() else { continue };
                let way = self.likeliest(entry, first, &names);
                all.extend(keys.into_iter().map(|key| self.missing_name(&way.name, key, way.span)));
            }
        }
        all
    }

    /// The way of an entry that has the fewest parts in its name after what it shares with one of `names`, which
    /// are sorted.
    fn likeliest<'e>(&self, entry: &'e grammar::Entry, key: &Key, names: &[&str]) -> &'e grammar::Stored {
        let end = |stored: &&grammar::Stored| {
            let name = self.missing_name(&stored.name, key.clone(), stored.span).name;
            let at = names.partition_point(|n| *n < name.as_str());
            let beside = [at.checked_sub(1), Some(at)].into_iter().flatten().filter_map(|i| names.get(i));
            let common = |other: &str| {
                let equal = name.split('.').zip(other.split('.')).take_while(|(a, b)| a == b).count();
                name.split('.').count() - equal
            };
            beside.map(|other| common(other)).min()
        };
        entry.stored.iter().min_by_key(end).unwrap_or(&entry.stored[0])
    }

    /// Stored names that no rule takes, each with the missing name that it is a misspelling of.
    fn renamed(&self, missing: &[Missing]) -> Vec<(usize, String)> {
        // Every pair is compared; a checkpoint this far off is of another model.
        const MOST: usize = 100_000;
        if missing.len().saturating_mul(self.claims.unmapped.len()) > MOST {
            return Vec::new();
        }
        let unmapped = self.claims.unmapped.iter();
        let near = |number: &usize| {
            let name = &self.checkpoint.tensors()[*number].name;
            missing.iter().find(|m| misspelt(name, &m.name)).map(|m| (*number, m.name.clone()))
        };
        unmapped.filter_map(near).collect()
    }

    fn missing_renamed(&self, rule_number: usize, all: &mut Vec<Missing>) {
        let rule = &self.mapping.rules[rule_number];
        let claims = self.claims.renamed.iter().filter(|r| r.rule == rule_number);
        let found: HashSet<Key> = claims.map(|r| sorted_key(&r.captures)).collect();
        for entry in &rule.sides[self.from.index()] {
            let first = &entry.stored[0];
            if first.name.stars() != (0, 0) {
                continue;
            }
            for key in self.keys(&first.name) {
                if !found.contains(&key) && self.holds(&rule.guard, &key) {
                    all.push(self.missing_name(&first.name, key, first.span));
                }
            }
        }
    }

    fn missing_name(&self, template: &grammar::Template, key: Key, span: Span) -> Missing {
        let holes = Captures { indices: key.clone(), ..Captures::default() };
        let name = full_name(self.mapping, self.from, template, &holes).unwrap_or_default();
        Missing { name, pattern: self.mapping.display_template(template), key, span }
    }

    /// All coordinates that a template's indices run over.
    pub(crate) fn keys(&self, template: &grammar::Template) -> Vec<Key> {
        self.keys_with(template, &Key::new())
    }

    /// Those of them that agree with coordinates that are fixed already.
    pub(crate) fn keys_with(&self, template: &grammar::Template, fixed: &Key) -> Vec<Key> {
        let mut keys: Vec<Key> = vec![Vec::new()];
        for index in template.indices() {
            if keys.iter().any(|k| k.iter().any(|(axis, _)| *axis == index.axis)) {
                continue;
            }
            let range = match &index.range {
                Some((from, to)) => self.evaluate_size(from).zip(self.evaluate_size(to)),
                None => self.range(index.axis),
            };
            let (mut from, mut to) = range.unwrap_or((0, 0));
            if let Some((_, at)) = fixed.iter().find(|(axis, _)| *axis == index.axis) {
                from = from.max(*at);
                to = to.min(at.saturating_add(1));
            }
            keys = keys
                .iter()
                .flat_map(|key| {
                    (from..to).map(move |at| {
                        let mut key = key.clone();
                        key.push((index.axis, at));
                        key
                    })
                })
                .collect();
        }
        keys.iter_mut().for_each(|k| k.sort_unstable());
        keys
    }

    /// A number of an index of which every parameter is missing is one gap, not many missing parameters.
    fn report_gaps(&self, gaps: &Gaps, diagnostics: &mut Diagnostics) {
        for ((axis, at), span) in gaps {
            let name = &self.mapping.axis(*axis).name;
            diagnostics.push(
                Diagnostic::error(
                    Code::IndexGap,
                    *span,
                    format!("no parameter of {name} {at} is there, but parameters of later ones are"),
                    format!("`{name}` is numbered without gaps"),
                )
                .note(format!("in {}", self.file()))
                .help("the checkpoint is incomplete: fetch it again, or merge the parts it was split into"),
            );
        }
    }

    fn gaps(&self, missing: &[Missing]) -> Gaps {
        let mut absent = Gaps::new();
        if missing.is_empty() {
            return absent;
        }
        for m in missing {
            for coordinate in &m.key {
                absent.entry(*coordinate).or_insert(m.span);
            }
        }
        let renamed = self.claims.renamed.iter().flat_map(|r| r.captures.indices.iter());
        let present = self.claims.entries.keys().flat_map(|(_, _, key)| key.iter());
        let present: BTreeSet<_> = present.chain(renamed).copied().collect();
        absent.retain(|(axis, at), _| {
            let later = (*axis, at.saturating_add(1))..=(*axis, u64::MAX);
            !present.contains(&(*axis, *at)) && present.range(later).next().is_some()
        });
        absent
    }

    fn report_missing(
        &self,
        missing: &[Missing],
        gaps: &Gaps,
        renamed: &[(usize, String)],
        diagnostics: &mut Diagnostics,
    ) {
        let rest: Vec<&Missing> =
            missing.iter().filter(|m| !m.key.iter().any(|c| gaps.contains_key(c))).collect();
        let Some(first) = rest.first() else { return };
        let message = match rest.len() {
            1 => format!("`{}` is missing", first.name),
            count => format!("{count} parameters are missing, the first `{}`", first.name),
        };
        let mut diagnostic =
            Diagnostic::error(Code::MissingParameter, first.span, message, "this rule needs it");
        if rest.len() > 1 {
            for line in self.fold(&rest) {
                diagnostic = diagnostic.note(line);
            }
        }
        let opened = self.checkpoint.notes().iter().cloned();
        diagnostic = opened.fold(diagnostic.note(format!("in {}", self.file())), Diagnostic::note);
        let unsupported = self.checkpoint.unsupported().iter().find(|u| u.name == first.name);
        diagnostics.push(match (unsupported, renamed) {
            (Some(u), _) => diagnostic.help(format!("it is there, but {}", u.reason())),
            (None, [(number, meant), others @ ..]) => {
                let stored = &self.checkpoint.tensors()[*number].name;
                let more = match others.len() {
                    0 => String::new(),
                    n => format!(", and {n} more like it"),
                };
                diagnostic.note(format!("no rule takes `{stored}`{more}")).help(format!(
                    "is `{stored}` the same as `{meant}`? then name it in a copy of the mapping"
                ))
            }
            (None, []) => diagnostic.help(
                "`transship inspect` lists what the file holds; it may be incomplete or of another model",
            ),
        });
    }

    /// Missing names of one pattern in one line, their coordinates folded into ranges.
    fn fold(&self, missing: &[&Missing]) -> Vec<String> {
        let mut by_pattern: Vec<(&str, Vec<&Missing>)> = Vec::new();
        for m in missing {
            match by_pattern.iter_mut().find(|(p, _)| *p == m.pattern) {
                Some((_, list)) => list.push(m),
                None => by_pattern.push((&m.pattern, vec![m])),
            }
        }
        let shown = by_pattern.iter().take(SHOWN).map(|(pattern, list)| match list.as_slice() {
            [one] => format!("missing: `{}`", one.name),
            many => format!("missing: `{pattern}` for {}", self.coordinates(many)),
        });
        let mut lines: Vec<String> = shown.collect();
        if by_pattern.len() > SHOWN {
            lines.push(format!("and {} more kinds of parameters", by_pattern.len() - SHOWN));
        }
        lines
    }

    /// `0 to 3`, or of several indices `layer 1, expert 1 to 2; layer 3, expert 0`.
    fn coordinates(&self, missing: &[&Missing]) -> String {
        let axes: Vec<grammar::AxisId> = missing[0].key.iter().map(|(axis, _)| *axis).collect();
        let keys: Vec<Vec<u64>> = missing.iter().map(|m| m.key.iter().map(|(_, at)| *at).collect()).collect();
        let keys: Vec<&[u64]> = keys.iter().map(Vec::as_slice).collect();
        let rows = fold_coordinates(&keys);
        let named = |row: &Vec<String>| match row.as_slice() {
            [only] => only.clone(),
            several => {
                let parts = axes.iter().zip(several);
                let parts: Vec<String> =
                    parts.map(|(axis, at)| format!("{} {at}", self.mapping.axis(*axis).name)).collect();
                parts.join(", ")
            }
        };
        let mut text: Vec<String> = rows.iter().take(SHOWN).map(named).collect();
        if rows.len() > SHOWN {
            text.push(format!("and {} more", rows.len() - SHOWN));
        }
        text.join("; ")
    }

    /// Stored parameters that no rule takes, but for those told of as misspelt.
    pub(super) fn report_unmapped(&self, renamed: &[(usize, String)], diagnostics: &mut Diagnostics) {
        let told: HashSet<usize> = renamed.iter().map(|(number, _)| *number).collect();
        let left: Vec<&crate::Tensor> = self
            .claims
            .unmapped
            .iter()
            .filter(|number| !told.contains(number))
            .map(|number| &self.checkpoint.tensors()[*number])
            .collect();
        let Some(first) = left.first() else { return };
        let message = match left.len() {
            1 => format!("no rule takes `{}`", first.name),
            n => format!("no rule takes {n} parameters, the first `{}`", first.name),
        };
        let mut diagnostic = Diagnostic::without_place(Code::UnmappedParameter, message);
        let known = self.known_names();
        let kinds = kinds(&left);
        for (tensor, count) in kinds.iter().take(SHOWN) {
            let more = match count {
                1 => String::new(),
                n => format!(", and {} more of other numbers", n - 1),
            };
            let hint = near_name(&tensor.name, &known);
            diagnostic =
                diagnostic.note(format!("`{}` {} {:?}{more}{hint}", tensor.name, tensor.dtype, tensor.shape));
        }
        if kinds.len() > SHOWN {
            diagnostic = diagnostic.note(format!("and {} more kinds of parameters", kinds.len() - SHOWN));
        }
        let side = &self.mapping.side(self.from).name;
        let them = if left.len() == 1 { "it" } else { "them" };
        diagnostics.push(diagnostic.note(format!("in {}", self.file())).help(format!(
            "nothing is left out silently: add a rule for {them} to a copy of the mapping, or `drop {side}: NAME` if the other side has no use for {them}"
        )));
    }

    /// Names that rules know, for suggestions: at the first coordinates only.
    fn known_names(&self) -> Vec<String> {
        let mut names = Vec::new();
        for rule in &self.mapping.rules {
            for stored in rule.sides[self.from.index()].iter().flat_map(|e| &e.stored) {
                let mut indices: Vec<_> = stored.name.indices().map(|i| (i.axis, 0)).collect();
                indices.dedup();
                let holes = Captures { indices, ..Captures::default() };
                names.extend(full_name(self.mapping, self.from, &stored.name, &holes));
            }
        }
        names
    }

    /// `require` lines of the side that is read, and `note` lines, which speak of checkpoints of the left side.
    pub(super) fn check_requirements(&mut self, diagnostics: &mut Diagnostics) {
        let env = Scope { binding: self, key: None };
        let mut notes = Vec::new();
        for require in self.mapping.config.requires.iter().filter(|r| r.side == self.from) {
            match require.condition.evaluate(&env) {
                Ok(value) if value.is_true() => {}
                Ok(_) => diagnostics.push(
                    Diagnostic::error(
                        Code::RequirementFailed,
                        require.span,
                        require.message.clone(),
                        "required here",
                    )
                    .note(format!("in {}", self.file())),
                ),
                Err(error) => diagnostics.push(self.evaluation_error(&error, require.span)),
            }
        }
        for note in self.mapping.config.notes.iter().filter(|note| note.side == self.from) {
            // A note about a value that is not known has nothing to say.
            let said = note.condition.as_ref().is_none_or(|c| c.evaluate(&env).is_ok_and(|v| v.is_true()));
            if said {
                notes.push(self.fill_in(&note.message));
            }
        }
        self.notes.extend(notes);
    }

    /// Sizes and other numbers of the model that no source gave but a default, where a wrong one would still fit.
    #[must_use]
    pub fn structural_defaults(&self) -> Vec<String> {
        let fields = self.mapping.config.fields.iter().enumerate().zip(&self.values);
        fields
            .filter_map(|((i, field), known)| {
                let known = known.as_ref().filter(|k| k.origin == Origin::Default)?;
                let id = grammar::FieldId(u32::try_from(i).ok()?);
                let shapes_a_layout = self.mapping.axes.iter().any(|a| a.field == Some(id))
                    || self.mapping.choices.iter().any(|c| c.on.fields().contains(&id));
                let said = shapes_a_layout && field.places.iter().any(|places| !places.is_empty());
                said.then(|| {
                    format!(
                        "{name} = {value} by default, since the checkpoint does not say; `--set {name}=VALUE` gives another",
                        name = field.name,
                        value = known.value
                    )
                })
            })
            .collect()
    }

    /// A note with config values in its holes.
    fn fill_in(&self, message: &str) -> String {
        let mut text = String::new();
        let mut rest = message;
        while let Some((before, after)) = rest.split_once('{') {
            let Some((name, tail)) = after.split_once('}') else { break };
            text.push_str(before);
            let value = self.mapping.field_named(name).and_then(|f| self.value(f));
            text.push_str(&value.map_or_else(|| "?".to_owned(), ToString::to_string));
            rest = tail;
        }
        text.push_str(rest);
        text
    }
}

/// A parameter that a rule needs and the checkpoint lacks.
struct Missing {
    name: String,
    pattern: String,
    key: Key,
    span: Span,
}

/// Coordinates as rows of ranges: numbers of one index with the same numbers of the others share a row.
fn fold_coordinates(keys: &[&[u64]]) -> Vec<Vec<String>> {
    let mut by_first: BTreeMap<u64, Vec<&[u64]>> = BTreeMap::new();
    for key in keys {
        let Some((first, rest)) = key.split_first() else { return vec![Vec::new()] };
        by_first.entry(*first).or_default().push(rest);
    }
    let mut alike: Vec<(Vec<Vec<String>>, Vec<u64>)> = Vec::new();
    for (first, rest) in by_first {
        let rows = fold_coordinates(&rest);
        match alike.iter_mut().find(|(others, _)| *others == rows) {
            Some((_, firsts)) => firsts.push(first),
            None => alike.push((rows, vec![first])),
        }
    }
    let with = |firsts: &[u64], row: Vec<String>| [vec![ranges(firsts)], row].concat();
    alike.into_iter().flat_map(|(rows, firsts)| rows.into_iter().map(move |row| with(&firsts, row))).collect()
}

/// Whether one name is the other but for the spelling of its parts; numbers must be the same.
fn misspelt(name: &str, meant: &str) -> bool {
    let (parts, others): (Vec<&str>, Vec<&str>) = (name.split('.').collect(), meant.split('.').collect());
    name != meant
        && parts.len() == others.len()
        && parts.iter().zip(&others).all(|(part, other)| {
            let number = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
            part == other || (!number(part) && !number(other) && nearest(part, [*other]).is_some())
        })
}

/// What a name was perhaps meant to be, as the end of a line.
fn near_name(name: &str, known: &[String]) -> String {
    let name = digits_as_one(name);
    if known.iter().any(|k| digits_as_one(k) == name) {
        return ": there is a rule for this name, but not with this number".to_owned();
    }
    let near = known.iter().find(|k| misspelt(&name, &digits_as_one(k)));
    near.map(|n| format!(": did you mean `{n}`?")).unwrap_or_default()
}

/// A name with every number in it as 0.
fn digits_as_one(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for c in name.chars() {
        match c {
            '0'..='9' if text.ends_with('0') => {}
            '0'..='9' => text.push('0'),
            other => text.push(other),
        }
    }
    text
}

/// Tensors whose names differ in numbers only: the first of each kind, and how many there are.
fn kinds<'t>(tensors: &[&'t crate::Tensor]) -> Vec<(&'t crate::Tensor, usize)> {
    let mut places: HashMap<String, usize> = HashMap::new();
    let mut kinds: Vec<(&crate::Tensor, usize)> = Vec::new();
    for tensor in tensors {
        let next = kinds.len();
        let place = *places.entry(digits_as_one(&tensor.name)).or_insert(next);
        if place == next {
            kinds.push((tensor, 0));
        }
        kinds[place].1 += 1;
    }
    kinds
}

/// `0 to 3, 7`.
fn ranges(numbers: &[u64]) -> String {
    let mut sorted = numbers.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    let mut parts: Vec<(u64, u64)> = Vec::new();
    for n in sorted {
        match parts.last_mut() {
            Some((_, end)) if *end + 1 == n => *end = n,
            _ => parts.push((n, n)),
        }
    }
    let text: Vec<String> =
        parts.iter().map(|(a, b)| if a == b { a.to_string() } else { format!("{a} to {b}") }).collect();
    text.join(", ")
}
