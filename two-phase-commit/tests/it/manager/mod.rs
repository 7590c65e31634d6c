//! The transaction manager: its core on a bench without threads, and the shipped manager.

mod admin;
mod bench;
mod conformance;
mod crashes;
mod faults;
mod replica;
mod replicated;
mod road;
mod rows;
mod shipped;

use std::time::Duration;

/// Waits for a condition. The bound is far above what any machine needs: a test that waits longer has failed.
pub(super) async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let waits = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, waits).await.is_ok(), "not within {PATIENCE:?}: {what}");
}

/// Time for which a test waits for anything.
const PATIENCE: Duration = Duration::from_mins(2);
