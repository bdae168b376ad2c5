//! What a mapping imports: found once, then part of its source.
//!
//! After [`Source::load`] every `import` of the mapping, and of what it imports, has its text or the reason why it
//! has none. This crate reads no files: the caller says what a name or a path stands for.

use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};

use crate::ast::{File, Import as Written, Item};
use crate::code::Code;
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::parse::{MAX_TEXT, parse_recovering};
use crate::source::{Import, Part, Source};

/// More texts than any mapping is made of.
const MAX_TEXTS: usize = 64;

/// More bytes than all of them have.
const MAX_BYTES: usize = 4 * MAX_TEXT;

/// What an `import` names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'a> {
    /// A library that ships with the program: `import megatron`.
    Library(&'a str),
    /// A file, relative to the one that imports it: `import "./common.mapping"`.
    Path(&'a str),
}

/// A text that an `import` stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Imported<'a> {
    /// The name of the text that imports it.
    pub from: &'a str,
    /// What it wrote.
    pub target: Target<'a>,
    /// The name that the text is shown under. Texts of one name are one text.
    pub name: &'a str,
    /// The text.
    pub text: &'a str,
}

/// A text that was found: the name it is shown under, which is the same for the same text, and the text.
pub type Found = (String, String);

impl Source {
    /// A mapping's text with all that it imports; of files only those whose names end in `.mapping`. `find` is given the name of the importing text and what it
    /// names, and gives the text or, in a few words, why there is none. What could not be found is reported by
    /// [`crate::check`].
    #[must_use]
    pub fn load(
        name: &str,
        text: &str,
        find: &mut dyn FnMut(&str, Target<'_>) -> Result<Found, String>,
    ) -> Source {
        let mut parts = vec![Part { name: name.into(), text: text.into(), start: 0 }];
        let mut imports: Vec<Import> = Vec::new();
        let mut from = 0;
        while from < parts.len() {
            let (file, _) = parse_recovering(&parts[from]);
            for import in file.iter().flat_map(|f| imports_of(&f.items)) {
                let target = import.target();
                let found = may_be_imported(target).and_then(|()| find(&parts[from].name, target));
                let found = found.and_then(|found| add(&mut parts, found));
                let (written, by_path, span) = (import.name.text.clone(), import.by_path, import.span);
                imports.push(Import { from, span, written, by_path, found });
            }
            from += 1;
        }
        Source::of_parts(parts, imports)
    }

    /// A mapping's text with texts that were found before, as [`Source::imported`] tells them.
    #[must_use]
    pub fn with_imports(name: &str, text: &str, imported: &[Imported<'_>]) -> Source {
        Source::load(name, text, &mut |from, target| {
            let found = imported.iter().find(|i| i.from == from && i.target == target);
            found.map(|i| (i.name.to_owned(), i.text.to_owned())).ok_or_else(|| "it was not kept".to_owned())
        })
    }

    /// Every `import` that was found.
    pub fn imported(&self) -> impl Iterator<Item = Imported<'_>> {
        self.imports.iter().filter_map(|import| {
            let part = &self.parts()[*import.found.as_ref().ok()?];
            let target = target(&import.written, import.by_path);
            Some(Imported {
                from: &self.parts()[import.from].name,
                target,
                name: &part.name,
                text: &part.text,
            })
        })
    }
}

impl Source {
    /// The imports by which the text that a byte is in came to be part of the mapping, from the one of that text to
    /// the one in the mapping's own. There are none for the mapping's own text.
    fn way(&self, byte: u32) -> impl Iterator<Item = &Import> {
        // A text was added for the first import that names it, which is in a text of a lower number.
        let import_of =
            |number: usize| self.imports.iter().find(move |i| number > 0 && i.found == Ok(number));
        std::iter::successors(import_of(self.number_at(byte)), move |import| import_of(import.from))
    }

    /// The names of the texts that import the text that a byte is in: the nearest first, the mapping last.
    pub(crate) fn importers(&self, byte: u32) -> Vec<&str> {
        self.way(byte).map(|import| &*self.parts()[import.from].name).collect()
    }

    /// What sorts as the bytes would if each imported text stood in place of its import.
    pub(crate) fn order(&self, byte: u32) -> Vec<u32> {
        let mut steps: Vec<u32> = [byte].into_iter().chain(self.way(byte).map(|i| i.span.start)).collect();
        steps.reverse();
        steps
    }
}

/// Messages show lines of what is imported, which must not be those of any file that there is.
fn may_be_imported(target: Target<'_>) -> Result<(), String> {
    match target {
        Target::Path(path) if Path::new(path).extension().is_none_or(|end| end != "mapping") => {
            Err("only files whose names end in `.mapping` are imported".to_owned())
        }
        Target::Path(_) | Target::Library(_) => Ok(()),
    }
}

/// The number of the text, which is a further one unless there is one of its name.
fn add(parts: &mut Vec<Part>, (name, text): Found) -> Result<usize, String> {
    if let Some(known) = parts.iter().position(|p| *p.name == *name) {
        return Ok(known);
    }
    let start = parts.last().map_or(0, |p| p.end() + 1);
    if parts.len() >= MAX_TEXTS || start.saturating_add(text.len()) > MAX_BYTES {
        return Err(format!("a mapping is made of at most {MAX_TEXTS} texts of {MAX_BYTES} bytes together"));
    }
    parts.push(Part { name: name.into(), text: text.into(), start });
    Ok(parts.len() - 1)
}

fn target(written: &str, by_path: bool) -> Target<'_> {
    if by_path { Target::Path(written) } else { Target::Library(written) }
}

impl Written {
    fn target(&self) -> Target<'_> {
        target(&self.name.text, self.by_path)
    }
}

fn imports_of(items: &[Item]) -> impl Iterator<Item = &Written> {
    items.iter().filter_map(|item| match item {
        Item::Import(import) => Some(import),
        _ => None,
    })
}

/// The path of a file that the file `from` calls `path`, without `.` and, where that can be, without `..`.
#[must_use]
pub fn beside(from: &str, path: &str) -> String {
    let joined = Path::new(from).parent().unwrap_or(Path::new("")).join(path);
    let mut short = PathBuf::new();
    for component in joined.components() {
        let into_directory = matches!(short.components().next_back(), Some(Component::Normal(_)));
        match component {
            Component::CurDir => {}
            Component::ParentDir if into_directory => {
                short.pop();
            }
            other => short.push(other),
        }
    }
    short.display().to_string()
}

/// Puts what is imported in the place of each `import`, and says whether all of it is there. A text that is
/// imported twice is there once.
pub(crate) fn expand_imports(file: &mut File, source: &Source, diagnostics: &mut Diagnostics) -> bool {
    let numbers = source.imports.iter().map(|i| ((i.from, &*i.written, i.by_path), &i.found)).collect();
    let mut expansion = Expansion { source, diagnostics, numbers, open: vec![0], done: vec![0], whole: true };
    let items = std::mem::take(&mut file.items);
    file.items = expansion.expand(0, items);
    expansion.whole
}

struct Expansion<'a> {
    source: &'a Source,
    diagnostics: &'a mut Diagnostics,
    numbers: HashMap<(usize, &'a str, bool), &'a Result<usize, String>>,
    /// Texts that are being put in, from the outermost.
    open: Vec<usize>,
    done: Vec<usize>,
    /// Whether nothing was left out.
    whole: bool,
}

impl Expansion<'_> {
    fn expand(&mut self, from: usize, items: Vec<Item>) -> Vec<Item> {
        let mut all = Vec::with_capacity(items.len());
        for item in items {
            match item {
                Item::Import(import) => match self.import(from, &import) {
                    Some(items) => all.extend(items),
                    None => self.whole = false,
                },
                other => all.push(other),
            }
        }
        all
    }

    /// The items that an import stands for; absent after a mistake.
    fn import(&mut self, from: usize, import: &Written) -> Option<Vec<Item>> {
        let number = match self.numbers.get(&(from, &*import.name.text, import.by_path)).copied() {
            Some(Ok(number)) => *number,
            Some(Err(reason)) => return self.not_found(import, reason),
            None => return self.not_found(import, "nothing was said about where to find it"),
        };
        if self.open.contains(&number) {
            return self.cycle(import, number);
        }
        if self.done.contains(&number) {
            return Some(Vec::new());
        }
        self.done.push(number);
        let (file, errors) = parse_recovering(&self.source.parts()[number]);
        errors.into_iter().for_each(|e| self.diagnostics.push(e));
        let file = file?;
        if file.sides.is_some() {
            return self.not_a_library(import, &file);
        }
        self.open.push(number);
        let items = self.expand(number, file.items);
        self.open.pop();
        Some(items)
    }

    fn not_found(&mut self, import: &Written, reason: &str) -> Option<Vec<Item>> {
        let help = if import.by_path {
            "a path is relative to the file that imports it: `import \"./common.mapping\"`"
        } else {
            "a name alone is that of a library that ships with transship; a file of your own is \
             imported by its path: `import \"./common.mapping\"`"
        };
        let message = format!("cannot import `{}`", import.name.text);
        let diagnostic = Diagnostic::error(Code::ImportNotFound, import.name.span, message, reason);
        self.diagnostics.push(diagnostic.help(help));
        None
    }

    fn cycle(&mut self, import: &Written, number: usize) -> Option<Vec<Item>> {
        let names: Vec<String> = self
            .open
            .iter()
            .skip_while(|n| **n != number)
            .chain([&number])
            .map(|n| format!("`{}`", self.source.parts()[*n].name))
            .collect();
        self.diagnostics.push(
            Diagnostic::error(
                Code::ImportCycle,
                import.name.span,
                format!("`{}` imports itself", self.source.parts()[number].name),
                "imported again while it is being imported",
            )
            .note(format!("the way is {}", names.join(", which imports ")))
            .help("move what both need into a library of its own, and import that"),
        );
        None
    }

    fn not_a_library(&mut self, import: &Written, file: &File) -> Option<Vec<Item>> {
        self.diagnostics.push(
            Diagnostic::error(
                Code::NotALibrary,
                import.name.span,
                format!("`{}` is a mapping, and only libraries are imported", import.name.text),
                "imported here",
            )
            .with(file.name.span, "declared as a mapping here")
            .help(format!(
                "move what is shared into a file that begins with `library {}`, and import it from both",
                file.name.text
            )),
        );
        None
    }
}

/// A library where a mapping belongs.
pub(crate) fn library_alone(file: &File) -> Diagnostic {
    Diagnostic::error(
        Code::NotALibrary,
        file.name.span,
        format!("`{}` is a library, not a mapping", file.name.text),
        "it has no sides of its own",
    )
    .help(format!(
        "write a mapping that begins with `mapping NAME : LEFT <=> RIGHT` and imports `{}`",
        file.name.text
    ))
}

/// The mistakes in the form of a library; absent for any other text. What a library says is judged with the
/// mappings that import it.
#[must_use]
pub fn check_library(source: &Source) -> Option<Diagnostics> {
    let (file, errors) = parse_recovering(&source.parts()[0]);
    let is_library = match &file {
        Some(file) => file.sides.is_none(),
        None => begins_with(source.text(), "library"),
    };
    is_library.then(|| {
        let mut diagnostics = Diagnostics::new(source);
        errors.into_iter().for_each(|e| diagnostics.push(e));
        diagnostics.sort();
        diagnostics
    })
}

/// Whether a word stands first in a text, comments aside.
fn begins_with(text: &str, word: &str) -> bool {
    let mut lines = text.lines().map(str::trim_start).filter(|l| !l.is_empty() && !l.starts_with("//"));
    lines.next().and_then(|line| line.split_whitespace().next()) == Some(word)
}
