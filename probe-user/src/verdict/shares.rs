//! Shares that add up to exactly 100 %.

use super::State;

/// Tenths of a percent in all.
const WHOLE: u64 = 1_000;

/// How much of the time belongs to each state, in tenths of a percent: 1,000 in all, or all zero
/// when there was no time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Shares([u64; State::ALL.len()]);

impl Shares {
    /// From the time in each state, rounded so that the sum is exact: what rounding down leaves over
    /// goes to those that lost most by it.
    pub fn of(times: [u64; State::ALL.len()]) -> Self {
        let sum: u128 = times.iter().map(|ns| u128::from(*ns)).sum();
        if sum == 0 {
            return Self::default();
        }
        let exact = times.map(|ns| u128::from(ns) * u128::from(WHOLE));
        let mut shares = exact.map(|part| u64::try_from(part / sum).unwrap_or(WHOLE));
        let mut missing = WHOLE.saturating_sub(shares.iter().sum());
        let mut by_remainder: Vec<usize> = (0..shares.len()).collect();
        // Stable, so that equal remainders are given to the same state each time.
        by_remainder
            .sort_by_key(|index| std::cmp::Reverse(exact.get(*index).map_or(0, |part| part % sum)));
        for index in by_remainder {
            if missing == 0 {
                break;
            }
            if let Some(share) = shares.get_mut(index) {
                *share += 1;
                missing -= 1;
            }
        }
        Self(shares)
    }

    /// Tenths of a percent.
    pub fn per_mille(&self, state: State) -> u64 {
        self.0.get(state as usize).copied().unwrap_or(0)
    }

    /// Percent, with one decimal.
    pub fn percent(&self, state: State) -> f64 {
        f64::from(u32::try_from(self.per_mille(state)).unwrap_or(0)) / 10.0
    }

    /// Each state and its percent, in the order in which they are drawn.
    pub fn iter(&self) -> impl Iterator<Item = (State, f64)> {
        State::ALL
            .map(|state| (state, self.percent(state)))
            .into_iter()
    }

    /// Whether there was no time at all.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|share| *share == 0)
    }
}
