//! The first failure of the disk, after which the log does nothing more.

use std::io;

use crate::error::Poisoned;

/// A failure of the disk while the log wrote.
#[derive(Debug)]
pub(crate) struct DiskFault {
    /// The work that failed.
    during: &'static str,
    error: io::Error,
}

impl DiskFault {
    /// Names the work during which the disk failed.
    pub(crate) fn during(work: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |error| Self { during: work, error }
    }
}

/// Remembers the first fault of a log.
#[derive(Debug, Default)]
pub(crate) struct Poison {
    first: Option<Poisoned>,
}

impl Poison {
    /// Refuses all work after the first fault.
    pub(crate) fn check(&self) -> Result<(), Poisoned> {
        self.first.clone().map_or(Ok(()), Err)
    }

    /// Poisons the log when the work failed.
    pub(crate) fn note<T>(&mut self, outcome: Result<T, DiskFault>) -> Result<T, Poisoned> {
        outcome.map_err(|DiskFault { during, error }| {
            let poisoned = Poisoned { reason: format!("{during}: {error}") };
            tracing::error!(reason = poisoned.reason, "the log failed and takes no more writes");
            self.first.get_or_insert(poisoned).clone()
        })
    }

    pub(crate) fn first(&self) -> Option<&Poisoned> {
        self.first.as_ref()
    }
}
