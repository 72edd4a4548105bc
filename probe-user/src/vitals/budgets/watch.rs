//! Looks at the budgets once a minute, and when somebody asks.

use std::{
    fs::File,
    io::Read as _,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::{
    FILES, Limit, Report, State, Unit, Verdict, What,
    files::Measurer,
    import,
    judge::{CONFIGURATION, Evidence, judge, sorted, verdicts_on_files},
};
use crate::{
    config::{self, Budget, DEFAULT_MIN_SAMPLES, PagePattern},
    store::{By, Store, SumFilter, SumKind, VitalFilter, now_ms},
};

/// From one look to the next.
const EVERY: Duration = Duration::from_secs(60);
/// Who asks again within that time gets the last answer; longer when looking takes long.
const FRESH: Duration = Duration::from_millis(500);
/// Verdicts that are kept, the worst ones; each may be a series.
pub(super) const MAX_VERDICTS: usize = 1_000;
/// Bytes of a file of budgets.
const MAX_FILE: u64 = 1 << 20;
const HOUR_MS: i64 = 3_600_000;

/// The budgets of this daemon.
#[derive(Debug)]
pub struct Budgets {
    settings: config::Vitals,
    store: Store,
    latest: watch::Sender<Arc<Report>>,
    /// When the last look ended, and how long it took. Held while one is under way.
    looking: tokio::sync::Mutex<Option<(Instant, Duration)>>,
    measurer: Arc<Mutex<Measurer>>,
}

impl Budgets {
    /// Of a configuration, with what the store knows.
    pub fn new(settings: &config::Vitals, store: Store) -> Self {
        Self {
            settings: settings.clone(),
            store,
            latest: watch::Sender::default(),
            looking: tokio::sync::Mutex::default(),
            measurer: Arc::default(),
        }
    }

    /// Whether there are any.
    pub fn is_empty(&self) -> bool {
        self.settings.budgets.is_empty() && self.settings.budget_files.is_empty()
    }

    /// What was seen last.
    pub fn latest(&self) -> Arc<Report> {
        Arc::clone(&self.latest.borrow())
    }

    /// Looks once a minute until `stop`; not at all when there are none.
    pub async fn watch(self: Arc<Self>, stop: CancellationToken) {
        if self.is_empty() {
            return;
        }
        loop {
            self.look().await;
            tokio::select! {
                () = tokio::time::sleep(EVERY) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// What is so now. Who asks while somebody else looks gets the same.
    pub async fn look(&self) -> Arc<Report> {
        if self.is_empty() {
            return self.latest();
        }
        let mut looking = self.looking.lock().await;
        if let Some((ended, took)) = *looking
            && ended.elapsed() < FRESH.max(took * 4)
        {
            return self.latest();
        }
        let begun = Instant::now();
        let report = Arc::new(self.judge().await);
        self.say_what_changed(&report);
        self.latest.send_replace(Arc::clone(&report));
        *looking = Some((Instant::now(), begun.elapsed()));
        report
    }

    async fn judge(&self) -> Report {
        let at_ms = now_ms();
        let window_h = self.settings.budget_window_h;
        let (settings, measurer) = (self.settings.clone(), Arc::clone(&self.measurer));
        let read = tokio::task::spawn_blocking(move || {
            let (limits, mut verdicts) = limits(&settings);
            let mut measurer = measurer.lock().unwrap_or_else(PoisonError::into_inner);
            verdicts.extend(verdicts_on_files(&settings, &mut measurer));
            (limits, verdicts)
        });
        let (limits, mut verdicts) = match read.await {
            Ok(read) => read,
            Err(error) => {
                error!("reading the budgets stopped half-way: {error}");
                return Report::default();
            }
        };
        let mut not_stored = None;
        if !limits.is_empty() {
            let from_ms = Some(at_ms - i64::from(window_h) * HOUR_MS);
            let filter = VitalFilter {
                from_ms,
                by: vec![By::Page],
                ..VitalFilter::default()
            };
            let vitals = self.store.vitals(&filter).await;
            let filter = SumFilter {
                from_ms,
                kinds: vec![SumKind::View, SumKind::Resource],
                ..SumFilter::default()
            };
            let sums = self.store.page_sums(&filter).await;
            not_stored = vitals.not_stored.or(sums.not_stored);
            let evidence = Evidence {
                vitals: &vitals.items,
                sums: &sums.items,
                window_h,
            };
            verdicts.extend(judge(&limits, &evidence));
        }
        let mut verdicts = sorted(verdicts);
        let left_out = verdicts.len().saturating_sub(MAX_VERDICTS) as u64;
        verdicts.truncate(MAX_VERDICTS);
        Report {
            at_ms,
            window_h,
            verdicts,
            left_out,
            not_stored,
        }
    }

    /// One line for each budget that breaks or heals.
    fn say_what_changed(&self, new: &Report) {
        /// Lines of one look.
        const LINES: usize = 10;
        let old = self.latest();
        let state_of = |verdict: &Verdict| {
            let mut all = old.verdicts.iter();
            let same = all.find(|one| (&one.page, &one.budget) == (&verdict.page, &verdict.budget));
            same.map(|one| one.state)
        };
        let changed = new.verdicts.iter().filter_map(|verdict| {
            let was_broken = state_of(verdict) == Some(State::Broken);
            match verdict.state {
                State::Broken if !was_broken => Some((verdict, true)),
                State::Ok if was_broken => Some((verdict, false)),
                _ => None,
            }
        });
        for (verdict, broken) in changed.take(LINES) {
            let Verdict {
                page,
                budget,
                limit,
                ..
            } = verdict;
            let actual = verdict.actual.unwrap_or_default();
            if broken {
                warn!(page, budget, actual, limit, "a budget is broken");
            } else {
                info!(page, budget, actual, limit, "a budget is kept again");
            }
        }
    }
}

/// All limits of pages, and a verdict for each file that can't be read.
fn limits(settings: &config::Vitals) -> (Vec<Limit>, Vec<Verdict>) {
    let mut limits = Vec::new();
    let mut unread = Vec::new();
    // What the configuration itself says wins over a file that says it for the same pages.
    for path in &settings.budget_files {
        match read_file(path) {
            Ok(read) => limits.extend(read),
            Err(why) => unread.push(Verdict {
                page: FILES.to_owned(),
                budget: format!("budget_file:{}", path.display()),
                state: State::Unknown,
                unit: Unit::None,
                limit: 0.0,
                actual: None,
                ratio: None,
                samples: None,
                why: Some(why),
                from: path.display().to_string(),
                files: Vec::new(),
            }),
        }
    }
    limits.extend(settings.budgets.iter().flat_map(limits_of));
    (limits, unread)
}

fn limits_of(budget: &Budget) -> Vec<Limit> {
    let vitals = [
        ("LCP", budget.lcp_ms.map(f64::from)),
        ("INP", budget.inp_ms.map(f64::from)),
        ("FCP", budget.fcp_ms.map(f64::from)),
        ("TTFB", budget.ttfb_ms.map(f64::from)),
        ("CLS", budget.cls),
    ];
    let vitals = vitals
        .into_iter()
        .filter_map(|(name, most)| Some((What::Vital(name), most?)));
    let requests = budget
        .requests
        .set()
        .map(|(name, most)| (What::Requests(name), most as f64));
    let bytes = budget
        .bytes
        .set()
        .map(|(name, most)| (What::Bytes(name), most as f64));
    let limit = |(what, most)| Limit {
        pages: budget.page.clone().unwrap_or_else(PagePattern::all),
        what,
        most,
        min_samples: budget.min_samples.unwrap_or(DEFAULT_MIN_SAMPLES).into(),
        from: CONFIGURATION.to_owned(),
    };
    vitals.chain(requests).chain(bytes).map(limit).collect()
}

fn read_file(path: &Path) -> Result<Vec<Limit>, String> {
    let shown = path.display();
    let refuse = |error: std::io::Error| format!("cannot read {shown}: {error}");
    let file = File::open(path).map_err(refuse)?;
    let mut text = String::new();
    let read = file
        .take(MAX_FILE + 1)
        .read_to_string(&mut text)
        .map_err(refuse)?;
    if read as u64 > MAX_FILE {
        return Err(format!("{shown} has more than {MAX_FILE} bytes"));
    }
    let from = shown.to_string();
    import::read(&text, &from).map_err(|error| format!("{shown}: {error}"))
}

/// What is wrong with the configured files of budgets, one line each; what they limit and browsers
/// do not tell, too.
pub fn check_imports(settings: &config::Vitals) -> Vec<String> {
    let (limits, unread) = limits(settings);
    let unread = unread.into_iter().filter_map(|verdict| verdict.why);
    let not_told = limits.into_iter().filter_map(|limit| match limit.what {
        What::NotTold(name) => Some(format!("{}: browsers do not tell {name}", limit.from)),
        _ => None,
    });
    unread.chain(not_told).collect()
}
