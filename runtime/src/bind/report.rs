//! What is missing, what is left over, and what the mapping asks of a checkpoint.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use transship_grammar as grammar;

use grammar::{Captures, Code, Diagnostic, Diagnostics, SideId, Span, nearest};

use super::names::{full_name, is_renaming};
use super::{Binding, Key, Origin, Scope};

/// As many names as a reader takes in.
const SHOWN: usize = 12;

impl Binding<'_> {
    /// Every stored parameter has a rule, and every rule its parameters.
    pub(super) fn check_complete(&self, diagnostics: &mut Diagnostics) {
        let missing = self.missing();
        self.report_gaps(&missing, diagnostics);
        self.report_missing(&missing, diagnostics);
        self.report_unmapped(diagnostics);
    }

    /// Whole names that rules need and the checkpoint lacks, with the rule's place and the coordinates.
    fn missing(&self) -> Vec<Missing> {
        let mut all = Vec::new();
        for (rule_number, rule) in self.mapping.rules.iter().enumerate() {
            if !rule.direction.goes_to(self.to()) || rule.optional || !self.may_hold(&rule.guard) {
                continue;
            }
            if is_renaming(rule) {
                self.missing_renamed(rule_number, &mut all);
                continue;
            }
            for (entry_number, entry) in rule.sides[self.from.index()].iter().enumerate() {
                let first = &entry.stored[0];
                for key in self.keys(&first.name) {
                    if !self.holds(&rule.guard, &key)
                        || self.claims.entries.contains_key(&(rule_number, entry_number, key.clone()))
                    {
                        continue;
                    }
                    all.push(self.missing_name(&first.name, key, first.span));
                }
            }
        }
        all
    }

    fn missing_renamed(&self, rule_number: usize, all: &mut Vec<Missing>) {
        let rule = &self.mapping.rules[rule_number];
        let claims = self.claims.renamed.iter().filter(|(_, r, _)| *r == rule_number);
        let found: HashSet<Key> = claims.map(|(_, _, c)| super::names::sorted_key(c)).collect();
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
        let holes = Captures { indices: key.clone(), stars: Vec::new() };
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
    fn report_gaps(&self, missing: &[Missing], diagnostics: &mut Diagnostics) {
        for ((axis, at), span) in self.gaps(missing) {
            let name = &self.mapping.axis(axis).name;
            diagnostics.push(
                Diagnostic::error(
                    Code::IndexGap,
                    span,
                    format!("no parameter of {name} {at} is there, but parameters of later ones are"),
                    format!("`{name}` is numbered without gaps"),
                )
                .note(format!("in {}", self.file()))
                .help("the checkpoint is incomplete: fetch it again, or merge the parts it was split into"),
            );
        }
    }

    fn gaps(&self, missing: &[Missing]) -> BTreeMap<(grammar::AxisId, u64), Span> {
        let mut absent: BTreeMap<(grammar::AxisId, u64), Span> = BTreeMap::new();
        for m in missing {
            for coordinate in &m.key {
                absent.entry(*coordinate).or_insert(m.span);
            }
        }
        let present = self.claims.entries.keys().flat_map(|(_, _, key)| key.iter());
        let present: BTreeSet<_> = present.copied().collect();
        absent.retain(|(axis, at), _| {
            let later = (*axis, at.saturating_add(1))..=(*axis, u64::MAX);
            !present.contains(&(*axis, *at)) && present.range(later).next().is_some()
        });
        absent
    }

    fn report_missing(&self, missing: &[Missing], diagnostics: &mut Diagnostics) {
        let gaps = self.gaps(missing);
        let rest: Vec<&Missing> =
            missing.iter().filter(|m| !m.key.iter().any(|c| gaps.contains_key(c))).collect();
        let Some(first) = rest.first() else { return };
        let count = rest.len();
        let message = match count {
            1 => format!("`{}` is missing", first.name),
            _ => format!("{count} parameters are missing, the first `{}`", first.name),
        };
        let mut diagnostic =
            Diagnostic::error(Code::MissingParameter, first.span, message, "this rule needs it");
        let unmapped: Vec<&str> = self
            .claims
            .unmapped
            .iter()
            .take(1000)
            .map(|t| self.checkpoint.tensors()[*t].name.as_str())
            .collect();
        for line in fold(&rest) {
            diagnostic = diagnostic.note(line);
        }
        diagnostic = diagnostic.note(format!("in {}", self.file()));
        let unsupported = self.checkpoint.unsupported().iter().find(|u| u.name == first.name);
        diagnostic = match (unsupported, nearest(&first.name, unmapped)) {
            (Some(u), _) => diagnostic.help(format!("it is there, but {}", u.reason())),
            (None, Some(near)) => {
                diagnostic.help(format!("the checkpoint has `{near}`: is that the same parameter?"))
            }
            (None, None) => diagnostic.help(
                "`transship inspect` lists what the file holds; it may be incomplete or of another model",
            ),
        };
        diagnostics.push(diagnostic);
    }

    fn report_unmapped(&self, diagnostics: &mut Diagnostics) {
        let names: Vec<&str> =
            self.claims.unmapped.iter().map(|t| self.checkpoint.tensors()[*t].name.as_str()).collect();
        let Some(first) = names.first() else { return };
        let message = match names.len() {
            1 => format!("no rule takes `{first}`"),
            n => format!("no rule takes {n} parameters, the first `{first}`"),
        };
        let mut diagnostic = Diagnostic::without_place(Code::UnmappedParameter, message);
        let known = self.known_names();
        for name in names.iter().take(SHOWN) {
            let tensor = self.checkpoint.tensor(name);
            let shape = tensor.map(|t| format!(" {} {:?}", t.dtype, t.shape)).unwrap_or_default();
            let near = nearest(name, known.iter().map(String::as_str));
            let hint = near.map(|n| format!(": did you mean `{n}`?")).unwrap_or_default();
            diagnostic = diagnostic.note(format!("`{name}`{shape}{hint}"));
        }
        if names.len() > SHOWN {
            diagnostic = diagnostic.note(format!("and {} more", names.len() - SHOWN));
        }
        let side = &self.mapping.side(self.from).name;
        diagnostics.push(diagnostic.note(format!("in {}", self.file())).help(format!(
            "nothing is left out silently: add a rule for it to a copy of the mapping, or `drop {side}: NAME` if the other side has no use for it"
        )));
    }

    /// Names that rules know, for suggestions: at the first coordinates only.
    fn known_names(&self) -> Vec<String> {
        let mut names = Vec::new();
        for rule in &self.mapping.rules {
            for stored in rule.sides[self.from.index()].iter().flat_map(|e| &e.stored) {
                let mut indices: Vec<_> = stored.name.indices().map(|i| (i.axis, 0)).collect();
                indices.dedup();
                let holes = Captures { indices, stars: Vec::new() };
                names.extend(full_name(self.mapping, self.from, &stored.name, &holes));
            }
        }
        names
    }

    /// `require` and `note` lines; they speak of checkpoints of the left side.
    pub(super) fn check_requirements(&mut self, diagnostics: &mut Diagnostics) {
        if self.from != SideId::Left {
            return;
        }
        let env = Scope { binding: self, key: None };
        let mut notes = Vec::new();
        for require in &self.mapping.config.requires {
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
        for note in &self.mapping.config.notes {
            // A note about a value that is not known has nothing to say.
            let said = note.condition.as_ref().is_none_or(|c| c.evaluate(&env).is_ok_and(|v| v.is_true()));
            if said {
                notes.push(self.fill_in(&note.message));
            }
        }
        self.notes.extend(notes);
    }

    /// Sizes and other numbers of the model that no source gave but a default, where a wrong one would still fit.
    pub(crate) fn structural_defaults(&self) -> Vec<String> {
        let fields = self.mapping.config.fields.iter().enumerate().zip(&self.values);
        fields
            .filter_map(|((i, field), known)| {
                let known = known.as_ref().filter(|k| k.origin == Origin::Default)?;
                let id = grammar::FieldId(u32::try_from(i).ok()?);
                let shapes_a_layout = self.mapping.axes.iter().any(|a| a.field == Some(id))
                    || self.mapping.choices.iter().any(|c| c.on.fields().contains(&id));
                let said = shapes_a_layout && !field.places[self.from.index()].is_empty();
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

/// Missing names of one pattern in one line, their coordinates folded into ranges.
fn fold(missing: &[&Missing]) -> Vec<String> {
    let mut by_pattern: Vec<(&str, Vec<&Missing>)> = Vec::new();
    for m in missing {
        match by_pattern.iter_mut().find(|(p, _)| *p == m.pattern) {
            Some((_, list)) => list.push(m),
            None => by_pattern.push((&m.pattern, vec![m])),
        }
    }
    let mut lines: Vec<String> = by_pattern
        .iter()
        .take(SHOWN)
        .map(|(pattern, list)| match list.as_slice() {
            [one] => format!("missing: `{}`", one.name),
            many => {
                let first: Vec<u64> = many.iter().filter_map(|m| m.key.first().map(|(_, at)| *at)).collect();
                format!("missing: `{pattern}` for {}", ranges(&first))
            }
        })
        .collect();
    if by_pattern.len() > SHOWN {
        lines.push(format!("and {} more kinds of parameters", by_pattern.len() - SHOWN));
    }
    lines
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
