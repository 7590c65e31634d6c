//! A bound group under random crashes, cuts, transfers and pauses: what was said stays true.

use std::collections::BTreeMap;

use bytes::Bytes;
use quorate_protocol::{NodeId, Random};
use quorate_raft::Settings;
use quorate_runtime::ReplicaSettings;
use quorate_runtime::StateMachine;
use quorate_runtime::group::Group;
use quorate_runtime::hosted::{Hosted, Told};
use quorate_runtime::testing::{Notebook, NotebookCommand, NotebookEvent};

use crate::bound::Notes;
use crate::cluster::{Cluster, Member};
use crate::random::seeds;

/// The cluster, and what its cores have said.
struct Run {
    cluster: Cluster<Notes>,
    random: Random,
    /// The highest epoch that was said to have begun.
    epoch: u64,
    /// The key of each write that was given to a core, by the number of the write.
    given: BTreeMap<u64, u64>,
    /// For each key the number of the newest write that was said to be durable.
    written: BTreeMap<u64, u64>,
    last: u64,
    served: u64,
}

const KEYS: u64 = 5;

impl Run {
    fn new(seed: u64) -> Self {
        let settings =
            ReplicaSettings { snapshot_entries: 40, keep_entries: 5, keep_bytes: 4_096, ..ReplicaSettings::default() };
        let mut cluster: Cluster<Notes> = Cluster::prepare(3, settings, Settings::default(), || None);
        cluster.extra.records_bytes_max = 1 << 20;
        cluster.boot_all();
        let (given, written) = (BTreeMap::new(), BTreeMap::new());
        Self { cluster, random: Random::new(seed), epoch: 0, given, written, last: 0, served: 0 }
    }

    fn nodes(&self) -> Vec<NodeId> {
        let is_up = |node: &NodeId| self.cluster.nodes[node].replica.is_some();
        (1..=3).map(NodeId).filter(is_up).collect()
    }

    fn any_node(&mut self) -> NodeId {
        NodeId(self.random.between(1, 4))
    }

    /// One random deed.
    fn act(&mut self) {
        match self.random.between(0, 40) {
            0 => {
                let node = self.any_node();
                if self.cluster.machine(node).replica.is_some() {
                    self.cluster.crash(node);
                }
            }
            1 => {
                let node = self.any_node();
                self.cluster.isolate(node);
            }
            2..=4 => self.cluster.heal(),
            5 => {
                let node = self.any_node();
                self.cluster.park_inbound(node);
            }
            6 | 7 => self.cluster.release(),
            8 => {
                let (to, call) = (self.any_node(), self.cluster.call());
                if let Some(leader) = self.cluster.leader() {
                    let (now, deadline) = (self.cluster.clocks(leader), self.cluster.deadline(500));
                    Member::transfer(self.cluster.replica(leader), now, call, to, deadline);
                }
            }
            9 | 10 => self.boot_one(),
            11..=14 => {
                let pause = self.random.between(1, 700);
                self.cluster.run(pause);
            }
            15 => self.write(&NotebookCommand::CheckpointWithout(u64::MAX)),
            _ => {
                self.last += 1;
                let (key, number) = (self.random.between(0, KEYS), self.last);
                self.given.insert(number, key);
                let note = (key, Bytes::copy_from_slice(&number.to_le_bytes()));
                // A second note, under the number of the write, tells which write it was.
                let mark = (KEYS + number, Bytes::copy_from_slice(&key.to_le_bytes()));
                self.write(&NotebookCommand::Write(vec![mark, note], None));
            }
        }
        self.hear();
        let pause = self.random.between(0, 4);
        self.cluster.run(pause);
        self.hear();
    }

    /// Gives every node that takes itself for the serving one the command.
    fn write(&mut self, command: &NotebookCommand) {
        for node in self.nodes() {
            let now = self.cluster.clocks(node);
            let _ = self.cluster.replica(node).hosted_mut().command(now, command.clone());
        }
        self.cluster.settle();
    }

    fn boot_one(&mut self) {
        let down = (1..=3).map(NodeId).find(|node| self.cluster.nodes[node].replica.is_none());
        if let Some(node) = down {
            self.cluster.boot(node);
        }
    }

    /// Checks what the cores have said since the last call. All that is told of a write was durable before.
    fn hear(&mut self) {
        let (mut began, mut written) = (BTreeMap::new(), Vec::new());
        for node in self.nodes() {
            let group: &mut dyn Group = self.cluster.replica(node);
            let hosted: &mut Hosted<Notebook> = group.as_part_mut().expect("the place of a core");
            for told in hosted.take() {
                match told {
                    Told::Event(NotebookEvent::Began(epoch, notes)) => {
                        assert!(began.insert(epoch, notes).is_none(), "epoch {epoch} began twice");
                    }
                    Told::Event(NotebookEvent::Written(_, mark)) if mark < u64::MAX => written.push(mark - KEYS),
                    _ => {}
                }
            }
        }
        for (epoch, notes) in began {
            self.on_began(epoch, &notes);
        }
        for number in written {
            let newest = self.written.entry(self.given[&number]).or_default();
            *newest = number.max(*newest);
        }
    }

    /// A core is recovered from all that was said to be durable, in an epoch of its own.
    fn on_began(&mut self, epoch: u64, notes: &BTreeMap<u64, Bytes>) {
        assert!(epoch > self.epoch, "epoch {epoch} after {}", self.epoch);
        self.epoch = epoch;
        self.served += 1;
        self.check(notes);
    }

    fn check(&self, notes: &BTreeMap<u64, Bytes>) {
        for (key, number) in &self.written {
            let found = notes.get(key).map(|note| u64::from_le_bytes(note[..].try_into().expect("a number")));
            assert!(found >= Some(*number), "key {key}: {number} was said to be written, and {found:?} is there");
        }
        // A write is there as a whole.
        for (mark, key) in notes.iter().filter(|(mark, _)| **mark >= KEYS) {
            let key = u64::from_le_bytes(key[..].try_into().expect("a number"));
            let found = notes.get(&key).map(|note| u64::from_le_bytes(note[..].try_into().expect("a number")));
            assert!(found >= Some(mark - KEYS), "half of write {} is there", mark - KEYS);
        }
    }

    /// Heals everything, and checks that the group serves and that all nodes have the same log.
    fn end(mut self) -> u64 {
        self.cluster.heal();
        self.cluster.release();
        for _ in 0..3 {
            self.boot_one();
        }
        let node = self.cluster.run_until_served(NodeId(0));
        self.cluster.run(3_000);
        self.hear();
        let logs = self.nodes().into_iter().map(|node| {
            let replica = self.cluster.nodes[&node].replica.as_ref().expect("all are up").replica();
            replica.state().digest()
        });
        let logs: Vec<u64> = logs.collect();
        assert!(logs.windows(2).all(|two| two[0] == two[1]), "all nodes have the same log");
        let replica = self.cluster.nodes[&node].replica.as_ref().expect("it serves").replica();
        self.check(&replica.state().keys(0..u64::MAX).into_iter().collect());
        self.served
    }
}

#[test]
fn what_a_bound_core_said_stays_true() {
    let mut served = 0;
    for seed in seeds() {
        let mut run = Run::new(seed);
        for _ in 0..150 {
            run.act();
        }
        served += run.end();
    }
    assert!(served > seeds().count() as u64 * 3, "leadership moves often: {served}");
}
