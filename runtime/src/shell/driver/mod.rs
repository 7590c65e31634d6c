//! The tokio shell of a [`Node`]: passes all ready inputs to it, carries out its outputs, and sleeps until its
//! deadline. It knows no rule of any protocol.

use std::any::Any;
use std::fmt;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

use quorate_protocol::{GroupId, HaltReason, Instant, NodeId, Now, Ticket};
use quorate_transport::{ChannelId, Inbox, Incoming, LinkEvent, Transport};
use quorate_wal::LogThread;
use quorate_wal::disk::Disk;
use tokio::sync::watch;
use tokio::time::Sleep;

use crate::group::change::GroupError;
use crate::group::interface::CallId;
use crate::group::job::Job;
use crate::group::notice::Notice;
use crate::group::reply::Reply;
use crate::node::Node;
use crate::node::interface::{NodeInput, NodeOutput, Origin};
use crate::panics::panic_message;
use crate::shell::directory::draw_incarnation;
use crate::shell::site::Site;

pub(crate) mod addresses;
pub(crate) mod calls;
pub(crate) mod changes;
pub(crate) mod clock;
mod log;
mod mailbox;
mod news;
mod report;
pub(crate) mod shutdown;
pub(crate) mod start;
mod stop;
mod waiting;
mod watches;
mod worker;

#[cfg(test)]
mod tests;

use addresses::Addresses;
use calls::{Asked, Call, CallError, Doors, HaltedGroups, LocalHandle, NodeHandle, Post};
use changes::{Adding, Changing};
use clock::Clock;
use mailbox::Mailbox;
use news::News;
use report::Report;
use shutdown::Shutdown;
use start::{Parts, StartError, job_thread};
use waiting::WaitingCalls;
use watches::Watches;
use worker::{SnapshotThreads, Worker};

/// The tokio shell of a [`Node`]. Its loop is a future, so it can share a current-thread runtime with an application's
/// own sockets. These then reach the node with a [`LocalHandle`], whose calls cross no thread.
///
/// Each round takes all inputs that are ready and then carries out all outputs, so that batches follow the load. There
/// is no linger timer.
pub struct Driver {
    node: Node,
    clock: Clock,
    transport: Arc<dyn Transport>,
    addresses: Addresses,
    inboxes: [Inbox; 2],
    log: LogThread,
    snapshots: SnapshotThreads,
    jobs: Worker<(GroupId, Ticket, Job)>,
    news: Mailbox<News>,
    doors: Doors,
    /// Calls that wait for a reply. The groups bound their number.
    waiting: WaitingCalls,
    /// Frames that could not be sent. The node is notified in the next round.
    unsent: Vec<(NodeId, Origin)>,
    sleep: Pin<Box<Sleep>>,
    armed: Instant,
    /// The time at which the round began, or at which its last frame was taken.
    round: Instant,
    /// Number of rounds in a row in which a due time-out waited for frames that had come before it.
    overdue_rounds: u32,
    shutdown: Option<Shutdown>,
    /// The time for which the loop looks for inputs again and again before it sleeps.
    spin: Duration,
    report: Report,
    /// The groups that have stopped, for those who wait for it.
    halted: watch::Sender<HaltedGroups>,
    watches: Watches,
    scratch: Scratch,
    site: Site,
    /// The data directory's lock. The threads that write to the directory hold it as well.
    lock: Arc<dyn Any + Send + Sync>,
}

/// Vectors that are kept between rounds for their capacity.
#[derive(Default)]
struct Scratch {
    news: Vec<News>,
    posts: Vec<Post>,
    local: Vec<(GroupId, Box<dyn Call>)>,
}

impl Driver {
    /// Claims the channels and starts the threads of the log, the snapshots and the jobs.
    ///
    /// # Errors
    /// When a channel is claimed already, or a thread cannot be started.
    ///
    /// # Panics
    /// Outside of a tokio runtime with time.
    pub fn new<D: Disk>(parts: Parts<D>) -> Result<Self, StartError> {
        let news = Mailbox::new(usize::MAX);
        let log = log::spawn(parts.log, news.clone())?;
        let control = parts.transport.claim(ChannelId::TRANSPORT..=ChannelId::SNAPSHOTS)?;
        let groups = parts.transport.claim(ChannelId::REPLICA..=ChannelId(u16::MAX))?;
        Ok(Self {
            report: Report::new(parts.node.identity().node),
            node: parts.node,
            sleep: Box::pin(tokio::time::sleep_until(parts.clock.moment(Instant::ZERO))),
            clock: parts.clock,
            addresses: Addresses::new(parts.read_addresses, &*parts.transport),
            transport: parts.transport,
            inboxes: [control, groups],
            log,
            snapshots: SnapshotThreads::spawn(parts.snapshots, &parts.lock, &news)?,
            jobs: job_thread(news.clone())?,
            news,
            doors: Doors::new(CALLS_BYTES_MAX),
            waiting: WaitingCalls::default(),
            unsent: Vec::new(),
            armed: Instant::ZERO,
            round: Instant::ZERO,
            overdue_rounds: 0,
            shutdown: None,
            spin: Duration::ZERO,
            halted: watch::Sender::default(),
            watches: Watches::default(),
            scratch: Scratch::default(),
            site: parts.site,
            lock: parts.lock,
        })
    }

    /// Returns a handle for other threads and executors.
    #[must_use]
    pub fn handle(&self) -> NodeHandle {
        NodeHandle::new(self.doors.posts.clone(), self.halted.subscribe(), self.clock)
    }

    /// Returns a handle for the loop's own thread.
    #[must_use]
    pub fn local_handle(&self) -> LocalHandle {
        LocalHandle::new(self.doors.local.clone(), self.clock)
    }

    /// Makes the loop and the thread of the log look for inputs for this time before they sleep. This saves the time of
    /// wake-ups where a few clients wait for each other's turn, and costs processor time that a busy machine lacks.
    /// Without this call they sleep at once.
    #[must_use]
    pub fn spinning(mut self, spin: Duration) -> Self {
        self.spin = spin;
        self.log.spin(spin);
        self
    }

    /// Runs the node until it is shut down. When this returns, all writes are synced and the directory is free, unless
    /// the result of the shutdown is [`Stopped::DiskStalled`](crate::Stopped::DiskStalled). Dropping the future stops
    /// the node as a crash would.
    pub async fn run(mut self) {
        loop {
            let has_waited = self.wait().await;
            self.carry_out();
            self.go_on();
            if self.is_done() {
                break;
            }
            // Under load the loop never waits, so it must yield to the other tasks of its thread, above all the
            // sockets.
            if !has_waited {
                tokio::task::yield_now().await;
            }
        }
        self.stop().await;
    }

    /// Waits until inputs have come, which are then passed to the node. Returns false if they were there already.
    async fn wait(&mut self) -> bool {
        let begun = self.clock.instant();
        let mut has_waited = false;
        while self.spin > Duration::ZERO && self.clock.instant().since(begun) < self.spin {
            if poll_fn(|context| Poll::Ready(self.poll_inputs(context).is_ready())).await {
                return has_waited;
            }
            has_waited = true;
            // Other threads and the sockets have their turn.
            thread::yield_now();
            tokio::task::yield_now().await;
        }
        poll_fn(|context| {
            let polled = self.poll_inputs(context);
            has_waited |= polled.is_pending();
            polled
        })
        .await;
        has_waited
    }

    /// Passes all ready inputs to the node.
    fn poll_inputs(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let mut now = self.clock.now();
        let frames = self.poll_frames(&mut now, context);
        self.round = now.instant;
        let mut has_any = frames > 0;
        has_any |= self.poll_news(now, context);
        has_any |= self.poll_calls(now, context);
        for (to, origin) in std::mem::take(&mut self.unsent) {
            has_any = true;
            self.node.handle(now, NodeInput::SendFailed { to, origin });
        }
        has_any |= self.poll_clock(now, frames == FRAMES_A_ROUND, context);
        if has_any { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Passes the frames that have arrived to the node. The clock is read after each frame is taken, never before: what
    /// the node promises its sender counts from that time, and the frame may have been sent after the round began.
    fn poll_frames(&mut self, now: &mut Now, context: &mut Context<'_>) -> usize {
        let mut taken = 0;
        for inbox in &mut self.inboxes {
            while taken < FRAMES_A_ROUND
                && let Poll::Ready(Some(incoming)) = inbox.poll_recv(context)
            {
                taken += 1;
                now.instant = self.clock.instant();
                match incoming {
                    Incoming::Frame(received) => self.node.handle(*now, NodeInput::Frame(received)),
                    Incoming::Link(LinkEvent::Up { peer }) => self.node.handle(*now, NodeInput::LinkUp(peer)),
                    Incoming::Link(LinkEvent::Down { peer, .. }) => {
                        self.node.handle(*now, NodeInput::LinkDown(peer.node));
                    }
                    // The transport counts refusals and logs them.
                    Incoming::Link(_) => {}
                }
            }
        }
        taken
    }

    fn poll_news(&mut self, now: Now, context: &mut Context<'_>) -> bool {
        let mut news = std::mem::take(&mut self.scratch.news);
        let has_any = self.news.poll_take(context, &mut news);
        for news in news.drain(..) {
            match news {
                News::Node(input) => self.node.handle(now, input),
                News::Log(done) => log::tell(done, &mut self.report, |input| self.node.handle(now, input)),
                News::Ended | News::Late => {}
            }
        }
        self.scratch.news = news;
        has_any
    }

    fn poll_calls(&mut self, now: Now, context: &mut Context<'_>) -> bool {
        let mut posts = std::mem::take(&mut self.scratch.posts);
        let mut local = std::mem::take(&mut self.scratch.local);
        let mut has_any = self.doors.posts.poll_take(context, &mut posts);
        has_any |= self.doors.local.borrow_mut().poll_take(context, &mut local);
        for post in posts.drain(..) {
            match post {
                Post::Call(group, call) => self.ask(now, group, call),
                // A panic is reported to the caller. It cannot change the node, which is borrowed immutably.
                Post::Inspect(look) => look(&self.node),
                // The watcher may be gone by now.
                Post::Watch { group, done } => drop(done.send(self.watches.add(group))),
                Post::Add(adding) => self.add(now, adding),
                Post::Remove { group, done } => {
                    let call = self.wait_for(Box::new(Changing::new(done)));
                    self.node.handle(now, NodeInput::RemoveGroup { group, call });
                }
                Post::Shutdown { patience, done } => self.begin_shutdown(now, now.instant.after(patience), done),
            }
        }
        for (group, call) in local.drain(..) {
            self.ask(now, group, call);
        }
        (self.scratch.posts, self.scratch.local) = (posts, local);
        has_any
    }

    /// Passes a due time-out to the node after the frames that came before it: after the loop was blocked, the frames
    /// that it waited for are in its inbox. An endless stream of frames delays the time-out by a few rounds only.
    fn poll_clock(&mut self, now: Now, has_more_frames: bool, context: &mut Context<'_>) -> bool {
        let mut wanted = self.node.deadline();
        if let Some(shutdown) = &self.shutdown {
            wanted = wanted.min(shutdown.deadline);
        }
        if wanted > now.instant && self.poll_sleep(wanted, context).is_pending() {
            return false;
        }
        if has_more_frames && self.overdue_rounds < OVERDUE_ROUNDS_MAX {
            self.overdue_rounds += 1;
            return false;
        }
        self.overdue_rounds = 0;
        self.armed = Instant::ZERO;
        self.node.handle(now, NodeInput::Timeout);
        self.report.publish(now, &self.node, &*self.transport, &self.log);
        true
    }

    /// Sleeps until `wanted`. A timer that was armed for an earlier time is left to fire and armed again then: under
    /// load the wanted time moves with each input, and a timer that is set back costs a system call.
    fn poll_sleep(&mut self, wanted: Instant, context: &mut Context<'_>) -> Poll<()> {
        loop {
            if self.armed == Instant::ZERO || wanted < self.armed {
                self.armed = wanted;
                self.sleep.as_mut().reset(self.clock.moment(wanted));
            }
            std::task::ready!(self.sleep.as_mut().poll(context));
            if self.armed == wanted {
                return Poll::Ready(());
            }
            self.armed = Instant::ZERO;
        }
    }

    fn add(&mut self, now: Now, Adding { group, members, make, done }: Adding) {
        let drawn = draw_incarnation().map_err(|error| GroupError::NotMade(error.to_string()));
        let seed = drawn.map(|drawn| u64::try_from(drawn.0 >> 64).expect("the upper half of 128 bits"));
        // The closure belongs to the caller. Its panic must not end the loop.
        let made = catch_unwind(AssertUnwindSafe(|| self.site.make(now, group, members, seed?, make)))
            .unwrap_or_else(|payload| Err(GroupError::NotMade(format!("panicked: {}", panic_message(&*payload)))));
        match made {
            Ok(new) => {
                let call = self.wait_for(Box::new(Changing::new(done)));
                self.node.handle(now, NodeInput::AddGroup { group, new, call });
            }
            // The caller may have dropped its answer.
            Err(error) => drop(done.send(Err(error))),
        }
    }

    fn wait_for(&mut self, call: Box<dyn Call>) -> CallId {
        let id = self.waiting.reserve();
        self.waiting.put(id, call);
        id
    }

    fn ask(&mut self, now: Now, group: GroupId, mut call: Box<dyn Call>) {
        let id = self.waiting.reserve();
        let mut was_asked = false;
        let asked = self.node.enter(now, group, |group| {
            was_asked = true;
            call.ask(group, now, id)
        });
        match asked {
            Some(Asked::Waits) => return self.waiting.put(id, call),
            Some(Asked::Answered) => {}
            None if was_asked => call.refuse(CallError::Lost),
            Some(Asked::NotOfThisGroup) | None => call.refuse(CallError::NoGroup),
        }
        self.waiting.release(id);
    }

    /// Carries out all outputs of the node.
    fn carry_out(&mut self) {
        let now = self.clock.now();
        while let Some(output) = self.node.poll_output() {
            match output {
                NodeOutput::Send { to, frame, origin } => {
                    if self.transport.send(to, frame).is_err() && origin != Origin::Node {
                        self.unsent.push((to, origin));
                    }
                }
                NodeOutput::Write(writes) => log::submit(&self.log, writes),
                NodeOutput::Load { stream, ticket, range } => {
                    let queued = self.log.load(stream, ticket, range);
                    queued.expect("the queue has no bound of its own, and the loop closes it last");
                }
                NodeOutput::DeleteStream { stream, ticket } => {
                    let queued = self.log.delete_stream(stream, ticket);
                    queued.expect("the queue has no bound of its own, and the loop closes it last");
                }
                NodeOutput::Snapshot { group, ticket, operation } => {
                    if let Err(failure) = self.snapshots.offer(group, ticket, operation) {
                        self.tell(NodeInput::Snapshot { group, ticket, result: Err(failure) });
                    }
                }
                NodeOutput::Job { group, ticket, job } => {
                    if !self.jobs.offer((group, ticket, job)) {
                        let result = Err("too many jobs wait".to_owned());
                        self.tell(NodeInput::Job { group, ticket, result });
                    }
                }
                NodeOutput::Reply { group, call, reply } => self.answer(now, group, call, reply),
                NodeOutput::Peers(peers) => {
                    let report = &self.report;
                    self.addresses.follow(peers, &*self.transport, |notice| report.notice(None, &notice));
                }
                NodeOutput::Notice { group, notice } => self.notice(group, notice),
            }
        }
        self.transport.flush();
    }

    fn notice(&mut self, group: Option<GroupId>, notice: Notice) {
        self.report.notice(group, &notice);
        if let Some(group) = group {
            self.watches.on_notice(group);
        }
        let reason = match notice {
            Notice::Halted { reason } => reason,
            Notice::Removed => HaltReason::Removed,
            _ => return,
        };
        if let Some(group) = group {
            self.halted.send_modify(|halted| _ = halted.insert(group, reason));
        }
    }

    /// Answers a caller. The node is entered only for an answer that is read from the group: an answer to a write
    /// changes nothing, and would cost the group a turn.
    fn answer(&mut self, now: Now, group: GroupId, call: CallId, reply: Reply) {
        let Some(call) = self.waiting.take(call) else { return };
        let is_read_from_group = reply.is_read_from_group();
        let mut answering = Some((call, reply));
        if is_read_from_group {
            self.node.enter(now, group, |group| {
                let (call, reply) = answering.take().expect("entered once");
                call.answer(Some(group), reply);
            });
        }
        if let Some((call, reply)) = answering {
            // The closure belongs to the caller. If it panics, no answer is sent, and the caller gets `Lost`.
            let _ = catch_unwind(AssertUnwindSafe(|| call.answer(None, reply)));
        }
    }

    /// Lets groups with a backlog continue for a moment. Their time does not advance meanwhile, so that nothing else
    /// falls due before the inputs that have arrived are taken.
    fn go_on(&mut self) {
        let begun = self.clock.now();
        for _ in 0..GO_ON_TIMES_MAX {
            let took = self.clock.now().instant.since(begun.instant);
            if self.node.deadline() > self.round || took >= GO_ON_MAX {
                return;
            }
            self.node.handle(Now { instant: self.round, wall_ms: begun.wall_ms }, NodeInput::Timeout);
            self.carry_out();
        }
    }

    /// Passes an input to the node in the next round.
    fn tell(&self, input: NodeInput) {
        // The loop owns the queue, so the queue is open as long as the loop runs.
        let _ = self.news.push(News::Node(input), 0);
    }
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver").field("node", &self.node).finish_non_exhaustive()
    }
}

/// Maximum time for which groups with a backlog continue before the next round.
const GO_ON_MAX: Duration = Duration::from_millis(4);
/// Maximum number of such turns, for a clock that stands still.
const GO_ON_TIMES_MAX: usize = 256;
/// Maximum number of frames that are taken in one round, before the outputs are carried out.
const FRAMES_A_ROUND: usize = 4096;
/// Maximum number of rounds full of frames for which a time-out waits.
const OVERDUE_ROUNDS_MAX: u32 = 8;
/// Maximum bytes of waiting calls in each of the loop's two queues. Further calls are refused as `Overloaded`.
const CALLS_BYTES_MAX: usize = 64 << 20;
