//! The protocols that can be simulated, one line each.

use quorate_simulation::campaign::Requirements;
use quorate_simulation::schedule::{Generator, Schedule};
use quorate_simulation::world::{Recording, RunOutcome};

use crate::{
    PAXOS, PAXOS_CORE, PAXOS_MEMBERS, RAFT, RAFT_CORE, RAFT_GROUPS, RAFT_MEMBERS, REGISTER, REGISTER_MEMBERS, SYNOD,
    THREE_PHASE_COMMIT, TWO_PHASE_COMMIT,
};

/// A protocol and its simulation.
#[derive(Clone, Copy)]
pub struct Protocol {
    /// Its name on the command line.
    pub name: &'static str,
    /// A description in a few words.
    pub about: &'static str,
    /// The generator of its faults.
    pub generator: fn() -> Generator,
    /// Runs one schedule.
    pub run: fn(&Schedule, Recording) -> RunOutcome,
    /// The events that a long campaign must reach: those of the protocol, and those of the layers below.
    pub expected: &'static [&'static [&'static str]],
    /// The requirements for a thousand seeds.
    pub requirements: fn() -> Requirements,
}

/// Every protocol; the first is the default.
pub const PROTOCOLS: &[Protocol] = &[
    RAFT,
    RAFT_CORE,
    SYNOD,
    TWO_PHASE_COMMIT,
    THREE_PHASE_COMMIT,
    RAFT_GROUPS,
    RAFT_MEMBERS,
    PAXOS,
    PAXOS_CORE,
    PAXOS_MEMBERS,
    REGISTER,
    REGISTER_MEMBERS,
];

/// The protocol of this name.
///
/// # Errors
/// When none has it, with the names that there are.
pub fn protocol(name: &str) -> Result<Protocol, String> {
    let known = || PROTOCOLS.iter().map(|protocol| protocol.name).collect::<Vec<_>>().join(", ");
    let found = PROTOCOLS.iter().copied().find(|protocol| protocol.name == name);
    found.ok_or_else(|| format!("{name} is not one of {}", known()))
}

/// The protocols, a line each.
pub fn list() -> String {
    let line = |protocol: &Protocol| format!("  {:<18} {}", protocol.name, protocol.about);
    format!("Protocols:\n{}", PROTOCOLS.iter().map(line).collect::<Vec<_>>().join("\n"))
}

impl std::fmt::Debug for Protocol {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}
