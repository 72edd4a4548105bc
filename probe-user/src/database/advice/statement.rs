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

use super::rewriter::Rewriter;
use crate::sql::{Lexer, Token, TokenKind};

/// Longest text that is looked at, in bytes.
const MAX_TEXT: usize = 64 * 1024;
/// Most parameters of one statement.
const MAX_PARAMETERS: usize = 1_000;

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
pub(super) fn text_of(token: &Token<'_>) -> Result<String, NotPlannable> {
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

#[cfg(test)]
#[path = "statement_tests.rs"]
mod tests;
