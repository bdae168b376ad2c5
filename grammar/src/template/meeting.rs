//! Which of many templates can be the same name as another one. Index ranges are not looked at.
//!
//! Templates are read as automata: a character is itself, a number is one or more digits, a star one or more characters.
//! They lie in a tree by their beginnings, so that one is compared only with those that begin as it can.

use std::collections::{HashMap, HashSet};

use super::{Part, Template};

#[derive(Clone, Copy, PartialEq)]
enum Token {
    Char(char),
    Digits,
    Segment,
    Any,
}

/// A token after those before it.
#[derive(Clone, Copy)]
struct Node {
    token: Token,
    /// The first of the nodes that follow.
    child: Option<u32>,
    /// The next of those that follow the same node.
    sibling: Option<u32>,
}

/// Templates, numbered in the order in which they are added.
#[derive(Default)]
pub(crate) struct Names {
    nodes: Vec<Node>,
    /// The first node of the templates that begin below a root, and of those that begin at the top.
    roots: [Option<u32>; 2],
    /// The templates that end with a node.
    ends: HashMap<u32, Vec<usize>>,
    count: usize,
}

impl Names {
    pub(crate) fn add(&mut self, template: &Template) {
        let mut at = None;
        for token in tokens(template) {
            at = Some(self.child(at, template.absolute, token));
        }
        if let Some(last) = at {
            self.ends.entry(last).or_default().push(self.count);
        }
        self.count += 1;
    }

    /// The numbers of the templates that some name fits as well as `template`, ascending; `None` as soon as `step`, which
    /// is asked at each step, says no.
    pub(crate) fn meeting(
        &self,
        template: &Template,
        step: &mut dyn FnMut(usize) -> bool,
    ) -> Option<Vec<usize>> {
        let tokens = tokens(template);
        let mut found = Vec::new();
        let mut seen = HashSet::new();
        let mut open: Vec<(u32, usize)> = Vec::new();
        self.reach(self.roots[usize::from(template.absolute)], &tokens, 0, &mut open);
        while let Some((node, at)) = open.pop() {
            if !seen.insert((node, at)) {
                continue;
            }
            if !step(1) {
                return None;
            }
            let (theirs, ours) = (self.nodes[node as usize], tokens[at]);
            self.reach(theirs.child, &tokens, at + 1, &mut open);
            if at + 1 == tokens.len()
                && let Some(ends) = self.ends.get(&node)
            {
                if !step(ends.len()) {
                    return None;
                }
                found.extend(ends);
            }
            if !matches!(theirs.token, Token::Char(_))
                && tokens.get(at + 1).is_some_and(|t| share(theirs.token, *t))
            {
                open.push((node, at + 1));
            }
            if !matches!(ours, Token::Char(_)) {
                self.reach(theirs.child, &tokens, at, &mut open);
            }
        }
        found.sort_unstable();
        found.dedup();
        Some(found)
    }

    /// The nodes from `first` on whose token can read a character that the token at `at` reads too.
    fn reach(&self, first: Option<u32>, tokens: &[Token], at: usize, open: &mut Vec<(u32, usize)>) {
        let Some(ours) = tokens.get(at) else { return };
        let mut next = first;
        while let Some(node) = next {
            let Node { token, sibling, .. } = self.nodes[node as usize];
            if share(token, *ours) {
                open.push((node, at));
            }
            next = sibling;
        }
    }

    /// The node of `token` after `parent`, made where there is none.
    fn child(&mut self, parent: Option<u32>, absolute: bool, token: Token) -> u32 {
        let first = match parent {
            Some(parent) => self.nodes[parent as usize].child,
            None => self.roots[usize::from(absolute)],
        };
        let mut next = first;
        while let Some(node) = next {
            if self.nodes[node as usize].token == token {
                return node;
            }
            next = self.nodes[node as usize].sibling;
        }
        // The budget of a mapping is far below what a number of a node can count.
        let new = u32::try_from(self.nodes.len()).unwrap_or(u32::MAX);
        self.nodes.push(Node { token, child: None, sibling: first });
        match parent {
            Some(parent) => self.nodes[parent as usize].child = Some(new),
            None => self.roots[usize::from(absolute)] = Some(new),
        }
        new
    }
}

fn tokens(template: &Template) -> Vec<Token> {
    let mut tokens = Vec::new();
    for part in &template.parts {
        match part {
            Part::Literal(text) => tokens.extend(text.chars().map(Token::Char)),
            Part::Index(_) | Part::Rank(..) => tokens.push(Token::Digits),
            Part::Star => tokens.push(Token::Segment),
            Part::DoubleStar => tokens.push(Token::Any),
        }
    }
    tokens
}

/// Whether one character can be read by both tokens.
fn share(a: Token, b: Token) -> bool {
    match (a, b) {
        (Token::Char(x), Token::Char(y)) => x == y,
        (Token::Char(c), Token::Digits) | (Token::Digits, Token::Char(c)) => c.is_ascii_digit(),
        (Token::Char(c), Token::Segment) | (Token::Segment, Token::Char(c)) => c != '.',
        _ => true,
    }
}
