//! What nodes ask each other outside of the log, over the connections between them that exist already. The group of a
//! request tells what it is about: that of the first shard, subscriptions; that of the layout, a breather.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quorate_protocol::{GroupId, NodeId};
use quorate_transport::rpc::{Requests, Rpc, RpcSettings};
use quorate_transport::{ClaimError, Peer, Transport};
use tokio::task::spawn_local;

use super::backend::{Breather, LAYOUT_GROUP, shard_group};
use super::pubsub::{Answer, Hub, Request};
use super::random;

/// Asks the other nodes. Clones share their state.
#[derive(Clone)]
pub struct Peers {
    shared: Rc<Shared>,
}

struct Shared {
    transport: Arc<dyn Transport>,
    rpc: Rpc,
    /// Bytes of the requests to each node that are not answered.
    unanswered: RefCell<BTreeMap<NodeId, usize>>,
}

impl Peers {
    /// Takes the transport's channel for requests. The second part is for [`serve`].
    ///
    /// # Errors
    /// When the channel has a reader already.
    pub fn open(transport: Arc<dyn Transport>) -> Result<(Self, Requests), ClaimError> {
        // A number for this start of the process, so that answers to questions of an earlier one are ignored.
        let start = u32::try_from(random::fresh() >> 32).unwrap_or_default();
        let settings = RpcSettings { start, calls_max: CALLS_MAX, requests_max: CALLS_MAX };
        let (rpc, requests) = Rpc::open(Arc::clone(&transport), settings)?;
        Ok((Self { shared: Rc::new(Shared { transport, rpc, unanswered: RefCell::default() }) }, requests))
    }

    /// Asks all other nodes at once, and waits for the answers, at most for a second. The request is sent also if the
    /// future is dropped. A node that is not connected, or has too much to answer already, is not asked.
    ///
    /// # Panics
    /// Outside of a local runtime.
    pub fn ask(&self, request: &Request) -> impl Future<Output = Vec<Answer>> + 'static {
        let answers = self.ask_all(shard_group(0), &request.encode());
        async move { answers.await.iter().filter_map(|answer| Answer::decode(answer).ok()).collect() }
    }

    /// Asks all other nodes to begin no transaction over several shards for a short time, longer with each attempt, and
    /// waits for their answers, at most for a second.
    ///
    /// # Panics
    /// Outside of a local runtime.
    pub(super) async fn ask_for_breather(&self, attempt: u8) {
        self.ask_all(LAYOUT_GROUP, &Bytes::copy_from_slice(&[attempt])).await;
    }

    fn ask_all(&self, group: GroupId, body: &Bytes) -> impl Future<Output = Vec<Bytes>> + 'static + use<> {
        let call = |peer: Peer| spawn_local(Rc::clone(&self.shared).call(peer.node, group, body.clone()));
        let calls: Vec<_> = self.shared.transport.peers().into_iter().map(call).collect();
        async move {
            let mut answers = Vec::new();
            for call in calls {
                // A panic was printed where it happened.
                answers.extend(call.await.ok().flatten());
            }
            answers
        }
    }
}

impl Shared {
    async fn call(self: Rc<Self>, node: NodeId, group: GroupId, body: Bytes) -> Option<Bytes> {
        let bytes = body.len();
        let before = self.unanswered.borrow().get(&node).copied().unwrap_or(0);
        if before > 0 && before + bytes > UNANSWERED_BYTES_MAX {
            metrics::counter!("kv_peer_requests_dropped_total").increment(1);
            return None;
        }
        *self.unanswered.borrow_mut().entry(node).or_default() += bytes;
        let answer = self.rpc.call(node, group, body, PATIENCE).await;
        *self.unanswered.borrow_mut().entry(node).or_default() -= bytes;
        match answer {
            Ok(answer) => Some(answer),
            Err(error) => {
                metrics::counter!("kv_peer_requests_dropped_total").increment(1);
                tracing::debug!(node = node.0, %error, "a node did not answer");
                None
            }
        }
    }
}

/// Answers the other nodes until the transport is shut down.
pub async fn serve(mut requests: Requests, hub: Rc<RefCell<Hub>>, breather: Rc<Breather>) {
    while let Some(request) = requests.next().await {
        if request.group() == LAYOUT_GROUP {
            breather.begin(request.body().first().copied().unwrap_or_default());
            request.answer(Bytes::new());
            continue;
        }
        match Request::decode(request.body()) {
            Ok(asked) => {
                let answer = hub.borrow_mut().answer(&asked).encode();
                if answer.len() <= ANSWER_BYTES_MAX {
                    request.answer(answer);
                }
            }
            Err(error) => tracing::warn!(peer = request.from().node.0, %error, "a node asks what is not known here"),
        }
    }
}

/// Maximum number of requests that are asked or answered at once.
const CALLS_MAX: usize = 65_536;
/// Maximum bytes of unanswered requests to one node. The connection carries the log as well, and has room for four
/// times as much.
const UNANSWERED_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Maximum bytes of an answer, which has to fit a frame. A longer one is not given.
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Time for an answer. Beyond it the node counts as one without subscribers.
const PATIENCE: Duration = Duration::from_secs(1);
