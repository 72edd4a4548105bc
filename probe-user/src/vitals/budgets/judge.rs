//! Compares what is allowed with what is so.

use std::collections::{BTreeMap, BTreeSet};

use super::{FILES, Limit, MeasuredFile, Report, State, Unit, Verdict, What, files::Measurer};
use crate::{
    config::{self, FileBudget, Of, TOTAL},
    store::{PageSum, SumKind, VitalGroup, now_ms},
};

/// Files that a verdict names.
const SHOWN_FILES: usize = 20;

/// What browsers told, by page.
pub(super) struct Evidence<'a> {
    /// Grouped by page alone.
    pub(super) vitals: &'a [VitalGroup],
    /// Views and resources.
    pub(super) sums: &'a [PageSum],
    /// Hours that it is about.
    pub(super) window_h: u32,
}

/// Judges all pages that are known, and says of limits that fit none that they are not known.
pub(super) fn judge(limits: &[Limit], evidence: &Evidence<'_>) -> Vec<Verdict> {
    let vitals = evidence
        .vitals
        .iter()
        .filter_map(|group| group.values.first());
    let views = evidence.sums.iter().map(|sum| &sum.page);
    let pages: BTreeSet<&str> = vitals.chain(views).map(String::as_str).collect();
    let mut verdicts = Vec::new();
    for page in &pages {
        let of_page = OfPage::new(page, evidence);
        for limit in merged(limits, |limit| limit.pages.matches(page)) {
            verdicts.push(of_page.judge(limit));
        }
    }
    let lonely = merged_by_pattern(limits, |limit| {
        !pages.iter().any(|page| limit.pages.matches(page))
    });
    verdicts.extend(lonely.into_iter().map(|limit| {
        let why = format!(
            "no page that fits was viewed in the last {} h",
            evidence.window_h
        );
        verdict(limit, &limit.pages.to_string(), None, None, Some(why))
    }));
    verdicts
}

/// Of all that fit, for each thing the limit whose pattern says most; of equals the last.
fn merged(limits: &[Limit], fits: impl Fn(&Limit) -> bool) -> Vec<&Limit> {
    let mut fitting: Vec<&Limit> = limits.iter().filter(|limit| fits(limit)).collect();
    fitting.sort_by_key(|limit| limit.pages.says());
    let by_what: BTreeMap<&What, &Limit> = fitting
        .into_iter()
        .map(|limit| (&limit.what, limit))
        .collect();
    by_what.into_values().collect()
}

/// Of those that fit, the last one of each pattern and thing.
fn merged_by_pattern(limits: &[Limit], fits: impl Fn(&Limit) -> bool) -> Vec<&Limit> {
    let fitting = limits.iter().filter(|limit| fits(limit));
    let last: BTreeMap<_, &Limit> = fitting
        .map(|limit| ((&limit.pages, &limit.what), limit))
        .collect();
    last.into_values().collect()
}

/// What is known of one page.
struct OfPage<'a> {
    page: &'a str,
    vitals: BTreeMap<&'a str, &'a VitalGroup>,
    views: u64,
    resources: Vec<&'a PageSum>,
    window_h: u32,
}

impl<'a> OfPage<'a> {
    fn new(page: &'a str, evidence: &Evidence<'a>) -> Self {
        let own = evidence.sums.iter().filter(|sum| sum.page == page);
        let of_kind = |kind: SumKind| own.clone().filter(move |sum| sum.kind == kind);
        let vitals = evidence.vitals.iter();
        let vitals = vitals.filter(|group| group.values.first().is_some_and(|it| it == page));
        Self {
            page,
            vitals: vitals.map(|group| (group.name.as_str(), group)).collect(),
            views: of_kind(SumKind::View).map(|sum| sum.count).sum(),
            resources: of_kind(SumKind::Resource).collect(),
            window_h: evidence.window_h,
        }
    }

    fn judge(&self, limit: &Limit) -> Verdict {
        match &limit.what {
            What::Vital(name) => self.judge_vital(limit, name),
            What::Requests(kind) => self.judge_resources(limit, kind, |sum| sum.count),
            What::Bytes(kind) => self.judge_resources(limit, kind, |sum| sum.bytes),
            What::NotTold(name) => {
                let why = format!("browsers do not tell {name}");
                verdict(limit, self.page, None, None, Some(why))
            }
        }
    }

    fn judge_vital(&self, limit: &Limit, name: &str) -> Verdict {
        let group = self.vitals.get(name);
        let samples = group.map_or(0, |group| group.samples);
        match group {
            Some(group) if samples >= limit.min_samples => {
                let per_unit = if limit.what.unit() == Unit::Milliseconds {
                    1e3
                } else {
                    1e6
                };
                let actual = group.p75_micro as f64 / per_unit;
                verdict(limit, self.page, Some(actual), Some(samples), None)
            }
            _ => self.too_few(limit, samples, "values"),
        }
    }

    /// The average of a page view: there is no more than the sum of all.
    fn judge_resources(&self, limit: &Limit, kind: &str, part: fn(&PageSum) -> u64) -> Verdict {
        if self.views < limit.min_samples {
            return self.too_few(limit, self.views, "page views");
        }
        let fitting = self
            .resources
            .iter()
            .filter(|sum| kind == TOTAL || sum.name == kind);
        let (mut sum, mut count, mut opaque) = (0, 0, 0);
        for resource in fitting {
            sum += part(resource);
            count += resource.count;
            opaque += resource.opaque;
        }
        let why = (opaque > 0 && limit.what.unit() == Unit::Bytes).then(|| {
            format!(
                "{opaque} of {count} files do not tell their bytes (from the cache, or from \
                 another origin without Timing-Allow-Origin)"
            )
        });
        let actual = sum as f64 / self.views.max(1) as f64;
        verdict(limit, self.page, Some(actual), Some(self.views), why)
    }

    fn too_few(&self, limit: &Limit, samples: u64, of: &str) -> Verdict {
        let (least, window_h) = (limit.min_samples, self.window_h);
        let why = format!("{samples} {of} in the last {window_h} h; {least} are needed");
        verdict(limit, self.page, None, Some(samples), Some(why))
    }
}

fn verdict(
    limit: &Limit,
    page: &str,
    actual: Option<f64>,
    samples: Option<u64>,
    why: Option<String>,
) -> Verdict {
    Verdict {
        page: page.to_owned(),
        budget: limit.what.label(),
        state: state(actual, limit.most),
        unit: limit.what.unit(),
        limit: limit.most,
        actual,
        ratio: actual.and_then(|actual| ratio(actual, limit.most)),
        samples,
        why,
        from: limit.from.clone(),
        files: Vec::new(),
    }
}

fn state(actual: Option<f64>, most: f64) -> State {
    match actual {
        None => State::Unknown,
        Some(actual) if actual > most => State::Broken,
        Some(_) => State::Ok,
    }
}

/// Nothing of nothing is within the budget; something of nothing is no number.
fn ratio(actual: f64, most: f64) -> Option<f64> {
    if most > 0.0 {
        Some(actual / most)
    } else {
        (actual <= 0.0).then_some(0.0)
    }
}

/// Judges the files on the disk that a configuration limits, as they are now. Reads and compresses
/// them, so it may take seconds.
pub fn judge_files(settings: &config::Vitals) -> Report {
    let mut measurer = Measurer::default();
    Report {
        at_ms: now_ms(),
        window_h: settings.budget_window_h,
        verdicts: sorted(verdicts_on_files(settings, &mut measurer)),
        ..Report::default()
    }
}

/// As [`judge_files`], with what was measured before.
pub(super) fn verdicts_on_files(
    settings: &config::Vitals,
    measurer: &mut Measurer,
) -> Vec<Verdict> {
    let budgets = settings.budgets.iter().flat_map(|budget| &budget.files);
    let verdicts = budgets.flat_map(|budget| of_files(budget, measurer.measure(budget)));
    let verdicts = verdicts.collect();
    measurer.end_round();
    verdicts
}

fn of_files(budget: &FileBudget, measured: Result<Vec<MeasuredFile>, String>) -> Vec<Verdict> {
    type Size = fn(&MeasuredFile) -> Option<u64>;
    let sizes: [(&str, Option<u64>, Size); 3] = [
        ("raw", budget.raw, |file| Some(file.sizes.raw)),
        ("gzip", budget.gzip, |file| file.sizes.gzip),
        ("brotli", budget.brotli, |file| file.sizes.brotli),
    ];
    let limited = sizes
        .into_iter()
        .filter_map(|(name, most, size)| Some((name, most?, size)));
    limited
        .map(|(name, most, size)| {
            let mut files = measured.clone().unwrap_or_default();
            let bytes = |file: &MeasuredFile| size(file).unwrap_or_default();
            files.sort_by_key(|file| std::cmp::Reverse(bytes(file)));
            let actual = match budget.of {
                Of::Each => files.first().map(bytes),
                Of::All => (!files.is_empty()).then(|| files.iter().map(bytes).sum()),
            };
            let why = match (&measured, files.as_slice(), budget.of) {
                (Err(why), ..) => Some(why.clone()),
                (_, [largest, _, ..], Of::Each) => Some(format!(
                    "{} is the largest of {} files",
                    largest.path,
                    files.len()
                )),
                (_, [_, _, ..], Of::All) => Some(format!("{} files together", files.len())),
                _ => None,
            };
            files.truncate(SHOWN_FILES);
            let (actual, most) = (actual.map(|bytes| bytes as f64), most as f64);
            Verdict {
                page: FILES.to_owned(),
                budget: format!("{name}:{}", budget.glob),
                state: state(actual, most),
                unit: Unit::Bytes,
                limit: most,
                actual,
                ratio: actual.and_then(|actual| ratio(actual, most)),
                samples: None,
                why,
                from: CONFIGURATION.to_owned(),
                files,
            }
        })
        .collect()
}

/// Where budgets stand that come from no file of their own.
pub(super) const CONFIGURATION: &str = "the configuration";

/// The broken ones first, then those that are not known; within each the worst first.
pub(super) fn sorted(mut verdicts: Vec<Verdict>) -> Vec<Verdict> {
    let badness = |verdict: &Verdict| match (verdict.state, verdict.ratio) {
        (State::Broken, None) => f64::INFINITY,
        (_, ratio) => ratio.unwrap_or(0.0),
    };
    verdicts.sort_by(|a, b| {
        let worse = badness(b).total_cmp(&badness(a));
        let names = (&a.page, &a.budget).cmp(&(&b.page, &b.budget));
        a.state.cmp(&b.state).then(worse).then(names)
    });
    verdicts
}
