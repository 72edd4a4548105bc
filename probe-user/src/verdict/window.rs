//! Readings of the last seconds, and the verdict over them.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use super::{Interval, Pressure, Reading, Report, ServiceTimes, UnderWay, host_hints, judge};

/// Readings that are kept.
const READINGS: usize = 6;

/// The readings of the last seconds; bounded.
#[derive(Debug, Default)]
pub struct Window {
    /// Oldest first, each with its time on a clock that never goes back.
    readings: VecDeque<(Duration, Reading)>,
}

impl Window {
    /// Nothing read yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a reading and drops the oldest. `at` is the time of any steady clock.
    pub fn push(&mut self, at: Duration, reading: Reading) {
        if self.readings.len() >= READINGS {
            self.readings.pop_front();
        }
        self.readings.push_back((at, reading));
    }

    /// What the readings say.
    pub fn report(&self, pressure: &Pressure) -> Report {
        let (Some((from, oldest)), Some((to, newest))) =
            (self.readings.front(), self.readings.back())
        else {
            return Report::default();
        };
        let length = to.saturating_sub(*from);
        let before = ServiceTimes::default();
        let services = newest.services.iter().map(|(name, (times, _))| {
            // Who came meanwhile began at nothing.
            let old = oldest.services.get(name).map_or(&before, |(old, _)| old);
            let interval = Interval {
                length,
                times: times.since(old),
                always: self.always(name),
            };
            judge(name, &interval)
        });
        Report {
            window: length,
            services: services.collect(),
            host: host_hints(pressure),
        }
    }

    /// What was under way at every look.
    fn always(&self, name: &Arc<str>) -> UnderWay {
        let looks = self.readings.iter();
        let mut looks = looks.map(|(_, reading)| {
            let service = reading.services.get(name);
            service.map(|(_, under_way)| *under_way).unwrap_or_default()
        });
        let first = looks.next().unwrap_or_default();
        looks.fold(first, |all, look| UnderWay {
            requests: all.requests.min(look.requests),
            statements: all.statements.min(look.statements),
            database: all.database.min(look.database),
        })
    }
}

/// By name, in the order of names.
pub(super) type Services = BTreeMap<Arc<str>, (ServiceTimes, UnderWay)>;
