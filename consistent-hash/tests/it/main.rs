//! The crate through its public interface.

mod golden;
mod laws;
mod refusals;
mod support;
