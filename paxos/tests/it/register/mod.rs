//! Registers.

mod history;
mod outcomes;
mod random;
#[cfg(feature = "server")]
mod server;
