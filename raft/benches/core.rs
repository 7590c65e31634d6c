//! Three cores in one loop, without syncs or sockets. Prints entries per second of processor time, which other work of
//! the machine affects little, and per second of elapsed time.
//!
//! `cargo bench -p quorate-raft --bench core`
#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
#![allow(clippy::cast_precision_loss, reason = "figures are rounded anyway")]

use std::time::Instant;

use bytes::Bytes;
use quorate_protocol::{
    Configuration, EntryKind, Input, LogCommand, LogEvent, NodeId, Now, Output, Proposal, ProposalId, Protocol,
    Recovery, ReplicatedLog, Role, Signal, Standing,
};
use quorate_raft::{Config, Raft, Settings, Start};

fn main() {
    for (batch, total) in [(1_u64, 500_000_u64), (64, 4_000_000), (256, 4_000_000)] {
        for payload_bytes in [8, 256] {
            let runs: Vec<(f64, f64)> = (0..3).map(|_| measure(batch, total / 2, payload_bytes)).collect();
            let best = |of: fn(&(f64, f64)) -> f64| runs.iter().map(of).fold(0.0, f64::max) / 1e6;
            let (cpu, wall) = (best(|run| run.0), best(|run| run.1));
            println!("batch {batch:>3}, {payload_bytes:>3} bytes: {cpu:>6.2} M entries/s ({wall:.2} M by the wall)");
        }
    }
}

/// Nanoseconds for which this thread was on a processor.
fn on_processor() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux counts");
    text.split(' ').next().and_then(|first| first.parse().ok()).expect("a number")
}

fn measure(batch: u64, total: u64, payload_bytes: usize) -> (f64, f64) {
    let mut group = Group::start();
    let payload = Bytes::from(vec![7; payload_bytes]);
    let checksum = quorate_protocol::crc32c(&payload);
    let (began, processor_began) = (Instant::now(), on_processor());
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
    let entries = (total / batch * batch) as f64;
    (entries / (on_processor() - processor_began) * 1e9, entries / began.elapsed().as_secs_f64())
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
                core.handle(now, Input::Signal(Signal::PeerStanding { node: peer, standing: Standing::Member }));
            }
            core
        };
        let mut group = Self { cores: nodes.map(recover).into(), now, committed: 0 };
        group.settle();
        group.now.instant = group.cores[0].deadline().expect("a follower waits");
        group.input(0, Input::Signal(Signal::Timeout));
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
                            self.input(core, Input::Signal(Signal::Persisted(ticket)));
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
