//! The shell around [`Connection`]: sockets, without logic that needs tests of its own.
//!
//! Each connection is one task on the loop that also runs the node. A turn of a task starts all work in its input,
//! takes all ready answers, sends all replies in one write and reads once. So batches grow with the load.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Context;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use metrics::{Counter, Gauge};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::oneshot;
use tokio::time::{Instant as Deadline, timeout, timeout_at};

use crate::accept::accept;
use crate::clients::{Arrivals, Client, Registry};
use crate::command::{About, Answer, ReadBatch, ServerInfo};
use crate::connection::{Connection, ConnectionLimits, Freshness, KnownUsers, Reason, Work, Written};
use crate::credentials::Login;
use crate::exposition::Measures;
use crate::http::Admission;
use crate::memory::Memory;
use crate::process::Process;
use crate::pubsub::{self, Hub, Request, Topic};
use crate::random;
use crate::resp::RequestRoom;
use crate::shards::layout::{Layout, Target};
use crate::stats::{Refusal, Stats};
use crate::store::Wait;
use crate::tls::NodeTls;
use crate::waiting::{read_once_possible, write_once_possible};

mod turn;

use turn::{Pending, PendingAnswer, ReadFuture, poll_turn, too_late};

/// The replicated store, as connections use it. Its futures are polled in the order in which they were created.
/// Dropping one loses only the answer.
pub trait Backend: Clone + 'static {
    /// The layout by which work is divided now.
    fn layout(&self) -> Arc<Layout>;

    /// Proposes an entry of writes.
    fn write(&self, target: Target, entry: Bytes) -> impl Future<Output = Written> + 'static;

    /// Answers a batch of reads. All pending reads of a shard share one round for linearizability.
    fn read(
        &self,
        target: Target,
        freshness: Freshness,
        batch: ReadBatch,
        server: ServerInfo,
    ) -> impl Future<Output = Result<Answer, Reason>> + 'static;

    /// Answers a read that waits until there is something, or calls `wake` when there may be.
    fn read_or_wait(
        &self,
        target: Target,
        freshness: Freshness,
        batch: ReadBatch,
        wake: impl Fn() + Clone + Send + Sync + 'static,
    ) -> impl Future<Output = Result<Answer, Reason>> + 'static;

    /// Calls `wake` whenever this node's store gets items of one of the keys, until the waits are dropped.
    fn wait(
        &self,
        keys: Vec<Box<[u8]>>,
        wake: impl Fn() + Clone + Send + Sync + 'static,
    ) -> impl Future<Output = Result<Vec<Wait>, Reason>> + 'static;

    /// Asks all other nodes, and returns the answers that came in time.
    fn ask_others(&self, request: &Request) -> impl Future<Output = Vec<pubsub::Answer>> + 'static;

    /// The limit of what keys take up.
    fn memory(&self) -> Memory {
        Memory::default()
    }

    /// The users as this node knows them.
    fn users(&self) -> KnownUsers;

    /// Waits until the node's copy of the users has changed.
    fn users_changed(&self) -> impl Future<Output = ()> + 'static;

    /// Has the node learn of the users as they are now in the cluster.
    fn refresh_users(&self) -> impl Future<Output = ()> + 'static;

    /// The node's part in its group, for `INFO` and `HELLO`.
    fn about(&self) -> impl Future<Output = About> + 'static;
}

/// Limits of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerLimits {
    /// Maximum number of open connections. Further ones get an error and are closed.
    pub connections_max: usize,
    /// Maximum number of open connections whose clients have not yet encrypted or logged in, where they have to. A
    /// further one takes the place of the oldest.
    pub strangers_max: usize,
    /// Maximum time for the encryption of a connection.
    pub handshake_patience: Duration,
    /// Maximum time for which a client that has to log in does not. Then its connection ends.
    pub login_patience: Duration,
    /// Limits of each connection.
    pub connection: ConnectionLimits,
    /// Maximum bytes of replies that wait in all connections together. Beyond them each connection may hold only as
    /// many bytes of replies as of requests.
    pub replies_bytes_max: usize,
    /// Maximum bytes of the requests above 1 MiB of all connections together, from their first bytes to their answers.
    /// Beyond them such a request is read and refused. A copy of the commands is kept besides.
    pub requests_bytes_max: usize,
    /// Maximum time for which a client that has to take replies may take none, or one that sends a request above 1 MiB
    /// may send nothing. Then its connection ends. The whole of such a request has four times as long.
    pub patience: Duration,
}

impl Default for ServerLimits {
    fn default() -> Self {
        Self {
            connections_max: 10_000,
            strangers_max: 1_000,
            handshake_patience: Duration::from_secs(5),
            login_patience: Duration::from_mins(1),
            connection: ConnectionLimits::default(),
            replies_bytes_max: 1024 * 1024 * 1024,
            requests_bytes_max: 512 * 1024 * 1024,
            patience: Duration::from_secs(30),
        }
    }
}

/// A question to a server from the thread of the http port.
#[derive(Debug)]
pub enum Question {
    /// What has been measured?
    Measures(oneshot::Sender<Measures>),
    /// May somebody who logs in so, or does not, do everything?
    Admits(Option<Login>, oneshot::Sender<Admission>),
}

/// Accepts clients, whose subscriptions are in `hub`, and answers `questions`, until it is dropped. With `tls` clients
/// have to encrypt. To be run within a [`tokio::runtime::LocalRuntime`]; connections are tasks of their own.
///
/// # Errors
/// When the listener has no address.
pub async fn serve<B: Backend>(
    listener: TcpListener,
    backend: B,
    hub: Rc<RefCell<Hub>>,
    limits: ServerLimits,
    tls: Option<Arc<NodeTls>>,
    mut questions: UnboundedReceiver<Question>,
) -> io::Result<Infallible> {
    let server = Rc::new(Server::new(backend, hub, limits, listener.local_addr()?.port()));
    loop {
        let stream = tokio::select! {
            stream = accept(&listener) => stream,
            () = server.backend.users_changed() => {
                server.clients.set_users(&server.backend.users());
                continue;
            }
            Some(question) = questions.recv() => {
                server.answer(question);
                continue;
            }
        };
        let id = server.note_arrival();
        let (arrived, tls) = (Rc::clone(&server), tls.clone());
        let task = tokio::task::spawn_local(async move {
            if let Err(error) = arrived.accept(stream, id, tls).await {
                tracing::debug!(%error, "a connection ended");
            }
        });
        server.arrivals.add(id, task.abort_handle());
    }
}

/// State shared by the connections of one listener.
struct Server<B> {
    backend: B,
    hub: Rc<RefCell<Hub>>,
    limits: ServerLimits,
    port: u16,
    started: Instant,
    connected: Cell<usize>,
    received: Cell<u64>,
    commands: Cell<u64>,
    /// Bytes of replies that wait in all connections.
    replies_bytes: Cell<usize>,
    /// Number of connections that ended because their client took no replies.
    given_up: Cell<u64>,
    /// Number of connections that were refused.
    rejected: Cell<u64>,
    clients: Registry,
    arrivals: Arrivals,
    stats: Rc<RefCell<Stats>>,
    /// The memory of large requests.
    room: RequestRoom,
    connected_gauge: Gauge,
    received_counter: Counter,
    rejected_counter: Counter,
    commands_counter: Counter,
}

/// Counts a connection, and the bytes of replies that wait in it, until it is dropped.
struct Connected<'a, B> {
    server: &'a Server<B>,
    id: i64,
    replies_bytes: usize,
    /// Since when the client has had to encrypt or to log in.
    stranger_since: Option<Deadline>,
    /// Since when a large request has been coming.
    receiving_since: Option<Deadline>,
}

/// What a client has to do by a deadline.
#[derive(Debug, Clone, Copy)]
enum Awaited {
    Login,
    Taking,
    /// The rest of a large request.
    Sending,
}

impl<B: Backend> Server<B> {
    fn new(backend: B, hub: Rc<RefCell<Hub>>, limits: ServerLimits, port: u16) -> Self {
        Self {
            backend,
            hub,
            limits,
            port,
            started: Instant::now(),
            connected: Cell::new(0),
            received: Cell::new(0),
            commands: Cell::new(0),
            replies_bytes: Cell::new(0),
            given_up: Cell::new(0),
            rejected: Cell::new(0),
            clients: Registry::default(),
            arrivals: Arrivals::default(),
            stats: Rc::default(),
            room: RequestRoom::new(limits.requests_bytes_max),
            connected_gauge: metrics::gauge!("kv_connected_clients"),
            received_counter: metrics::counter!("kv_connections_received_total"),
            rejected_counter: metrics::counter!("kv_connections_rejected_total"),
            commands_counter: metrics::counter!("kv_commands_processed_total"),
        }
    }

    /// Counts a connection that has come, and returns its number.
    fn note_arrival(&self) -> i64 {
        self.received.set(self.received.get() + 1);
        self.received_counter.increment(1);
        i64::try_from(self.received.get()).unwrap_or(i64::MAX)
    }

    /// Takes a connection, of which there may be so many, encrypted or not.
    async fn accept(&self, mut stream: TcpStream, id: i64, tls: Option<Arc<NodeTls>>) -> io::Result<()> {
        let mut connected = Connected::new(self, id);
        if self.connected.get() > self.limits.connections_max && !self.arrivals.end_oldest_stranger(id) {
            self.note_rejected();
            // Who has to encrypt reads no such text, and no work is done for him.
            return if tls.is_some() { Ok(()) } else { stream.write_all(TOO_MANY_CLIENTS).await };
        }
        stream.set_nodelay(true)?;
        let ends = (stream.peer_addr()?, stream.local_addr()?);
        let Some(tls) = tls else {
            return self.converse(stream, id, ends, connected).await;
        };
        connected.note_stranger(true);
        let stream = timeout(self.limits.handshake_patience, tls.accept(stream)).await;
        let stream =
            stream.map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "the client does not encrypt in time"))??;
        connected.note_stranger(false);
        self.converse(stream, id, ends, connected).await
    }

    async fn converse<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        mut stream: S,
        id: i64,
        ends: (SocketAddr, SocketAddr),
        mut connected: Connected<'_, B>,
    ) -> io::Result<()> {
        self.wait_for_users().await;
        let client = self.clients.add(id, self.new_connection(id, ends));
        let mut pending = VecDeque::new();
        let mut commands = 0;
        loop {
            self.begin_all(id, &client, &mut pending);
            if self.is_over(&client, &mut connected, &mut commands) {
                return timeout(self.limits.patience, stream.shutdown()).await.map_err(|_| self.give_up())?;
            }
            let deadline = self.deadline(&client, &mut connected);
            let turn = poll_fn(|context| {
                client.watch(context.waker()).map_err(io::Error::other)?;
                let mut connection = client.connection();
                connection.set_clock(self.micros());
                if connection.is_subscribed() {
                    self.take_messages(context, id, &mut connection)?;
                }
                poll_turn(context, &mut stream, &mut connection, &mut pending)
            });
            match deadline {
                None => turn.await?,
                Some((deadline, Awaited::Login)) => {
                    timeout_at(deadline, turn).await.map_err(|_| too_late("log in"))??;
                }
                Some((deadline, Awaited::Sending)) => {
                    timeout_at(deadline, turn).await.map_err(|_| too_late("end its request"))??;
                }
                Some((deadline, Awaited::Taking)) => timeout_at(deadline, turn).await.map_err(|_| self.give_up())??,
            }
        }
    }

    /// The time up to which a client has to do something.
    fn deadline(&self, client: &Client, connected: &mut Connected<'_, B>) -> Option<(Deadline, Awaited)> {
        let connection = client.connection();
        connected.note_stranger(connection.is_stranger());
        let login = connected.stranger_since.map(|since| (since + self.limits.login_patience, Awaited::Login));
        let taking = connection.waits_for_client().then(|| (Deadline::now() + self.limits.patience, Awaited::Taking));
        let receiving = connection.is_receiving();
        connected.receiving_since = connected.receiving_since.or_else(|| Some(Deadline::now())).filter(|_| receiving);
        let sending = connected.receiving_since.map(|since| {
            let patience = self.limits.patience;
            ((Deadline::now() + patience).min(since + 4 * patience), Awaited::Sending)
        });
        login.into_iter().chain(taking).chain(sending).min_by_key(|(deadline, _)| *deadline)
    }

    /// Waits for a while until the node knows the users, which it does not just after its start.
    async fn wait_for_users(&self) {
        let known = async {
            while !self.backend.users().is_current {
                self.backend.users_changed().await;
            }
        };
        // A client that comes earlier is told that there is no quorum.
        let _ = timeout(USERS_PATIENCE, known).await;
    }

    /// Notes what a client did. Returns true if its connection is to be closed.
    fn is_over(&self, client: &Client, connected: &mut Connected<'_, B>, commands: &mut u64) -> bool {
        let mut connection = client.connection();
        self.count(connection.commands() - *commands);
        *commands = connection.commands();
        connected.note_replies(connection.replies_bytes());
        connection.set_replies_room(self.replies_room());
        connection.is_done() || connection.is_abandoned()
    }

    /// Bytes of replies that each connection may hold now.
    fn replies_room(&self) -> usize {
        let ServerLimits { connection, replies_bytes_max, .. } = &self.limits;
        let is_scarce = self.replies_bytes.get() >= *replies_bytes_max;
        if is_scarce { connection.pipeline_bytes_max } else { connection.replies_bytes_max }
    }

    /// The error of a client that takes no replies. It is logged when the number of such clients is a power of two.
    fn give_up(&self) -> io::Error {
        self.given_up.set(self.given_up.get() + 1);
        let times = self.given_up.get();
        if times.is_power_of_two() {
            tracing::warn!(times, "a client takes no replies: its connection is closed");
        }
        io::Error::new(io::ErrorKind::TimedOut, "the client takes no replies")
    }

    /// Hands messages to a client as far as it takes them.
    fn take_messages(&self, context: &Context<'_>, id: i64, connection: &mut Connection) -> io::Result<()> {
        let mut hub = self.hub.borrow_mut();
        hub.watch(id, context.waker()).map_err(|error| {
            self.give_up();
            io::Error::other(error)
        })?;
        while connection.wants_messages()
            && let Some(delivery) = hub.take(id)
        {
            connection.on_message(&delivery);
        }
        Ok(())
    }

    fn new_connection(&self, id: i64, ends: (SocketAddr, SocketAddr)) -> Connection {
        let mut connection = Connection::new(id, self.limits.connection);
        connection.admit(self.backend.users());
        connection.set_addresses(ends.0, ends.1);
        connection.share_room(&self.room);
        connection.share_memory(&self.backend.memory());
        connection.share_stats(Rc::clone(&self.stats), self.micros());
        connection
    }

    /// Microseconds since the start.
    fn micros(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// Begins all work in the input of a client.
    fn begin_all(&self, id: i64, client: &Client, pending: &mut VecDeque<Pending>) {
        let now = self.micros();
        {
            let mut connection = client.connection();
            connection.set_moment(wall_ms(), random::fresh());
            connection.set_clock(now);
            connection.set_layout(&self.backend.layout());
            if !connection.set_users(&self.backend.users()) {
                connection.close_after_replies();
            }
            let room = self.hub.borrow().room(connection.subscriptions_bytes());
            connection.set_subscriptions_room(room);
        }
        loop {
            // Not in use while the work begins, which may look at all connections.
            let work = client.connection().next_work();
            match work {
                Some(Work::Clients { slot, request }) => self.clients.carry_out(client, slot, &request, now),
                Some(work) => self.begin(id, work, pending),
                None => return,
            }
        }
    }

    fn begin(&self, id: i64, work: Work, pending: &mut VecDeque<Pending>) {
        match work {
            Work::Write { slot, target, entry, blocking, changes_users } => {
                let answer = PendingAnswer::Write(match blocking {
                    None if changes_users => Box::pin(self.change_users(target, entry)),
                    None => Box::pin(self.backend.write(target, entry)),
                    Some(blocking) => Box::pin(write_once_possible(self.backend.clone(), target, entry, blocking)),
                });
                pending.push_back(Pending { slot, answer });
            }
            Work::Read { slot, target, batch, freshness } => {
                let begun = Pending { slot, answer: PendingAnswer::Read(self.read(target, batch, freshness)) };
                // The rest of a batch that was answered in part comes before all work that was begun later.
                let place = pending.partition_point(|other| other.slot < slot);
                pending.insert(place, begun);
            }
            Work::Ask { slot, request } => {
                let mut answer = self.hub.borrow_mut().answer(&request);
                let others = self.backend.ask_others(&request);
                let answer = PendingAnswer::Ask(Box::pin(async move {
                    others.await.into_iter().for_each(|other| answer.add(other));
                    answer
                }));
                // The messages of an entry that was applied come before all work that was begun later.
                let place = pending.partition_point(|other| other.slot < slot);
                pending.insert(place, Pending { slot, answer });
            }
            Work::Subscriptions(changes) => self.hub.borrow_mut().change(id, changes),
            Work::Clients { .. } => unreachable!("this was carried out"),
        }
    }

    /// Proposes a change of the users. By the time of the answer it holds on this node.
    fn change_users(&self, target: Target, entry: Bytes) -> impl Future<Output = Written> + 'static + use<B> {
        let backend = self.backend.clone();
        async move {
            let written = backend.write(target, entry).await;
            backend.refresh_users().await;
            written
        }
    }

    fn read(&self, target: Target, batch: ReadBatch, freshness: Freshness) -> ReadFuture {
        let backend = self.backend.clone();
        if batch.blocking().is_some() {
            return Box::pin(read_once_possible(backend, target, batch, freshness));
        }
        if !batch.wants_info() {
            return Box::pin(backend.read(target, freshness, batch, ServerInfo::default()));
        }
        let mut server = self.info();
        Box::pin(async move {
            server.about = backend.about().await;
            backend.read(target, freshness, batch, server).await
        })
    }

    /// Answers a question, whose asker may be gone.
    fn answer(&self, question: Question) {
        match question {
            Question::Measures(answer) => drop(answer.send(Measures::of(&self.stats.borrow()))),
            Question::Admits(login, answer) => drop(answer.send(self.admission(login.as_ref()))),
        }
    }

    /// Whether somebody who logs in so, or does not, may do everything.
    fn admission(&self, login: Option<&Login>) -> Admission {
        let known = self.backend.users();
        if !known.is_current {
            return Admission::NotKnown;
        }
        let admission = known.admission(login);
        if let (Admission::LoginNeeded, Some(login)) = (admission, login) {
            let refusal = Refusal { reason: "auth", object: b"HTTP".to_vec() };
            let user = login.user.clone().unwrap_or_default().into_bytes();
            self.stats.borrow_mut().refusals.note(refusal, "toplevel", user, String::new(), self.micros());
        }
        admission
    }

    fn count(&self, commands: u64) {
        if commands > 0 {
            self.commands.set(self.commands.get() + commands);
            self.commands_counter.increment(commands);
        }
    }

    fn info(&self) -> ServerInfo {
        let (hub, stats) = (self.hub.borrow(), self.stats.borrow());
        ServerInfo {
            tcp_port: self.port,
            uptime_seconds: self.started.elapsed().as_secs(),
            connected_clients: self.connected.get(),
            clients_max: self.limits.connections_max,
            memory_max: self.backend.memory().max(),
            blocked_clients: self.clients.blocked(),
            subscribers: hub.clients(),
            subscriptions: Topic::ALL.map(|topic| hub.names(topic)),
            connections_received: self.received.get(),
            connections_rejected: self.rejected.get(),
            commands_processed: self.commands.get(),
            errors: stats.errors(),
            replies_bytes: self.replies_bytes.get(),
            command_lines: stats.command_lines(),
            error_lines: stats.error_lines(),
            process: Process::now(),
            ..ServerInfo::default()
        }
    }
}

impl<B> Server<B> {
    fn note_rejected(&self) {
        self.rejected.set(self.rejected.get() + 1);
        self.rejected_counter.increment(1);
    }
}

impl<'a, B> Connected<'a, B> {
    fn new(server: &'a Server<B>, id: i64) -> Self {
        server.connected.set(server.connected.get() + 1);
        server.connected_gauge.increment(1);
        Self { server, id, replies_bytes: 0, stranger_since: None, receiving_since: None }
    }

    /// Notes whether the client has to encrypt or to log in. One too many takes the place of the oldest.
    fn note_stranger(&mut self, is_stranger: bool) {
        if is_stranger == self.stranger_since.is_some() {
            return;
        }
        self.stranger_since = is_stranger.then(Deadline::now);
        let Server { arrivals, limits, .. } = self.server;
        arrivals.set_stranger(self.id, is_stranger);
        if arrivals.strangers() > limits.strangers_max && arrivals.end_oldest_stranger(self.id) {
            self.server.note_rejected();
        }
    }

    fn note_replies(&mut self, bytes: usize) {
        let before = std::mem::replace(&mut self.replies_bytes, bytes);
        self.server.replies_bytes.set(self.server.replies_bytes.get() - before + bytes);
    }
}

impl<B> Drop for Connected<'_, B> {
    fn drop(&mut self) {
        self.note_replies(0);
        self.server.hub.borrow_mut().leave(self.id);
        self.server.clients.remove(self.id);
        self.server.arrivals.remove(self.id);
        self.server.connected.set(self.server.connected.get() - 1);
        self.server.connected_gauge.decrement(1);
    }
}

/// The wall clock in Unix ms.
pub(crate) fn wall_ms() -> u64 {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)
}

const TOO_MANY_CLIENTS: &[u8] = b"-ERR max number of clients reached\r\n";
/// Maximum time for which a new client waits until the node knows the users.
const USERS_PATIENCE: Duration = Duration::from_secs(2);
