//! When the kernel measures the run time of our programs.
//!
//! Measuring costs two clock reads a run, more than the cheapest program itself, so by default it
//! is on for a short time in each period; how long it was on is counted too, and the quotient of
//! the two is what a program costs.

use std::{
    os::fd::OwnedFd,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use aya::sys::{Stats, enable_stats};
/// For how long measuring was on.
#[derive(Debug, Default)]
struct State {
    /// Total of closed intervals.
    measured: Duration,
    /// The open interval: when it began, and the descriptor that keeps measuring on.
    on: Option<(Instant, OwnedFd)>,
}

/// Switches measuring on and off and keeps the time.
#[derive(Debug, Clone, Default)]
pub struct Measuring {
    state: Arc<Mutex<State>>,
}

impl Measuring {
    /// Starts to measure, unless it is on.
    ///
    /// # Errors
    /// The calling thread lacks `CAP_SYS_ADMIN`, or the kernel is older than 5.8.
    pub fn start(&self) -> Result<(), aya::sys::SyscallError> {
        let fd = enable_stats(Stats::RunTime)?;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.on.get_or_insert((Instant::now(), fd));
        Ok(())
    }

    /// Stops measuring.
    pub fn stop(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((since, fd)) = state.on.take() {
            drop(fd);
            state.measured += since.elapsed();
        }
    }

    /// Total time for which it was on.
    pub fn measured(&self) -> Duration {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let open = state
            .on
            .as_ref()
            .map_or(Duration::ZERO, |(since, _)| since.elapsed());
        state.measured + open
    }
}
