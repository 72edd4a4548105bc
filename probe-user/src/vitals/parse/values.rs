//! Single members: what is allowed, and the message for what is not.

use super::{ID_BYTES, MAX_COUNT};
use crate::vitals::{clean, refusal::Refusal};

/// Text, if there is any.
pub(super) fn some(text: &str, most: usize) -> Option<String> {
    Some(clean::text(text, most, false)).filter(|text| !text.is_empty())
}

/// A word that must be there.
pub(super) fn required<T>(
    at: &str,
    field: &str,
    value: Option<String>,
    read: impl Fn(&str) -> Option<T>,
    words: &[&str],
) -> Result<T, Refusal> {
    let field = format!("{at}{field}");
    let value = word(&field, value.as_deref(), read, words)?;
    value.ok_or_else(|| {
        Refusal::invalid(
            field,
            format!("it is missing; allowed are {}", words.join(", ")),
        )
    })
}

/// One of a few words, if it is there.
pub(super) fn word<T>(
    field: &str,
    value: Option<&str>,
    read: impl Fn(&str) -> Option<T>,
    words: &[&str],
) -> Result<Option<T>, Refusal> {
    let Some(value) = value else { return Ok(None) };
    match read(value) {
        Some(value) => Ok(Some(value)),
        None => Err(not_a_word(field, value, words)),
    }
}

/// The refusal of a word.
pub(super) fn not_a_word(field: &str, value: &str, words: &[&str]) -> Refusal {
    let value = clean::text(value, 40, false);
    Refusal::invalid(
        field,
        format!("`{value}` is not known; allowed are {}", words.join(", ")),
    )
}

/// An id as browsers make them.
pub(super) fn id(field: &str, value: Option<String>) -> Result<String, Refusal> {
    let value = value.unwrap_or_default();
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':');
    if value.len() <= ID_BYTES && value.chars().all(plain) {
        return Ok(value);
    }
    Err(Refusal::invalid(
        field,
        "allowed are at most 64 of the characters A-Z a-z 0-9 - _ . :",
    ))
}

/// A number of things; one when it is not said.
pub(super) fn count(field: &str, value: Option<f64>) -> Result<u64, Refusal> {
    match value {
        None => Ok(1),
        Some(_) => Ok(number(field, value, MAX_COUNT)?.max(1)),
    }
}

/// A whole number from 0 on; zero when it is not said, `most` when it is more.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "checked and clamped before"
)]
pub(super) fn number(field: &str, value: Option<f64>, most: f64) -> Result<u64, Refusal> {
    let value = value.unwrap_or(0.0);
    if !value.is_finite() || value < 0.0 {
        return Err(Refusal::invalid(
            field,
            format!("{value} is not possible: allowed is a number from 0 on"),
        ));
    }
    Ok(value.min(most) as u64)
}
