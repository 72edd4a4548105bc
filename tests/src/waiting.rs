//! Bounded waiting for something that another process or the kernel does.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// How long anything may take before it counts as never happening. Long, because an emulated
/// kernel is twenty times slower than a real one; a test that passes never waits for it.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// How often a condition is looked at. Nothing is ever concluded from this time having passed.
const INTERVAL: Duration = Duration::from_millis(2);

/// Looks at `condition` until it yields a value.
///
/// # Errors
/// The condition's own error at once, or "`what` did not happen" after `patience`.
pub fn until<T>(
    what: &str,
    patience: Duration,
    mut condition: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(value) = condition().with_context(|| format!("waiting until {what}"))? {
            return Ok(value);
        }
        if Instant::now() > deadline {
            bail!("it did not happen within {patience:?} that {what}");
        }
        pause();
    }
}

/// Tries `attempt` until it succeeds; the last error is the error of the whole.
///
/// # Errors
/// The attempt's last error once `patience` is over.
pub fn eventually<T>(patience: Duration, mut attempt: impl FnMut() -> Result<T>) -> Result<T> {
    let deadline = Instant::now() + patience;
    loop {
        match attempt() {
            Ok(value) => return Ok(value),
            Err(error) if Instant::now() > deadline => return Err(error),
            Err(_) => pause(),
        }
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "no async runtime here: a short sleep between two looks is all that polling needs"
)]
fn pause() {
    std::thread::sleep(INTERVAL);
}
