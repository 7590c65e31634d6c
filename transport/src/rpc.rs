//! Request and response with deadlines, on channel 3, for an application that wants to ask a node of its own cluster
//! something that is not replicated, over the connections that exist already.
//!
//! A request is carried out at most once: a call is never repeated automatically. A call without an answer may or may
//! not have been carried out; [`RpcError::is_certain`] tells the two cases apart.
//!
//! ```
//! use std::sync::Arc;
//! use std::time::Duration;
//! use bytes::Bytes;
//! use quorate_protocol::{ClusterId, GroupId, Identity, Incarnation, NodeId};
//! use quorate_transport::memory::{DeliveryTime, Network};
//! use quorate_transport::rpc::{Rpc, RpcSettings};
//! use quorate_transport::{Limits, Peer, Transport};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let network = Network::new(Limits::default(), DeliveryTime::Immediate)?;
//! let identity = |node| Identity { cluster: ClusterId(1), node: NodeId(node), incarnation: Incarnation(node.into()) };
//! let (one, two) = (network.join(identity(1)), network.join(identity(2)));
//! one.set_peer(Peer::new(NodeId(2), ""))?;
//! two.set_peer(Peer::new(NodeId(1), ""))?;
//!
//! let (caller, mut idle) = Rpc::open(one, RpcSettings::default())?;
//! let (_, mut requests) = Rpc::open(two, RpcSettings::default())?;
//! tokio::spawn(async move { while idle.next().await.is_some() {} });
//! tokio::spawn(async move {
//!     while let Some(request) = requests.next().await {
//!         let answer = request.body().to_ascii_uppercase();
//!         request.answer(answer.into());
//!     }
//! });
//! let answer = caller.call(NodeId(2), GroupId(0), Bytes::from_static(b"hello"), Duration::from_secs(5)).await?;
//! assert_eq!(answer, "HELLO");
//! # Ok(())
//! # }
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use quorate_protocol::{GroupId, NodeId, SessionId, Wire, WireError};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::claims::ClaimError;
use crate::codec::{self, EncodeError};
use crate::frame::{ChannelId, Received, Sender};
use crate::inbox::Inbox;
use crate::queue::Incoming;
use crate::transport::{SendError, Transport};

/// Bounds of request and response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RpcSettings {
    /// Number of this start of the node's process, like [`TcpSettings::start`](crate::tcp::TcpSettings::start): it
    /// tells answers to calls of an earlier start from those of this one. Default: 0.
    pub start: u32,
    /// Number of calls that may wait for their answers; further ones are refused. Default: 1,024.
    pub calls_max: usize,
    /// Number of requests that may be handled at the same time; further ones are answered with a refusal. Default:
    /// 1,024.
    pub requests_max: usize,
}

impl Default for RpcSettings {
    fn default() -> Self {
        Self { start: 0, calls_max: 1024, requests_max: 1024 }
    }
}

/// The calling end. Clones are handles of the same end.
#[derive(Clone)]
pub struct Rpc {
    shared: Arc<Shared>,
}

impl Rpc {
    /// Claims the channel. The second part must be polled, by the task that serves requests, so that calls are
    /// answered.
    ///
    /// # Errors
    /// The errors of [`Transport::claim`].
    pub fn open(transport: Arc<dyn Transport>, settings: RpcSettings) -> Result<(Self, Requests), ClaimError> {
        let inbox = transport.claim(ChannelId::RPC..=ChannelId::RPC)?;
        let session = SessionId { incarnation: transport.identity().incarnation, start: settings.start };
        let calls = Mutex::new(Calls { sequence: 0, waiting: BTreeMap::new() });
        let shared = Arc::new(Shared { transport, settings, session, calls, in_hand: AtomicUsize::new(0) });
        Ok((Self { shared: shared.clone() }, Requests { shared, inbox }))
    }

    /// Sends a request to `to`, and waits for the answer for at most `patience`. The request tells the peer this time.
    ///
    /// # Errors
    /// See [`RpcError`], which says whether the request may have been carried out. Dropping the future only loses the
    /// answer.
    ///
    /// # Panics
    /// Outside of a tokio runtime with time.
    pub async fn call(&self, to: NodeId, group: GroupId, body: Bytes, patience: Duration) -> Result<Bytes, RpcError> {
        let (call, answer) = self.shared.begin(to)?;
        let _waiting = Waiting { shared: &self.shared, sequence: call.sequence };
        let patience_ms = u32::try_from(patience.as_millis()).unwrap_or(u32::MAX);
        self.shared.send(to, group, &Message { small: Small::Request { call, patience_ms }, body })?;
        self.shared.transport.flush();
        match timeout(patience, answer).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(RpcError::Closed),
            Err(_) => Err(RpcError::Deadline),
        }
    }
}

impl fmt::Debug for Rpc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rpc").field("session", &self.shared.session).finish_non_exhaustive()
    }
}

/// The serving end. It also passes answers on to the calls that wait for them.
pub struct Requests {
    shared: Arc<Shared>,
    inbox: Inbox,
}

impl Requests {
    /// Waits for the next request, and meanwhile passes answers on to calls. Returns `None` once the transport is shut
    /// down; calls that still wait have then failed. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<RpcRequest> {
        while let Some(incoming) = self.inbox.recv().await {
            let Incoming::Frame(received) = incoming else { continue };
            if let Some(request) = self.take(received) {
                return Some(request);
            }
        }
        self.shared.calls().waiting.clear();
        None
    }

    fn take(&self, Received { from, frame }: Received) -> Option<RpcRequest> {
        let group = frame.group();
        let message = match codec::decode::<Message>(frame) {
            Ok(message) => message,
            Err(error) => {
                tracing::warn!(node = self.shared.transport.identity().node.0, peer = from.node.0, "rpc: {error}");
                return None;
            }
        };
        match message.small {
            Small::Request { call, patience_ms } => self.accept(from, group, call, patience_ms, message.body),
            Small::Answer { call } => self.shared.end(from.node, call, Ok(message.body)),
            Small::Overloaded { call } => self.shared.end(from.node, call, Err(RpcError::PeerOverloaded)),
            Small::Unanswered { call } => self.shared.end(from.node, call, Err(RpcError::Unanswered)),
        }
    }

    fn accept(&self, from: Sender, group: GroupId, call: CallId, patience_ms: u32, body: Bytes) -> Option<RpcRequest> {
        let ticket = Ticket { shared: self.shared.clone(), from, group, call, is_answered: false };
        if self.shared.in_hand.fetch_add(1, Ordering::SeqCst) >= self.shared.settings.requests_max {
            ticket.reply(Small::Overloaded { call }, Bytes::new());
            return None;
        }
        Some(RpcRequest { ticket, patience: Duration::from_millis(patience_ms.into()), body })
    }
}

impl fmt::Debug for Requests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Requests").field("inbox", &self.inbox).finish_non_exhaustive()
    }
}

/// A request of a peer. If it is dropped without an answer, the peer is told.
#[derive(Debug)]
pub struct RpcRequest {
    ticket: Ticket,
    patience: Duration,
    body: Bytes,
}

impl RpcRequest {
    /// Sender of the request.
    #[must_use]
    pub fn from(&self) -> Sender {
        self.ticket.from
    }

    /// The group that the request names.
    #[must_use]
    pub fn group(&self) -> GroupId {
        self.ticket.group
    }

    /// The content of the request.
    #[must_use]
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// Time for which the peer waits, counted from the call. Work that takes longer is useless.
    #[must_use]
    pub fn patience(&self) -> Duration {
        self.patience
    }

    /// Sends the answer. An answer that cannot be sent is lost, like a frame that the transport loses: the caller's
    /// deadline ends the call.
    pub fn answer(self, body: Bytes) {
        let call = self.ticket.call;
        self.ticket.reply(Small::Answer { call }, body);
    }
}

/// Reason why a call has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RpcError {
    /// The request was not sent and not carried out.
    #[error("not sent: {0}")]
    NotSent(#[from] SendError),
    /// The request cannot be made into a frame. It was not carried out.
    #[error("not sent: {0}")]
    Encode(#[from] EncodeError),
    /// Too many calls of this node wait already. The request was not carried out.
    #[error("too many calls wait for their answers")]
    Overloaded,
    /// The peer handles too many requests. The request was not carried out.
    #[error("the peer handles too many requests")]
    PeerOverloaded,
    /// The peer dropped the request. It may have been carried out.
    #[error("the peer dropped the request without an answer")]
    Unanswered,
    /// There was no answer in time. The request may have been carried out.
    #[error("no answer in time")]
    Deadline,
    /// The transport was shut down. The request may have been carried out.
    #[error("the transport was shut down")]
    Closed,
}

impl RpcError {
    /// True if the request was certainly not carried out, so that it may be repeated without harm.
    #[must_use]
    pub fn is_certain(&self) -> bool {
        matches!(self, Self::NotSent(_) | Self::Encode(_) | Self::Overloaded | Self::PeerOverloaded)
    }
}

struct Shared {
    transport: Arc<dyn Transport>,
    settings: RpcSettings,
    session: SessionId,
    calls: Mutex<Calls>,
    /// Number of requests that were taken and are neither answered nor dropped.
    in_hand: AtomicUsize,
}

/// The calls that wait for their answers.
struct Calls {
    sequence: u64,
    waiting: BTreeMap<u64, Call>,
}

struct Call {
    to: NodeId,
    answer: oneshot::Sender<Result<Bytes, RpcError>>,
}

impl Shared {
    fn begin(&self, to: NodeId) -> Result<(CallId, oneshot::Receiver<Result<Bytes, RpcError>>), RpcError> {
        let mut calls = self.calls();
        if calls.waiting.len() >= self.settings.calls_max {
            return Err(RpcError::Overloaded);
        }
        calls.sequence += 1;
        let sequence = calls.sequence;
        let (answer, waiter) = oneshot::channel();
        calls.waiting.insert(sequence, Call { to, answer });
        Ok((CallId { session: self.session, sequence }, waiter))
    }

    /// Ends a call that this start made to this node. Other answers are late or false, and are ignored.
    fn end(&self, from: NodeId, call: CallId, outcome: Result<Bytes, RpcError>) -> Option<RpcRequest> {
        let mut calls = self.calls();
        let is_own =
            call.session == self.session && calls.waiting.get(&call.sequence).is_some_and(|call| call.to == from);
        if is_own && let Some(call) = calls.waiting.remove(&call.sequence) {
            // The caller may no longer wait.
            let _ = call.answer.send(outcome);
        }
        None
    }

    fn send(&self, to: NodeId, group: GroupId, message: &Message) -> Result<(), RpcError> {
        let frame = codec::encode(ChannelId::RPC, group, message)?;
        Ok(self.transport.send(to, frame)?)
    }

    fn calls(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Removes a call when its caller no longer waits.
struct Waiting<'a> {
    shared: &'a Shared,
    sequence: u64,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.shared.calls().waiting.remove(&self.sequence);
    }
}

/// The duty to answer a request.
struct Ticket {
    shared: Arc<Shared>,
    from: Sender,
    group: GroupId,
    call: CallId,
    is_answered: bool,
}

impl Ticket {
    fn reply(mut self, small: Small, body: Bytes) {
        self.send(small, body);
    }

    fn send(&mut self, small: Small, body: Bytes) {
        self.is_answered = true;
        if let Err(error) = self.shared.send(self.from.node, self.group, &Message { small, body }) {
            let node = self.shared.transport.identity().node.0;
            tracing::debug!(node, peer = self.from.node.0, "an answer was lost: {error}");
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.is_answered {
            self.send(Small::Unanswered { call: self.call }, Bytes::new());
        }
        self.shared.in_hand.fetch_sub(1, Ordering::SeqCst);
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket").field("from", &self.from).field("call", &self.call).finish_non_exhaustive()
    }
}

/// Id of a call, unique for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct CallId {
    session: SessionId,
    sequence: u64,
}

/// A message of this channel. The body is a raw section.
struct Message {
    small: Small,
    body: Bytes,
}

/// Variants are only appended, and their fields never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Small {
    /// A request.
    Request { call: CallId, patience_ms: u32 },
    /// The answer to a request.
    Answer { call: CallId },
    /// The peer handles too many requests.
    Overloaded { call: CallId },
    /// The peer dropped the request.
    Unanswered { call: CallId },
}

impl Wire for Message {
    type Small = Small;

    fn to_parts(&self, raw: &mut Vec<Bytes>) -> Small {
        raw.push(self.body.clone());
        self.small
    }

    fn from_parts(small: Small, raw: Vec<Bytes>) -> Result<Self, WireError> {
        let [body] = raw.try_into().map_err(|_| WireError::Sections)?;
        Ok(Self { small, body })
    }
}
