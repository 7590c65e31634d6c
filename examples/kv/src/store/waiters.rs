//! Who waits for items of keys. It is no part of the state: each node wakes its own clients.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Calls back whoever waits for items of a key.
#[derive(Default)]
pub struct Waiters {
    /// Number of waits, so that a store without them looks at nothing else.
    count: AtomicUsize,
    listed: Mutex<Listed>,
}

type Wake = Arc<dyn Fn() + Send + Sync>;

#[derive(Default)]
struct Listed {
    next_id: u64,
    by_key: BTreeMap<(Box<[u8]>, u64), Wake>,
}

/// A wait for items of some keys. It ends when this is dropped.
#[derive(Debug)]
pub struct Wait {
    waiters: Arc<Waiters>,
    id: u64,
    keys: Vec<Box<[u8]>>,
}

impl Waiters {
    /// Calls `wake` whenever items are added to one of the keys, and when the store is dropped.
    pub fn wait(self: &Arc<Self>, keys: Vec<Box<[u8]>>, wake: impl Fn() + Send + Sync + 'static) -> Wait {
        let wake: Wake = Arc::new(wake);
        let mut listed = self.listed();
        let id = listed.next_id;
        listed.next_id += 1;
        for key in &keys {
            listed.by_key.insert((key.clone(), id), Arc::clone(&wake));
        }
        self.count.fetch_add(1, Ordering::Relaxed);
        Wait { waiters: Arc::clone(self), id, keys }
    }

    pub(super) fn wake(&self, key: &[u8]) {
        if self.count.load(Ordering::Relaxed) == 0 {
            return;
        }
        let range = (Box::from(key), 0)..=(Box::from(key), u64::MAX);
        let wakes: Vec<Wake> = self.listed().by_key.range(range).map(|(_, wake)| Arc::clone(wake)).collect();
        for wake in wakes {
            wake();
        }
    }

    /// Wakes everybody.
    pub fn wake_all(&self) {
        let wakes: Vec<Wake> = self.listed().by_key.values().cloned().collect();
        for wake in wakes {
            wake();
        }
    }

    fn listed(&self) -> MutexGuard<'_, Listed> {
        // A list of callbacks is whole after any panic.
        self.listed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Waiters {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Waiters({})", self.count.load(Ordering::Relaxed))
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        let mut listed = self.waiters.listed();
        for key in std::mem::take(&mut self.keys) {
            listed.by_key.remove(&(key, self.id));
        }
        self.waiters.count.fetch_sub(1, Ordering::Relaxed);
    }
}
