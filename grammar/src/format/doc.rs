//! Text that may be laid out on one line or over several, after Wadler's "A prettier printer".

/// The widest line, in characters, that layout aims at.
pub(super) const WIDTH: usize = 110;
/// How much further in a nested line starts.
pub(super) const INDENT: usize = 4;

/// A text with places where it may be broken.
#[derive(Clone, Debug)]
pub(super) enum Doc {
    /// Text without a line break.
    Text(String),
    /// Between words: so many spaces, or a line break.
    Line(usize),
    /// A line break in any case.
    Hard,
    /// Nothing, or one more line break where the text around it is broken.
    Blank,
    /// Forces the groups around it to break.
    Break,
    /// So many spaces, only where the text around it is broken: what lines columns up.
    Pad(usize),
    Cat(Vec<Doc>),
    /// Lines broken inside start further in.
    Nest(Box<Doc>),
    /// Lines broken inside start where it starts.
    Align(Box<Doc>),
    /// On one line if it fits, else broken at each of its own places.
    Group(Box<Doc>),
}

impl Doc {
    pub(super) fn text(text: impl Into<String>) -> Doc {
        Doc::Text(text.into())
    }

    pub(super) fn nest(self) -> Doc {
        Doc::Nest(Box::new(self))
    }

    pub(super) fn align(self) -> Doc {
        Doc::Align(Box::new(self))
    }

    pub(super) fn group(self) -> Doc {
        Doc::Group(Box::new(self))
    }

    /// A line that starts further in.
    pub(super) fn next_line(self) -> Doc {
        Doc::Cat(vec![Doc::Hard, self]).nest()
    }

    /// `open`, the entries with commas, `close`; one entry per line where they do not fit on one.
    pub(super) fn list(open: &str, entries: Vec<Doc>, close: &str) -> Doc {
        if entries.is_empty() {
            return Doc::text(format!("{open}{close}"));
        }
        let mut inner = vec![Doc::Line(0)];
        for (i, entry) in entries.into_iter().enumerate() {
            if i > 0 {
                inner.extend([Doc::text(","), Doc::Line(1)]);
            }
            inner.push(entry);
        }
        Doc::Cat(vec![Doc::text(open), Doc::Cat(inner).nest(), Doc::Line(0), Doc::text(close)]).group()
    }

    /// The whole on one line; `None` where a line break is forced.
    pub(super) fn flat(&self) -> Option<String> {
        let mut out = String::new();
        self.flatten(&mut out).then_some(out)
    }

    fn flatten(&self, out: &mut String) -> bool {
        match self {
            Doc::Text(text) => out.push_str(text),
            Doc::Line(spaces) => out.extend(std::iter::repeat_n(' ', *spaces)),
            Doc::Hard | Doc::Break => return false,
            Doc::Blank | Doc::Pad(_) => {}
            Doc::Cat(parts) => return parts.iter().all(|p| p.flatten(out)),
            Doc::Nest(inner) | Doc::Align(inner) | Doc::Group(inner) => return inner.flatten(out),
        }
        true
    }

    /// The text, without white space at the ends of lines.
    pub(super) fn render(&self) -> String {
        let mut page = Page::default();
        let mut todo = vec![Task { indent: 0, flat: false, doc: self }];
        while let Some(task) = todo.pop() {
            let Task { indent, flat, doc } = task;
            match doc {
                Doc::Text(text) => page.write(text),
                Doc::Line(spaces) if flat => page.spaces(*spaces),
                Doc::Pad(spaces) if !flat => page.spaces(*spaces),
                Doc::Line(_) | Doc::Hard => page.break_line(indent),
                Doc::Blank if !flat => page.break_line(indent),
                Doc::Blank | Doc::Break | Doc::Pad(_) => {}
                Doc::Cat(parts) => todo.extend(parts.iter().rev().map(|doc| Task { doc, ..task })),
                Doc::Nest(inner) => todo.push(Task { indent: indent + INDENT, doc: inner, ..task }),
                Doc::Align(inner) => todo.push(Task { indent: page.column(), doc: inner, ..task }),
                Doc::Group(inner) => {
                    let left = WIDTH.saturating_sub(page.column());
                    let flat = flat || fits(left, inner, &todo);
                    todo.push(Task { flat, doc: inner, ..task });
                }
            }
        }
        page.text
    }
}

#[derive(Clone, Copy)]
struct Task<'a> {
    indent: usize,
    flat: bool,
    doc: &'a Doc,
}

/// Whether `doc` on one line, and what follows it up to the next line break, fits in `left` characters.
fn fits(left: usize, doc: &Doc, after: &[Task<'_>]) -> bool {
    let mut left = left;
    let mut rest = after.iter().rev();
    let mut todo = vec![(true, doc)];
    loop {
        let Some((flat, doc)) = todo.pop().or_else(|| rest.next().map(|t| (t.flat, t.doc))) else {
            return true;
        };
        let used = match doc {
            Doc::Text(text) => text.chars().count(),
            Doc::Line(spaces) if flat => *spaces,
            Doc::Hard | Doc::Break if flat => return false,
            Doc::Line(_) | Doc::Hard | Doc::Blank if !flat => return true,
            Doc::Pad(spaces) if !flat => *spaces,
            Doc::Cat(parts) => {
                todo.extend(parts.iter().rev().map(|p| (flat, p)));
                0
            }
            Doc::Nest(inner) | Doc::Align(inner) | Doc::Group(inner) => {
                todo.push((flat, inner));
                0
            }
            _ => 0,
        };
        match left.checked_sub(used) {
            Some(less) => left = less,
            None => return false,
        }
    }
}

/// Text in the making. Spaces wait until something follows them on their line.
#[derive(Default)]
struct Page {
    text: String,
    column: usize,
    waiting: usize,
}

impl Page {
    fn column(&self) -> usize {
        self.column + self.waiting
    }

    fn spaces(&mut self, count: usize) {
        self.waiting += count;
    }

    fn break_line(&mut self, indent: usize) {
        self.text.push('\n');
        self.column = 0;
        self.waiting = indent;
    }

    fn write(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        self.text.extend(std::iter::repeat_n(' ', self.waiting));
        self.text.push_str(text);
        self.column += self.waiting + text.chars().count();
        self.waiting = 0;
    }
}
