//! Request and response: every way in which a call can end.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quorate_protocol::{GroupId, NodeId};
use quorate_transport::memory::{DeliveryTime, MemoryTransport, Network};
use quorate_transport::rpc::{Requests, Rpc, RpcError, RpcRequest, RpcSettings};
use quorate_transport::{Limits, Peer, SendError, Transport};

use crate::raw::identity;

struct Pair {
    network: Network,
    ends: [Arc<MemoryTransport>; 2],
    caller: Rpc,
    requests: Requests,
}

/// Node 1 calls, node 2 serves.
fn pair(settings: RpcSettings) -> Pair {
    let network = Network::new(Limits::default(), DeliveryTime::Immediate).expect("the limits fit");
    let ends = [1, 2].map(|node| network.join(identity(node)));
    ends[0].set_peer(Peer::new(NodeId(2), "")).expect("a right peer");
    ends[1].set_peer(Peer::new(NodeId(1), "")).expect("a right peer");
    let (caller, mut idle) = Rpc::open(ends[0].clone(), settings).expect("nothing is claimed");
    let (_, requests) = Rpc::open(ends[1].clone(), settings).expect("nothing is claimed");
    tokio::spawn(async move { while idle.next().await.is_some() {} });
    Pair { network, ends, caller, requests }
}

/// Calls node 2 in a task of its own.
fn call(caller: &Rpc, body: &'static str) -> tokio::task::JoinHandle<Result<Bytes, RpcError>> {
    let caller = caller.clone();
    tokio::spawn(async move { caller.call(NodeId(2), GroupId(3), Bytes::from(body), PATIENCE).await })
}

async fn next(pair: &mut Pair) -> RpcRequest {
    pair.requests.next().await.expect("the transport runs")
}

#[tokio::test(start_paused = true)]
async fn answers_find_their_calls_in_any_order() {
    let mut pair = pair(RpcSettings::default());
    let calls = ["a", "b"].map(|body| call(&pair.caller, body));
    let (first, second) = (next(&mut pair).await, next(&mut pair).await);
    assert_eq!((first.from().node, first.group(), first.patience()), (NodeId(1), GroupId(3), PATIENCE));
    for request in [second, first] {
        let answer = Bytes::from([request.body(), &b"!"[..]].concat());
        request.answer(answer);
    }
    for (call, expected) in calls.into_iter().zip(["a!", "b!"]) {
        assert_eq!(call.await.expect("it does not panic"), Ok(Bytes::from(expected)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_ends_at_its_deadline_and_a_late_answer_is_ignored() {
    let mut pair = pair(RpcSettings::default());
    let call_outcome = call(&pair.caller, "a");
    let request = next(&mut pair).await;
    let outcome = call_outcome.await.expect("it does not panic");
    assert_eq!(outcome, Err(RpcError::Deadline));
    assert!(!RpcError::Deadline.is_certain());
    let again = call(&pair.caller, "b");
    let other = next(&mut pair).await;
    request.answer(Bytes::from_static(b"late"));
    other.answer(Bytes::from_static(b"in time"));
    assert_eq!(again.await.expect("it does not panic"), Ok(Bytes::from_static(b"in time")));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_dropped_is_told() {
    let mut pair = pair(RpcSettings::default());
    let call = call(&pair.caller, "a");
    drop(next(&mut pair).await);
    assert_eq!(call.await.expect("it does not panic"), Err(RpcError::Unanswered));
    assert!(!RpcError::Unanswered.is_certain());
}

#[tokio::test(start_paused = true)]
async fn requests_in_hand_are_bounded() {
    let mut pair = pair(RpcSettings { requests_max: 1, ..RpcSettings::default() });
    let first = call(&pair.caller, "a");
    let request = next(&mut pair).await;
    let second = call(&pair.caller, "b");
    let mut requests = pair.requests;
    let serving = tokio::spawn(async move { requests.next().await.map(|request| request.answer(Bytes::new())) });
    let refused = second.await.expect("it does not panic");
    assert_eq!(refused, Err(RpcError::PeerOverloaded));
    assert!(RpcError::PeerOverloaded.is_certain());
    request.answer(Bytes::new());
    assert_eq!(first.await.expect("it does not panic"), Ok(Bytes::new()));
    let third = call(&pair.caller, "c");
    assert_eq!(third.await.expect("it does not panic"), Ok(Bytes::new()));
    serving.await.expect("it does not panic");
}

#[tokio::test(start_paused = true)]
async fn waiting_calls_are_bounded() {
    let pair = pair(RpcSettings { calls_max: 1, ..RpcSettings::default() });
    let first = call(&pair.caller, "a");
    tokio::task::yield_now().await;
    let second = call(&pair.caller, "b").await.expect("it does not panic");
    assert_eq!(second, Err(RpcError::Overloaded));
    assert_eq!(first.await.expect("it does not panic"), Err(RpcError::Deadline));
}

#[tokio::test(start_paused = true)]
async fn what_was_not_sent_is_certain() {
    let pair = pair(RpcSettings::default());
    pair.network.cut(NodeId(1), NodeId(2));
    let outcome = call(&pair.caller, "a").await.expect("it does not panic");
    assert_eq!(outcome, Err(RpcError::NotSent(SendError::NotConnected(NodeId(2)))));
    assert!(outcome.is_err_and(|error| error.is_certain()));
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_ends_the_calls() {
    let mut pair = pair(RpcSettings::default());
    let call = call(&pair.caller, "a");
    let request = next(&mut pair).await;
    pair.ends[0].shutdown().await;
    assert_eq!(call.await.expect("it does not panic"), Err(RpcError::Closed));
    drop(request);
    pair.ends[1].shutdown().await;
    assert!(pair.requests.next().await.is_none());
}

const PATIENCE: Duration = Duration::from_secs(7);
