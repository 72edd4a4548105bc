//! Numbers in at most six characters.

/// A rate or count.
pub(super) fn short(value: f64) -> String {
    if value <= 0.0 {
        return "0".to_owned();
    }
    for (limit, unit) in [(1e9, "G"), (1e6, "M"), (9_999.5, "k")] {
        if value >= limit {
            let scale = if unit == "k" { 1e3 } else { limit };
            return three_digits(value / scale) + unit;
        }
    }
    if value < 0.095 {
        "<0.1".to_owned()
    } else if value < 9.95 {
        format!("{value:.1}")
    } else {
        format!("{value:.0}")
    }
}

fn three_digits(value: f64) -> String {
    if value < 9.995 {
        format!("{value:.2}")
    } else if value < 99.95 {
        format!("{value:.1}")
    } else {
        format!("{value:.0}")
    }
}

/// A time in seconds; a dash when there is none.
pub(super) fn duration(seconds: Option<f64>) -> String {
    let Some(seconds) = seconds else {
        return "-".to_owned();
    };
    for (limit, unit) in [(1.0, "s"), (1e-3, "ms"), (1e-6, "µs")] {
        if seconds >= limit * 0.999_5 {
            return three_digits(seconds / limit) + unit;
        }
    }
    format!("{:.0}ns", seconds * 1e9)
}

/// A part of a whole, or CPU seconds a second.
pub(super) fn percent(ratio: Option<f64>) -> String {
    match ratio {
        None => "-".to_owned(),
        Some(ratio) if ratio > 0.0 && ratio < 0.000_95 => "<0.1%".to_owned(),
        Some(ratio) if ratio < 0.099_5 => format!("{:.1}%", ratio * 100.0),
        Some(ratio) => format!("{:.0}%", ratio * 100.0),
    }
}

/// Memory.
pub(super) fn bytes(value: Option<u64>) -> String {
    let Some(value) = value else {
        return "-".to_owned();
    };
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    let value = value as f64;
    for (shift, unit) in [(40, "T"), (30, "G"), (20, "M"), (10, "K")] {
        let limit = f64::from(shift).exp2();
        if value >= limit {
            return three_digits(value / limit) + unit;
        }
    }
    format!("{value:.0}B")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A number that needs more room than its column has is cut, and a cut number is a wrong one.
    #[test]
    fn no_number_needs_more_than_six_characters() {
        let mut value = 1e-9;
        while value < 1e12 {
            for text in [short(value), duration(Some(value.min(99_999.0)))] {
                assert!(text.chars().count() <= 6, "{value}: {text}");
            }
            value *= 1.07;
        }
        assert_eq!(short(1_234.0), "1234");
        assert_eq!(short(12_345.0), "12.3k");
        assert_eq!(duration(Some(0.000_38)), "380µs");
        assert_eq!(duration(Some(0.012)), "12.0ms");
        assert_eq!(
            (duration(None), percent(None), bytes(None)),
            ("-".into(), "-".into(), "-".into())
        );
        assert_eq!(percent(Some(1.234)), "123%");
        assert_eq!(percent(Some(0.012)), "1.2%");
        assert_eq!(bytes(Some(512 << 20)), "512M");
        assert_eq!(bytes(Some(u64::MAX)).chars().count(), 9);
    }
}
