//! From values that are not known to parameters: `?` becomes `$n`, locks of rows go.

use std::collections::HashMap;

use super::statement::{NotPlannable, text_of};
use crate::sql::{Lexer, Token, TokenKind};

/// Values that a list gets whose length is not known.
const LIST_LENGTH: usize = 3;
/// Rows that the `LIMIT` of a subquery is taken for; nothing on the wire tells.
const INNER_LIMIT: u64 = 10;

/// What the token before says about a `?` behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Before {
    /// A value is expected: `?` stands for one.
    Operator,
    /// A value ended: `?` is an operator.
    Operand,
    /// The name of a type, before a value that it is of: `interval ?`.
    Type,
    /// `LIMIT` or `FETCH FIRST`.
    Limit,
    /// `OFFSET`.
    Offset,
    /// `GROUP BY`, and the commas between its items.
    GroupItem,
    /// `IN`.
    In,
    /// The bracket of an `IN`.
    InOpen,
}

/// One pass over the tokens of a normalised text: values become parameters, locks go.
pub(super) struct Rewriter {
    out: Vec<String>,
    before: Before,
    depth: usize,
    rows: Option<u64>,
    /// Parameters given out; those of the text keep their identity.
    next: u32,
    known: HashMap<u32, u32>,
    /// Where a `GROUP BY` stands, and its item at hand.
    group_by: Option<(usize, usize)>,
}

impl Rewriter {
    /// `rows` is what a `LIMIT` is taken for.
    pub(super) fn new(rows: Option<u64>) -> Self {
        Self {
            out: Vec::new(),
            before: Before::Operator,
            depth: 0,
            rows,
            next: 1,
            known: HashMap::new(),
            group_by: None,
        }
    }

    /// The statement with parameters in place of values.
    pub(super) fn run(mut self, text: &str) -> Result<String, NotPlannable> {
        let tokens: Vec<Token<'_>> = Lexer::new(text.as_bytes(), false).collect();
        let mut at = 0;
        while let Some(token) = tokens.get(at) {
            let rest = tokens.get(at..).unwrap_or_default();
            if token.is_word("for") {
                let length = lock_length(rest);
                if length > 0 {
                    at += length;
                    self.before = Before::Operand;
                    continue;
                }
            }
            self.token(token, rest.get(1))?;
            at += 1;
        }
        Ok(self.out.join(" "))
    }

    fn token(&mut self, token: &Token<'_>, next: Option<&Token<'_>>) -> Result<(), NotPlannable> {
        match token.kind {
            TokenKind::Parameter(number) => {
                let parameter = match self.known.get(&number) {
                    Some(parameter) => *parameter,
                    None => {
                        let parameter = self.fresh();
                        self.known.insert(number, parameter);
                        parameter
                    }
                };
                self.value(parameter, false, next);
            }
            TokenKind::Operator if token.text == b"?" && self.before != Before::Operand => {
                let parameter = self.fresh();
                self.value(parameter, true, next);
            }
            TokenKind::Operator => {
                self.out.push(text_of(token)?);
                self.before = match token.text {
                    // `*` of `count(*)` and `t.*`, and casts, whose type is no operand's start.
                    b"*" if next.is_none_or(ends_operand) => Before::Operand,
                    _ => Before::Operator,
                };
            }
            TokenKind::Punctuation(byte) => {
                self.out.push(text_of(token)?);
                self.punctuation(byte);
            }
            TokenKind::Word => {
                self.out.push(text_of(token)?);
                self.word(token.text);
            }
            _ => {
                self.out.push(text_of(token)?);
                self.before = Before::Operand;
            }
        }
        Ok(())
    }

    fn fresh(&mut self) -> u32 {
        let parameter = self.next;
        self.next = self.next.saturating_add(1);
        parameter
    }

    fn value(&mut self, parameter: u32, literal: bool, next: Option<&Token<'_>>) {
        let alone = next.is_some_and(|next| next.kind == TokenKind::Punctuation(b')'));
        let text = match self.before {
            Before::Limit if self.depth == 0 => self.rows.unwrap_or(100).max(1).to_string(),
            Before::Limit => INNER_LIMIT.to_string(),
            Before::Offset => "0".to_owned(),
            Before::GroupItem if literal => {
                let item = self.group_by.map_or(1, |(_, item)| item);
                item.to_string()
            }
            Before::Type => {
                let name = self.out.pop().unwrap_or_default();
                format!("${parameter}::{name}")
            }
            Before::InOpen if alone => {
                let mut list = format!("${parameter}");
                for _ in 1..LIST_LENGTH {
                    let more = self.fresh();
                    list.push_str(&format!(", ${more}"));
                }
                list
            }
            _ => format!("${parameter}"),
        };
        self.out.push(text);
        self.before = Before::Operand;
    }

    fn punctuation(&mut self, byte: u8) {
        self.before = match byte {
            b'(' if self.before == Before::In => Before::InOpen,
            b')' | b']' | b'.' => Before::Operand,
            b',' if self.group_by.is_some_and(|(depth, _)| depth == self.depth) => {
                self.group_by = self.group_by.map(|(depth, item)| (depth, item + 1));
                Before::GroupItem
            }
            _ => Before::Operator,
        };
        match byte {
            b'(' | b'[' => self.depth += 1,
            b')' | b']' => {
                self.depth = self.depth.saturating_sub(1);
                if self.group_by.is_some_and(|(depth, _)| depth > self.depth) {
                    self.group_by = None;
                }
            }
            _ => {}
        }
    }

    fn word(&mut self, word: &[u8]) {
        let word = word.to_ascii_lowercase();
        self.before = match word.as_slice() {
            b"limit" => Before::Limit,
            b"first" | b"next" if self.out.iter().rev().nth(1).is_some_and(|w| w == "fetch") => {
                Before::Limit
            }
            b"offset" => Before::Offset,
            b"in" => Before::In,
            b"by" if self.out.iter().rev().nth(1).is_some_and(|w| w == "group") => {
                self.group_by = Some((self.depth, 1));
                Before::GroupItem
            }
            b"interval" | b"date" | b"timestamp" | b"timestamptz" | b"time" | b"timetz" => {
                Before::Type
            }
            word if is_keyword_before_value(word) => Before::Operator,
            _ => Before::Operand,
        };
        if matches!(
            word.as_slice(),
            b"having" | b"order" | b"limit" | b"window" | b"union" | b"except" | b"intersect"
        ) && self.group_by.is_some_and(|(depth, _)| depth == self.depth)
        {
            self.group_by = None;
        }
    }
}

fn is_keyword_before_value(word: &[u8]) -> bool {
    matches!(
        word,
        b"select"
            | b"where"
            | b"and"
            | b"or"
            | b"not"
            | b"from"
            | b"on"
            | b"using"
            | b"as"
            | b"by"
            | b"between"
            | b"symmetric"
            | b"like"
            | b"ilike"
            | b"similar"
            | b"to"
            | b"case"
            | b"when"
            | b"then"
            | b"else"
            | b"having"
            | b"union"
            | b"all"
            | b"except"
            | b"intersect"
            | b"distinct"
            | b"returning"
            | b"set"
            | b"filter"
            | b"values"
            | b"escape"
            | b"zone"
            | b"for"
            | b"placing"
            | b"is"
            | b"any"
            | b"some"
            | b"array"
            | b"row"
            | b"rows"
            | b"range"
            | b"groups"
            | b"isnull"
            | b"notnull"
            | b"with"
            | b"over"
            | b"lateral"
            | b"default"
    )
}

/// Whether a `*` before this token was a name's end, as in `select * from`.
fn ends_operand(next: &Token<'_>) -> bool {
    matches!(next.kind, TokenKind::Punctuation(b')' | b',')) || next.is_word("from")
}

/// How many tokens `FOR UPDATE OF a, b SKIP LOCKED` and its like take, 0 if these are none.
fn lock_length(tokens: &[Token<'_>]) -> usize {
    let word = |at: usize, word: &str| tokens.get(at).is_some_and(|token| token.is_word(word));
    let mut at = if word(1, "update") || word(1, "share") {
        2
    } else if word(1, "no") && word(2, "key") && word(3, "update") {
        4
    } else if word(1, "key") && word(2, "share") {
        3
    } else {
        return 0;
    };
    // `substring(a for share)` would be a column of this name.
    let ends = |at: usize| {
        tokens.get(at).is_none_or(|token| {
            matches!(token.kind, TokenKind::Punctuation(b')'))
                || ["of", "nowait", "skip", "for", "limit", "offset"]
                    .iter()
                    .any(|word| token.is_word(word))
        })
    };
    if !ends(at) {
        return 0;
    }
    if word(at, "of") {
        at += 1;
        while tokens.get(at).is_some_and(|token| {
            matches!(
                token.kind,
                TokenKind::Punctuation(b',' | b'.') | TokenKind::QuotedIdentifier
            ) || (token.kind == TokenKind::Word
                && !token.is_word("nowait")
                && !token.is_word("skip")
                && !token.is_word("for")
                && !token.is_word("limit"))
        }) {
            at += 1;
        }
    }
    if word(at, "nowait") {
        at += 1;
    } else if word(at, "skip") && word(at + 1, "locked") {
        at += 2;
    }
    at
}
