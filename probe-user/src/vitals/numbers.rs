//! What was counted of browsers, for the metrics. Every map in it is bounded by who fills it.

use std::{collections::BTreeMap, sync::Arc};

use super::beacon::{
    ActionKind, CallReason, Device, ErrorKind, LongFrames, Navigation, Rating, ResourceType,
    VitalName,
};

/// The page of beacons that say none.
pub const UNKNOWN_PAGE: &str = "unknown";

/// Everything.
#[derive(Clone, Debug, Default)]
pub struct Numbers {
    /// By page, folded.
    pub pages: BTreeMap<Arc<str>, PageNumbers>,
    /// Failed and slow calls.
    pub calls: BTreeMap<CallKey, u64>,
    /// Actions by name.
    pub actions: BTreeMap<(Arc<str>, ActionKind), u64>,
    /// How users came to pages.
    pub navigations: BTreeMap<Navigation, u64>,
    /// Sessions of the last five minutes by app.
    pub sessions: BTreeMap<Arc<str>, u64>,
    /// Beacons that were taken, by endpoint.
    pub accepted: BTreeMap<&'static str, u64>,
    /// Beacons that were not, by reason; all reasons are there.
    pub refused: Vec<(&'static str, u64)>,
    /// What was taken, but not as it was sent, by what was odd; all are there.
    pub odd: Vec<(&'static str, u64)>,
    /// Values that may still grow.
    pub waiting: u64,
    /// Clients whose rates are told apart.
    pub clients: u64,
}

/// A series of calls.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CallKey {
    /// Folded path; `cross-origin` for calls to elsewhere.
    pub route: Arc<str>,
    /// Why they are told of; a status by its hundred.
    pub reason: &'static str,
}

impl CallKey {
    /// Value of the label `reason`.
    pub fn reason(reason: CallReason, status: u16) -> &'static str {
        match (reason, status / 100) {
            (CallReason::Status, 4) => "status_4xx",
            (CallReason::Status, 5) => "status_5xx",
            (reason, _) => reason.as_str(),
        }
    }
}

/// Of one page.
#[derive(Clone, Debug, Default)]
pub struct PageNumbers {
    /// By class of device.
    pub devices: BTreeMap<Device, DeviceNumbers>,
    /// How values were judged.
    pub ratings: BTreeMap<(VitalName, Rating), u64>,
    /// Errors.
    pub errors: BTreeMap<ErrorKind, u64>,
    /// Files that were loaded.
    pub resources: BTreeMap<ResourceType, ResourceNumbers>,
    /// Frames that took long.
    pub long_frames: LongFrames,
}

/// Of one page and class of devices.
#[derive(Clone, Debug, Default)]
pub struct DeviceNumbers {
    /// Page lives that began.
    pub views: u64,
    /// Values.
    pub vitals: BTreeMap<VitalName, Spread>,
}

/// Files of one type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ResourceNumbers {
    /// How many.
    pub count: u64,
    /// Bytes, as far as they are told.
    pub bytes: u64,
    /// Those of `count` whose bytes are not.
    pub opaque: u64,
}

/// Observations in the buckets of [`VitalName::bounds`], in the unit of the metric.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Spread {
    /// Per bucket and not cumulative; the last has no upper bound.
    pub counts: Vec<u64>,
    /// Sum of the observations.
    pub sum: f64,
}

impl Spread {
    /// Adds one observation.
    pub fn observe(&mut self, name: VitalName, value: f64) {
        let bounds = name.bounds();
        self.counts.resize(bounds.len() + 1, 0);
        let bucket = bounds.partition_point(|bound| *bound < value);
        if let Some(count) = self.counts.get_mut(bucket) {
            *count += 1;
        }
        self.sum += value;
    }

    fn add(&mut self, other: &Self) {
        self.counts
            .resize(self.counts.len().max(other.counts.len()), 0);
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine += theirs;
        }
        self.sum += other.sum;
    }
}

impl PageNumbers {
    /// One value, in the unit of the beacon.
    pub fn observe(&mut self, device: Device, name: VitalName, value: f64) {
        let device = self.devices.entry(device).or_default();
        let spread = device.vitals.entry(name).or_default();
        spread.observe(name, name.exported(value));
        *self.ratings.entry((name, name.rate(value))).or_default() += 1;
    }

    /// Adds what was counted under a name that this page had before.
    pub fn add(&mut self, other: Self) {
        for (device, theirs) in other.devices {
            let mine = self.devices.entry(device).or_default();
            mine.views += theirs.views;
            for (name, spread) in &theirs.vitals {
                mine.vitals.entry(*name).or_default().add(spread);
            }
        }
        for (key, count) in other.ratings {
            *self.ratings.entry(key).or_default() += count;
        }
        for (kind, count) in other.errors {
            *self.errors.entry(kind).or_default() += count;
        }
        for (kind, theirs) in other.resources {
            self.resources.entry(kind).or_default().add(&theirs);
        }
        self.long_frames.count += other.long_frames.count;
        self.long_frames.blocking_ms += other.long_frames.blocking_ms;
    }
}

impl ResourceNumbers {
    /// Adds others'.
    pub fn add(&mut self, other: &Self) {
        self.count = self.count.saturating_add(other.count);
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.opaque = self.opaque.saturating_add(other.opaque);
    }
}
