//! State that the callers and the threads share.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;

use quorate_protocol::{LoadRange, Ticket};

use super::metrics::ThreadMetrics;
use super::queue::Queue;
use super::scribe::Submission;
use crate::stream_id::StreamId;

/// State that the callers and the threads share.
pub(super) struct Shared {
    pub(super) writes: Queue<Submission>,
    pub(super) loads: Queue<Load>,
    pub(super) metrics: Mutex<ThreadMetrics>,
}

pub(super) struct Load {
    pub(super) stream: StreamId,
    pub(super) ticket: Ticket,
    pub(super) range: LoadRange,
}

/// Calls `f`. If it panics, returns the panic's message; then the state on which it worked must not be used any more.
pub(super) fn catching<T>(f: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(f)).map_err(|payload| {
        let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
        text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "for no stated reason".to_owned())
    })
}
