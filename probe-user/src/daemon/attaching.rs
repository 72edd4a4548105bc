//! The thread that attaches to TLS libraries.
//!
//! It is a thread of its own because the kernel lets nobody attach a uprobe without
//! `CAP_SYS_ADMIN`, which the rest of the daemon gives up (`CAP_PERFMON` suffices for loading, not
//! for `perf_event_open` with the uprobe PMU; measured on Linux 6.18).

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        mpsc::{Sender, channel},
    },
};

use tracing::error;

use super::privileges;
use crate::kernel::probe::KernelProbe;

/// Processes to look at, and where to say that it was done.
type Job = (BTreeSet<u32>, Sender<()>);

/// Hands work to the thread, which ends when this is dropped.
#[derive(Debug)]
pub struct Attaching(Option<Sender<Job>>);

/// Starts the thread, while this one still has its rights.
pub fn spawn(kernel: Arc<KernelProbe>) -> Attaching {
    let (jobs, received) = channel::<Job>();
    let spawned = std::thread::Builder::new()
        .name("tls-attach".into())
        .spawn(move || {
            privileges::keep_only_what_attaching_needs();
            while let Ok((pids, done)) = received.recv() {
                kernel.follow_libraries(pids);
                // Nobody waits any more when the daemon is told to stop.
                let _ = done.send(());
            }
        });
    match spawned {
        Ok(_) => Attaching(Some(jobs)),
        Err(error) => {
            error!("TLS will not be decoded: {error}");
            Attaching(None)
        }
    }
}

impl Attaching {
    /// Follows the TLS libraries that these processes use. Blocks until that is done.
    pub fn follow_libraries(&self, pids: BTreeSet<u32>) {
        if pids.is_empty() {
            return;
        }
        let (done, wait) = channel();
        if let Some(jobs) = &self.0
            && jobs.send((pids, done)).is_ok()
        {
            // An error means that the thread is gone, of which it told.
            let _ = wait.recv();
        }
    }
}
