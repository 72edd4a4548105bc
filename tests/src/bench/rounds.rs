//! What all measurements do with rounds: a random order in each, and a median over all of them.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;

/// xorshift64: enough to shuffle a few variants.
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    /// Starts at the clock, so that two runs differ.
    ///
    /// # Errors
    /// The clock stands before 1970.
    pub fn new() -> Result<Self> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
        Ok(Self(u64::from(now.subsec_nanos()) | 1 << 40))
    }

    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        #[allow(clippy::cast_possible_truncation, reason = "a random number")]
        let number = self.0 as usize;
        number % bound
    }

    /// The numbers below `count` in a random order, each once.
    pub fn order(&mut self, count: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..count).collect();
        for last in (1..count).rev() {
            order.swap(last, self.below(last + 1));
        }
        order
    }
}

/// The middle of the values, of an even number of them the mean of the middle two; NaN of none.
pub fn median(mut values: Vec<f64>) -> f64 {
    if values.is_empty() {
        return f64::NAN;
    }
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 {
        values[middle]
    } else {
        f64::midpoint(values[middle - 1], values[middle])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_lies_in_the_middle() {
        assert!((median(vec![3.0, 1.0, 2.0]) - 2.0).abs() < f64::EPSILON);
        assert!((median(vec![4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < f64::EPSILON);
        assert!(median(Vec::new()).is_nan());
    }

    #[test]
    fn every_order_has_every_variant() {
        let mut random = Random::new().unwrap();
        for _ in 0..20 {
            let mut order = random.order(4);
            order.sort_unstable();
            assert_eq!(order, [0, 1, 2, 3]);
        }
    }
}
