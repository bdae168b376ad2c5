//! The documents in files of their own that a mapping lists: exactly these are read.

use transship_grammar as grammar;

use grammar::{Code, Diagnostic, Diagnostics};

use super::Binding;
use crate::checkpoint::listed;

impl Binding<'_> {
    /// Reads the documents of the checkpoint's side.
    pub(super) fn read_documents(&mut self, diagnostics: &mut Diagnostics) {
        for document in &self.mapping.side(self.from).documents {
            let read = if document.is_file() { self.checkpoint.document(&document.name) } else { Ok(None) };
            let value = read.unwrap_or_else(|error| {
                let message = format!("the document `{}` cannot be read", document.name);
                diagnostics.push(
                    Diagnostic::without_place(Code::UnreadableDocument, message)
                        .note(format!("{}: {}", error.file, error.cause)),
                );
                None
            });
            self.documents.push(value);
        }
    }

    /// Adds to what is said of a value that is not known which documents it was looked for in, and what there is to know
    /// of how the checkpoint was opened.
    pub(crate) fn with_documents(&self, diagnostic: Diagnostic) -> Diagnostic {
        let notes = self.documents_note().into_iter().chain(self.checkpoint.notes().iter().cloned());
        notes.fold(diagnostic, Diagnostic::note)
    }

    /// Which documents values were looked for in, and which of them are not there.
    fn documents_note(&self) -> Option<String> {
        let files = self.mapping.side(self.from).documents.iter().zip(&self.documents);
        let (there, absent): (Vec<_>, Vec<_>) =
            files.filter(|(document, _)| document.is_file()).partition(|(_, value)| value.is_some());
        let names = |list: &[(&grammar::Document, _)]| {
            listed(&list.iter().map(|(document, _)| &document.name).collect::<Vec<_>>())
        };
        let folder = self.checkpoint.folder().map(|folder| format!(" in {}", folder.display()));
        let folder = folder.unwrap_or_else(|| " beside the checkpoint".to_owned());
        match (&there[..], &absent[..]) {
            ([], []) => None,
            (there, []) => Some(format!("looked into {}{folder}", names(there))),
            ([], absent) => Some(format!("there is no {}{folder}", names(absent))),
            (there, absent) => {
                Some(format!("looked into {}{folder}; there is no {}", names(there), names(absent)))
            }
        }
    }
}
