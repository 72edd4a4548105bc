//! What users' browsers told.

use super::metric;
use crate::{
    metrics::{
        families::Families,
        metric::{Distribution, HistogramOf},
    },
    vitals::{
        Numbers,
        beacon::VitalName,
        numbers::{PageNumbers, Spread},
    },
};

pub(super) fn collect(families: &mut Families, numbers: &Numbers) {
    for (page, counted) in &numbers.pages {
        self::page(families, page, counted);
    }
    for (key, count) in &numbers.calls {
        families.counter(&metric::BROWSER_CALLS, [&key.route, key.reason], *count);
    }
    for ((name, kind), count) in &numbers.actions {
        families.counter(&metric::BROWSER_ACTIONS, [name, kind.as_str()], *count);
    }
    for (navigation, count) in &numbers.navigations {
        families.counter(&metric::BROWSER_NAVIGATIONS, [navigation.as_str()], *count);
    }
    for (app, sessions) in &numbers.sessions {
        families.gauge(&metric::BROWSER_SESSIONS, [app], *sessions);
        // Clients that were counted by their requests are the better number, and never both.
        let known = families.get(&metric::ACTIVE_USERS);
        if !known.is_some_and(|known| known.series.contains_key(&vec![app.to_string()])) {
            families.gauge(&metric::ACTIVE_USERS, [app], *sessions);
        }
    }
    for (endpoint, count) in &numbers.accepted {
        families.counter(&metric::BEACONS_ACCEPTED, [endpoint], *count);
    }
    for (reason, count) in &numbers.refused {
        families.counter(&metric::BEACONS_REFUSED, [reason], *count);
    }
    for (what, count) in &numbers.odd {
        families.counter(&metric::BEACONS_ODD, [what], *count);
    }
    families.gauge(&metric::WEB_VITALS_WAITING, [], numbers.waiting);
    families.gauge(&metric::BEACON_CLIENTS, [], numbers.clients);
}

fn page(families: &mut Families, page: &str, counted: &PageNumbers) {
    for (device, numbers) in &counted.devices {
        let labels = [page, device.as_str()];
        if numbers.views > 0 {
            families.counter(&metric::BROWSER_PAGE_VIEWS, labels, numbers.views);
        }
        for (name, spread) in &numbers.vitals {
            families.histogram(histogram(*name), labels, distribution(spread));
        }
    }
    for ((name, rating), count) in &counted.ratings {
        let labels = [name.as_str(), page, rating.as_str()];
        families.counter(&metric::WEB_VITAL_RATINGS, labels, *count);
    }
    for (kind, count) in &counted.errors {
        families.counter(&metric::BROWSER_ERRORS, [page, kind.as_str()], *count);
    }
    for (kind, sums) in &counted.resources {
        let labels = [page, kind.as_str()];
        families.counter(&metric::BROWSER_RESOURCES, labels, sums.count);
        families.counter(&metric::BROWSER_RESOURCE_BYTES, labels, sums.bytes);
        families.counter(&metric::BROWSER_RESOURCES_OPAQUE, labels, sums.opaque);
    }
    if counted.long_frames.count > 0 {
        let frames = &counted.long_frames;
        families.counter(&metric::BROWSER_LONG_FRAMES, [page], frames.count);
        let seconds = frames.blocking_ms as f64 / 1e3;
        families.counter_float(&metric::BROWSER_BLOCKING, [page], seconds);
    }
}

fn histogram(name: VitalName) -> &'static HistogramOf<2> {
    match name {
        VitalName::Lcp => &metric::WEB_VITAL_LCP,
        VitalName::Inp => &metric::WEB_VITAL_INP,
        VitalName::Cls => &metric::WEB_VITAL_CLS,
        VitalName::Fcp => &metric::WEB_VITAL_FCP,
        VitalName::Ttfb => &metric::WEB_VITAL_TTFB,
        VitalName::Fid => &metric::WEB_VITAL_FID,
    }
}

fn distribution(spread: &Spread) -> Distribution {
    Distribution {
        counts: spread.counts.clone(),
        sum: spread.sum,
    }
}
