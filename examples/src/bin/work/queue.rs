//! The queue: a state machine that hands out items under leases, which end by the time of the log.
//!
//! The token of a lease is the index of its entry in the log. A worker that was killed or pauses does not prolong its
//! lease. Its item is then given to another worker under another token, and whatever still comes under the old one is
//! refused: work may be done twice, and its result counts once.

use std::collections::{BTreeMap, BTreeSet};

use quorate_protocol::LogTime;
use quorate_runtime::{ApplyContext, TypedStateMachine};
use serde::{Deserialize, Serialize};

/// The state. An item is in one of the first three.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(crate) struct Queue {
    /// Items that nobody works on, each behind the node that the ring names for it.
    open: BTreeSet<(u64, String)>,
    /// Items that a worker has, by token.
    leases: BTreeMap<u64, Lease>,
    /// Results, by item.
    pub(crate) done: BTreeMap<String, Done>,
    /// The number of leases that were given.
    pub(crate) leased: u64,
    /// The number of results that came too late.
    pub(crate) refused: u64,
}

#[derive(Clone, Serialize, Deserialize)]
struct Lease {
    owner: u64,
    item: String,
    node: u64,
    end: LogTime,
}

/// The output of the command, or its error; the node that ran it, the one that the ring names, and the lease.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Done {
    pub(crate) result: Result<String, String>,
    pub(crate) node: u64,
    pub(crate) owner: u64,
    token: u64,
}

/// A command. When its outcome is unknown it may be repeated: a lease that nobody knows of ends by itself.
#[derive(Serialize, Deserialize)]
pub(crate) enum Command {
    Add { items: Vec<(u64, String)> },
    Take { node: u64, lease_ms: u64 },
    Prolong { token: u64, lease_ms: u64 },
    Finish { item: String, token: u64, result: Result<String, String> },
}

#[derive(Serialize, Deserialize)]
pub(crate) enum Response {
    Done,
    Taken { item: String, token: u64 },
    NothingOpen,
    TooLate,
}

impl TypedStateMachine for Queue {
    type Command = Command;
    type Response = Response;

    fn apply(&mut self, context: ApplyContext, command: Command) -> Response {
        self.tick(context);
        let end = |lease_ms| LogTime(context.log_time.0.saturating_add(lease_ms));
        match command {
            Command::Add { items } => {
                let taken: BTreeSet<_> =
                    self.leases.values().map(|lease| &lease.item).chain(self.done.keys()).collect();
                self.open.extend(items.into_iter().filter(|(_, item)| !taken.contains(item)));
            }
            Command::Take { node, lease_ms } => {
                // An item of its own, or else one of a node that has more to do, or is dead.
                let own = self.open.range((node, String::new())..).next().filter(|(owner, _)| *owner == node);
                let Some(next) = own.or(self.open.first()).cloned() else { return Response::NothingOpen };
                self.open.remove(&next);
                self.leased += 1;
                let ((owner, item), token) = (next, context.index.0);
                self.leases.insert(token, Lease { owner, item: item.clone(), node, end: end(lease_ms) });
                return Response::Taken { item, token };
            }
            Command::Prolong { token, lease_ms } => {
                self.leases.entry(token).and_modify(|lease| lease.end = end(lease_ms));
            }
            Command::Finish { item, token, result } => match self.leases.remove(&token) {
                Some(Lease { owner, node, .. }) => drop(self.done.insert(item, Done { result, node, owner, token })),
                None if self.done.get(&item).is_some_and(|done| done.token == token) => {} // repeated
                None => {
                    self.refused += 1;
                    return Response::TooLate;
                }
            },
        }
        Response::Done
    }

    /// Takes back the items of workers that are not heard of any more.
    fn tick(&mut self, context: ApplyContext) {
        let over = self.leases.extract_if(.., |_, lease| lease.end <= context.log_time);
        self.open.extend(over.map(|(_, lease)| (lease.owner, lease.item)));
    }

    fn next_deadline(&self) -> Option<LogTime> {
        self.leases.values().map(|lease| lease.end).min()
    }
}
