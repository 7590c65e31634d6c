//! Single-decree Paxos on the shipped node.

use quorate_simulation::campaign::Requirements;
use quorate_simulation::node_machine::EXPECTED_OF_NODES;
use quorate_simulation::world::{Machine as _, reached};

use crate::decisions::{Machine, generator, run_schedule};
use crate::protocols::Protocol;

/// Many decisions on the shipped node, each a group of its own.
pub const SYNOD: Protocol = Protocol {
    name: "synod",
    about: "single-decree Paxos: many decisions on the shipped node",
    generator,
    run: run_schedule,
    expected: &[Machine::EXPECTED, EXPECTED_OF_NODES],
    requirements: || Requirements {
        acknowledged_median: 2_400,
        each_fault: 100,
        reached: vec![
            ("a value was chosen", 100_000),
            ("another proposal was chosen", 400_000),
            ("a read found nothing", 20_000),
            ("nobody knew in time", 200),
            ("two values had one name", 40_000),
            ("a stranger was refused", 150),
            ("a node refused to start from a damaged disk", 150),
            (reached::TAIL_TORN, 400),
            (reached::LOG_POISONED, 200),
        ],
    },
};
