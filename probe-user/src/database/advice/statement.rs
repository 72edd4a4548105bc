//! From a statement as the wire shows it, without its literals, to one that Postgres can plan.
//!
//! The text comes from strangers, so it is trusted with nothing: it is taken apart into tokens and
//! put together again, must be exactly one query or one change of rows, and of a change only the
//! search for its rows is left. What comes out is always a `SELECT` (or `WITH ... SELECT`,
//! `VALUES`) that neither locks nor writes, so the right to read suffices for planning it.

use std::collections::HashMap;

use sqlparser::{
    ast::{
        AssignmentTarget, Delete, FromTable, Insert, ObjectName, Query, SetExpr, Statement,
        TableFactor, TableWithJoins, Update, UpdateTableFromKind,
    },
    dialect::PostgreSqlDialect,
    parser::Parser,
};

use crate::sql::{Lexer, Token, TokenKind};

/// Longest text that is looked at, in bytes.
const MAX_TEXT: usize = 64 * 1024;
/// Most parameters of one statement.
const MAX_PARAMETERS: usize = 1_000;
/// Values that a list gets whose length is not known.
const LIST_LENGTH: usize = 3;
/// Rows that the `LIMIT` of a subquery is taken for; nothing on the wire tells.
const INNER_LIMIT: u64 = 10;

/// A statement that can be planned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plannable {
    /// A query with parameters `$1` to `$n`, each used at least once.
    pub text: String,
    /// Their number.
    pub parameters: usize,
}

/// Why a statement is not planned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotPlannable {
    /// It searches for nothing, so no index can help: rows are inserted as given, or it is no query.
    #[error("it searches for no rows")]
    NoSearch,
    /// Only its start is known.
    #[error("only the start of its text is known; raise wire.sql_bytes to see longer statements")]
    Cut,
    /// More than is looked at.
    #[error("its text is too long, or it has too many parameters")]
    TooLong,
    /// What no statement without literals holds.
    #[error("its text holds what a statement without literals cannot hold")]
    Unexpected,
    /// The parser gives up.
    #[error("its text is not understood: {0}")]
    NotUnderstood(String),
    /// A kind that is left out.
    #[error("{0} is not planned")]
    Kind(&'static str),
}

/// Makes a statement of a normalised text, in which `?` and `$n` stand for values. `rows` are the
/// rows that one call returns on average: what its `LIMIT` is taken for.
///
/// # Errors
/// Why it can't be planned.
pub fn plannable(text: &str, rows: Option<u64>) -> Result<Plannable, NotPlannable> {
    if text.len() > MAX_TEXT {
        return Err(NotPlannable::TooLong);
    }
    if text.ends_with('…') {
        return Err(NotPlannable::Cut);
    }
    let with_parameters = Rewriter::new(rows).run(text)?;
    let plannable = numbered(&search(&with_parameters)?)?;
    // What came out is judged once more, by itself: nothing that was overlooked on the way may write.
    match parse(&plannable.text)?.as_slice() {
        [Statement::Query(query)] if reads(query) => Ok(plannable),
        _ => Err(NotPlannable::Unexpected),
    }
}

fn parse(text: &str) -> Result<Vec<Statement>, NotPlannable> {
    Parser::parse_sql(&PostgreSqlDialect {}, text)
        .map_err(|error| NotPlannable::NotUnderstood(error.to_string()))
}

fn reads(query: &Query) -> bool {
    let tables = query.with.iter().flat_map(|with| &with.cte_tables);
    tables
        .map(|table| &table.query.body)
        .chain([&query.body])
        .all(|body| only_reads(body).is_ok())
}

/// Leaves of a statement what searches for rows.
fn search(text: &str) -> Result<String, NotPlannable> {
    let statements = parse(text)?;
    let [statement] = statements.as_slice() else {
        return Err(NotPlannable::Unexpected);
    };
    match statement {
        Statement::Query(query) => of_query(query, text),
        Statement::Update(update) => of_update(update),
        Statement::Delete(delete) => of_delete(delete),
        Statement::Insert(insert) => of_insert(insert),
        Statement::Merge(_) => Err(NotPlannable::Kind("MERGE")),
        _ => Err(NotPlannable::NoSearch),
    }
}

fn of_query(query: &Query, text: &str) -> Result<String, NotPlannable> {
    let tables = query.with.iter().flat_map(|with| &with.cte_tables);
    for table in tables {
        only_reads(&table.query.body)?;
    }
    let changes = match &*query.body {
        SetExpr::Update(Statement::Update(update)) => Some(of_update(update)?),
        SetExpr::Delete(Statement::Delete(delete)) => Some(of_delete(delete)?),
        SetExpr::Insert(Statement::Insert(insert)) => Some(of_insert(insert)?),
        other => {
            only_reads(other)?;
            None
        }
    };
    Ok(match (changes, &query.with) {
        (Some(search), Some(with)) => format!("{with} {search}"),
        (Some(search), None) => search,
        (None, _) => text.to_owned(),
    })
}

fn only_reads(body: &SetExpr) -> Result<(), NotPlannable> {
    match body {
        SetExpr::Select(select) if select.into.is_some() => Err(NotPlannable::Kind("SELECT INTO")),
        SetExpr::Select(_) | SetExpr::Values(_) | SetExpr::Table(_) => Ok(()),
        SetExpr::Query(query) => only_reads(&query.body),
        SetExpr::SetOperation { left, right, .. } => {
            only_reads(left)?;
            only_reads(right)
        }
        SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_) | SetExpr::Merge(_) => {
            Err(NotPlannable::Kind("a WITH that changes rows"))
        }
    }
}

fn of_update(update: &Update) -> Result<String, NotPlannable> {
    let from = match &update.from {
        Some(UpdateTableFromKind::AfterSet(from) | UpdateTableFromKind::BeforeSet(from)) => {
            from.as_slice()
        }
        None => &[],
    };
    rows_of(&update.table, from, update.selection.as_ref())
}

fn of_delete(delete: &Delete) -> Result<String, NotPlannable> {
    let (FromTable::WithFromKeyword(tables) | FromTable::WithoutKeyword(tables)) = &delete.from;
    let [table] = tables.as_slice() else {
        return Err(NotPlannable::Unexpected);
    };
    let using = delete.using.as_deref().unwrap_or_default();
    rows_of(table, using, delete.selection.as_ref())
}

fn of_insert(insert: &Insert) -> Result<String, NotPlannable> {
    let source = insert.source.as_ref().ok_or(NotPlannable::NoSearch)?;
    if matches!(&*source.body, SetExpr::Values(_)) {
        return Err(NotPlannable::NoSearch);
    }
    of_query(source, &source.to_string())
}

/// The query for the rows that are about to change: their addresses, which no index holds, since the
/// rows themselves are visited.
fn rows_of(
    table: &TableWithJoins,
    others: &[TableWithJoins],
    condition: Option<&sqlparser::ast::Expr>,
) -> Result<String, NotPlannable> {
    let TableFactor::Table { name, alias, .. } = &table.relation else {
        return Err(NotPlannable::Unexpected);
    };
    let Some(condition) = condition else {
        return Err(NotPlannable::NoSearch);
    };
    let called = match alias {
        Some(alias) => alias.name.to_string(),
        None => name.to_string(),
    };
    let mut text = format!("select {called}.ctid from {table}");
    for other in others {
        text.push_str(&format!(", {other}"));
    }
    text.push_str(&format!(" where {condition}"));
    Ok(text)
}

/// The columns that an `UPDATE` sets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assigned {
    /// The table's name, without its schema and quotes.
    pub table: String,
    /// The columns, without quotes.
    pub columns: Vec<String>,
}

/// What a normalised `UPDATE` sets; `None` when that is not understood.
pub fn assigned(text: &str) -> Option<Assigned> {
    let text = Rewriter::new(None).run(text).ok()?;
    let statements = parse(&text).ok()?;
    let [Statement::Update(update)] = statements.as_slice() else {
        return None;
    };
    let TableFactor::Table { name, .. } = &update.table.relation else {
        return None;
    };
    let last = |name: &ObjectName| Some(name.0.last()?.as_ident()?.value.clone());
    let mut columns = Vec::new();
    for assignment in &update.assignments {
        match &assignment.target {
            AssignmentTarget::ColumnName(column) => columns.push(last(column)?),
            AssignmentTarget::Tuple(several) => {
                columns.extend(several.iter().filter_map(last));
            }
        }
    }
    Some(Assigned {
        table: last(name)?,
        columns,
    })
}

/// Numbers parameters from 1 in the order of their first use: Postgres wants no gaps.
fn numbered(text: &str) -> Result<Plannable, NotPlannable> {
    let mut numbers: HashMap<u32, usize> = HashMap::new();
    let mut out = String::with_capacity(text.len());
    for token in Lexer::new(text.as_bytes(), false) {
        if !out.is_empty() {
            out.push(' ');
        }
        match token.kind {
            TokenKind::Parameter(number) => {
                let next = numbers.len() + 1;
                let number = *numbers.entry(number).or_insert(next);
                out.push_str(&format!("${number}"));
            }
            _ => out.push_str(&text_of(&token)?),
        }
    }
    if numbers.len() > MAX_PARAMETERS {
        return Err(NotPlannable::TooLong);
    }
    Ok(Plannable {
        text: out,
        parameters: numbers.len(),
    })
}

/// A token's text, if it may stand in a statement without literals.
fn text_of(token: &Token<'_>) -> Result<String, NotPlannable> {
    let text = std::str::from_utf8(token.text).map_err(|_| NotPlannable::Unexpected)?;
    let allowed = match token.kind {
        TokenKind::Word | TokenKind::QuotedIdentifier => !token.unterminated,
        TokenKind::Number => text.bytes().all(|byte| byte.is_ascii_digit()),
        TokenKind::Parameter(_) => true,
        TokenKind::Punctuation(byte) => byte != b';',
        TokenKind::Operator => text
            .bytes()
            .all(|byte| b"+-*/<>=~!@#%^&|`?:".contains(&byte)),
        TokenKind::String | TokenKind::Comment => false,
    };
    if allowed && !text.contains('\0') {
        Ok(text.to_owned())
    } else {
        Err(NotPlannable::Unexpected)
    }
}

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
struct Rewriter {
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
    fn new(rows: Option<u64>) -> Self {
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

    fn run(mut self, text: &str) -> Result<String, NotPlannable> {
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn planned(text: &str) -> String {
        plannable(text, Some(20)).unwrap().text
    }

    #[test]
    fn values_become_parameters_without_gaps() {
        for (normalised, expected) in [
            (
                "select a from t where b = ? and c > ?",
                "select a from t where b = $1 and c > $2",
            ),
            (
                "select a from t where b = $7 and c = $7",
                "select a from t where b = $1 and c = $1",
            ),
            (
                "select a from t where b in (?) and c = $4",
                "select a from t where b in ( $1 , $2 , $3 ) and c = $4",
            ),
            (
                "select a from t where b = any($1)",
                "select a from t where b = any ( $1 )",
            ),
            (
                "select a from t limit ? offset ?",
                "select a from t limit 20 offset 0",
            ),
            ("select a from t limit $1", "select a from t limit 20"),
            (
                "select a from t where d > now() - interval ?",
                "select a from t where d > now ( ) - $1 :: interval",
            ),
            (
                "select a from t where j ? ?",
                "select a from t where j ? $1",
            ),
            (
                "select count(*) from t group by ?, b",
                "select count ( * ) from t group by 1 , b",
            ),
            (
                "select a from t where b = ?::uuid",
                "select a from t where b = $1 :: uuid",
            ),
            (
                "select a from t where b between ? and ?",
                "select a from t where b between $1 and $2",
            ),
            (
                "select \"Id\" from \"T\" where \"Id\" = ?",
                "select \"Id\" from \"T\" where \"Id\" = $1",
            ),
        ] {
            assert_eq!(planned(normalised), expected, "{normalised}");
        }
    }

    /// The role that plans may read and nothing else.
    #[test]
    fn of_a_change_only_the_search_is_left() {
        for (normalised, expected) in [
            (
                "update t set a = $1, b = ? where c = $2",
                "select t . ctid from t where c = $1",
            ),
            (
                "update t x set a = u.a from u where u.id = x.id and x.c = ?",
                "select x . ctid from t x , u where u . id = x . id and x . c = $1",
            ),
            (
                "delete from t where c < ? returning id",
                "select t . ctid from t where c < $1",
            ),
            (
                "delete from t using u where u.id = t.u and u.n = ?",
                "select t . ctid from t , u where u . id = t . u and u . n = $1",
            ),
            (
                "insert into t(a) select a from u where b = ?",
                "select a from u where b = $1",
            ),
            (
                "select id from t where s = ? order by id limit ? for update skip locked",
                "select id from t where s = $1 order by id limit 20",
            ),
            (
                "select id from t where s = ? for no key update of t nowait",
                "select id from t where s = $1",
            ),
        ] {
            assert_eq!(planned(normalised).to_lowercase(), expected, "{normalised}");
        }
        let queue = "update t set s = ? where id = (select id from t where s = ? limit ? for update skip locked)";
        let text = planned(queue).to_lowercase();
        assert!(
            !text.contains("update") && text.contains("limit 10"),
            "{text}"
        );
        let with = planned(
            "with x as (select id from t where a = ?) update u set b = ? from x where u.id = x.id",
        );
        assert!(with.to_lowercase().starts_with("with x as"), "{with}");
        assert!(!with.to_lowercase().contains("update"), "{with}");
    }

    /// Text from the wire must never become a command, nor two.
    #[test]
    fn what_is_no_single_search_is_refused() {
        for text in [
            "select 1; drop table t",
            "drop table t",
            "select 1 where a = 'x'",
            "select 1 -- x",
            "select a into b from t",
            "with x as (delete from t returning *) select * from x",
            "explain analyze delete from t",
            "copy t to program ?",
            "set role postgres",
            "call p(?)",
            "do ?",
            "execute x",
            "prepare x as delete from t",
            "vacuum t",
            "insert into t values (?)",
            "delete from t",
            "select pg_sleep(\0)",
            "select \"unterminated",
            "select a from t wh…",
            "",
        ] {
            assert!(plannable(text, None).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_refused_or_becomes_one_query(text in ".{0,200}") {
            if let Ok(plannable) = plannable(&text, None) {
                is_one_query(&plannable.text);
            }
        }

        #[test]
        fn any_words_are_refused_or_become_one_query(words in proptest::collection::vec(
            prop::sample::select(vec![
                "select", "update", "delete", "insert into", "with x as (", ")", "(", "from", "t",
                "where", "a", "=", "?", "$3", ";", "'", "\"", "set", "for update", "limit", "in",
                "returning", "drop table", ",", "*", "--", "/*", "group by", "u", "and", "into",
            ]), 0..24,
        )) {
            if let Ok(plannable) = plannable(&words.join(" "), Some(3)) {
                is_one_query(&plannable.text);
            }
        }
    }

    fn is_one_query(text: &str) {
        assert!(!text.contains(';') && !text.contains('\''), "{text}");
        let first = text.trim_start_matches(['(', ' ']).to_lowercase();
        assert!(
            ["select", "with", "values", "table"]
                .iter()
                .any(|word| first.starts_with(word)),
            "{text}"
        );
        let statements = Parser::parse_sql(&PostgreSqlDialect {}, text).unwrap();
        assert!(
            matches!(statements.as_slice(), [Statement::Query(_)]),
            "{text}"
        );
    }
}
