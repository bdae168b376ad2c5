//! The mapping behind a derive: found, read, checked.

use std::path::{Path, PathBuf};

use transship_grammar::{Mapping, Source, Target, beside, check, nearest};
use transship_mappings::{SHIPPED, library, shipped};

use crate::attributes::Origin;
use crate::error::Errors;

/// A checked mapping.
pub(crate) struct Loaded {
    pub(crate) mapping: Mapping,
    /// The files whose edits lead to a rebuild.
    pub(crate) tracked: Vec<PathBuf>,
}

pub(crate) fn load(origin: &Origin, errors: &mut Errors) -> Option<Loaded> {
    let literal = origin.literal();
    let mut tracked = Vec::new();
    let (name, text) = match origin {
        Origin::Inline(text) => ("inline mapping".to_owned(), text.value()),
        Origin::Shipped(name) => match shipped(&name.value()) {
            Some(found) => (format!("{}.mapping", found.name), found.text.to_owned()),
            None => {
                errors.at(name.span(), unknown_shipped(&name.value()));
                return None;
            }
        },
        Origin::File(path) => match read(&path.value(), &mut tracked) {
            Ok(text) => (path.value(), text),
            Err(message) => {
                errors.at(path.span(), message);
                return None;
            }
        },
    };
    let source = Source::load(&name, &text, &mut |from, target| match target {
        Target::Library(name) => library(name),
        Target::Path(path) => {
            let path = beside(from, path);
            read(&path, &mut tracked).map(|text| (path, text))
        }
    });
    match check(&source) {
        // Warnings have no place in a build; `transship check` shows them.
        Ok((mapping, _)) => Some(Loaded { mapping, tracked }),
        Err(diagnostics) => {
            errors.diagnostics(literal.span(), &diagnostics);
            None
        }
    }
}

fn unknown_shipped(name: &str) -> String {
    let names = SHIPPED.iter().map(|m| m.name);
    match nearest(name, names.clone()) {
        Some(near) => format!("no shipped mapping is called `{name}`; did you mean `{near}`?"),
        None => format!(
            "no shipped mapping is called `{name}`; shipped are {}",
            names.collect::<Vec<_>>().join(", ")
        ),
    }
}

/// The text of a file relative to the crate that is compiled. It is shown as it is written, so that messages do
/// not depend on where the crate lies.
fn read(path: &str, tracked: &mut Vec<PathBuf>) -> Result<String, String> {
    let (variable, rest) = match path.strip_prefix("$OUT_DIR/") {
        Some(rest) => ("OUT_DIR", rest),
        None => ("CARGO_MANIFEST_DIR", path),
    };
    let root = match std::env::var_os(variable) {
        Some(root) => PathBuf::from(root),
        None if variable == "OUT_DIR" => {
            return Err(format!("`{path}` is below OUT_DIR, which only a crate with a build script has"));
        }
        None => PathBuf::new(),
    };
    let file = root.join(Path::new(rest));
    let bytes = std::fs::read(&file).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            format!("there is no file `{path}`; the path is relative to the directory of Cargo.toml")
        }
        _ => format!("cannot read `{path}`: {error}"),
    })?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        format!("`{path}` is not UTF-8 text (byte {at}); save it as UTF-8")
    })?;
    tracked.push(file);
    Ok(text)
}
