//! Groups of errors out of the tables.

use std::collections::HashMap;

use sqlx::{AnyPool, Row as _, any::AnyRow};

use super::{ErrorFilter, ErrorGroup, ErrorSort, Groups, PORTIONS, Portion, Question, Sample};
use crate::store::{
    StoreError,
    connections::trusted,
    error::Doing as _,
    rows::{parse_fingerprint, unsigned},
};

const DOING: &str = "cannot read errors of browsers";

/// Finds the groups of those errors that the filter takes.
///
/// # Errors
/// As the database says.
pub(in crate::store) async fn groups(
    readers: &AnyPool,
    filter: &ErrorFilter,
) -> Result<Groups, StoreError> {
    let limit = filter.limit();
    let question = filter.question();
    let order = match filter.sort {
        ErrorSort::Count => "times DESC, last_ms DESC",
        ErrorSort::Last => "last_ms DESC, times DESC",
        ErrorSort::First => "first_ms DESC, times DESC",
    };
    let sql = format!(
        "SELECT e.app, e.fingerprint, CAST(SUM(e.times) AS BIGINT) AS times, \
         COUNT(*) AS reports, MAX(e.at_ms) AS last_ms, \
         COALESCE((SELECT MIN(s.first_ms) FROM browser_error_samples s \
         WHERE s.app = e.app AND s.fingerprint = e.fingerprint), MIN(e.at_ms)) AS first_ms \
         FROM browser_errors e{} GROUP BY e.app, e.fingerprint \
         ORDER BY {order}, e.app, e.fingerprint LIMIT {}",
        question.conditions(),
        u64::from(limit) + 1
    );
    let rows = sqlx::query_with(trusted(sql), question.values.finish()?)
        .fetch_all(readers)
        .await
        .doing(DOING)?;
    let groups: Result<Vec<ErrorGroup>, sqlx::Error> = rows.iter().map(read).collect();
    let mut groups = groups.doing(DOING)?;
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = groups.len() > limit;
    groups.truncate(limit);
    if !groups.is_empty() {
        let releases = portions(readers, filter, &groups, "release").await?;
        let pages = portions(readers, filter, &groups, "page").await?;
        let samples = samples(readers, filter, &groups).await?;
        for (group, ((releases, pages), sample)) in groups
            .iter_mut()
            .zip(releases.into_iter().zip(pages).zip(samples))
        {
            group.releases = releases;
            group.pages = pages;
            group.sample = sample;
        }
    }
    Ok((groups, more))
}

fn read(row: &AnyRow) -> Result<ErrorGroup, sqlx::Error> {
    let count = |name: &str| row.try_get::<i64, _>(name).map(unsigned);
    Ok(ErrorGroup {
        app: row.try_get("app")?,
        fingerprint: parse_fingerprint(&row.try_get::<String, _>("fingerprint")?),
        count: count("times")?,
        reports: count("reports")?,
        first_ms: row.try_get("first_ms")?,
        last_ms: row.try_get("last_ms")?,
        releases: Vec::new(),
        pages: Vec::new(),
        sample: Sample::default(),
    })
}

/// Restricts a question to the groups' fingerprints. Those of other apps come too, and are left out
/// when they were read.
fn only_these(question: &mut Question, column: &str, groups: &[ErrorGroup]) {
    let fingerprints: Vec<String> = groups
        .iter()
        .map(|group| format!("{:016x}", group.fingerprint))
        .collect();
    question.any_of(column, &fingerprints);
}

type Place = (String, u64);

fn places(groups: &[ErrorGroup]) -> HashMap<Place, usize> {
    let places = groups.iter().zip(0..);
    places
        .map(|(group, at)| ((group.app.clone(), group.fingerprint), at))
        .collect()
}

fn place(row: &AnyRow) -> Result<Place, sqlx::Error> {
    let fingerprint: String = row.try_get("fingerprint")?;
    Ok((row.try_get("app")?, parse_fingerprint(&fingerprint)))
}

/// Of each group its largest parts by a column.
async fn portions(
    readers: &AnyPool,
    filter: &ErrorFilter,
    groups: &[ErrorGroup],
    column: &str,
) -> Result<Vec<Vec<Portion>>, StoreError> {
    let mut question = filter.question();
    only_these(&mut question, "e.fingerprint", groups);
    let sql = format!(
        "SELECT * FROM (SELECT e.app, e.fingerprint, e.{column} AS name, \
         CAST(SUM(e.times) AS BIGINT) AS times, MIN(e.at_ms) AS first_ms, \
         MAX(e.at_ms) AS last_ms, ROW_NUMBER() OVER (PARTITION BY e.app, e.fingerprint \
         ORDER BY SUM(e.times) DESC, e.{column}) AS place \
         FROM browser_errors e{} GROUP BY e.app, e.fingerprint, e.{column}) p \
         WHERE place <= {PORTIONS} ORDER BY place",
        question.conditions()
    );
    let rows = sqlx::query_with(trusted(sql), question.values.finish()?)
        .fetch_all(readers)
        .await
        .doing(DOING)?;
    let places = places(groups);
    let mut portions = vec![Vec::new(); groups.len()];
    for row in &rows {
        let read = || -> Result<(Place, Portion), sqlx::Error> {
            let portion = Portion {
                name: row.try_get("name")?,
                count: unsigned(row.try_get("times")?),
                first_ms: row.try_get("first_ms")?,
                last_ms: row.try_get("last_ms")?,
            };
            Ok((place(row)?, portion))
        };
        let (place, portion) = read().doing(DOING)?;
        let list = places.get(&place).and_then(|at| portions.get_mut(*at));
        if let Some(list) = list {
            list.push(portion);
        }
    }
    Ok(portions)
}

/// Of each group what it looks like in its newest release.
async fn samples(
    readers: &AnyPool,
    filter: &ErrorFilter,
    groups: &[ErrorGroup],
) -> Result<Vec<Sample>, StoreError> {
    let mut question = Question::default();
    only_these(&mut question, "s.fingerprint", groups);
    if let Some(release) = &filter.release {
        question.text("s.release = ?", release);
    }
    let sql = format!(
        "SELECT * FROM (SELECT s.app, s.fingerprint, s.release, s.kind, s.error_type, \
         s.message, s.stack, s.source, s.line_number, s.column_number, \
         ROW_NUMBER() OVER (PARTITION BY s.app, s.fingerprint \
         ORDER BY s.first_ms DESC, s.release DESC) AS place \
         FROM browser_error_samples s{}) p WHERE place = 1",
        question.conditions()
    );
    let rows = sqlx::query_with(trusted(sql), question.values.finish()?)
        .fetch_all(readers)
        .await
        .doing(DOING)?;
    let places = places(groups);
    let mut samples = vec![Sample::default(); groups.len()];
    for row in &rows {
        let (place, sample) = read_sample(row).doing(DOING)?;
        let slot = places.get(&place).and_then(|at| samples.get_mut(*at));
        if let Some(slot) = slot {
            *slot = sample;
        }
    }
    Ok(samples)
}

fn read_sample(row: &AnyRow) -> Result<(Place, Sample), sqlx::Error> {
    let number = |name: &str| {
        let value = row.try_get::<Option<i64>, _>(name);
        value.map(|value| value.and_then(|value| u32::try_from(value).ok()))
    };
    let sample = Sample {
        release: row.try_get("release")?,
        kind: row.try_get("kind")?,
        type_: row.try_get("error_type")?,
        message: row.try_get("message")?,
        stack: row.try_get("stack")?,
        source: row.try_get("source")?,
        line: number("line_number")?,
        column: number("column_number")?,
    };
    Ok((place(row)?, sample))
}
