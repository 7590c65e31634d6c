//! Three cores in one loop: nothing is synced and no socket is crossed. Prints entries a second.
//!
//! `cargo bench -p quorate-raft --bench core`

use std::time::Instant;

use bytes::Bytes;
use quorate_protocol::{
    Configuration, EntryKind, Input, LogCommand, LogEvent, NodeId, Now, Output, Proposal, ProposalId, Protocol,
    Recovery, ReplicatedLog, Role, Standing,
};
use quorate_raft::{Config, Raft, Settings, Start};

fn main() {
    for (batch, total) in [(1_u64, 500_000_u64), (64, 4_000_000), (256, 4_000_000)] {
        for payload_bytes in [8, 256] {
            let best = (0..3).map(|_| measure(batch, total / 2, payload_bytes)).fold(0.0, f64::max);
            println!("batch {batch:>3}, {payload_bytes:>3} bytes: {:>6.2} M entries/s", best / 1e6);
        }
    }
}

fn measure(batch: u64, total: u64, payload_bytes: usize) -> f64 {
    let mut group = Group::start();
    let payload = Bytes::from(vec![7; payload_bytes]);
    let checksum = quorate_protocol::crc32c(&payload);
    let began = Instant::now();
    for round in 0..total / batch {
        for number in 0..batch {
            let id = ProposalId { sequence: round * batch + number + 1, ..ProposalId::default() };
            let kind = EntryKind::Command;
            let proposal = Proposal { id, kind, acknowledged_below: 0, payload: payload.clone(), checksum };
            group.input(0, Input::Command(LogCommand::Propose(proposal)));
        }
        group.settle();
    }
    let committed = group.committed;
    assert!(committed >= total / batch * batch, "all is committed: {committed}");
    (total / batch * batch) as f64 / began.elapsed().as_secs_f64()
}

struct Group {
    cores: Vec<Raft>,
    now: Now,
    committed: u64,
}

impl Group {
    fn start() -> Self {
        let nodes = [NodeId(1), NodeId(2), NodeId(3)];
        let members = Configuration::of_voters(nodes);
        let settings = Settings { cache_bytes_max: 1 << 20, ..Settings::default() };
        let now = Now::default();
        let recover = |node: NodeId| {
            let config = Config::new(node, node.0, Start::Initial(members.clone()), settings.clone()).expect("valid");
            let mut core = Raft::recover(now, config, Recovery::default()).expect("fresh");
            for peer in nodes {
                core.handle(now, Input::PeerStanding { node: peer, standing: Standing::Member });
            }
            core
        };
        let mut group = Self { cores: nodes.map(recover).into(), now, committed: 0 };
        group.settle();
        group.now.instant = group.cores[0].deadline().expect("a follower waits");
        group.input(0, Input::Timeout);
        group.settle();
        assert_eq!(group.cores[0].status().role, Role::Leader);
        group
    }

    fn input(&mut self, core: usize, input: Input<Raft>) {
        self.cores[core].handle(self.now, input);
    }

    fn settle(&mut self) {
        loop {
            let mut is_idle = true;
            for core in 0..self.cores.len() {
                while let Some(output) = self.cores[core].poll_output() {
                    is_idle = false;
                    match output {
                        Output::Send { to, message } => {
                            let from = NodeId(core as u64 + 1);
                            let to = usize::try_from(to.0 - 1).expect("small");
                            self.input(to, Input::Message { from, message });
                        }
                        Output::Persist { ticket, operations } => {
                            drop(operations);
                            self.input(core, Input::Persisted(ticket));
                        }
                        Output::Event(LogEvent::Committed { index }) if core == 0 => self.committed = index.0,
                        _ => {}
                    }
                }
            }
            if is_idle {
                return;
            }
        }
    }
}
