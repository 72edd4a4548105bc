//! Budgets out of files of the shape of Lighthouse's `budget.json`: an array of objects with `path`,
//! `timings` (milliseconds), `resourceSizes` (KiB) and `resourceCounts`.
//!
//! Lighthouse itself stopped to read them in version 13, and people still have them. Its last object
//! that fits a page is the only one that holds there; here, as with sitespeed.io, all that fit hold
//! together, from the general to the special.

use serde::Deserialize;

use super::{Limit, What};
use crate::config::{DEFAULT_MIN_SAMPLES, PagePattern, TOTAL};

/// The most objects of a file, and limits of one list.
const MAX_MEMBERS: usize = 200;
/// The largest number that is taken.
const MAX_NUMBER: f64 = 1e12;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Object {
    #[serde(default)]
    path: Option<String>,
    /// Which hosts count as the page's own. Browsers don't tell hosts, so it does not matter.
    #[serde(default, rename = "options")]
    _options: Option<serde_json::Value>,
    #[serde(default)]
    timings: Vec<Timing>,
    #[serde(default, rename = "resourceSizes")]
    sizes: Vec<Resource>,
    #[serde(default, rename = "resourceCounts")]
    counts: Vec<Resource>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Timing {
    metric: String,
    budget: f64,
    /// Of versions before 6; nothing is tolerated here.
    #[serde(default, rename = "tolerance")]
    _tolerance: Option<f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Resource {
    #[serde(rename = "resourceType")]
    kind: String,
    budget: f64,
}

/// Reads the limits of a file that is named `from`.
///
/// # Errors
/// Which member is wrong, and what is allowed.
pub(super) fn read(text: &str, from: &str) -> Result<Vec<Limit>, String> {
    let mut reader = serde_json::Deserializer::from_str(text);
    let objects: Vec<Object> = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        match error.path().to_string() {
            // The whole.
            path if path == "." => error.inner().to_string(),
            path => format!("{path}: {}", error.inner()),
        }
    })?;
    reader.end().map_err(|error| error.to_string())?;
    if objects.len() > MAX_MEMBERS {
        return Err(format!("it has more than {MAX_MEMBERS} budgets"));
    }
    let mut limits = Vec::new();
    for (index, object) in objects.into_iter().enumerate() {
        let pages = pattern(object.path.as_deref().unwrap_or("/"))
            .map_err(|error| format!("[{index}].path: {error}"))?;
        let lists = object
            .timings
            .len()
            .max(object.sizes.len())
            .max(object.counts.len());
        if lists > MAX_MEMBERS {
            return Err(format!(
                "[{index}]: a list has more than {MAX_MEMBERS} members"
            ));
        }
        let mut add = |what: What, most: f64, at: &str| {
            if !(0.0..=MAX_NUMBER).contains(&most) {
                return Err(format!(
                    "[{index}].{at}: {most}: allowed is a number from 0 to 1e12"
                ));
            }
            limits.push(Limit {
                pages: pages.clone(),
                what,
                most,
                min_samples: DEFAULT_MIN_SAMPLES.into(),
                from: from.to_owned(),
            });
            Ok(())
        };
        for timing in object.timings {
            add(timing_of(timing.metric), timing.budget, "timings")?;
        }
        for size in object.sizes {
            let what = match kind(&size.kind) {
                Some(kind) => What::Bytes(kind),
                None => What::NotTold(format!("bytes:{}", size.kind)),
            };
            add(what, size.budget * 1024.0, "resourceSizes")?;
        }
        for count in object.counts {
            let what = match kind(&count.kind) {
                Some(kind) => What::Requests(kind),
                None => What::NotTold(format!("requests:{}", count.kind)),
            };
            add(what, count.budget, "resourceCounts")?;
        }
    }
    Ok(limits)
}

/// Paths are those of `robots.txt`: the beginning of a path, with `*` for anything and `$` at the end.
fn pattern(path: &str) -> Result<PagePattern, String> {
    if !path.starts_with(['/', '*']) {
        return Err(format!("{path:?}: allowed is a path that begins with /"));
    }
    let text = match path.strip_suffix('$') {
        Some(whole) => whole.to_owned(),
        None => format!("{path}*"),
    };
    text.parse()
        .map_err(|error: &str| format!("{path:?}: {error}"))
}

fn timing_of(metric: String) -> What {
    match metric.as_str() {
        "largest-contentful-paint" => What::Vital("LCP"),
        "first-contentful-paint" => What::Vital("FCP"),
        "cumulative-layout-shift" => What::Vital("CLS"),
        "interaction-to-next-paint" => What::Vital("INP"),
        "server-response-time" | "time-to-first-byte" => What::Vital("TTFB"),
        _ => What::NotTold(metric),
    }
}

fn kind(lighthouse: &str) -> Option<&'static str> {
    Some(match lighthouse {
        "script" => "script",
        "stylesheet" => "css",
        "image" => "image",
        "font" => "font",
        "other" => "other",
        "total" => TOTAL,
        _ => return None,
    })
}
