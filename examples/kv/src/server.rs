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
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime};

use bytes::{Buf, Bytes, BytesMut};
use metrics::{Counter, Gauge};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::accept::accept;
use super::clients::{Client, Registry};
use super::command::{About, Answer, ReadBatch, ServerInfo};
use super::connection::{Connection, ConnectionLimits, Freshness, KnownUsers, Reason, Work, Written};
use super::process::Process;
use super::pubsub::{self, Hub, Request, Topic};
use super::random;
use super::shards::layout::{Layout, Target};
use super::stats::Stats;
use super::store::Wait;
use super::tls::NodeTls;
use super::waiting::{read_once_possible, write_once_possible};

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
    /// Limits of each connection.
    pub connection: ConnectionLimits,
    /// Maximum bytes of replies that wait in all connections together. Beyond them each connection may hold only as
    /// many bytes of replies as of requests.
    pub replies_bytes_max: usize,
    /// Maximum time for which a client that has to take replies may take none. Then its connection ends.
    pub patience: Duration,
}

impl Default for ServerLimits {
    fn default() -> Self {
        Self {
            connections_max: 10_000,
            connection: ConnectionLimits::default(),
            replies_bytes_max: 1024 * 1024 * 1024,
            patience: Duration::from_secs(30),
        }
    }
}

/// Accepts clients, whose subscriptions are in `hub`, until it is dropped. With `tls` they have to encrypt. To be run
/// within a [`tokio::runtime::LocalRuntime`]; connections are tasks of their own.
///
/// # Errors
/// When the listener has no address.
pub async fn serve<B: Backend>(
    listener: TcpListener,
    backend: B,
    hub: Rc<RefCell<Hub>>,
    limits: ServerLimits,
    tls: Option<Arc<NodeTls>>,
) -> io::Result<Infallible> {
    let server = Rc::new(Server::new(backend, hub, limits, listener.local_addr()?.port()));
    loop {
        let stream = tokio::select! {
            stream = accept(&listener) => stream,
            () = server.backend.users_changed() => {
                server.clients.set_users(&server.backend.users());
                continue;
            }
        };
        let (server, tls) = (Rc::clone(&server), tls.clone());
        tokio::task::spawn_local(async move {
            if let Err(error) = server.accept(stream, tls).await {
                tracing::debug!(%error, "a connection ended");
            }
        });
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
    stats: Rc<RefCell<Stats>>,
    connected_gauge: Gauge,
    received_counter: Counter,
    commands_counter: Counter,
}

/// Counts a connection, and the bytes of replies that wait in it, until it is dropped.
struct Connected<'a, B> {
    server: &'a Server<B>,
    id: i64,
    replies_bytes: usize,
}

/// Work that was begun.
struct Pending {
    slot: u64,
    answer: PendingAnswer,
}

enum PendingAnswer {
    Write(Pin<Box<dyn Future<Output = Written>>>),
    Read(ReadFuture),
    Scan(JoinHandle<BytesMut>),
    Ask(Pin<Box<dyn Future<Output = pubsub::Answer>>>),
}

type ReadFuture = Pin<Box<dyn Future<Output = Result<Answer, Reason>>>>;

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
            stats: Rc::default(),
            connected_gauge: metrics::gauge!("kv_connected_clients"),
            received_counter: metrics::counter!("kv_connections_received_total"),
            commands_counter: metrics::counter!("kv_commands_processed_total"),
        }
    }

    /// Takes a connection, of which there may be so many, encrypted or not.
    async fn accept(&self, mut stream: TcpStream, tls: Option<Arc<NodeTls>>) -> io::Result<()> {
        self.received.set(self.received.get() + 1);
        self.received_counter.increment(1);
        if self.connected.get() >= self.limits.connections_max {
            self.rejected.set(self.rejected.get() + 1);
            // Who has to encrypt reads no such text, and no work is done for him.
            return if tls.is_some() { Ok(()) } else { stream.write_all(TOO_MANY_CLIENTS).await };
        }
        let id = i64::try_from(self.received.get()).unwrap_or(i64::MAX);
        let connected = Connected::new(self, id);
        stream.set_nodelay(true)?;
        let ends = (stream.peer_addr()?, stream.local_addr()?);
        let Some(tls) = tls else {
            return self.converse(stream, id, ends, connected).await;
        };
        let stream = timeout(HANDSHAKE_PATIENCE, tls.accept(stream)).await;
        let stream =
            stream.map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "the client does not encrypt in time"))??;
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
            let waits_for_client = client.connection().waits_for_client();
            let turn = poll_fn(|context| {
                client.watch(context.waker()).map_err(io::Error::other)?;
                let mut connection = client.connection();
                connection.set_clock(self.micros());
                if connection.is_subscribed() {
                    self.take_messages(context, id, &mut connection)?;
                }
                poll_turn(context, &mut stream, &mut connection, &mut pending)
            });
            if waits_for_client {
                timeout(self.limits.patience, turn).await.map_err(|_| self.give_up())??;
            } else {
                turn.await?;
            }
        }
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

impl<'a, B> Connected<'a, B> {
    fn new(server: &'a Server<B>, id: i64) -> Self {
        server.connected.set(server.connected.get() + 1);
        server.connected_gauge.increment(1);
        Self { server, id, replies_bytes: 0 }
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
        self.server.connected.set(self.server.connected.get() - 1);
        self.server.connected_gauge.decrement(1);
    }
}

/// The wall clock in Unix ms.
pub(super) fn wall_ms() -> u64 {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)
}

/// Takes answers, sends and reads, each as far as possible. Ready if any of them made progress.
fn poll_turn<S: AsyncRead + AsyncWrite + Unpin>(
    context: &mut Context<'_>,
    stream: &mut S,
    connection: &mut Connection,
    pending: &mut VecDeque<Pending>,
) -> Poll<io::Result<()>> {
    let mut moved = take_answers(context, connection, pending);
    while !connection.output().is_empty() {
        let Poll::Ready(sent) = Pin::new(&mut *stream).poll_write(context, connection.output()) else {
            break;
        };
        connection.output().advance(sent?);
        moved = true;
    }
    // What was encrypted may still wait for the socket.
    if let Poll::Ready(flushed) = Pin::new(&mut *stream).poll_flush(context) {
        flushed?;
    }
    if connection.wants_input() {
        connection.input().reserve(READ_BYTES);
        if let Poll::Ready(read) = pin!(stream.read_buf(connection.input())).poll(context) {
            moved = true;
            if read? == 0 {
                connection.end_input();
            }
        }
    }
    if moved { Poll::Ready(Ok(())) } else { Poll::Pending }
}

/// Takes all ready answers up to the first that is missing. Only that one has to wake the task, since replies leave in
/// order.
fn take_answers(context: &mut Context<'_>, connection: &mut Connection, pending: &mut VecDeque<Pending>) -> bool {
    let mut moved = false;
    while let Some(Pending { slot, answer }) = pending.front_mut() {
        match answer {
            PendingAnswer::Write(written) => match written.as_mut().poll(context) {
                Poll::Ready(written) => connection.on_written(*slot, written),
                Poll::Pending => break,
            },
            PendingAnswer::Read(read) => match read.as_mut().poll(context) {
                Poll::Ready(Ok(Answer::Scan(scan))) => {
                    *answer = PendingAnswer::Scan(tokio::task::spawn_blocking(|| scan.run()));
                    continue;
                }
                Poll::Ready(read) => connection.on_read(*slot, read),
                Poll::Pending => break,
            },
            PendingAnswer::Scan(scan) => match Pin::new(scan).poll(context) {
                Poll::Ready(found) => {
                    let found = found.map(|encoded| Answer::Replies { encoded, rest: None });
                    connection.on_read(*slot, found.map_err(|_| Reason::Shutdown));
                }
                Poll::Pending => break,
            },
            PendingAnswer::Ask(asked) => match asked.as_mut().poll(context) {
                Poll::Ready(answer) => connection.on_asked(*slot, answer),
                Poll::Pending => break,
            },
        }
        pending.pop_front();
        moved = true;
    }
    moved
}

const TOO_MANY_CLIENTS: &[u8] = b"-ERR max number of clients reached\r\n";
/// Maximum time of the handshake of a client that encrypts.
const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(5);
/// Maximum time for which a new client waits until the node knows the users.
const USERS_PATIENCE: Duration = Duration::from_secs(2);
/// Room for one read of a socket.
const READ_BYTES: usize = 16 * 1024;
