//! `/api/browser/errors`: errors of pages' scripts, by what they have in common.

use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
};
use serde::Serialize;

use super::{App, Problem, parameters};
use crate::{
    store::{ErrorFilter, ErrorGroup, ErrorSort, MAX_ERRORS, Portion, Sample, now_ms},
    vitals::source_maps::{ShownFrame, SourceMaps, plain_frames},
};

/// The whole answer.
#[derive(Serialize)]
pub(super) struct Answer {
    /// Where they come from: `store`, or `memory` when there is none or it is down.
    source: &'static str,
    /// Why they don't come from the store.
    source_reason: Option<String>,
    errors: Vec<Group>,
    /// Whether there are more groups than `limit`.
    more: bool,
}

/// Errors with one fingerprint.
#[derive(Serialize)]
struct Group {
    /// Sixteen hexadecimal digits.
    fingerprint: String,
    app: String,
    kind: String,
    #[serde(rename = "type")]
    type_: String,
    message: String,
    /// Times that they happened, of those that were asked for.
    count: u64,
    /// Page lives in which they did.
    reports: u64,
    /// When one was told first at all, RFC 3339.
    first_seen: String,
    last_seen: String,
    /// Those in which they happened most.
    releases: Vec<Part>,
    /// Those on which they happened most.
    pages: Vec<Part>,
    sample: Shown,
}

#[derive(Serialize)]
struct Part {
    name: String,
    count: u64,
    first_seen: String,
    last_seen: String,
}

/// One of them, of the newest release.
#[derive(Serialize)]
struct Shown {
    release: String,
    /// As the browser wrote it.
    stack: Option<String>,
    source: Option<String>,
    line: Option<u32>,
    column: Option<u32>,
    /// The stack, with where each call was written as far as source maps say it.
    frames: Vec<ShownFrame>,
    /// Source maps that are missing or can't be used.
    missing_maps: Vec<String>,
}

pub(super) async fn errors(
    State(app): State<App>,
    parameters: Result<Query<Vec<(String, String)>>, QueryRejection>,
) -> Result<Json<Answer>, Problem> {
    let Query(parameters) = parameters.map_err(|error| parameters::bad(error.body_text()))?;
    let filter = filter(&parameters, now_ms())?;
    let found = app.source.store().browser_errors(&filter).await;
    let maps = app.source.source_maps();
    // Maps are files, and large.
    let groups = tokio::task::spawn_blocking(move || {
        let groups = found.items.into_iter();
        groups
            .map(|group| Group::new(group, maps.as_deref()))
            .collect()
    });
    let errors = groups.await.map_err(|error| {
        tracing::error!(%error, "showing errors of browsers stopped half-way");
        Problem::new(
            axum::http::StatusCode::INTERNAL_SERVER_ERROR,
            "showing the errors stopped half-way; the daemon's log says why",
        )
    })?;
    Ok(Json(Answer {
        source: if found.not_stored.is_none() {
            "store"
        } else {
            "memory"
        },
        source_reason: found.not_stored,
        errors,
        more: found.more,
    }))
}

fn filter(asked: &[(String, String)], now_ms: i64) -> Result<ErrorFilter, Problem> {
    let mut filter = ErrorFilter::default();
    for (name, value) in asked {
        let text = || Some(value.clone());
        match name.as_str() {
            "app" => filter.app = text(),
            "release" => filter.release = text(),
            "page" => filter.page = text(),
            "fingerprint" => filter.fingerprint = Some(parameters::fingerprint(name, value)?),
            "sort" => {
                filter.sort = match value.as_str() {
                    "count" => ErrorSort::Count,
                    "last" => ErrorSort::Last,
                    "first" => ErrorSort::First,
                    _ => {
                        let allowed = "allowed are count, last, first";
                        return Err(parameters::refuse(name, value, allowed));
                    }
                };
            }
            "since" => filter.from_ms = Some(parameters::time(name, value, now_ms)?),
            "until" => filter.to_ms = Some(parameters::time(name, value, now_ms)?),
            "limit" => filter.limit = parameters::limit(name, value, MAX_ERRORS)?,
            _ => return Err(parameters::unknown(name, NAMES)),
        }
    }
    Ok(filter)
}

const NAMES: &str = "app, release, page, fingerprint, sort, since, until, limit";

impl Group {
    fn new(group: ErrorGroup, maps: Option<&SourceMaps>) -> Self {
        let parts = |portions: Vec<Portion>| portions.into_iter().map(Part::from).collect();
        Self {
            fingerprint: format!("{:016x}", group.fingerprint),
            app: group.app,
            kind: group.sample.kind.clone(),
            type_: group.sample.type_.clone(),
            message: group.sample.message.clone(),
            count: group.count,
            reports: group.reports,
            first_seen: parameters::rfc3339(group.first_ms),
            last_seen: parameters::rfc3339(group.last_ms),
            releases: parts(group.releases),
            pages: parts(group.pages),
            sample: Shown::new(group.sample, maps),
        }
    }
}

impl From<Portion> for Part {
    fn from(portion: Portion) -> Self {
        Self {
            name: portion.name,
            count: portion.count,
            first_seen: parameters::rfc3339(portion.first_ms),
            last_seen: parameters::rfc3339(portion.last_ms),
        }
    }
}

impl Shown {
    fn new(sample: Sample, maps: Option<&SourceMaps>) -> Self {
        // Without a stack, the place that the browser told is the one call that is known.
        let stack = sample.stack.clone().or_else(|| {
            let place = format!("{}:{}", sample.line?, sample.column.unwrap_or(1));
            Some(format!("    at {}:{place}", sample.source.as_ref()?))
        });
        let stack = stack.unwrap_or_default();
        let (frames, missing_maps) = match maps {
            Some(maps) => maps.frames(&sample.release, &stack),
            None => (plain_frames(&stack), Vec::new()),
        };
        Self {
            release: sample.release,
            stack: sample.stack,
            source: sample.source,
            line: sample.line,
            column: sample.column,
            frames,
            missing_maps,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A mistyped filter that were ignored would show errors that nobody asked for.
    #[test]
    fn what_is_not_understood_is_named_with_what_is_allowed() {
        for (name, value, allowed) in [
            ("sort", "newest", "count, last, first"),
            ("fingerprint", "12", "16 hexadecimal"),
            ("since", "yesterday", "15m"),
            ("limit", "501", "from 1 to 500"),
            ("pages", "/x", "app, release, page"),
        ] {
            let problem = filter(&[(name.to_owned(), value.to_owned())], 0).unwrap_err();
            let text = serde_json::to_string(&problem).unwrap();
            for part in [format!("`{name}`"), allowed.to_owned()] {
                assert!(text.contains(&part), "{part} is not in {text}");
            }
        }
    }
}
