//! Ending early and cleanly: what was started is stopped by its owner, so the bench must not be
//! killed by a signal in between.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Result, bail};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

static ASKED: AtomicBool = AtomicBool::new(false);

extern "C" fn ask(_: libc::c_int) {
    ASKED.store(true, Ordering::Relaxed);
}

/// Watches for SIGINT and SIGTERM.
#[derive(Debug)]
pub(super) struct Interrupt(());

impl Interrupt {
    /// From now on those signals no longer end the process.
    ///
    /// # Errors
    /// The kernel refuses.
    pub(super) fn watch() -> Result<Self> {
        let action = SigAction::new(
            SigHandler::Handler(ask),
            SaFlags::SA_RESTART,
            SigSet::empty(),
        );
        for signal in [Signal::SIGINT, Signal::SIGTERM] {
            // SAFETY: the handler only stores to an atomic, which is allowed in a handler.
            unsafe { sigaction(signal, &action) }?;
        }
        Ok(Self(()))
    }

    /// Whether to go on.
    ///
    /// # Errors
    /// A signal came.
    #[allow(clippy::unused_self, reason = "only who watches may ask")]
    pub(super) fn check(&self) -> Result<()> {
        if ASKED.load(Ordering::Relaxed) {
            bail!("interrupted");
        }
        Ok(())
    }
}
