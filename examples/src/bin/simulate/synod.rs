//! Single-decree Paxos on the shipped node.

use quorate_simulation::campaign::Requirements;
use quorate_simulation::world::{Machine as _, reached};

use crate::decisions::{Machine, generator, run_schedule};
use crate::protocols::Protocol;

/// Many decisions on the shipped node, each a group of its own.
pub(crate) const SYNOD: Protocol = Protocol {
    name: "synod",
    about: "single-decree Paxos: many decisions on the shipped node",
    generator,
    run: run_schedule,
    expected: Machine::EXPECTED,
    requirements: || Requirements {
        acknowledged_median: 2_000,
        each_fault: 100,
        reached: vec![("a value was chosen", 50_000), ("a read found nothing", 10_000), (reached::TAIL_TORN, 300)],
    },
};
