//! Cores in one loop, to measure what they cost by themselves.

use bytes::Bytes;

use crate::replication::{Config, Election, LogCore, Settings, Start};
use crate::{
    Configuration, EntryKind, Input, LogCommand, LogEvent, LogIndex, NodeId, Now, Output, Proposal, ProposalId,
    Protocol, Recovery, ReplicatedLog, Role, Signal, Standing, crc32c,
};

/// Three cores that hand each other their messages at once. Every write is durable at once and kept by nobody; nothing
/// is encoded. The first core leads.
#[derive(Debug)]
pub struct CoreLoop<E: Election> {
    cores: Vec<LogCore<E>>,
    now: Now,
    committed: LogIndex,
    proposals: u64,
}

impl<E: Election> CoreLoop<E> {
    /// Starts three cores with usual settings, but for a cache of 1 MiB, and elects the first.
    ///
    /// # Panics
    /// When it is not elected.
    #[must_use]
    pub fn start() -> Self {
        let nodes = [NodeId(1), NodeId(2), NodeId(3)];
        let settings = Settings { cache_bytes_max: 1 << 20, ..Settings::default() };
        let now = Now::default();
        let recover = |node: NodeId| {
            let start = Start::Initial(Configuration::of_voters(nodes));
            let config = Config::new(node, node.0, start, settings.clone()).expect("valid settings");
            let mut core = LogCore::recover(now, config, Recovery::default()).expect("a fresh disk");
            for node in nodes {
                core.handle(now, Input::Signal(Signal::PeerStanding { node, standing: Standing::Member }));
            }
            core
        };
        let mut cores = Self { cores: nodes.map(recover).into(), now, committed: LogIndex::ZERO, proposals: 0 };
        cores.settle();
        cores.now.instant = cores.cores[0].deadline().expect("a follower waits for its leader");
        cores.cores[0].handle(cores.now, Input::Signal(Signal::Timeout));
        cores.settle();
        assert_eq!(cores.cores[0].status().role, Role::Leader);
        cores
    }

    /// Proposes `number` entries of that payload to the leader, all before it gives its next output, and carries out
    /// every output until there is none.
    pub fn commit(&mut self, number: u64, payload: &Bytes) {
        let checksum = crc32c(payload);
        for _ in 0..number {
            self.proposals += 1;
            let id = ProposalId { sequence: self.proposals, ..ProposalId::default() };
            let kind = EntryKind::Command;
            let proposal = Proposal { id, kind, acknowledged_below: 0, payload: payload.clone(), checksum };
            self.cores[0].handle(self.now, Input::Command(LogCommand::Propose(proposal)));
        }
        self.settle();
    }

    /// Returns the index that the leader last reported as committed.
    #[must_use]
    pub fn committed(&self) -> LogIndex {
        self.committed
    }

    fn settle(&mut self) {
        while self.poll_all() {}
    }

    /// Carries out every output that the cores have, and returns true if there was one.
    fn poll_all(&mut self) -> bool {
        let mut has_output = false;
        for core in 0..self.cores.len() {
            while let Some(output) = self.cores[core].poll_output() {
                has_output = true;
                match output {
                    Output::Send { to, message } => {
                        let (from, to) = (NodeId(core as u64 + 1), usize::try_from(to.0 - 1).expect("one of three"));
                        self.cores[to].handle(self.now, Input::Message { from, message });
                    }
                    Output::Persist { ticket, .. } => {
                        self.cores[core].handle(self.now, Input::Signal(Signal::Persisted(ticket)));
                    }
                    Output::Event(LogEvent::Committed { index }) if core == 0 => self.committed = index,
                    _ => {}
                }
            }
        }
        has_output
    }
}
