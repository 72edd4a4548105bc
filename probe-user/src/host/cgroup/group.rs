//! Reading one group's files.

use std::path::Path;

use super::{
    super::{
        cpu::parse_pressure,
        files::{Files, value_of},
    },
    hierarchy::Version,
    report::{GroupCounts, GroupPressure, MEMORY_EVENTS, PRESSURE_RESOURCES},
};

/// v1 says a little less than the largest number where there is no limit.
const NO_LIMIT: u64 = 1 << 60;

/// One group, read once a sample.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Group {
    pub(super) cpu_limit: Option<f64>,
    pub(super) memory_limit: Option<u64>,
    pub(super) memory_used: Option<u64>,
    pub(super) counts: GroupCounts,
    pub(super) pressure: Option<GroupPressure>,
}

pub(super) fn cpu(files: &mut Files, version: Version, directory: &Path) -> Group {
    let mut read = |name: &str| {
        files.elsewhere("cgroup", &directory.join(name), |text| {
            Some(text.to_owned())
        })
    };
    let limit = match version {
        Version::V1 => {
            let quota = read("cpu.cfs_quota_us").and_then(|text| text.trim().parse::<i64>().ok());
            let period = read("cpu.cfs_period_us").and_then(|text| text.trim().parse::<i64>().ok());
            quota
                .zip(period)
                .and_then(|(quota, period)| share(quota, period))
        }
        Version::V2 => read("cpu.max").and_then(|text| {
            let mut words = text.split_ascii_whitespace();
            share(words.next()?.parse().ok()?, words.next()?.parse().ok()?)
        }),
    };
    let mut counts = GroupCounts::default();
    if limit.is_some()
        && let Some(text) = read("cpu.stat")
    {
        let value = |key| value_of(&text, key).unwrap_or_default();
        counts.periods = value("nr_periods");
        counts.throttled_periods = value("nr_throttled");
        counts.throttled_ns = match version {
            Version::V1 => value("throttled_time"),
            Version::V2 => value("throttled_usec").saturating_mul(1000),
        };
    }
    Group {
        cpu_limit: limit,
        counts,
        ..Group::default()
    }
}

#[expect(clippy::cast_precision_loss, reason = "microseconds of a second or so")]
fn share(quota: i64, period: i64) -> Option<f64> {
    (quota > 0 && period > 0).then(|| quota as f64 / period as f64)
}

pub(super) fn memory(files: &mut Files, version: Version, directory: &Path) -> Group {
    let mut read = |name: &str| {
        files.elsewhere("cgroup", &directory.join(name), |text| {
            Some(text.to_owned())
        })
    };
    let number = |text: String| text.trim().parse::<u64>().ok();
    let mut group = Group::default();
    let events = &mut group.counts.memory_events;
    match version {
        Version::V1 => {
            group.memory_limit = read("memory.limit_in_bytes").and_then(number);
            group.memory_used = read("memory.usage_in_bytes").and_then(number);
            let [_, _, max, _, oom_kill] = events;
            *max = read("memory.failcnt").and_then(number).unwrap_or_default();
            let control = read("memory.oom_control").unwrap_or_default();
            *oom_kill = value_of(&control, "oom_kill").unwrap_or_default();
        }
        Version::V2 => {
            group.memory_limit = read("memory.max").and_then(number);
            group.memory_used = read("memory.current").and_then(number);
            let text = read("memory.events").unwrap_or_default();
            for (count, name) in events.iter_mut().zip(MEMORY_EVENTS) {
                *count = value_of(&text, name).unwrap_or_default();
            }
        }
    }
    group.memory_limit = group.memory_limit.filter(|bytes| *bytes < NO_LIMIT);
    group
}

/// A group's own pressure: v2 alone, and not where the kernel does not measure it.
pub(super) fn pressure(files: &mut Files, directory: &Path) -> Group {
    let mut pressure = GroupPressure::default();
    let mut known = false;
    let slots = pressure.waiting_us.iter_mut().zip(&mut pressure.stalled_us);
    for ((waiting, stalled), resource) in slots.zip(PRESSURE_RESOURCES) {
        let path = directory.join(format!("{resource}.pressure"));
        let read = files.elsewhere("cgroup_pressure", &path, |text| {
            parse_pressure(resource, text)
        });
        if let Some(read) = read {
            known = true;
            *waiting = read.some.total_us;
            *stalled = read.full.map_or(0, |full| full.total_us);
        }
    }
    Group {
        pressure: known.then_some(pressure),
        ..Group::default()
    }
}
