//! How callers reach a group on the loop, from any thread or from the loop's own.

use std::any::Any;
use std::cell::RefCell;
use std::fmt;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use quorate_protocol::{GroupId, Now};
use tokio::sync::oneshot;

use super::Stopped;
use super::mailbox::{Mailbox, PushError};
use crate::{CallId, Group, Node, Reply};

/// Reaches the groups of a running node from any thread and any executor. Cheap to clone.
#[derive(Clone, Debug)]
pub struct NodeHandle {
    posts: Mailbox<Post>,
}

/// Reaches the groups of a node from the loop that it runs on: nothing crosses a thread. Cheap to clone.
#[derive(Clone, Debug)]
pub struct LocalHandle {
    calls: Rc<RefCell<LocalCalls>>,
}

/// A question to one group, as the loop sees it.
pub(crate) trait Call {
    /// Asks. Answered later under `call` if it says so.
    fn ask(&mut self, group: &mut dyn Group, now: Now, call: CallId) -> Asked;

    /// The answer; without the group when that has panicked.
    fn answer(self: Box<Self>, group: Option<&mut dyn Group>, reply: Reply);

    /// It was never asked.
    fn refuse(self: Box<Self>, reason: CallError);
}

/// Whether a call waits for a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    Answered,
    Waits,
    /// The group is of another type.
    NotOfThisGroup,
}

/// What comes over a [`NodeHandle`].
pub(crate) enum Post {
    Call(GroupId, Box<dyn Call + Send>),
    Inspect(Box<dyn FnOnce(&Node) + Send>),
    Shutdown { patience: Duration, done: oneshot::Sender<Stopped> },
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// More calls wait than the configured bound. It was not asked.
    #[error("too many calls wait")]
    Overloaded,
    /// The node has no such group, one of another type, or one that has panicked. It was not asked.
    #[error("the node has no such group, or it has stopped")]
    NoGroup,
    /// The node has stopped. It was not asked.
    #[error("the node has stopped")]
    Stopped,
    /// The node or the group stopped while the call was waiting: its outcome is unknown.
    #[error("the node or the group stopped before the answer was known")]
    Lost,
    /// The code that the call brought along panicked.
    #[error("the code of the call panicked")]
    Panicked,
}

/// The answer to a call, once there is one. Dropping it loses only the answer.
#[derive(Debug)]
pub struct Answer<T> {
    receiver: oneshot::Receiver<Result<T, CallError>>,
}

impl NodeHandle {
    pub(super) fn new(posts: Mailbox<Post>) -> Self {
        Self { posts }
    }

    /// Asks a group of type `G`: `ask` runs on the loop and starts what will be answered under the call's id, `answer`
    /// runs there when the reply comes and makes of it what the caller gets. Both are short. `bytes` counts against the
    /// bound on waiting calls.
    pub fn ask<G: Group, T: Send + 'static>(
        &self,
        group: GroupId,
        bytes: usize,
        ask: impl FnOnce(&mut G, Now, CallId) + Send + 'static,
        answer: impl FnOnce(Option<&mut G>, Reply) -> T + Send + 'static,
    ) -> Answer<T> {
        let (sender, receiver) = oneshot::channel();
        self.post(group, bytes, Box::new(Asking { ask: Some(ask), answer, sender, group: PhantomData }));
        Answer { receiver }
    }

    /// Looks at a group of type `G`, or changes it: `f` runs on the loop and gives the answer at once. A panic of `f`
    /// may leave the group half changed: it halts the group, and no other.
    pub fn look<G: Group, T: Send + 'static>(
        &self,
        group: GroupId,
        f: impl FnOnce(&mut G, Now) -> T + Send + 'static,
    ) -> Answer<T> {
        let (sender, receiver) = oneshot::channel();
        self.post(group, 0, Box::new(Looking { looking: Some((f, sender)), group: PhantomData }));
        Answer { receiver }
    }

    /// Looks at the node itself: `f` runs on the loop. A panic of `f` is told as [`CallError::Panicked`] and harms
    /// nobody.
    pub fn inspect<T: Send + 'static>(&self, f: impl FnOnce(&Node) -> T + Send + 'static) -> Answer<T> {
        let (sender, receiver) = oneshot::channel();
        let look = Box::new(move |node: &Node| {
            let looked = catch_unwind(AssertUnwindSafe(|| f(node))).map_err(|_| CallError::Panicked);
            // Nobody may listen any more, which is the caller's right.
            let _ = sender.send(looked);
        });
        // A refused one is dropped, which its answer tells.
        let _ = self.posts.push(Post::Inspect(look), CALL_WEIGHT);
        Answer { receiver }
    }

    /// Stops the node: leadership is handed over where it can be, callers are answered where that takes at most
    /// `patience`, what is written is synced, and the data directory is free, when this returns [`Stopped::InOrder`]. A
    /// disk that stands still is waited for until `patience` is over, and for a second at least. A second call waits
    /// for the same; a node that had stopped before is in order.
    pub async fn shutdown(&self, patience: Duration) -> Stopped {
        // An error says that the loop is gone, and all it held with it.
        self.begin_shutdown(patience).await.unwrap_or(Stopped::InOrder)
    }

    /// Tells the loop to stop; the receiver ends when it has.
    pub(crate) fn begin_shutdown(&self, patience: Duration) -> oneshot::Receiver<Stopped> {
        let (done, stopped) = oneshot::channel();
        // A loop that is gone drops the sender, which says the same.
        let _ = self.posts.push(Post::Shutdown { patience, done }, 0);
        stopped
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
    pub(super) fn new(calls: Rc<RefCell<LocalCalls>>) -> Self {
        Self { calls }
    }

    /// As [`NodeHandle::ask`], on the loop's own thread.
    pub fn ask<G: Group, T: 'static>(
        &self,
        group: GroupId,
        bytes: usize,
        ask: impl FnOnce(&mut G, Now, CallId) + 'static,
        answer: impl FnOnce(Option<&mut G>, Reply) -> T + 'static,
    ) -> Answer<T> {
        let (sender, receiver) = oneshot::channel();
        self.post(group, bytes, Box::new(Asking { ask: Some(ask), answer, sender, group: PhantomData }));
        Answer { receiver }
    }

    /// As [`NodeHandle::look`], on the loop's own thread.
    pub fn look<G: Group, T: 'static>(&self, group: GroupId, f: impl FnOnce(&mut G, Now) -> T + 'static) -> Answer<T> {
        let (sender, receiver) = oneshot::channel();
        self.post(group, 0, Box::new(Looking { looking: Some((f, sender)), group: PhantomData }));
        Answer { receiver }
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

/// Calls of the loop's own thread. Bounded as those of other threads are.
#[derive(Default)]
pub(crate) struct LocalCalls {
    pub(super) waiting: Vec<(GroupId, Box<dyn Call>)>,
    pub(super) weight: usize,
    pub(super) weight_max: usize,
    pub(super) waker: Option<Waker>,
    pub(super) is_closed: bool,
}

impl LocalCalls {
    /// Swaps what waits into `into`, or has the loop woken once something comes.
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

/// The loop's end of both ways in. Closed when the loop is gone, however it went, so that nobody waits in vain.
#[derive(Debug)]
pub(super) struct Doors {
    pub(super) posts: Mailbox<Post>,
    pub(super) local: Rc<RefCell<LocalCalls>>,
}

impl Doors {
    /// Doors behind which calls of so many bytes may wait, each.
    pub(super) fn new(calls_bytes_max: usize) -> Self {
        let local = LocalCalls { weight_max: calls_bytes_max, ..LocalCalls::default() };
        Self { posts: Mailbox::new(calls_bytes_max), local: Rc::new(RefCell::new(local)) }
    }

    /// Refuses all that waits and all that comes. Gives those who wait for a shutdown.
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
                Post::Inspect(_) => {}
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

impl<T> Answer<T> {
    /// Waits for the answer on a thread of its own, outside of any executor.
    ///
    /// # Errors
    /// As awaiting it.
    ///
    /// # Panics
    /// Within an async task.
    pub fn wait(self) -> Result<T, CallError> {
        self.receiver.blocking_recv().unwrap_or(Err(CallError::Lost))
    }
}

impl<T> Future for Answer<T> {
    type Output = Result<T, CallError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let received = std::task::ready!(Pin::new(&mut self.receiver).poll(context));
        Poll::Ready(received.unwrap_or(Err(CallError::Lost)))
    }
}

/// A call that is answered by a reply.
struct Asking<G, A, F, T> {
    ask: Option<A>,
    answer: F,
    sender: oneshot::Sender<Result<T, CallError>>,
    group: PhantomData<fn(G)>,
}

/// A call that is answered at once.
struct Looking<G, F, T> {
    looking: Option<(F, oneshot::Sender<Result<T, CallError>>)>,
    group: PhantomData<fn(G)>,
}

/// The group as one of type `G`.
fn of_type<G: Group>(group: &mut dyn Group) -> Option<&mut G> {
    let group: &mut dyn Any = group;
    group.downcast_mut()
}

impl<G, A, F, T> Call for Asking<G, A, F, T>
where
    G: Group,
    A: FnOnce(&mut G, Now, CallId),
    F: FnOnce(Option<&mut G>, Reply) -> T,
{
    fn ask(&mut self, group: &mut dyn Group, now: Now, call: CallId) -> Asked {
        let (Some(group), Some(ask)) = (of_type::<G>(group), self.ask.take()) else { return Asked::NotOfThisGroup };
        ask(group, now, call);
        Asked::Waits
    }

    fn answer(self: Box<Self>, group: Option<&mut dyn Group>, reply: Reply) {
        let Self { answer, sender, .. } = *self;
        // Nobody may listen any more, which is the caller's right.
        let _ = sender.send(Ok(answer(group.and_then(of_type), reply)));
    }

    fn refuse(self: Box<Self>, reason: CallError) {
        let _ = self.sender.send(Err(reason));
    }
}

impl<G, F, T> Call for Looking<G, F, T>
where
    G: Group,
    F: FnOnce(&mut G, Now) -> T,
{
    fn ask(&mut self, group: &mut dyn Group, now: Now, _call: CallId) -> Asked {
        let Some(group) = of_type::<G>(group) else { return Asked::NotOfThisGroup };
        if let Some((f, sender)) = self.looking.take() {
            let _ = sender.send(Ok(f(group, now)));
        }
        Asked::Answered
    }

    fn answer(self: Box<Self>, _group: Option<&mut dyn Group>, _reply: Reply) {}

    fn refuse(self: Box<Self>, reason: CallError) {
        if let Some((_, sender)) = self.looking {
            let _ = sender.send(Err(reason));
        }
    }
}

impl fmt::Debug for Post {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Call(group, _) => write!(f, "Call({group})"),
            Self::Inspect(_) => f.write_str("Inspect"),
            Self::Shutdown { patience, .. } => write!(f, "Shutdown({patience:?})"),
        }
    }
}

impl fmt::Debug for LocalCalls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalCalls").field("waiting", &self.waiting.len()).finish_non_exhaustive()
    }
}

/// What a waiting call costs beside its bytes.
const CALL_WEIGHT: usize = 256;
