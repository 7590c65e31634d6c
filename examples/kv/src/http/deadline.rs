//! The time at which a connection is given up.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// The time at which a connection is given up, whatever its client does. Whoever answers it may move it on. Clones
/// share it.
#[derive(Debug, Clone)]
pub(super) struct Deadline {
    at: watch::Sender<Instant>,
    /// It was moved: the connection has work that takes long.
    is_extended: Arc<AtomicBool>,
}

impl Deadline {
    pub(super) fn after(time: Duration) -> Self {
        Self { at: watch::Sender::new(Instant::now() + time), is_extended: Arc::default() }
    }

    /// Moves it to this time from now, if it was earlier.
    pub(super) fn extend(&self, time: Duration) {
        self.is_extended.store(true, Ordering::Relaxed);
        let later = Instant::now() + time;
        self.at.send_if_modified(|at| {
            if later > *at {
                *at = later;
                true
            } else {
                false
            }
        });
    }

    /// Returns true if it was moved.
    pub(super) fn is_extended(&self) -> bool {
        self.is_extended.load(Ordering::Relaxed)
    }

    /// Waits until it is over.
    pub(super) async fn over(&self) {
        let mut changes = self.at.subscribe();
        loop {
            let at = *changes.borrow_and_update();
            tokio::select! {
                () = sleep_until(at) => return,
                // The sender is held here.
                _ = changes.changed() => {}
            }
        }
    }
}
