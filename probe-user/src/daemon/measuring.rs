//! The thread that switches the measuring of BPF run times on and off.
//!
//! It is a thread of its own because measuring needs `CAP_SYS_ADMIN`, which the rest of the daemon
//! gives up.

use std::{
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    thread::JoinHandle,
    time::Duration,
};

use tracing::warn;

use crate::{
    config::{Kernel, ProgramStats},
    kernel::measuring::Measuring,
};

use super::privileges;

/// Stops the thread when dropped.
#[derive(Debug)]
pub struct MeasuringThread {
    // Dropping the sender is the signal to stop.
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Starts the thread, if measuring is wanted.
pub fn spawn(config: &Kernel, measuring: Measuring) -> Option<MeasuringThread> {
    let (on, off) = match config.program_stats {
        ProgramStats::Off => return None,
        ProgramStats::Always => (Duration::MAX, Duration::ZERO),
        ProgramStats::Sampled => {
            let on = Duration::from_secs(config.program_stats_for.into());
            let every = Duration::from_secs(config.program_stats_every.into());
            (on, every.saturating_sub(on))
        }
    };
    let (stop, stopped) = channel();
    let spawned = std::thread::Builder::new()
        .name("bpf-stats".into())
        .spawn(move || {
            privileges::keep_only_what_measuring_needs();
            while interval(&measuring, &stopped, on, off) {}
        });
    match spawned {
        Ok(thread) => Some(MeasuringThread {
            stop: Some(stop),
            thread: Some(thread),
        }),
        Err(error) => {
            warn!("cannot measure what the kernel programs cost: {error}");
            None
        }
    }
}

/// One time on and one time off; `false` when it is time to stop.
fn interval(measuring: &Measuring, stopped: &Receiver<()>, on: Duration, off: Duration) -> bool {
    if let Err(error) = measuring.start() {
        warn!("cannot measure what the kernel programs cost: {error}");
        return false;
    }
    let goes_on = wait(stopped, on);
    measuring.stop();
    goes_on && wait(stopped, off)
}

fn wait(stopped: &Receiver<()>, time: Duration) -> bool {
    matches!(stopped.recv_timeout(time), Err(RecvTimeoutError::Timeout))
}

impl Drop for MeasuringThread {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It has nothing to say that it did not log.
            let _ = thread.join();
        }
    }
}
