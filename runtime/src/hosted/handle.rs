//! Typed handle to a bare core that a node hosts.

use std::fmt;
use std::marker::PhantomData;

use quorate_protocol::{GroupId, Ticket};

use crate::group::hostable::Hostable;
use crate::hosted::{Heard, Hosted, NotServed};
use crate::shell::driver::calls::{CallAnswer, NodeHandle};
use crate::shell::replica_handle::Pending;

/// Reaches a core `P` that runs as a group of a node, from any thread and any executor. Cheap to clone.
pub struct HostedHandle<P> {
    node: NodeHandle,
    group: GroupId,
    core: PhantomData<fn(P)>,
}

impl<P: Hostable> HostedHandle<P> {
    /// Makes a handle to the core of that group. Calls fail with `NoGroup` if the node hosts no such core there.
    #[must_use]
    pub fn new(node: NodeHandle, group: GroupId) -> Self {
        Self { node, group, core: PhantomData }
    }

    /// Gives the core a command. Its effects are reported as events.
    ///
    /// In a bound group only the node that serves the core takes commands; any other answers
    /// [`NotServed::Elsewhere`].
    pub fn command(&self, command: P::Command) -> Pending<Result<(), NotServed>> {
        let answer = self.node.look(self.group, move |hosted: &mut Hosted<P>, now| hosted.command(now, command));
        Pending::new(answer, |error| Err(error.into()))
    }

    /// Answers a request of the core.
    pub fn complete(&self, ticket: Ticket, answer: P::Answer) -> Pending<Result<(), NotServed>> {
        let answer =
            self.node.look(self.group, move |hosted: &mut Hosted<P>, now| hosted.complete(now, ticket, answer));
        Pending::new(answer, |error| Err(error.into()))
    }

    /// Succeeds if this node serves the core, and otherwise says which node leads. In a group on the node's own log, it
    /// does as long as the group runs.
    pub fn serves(&self) -> Pending<Result<(), NotServed>> {
        let served = |hosted: &mut Hosted<P>, _| hosted.not_served().map_or(Ok(()), Err);
        Pending::new(self.node.look(self.group, served), |error| Err(error.into()))
    }

    /// Waits until the core has events or requests beyond those that the application has. `up_to` is [`Heard::up_to`]
    /// of the call before, and 0 at first. Everything is delivered at least once: if an answer is dropped on its way,
    /// by `select!` or a time-out, the next call with the same number gets it again. Only one call listens at a time:
    /// an earlier call is answered with what there is, which may be nothing. Events and requests are kept while no call
    /// listens, up to [`TOLD_MAX`](super::TOLD_MAX). The answer is also empty when the core has stopped; the next call
    /// fails then.
    pub fn listen(&self, up_to: u64) -> CallAnswer<Heard<P>> {
        self.node.ask(
            self.group,
            0,
            move |hosted: &mut Hosted<P>, _now, call| {
                hosted.acknowledge(up_to);
                hosted.listen(call);
            },
            move |hosted, _reply| hosted.map_or(Heard { told: Vec::new(), up_to }, |hosted| hosted.heard()),
        )
    }
}

impl<P> Clone for HostedHandle<P> {
    fn clone(&self) -> Self {
        Self { node: self.node.clone(), group: self.group, core: PhantomData }
    }
}

impl<P> fmt::Debug for HostedHandle<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostedHandle").field("group", &self.group).finish_non_exhaustive()
    }
}
