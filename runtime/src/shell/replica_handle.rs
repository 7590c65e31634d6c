//! Typed handles to a replica: one for any thread, one for the thread of the node's loop.

use std::fmt;
use std::marker::PhantomData;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use quorate_protocol::{GroupId, Instant, LogIndex, MemberChange, NodeId, Now, ReplicatedLog};
use quorate_transport::codec;
use tokio::sync::watch;

use crate::group::hostable::Hostable;
use crate::group::interface::CallId;
use crate::group::outcome::{
    BuildError, CampaignError, NotApplied, Outcome, ProposeError, ReadError, TransferError, Unknown,
};
use crate::group::reply::Reply;
use crate::replica::Replica;
use crate::replica::explain::{EntryState, Obstacle};
use crate::replica::proposals::{Delivery, ProposeOptions};
use crate::replica::state_machine::StateMachine;
use crate::replica::status::ReadContext;
use crate::replica::status::ReplicaStatus;
use crate::replica::typed::{Typed, TypedStateMachine};
use crate::shell::driver::calls::{CallAnswer, CallError, LocalHandle, NodeHandle};

/// Reaches a [`Replica`] from any thread and any executor. Cheap to clone.
///
/// Every call ends within the handle's time-out (5 s unless set with [`timeout`](ReplicaHandle::timeout)). A call has
/// started as soon as the method returns; dropping the returned future loses only the answer.
pub struct ReplicaHandle<L, S> {
    node: NodeHandle,
    group: GroupId,
    timeout: Duration,
    replica: PhantomData<fn(L, S)>,
}

/// As [`ReplicaHandle`], but on the loop's own thread: no call crosses a thread, and the result of a read need not be
/// `Send`.
pub struct LocalReplicaHandle<L, S> {
    node: LocalHandle,
    group: GroupId,
    timeout: Duration,
    replica: PhantomData<fn(L, S)>,
}

/// The answer to a call that has started. Dropping it loses only the answer.
#[must_use = "the call is under way; this is its answer"]
pub struct Pending<T> {
    answer: CallAnswer<T>,
    /// Makes the result if the node gives no answer.
    lost: fn(CallError) -> T,
}

/// The methods that both handles have. On the loop's own thread no argument need be `Send`.
macro_rules! replica_handle {
    ($handle:ident, $node:ident $(, $send:ident)?) => {
        impl<L: ReplicatedLog + Hostable, S: StateMachine> $handle<L, S> {
            /// Returns a handle to the replica of that group. Calls fail with `NoGroup` if the node runs no such
            /// replica there.
            pub fn new(node: $node, group: GroupId) -> Self {
                Self { node, group, timeout: TIMEOUT, replica: PhantomData }
            }

            /// Returns the same handle with another time-out for its calls.
            pub fn timeout(&self, timeout: Duration) -> Self {
                Self { timeout, ..self.clone() }
            }

            /// Proposes a command: it is applied at most once. See [`Outcome`].
            pub fn propose(&self, command: Bytes) -> Pending<Outcome> {
                self.propose_as(command, Delivery::AtMostOnce)
            }

            /// Proposes a command with this guarantee: once, in the replica's session, or once more after an unknown
            /// outcome of a proposal of the session. See [`Outcome`].
            pub fn propose_as(&self, command: Bytes, delivery: Delivery) -> Pending<Outcome> {
                let bytes = command.len();
                let pending = self.start(bytes, move |replica, now, call, deadline| {
                    replica.propose(now, call, command, ProposeOptions { deadline, delivery });
                });
                match delivery {
                    Delivery::Again(_) => Pending { lost: lost_again, ..pending },
                    Delivery::AtMostOnce | Delivery::ExactlyOnce => pending,
                }
            }

            /// Opens the replica's session; see [`Replica::open_session`].
            pub fn open_session(&self, expiry: Duration) -> Pending<Outcome> {
                self.start(0, move |replica, now, call, deadline| replica.open_session(now, call, expiry, deadline))
            }

            /// Closes the replica's session; see [`Replica::close_session`].
            pub fn close_session(&self) -> Pending<Outcome> {
                self.start(0, |replica, now, call, deadline| replica.close_session(now, call, deadline))
            }

            /// Reads from a state to which everything is applied that was acknowledged by any node before this call.
            pub fn read<R: $($send +)? 'static>(
                &self,
                read: impl FnOnce(&S, ReadContext) -> R $(+ $send)? + 'static,
            ) -> Pending<Result<R, ReadError>> {
                self.start_read(|replica, now, call, deadline| replica.read(now, call, deadline), read)
            }

            /// As [`read`](Self::read), and without a message to any node if this node leads and holds a lease. Leases
            /// are a setting of the protocol, and off by default; without one this is [`read`](Self::read). If the
            /// clocks of two nodes differ in pace by more than the lease's drift bound, or one stood still while its
            /// machine was suspended, the result may be old; that of [`read`](Self::read) never is. `read` may run
            /// twice: if the lease ended while it ran, its first result is dropped.
            pub fn read_by_lease<R: $($send +)? 'static>(
                &self,
                read: impl Fn(&S, ReadContext) -> R $(+ $send)? + 'static,
            ) -> Pending<Result<R, ReadError>> {
                let (timeout, clock) = (self.timeout, self.node.clock());
                let answer = self.node.look_or_ask(self.group, 0, move |replica: &mut Replica<L, S>, now, call| {
                    let leased = replica.read_by_lease(|| clock.now(), |state, context| guarded(|| read(state, context)));
                    if let Some(result) = leased {
                        return ControlFlow::Break(result);
                    }
                    replica.read(now, call, now.instant.after(timeout));
                    ControlFlow::Continue(|replica: Option<&mut Replica<L, S>>, reply| finish_read(replica, reply, read))
                });
                Pending { answer, lost: |error| Err(error.into()) }
            }

            /// Reads from a state of this replica to which at least `index` is applied; see
            /// [`Replica::read_at_least`].
            pub fn read_at_least<R: $($send +)? 'static>(
                &self,
                index: LogIndex,
                read: impl FnOnce(&S, ReadContext) -> R $(+ $send)? + 'static,
            ) -> Pending<Result<R, ReadError>> {
                let ask = move |replica: &mut Replica<L, S>, now, call, deadline| {
                    replica.read_at_least(now, call, index, deadline);
                };
                self.start_read(ask, read)
            }

            fn start_read<R: $($send +)? 'static>(
                &self,
                ask: impl FnOnce(&mut Replica<L, S>, Now, CallId, Instant) $(+ $send)? + 'static,
                read: impl FnOnce(&S, ReadContext) -> R $(+ $send)? + 'static,
            ) -> Pending<Result<R, ReadError>> {
                let timeout = self.timeout;
                let answer = self.node.ask(
                    self.group,
                    0,
                    move |replica: &mut Replica<L, S>, now: Now, call| {
                        ask(replica, now, call, now.instant.after(timeout));
                    },
                    move |replica, reply| finish_read(replica, reply, read),
                );
                Pending { answer, lost: |error| Err(error.into()) }
            }

            /// Reads the state of this replica, which may be old: [`ReadContext`] holds its last applied index and the
            /// time since it last heard from the leader.
            pub fn read_local<R: $($send +)? 'static>(
                &self,
                read: impl FnOnce(&S, ReadContext) -> R $(+ $send)? + 'static,
            ) -> Pending<Result<R, ReadError>> {
                let answer = self.node.look(self.group, move |replica: &mut Replica<L, S>, now| {
                    let context = replica.read_context_at(now);
                    guarded(|| read(replica.state(), context))
                });
                Pending { answer, lost: |error| Err(error.into()) }
            }

            /// Transfers leadership to `to`, or to the best candidate if `to` is `None`.
            pub fn transfer(&self, to: Option<NodeId>) -> Pending<Result<(), TransferError>> {
                let timeout = self.timeout;
                let answer = self.node.ask(
                    self.group,
                    0,
                    move |replica: &mut Replica<L, S>, now: Now, call| {
                        replica.transfer(now, call, to, now.instant.after(timeout));
                    },
                    |_, reply| match reply {
                        Reply::Transfer(result) => result,
                        _ => Err(TransferError::Stopped),
                    },
                );
                Pending { answer, lost: |_| Err(TransferError::Stopped) }
            }

            /// Begins an election now; see [`Replica::campaign`].
            pub fn campaign(&self) -> CallAnswer<Result<(), CampaignError>> {
                self.node.look(self.group, |replica: &mut Replica<L, S>, now| replica.campaign(now))
            }

            /// Gives up the leadership without a successor; see [`Replica::step_down`].
            pub fn step_down(&self) -> CallAnswer<Result<(), TransferError>> {
                self.node.look(self.group, |replica: &mut Replica<L, S>, now| replica.step_down(now))
            }

            /// Makes a snapshot now, and returns the index that it covers; see [`Replica::snapshot`].
            pub fn snapshot(&self) -> Pending<Result<LogIndex, BuildError>> {
                self.build(Replica::snapshot)
            }

            /// Makes a snapshot now, and removes everything that it covers from the log; see [`Replica::compact`].
            pub fn compact(&self) -> Pending<Result<LogIndex, BuildError>> {
                self.build(Replica::compact)
            }

            fn build(
                &self,
                ask: fn(&mut Replica<L, S>, Now, CallId, Instant),
            ) -> Pending<Result<LogIndex, BuildError>> {
                let timeout = self.timeout;
                let answer = self.node.ask(
                    self.group,
                    0,
                    move |replica: &mut Replica<L, S>, now: Now, call| {
                        ask(replica, now, call, now.instant.after(timeout));
                    },
                    |_, reply| match reply {
                        Reply::Built(result) => result,
                        _ => Err(BuildError::Stopped),
                    },
                );
                Pending { answer, lost: |_| Err(BuildError::Stopped) }
            }

            /// Changes the members of the group; see [`Replica::change_membership`].
            pub fn change_membership(&self, changes: Vec<MemberChange>) -> Pending<Outcome> {
                self.start(0, move |replica, now, call, deadline| {
                    replica.change_membership(now, call, changes, deadline);
                })
            }

            /// Returns the status of the replica for an operator.
            pub fn status(&self) -> CallAnswer<ReplicaStatus> {
                self.node.look(self.group, |replica: &mut Replica<L, S>, _| replica.status())
            }

            /// Lists the obstacles that keep the replica from serving; see [`Replica::explain`].
            pub fn explain(&self) -> CallAnswer<Vec<Obstacle>> {
                self.node.look(self.group, |replica: &mut Replica<L, S>, _| replica.explain())
            }

            /// Returns the state of an entry, and what it waits for.
            pub fn explain_entry(&self, index: LogIndex) -> CallAnswer<EntryState> {
                self.node.look(self.group, move |replica: &mut Replica<L, S>, _| replica.explain_entry(index))
            }

            fn start(
                &self,
                bytes: usize,
                ask: impl FnOnce(&mut Replica<L, S>, Now, CallId, Instant) $(+ $send)? + 'static,
            ) -> Pending<Outcome> {
                let timeout = self.timeout;
                let answer = self.node.ask(
                    self.group,
                    bytes,
                    move |replica: &mut Replica<L, S>, now: Now, call| {
                        ask(replica, now, call, now.instant.after(timeout));
                    },
                    |_, reply| outcome(reply),
                );
                Pending { answer, lost: Outcome::from }
            }
        }

        impl<L: ReplicatedLog + Hostable, S: TypedStateMachine> $handle<L, Typed<S>> {
            /// Proposes a command and returns the state machine's response.
            pub fn execute(&self, command: &S::Command) -> Pending<Result<S::Response, ProposeError>>
            where
                S::Response: $($send +)? 'static,
            {
                let timeout = self.timeout;
                let encoded = codec::encode_small(command);
                let bytes = encoded.as_ref().map_or(0, Bytes::len);
                let answer = self.node.ask(
                    self.group,
                    bytes,
                    move |replica: &mut Replica<L, Typed<S>>, now: Now, call| {
                        let options =
                            ProposeOptions { deadline: now.instant.after(timeout), delivery: Delivery::AtMostOnce };
                        match encoded {
                            Ok(command) => replica.propose(now, call, command, options),
                            Err(_) => replica.refuse(call, NotApplied::TooLarge),
                        }
                    },
                    move |_, reply| {
                        let response = outcome(reply).into_result()?;
                        let decoded = guarded(|| codec::decode_small(&response));
                        decoded.ok().and_then(Result::ok).ok_or(ProposeError::ResponseUnreadable)
                    },
                );
                Pending { answer, lost: |error| Outcome::from(error).into_result().and(Err(ProposeError::ResponseUnreadable)) }
            }
        }

        impl<L, S> Clone for $handle<L, S> {
            fn clone(&self) -> Self {
                Self { node: self.node.clone(), group: self.group, timeout: self.timeout, replica: PhantomData }
            }
        }

        impl<L, S> fmt::Debug for $handle<L, S> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($handle)).field("group", &self.group).finish_non_exhaustive()
            }
        }
    };
}

replica_handle!(ReplicaHandle, NodeHandle, Send);
replica_handle!(LocalReplicaHandle, LocalHandle);

impl<L: ReplicatedLog + Hostable, S: StateMachine> ReplicaHandle<L, S> {
    /// Watches the status of the replica.
    pub fn watch_status(&self) -> StatusWatch<L, S> {
        StatusWatch { handle: self.clone(), changes: None, is_due: true }
    }
}

/// Tells when the status of a replica changes: its role, term or leader, its right to vote, its snapshots, or that it
/// has stopped. Entries that are committed or applied are no such change.
pub struct StatusWatch<L, S> {
    handle: ReplicaHandle<L, S>,
    changes: Option<watch::Receiver<()>>,
    /// True if a change was seen and its status was not returned.
    is_due: bool,
}

impl<L: ReplicatedLog + Hostable, S: StateMachine> StatusWatch<L, S> {
    /// Returns the status: the first time at once, then after the next change. Changes since the last call are seen by
    /// the next one, as one change.
    ///
    /// If this future is dropped, no change is lost.
    ///
    /// # Errors
    /// When the node has stopped, has no such replica, or too many calls wait.
    pub async fn next(&mut self) -> Result<ReplicaStatus, CallError> {
        let changes = match &mut self.changes {
            Some(changes) => changes,
            None => self.changes.insert(self.handle.node.watch(self.handle.group).await?),
        };
        if !self.is_due {
            changes.changed().await.map_err(|_| CallError::Stopped)?;
            self.is_due = true;
        }
        changes.mark_unchanged();
        let status = self.handle.status().await?;
        self.is_due = false;
        Ok(status)
    }
}

impl<L, S> fmt::Debug for StatusWatch<L, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StatusWatch").field("group", &self.handle.group).finish_non_exhaustive()
    }
}

impl<T> Pending<T> {
    /// Makes the answer of a call. `lost` makes it if the call itself has none.
    pub fn new(answer: CallAnswer<T>, lost: fn(CallError) -> T) -> Self {
        Self { answer, lost }
    }

    /// Blocks the calling thread until the answer is there. For threads outside of any executor.
    ///
    /// # Panics
    /// Within an async task.
    pub fn wait(self) -> T {
        self.answer.wait().unwrap_or_else(self.lost)
    }
}

impl<T> Future for Pending<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let lost = self.lost;
        Pin::new(&mut self.answer).poll(context).map(|answer| answer.unwrap_or_else(lost))
    }
}

impl<T> fmt::Debug for Pending<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending").finish_non_exhaustive()
    }
}

impl From<CallError> for Outcome {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Overloaded => Self::NotApplied(NotApplied::Overloaded),
            CallError::NoGroup => Self::NotApplied(NotApplied::NoGroup),
            CallError::Stopped => Self::NotApplied(NotApplied::Stopped),
            CallError::Lost | CallError::Panicked => Self::Unknown { reason: Unknown::Stopped, retry: None },
        }
    }
}

/// Outcome of a retried proposal whose retry did not reach the replica. It is never `NotApplied`, because an earlier
/// try may have been applied.
fn lost_again(error: CallError) -> Outcome {
    match Outcome::from(error) {
        Outcome::NotApplied(reason) => Outcome::Unknown { reason: Unknown::TryFailed(reason), retry: None },
        outcome => outcome,
    }
}

impl From<CallError> for ReadError {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Overloaded => Self::Overloaded,
            CallError::NoGroup => Self::NoGroup,
            CallError::Stopped | CallError::Lost => Self::Stopped,
            CallError::Panicked => Self::Panicked,
        }
    }
}

/// Reads the state if the reply says that it may be read.
fn finish_read<L: ReplicatedLog + Hostable, S: StateMachine, R>(
    replica: Option<&mut Replica<L, S>>,
    reply: Reply,
    read: impl FnOnce(&S, ReadContext) -> R,
) -> Result<R, ReadError> {
    match (replica, reply) {
        (Some(replica), Reply::ReadReady) => guarded(|| read(replica.state(), replica.read_context())),
        (_, Reply::ReadFailed(error)) => Err(error),
        _ => Err(ReadError::Stopped),
    }
}

/// Runs a caller's read. The read cannot change the state, so its panic fails only this call and does not halt the
/// replica.
fn guarded<R>(read: impl FnOnce() -> R) -> Result<R, ReadError> {
    catch_unwind(AssertUnwindSafe(read)).map_err(|_| ReadError::Panicked)
}

fn outcome(reply: Reply) -> Outcome {
    match reply {
        Reply::Outcome(outcome) => outcome,
        _ => Outcome::Unknown { reason: Unknown::Stopped, retry: None },
    }
}

/// Default deadline of a call.
const TIMEOUT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::{CallError, Outcome, lost_again};

    #[test]
    fn a_try_that_did_not_reach_the_replica_leaves_the_outcome_unknown() {
        for error in [CallError::Overloaded, CallError::NoGroup, CallError::Stopped, CallError::Lost] {
            assert!(matches!(lost_again(error), Outcome::Unknown { .. }));
        }
    }
}
