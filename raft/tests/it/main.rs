//! Behaviour through the public API.

mod bounds;
mod content;
mod disks;
mod formats;
mod hostile;
mod leases;
mod members;
mod paper;
mod pulls;
mod quiet;
mod random;
mod scenarios;
mod snapshots;
mod standing;
mod support;
mod texts;
#[path = "../../examples/three_nodes/main.rs"]
mod three_nodes;
mod views;

#[test]
fn the_example_of_three_nodes_runs() {
    three_nodes::main();
}
