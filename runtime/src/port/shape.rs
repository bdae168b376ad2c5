//! What the structs of a model take, known when a crate is compiled: parents check the structs they hold by it.
//!
//! A derive sees one struct at a time. Each tells its parts here, and whoever holds it proves in a constant that
//! they are what the mapping has at that place, so that `cargo check` shows where two structs disagree.

/// What a type takes of a side.
#[derive(Debug)]
pub enum Shape {
    /// One parameter.
    Leaf,
    /// What may be absent.
    Optional {
        /// What it is when it is there.
        of: &'static Shape,
    },
    /// Parts that are numbered in names.
    List {
        /// What each of them is.
        of: &'static Shape,
    },
    /// A struct.
    Fields {
        /// Its fields, but for those that are skipped.
        parts: &'static [Part],
        /// Where it says that it belongs.
        home: Option<Home>,
        /// Whether it may leave parameters out.
        partial: bool,
    },
    /// A struct with mistakes, which are reported where it is.
    Unknown,
}

/// A field.
#[derive(Debug)]
pub struct Part {
    /// Its name, or several with dots; `{}` where a list has its numbers; empty where it is flattened.
    pub name: &'static str,
    /// What it takes.
    pub shape: &'static Shape,
}

/// A place in a mapping.
#[derive(Clone, Copy, Debug)]
pub struct Home {
    /// A hash of the mapping's text.
    pub mapping: u64,
    /// The side.
    pub side: &'static str,
    /// What all names begin with.
    pub scope: &'static str,
}

/// What a mapping has where a field is.
struct Place<'p> {
    /// What to call the field in messages.
    what: &'p str,
    home: Home,
    /// What all names at the field begin with.
    scope: &'p str,
    flattened: bool,
    /// The names of the parameters below it; those that some configs, or some elements of a list, lack end in `?`.
    names: &'p [&'p str],
}

/// Panics, when the crate is compiled, unless the type of a struct's field number `field`, called `what`, takes the
/// parameters `names` below it and no other. Those that end in `?` may be absent, and have to be in an `Option`.
#[track_caller]
pub const fn check_part(parent: &Shape, field: usize, what: &str, names: &[&str]) {
    let Some((part, home)) = part_of(parent, field) else { return };
    let mut scope = Text::new();
    scope.join(home.scope);
    scope.join(part.name);
    let scope = scope.as_str();
    let (mut shape, mut optional) = (part.shape, false);
    while let Shape::Optional { of } = shape {
        (shape, optional) = (of, true);
    }
    let element = match (shape, has_number(part.name.as_bytes())) {
        (Shape::Unknown, _) => return,
        (Shape::List { of }, true) => {
            optional = false;
            of
        }
        (Shape::List { .. }, false) => {
            fail(&[what, " is a `Vec`, but `", scope, "` has no number in its names"])
        }
        (_, true) => fail(&[
            what,
            " is at `",
            scope,
            "`, of which there is one for each number: its type must be a `Vec`",
        ]),
        (_, false) => shape,
    };
    let alone = names.len() == 1 && bare(names[0]).is_empty();
    match (element, alone) {
        (Shape::Fields { .. }, true) => {
            fail(&[what, " is a struct with fields of its own, but `", scope, "` is one parameter"])
        }
        (Shape::Leaf, false) => fail(&[
            what,
            " is one parameter, but `",
            scope,
            "` is followed by more names, the first of them `",
            shown(names[0]),
            "`",
        ]),
        _ => {}
    }
    let place = Place { what, home, scope, flattened: false, names };
    walk(element, &mut Text::new(), &place, false, optional);
    let mut i = 0;
    while i < names.len() {
        if !takes(element, bare(names[i]), 0, false, false) {
            fail(&[
                what,
                " is at `",
                scope,
                "`, but its type takes no `",
                shown(names[i]),
                "`; add the field, or say `#[port(partial)]` on the type",
            ]);
        }
        i += 1;
    }
}

/// Panics, when the crate is compiled, if the type of a flattened field takes what is not among `names`.
#[track_caller]
pub const fn check_flattened(parent: &Shape, field: usize, what: &str, names: &[&str]) {
    if let Some((part, home)) = part_of(parent, field) {
        check_flat(part, what);
        let place = Place { what, home, scope: home.scope, flattened: true, names };
        walk(part.shape, &mut Text::new(), &place, false, false);
    }
}

/// Panics, when the crate is compiled, unless each name is taken by one of the flattened fields of `what`.
#[track_caller]
pub const fn check_shared(parent: &Shape, what: &str, names: &[&str]) {
    let Shape::Fields { parts, .. } = parent else { return };
    let mut i = 0;
    while i < names.len() {
        let (mut taken, mut left_out) = (0, false);
        let mut k = 0;
        while k < parts.len() {
            if parts[k].name.is_empty() {
                taken += takes(parts[k].shape, bare(names[i]), 0, false, true) as usize;
                left_out |= takes(parts[k].shape, bare(names[i]), 0, false, false);
            }
            k += 1;
        }
        if taken > 1 || !left_out {
            let (fault, advice) = if taken == 0 {
                (
                    "` is taken by no field of `",
                    "`, nor by one it flattens; add one, or say `#[port(partial)]`",
                )
            } else {
                ("` is taken by several flattened fields of `", "`; only one can have it")
            };
            fail(&["the parameter `", shown(names[i]), fault, what, advice]);
        }
        i += 1;
    }
}

const fn part_of(parent: &Shape, field: usize) -> Option<(&Part, Home)> {
    match parent {
        Shape::Fields { parts, home: Some(home), .. } if field < parts.len() => Some((&parts[field], *home)),
        _ => None,
    }
}

/// Shows every parameter that a type takes to the place. `optional`: whether what is at the path is in an `Option`, inside
/// the last list.
#[track_caller]
const fn walk(shape: &Shape, path: &mut Text, place: &Place<'_>, numbered: bool, optional: bool) {
    let parent = path.len;
    match shape {
        Shape::Unknown => {}
        Shape::Optional { of } => walk(of, path, place, numbered, true),
        Shape::List { of } => {
            if !numbered {
                path.join("{}");
            }
            walk(of, path, place, false, false);
        }
        Shape::Leaf => {
            let mut i = 0;
            while i < place.names.len() {
                if same(path.bytes(), bare(place.names[i])) {
                    if is_marked(place.names[i]) && !optional {
                        fail_absent(place, path.as_str());
                    }
                    return;
                }
                i += 1;
            }
            if place.flattened {
                fail(&[
                    place.what,
                    " is flattened, but its type takes `",
                    path.as_str(),
                    "`, which the mapping does not have there, or which another field takes",
                ]);
            }
            fail(&[
                place.what,
                " is at `",
                place.scope,
                "`, where the mapping has no parameter `",
                path.as_str(),
                "` that its type takes",
            ]);
        }
        Shape::Fields { parts, home, .. } => {
            if let Some(home) = home {
                check_home(home, path, place);
                if !optional && all_marked(place.names, path) {
                    fail_absent(place, path.as_str());
                }
                return;
            }
            let mut i = 0;
            while i < parts.len() {
                check_flat(&parts[i], place.what);
                path.join(parts[i].name);
                walk(parts[i].shape, path, place, has_number(parts[i].name.as_bytes()), optional);
                path.len = parent;
                i += 1;
            }
        }
    }
    path.len = parent;
}

#[track_caller]
const fn fail_absent(place: &Place<'_>, path: &str) -> ! {
    let mut name = Text::new();
    name.join(place.scope);
    name.join(path);
    fail(&[
        place.what,
        ": `",
        name.as_str(),
        "` is not there for every config, or not in every element of a list: its type must be an `Option`",
    ])
}

const fn is_marked(name: &str) -> bool {
    matches!(name.as_bytes(), [.., b'?'])
}

/// A name without its mark.
const fn bare(name: &str) -> &[u8] {
    match name.as_bytes() {
        [bare @ .., b'?'] => bare,
        bare => bare,
    }
}

/// The same as text.
const fn shown(name: &str) -> &str {
    match std::str::from_utf8(bare(name)) {
        Ok(name) => name,
        Err(_) => name,
    }
}

/// Whether there are names at or below a path, and all of them are marked.
const fn all_marked(names: &[&str], path: &Text) -> bool {
    let (mut i, mut found) = (0, false);
    while i < names.len() {
        if path.len == 0 || after(bare(names[i]), 0, path.bytes()).is_some() {
            if !is_marked(names[i]) {
                return false;
            }
            found = true;
        }
        i += 1;
    }
    found
}

/// A part without a name of its own has nothing to be absent or numbered by.
#[track_caller]
const fn check_flat(part: &Part, what: &str) {
    if part.name.is_empty() && !matches!(part.shape, Shape::Fields { .. } | Shape::Unknown) {
        fail(&[what, ": what is flattened has to be a struct, not an `Option`, a `Vec` or one parameter"]);
    }
}

#[track_caller]
const fn check_home(home: &Home, path: &Text, place: &Place<'_>) {
    if home.mapping != place.home.mapping {
        fail(&[place.what, " holds a struct that derives from another mapping"]);
    }
    if !same(home.side.as_bytes(), place.home.side.as_bytes()) {
        fail(&[
            place.what,
            " is of the side `",
            place.home.side,
            "`, but its type of the side `",
            home.side,
            "`",
        ]);
    }
    let mut here = Text::new();
    here.join(place.scope);
    here.join(path.as_str());
    if !same(home.scope.as_bytes(), here.bytes()) {
        let scope = if home.scope.is_empty() { "the root" } else { home.scope };
        fail(&[
            place.what,
            " is at `",
            here.as_str(),
            "`, but its type says that it belongs to `",
            scope,
            "`",
        ]);
    }
}

/// Whether a type takes the parameter whose name goes on from `at`: by a field of that name, or else by leave to leave
/// it out, which partial structs have and those that are checked against the mapping where they are.
const fn takes(shape: &Shape, name: &[u8], at: usize, numbered: bool, by_name: bool) -> bool {
    match shape {
        Shape::Unknown => !by_name,
        Shape::Leaf => at == name.len(),
        Shape::Optional { of } => takes(of, name, at, numbered, by_name),
        Shape::List { of } if numbered => takes(of, name, at, false, by_name),
        Shape::List { of } => match after(name, at, b"{}") {
            Some(next) => takes(of, name, next, false, by_name),
            None => false,
        },
        Shape::Fields { partial: true, .. } | Shape::Fields { home: Some(_), .. } if !by_name => true,
        Shape::Fields { parts, .. } => {
            let mut i = 0;
            while i < parts.len() {
                let part = parts[i].name.as_bytes();
                let next = if part.is_empty() { Some(at) } else { after(name, at, part) };
                if let Some(next) = next
                    && takes(parts[i].shape, name, next, has_number(part), by_name)
                {
                    return true;
                }
                i += 1;
            }
            false
        }
    }
}

/// Where `name` goes on after `part`, if that is what comes at `at`, whole up to a dot or the end.
const fn after(name: &[u8], at: usize, part: &[u8]) -> Option<usize> {
    let start = if at == 0 {
        0
    } else if at < name.len() && name[at] == b'.' {
        at + 1
    } else {
        return None;
    };
    let mut i = 0;
    while i < part.len() {
        if start + i >= name.len() || name[start + i] != part[i] {
            return None;
        }
        i += 1;
    }
    let end = start + part.len();
    if end == name.len() || name[end] == b'.' { Some(end) } else { None }
}

const fn has_number(name: &[u8]) -> bool {
    let mut i = 0;
    while i < name.len() {
        if name[i] == b'{' {
            return true;
        }
        i += 1;
    }
    false
}

const fn same(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let mut i = 0;
    while i < a.len() {
        if a[i] != b[i] {
            return false;
        }
        i += 1;
    }
    true
}

/// The message of a panic in a constant can only be one piece of text. Whoever calls is tracked, so that the compiler
/// shows the field and no lines of this file.
#[track_caller]
const fn fail(words: &[&str]) -> ! {
    let mut text = Text::new();
    let mut i = 0;
    while i < words.len() {
        text.push(words[i]);
        i += 1;
    }
    panic!("{}", text.as_str())
}

/// Text that constants can put together; what does not fit is left out.
struct Text {
    all: [u8; 1024],
    len: usize,
}

impl Text {
    const fn new() -> Text {
        Text { all: [0; 1024], len: 0 }
    }

    const fn push(&mut self, text: &str) {
        let bytes = text.as_bytes();
        let mut i = 0;
        while i < bytes.len() && self.len < self.all.len() {
            self.all[self.len] = bytes[i];
            self.len += 1;
            i += 1;
        }
    }

    /// Adds a part of a name.
    const fn join(&mut self, name: &str) {
        if self.len > 0 && !name.is_empty() {
            self.push(".");
        }
        self.push(name);
    }

    const fn bytes(&self) -> &[u8] {
        self.all.split_at(self.len).0
    }

    const fn as_str(&self) -> &str {
        match std::str::from_utf8(self.bytes()) {
            Ok(text) => text,
            Err(_) => "a name too long to be shown",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Home, Part, Shape, check_part, check_shared, takes};

    const LEAF: &Shape = &Shape::Leaf;
    const NORM: &Shape = &Shape::Fields {
        parts: &[Part { name: "weight", shape: LEAF }, Part { name: "bias", shape: LEAF }],
        home: None,
        partial: false,
    };
    const BLOCK: &Shape = &Shape::Fields {
        parts: &[
            Part { name: "ln.inner", shape: NORM },
            Part { name: "e", shape: &Shape::List { of: NORM } },
            Part { name: "x.{2,1,0}_w", shape: &Shape::List { of: LEAF } },
            Part { name: "", shape: NORM },
        ],
        home: None,
        partial: false,
    };

    #[test]
    fn names_are_taken_whole() {
        let taken = |name: &str| takes(BLOCK, name.as_bytes(), 0, false, true);
        for name in ["ln.inner.weight", "e.{}.bias", "x.{2,1,0}_w", "weight"] {
            assert!(taken(name), "{name}");
        }
        for name in
            ["ln.inner", "ln.inner.weights", "e.bias", "e.{}", "x.{}_w", "weight.x", "", "ln.innerweight"]
        {
            assert!(!taken(name), "{name}");
        }
    }

    const HOME: Option<Home> = Some(Home { mapping: 1, side: "a", scope: "t" });

    fn message(shape: &'static Shape, list: bool, names: &'static [&'static str]) -> String {
        let name = if list { "h.{}" } else { "h" };
        let caught = std::panic::catch_unwind(|| {
            let parts: &'static [Part] = Box::leak(Box::new([Part { name, shape }]));
            check_part(&Shape::Fields { parts, home: HOME, partial: false }, 0, "`f` of `M`", names);
        });
        match caught {
            Ok(()) => String::new(),
            Err(payload) => payload.downcast_ref::<String>().cloned().unwrap_or_default(),
        }
    }

    const LIST: &Shape = &Shape::List { of: NORM };
    const LEAVES: &Shape = &Shape::List { of: LEAF };
    const OPTIONAL: &Shape = &Shape::Optional { of: NORM };
    const UNKNOWN: &Shape = &Shape::Unknown;

    #[test]
    fn disagreements_are_told() {
        assert_eq!(message(NORM, false, &["bias", "weight"]), "");
        assert_eq!(message(LEAF, false, &[""]), "");
        assert_eq!(message(LIST, true, &["bias", "weight"]), "");
        assert_eq!(message(OPTIONAL, false, &["bias", "weight"]), "");
        assert_eq!(message(UNKNOWN, false, &["bias"]), "");
        let cases = [
            message(NORM, true, &["weight", "bias"]),
            message(LEAVES, false, &[""]),
            message(NORM, false, &[""]),
            message(LEAF, false, &["weight"]),
            message(NORM, false, &["weight"]),
            message(NORM, false, &["weight", "bias", "scale"]),
        ];
        let expected = [
            "must be a `Vec`",
            "is a `Vec`, but",
            "is a struct",
            "the first of them `weight`",
            "no parameter `bias`",
            "takes no `scale`",
        ];
        for (got, part) in cases.iter().zip(expected) {
            assert!(got.contains(part), "{got}");
        }
    }

    #[test]
    fn what_may_be_absent_is_in_an_option() {
        const MAYBE: &Shape = &Shape::Optional { of: LEAF };
        const HALF: &Shape = &Shape::Fields {
            parts: &[Part { name: "weight", shape: MAYBE }, Part { name: "bias", shape: LEAF }],
            home: None,
            partial: false,
        };
        const HALVES: &Shape = &Shape::List { of: HALF };
        const HOMED: &Shape = &Shape::Fields {
            parts: &[],
            home: Some(Home { mapping: 1, side: "a", scope: "t.h" }),
            partial: false,
        };
        const MAYBE_HOMED: &Shape = &Shape::Optional { of: HOMED };
        assert_eq!(message(OPTIONAL, false, &["bias?", "weight?"]), "");
        assert_eq!(message(HALF, false, &["bias", "weight?"]), "");
        assert_eq!(message(HALVES, true, &["bias", "weight?"]), "");
        assert_eq!(message(MAYBE_HOMED, false, &["bias?", "weight?"]), "");
        assert_eq!(message(HOMED, false, &["bias?", "weight"]), "");
        for (shape, list, names, name) in [
            (NORM, false, &["bias?", "weight?"][..], "`t.h.weight`"),
            (NORM, false, &["bias", "weight?"], "`t.h.weight`"),
            (HALF, false, &["bias?", "weight?"], "`t.h.bias`"),
            (HALVES, true, &["bias?", "weight?"], "`t.h.{}.bias`"),
            // An `Option` around a list says nothing of its elements.
            (&Shape::Optional { of: LIST }, true, &["bias", "weight?"], "`t.h.{}.weight`"),
            (HOMED, false, &["bias?", "weight?"], "`t.h`"),
            (LEAF, false, &["?"], "`t.h`"),
        ] {
            let said = message(shape, list, names);
            assert!(said.contains(&format!("{name} is not there for every config")), "{name}: {said}");
        }
    }

    #[test]
    fn partial_structs_may_leave_names_out_but_not_add_any() {
        let partial =
            &Shape::Fields { parts: &[Part { name: "weight", shape: LEAF }], home: None, partial: true };
        assert_eq!(message(partial, false, &["weight", "bias"]), "");
        assert!(message(partial, false, &["bias"]).contains("no parameter `weight`"));
    }

    #[test]
    fn structs_belong_where_they_say() {
        const fn of(home: Home) -> Shape {
            Shape::Fields { parts: &[Part { name: "weight", shape: LEAF }], home: Some(home), partial: false }
        }
        const HERE: &Shape = &of(Home { mapping: 1, side: "a", scope: "t.h.{}" });
        const OTHER_SCOPE: &Shape = &of(Home { mapping: 1, side: "a", scope: "t.g.{}" });
        const OTHER_SIDE: &Shape = &of(Home { mapping: 1, side: "b", scope: "t.h.{}" });
        const OTHER_MAPPING: &Shape = &of(Home { mapping: 2, side: "a", scope: "t.h.{}" });
        let said = |shape| message(Box::leak(Box::new(Shape::List { of: shape })), true, &["weight"]);
        assert_eq!(said(HERE), "");
        assert!(said(OTHER_SCOPE).contains("belongs to `t.g.{}`"));
        assert!(said(OTHER_SIDE).contains("its type of the side `b`"));
        assert!(said(OTHER_MAPPING).contains("another mapping"));
    }

    #[test]
    #[should_panic(expected = "the parameter `scale` is taken by no field of `M`")]
    fn flattened_fields_share_the_names() {
        let parent = Shape::Fields { parts: &[Part { name: "", shape: NORM }], home: HOME, partial: false };
        check_shared(&parent, "M", &["weight", "bias"]);
        check_shared(&parent, "M", &["weight", "scale"]);
    }
}
