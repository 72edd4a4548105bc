//! The first words of a statement, which say what it does to the session.

use super::lexer::TokenKind;
use super::operation::Operation;
use super::{Effect, name_id};

/// Words that are kept.
const KEPT: usize = 6;

/// The first words of a statement, in lower case.
#[derive(Debug)]
pub(super) struct Leading {
    /// Their buffers are used again for the next statement.
    words: Vec<(TokenKind, Vec<u8>)>,
    count: usize,
}

impl Default for Leading {
    fn default() -> Self {
        Self {
            words: vec![(TokenKind::Word, Vec::new()); KEPT],
            count: 0,
        }
    }
}

impl Leading {
    pub(super) fn clear(&mut self) {
        self.count = 0;
    }

    pub(super) fn push(&mut self, kind: TokenKind, text: &[u8]) {
        if let Some((slot, bytes)) = self.words.get_mut(self.count) {
            *slot = kind;
            bytes.clear();
            bytes.extend_from_slice(text);
            self.count += 1;
        }
    }

    fn get(&self, index: usize) -> Option<&(TokenKind, Vec<u8>)> {
        self.words.get(index).filter(|_| index < self.count)
    }

    pub(super) fn word(&self, index: usize) -> &[u8] {
        match self.get(index) {
            Some((TokenKind::Word, text)) => text,
            _ => &[],
        }
    }

    /// What the statement does to the session; told by its first words.
    pub(super) fn effect(&self, operation: Operation) -> Effect {
        let name = |index| self.get(index).map(|(kind, text)| identifier(*kind, text));
        let skip = |index, words: &[&str]| {
            let word = self.word(index);
            index + usize::from(words.iter().any(|skipped| word == skipped.as_bytes()))
        };
        let effect = match operation {
            Operation::Prepare => name(1).map(|name| Effect::Prepare(name, None)),
            Operation::Execute => name(1).map(Effect::Execute),
            Operation::Deallocate => {
                let at = skip(1, &["prepare"]);
                if self.word(at) == b"all" {
                    Some(Effect::DeallocateAll)
                } else {
                    name(at).map(Effect::Deallocate)
                }
            }
            Operation::Discard => (self.word(1) == b"all").then_some(Effect::DeallocateAll),
            Operation::Savepoint => name(1).map(Effect::Savepoint),
            Operation::Release => name(skip(1, &["savepoint"])).map(Effect::Release),
            Operation::RollbackToSavepoint => {
                let to = skip(1, &["work", "transaction"]);
                name(skip(to + 1, &["savepoint"])).map(Effect::RollbackTo)
            }
            _ => None,
        };
        effect.unwrap_or_default()
    }
}

/// A name as the server stores it: folded to lower case, or without its quotes.
fn identifier(kind: TokenKind, text: &[u8]) -> u64 {
    let unquoted = text
        .strip_prefix(b"\"")
        .and_then(|text| text.strip_suffix(b"\""));
    match (kind, unquoted) {
        (TokenKind::QuotedIdentifier, Some(name)) if name.contains(&b'"') => {
            let mut plain = Vec::with_capacity(name.len());
            let mut quote_before = false;
            for byte in name {
                if *byte == b'"' && quote_before {
                    quote_before = false;
                    continue;
                }
                quote_before = *byte == b'"';
                plain.push(*byte);
            }
            name_id(&plain)
        }
        (TokenKind::QuotedIdentifier, Some(name)) => name_id(name),
        _ => name_id(text),
    }
}
