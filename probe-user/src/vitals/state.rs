//! What is counted between two looks. No clock of its own, so that it is tested without waiting.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use super::{
    beacon::{Beacon, Call, Device, PageError, Vital, VitalName},
    fingerprint::{Told as ToldError, fingerprint},
    ids::{Ids, Told},
    numbers::{CallKey, Numbers, PageNumbers, ResourceNumbers, UNKNOWN_PAGE},
    sums::Sums,
};
use crate::{
    routes::{Limits, OTHER, Router, Templates},
    store::{BrowserError, BrowserSum, Record, WebVital},
    traffic::{Clients, Salt},
};

/// Different apps that are told apart.
const APPS: usize = 20;
/// Different names of actions that are told apart.
const ACTIONS: usize = 200;
/// Routes of calls that are told apart.
const CALL_ROUTES: usize = 100;
/// The route of calls to other origins.
const CROSS_ORIGIN: &str = "cross-origin";
/// What an app without a name is called.
const NAMELESS: &str = "browsers";
/// How far a browser's clock may be behind: it may have been offline.
const OLDEST_MS: i64 = 86_400_000;
/// How far it may be ahead.
const AHEAD_MS: i64 = 300_000;

/// A point in time by two clocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    /// Never goes back.
    pub(super) since_start: Duration,
    /// Unix milliseconds.
    pub(super) unix_ms: i64,
}

/// A value that may still grow.
#[derive(Clone, Debug)]
struct Pending {
    page: Arc<str>,
    device: Device,
    name: VitalName,
    value: f64,
}

/// What was taken, but not as it was sent.
#[derive(Clone, Copy, Debug, Default)]
struct Odd {
    clamped: u64,
    late: u64,
    clock: u64,
    other_page: u64,
}

/// Everything that beacons change.
#[derive(Debug)]
pub(super) struct State {
    routes: Router,
    call_routes: Router,
    ids: Ids<Pending>,
    pages: BTreeMap<Arc<str>, PageNumbers>,
    numbers: Numbers,
    apps: Names,
    actions: Names,
    salt: Salt,
    sessions: BTreeMap<Arc<str>, Clients>,
    sums: Sums,
    odd: Odd,
    /// Of values without an id: the store wants one for each.
    nameless: u64,
}

impl State {
    /// `templates` are pages that are not learned; at most `max_pages` others are.
    pub(super) fn new(templates: Arc<Templates>, max_pages: usize, now_ms: i64) -> Self {
        let limits = |routes: usize| Limits {
            routes,
            routes_ever: routes.saturating_mul(5),
            ..Limits::default()
        };
        Self {
            routes: Router::with_templates(templates, limits(max_pages)),
            call_routes: Router::with_templates(Arc::default(), limits(CALL_ROUTES)),
            ids: Ids::default(),
            pages: BTreeMap::new(),
            numbers: Numbers::default(),
            apps: Names::new(APPS),
            actions: Names::new(ACTIONS),
            salt: Salt::default(),
            sessions: BTreeMap::new(),
            sums: Sums::new(now_ms),
            odd: Odd::default(),
            nameless: 0,
        }
    }

    /// Counts a beacon, and adds what is to be kept of it to `records`.
    pub(super) fn take(
        &mut self,
        beacon: &Beacon,
        now: Moment,
        host: &str,
        records: &mut Vec<Record>,
    ) {
        self.observe_due(now);
        let page = self.page(beacon.page.as_deref());
        // An app without a name has none in the store either.
        let app = match beacon.app.as_str() {
            "" => Arc::from(""),
            name => self.apps.label(name),
        };
        let about = About {
            beacon,
            page: &page,
            app: &app,
            host,
            at_ms: self.time(beacon, now.unix_ms),
        };
        self.session(beacon, &app, now);
        if beacon.started {
            let device = self.numbers_of(&page).devices.entry(beacon.device);
            device.or_default().views += 1;
            *self
                .numbers
                .navigations
                .entry(beacon.navigation)
                .or_default() += 1;
        }
        for vital in &beacon.vitals {
            let record = self.vital(vital, &about, now);
            records.push(Record::WebVital(Box::new(record)));
        }
        if !beacon.errors.is_empty() {
            for error in &beacon.errors {
                *self.numbers_of(&page).errors.entry(error.kind).or_default() += error.count;
            }
            let errors = beacon.errors.iter().map(|error| about.error(error));
            records.push(Record::BrowserErrors(errors.collect()));
        }
        let routes: Vec<_> = beacon.calls.iter().map(|call| self.call(call)).collect();
        for resources in &beacon.resources {
            let more = ResourceNumbers {
                count: resources.count,
                bytes: resources.bytes,
                opaque: resources.opaque,
            };
            let mine = self.numbers_of(&page).resources.entry(resources.kind);
            mine.or_default().add(&more);
        }
        for action in &beacon.actions {
            let name = self.actions.label(&action.name);
            *self.numbers.actions.entry((name, action.kind)).or_default() += action.count;
        }
        if beacon.long_frames.count > 0 {
            let frames = &mut self.numbers_of(&page).long_frames;
            frames.count += beacon.long_frames.count;
            frames.blocking_ms += beacon.long_frames.blocking_ms;
        }
        self.sums.add(beacon, &app, &page, &routes);
    }

    /// What was counted until now.
    pub(super) fn numbers(&mut self, now: Moment) -> Numbers {
        self.observe_due(now);
        let now_ns = nanoseconds(now.since_start);
        let sessions = self.sessions.iter_mut();
        let odd = &self.odd;
        Numbers {
            pages: self.pages.clone(),
            sessions: sessions
                .map(|(app, clients)| (Arc::clone(app), clients.count(now_ns)))
                .collect(),
            odd: vec![
                ("clamped", odd.clamped),
                ("late", odd.late),
                ("clock", odd.clock),
                ("other_page", odd.other_page),
            ],
            waiting: self.ids.len() as u64,
            ..self.numbers.clone()
        }
    }

    /// Ends the window of the sums.
    pub(super) fn take_sums(&mut self, now_ms: i64, host: &str) -> Vec<BrowserSum> {
        self.sums.take(now_ms, host)
    }

    fn numbers_of(&mut self, page: &Arc<str>) -> &mut PageNumbers {
        self.pages.entry(Arc::clone(page)).or_default()
    }

    /// The label of a page. What was counted under labels that are folded away moves to the new
    /// ones, so that series stay few.
    fn page(&mut self, page: Option<&str>) -> Arc<str> {
        let Some(page) = page else {
            return UNKNOWN_PAGE.into();
        };
        let label = self.routes.route("GET", Some(page), Some(200));
        for retired in self.routes.take_retired() {
            for pending in self.ids.waiting_mut() {
                if pending.page == retired.route {
                    pending.page = Arc::clone(&retired.replaced_by);
                }
            }
            if let Some(numbers) = self.pages.remove(&retired.route) {
                self.numbers_of(&retired.replaced_by).add(numbers);
            }
        }
        self.odd.other_page += u64::from(&*label == OTHER);
        label
    }

    /// When it was made: as the browser says, if that is plausible.
    fn time(&mut self, beacon: &Beacon, now_ms: i64) -> i64 {
        let Some(at_ms) = beacon.at_ms else {
            return now_ms;
        };
        if (now_ms - OLDEST_MS..=now_ms + AHEAD_MS).contains(&at_ms) {
            return at_ms.min(now_ms);
        }
        self.odd.clock += 1;
        now_ms
    }

    fn session(&mut self, beacon: &Beacon, app: &Arc<str>, now: Moment) {
        if beacon.session.is_empty() {
            return;
        }
        let label = if app.is_empty() {
            NAMELESS.into()
        } else {
            Arc::clone(app)
        };
        let client = self.salt.session(&beacon.session);
        let clients = self.sessions.entry(label).or_default();
        clients.seen(client, nanoseconds(now.since_start));
    }

    fn vital(&mut self, vital: &Vital, about: &About<'_>, now: Moment) -> WebVital {
        self.odd.clamped += u64::from(vital.clamped);
        let pending = Pending {
            page: Arc::clone(about.page),
            device: about.beacon.device,
            name: vital.name,
            value: vital.value,
        };
        if vital.id.is_empty() {
            self.observe(pending);
            self.nameless += 1;
            return about.vital(vital, format!("-{}-{}", about.at_ms, self.nameless));
        }
        let name = vital.name.as_str();
        match self.ids.report(name, &vital.id, pending, now.since_start) {
            Told::Waits => {}
            Told::Displaced(other) => self.observe(other),
            Told::Late => self.odd.late += 1,
        }
        about.vital(vital, vital.id.clone())
    }

    fn observe_due(&mut self, now: Moment) {
        while let Some(pending) = self.ids.take_due(now.since_start) {
            self.observe(pending);
        }
    }

    fn observe(&mut self, pending: Pending) {
        let numbers = self.numbers_of(&pending.page);
        numbers.observe(pending.device, pending.name, pending.value);
    }

    /// Counts calls; returns their route.
    fn call(&mut self, call: &Call) -> Arc<str> {
        let route = if call.page_origin {
            self.call_routes
                .route(call.method, Some(&call.path), Some(200))
        } else {
            CROSS_ORIGIN.into()
        };
        for retired in self.call_routes.take_retired() {
            let moved: BTreeSet<_> = self.numbers.calls.keys().cloned().collect();
            for key in moved.into_iter().filter(|key| key.route == retired.route) {
                let count = self.numbers.calls.remove(&key).unwrap_or(0);
                let route = Arc::clone(&retired.replaced_by);
                *self
                    .numbers
                    .calls
                    .entry(CallKey { route, ..key })
                    .or_default() += count;
            }
        }
        let key = CallKey {
            route: Arc::clone(&route),
            reason: CallKey::reason(call.reason, call.status),
        };
        *self.numbers.calls.entry(key).or_default() += call.count;
        route
    }
}

/// What all records of a beacon share.
struct About<'a> {
    beacon: &'a Beacon,
    page: &'a Arc<str>,
    app: &'a str,
    host: &'a str,
    at_ms: i64,
}

impl About<'_> {
    fn vital(&self, vital: &Vital, id: String) -> WebVital {
        let Self { beacon, .. } = self;
        WebVital {
            id,
            at_ms: self.at_ms,
            host: self.host.to_owned(),
            app: self.app.to_owned(),
            release: beacon.release.clone(),
            page: self.page.to_string(),
            device: beacon.device.as_str().to_owned(),
            connection: beacon.connection.as_str().to_owned(),
            navigation: beacon.navigation.as_str().to_owned(),
            name: vital.name.as_str().to_owned(),
            value_micro: micro(vital.name.exported(vital.value)),
            rating: vital.name.rate(vital.value).as_str().to_owned(),
            target: vital.target.clone(),
            url: vital.url.clone(),
            load_state: vital.load_state.clone(),
            sample_rate: beacon.sample_rate,
        }
    }

    fn error(&self, error: &PageError) -> BrowserError {
        let told = ToldError {
            type_: &error.type_,
            message: &error.message,
            stack: error.stack.as_deref(),
            source: error.source.as_deref(),
            line: error.line,
            column: error.column,
        };
        BrowserError {
            id: BrowserError::new_id(self.at_ms),
            fingerprint: fingerprint(&told),
            at_ms: self.at_ms,
            host: self.host.to_owned(),
            app: self.app.to_owned(),
            release: self.beacon.release.clone(),
            page: self.page.to_string(),
            kind: error.kind.as_str().to_owned(),
            type_: error.type_.clone(),
            message: error.message.clone(),
            stack: error.stack.clone(),
            source: error.source.clone(),
            line: error.line,
            column: error.column,
            count: error.count,
        }
    }
}

/// Names of strangers, of which so many are told apart.
#[derive(Debug)]
struct Names {
    known: BTreeSet<Arc<str>>,
    most: usize,
}

impl Names {
    fn new(most: usize) -> Self {
        Self {
            known: BTreeSet::new(),
            most,
        }
    }

    fn label(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.known.get(name) {
            return Arc::clone(known);
        }
        if self.known.len() >= self.most {
            return OTHER.into();
        }
        let name: Arc<str> = name.into();
        self.known.insert(Arc::clone(&name));
        name
    }
}

/// Millionths. Values are clamped to a minute before.
#[expect(
    clippy::cast_possible_truncation,
    reason = "a minute in millionths is far below what the type holds"
)]
fn micro(value: f64) -> i64 {
    (value * 1e6).round() as i64
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
