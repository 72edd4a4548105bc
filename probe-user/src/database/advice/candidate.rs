//! Which indexes might help a scan. Only a list of ideas: the planner says what each is worth.

use std::{collections::HashMap, fmt};

use super::{
    catalog::{Column, Index, Table},
    plan::Scan,
    predicate::{Comparison, Predicate, SortKey, Term},
};
use crate::sql::{Lexer, TokenKind};

/// Most columns of one index.
const MAX_KEYS: usize = 3;
/// Longest name that Postgres keeps, in bytes.
const MAX_NAME: usize = 63;

/// An index that does not exist.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Candidate {
    /// Schema and name of the table, quoted where needed.
    pub table: String,
    /// The table's plain name, for the index' own.
    pub table_name: String,
    /// Keys in their order.
    pub keys: Vec<Key>,
    /// The condition of a partial index.
    pub predicate: Option<String>,
    /// Whether its first key is for a range only. The planner takes every range for a small one when
    /// it does not know the bounds, so an index that starts with equality is the better bet.
    pub starts_with_range: bool,
}

/// One key of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key {
    /// A column, quoted where needed, or an expression.
    pub text: String,
    /// Whether it is an expression.
    pub expression: bool,
    /// Whether it is kept in descending order.
    pub descending: bool,
}

impl Candidate {
    /// The statement that makes it, in theory or for real.
    pub fn create(&self, concurrently: bool, name: &str) -> String {
        let (concurrently, space) = if concurrently {
            ("CONCURRENTLY ", " ")
        } else {
            ("", "")
        };
        format!("CREATE INDEX {concurrently}{name}{space}ON {self}")
    }

    /// A name that says what it is, and that nothing else has.
    pub fn name(&self, is_taken: impl Fn(&str) -> bool) -> String {
        let mut name = plain(&self.table_name);
        for key in &self.keys {
            name.push('_');
            name.push_str(&plain(&key.text));
        }
        if self.predicate.is_some() {
            name.push_str("_partial");
        }
        let name: String = name.chars().take(MAX_NAME - 8).collect();
        let name = name.trim_end_matches('_');
        let mut numbered = format!("{name}_idx");
        for number in 1..1_000 {
            if !is_taken(&numbered) {
                break;
            }
            numbered = format!("{name}_idx{number}");
        }
        numbered
    }

    /// Whether the other serves everything that this one does.
    pub fn is_prefix_of(&self, other: &Self) -> bool {
        self.table == other.table
            && self.predicate == other.predicate
            && other.keys.starts_with(&self.keys)
    }

    /// Whether an index that exists serves everything that this one would.
    pub fn is_covered_by(&self, index: &Index) -> bool {
        let same_condition = match (&index.predicate, &self.predicate) {
            (None, None) => true,
            (Some(index), Some(own)) => bare(index) == bare(own),
            // A partial index beside a whole one may still be worth it; the planner tells.
            _ => false,
        };
        index.valid
            && same_condition
            && match index.method.as_str() {
                "btree" => self.leads(index),
                "hash" => self.keys.len() == 1 && self.leads(index),
                _ => false,
            }
    }

    fn leads(&self, index: &Index) -> bool {
        self.keys.len() <= index.keys.len()
            && self
                .keys
                .iter()
                .zip(&index.keys)
                .all(|(own, key)| bare(&own.text) == bare(key))
            && self.directions_fit(index)
    }

    /// A key alone is read in both directions, so only the mixture matters.
    fn directions_fit(&self, index: &Index) -> bool {
        let descending = |options: &String| {
            let order: u32 = options
                .rsplit('/')
                .next()
                .and_then(|o| o.parse().ok())
                .unwrap_or(0);
            order & 1 == 1
        };
        let fits = |flip: bool| {
            let mut keys = self.keys.iter().zip(&index.key_options);
            keys.all(|(own, options)| own.descending == (descending(options) ^ flip))
        };
        self.keys.iter().all(|key| !key.descending) || fits(false) || fits(true)
    }
}

impl fmt::Display for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (", self.table)?;
        for (at, key) in self.keys.iter().enumerate() {
            let comma = if at > 0 { ", " } else { "" };
            let descending = if key.descending { " DESC" } else { "" };
            if key.expression {
                write!(f, "{comma}({}){descending}", key.text)?;
            } else {
                write!(f, "{comma}{}{descending}", key.text)?;
            }
        }
        write!(f, ")")?;
        match &self.predicate {
            Some(predicate) => write!(f, " WHERE {predicate}"),
            None => Ok(()),
        }
    }
}

/// Letters, digits and single underscores of a text, in lower case.
fn plain(text: &str) -> String {
    let mut plain = String::new();
    for character in text.chars().map(|character| character.to_ascii_lowercase()) {
        if character.is_ascii_alphanumeric() {
            plain.push(character);
        } else if !plain.ends_with('_') && !plain.is_empty() {
            plain.push('_');
        }
    }
    plain.trim_end_matches('_').to_owned()
}

/// An expression without brackets around it and without white space: to compare two.
fn bare(text: &str) -> String {
    let tokens = Lexer::new(text.as_bytes(), false);
    tokens
        .filter(|token| !matches!(token.kind, TokenKind::Punctuation(b'(' | b')')))
        .map(|token| String::from_utf8_lossy(token.text).into_owned() + " ")
        .collect()
}

/// Ideas for one scan, and why there are not more.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Ideas {
    /// Indexes to try, the likeliest first.
    pub candidates: Vec<Candidate>,
    /// What exists already and serves it in theory, or why a comparison can't be served.
    pub notes: Vec<String>,
}

/// A condition or a join that a key can serve.
#[derive(Debug, Clone)]
struct Served {
    key: Key,
    /// Distinct values, as far as known.
    distinct: f64,
}

/// Looks for ideas. `indexes` are those of the table.
pub fn ideas(
    scan: &Scan,
    table: &Table,
    columns: &HashMap<String, Column>,
    indexes: &[&Index],
) -> Ideas {
    let mut ideas = Ideas::default();
    let context = Context { table, columns };
    for predicate in &scan.predicates {
        context.note_cast(predicate, &mut ideas.notes);
    }
    let (equal, ranges) = context.served(&scan.predicates);
    let mut sort = context.sort(&scan.first_by);
    if sort.is_empty()
        && let Some(index) = indexes
            .iter()
            .find(|index| Some(&index.name) == scan.ordered_by.as_ref())
    {
        // Whether somebody wants this order can't be told from the plan; the planner tells later.
        let keys = index.keys.iter().take(MAX_KEYS);
        sort = keys.filter_map(|key| context.quoted_column(key)).collect();
    }
    let condition = context.condition(&scan.predicates);
    let keys = key_lists(&equal, &ranges, &sort);
    let mut found: Vec<Candidate> = Vec::new();
    let partial = condition.iter().flat_map(|condition| {
        keys.iter()
            .map(move |keys| (keys.clone(), Some(condition.clone())))
    });
    let nulls = context.null_keys(&scan.predicates);
    let whole = keys.iter().chain(&nulls).map(|keys| (keys.clone(), None));
    for (keys, predicate) in whole.chain(partial) {
        let first = keys.first();
        let starts_with_range = !equal.iter().any(|one| Some(&one.key) == first)
            && !sort.first().is_some_and(|key| Some(key) == first)
            && ranges.iter().any(|one| Some(&one.key) == first);
        let candidate = Candidate {
            starts_with_range,
            table: table.quoted.clone(),
            table_name: table.name.clone(),
            keys,
            predicate,
        };
        if !found.contains(&candidate) {
            found.push(candidate);
        }
    }
    for candidate in found {
        if let Some(index) = indexes.iter().find(|index| candidate.is_covered_by(index)) {
            let note = format!(
                "index {} exists, which has the same leading columns",
                index.name
            );
            if !ideas.notes.contains(&note) {
                ideas.notes.push(note);
            }
        } else if let Some(index) = indexes
            .iter()
            .find(|index| context.may_serve(index, &candidate, &scan.predicates))
        {
            let note = format!(
                "partial index {} may serve it, depending on the values, which are not known",
                index.name
            );
            if !ideas.notes.contains(&note) {
                ideas.notes.push(note);
            }
        } else {
            ideas.candidates.push(candidate);
        }
    }
    ideas
}

/// The keys to try: one column each, then combinations with equality first, then what is compared by
/// range or wanted in order.
fn key_lists(equal: &[Served], ranges: &[Served], sort: &[Key]) -> Vec<Vec<Key>> {
    let mut lists: Vec<Vec<Key>> = Vec::new();
    let mut add = |keys: Vec<Key>| {
        let mut seen: Vec<Key> = Vec::new();
        for key in keys {
            if !seen.iter().any(|other| other.text == key.text) {
                seen.push(key);
            }
        }
        seen.truncate(MAX_KEYS);
        if !seen.is_empty() && !lists.contains(&seen) {
            lists.push(seen);
        }
    };
    let all: Vec<Key> = equal.iter().map(|one| one.key.clone()).collect();
    for key in all.iter().take(4) {
        add(vec![key.clone()]);
    }
    for range in ranges.iter().take(2) {
        add(vec![range.key.clone()]);
    }
    add(sort.to_vec());
    for length in 1..=all.len().min(MAX_KEYS) {
        let leading = all.get(..length).unwrap_or_default();
        add(leading.to_vec());
        for tail in ranges
            .iter()
            .take(2)
            .map(|range| vec![range.key.clone()])
            .chain([sort.to_vec()])
        {
            add(leading.iter().cloned().chain(tail).collect());
        }
    }
    // The second column alone may be the better start.
    if let [_, second, rest @ ..] = all.as_slice() {
        for tail in ranges
            .iter()
            .take(2)
            .map(|range| vec![range.key.clone()])
            .chain([sort.to_vec()])
        {
            add([second.clone()].into_iter().chain(tail).collect());
        }
        if let Some(third) = rest.first() {
            add(vec![second.clone(), third.clone()]);
        }
    }
    lists
}

struct Context<'a> {
    table: &'a Table,
    columns: &'a HashMap<String, Column>,
}

impl Context<'_> {
    fn column(&self, name: &str) -> Option<(Key, f64)> {
        let column = self.columns.get(name)?;
        let rows = self.table.known_rows();
        let distinct = match column.distinct {
            Some(share) if share < 0.0 => -share * rows,
            Some(number) => number,
            None => rows / 10.0,
        };
        let key = Key {
            text: column.quoted.clone(),
            expression: false,
            descending: false,
        };
        Some((key, distinct))
    }

    /// A column as an index names it; `None` for an expression.
    fn quoted_column(&self, quoted: &str) -> Option<Key> {
        let known = self.columns.values().any(|column| column.quoted == quoted);
        known.then(|| Key {
            text: quoted.to_owned(),
            expression: false,
            descending: false,
        })
    }

    fn term(&self, term: &Term) -> Option<Served> {
        match term {
            Term::Column { name, cast } => {
                let (key, distinct) = self.column(name)?;
                if cast
                    .as_deref()
                    .is_none_or(|cast| self.is_only_a_label(name, cast))
                {
                    return Some(Served { key, distinct });
                }
                let cast = cast.as_deref().unwrap_or_default();
                let text = format!("({})::{cast}", key.text);
                Some(Served {
                    key: Key {
                        text,
                        expression: true,
                        descending: false,
                    },
                    distinct,
                })
            }
            Term::Expression { text, columns } => {
                let known: Option<Vec<(Key, f64)>> =
                    columns.iter().map(|name| self.column(name)).collect();
                let distinct = known?
                    .iter()
                    .map(|(_, distinct)| *distinct)
                    .fold(1.0, f64::max);
                let key = Key {
                    text: text.clone(),
                    expression: true,
                    descending: false,
                };
                Some(Served { key, distinct })
            }
        }
    }

    /// Whether a conversion changes nothing, so that the column's own index serves it.
    fn is_only_a_label(&self, name: &str, cast: &str) -> bool {
        let kind = self
            .columns
            .get(name)
            .map_or("", |column| column.kind.as_str());
        cast == kind || (cast == "text" && kind.starts_with("character varying"))
    }

    fn note_cast(&self, predicate: &Predicate, notes: &mut Vec<String>) {
        if let Term::Column {
            name,
            cast: Some(cast),
        } = &predicate.term
            && let Some(column) = self.columns.get(name)
            && !self.is_only_a_label(name, cast)
        {
            notes.push(format!(
                "{} is {} and is converted to {cast} for each row; compare it with a value of its own type",
                column.quoted, column.kind
            ));
        }
    }

    /// What equality and ranges can use, each in the order of how much it tells rows apart.
    fn served(&self, predicates: &[Predicate]) -> (Vec<Served>, Vec<Served>) {
        let of = |wanted: &[Comparison]| {
            let mut served: Vec<Served> = Vec::new();
            for predicate in predicates {
                if wanted.contains(&predicate.comparison)
                    && let Some(one) = self.term(&predicate.term)
                    && !served.iter().any(|other| other.key == one.key)
                {
                    served.push(one);
                }
            }
            served.sort_by(|a, b| b.distinct.total_cmp(&a.distinct));
            served
        };
        let equal = of(&[Comparison::Equal, Comparison::Joined]);
        (equal, of(&[Comparison::Range]))
    }

    fn sort(&self, keys: &[SortKey]) -> Vec<Key> {
        // An index is read backwards as well.
        let flip = keys.first().is_some_and(|key| key.descending);
        let keys: Option<Vec<Key>> = keys
            .iter()
            .map(|key| {
                let (column, _) = self.column(&key.column)?;
                Some(Key {
                    descending: key.descending ^ flip,
                    ..column
                })
            })
            .collect();
        keys.unwrap_or_default()
    }

    /// All conditions that hold no values, as the condition of a partial index.
    fn condition(&self, predicates: &[Predicate]) -> Option<String> {
        let parts: Vec<String> = predicates
            .iter()
            .filter_map(|predicate| {
                let Term::Column { name, cast: None } = &predicate.term else {
                    return None;
                };
                let column = &self.columns.get(name)?.quoted;
                match predicate.comparison {
                    Comparison::IsNull => Some(format!("{column} IS NULL")),
                    Comparison::IsNotNull => Some(format!("{column} IS NOT NULL")),
                    Comparison::IsTrue => Some(column.clone()),
                    Comparison::IsFalse => Some(format!("NOT {column}")),
                    _ => None,
                }
            })
            .collect();
        (!parts.is_empty()).then(|| parts.join(" AND "))
    }

    /// An index finds `NULL`s like values.
    fn null_keys(&self, predicates: &[Predicate]) -> Vec<Vec<Key>> {
        let nulls = predicates
            .iter()
            .filter(|one| one.comparison == Comparison::IsNull);
        nulls
            .filter_map(|one| Some(vec![self.term(&one.term)?.key]))
            .collect()
    }

    /// Whether a partial index fits as far as its columns go, but its condition compares with values.
    fn may_serve(&self, index: &Index, candidate: &Candidate, predicates: &[Predicate]) -> bool {
        let Some(condition) = &index.predicate else {
            return false;
        };
        if !index.valid || index.method != "btree" {
            return false;
        }
        let mut compared = predicates
            .iter()
            .filter(|one| one.comparison == Comparison::Equal);
        let condition_words: Vec<String> = Lexer::new(condition.as_bytes(), false)
            .filter_map(|token| super::predicate::identifier(&token))
            .collect();
        let compares_with_a_value = compared.any(|one| match &one.term {
            Term::Column { name, .. } => condition_words.contains(name),
            Term::Expression { .. } => false,
        });
        let first = |keys: Option<&str>| keys.map(bare);
        compares_with_a_value
            && first(candidate.keys.first().map(|key| key.text.as_str()))
                == first(index.keys.first().map(String::as_str))
    }
}

#[cfg(test)]
#[path = "candidate_tests.rs"]
mod tests;
