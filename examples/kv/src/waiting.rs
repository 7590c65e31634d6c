//! Commands that wait until there is something for them.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::Notify;

use super::command::{Answer, Blocking, ReadBatch};
use super::connection::{Freshness, Reason, Written};
use super::server::Backend;
use super::shards::layout::Target;

/// Proposes an entry until it finds something to take, or the time is over. A client that has gone drops this; what the
/// entry took then is lost, as in Redis.
pub(super) async fn write_once_possible<B: Backend>(
    backend: B,
    target: Target,
    entry: Bytes,
    blocking: Blocking,
) -> Written {
    let deadline = blocking.timeout.map(|timeout| tokio::time::Instant::now() + timeout);
    let mut nothing = None;
    loop {
        let added = Arc::new(Notify::new());
        // Before the attempt, so that no item is missed between the two.
        let wake = Arc::clone(&added);
        let _waits = match backend.wait(blocking.keys.clone(), move || wake.notify_one()).await {
            Ok(waits) => waits,
            Err(reason) => return Written::NotApplied(reason),
        };
        let reply = match backend.write(target, entry.clone()).await {
            Written::Applied(reply) => blocking.later(reply, nothing),
            written => return written,
        };
        if !Blocking::is_nothing(&reply) {
            return Written::Applied(reply);
        }
        if is_over(deadline, added.notified()).await {
            return Written::Applied(Blocking::timed_out(reply));
        }
        nothing = Some(reply);
    }
}

/// Reads until there is something, or the time is over.
pub(super) async fn read_once_possible<B: Backend>(
    backend: B,
    target: Target,
    mut batch: ReadBatch,
    freshness: Freshness,
) -> Result<Answer, Reason> {
    let timeout = batch.blocking().and_then(|blocking| blocking.timeout);
    let deadline = timeout.map(|timeout| tokio::time::Instant::now() + timeout);
    loop {
        let added = Arc::new(Notify::new());
        let wake = Arc::clone(&added);
        let answer = backend.read_or_wait(target, freshness, batch, move || wake.notify_one());
        let (_wait, again, encoded) = match answer.await? {
            Answer::Nothing { wait, batch, encoded } => (wait, batch, encoded),
            answer => return Ok(answer),
        };
        if is_over(deadline, added.notified()).await {
            return Ok(Answer::Replies { encoded: encoded.into(), rest: None });
        }
        batch = again;
    }
}

/// Waits for an event until a deadline, if there is one. Returns true if the time is over.
async fn is_over(deadline: Option<tokio::time::Instant>, event: impl Future<Output = ()>) -> bool {
    let Some(deadline) = deadline else {
        event.await;
        return false;
    };
    tokio::time::timeout_at(deadline, event).await.is_err()
}
