//! The typed way to a bare core that a node hosts.

use std::fmt;
use std::marker::PhantomData;

use quorate_protocol::{GroupId, Ticket};

use super::{Answer, NodeHandle};
use crate::{Hostable, Hosted, Told};

/// Reaches a core `P` that runs as a group of a node, from any thread and any executor. Cheap to clone.
pub struct HostedHandle<P> {
    node: NodeHandle,
    group: GroupId,
    core: PhantomData<fn(P)>,
}

impl<P: Hostable> HostedHandle<P> {
    /// The core of that group. Calls fail with `NoGroup` when the node hosts no such core there.
    #[must_use]
    pub fn new(node: NodeHandle, group: GroupId) -> Self {
        Self { node, group, core: PhantomData }
    }

    /// Gives the core a command. What becomes of it is told as events.
    pub fn command(&self, command: P::Command) -> Answer<()> {
        self.node.look(self.group, move |hosted: &mut Hosted<P>, now| hosted.command(now, command))
    }

    /// Answers a request of the core.
    pub fn complete(&self, ticket: Ticket, answer: P::Answer) -> Answer<()> {
        self.node.look(self.group, move |hosted: &mut Hosted<P>, now| hosted.complete(now, ticket, answer))
    }

    /// Waits until the core has told something, and takes it, oldest first. One listens at a time: an earlier call is answered
    /// with what there is, which may be nothing. What the core tells while nobody listens is kept, up to
    /// [`TOLD_MAX`](crate::TOLD_MAX). Nothing comes also when the core has stopped; the next call fails then.
    pub fn listen(&self) -> Answer<Vec<Told<P>>> {
        self.node.ask(
            self.group,
            0,
            |hosted: &mut Hosted<P>, _now, call| hosted.listen(call),
            |hosted, _reply| hosted.map(Hosted::take).unwrap_or_default(),
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
