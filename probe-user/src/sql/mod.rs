//! SQL as far as a probe needs it: which statements a text holds, what each does, and what it looks
//! like without its literals. A lexer, no parser: statements that the server refuses get a
//! fingerprint as well.
//!
//! The **fingerprint** is XXH3 (64 bits, seed 0) of the normalised text in which every literal and
//! every `$n` is `?`: the same for a statement with its values written in and for the prepared one,
//! for any length of an `IN` list or of `VALUES` rows, on every host and in every version that
//! normalises alike.

mod cache;
mod comment;
mod leading;
mod lexer;
mod lists;
mod normalise;
mod operation;
#[cfg(test)]
mod tests;

use std::{borrow::Cow, sync::Arc};

pub use cache::SqlCache;
pub use comment::Traceparent;
pub use lexer::{Lexer, Token, TokenKind};
pub use operation::Operation;

/// A statement without its literals; shared by all that look the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SqlInfo {
    /// The normalised text: literals as `?`, parameters as `$n`, unquoted words in lower case. Ends
    /// in `…` when only the start of the statement was at hand.
    pub text: Box<str>,
    /// Identifies it; see the module's documentation.
    pub fingerprint: u64,
    /// What it does.
    pub operation: Operation,
    /// Whether the whole statement was at hand. If not, the fingerprint is that of its start.
    pub complete: bool,
}

impl SqlInfo {
    /// The fingerprint as it is shown: 16 hexadecimal digits.
    pub fn fingerprint_hex(&self) -> String {
        format!("{:016x}", self.fingerprint)
    }

    /// The text, cut after so many characters; it ends in `…` then, as a text of which only the
    /// start was at hand does.
    pub fn short_text(&self, characters: usize) -> Cow<'_, str> {
        match self.text.char_indices().nth(characters) {
            Some((end, _)) => Cow::Owned(format!("{}…", self.text.get(..end).unwrap_or_default())),
            None => Cow::Borrowed(&self.text),
        }
    }
}

/// The most bytes of a statement that are captured as they were sent.
pub const MAX_CAPTURED: usize = 8_192;

/// One statement of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The statement without its literals.
    pub info: Arc<SqlInfo>,
    /// A hash of its literals, to tell distinct calls apart; never the literals.
    pub literals: u64,
    /// The trace that a sqlcommenter comment names.
    pub traceparent: Option<Traceparent>,
    /// The statement as it was sent, literals and all, up to [`MAX_CAPTURED`] bytes; only when the
    /// cache was told to capture.
    pub text: Option<Arc<str>>,
    /// What it does to the session's statements and savepoints.
    pub effect: Effect,
}

/// A text as one message brings it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parsed {
    /// Its statements in order; empty ones are not statements.
    pub parts: Box<[Part]>,
    /// Whether the end of the text was not at hand, so that more statements may follow.
    pub cut: bool,
}

/// What a statement does to the session, once it has succeeded.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Effect {
    /// Nothing that matters here.
    #[default]
    None,
    /// `PREPARE name AS ...`
    Prepare(u64, Option<Arc<Parsed>>),
    /// `EXECUTE name`
    Execute(u64),
    /// `DEALLOCATE name`
    Deallocate(u64),
    /// `DEALLOCATE ALL`, `DISCARD ALL`
    DeallocateAll,
    /// `SAVEPOINT name`
    Savepoint(u64),
    /// `RELEASE name`
    Release(u64),
    /// `ROLLBACK TO name`
    RollbackTo(u64),
}

/// Stands for the name of a statement, portal or savepoint: its hash, 0 for the unnamed one. A name
/// is only ever compared, and 64 bits are cheaper to keep than up to 63 letters.
pub fn name_id(name: &[u8]) -> u64 {
    if name.is_empty() {
        return 0;
    }
    twox_hash::XxHash3_64::oneshot(name).max(1)
}
