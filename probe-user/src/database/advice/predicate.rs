//! Conditions as `EXPLAIN (VERBOSE)` writes them, taken apart.
//!
//! Postgres puts brackets around every operation, so a condition is split by its brackets and its
//! few keywords; the expressions themselves are kept as they are written, since an index on an
//! expression has to repeat it. What is not understood is left out: no index is derived from it.

use crate::sql::{Lexer, Token, TokenKind};

/// What stands on one side of a comparison and could be a key of an index.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Term {
    /// A column, by its plain name.
    Column {
        /// Its name, without quotes.
        name: String,
        /// The type that it is converted to for the comparison.
        cast: Option<String>,
    },
    /// An expression of columns of one table: its text, as an index has to repeat it, and these
    /// columns.
    Expression {
        /// The text, with columns that are not qualified.
        text: String,
        /// Its columns, by their plain names.
        columns: Vec<String>,
    },
}

/// How a term is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Comparison {
    /// `= value`, `= ANY (values)`
    Equal,
    /// `= column of another table`
    Joined,
    /// `<`, `<=`, `>`, `>=`
    Range,
    /// `IS NULL`
    IsNull,
    /// `IS NOT NULL`
    IsNotNull,
    /// A boolean column by itself.
    IsTrue,
    /// `NOT` a boolean column.
    IsFalse,
}

impl Comparison {
    /// Whether the condition has no value in it, so that an index can be made for it alone.
    pub fn is_constant(self) -> bool {
        matches!(
            self,
            Self::IsNull | Self::IsNotNull | Self::IsTrue | Self::IsFalse
        )
    }
}

/// One condition on a table.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Predicate {
    /// What is compared.
    pub term: Term,
    /// How.
    pub comparison: Comparison,
}

/// The conditions on the table that the plan calls `alias`; all of them hold together.
pub fn predicates(condition: &str, alias: &str) -> Vec<Predicate> {
    let tokens: Vec<Token<'_>> = Lexer::new(condition.as_bytes(), false).collect();
    let mut found = Vec::new();
    conjunction(condition, &tokens, alias, 0, &mut found);
    found
}

/// Deepest brackets that are looked into.
const MAX_DEPTH: usize = 32;

fn conjunction(
    text: &str,
    tokens: &[Token<'_>],
    alias: &str,
    depth: usize,
    found: &mut Vec<Predicate>,
) {
    if depth > MAX_DEPTH {
        return;
    }
    let tokens = without_brackets(tokens);
    let parts = split_at_and(tokens);
    if parts.len() > 1 {
        for part in parts {
            conjunction(text, part, alias, depth + 1, found);
        }
    } else if let Some(predicate) = single(text, tokens, alias) {
        found.push(predicate);
    }
}

/// Takes away brackets around the whole.
fn without_brackets<'t, 'a>(mut tokens: &'t [Token<'a>]) -> &'t [Token<'a>] {
    loop {
        let [first, inner @ .., last] = tokens else {
            return tokens;
        };
        let around = first.kind == TokenKind::Punctuation(b'(')
            && last.kind == TokenKind::Punctuation(b')')
            && depths(inner).all(|(_, depth)| depth >= 0);
        if !around {
            return tokens;
        }
        tokens = inner;
    }
}

/// Each token with the number of brackets that are open behind it.
fn depths<'t, 'a>(tokens: &'t [Token<'a>]) -> impl Iterator<Item = (&'t Token<'a>, i64)> {
    tokens.iter().scan(0i64, |depth, token| {
        match token.kind {
            TokenKind::Punctuation(b'(' | b'[') => *depth += 1,
            TokenKind::Punctuation(b')' | b']') => *depth -= 1,
            _ => {}
        }
        Some((token, *depth))
    })
}

fn split_at_and<'t, 'a>(tokens: &'t [Token<'a>]) -> Vec<&'t [Token<'a>]> {
    let mut parts = Vec::new();
    let mut start = 0;
    for (at, (token, depth)) in depths(tokens).enumerate() {
        if depth == 0 && token.is_word("and") {
            parts.push(tokens.get(start..at).unwrap_or_default());
            start = at + 1;
        }
    }
    parts.push(tokens.get(start..).unwrap_or_default());
    parts
}

fn single(text: &str, tokens: &[Token<'_>], alias: &str) -> Option<Predicate> {
    let outer = || {
        depths(tokens)
            .filter(|(_, depth)| *depth == 0)
            .map(|(token, _)| token)
    };
    if outer().any(|token| token.is_word("or")) {
        return None;
    }
    let words = |from: usize, words: &[&str]| {
        let tail = tokens.get(from..).unwrap_or_default();
        tail.len() == words.len()
            && tail
                .iter()
                .zip(words)
                .all(|(token, word)| token.is_word(word))
    };
    let length = tokens.len();
    if words(length.saturating_sub(2), &["is", "null"]) {
        let term = term(text, tokens.get(..length - 2)?, alias)?;
        return Some(Predicate {
            term,
            comparison: Comparison::IsNull,
        });
    }
    if words(length.saturating_sub(3), &["is", "not", "null"]) {
        let term = term(text, tokens.get(..length - 3)?, alias)?;
        return Some(Predicate {
            term,
            comparison: Comparison::IsNotNull,
        });
    }
    if tokens.first()?.is_word("not") {
        return truth(text, tokens.get(1..)?, alias, Comparison::IsFalse);
    }
    let mut operators =
        tokens
            .iter()
            .enumerate()
            .zip(depths(tokens))
            .filter(|((_, token), (_, depth))| {
                *depth == 0 && token.kind == TokenKind::Operator && token.text != b"::"
            });
    let Some(((at, operator), _)) = operators.next() else {
        return truth(text, tokens, alias, Comparison::IsTrue);
    };
    if operators.next().is_some() {
        return None;
    }
    let (left, right) = (tokens.get(..at)?, tokens.get(at + 1..)?);
    comparison(text, operator.text, left, right, alias)
}

fn truth(
    text: &str,
    tokens: &[Token<'_>],
    alias: &str,
    comparison: Comparison,
) -> Option<Predicate> {
    match term(text, tokens, alias)? {
        term @ Term::Column { cast: None, .. } => Some(Predicate { term, comparison }),
        _ => None,
    }
}

fn comparison(
    text: &str,
    operator: &[u8],
    left: &[Token<'_>],
    right: &[Token<'_>],
    alias: &str,
) -> Option<Predicate> {
    let kind = match operator {
        b"=" => Comparison::Equal,
        b"<" | b"<=" | b">" | b">=" => Comparison::Range,
        _ => return None,
    };
    let (own, other) = match (mentions(left, alias), mentions(right, alias)) {
        (true, false) => (left, right),
        // `5 = ANY (column)` asks an array.
        (false, true) if !right.first()?.is_word("any") => (right, left),
        _ => return None,
    };
    let any = other.first().is_some_and(|token| token.is_word("any"));
    if other
        .iter()
        .any(|token| token.is_word("all") || token.is_word("row"))
    {
        return None;
    }
    let joined = references(other).next().is_some();
    let comparison = match kind {
        Comparison::Equal if joined && !any => Comparison::Joined,
        Comparison::Range if joined || any => return None,
        kind => kind,
    };
    Some(Predicate {
        term: term(text, own, alias)?,
        comparison,
    })
}

/// The columns that tokens name, each with its table's alias; qualified names of functions and
/// types are none.
fn references<'t>(tokens: &'t [Token<'_>]) -> impl Iterator<Item = (usize, String, String)> + 't {
    tokens.windows(3).enumerate().filter_map(|(at, window)| {
        let [table, dot, column] = window else {
            return None;
        };
        if dot.kind != TokenKind::Punctuation(b'.') {
            return None;
        }
        let behind = tokens.get(at + 3);
        if behind.is_some_and(|token| token.kind == TokenKind::Punctuation(b'(')) {
            return None;
        }
        let before = at.checked_sub(1).and_then(|at| tokens.get(at));
        if before.is_some_and(|token| {
            token.text == b"::"
                || token.kind == TokenKind::Punctuation(b'.')
                || token.is_word("collate")
        }) {
            return None;
        }
        Some((at, identifier(table)?, identifier(column)?))
    })
}

fn mentions(tokens: &[Token<'_>], alias: &str) -> bool {
    references(tokens).any(|(_, table, _)| table == alias)
}

/// The name that a token is, without quotes.
pub(super) fn identifier(token: &Token<'_>) -> Option<String> {
    let text = std::str::from_utf8(token.text).ok()?;
    match token.kind {
        TokenKind::Word => Some(text.to_owned()),
        TokenKind::QuotedIdentifier => {
            let inner = text.strip_prefix('"')?.strip_suffix('"')?;
            Some(inner.replace("\"\"", "\""))
        }
        _ => None,
    }
}

/// What an index could have as a key, if it is of this table alone and holds no values.
fn term(text: &str, tokens: &[Token<'_>], alias: &str) -> Option<Term> {
    let tokens = without_brackets(tokens);
    let own: Vec<(usize, String, String)> = references(tokens).collect();
    if own.is_empty() || own.iter().any(|(_, table, _)| table != alias) {
        return None;
    }
    let unfit = |token: &Token<'_>| {
        matches!(token.kind, TokenKind::Parameter(_) | TokenKind::Comment)
            || ["subplan", "initplan", "alternatives", "hashed"]
                .iter()
                .any(|word| token.is_word(word))
    };
    if tokens.iter().any(unfit) {
        return None;
    }
    if let [(0, _, name)] = own.as_slice()
        && tokens.len() == 3
    {
        return Some(Term::Column {
            name: name.clone(),
            cast: None,
        });
    }
    if let Some((inner, cast)) = cast_of_column(text, tokens)
        && let [(0, _, name)] = references(inner).collect::<Vec<_>>().as_slice()
        && inner.len() == 3
    {
        return Some(Term::Column {
            name: name.clone(),
            cast: Some(cast),
        });
    }
    // Everything as it is written, without the aliases.
    let mut expression = String::new();
    let mut from = tokens.first()?.offset;
    for (at, ..) in &own {
        expression.push_str(text.get(from..tokens.get(*at)?.offset)?);
        from = tokens.get(at + 2)?.offset;
    }
    let last = tokens.last()?;
    expression.push_str(text.get(from..last.offset + last.text.len())?);
    let mut columns: Vec<String> = own.into_iter().map(|(_, _, column)| column).collect();
    columns.dedup();
    Some(Term::Expression {
        text: expression,
        columns,
    })
}

/// `(o.status)::text`: what is converted, and the type.
fn cast_of_column<'t, 'a>(
    text: &str,
    tokens: &'t [Token<'a>],
) -> Option<(&'t [Token<'a>], String)> {
    let mut outer = tokens
        .iter()
        .enumerate()
        .zip(depths(tokens))
        .filter(|((_, token), (_, depth))| *depth == 0 && token.text == b"::");
    let ((at, _), _) = outer.next()?;
    if outer.next().is_some() {
        return None;
    }
    let kind = tokens.get(at + 1..)?;
    if !kind.iter().all(|token| {
        matches!(
            token.kind,
            TokenKind::Word | TokenKind::QuotedIdentifier | TokenKind::Number
        ) || matches!(
            token.kind,
            TokenKind::Punctuation(b'(' | b')' | b',' | b'[' | b']' | b'.')
        )
    }) {
        return None;
    }
    let (first, last) = (kind.first()?, kind.last()?);
    let name = text.get(first.offset..last.offset + last.text.len())?;
    Some((without_brackets(tokens.get(..at)?), name.to_owned()))
}

/// One key of a sort.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SortKey {
    /// The column, by its plain name.
    pub column: String,
    /// Whether the greatest comes first.
    pub descending: bool,
}

/// The keys of a sort, if all are plain columns of this table in the usual order of `NULL`s.
pub fn sort_keys(keys: &[String], alias: &str) -> Option<Vec<SortKey>> {
    keys.iter().map(|key| sort_key(key, alias)).collect()
}

fn sort_key(key: &str, alias: &str) -> Option<SortKey> {
    let tokens: Vec<Token<'_>> = Lexer::new(key.as_bytes(), false).collect();
    let (tokens, descending) = match tokens.split_last() {
        Some((last, rest)) if last.is_word("desc") => (rest, true),
        _ => (tokens.as_slice(), false),
    };
    match term(key, tokens, alias)? {
        Term::Column { name, cast } if cast.as_deref().is_none_or(|cast| cast == "text") => {
            Some(SortKey {
                column: name,
                descending,
            })
        }
        _ => None,
    }
}

#[cfg(test)]
#[path = "predicate_tests.rs"]
mod tests;
