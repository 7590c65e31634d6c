//! Tests of the shell: calls, threads, shutdown. Time is paused, so that no test waits for a clock.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use quorate_protocol::{
    ClusterId, Configuration, GroupId, HaltReason, Identity, Incarnation, Instant, NodeId, Now, Operation, Recovery,
    SessionId, Signal, Ticket,
};
use quorate_transport::memory::{DeliveryTime, Network};
use quorate_transport::{ChannelId, Limits, Peer, Transport};
use quorate_wal::disk::{Disk, MemoryDisk};
use quorate_wal::{LogSettings, Wal};

use super::addresses::read_address;
use super::mailbox::{Mailbox, PushError};
use super::shutdown::Stopped;
use super::{CallError, Clock, Driver, NodeHandle, Parts};
use crate::group::change::GroupError;
use crate::group::founding::Founding;
use crate::group::interface::{CallId, Group, GroupInput, GroupOutput};
use crate::group::job::Job;
use crate::group::outcome::{Outcome, ReadError};
use crate::group::reply::Reply;
use crate::group::snapshot::{SnapshotDone, SnapshotFailure, SnapshotOperation};
use crate::node::Node;
use crate::node::interface::NodeConfig;
use crate::node::roster::PendingStart;
use crate::shell::site::Site;
use crate::shell::snapshots::SnapshotStores;

mod stalling;

use stalling::Stalling;

/// A group that records its inputs and returns the outputs that it is given.
#[derive(Default)]
struct Fake {
    seen: Vec<String>,
    outputs: VecDeque<GroupOutput>,
    results: Vec<Result<SnapshotDone, SnapshotFailure>>,
    is_busy: bool,
    keeps_the_node: bool,
    waiting: Vec<CallId>,
}

impl Group for Fake {
    fn handle(&mut self, _now: Now, input: GroupInput) {
        match input {
            GroupInput::Job { result, .. } => {
                self.seen.push(format!("{:?}", result.map(|value| *value.downcast::<u64>().expect("a number"))));
            }
            GroupInput::Snapshot { result, .. } => self.results.push(result),
            GroupInput::Shutdown { .. } => self.seen.push("shutdown".to_owned()),
            GroupInput::Signal(Signal::Timeout) => {}
            GroupInput::Signal(other) => self.seen.push(format!("{other:?}")),
            other => self.seen.push(format!("{other:?}")),
        }
    }

    fn poll_output(&mut self) -> Option<GroupOutput> {
        self.outputs.pop_front()
    }

    fn deadline(&self) -> Option<Instant> {
        self.is_busy.then_some(Instant::ZERO)
    }

    fn halted(&mut self, _reason: &HaltReason) {
        let waiting = self.waiting.drain(..);
        self.outputs.extend(waiting.map(|call| GroupOutput::Reply { call, reply: Reply::Unknown }));
    }

    fn channel(&self) -> ChannelId {
        ChannelId::FIRST_CORE
    }

    fn is_settled(&self) -> bool {
        !self.keeps_the_node
    }
}

const GROUP: GroupId = GroupId(1);
const OTHER: GroupId = GroupId(2);

struct Lock(Arc<AtomicBool>);

impl Drop for Lock {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

fn network() -> Network {
    Network::new(Limits::default(), DeliveryTime::Immediate).expect("sound limits")
}

/// A node with two groups, and a flag that is set when its directory is free.
fn driver(network: &Network, id: u64) -> (Driver, Arc<AtomicBool>) {
    driver_on(network, id, MemoryDisk::new())
}

fn driver_on<D: Disk>(network: &Network, id: u64, disk: D) -> (Driver, Arc<AtomicBool>) {
    let identity = Identity { cluster: ClusterId(1), node: NodeId(id), incarnation: Incarnation(id.into()) };
    let transport = network.join(identity);
    for peer in (1..=3).filter(|peer| *peer != id) {
        transport.set_peer(Peer::new(NodeId(peer), "")).expect("a peer");
    }
    let mut pending = PendingStart::recover(identity, 0, Recovery::default()).expect("fresh");
    for group in [GROUP, OTHER] {
        pending.bind(group);
        let members = Configuration::of_voters((1..=3).map(NodeId));
        pending.found(group, Founding::new(ChannelId::FIRST_CORE, members));
    }
    let clock = Clock::start();
    let peers = (1..=3).map(NodeId).filter(|peer| peer.0 != id);
    let mut node = Node::new(clock.now(), NodeConfig::new(peers), pending.durable());
    let snapshots = SnapshotStores::new(disk.clone(), Path::new("snapshots"), ClusterId(1));
    for group in [GROUP, OTHER] {
        node.add(clock.now(), group, Box::new(Fake::default()));
        snapshots.open(group).expect("opened");
    }
    let is_free = Arc::new(AtomicBool::new(false));
    let lock = Arc::new(Lock(is_free.clone()));
    let settings = LogSettings { segment_bytes: 1 << 20, batch_bytes_max: 1 << 16, ..LogSettings::default() };
    let (log, _) = Wal::open(disk, settings, identity).expect("a new log");
    let site = Site {
        identity,
        session: SessionId { incarnation: identity.incarnation, start: 1 },
        members: Configuration::of_voters((1..=3).map(NodeId)),
        frame_bytes_max: 1 << 16,
        write_bytes_max: 1 << 16,
        skipped: BTreeMap::new(),
    };
    let read_addresses = Arc::new(read_address);
    let parts = Parts { node, clock, transport, read_addresses, log, snapshots, site, lock };
    (Driver::new(parts).expect("started"), is_free)
}

#[tokio::test(start_paused = true)]
async fn calls_reach_their_group_and_come_back() {
    let (driver, _) = driver(&network(), 1);
    let (handle, local) = (driver.handle(), driver.local_handle());
    let calls = async move {
        let ask = |fake: &mut Fake, _: Now, call: CallId| {
            fake.outputs.push_back(GroupOutput::Reply { call, reply: Reply::Told });
        };
        let answer = |fake: Option<&mut Fake>, reply: Reply| (fake.is_some(), reply);
        assert_eq!(handle.ask(GROUP, 10, ask, answer).await, Ok((true, Reply::Told)));
        assert_eq!(local.ask(OTHER, 10, ask, answer).await, Ok((true, Reply::Told)));
        assert_eq!(local.look(GROUP, |fake: &mut Fake, _| fake.outputs.len()).await, Ok(0));
        assert_eq!(handle.look(GroupId(9), |_: &mut Fake, _| ()).await, Err(CallError::NoGroup));
        let hosted_elsewhere = handle.look(GROUP, |_: &mut Another, _| ()).await;
        assert_eq!(hosted_elsewhere, Err(CallError::NoGroup));
        handle.shutdown(Duration::from_secs(1)).await;
        assert_eq!(handle.look(GROUP, |_: &mut Fake, _| ()).await, Err(CallError::Stopped));
        assert_eq!(local.look(GROUP, |_: &mut Fake, _| ()).await, Err(CallError::Stopped));
    };
    tokio::join!(driver.run(), calls);
}

#[tokio::test(start_paused = true)]
async fn an_answer_to_a_write_does_not_enter_its_group() {
    let (driver, _) = driver(&network(), 1);
    let handle = driver.handle();
    let calls = async move {
        let answers = [
            (Reply::Outcome(Outcome::Applied(Bytes::new())), false),
            (Reply::ReadFailed(ReadError::Overloaded), false),
            (Reply::Transfer(Ok(())), false),
            (Reply::Unknown, false),
            (Reply::ReadReady, true),
        ];
        for (reply, is_entered) in answers {
            let wanted = (is_entered, reply.clone());
            let ask = |fake: &mut Fake, _: Now, call: CallId| {
                fake.outputs.push_back(GroupOutput::Reply { call, reply });
            };
            let answer = |fake: Option<&mut Fake>, reply: Reply| (fake.is_some(), reply);
            assert_eq!(handle.ask(GROUP, 0, ask, answer).await, Ok(wanted));
        }
        let ask = |fake: &mut Fake, _: Now, call: CallId| {
            fake.outputs.push_back(GroupOutput::Reply { call, reply: Reply::Transfer(Ok(())) });
        };
        let answer = handle.ask(GROUP, 0, ask, |_, _| panic!("in an answer"));
        assert_eq!(answer.await, Err::<(), _>(CallError::Lost));
        assert_eq!(handle.look(GROUP, |_: &mut Fake, _| ()).await, Ok(()), "the group goes on");
        handle.shutdown(Duration::ZERO).await;
    };
    tokio::join!(driver.run(), calls);
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_a_call_stops_its_group_alone() {
    let (driver, _) = driver(&network(), 1);
    let handle = driver.handle();
    let calls = async move {
        let lost = handle.look(GROUP, |_: &mut Fake, _| panic!("in a caller's closure")).await;
        assert_eq!(lost, Err::<(), _>(CallError::Lost));
        assert_eq!(handle.look(GROUP, |_: &mut Fake, _| ()).await, Err(CallError::NoGroup));
        assert_eq!(handle.look(OTHER, |_: &mut Fake, _| ()).await, Ok(()));
        handle.shutdown(Duration::ZERO).await;
    };
    tokio::join!(driver.run(), calls);
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_group_can_be_awaited() {
    let (driver, _) = driver(&network(), 1);
    let (handle, early) = (driver.handle(), driver.handle());
    let waiting = async move { early.halted(GROUP).await };
    let calls = async move {
        let halt = |fake: &mut Fake, _: Now| {
            fake.outputs.push_back(GroupOutput::Halt { reason: HaltReason::LawBroken("one leader a term") });
        };
        handle.look(GROUP, halt).await.expect("asked");
        let reason = Ok(HaltReason::LawBroken("one leader a term"));
        assert_eq!(handle.halted(GROUP).await, reason);
        assert_eq!(handle.halted(GROUP).await, reason, "it is told as often as it is asked");
        let (others, stops) = (handle.clone(), handle.clone());
        let never = async move { others.halted(OTHER).await };
        let (never, _) = tokio::join!(never, stops.shutdown(Duration::ZERO));
        assert_eq!(never, Err(CallError::Stopped), "the node stopped before that group");
        assert_eq!(handle.halted(GROUP).await, reason, "after the node has stopped as well");
    };
    let ((), early, ()) = tokio::join!(driver.run(), waiting, calls);
    assert_eq!(early, Ok(HaltReason::LawBroken("one leader a term")));
}

#[tokio::test(start_paused = true)]
async fn a_panic_of_a_group_ends_it_for_those_who_wait() {
    let (driver, _) = driver(&network(), 1);
    let handle = driver.handle();
    let calls = async move {
        handle.look(GROUP, |_: &mut Fake, _| panic!("in a caller's closure")).await.expect_err("lost");
        assert!(matches!(handle.halted(GROUP).await, Ok(HaltReason::Panicked(text)) if text.contains("closure")));
        handle.shutdown(Duration::ZERO).await;
    };
    tokio::join!(driver.run(), calls);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_waits_for_the_groups_and_frees_the_directory() {
    let (driver, is_free) = driver(&network(), 1);
    let handle = driver.handle();
    let calls = async move {
        handle.look(GROUP, |fake: &mut Fake, _| fake.keeps_the_node = true).await.expect("asked");
        let never_answered = handle.ask(OTHER, 0, |_: &mut Fake, _, _| (), |_, _| ());
        let (other, settle) = (handle.clone(), handle.clone());
        let (first, second) = (handle.shutdown(Duration::from_hours(1)), other.shutdown(Duration::from_secs(5)));
        let settling = async move {
            let seen = settle.look(GROUP, |fake: &mut Fake, _| {
                fake.keeps_the_node = false;
                fake.seen.contains(&"shutdown".to_owned())
            });
            assert_eq!(seen.await, Ok(true));
        };
        tokio::join!(first, second, settling);
        assert!(is_free.load(Ordering::SeqCst), "the lock goes before shutdown returns");
        assert_eq!(never_answered.await, Err(CallError::Lost));
    };
    tokio::join!(driver.run(), calls);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_over_a_stalled_disk_ends_and_says_that_the_directory_is_not_free() {
    let disk = Stalling::new();
    let (driver, is_free) = driver_on(&network(), 1, disk.clone());
    let handle = driver.handle();
    let calls = async move {
        disk.stall(true);
        let write = |fake: &mut Fake, _: Now| {
            let operations = vec![Operation::Journal { key: 1, bytes: Bytes::from_static(b"durable") }];
            fake.outputs.push_back(GroupOutput::Persist { ticket: Ticket(1), operations });
        };
        handle.look(GROUP, write).await.expect("asked");
        assert_eq!(handle.shutdown(Duration::ZERO).await, Stopped::DiskStalled);
        assert!(!is_free.load(Ordering::SeqCst), "a write may still be on its way");
        disk.stall(false);
        while !is_free.load(Ordering::SeqCst) {
            std::thread::yield_now();
        }
    };
    tokio::join!(driver.run(), calls);
}

#[tokio::test(start_paused = true)]
async fn a_look_that_panics_harms_nobody() {
    let (driver, _) = driver(&network(), 1);
    let handle = driver.handle();
    let calls = async move {
        let looked = handle.inspect(|_| panic!("in a caller's closure")).await;
        assert_eq!(looked, Err::<(), _>(CallError::Panicked));
        assert_eq!(handle.look(GROUP, |_: &mut Fake, _| ()).await, Ok(()));
        // The closure that makes the answer of a stopped group belongs to the caller as well.
        let answer = handle.ask(OTHER, 0, |_: &mut Fake, _, _| (), |_, _| panic!("in an answer"));
        handle.look(OTHER, |_: &mut Fake, _| panic!("the group stops")).await.expect_err("lost");
        assert_eq!(handle.shutdown(Duration::ZERO).await, Stopped::InOrder);
        assert_eq!(answer.await, Err::<(), _>(CallError::Lost));
    };
    tokio::join!(driver.run(), calls);
}

#[tokio::test(start_paused = true)]
async fn groups_come_and_go_while_the_loop_runs() {
    let (driver, _) = driver(&network(), 1);
    let handle = driver.handle();
    let calls = async move {
        let (group, fake) = (GroupId(7), || |_| -> Result<Box<dyn Group>, _> { Ok(Box::new(Fake::default())) });
        assert_eq!(handle.look(group, |_: &mut Fake, _| ()).await, Err(CallError::NoGroup));
        assert_eq!(handle.add_group(group, fake()).await, Ok(()));
        assert_eq!(handle.add_group(group, fake()).await, Err(GroupError::Exists));
        assert_eq!(handle.look(group, |_: &mut Fake, _| ()).await, Ok(()));
        let panics = handle.add_group(GroupId(8), |_| panic!("in a caller's closure")).await;
        assert!(matches!(panics, Err(GroupError::NotMade(_))), "{panics:?}");
        let waiting = handle.ask(group, 0, |fake: &mut Fake, _, call| fake.waiting.push(call), |_, reply| reply);
        let (removed, again) = (handle.remove_group(group), handle.remove_group(group));
        assert_eq!((removed.await, again.await), (Ok(()), Ok(())), "one removal answers both");
        assert_eq!(waiting.await, Ok(Reply::Unknown), "it may have been done");
        assert_eq!(handle.halted(group).await, Ok(HaltReason::Removed));
        assert_eq!(handle.look(group, |_: &mut Fake, _| ()).await, Err(CallError::NoGroup));
        assert_eq!(handle.add_group(group, fake()).await, Err(GroupError::Removed));
        assert_eq!(handle.look(GROUP, |_: &mut Fake, _| ()).await, Ok(()), "others are not disturbed");
        assert_eq!(handle.shutdown(Duration::ZERO).await, Stopped::InOrder);
        assert_eq!(handle.add_group(GroupId(9), fake()).await, Err(GroupError::Stopped));
    };
    tokio::join!(driver.run(), calls);
}

#[tokio::test(start_paused = true)]
async fn jobs_and_snapshots_run_elsewhere_and_come_back() {
    let (driver, _) = driver(&network(), 1);
    let handle = driver.handle();
    let calls = async move {
        let start = |fake: &mut Fake, _: Now| {
            let jobs: [Job; 2] = [Job(Box::new(|| Box::new(42_u64))), Job(Box::new(|| panic!("in a job")))];
            for (number, job) in jobs.into_iter().enumerate() {
                fake.outputs.push_back(GroupOutput::Job { ticket: Ticket(number as u64), job });
            }
            let operation = SnapshotOperation::Abort;
            fake.outputs.push_back(GroupOutput::Snapshot { ticket: Ticket(9), operation });
        };
        handle.look(GROUP, start).await.expect("asked");
        let is_done = |fake: &mut Fake, _: Now| {
            let jobs: Vec<_> =
                fake.seen.iter().filter(|seen| seen.contains("Ok(42)") || seen.contains("job")).collect();
            jobs.len() == 2 && matches!(fake.results[..], [Ok(SnapshotDone::Done)])
        };
        until(&handle, is_done).await;
        handle.shutdown(Duration::ZERO).await;
    };
    tokio::join!(driver.run(), calls);
}

#[tokio::test(start_paused = true)]
async fn a_busy_node_leaves_its_thread_to_others() {
    let (driver, _) = driver(&network(), 1);
    let handle = driver.handle();
    let calls = async move {
        handle.look(GROUP, |fake: &mut Fake, _| fake.is_busy = true).await.expect("asked");
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        handle.shutdown(Duration::ZERO).await;
    };
    tokio::join!(driver.run(), calls);
}

#[tokio::test(start_paused = true)]
async fn nodes_meet_over_the_network_and_write_to_their_logs() {
    let network = network();
    let drivers: Vec<Driver> = (1..=3).map(|id| driver(&network, id).0).collect();
    let handles: Vec<NodeHandle> = drivers.iter().map(Driver::handle).collect();
    let calls = async move {
        let is_member = |fake: &mut Fake, _: Now| fake.seen.contains(&"Barred(None)".to_owned());
        for handle in &handles {
            until(handle, is_member).await;
        }
        let write = |fake: &mut Fake, _: Now| {
            let operations = vec![Operation::Journal { key: 1, bytes: Bytes::from_static(b"durable") }];
            fake.outputs.push_back(GroupOutput::Persist { ticket: Ticket(1), operations });
        };
        handles[0].look(GROUP, write).await.expect("asked");
        until(&handles[0], |fake: &mut Fake, _| fake.seen.contains(&"Persisted(Ticket(1))".to_owned())).await;
        for handle in &handles {
            handle.shutdown(Duration::ZERO).await;
        }
    };
    let [one, two, three] = drivers.try_into().unwrap_or_else(|_| unreachable!("three were made"));
    tokio::join!(one.run(), two.run(), three.run(), calls);
}

#[test]
fn a_full_mailbox_gives_back_what_does_not_fit() {
    let mailbox = Mailbox::new(10);
    assert!(mailbox.push('a', 100).is_ok(), "one always fits");
    assert!(matches!(mailbox.push('b', 1), Err(PushError::Full('b'))));
    assert_eq!(mailbox.close(), ['a']);
    assert!(matches!(mailbox.push('c', 1), Err(PushError::Closed('c'))));
}

/// Repeats the question until the answer is true. The group does not report its changes; the pauses let the loop do the
/// work, and their length does not affect the result.
async fn until(handle: &NodeHandle, is_so: impl Fn(&mut Fake, Now) -> bool + Copy + Send + 'static) {
    while !handle.look(GROUP, is_so).await.expect("it runs") {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// A group of another type.
struct Another;

impl Group for Another {
    fn handle(&mut self, _now: Now, _input: GroupInput) {}

    fn poll_output(&mut self) -> Option<GroupOutput> {
        None
    }

    fn deadline(&self) -> Option<Instant> {
        None
    }

    fn halted(&mut self, _reason: &HaltReason) {}

    fn channel(&self) -> ChannelId {
        ChannelId::FIRST_CORE
    }

    fn is_settled(&self) -> bool {
        true
    }
}
