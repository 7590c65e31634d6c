//! The crate through its public interface.

mod bounded;
mod golden;
mod hostile;
mod laws;
mod movement;
mod node_sets;
mod numbers;
#[cfg(feature = "std")]
mod publish;
mod refusals;
mod stability;
mod states;
mod support;
mod systems;
mod zones;
