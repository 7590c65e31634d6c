//! Typed handle to registers.

use std::future::Future;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use quorate_protocol::{GroupId, NodeId, Now, ProposalId};
use quorate_runtime::NodeHandle;
use quorate_runtime::group::{CallId, Reply};
use quorate_runtime::shell::CallError;

use super::super::{
    AddedNode, Change, ChangeOutcome, CommandRefusal, Event, Expected, ReadOutcome, Register, RegisterObstacle,
    ResolveOutcome, RolesChange, RolesInForce, RolesOutcome, RolesRefusal, Status, Trace,
};
use super::Registers;

/// Reaches the registers that a node hosts, from any thread and any executor. Cheap to clone.
///
/// A call has started as soon as the method returns; dropping the returned future loses only the answer, and a change
/// goes on. Calls end within [`Settings::command_timeout`](super::super::Settings::command_timeout).
///
/// | What happens | A change ends as | A read ends as |
/// | --- | --- | --- |
/// | it takes effect | `Done`, or `DoneBefore` if it was tried before under the same id | `Found` |
/// | the register or the function does not agree | `Conflict`, `Declined` | |
/// | no quorum answers in time, and no acceptor was asked to accept | `NotTried(TimedOut)` or a more precise reason | `Failed` with the same |
/// | no quorum answers in time, and an acceptor was asked | `Unknown` | |
/// | the node is asked to stop, or it or the group has stopped | `NotTried` with the reason | `Failed` with the same |
/// | the node or the group stops during the call | `Unknown` | `Failed` |
///
/// After `Unknown`, [`resolve`](Self::resolve) on any node tells what became of the change and ends it. A caller that
/// rather tries again draws the id first ([`draw_id`](Self::draw_id)) and uses [`change`](Self::change) with it, on any
/// node: a change is recognised as long as it is among the last
/// [`CHANGES_REMEMBERED`](super::super::CHANGES_REMEMBERED) of its register, or the last one of the node that made it.
#[derive(Clone, Debug)]
pub struct RegisterHandle {
    node: NodeHandle,
    group: GroupId,
}

impl RegisterHandle {
    /// Makes a handle to the registers of that group. Calls fail with `NoGroup` if the node hosts no registers there.
    #[must_use]
    pub fn new(node: NodeHandle, group: GroupId) -> Self {
        Self { node, group }
    }

    /// Reads a register. Linearizable; it takes one round trip and no write unless a change is under way.
    pub fn get(&self, key: impl Into<Bytes>) -> impl Future<Output = ReadOutcome> + Send + 'static {
        let key = key.into();
        let answer = self.ask(key.len(), |group, now, call| group.read(now, call, key));
        async move {
            match answer.await {
                Ok(Some(Event::Read { outcome, .. })) => outcome,
                Ok(_) => ReadOutcome::Failed(CommandRefusal::Halted),
                Err(error) => ReadOutcome::Failed(refusal(error)),
            }
        }
    }

    /// Writes a value, whatever is there.
    pub fn set(
        &self,
        key: impl Into<Bytes>,
        value: impl Into<Bytes>,
    ) -> impl Future<Output = ChangeOutcome> + Send + 'static {
        self.start(key.into(), None, Change::Set(value.into()))
    }

    /// Writes a value, or deletes the register if `value` is `None`, if it is as expected.
    pub fn compare_and_set(
        &self,
        key: impl Into<Bytes>,
        expected: Expected,
        value: Option<Bytes>,
    ) -> impl Future<Output = ChangeOutcome> + Send + 'static {
        self.start(key.into(), None, Change::CompareAndSet { expected, value })
    }

    /// Deletes a register, whatever is there.
    pub fn delete(&self, key: impl Into<Bytes>) -> impl Future<Output = ChangeOutcome> + Send + 'static {
        self.start(key.into(), None, Change::Delete)
    }

    /// Applies a function that the node knows by this name.
    pub fn apply(
        &self,
        key: impl Into<Bytes>,
        function: impl Into<String>,
        argument: impl Into<Bytes>,
    ) -> impl Future<Output = ChangeOutcome> + Send + 'static {
        self.start(key.into(), None, Change::Apply { function: function.into(), argument: argument.into() })
    }

    /// Draws an id for [`change`](Self::change). No other change has it, on any node.
    ///
    /// # Errors
    /// When the group or the node has stopped, or the node hosts no registers.
    pub fn draw_id(&self) -> impl Future<Output = Result<ProposalId, CommandRefusal>> + Send + 'static {
        let drawn = self.node.look(self.group, |group: &mut Registers, _| group.draw_id());
        async move { drawn.await.map_err(refusal) }
    }

    /// Makes a change under an id that may have been used before, on any node: see the table above for how long it is
    /// recognised.
    pub fn change(
        &self,
        key: impl Into<Bytes>,
        id: ProposalId,
        change: Change,
    ) -> impl Future<Output = ChangeOutcome> + Send + 'static {
        self.start(key.into(), Some(id), change)
    }

    /// Settles a change whose outcome is unknown, on any node: afterwards it has taken effect or never will.
    pub fn resolve(
        &self,
        key: impl Into<Bytes>,
        trace: Trace,
    ) -> impl Future<Output = ResolveOutcome> + Send + 'static {
        let key = key.into();
        let answer = self.ask(key.len(), move |group, now, call| group.resolve(now, call, key, trace));
        async move {
            match answer.await {
                Ok(Some(Event::Resolved { outcome, .. })) => outcome,
                Ok(_) => ResolveOutcome::Failed(CommandRefusal::Halted),
                Err(error) => ResolveOutcome::Failed(refusal(error)),
            }
        }
    }

    /// Changes the acceptors and proposers while the group serves.
    ///
    /// The call ends within [`command_timeout`](super::super::Settings::command_timeout) of the last progress.
    /// A change of many registers may take longer than that; it goes on, whoever runs, and
    /// [`status`](Self::status) tells how far it is. While the change is under way, ballots need quorums of the old and
    /// of the new acceptors.
    ///
    /// | What happens | It ends as |
    /// | --- | --- |
    /// | it is made, or there is nothing to change | `Done` |
    /// | it has begun and makes no progress | `UnderWay`: it ends once the quorums run |
    /// | a new node does not answer, another change is under way or came first, or it does not fit | `NotTried` |
    /// | it is not known whether it has begun, or the node stops | `Unknown` |
    pub fn change_roles(&self, change: RolesChange) -> impl Future<Output = RolesOutcome> + Send + 'static {
        let answer = self.ask(0, move |group, now, call| group.change_roles(now, call, change));
        async move {
            match answer.await {
                Ok(Some(Event::RolesChanged { outcome, .. })) => outcome,
                Ok(_) | Err(CallError::Lost) => RolesOutcome::Unknown,
                Err(error) => RolesOutcome::NotTried(RolesRefusal::Refused(refusal(error))),
            }
        }
    }

    /// Makes a node an acceptor and a proposer; see [`change_roles`](Self::change_roles). `address` is where the others
    /// reach it.
    pub fn add(&self, node: NodeId, address: impl Into<Bytes>) -> impl Future<Output = RolesOutcome> + Send + 'static {
        self.change_roles(RolesChange::Add(AddedNode { node, context: address.into() }))
    }

    /// Takes its roles from a node; see [`change_roles`](Self::change_roles).
    pub fn remove(&self, node: NodeId) -> impl Future<Output = RolesOutcome> + Send + 'static {
        self.change_roles(RolesChange::Remove(node))
    }

    /// Gives a node the roles of another, which loses them; see [`change_roles`](Self::change_roles).
    pub fn replace(
        &self,
        old: NodeId,
        new: NodeId,
        address: impl Into<Bytes>,
    ) -> impl Future<Output = RolesOutcome> + Send + 'static {
        self.change_roles(RolesChange::Replace { old, new: AddedNode { node: new, context: address.into() } })
    }

    /// The roles in force, as far as this node knows.
    ///
    /// # Errors
    /// When the group or the node has stopped, or the node hosts no registers.
    pub fn roles(&self) -> impl Future<Output = Result<RolesInForce, CommandRefusal>> + Send + 'static {
        self.look(|core| core.roles().clone())
    }

    /// The state of this node, for an operator.
    ///
    /// # Errors
    /// When the group or the node has stopped, or the node hosts no registers.
    pub fn status(&self) -> impl Future<Output = Result<Status, CommandRefusal>> + Send + 'static {
        self.look(Register::status)
    }

    /// The obstacles to this node's work, the most important first; see [`Register::explain`].
    ///
    /// # Errors
    /// When the group or the node has stopped, or the node hosts no registers.
    pub fn explain(&self) -> impl Future<Output = Result<Vec<RegisterObstacle>, CommandRefusal>> + Send + 'static {
        self.look(Register::explain)
    }

    fn look<T: Send + 'static>(
        &self,
        f: fn(&Register) -> T,
    ) -> impl Future<Output = Result<T, CommandRefusal>> + Send + 'static {
        let look = move |group: &mut Registers, _| group.core().map(f).ok_or(CommandRefusal::Halted);
        let answer = self.node.look(self.group, look);
        async move { answer.await.map_err(refusal)? }
    }

    fn start(
        &self,
        key: Bytes,
        id: Option<ProposalId>,
        change: Change,
    ) -> impl Future<Output = ChangeOutcome> + Send + 'static {
        // Known once the node has begun with the change.
        let drawn = Arc::new(OnceLock::new());
        let of_node = drawn.clone();
        let answer = self.ask(key.len() + change.bytes(), move |group, now, call| {
            let id = id.unwrap_or_else(|| group.draw_id());
            let _ = of_node.set(id);
            group.change(now, call, key, id, change);
        });
        async move {
            match answer.await {
                Ok(Some(Event::Changed { outcome, .. })) => outcome,
                lost => match (drawn.get(), lost) {
                    (Some(id), _) => ChangeOutcome::Unknown(Trace::of(*id)),
                    (None, Err(error)) => ChangeOutcome::NotTried(refusal(error)),
                    (None, Ok(_)) => ChangeOutcome::NotTried(CommandRefusal::Halted),
                },
            }
        }
    }

    fn ask(
        &self,
        bytes: usize,
        ask: impl FnOnce(&mut Registers, Now, CallId) + Send + 'static,
    ) -> impl Future<Output = Result<Option<Event>, CallError>> + Send + 'static {
        let of_call = Arc::new(OnceLock::new());
        let known = of_call.clone();
        self.node.ask(
            self.group,
            bytes,
            move |group: &mut Registers, now, call| {
                let _ = known.set(call);
                ask(group, now, call);
            },
            move |group: Option<&mut Registers>, reply: Reply| {
                let group = group.filter(|_| reply == Reply::Told)?;
                group.take(*of_call.get()?)
            },
        )
    }
}

/// The reason that an application learns when a call has no answer.
fn refusal(error: CallError) -> CommandRefusal {
    match error {
        CallError::Overloaded => CommandRefusal::Overloaded,
        CallError::NoGroup => CommandRefusal::NoGroup,
        CallError::Stopped | CallError::Lost => CommandRefusal::Stopped,
        _ => CommandRefusal::Halted,
    }
}
