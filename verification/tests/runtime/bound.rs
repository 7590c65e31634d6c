//! Groups whose core keeps its log in a replicated log, on Raft.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use quorate_protocol::{
    ClusterId, Configuration, Entry, HaltReason, Identity, Instant, LoadRange, Loaded, LogIndex, LogStatus, NodeId,
    Now, Operation, PersistFailure, Protocol, Signal, Standing, StorageLevel, Ticket, WriteRefusal,
};
use quorate_raft::{Raft, Settings};
use quorate_runtime::bound::{Bound, BoundLog, BoundSettings, Reign};
use quorate_runtime::group::{CallId, ChannelId, Group, GroupInput, Hostable, Reply};
use quorate_runtime::hosted::{Hosted, NotServed, Told};
use quorate_runtime::replica::{ProposeOptions, Replica};
use quorate_runtime::testing::{Notebook, NotebookCommand, NotebookEvent};
use quorate_runtime::{BoxError, Delivery, GroupStart, Outcome, ReplicaSettings, StateMachine};

use crate::cluster::{Boot, Cluster, Member, N1, N2, N3, incarnation};

pub(crate) type Notes = Bound<Raft, Notebook>;

#[derive(Clone)]
pub(crate) struct Extra {
    write_timeout: Duration,
    pub(crate) records_bytes_max: usize,
    /// The core is not recovered on this node.
    fails_on: Option<NodeId>,
}

impl Default for Extra {
    fn default() -> Self {
        Self { write_timeout: Duration::from_secs(10), records_bytes_max: RECORDS_BYTES_MAX, fails_on: None }
    }
}

/// Starts a bound group on one of three nodes.
pub(crate) fn recover<P: Hostable>(
    boot: Boot,
    settings: BoundSettings,
    channel: ChannelId,
    core: impl FnMut(GroupStart) -> Result<P, BoxError> + Send + 'static,
) -> Bound<Raft, P> {
    let Boot { now, seat, config, recovery, .. } = boot;
    let start = GroupStart {
        now,
        group: seat.group,
        identity: Identity { cluster: ClusterId(1), node: seat.node, incarnation: incarnation(seat.node) },
        session: seat.session,
        members: Configuration::of_voters([N1, N2, N3]),
        recovery,
        skipped: Vec::new(),
        seed: seat.node.0,
        frame_bytes_max: 8 << 20,
        write_bytes_max: 1 << 20,
    };
    let bound = Bound::recover(start, settings, config, channel, Box::new(core));
    bound.expect("a log that was written by the same code")
}

impl Member for Notes {
    type Extra = Extra;

    fn boot(boot: Boot, extra: &Extra) -> Self {
        let settings = BoundSettings {
            records_bytes_max: extra.records_bytes_max,
            write_timeout: extra.write_timeout,
            replica: ReplicaSettings { command_bytes_max: 2_000, ..boot.settings.clone() },
            ..BoundSettings::default()
        };
        let fails = extra.fails_on == Some(boot.seat.node);
        recover(boot, settings, CHANNEL, move |start| Ok(Notebook::recover(start.now, fails, start.recovery)?))
    }

    fn log(&self) -> LogStatus {
        self.replica().status().log
    }

    fn transfer(&mut self, now: Now, call: CallId, to: NodeId, deadline: Instant) {
        self.replica_mut().transfer(now, call, Some(to), deadline);
    }
}

impl Cluster<Notes> {
    fn of_notes(settings: ReplicaSettings, extra: Extra) -> Self {
        let mut cluster = Self::prepare(3, settings, Settings::default(), || None);
        cluster.extra = extra;
        cluster.boot_all();
        // The first core of the group runs on node 1.
        let now = cluster.clocks(N1);
        cluster.replica(N1).replica_mut().campaign(now).expect("nobody leads");
        cluster.settle();
        assert_eq!(cluster.run_until_served(N3), N1);
        cluster.run(50);
        cluster
    }

    fn notes() -> Self {
        Self::of_notes(ReplicaSettings::default(), Extra::default())
    }

    /// The core's place, as its handle reaches it.
    fn hosted(&mut self, node: NodeId) -> &mut Hosted<Notebook> {
        let group: &mut dyn Group = self.replica(node);
        group.as_part_mut().expect("the place of a core")
    }

    fn core(&mut self, node: NodeId) -> &Notebook {
        self.replica(node).hosted().core().expect("it serves")
    }

    fn command(&mut self, node: NodeId, command: NotebookCommand) -> Result<(), NotServed> {
        let now = self.clocks(node);
        let given = self.hosted(node).command(now, command);
        self.settle();
        given
    }

    fn write(&mut self, node: NodeId, key: u64, note: &'static str) {
        self.command(node, write(key, note)).expect("it serves");
    }

    /// What the core has told since the last call.
    fn told(&mut self, node: NodeId) -> Vec<String> {
        self.hosted(node).take().iter().map(|told| format!("{told:?}")).collect()
    }

    fn log(&self, node: NodeId) -> &BoundLog {
        self.nodes[&node].replica.as_ref().expect("a running node").replica().state()
    }

    /// Passes a command to the replica of a node, as a node does that took itself for the leader.
    fn propose_raw(&mut self, node: NodeId, command: Bytes) -> Bytes {
        let (call, now, deadline) = (self.call(), self.clocks(node), self.deadline(5_000));
        let options = ProposeOptions { deadline, delivery: Delivery::AtMostOnce };
        self.replica(node).replica_mut().propose(now, call, command, options);
        match self.answer(node, call) {
            Reply::Outcome(Outcome::Applied(response)) => response,
            other => panic!("{other:?}"),
        }
    }
}

impl<P: Hostable> Cluster<Bound<Raft, P>>
where
    Bound<Raft, P>: Member,
{
    /// Runs until a node other than `before` serves.
    pub(crate) fn run_until_served(&mut self, before: NodeId) -> NodeId {
        for _ in 0..5_000 {
            let running = self.nodes.iter().filter_map(|(node, machine)| Some((*node, machine.replica.as_ref()?)));
            let serving = running.filter(|(node, group)| *node != before && group.reign().is_some());
            if let Some(node) = serving.map(|(node, _)| node).next() {
                return node;
            }
            self.run(1);
        }
        panic!("nobody serves");
    }
}

fn write(key: u64, note: &'static str) -> NotebookCommand {
    NotebookCommand::Write(vec![(key, note.into())], None)
}

/// The bytes of a write of one note in a reign.
fn written_in(reign: Reign, key: u64, note: &str) -> Bytes {
    let mut bytes = BytesMut::from(&[1, 1][..]);
    bytes.put_u64_le(reign.0.0);
    bytes.put_u8(0);
    bytes.put_u64_le(key);
    bytes.put_u32_le(u32::try_from(note.len()).expect("short"));
    bytes.put_slice(note.as_bytes());
    bytes.freeze()
}

fn began(epoch: u64, notes: &[(u64, &'static str)]) -> String {
    let notes: BTreeMap<u64, Bytes> = notes.iter().map(|(key, note)| (*key, Bytes::from(*note))).collect();
    format!("{:?}", Told::<Notebook>::Event(NotebookEvent::Began(epoch, notes)))
}

fn event(event: NotebookEvent) -> String {
    format!("{:?}", Told::<Notebook>::Event(event))
}

fn left(leader: Option<NodeId>) -> String {
    format!("{:?}", Told::<Notebook>::NotServing { leader })
}

const CHANNEL: ChannelId = ChannelId(20);
const RECORDS_BYTES_MAX: usize = 4_000;

#[test]
fn the_leader_serves_and_the_others_say_who_does() {
    let mut cluster = Cluster::notes();
    assert_eq!(cluster.told(N1), ["Serving".to_owned(), began(1, &[])]);
    cluster.write(N1, 7, "a");
    assert_eq!(cluster.told(N1), [event(NotebookEvent::Written(1, 7))]);
    let elsewhere = Err(NotServed::Elsewhere { leader: Some(N1) });
    assert_eq!(cluster.command(N2, write(8, "b")), elsewhere);
    assert_eq!(cluster.hosted(N2).not_served(), elsewhere.err());
    assert_eq!(cluster.hosted(N1).not_served(), None);
    cluster.run(200);
    for node in [N1, N2, N3] {
        assert_eq!(cluster.log(node).keys(0..100), [(7, Bytes::from("a"))]);
    }
    assert_eq!(cluster.log(N1).digest(), cluster.log(N3).digest());
}

/// A core that hands out a write is told that it is persisted when it is committed and applied.
#[test]
fn nothing_is_said_before_it_is_committed() {
    let mut cluster = Cluster::notes();
    cluster.told(N1);
    cluster.park_inbound(N2);
    cluster.park_inbound(N3);
    cluster.command(N1, NotebookCommand::Write(vec![(7, "a".into())], Some(N2))).expect("it serves");
    cluster.run(20);
    assert_eq!(cluster.told(N1), [""; 0]);
    assert!(!cluster.sent.iter().any(|(.., channel)| *channel == CHANNEL));
    assert_eq!(cluster.log(N1).records(), 0);
    cluster.release();
    cluster.run(20);
    assert_eq!(cluster.told(N1), [event(NotebookEvent::Written(1, 7))]);
    assert!(cluster.sent.iter().any(|(.., channel)| *channel == CHANNEL));
}

/// The write has reached nobody. Its core is dropped without a word, and the next one does not find it.
#[test]
fn a_write_in_the_midst_of_which_leadership_is_lost_was_not_made() {
    let mut cluster = Cluster::notes();
    cluster.write(N1, 1, "kept");
    cluster.isolate(N1);
    cluster.told(N1);
    cluster.write(N1, 2, "lost");
    let next = cluster.run_until_served(N1);
    assert_eq!(cluster.told(next), ["Serving".to_owned(), began(2, &[(1, "kept")])]);
    cluster.run(2_000);
    assert_eq!(cluster.told(N1), [left(None)], "it is not known what became of the write");
    assert_eq!(cluster.command(N1, write(3, "c")), Err(NotServed::Elsewhere { leader: None }));
    cluster.write(next, 2, "other");
    cluster.heal();
    cluster.run(2_000);
    for node in [N1, N2, N3] {
        assert_eq!(cluster.log(node).keys(0..9), [(1, "kept".into()), (2, "other".into())]);
    }
    assert_eq!(cluster.told(N1), [""; 0]);
}

/// The write has reached a node that leads next, where it is neither committed nor applied when that node is elected.
/// It is found by the next core, and the deposed one never hears of it.
#[test]
fn a_write_that_reached_the_next_leader_is_found_by_the_next_core() {
    let mut cluster = Cluster::notes();
    cluster.told(N1);
    cluster.parked_links.extend([(N2, N1), (N3, N1)]);
    cluster.write(N1, 2, "found");
    cluster.drop_parked();
    cluster.isolate(N1);
    let next = cluster.run_until_served(N1);
    assert_eq!(cluster.told(next), ["Serving".to_owned(), began(2, &[(2, "found")])]);
    cluster.run(2_000);
    cluster.heal();
    cluster.run(1_000);
    assert_eq!(cluster.told(N1), [left(None)]);
}

#[test]
fn a_late_write_of_a_former_core_changes_nothing() {
    let mut cluster = Cluster::notes();
    cluster.write(N1, 1, "a");
    let former = cluster.replica(N1).reign().expect("it serves");
    cluster.elect(N2);
    let present = cluster.replica(N2).reign().expect("it serves");
    assert!(former < present);
    cluster.told(N2);
    // It comes over the log of the present leader, as a forwarded proposal would.
    assert_eq!(cluster.propose_raw(N1, written_in(former, 1, "late")), [2][..]);
    cluster.run(100);
    for node in [N1, N2, N3] {
        assert_eq!(cluster.log(node).keys(0..9), [(1, Bytes::from("a"))]);
    }
    assert_eq!(cluster.told(N2), [""; 0], "the present core goes on");
    cluster.write(N2, 1, "b");
    assert_eq!(cluster.told(N2), [event(NotebookEvent::Written(2, 1))]);
}

/// Another take-over in the log ends a reign, whoever proposed it.
#[test]
fn a_core_whose_reign_has_ended_in_the_log_is_recovered_anew() {
    let mut cluster = Cluster::notes();
    cluster.write(N1, 1, "a");
    cluster.told(N1);
    cluster.propose_raw(N2, Bytes::from_static(&[1, 0]));
    cluster.run(200);
    assert_eq!(cluster.told(N1), [left(Some(N1)), "Serving".to_owned(), began(2, &[(1, "a")])]);
}

#[test]
fn everything_is_there_after_all_have_crashed() {
    let mut cluster = Cluster::notes();
    cluster.write(N1, 1, "a");
    cluster.write(N1, 2, "b");
    cluster.write(N1, 1, "");
    for node in [N1, N2, N3] {
        cluster.crash(node);
    }
    for node in [N1, N2, N3] {
        cluster.boot(node);
    }
    cluster.elect(N3);
    let told = cluster.told(N3);
    assert_eq!(told[0], "Serving");
    let epoch = cluster.core(N3).epoch();
    assert!(epoch > 1);
    assert_eq!(told[1], began(epoch, &[(2, "b")]));
}

#[test]
fn a_node_that_gets_the_log_as_a_snapshot_serves_it() {
    let settings =
        ReplicaSettings { snapshot_entries: 10, keep_entries: 0, keep_bytes: 0, ..ReplicaSettings::default() };
    let mut cluster = Cluster::of_notes(settings, Extra::default());
    cluster.crash(N3);
    for key in 0..15 {
        cluster.write(N1, key, "n");
    }
    cluster.command(N1, NotebookCommand::CheckpointWithout(3)).expect("it serves");
    cluster.run(500);
    assert!(cluster.machine(N1).store.newest().is_some_and(|meta| meta.index > LogIndex(10)));
    cluster.boot(N3);
    cluster.run(1_000);
    let counters = cluster.replica(N3).replica().status().counters;
    assert_eq!(counters.snapshots_received, 1);
    assert_eq!(cluster.log(N3).digest(), cluster.log(N1).digest());
    cluster.elect(N3);
    let kept: Vec<(u64, &str)> = (0..15).filter(|key| *key != 3).map(|key| (key, "n")).collect();
    assert_eq!(cluster.told(N3), ["Serving".to_owned(), began(2, &kept)]);
}

/// The log is slow, and its leader stays. The core is recovered behind its own write, which is found.
#[test]
fn a_write_whose_outcome_is_unknown_is_not_taken_for_written() {
    let mut cluster = Cluster::of_notes(
        ReplicaSettings::default(),
        Extra { write_timeout: Duration::from_millis(30), ..Extra::default() },
    );
    cluster.told(N1);
    cluster.parked_links.extend([(N2, N1), (N3, N1)]);
    cluster.write(N1, 1, "a");
    cluster.run(40);
    assert_eq!(cluster.told(N1), [left(Some(N1))]);
    assert_eq!(cluster.command(N1, write(2, "b")), Err(NotServed::Elsewhere { leader: Some(N1) }));
    cluster.release();
    cluster.run(300);
    assert_eq!(cluster.told(N1), ["Serving".to_owned(), began(2, &[(1, "a")])]);
    assert_eq!(cluster.leader(), Some(N1));
}

/// A long pause without an input is no reason for a write to be late.
#[test]
fn the_time_of_a_write_counts_from_its_command() {
    let mut cluster = Cluster::of_notes(
        ReplicaSettings::default(),
        Extra { write_timeout: Duration::from_millis(30), ..Extra::default() },
    );
    cluster.told(N1);
    let now = Now { instant: cluster.now.instant.after(Duration::from_millis(40)), ..cluster.now };
    cluster.now = now;
    cluster.write(N1, 1, "a");
    assert_eq!(cluster.told(N1), [event(NotebookEvent::Written(1, 1))]);
}

#[test]
fn a_refused_write_and_all_behind_it_were_not_made() {
    let mut cluster = Cluster::notes();
    cluster.told(N1);
    let now = cluster.clocks(N1);
    let too_large = Operation::Journal { key: 1, bytes: vec![0; 3_000].into() };
    let hosted = cluster.hosted(N1);
    hosted.command(now, NotebookCommand::Operations(vec![too_large])).expect("it serves");
    hosted.command(now, write(2, "b")).expect("it serves");
    cluster.settle();
    let failure = PersistFailure::Refused { reason: WriteRefusal::TooLarge };
    assert_eq!(cluster.told(N1), [event(NotebookEvent::Failed(failure))]);
    assert_eq!(cluster.log(N1).records(), 0);
    cluster.write(N1, 3, "c");
    assert_eq!(cluster.told(N1), [event(NotebookEvent::Written(1, 3))]);
}

#[test]
fn writes_that_are_handed_out_together_are_made_in_their_order() {
    let mut cluster = Cluster::notes();
    cluster.told(N1);
    let now = cluster.clocks(N1);
    for note in ["a", "b", "c"] {
        cluster.hosted(N1).command(now, write(1, note)).expect("it serves");
    }
    cluster.settle();
    assert_eq!(cluster.told(N1), vec![event(NotebookEvent::Written(1, 1)); 3]);
    assert_eq!(cluster.log(N1).keys(0..9), [(1, Bytes::from("c"))]);
}

#[test]
fn operations_on_an_index_are_refused_by_name() {
    let mut cluster = Cluster::notes();
    cluster.told(N1);
    let entries: Vec<Entry> = Vec::new();
    let append = Operation::Append { index: LogIndex(1), term: quorate_protocol::Term(1), entries };
    cluster.command(N1, NotebookCommand::Operations(vec![append])).expect("it serves");
    let failure = PersistFailure::Refused { reason: WriteRefusal::Indexed };
    assert_eq!(cluster.told(N1), [event(NotebookEvent::Failed(failure))]);
    let range = LoadRange::Entries { range: LogIndex(1)..LogIndex(2), bytes_max: 100 };
    cluster.command(N1, NotebookCommand::Load(range)).expect("it serves");
    assert_eq!(cluster.told(N1), [event(NotebookEvent::Loaded(None))]);
}

#[test]
fn a_core_reads_its_records() {
    let mut cluster = Cluster::notes();
    cluster.write(N1, 1, "a");
    cluster.write(N1, 5, "b");
    cluster.told(N1);
    cluster.command(N1, NotebookCommand::Load(LoadRange::Keys { range: 1..5 })).expect("it serves");
    let loaded = Loaded::Keys(vec![(1, "a".into())]);
    assert_eq!(cluster.told(N1), [event(NotebookEvent::Loaded(Some(loaded)))]);
}

/// The answer would otherwise reach another request under the same ticket.
#[test]
fn an_answer_to_a_former_core_is_refused() {
    let mut cluster = Cluster::notes();
    cluster.command(N1, NotebookCommand::Ask).expect("it serves");
    let tickets = |told: Vec<Told<Notebook>>| -> Vec<Ticket> {
        let ticket = |told| if let Told::Request { ticket, .. } = told { Some(ticket) } else { None };
        told.into_iter().filter_map(ticket).collect()
    };
    let former = tickets(cluster.hosted(N1).take());
    cluster.elect(N2);
    let now = cluster.clocks(N1);
    let elsewhere = Err(NotServed::Elsewhere { leader: Some(N2) });
    assert_eq!(cluster.hosted(N1).complete(now, former[0], 1), elsewhere);
    cluster.elect(N1);
    cluster.command(N1, NotebookCommand::Ask).expect("it serves");
    let present = tickets(cluster.hosted(N1).take());
    assert_eq!((former.len(), present.len()), (1, 1));
    let now = cluster.clocks(N1);
    assert_eq!(cluster.hosted(N1).complete(now, former[0], 1), Err(NotServed::OldRequest));
    assert_eq!(cluster.hosted(N1).complete(now, present[0], 2), Ok(()));
    cluster.settle();
    assert_eq!(cluster.told(N1), [event(NotebookEvent::Answered(2))]);
}

/// A caller that listens is not left waiting when another node serves.
#[test]
fn who_listens_is_told_that_the_core_is_gone() {
    let mut cluster = Cluster::notes();
    cluster.told(N1);
    let call = cluster.call();
    cluster.hosted(N1).listen(call);
    cluster.isolate(N1);
    cluster.write(N1, 1, "a");
    // A leader that hears of no quorum steps down within its longest election time-out.
    cluster.run(1_000);
    assert_eq!(cluster.machine(N1).replies.remove(&call), Some(Reply::Told));
    assert_eq!(cluster.told(N1), [left(None)]);
}

#[test]
fn messages_to_a_node_that_does_not_serve_are_counted() {
    let mut cluster = Cluster::notes();
    cluster.command(N1, NotebookCommand::Write(vec![(7, "a".into())], Some(N2))).expect("it serves");
    cluster.run(10);
    assert_eq!(cluster.hosted(N2).messages_not_served(), 1);
    cluster.elect(N2);
    cluster.told(N1);
    cluster.told(N2);
    cluster.command(N2, NotebookCommand::Write(vec![(8, "a".into())], Some(N2))).expect("it serves");
    cluster.run(10);
    let heard = event(NotebookEvent::Heard(N2, 2, 8));
    assert_eq!(cluster.told(N2), [event(NotebookEvent::Written(2, 8)), heard]);
}

#[test]
fn each_core_is_told_the_standings_and_the_room() {
    let mut cluster = Cluster::notes();
    cluster.give(N2, GroupInput::Signal(Signal::PeerStanding { node: N3, standing: Standing::Stranger }));
    cluster.give(N2, GroupInput::Signal(Signal::Storage(StorageLevel::Low)));
    cluster.give(N2, GroupInput::Signal(Signal::Storage(StorageLevel::Enough)));
    cluster.give(N2, GroupInput::Signal(Signal::Storage(StorageLevel::Low)));
    cluster.give(N2, GroupInput::Signal(Signal::Storage(StorageLevel::Enough)));
    cluster.elect(N2);
    let standing = |node, standing| Signal::PeerStanding { node, standing };
    let told = cluster.core(N2).told().to_vec();
    assert!(told.contains(&standing(N1, Standing::Member)));
    assert!(told.contains(&standing(N2, Standing::Member)), "the node itself");
    assert!(told.contains(&standing(N3, Standing::Stranger)));
    assert_eq!(cluster.core(N2).room(), StorageLevel::Enough);
}

/// Half of the room is left for what was begun; beyond all of it nothing grows.
#[test]
fn the_records_in_memory_are_bounded() {
    let mut cluster = Cluster::notes();
    let note = || Bytes::from(vec![7; 900]);
    let fill = |key| NotebookCommand::Write(vec![(key, note())], None);
    cluster.command(N1, fill(1)).expect("it serves");
    assert_eq!(cluster.core(N1).room(), StorageLevel::Enough);
    cluster.command(N1, fill(2)).expect("it serves");
    cluster.command(N1, fill(3)).expect("it serves");
    assert_eq!(cluster.core(N1).room(), StorageLevel::Low);
    assert!(cluster.core(N1).told().contains(&Signal::CompactRequested));
    cluster.told(N1);
    for key in 4..8 {
        cluster.command(N1, fill(key)).expect("it serves");
    }
    let failed = event(NotebookEvent::Failed(PersistFailure::NotWritten));
    assert!(cluster.told(N1).ends_with(&[failed]));
    assert!(cluster.log(N1).records_bytes() <= RECORDS_BYTES_MAX);
    cluster.command(N1, NotebookCommand::Write(vec![(1, Bytes::new()), (9, note())], None)).expect("it serves");
    assert_eq!(cluster.told(N1), [event(NotebookEvent::Written(1, 1))], "it frees as much as it adds");
    for key in 2..9 {
        cluster.write(N1, key, "");
    }
    assert_eq!(cluster.core(N1).room(), StorageLevel::Enough);
}

#[test]
fn a_core_that_halts_stops_its_group_and_another_node_serves() {
    let mut cluster = Cluster::notes();
    cluster.write(N1, 1, "a");
    let call = cluster.call();
    cluster.told(N1);
    cluster.hosted(N1).listen(call);
    cluster.command(N1, NotebookCommand::Halt).expect("it serves");
    assert_eq!(cluster.machine(N1).halted, Some(HaltReason::LawBroken("it was asked to")));
    assert!(cluster.machine(N1).replies.contains_key(&call), "nobody is left waiting");
    assert!(cluster.command(N1, write(2, "b")).is_err());
    let next = cluster.run_until_served(N1);
    assert_eq!(cluster.told(next), ["Serving".to_owned(), began(2, &[(1, "a")])]);
}

#[test]
fn a_node_that_cannot_recover_the_core_stops_and_another_serves() {
    let extra = Extra { fails_on: Some(N2), ..Extra::default() };
    let mut cluster = Cluster::of_notes(ReplicaSettings::default(), extra);
    cluster.write(N1, 1, "a");
    cluster.crash(N1);
    cluster.boot(N1);
    let halted = |cluster: &mut Cluster<Notes>| cluster.machine(N2).halted.clone();
    for _ in 0..50 {
        if halted(&mut cluster).is_some() {
            break;
        }
        if let Some(leader) = cluster.leader().filter(|leader| *leader != N2) {
            let (now, call, deadline) = (cluster.clocks(leader), cluster.call(), cluster.deadline(1_000));
            cluster.replica(leader).replica_mut().transfer(now, call, Some(N2), deadline);
        }
        cluster.run(200);
    }
    let reason = halted(&mut cluster).expect("it cannot serve");
    assert!(matches!(&reason, HaltReason::NotRecovered(text) if text.contains("it was asked to fail")), "{reason:?}");
    let next = cluster.run_until_served(N2);
    assert_eq!(cluster.log(next).keys(0..9), [(1, Bytes::from("a"))]);
}

#[test]
fn a_timer_of_the_core_fires() {
    let mut cluster = Cluster::notes();
    cluster.told(N1);
    let at = cluster.deadline(7);
    cluster.command(N1, NotebookCommand::RingAt(at)).expect("it serves");
    cluster.run(6);
    assert_eq!(cluster.told(N1), [""; 0]);
    cluster.run(1);
    assert_eq!(cluster.told(N1), [event(NotebookEvent::Rang)]);
}

/// Handles reach the replica below the core, for its status and its members.
#[test]
fn the_replica_below_is_reached_as_a_part_of_the_group() {
    let mut cluster = Cluster::notes();
    let group: &mut dyn Group = cluster.replica(N1);
    assert!(group.as_part::<Replica<Raft, BoundLog>>().is_some_and(|replica| replica.leading().is_some()));
    assert!(group.as_part_mut::<Replica<Raft, BoundLog>>().is_some());
    assert!(group.as_part::<Bound<Raft, Notebook>>().is_some());
    assert!(group.as_part::<Hosted<Raft>>().is_none());
    assert_eq!(group.channel(), CHANNEL, "it is founded as another group than a bare replica");
}
