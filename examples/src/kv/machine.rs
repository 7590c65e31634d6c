//! The store as the state machine of a replica.

use std::io;
use std::sync::OnceLock;

use bytes::Bytes;
use quorate_protocol::LogTime;
use quorate_runtime::{ApplyContext, StateMachine};

use super::store::{Garbage, Snapshot, Store};

/// An empty store for a node of this process.
///
/// # Errors
/// When the system has no random bytes.
pub fn new_store() -> io::Result<Store> {
    Ok(Store::new(seed()?).with_discard(discard))
}

impl StateMachine for Store {
    type Snapshot = Snapshot;

    fn apply(&mut self, context: ApplyContext, command: Bytes) -> io::Result<Bytes> {
        Ok(Self::apply(self, context.log_time.0, &command))
    }

    fn tick(&mut self, context: ApplyContext) -> io::Result<()> {
        Self::tick(self, context.log_time.0);
        Ok(())
    }

    fn snapshot(&self) -> Snapshot {
        Self::snapshot(self)
    }

    fn write(snapshot: Snapshot, out: &mut dyn io::Write) -> io::Result<()> {
        snapshot.write(out).map(drop)
    }

    fn restore(from: &mut dyn io::Read) -> io::Result<Self> {
        let restored = Self::restore(seed()?, from).map_err(io::Error::other)?;
        Ok(restored.with_discard(discard))
    }

    fn digest(&self) -> u64 {
        Self::digest(self)
    }

    fn next_deadline(&self) -> Option<LogTime> {
        Self::next_deadline(self).map(LogTime)
    }
}

/// Drawn once a process, so that clients cannot know which keys share a bucket.
fn seed() -> io::Result<u64> {
    static SEED: OnceLock<u64> = OnceLock::new();
    if let Some(seed) = SEED.get() {
        return Ok(*seed);
    }
    let drawn = getrandom::u64().map_err(io::Error::other)?;
    Ok(*SEED.get_or_init(|| drawn))
}

/// Frees many keys on a thread of their own, so that the loop is not held up.
fn discard(garbage: Garbage) {
    if garbage.keys() > KEYS_FREED_AT_ONCE {
        // If no thread can be started, the closure is dropped here, and the keys with it.
        let _ = std::thread::Builder::new().name("free".to_owned()).spawn(move || drop(garbage));
    }
}

const KEYS_FREED_AT_ONCE: usize = 1_000;
