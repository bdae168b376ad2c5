//! The corpus of mappings: those that pass, and every mistake with its full text.

use transship_grammar::{Source, Style, check, format, render};

fn report(name: &str, text: &str) -> (bool, String) {
    match check(&Source::new(name, text)) {
        Ok((_, warnings)) => (true, render(&warnings, Style::Full { colour: false })),
        Err(errors) => (false, render(&errors, Style::Full { colour: false })),
    }
}

#[test]
fn every_shipped_mapping_passes_without_a_warning() {
    for shipped in transship_mappings::SHIPPED {
        assert_eq!(report(shipped.name, shipped.text), (true, String::new()), "{}", shipped.name);
    }
}

#[test]
fn every_shipped_mapping_is_formatted() {
    for shipped in transship_mappings::SHIPPED {
        let formatted = format(&Source::new(shipped.name, shipped.text)).ok();
        assert_eq!(formatted.as_deref(), Some(shipped.text), "{}", shipped.name);
    }
}
