//! Sizes as polynomials over config values, so that what is shown for them holds for every model.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::mapping::{AxisId, FieldId};

/// An unknown of a size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Symbol {
    /// A config value.
    Field(FieldId),
    /// The element of a config list that an index picks: `groups[layer]`.
    At(FieldId, AxisId),
}

/// A sum of products of symbols with integer coefficients, in normal form: equal sizes are equal values.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct Size {
    /// Sorted symbols of a product, and its coefficient, never zero.
    terms: BTreeMap<Vec<Symbol>, i128>,
}

impl Size {
    /// The size `n`.
    #[must_use]
    pub fn constant(n: i64) -> Size {
        let mut size = Size::default();
        size.add_term(Vec::new(), i128::from(n));
        size
    }

    /// The size that is one symbol.
    #[must_use]
    pub fn symbol(symbol: Symbol) -> Size {
        Size { terms: BTreeMap::from([(vec![symbol], 1)]) }
    }

    fn add_term(&mut self, symbols: Vec<Symbol>, coefficient: i128) {
        let before = self.terms.get(&symbols).copied().unwrap_or(0);
        match before.saturating_add(coefficient) {
            0 => self.terms.remove(&symbols),
            sum => self.terms.insert(symbols, sum),
        };
    }

    /// Its products: the symbols of each, sorted, and their coefficient.
    pub fn terms(&self) -> impl Iterator<Item = (&[Symbol], i128)> {
        self.terms.iter().map(|(symbols, coefficient)| (symbols.as_slice(), *coefficient))
    }

    /// The sum of both.
    #[must_use]
    pub fn plus(&self, other: &Size) -> Size {
        let mut sum = self.clone();
        for (symbols, coefficient) in &other.terms {
            sum.add_term(symbols.clone(), *coefficient);
        }
        sum
    }

    /// The difference of both.
    #[must_use]
    pub fn minus(&self, other: &Size) -> Size {
        self.plus(&other.times(&Size::constant(-1)))
    }

    /// The product of both.
    #[must_use]
    pub fn times(&self, other: &Size) -> Size {
        let mut product = Size::default();
        for (a, x) in &self.terms {
            for (b, y) in &other.terms {
                let mut symbols = [a.as_slice(), b.as_slice()].concat();
                symbols.sort_unstable();
                product.add_term(symbols, x.saturating_mul(*y));
            }
        }
        product
    }

    /// The number that this size is, if it has no symbol.
    #[must_use]
    pub fn as_constant(&self) -> Option<i128> {
        match self.terms.len() {
            0 => Some(0),
            1 => self.terms.get(&Vec::new()).copied(),
            _ => None,
        }
    }

    /// The symbols in it, each once.
    #[must_use]
    pub fn symbols(&self) -> Vec<Symbol> {
        let mut all: Vec<Symbol> = self.terms.keys().flatten().copied().collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Its value, where every symbol has one.
    #[must_use]
    pub fn evaluate(&self, value: &dyn Fn(Symbol) -> Option<i128>) -> Option<i128> {
        self.terms.iter().try_fold(0i128, |sum, (symbols, coefficient)| {
            let product = symbols.iter().try_fold(*coefficient, |p, s| p.checked_mul(value(*s)?))?;
            sum.checked_add(product)
        })
    }

    /// Splits it into `a * unknown + b`, all other symbols known; `None` where `unknown` is not linear in it.
    #[must_use]
    pub fn linear_in(&self, unknown: Symbol, value: &dyn Fn(Symbol) -> Option<i128>) -> Option<(i128, i128)> {
        let (mut a, mut b) = (0i128, 0i128);
        for (symbols, coefficient) in &self.terms {
            let known = symbols.iter().filter(|s| **s != unknown);
            let product = known.clone().try_fold(*coefficient, |p, s| p.checked_mul(value(*s)?))?;
            match symbols.len() - known.count() {
                0 => b = b.checked_add(product)?,
                1 => a = a.checked_add(product)?,
                _ => return None,
            }
        }
        Some((a, b))
    }

    /// Replaces a symbol by a size.
    #[must_use]
    pub fn substitute(&self, symbol: Symbol, by: &Size) -> Size {
        let mut result = Size::default();
        for (symbols, coefficient) in &self.terms {
            let mut product = Size { terms: BTreeMap::from([(Vec::new(), *coefficient)]) };
            for s in symbols {
                product = if *s == symbol { product.times(by) } else { product.times(&Size::symbol(*s)) };
            }
            result = result.plus(&product);
        }
        result
    }

    /// How a reader writes it: `3 * heads * head_dim + 1`.
    #[must_use]
    pub fn display(&self, name: &dyn Fn(Symbol) -> String) -> String {
        let mut text = String::new();
        for (symbols, coefficient) in self.terms.iter().rev() {
            let negative = *coefficient < 0;
            match (text.is_empty(), negative) {
                (true, true) => text.push('-'),
                (true, false) => {}
                (false, true) => text.push_str(" - "),
                (false, false) => text.push_str(" + "),
            }
            let magnitude = coefficient.unsigned_abs();
            let mut factors: Vec<String> = symbols.iter().map(|s| name(*s)).collect();
            if magnitude != 1 || factors.is_empty() {
                factors.insert(0, magnitude.to_string());
            }
            let _ = write!(text, "{}", factors.join(" * "));
        }
        if text.is_empty() { "0".to_owned() } else { text }
    }
}
