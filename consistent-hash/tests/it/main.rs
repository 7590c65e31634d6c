//! The crate through its public interface.

mod bounded;
mod golden;
mod laws;
mod movement;
#[cfg(feature = "std")]
mod publish;
mod refusals;
mod stability;
mod support;
mod zones;
