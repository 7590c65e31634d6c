//! Calls that add groups to a running node or remove them.

use std::pin::Pin;
use std::task::{Context, Poll};

use quorate_protocol::{Configuration, GroupId, Now};
use tokio::sync::oneshot;

use super::calls::{Asked, Call, CallError, NodeHandle, Post};
use super::mailbox::PushError;
use crate::group::change::GroupError;
use crate::group::interface::{CallId, Group};
use crate::group::reply::Reply;
use crate::group::start::{BoxError, GroupStart, MakeGroup};

/// A request to add a group.
pub(crate) struct Adding {
    pub(super) group: GroupId,
    pub(super) members: Option<Configuration>,
    pub(super) make: MakeGroup,
    pub(super) done: oneshot::Sender<Result<(), GroupError>>,
}

/// A change that the node has taken and that waits for the disk.
pub(super) struct Changing {
    done: oneshot::Sender<Result<(), GroupError>>,
}

/// The future result of adding or removing a group. The change goes on if this is dropped.
#[derive(Debug)]
#[must_use = "the change is under way; this is its result"]
pub struct Change {
    receiver: oneshot::Receiver<Result<(), GroupError>>,
}

impl NodeHandle {
    /// Adds a group to the running node. It must have a new id: a group that was on this node before is opened when the
    /// node starts, and a removed one never again. All nodes of the cluster are its first voters.
    ///
    /// The result comes when the founding is durable and the group runs. Every node of the group adds it by itself, at
    /// any time; until then it takes no part. After a restart the node opens the group with
    /// [`ServerBuilder::reopen`](crate::ServerBuilder::reopen).
    pub fn add_group(
        &self,
        group: GroupId,
        make: impl FnOnce(GroupStart) -> Result<Box<dyn Group>, BoxError> + Send + 'static,
    ) -> Change {
        self.add(group, None, Box::new(make))
    }

    /// As [`NodeHandle::add_group`], with other first members. They must be equal on all nodes of the group.
    pub fn add_group_of(
        &self,
        group: GroupId,
        members: Configuration,
        make: impl FnOnce(GroupStart) -> Result<Box<dyn Group>, BoxError> + Send + 'static,
    ) -> Change {
        self.add(group, Some(members), Box::new(make))
    }

    /// Removes a group from this node for good. Its id is never used again here, and for the other nodes of the group
    /// this node is as one that does not answer.
    ///
    /// The group runs until its removal is durable. Then those who wait for it learn that its outcome is unknown, the
    /// result comes, and its data are deleted; what is left of them at a crash is deleted after the next start.
    pub fn remove_group(&self, group: GroupId) -> Change {
        let (done, receiver) = oneshot::channel();
        self.post_change(Post::Remove { group, done });
        Change { receiver }
    }

    fn add(&self, group: GroupId, members: Option<Configuration>, make: MakeGroup) -> Change {
        let (done, receiver) = oneshot::channel();
        self.post_change(Post::Add(Adding { group, members, make, done }));
        Change { receiver }
    }

    fn post_change(&self, post: Post) {
        let (refused, error) = match self.push(post) {
            Ok(()) => return,
            Err(PushError::Full(post)) => (post, GroupError::Overloaded),
            Err(PushError::Closed(post)) => (post, GroupError::Stopped),
        };
        if let Post::Add(Adding { done, .. }) | Post::Remove { done, .. } = refused {
            // The caller waits for it.
            let _ = done.send(Err(error));
        }
    }
}

impl Change {
    /// Blocks the calling thread until the result is there. For threads outside of any executor.
    ///
    /// # Errors
    /// As for awaiting it.
    ///
    /// # Panics
    /// Within an async task.
    pub fn wait(self) -> Result<(), GroupError> {
        self.receiver.blocking_recv().unwrap_or(Err(GroupError::Stopped))
    }
}

impl Future for Change {
    type Output = Result<(), GroupError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let received = std::task::ready!(Pin::new(&mut self.receiver).poll(context));
        Poll::Ready(received.unwrap_or(Err(GroupError::Stopped)))
    }
}

impl Changing {
    pub(super) fn new(done: oneshot::Sender<Result<(), GroupError>>) -> Self {
        Self { done }
    }
}

impl Call for Changing {
    fn ask(&mut self, _: &mut dyn Group, _: Now, _: CallId) -> Asked {
        Asked::NotOfThisGroup
    }

    fn answer(self: Box<Self>, _: Option<&mut dyn Group>, reply: Reply) {
        if let Reply::Changed(result) = reply {
            // The caller may have dropped its answer.
            let _ = self.done.send(result);
        }
    }

    fn refuse(self: Box<Self>, _: CallError) {
        let _ = self.done.send(Err(GroupError::Stopped));
    }
}
