//! Two-phase commit on the shipped node: every node coordinates transactions and takes part in them.

use quorate_simulation::campaign::Requirements;
use quorate_simulation::node_machine::EXPECTED_OF_NODES;
use quorate_simulation::world::Machine as _;

use crate::protocols::Protocol;
use crate::transactions::{Machine, generator, run_schedule};

/// Transactions over all nodes, with locks on keys.
pub const TWO_PHASE_COMMIT: Protocol = Protocol {
    name: "two-phase-commit",
    about: "atomic commit with presumed abort on the shipped node",
    generator,
    run: run_schedule,
    expected: &[Machine::EXPECTED, EXPECTED_OF_NODES],
    requirements: || Requirements { acknowledged_median: 500, each_fault: 100, reached: Vec::new() },
};
