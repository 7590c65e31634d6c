//! Calls to groups on the loop, from any thread or from the loop's own.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use quorate_protocol::{GroupId, HaltReason, Now};
use tokio::sync::{oneshot, watch};

use super::changes::Adding;
use super::clock::Clock;
use super::mailbox::{Mailbox, PushError};
use super::shutdown::Stopped;
use crate::group::change::GroupError;
use crate::group::interface::{CallId, Group};
use crate::group::reply::Reply;
use crate::node::Node;

/// Reaches the groups of a running node from any thread and any executor. Cheap to clone.
#[derive(Clone, Debug)]
pub struct NodeHandle {
    posts: Mailbox<Post>,
    halted: watch::Receiver<HaltedGroups>,
    /// The clock of the node.
    clock: Clock,
}

/// The groups that have stopped, with the reasons.
pub(super) type HaltedGroups = BTreeMap<GroupId, HaltReason>;

/// Reaches the groups of a node from the thread of its loop: no call crosses a thread. Cheap to clone.
#[derive(Clone, Debug)]
pub struct LocalHandle {
    calls: Rc<RefCell<LocalCalls>>,
    /// The clock of the node.
    clock: Clock,
}

/// A call to one group, as the loop sees it.
pub(crate) trait Call {
    /// Makes the call. If it returns `Waits`, the answer comes later under `call`.
    fn ask(&mut self, group: &mut dyn Group, now: Now, call: CallId) -> Asked;

    /// Answers the caller. `group` is `None` if the reply contains the answer, or the group has panicked.
    fn answer(self: Box<Self>, group: Option<&mut dyn Group>, reply: Reply);

    /// Refuses a call that was not made.
    fn refuse(self: Box<Self>, reason: CallError);
}

/// State of a call after it was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    Answered,
    Waits,
    /// The group is of another type.
    NotOfThisGroup,
}

/// A message over a [`NodeHandle`].
pub(crate) enum Post {
    Call(GroupId, Box<dyn Call + Send>),
    Inspect(Box<dyn FnOnce(&Node) + Send>),
    Watch { group: GroupId, done: oneshot::Sender<watch::Receiver<()>> },
    Add(Adding),
    Remove { group: GroupId, done: oneshot::Sender<Result<(), GroupError>> },
    Shutdown { patience: Duration, done: oneshot::Sender<Stopped> },
}

/// Reason why a call has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// The weight of the waiting calls exceeds the bound. The call was not made.
    #[error("too many calls wait")]
    Overloaded,
    /// The node has no such group, or one of another type, or the group has panicked. The call was not made.
    #[error("the node has no such group, or it has stopped")]
    NoGroup,
    /// The node has stopped. The call was not made.
    #[error("the node has stopped")]
    Stopped,
    /// The node or the group stopped while the call was waiting: its outcome is unknown.
    #[error("the node or the group stopped before the answer was known")]
    Lost,
    /// The closure of the call panicked.
    #[error("the code of the call panicked")]
    Panicked,
}

/// The future answer to a call. Dropping it loses only the answer.
#[derive(Debug)]
pub struct CallAnswer<T> {
    receiver: oneshot::Receiver<Result<T, CallError>>,
}

impl NodeHandle {
    pub(super) fn new(posts: Mailbox<Post>, halted: watch::Receiver<HaltedGroups>, clock: Clock) -> Self {
        Self { posts, halted, clock }
    }

    pub(crate) fn clock(&self) -> Clock {
        self.clock
    }

    /// Calls a group of type `G`. `ask` runs on the loop and starts the work that is answered under the call's id.
    /// `answer` runs on the loop when the reply comes, and makes the caller's result from it. It gets the group if the
    /// answer is read from the group ([`Reply::is_read_from_group`]) and the group has not panicked. Both must be
    /// short. `bytes` counts against the bound on waiting calls.
    pub fn ask<G: Group, T: Send + 'static>(
        &self,
        group: GroupId,
        bytes: usize,
        ask: impl FnOnce(&mut G, Now, CallId) + Send + 'static,
        answer: impl FnOnce(Option<&mut G>, Reply) -> T + Send + 'static,
    ) -> CallAnswer<T> {
        self.look_or_ask(group, bytes, |group: &mut G, now, call| {
            ask(group, now, call);
            ControlFlow::Continue(answer)
        })
    }

    /// As [`look`](Self::look) if `f` returns an answer, and as [`ask`](Self::ask) if it returns the code that makes
    /// the answer from the reply.
    pub fn look_or_ask<G: Group, T: Send + 'static, A>(
        &self,
        group: GroupId,
        bytes: usize,
        f: impl FnOnce(&mut G, Now, CallId) -> ControlFlow<T, A> + Send + 'static,
    ) -> CallAnswer<T>
    where
        A: FnOnce(Option<&mut G>, Reply) -> T + Send + 'static,
    {
        let (sender, receiver) = oneshot::channel();
        self.post(group, bytes, Box::new(Asking::new(f, sender)));
        CallAnswer { receiver }
    }

    /// Reads or changes a group of type `G`: `f` runs on the loop and returns the answer at once. A panic of `f` may
    /// leave the group half changed, so it halts the group, and no other.
    pub fn look<G: Group, T: Send + 'static>(
        &self,
        group: GroupId,
        f: impl FnOnce(&mut G, Now) -> T + Send + 'static,
    ) -> CallAnswer<T> {
        self.look_or_ask(group, 0, |group: &mut G, now, _| ControlFlow::<T, NoReply<G, T>>::Break(f(group, now)))
    }

    /// Reads the node itself: `f` runs on the loop. A panic of `f` is reported as [`CallError::Panicked`] and affects
    /// nothing else.
    pub fn inspect<T: Send + 'static>(&self, f: impl FnOnce(&Node) -> T + Send + 'static) -> CallAnswer<T> {
        let (sender, receiver) = oneshot::channel();
        let look = Box::new(move |node: &Node| {
            let looked = catch_unwind(AssertUnwindSafe(|| f(node))).map_err(|_| CallError::Panicked);
            // The caller may have dropped its answer.
            let _ = sender.send(looked);
        });
        // If the call is refused it is dropped, and its answer then ends with an error.
        let _ = self.posts.push(Post::Inspect(look), CALL_WEIGHT);
        CallAnswer { receiver }
    }

    /// Waits until the group has stopped on this node or was removed from it, and returns the reason. A group that
    /// stopped before is reported at once. Only a new start of the node can help a group that stopped by itself: it
    /// reads its log again, or refuses it with an error that names the cause.
    ///
    /// # Errors
    /// [`CallError::Stopped`] if the node stops first.
    pub async fn halted(&self, group: GroupId) -> Result<HaltReason, CallError> {
        let mut halted = self.halted.clone();
        let reasons = halted.wait_for(|groups| groups.contains_key(&group)).await.map_err(|_| CallError::Stopped)?;
        reasons.get(&group).cloned().ok_or(CallError::Stopped)
    }

    /// Watches a group: the receiver is marked as changed whenever there is a [`Notice`](crate::group::Notice) of it.
    ///
    /// # Errors
    /// [`CallError::Stopped`] if the node stops first, and [`CallError::Overloaded`] if too many calls wait.
    pub(crate) async fn watch(&self, group: GroupId) -> Result<watch::Receiver<()>, CallError> {
        let (done, watched) = oneshot::channel();
        self.push(Post::Watch { group, done }).map_err(|refused| match refused {
            PushError::Full(_) => CallError::Overloaded,
            PushError::Closed(_) => CallError::Stopped,
        })?;
        watched.await.map_err(|_| CallError::Stopped)
    }

    /// Stops the node. Leadership is transferred where possible, and callers are answered if that takes at most
    /// `patience`. When this returns [`Stopped::InOrder`], all writes are synced and the data directory is free. A
    /// stalled disk is waited for until `patience` is over, and for at least one second. A second call waits for the
    /// same shutdown. If the node had stopped before, the result is `InOrder`.
    pub async fn shutdown(&self, patience: Duration) -> Stopped {
        // An error means that the loop has ended and has released everything that it held.
        self.begin_shutdown(patience).await.unwrap_or(Stopped::InOrder)
    }

    /// Makes the loop stop. The receiver resolves when it has.
    pub(crate) fn begin_shutdown(&self, patience: Duration) -> oneshot::Receiver<Stopped> {
        let (done, stopped) = oneshot::channel();
        // A loop that has ended drops the sender, which has the same effect.
        let _ = self.posts.push(Post::Shutdown { patience, done }, 0);
        stopped
    }

    pub(super) fn push(&self, post: Post) -> Result<(), PushError<Post>> {
        self.posts.push(post, CALL_WEIGHT)
    }

    fn post(&self, group: GroupId, bytes: usize, call: Box<dyn Call + Send>) {
        let refused = match self.posts.push(Post::Call(group, call), CALL_WEIGHT + bytes) {
            Ok(()) => return,
            Err(PushError::Full(post)) => (post, CallError::Overloaded),
            Err(PushError::Closed(post)) => (post, CallError::Stopped),
        };
        if let (Post::Call(_, call), reason) = refused {
            call.refuse(reason);
        }
    }
}

impl LocalHandle {
    pub(super) fn new(calls: Rc<RefCell<LocalCalls>>, clock: Clock) -> Self {
        Self { calls, clock }
    }

    pub(crate) fn clock(&self) -> Clock {
        self.clock
    }

    /// As [`NodeHandle::ask`], on the loop's own thread.
    pub fn ask<G: Group, T: 'static>(
        &self,
        group: GroupId,
        bytes: usize,
        ask: impl FnOnce(&mut G, Now, CallId) + 'static,
        answer: impl FnOnce(Option<&mut G>, Reply) -> T + 'static,
    ) -> CallAnswer<T> {
        self.look_or_ask(group, bytes, |group: &mut G, now, call| {
            ask(group, now, call);
            ControlFlow::Continue(answer)
        })
    }

    /// As `NodeHandle::look_or_ask`, on the loop's own thread.
    pub fn look_or_ask<G: Group, T: 'static, A>(
        &self,
        group: GroupId,
        bytes: usize,
        f: impl FnOnce(&mut G, Now, CallId) -> ControlFlow<T, A> + 'static,
    ) -> CallAnswer<T>
    where
        A: FnOnce(Option<&mut G>, Reply) -> T + 'static,
    {
        let (sender, receiver) = oneshot::channel();
        self.post(group, bytes, Box::new(Asking::new(f, sender)));
        CallAnswer { receiver }
    }

    /// As [`NodeHandle::look`], on the loop's own thread.
    pub fn look<G: Group, T: 'static>(
        &self,
        group: GroupId,
        f: impl FnOnce(&mut G, Now) -> T + 'static,
    ) -> CallAnswer<T> {
        self.look_or_ask(group, 0, |group: &mut G, now, _| ControlFlow::<T, NoReply<G, T>>::Break(f(group, now)))
    }

    fn post(&self, group: GroupId, bytes: usize, call: Box<dyn Call>) {
        let mut calls = self.calls.borrow_mut();
        let refusal = calls.refusal(CALL_WEIGHT + bytes);
        if let Some(reason) = refusal {
            drop(calls);
            return call.refuse(reason);
        }
        calls.weight += CALL_WEIGHT + bytes;
        calls.waiting.push((group, call));
        if let Some(waker) = calls.waker.take() {
            drop(calls);
            waker.wake();
        }
    }
}

/// Calls of the loop's own thread. They have the same bound as those of other threads.
#[derive(Default)]
pub(crate) struct LocalCalls {
    pub(super) waiting: Vec<(GroupId, Box<dyn Call>)>,
    pub(super) weight: usize,
    pub(super) weight_max: usize,
    pub(super) waker: Option<Waker>,
    pub(super) is_closed: bool,
}

impl LocalCalls {
    /// Swaps the waiting calls into `into`. If there are none, the loop is woken when one comes.
    pub(super) fn poll_take(&mut self, context: &mut Context<'_>, into: &mut Vec<(GroupId, Box<dyn Call>)>) -> bool {
        if self.waiting.is_empty() {
            self.waker = Some(context.waker().clone());
            return false;
        }
        std::mem::swap(&mut self.waiting, into);
        self.weight = 0;
        true
    }

    fn refusal(&self, weight: usize) -> Option<CallError> {
        if self.is_closed {
            return Some(CallError::Stopped);
        }
        (self.weight + weight > self.weight_max && !self.waiting.is_empty()).then_some(CallError::Overloaded)
    }
}

/// The loop's end of both queues. It is closed when the loop ends for any reason, so that no caller waits in vain.
#[derive(Debug)]
pub(super) struct Doors {
    pub(super) posts: Mailbox<Post>,
    pub(super) local: Rc<RefCell<LocalCalls>>,
}

impl Doors {
    /// Makes two queues, each with this bound on the bytes of waiting calls.
    pub(super) fn new(calls_bytes_max: usize) -> Self {
        let local = LocalCalls { weight_max: calls_bytes_max, ..LocalCalls::default() };
        Self { posts: Mailbox::new(calls_bytes_max), local: Rc::new(RefCell::new(local)) }
    }

    /// Refuses all waiting and all later calls. Returns the senders of those who wait for a shutdown.
    pub(super) fn close(&self) -> Vec<oneshot::Sender<Stopped>> {
        let mut stopping = Vec::new();
        let mut local = self.local.borrow_mut();
        local.is_closed = true;
        let waiting = std::mem::take(&mut local.waiting);
        drop(local);
        for (_, call) in waiting {
            call.refuse(CallError::Stopped);
        }
        for post in self.posts.close() {
            match post {
                Post::Call(_, call) => call.refuse(CallError::Stopped),
                // Their callers learn from the dropped sender that the node has stopped.
                Post::Inspect(_) | Post::Watch { .. } | Post::Add(_) | Post::Remove { .. } => {}
                Post::Shutdown { done, .. } => stopping.push(done),
            }
        }
        stopping
    }
}

impl Drop for Doors {
    fn drop(&mut self) {
        self.close();
    }
}

impl<T> CallAnswer<T> {
    /// Blocks the calling thread until the answer is there. For threads outside of any executor.
    ///
    /// # Errors
    /// As for awaiting it.
    ///
    /// # Panics
    /// Within an async task.
    pub fn wait(self) -> Result<T, CallError> {
        self.receiver.blocking_recv().unwrap_or(Err(CallError::Lost))
    }
}

impl<T> Future for CallAnswer<T> {
    type Output = Result<T, CallError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let received = std::task::ready!(Pin::new(&mut self.receiver).poll(context));
        Poll::Ready(received.unwrap_or(Err(CallError::Lost)))
    }
}

/// A call that is answered at once or by a reply.
struct Asking<G, F, A, T> {
    /// The first part, until it has run.
    first: Option<F>,
    /// The second part, if the first gave no answer.
    answer: Option<A>,
    /// Taken with the answer. The caller may have dropped its end.
    sender: Option<oneshot::Sender<Result<T, CallError>>>,
    group: PhantomData<fn(G)>,
}

impl<G, F, A, T> Asking<G, F, A, T> {
    fn new(first: F, sender: oneshot::Sender<Result<T, CallError>>) -> Self {
        Self { first: Some(first), answer: None, sender: Some(sender), group: PhantomData }
    }

    fn send(&mut self, answer: Result<T, CallError>) {
        let _ = self.sender.take().map(|sender| sender.send(answer));
    }
}

/// The second part of a call that is always answered at once.
type NoReply<G, T> = fn(Option<&mut G>, Reply) -> T;

impl<G, F, A, T> Call for Asking<G, F, A, T>
where
    G: Group,
    F: FnOnce(&mut G, Now, CallId) -> ControlFlow<T, A>,
    A: FnOnce(Option<&mut G>, Reply) -> T,
{
    fn ask(&mut self, group: &mut dyn Group, now: Now, call: CallId) -> Asked {
        let (Some(group), Some(first)) = (group.as_part_mut::<G>(), self.first.take()) else {
            return Asked::NotOfThisGroup;
        };
        match first(group, now, call) {
            ControlFlow::Break(answer) => {
                self.send(Ok(answer));
                Asked::Answered
            }
            ControlFlow::Continue(answer) => {
                self.answer = Some(answer);
                Asked::Waits
            }
        }
    }

    fn answer(mut self: Box<Self>, group: Option<&mut dyn Group>, reply: Reply) {
        if let Some(answer) = self.answer.take() {
            let answer = answer(group.and_then(|group| group.as_part_mut()), reply);
            self.send(Ok(answer));
        }
    }

    fn refuse(mut self: Box<Self>, reason: CallError) {
        self.send(Err(reason));
    }
}

impl fmt::Debug for Post {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Call(group, _) => write!(f, "Call({group})"),
            Self::Inspect(_) => f.write_str("Inspect"),
            Self::Watch { group, .. } => write!(f, "Watch({group})"),
            Self::Add(adding) => write!(f, "Add({})", adding.group),
            Self::Remove { group, .. } => write!(f, "Remove({group})"),
            Self::Shutdown { patience, .. } => write!(f, "Shutdown({patience:?})"),
        }
    }
}

impl fmt::Debug for LocalCalls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalCalls").field("waiting", &self.waiting.len()).finish_non_exhaustive()
    }
}

/// Weight of a waiting call beside its bytes.
const CALL_WEIGHT: usize = 256;
