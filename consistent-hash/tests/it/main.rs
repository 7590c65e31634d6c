//! The crate through its public interface.

mod laws;
mod refusals;
mod support;
