//! Snapshots that callers ask for.

use quorate_protocol::{HaltReason, Instant, LogIndex, ReplicatedLog};

use crate::group::interface::CallId;
use crate::group::outcome::BuildError;
use crate::group::reply::Reply;
use crate::replica::context::Context;

/// The callers that wait for a snapshot of this replica's own state.
#[derive(Debug, Default)]
pub(super) struct Asked(Vec<Asking>);

#[derive(Debug)]
struct Asking {
    call: CallId,
    /// The index that the snapshot must cover.
    index: LogIndex,
    /// True if the log is to drop everything that the snapshot covers.
    compacts: bool,
    until: Instant,
}

impl Asked {
    pub(super) fn add(&mut self, call: CallId, index: LogIndex, compacts: bool, until: Instant) {
        self.0.push(Asking { call, index, compacts, until });
    }

    /// Returns true if a caller waits.
    pub(super) fn is_waiting(&self) -> bool {
        !self.0.is_empty()
    }

    /// A snapshot of this index is durable: answers those for whom it is enough. Returns true if the log is to drop
    /// what it covers.
    pub(super) fn on_durable<L: ReplicatedLog>(&mut self, context: &mut Context<L>, index: LogIndex) -> bool {
        let served: Vec<Asking> = self.0.extract_if(.., |asking| asking.index <= index).collect();
        for asking in &served {
            context.reply(asking.call, Reply::Built(Ok(index)));
        }
        served.iter().any(|asking| asking.compacts)
    }

    pub(super) fn on_failed<L: ReplicatedLog>(&mut self, context: &mut Context<L>, reason: &str) {
        self.end(context, |_| true, &BuildError::Failed(reason.to_owned()));
    }

    pub(super) fn on_halted<L: ReplicatedLog>(&mut self, context: &mut Context<L>, reason: &HaltReason) {
        self.end(context, |_| true, &BuildError::Halted(reason.clone()));
    }

    pub(super) fn expire<L: ReplicatedLog>(&mut self, context: &mut Context<L>) {
        let now = context.instant();
        self.end(context, |asking| asking.until <= now, &BuildError::DeadlinePassed);
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.0.iter().map(|asking| asking.until).min()
    }

    fn end<L: ReplicatedLog>(
        &mut self,
        context: &mut Context<L>,
        is_ended: impl Fn(&Asking) -> bool,
        error: &BuildError,
    ) {
        for asking in self.0.extract_if(.., |asking| is_ended(asking)) {
            context.reply(asking.call, Reply::Built(Err(error.clone())));
        }
    }
}
