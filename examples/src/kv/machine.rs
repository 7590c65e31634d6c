//! The store as the state machine of a replica.

use std::io;

use bytes::Bytes;
use quorate_protocol::LogTime;
use quorate_runtime::{ApplyContext, StateMachine};

use super::command;
use super::store::{Garbage, Snapshot, Store};

/// An empty store for a node.
pub fn new_store() -> Store {
    Store::new().with_discard(discard)
}

impl StateMachine for Store {
    type Snapshot = Snapshot;

    fn apply(&mut self, context: ApplyContext, entry: Bytes) -> io::Result<Bytes> {
        command::apply(self, context.log_time.0, &entry).map_err(io::Error::other)
    }

    fn tick(&mut self, context: ApplyContext) -> io::Result<()> {
        Self::tick(self, context.log_time.0);
        Ok(())
    }

    fn snapshot(&self) -> Snapshot {
        Self::snapshot(self)
    }

    fn write(snapshot: Snapshot, out: &mut dyn io::Write) -> io::Result<()> {
        snapshot.write(out)
    }

    fn restore(from: &mut dyn io::Read) -> io::Result<Self> {
        let restored = Self::restore(from).map_err(io::Error::other)?;
        Ok(restored.with_discard(discard))
    }

    fn digest(&self) -> u64 {
        Self::digest(self)
    }

    fn next_deadline(&self) -> Option<LogTime> {
        Self::next_deadline(self).map(LogTime)
    }
}

/// Frees many keys on a thread of their own, so that the loop is not held up.
fn discard(garbage: Garbage) {
    if garbage.keys() > KEYS_FREED_AT_ONCE {
        // If no thread can be started, the closure is dropped here, and the keys with it.
        let _ = std::thread::Builder::new().name("free".to_owned()).spawn(move || drop(garbage));
    }
}

const KEYS_FREED_AT_ONCE: usize = 1_000;
