//! Memory of many registers, in a process of its own.
#![cfg(target_os = "linux")]

use bytes::Bytes;
use quorate_paxos::QuorumSystem;
use quorate_paxos::register::{Change, Command, Config, Functions, Register, Roles, Settings};
use quorate_protocol::{Input, LoadFailure, NodeId, Now, Output, ProposalId, Protocol, Recovery, Signal, Standing};

/// Number of registers: `QUORATE_PAXOS_REGISTERS=1000000 cargo test -p quorate-paxos --test memory -- --nocapture`.
fn registers() -> u32 {
    std::env::var("QUORATE_PAXOS_REGISTERS").ok().and_then(|count| count.parse().ok()).unwrap_or(100_000)
}

/// Bytes of this process in memory.
fn resident() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").expect("Linux tells it");
    let pages: usize = pages.split(' ').nth(1).and_then(|pages| pages.parse().ok()).expect("a number of pages");
    pages * 4096
}

/// Carries out the outputs of a group of one node. The content of its disk is not kept.
fn settle(core: &mut Register) {
    while let Some(output) = core.poll_output() {
        match output {
            Output::Persist { ticket, .. } => core.handle(Now::default(), Input::Signal(Signal::Persisted(ticket))),
            Output::Load { ticket, .. } => {
                let result = Err(LoadFailure::Io);
                core.handle(Now::default(), Input::Signal(Signal::Loaded { ticket, result }));
            }
            _ => {}
        }
    }
}

/// A register takes about 200 bytes besides its key, with a value that is not in memory.
#[test]
fn a_register_takes_little_memory() {
    let node = NodeId(1);
    let roles = Roles::of(QuorumSystem::majority([node]).expect("a node"));
    let settings = Settings { cache_bytes_max: 0, promises_max: 0, ..Settings::default() };
    let config = Config::new(node, 1, roles, Functions::default(), settings).expect("valid settings");
    let mut core = Register::recover(Now::default(), config, Recovery::default()).expect("an empty disk");
    core.handle(Now::default(), Input::Signal(Signal::PeerStanding { node, standing: Standing::Member }));
    let before = resident();
    for number in 0..registers() {
        let id = ProposalId { sequence: number.into(), ..ProposalId::default() };
        let key = Bytes::from(format!("register {number:09}").into_bytes());
        let change = Change::Set(Bytes::from(vec![0; 1000]));
        core.handle(Now::default(), Input::Command(Command::Change { key, id, change }));
        settle(&mut core);
    }
    let status = core.status();
    assert_eq!((status.registers, status.cached_bytes), (registers() as usize, 0));
    let bytes = (resident() - before) / registers() as usize;
    println!("{bytes} bytes a register, with a key of 18 bytes");
    assert!(bytes < 300, "a register takes {bytes} bytes");
}
