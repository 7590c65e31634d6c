//! The transaction of a connection: the watched keys, and the commands that wait for `EXEC`.

use bytes::Bytes;

use crate::entry::{Watched, transaction_bytes_max};

/// The watched keys and the queued commands of a connection.
#[derive(Debug, Default)]
pub(super) struct Transaction {
    watched: Vec<Watched>,
    queue: Option<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    commands: Vec<Bytes>,
    bytes: usize,
    /// A command was refused, so that `EXEC` will be.
    has_failed: bool,
}

/// What `EXEC` is to do.
pub(super) enum Exec {
    /// Refuse: there is no `MULTI`.
    Missing,
    /// Refuse: a command was refused.
    Failed,
    /// Carry out.
    Run(Vec<Watched>, Vec<Bytes>),
}

impl Transaction {
    /// Returns true between `MULTI` and `EXEC`.
    pub(super) fn is_open(&self) -> bool {
        self.queue.is_some()
    }

    /// Number of commands that wait for `EXEC`. `None` outside of a transaction.
    pub(super) fn queued(&self) -> Option<usize> {
        self.queue.as_ref().map(|queue| queue.commands.len())
    }

    /// Bytes of the commands that wait.
    pub(super) fn bytes(&self) -> usize {
        self.queue.as_ref().map_or(0, |queue| queue.bytes)
    }

    /// Begins a transaction.
    pub(super) fn open(&mut self) {
        self.queue = Some(Queue::default());
    }

    /// Makes the next transaction depend on keys. A key that is watched already keeps its older version.
    pub(super) fn watch(&mut self, keys: Vec<Watched>) {
        for key in keys {
            if self.watched.iter().all(|known| known.key != key.key) {
                self.watched.push(key);
            }
        }
    }

    /// Adds a command. Returns false if an entry could not be so long.
    pub(super) fn push(&mut self, command: Bytes, bytes_max: usize) -> bool {
        let Some(queue) = self.queue.as_mut().filter(|queue| !queue.has_failed) else {
            return true;
        };
        queue.bytes += command.len();
        queue.commands.push(command);
        transaction_bytes_max(&self.watched, &[]) + queue.bytes <= bytes_max
    }

    /// Notes that a command was refused, so that none has to be kept.
    pub(super) fn fail(&mut self) {
        if let Some(queue) = &mut self.queue {
            *queue = Queue { has_failed: true, ..Queue::default() };
        }
    }

    /// Ends the transaction and forgets the watched keys.
    pub(super) fn exec(&mut self) -> Exec {
        match self.queue.take() {
            None => Exec::Missing,
            Some(queue) => {
                let watched = std::mem::take(&mut self.watched);
                if queue.has_failed { Exec::Failed } else { Exec::Run(watched, queue.commands) }
            }
        }
    }

    /// Takes back what [`exec`](Self::exec) has returned, since it cannot begin yet.
    pub(super) fn again(&mut self, watched: Vec<Watched>, commands: Vec<Bytes>) {
        self.watched = watched;
        let bytes = commands.iter().map(Bytes::len).sum();
        self.queue = Some(Queue { commands, bytes, has_failed: false });
    }

    /// Forgets the watched keys.
    pub(super) fn unwatch(&mut self) {
        self.watched.clear();
    }
}
