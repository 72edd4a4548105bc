//! `/api/vitals`: quantiles and ratings of what pages felt like.

use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
};
use jiff::Timestamp;
use serde::Serialize;

use super::{App, Problem, parameters};
use crate::{
    store::{By, MAX_GROUPS, VitalFilter, VitalGroup, now_ms},
    vitals::beacon::VitalName,
};

const DAY_MS: i64 = 86_400_000;
/// Without `since`.
const DEFAULT_MS: i64 = 7 * DAY_MS;

/// The whole answer.
#[derive(Serialize)]
pub(super) struct Answer {
    /// Where they come from: `store`, or `memory` when there is none or it is down.
    source: &'static str,
    /// Why they don't come from the store.
    source_reason: Option<String>,
    /// Times between which they were told, RFC 3339.
    from: String,
    to: String,
    /// By what they are told apart.
    by: Vec<&'static str>,
    vitals: Vec<Vital>,
    /// Whether there are more groups than `limit`.
    more: bool,
}

/// The values of one vital in one group.
#[derive(Serialize)]
struct Vital {
    name: String,
    /// `ms`; empty for CLS.
    unit: &'static str,
    page: Option<String>,
    device: Option<String>,
    /// As 2026-01-31, in UTC.
    day: Option<String>,
    app: Option<String>,
    release: Option<String>,
    connection: Option<String>,
    navigation: Option<String>,
    /// Values that were told.
    samples: u64,
    /// Page loads that they stand for: each value counts as often as its sample rate says.
    page_loads: f64,
    p50: f64,
    p75: f64,
    p95: f64,
    /// Of `p75`, by the official thresholds.
    rating: Option<&'static str>,
    /// The last value that is good, and the last that is not poor.
    thresholds: Option<[f64; 2]>,
    /// Parts of the page loads.
    good: f64,
    needs_improvement: f64,
    poor: f64,
}

pub(super) async fn vitals(
    State(app): State<App>,
    parameters: Result<Query<Vec<(String, String)>>, QueryRejection>,
) -> Result<Json<Answer>, Problem> {
    let Query(parameters) = parameters.map_err(|error| parameters::bad(error.body_text()))?;
    let now = now_ms();
    let filter = filter(&parameters, now)?;
    let found = app.source.store().vitals(&filter).await;
    Ok(Json(Answer {
        source: if found.not_stored.is_none() {
            "store"
        } else {
            "memory"
        },
        source_reason: found.not_stored,
        from: parameters::rfc3339(filter.from_ms.unwrap_or_default()),
        to: parameters::rfc3339(filter.to_ms.unwrap_or(now)),
        by: filter.by.iter().map(|by| by.as_str()).collect(),
        vitals: found
            .items
            .into_iter()
            .map(|group| Vital::new(group, &filter.by))
            .collect(),
        more: found.more,
    }))
}

fn filter(asked: &[(String, String)], now_ms: i64) -> Result<VitalFilter, Problem> {
    let mut filter = VitalFilter {
        from_ms: Some(now_ms - DEFAULT_MS),
        by: vec![By::Page, By::Device, By::Day],
        ..VitalFilter::default()
    };
    for (name, value) in asked {
        let refuse = |allowed: &str| parameters::refuse(name, value, allowed);
        let dimension = By::ALL.into_iter().find(|by| by.as_str() == name);
        match (name.as_str(), dimension) {
            ("by", _) => filter.by = dimensions(value).ok_or_else(|| refuse(BY))?,
            ("day", _) => {
                let days = days(value).ok_or_else(|| refuse(DAY))?;
                filter.only.push((By::Day, days));
            }
            (_, Some(by)) => filter.only.push((by, value.clone())),
            ("name", _) => {
                let name = VitalName::from_word(value).ok_or_else(|| refuse(NAME))?;
                filter.name = Some(name.as_str().to_owned());
            }
            ("since", _) => filter.from_ms = Some(parameters::time(name, value, now_ms)?),
            ("until", _) => filter.to_ms = Some(parameters::time(name, value, now_ms)?),
            ("limit", _) => filter.limit = parameters::limit(name, value, MAX_GROUPS)?,
            _ => return Err(parameters::unknown(name, NAMES)),
        }
    }
    Ok(filter)
}

const NAMES: &str = "by, name, page, device, day, app, release, connection, navigation, since, \
                     until, limit";
const NAME: &str = "allowed are LCP, INP, CLS, FCP, TTFB, FID";
const DAY: &str = "allowed is a day such as 2026-01-31";
const BY: &str = "allowed are none, and any of page, device, day, app, release, connection, \
                  navigation with commas between them";

fn dimensions(text: &str) -> Option<Vec<By>> {
    if text == "none" {
        return Some(Vec::new());
    }
    let mut dimensions = Vec::new();
    for name in text.split(',') {
        let by = By::ALL.into_iter().find(|by| by.as_str() == name)?;
        if !dimensions.contains(&by) {
            dimensions.push(by);
        }
    }
    Some(dimensions)
}

/// Days since 1970.
fn days(text: &str) -> Option<String> {
    let date: jiff::civil::Date = text.parse().ok()?;
    let begin: Timestamp = format!("{date}T00:00:00Z").parse().ok()?;
    Some(begin.as_millisecond().div_euclid(DAY_MS).to_string())
}

fn date(days: &str) -> String {
    let ms = days
        .parse()
        .ok()
        .and_then(|days: i64| days.checked_mul(DAY_MS));
    let at = ms.and_then(|ms| Timestamp::from_millisecond(ms).ok());
    at.map_or_else(String::new, |at| at.strftime("%F").to_string())
}

impl Vital {
    fn new(group: VitalGroup, by: &[By]) -> Self {
        let mut values: Vec<(By, String)> = by.iter().copied().zip(group.values).collect();
        let mut value = |by: By| {
            let at = values.iter().position(|(one, _)| *one == by)?;
            Some(values.swap_remove(at).1)
        };
        let name = VitalName::from_word(&group.name);
        let per_unit = if name == Some(VitalName::Cls) {
            1e6
        } else {
            1e3
        };
        let quantile = |micro: i64| micro as f64 / per_unit;
        let whole = group.weight_milli.max(1) as f64;
        let part = |milli: u64| milli as f64 / whole;
        let p75 = quantile(group.p75_micro);
        Self {
            unit: if name == Some(VitalName::Cls) {
                ""
            } else {
                "ms"
            },
            page: value(By::Page),
            device: value(By::Device),
            day: value(By::Day).map(|days| date(&days)),
            app: value(By::App),
            release: value(By::Release),
            connection: value(By::Connection),
            navigation: value(By::Navigation),
            samples: group.samples,
            page_loads: group.weight_milli as f64 / 1e3,
            p50: quantile(group.p50_micro),
            p75,
            p95: quantile(group.p95_micro),
            rating: name.map(|name| name.rate(p75).as_str()),
            thresholds: name.map(|name| name.thresholds().into()),
            good: part(group.good_milli),
            needs_improvement: part(group.needs_improvement_milli),
            poor: part(group.poor_milli),
            name: group.name,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, value: &str) -> Result<VitalFilter, Problem> {
        filter(&[(name.to_owned(), value.to_owned())], 1_000_000_000)
    }

    /// A mistyped filter that were ignored would show numbers that nobody asked for.
    #[test]
    fn what_is_not_understood_is_named_with_what_is_allowed() {
        for (name, value, allowed) in [
            ("by", "pages", "commas"),
            ("by", "", "commas"),
            ("name", "lcp", "LCP, INP"),
            ("day", "yesterday", "2026-01-31"),
            ("since", "-1d", "15m"),
            ("limit", "0", "from 1 to 10000"),
            ("pages", "/x", "page, device"),
        ] {
            let problem = read(name, value).unwrap_err();
            let text = serde_json::to_string(&problem).unwrap();
            for part in [format!("`{name}`"), allowed.to_owned()] {
                assert!(text.contains(&part), "{part} is not in {text}");
            }
        }
    }

    #[test]
    fn filters_and_groups_are_read() {
        assert_eq!(read("by", "none").unwrap().by, []);
        assert_eq!(
            read("by", "device,page,device").unwrap().by,
            [By::Device, By::Page]
        );
        let day = read("day", "1970-01-11").unwrap().only;
        assert_eq!(day, [(By::Day, "10".to_owned())]);
        assert_eq!(date("10"), "1970-01-11");
        assert_eq!(
            read("page", "/x").unwrap().only,
            [(By::Page, "/x".to_owned())]
        );
    }
}
