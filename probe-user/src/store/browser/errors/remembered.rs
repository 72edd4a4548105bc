//! Groups of errors out of memory.

use std::collections::BTreeMap;

use super::{BrowserError, ErrorFilter, ErrorGroup, ErrorSort, Groups, PORTIONS, Portion, Sample};
use crate::store::rows::unsigned;

/// As [`super::groups`], of errors in memory.
pub(in crate::store::browser) fn groups_of<'a>(
    errors: impl Iterator<Item = &'a BrowserError> + Clone,
    filter: &ErrorFilter,
) -> Groups {
    let mut members: BTreeMap<(&str, u64), Vec<&BrowserError>> = BTreeMap::new();
    for error in errors.clone().filter(|error| filter.takes(error)) {
        let key = (error.app.as_str(), error.fingerprint);
        members.entry(key).or_default().push(error);
    }
    let mut groups: Vec<ErrorGroup> = members
        .into_iter()
        .map(|((app, fingerprint), members)| {
            let of_all = errors.clone();
            let first = of_all.filter(|e| e.app == app && e.fingerprint == fingerprint);
            ErrorGroup {
                app: app.to_owned(),
                fingerprint,
                count: members.iter().map(|error| error.count).sum(),
                reports: members.len() as u64,
                first_ms: first.map(|error| error.at_ms).min().unwrap_or_default(),
                last_ms: members
                    .iter()
                    .map(|error| error.at_ms)
                    .max()
                    .unwrap_or_default(),
                releases: portions_of(&members, |error| &error.release),
                pages: portions_of(&members, |error| &error.page),
                sample: newest(&members),
            }
        })
        .collect();
    groups.sort_by_key(|group| {
        let (count, last, first) = (group.count, group.last_ms, group.first_ms);
        let as_number = |time: i64| unsigned(time);
        std::cmp::Reverse(match filter.sort {
            ErrorSort::Count => (count, as_number(last)),
            ErrorSort::Last => (as_number(last), count),
            ErrorSort::First => (as_number(first), count),
        })
    });
    let limit = usize::try_from(filter.limit()).unwrap_or(usize::MAX);
    let more = groups.len() > limit;
    groups.truncate(limit);
    (groups, more)
}

/// The first one of the release that came last.
fn newest(members: &[&BrowserError]) -> Sample {
    let mut first: BTreeMap<&str, &BrowserError> = BTreeMap::new();
    for error in members {
        let known = first.entry(&error.release).or_insert(error);
        if error.at_ms < known.at_ms {
            *known = error;
        }
    }
    let newest = first.into_values().max_by_key(|error| error.at_ms);
    newest.map(Sample::from).unwrap_or_default()
}

fn portions_of(members: &[&BrowserError], name: impl Fn(&BrowserError) -> &String) -> Vec<Portion> {
    let mut portions: BTreeMap<&str, Portion> = BTreeMap::new();
    for error in members {
        let portion = portions.entry(name(error)).or_insert_with(|| Portion {
            name: name(error).clone(),
            count: 0,
            first_ms: error.at_ms,
            last_ms: error.at_ms,
        });
        portion.count += error.count;
        portion.first_ms = portion.first_ms.min(error.at_ms);
        portion.last_ms = portion.last_ms.max(error.at_ms);
    }
    let mut portions: Vec<Portion> = portions.into_values().collect();
    portions.sort_by_key(|portion| std::cmp::Reverse(portion.count));
    portions.truncate(PORTIONS);
    portions
}

impl From<&BrowserError> for Sample {
    fn from(error: &BrowserError) -> Self {
        Self {
            release: error.release.clone(),
            kind: error.kind.clone(),
            type_: error.type_.clone(),
            message: error.message.clone(),
            stack: error.stack.clone(),
            source: error.source.clone(),
            line: error.line,
            column: error.column,
        }
    }
}
