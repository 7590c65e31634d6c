//! A bare core hosted on the shipped node: raft without a replica round it.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use quorate_protocol::{
    EntryKind, LogCommand, LogEvent, LogRequest, NodeId, Proposal, ProposalId, ReplicatedLog, Role, SessionId,
    Violation, crc32c,
};
use quorate_raft::testing::laws;
use quorate_raft::{Config, Raft, Settings, Start};
use quorate_runtime::GroupStart;
use quorate_simulation::campaign::Campaign;
use quorate_simulation::node_machine::{Guest, GuestDesk, Host, HostLaws, NodeMachine, NodeSetup};
use quorate_simulation::schedule::{Generator, Schedule};
use quorate_simulation::world::{
    ClientAnswer, ClusterInfo, NodeView, Observation, Recording, RunOutcome, Workload, run,
};

/// Clients have entries appended, and are answered when the core says that they are committed.
struct Appender {
    session: SessionId,
    /// Appended, at this index, and not known to be committed.
    appended: BTreeMap<u64, u64>,
    proposed: BTreeMap<u64, u64>,
    leads: (bool, u64),
}

impl Guest for Appender {
    type Core = Raft;
    type Setup = ();
    type Call = u64;
    type Answer = ();
    /// Starts of the node, so that proposals have names of their own.
    type Kept = u32;

    const EXPECTED: &'static [&'static str] = &[];

    fn config((): &(), start: &GroupStart) -> Config {
        let members = Start::Initial(start.members.clone());
        // What comes in one message must fit one write.
        let settings = Settings { entry_bytes_max: 1_000, batch_bytes_max: 4_000, ..Settings::default() };
        assert!(settings.batch_bytes_max * 2 < start.write_bytes_max, "a message fits a write");
        Config::new(start.identity.node, start.seed, members, settings).expect("valid settings")
    }

    fn start((): &(), desk: &mut GuestDesk<'_, '_, Self>) -> Self {
        *desk.kept() += 1;
        let session = SessionId { incarnation: desk.whole_node().identity().incarnation, start: *desk.kept() };
        Self { session, appended: BTreeMap::new(), proposed: BTreeMap::new(), leads: (false, 0) }
    }

    fn call(&mut self, desk: &mut GuestDesk<'_, '_, Self>, call: u64, what: u64) {
        let sequence = desk.number();
        self.proposed.insert(sequence, call);
        let payload = Bytes::copy_from_slice(&what.to_le_bytes());
        desk.command(LogCommand::Propose(Proposal {
            id: ProposalId { session: self.session, sequence },
            kind: EntryKind::Command,
            acknowledged_below: 0,
            checksum: crc32c(&payload),
            payload,
        }));
    }

    fn event(&mut self, desk: &mut GuestDesk<'_, '_, Self>, event: LogEvent) {
        match event {
            LogEvent::Appended { id, index, .. } => {
                let call = self.proposed.remove(&id.sequence);
                self.appended.extend(call.map(|call| (index.0, call)));
            }
            LogEvent::Refused { id, .. } => {
                if let Some(call) = self.proposed.remove(&id.sequence) {
                    desk.answer(call, ClientAnswer::NotDone);
                }
            }
            LogEvent::Committed { index } if self.leads.0 => {
                let later = self.appended.split_off(&(index.0 + 1));
                for call in std::mem::replace(&mut self.appended, later).into_values() {
                    desk.answer(call, ClientAnswer::Done(()));
                }
            }
            LogEvent::Role { role, term, .. } => {
                self.leads = (role == Role::Leader, term.0);
                for call in std::mem::take(&mut self.appended).into_values() {
                    desk.answer(call, ClientAnswer::Unknown);
                }
            }
            _ => {}
        }
    }

    fn request(&mut self, _: &mut GuestDesk<'_, '_, Self>, _: LogRequest) -> Option<quorate_protocol::LogAnswer> {
        None
    }

    fn observe(&self, core: &Raft) -> Observation {
        let status = core.status();
        let (term, is_leader) = (status.term.0, status.role == Role::Leader);
        Observation { term, is_leader, committed: status.commit_index.0, applied: status.commit_index.0, digest: 0 }
    }
}

/// Numbers to append, at any node.
struct Numbers(u64);

impl Workload<NodeMachine<Host<Appender>>> for Numbers {
    fn call(&mut self, _client: u64, cluster: ClusterInfo, _at_us: u64) -> (NodeId, u64) {
        self.0 += 1;
        (cluster.leader.unwrap_or(NodeId(1 + self.0 % cluster.nodes)), self.0)
    }

    fn answered(&mut self, _client: u64, _what: &u64, _answer: &ClientAnswer<()>, _at_us: u64) {}

    fn pause_us(&mut self, _client: u64) -> u64 {
        20_000
    }

    fn judge(&mut self) -> Result<(), Violation> {
        Ok(())
    }
}

fn run_hosted(schedule: &Schedule) -> RunOutcome {
    let mut setup = NodeSetup::<Host<Appender>>::hosted(schedule, ());
    setup.application.within = Duration::from_millis(50);
    let mut laws = HostLaws::new(laws(), Box::new(same_commit));
    run(&setup, schedule, &mut laws, &mut Numbers(0), Recording::Nothing)
}

fn same_commit(nodes: &[NodeView<'_, NodeMachine<Host<Appender>>>]) -> Result<(), Violation> {
    quorate_simulation::world::converged(nodes)
}

#[test]
fn a_hosted_core_keeps_its_laws_under_every_fault() {
    let generator = Generator { faults_us: 4_000_000, ..Generator::of::<NodeMachine<Host<Appender>>>() };
    let campaign = Campaign { generator, seeds: 0..4, threads: 2, is_run_twice: true, failures_max: 5 };
    let summary = campaign.run(run_hosted, || {});
    let failed: Vec<_> = summary.failures.iter().map(|(seed, _)| campaign.generator.schedule(*seed).faults).collect();
    assert!(summary.failures.is_empty(), "{:?} {failed:?}", summary.failures);
    assert!(summary.acknowledged_median > 100, "{} calls were acknowledged", summary.acknowledged_median);
}
