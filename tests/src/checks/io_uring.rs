//! What the probe can't see, but says that it can't.

use anyhow::Result;

use super::traced::{is, run};
use crate::{site::Site, workload::tally::Fact};

/// Without this nobody would know why the bytes of a service are too few.
pub(super) fn requests_to_an_io_uring_are_counted(site: &Site) -> Result<()> {
    let done = run(site, &["uring", "count=300"])?;
    let requests = done.tally.fact(Fact::UringRequests)?;
    let name = "hostprobe_io_uring_requests_total";
    is(&done.metrics, name, &[("service", "app")], requests)?;
    done.probe.stop()
}
