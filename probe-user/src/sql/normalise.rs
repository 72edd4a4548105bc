//! One pass over the tokens: literals go, statements are split, classified and written in one form.

use std::ops::Range;

use twox_hash::XxHash3_64;

use super::Effect;
use super::comment::Traceparent;
use super::leading::Leading;
use super::lexer::{Lexer, Token, TokenKind};
use super::lists::{List, Lists};
use super::operation::{Classifier, Operation};

/// What stood before, as far as spacing and signs depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Before {
    Nothing,
    /// A name, or a keyword that ends an operand.
    Word,
    /// A keyword that an operand follows.
    Keyword,
    /// `IN`, `ARRAY` and `VALUES`, whose list is collapsed.
    ListKeyword(List),
    Value,
    Open,
    Close,
    Comma,
    Dot,
    Cast,
    Operator,
    /// A sign that belongs to the number behind it, and where it stands in the output.
    Sign(usize),
}

/// A statement as the pass found it; its text is in [`Normaliser::text`].
#[derive(Debug)]
pub(super) struct Found {
    pub(super) operation: Operation,
    pub(super) literals: u64,
    pub(super) traceparent: Option<Traceparent>,
    pub(super) effect: Effect,
    /// Where in the raw text the statement stands that a `PREPARE` prepares.
    pub(super) prepared: Option<Range<usize>>,
    /// Where in the raw text it stands, with the comments around it.
    pub(super) range: Range<usize>,
    /// Whether the text was cut within it.
    pub(super) cut: bool,
}

/// The pass and its buffers, which are used again for the next text.
#[derive(Debug)]
pub(super) struct Normaliser {
    text: Vec<u8>,
    /// Where a `?` stands for which `$n`.
    parameters: Vec<(usize, u32)>,
    lists: Lists,
    leading: Leading,
    classifier: Classifier,
    before: Before,
    depth: u32,
    /// Brackets before the first word: `(SELECT ...) UNION ...`.
    base_depth: u32,
    /// Levels of `BEGIN ATOMIC` and `CASE` in the body of a function: no `;` ends it there.
    body_depth: u32,
    /// Whether names with digits are taken for generated ones.
    mask: bool,
    literals: u64,
    traceparent: Option<Traceparent>,
    prepared_from: Option<usize>,
}

impl Default for Normaliser {
    fn default() -> Self {
        Self {
            text: Vec::new(),
            parameters: Vec::new(),
            lists: Lists::default(),
            leading: Leading::default(),
            classifier: Classifier::default(),
            before: Before::Nothing,
            depth: 0,
            base_depth: 0,
            body_depth: 0,
            mask: false,
            literals: 0,
            traceparent: None,
            prepared_from: None,
        }
    }
}

impl Normaliser {
    /// Reads `raw` and hands each statement to `each`. `cut` tells that the text goes on.
    pub(super) fn run(
        &mut self,
        raw: &[u8],
        cut: bool,
        backslash_escapes: bool,
        mut each: impl FnMut(&Self, Found),
    ) {
        self.reset();
        let mut start = 0;
        for token in Lexer::new(raw, backslash_escapes) {
            let at_end = token.offset + token.text.len() >= raw.len();
            if cut && at_end && !matches!(token.kind, TokenKind::String | TokenKind::Punctuation(_))
            {
                // What it would have become is not known.
                break;
            }
            if token.kind == TokenKind::Punctuation(b';') && self.depth == 0 && self.body_depth == 0
            {
                self.finish(start..token.offset, false, &mut each);
                start = token.offset + token.text.len();
            } else {
                self.token(&token);
            }
        }
        self.finish(start..raw.len(), cut, &mut each);
    }

    /// The normalised text with `?` for parameters: what the fingerprint is made of.
    pub(super) fn text(&self) -> &[u8] {
        &self.text
    }

    /// The normalised text as people read it, with `$n` for parameters.
    pub(super) fn readable(&self) -> String {
        let mut readable = Vec::with_capacity(self.text.len() + 2 * self.parameters.len());
        let mut from = 0;
        for (at, number) in &self.parameters {
            readable.extend_from_slice(self.text.get(from..*at).unwrap_or_default());
            readable.extend_from_slice(format!("${number}").as_bytes());
            from = at + 1;
        }
        readable.extend_from_slice(self.text.get(from..).unwrap_or_default());
        match String::from_utf8(readable) {
            Ok(readable) => readable,
            Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
        }
    }

    fn reset(&mut self) {
        self.text.clear();
        self.parameters.clear();
        self.lists.clear();
        self.leading.clear();
        self.classifier = Classifier::default();
        self.before = Before::Nothing;
        self.depth = 0;
        self.base_depth = 0;
        self.body_depth = 0;
        self.mask = false;
        self.literals = 0;
        self.traceparent = None;
        self.prepared_from = None;
    }

    fn finish(&mut self, range: Range<usize>, cut: bool, each: &mut impl FnMut(&Self, Found)) {
        while self.lists.innermost() == Some(List::Rows) {
            self.lists.close(&mut self.text);
        }
        if !self.text.is_empty() {
            if cut {
                if let Before::Sign(at) = self.before {
                    // Of a number that is not at hand.
                    self.text.truncate(at);
                }
                let end = self.text.trim_ascii_end().len();
                self.text.truncate(end);
                self.text.extend_from_slice("…".as_bytes());
            }
            while matches!(self.parameters.last(), Some((at, _)) if *at >= self.text.len()) {
                self.parameters.pop();
            }
            let operation = self.classifier.operation();
            let found = Found {
                operation,
                literals: self.literals,
                traceparent: self.traceparent,
                effect: if cut {
                    Effect::None
                } else {
                    self.leading.effect(operation)
                },
                prepared: self.prepared_from.map(|from| from..range.end),
                range,
                cut,
            };
            each(self, found);
        }
        self.reset();
    }

    fn token(&mut self, token: &Token<'_>) {
        if self.lists.innermost() == Some(List::Rows)
            && !matches!(
                token.kind,
                TokenKind::Punctuation(b'(' | b',') | TokenKind::Comment
            )
        {
            self.lists.close(&mut self.text);
        }
        match token.kind {
            TokenKind::Comment => {
                self.traceparent = self
                    .traceparent
                    .or_else(|| Traceparent::in_comment(token.text));
            }
            TokenKind::Word => self.word(token),
            TokenKind::QuotedIdentifier => self.quoted(token),
            TokenKind::String => self.value(token.text),
            TokenKind::Number => {
                if let Before::Sign(at) = self.before {
                    let negative = self.text.get(at..).is_some_and(|sign| sign.contains(&b'-'));
                    self.text.truncate(at);
                    self.literals ^= u64::from(negative);
                    // The space before the sign is there already.
                    self.before = Before::Open;
                }
                self.value(token.text);
            }
            TokenKind::Parameter(number) => {
                self.space();
                if self
                    .parameters
                    .last()
                    .is_some_and(|(at, _)| *at >= self.text.len())
                {
                    // Its list was collapsed.
                    let kept = self
                        .parameters
                        .partition_point(|(at, _)| *at < self.text.len());
                    self.parameters.truncate(kept);
                }
                self.parameters.push((self.text.len(), number));
                self.text.push(b'?');
                self.before = Before::Value;
            }
            TokenKind::Punctuation(byte) => self.punctuation(byte),
            TokenKind::Operator => self.operator(token.text),
        }
    }

    fn space(&mut self) {
        if !matches!(
            self.before,
            Before::Nothing | Before::Open | Before::Dot | Before::Cast
        ) {
            self.text.push(b' ');
        }
    }

    fn word(&mut self, token: &Token<'_>) {
        let before = self.before;
        let comes_after = self.text.len();
        self.space();
        let start = self.text.len();
        self.text
            .extend(token.text.iter().map(u8::to_ascii_lowercase));
        // Taken out for a moment: it is compared while the rest of `self` changes.
        let output = std::mem::take(&mut self.text);
        let word = output.get(start..).unwrap_or_default();
        if self.classifier.is_waiting() {
            self.base_depth = self.depth;
            self.mask = names_are_generated(word);
        }
        if self.depth == self.base_depth && !self.classifier.is_done() {
            let name_expected = matches!(before, Before::Comma)
                || matches!(self.last_word(&output, comes_after), b"with" | b"recursive");
            self.classifier.word(word, name_expected);
        }
        self.leading.push(TokenKind::Word, word);
        self.body(word);
        let constant = matches!(word, b"null" | b"true" | b"false")
            && matches!(before, Before::Operator | Before::Comma | Before::Open);
        let masked = self.mask && word.iter().any(u8::is_ascii_digit);
        if matches!(word, b"for" | b"as") {
            if word == b"as" && self.leading.word(0) == b"prepare" && self.prepared_from.is_none() {
                self.prepared_from = Some(token.offset + token.text.len());
            }
            self.mask = false;
        }
        self.before = kind_of_word(word);
        if constant {
            self.literals = XxHash3_64::oneshot_with_seed(self.literals, word);
        }
        self.text = output;
        if constant || masked {
            self.text.truncate(start);
            self.text.push(b'?');
            self.before = Before::Value;
        }
    }

    /// The word that ends the output before `end`.
    fn last_word<'a>(&self, output: &'a [u8], end: usize) -> &'a [u8] {
        let output = output.get(..end).unwrap_or_default();
        let start = output.iter().rposition(|byte| *byte == b' ');
        output
            .get(start.map_or(0, |start| start + 1)..)
            .unwrap_or_default()
    }

    /// Follows the body of `CREATE FUNCTION ... BEGIN ATOMIC ...; END`, as psql does.
    fn body(&mut self, word: &[u8]) {
        if self.leading.word(0) != b"create" || self.depth > 0 {
            return;
        }
        let kind = match self.leading.word(1) {
            b"or" => self.leading.word(3),
            kind => kind,
        };
        if !matches!(kind, b"function" | b"procedure") {
            return;
        }
        match word {
            b"begin" => self.body_depth += 1,
            b"case" if self.body_depth > 0 => self.body_depth += 1,
            b"end" => self.body_depth = self.body_depth.saturating_sub(1),
            _ => {}
        }
    }

    fn quoted(&mut self, token: &Token<'_>) {
        self.space();
        self.leading.push(token.kind, token.text);
        if token.unterminated || (self.mask && token.text.iter().any(u8::is_ascii_digit)) {
            self.text.push(b'?');
        } else {
            self.text.extend_from_slice(token.text);
        }
        self.before = Before::Word;
    }

    fn value(&mut self, literal: &[u8]) {
        self.space();
        self.literals = XxHash3_64::oneshot_with_seed(self.literals, literal);
        self.text.push(b'?');
        self.before = Before::Value;
    }

    fn punctuation(&mut self, byte: u8) {
        match byte {
            b'(' | b'[' => self.open(byte),
            b')' | b']' => {
                self.lists.close(&mut self.text);
                self.depth = self.depth.saturating_sub(1);
                self.text.push(byte);
                self.before = Before::Close;
            }
            b',' => {
                self.lists.element_ends(&mut self.text);
                self.text.push(b',');
                self.lists.element_starts(self.text.len());
                self.before = Before::Comma;
            }
            _ => {
                self.text.push(byte);
                self.before = if byte == b'.' {
                    Before::Dot
                } else {
                    Before::Comma
                };
            }
        }
    }

    fn open(&mut self, byte: u8) {
        let list = match (self.before, byte) {
            (Before::ListKeyword(List::In), b'(') => List::In,
            (Before::ListKeyword(List::Array), b'[') => List::Array,
            (_, b'[') if self.lists.innermost() == Some(List::Array) => List::Array,
            (Before::ListKeyword(List::Rows), b'(') => {
                self.lists.open(List::Rows, self.text.len());
                List::Plain
            }
            _ => List::Plain,
        };
        let attached = match self.before {
            Before::Word | Before::ListKeyword(List::Array) => true,
            Before::Value | Before::Close => byte == b'[',
            _ => false,
        };
        if !attached {
            self.space();
        }
        self.text.push(byte);
        self.depth += 1;
        self.lists.open(list, self.text.len());
        self.before = Before::Open;
    }

    fn operator(&mut self, operator: &[u8]) {
        if operator == b"::" {
            self.text.extend_from_slice(b"::");
            self.before = Before::Cast;
            return;
        }
        let operand_follows = !matches!(
            self.before,
            Before::Word | Before::Value | Before::Close | Before::Dot | Before::Cast
        );
        self.space();
        let at = self.text.len();
        self.text.extend_from_slice(operator);
        self.before = match operator {
            b"-" | b"+" if operand_follows => Before::Sign(at),
            _ => Before::Operator,
        };
        // `count(*)` and `t.*` end an operand.
        if operator == b"*"
            && matches!(
                self.text.get(..at).and_then(<[u8]>::last),
                Some(b'(' | b'.')
            )
        {
            self.before = Before::Word;
        }
    }
}

/// Statements whose names drivers generate: cursors, savepoints, prepared statements.
fn names_are_generated(first_word: &[u8]) -> bool {
    matches!(
        first_word,
        b"declare"
            | b"fetch"
            | b"move"
            | b"close"
            | b"savepoint"
            | b"release"
            | b"rollback"
            | b"deallocate"
            | b"execute"
            | b"prepare"
    )
}

fn kind_of_word(word: &[u8]) -> Before {
    match word {
        b"in" => Before::ListKeyword(List::In),
        b"array" => Before::ListKeyword(List::Array),
        b"values" => Before::ListKeyword(List::Rows),
        b"select" | b"where" | b"and" | b"or" | b"not" | b"from" | b"join" | b"on" | b"using"
        | b"as" | b"by" | b"limit" | b"offset" | b"between" | b"like" | b"ilike" | b"case"
        | b"when" | b"then" | b"else" | b"having" | b"union" | b"all" | b"except"
        | b"intersect" | b"distinct" | b"returning" | b"set" | b"over" | b"with" | b"default"
        | b"is" | b"to" | b"return" | b"filter" | b"lateral" | b"fetch" | b"forward"
        | b"backward" | b"explain" => Before::Keyword,
        _ => Before::Word,
    }
}
